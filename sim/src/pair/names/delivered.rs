//! What the routed group has consumed, and what it may never see.
//!
//! **Each message of the master's log is consumed by the group**, as itself, at its offset, and
//! what is committed at the master passes none that is not; but for offsets that a living consumer
//! was beyond when the master lost what was there, or that it was given by a slave as another
//! message: what comes in their place is not seen by it.

use std::collections::{BTreeMap, BTreeSet};

use super::super::work::TOPICS;
use crate::oracle::audit::Entry;
use crate::ring::Violation;

/// What was consumed of each topic.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    seen: BTreeSet<(usize, u64, u32)>,
    /// Offsets of messages that slaves gave.
    by_slaves: BTreeSet<(usize, u64)>,
    /// Offsets below are excused.
    excused: [u64; TOPICS.len()],
}

/// The number of a topic.
pub(super) fn topic_of(entry: &Entry) -> Option<usize> {
    TOPICS.iter().position(|topic| *topic == &*entry.topic)
}

impl Delivered {
    /// Whatever lies below may be passed over.
    pub(super) fn excuse(&mut self, of: usize, upto: u64) {
        self.excused[of] = self.excused[of].max(upto);
    }

    /// A consumer got these from a broker, and consumed them.
    pub(super) fn consumed(&mut self, found: &[Entry], is_slave: bool) {
        for entry in found {
            let Some(of) = topic_of(entry) else { continue };
            self.seen.insert((of, entry.offset, entry.id.number));
            if is_slave {
                self.by_slaves.insert((of, entry.offset));
            }
        }
    }

    /// The messages of the master's log that were not consumed, below `upto`.
    pub(super) fn lacks(&self, log: &[Entry], of: usize, upto: u64) -> Option<String> {
        let missed = log.iter().find(|entry| {
            topic_of(entry) == Some(of)
                && (self.excused[of]..upto).contains(&entry.offset)
                && !self.seen.contains(&(of, entry.offset, entry.id.number))
                && !self.by_slaves.contains(&(of, entry.offset))
        })?;
        let at: Vec<u32> = self
            .seen
            .range((of, missed.offset, 0)..=(of, missed.offset, u32::MAX))
            .map(|(_, _, number)| *number)
            .collect();
        Some(format!("{missed} was not consumed, but {at:?} in its place"))
    }

    /// Was anything of this topic consumed?
    pub(super) fn knows(&self, topic: &str) -> bool {
        self.seen.iter().any(|(of, ..)| TOPICS[*of] == topic)
    }

    /// The master says that the group is so far.
    pub(super) fn check(&self, log: &[Entry], of: usize, said: u64) -> Result<(), Violation> {
        match self.lacks(log, of, said) {
            Some(missed) => {
                let detail = format!("the group is to go on at {said} of {}: {missed}", TOPICS[of]);
                Err(Violation::new("no offset passes what was not consumed", detail))
            }
            None => Ok(()),
        }
    }
}

/// Who holds the locks that brokers gave.
///
/// **A lock has one holder**: the process of a broker gives a queue to another client only when the
/// life of the lock has passed since its holder last asked for it. Another process does not know of
/// it: another broker that is named as master by another name server, or one that has begun since.
/// So two clients hold one queue only by the word of two processes, and for no longer than half of
/// the life of a lock, which is what a client relies on.
#[derive(Debug, Default)]
pub(super) struct Holders(BTreeMap<(usize, u32, usize), (u32, usize, u64)>);

impl Holders {
    /// A broker gave a lock, asked for now, to a consumer of a number and a life.
    pub(super) fn given(
        &mut self,
        now: u64,
        (at, life, of): (usize, u32, usize),
        (consumer, consumer_life): (usize, u32),
        lasts: u64,
    ) -> Result<(), Violation> {
        let new = (consumer_life, consumer, now);
        let Some(old) = self.0.insert((at, life, of), new) else { return Ok(()) };
        if (old.0, old.1) == (new.0, new.1) || now > old.2 + lasts {
            return Ok(());
        }
        let detail = format!(
            "broker {at} gives {} to consumer {consumer} at {now}, and gave it to {} at {}",
            TOPICS[of], old.1, old.2
        );
        Err(Violation::new("a lock has one holder", detail))
    }
}
