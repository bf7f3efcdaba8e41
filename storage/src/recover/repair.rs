//! Queues that know less than the log: their last file is missing, or a unit in them is damaged.
//!
//! Such a queue gives itself away in one of two ways. A record that is dispatched to it does not
//! continue it; or, after a clean stop, it ends where no queue ends in order: exactly with its
//! last file, or before bytes that are not zero. What it lacks lies in the log behind the record
//! of its last unit, so only that part is read again, and only for such queues.

use std::collections::BTreeSet;

use super::{Recovery, Stage, forsake_units};
use crate::consume_queue::Unit;
use crate::dispatch::{Facts, LIGHT_QUEUE_ID};
use crate::position::{Physical, QueueOffset};
use crate::queue::{Entry, Kind, Queue};
use crate::record::{Crc, Verdict};
use crate::seam::{Disk, Fault};

/// Queues, by topic and id, that are to be read from the log again.
pub(super) type Broken = BTreeSet<(String, i32)>;

impl<D: Disk> Recovery<'_, D> {
    /// The queues that cannot have been left like this by a clean stop. Of those whose files are
    /// another queue's no unit is believed.
    pub(super) fn suspects(&mut self) -> Broken {
        let named = |(topic, id, _): (&str, i32, &Queue)| (topic.to_owned(), id);
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
        let lost: Broken = lost.map(|(topic, id, _)| (topic.to_owned(), id)).collect();
        for (topic, id) in lost {
            let queue = self.queues.get_mut(&topic, id).expect("it was just listed");
            queue.trim(self.disk, Physical::ZERO);
            self.broken.insert((topic, id));
        }
    }

    /// A page that the power took before it was ever on the medium can show what its block held in
    /// another file, on file systems that allow it: the units of another queue, say. A queue whose
    /// last unit is not its own ends before the strangers, and is read from the log behind them.
    pub(super) fn dismiss_strangers(&mut self) {
        let with_strangers = self.queues.iter().filter(|(topic, id, queue)| {
            queue.last(self.disk).is_some_and(|unit| !self.belongs(topic, *id, queue.kind, &unit))
        });
        let found: Broken = with_strangers.map(|(topic, id, _)| (topic.to_owned(), id)).collect();
        for (topic, id) in found {
            while let Some(queue) = self.queues.get(&topic, id)
                && let Some(unit) = queue.last(self.disk)
                && !self.belongs(&topic, id, queue.kind, &unit)
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

    /// Does the entry come too late for its queue? Then units are missing in between.
    fn is_gap(&self, topic: &str, id: i32, entry: &Entry) -> bool {
        let next = self.queues.get(topic, id).map_or_else(QueueOffset::default, Queue::next);
        entry.0.first > next
    }

    /// Dispatches the log again for the queues that are broken.
    pub(super) fn repair(&mut self, end: Physical) -> Result<(), Fault> {
        if self.broken.is_empty() {
            return Ok(());
        }
        // A crash on the way must not leave queues that look whole.
        forsake_units(self.disk, &mut self.checkpoint)?;
        let broken = std::mem::take(&mut self.broken);
        let from = broken.iter().map(|(topic, id)| self.known_by(topic, *id)).min();
        let from = from.unwrap_or(end);
        let mut at = from;
        self.teller.begin(Stage::Rebuild, end.get().saturating_sub(at.get()), self.opened.records);
        while at < end {
            self.teller.done(at.get() - from.get(), self.opened.records);
            let (len, mut targets) = match self.log.verdict(self.disk, at, Crc::Skip) {
                None => break,
                Some(Verdict::Blank { len }) => (u64::from(len), Vec::new()),
                Some(Verdict::Good(record)) => (u64::from(record.size()), self.targets(&record)),
                Some(Verdict::Bad(_)) => {
                    // What lies behind damage is found again at the next file's beginning.
                    let file_len = self.log.chain.file_len();
                    (file_len - at.get() % file_len, Vec::new())
                }
            };
            targets.retain(|(topic, id, ..)| broken.contains(&(topic.clone(), *id)));
            self.opened.dispatched += u64::from(!targets.is_empty());
            self.put_all(targets, false)?;
            at = at.plus(len);
        }
        Ok(())
    }

    /// Where the record of a queue's last unit begins; where the log does, if that unit points
    /// at none.
    fn known_by(&self, topic: &str, id: i32) -> Physical {
        let last = self.queues.get(topic, id).and_then(|queue| queue.last(self.disk));
        let good = last.filter(|unit| {
            let verdict = self.log.verdict(self.disk, unit.span.at, Crc::Skip);
            matches!(verdict, Some(Verdict::Good(record)) if record.size() == unit.span.len)
        });
        good.map_or(self.log.start(), |unit| unit.span.at)
    }

    /// Puts the units of one record where they belong, unless queues lack what comes before.
    pub(super) fn put_all(
        &mut self,
        targets: Vec<(String, i32, Kind, Entry)>,
        may_be_gap: bool,
    ) -> Result<(), Fault> {
        for (topic, id, kind, entry) in targets {
            if may_be_gap && self.is_gap(&topic, id, &entry) {
                self.broken.insert((topic, id));
                continue;
            }
            self.queues.entry(self.settings, &topic, id, kind).put(self.disk, entry)?;
        }
        Ok(())
    }
}
