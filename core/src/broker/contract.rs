//! What a broker is told, and what it asks for.

use bytes::Bytes;
use hotfire_storage::position::Span;

use super::acting::GroupEffect;
use super::ha::HaInput;
use crate::domain::{
    BrokerNotice, BrokerRequest, BrokerResponse, Caller, ConnId, DataVersion, NameResponse,
    StateKind,
};
use crate::ha::LinkId;
use crate::ha::master::LinkEnd;
use crate::ha::slave::SlaveEffect;

/// What can happen to a broker. Completions of its disk are not listed: it polls them itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A connection ended.
    Closed {
        /// Which.
        conn: ConnId,
    },
    /// A name server answered a registration, or could not be reached: one input for each name
    /// server and [`Effect::Register`].
    Registered {
        /// The version of the topic table that was sent.
        version: DataVersion,
        /// The answer; `None`: none came.
        response: Option<NameResponse>,
    },
    /// [`GroupEffect::Fetch`] was answered, or was not.
    Fetched {
        /// Which table.
        kind: StateKind,
        /// All of it.
        json: Option<Bytes>,
    },
    /// A name server answered [`GroupEffect::Watch`], or could not be reached.
    Members {
        /// Which.
        name_server: usize,
        /// The answer; `None`: none came.
        response: Option<NameResponse>,
    },
    /// Something happened on the replication port, or to the master.
    Ha(HaInput),
    /// Somebody asks.
    Request {
        /// Who.
        caller: Caller,
        /// What.
        request: BrokerRequest,
    },
}

/// What a broker asks of its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send this answer. Spans in it are leased at once: [`Broker::lease`](super::Broker::lease).
    Answer {
        /// To whom.
        caller: Caller,
        /// Saying what.
        response: BrokerResponse,
    },
    /// Tell a client, one-way.
    Notify {
        /// On which connection.
        conn: ConnId,
        /// What.
        notice: BrokerNotice,
    },
    /// Send [`Broker::registration`](super::Broker::registration) to every name server.
    Register,
    /// Send a slave a frame: these bytes of the log, leased at once; an empty span is a heartbeat.
    HaFrame {
        /// On which connection.
        link: LinkId,
        /// Which bytes.
        span: Span,
    },
    /// Write what a slave was sent, and close its connection.
    HaClose {
        /// Which.
        link: LinkId,
        /// Why.
        why: LinkEnd,
    },
    /// As a slave: do this.
    Master(SlaveEffect),
    /// Say something about the group, or ask.
    Group(GroupEffect),
}
