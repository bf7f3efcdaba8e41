//! What name servers hear and say, and what consumers do.

use hotfire_core::broker::Input as ToBroker;
use hotfire_core::domain::{BrokerRequest, Caller, ConnId, Language, NameRequest, NameResponse};
use hotfire_core::machine::{Digest, Machine as _};
use hotfire_core::namesrv::{Effect, Input};

use super::consumer::{Move, broker_at};
use super::net::{Arrival, Packet, Party, Word};
use super::{Happening, Names, Purpose, TICK, mono, time};
use crate::ledger::Strike;
use crate::pair::{Event, World};
use crate::ring::Violation;
use crate::trace::Mark;

type Verdict = Result<(), Violation>;

/// Who asks on a connection.
pub(super) fn caller(conn: u64, opaque: i32, oneway: bool) -> Caller {
    Caller {
        conn: ConnId(conn),
        peer: ([10, 0, 1, 1], 5000).into(),
        opaque,
        oneway,
        language: Language::JAVA,
        version: 493,
        json: true,
    }
}

impl World<'_> {
    /// Something happens among name servers, brokers and consumers.
    pub(in super::super) fn names_happen(&mut self, what: Happening) -> Verdict {
        self.in_vain += 1;
        let now = self.now;
        let Some(names) = self.names.as_mut() else { return Ok(()) };
        match what {
            Happening::Arrives(packet) => self.arrives(packet)?,
            Happening::Late(opaque) => names.late(now, opaque),
            Happening::Looks(at, server) => names.looks(now, at, server),
            Happening::Told(at, life, input) => self.told(at, life, *input)?,
            Happening::Serves(at) => names.serve(now, at)?,
            Happening::Starts(at) => names.server_starts(now, at),
            Happening::Strikes => {
                if let Some(away) = names.strike(now) {
                    self.goes_away(away)?;
                }
            }
            Happening::Ticks(at) => names.tick(now, at),
        }
        self.names_plan();
        Ok(())
    }

    /// What is to happen among them has its time.
    pub(in super::super) fn names_plan(&mut self) {
        let out = self.names.as_mut().map(Names::take_out).unwrap_or_default();
        for (when, what) in out {
            self.at(when, Event::Names(Box::new(what)));
        }
    }

    fn arrives(&mut self, packet: Packet) -> Verdict {
        let now = self.now;
        let Some(names) = self.names.as_mut() else { return Ok(()) };
        names.peace.break_until(names.net.trouble());
        let packet = match names.net.arrive(now, packet) {
            Arrival::Heard(packet) => packet,
            Arrival::Lost(back) => {
                names.carry(back);
                return Ok(());
            }
        };
        match (packet.to, packet.word) {
            (Party::Server(at), word) => names.server_hears(now, at, packet.conn, word),
            (Party::Broker(at), Word::AskBroker(opaque, request, why, life)) => {
                names.open.insert((at, opaque), (packet.from, life, why));
                self.asked_by(at, packet.conn, opaque, request)
            }
            (Party::Broker(at), Word::Notifies(request)) => {
                let request = ToBroker::Request { caller: caller(packet.conn, 0, true), request };
                self.hand(at, request)
            }
            (_, Word::ServerSays(opaque, response)) => {
                if let Some(asked) = names.asked.remove(&opaque) {
                    names.ended(now, asked, Some(response));
                }
                Ok(())
            }
            (_, Word::BrokerSays(opaque, response, found)) => {
                self.broker_said(opaque, response, &found)
            }
            (to, Word::Ends) => {
                names.lost(now, packet.conn, to);
                if let (Party::Broker(at), Party::Server(server)) = (to, packet.from)
                    && names.net.known(to, packet.from).is_none()
                {
                    let next = names.registrars[at][server].lost(mono(now));
                    names.go_on(now, at, server, next);
                }
                Ok(())
            }
            (to, word) => unreachable!("{to:?} is not told {word:?}"),
        }
    }
}

impl Names {
    pub(super) fn looks(&mut self, now: u64, at: usize, server: usize) {
        if self.up[at] {
            let next = self.registrars[at][server].woken(mono(now));
            self.go_on(now, at, server, next);
        }
    }

    fn server_hears(&mut self, now: u64, at: usize, conn: u64, word: Word) -> Verdict {
        let (request, opaque, oneway) = match word {
            Word::AskServer(opaque, request) => (request, opaque, false),
            Word::Tells(request) => (request, 0, true),
            _ => {
                self.heard.closed(at, conn);
                let closed = Input::Closed { conn: ConnId(conn) };
                return self.serve_after(now, at, closed);
            }
        };
        self.heard.told(now, at, conn, &request);
        let caller = caller(conn, opaque, oneway);
        self.serve_after(now, at, Input::Request { caller, request })
    }

    fn serve_after(&mut self, now: u64, at: usize, input: Input) -> Verdict {
        if let Some(machine) = &mut self.servers[at].machine {
            machine.handle(time(now), input);
        }
        self.serve(now, at)
    }

    /// A name server does what it has to do.
    pub(super) fn serve(&mut self, now: u64, at: usize) -> Verdict {
        let by = Party::Server(at);
        while let Some(machine) = &mut self.servers[at].machine {
            match machine.poll(time(now)) {
                None => break,
                Some(Effect::SaveKv) => {}
                Some(Effect::Notify { to, change }) => {
                    let notice = BrokerRequest::MinIdChanged(Box::new(change));
                    for broker in to.iter().filter_map(|addr| broker_at(addr)) {
                        let conn = self.net.connected(now, by, Party::Broker(broker));
                        let word = Word::Notifies(notice.clone());
                        let packet = self.net.send(now, conn, by, word);
                        self.carry([packet]);
                    }
                }
                Some(Effect::Answer { caller, response }) => {
                    if let NameResponse::Route(route) = &response {
                        self.heard.check(now, at, route)?;
                    }
                    if self.net.has(caller.conn.0, by) {
                        let word = Word::ServerSays(caller.opaque, response);
                        let packet = self.net.send(now, caller.conn.0, by, word);
                        self.carry([packet]);
                    }
                }
            }
        }
        let server = &mut self.servers[at];
        let Some(machine) = &server.machine else { return Ok(()) };
        machine.verify();
        let due = machine.deadline().map(|due| due.as_micros().max(now + 1));
        if let Some(due) = due.filter(|due| server.planned.is_none_or(|at| at <= now || *due < at))
        {
            server.planned = Some(due);
            self.out.push((due, Happening::Serves(at)));
        }
        Ok(())
    }

    /// What name servers hold, for the digest of a run.
    pub(in super::super) fn digest(&self, into: &mut Digest) {
        for machine in self.servers.iter().filter_map(|server| server.machine.as_ref()) {
            machine.digest(into);
        }
    }

    /// Do name servers differ about a master that lives?
    fn note_views(&mut self, now: u64) {
        let many = self.servers.len();
        let knows = (0..many).filter(|server| self.heard.lists(now, *server, 0)).count();
        if self.up[0] && knows > 0 && knows < many {
            self.ledger.hit(Strike::NamesDiffer);
        }
    }

    /// A consumer goes on.
    pub(super) fn tick(&mut self, now: u64, at: usize) {
        self.out.push((now + TICK, Happening::Ticks(at)));
        if at == 0 && now / 1_000_000 != (now + TICK) / 1_000_000 {
            self.note_views(now);
        }
        for step in self.consumers[at].moves(now, &mut self.luck) {
            match step {
                Move::Route(of) => self.ask_route(now, at, of),
                Move::Ask { broker, of, question, epoch } => {
                    let request = self.consumers[at].request(of, question);
                    let life = self.consumers[at].life;
                    let why = Purpose::Queue(of, question, now, epoch);
                    let word = |opaque| Word::AskBroker(opaque, request.clone(), why.clone(), life);
                    let (by, to) = (Party::Consumer(at), Party::Broker(broker));
                    self.log
                        .say(Mark::Sent, format_args!("{at} asks {broker} of {of}: {question:?}"));
                    self.ask(now, by, to, why.clone(), word);
                }
            }
        }
    }

    /// A broker takes its leave of name servers to which it has connections.
    pub(super) fn take_leave(&mut self, now: u64, at: usize, who: &NameRequest) {
        for server in 0..self.servers.len() {
            let (by, to) = (Party::Broker(at), Party::Server(server));
            if self.net.known(by, to).is_some() {
                let word = |opaque| Word::AskServer(opaque, who.clone());
                self.ask(now, by, to, Purpose::Leave, word);
            }
        }
    }
}
