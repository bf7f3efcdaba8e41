//! What the medium may do to a store, and the luck that decides what it does.

use serde::{Deserialize, Serialize};

use hotfire_storage::seam::Fault;

use crate::choose::{Choose, Stream, pick};
use crate::ledger::{Ledger, Strike};
use crate::trace::{Column, Mark};

/// What the system says of a device that failed.
pub(super) const EIO: &str = "Input/output error (os error 5)";

/// Capacity, latency and fault rates of one medium. Rates are per mille of the occasions named;
/// 0 switches a kind off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Faults {
    /// Bytes of all files together; beyond it the disk is full.
    pub capacity: u64,
    /// The least an operation takes.
    pub latency_min_us: u64,
    /// The most an operation takes that does not stall.
    pub latency_max_us: u64,
    /// Operations that stall.
    pub stall: u32,
    /// The most a stalled operation takes.
    pub stall_max_us: u64,
    /// Allocations and replacements that find no space.
    pub full: u32,
    /// Allocations, deletions, removals and replacements that fail.
    pub op_fails: u32,
    /// Syncs that fail.
    pub sync_fails: u32,
    /// Syncs that say done and do nothing. A disk that lies breaks every promise: 0 in every
    /// drawn plan, for canaries and mutants only.
    pub sync_lies: u32,
    /// Syncs that never end, as long as the process lives: half of them take the whole disk along.
    pub sync_stuck: u32,
    /// Syncs that take their copy when they start, and not when they end: no fault, but never
    /// known.
    pub sync_early: u32,
    /// Writes between two spontaneous writebacks, on average; 0 for none at all.
    pub writeback_every: u64,
    /// Pages of a spontaneous writeback that fail.
    pub writeback_fails: u32,
    /// Listings, reads and opens that fail.
    pub read_fails: u32,
    /// Power failures after which something that was on the medium has rotted.
    pub rot: u32,
    /// Pages lost in a power failure whose blocks were never written before, and now show what they
    /// held when they were some deleted file's.
    pub stale: u32,
    /// Power failures that lose nothing.
    pub kind: u32,
    /// Power failures that lose every dirty page.
    pub merciless: u32,
    /// May a page reach the medium in part when the power fails?
    pub torn: bool,
    /// May the changing bytes of a sector become garbage when the power fails?
    pub garbage: bool,
    /// Is there a moment in a replacement when only `.bak` exists? The seam allows a disk to have
    /// it; the mapped one keeps a second name instead.
    pub backup_gap: bool,
    /// Boots that die at one of their operations.
    pub boot_dies: u32,
}

impl Faults {
    /// A disk as in a brochure: instant, endless, without a fault. What was not synced is still
    /// at the mercy of a power failure.
    pub const fn none() -> Self {
        Self {
            capacity: u64::MAX,
            latency_min_us: 0,
            latency_max_us: 0,
            stall: 0,
            stall_max_us: 0,
            full: 0,
            op_fails: 0,
            sync_fails: 0,
            sync_lies: 0,
            sync_stuck: 0,
            sync_early: 500,
            writeback_every: 0,
            writeback_fails: 0,
            read_fails: 0,
            rot: 0,
            stale: 0,
            kind: 0,
            merciless: 0,
            torn: false,
            garbage: false,
            backup_gap: false,
            boot_dies: 0,
        }
    }

    /// Faults for a run. Each kind is off in many runs: a fault that is always there hides the
    /// bugs that need its absence.
    pub fn draw(choose: &mut dyn Choose) -> Self {
        let latency_min_us = choose.range(1, 200, "plan.disk.latency");
        let mut rate = |rates: &[u32], why| *pick(choose, rates, why);
        Self {
            latency_min_us,
            latency_max_us: latency_min_us + u64::from(rate(&[0, 100, 2000], "plan.disk.spread")),
            stall: rate(&[0, 0, 5, 50], "plan.disk.stall"),
            stall_max_us: 5_000_000,
            full: rate(&[0, 0, 0, 20, 200], "plan.disk.full"),
            op_fails: rate(&[0, 0, 0, 10, 100], "plan.disk.op_fails"),
            sync_fails: rate(&[0, 0, 0, 5, 50], "plan.disk.sync_fails"),
            writeback_every: u64::from(rate(&[0, 1, 10, 100], "plan.disk.writeback")),
            writeback_fails: rate(&[0, 0, 0, 10], "plan.disk.writeback_fails"),
            kind: 100,
            merciless: rate(&[0, 100, 300], "plan.disk.merciless"),
            torn: rate(&[0, 1, 1], "plan.disk.torn") == 1,
            garbage: rate(&[0, 0, 1], "plan.disk.garbage") == 1,
            backup_gap: rate(&[0, 1], "plan.disk.backup_gap") == 1,
            boot_dies: rate(&[0, 0, 100, 400], "plan.disk.boot_dies"),
            ..Self::none()
        }
    }

    /// Younger than the rest, and drawn behind everything else of a plan: what came before keeps
    /// its seeds.
    pub fn draw_more(&mut self, choose: &mut dyn Choose) {
        let mut rate = |rates: &[u32], why| *pick(choose, rates, why);
        self.sync_stuck = rate(&[0, 0, 0, 10], "plan.disk.sync_stuck");
        self.read_fails = rate(&[0, 0, 0, 10], "plan.disk.read_fails");
        self.rot = rate(&[0, 0, 0, 300], "plan.disk.rot");
        self.stale = rate(&[0, 0, 500], "plan.disk.stale");
    }

    /// The same disk without the fault of this name, a field's; `None` if there is none. The first
    /// question to a failure: which fault does it need?
    #[must_use]
    pub fn without(&self, name: &str) -> Option<Self> {
        let mut all = serde_json::to_value(self).expect("faults are plain data");
        let (one, off) = (all.get_mut(name)?, serde_json::to_value(Self::none()).ok()?);
        *one = off.get(name)?.clone();
        serde_json::from_value(all).ok()
    }

    /// The same disk, whose bytes never rot: for worlds that have nobody to restore them.
    #[must_use]
    pub fn restored(&self) -> Self {
        Self { rot: 0, ..self.clone() }
    }

    /// The same disk without its faults, its latency kept: what `--mute disk` runs.
    #[must_use]
    pub const fn muted(&self) -> Self {
        Self {
            latency_min_us: self.latency_min_us,
            latency_max_us: self.latency_max_us,
            ..Self::none()
        }
    }
}

/// Chance, and everyone who wants to hear how it fell.
pub(super) struct Luck {
    pub(super) faults: Faults,
    pub(super) dice: Stream,
    pub(super) ledger: Ledger,
    pub(super) log: Column,
}

impl Luck {
    /// Counts a strike, and logs it.
    pub(super) fn strike(&self, strike: Strike, on: impl std::fmt::Display) {
        self.ledger.hit(strike);
        self.log.say(Mark::Fault, format_args!("{} {on}", strike.name()));
    }

    /// How long an operation on `path` takes.
    pub(super) fn latency_us(&mut self, path: &str) -> u64 {
        let Faults { latency_min_us: min, latency_max_us: max, stall, stall_max_us, .. } =
            self.faults;
        if self.dice.chance(stall, "disk.stall") {
            self.strike(Strike::DiskStalled, path);
            return max + self.dice.below(stall_max_us.max(1), "disk.stall.us");
        }
        min + self.dice.below(max - min + 1, "disk.latency.us")
    }

    /// Something is read.
    pub(super) fn read(&mut self, op: &'static str, path: &str) -> Result<(), Fault> {
        if !self.dice.chance(self.faults.read_fails, "disk.read_fails") {
            return Ok(());
        }
        self.strike(Strike::DiskReadFailed, format_args!("{op} {path}"));
        Err(Fault::Io { op, path: path.to_owned(), why: EIO.to_owned() })
    }

    /// Does a sync of `path` never end?
    pub(super) fn is_stuck(&mut self, path: &str) -> bool {
        let stuck = self.dice.chance(self.faults.sync_stuck, "disk.sync.stuck");
        if stuck {
            self.strike(Strike::DiskSyncStuck, path);
        }
        stuck
    }

    /// What will come of a sync.
    pub(super) fn fate(&mut self) -> Fate {
        if self.dice.chance(self.faults.sync_fails, "disk.sync.fails") {
            Fate::Fails
        } else if self.dice.chance(self.faults.sync_lies, "disk.sync.lies") {
            Fate::Lies
        } else {
            Fate::Holds
        }
    }

    /// How many writes pass before the next spontaneous writeback.
    pub(super) fn quiet(&mut self) -> u64 {
        match self.faults.writeback_every {
            0 => u64::MAX,
            every => self.dice.below(2 * every + 1, "disk.writeback.quiet"),
        }
    }
}

/// What comes of a sync, decided when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Fails,
    Holds,
    Lies,
}
