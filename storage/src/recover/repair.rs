//! Queues that know less than the log: their last file is missing, or a unit in them is damaged.
//!
//! Such a queue gives itself away in one of three ways. A record that is dispatched to it does not
//! continue it; or, after a clean stop, it ends before bytes that are not zero; or the log has more
//! for it. After a clean stop of ours that is looked up if any queue does not end where the
//! checkpoint says: a last unit of zeros looks like none. Where nobody counted it is looked up for
//! queues that end exactly with their last file: one that lost it looks like one that is full. What
//! a queue lacks lies in the log behind the record of its last unit, so only that part is read
//! again, and only for such queues.
//!
//! Reading it again must not do harm. Units that a queue has stay, whatever became of their
//! records; and where the log that is needed is damaged itself, nobody can say what the queue
//! lacks. To go on would be to give offsets a second time, so that is refused before anything
//! changes.

use std::collections::{BTreeMap, BTreeSet};

use super::{OpenError, Recovery, Stage, forsake_units};
use crate::consume_queue::Unit;
use crate::dispatch::{Facts, LIGHT_QUEUE_ID};
use crate::position::{Physical, QueueOffset};
use crate::queue::{Entry, Kind, Queue, Rest};
use crate::record::{Crc, Verdict};
use crate::resync::next_good;
use crate::seam::{Disk, Fault};

/// Queues, by topic and id, that are to be read from the log again.
pub(super) type Broken = BTreeSet<(String, i32)>;

/// Such queues, and where the log has to be read for each. What it says of one before that may be
/// of an earlier queue of the name, which was deleted.
type Known = BTreeMap<(String, i32), Physical>;

/// What lies at a position of the log that is read again.
struct Again {
    /// Where the next record begins.
    next: Physical,
    /// The units that it has in the queues in question; `None` if it is damaged.
    targets: Option<Vec<(String, i32, Kind, Entry)>>,
}

fn named((topic, id, _): (&str, i32, &Queue)) -> (String, i32) {
    (topic.to_owned(), id)
}

impl<D: Disk> Recovery<'_, D> {
    /// The queues that cannot have been left like this by a clean stop. Of those whose files are
    /// another queue's no unit is believed.
    pub(super) fn suspects(&mut self) -> Broken {
        let suspects = self.queues.iter().filter(|(.., queue)| queue.is_suspect(self.disk));
        let mut suspects: Broken = suspects.map(named).collect();
        let strange = self.queues.iter().filter(|(topic, id, queue)| {
            queue.last(self.disk).is_some_and(|unit| self.is_strange(topic, *id, &unit))
        });
        let strange: Broken = strange.map(named).collect();
        for (topic, id) in strange {
            tracing::warn!(topic, id, "the queue's files are not its own: it is computed again");
            let queue = self.queues.get_mut(&topic, id).expect("it was just listed");
            queue.trim(self.disk, Physical::ZERO);
            suspects.insert((topic, id));
        }
        suspects
    }

    /// Does the unit point at a good record that has no such unit?
    fn is_strange(&self, topic: &str, id: i32, unit: &Unit) -> bool {
        if unit.is_placeholder() || unit.span.at < self.log.start() {
            return false;
        }
        match self.log.verdict(self.disk, unit.span.at, Crc::Skip) {
            Some(Verdict::Good(record)) => !self
                .targets(&record)
                .iter()
                .any(|(name, of, _, own)| name == topic && *of == id && own.0.first == unit.first),
            _ => false,
        }
    }

    /// Queues whose addresses lead nowhere are written again from the first unit on. Not those of
    /// whose last record the log knows nothing any more: nobody needs what was said of that, and
    /// the units alone say how far the queue has counted.
    pub(super) fn forget_lost(&mut self) {
        let start = self.log.start();
        let is_needed = |unit: Unit| unit.span.at >= start;
        let lost = self.queues.iter().filter(|(.., queue)| {
            queue.has_lost_ext() && queue.last(self.disk).is_some_and(is_needed)
        });
        let lost: Broken = lost.map(named).collect();
        for (topic, id) in lost {
            let queue = self.queues.get_mut(&topic, id).expect("it was just listed");
            queue.trim(self.disk, Physical::ZERO);
            self.broken.insert((topic, id));
        }
    }

    /// A page that the power took before it was ever on the medium can show what its block held in
    /// another file, on file systems that allow it: the units of another queue, say. A queue whose
    /// last unit is not its own ends before the strangers, and is read from the log behind them.
    /// Units of its own between trusted ones and strangers are of records that are dispatched.
    pub(super) fn dismiss_strangers(&mut self, trusted: Physical) {
        let with_strangers = self.queues.iter().filter(|(topic, id, queue)| {
            queue.last(self.disk).is_some_and(|unit| !self.belongs(topic, *id, queue.kind, &unit))
        });
        let found: Broken = with_strangers.map(named).collect();
        for (topic, id) in found {
            while let Some(queue) = self.queues.get(&topic, id)
                && let Some(unit) = queue.last(self.disk)
                && (unit.span.at >= trusted || !self.belongs(&topic, id, queue.kind, &unit))
            {
                let queue = self.queues.get_mut(&topic, id).expect("it is there");
                queue.drop_last(self.disk);
            }
            self.broken.insert((topic, id));
        }
    }

    /// Does the record that a unit points at name this queue? Records that are gone cannot say.
    fn belongs(&self, topic: &str, id: i32, kind: Kind, unit: &Unit) -> bool {
        if unit.span.at < self.log.start() || unit.is_placeholder() {
            return true;
        }
        let verdict = self.log.verdict(self.disk, unit.span.at, Crc::Skip);
        let Some(Verdict::Good(record)) = verdict else { return false };
        let properties = [record.properties()];
        let facts = Facts::of(&record, &properties);
        let is_own = facts.topic == topic && record.queue_id() == id;
        let counts = kind == Kind::Batch || facts.queue_offset == unit.first;
        let mut light = facts.light(Kind::Simple, &[]).into_iter();
        let is_light = |(name, entry): (&str, Entry)| {
            name == topic && id == LIGHT_QUEUE_ID && entry.0.first == unit.first
        };
        record.size() == unit.span.len && ((is_own && counts) || light.any(is_light))
    }

    /// After a clean stop that left queues otherwise: those for which the log has more.
    pub(super) fn find_cut_off(&mut self, end: Physical) {
        let is_counted = self.checkpoint.durable.is_some_and(|durable| durable.ends.is_some());
        let doubtful = self.queues.iter().filter(|(.., queue)| is_counted || queue.is_full());
        let doubtful: Broken = doubtful.map(named).collect();
        let doubtful = self.known(doubtful.difference(&self.broken));
        let from = doubtful.values().min().map_or(end, |from| *from);
        let (mut at, records) = (from, self.opened.records);
        self.teller.begin(Stage::Rebuild, end.get().saturating_sub(from.get()), records);
        while let Some(again) = self.read_again(at, end, Crc::Skip, &doubtful) {
            self.teller.done(at.get() - from.get(), records);
            for (topic, id, _, entry) in again.targets.into_iter().flatten() {
                if !self.has(&topic, id, &entry) {
                    self.broken.insert((topic, id));
                }
            }
            at = again.next;
        }
    }

    /// Refuses to repair queues from a log that is damaged where it is needed.
    pub(super) fn refuse_blindness(&self, end: Physical) -> Result<(), OpenError> {
        if self.settings.accept_rot {
            return Ok(());
        }
        let broken = self.known(&self.broken);
        let mut at = broken.values().min().map_or(end, |from| *from);
        while let Some(again) = self.read_again(at, end, self.crc_at(at, true), &broken) {
            if again.targets.is_none() {
                let durable = self.checkpoint.durable.map_or(end, |durable| durable.flushed);
                return Err(OpenError::Rot { at, durable: durable.max(again.next) });
            }
            at = again.next;
        }
        Ok(())
    }

    /// Dispatches the log again for the queues that are broken. What they have is left alone.
    pub(super) fn repair(&mut self, end: Physical) -> Result<(), Fault> {
        let broken = std::mem::take(&mut self.broken);
        let broken = self.known(&broken);
        let Some(from) = broken.values().min().copied() else { return Ok(()) };
        // A crash on the way must not leave queues that look whole.
        forsake_units(self.disk, &mut self.checkpoint)?;
        self.rest = Rest::Unknown;
        let mut at = from;
        self.teller.begin(Stage::Rebuild, end.get().saturating_sub(at.get()), self.opened.records);
        while let Some(again) = self.read_again(at, end, self.crc_at(at, true), &broken) {
            self.teller.done(at.get() - from.get(), self.opened.records);
            let mut targets = again.targets.unwrap_or_default();
            targets.retain(|(topic, id, _, entry)| !self.has(topic, *id, entry));
            self.opened.dispatched += u64::from(!targets.is_empty());
            self.put_all(targets, false)?;
            at = again.next;
        }
        Ok(())
    }

    /// What lies at `at` for the queues in question; `None` at the end. Behind damage the log goes
    /// on with the next record that is good.
    fn read_again(&self, at: Physical, end: Physical, crc: Crc, of: &Known) -> Option<Again> {
        if at >= end {
            return None;
        }
        let (next, targets) = match self.log.verdict(self.disk, at, crc)? {
            Verdict::Bad(_) => {
                let next = next_good(self.disk, &self.log.chain, at);
                (next.map_or(end, |next| next.min(end)), None)
            }
            Verdict::Blank { len } => (at.plus(u64::from(len)), Some(Vec::new())),
            Verdict::Good(record) => {
                let mut targets = self.targets(&record);
                targets.retain(|(topic, id, ..)| {
                    of.get(&(topic.clone(), *id)).is_some_and(|known| *known <= at)
                });
                (at.plus(u64::from(record.size())), Some(targets))
            }
        };
        Some(Again { next, targets })
    }

    /// Does the queue have this unit?
    fn has(&self, topic: &str, id: i32, (unit, _): &Entry) -> bool {
        let queue = self.queues.get(topic, id);
        let known = queue.and_then(|queue| queue.get(self.disk, unit.first));
        known.is_some_and(|known| {
            (known.span, known.first, known.count) == (unit.span, unit.first, unit.count)
        })
    }

    /// Where reading has to begin for each of these queues.
    fn known<'q>(&self, queues: impl IntoIterator<Item = &'q (String, i32)>) -> Known {
        let known = |queue: &(String, i32)| (queue.clone(), self.known_by(&queue.0, queue.1));
        queues.into_iter().map(known).collect()
    }

    /// Where the record of a queue's last unit begins that points at one; where the log does, if
    /// none does.
    fn known_by(&self, topic: &str, id: i32) -> Physical {
        let start = self.log.start();
        let is_known = |unit: &Unit| {
            let verdict = self.log.verdict(self.disk, unit.span.at, Crc::Skip);
            let is_good =
                matches!(verdict, Some(Verdict::Good(record)) if record.size() == unit.span.len);
            // Behind a unit of a record that is gone there is none of one that is not.
            is_good || unit.span.at < start
        };
        let queue = self.queues.get(topic, id);
        let known = queue.and_then(|queue| queue.newest_where(self.disk, is_known));
        known.map_or(start, |unit| unit.span.at.max(start))
    }

    /// Puts the units of one record where they belong, unless queues lack what comes before.
    pub(super) fn put_all(
        &mut self,
        targets: Vec<(String, i32, Kind, Entry)>,
        may_be_gap: bool,
    ) -> Result<(), Fault> {
        let start = self.log.start();
        for (topic, id, kind, entry) in targets {
            let queue = self.queues.get_mut(&topic, id);
            let next = queue.as_ref().map_or_else(QueueOffset::default, |queue| queue.next());
            if may_be_gap && entry.0.first > next {
                self.broken.insert((topic, id));
                continue;
            }
            if let Some(queue) = queue {
                queue.put(self.disk, entry, start)?;
            } else {
                let queue = self.queues.entry(self.settings, &topic, id, kind);
                queue.put(self.disk, entry, start)?;
            }
        }
        Ok(())
    }
}
