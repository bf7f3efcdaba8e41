//! What clients do: models of producers and consumers, and what they saw.
//!
//! | room | what |
//! |---|---|
//! | [`message`] | messages with an identity, and a parser of records of our own |
//! | [`producer`] | sends until everything is acknowledged |
//! | [`consumer`] | a member of a group: joins, rebalances, pulls, commits |
//! | [`history`] | what was sent, acknowledged, consumed, committed: data for oracles |
//!
//! Clients are machines of the same shape as the product's: told what happened, asked what to do.
//! They know neither how nodes are driven nor what a connection is made of, so the lockstep world
//! and a world of real drivers run the same ones.

pub mod calls;
pub mod consumer;
pub mod history;
mod lane;
pub mod message;
pub mod producer;
pub mod retries;
pub mod routes;

use bytes::Bytes;
use hotfire_core::domain::{
    BrokerNotice, BrokerRequest, BrokerResponse, NameRequest, NameResponse,
};
use hotfire_storage::text::Text;
use hotfire_storage::time::Mono;

use crate::choose::Stream;
use history::History;

/// Whom a client talks to. A client has at most one connection to each, opened by its first call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// A broker, by its address.
    Broker(Text),
    /// A name server, by its number.
    NameServer(u32),
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Of a broker.
    Broker(BrokerRequest),
    /// Of a name server.
    Name(NameRequest),
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// By a broker; with the bytes of the records that the answer names.
    Broker(BrokerResponse, Vec<Bytes>),
    /// By a name server.
    Name(NameResponse),
}

/// What a client wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Send this, on the connection to the peer; if there is none, on a new one.
    Call {
        /// Names the call in its answer.
        id: i32,
        /// To whom.
        peer: Peer,
        /// What.
        ask: Ask,
        /// No answer is expected.
        oneway: bool,
    },
    /// End the connection to this peer.
    Close(Peer),
}

/// What happens to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A call was answered. An answer that comes too late is one nonetheless.
    Answered {
        /// Which call.
        id: i32,
        /// Which process of the broker answered: it counts its starts. 0 for name servers.
        life: u32,
        /// What it said.
        reply: Reply,
    },
    /// The connection to this peer ended: calls over it will not be answered.
    Closed(Peer),
    /// Somebody says something unasked.
    Noticed(Peer, BrokerNotice),
}

/// A client model.
pub trait Client {
    /// Tells it what happened.
    fn event(&mut self, now: Mono, event: Event, history: &mut History);

    /// The next thing it wants done; `None`: nothing until the next event or wake.
    fn act(&mut self, now: Mono, dice: &mut Stream, history: &mut History) -> Option<Act>;

    /// When it wants to be asked again.
    fn wake(&self) -> Mono;

    /// Has it nothing left to do?
    fn is_done(&self) -> bool;

    /// What it waits for, for a report of what is stuck.
    fn state(&self) -> String;
}
