//! The flush machine: when written bytes are made durable, and what may be promised meanwhile.
//!
//! One sync is in flight at most; what is written during it shares the next (group commit). A
//! sync that failed latches: the kernel has marked the pages clean, so a later success would
//! prove nothing. The broker then takes no more messages, and a restart verifies what is there.
//!
//! ```text
//!          flushed ─────────── in flight ─────────── written
//!  durable    │   being synced     │    waits its turn   │
//! ```

use std::time::Duration;

use hotfire_storage::position::{Confirmed, Flushed, Physical, Written};
use hotfire_storage::time::Mono;

use crate::machine::Digest;

const PAGE: u64 = 4096;

/// When appended bytes are made durable, and who waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushPolicy {
    /// ASYNC_FLUSH: nobody waits.
    Async {
        /// Look this often (`flushIntervalCommitLog`).
        every: Duration,
        /// Sync when at least this many 4 KiB pages are dirty (`flushCommitLogLeastPages`).
        least_pages: u32,
        /// Sync whatever is dirty after this long (`flushCommitLogThoroughInterval`).
        thorough: Duration,
    },
    /// SYNC_FLUSH: a send is answered once its bytes are durable.
    Sync {
        /// How long a send waits at most (`syncFlushTimeout`).
        timeout: Duration,
    },
}

impl Default for FlushPolicy {
    fn default() -> Self {
        Self::Async {
            every: Duration::from_millis(500),
            least_pages: 4,
            thorough: Duration::from_secs(10),
        }
    }
}

/// The machine. Inputs: [`wrote`](Self::wrote), [`synced`](Self::synced). Effect:
/// [`start`](Self::start).
#[derive(Clone, Debug)]
pub struct Flush {
    policy: FlushPolicy,
    written: Written,
    flushed: Flushed,
    in_flight: Option<Written>,
    failed: bool,
    next_look: Mono,
    last_sync: Mono,
}

impl Flush {
    /// A machine for a log that is durable up to its end: recovery saw to that.
    pub fn new(policy: FlushPolicy, end: Physical, now: Mono) -> Self {
        Self {
            policy,
            written: Written::upto(end),
            flushed: Flushed::upto(end),
            in_flight: None,
            failed: false,
            next_look: now,
            last_sync: now,
        }
    }

    /// The log grew to `upto`.
    pub fn wrote(&mut self, now: Mono, upto: Written) {
        assert!(upto >= self.written, "a log only grows");
        if !self.dirty()
            && let FlushPolicy::Async { every, .. } = self.policy
        {
            self.next_look = now.after(every);
        }
        self.written = upto;
    }

    /// If a sync is due: from where to where. It counts as started.
    #[must_use]
    pub fn start(&mut self, now: Mono) -> Option<(Physical, Written)> {
        if self.failed || self.in_flight.is_some() || !self.dirty() {
            return None;
        }
        if let FlushPolicy::Async { every, least_pages, thorough } = self.policy {
            if now < self.next_look {
                return None;
            }
            self.next_look = now.after(every);
            let pages = self.written.end().get() / PAGE - self.flushed.end().get() / PAGE;
            if pages < u64::from(least_pages) && now.since(self.last_sync) < thorough {
                return None;
            }
        }
        self.last_sync = now;
        self.in_flight = Some(self.written);
        Some((self.flushed.end(), self.written))
    }

    /// The sync in flight ended: everything up to where it was asked for is durable, or nothing
    /// is known any more.
    pub fn synced(&mut self, durable: bool) {
        let upto = self.in_flight.take().expect("only a started sync ends");
        if durable {
            self.flushed = Flushed::upto(upto.end());
        } else {
            self.failed = true;
        }
    }

    /// Up to where bytes are durable.
    pub fn flushed(&self) -> Flushed {
        self.flushed
    }

    /// Up to where consumers may see.
    pub fn confirmed(&self) -> Confirmed {
        match self.policy {
            FlushPolicy::Async { .. } => Confirmed::upto(self.written.end()),
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

    /// When [`start`](Self::start) may bring something although nothing was written.
    pub fn deadline(&self) -> Option<Mono> {
        let waits = !self.failed && self.in_flight.is_none() && self.dirty();
        waits.then_some(match self.policy {
            FlushPolicy::Async { .. } => self.next_look,
            FlushPolicy::Sync { .. } => Mono::ZERO,
        })
    }

    fn dirty(&self) -> bool {
        self.flushed.end() < self.written.end()
    }

    /// What always holds.
    pub fn verify(&self) {
        assert!(self.flushed.end() <= self.written.end(), "flushed is never ahead of written");
        assert!(self.confirmed().end() <= self.written.end(), "nor is confirmed");
        if let Some(upto) = self.in_flight {
            assert!(upto <= self.written && self.flushed.end() < upto.end(), "a sync has work");
        }
    }

    /// Folds the state in.
    pub fn digest(&self, into: &mut Digest) {
        into.number(self.written.end().get());
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

    fn synchronous() -> Flush {
        let policy = FlushPolicy::Sync { timeout: Duration::from_secs(5) };
        Flush::new(policy, Physical::ZERO, at(0))
    }

    #[test]
    fn what_is_written_during_a_sync_shares_the_next() {
        let mut flush = synchronous();
        flush.wrote(at(0), upto(10));
        assert_eq!(flush.start(at(0)), Some((Physical::ZERO, upto(10))));
        flush.wrote(at(1), upto(20));
        flush.wrote(at(2), upto(30));
        assert_eq!(flush.start(at(2)), None, "one sync in flight");
        flush.synced(true);
        assert_eq!(flush.confirmed().end().get(), 10, "not what came later");
        assert_eq!(flush.start(at(3)), Some((Physical::new(10), upto(30))));
    }

    #[test]
    fn a_failed_sync_latches_and_nothing_more_is_promised() {
        let mut flush = synchronous();
        flush.wrote(at(0), upto(10));
        assert!(flush.start(at(0)).is_some());
        flush.synced(false);
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
        assert_eq!(flush.start(at(1_000)), Some((Physical::ZERO, upto(4 * PAGE))));
        flush.synced(true);
        flush.wrote(at(1_100), upto(4 * PAGE + 1));
        assert_eq!(flush.deadline(), Some(at(1_600)));
        assert_eq!(flush.start(at(1_600)), None);
        assert!(flush.start(at(11_000)).is_some(), "thorough");
    }
}
