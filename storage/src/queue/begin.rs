//! A queue of a copied log: its units have numbers already.

use super::{Entry, Kind, Queue};
use crate::consume_queue::{self, Unit};
use crate::position::QueueOffset;
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
