//! Where recovery puts the units of records that it read.

use super::{Entry, Kind, NEAR, OFFSET_MAX, Queue};
use crate::consume_queue::{self, Unit};
use crate::position::{Physical, QueueOffset};
use crate::queue_ext::Extension;
use crate::seam::{Disk, Fault, Memory};

impl Queue {
    /// Puts the unit of a record that recovery read, where the record says. The log is the
    /// truth: what the queue held from there on is forgotten. The log begins at `log_start`.
    ///
    /// No CRC covers a record's queue offset. One that no queue can have reached is skipped.
    pub(crate) fn put<D: Disk>(
        &mut self,
        disk: &mut D,
        entry: Entry,
        log_start: Physical,
    ) -> Result<(), Fault> {
        if entry.0.first.get() > OFFSET_MAX {
            return Ok(());
        }
        match self.kind {
            Kind::Simple => {
                let end = self.end;
                self.seek(disk, &entry, log_start)?;
                if self.end < end {
                    self.is_rest_zero = false;
                    self.trim_ext(disk);
                }
            }
            Kind::Batch => {
                let behind = self.search(disk, self.chain.start(), |u| u.first >= entry.0.first);
                self.is_rest_zero &= self.end <= behind;
                self.end = self.end.min(behind);
            }
        }
        self.make_room(disk)?;
        self.synced = self.synced.min(self.end);
        self.write(disk, &entry);
        Ok(())
    }

    /// Moves the end to where the entry belongs. A gap that is small is one that the log itself
    /// has, since damage to the queue was repaired before: its offsets name the record behind it,
    /// so that every unit above the minimum can be read. For any other distance the queue begins
    /// anew there, with placeholders in the front of its file; and so it does behind units of
    /// records that are gone: the log may be another that begins here, of which the queue has not
    /// heard yet. In front of such units, which are what a file's blocks held before then, it does
    /// so if nothing is there that it continues.
    fn seek<D: Disk>(
        &mut self,
        disk: &mut D,
        (unit, stored): &Entry,
        log_start: Physical,
    ) -> Result<(), Fault> {
        let position = unit.first.get() * consume_queue::UNIT_LEN;
        let is_new = self.end == self.chain.start() && position != self.end;
        let is_far = position > self.end + self.chain.file_len().max(NEAR);
        let is_gone = self.last_at.is_some_and(|last| last < log_start);
        let is_old = position > self.end && is_gone;
        let is_stale = position < self.end && is_gone && !self.follows_at(disk, position, unit);
        let begins = position < self.chain.start() || is_new || is_far || is_old || is_stale;
        if begins {
            self.chain.restart(disk, self.chain.file_start(position))?;
            (self.low, self.end, self.synced) = (position, self.chain.start(), self.chain.start());
            self.set_empty(unit.first);
            self.ext.iter_mut().for_each(Extension::clear);
        }
        while self.end < position {
            self.make_room(disk)?;
            let first = QueueOffset::new(self.end / consume_queue::UNIT_LEN);
            let filler = if begins { Unit::placeholder(first) } else { Unit { first, ..*unit } };
            self.write(disk, &(filler, *stored));
        }
        self.end = position;
        Ok(())
    }

    /// Does the unit continue, at `position`, what lies in front of it?
    fn follows_at(&self, memory: &impl Memory, position: u64, unit: &Unit) -> bool {
        let before = position.checked_sub(consume_queue::UNIT_LEN);
        let before = before.filter(|before| *before >= self.chain.start());
        before.is_none_or(|before| {
            let before = self.at(memory, before);
            before.is_some_and(|before| before.is_placeholder() || before.span.at < unit.span.at)
        })
    }
}
