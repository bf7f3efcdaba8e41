//! Every crash point of a small scenario: three records on one broker with files of two records.
//!
//! The scenario can stop before each effect of the machine and before each completion of the disk.
//! For each such point, each fate of what was not on the medium is tried: which dirty pages are
//! kept, how many steps of each operation under way were taken, whether a sync had copied early,
//! kill or power failure. Nothing is sampled.

mod deletion;

use std::time::Duration;

use hotfire_core::broker::{Broker, BrokerConfig, Effect, FlushPolicy, Input, Pace};
use hotfire_core::domain::{
    BrokerId, BrokerIdentity, BrokerRequest, BrokerResponse, ConnId, CreateTopic, Positions,
    QueueRef, Send, Sent,
};
use hotfire_core::machine::Machine;
use hotfire_storage::Settings;
use hotfire_storage::text::Text;
use hotfire_storage::time::{Mono, Now, Wall};

use super::honest;
use super::names::caller;
use crate::choose::{Chance, Choose, Concern, exhaust};
use crate::disk::{Faults, Medium, SimDisk};
use crate::ledger::Ledger;
use crate::oracle::image::Image;
use crate::oracle::{Oracles, derived};
use crate::plan::Keeping;
use crate::trace::Column;
use crate::workload::history::{Fact, History, Message};
use crate::workload::message::{self, Id, Lane};

/// Bytes of a log file: two records of the least size.
const FILE: u32 = 512;
const NAME: &str = "b";

/// The scenario was stopped.
struct Stopped;

/// A disk without faults, of whose syncs so many copy early: 0 asks no questions.
fn disk(sync_early: u32) -> Faults {
    Faults { latency_min_us: 10, latency_max_us: 10, sync_early, ..Faults::none() }
}

struct Rig {
    medium: Medium,
    broker: Option<Broker<SimDisk>>,
    sync_flush: bool,
    file: u32,
    keep: Keeping,
    now: u64,
    life: u32,
    /// Points until it stops.
    left: u64,
    history: History,
    oracles: Oracles,
}

fn now(us: u64) -> Now {
    Now { mono: Mono::from_micros(us), wall: Wall::from_millis(1_700_000_000_000) }
}

impl Rig {
    fn new(chance: &Chance, sync_flush: bool, file: u32) -> Self {
        Self::keeping(chance, sync_flush, file, Keeping::forever())
    }

    fn keeping(chance: &Chance, sync_flush: bool, file: u32, keep: Keeping) -> Self {
        let dice = chance.of(Concern::Disk);
        let medium = Medium::new(disk(0), dice, Ledger::default(), Column::default());
        let mut rig = Self {
            medium,
            broker: None,
            sync_flush,
            file,
            now: 0,
            life: 0,
            left: u64::MAX,
            history: History::default(),
            oracles: Oracles::new(sync_flush, keep.clone(), file, Ledger::default()),
            keep,
        };
        assert!(rig.open(None), "nothing stops the first start");
        rig.ask(0, BrokerRequest::CreateTopic(Box::new(topic())));
        assert!(rig.rest().is_ok(), "nothing stops it yet");
        rig
    }

    /// Starts the broker, unless that kills it; everything that must hold then is checked.
    fn open(&mut self, dies_at: Option<u64>) -> bool {
        let settings = Settings {
            commit_log_file: self.file,
            consume_queue_file: 40,
            index_slots: 2,
            index_items: 3,
            ..Settings::default()
        };
        let identity = BrokerIdentity {
            cluster: "c".into(),
            broker_name: NAME.into(),
            addr: "10.0.0.1:10911".into(),
            id: BrokerId::MASTER,
        };
        let flush = if self.sync_flush {
            FlushPolicy::Sync { timeout: Duration::from_secs(5) }
        } else {
            let every = Duration::from_millis(10);
            FlushPolicy::Async {
                flush: Pace { every, least_pages: 0, thorough: every },
                commit: None,
            }
        };
        let host = "10.0.0.1:10911".parse().expect("an address");
        let retention = self.keep.policy();
        let config = BrokerConfig {
            flush,
            retention,
            ..BrokerConfig::new(identity, host, "10.0.0.1:10912".into())
        };
        let disk = self.medium.mount();
        if let Some(operation) = dies_at {
            self.medium.die_at(operation);
        }
        let Ok((broker, _)) = Broker::open(disk, settings, config, now(self.now)) else {
            return false;
        };
        self.life += 1;
        let name = Text::from(NAME);
        self.history.add(Mono::ZERO, Fact::Began { broker: name.clone(), life: self.life });
        let image = Image::read(&broker.store().disk().seen());
        let told = broker.registration().topics;
        let store = broker.store();
        let (start, end) = (store.start().get(), store.written().end().get());
        self.oracles
            .follow(&self.history)
            .and_then(|()| self.oracles.retention.began(&name, self.now, start, end))
            .and_then(|()| self.oracles.began(&name, self.life, &image, &self.history))
            .and_then(|()| self.oracles.metadata.check(&name, &told))
            .and_then(|()| derived::check(broker.store(), &image))
            .unwrap_or_else(|violation| panic!("{violation}"));
        self.broker = Some(broker);
        true
    }

    fn point(&mut self) -> Result<(), Stopped> {
        self.left = self.left.checked_sub(1).ok_or(Stopped)?;
        Ok(())
    }

    fn broker(&mut self) -> &mut Broker<SimDisk> {
        self.broker.as_mut().expect("it is up")
    }

    fn ask(&mut self, opaque: i32, request: BrokerRequest) {
        let at = now(self.now);
        let caller = caller(ConnId(1), opaque, false);
        self.broker().handle(at, Input::Request { caller, request });
    }

    fn send(&mut self, number: u32) {
        self.send_sized(number, 1);
    }

    fn send_sized(&mut self, number: u32, len: usize) {
        let (id, lane) = (Id { producer: 0, number }, lane());
        let body = message::body(id, len);
        let sequence = u64::from(number) + 1;
        let light = Vec::new();
        let made = Message {
            lane,
            sequence,
            oneway: false,
            body: body.clone(),
            light,
            promised: true,
            belongs: None,
        };
        self.history.made(id, made);
        let send = Send {
            default_queues: 1,
            properties: message::properties(id, true).into(),
            ..Send::new("p", QueueRef { topic: "t".into(), queue: 0 }, body)
        };
        let opaque = i32::try_from(number).expect("few");
        self.ask(opaque, BrokerRequest::Send(Box::new(send)));
    }

    /// Polls and waits until there is nothing more to come.
    fn rest(&mut self) -> Result<(), Stopped> {
        loop {
            self.point()?;
            let at = now(self.now);
            if let Some(effect) = self.broker().poll(at) {
                self.effect(effect);
                continue;
            }
            self.broker().verify();
            if let Some(due) = self.medium.next_due() {
                self.now = self.now.max(due.as_micros());
            } else if self.broker().store().flushed().end() < self.broker().store().written().end()
            {
                self.now += 10_000;
            } else {
                return Ok(());
            }
            self.medium.advance(Mono::from_micros(self.now));
        }
    }

    /// Polls and waits until the disk has nothing more to say.
    fn polls_out(&mut self) -> bool {
        loop {
            let at = now(self.now);
            if let Some(effect) = self.broker().poll(at) {
                self.effect(effect);
                continue;
            }
            let Some(due) = self.medium.next_due() else {
                return self.broker().closed_for_sends().is_some();
            };
            self.now = self.now.max(due.as_micros());
            self.medium.advance(Mono::from_micros(self.now));
        }
    }

    fn effect(&mut self, effect: Effect) {
        let Effect::Answer { caller, response: BrokerResponse::Sent(sent) } = effect else {
            return;
        };
        let Sent { status, queue_offset, at: Positions::One(at), .. } = *sent else {
            panic!("single messages are answered as such");
        };
        if self.sync_flush {
            let size = self.broker().store().record(at).expect("it was just stored").size();
            honest(&self.medium, at.get(), size, u64::from(self.file)).expect("an honest answer");
        }
        let number = u32::try_from(caller.opaque).expect("numbers are not negative");
        let fact = Fact::Acked {
            life: self.life,
            status,
            ids: vec![Id { producer: 0, number }],
            offset: queue_offset.get(),
            at: vec![at.get()],
        };
        self.history.add(Mono::ZERO, fact);
    }

    /// One record, acknowledged; then two that share a sync, the second in a new file.
    fn script(&mut self) -> Result<(), Stopped> {
        self.send(0);
        self.rest()?;
        self.send(1);
        self.send(2);
        self.rest()
    }

    fn die(&mut self, power: bool) {
        let durable = power.then(|| Image::read(&self.medium.durable()).end);
        if power {
            self.medium.power_fail();
        } else {
            self.medium.kill();
        }
        self.broker = None;
        self.history.add(Mono::ZERO, Fact::Died { broker: NAME.into(), durable });
    }

    /// A further record, on top of whatever was left, and one more death.
    fn live_on(&mut self) {
        self.left = u64::MAX;
        self.medium.set_faults(disk(0));
        self.send(4);
        assert!(self.rest().is_ok(), "nothing stops it");
        let acked = |(_, fact): &(Mono, Fact)| matches!(fact, Fact::Acked { .. });
        assert!(self.history.since(0).iter().any(acked), "it takes messages");
        self.die(false);
        assert!(self.open(None), "it starts again");
    }
}

fn lane() -> Lane {
    Lane { broker: NAME.into(), topic: "t".into(), queue: 0 }
}

fn topic() -> CreateTopic {
    CreateTopic::new("t", 1)
}

/// Tries every fate of a stop at point number `at`; how many runs, and whether any was stopped.
fn every_fate(at: u64, sync_flush: bool) -> (u64, bool) {
    let mut any = false;
    let runs = exhaust(200_000, |chance| {
        let mut rig = Rig::new(chance, sync_flush, FILE);
        rig.left = at;
        rig.medium.set_faults(disk(500));
        any |= rig.script().is_err();
        let power = chance.of(Concern::Process).below(2, "process.power") == 1;
        rig.die(power);
        // Nothing is written to the log while a start syncs it: when that copies makes no odds.
        rig.medium.set_faults(disk(0));
        assert!(rig.open(None), "a start without faults succeeds");
        rig.live_on();
    });
    (runs, any)
}

#[test]
fn every_crash_point_of_three_records_keeps_every_promise() {
    for sync_flush in [true, false] {
        let (mut all, mut points) = (0, 0);
        loop {
            let (runs, stopped) = every_fate(points, sync_flush);
            all += runs;
            points += 1;
            if !stopped {
                break;
            }
        }
        assert!(points > 5, "{points} points");
        assert!(all > 200, "{all} runs");
    }
}

#[test]
fn a_crash_at_every_operation_of_a_recovery_keeps_every_promise() {
    let mut all = 0;
    for at in 0.. {
        let mut died = false;
        all += exhaust(200_000, |chance| {
            let mut rig = Rig::new(chance, true, FILE);
            // Two records that were promised, one in the next file that is not synced.
            rig.send(0);
            rig.send(1);
            assert!(rig.rest().is_ok(), "nothing stops it");
            rig.send(3);
            let at_now = now(rig.now);
            while let Some(effect) = rig.broker().poll(at_now) {
                rig.effect(effect);
            }
            // Everything is in the page cache, and nobody knows what of it is on the medium.
            rig.die(false);
            let durable = Image::read(&rig.medium.durable()).end;
            if !rig.open(Some(at)) {
                died = true;
                // Whether it lost power, the medium does not tell: grant that it did.
                let broker = NAME.into();
                rig.history.add(Mono::ZERO, Fact::Died { broker, durable: Some(durable) });
                assert!(rig.open(None), "the next start succeeds");
            }
            rig.live_on();
        });
        if !died {
            break;
        }
    }
    assert!(all > 200, "{all} runs");
}

/// After a sync that failed the kernel takes pages for clean that are not on the medium. If only
/// the process dies, its successor sees them in memory; what it promises must not rest on them.
#[test]
fn what_a_failed_sync_left_in_memory_is_not_taken_for_durable() {
    let runs = exhaust(10_000, |chance| {
        let mut rig = Rig::new(chance, true, 32_768);
        rig.medium.set_faults(Faults { sync_fails: 1000, ..disk(0) });
        (0..3).for_each(|number| rig.send_sized(number, 3000));
        assert!(rig.polls_out(), "the failed sync ends it");
        rig.medium.set_faults(disk(0));
        rig.die(false);
        assert!(rig.open(None), "the next start succeeds");
        rig.send(4);
        assert!(rig.rest().is_ok(), "nothing stops it");
        rig.die(true);
        assert!(rig.open(None), "it starts again");
    });
    assert!(runs > 4, "{runs} runs");
}
