//! Replication under fire: a master and its slaves, machines in lockstep over simulated media.
//!
//! ```text
//!  sends ──► master ══ wire ══► slave 1      every broker the real machine over the real store;
//!              ║                             wires carry frames and reports, cut anywhere;
//!              ╚══════ wire ══► slave 2      every broker may die between any two effects
//! ```
//!
//! Oracles look at the bytes of both logs, as processes and media have them, and ask no broker:
//!
//! - **honest ack**: a send that is answered SEND_OK is in the log of as many slaves as the policy
//!   asks for, byte for byte, or was at some time; under SYNC_FLUSH it is on the master's medium.
//! - **log agreement**: what a slave has acknowledged is what the master has there.
//! - **durable ack**: what was acknowledged is in the master's log after every death that its
//!   policy tolerates; with the master gone it is in a slave's.
//! - **status honesty**: a slave is late only after the time that it was given.
//! - **liveness**: once faults stop, slaves have the master's log, and a send is answered SEND_OK.

pub(crate) mod aside;
mod clock;
mod faults;
mod impostor;
mod judge;
#[cfg(test)]
mod latency;
mod names;
mod node;
mod settle;
mod wire;
mod work;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hotfire_core::broker::{Broker, Effect, HaInput, Input};
use hotfire_core::domain::{BrokerRequest, BrokerResponse, Caller, Pulled};
use hotfire_core::ha::slave::{GivenUp, SlaveEffect};
use hotfire_core::machine::{Digest, Machine as _};
use hotfire_storage::Parting;
use hotfire_storage::position::Physical;
use hotfire_storage::time::{Mono, Now};

use crate::choose::{Choose, Concern, Stream};
use crate::ledger::Strike;
use crate::ring::{Outcome, Passed, Run, Violation};
use crate::trace::Mark;
use clock::Clocks;
use judge::Judge;
use names::Names;
use node::{Node, Shape};
use wire::{Parcel, Wires};

/// Brokers of a run at most.
const NODES: usize = 3;
/// Simulated time after the last fault in which all must come right.
const SETTLE: u64 = 120_000_000;
/// ... after which an operator looks at the slaves.
const OPERATOR: u64 = 30_000_000;
/// Boots that disks may refuse.
const BOOTS_MAX: u64 = 100;
/// Effects of a turn at most.
const EFFECTS_MAX: u64 = 20_000;
/// How much slower messages are sent where they grow old: some of them, before all are sent.
const SLOW: u64 = 20;
/// Events of a run at most that keep a node busy: more is a loop.
const STEPS_MAX: u64 = 20_000;
/// ... and so many more for each start of a broker: slaves are sent again what they compare, which
/// is all of a log at most, in frames of 50 bytes.
const STEPS_OF_A_LIFE: u64 = 4000;

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    /// A broker that was dead starts.
    Boot(usize),
    /// A parcel arrives.
    Deliver(Parcel),
    /// A consumer asks for what is new.
    Pull,
    /// Something among name servers and consumers.
    Names(Box<names::Happening>),
    /// A slave has room again.
    Read(usize),
    /// Somebody sends a message.
    Send,
    /// Something bad happens.
    Strike,
    /// A broker has something to do.
    Turn(usize),
}

struct World<'a> {
    run: &'a Run,
    now: u64,
    steps: u64,
    /// Those that reached nobody: what was on its way when its connection ended. To a copy that has
    /// nothing in common with its master that is most of the log, at each attempt.
    in_vain: u64,
    events: BTreeMap<(u64, u64), Event>,
    number: u64,
    /// The first is the master.
    nodes: Vec<Node>,
    wires: Wires,
    clocks: Clocks,
    work: Stream,
    luck: Stream,
    /// May strangers act as slaves?
    guarded: bool,
    judge: Judge,
    /// Name servers, and consumers that are routed by them.
    names: Option<Names>,
    /// How much slower than otherwise messages are sent.
    pace: u64,
    sends: u64,
    sent: u64,
    /// The next offset that is pulled, of each topic.
    read: [i64; work::TOPICS.len()],
    strikes: u64,
    /// Boots that a disk did not allow.
    refused: u64,
    /// When the last fault was over.
    calm: Option<u64>,
    digest: Digest,
}

/// Runs a seed.
pub fn run(run: &Run) -> Outcome {
    let mut world = World::new(run);
    world.start()?;
    while !world.is_over() {
        world.step()?;
    }
    world.quiet()?;
    world.settle()?;
    for node in &world.nodes {
        node.medium.digest(&mut world.digest);
    }
    if let Some(names) = &world.names {
        names.digest(&mut world.digest);
    }
    world.digest.number(run.chance.drawn());
    Ok(Passed {
        digest: world.digest.value(),
        simulated: Duration::from_micros(world.now),
        steps: world.steps,
    })
}

impl<'a> World<'a> {
    fn new(run: &'a Run) -> Self {
        let mut work = run.chance.of(Concern::Work);
        let slaves = 1 + work.index(NODES - 1, "pair.slaves");
        let shape = Shape::draw(&mut work, &run.plan, slaves);
        Self::of(run, &shape, slaves, work)
    }

    /// The world of a group like this.
    fn of(run: &'a Run, shape: &Shape, slaves: usize, mut work: Stream) -> Self {
        let nodes = (0..=slaves).map(|at| Node::new(run, shape, at)).collect();
        let sends = 20 + work.below(60, "pair.sends");
        let mut luck = run.chance.of(Concern::Clock);
        let clocks = Clocks::draw(&mut luck, &run.plan.clock, slaves + 1, sends);
        Self {
            run,
            now: 1,
            steps: 0,
            in_vain: 0,
            events: BTreeMap::new(),
            number: 0,
            nodes,
            wires: Wires::new(run.plan.net.clone(), run.chance.of(Concern::Net)),
            guarded: shape.guarded,
            judge: Judge::new(shape, slaves, &clocks, run.ledger.clone()),
            pace: if shape.keep.lets_go() { SLOW } else { 1 },
            clocks,
            sends,
            sent: 0,
            read: [0; work::TOPICS.len()],
            strikes: work.below(12, "pair.strikes"),
            names: Names::new(run, slaves + 1),
            work,
            luck: run.chance.of(Concern::Process),
            refused: 0,
            calm: None,
            digest: Digest::new(),
        }
    }

    fn at(&mut self, when: u64, event: Event) {
        self.number += 1;
        self.events.insert((when.max(self.now + 1), self.number), event);
    }

    fn carry(&mut self, parcels: Vec<(u64, Parcel)>) {
        for (when, parcel) in parcels {
            self.at(when, Event::Deliver(parcel));
        }
    }

    fn start(&mut self) -> Result<(), Violation> {
        for at in 0..self.nodes.len() {
            self.boot(at)?;
        }
        self.at(1000, Event::Send);
        self.at(2000, Event::Pull);
        self.at(5000, Event::Strike);
        if let Some(names) = &mut self.names {
            names.start(self.now);
            self.names_plan();
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        let is_done = self.sent >= self.sends
            && self.strikes == 0
            && self.names.as_ref().is_none_or(Names::is_over);
        // Some disks let nobody start, and their operator does not wait for ever.
        (is_done && self.judge.unanswered() == 0) || self.refused > BOOTS_MAX
    }

    fn step(&mut self) -> Result<(), Violation> {
        let Some(((when, _), event)) = self.events.pop_first() else {
            return Err(Violation::new("something always happens next", "nothing is planned"));
        };
        self.steps += 1;
        let lives: u64 = self.nodes.iter().map(|node| u64::from(node.life)).sum();
        if self.steps - self.in_vain > STEPS_MAX + lives * STEPS_OF_A_LIFE {
            let detail = format!("too many steps, the last one {event:?}");
            return Err(Violation::new("nobody is busy for nothing", detail));
        }
        self.now = self.now.max(when);
        self.run.trace.advance(Mono::from_micros(self.now));
        match event {
            Event::Boot(at) => self.boot(at),
            Event::Deliver(parcel) => self.deliver(parcel),
            Event::Names(what) => self.names_happen(*what),
            Event::Pull => self.pull(),
            Event::Read(at) => self.drain(at),
            Event::Send => self.send(),
            Event::Strike => self.strike(),
            Event::Turn(at) => self.turn(at),
        }
    }

    fn time(&self, at: usize) -> Now {
        self.clocks.now(at, self.now)
    }

    fn boot(&mut self, at: usize) -> Result<(), Violation> {
        if self.nodes[at].broker.is_some() {
            return Ok(());
        }
        let now = self.time(at);
        self.nodes[at].medium.advance(now.mono);
        if at == 0 && self.names.is_some() {
            names::delays::deliver(&self.nodes[0]);
        }
        let losses = self.run.ledger.count(Strike::DiskPowerFailed);
        let is_up = self.nodes[at].boot(now)?;
        if self.run.ledger.count(Strike::DiskPowerFailed) > losses {
            self.judge.died(at, true);
        }
        if is_up {
            self.judge.began(self.now, at, &self.nodes)?;
            self.names_boot(at);
            return self.turn(at);
        }
        self.refused += 1;
        let again = self.now + 10_000 + self.luck.below(1_000_000, "pair.boot_again");
        self.at(again, Event::Boot(at));
        Ok(())
    }

    /// Polls a broker until it wants nothing, and does what it says. It may die before any of it.
    fn turn(&mut self, at: usize) -> Result<(), Violation> {
        let now = self.time(at);
        self.nodes[at].medium.advance(now.mono);
        let mut effects = 0;
        while let Some(broker) = self.nodes[at].broker.as_mut() {
            let Some(effect) = broker.poll(now) else { break };
            effects += 1;
            if effects > EFFECTS_MAX {
                let detail = format!("node {at} does not come to rest: {effect:?}");
                return Err(Violation::new("nobody is busy for nothing", detail));
            }
            if self.calm.is_none() && self.luck.chance(self.nodes[at].dying, "pair.dies") {
                return self.die(at);
            }
            self.judge.turned(self.now, at, &self.nodes)?;
            self.effect(at, effect)?;
        }
        let Some(broker) = self.nodes[at].broker.as_ref() else { return Ok(()) };
        broker.verify();
        broker.digest(&mut self.digest);
        self.judge.turned(self.now, at, &self.nodes)?;
        self.judge.rested(self.now, at, now.wall, &self.nodes)?;
        self.names_rested(at)?;
        if broker.parting().is_some() || broker.closed_for_sends().is_some() {
            return self.restart(at);
        }
        // Its operator waits for it to reach its master, and no impostor.
        let is_over = self.calm.is_some_and(|since| self.now >= since + OPERATOR);
        if is_over && matches!(broker.given_up(), Some(GivenUp::Stranger { .. })) {
            // The master lost all that they had in common. The copy is given up.
            self.restart(at)?;
            self.run.ledger.hit(Strike::SlaveGivenUp);
            self.judge.wiped(at, 0);
            self.nodes[at].part(Parting::Begin(Physical::ZERO));
            return Ok(());
        }
        let reads = broker.takes_pieces() && !self.nodes[at].socket.is_empty();
        let disk = self.nodes[at].medium.next_due();
        let due = broker.deadline().into_iter().chain(disk).map(Mono::as_micros).min();
        if reads {
            self.at(self.now + 1, Event::Read(at));
        }
        if let Some(due) = due {
            let due = due.max(self.now + 1);
            if self.nodes[at].planned.is_none_or(|planned| due < planned || planned <= self.now) {
                self.nodes[at].planned = Some(due);
                self.at(due, Event::Turn(at));
            }
        }
        Ok(())
    }

    fn effect(&mut self, at: usize, effect: Effect) -> Result<(), Violation> {
        let column = &self.nodes[at].log;
        match effect {
            Effect::Answer { caller, response } => {
                column.say(Mark::Sent, format_args!("{} {response:?}", caller.opaque));
                if caller.conn.0 >= names::CONNS {
                    return self.names_answer(at, &caller, response);
                }
                return self.answered(caller.opaque, response);
            }
            Effect::HaFrame { link, span } => {
                let broker = self.nodes[at].broker.as_ref().expect("it has just spoken");
                let bytes = if span.len == 0 { Bytes::new() } else { broker.lease(span) };
                let parcels = self.wires.frame(self.now, link, span.at, bytes);
                self.carry(parcels);
            }
            Effect::HaClose { link, why } => {
                column.say(Mark::Note, format_args!("closes {link:?}: {why}"));
                if let Some(slave) = self.wires.behind(link) {
                    self.judge.unlinked(slave);
                }
                let parcels = self.wires.close(self.now, link);
                self.carry(parcels);
            }
            Effect::Master(SlaveEffect::Connect { .. }) => {
                let is_up = self.nodes[0].broker.is_some();
                let is_misled = std::mem::take(&mut self.nodes[at].misled);
                let parcels = if is_misled {
                    self.run.ledger.hit(Strike::NetImpostor);
                    self.wires.mislead(self.now, at, self.nodes[at].file_len())
                } else {
                    self.wires.connect(self.now, at, is_up)
                };
                self.carry(parcels);
            }
            Effect::Master(SlaveEffect::Disconnect) => {
                let parcels = self.wires.hang_up(self.now, at);
                self.carry(parcels);
            }
            Effect::Master(SlaveEffect::Report(position)) => {
                column.say(Mark::Sent, format_args!("reports {position}"));
                self.judge.turned(self.now, at, &self.nodes)?;
                let parcels = self.wires.report(self.now, at, position);
                self.carry(parcels);
            }
            Effect::Group(of_group) => self.names_effect(at, Some(of_group)),
            Effect::Register => self.names_effect(at, None),
            Effect::Notify { .. } => {}
        }
        Ok(())
    }

    /// A parcel arrives; behind those that wait in the socket of a slave that has no room.
    fn deliver(&mut self, parcel: Parcel) -> Result<(), Violation> {
        let Some(slave) = self.wires.slave_of(&parcel) else {
            let answers = self.wires.swallow(self.now, &parcel);
            self.carry(answers);
            return self.hand_over(&parcel);
        };
        self.nodes[slave].socket.push_back(parcel);
        self.drain(slave)
    }

    /// Hands a slave what lies in its socket, as long as it has room.
    fn drain(&mut self, slave: usize) -> Result<(), Violation> {
        loop {
            let node = &mut self.nodes[slave];
            let has_room = node.broker.as_ref().is_none_or(Broker::takes_pieces);
            let Some(parcel) = node.socket.pop_front_if(|_| has_room) else { return Ok(()) };
            self.hand_over(&parcel)?;
        }
    }

    fn hand_over(&mut self, parcel: &Parcel) -> Result<(), Violation> {
        let Some((at, input)) = self.wires.arrive(parcel) else {
            self.in_vain += 1;
            return Ok(());
        };
        match (&input, self.wires.of_slave(parcel)) {
            (HaInput::Reported { offset, .. }, Some(slave)) => {
                self.judge.heard(slave, *offset);
            }
            (HaInput::Opened { .. } | HaInput::Closed { .. }, Some(slave)) => {
                self.judge.unlinked(slave);
            }
            _ => {}
        }
        if self.nodes[at].broker.is_none() {
            return Ok(());
        }
        if let Some((when, taken)) = self.wires.taken(self.now, parcel) {
            self.at(when, Event::Deliver(taken));
        }
        let now = self.time(at);
        self.nodes[at].medium.advance(now.mono);
        let broker = self.nodes[at].broker.as_mut().expect("it was just there");
        broker.handle(now, Input::Ha(input));
        self.turn(at)
    }

    fn send(&mut self) -> Result<(), Violation> {
        if self.sent < self.sends {
            let most = (self.run.plan.work.think_max_us.max(1) + 20_000) * self.pace;
            let pause = self.work.below(most, "pair.think");
            self.at(self.now + 1 + pause, Event::Send);
            if self.nodes[0].broker.is_some() {
                self.sent += 1;
                self.jump();
                return self.send_one();
            }
        }
        Ok(())
    }

    fn send_one(&mut self) -> Result<(), Violation> {
        let number = self.judge.asked(self.now);
        // The producer's clock is right.
        let born = self.clocks.now(usize::MAX, self.now).wall;
        let request = work::message(&mut self.work, number, born);
        self.ask(work::caller(number), request)
    }

    /// A consumer pulls what is new.
    fn pull(&mut self) -> Result<(), Violation> {
        let pause = self.work.below(200_000, "pair.pull_pause");
        self.at(self.now + 1 + pause, Event::Pull);
        let of = self.work.index(work::TOPICS.len(), "pair.pull_of");
        if self.nodes[0].broker.is_none() {
            return Ok(());
        }
        self.ask(work::reader(of), work::pull(of, self.read[of]))
    }

    /// Asks the master, which lives.
    fn ask(&mut self, caller: Caller, request: BrokerRequest) -> Result<(), Violation> {
        let now = self.time(0);
        self.nodes[0].medium.advance(now.mono);
        let broker = self.nodes[0].broker.as_mut().expect("the caller saw it");
        broker.handle(now, Input::Request { caller, request });
        self.turn(0)
    }

    fn pulled(&mut self, of: usize, pulled: &Pulled) -> Result<(), Violation> {
        self.read[of] = i64::try_from(pulled.next.get()).expect("queues are short");
        for span in &pulled.spans {
            self.judge.saw(*span, &self.nodes)?;
        }
        Ok(())
    }

    fn answered(&mut self, opaque: i32, response: BrokerResponse) -> Result<(), Violation> {
        if let Some(of) = work::reader_of(opaque) {
            let BrokerResponse::Pulled(pulled) = response else { return Ok(()) };
            return self.pulled(of, &pulled);
        }
        if let BrokerResponse::Sent(sent) = response {
            return self.judge.answered(self.now, opaque, &sent, &self.nodes);
        }
        self.judge.refused(opaque);
        Ok(())
    }
}
