//! How old the files of a log are: for how long nothing was written to each.
//!
//! A file's newest record is as old as the first record of the file behind it, as far as a look at
//! the log can tell. Yet the stamps of records, and the wall clock, come from clocks that are set:
//! after one that ran ten years ahead for a minute, the whole log looks ten years old. Deleting by
//! it would be the end of all messages. So ages are not differences of two stamps:
//!
//! ```text
//!   file        next file       last file     newest   this broker's    now
//!   |  records  | first record  | ...         record   start            |
//!               '---- step -----'---- step ---'- step --'--- monotonic --'
//! ```
//!
//! Since this broker started, the monotonic clock counts. Before, age is a sum of steps from stamp
//! to stamp, and a step counts for half of the reserved time at most, and never backwards. So *no
//! single jump of a clock*, whether it happens now, happened while the broker was down, or lies
//! somewhere in the log, expires a file that is young. What it costs: after a time longer than
//! that in which nothing was written, some files stay longer than asked for, by that time at most.

use std::collections::VecDeque;
use std::time::Duration;

use hotfire_storage::position::Physical;
use hotfire_storage::time::{Mono, Now, Wall};

use crate::machine::Digest;

/// What is known of a log when it is opened.
#[derive(Clone, Copy, Debug)]
pub struct LogAtStart {
    /// Its first byte.
    pub start: Physical,
    /// Its end.
    pub end: Physical,
    /// Bytes of a file.
    pub file_len: u64,
    /// When its newest record was stored.
    pub newest: Wall,
}

/// When each file that is full became so.
#[derive(Clone, Debug)]
pub(super) struct Ages {
    file_len: u64,
    /// The zero of what follows.
    born: Mono,
    /// The longest that a step counts, in milliseconds.
    step_max: i64,
    /// The oldest file that is known, and in order when each became full, in milliseconds.
    first: Physical,
    ends: VecDeque<i64>,
    /// Files of before, from the newest to the oldest.
    before: Option<Before>,
}

/// How far the look at what was there at the start has come.
#[derive(Clone, Copy, Debug)]
struct Before {
    /// The first record of the file here is to be looked at.
    next: Physical,
    /// The stamp looked at before.
    later: Wall,
    /// When that was, in milliseconds.
    end: i64,
}

impl Ages {
    pub(super) fn new(now: Now, log: LogAtStart, reserved: Duration) -> Self {
        let LogAtStart { start, end, file_len, newest } = log;
        let step_max = i64::try_from(reserved.as_millis() / 2).unwrap_or(i64::MAX);
        // The file in use: the last one with a record.
        let last = end.get().saturating_sub(1).max(start.get());
        let last = Physical::new(last - last % file_len);
        let mut ages = Self {
            file_len,
            born: now.mono,
            step_max,
            first: last,
            ends: VecDeque::new(),
            before: None,
        };
        let end = -ages.step(newest, now.wall);
        ages.before = (last > start).then_some(Before { next: last, later: newest, end });
        ages
    }

    /// The file whose first record's store time is wanted.
    pub(super) fn wants(&self, start: Physical) -> Option<Physical> {
        self.before.map(|before| before.next).filter(|next| *next > start)
    }

    /// The file at `at` begins with a record stored then; `None`: with none that is sound.
    pub(super) fn looked(&mut self, at: Physical, stored: Option<Wall>) {
        let Some(before) = self.before.filter(|before| before.next == at) else { return };
        let Before { next, later, end } = before;
        let stored = stored.unwrap_or(later);
        let end = end - self.step(stored, later);
        self.ends.push_front(end);
        self.first = Physical::new(next.get() - self.file_len);
        self.before =
            (self.first.get() > 0).then_some(Before { next: self.first, later: stored, end });
    }

    /// The log begins and ends here now. Asked often enough, a file is noted as full when it is.
    pub(super) fn reached(&mut self, now: Mono, start: Physical, end: Physical) {
        let mut full_upto = self.first.plus(self.ends.len() as u64 * self.file_len);
        while full_upto.plus(self.file_len) < end {
            self.ends.push_back(self.millis(now));
            full_upto = full_upto.plus(self.file_len);
        }
        while self.first < start && self.ends.pop_front().is_some() {
            self.first = self.first.plus(self.file_len);
        }
        if self.before.is_some_and(|before| before.next <= start) {
            self.before = None;
        }
    }

    /// For how long nothing was written to the file at `start`, if that is known.
    pub(super) fn of(&self, now: Mono, start: Physical) -> Option<Duration> {
        let index = start.get().checked_sub(self.first.get())? / self.file_len;
        let end = self.ends.get(usize::try_from(index).ok()?)?;
        let age = self.millis(now) - end;
        Some(Duration::from_millis(u64::try_from(age).unwrap_or(0)))
    }

    fn millis(&self, now: Mono) -> i64 {
        i64::try_from(now.since(self.born).as_millis()).unwrap_or(i64::MAX)
    }

    fn step(&self, from: Wall, to: Wall) -> i64 {
        to.as_millis().saturating_sub(from.as_millis()).clamp(0, self.step_max)
    }

    pub(super) fn verify(&self) {
        let ends = self.ends.iter();
        assert!(ends.clone().zip(ends.skip(1)).all(|(a, b)| a <= b), "files fill in order");
        assert!(self.before.is_none_or(|before| before.next == self.first), "no file is left out");
    }

    pub(super) fn digest(&self, into: &mut Digest) {
        into.number(self.first.get());
        self.ends.iter().for_each(|end| into.number(end.cast_unsigned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const RESERVED: Duration = Duration::from_secs(72 * 3600);

    fn hours(hours: i64) -> Wall {
        Wall::from_millis(hours * HOUR)
    }

    fn later(hours: u64) -> Mono {
        Mono::from_micros(hours * 3_600_000_000)
    }

    /// A log of files of 100 bytes whose first records, from the second file on, were stored at
    /// these hours; the newest record at the last of them.
    fn opened(begins: &[i64], wall: i64) -> Ages {
        let file = |number: usize| Physical::new(number as u64 * 100);
        let (newest, begins) = begins.split_last().expect("one is the newest");
        let (start, end) = (Physical::ZERO, file(begins.len()).plus(50));
        let log = LogAtStart { start, end, file_len: 100, newest: hours(*newest) };
        let now = Now { mono: Mono::ZERO, wall: hours(wall) };
        let mut ages = Ages::new(now, log, RESERVED);
        while let Some(at) = ages.wants(start) {
            let number = usize::try_from(at.get() / 100).expect("small");
            ages.looked(at, Some(hours(begins[number - 1])));
        }
        ages.reached(Mono::ZERO, start, end);
        ages.verify();
        ages
    }

    fn age(ages: &Ages, now: Mono, file: u64) -> u64 {
        ages.of(now, Physical::new(file * 100)).expect("known").as_secs() / 3600
    }

    #[test]
    fn a_log_that_was_written_steadily_is_as_old_as_its_stamps_say() {
        let ages = opened(&[10, 30, 60, 70], 75);
        assert_eq!([0, 1, 2].map(|file| age(&ages, Mono::ZERO, file)), [65, 45, 15]);
        assert_eq!(age(&ages, later(7), 0), 72);
        assert_eq!(ages.of(Mono::ZERO, Physical::new(300)), None, "it is in use");
    }

    #[test]
    fn no_single_jump_of_a_clock_makes_a_young_file_old() {
        const YEARS: i64 = 10 * 365 * 24;
        for (begins, wall) in [
            (&[10, 11, 12, 13][..], 13 + YEARS),
            (&[10, 11, 12, 13 + YEARS], 13 + YEARS),
            (&[10, 11, 12 + YEARS, 13 + YEARS], 14 + YEARS),
            (&[10, 11 + YEARS, 12, 13], 14),
            (&[10 + YEARS, 11, 12, 13], 14),
            (&[10, 11, 12, 13 - YEARS], 14 - YEARS),
            (&[10, 11, 12, 13 - YEARS], 14),
            (&[10, 11, 12 - YEARS, 13], 14),
        ] {
            let ages = opened(begins, wall);
            assert!((0..3).all(|file| age(&ages, Mono::ZERO, file) <= 40), "{begins:?} {wall}");
            assert!(age(&ages, later(72), 0) >= 72, "and it does expire: {begins:?} {wall}");
        }
    }

    #[test]
    fn files_that_fill_meanwhile_count_from_then_and_deleted_ones_are_forgotten() {
        let mut ages = opened(&[10, 11], 11);
        let (start, at) = (Physical::ZERO, Physical::new);
        ages.reached(later(5), start, at(250));
        ages.reached(later(6), start, at(300));
        assert_eq!([0, 1].map(|file| age(&ages, later(10), file)), [11, 5]);
        assert_eq!(ages.of(later(10), at(200)), None, "full, but nothing follows it yet");
        ages.reached(later(7), at(100), at(301));
        ages.verify();
        assert_eq!(ages.of(later(10), at(0)), None);
        assert_eq!([1, 2].map(|file| age(&ages, later(10), file)), [5, 3]);
    }

    #[test]
    fn a_log_that_loses_files_while_it_is_looked_at_is_looked_at_no_further() {
        let log = LogAtStart {
            start: Physical::ZERO,
            end: Physical::new(450),
            file_len: 100,
            newest: hours(9),
        };
        let mut ages = Ages::new(Now { mono: Mono::ZERO, wall: hours(9) }, log, RESERVED);
        ages.looked(Physical::new(400), Some(hours(8)));
        let start = Physical::new(300);
        ages.reached(Mono::ZERO, start, Physical::new(450));
        assert_eq!(ages.wants(start), None);
        assert_eq!(age(&ages, Mono::ZERO, 3), 1);
        ages.verify();
    }
}
