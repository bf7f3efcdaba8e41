//! Pages of the log made present before the writer gets there.
//!
//! ```text
//!            written            asked       written + reach        room_end
//!  … records | present, unused  | missing   |                      |
//!                               '-- next step, if it ends in reach
//! ```
//!
//! The first store to a page of a fresh file waits for the system: a page is found and cleared,
//! the file system is told. Asked for beforehand, many at a time and elsewhere, it costs the
//! writer nothing.
//!
//! How far ahead? Pages are dirty once they are present, and are written as zeros if the writer is
//! slow to come; and they are memory. So the reach is not fixed: while a step was being made
//! present the writer came some way, and a few times that way is enough. An idle broker holds two
//! steps, one under full load what [`Settings::prefault`](crate::Settings::prefault) allows, and
//! then steps are longer too: between two of them nothing is made present.

use super::{Store, Task};
use crate::seam::{Advice, Disk, Op};

/// Bytes asked for at a time, at least.
const STEP: u64 = 1 << 20;
/// Steps that are present before anybody writes: one to write to while the other is made.
const LEAST_STEPS: u64 = 2;
/// How many times the way that the writer comes during a step is kept present; and the part of
/// what is kept present that a step makes.
const AHEAD: u64 = 4;

/// What was asked for.
#[derive(Debug)]
pub(super) struct Prefault {
    /// Pages below were asked for.
    asked: u64,
    /// Where the writer was when the step under way was asked for.
    since: Option<u64>,
    /// Bytes ahead of the writer that are to be present.
    reach: u64,
    /// At most; 0: none.
    most: u64,
}

impl Prefault {
    pub(super) fn new(most: u64) -> Self {
        Self { asked: 0, since: None, reach: most.min(LEAST_STEPS * STEP), most }
    }

    /// The next step, if one is due; a step lies in one file. It counts as asked for.
    fn next(&mut self, written: u64, room_end: u64, file_len: u64) -> Option<(u64, u64)> {
        if self.since.is_some() || self.most == 0 {
            return None;
        }
        let from = self.asked.max(written);
        let (file, within) = (from - from % file_len, from % file_len);
        let behind = (within + STEP.max(self.reach / AHEAD)) / STEP * STEP;
        let to = file + behind.min(file_len);
        if to > room_end.min(written.saturating_add(self.reach)) {
            return None;
        }
        (self.asked, self.since) = (to, Some(written));
        Some((from, to))
    }

    /// The step under way is over.
    fn ended(&mut self, written: u64) {
        let since = self.since.take().expect("only a step under way ends");
        let wanted = LEAST_STEPS * STEP + AHEAD * (written - since);
        self.reach = wanted.min(self.most);
    }
}

impl<D: Disk> Store<D> {
    /// Asks for the next step, if one is due: whenever the log has grown, or its room has.
    pub(super) fn prefault(&mut self) {
        let (written, chain) = (self.log.written().end().get(), &self.log.chain);
        let step = self.prefault.next(written, chain.room_end(), chain.file_len());
        let Some((from, to)) = step else { return };
        let parts = chain.parts(from, to).next();
        let (file, from, to) = parts.expect("a step below the room's end lies in a file");
        let op = Op::Advise { file, advice: Advice::Prepare { from, to } };
        self.ops.submit(&mut self.disk, Task::Prepare, op);
    }

    pub(super) fn prepared(&mut self) {
        self.prefault.ended(self.log.written().end().get());
        self.prefault();
    }

    /// The log has left a file.
    pub(super) fn leave(&mut self, file: crate::seam::FileId) {
        self.ops.submit(&mut self.disk, Task::Leave, Op::Advise { file, advice: Advice::Leave });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: u64 = 3 * STEP + 100;

    #[test]
    fn steps_end_with_files_and_keep_ahead_of_the_writer() {
        let mut prefault = Prefault::new(4 * STEP);
        assert_eq!(prefault.next(10, FILE, FILE), Some((10, STEP)));
        assert_eq!(prefault.next(20, FILE, FILE), None, "one at a time");
        prefault.ended(20);
        assert_eq!(prefault.next(20, FILE, FILE), Some((STEP, 2 * STEP)));
        prefault.ended(20);
        assert_eq!(prefault.next(20, FILE, FILE), None, "a slow writer needs no more");
        let written = STEP + 1;
        assert_eq!(prefault.next(written, FILE, FILE), Some((2 * STEP, 3 * STEP)));
        // The writer overtakes what was asked for, and is told further ahead from then on.
        prefault.ended(3 * STEP + 7);
        let written = 3 * STEP + 7;
        assert_eq!(prefault.next(written, FILE, FILE), Some((written, FILE)), "the file's end");
        prefault.ended(written);
        assert_eq!(prefault.next(written, FILE, FILE), None, "the next file is not there");
        assert_eq!(prefault.next(written, 2 * FILE, FILE), Some((FILE, FILE + STEP)));
    }

    #[test]
    fn a_fast_writer_gets_longer_steps() {
        let mut prefault = Prefault::new(32 * STEP);
        assert_eq!(prefault.next(10, 1 << 30, 1 << 30), Some((10, STEP)));
        prefault.ended(10 + 4 * STEP);
        let from = 10 + 4 * STEP;
        assert_eq!(prefault.next(from, 1 << 30, 1 << 30), Some((from, 8 * STEP)), "18 / 4");
        prefault.ended(from + 100 * STEP);
        let from = from + 100 * STEP;
        assert_eq!(prefault.next(from, 1 << 30, 1 << 30), Some((from, 112 * STEP)), "32 / 4");
    }

    #[test]
    fn a_file_smaller_than_a_step_is_asked_for_whole_and_zero_turns_it_off() {
        let mut prefault = Prefault::new(1 << 25);
        assert_eq!(prefault.next(0, 4096, 4096), Some((0, 4096)));
        prefault.ended(0);
        assert_eq!(prefault.next(100, 8192, 4096), Some((4096, 8192)));
        assert_eq!(Prefault::new(0).next(0, 4096, 4096), None);
    }
}
