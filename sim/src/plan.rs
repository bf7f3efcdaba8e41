//! The plan of a run: everything about it that is drawn before it starts.
//!
//! A plan is data: it is printed with a failure, can be edited, and can be run again in place of
//! the one that the seed draws. Chance during the run comes from other streams, so an edited plan
//! meets the same chance.

mod keeping;
mod names;
mod wired;

pub use keeping::Keeping;
pub use names::Names;
pub use wired::Wired;

use std::time::Duration;

use hotfire_core::broker::{FlushPolicy, Pace};
use serde::{Deserialize, Serialize};

use crate::choose::{Choose, pick};
use crate::disk::Faults;

/// Everything that is drawn for a run before it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Who takes part.
    pub cluster: Cluster,
    /// How the stores are set.
    pub store: StoreShape,
    /// How long messages are kept.
    pub keep: Keeping,
    /// The same in the ring of replication.
    pub pair_keep: Keeping,
    /// What clients do.
    pub work: Work,
    /// What disks do.
    pub disk: Faults,
    /// What links do.
    pub net: NetFaults,
    /// What clocks do.
    pub clock: ClockFaults,
    /// What becomes of processes.
    pub process: ProcessFaults,
    /// Name servers in the ring of replication.
    pub pair_names: Names,
    /// What ring 2 alone has.
    pub wired: Wired,
}

/// Who takes part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Name servers.
    pub name_servers: u32,
    /// Brokers, each the master of a name of its own.
    pub brokers: u32,
    /// Queues of a topic on each broker.
    pub queues: u32,
}

/// How stores are set. Files are tiny: a run rolls them many times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreShape {
    /// Bytes of a CommitLog file.
    pub commit_log_file: u32,
    /// Bytes of a ConsumeQueue file.
    pub consume_queue_file: u32,
    /// Do queues have extensions?
    pub queue_ext: bool,
    /// Bytes of a file of an extension.
    pub queue_ext_file: u32,
    /// Slots of an index file.
    pub index_slots: u32,
    /// Items of an index file, one more than fit.
    pub index_items: u32,
    /// Bytes of a file of a queue of inner batches.
    pub batch_queue_file: u32,
    /// Light queues that messages may name.
    pub light_queues: u32,
    /// Is a send answered only once it is on the medium?
    pub sync_flush: bool,
    /// Between two syncs of an asynchronous flush.
    pub flush_interval_us: u64,
    /// Between two saves of how far groups, and delayed messages, are.
    pub save_us: u64,
    /// Bytes of the transient store pool; 0: there is none. Asynchronous flush only, and not in
    /// ring 2.
    pub pool: u32,
}

/// What clients do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// Producers.
    pub producers: u32,
    /// Consumers.
    pub consumers: u32,
    /// Messages that are sent in all.
    pub sends: u32,
    /// The largest body, in bytes.
    pub body_max: u32,
    /// Between two sends of a producer, at most.
    pub think_max_us: u64,
    /// Is there a topic of inner batches?
    pub inner_batches: bool,
    /// Messages that are to wait for their time, per mille.
    pub delayed: u32,
    /// Messages that a consumer fails to consume, per mille each time.
    pub failing: u32,
    /// Times that each consumer sends its group back to what it has consumed, at most.
    pub resets: u32,
}

/// What links do. Rates are per mille of the bursts of bytes that pass a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetFaults {
    /// The least a burst takes.
    pub latency_min_us: u64,
    /// The most a burst takes on a link that is well.
    pub latency_max_us: u64,
    /// Bursts after which the connection is cut, at any byte.
    pub cut: u32,
    /// Bursts after which the link stalls.
    pub stall: u32,
    /// The most a stall takes.
    pub stall_max_us: u64,
    /// Stalls that swallow: neither end learns of it.
    pub black_hole: u32,
    /// How many times some nodes cannot reach others in a run, at most.
    pub partitions: u32,
    /// How long that takes, at most.
    pub partition_max_us: u64,
}

/// What clocks do. Monotonic time drifts, the wall clock also jumps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockFaults {
    /// Parts per million that a node's monotonic clock is fast or slow, at most.
    pub drift_ppm: u32,
    /// How many times a wall clock jumps in a run, at most.
    pub jumps: u32,
    /// How far it jumps, either way, at most.
    pub jump_max_ms: u64,
}

/// What becomes of processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessFaults {
    /// How many times a node dies in a run, at most.
    pub deaths: u32,
    /// Deaths that take the power with them, per mille.
    pub power: u32,
    /// How long a dead node stays dead, at most.
    pub down_max_us: u64,
    /// How many times a node is paused in a run, at most.
    pub pauses: u32,
    /// How long it is paused, at most.
    pub pause_max_us: u64,
    /// How many consumers die in a run, at most.
    pub clients: u32,
}

/// A family of faults that a replay can switch off, to see whether the run still fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Drifts and jumps.
    Clock,
    /// All that disks do but lose what was not synced.
    Disk,
    /// Cuts, stalls and black holes.
    Net,
    /// Deaths and pauses.
    Process,
}

impl Plan {
    /// Draws a plan. Whole kinds of faults are off in many plans: a fault that is always there
    /// hides the bugs that need its absence.
    pub fn draw(choose: &mut dyn Choose) -> Self {
        let mut plan = Self {
            cluster: Cluster::draw(choose),
            store: StoreShape::draw(choose),
            keep: Keeping::forever(),
            pair_keep: Keeping::for_ages(),
            work: Work::draw(choose),
            disk: Faults::draw(choose),
            net: NetFaults::draw(choose),
            clock: ClockFaults::draw(choose),
            process: ProcessFaults::draw(choose),
            pair_names: Names::none(),
            wired: Wired::none(),
        };
        // Younger than the rest, and drawn behind it: what came before keeps its seeds.
        plan.net.partitions = *pick(choose, &[0, 0, 1, 4], "plan.net.partitions");
        plan.net.partition_max_us = *pick(choose, &[500_000, 30_000_000], "plan.net.partition_max");
        plan.process.clients = *pick(choose, &[0, 0, 2], "plan.process.clients");
        plan.store.queue_ext = choose.chance(300, "plan.queue_ext");
        plan.store.queue_ext_file = *pick(choose, &[1024, 100, 50], "plan.queue_ext_file");
        plan.disk.draw_more(choose);
        plan.store.index_slots = *pick(choose, &[50, 4, 1], "plan.index_slots");
        plan.store.index_items = *pick(choose, &[1000, 60, 8, 2], "plan.index_items");
        plan.store.light_queues = *pick(choose, &[0, 0, 1, 3], "plan.light_queues");
        plan.work.inner_batches = choose.chance(300, "plan.inner_batches");
        plan.store.batch_queue_file = 46 * *pick(choose, &[20, 3, 1], "plan.batch_queue_file");
        plan.keep = Keeping::draw(choose);
        plan.disk.capacity = plan.keep.capacity(plan.store.commit_log_file);
        let pool = *pick(choose, &[0, 0, 3000, 40_000], "plan.pool");
        plan.store.pool = if plan.store.sync_flush { 0 } else { pool };
        plan.pair_keep = Keeping::draw_for_copies(choose);
        plan.pair_names = Names::draw(choose);
        plan.work.delayed = *pick(choose, &[0, 0, 100, 800], "plan.delayed");
        plan.store.save_us = *pick(choose, &[5_000_000, 200_000], "plan.save");
        plan.work.failing = *pick(choose, &[0, 0, 0, 400], "plan.failing");
        plan.work.resets = *pick(choose, &[0, 0, 2], "plan.resets");
        plan
    }

    /// The same plan without these families of faults.
    #[must_use]
    pub fn muted(mut self, families: &[Family]) -> Self {
        for family in families {
            match family {
                Family::Clock => {
                    self.clock = ClockFaults { drift_ppm: 0, jumps: 0, jump_max_ms: 0 };
                }
                Family::Disk => self.disk = self.disk.muted(),
                Family::Net => {
                    (self.net.cut, self.net.stall, self.net.black_hole) = (0, 0, 0);
                    self.net.partitions = 0;
                    let names = &mut self.pair_names;
                    (names.cuts, names.one_way, names.ends) = (0, 0, 0);
                    (self.wired.cuts, self.wired.pieces) = (0, 0);
                }
                Family::Process => {
                    (self.process.deaths, self.process.pauses) = (0, 0);
                    self.process.clients = 0;
                    let names = &mut self.pair_names;
                    (names.restarts, names.away, names.clients) = (0, 0, 0);
                }
            }
        }
        self
    }
}

impl StoreShape {
    /// The settings of a store.
    pub fn settings(&self) -> hotfire_storage::Settings {
        hotfire_storage::Settings {
            commit_log_file: self.commit_log_file,
            consume_queue_file: self.consume_queue_file,
            batch_queue_file: self.batch_queue_file,
            queue_ext: self.queue_ext,
            queue_ext_file: self.queue_ext_file,
            light_queues: self.light_queues > 0,
            index_slots: self.index_slots,
            index_items: self.index_items,
            ..hotfire_storage::Settings::default()
        }
    }

    /// The pool, if there is one: how much may be staged, and when it is committed.
    pub fn staging(&self) -> Option<(usize, Pace)> {
        let every = Duration::from_micros(self.flush_interval_us / 3);
        let pace = Pace { every, least_pages: 1, thorough: every * 2 };
        (self.pool > 0).then_some((self.pool as usize, pace))
    }

    /// Between two saves of how far groups, and delayed messages, are.
    pub fn save_every(&self) -> Duration {
        Duration::from_micros(self.save_us)
    }

    /// How a broker with these flushes.
    pub fn flush(&self, least_pages: u32) -> FlushPolicy {
        if self.sync_flush {
            return FlushPolicy::Sync { timeout: Duration::from_secs(5) };
        }
        let every = Duration::from_micros(self.flush_interval_us);
        let flush = Pace { every, least_pages, thorough: Duration::from_secs(10) };
        FlushPolicy::Async { flush, commit: None }
    }

    /// The same with the pool.
    pub fn staged_flush(&self, least_pages: u32) -> FlushPolicy {
        match self.flush(least_pages) {
            FlushPolicy::Async { flush, .. } => {
                FlushPolicy::Async { flush, commit: self.staging().map(|(_, pace)| pace) }
            }
            sync @ FlushPolicy::Sync { .. } => sync,
        }
    }

    /// The names of its light queues.
    pub fn lights(&self) -> Vec<hotfire_storage::text::Text> {
        (0..self.light_queues).map(|number| format!("%LMQ%{number}").into()).collect()
    }
}

impl Cluster {
    fn draw(choose: &mut dyn Choose) -> Self {
        Self {
            name_servers: *pick(choose, &[1, 1, 2], "plan.name_servers"),
            brokers: *pick(choose, &[1, 1, 2], "plan.brokers"),
            queues: *pick(choose, &[1, 2, 4], "plan.queues"),
        }
    }
}

impl StoreShape {
    fn draw(choose: &mut dyn Choose) -> Self {
        Self {
            // From "rolls every few records" to "rolls now and then"; odd sizes on purpose.
            commit_log_file: *pick(choose, &[65_536, 16_384, 4096, 5000], "plan.commit_log_file"),
            consume_queue_file: 20 * *pick(choose, &[300, 20, 4, 1], "plan.consume_queue_file"),
            queue_ext: false,
            queue_ext_file: 1024,
            index_slots: 0,
            index_items: 0,
            batch_queue_file: 46 * 20,
            light_queues: 0,
            sync_flush: choose.chance(600, "plan.sync_flush"),
            flush_interval_us: *pick(choose, &[10_000, 500_000], "plan.flush_interval"),
            save_us: 5_000_000,
            pool: 0,
        }
    }
}

impl Work {
    fn draw(choose: &mut dyn Choose) -> Self {
        Self {
            producers: *pick(choose, &[1, 2, 4], "plan.producers"),
            consumers: *pick(choose, &[1, 2, 4], "plan.consumers"),
            sends: *pick(choose, &[10, 40, 200], "plan.sends"),
            body_max: *pick(choose, &[16, 200, 2000], "plan.body_max"),
            think_max_us: *pick(choose, &[0, 1000, 50_000], "plan.think_max"),
            inner_batches: false,
            delayed: 0,
            failing: 0,
            resets: 0,
        }
    }
}

impl NetFaults {
    fn draw(choose: &mut dyn Choose) -> Self {
        let latency_min_us = choose.range(20, 2000, "plan.net.latency");
        Self {
            latency_min_us,
            latency_max_us: latency_min_us + pick(choose, &[0, 1000, 50_000], "plan.net.spread"),
            cut: *pick(choose, &[0, 0, 5, 50], "plan.net.cut"),
            stall: *pick(choose, &[0, 0, 10], "plan.net.stall"),
            stall_max_us: *pick(choose, &[100_000, 10_000_000], "plan.net.stall_max"),
            black_hole: *pick(choose, &[0, 500], "plan.net.black_hole"),
            partitions: 0,
            partition_max_us: 0,
        }
    }
}

impl ClockFaults {
    fn draw(choose: &mut dyn Choose) -> Self {
        const YEARS_10: u64 = 10 * 365 * 24 * 3_600_000;
        Self {
            drift_ppm: *pick(choose, &[0, 0, 200, 50_000], "plan.clock.drift"),
            jumps: *pick(choose, &[0, 0, 1, 5], "plan.clock.jumps"),
            jump_max_ms: *pick(choose, &[1000, 86_400_000, YEARS_10], "plan.clock.jump_max"),
        }
    }
}

impl ProcessFaults {
    fn draw(choose: &mut dyn Choose) -> Self {
        Self {
            deaths: *pick(choose, &[0, 1, 3, 8], "plan.process.deaths"),
            power: *pick(choose, &[500, 0, 1000], "plan.process.power"),
            down_max_us: *pick(choose, &[10_000, 5_000_000], "plan.process.down_max"),
            pauses: *pick(choose, &[0, 0, 2], "plan.process.pauses"),
            pause_max_us: *pick(choose, &[100_000, 60_000_000], "plan.process.pause_max"),
            clients: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choose::{Chance, Concern, Tape};

    fn drawn(chance: &Chance) -> Plan {
        Plan::draw(&mut chance.of(Concern::Plan))
    }

    #[test]
    fn a_plan_survives_being_printed_and_read() {
        let plan = drawn(&Chance::seed(9));
        let text = serde_json::to_string_pretty(&plan).expect("a plan is plain data");
        assert_eq!(plan, serde_json::from_str(&text).expect("it was just printed"));
        assert!(text.contains("\"sync_lies\": 0"));
    }

    #[test]
    fn the_dull_plan_has_no_faults() {
        let plan = drawn(&Chance::tape(&Tape::default()));
        assert_eq!(
            Faults { capacity: u64::MAX, stall_max_us: 0, kind: 0, ..plan.disk.clone() },
            plan.disk.muted()
        );
        let families = [Family::Clock, Family::Net, Family::Process];
        let muted = plan.clone().muted(&families);
        let quiet = NetFaults { black_hole: 0, ..plan.net };
        assert_eq!((muted.net, muted.process.deaths), (quiet, plan.process.deaths));
    }

    #[test]
    fn every_kind_of_fault_is_on_in_some_plans_and_off_in_others() {
        let plans: Vec<Plan> = (0..200).map(|seed| drawn(&Chance::seed(seed))).collect();
        let both =
            |is_on: &dyn Fn(&Plan) -> bool| plans.iter().any(is_on) && !plans.iter().all(is_on);
        assert!(both(&|plan| plan.disk.sync_fails > 0));
        assert!(both(&|plan| plan.disk.torn));
        assert!(both(&|plan| plan.disk.sync_stuck > 0) && both(&|plan| plan.disk.read_fails > 0));
        assert!(both(&|plan| plan.disk.rot > 0));
        assert!(both(&|plan| plan.net.cut > 0));
        assert!(both(&|plan| plan.clock.jumps > 0));
        assert!(both(&|plan| plan.process.deaths > 0));
        assert!(both(&|plan| plan.store.sync_flush));
        assert!(plans.iter().all(|plan| plan.disk.sync_lies == 0));
    }
}
