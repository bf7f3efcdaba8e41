//! Reading: queues, units, records. Nothing here changes anything.

use bytes::Bytes;

use super::Store;
use crate::consume_queue::Unit;
use crate::position::{Physical, QueueOffset, Span};
use crate::queue::{Queue, QueueRange};
use crate::record::Record;
use crate::seam::Disk;
use crate::time::Wall;

/// Which message a time names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// The first stored at that time or later; the maximum if there is none.
    Lower,
    /// The last stored at that time or earlier; the minimum if there is none.
    Upper,
}

/// One queue, for reading many units of it.
#[derive(Debug)]
pub struct QueueView<'a, D> {
    queue: &'a Queue,
    disk: &'a D,
    /// Where the log begins: units that point below are not shown.
    start: Physical,
}

impl<D: Disk> QueueView<'_, D> {
    /// Which offsets can be read.
    pub fn range(&self) -> QueueRange {
        self.queue.range(self.disk, self.start)
    }

    /// The unit that holds message number `offset`. Its `first` is smaller if that message lies
    /// within an inner batch; the next unit begins at its `next()`.
    pub fn get(&self, offset: QueueOffset) -> Option<Unit> {
        self.queue.get(self.disk, offset).filter(|unit| unit.span.at >= self.start)
    }

    /// What a unit says of its record's tags: their hash, 0 without any; in the schedule topic a
    /// time of delivery in milliseconds. `None` if that lies in an extension that is not here.
    pub fn tags_code(&self, unit: &Unit) -> Option<i64> {
        self.queue.tags_code(self.disk, unit.tags_code)
    }

    /// Units from the one that holds `offset` on.
    pub fn units_from(&self, offset: QueueOffset) -> impl Iterator<Item = Unit> {
        std::iter::successors(self.get(offset), |unit| self.get(unit.next()))
    }
}

impl<D: Disk> Store<D> {
    /// A queue's offsets; `None` if there is no such queue.
    pub fn queue(&self, topic: &str, queue_id: i32) -> Option<QueueRange> {
        self.queue_view(topic, queue_id).map(|view| view.range())
    }

    /// A queue, for reading many units.
    pub fn queue_view(&self, topic: &str, queue_id: i32) -> Option<QueueView<'_, D>> {
        self.queues.get(topic, queue_id).map(|queue| self.view_of(queue))
    }

    /// One unit.
    pub fn unit(&self, topic: &str, queue_id: i32, offset: QueueOffset) -> Option<Unit> {
        self.queue_view(topic, queue_id)?.get(offset)
    }

    fn view_of<'a>(&'a self, queue: &'a Queue) -> QueueView<'a, D> {
        QueueView { queue, disk: &self.disk, start: self.start() }
    }

    /// Every queue, by topic and id.
    pub fn queues(&self) -> impl Iterator<Item = (&str, i32, QueueRange)> {
        self.queues.iter().map(|(topic, id, queue)| (topic, id, self.view_of(queue).range()))
    }

    /// Does the unit point at a record of the log? A damaged one may point anywhere, and what it
    /// names must not be viewed or leased then. Costs eight bytes of the log.
    pub fn readable(&self, unit: &Unit) -> bool {
        self.log.holds(&self.disk, unit.span)
    }

    /// Bytes of the log. Panics beyond what is written, or across files: spans come from appends
    /// and from [`readable`](Self::readable) units.
    pub fn view(&self, span: Span) -> &[u8] {
        self.log.view(&self.disk, span)
    }

    /// The same bytes, shared, if they are in files: a file stays mapped until the last lease of it
    /// is gone.
    pub fn lease(&self, span: Span) -> Bytes {
        self.log.lease(&self.disk, span)
    }

    /// The record at `at`: lengths and position checked, its body's CRC not. `None` if there is
    /// none, or none any more.
    pub fn record(&self, at: Physical) -> Option<Record<'_>> {
        self.log.record(&self.disk, at)
    }

    /// The records from `at` on, which must be where one begins or where a file does. Ends at
    /// the log's end, or at the first damaged record.
    pub fn records_from(&self, at: Physical) -> impl Iterator<Item = Record<'_>> {
        let mut at = at.max(self.start());
        std::iter::from_fn(move || {
            loop {
                if let Some(record) = self.record(at) {
                    at = at.plus(u64::from(record.size()));
                    return Some(record);
                }
                at = self.log.behind_blank(&self.disk, at)?;
            }
        })
    }

    /// The offset that a time names in a queue, by binary search over store times; `None` if
    /// there is no such queue. Exact as far as the broker's clock never ran backwards.
    pub fn offset_by_time(
        &self,
        topic: &str,
        queue_id: i32,
        time: Wall,
        boundary: Boundary,
    ) -> Option<QueueOffset> {
        let queue = self.queues.get(topic, queue_id)?;
        let stored = |unit: &Unit| {
            // A unit whose record is gone or damaged is older than everything.
            self.record(unit.span.at).map_or(Wall::from_millis(i64::MIN), |r| r.store_time())
        };
        let range = self.view_of(queue).range();
        let first_at_or_after = queue.first_where(&self.disk, |unit| stored(unit) >= time);
        Some(match boundary {
            Boundary::Lower => first_at_or_after,
            Boundary::Upper => {
                let behind = queue.first_where(&self.disk, |unit| stored(unit) > time);
                let last = behind.get().checked_sub(1).map(QueueOffset::new);
                last.map_or(range.min, |last| last.max(range.min))
            }
        })
    }
}
