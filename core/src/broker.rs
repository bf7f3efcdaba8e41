//! The broker.

use bytes::Bytes;
use hotfire_storage::position::Span;
use hotfire_storage::seam::{Disk, Fault};
use hotfire_storage::time::{Mono, Now};

use crate::domain::{
    BrokerNotice, BrokerRequest, BrokerResponse, Caller, ConnId, NameResponse, Registration,
};
use crate::machine::{Digest, Machine};

mod config;

pub use config::{BrokerConfig, BrokerLimits, FlushPolicy};

/// What can happen to a broker. Completions of its disk are not listed: it polls them itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A connection ended.
    Closed {
        /// Which.
        conn: ConnId,
    },
    /// A name server answered a registration.
    Registered {
        /// Its answer.
        response: NameResponse,
    },
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
    /// Send this answer. Spans in it are leased at once: [`Broker::lease`].
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
    /// Send [`Broker::registration`] to every name server.
    Register,
}

/// The machine.
pub struct Broker<D: Disk> {
    disk: D,
}

impl<D: Disk> Broker<D> {
    /// What name servers are told.
    pub fn registration(&self) -> Registration {
        unimplemented!()
    }

    /// The bytes of a span of an answer.
    pub fn lease(&self, span: Span) -> Bytes {
        let _ = (&self.disk, span);
        unimplemented!()
    }

    /// Ends in order: everything is flushed, state saved, the store marked as cleanly closed.
    pub fn stop(&mut self, _now: Now) -> Result<(), Fault> {
        unimplemented!()
    }
}

impl<D: Disk> Machine for Broker<D> {
    type Input = Input;
    type Effect = Effect;
    fn handle(&mut self, _now: Now, _input: Input) {
        unimplemented!()
    }
    fn poll(&mut self, _now: Now) -> Option<Effect> {
        unimplemented!()
    }
    fn deadline(&self) -> Option<Mono> {
        unimplemented!()
    }
    fn verify(&self) {}
    fn digest(&self, _into: &mut Digest) {}
}
