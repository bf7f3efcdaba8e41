//! One queue: units of one width in a chain of files, ordinary or of inner batches.
//!
//! ```text
//!  chain start    low                          end              end + pending
//!  | placeholders | units below the log's start | units | zeros | (in memory, no file yet) |
//! ```
//!
//! An ordinary unit lies where its queue offset says, so writing it twice changes nothing. Units
//! whose file is still being allocated wait in a bounded list; they are read from there, so a
//! message is visible in the turn that appends it.

mod begin;
mod follow;
mod put;
mod rest;
mod sides;

use std::collections::VecDeque;

use crate::chain::Chain;
use crate::consume_queue::Unit;
use crate::position::{Physical, QueueOffset};
use crate::queue_ext::{ExtUnit, Extension};
use crate::seam::{Disk, Fault, Memory, sync_each};
use crate::time::Wall;
use crate::{batch_queue, consume_queue};

pub(crate) use begin::Fit;
pub(crate) use rest::Rest;
pub(crate) use sides::Side;

/// Units that may wait for a file. Enough for what arrives while a file is allocated; beyond,
/// sends to this queue wait instead.
pub(crate) const PENDING_MAX: usize = 1024;

/// Bytes of units that are read at once.
const CHUNK: u64 = 4096;
const CHUNK_LEN: usize = 4096;

/// Offsets above are damage, not messages: at a million a second they take a thousand years.
const OFFSET_MAX: u64 = 1 << 55;

/// However small its files are, a queue does not begin anew for a gap of so many bytes.
const NEAR: u64 = 16 * consume_queue::UNIT_LEN;

/// How a queue numbers its units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A unit stands for several messages and is searched for.
    Batch,
    /// A unit stands for one message and lies at its offset.
    Simple,
}

impl Kind {
    /// Bytes of a unit.
    pub(crate) const fn unit_len(self) -> u64 {
        match self {
            Self::Batch => batch_queue::UNIT_LEN,
            Self::Simple => consume_queue::UNIT_LEN,
        }
    }
}

/// The offsets that a queue holds: `min` is the first that can be read, `max` the next to come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueRange {
    /// The first message whose record still exists.
    pub min: QueueOffset,
    /// Behind the last message.
    pub max: QueueOffset,
}

/// A unit and what only the batch format stores beside it.
pub(crate) type Entry = (Unit, Wall);

#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) kind: Kind,
    /// Tells this queue from an earlier one of the same name that was deleted.
    pub(crate) life: u64,
    pub(crate) chain: Chain,
    /// Only of an ordinary queue, and only if the store is set so.
    ext: Option<Extension>,
    /// Position of the first unit that points into the log, as of the last correction.
    low: u64,
    /// Where the record of the unit at `low` begins, if that unit is in a file: while the log
    /// begins no later, `low` is right.
    oldest: Option<Physical>,
    /// Position behind the last unit in a file.
    end: u64,
    /// Where the record of that unit begins; `None` if there is none but placeholders.
    last_at: Option<Physical>,
    /// What lies in files.
    range: QueueRange,
    /// Units below this position are on the medium.
    synced: u64,
    /// Recovery read what follows the last unit, and all of it is zero.
    is_rest_zero: bool,
    pending: VecDeque<Entry>,
}

impl Queue {
    pub(crate) fn new(kind: Kind, life: u64, chain: Chain, ext: Option<Chain>) -> Self {
        let (start, range) = (chain.start(), QueueRange::default());
        let mut queue = Self {
            kind,
            life,
            chain,
            ext: ext.map(Extension::new),
            low: start,
            oldest: None,
            end: start,
            last_at: None,
            range,
            synced: start,
            is_rest_zero: false,
            pending: VecDeque::new(),
        };
        queue.set_empty(QueueOffset::new(start / kind.unit_len()));
        queue
    }

    /// A queue whose files were found on disk: full and on the medium until [`trim`](Self::trim)
    /// says otherwise.
    pub(crate) fn found(kind: Kind, life: u64, chain: Chain, ext: Option<Chain>) -> Self {
        let end = chain.room_end();
        let ext = ext.map(Extension::found);
        Self { end, synced: end, ext, ..Self::new(kind, life, chain, None) }
    }

    /// The offset of the next message to be appended.
    pub(crate) fn next(&self) -> QueueOffset {
        self.pending.back().map_or(self.range.max, |(unit, _)| unit.next())
    }

    /// Where the oldest record lies whose unit is not in a file.
    pub(crate) fn pending_from(&self) -> Option<Physical> {
        self.pending.front().map(|(unit, _)| unit.span.at)
    }

    /// Appends a unit.
    pub(crate) fn push(&mut self, memory: &mut impl Memory, entry: Entry) {
        assert_eq!(entry.0.first, self.next(), "a queue has no gaps");
        self.pending.push_back(entry);
        self.drain(memory);
    }

    /// Moves waiting units into files as far as there is room.
    pub(crate) fn drain(&mut self, memory: &mut impl Memory) {
        while self.has_room() {
            let Some(entry) = self.pending.pop_front() else { break };
            self.lead_in(memory, &entry);
            self.write(memory, &entry);
        }
    }

    fn write(&mut self, memory: &mut impl Memory, (unit, stored): &Entry) {
        let (file, at) = self.chain.locate(self.end).expect("the caller saw room");
        let mut filed = *unit;
        if let Some(ext) = self.ext.as_mut().filter(|_| !unit.is_placeholder()) {
            let said = ExtUnit { tags_code: unit.tags_code, stored: *stored, bitmap: &[] };
            filed.tags_code = ext.append(memory, &said);
        }
        let (simple, batch);
        let bytes: &[u8] = match self.kind {
            Kind::Simple => {
                simple = consume_queue::encode(&filed);
                &simple
            }
            Kind::Batch => {
                batch = batch_queue::encode(unit, *stored);
                &batch
            }
        };
        memory.slot(file, at, bytes.len()).copy_from_slice(bytes);
        if self.end == self.low {
            self.oldest = Some(unit.span.at);
        }
        self.end += bytes.len() as u64;
        self.last_at = Some(unit.span.at).filter(|_| !unit.is_placeholder());
        self.range.max = unit.next();
    }

    /// The unit at a position, below the end or not.
    pub(crate) fn at(&self, memory: &impl Memory, position: u64) -> Option<Unit> {
        let (file, at) = self.chain.locate(position)?;
        let mut bytes = [0; batch_queue::BYTES];
        let bytes = match self.kind {
            Kind::Simple => &mut bytes[..consume_queue::BYTES],
            Kind::Batch => &mut bytes[..],
        };
        memory.copy(file, at, bytes);
        self.decode(bytes, position)
    }

    /// The units of the file that begins at `from`, as far as `take` takes them and they are units.
    fn each(&self, memory: &impl Memory, from: u64, mut take: impl FnMut(u64, Unit) -> bool) {
        let Some((file, _)) = self.chain.locate(from) else { return };
        let (len, file_len) = (self.kind.unit_len(), self.chain.file_len());
        let chunk = CHUNK - CHUNK % len;
        let mut bytes = [0; CHUNK_LEN];
        let mut within = 0;
        while within < file_len {
            let many = usize::try_from(chunk.min(file_len - within)).expect("at most a chunk");
            memory.copy(file, within, &mut bytes[..many]);
            for bytes in bytes[..many].chunks_exact(usize::try_from(len).expect("it is small")) {
                let position = from + within;
                let unit = self.decode(bytes, position);
                if unit.is_none_or(|unit| !take(position, unit)) {
                    return;
                }
                within += len;
            }
        }
    }

    fn decode(&self, bytes: &[u8], position: u64) -> Option<Unit> {
        match self.kind {
            Kind::Simple => {
                let first = QueueOffset::new(position / consume_queue::UNIT_LEN);
                consume_queue::decode(bytes, first)
            }
            Kind::Batch => batch_queue::decode(bytes),
        }
    }

    /// The unit that holds message number `offset`.
    pub(crate) fn get(&self, memory: &impl Memory, offset: QueueOffset) -> Option<Unit> {
        if offset < self.range.min {
            return None;
        }
        if offset >= self.range.max {
            let behind = self.pending.partition_point(|(unit, _)| unit.next() <= offset);
            return self.pending.get(behind).map(|(unit, _)| *unit);
        }
        match self.kind {
            Kind::Simple => self.at(memory, offset.get() * consume_queue::UNIT_LEN),
            Kind::Batch => {
                let behind = self.search(memory, self.low, |unit| unit.first > offset);
                self.at(memory, behind.checked_sub(batch_queue::UNIT_LEN)?)
            }
        }
    }

    /// The position of the first unit from `from` on for which `is_behind` holds; the end if
    /// there is none. Units for which it holds follow those for which it does not.
    fn search(
        &self,
        memory: &impl Memory,
        from: u64,
        mut is_behind: impl FnMut(&Unit) -> bool,
    ) -> u64 {
        let len = self.kind.unit_len();
        let (mut low, mut high) = (from / len, self.end / len);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.at(memory, middle * len) {
                Some(unit) if !is_behind(&unit) => low = middle + 1,
                _ => high = middle,
            }
        }
        low * len
    }

    /// The first offset for whose unit `is_behind` holds; the maximum if there is none.
    pub(crate) fn first_where(
        &self,
        memory: &impl Memory,
        mut is_behind: impl FnMut(&Unit) -> bool,
    ) -> QueueOffset {
        let position = self.search(memory, self.low, &mut is_behind);
        if position < self.end {
            return self.offset_at(memory, position);
        }
        let waiting = self.pending.iter().map(|(unit, _)| unit).find(|unit| is_behind(unit));
        waiting.map_or(self.next(), |unit| unit.first)
    }

    fn offset_at(&self, memory: &impl Memory, position: u64) -> QueueOffset {
        if position >= self.end {
            return self.range.max;
        }
        self.at(memory, position).map_or(self.range.max, |unit| unit.first)
    }

    /// Units in files that point into the log.
    pub(crate) fn count(&self) -> u64 {
        (self.end - self.low) / self.kind.unit_len()
    }

    /// Every unit.
    pub(crate) fn units(&self, memory: &impl Memory) -> impl Iterator<Item = Unit> {
        let step = usize::try_from(self.kind.unit_len()).expect("a unit is small");
        let filed = (self.low..self.end).step_by(step);
        let filed = filed.filter_map(|position| self.at(memory, position));
        filed.chain(self.pending.iter().map(|(unit, _)| *unit))
    }

    /// The last unit in a file.
    pub(crate) fn last(&self, memory: &impl Memory) -> Option<Unit> {
        if self.end <= self.low {
            return None;
        }
        self.at(memory, self.end - self.kind.unit_len())
    }

    pub(crate) fn verify(&self) {
        assert!(self.chain.start() <= self.low && self.low <= self.end);
        assert!(self.end <= self.chain.room_end(), "units below the end are in files");
        assert!(self.synced <= self.end && self.range.min <= self.range.max);
        assert!(self.pending.len() <= PENDING_MAX);
        self.ext.iter().for_each(Extension::verify);
        if self.kind == Kind::Simple {
            let begins = self.begins_at().map(|first| first.get() * consume_queue::UNIT_LEN);
            let position = self.range.max.get() * consume_queue::UNIT_LEN;
            assert!(self.end == position || (begins == Some(position) && self.end < position));
        }
        let mut next = self.range.max;
        for (unit, _) in &self.pending {
            assert_eq!(unit.first, next, "waiting units continue those in files");
            next = unit.next();
        }
    }

    fn set_empty(&mut self, offset: QueueOffset) {
        self.range = QueueRange { min: offset, max: offset };
    }
}

/// What recovery does to a queue. Nothing else runs meanwhile.
impl Queue {
    /// Ends the queue behind its last unit that points below `end`; only positions change.
    /// Returns the position in the log behind the last record that it knows.
    ///
    /// Units below `end` are trusted and in the order of the log; what follows them may be
    /// anything, a unit of another queue that had the file's blocks before included. So the last
    /// file whose first unit is trusted and follows what lies in front of it holds the last
    /// trusted unit, unless it holds nothing but placeholders.
    pub(crate) fn trim(&mut self, memory: &impl Memory, end: Physical) -> Option<Physical> {
        let (len, file_len, start) =
            (self.kind.unit_len(), self.chain.file_len(), self.chain.start());
        let trusted = |unit: &Unit| unit.span.at < end;
        let mut file = self.chain.room_end();
        let mut last: Option<(u64, Unit)> = None;
        while file > start && last.is_none() {
            file -= file_len;
            let before = self.unit_before(memory, file);
            self.each(memory, file, |position, unit| {
                // Stale units of a shorter life of the queue point backwards.
                let before = last.map(|(_, unit)| unit).or(before);
                let follows = before.is_none_or(|before| before.span.at <= unit.span.at);
                if !trusted(&unit) || (!follows && !unit.is_placeholder()) {
                    return false;
                }
                if !unit.is_placeholder() {
                    last = Some((position, unit));
                }
                true
            });
        }
        let first = QueueOffset::new(start / len);
        (self.end, self.range.max) =
            last.map_or((start, first), |(position, unit)| (position + len, unit.next()));
        self.last_at = last.map(|(_, unit)| unit.span.at);
        self.low = self.low.clamp(start, self.end);
        self.ended_before(memory);
        last.map(|(_, unit)| unit.span.at.plus(u64::from(unit.span.len)))
    }

    /// A unit in front of the file that begins at `file`: the nearest, but for files that are not
    /// full, of which it is the first.
    fn unit_before(&self, memory: &impl Memory, file: u64) -> Option<Unit> {
        let (len, file_len) = (self.kind.unit_len(), self.chain.file_len());
        let files = (1..).map_while(|n| file.checked_sub(n * file_len));
        let mut files = files.take_while(|start| *start >= self.chain.start());
        let unit = files.find_map(|start| {
            self.at(memory, start + file_len - len).or_else(|| self.at(memory, start))
        });
        unit.filter(|unit| !unit.is_placeholder())
    }

    /// Ends the queue before its last unit; only positions change.
    pub(crate) fn drop_last(&mut self, memory: &impl Memory) {
        let (len, start) = (self.kind.unit_len(), self.chain.start());
        self.end -= len;
        // Placeholders in front of what is gone are no queue.
        let last = self.last(memory).filter(|unit| !unit.is_placeholder());
        if last.is_none() {
            self.end = start;
        }
        self.range.max = last.map_or(QueueOffset::new(start / len), |unit| unit.next());
        self.last_at = last.map(|unit| unit.span.at);
        self.low = self.low.min(self.end);
        self.ended_before(memory);
    }

    /// The end has moved to where it was once.
    fn ended_before(&mut self, memory: &impl Memory) {
        self.synced = self.synced.min(self.end);
        self.is_rest_zero = false;
        self.range.min = self.range.min.min(self.range.max);
        self.trim_ext(memory);
    }

    /// Does the queue end where none is left by a stop in order: before bytes that are not zero,
    /// or before a last file without a unit, which is made for one and deleted if none came?
    pub(crate) fn is_suspect(&self, memory: &impl Memory) -> bool {
        let is_alone = self.chain.count() <= 1 && self.chain.start() > 0;
        let is_unused = self.end + self.chain.file_len() <= self.chain.room_end();
        (is_unused && !is_alone) || self.tail_is_used(memory)
    }

    /// Does the queue end exactly with its last file? A full one does, until its next unit waits
    /// for a file; so does one whose last file is missing.
    pub(crate) fn is_full(&self) -> bool {
        self.end == self.chain.room_end() && !self.chain.is_empty()
    }

    /// The last unit in a file for which `is_wanted` holds.
    pub(crate) fn newest_where(
        &self,
        memory: &impl Memory,
        is_wanted: impl Fn(&Unit) -> bool,
    ) -> Option<Unit> {
        let len = self.kind.unit_len();
        let places = (self.chain.start() / len..self.end / len).rev();
        places.filter_map(|place| self.at(memory, place * len)).find(is_wanted)
    }

    /// Do the bytes of the unit behind the end say anything?
    fn tail_is_used(&self, memory: &impl Memory) -> bool {
        let mut tail = self.chain.parts(self.end, self.end + self.kind.unit_len());
        tail.any(|(file, from, to)| !memory.is_zero(file, from, to))
    }

    /// Deletes the files without a unit. The first one stays if it alone says where the queue
    /// begins.
    fn cut_unused<D: Disk>(&mut self, disk: &mut D) -> Result<(), Fault> {
        if self.end == 0 {
            return self.chain.restart(disk, 0);
        }
        let last = self.end.saturating_sub(1).max(self.chain.start());
        self.chain.cut(disk, last).map(drop)
    }

    /// Writes what waits into files, allocated on the spot, and syncs it.
    pub(crate) fn finish<D: Disk>(&mut self, disk: &mut D) -> Result<(), Fault> {
        self.drain(disk);
        while !self.pending.is_empty() {
            self.make_room(disk)?;
            self.drain(disk);
        }
        let ext = self.ext.as_mut().map_or(Ok(()), |ext| ext.sync(disk, ext.end()));
        self.cut_unused(disk)?;
        ext.and(sync_each(disk, self.chain.parts(self.synced, self.end)))?;
        self.synced = self.end;
        Ok(())
    }
}
