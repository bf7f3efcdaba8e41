//! Brokers of the world: a machine over a simulated disk, what it is told, what it asks for, how it
//! dies and comes back.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hotfire_core::broker::{Broker, BrokerConfig, Effect, Input, OpenError};
use hotfire_core::domain::{
    BrokerId, BrokerIdentity, BrokerResponse, Caller, ConnId, Positions, SendStatus, Sent,
};
use hotfire_core::machine::Machine;
use hotfire_storage::Settings;
use hotfire_storage::position::{Physical, QueueOffset};
use hotfire_storage::seam::Fault;
use hotfire_storage::text::Text;
use hotfire_storage::time::Mono;

use super::clock::Clock;
use super::faults::Death;
use super::names::caller;
use super::net::{Arrival, Parcel};
use super::ties::Tie;
use super::{Actor, Event, World, honest};
use crate::choose::{Choose, Concern, pick};
use crate::disk::{Medium, SimDisk};
use crate::ledger::Strike;
use crate::oracle::holds::Requests;
use crate::oracle::image::Image;
use crate::oracle::{Verdict, derived};
use crate::ring::Violation;
use crate::trace::{Column, Mark};
use crate::workload::Ask;
use crate::workload::history::Fact;

/// More effects than a turn can have.
const EFFECTS_MAX: u64 = 100_000;
/// More requests than can be open at one broker: clients times what each has under way.
const REQUESTS_MAX: usize = 2_000;

/// One broker.
pub(super) struct BrokerNode {
    pub(super) name: Text,
    pub(super) addr: Text,
    pub(super) medium: Medium,
    pub(super) broker: Option<Broker<SimDisk>>,
    /// Counts its starts.
    pub(super) life: u32,
    pub(super) clock: Clock,
    pub(super) turn: Option<u64>,
    pub(super) paused_until: u64,
    /// It died with its machine: nobody answers in its place.
    pub(super) silent: bool,
    /// So many more effects, and it dies.
    pub(super) fuse: Option<(u64, Death)>,
    pub(super) requests: Requests,
    seed: u64,
    pub(super) inbox: Vec<Input>,
    pub(super) ties: Vec<Tie>,
    pub(super) opaque: i32,
    restarts: bool,
    /// Starts in a row that failed.
    failures: u32,
    log: Column,
}

impl BrokerNode {
    pub(super) fn state(&self) -> String {
        let Self { name, life, requests, .. } = self;
        let up = self.broker.as_ref().map(|broker| {
            let store = broker.store();
            format!(
                "written {}, flushed {}, visible {}, idle {}",
                store.written().end(),
                store.flushed().end(),
                broker.confirmed().end(),
                store.is_idle()
            )
        });
        format!("{name} life {life}: {up:?}, {} requests", requests.len())
    }

    /// Below it, all of the log is on the medium: the medium says so.
    fn durable_end(&self) -> u64 {
        Image::durable_end(&self.medium.durable(), &self.seen())
    }

    fn seen(&self) -> BTreeMap<String, Vec<u8>> {
        match &self.broker {
            Some(broker) => broker.store().disk().seen(),
            None => self.medium.seen(),
        }
    }

    /// What its disk shows, read by us.
    pub(super) fn image(&self) -> Image {
        let broker = self.broker.as_ref().expect("images are taken of brokers that are up");
        let store = broker.store();
        Image::read(&store.disk().seen()).from(store.start().get())
    }
}

impl World<'_> {
    pub(super) fn add_broker(&mut self, number: u32) {
        let name = format!("broker-{number}");
        let log = self.run.trace.column(&name);
        let dice = self.run.chance.of(Concern::Disk);
        let plan = &self.run.plan;
        let medium = Medium::new(plan.disk.restored(), dice, self.run.ledger.clone(), log.clone());
        let ties = (0..plan.cluster.name_servers).map(|_| Tie::default()).collect();
        let clock = self.draw_clock();
        self.brokers.push(BrokerNode {
            name: name.into(),
            addr: format!("10.0.0.{number}:10911").into(),
            medium,
            broker: None,
            life: 0,
            clock,
            turn: None,
            paused_until: 0,
            silent: false,
            fuse: None,
            requests: Requests::default(),
            seed: self.work.below(u64::MAX, "work.broker_seed"),
            inbox: Vec::new(),
            ties,
            opaque: 0,
            restarts: false,
            failures: 0,
            log,
        });
        self.at(0, Event::Start(Actor::Broker(self.brokers.len() - 1)));
    }

    fn config(&self, at: usize) -> (Settings, BrokerConfig) {
        let (plan, node) = (&self.run.plan, &self.brokers[at]);
        let identity = BrokerIdentity {
            cluster: "cluster".into(),
            broker_name: node.name.clone(),
            addr: node.addr.clone(),
            id: BrokerId::MASTER,
        };
        let host = SocketAddr::from(([10, 0, 0, u8::try_from(at).expect("few")], 10_911));
        let staged = plan.store.staging().map(|(bytes, _)| bytes);
        let settings = Settings { staged, ..plan.store.settings() };
        let config = BrokerConfig {
            flush: plan.store.staged_flush(1),
            retention: self.retention_policy(),
            save_offsets_every: plan.store.save_every(),
            name_servers: self.names.len(),
            default_topic_queues: plan.cluster.queues,
            light_queues: settings.light_queues,
            seed: node.seed,
            ..BrokerConfig::new(identity, host, "10.0.0.1:10912".into())
        };
        (settings, config)
    }

    /// Starts a broker, which may die of it, or be refused by its disk and tried again.
    pub(super) fn start_broker(&mut self, at: usize) -> Verdict {
        if self.brokers[at].broker.is_some() {
            return Ok(());
        }
        let (settings, config) = self.config(at);
        let node = &mut self.brokers[at];
        node.clock.born = self.now;
        node.medium.advance(Mono::from_micros(self.now));
        let durable = node.durable_end();
        let powers = self.run.ledger.count(Strike::DiskPowerFailed);
        let opened = Broker::open(node.medium.mount(), settings, config, node.clock.now(self.now));
        let broker = match opened {
            Ok((broker, opened)) => {
                node.log.say(Mark::Up, format_args!("{opened:?}"));
                broker
            }
            Err(error) => return self.not_started(at, &error, durable, powers),
        };
        node.life += 1;
        (node.silent, node.restarts, node.failures) = (false, false, 0);
        node.broker = Some(broker);
        let (name, life) = (node.name.clone(), node.life);
        self.turn_at(Actor::Broker(at), self.now);
        let now = Mono::from_micros(self.now);
        self.history.add(now, Fact::Began { broker: name.clone(), life });
        self.oracles.follow(&self.history)?;
        self.log_began(at)?;
        let node = &self.brokers[at];
        let (image, broker) = (node.image(), node.broker.as_ref().expect("it has just started"));
        self.oracles.began(&name, life, &image, &self.history)?;
        self.oracles.metadata.check(&name, &broker.registration().topics)?;
        derived::check(broker.store(), &image)
    }

    fn not_started(&mut self, at: usize, error: &OpenError, durable: u64, powers: u64) -> Verdict {
        let node = &mut self.brokers[at];
        node.failures += 1;
        node.log.say(Mark::Died, format_args!("in its boot: {error}"));
        let fault = match error {
            OpenError::Store(hotfire_storage::OpenError::Disk(fault))
            | OpenError::State(hotfire_storage::LoadError::Disk(fault)) => fault,
            other => {
                let detail = format!("{}: {other}", node.name);
                return Err(Violation::new("a broker starts over whatever a crash left", detail));
            }
        };
        // A write that failed in the background is told by the first sync after it, even on a disk
        // that has healed: then the operator tries again.
        self.refused += u64::from(self.healed && *fault != Fault::Crashed);
        if self.refused > self.run.ledger.count(Strike::DiskWritebackFailed) {
            let detail = format!("{}: {fault}, on a healed disk", node.name);
            return Err(Violation::new("a broker starts over whatever a crash left", detail));
        }
        let lost = self.run.ledger.count(Strike::DiskPowerFailed) > powers;
        let (broker, now) = (node.name.clone(), Mono::from_micros(self.now));
        self.history.add(now, Fact::Died { broker, durable: lost.then_some(durable) });
        self.start_later(at);
        Ok(())
    }

    /// It starts some time later; after failures in a row ever later, as supervisors do.
    fn start_later(&mut self, at: usize) {
        let down = self.process.below(self.run.plan.process.down_max_us.max(1), "process.down");
        let patience = match self.brokers[at].failures {
            0 => 0,
            failures => 1_000 << failures.min(12),
        };
        let down = down + patience;
        self.at(self.now + down, Event::Start(Actor::Broker(at)));
    }

    /// A broker dies, or is dead already and now loses power as well.
    pub(super) fn broker_dies(&mut self, at: usize, how: Death) -> Verdict {
        self.run.ledger.hit(Strike::NodeDied);
        if how == Death::Stop && self.brokers[at].broker.is_some() {
            return self.broker_stops(at);
        }
        self.look_at_log(at)?;
        let plan = &self.run.plan.store;
        let node = &mut self.brokers[at];
        let durable = match how {
            Death::Power => Some(node.durable_end()),
            // What is staged goes with the process.
            Death::Kill | Death::Stop => (plan.pool > 0).then(|| Image::read(&node.seen()).end),
        };
        let was_up = node.broker.is_some();
        match how {
            Death::Power => node.medium.power_fail(),
            Death::Kill | Death::Stop => node.medium.kill(),
        }
        node.broker = None;
        self.is_gone(at, durable, how == Death::Power);
        if was_up {
            self.start_later(at);
        }
        Ok(())
    }

    fn broker_stops(&mut self, at: usize) -> Verdict {
        let node = &mut self.brokers[at];
        let durable = node.durable_end();
        let powers = self.run.ledger.count(Strike::DiskPowerFailed);
        let now = node.clock.now(self.now);
        node.medium.advance(Mono::from_micros(self.now));
        let broker = node.broker.as_mut().expect("the caller saw it");
        let stopped = broker.stop(now);
        node.log.say(Mark::Note, format_args!("stops: {stopped:?}"));
        while stopped.is_ok()
            && let Some(effect) = self.brokers[at].broker.as_mut().and_then(|b| b.poll(now))
        {
            self.effect(at, effect)?;
        }
        self.look_at_log(at)?;
        self.brokers[at].broker = None;
        let lost = self.run.ledger.count(Strike::DiskPowerFailed) > powers;
        self.is_gone(at, lost.then_some(durable), false);
        self.start_later(at);
        Ok(())
    }

    fn is_gone(&mut self, at: usize, durable: Option<u64>, silent: bool) {
        let node = &mut self.brokers[at];
        node.inbox.clear();
        node.fuse = None;
        node.silent = silent;
        node.requests = Requests::default();
        node.ties.iter_mut().for_each(|tie| *tie = Tie::default());
        let (broker, now) = (node.name.clone(), Mono::from_micros(self.now));
        self.history.add(now, Fact::Died { broker, durable });
        self.net.died(self.now, Actor::Broker(at), silent);
    }

    pub(super) fn broker_hears(&mut self, at: usize, arrival: Arrival) {
        let node = &mut self.brokers[at];
        if node.broker.is_none() {
            return;
        }
        let conn = ConnId(arrival.conn);
        match arrival.parcel {
            Parcel::Ask { opaque, ask: Ask::Broker(request), oneway } => {
                if arrival.life != node.life {
                    return;
                }
                let caller = caller(conn, opaque, oneway);
                node.inbox.push(Input::Request { caller, request });
            }
            Parcel::NameReply { opaque, response } => {
                let Actor::Name(name) = arrival.from else { unreachable!("names answer names") };
                let open = &mut node.ties[name].open;
                let Some(which) = open.iter().position(|(of, _)| *of == opaque) else { return };
                let (_, version) = open.remove(which);
                node.inbox.push(Input::Registered { version, response: Some(response) });
            }
            Parcel::Fin => match arrival.from {
                Actor::Name(name) if node.ties[name].conn == Some(arrival.conn) => {
                    self.tie_ends(at, name);
                }
                Actor::Client(_) => node.inbox.push(Input::Closed { conn }),
                _ => return,
            },
            other => unreachable!("a broker is not told {other:?}"),
        }
        self.turn_soon(Actor::Broker(at));
    }

    pub(super) fn broker_turn(&mut self, at: usize) -> Verdict {
        let node = &mut self.brokers[at];
        if self.now < node.paused_until {
            let until = node.paused_until;
            self.turn_at(Actor::Broker(at), until);
            return Ok(());
        }
        let Some(broker) = node.broker.as_mut() else { return Ok(()) };
        node.medium.advance(Mono::from_micros(self.now));
        let now = node.clock.now(self.now);
        for input in node.inbox.drain(..) {
            match &input {
                Input::Request { caller, request } if !caller.oneway => {
                    let now = Mono::from_micros(self.now);
                    node.requests.asked(now, caller.conn, caller.opaque, request);
                }
                Input::Closed { conn } => node.requests.closed(*conn),
                _ => {}
            }
            broker.handle(now, input);
        }
        for effects in 0.. {
            let node = &mut self.brokers[at];
            match &mut node.fuse {
                Some((0, how)) => {
                    let how = *how;
                    return self.broker_dies(at, how);
                }
                Some((more, _)) => *more -= 1,
                None => {}
            }
            let broker = node.broker.as_mut().expect("it dies only above");
            let Some(effect) = broker.poll(now) else { break };
            self.effect(at, effect)?;
            if effects > EFFECTS_MAX {
                return Err(Violation::new("a turn ends", "it has very many effects"));
            }
        }
        self.operator_looks(at);
        self.after_turn(at)
    }

    fn after_turn(&mut self, at: usize) -> Verdict {
        self.look_at_log(at)?;
        let node = &self.brokers[at];
        let broker = node.broker.as_ref().expect("its turn has just ended");
        broker.verify();
        let (store, confirmed) = (broker.store(), broker.confirmed());
        node.requests.check(|queue, offset| {
            let unit = store.unit(&queue.topic, queue.queue, QueueOffset::new(offset));
            unit.is_some_and(|unit| confirmed.covers(unit.span.end()))
        })?;
        if node.requests.len() > REQUESTS_MAX || self.net.len() > REQUESTS_MAX {
            let detail =
                format!("{} requests, {} connections", node.requests.len(), self.net.len());
            return Err(Violation::new("everything is bounded", detail));
        }
        if self.steps.is_multiple_of(8) {
            broker.digest(&mut self.digest);
        }
        if self.steps.is_multiple_of(64) {
            store.disk().verify();
        }
        let deadline = broker.deadline().map(|deadline| node.clock.when(deadline));
        let disk = node.medium.next_due().map(Mono::as_micros);
        if let Some(next) = deadline.into_iter().chain(disk).min() {
            let next = next.max(self.now + 1);
            self.turn_at(Actor::Broker(at), next);
        }
        Ok(())
    }

    fn effect(&mut self, at: usize, effect: Effect) -> Verdict {
        match effect {
            Effect::Answer { caller, response } => self.answer(at, caller, response),
            Effect::Notify { conn, notice } => {
                self.net.send(self.now, conn.0, Actor::Broker(at), Parcel::Notice(notice));
                Ok(())
            }
            Effect::Group(_)
            | Effect::HaClose { .. }
            | Effect::HaFrame { .. }
            | Effect::Master(_) => unreachable!("nobody follows"),
            Effect::Register => {
                (0..self.names.len()).for_each(|name| self.register(at, name));
                self.check_told(at)
            }
        }
    }

    fn answer(&mut self, at: usize, caller: Caller, response: BrokerResponse) -> Verdict {
        let node = &mut self.brokers[at];
        node.log.say(Mark::Sent, format_args!("{} {:?}", caller.opaque, response));
        let promised = node.requests.is_promised(caller.conn, caller.opaque);
        node.requests.answered(caller.conn, caller.opaque)?;
        let broker = node.broker.as_ref().expect("it has just spoken");
        let spans = match &response {
            BrokerResponse::Pulled(pulled) => pulled.spans.as_slice(),
            _ => &[],
        };
        let records = spans.iter().map(|span| broker.lease(*span)).collect();
        if let BrokerResponse::Sent(sent) = &response
            && promised
            && self.run.plan.store.sync_flush
        {
            self.check_honest(at, sent)?;
        }
        let life = self.brokers[at].life;
        let parcel = Parcel::BrokerReply { opaque: caller.opaque, life, response, records };
        self.net.send(self.now, caller.conn.0, Actor::Broker(at), parcel);
        Ok(())
    }

    fn check_honest(&self, at: usize, sent: &Sent) -> Verdict {
        if sent.status != SendStatus::Ok {
            return Ok(());
        }
        let node = &self.brokers[at];
        let store = node.broker.as_ref().expect("it has just spoken").store();
        let file_len = u64::from(self.run.plan.store.commit_log_file);
        let one = |at: Physical| {
            let size = store.record(at).map_or(0, |record| record.size());
            honest(&node.medium, at.get(), size, file_len)
        };
        match &sent.at {
            Positions::One(at) => one(*at),
            Positions::Many(many) => many.iter().try_for_each(|at| one(*at)),
        }
    }

    /// The broker says that only a restart helps: its operator does that, after a while.
    fn operator_looks(&mut self, at: usize) {
        let node = &mut self.brokers[at];
        let Some(broker) = node.broker.as_ref().filter(|_| !node.restarts) else { return };
        if broker.closed_for_sends().is_none() {
            return;
        }
        node.restarts = true;
        self.run.ledger.hit(Strike::NodeRestarted);
        let broker = at;
        let how = *pick(&mut self.process, &[Death::Stop, Death::Kill], "process.operator");
        let delay = self.process.below(2_000_000, "process.operator.us");
        let life = self.brokers[at].life;
        self.at(self.now + delay, Event::Restart { broker, life, how });
    }

    pub(super) fn restart(&mut self, at: usize, life: u32, how: Death) -> Verdict {
        let node = &self.brokers[at];
        if node.life != life || node.broker.is_none() {
            return Ok(());
        }
        self.broker_dies(at, how)
    }

    /// Asks a broker as nobody in particular, outside of time.
    pub(super) fn probe_broker(
        &mut self,
        at: usize,
        request: hotfire_core::domain::BrokerRequest,
    ) -> Result<Option<BrokerResponse>, Violation> {
        let conn = ConnId(u64::MAX);
        let node = &mut self.brokers[at];
        let now = node.clock.now(self.now);
        let broker = node.broker.as_mut().expect("probes come when all are up");
        broker.handle(now, Input::Request { caller: caller(conn, -1, false), request });
        let mut found = None;
        while let Some(effect) = self.brokers[at].broker.as_mut().and_then(|b| b.poll(now)) {
            match effect {
                Effect::Answer { caller, response } if caller.conn == conn => {
                    found = Some(response);
                }
                other => self.effect(at, other)?,
            }
        }
        Ok(found)
    }
}
