//! What becomes of old messages, in a plan.

use std::time::Duration;

use hotfire_core::broker::{Hours, RetentionPolicy};
use serde::{Deserialize, Serialize};

use crate::choose::{Choose, pick};

/// How long messages are kept. Times are tiny: a run deletes what it has just sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keeping {
    /// After so long a file to which nothing is written may go.
    pub reserved_us: u64,
    /// At any hour? Else at four.
    pub any_hour: bool,
    /// Between two rounds.
    pub every_us: u64,
    /// Between two deletions.
    pub between_us: u64,
    /// Most files of a round.
    pub most: u32,
    /// May young files go from a full disk?
    pub force: bool,
    /// Per cent of the disk above which old files go at any hour.
    pub max_used: u32,
    /// Per cent above which young ones may go.
    pub forcibly: u32,
    /// Per cent above which no messages are taken.
    pub warning: u32,
    /// Bytes of the disk, in files of the log; 0: it is endless.
    pub disk_files: u32,
}

/// Bytes of a disk beside the log.
const REST: u64 = 64 << 10;
/// A thousand years.
const AGES_US: u64 = 1_000 * 365 * 86_400 * 1_000_000;

impl Keeping {
    /// Everything is kept.
    pub const fn forever() -> Self {
        Self {
            reserved_us: 72 * 3_600_000_000,
            any_hour: false,
            every_us: 10_000_000,
            between_us: 100_000,
            most: 10,
            force: true,
            max_used: 75,
            forcibly: 85,
            warning: 90,
            disk_files: 0,
        }
    }

    /// Everything is kept, however far clocks jump: by ten years, several times.
    pub const fn for_ages() -> Self {
        Self { reserved_us: AGES_US, ..Self::forever() }
    }

    /// In the ring of replication a third of all plans lets the first files of logs go, while a
    /// slave is away. It is never as long as sends wait for one.
    pub fn draw_for_copies(choose: &mut dyn Choose) -> Self {
        if !choose.chance(333, "plan.pair.keep") {
            return Self::for_ages();
        }
        let kinds = [(4_000_000, 0), (10_000_000, 0), (4_000_000, 2), (AGES_US, 2)];
        let (reserved_us, disk_files) = *pick(choose, &kinds, "plan.pair.keep.why");
        Self {
            reserved_us,
            disk_files,
            any_hour: disk_files == 0 || choose.chance(500, "plan.pair.keep.any_hour"),
            every_us: *pick(choose, &[1_000_000, 100_000], "plan.pair.keep.every"),
            between_us: 10_000,
            most: *pick(choose, &[10, 1], "plan.pair.keep.most"),
            ..Self::forever()
        }
    }

    /// Does anything ever go?
    pub const fn lets_go(&self) -> bool {
        self.reserved_us < AGES_US || self.disk_files > 0
    }

    /// Half of all plans keep everything.
    pub fn draw(choose: &mut dyn Choose) -> Self {
        if !choose.chance(500, "plan.keep") {
            return Self::forever();
        }
        let forever = Self::forever().reserved_us;
        Self {
            reserved_us: *pick(choose, &[2_000_000, 20_000_000, forever], "plan.keep.reserved"),
            any_hour: !choose.chance(300, "plan.keep.hour"),
            every_us: *pick(choose, &[1_000_000, 100_000, 10_000_000], "plan.keep.every"),
            between_us: *pick(choose, &[10_000, 100_000], "plan.keep.between"),
            most: *pick(choose, &[10, 1], "plan.keep.most"),
            force: !choose.chance(200, "plan.keep.force"),
            disk_files: *pick(choose, &[0, 12, 25], "plan.keep.disk"),
            ..Self::forever()
        }
    }

    /// Bytes that the disk has, for files of the log of so many.
    pub fn capacity(&self, file_len: u32) -> u64 {
        match self.disk_files {
            0 => u64::MAX,
            files => REST + u64::from(files) * u64::from(file_len),
        }
    }

    /// The same, for a broker.
    pub fn policy(&self) -> RetentionPolicy {
        RetentionPolicy {
            reserved: Duration::from_micros(self.reserved_us),
            when: if self.any_hour { Hours::ALL } else { Hours::of([4]) },
            zone_ms: 0,
            max_used: self.max_used,
            forcibly: self.forcibly,
            force: self.force,
            warning: self.warning,
            between: Duration::from_micros(self.between_us),
            most: self.most,
            every: Duration::from_micros(self.every_us),
        }
    }

    /// Is this an hour at which old files go?
    pub fn is_hour(&self, wall_ms: i64) -> bool {
        self.any_hour || wall_ms.div_euclid(3_600_000).rem_euclid(24) == 4
    }
}
