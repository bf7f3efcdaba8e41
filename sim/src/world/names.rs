//! Name servers of the world.

use hotfire_core::domain::{Caller, ConnId, Language, NameRequest, NameResponse};
use hotfire_core::machine::Machine;
use hotfire_core::namesrv::{Effect, Input, KvConfig, NameServer, NameServerConfig};

use super::clock::Clock;
use super::net::{Arrival, Parcel};
use super::{Actor, Event, World};
use crate::choose::Choose;
use crate::trace::{Column, Mark};
use crate::workload::Ask;

/// One name server.
pub(super) struct NameNode {
    pub(super) server: Option<NameServer>,
    pub(super) clock: Clock,
    pub(super) turn: Option<u64>,
    pub(super) life: u32,
    pub(super) paused_until: u64,
    pub(super) silent: bool,
    inbox: Vec<Input>,
    log: Column,
}

impl World<'_> {
    pub(super) fn add_name(&mut self, number: u32) {
        let clock = self.draw_clock();
        self.names.push(NameNode {
            server: None,
            clock,
            turn: None,
            life: 0,
            paused_until: 0,
            silent: false,
            inbox: Vec::new(),
            log: self.run.trace.column(&format!("name-{number}")),
        });
        self.start_name(self.names.len() - 1);
    }

    pub(super) fn start_name(&mut self, at: usize) {
        let node = &mut self.names[at];
        if node.server.is_some() {
            return;
        }
        node.clock.born = self.now;
        node.life += 1;
        let now = node.clock.now(self.now);
        let server = NameServer::new(NameServerConfig::default(), KvConfig::default(), now);
        node.server = Some(server);
        node.log.say(Mark::Up, format_args!("life {}", node.life));
    }

    pub(super) fn name_dies(&mut self, at: usize) {
        let silent = self.process.chance(500, "process.silent");
        let node = &mut self.names[at];
        if node.server.take().is_none() {
            return;
        }
        node.inbox.clear();
        node.silent = silent;
        node.log.say(Mark::Died, format_args!("silently: {silent}"));
        self.net.died(self.now, Actor::Name(at), silent);
        let down = self.process.below(self.run.plan.process.down_max_us, "process.down");
        self.at(self.now + down, Event::Start(Actor::Name(at)));
    }

    pub(super) fn name_hears(&mut self, at: usize, arrival: Arrival) {
        let node = &mut self.names[at];
        if node.server.is_none() || arrival.life != node.life {
            return;
        }
        let conn = ConnId(arrival.conn);
        match arrival.parcel {
            Parcel::Ask { opaque, ask: Ask::Name(request), oneway } => {
                let caller = caller(conn, opaque, oneway);
                node.inbox.push(Input::Request { caller, request });
            }
            Parcel::Fin => node.inbox.push(Input::Closed { conn }),
            other => unreachable!("a name server is not told {other:?}"),
        }
        self.turn_soon(Actor::Name(at));
    }

    pub(super) fn name_turn(&mut self, at: usize) {
        let node = &mut self.names[at];
        let Some(server) = node.server.as_mut() else { return };
        if self.now < node.paused_until {
            let until = node.paused_until;
            return self.turn_at(Actor::Name(at), until);
        }
        let now = node.clock.now(self.now);
        node.inbox.drain(..).for_each(|input| server.handle(now, input));
        while let Some(effect) = server.poll(now) {
            let Effect::Answer { caller, response } = effect else { continue };
            let parcel = Parcel::NameReply { opaque: caller.opaque, response };
            self.net.send(self.now, caller.conn.0, Actor::Name(at), parcel);
        }
        server.verify();
        server.digest(&mut self.digest);
        if let Some(deadline) = server.deadline() {
            let when = node.clock.when(deadline).max(self.now + 1);
            self.turn_at(Actor::Name(at), when);
        }
    }

    /// Asks a name server as nobody in particular, outside of time.
    pub(super) fn probe_name(&mut self, at: usize, request: NameRequest) -> Option<NameResponse> {
        let node = &mut self.names[at];
        let server = node.server.as_mut().expect("probes come when all are up");
        let now = node.clock.now(self.now);
        let caller = caller(ConnId(u64::MAX), -1, false);
        server.handle(now, Input::Request { caller, request });
        let mut found = None;
        while let Some(effect) = server.poll(now) {
            if let Effect::Answer { caller, response } = effect
                && caller.conn == ConnId(u64::MAX)
            {
                found = Some(response);
            }
        }
        found
    }
}

pub(super) fn caller(conn: ConnId, opaque: i32, oneway: bool) -> Caller {
    Caller {
        conn,
        peer: std::net::SocketAddr::from(([10, 1, 0, 1], 5000)),
        opaque,
        oneway,
        language: Language::JAVA,
        version: 493,
        json: true,
    }
}
