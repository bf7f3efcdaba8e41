//! The flush machine: when written bytes go to their files, when they are made durable, and what
//! may be promised meanwhile.
//!
//! One sync is in flight at most; what is written during it shares the next (group commit). A
//! sync that failed latches: the kernel has marked the pages clean, so a later success would
//! prove nothing. The broker then takes no more messages, and a restart verifies what is there.
//!
//! ```text
//!          flushed ─────────── in flight ─────────── committed ─────── written
//!  durable    │   being synced     │    waits its turn   │    staged     │
//! ```
//!
//! Only with a transient store pool is anything staged; otherwise what is written is committed.

mod figures;

use std::time::Duration;

use hotfire_storage::position::{Committed, Confirmed, Flushed, Physical, Written};
use hotfire_storage::time::Mono;

use crate::machine::Digest;
pub use figures::FlushFigures;
use figures::Record;

const PAGE: u64 = 4096;
/// Staged bytes that are committed at once: a commit is a copy within a turn.
const COMMIT_AT: u64 = 1 << 20;

/// How often work is done that nobody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Look this often.
    pub every: Duration,
    /// Work when there are at least this many 4 KiB pages of it.
    pub least_pages: u32,
    /// Do whatever there is after this long.
    pub thorough: Duration,
}

impl Pace {
    /// Of syncs, unless an operator says otherwise (`flushIntervalCommitLog`,
    /// `flushCommitLogLeastPages`, `flushCommitLogThoroughInterval`).
    pub const FLUSH: Self = Self {
        every: Duration::from_millis(500),
        least_pages: 4,
        thorough: Duration::from_secs(10),
    };
    /// Of commits (`commitIntervalCommitLog`, `commitCommitLogLeastPages`,
    /// `commitCommitLogThoroughInterval`).
    pub const COMMIT: Self = Self {
        every: Duration::from_millis(200),
        least_pages: 4,
        thorough: Duration::from_millis(200),
    };
}

/// When appended bytes are made durable, and who waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushPolicy {
    /// ASYNC_FLUSH: nobody waits.
    Async {
        /// When bytes are synced.
        flush: Pace,
        /// When records go from the transient store pool to their file, if there is a pool.
        commit: Option<Pace>,
    },
    /// SYNC_FLUSH: a send is answered once its bytes are durable.
    Sync {
        /// How long a send waits at most (`syncFlushTimeout`).
        timeout: Duration,
    },
}

impl Default for FlushPolicy {
    fn default() -> Self {
        Self::Async { flush: Pace::FLUSH, commit: None }
    }
}

/// Work at a pace: when it is looked for next, and when it was done last.
#[derive(Clone, Copy, Debug)]
struct Clock {
    next: Mono,
    last: Mono,
}

impl Clock {
    /// There is something to do, after a time without.
    fn wake(&mut self, now: Mono, pace: Pace) {
        self.next = now.after(pace.every);
    }

    /// Is it time for the work `from..to`? That was a look, then.
    fn is_due(&mut self, now: Mono, pace: Pace, from: Physical, to: Physical) -> bool {
        if now < self.next {
            return false;
        }
        self.next = now.after(pace.every);
        let pages = to.get() / PAGE - from.get() / PAGE;
        pages >= u64::from(pace.least_pages) || now.since(self.last) >= pace.thorough
    }
}

/// The machine. Inputs: [`wrote`](Self::wrote), [`committed_upto`](Self::committed_upto),
/// [`synced`](Self::synced). Effects: [`commits`](Self::commits), [`start`](Self::start).
#[derive(Clone, Debug)]
pub struct Flush {
    policy: FlushPolicy,
    written: Written,
    committed: Committed,
    flushed: Flushed,
    in_flight: Option<Committed>,
    record: Record,
    failed: bool,
    commits: Clock,
    syncs: Clock,
}

impl Flush {
    /// A machine for a log that is durable up to its end: recovery saw to that.
    pub fn new(policy: FlushPolicy, end: Physical, now: Mono) -> Self {
        Self {
            policy,
            written: Written::upto(end),
            committed: Committed::upto(end),
            flushed: Flushed::upto(end),
            in_flight: None,
            record: Record::new(),
            failed: false,
            commits: Clock { next: now, last: now },
            syncs: Clock { next: now, last: now },
        }
    }

    /// The log grew to `upto`.
    pub fn wrote(&mut self, now: Mono, upto: Written) {
        assert!(upto >= self.written, "a log only grows");
        if upto > self.written {
            self.record.wrote();
        }
        match self.commit_pace() {
            None => {
                self.written = upto;
                self.committed_upto(now, Committed::upto(upto.end()));
            }
            Some(pace) => {
                if self.committed.end() == self.written.end() {
                    self.commits.wake(now, pace);
                }
                self.written = upto;
            }
        }
    }

    /// Everything below is in its file.
    pub fn committed_upto(&mut self, now: Mono, upto: Committed) {
        assert!(upto >= self.committed, "what is in files stays there");
        assert!(upto.end() <= self.written.end(), "only what is written is in files");
        if !self.dirty()
            && let FlushPolicy::Async { flush, .. } = self.policy
        {
            self.syncs.wake(now, flush);
        }
        if upto > self.committed {
            (self.committed, self.commits.last) = (upto, now);
        }
    }

    fn commit_pace(&self) -> Option<Pace> {
        match self.policy {
            FlushPolicy::Async { commit, .. } => commit,
            FlushPolicy::Sync { .. } => None,
        }
    }

    /// Is what is staged to be committed now? `pressed`: an append waits for room in the pool.
    #[must_use]
    pub fn commits(&mut self, now: Mono, pressed: bool) -> bool {
        let Some(pace) = self.commit_pace() else { return false };
        let (from, to) = (self.committed.end(), self.written.end());
        to > from
            && (pressed || to.since(from) >= COMMIT_AT || self.commits.is_due(now, pace, from, to))
    }

    /// If a sync is due: from where to where. It counts as started.
    #[must_use]
    pub fn start(&mut self, now: Mono) -> Option<(Physical, Committed)> {
        if self.failed || self.in_flight.is_some() || !self.dirty() {
            return None;
        }
        if let FlushPolicy::Async { flush, .. } = self.policy
            && !self.syncs.is_due(now, flush, self.flushed.end(), self.committed.end())
        {
            return None;
        }
        self.syncs.last = now;
        self.record.started();
        self.in_flight = Some(self.committed);
        Some((self.flushed.end(), self.committed))
    }

    /// The sync in flight ended: everything up to where it was asked for is durable, or nothing
    /// is known any more.
    pub fn synced(&mut self, now: Mono, durable: bool) {
        let upto = self.in_flight.take().expect("only a started sync ends");
        self.record.ended(now.since(self.syncs.last));
        if durable {
            self.flushed = Flushed::upto(upto.end());
        } else {
            self.failed = true;
        }
    }

    /// Up to where bytes are in their files.
    pub fn committed(&self) -> Committed {
        self.committed
    }

    /// Up to where bytes are durable.
    pub fn flushed(&self) -> Flushed {
        self.flushed
    }

    /// Up to where consumers may see.
    pub fn confirmed(&self) -> Confirmed {
        match self.policy {
            FlushPolicy::Async { .. } => Confirmed::upto(self.committed.end()),
            FlushPolicy::Sync { .. } => Confirmed::upto(self.flushed.end()),
        }
    }

    /// How long a send waits for its sync; `None`: it does not.
    pub fn patience(&self) -> Option<Duration> {
        match self.policy {
            FlushPolicy::Async { .. } => None,
            FlushPolicy::Sync { timeout } => Some(timeout),
        }
    }

    /// Did a sync fail? Then nothing more is synced by this process.
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// How syncs went so far.
    pub fn figures(&self) -> FlushFigures {
        self.record.figures()
    }

    /// When there may be something to do although nothing was written.
    pub fn deadline(&self) -> Option<Mono> {
        let waits = !self.failed && self.in_flight.is_none() && self.dirty();
        let sync = waits.then_some(match self.policy {
            FlushPolicy::Async { .. } => self.syncs.next,
            FlushPolicy::Sync { .. } => Mono::ZERO,
        });
        let staged = self.committed.end() < self.written.end();
        let commit = staged.then_some(self.commits.next);
        sync.into_iter().chain(commit).min()
    }

    fn dirty(&self) -> bool {
        self.flushed.end() < self.committed.end()
    }

    /// What always holds.
    pub fn verify(&self) {
        assert!(self.flushed.end() <= self.committed.end(), "flushed is never ahead of committed");
        assert!(self.committed.end() <= self.written.end(), "nor that of written");
        assert!(self.confirmed().end() <= self.committed.end(), "consumers see what is in files");
        if let Some(upto) = self.in_flight {
            assert!(upto <= self.committed && self.flushed.end() < upto.end(), "a sync has work");
        }
    }

    /// Folds the state in.
    pub fn digest(&self, into: &mut Digest) {
        into.number(self.written.end().get());
        into.number(self.committed.end().get());
        into.number(self.flushed.end().get());
        into.number(self.in_flight.map_or(0, |upto| upto.end().get() + 1));
        into.number(u64::from(self.failed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono::from_micros(ms * 1_000)
    }

    fn upto(bytes: u64) -> Written {
        Written::upto(Physical::new(bytes))
    }

    fn files(bytes: u64) -> Committed {
        Committed::upto(Physical::new(bytes))
    }

    fn synchronous() -> Flush {
        let policy = FlushPolicy::Sync { timeout: Duration::from_secs(5) };
        Flush::new(policy, Physical::ZERO, at(0))
    }

    #[test]
    fn what_is_written_during_a_sync_shares_the_next() {
        let mut flush = synchronous();
        flush.wrote(at(0), upto(10));
        assert_eq!(flush.start(at(0)), Some((Physical::ZERO, files(10))));
        flush.wrote(at(1), upto(20));
        flush.wrote(at(2), upto(30));
        assert_eq!(flush.start(at(2)), None, "one sync in flight");
        flush.synced(at(2), true);
        assert_eq!(flush.confirmed().end().get(), 10, "not what came later");
        assert_eq!(flush.start(at(3)), Some((Physical::new(10), files(30))));
        flush.synced(at(7), true);
        let figures = flush.figures();
        assert_eq!((figures.syncs, figures.shared_max), (2, 2), "two appends shared the second");
        assert!((3_900..=4_100).contains(&figures.micros_max), "{figures:?}");
    }

    #[test]
    fn a_failed_sync_latches_and_nothing_more_is_promised() {
        let mut flush = synchronous();
        flush.wrote(at(0), upto(10));
        assert!(flush.start(at(0)).is_some());
        flush.synced(at(1), false);
        flush.wrote(at(1), upto(20));
        assert!(flush.failed() && flush.start(at(9_999)).is_none());
        assert_eq!((flush.flushed().end().get(), flush.deadline()), (0, None));
    }

    #[test]
    fn asynchronous_flush_waits_for_pages_and_then_for_no_longer_than_the_thorough_interval() {
        let mut flush = Flush::new(FlushPolicy::default(), Physical::ZERO, at(0));
        flush.wrote(at(0), upto(100));
        assert_eq!(flush.confirmed().end().get(), 100, "nobody waits");
        assert_eq!(flush.start(at(500)), None, "not even a page");
        flush.wrote(at(600), upto(4 * PAGE));
        assert_eq!(flush.start(at(999)), None, "the next look is at 1000");
        assert_eq!(flush.start(at(1_000)), Some((Physical::ZERO, files(4 * PAGE))));
        flush.synced(at(1_000), true);
        flush.wrote(at(1_100), upto(4 * PAGE + 1));
        assert_eq!(flush.deadline(), Some(at(1_600)));
        assert_eq!(flush.start(at(1_600)), None);
        assert!(flush.start(at(11_000)).is_some(), "thorough");
    }

    #[test]
    fn what_is_staged_is_committed_by_its_own_pace_and_synced_only_then() {
        let policy = FlushPolicy::Async { flush: Pace::FLUSH, commit: Some(Pace::COMMIT) };
        let mut flush = Flush::new(policy, Physical::ZERO, at(0));
        flush.wrote(at(0), upto(9 * PAGE));
        assert_eq!((flush.confirmed().end().get(), flush.deadline()), (0, Some(at(200))));
        assert!(!flush.commits(at(199), false) && flush.start(at(199)).is_none());
        assert!(flush.commits(at(200), false));
        flush.committed_upto(at(200), files(9 * PAGE));
        assert_eq!(flush.confirmed().end().get(), 9 * PAGE, "consumers may see it");
        assert!(flush.start(at(699)).is_none());
        assert_eq!(flush.start(at(700)), Some((Physical::ZERO, files(9 * PAGE))));
        flush.wrote(at(701), upto(9 * PAGE + 1));
        assert!(!flush.commits(at(702), false) && flush.commits(at(702), true), "room is wanted");
        flush.wrote(at(703), upto(9 * PAGE + COMMIT_AT));
        assert!(flush.commits(at(703), false), "a copy that grows long is made at once");
        flush.verify();
    }
}
