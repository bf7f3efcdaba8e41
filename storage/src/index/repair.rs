//! What of the files that another process left is true, and making the rest so.
//!
//! ```text
//!  full     full     newest                           the log
//!  | kept   | kept   | cut: items kept | dropped      ... resume ......... end
//! ```
//!
//! Items are in the order of the log, so what is true is a first part of them; what follows is
//! dropped and put again from the log. Judging reads a header, two items and a few records of the
//! log a file, whatever its size. Read as a whole are the file that is cut, and those for which
//! nothing but a time speaks.

use super::{Behind, Header, ITEM_LEN, Index, IndexFile, Item, Name, Shape, hashes};
use crate::commit_log::CommitLog;
use crate::dispatch::Facts;
use crate::position::Physical;
use crate::record::Record;
use crate::seam::Memory;
use crate::time::Wall;

/// Records that are looked at for one with keys, between two files.
const GAP_RECORDS: usize = 64;
/// Items and slots that are read, or written, at once.
const CHUNK: u32 = 1024;

/// What is believed of files that were found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trust {
    /// Where the newest record lies whose items may be believed.
    pub(crate) last: Option<Physical>,
    /// The process before stopped in order: the header of a file that is not full is true.
    pub(crate) headers: bool,
    /// Apache's process died: only full files are true that ended no later than this. Not all of
    /// them: a clock may have gone back since, and such a file may have been in the midst of being
    /// written. They are compared with themselves.
    pub(crate) full_until: Option<Wall>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    /// So many files stay as they are.
    pub(crate) kept: usize,
    /// The next one is cut behind this item.
    pub(crate) cut: Option<u32>,
    /// The last item that stays: where its record lies, which number it has among that one's.
    pub(crate) last: Option<Behind>,
}

impl Judged {
    /// No file stays.
    pub(crate) const NOTHING: Self = Self { kept: 0, cut: None, last: None };
}

impl Index {
    /// Takes a file that was found, behind the others.
    pub(crate) fn adopt(&mut self, file: IndexFile) {
        self.name = self.name.max(Some(file.name));
        self.files.push_back(file);
    }

    /// A name is not given again, whatever becomes of its file.
    pub(crate) fn avoid(&mut self, name: Name) {
        self.name = self.name.max(Some(name));
    }

    /// Judges the files, of a log that was recovered.
    pub(crate) fn judge(&self, memory: &impl Memory, log: &CommitLog, trust: Trust) -> Judged {
        let (Some(shape), Some(limit)) = (self.shape, trust.last) else { return Judged::NOTHING };
        let is_true = |n: usize, file: &IndexFile| {
            let is_newest = n + 1 == self.files.len();
            file.header.last <= limit
                && !file.is_empty()
                && (file.is_full(shape) || (trust.headers && is_newest))
                && trust.full_until.is_none_or(|until| file.header.end <= until)
        };
        let follows = |n: usize, file: &IndexFile| {
            let before = n.checked_sub(1).map(|n| &self.files[n]);
            file.is_sane(memory, shape)
                && before.is_none_or(|before| before.header.last <= file.header.first)
                && self.is_continued(memory, log, before, file.header.first)
                && (trust.full_until.is_none() || file.check(memory, shape).is_ok())
        };
        let files = self.files.iter().enumerate();
        let kept = files.take_while(|(n, file)| is_true(*n, file) && follows(*n, file)).count();
        let cut = self.files.get(kept).filter(|_| trust.full_until.is_none()).and_then(|file| {
            let most = if trust.headers { file.header.next } else { shape.items() };
            let before = kept.checked_sub(1).map(|n| &self.files[n]);
            let least = before.map_or(Physical::ZERO, |before| before.header.last);
            let count = file.count_items(memory, shape, most.min(shape.items()), least, limit);
            let first = file.item(memory, shape, 1).at;
            (count > 0 && self.is_continued(memory, log, before, first)).then_some(count)
        });
        self.judge_last(memory, log, Judged { kept, cut, last: None })
    }

    /// The items of the last record must be the first of its keys. If they are not, their file is
    /// not what the log says, and is dropped.
    fn judge_last(&self, memory: &impl Memory, log: &CommitLog, mut judged: Judged) -> Judged {
        let shape = self.shape.expect("asked for by judge");
        while judged.cut.is_some() || judged.kept > 0 {
            let count = judged.cut.unwrap_or_else(|| self.files[judged.kept - 1].header.next - 1);
            let newest = judged.kept - usize::from(judged.cut.is_none());
            let at = self.files[newest].item(memory, shape, count).at;
            let items = self.last_items(memory, shape, newest, count);
            let is_true = at < log.start()
                || log.record(memory, at).is_some_and(|record| {
                    let keys = keys_of(&record);
                    items.len() <= keys.len() && items.iter().rev().eq(&keys[..items.len()])
                });
            if is_true {
                judged.last = Some(Behind { at, done: items.len() });
                return judged;
            }
            match judged.cut.take() {
                Some(_) => {}
                None => judged.kept -= 1,
            }
        }
        judged
    }

    /// The hashes of the items of one record that end with item `count` of a file, newest first.
    fn last_items(
        &self,
        memory: &impl Memory,
        shape: Shape,
        newest: usize,
        count: u32,
    ) -> Vec<u32> {
        let at = self.files[newest].item(memory, shape, count).at;
        let files = (0..=newest).rev();
        let items = files.flat_map(|n| {
            let file = &self.files[n];
            let count = if n == newest { count } else { file.header.next - 1 };
            (1..=count).rev().map(move |number| file.item(memory, shape, number))
        });
        items.take_while(|item| item.at == at).map(|item| item.hash).collect()
    }

    /// Is the record at `next` the first with keys behind those of `before`? Looks at a few
    /// records: a file that is missing is noticed, a long run without keys is not read each time.
    fn is_continued(
        &self,
        memory: &impl Memory,
        log: &CommitLog,
        before: Option<&IndexFile>,
        next: Physical,
    ) -> bool {
        let shape = self.shape.expect("asked for by judge");
        let last = before.map(|before| before.header.last).filter(|at| *at >= log.start());
        let mut at = log.start();
        if let (Some(last), Some(before)) = (last, before) {
            let Some(record) = log.record(memory, last) else { return true };
            let keys = keys_of(&record).len();
            let numbers = (1..before.header.next).rev();
            let places = numbers.map(|number| before.item(memory, shape, number).at);
            if places.take(keys).take_while(|at| *at == last).count() < keys {
                return next == last;
            }
            at = last.plus(u64::from(record.size()));
        }
        if next < at {
            return true;
        }
        for _ in 0..GAP_RECORDS {
            match log.record(memory, at) {
                Some(_) if at == next => return true,
                Some(record) if !keys_of(&record).is_empty() => return false,
                Some(record) => at = at.plus(u64::from(record.size())),
                None => match log.behind_blank(memory, at) {
                    Some(behind) => at = behind,
                    None => return true,
                },
            }
        }
        true
    }

    /// The newest file that stays, if keys are to be put into it, is cut where it ends.
    pub(crate) fn cut_newest(&self, judged: &mut Judged) {
        let newest = judged.kept.checked_sub(1).filter(|_| judged.cut.is_none());
        let newest = newest.and_then(|newest| self.files.get(newest));
        if let Some((file, shape)) = newest.zip(self.shape)
            && !file.is_full(shape)
        {
            judged.kept -= 1;
            judged.cut = Some(file.header.next - 1);
        }
    }

    /// A file that is to be cut was full, and so had a time that Apache goes by: until when its
    /// records were stored.
    pub(crate) fn cut_full(&self, judged: &Judged) -> Option<Wall> {
        let file = judged.cut.and(self.files.get(judged.kept))?;
        file.is_full(self.shape?).then_some(file.header.end)
    }

    /// Lets go of every file but those that stay; newest first. The caller deletes them.
    pub(crate) fn drop_behind(&mut self, judged: &Judged) -> Vec<IndexFile> {
        let stay = judged.kept + usize::from(judged.cut.is_some());
        let mut dropped: Vec<_> = self.files.drain(stay.min(self.files.len())..).collect();
        dropped.reverse();
        dropped
    }

    /// Cuts the newest file behind item `count`: slots and header are computed from the items.
    pub(crate) fn cut(&mut self, memory: &mut impl Memory, log: &CommitLog, count: u32) {
        let (Some(shape), Some(file)) = (self.shape, self.files.back_mut()) else { return };
        let stored = |at| log.record(&*memory, at).map(|record| record.store_time());
        let first = file.item(memory, shape, 1);
        let last = file.item(memory, shape, count);
        // Where the log has let the records go, what is left of their times has to do.
        let begin = stored(first.at).unwrap_or(file.header.begin);
        let end = stored(last.at).unwrap_or_else(|| last.time(begin));
        let header =
            Header { begin, end, first: first.at, last: last.at, used: 0, next: count + 1 };
        file.rebuild(memory, shape, header);
    }

    /// Indexing goes on here, if there is anything.
    pub(crate) fn resume(&mut self, behind: Behind) {
        self.behind = self.shape.map(|_| behind);
    }
}

impl IndexFile {
    /// Does the header fit the items, as far as a few reads tell?
    pub(super) fn is_sane(&self, memory: &impl Memory, shape: Shape) -> bool {
        let Header { first, last, used, next, .. } = self.header;
        let place = |number| self.item(memory, shape, number).at;
        next <= shape.items()
            && used < next
            && used <= shape.slots()
            && first <= last
            && (next == 1 || (place(1) == first && place(next - 1) == last))
    }

    /// How many items, from the first one on and below number `most`, lie in the order of the log
    /// between `least` and `limit`.
    fn count_items(
        &self,
        memory: &impl Memory,
        shape: Shape,
        most: u32,
        mut least: Physical,
        limit: Physical,
    ) -> u32 {
        let mut count = 0;
        self.each_item(memory, shape, most, |number, item| {
            let follows = least <= item.at && item.at <= limit && !item.is_unused();
            if follows && i32::try_from(item.hash).is_ok() && item.seconds >= 0 {
                (count, least) = (number, item.at);
                return true;
            }
            false
        });
        count
    }

    /// Reads items in their order, those below number `most`, until `take` has enough.
    pub(super) fn each_item(
        &self,
        memory: &impl Memory,
        shape: Shape,
        most: u32,
        mut take: impl FnMut(u32, &Item) -> bool,
    ) {
        let mut number = 1;
        while number < most {
            let count = CHUNK.min(most - number);
            let len = usize::try_from(u64::from(count) * ITEM_LEN).expect("a chunk is small");
            let bytes = memory.bytes(self.file, shape.item_at(number), len);
            for bytes in bytes.as_chunks().0 {
                if !take(number, &Item::decode(bytes)) {
                    return;
                }
                number += 1;
            }
        }
    }

    /// Takes the header, and makes slots and chains what the items say. All slots are written,
    /// changed or not: after a sync that failed the kernel takes pages for clean that never
    /// arrived.
    fn rebuild(&mut self, memory: &mut impl Memory, shape: Shape, mut header: Header) {
        let mut slots = vec![0_u32; shape.slots() as usize];
        let mut wrong = Vec::new();
        self.each_item(memory, shape, header.next, |number, item| {
            let slot = &mut slots[shape.slot_of(item.hash) as usize];
            header.used += u32::from(*slot == 0);
            if item.previous != *slot {
                wrong.push((number, Item { previous: *slot, ..*item }));
            }
            *slot = number;
            true
        });
        self.synced = if wrong.is_empty() { header.next } else { 1 };
        for (number, item) in wrong {
            let at = shape.item_at(number);
            let bytes = item.encode();
            memory.slot(self.file, at, bytes.len()).copy_from_slice(&bytes);
        }
        for (chunk, slots) in (0..).step_by(CHUNK as usize).zip(slots.chunks(CHUNK as usize)) {
            let bytes = memory.slot(self.file, Shape::slot_at(chunk), slots.len() * 4);
            for (bytes, slot) in bytes.chunks_exact_mut(4).zip(slots) {
                bytes.copy_from_slice(&slot.to_be_bytes());
            }
        }
        (self.header, self.dirty) = (header, true);
        self.write_header(memory);
    }
}

/// The hashes of a record's keys.
pub(crate) fn keys_of(record: &Record<'_>) -> Vec<u32> {
    let properties = [record.properties()];
    hashes(&Facts::of(record, &properties)).collect()
}
