//! One broker of a group: its medium, its process, its lives.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use hotfire_core::broker::Effect;
use hotfire_core::broker::{Broker, BrokerConfig, OpenError, Role};
use hotfire_core::domain::{BrokerId, BrokerIdentity, BrokerResponse};
use hotfire_core::ha::{MasterPolicy, SlavePolicy};
use hotfire_core::machine::Machine as _;
use hotfire_storage::time::{Mono, Now};
use hotfire_storage::{LoadError, OpenError as StoreError, Parting, Settings, part};

use super::aside::Before;
use super::names::{CONNS, Names};
use super::wire::Parcel;
use crate::choose::{Choose, Concern, Stream, pick};
use crate::disk::{Faults, Medium, SimDisk};
use crate::oracle::audit::Entry;
use crate::oracle::image::Log;
use crate::plan::{Keeping, Plan};
use crate::ring::{Run, Violation};
use crate::trace::{Column, Mark};
use crate::workload::message::Record;

/// Bytes of a file of the log at most where files go: a run is to fill some.
const SHORT: u64 = 5000;

/// What the group is like.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// Slaves that a send waits for.
    pub(super) wanted: usize,
    /// Does it wait for the master's medium?
    pub(super) sync_flush: bool,
    /// Does the master stage what it writes?
    pub(super) staged: bool,
    /// Do slaves acknowledge what is on their medium only?
    pub(super) slaves_sync: bool,
    /// How long a send waits for slaves.
    pub(super) timeout: Duration,
    /// Bytes of a file of the log.
    pub(super) file_len: u64,
    /// Does the master know the addresses of its slaves?
    pub(super) guarded: bool,
    /// What becomes of old files.
    pub(super) keep: Keeping,
    /// Bytes of a frame at most.
    pub(super) batch: u32,
    overlap: u64,
    window: u64,
}

impl Shape {
    pub(super) fn draw(work: &mut Stream, plan: &Plan, slaves: usize) -> Self {
        Self {
            wanted: work.index(slaves + 1, "pair.wanted"),
            sync_flush: plan.store.sync_flush,
            staged: plan.store.pool > 0,
            slaves_sync: work.chance(300, "pair.slaves_sync"),
            timeout: Duration::from_secs(3),
            file_len: match u64::from(plan.store.commit_log_file) {
                long if plan.pair_keep.lets_go() => long.min(SHORT),
                any => any,
            },
            keep: plan.pair_keep.clone(),
            batch: *pick(work, &[32 << 10, 700, 50], "pair.batch"),
            overlap: *pick(work, &[128 << 10, 3000, 300, 20], "pair.overlap"),
            window: *pick(work, &[1 << 20, 2000], "pair.window"),
            guarded: work.chance(500, "pair.guarded"),
        }
    }
}

/// A broker.
pub(super) struct Node {
    pub(super) medium: Medium,
    pub(super) broker: Option<Broker<SimDisk>>,
    pub(super) life: u32,
    /// Of 1000 effects, before how many it dies.
    pub(super) dying: u32,
    /// When its next turn is planned.
    pub(super) planned: Option<u64>,
    pub(super) log: Column,
    /// What is to become of its log before it starts, and what that was like.
    parting: Option<(Parting, Before)>,
    /// As a slave: somebody else is where it connects next.
    pub(super) misled: bool,
    /// What arrived from the master and is not read.
    pub(super) socket: VecDeque<Parcel>,
    settings: Settings,
    config: BrokerConfig,
    boot_dies: u32,
    /// Do syncs fail, or hang?
    is_bad: bool,
    luck: Stream,
}

impl Node {
    pub(super) fn new(run: &Run, shape: &Shape, at: usize) -> Self {
        let name = if at == 0 { "master".to_owned() } else { format!("slave {at}") };
        let log = run.trace.column(&name);
        let commit_log_file = u32::try_from(shape.file_len).expect("a file is short");
        // What a slave gives up is kept for its operator, who has room for it.
        let capacity = if at == 0 { shape.keep.capacity(commit_log_file) } else { u64::MAX };
        let faults = Faults { capacity, ..run.plan.disk.restored() };
        let dice = run.chance.of(Concern::Disk);
        let medium = Medium::new(faults.clone(), dice, run.ledger.clone(), log.clone());
        let is_slave = at > 0;
        let identity = BrokerIdentity {
            cluster: "c".into(),
            broker_name: "b".into(),
            addr: format!("10.0.0.{}:10911", at + 1).into(),
            id: BrokerId(i64::try_from(at).expect("few")),
        };
        let role = if is_slave {
            let policy = SlavePolicy { overlap: shape.overlap, ..SlavePolicy::default() };
            Role::Slave { policy, master: Some("10.0.0.1:10912".into()) }
        } else {
            let known = ["10.0.0.2/32", "10.0.0.3/32"].map(|net| net.parse().expect("a network"));
            Role::Master(MasterPolicy {
                allowed: if shape.guarded { known.to_vec() } else { Vec::new() },
                wanted: shape.wanted,
                timeout: shape.timeout,
                batch: shape.batch,
                window: shape.window,
                ..MasterPolicy::default()
            })
        };
        let mut shape_of = run.plan.store.clone();
        shape_of.sync_flush = if is_slave { shape.slaves_sync } else { shape.sync_flush };
        let (flush, staged) = if is_slave {
            (shape_of.flush(0), None)
        } else {
            (shape_of.staged_flush(0), shape_of.staging().map(|(bytes, _)| bytes))
        };
        let settings = Settings { staged, commit_log_file, ..run.plan.store.settings() };
        let host = ([10, 0, 0, u8::try_from(at + 1).expect("few")], 10_911).into();
        let mut config = BrokerConfig {
            role,
            flush,
            seed: u64::try_from(at).expect("few"),
            retention: shape.keep.policy(),
            ..BrokerConfig::new(identity, host, "10.0.0.1:10912".into())
        };
        Names::set(&run.plan.pair_names, &mut config);
        let is_bad = faults.sync_fails + faults.writeback_fails + faults.sync_stuck > 0;
        let (luck, boot_dies) = (run.chance.of(Concern::Process), faults.boot_dies);
        Self {
            medium,
            broker: None,
            life: 0,
            dying: 0,
            planned: None,
            log,
            parting: None,
            misled: false,
            socket: VecDeque::new(),
            settings,
            config,
            boot_dies,
            is_bad,
            luck,
        }
    }

    /// Bytes of a file of its log.
    pub(super) fn file_len(&self) -> u64 {
        u64::from(self.settings.commit_log_file)
    }

    /// May its disk fail what it was asked to make durable?
    pub(super) fn fails(&self) -> bool {
        self.is_bad
    }

    /// Starts it; `false` if the disk did not let it.
    pub(super) fn boot(&mut self, now: Now) -> Result<bool, Violation> {
        if self.luck.chance(self.boot_dies, "pair.boot_dies") {
            self.medium.die_at(self.luck.below(40, "pair.boot_dies_at"));
        }
        let opened = self.open(now);
        self.medium.spare();
        opened
    }

    fn open(&mut self, now: Now) -> Result<bool, Violation> {
        if let Some((parting, before)) = &self.parting {
            let parting = *parting;
            let mut disk = self.medium.mount();
            let parted = part(&mut disk, &self.settings, parting);
            self.log.say(Mark::Note, format_args!("{parting:?}: {parted:?}"));
            drop(disk);
            match parted {
                Ok(_) => {
                    // A disk that fails syncs keeps what it likes.
                    if !self.is_bad {
                        before.check(&self.medium, parting)?;
                    }
                    self.parting = None;
                }
                Err(StoreError::Disk(_)) => return Ok(false),
                Err(why) => return Err(Violation::new("a copy can be parted", why)),
            }
        }
        let disk = self.medium.mount();
        match Broker::open(disk, self.settings.clone(), self.config.clone(), now) {
            Ok((broker, opened)) => {
                self.life += 1;
                self.log.say(Mark::Up, format_args!("life {}: {opened:?}", self.life));
                (self.broker, self.planned) = (Some(broker), None);
                Ok(true)
            }
            Err(
                why
                @ (OpenError::Store(StoreError::Disk(_)) | OpenError::State(LoadError::Disk(_))),
            ) => {
                self.log.say(Mark::Died, format_args!("in its boot: {why}"));
                Ok(false)
            }
            Err(why) => Err(Violation::new("a broker opens", why)),
        }
    }

    pub(super) fn die(&mut self, power: bool) {
        if power {
            self.medium.power_fail();
        } else {
            self.medium.kill();
        }
        (self.broker, self.planned, self.dying) = (None, None, 0);
        self.socket.clear();
    }

    /// Stops it in order; what it still answers.
    pub(super) fn restart(&mut self, now: Now) -> Vec<(i32, BrokerResponse)> {
        let mut broker = self.broker.take().expect("only who lives is stopped");
        let stopped = broker.stop(now);
        self.log.say(Mark::Note, format_args!("stopped: {stopped:?}"));
        let mut answers = Vec::new();
        while let Some(effect) = broker.poll(now) {
            // Consumers that are routed ask again.
            if let Effect::Answer { caller, response } = effect
                && caller.conn.0 < CONNS
            {
                answers.push((caller.opaque, response));
            }
        }
        let parting = broker.parting();
        self.planned = None;
        self.socket.clear();
        drop(broker);
        self.medium.advance(Mono::from_micros(now.mono.as_micros()));
        if let Some(parting) = parting {
            self.part(parting);
        }
        answers
    }

    /// What is to become of its log before its next start.
    pub(super) fn parting(&self) -> Option<Parting> {
        self.parting.as_ref().map(|(parting, _)| *parting)
    }

    /// Before its next start its log is parted. It is stopped.
    pub(super) fn part(&mut self, parting: Parting) {
        self.parting = Some((parting, Before::of(&self.medium)));
    }

    /// The files of its log, as processes see them; none if it is down.
    pub(super) fn log_files(&self) -> BTreeMap<String, Vec<u8>> {
        let Some(broker) = &self.broker else { return BTreeMap::new() };
        // Of a log that began anew some files may be left in front of it.
        let first = format!("commitlog/{:020}", broker.store().start().get());
        let is_log = |path: &str| path.starts_with("commitlog/") && path >= &*first;
        broker.store().disk().seen_where(is_log)
    }

    /// The messages in them.
    pub(super) fn held(&self) -> Vec<Entry> {
        let files = self.log_files();
        let found = |record: &Record<'_>| Entry::found(record, record.bytes);
        Log::read(&files).records.iter().filter_map(found).collect()
    }

    /// The file of the log that holds byte `at`, as processes see it, and where it begins.
    pub(super) fn log_file(&self, at: u64, file_len: u64) -> Option<(u64, Vec<u8>)> {
        let start = at / file_len * file_len;
        let path = format!("commitlog/{start:020}");
        let mut seen = if let Some(broker) = &self.broker {
            broker.store().disk().seen_where(|seen| seen == path)
        } else {
            let mut seen = self.medium.seen();
            seen.retain(|known, _| *known == path);
            seen
        };
        Some((start, seen.remove(&path)?))
    }

    /// Bytes of the log, as processes see them. They lie in one file.
    pub(super) fn bytes(&self, at: u64, len: usize, file_len: u64) -> Option<Vec<u8>> {
        let (start, file) = self.log_file(at, file_len)?;
        let from = usize::try_from(at - start).ok()?;
        file.get(from..from + len).map(<[u8]>::to_vec)
    }

    /// Are these bytes on the medium?
    pub(super) fn is_durable(&self, at: u64, bytes: &[u8], file_len: u64) -> bool {
        let start = at / file_len * file_len;
        let path = format!("commitlog/{start:020}");
        self.medium.durable_part(&path, at - start, bytes.len()).as_deref() == Some(bytes)
    }
}
