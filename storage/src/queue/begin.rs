//! A queue of a copied log: its units have numbers already.

use super::{Entry, Kind, Queue};
use crate::consume_queue::{self, Unit};
use crate::position::{Physical, QueueOffset};
use crate::seam::Memory;

/// Missing units that are taken for a gap of the log itself; more are another queue.
const GAP_MAX: u64 = 16;

/// How a unit's number fits a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It has others: the queue is to begin anew.
    Elsewhere,
    /// It lacks a few in front of it.
    Lacks,
    /// It is the next one.
    Next,
}

impl Queue {
    /// How does a unit with this number fit?
    pub(crate) fn fit(&self, first: QueueOffset) -> Fit {
        let next = self.next().get();
        match first.get().checked_sub(next) {
            Some(0) => Fit::Next,
            Some(1..=GAP_MAX) if self.kind == Kind::Simple && next > 0 => Fit::Lacks,
            _ => Fit::Elsewhere,
        }
    }

    /// Where the record of the newest unit begins, in a file or not; `None` if there is none.
    pub(crate) fn newest_at(&self) -> Option<Physical> {
        self.pending.back().map(|(unit, _)| unit.span.at).or(self.last_at)
    }

    /// Fills the gap in front of a unit: those numbers name its record, as in a recovery.
    pub(crate) fn fill(&mut self, memory: &mut impl Memory, (unit, stored): Entry) {
        while self.next() < unit.first {
            let filler = Unit { first: self.next(), count: 1, ..unit };
            self.push(memory, (filler, stored));
        }
    }

    /// Has the queue, which is empty and has no file, begin with this number.
    pub(crate) fn begin(&mut self, first: QueueOffset) {
        assert!(self.chain.is_empty() && self.pending.is_empty(), "only an empty queue begins");
        if self.kind == Kind::Simple {
            let position = first.get() * consume_queue::UNIT_LEN;
            let start = self.chain.file_start(position);
            self.chain.begin(start);
            (self.low, self.end, self.synced) = (start, start, start);
        }
        self.set_empty(first);
    }

    /// The number with which it begins, while nothing of it is in a file: a file of units may be
    /// there, and none of its extension.
    pub(super) fn begins_at(&self) -> Option<QueueOffset> {
        let is_new = self.end == self.chain.start() && self.last_at.is_none();
        self.pending.front().filter(|_| is_new).map(|(unit, _)| unit.first)
    }

    /// Puts placeholders in the front of the first file, up to where the queue begins.
    pub(super) fn lead_in(&mut self, memory: &mut impl Memory, (unit, stored): &Entry) {
        let position = unit.first.get() * consume_queue::UNIT_LEN;
        if self.kind == Kind::Batch || self.end == position {
            return;
        }
        while self.end < position {
            let first = QueueOffset::new(self.end / consume_queue::UNIT_LEN);
            self.write(memory, &(Unit::placeholder(first), *stored));
        }
        self.low = position;
        self.range = super::QueueRange { min: unit.first, max: unit.first };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::{Chain, open};
    use crate::plain::PlainDisk;
    use crate::position::Span;
    use crate::queue::Side;
    use crate::seam::Op;
    use crate::time::Wall;

    #[test]
    fn a_queue_that_begins_in_the_middle_waits_for_both_kinds_of_files() {
        for sides in [Side::ALL, [Side::Units, Side::Extension]] {
            let mut disk = PlainDisk::default();
            let [units, ext] = ["units", "ext"].map(|dir| Chain::new(dir.to_owned(), 100, 0));
            let mut queue = Queue::new(Kind::Simple, 1, units, Some(ext));
            let (first, span) = (QueueOffset::new(8), Span { at: Physical::new(4096), len: 100 });
            queue.begin(first);
            let unit = Unit { first, count: 1, span, tags_code: 7 };
            queue.push(&mut disk, (unit, Wall::from_millis(1)));
            queue.verify();
            for side in sides {
                let chain = queue.chain_mut(side).expect("it has both");
                let path = chain.ask().expect("nobody asked");
                let op = Op::Allocate { path: &path, len: 100 };
                let file = open(&mut disk, op).expect("an endless disk");
                queue.chain_mut(side).expect("it has both").opened(file);
                queue.drain(&mut disk);
                queue.verify();
            }
            let range = queue.range(&disk, Physical::ZERO);
            assert_eq!((range.min.get(), range.max.get()), (8, 9));
            assert_eq!(queue.get(&disk, first).map(|unit| unit.span), Some(span));
        }
    }
}
