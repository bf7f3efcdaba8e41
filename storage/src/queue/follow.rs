//! How a queue follows the log's beginning when that moves: what of it can be read, and which of
//! its files are spent.
//!
//! ```text
//!  chain start      low                    end
//!  | file | file    | units into the log | |        files wholly below `low` are spent
//!  '- records gone -'
//! ```
//!
//! The log's beginning moves at once for every queue there is. A queue is corrected in its turn,
//! and until then whoever asks gets an answer that was searched for.

use super::{Queue, QueueRange};
use crate::consume_queue::Unit;
use crate::position::Physical;
use crate::seam::{FileId, Memory};

impl Queue {
    /// Which offsets can be read of a log that begins at `log_start`. The log's beginning moves
    /// at once for all queues, and [`follow`](Self::follow) comes to each in its turn.
    pub(crate) fn range(&self, memory: &impl Memory, log_start: Physical) -> QueueRange {
        let min = if self.is_behind(log_start) {
            self.offset_at(memory, self.first_position(memory, self.low, log_start))
        } else {
            self.range.min
        };
        QueueRange { min, max: self.next() }
    }

    /// Has the log's beginning passed the queue's?
    fn is_behind(&self, log_start: Physical) -> bool {
        self.oldest.is_some_and(|oldest| oldest < log_start)
    }

    /// Sets the minimum by the log's first byte: units below point at deleted records.
    pub(crate) fn correct_min(&mut self, memory: &impl Memory, log_start: Physical) {
        self.correct_from(memory, self.chain.start(), log_start);
    }

    /// The same, while serving: what was below stays below. Costs nothing if nothing changed.
    pub(crate) fn follow(&mut self, memory: &impl Memory, log_start: Physical) {
        if self.is_behind(log_start) {
            self.correct_from(memory, self.low, log_start);
        }
    }

    fn correct_from(&mut self, memory: &impl Memory, from: u64, log_start: Physical) {
        self.low = self.first_position(memory, from, log_start);
        let first = (self.low < self.end).then(|| self.at(memory, self.low)).flatten();
        self.oldest = first.map(|unit| unit.span.at);
        self.range.min = first.map_or(self.range.max, |unit| unit.first);
    }

    /// The position of the first unit from `from` on that points into the log.
    fn first_position(&self, memory: &impl Memory, from: u64, log_start: Physical) -> u64 {
        let points_into_log = |unit: &Unit| !unit.is_placeholder() && unit.span.at >= log_start;
        self.search(memory, from, points_into_log)
    }

    /// Takes out a first file, to be deleted, if all that lies in it is below the minimum. The
    /// file of the last unit stays, so that the maximum survives, and so does what is not on the
    /// medium: a sync of it may be under way. Says where the file lies.
    pub(crate) fn take_spent(&mut self, memory: &impl Memory) -> Option<(String, FileId)> {
        let end = self.chain.start() + self.chain.file_len();
        if end <= self.low && end < self.end && end <= self.synced {
            return Some(self.chain.take_first());
        }
        if self.ext.is_none() || self.low == self.end {
            return None;
        }
        let first = self.at(memory, self.low)?;
        self.ext.as_mut()?.take_spent(first.tags_code)
    }
}
