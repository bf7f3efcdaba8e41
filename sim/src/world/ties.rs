//! What is between a broker and the name servers: its driver's part of registering.

use hotfire_core::broker::Input;
use hotfire_core::domain::{DataVersion, NameRequest};
use hotfire_storage::documents::TOPICS;

use super::net::Parcel;
use super::{Actor, Event, World};
use crate::oracle::{Verdict, routes};
use crate::workload::Ask;

/// How long a broker's driver waits for a name server.
const NAME_PATIENCE: u64 = 3_000_000;
/// What is between a broker and a name server.
#[derive(Debug, Default)]
pub(super) struct Tie {
    pub(super) conn: Option<u64>,
    pub(super) open: Vec<(i32, DataVersion)>,
}

impl World<'_> {
    pub(super) fn register(&mut self, at: usize, name: usize) {
        let node = &mut self.brokers[at];
        let broker = node.broker.as_ref().expect("it has just asked for it");
        let registration = broker.registration();
        let version = registration.data_version;
        if self.names[name].server.is_none() {
            node.inbox.push(Input::Registered { version, response: None });
            return self.turn_at(Actor::Broker(at), self.now + 1000);
        }
        let life = self.names[name].life;
        let conn = match self.brokers[at].ties[name].conn {
            Some(conn) => conn,
            None => self.net.dial(Actor::Broker(at), Actor::Name(name), life),
        };
        let node = &mut self.brokers[at];
        node.opaque += 1;
        let (opaque, life) = (node.opaque, node.life);
        node.ties[name].conn = Some(conn);
        node.ties[name].open.push((opaque, version));
        let ask = Ask::Name(NameRequest::Register(Box::new(registration)));
        self.net.send(
            self.now,
            conn,
            Actor::Broker(at),
            Parcel::Ask { opaque, ask, oneway: false },
        );
        let timeout = Event::Timeout { broker: at, life, name, opaque };
        self.at(self.now + NAME_PATIENCE, timeout);
    }

    pub(super) fn check_told(&self, at: usize) -> Verdict {
        let node = &self.brokers[at];
        let broker = node.broker.as_ref().expect("it has just asked for it").registration();
        // The table, or the version before it: that is read where a replacement stopped half-way.
        let saved = node.medium.durable_where(|path| path.strip_prefix(TOPICS).is_some());
        let table = saved.get(TOPICS).or_else(|| saved.get(&format!("{TOPICS}.bak")));
        routes::check_told(&broker.broker.broker_name, &broker.topics, table.map(Vec::as_slice))
    }

    /// The connection to a name server is no more: what was said over it has no answer.
    pub(super) fn tie_ends(&mut self, at: usize, name: usize) {
        let node = &mut self.brokers[at];
        let tie = std::mem::take(&mut node.ties[name]);
        let lost = tie.open.into_iter().map(|(_, version)| version);
        node.inbox.extend(lost.map(|version| Input::Registered { version, response: None }));
    }

    pub(super) fn registration_late(&mut self, at: usize, life: u32, name: usize, opaque: i32) {
        let node = &self.brokers[at];
        let is_open = node.ties[name].open.iter().any(|(of, _)| *of == opaque);
        if node.life != life || node.broker.is_none() || !is_open {
            return;
        }
        if let Some(conn) = node.ties[name].conn {
            self.net.close(self.now, conn, Actor::Broker(at));
        }
        self.tie_ends(at, name);
        self.turn_soon(Actor::Broker(at));
    }
}
