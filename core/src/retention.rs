//! The retention machine: when the oldest file of the log is deleted, and when sends are refused.
//!
//! A *round* begins with a measure of the disk and deletes up to ten files, one at a time, oldest
//! first (broker-behaviour.md 11):
//!
//! | use of the disk | what goes |
//! |---|---|
//! | any, at an hour of `deleteWhen` | files older than `fileReservedTime` |
//! | above `diskMaxUsedSpaceRatio` | the same at any hour |
//! | above `diskSpaceCleanForciblyRatio` | besides, as many files of any age as are above it |
//! | above `diskSpaceWarningLevelRatio` | besides, sends are refused |
//!
//! Less is deleted than by the original where more would be a loss. Ages do not believe a clock
//! that jumps (see `ages`). Files are forced away by need: what lies above the ratio when it is
//! measured, not ten at each round. And nothing goes of which the store cannot say that it is on
//! the medium, its queue units included.

mod ages;

use std::time::Duration;

use hotfire_storage::position::Physical;
use hotfire_storage::seam::DiskUse;
use hotfire_storage::time::{Mono, Now, Wall};
use hotfire_storage::{Kept, LogFile};

use crate::machine::Digest;
use ages::Ages;
pub use ages::LogAtStart;

/// How long after a deletion a full disk is measured again: its blocks are not free at once.
const RECHECK_AFTER: Duration = Duration::from_secs(1);
/// Rounds that one request of an operator is good for.
const MANUAL_ROUNDS: u32 = 20;

/// When files of the log go.
#[derive(Clone, Debug)]
pub struct RetentionPolicy {
    /// A file is old when nothing was written to it for so long (`fileReservedTime`).
    pub reserved: Duration,
    /// When old files go (`deleteWhen`).
    pub when: Hours,
    /// Milliseconds by which the operator's clock is ahead of UTC.
    pub zone_ms: i64,
    /// Per cent of the disk above which old files go at any hour (`diskMaxUsedSpaceRatio`).
    pub max_used: u32,
    /// Per cent above which files go whatever their age (`diskSpaceCleanForciblyRatio`).
    pub forcibly: u32,
    /// Do they (`cleanFileForciblyEnable`)?
    pub force: bool,
    /// Per cent above which no sends are taken (`diskSpaceWarningLevelRatio`).
    pub warning: u32,
    /// Between two deletions (`deleteCommitLogFilesInterval`).
    pub between: Duration,
    /// Most files of a round (`deleteFileBatchMax`).
    pub most: u32,
    /// Between two rounds (`cleanResourceInterval`).
    pub every: Duration,
}

impl Default for RetentionPolicy {
    fn default() -> Self {
        Self {
            reserved: Duration::from_secs(72 * 3600),
            when: Hours::of([4]),
            zone_ms: 0,
            max_used: 75,
            forcibly: 85,
            force: true,
            warning: 90,
            between: Duration::from_millis(100),
            most: 10,
            every: Duration::from_secs(10),
        }
    }
}

/// Hours of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours(u32);

impl Hours {
    /// Every hour.
    pub const ALL: Self = Self((1 << 24) - 1);

    /// These; what is no hour is left out.
    pub fn of(hours: impl IntoIterator<Item = u32>) -> Self {
        let hours = hours.into_iter().filter(|hour| *hour < 24);
        Self(hours.fold(0, |all, hour| all | 1 << hour))
    }

    /// Is it one of them, on a clock that is so many milliseconds ahead of UTC?
    pub fn has(self, wall: Wall, zone_ms: i64) -> bool {
        let hour = wall.as_millis().saturating_add(zone_ms).div_euclid(3_600_000).rem_euclid(24);
        self.0 >> hour & 1 == 1
    }
}

/// What the machine asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Delete the log's oldest file. [`Retention::kept`] if it stays, [`Retention::deleted`] when
    /// it is gone or could not be deleted.
    Delete {
        /// Its first byte.
        start: Physical,
        /// Why.
        why: Why,
    },
    /// Have queues and index follow the log's beginning.
    Follow,
    /// Say when the first record of the file here was stored: [`Retention::looked`].
    Look(Physical),
    /// Say how full the disk is: [`Retention::measured`].
    Measure,
    /// Make queues durable: a file that should go waits for that.
    Sync,
}

/// Why a file goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is old, for so long.
    Expired(Duration),
    /// The disk is too full.
    Forced,
}

/// What a measure is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To see whether there is room again.
    Recheck,
    Round,
}

/// A round under way.
#[derive(Clone, Debug)]
struct Round {
    /// Files that may still go.
    left: u32,
    /// Of those, files that may be young.
    forced: u64,
    /// May old ones go?
    expires: bool,
    /// No file goes before.
    next: Mono,
    /// A file is being deleted.
    waits: bool,
    /// Queues have been asked to be made durable for it.
    has_synced: bool,
    has_deleted: bool,
}

/// The machine. Effects: [`poll`](Self::poll). Inputs: everything else that takes `&mut self`.
#[derive(Clone, Debug)]
pub struct Retention {
    policy: RetentionPolicy,
    ages: Ages,
    file_len: u64,
    next_round: Mono,
    recheck: Option<Mono>,
    measuring: Option<Purpose>,
    round: Option<Round>,
    manual_rounds: u32,
    follow: bool,
    /// The disk is so full that no sends are taken.
    full: Option<DiskUse>,
}

impl Retention {
    /// A machine for this log. The first round comes when one interval has passed; whether sends
    /// are taken is known earlier.
    pub fn new(policy: RetentionPolicy, now: Now, log: LogAtStart) -> Self {
        Self {
            ages: Ages::new(now, log, policy.reserved),
            file_len: log.file_len,
            next_round: now.mono.after(policy.every),
            recheck: Some(now.mono),
            measuring: None,
            round: None,
            manual_rounds: 0,
            follow: false,
            full: None,
            policy,
        }
    }

    /// Is the disk so full that no sends are to be taken?
    pub fn full(&self) -> Option<DiskUse> {
        self.full
    }

    /// The settings.
    pub fn policy(&self) -> &RetentionPolicy {
        &self.policy
    }

    /// An operator wants old files gone, whatever the hour.
    pub fn trigger(&mut self, now: Mono) {
        self.manual_rounds = MANUAL_ROUNDS;
        self.next_round = self.next_round.min(now);
    }

    /// The next thing to do. `start` and `end` are the log's, `oldest` is its first file if others
    /// follow it.
    #[must_use]
    pub fn poll(
        &mut self,
        now: Now,
        (start, end): (Physical, Physical),
        oldest: Option<LogFile>,
    ) -> Option<Act> {
        self.ages.reached(now.mono, start, end);
        if let Some(at) = self.ages.wants(start) {
            return Some(Act::Look(at));
        }
        if std::mem::take(&mut self.follow) {
            return Some(Act::Follow);
        }
        if self.measuring.is_none() {
            let purpose = if self.next_round <= now.mono {
                Some(Purpose::Round)
            } else {
                self.recheck.filter(|due| *due <= now.mono).map(|_| Purpose::Recheck)
            };
            if purpose == Some(Purpose::Round)
                && let Some(round) = &mut self.round
            {
                // Late, after a pause perhaps: what was measured for it is not true any more.
                (round.left, round.forced) = (0, 0);
            }
            if purpose.is_some() {
                self.measuring = purpose;
                self.recheck = None;
                return Some(Act::Measure);
            }
        }
        self.next_deletion(now.mono, oldest)
    }

    fn next_deletion(&mut self, now: Mono, oldest: Option<LogFile>) -> Option<Act> {
        let round = self.round.as_mut().filter(|round| !round.waits && round.next <= now)?;
        let start = oldest.filter(|_| round.left > 0).map(|oldest| oldest.start);
        let age = start.and_then(|start| self.ages.of(now, start));
        let old = age.filter(|age| round.expires && *age >= self.policy.reserved);
        let (Some(start), true) = (start, old.is_some() || round.forced > 0) else {
            self.end_round(now);
            return None;
        };
        round.waits = true;
        Some(Act::Delete { start, why: old.map_or(Why::Forced, Why::Expired) })
    }

    fn end_round(&mut self, now: Mono) {
        let ended = self.round.take();
        if self.full.is_some() && ended.is_some_and(|round| round.has_deleted) {
            self.recheck = Some(now.after(RECHECK_AFTER));
        }
    }

    /// This is when the first record of the file at `at` was stored, if there is a sound one.
    pub fn looked(&mut self, at: Physical, stored: Option<Wall>) {
        self.ages.looked(at, stored);
    }

    /// The disk is so full; `None`: that cannot be said, and nothing changes.
    pub fn measured(&mut self, now: Now, found: Option<DiskUse>) {
        let purpose = self.measuring.take().expect("an answer comes because somebody asked");
        if let Some(found) = found {
            self.full = found.is_above(self.policy.warning).then_some(found);
        }
        if purpose == Purpose::Recheck {
            return;
        }
        let policy = &self.policy;
        self.next_round = now.mono.after(policy.every);
        self.follow = true;
        let is_manual = self.manual_rounds > 0;
        self.manual_rounds = self.manual_rounds.saturating_sub(1);
        let is_above = |percent| found.is_some_and(|found| found.is_above(percent));
        let excess = found.map_or(0, |found| found.excess(policy.forcibly));
        let is_forced = policy.force && is_above(policy.forcibly);
        // A deletion under way belongs to the round that this one replaces.
        let waits = self.round.as_ref().is_some_and(|round| round.waits);
        let is_time = policy.when.has(now.wall, policy.zone_ms);
        self.round = Some(Round {
            left: policy.most,
            forced: if is_forced { excess.div_ceil(self.file_len) } else { 0 },
            expires: is_time || is_manual || is_above(policy.max_used),
            next: now.mono,
            waits,
            has_synced: false,
            has_deleted: false,
        });
    }

    /// The file that was to go stays for now.
    pub fn kept(&mut self, now: Mono, why: Kept) -> Option<Act> {
        let round = self.round.as_mut()?;
        round.waits = false;
        round.next = now.after(self.policy.between);
        if why == Kept::Unsynced && !std::mem::replace(&mut round.has_synced, true) {
            return Some(Act::Sync);
        }
        None
    }

    /// The deletion is over. A file that could not be deleted ends the round.
    pub fn deleted(&mut self, now: Mono, is_gone: bool) {
        let between = self.policy.between;
        let Some(round) = self.round.as_mut() else { return };
        round.waits = false;
        round.next = now.after(between);
        round.has_deleted = true;
        round.left = if is_gone { round.left.saturating_sub(1) } else { 0 };
        // One that was old freed as much as one that was forced.
        round.forced = round.forced.saturating_sub(1);
    }

    /// When [`poll`](Self::poll) may bring something although nothing happened.
    pub fn deadline(&self) -> Option<Mono> {
        let round = self.round.as_ref().filter(|round| !round.waits).map(|round| round.next);
        let measure = self.recheck.into_iter().chain([self.next_round]).min();
        let measure = measure.filter(|_| self.measuring.is_none());
        let now = self.follow.then_some(Mono::ZERO);
        [round, measure, now].into_iter().flatten().min()
    }

    /// What always holds.
    pub fn verify(&self) {
        self.ages.verify();
        assert!(self.round.as_ref().is_none_or(|round| round.left <= self.policy.most));
    }

    /// Folds the state in.
    pub fn digest(&self, into: &mut Digest) {
        self.ages.digest(into);
        into.number(self.next_round.as_micros());
        into.number(self.round.as_ref().map_or(0, |round| u64::from(round.left) + 1));
        into.number(self.full.map_or(0, |found| found.used));
    }
}

#[cfg(test)]
mod tests;
