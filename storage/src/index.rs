//! The index: records by key (store.md 7). A row of files, each full before the next begins.
//!
//! ```text
//!  index/20261124073006820  full   oldest
//!  index/20261124073009148  full
//!  index/20261124073009569  newest: keys are put here       … records not indexed yet
//!                                                           behind
//! ```
//!
//! Keys are put in the turn that appends their record, so a message can be found as soon as it
//! may be seen. The next file is asked for when one is full, the first one for the first key. While
//! it is being allocated, or a full disk refuses it, the index stays behind the log: no send waits
//! for it, nothing is kept in memory for it, and once there is a file the records are read from
//! the log again. A query looks through what the index lacks itself.
//!
//! What is here is a function of the log: recovery computes it again from there wherever it is not
//! known to be true.

mod check;
mod file;
mod format;
mod keys;
mod name;
mod repair;

use std::collections::VecDeque;

pub use keys::KeyKind;

pub(crate) use self::file::{IndexFile, Within};
pub(crate) use self::format::{Header, ITEM_LEN, Item, Shape, seconds};
pub(crate) use self::keys::{hash, hashes};
pub(crate) use self::name::Name;
pub(crate) use self::repair::{Judged, Trust, keys_of};
use crate::chain::{Ahead, open};
use crate::commit_log::CommitLog;
use crate::dispatch::Facts;
use crate::position::Physical;
use crate::record::{Crc, Verdict};
use crate::seam::{Disk, Fault, FileId, Memory, Op, sync_each};
use crate::settings::Settings;
use crate::time::Wall;

/// Bytes of one sync: a sync of the log, for which senders wait, may stand behind one of these.
pub(crate) const SYNC_PART: u64 = 4 << 20;

/// Records that are indexed at a start before somebody hears of it.
const TOLD_RECORDS: usize = 4096;

/// The first record that is not indexed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Behind {
    /// Where it lies.
    pub(crate) at: Physical,
    /// Of its keys, so many are.
    pub(crate) done: usize,
}

impl Behind {
    pub(crate) fn from(at: Physical) -> Self {
        Self { at, done: 0 }
    }
}

#[derive(Debug)]
pub(crate) struct Index {
    dir: String,
    /// `None`: the operator wants no index.
    shape: Option<Shape>,
    /// In the order of the log. All but the last one are full.
    files: VecDeque<IndexFile>,
    ahead: Ahead,
    /// The newest name ever given here.
    name: Option<Name>,
    /// `None`: every record is indexed.
    behind: Option<Behind>,
    /// Hashes of the record at hand.
    scratch: Vec<u32>,
}

impl Index {
    /// An index without files, level with an empty log. `Err` if no file can have this shape.
    pub(crate) fn new(settings: &Settings) -> Result<Self, &'static str> {
        let shape = Shape::new(settings.index_slots, settings.index_items);
        let shape = shape.ok_or("an index file needs a slot and two items")?;
        Ok(Self {
            dir: settings.index_dir.clone(),
            shape: settings.index.then_some(shape),
            files: VecDeque::new(),
            ahead: Ahead::Idle,
            name: None,
            behind: None,
            scratch: Vec::new(),
        })
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.shape.is_some()
    }

    pub(crate) fn dir(&self) -> &str {
        &self.dir
    }

    pub(crate) fn shape(&self) -> Option<Shape> {
        self.shape
    }

    /// Every key of the records below is in a file, if the log ends at `end`.
    pub(crate) fn upto(&self, end: Physical) -> Physical {
        self.behind.map_or(end, |behind| behind.at)
    }

    /// The record of the last item below `upto`.
    pub(crate) fn last_item(&self, memory: &impl Memory, upto: Physical) -> Option<Physical> {
        let shape = self.shape?;
        let files = self.files.iter().rev().filter(|file| !file.is_empty());
        for file in files {
            let numbers = (1..file.header.next).rev();
            let mut places = numbers.map(|number| file.item(memory, shape, number).at);
            if let Some(at) = places.find(|at| *at < upto) {
                return Some(at);
            }
        }
        None
    }

    /// When the last record of the newest full file was stored: what Apache calls the time of the
    /// index, for it syncs files when they are full.
    pub(crate) fn full_until(&self) -> Option<Wall> {
        let shape = self.shape?;
        let full = self.files.iter().rev().find(|file| file.is_full(shape));
        full.map(|file| file.header.end)
    }

    /// The newest file's last record: when it was stored, where it lies.
    pub(crate) fn newest(&self) -> (Wall, Physical) {
        self.files.back().map_or_else(Default::default, |file| (file.header.end, file.header.last))
    }

    /// Is a file to be allocated? A failed attempt included: when that is to be repeated is not
    /// for every append to say.
    pub(crate) fn wants_room(&self) -> bool {
        let Some(shape) = self.shape else { return false };
        match self.files.back() {
            Some(file) => file.is_full(shape),
            None => self.behind.is_some(),
        }
    }

    /// Are there records to index, and is there room for their keys?
    pub(crate) fn can_catch_up(&self) -> bool {
        self.behind.is_some() && !self.files.is_empty() && !self.wants_room()
    }

    pub(crate) fn has_failed(&self) -> bool {
        matches!(self.ahead, Ahead::Failed(_))
    }

    /// The next file's path and length, if its allocation is to be submitted now. It is named
    /// after `wall`.
    pub(crate) fn ask(&mut self, wall: Wall) -> Option<(String, u64)> {
        let shape = self.shape?;
        if self.ahead == Ahead::Asked {
            return None;
        }
        self.ahead = Ahead::Asked;
        let name = Name::at(wall, self.name);
        self.name = Some(name);
        Some((format!("{}/{name}", self.dir), shape.file_len()))
    }

    /// The allocation that was asked for succeeded.
    pub(crate) fn opened(&mut self, memory: &mut impl Memory, file: FileId) {
        assert_eq!(self.ahead, Ahead::Asked, "a file arrives because somebody asked");
        self.ahead = Ahead::Idle;
        let name = self.name.expect("a file that was asked for has a name");
        let before = self.files.back().map(|file| &file.header);
        self.files.push_back(IndexFile::fresh(memory, name, file, before));
    }

    /// The allocation that was asked for failed.
    pub(crate) fn failed(&mut self, fault: Fault) {
        assert_eq!(self.ahead, Ahead::Asked, "an answer arrives because somebody asked");
        self.ahead = Ahead::Failed(fault);
    }

    /// Allocates the next file on the spot. Boot and stop only.
    pub(crate) fn grow<D: Disk>(&mut self, disk: &mut D, wall: Wall) -> Result<(), Fault> {
        self.ahead = Ahead::Idle;
        let Some((path, len)) = self.ask(wall) else { return Ok(()) };
        match open(disk, Op::Allocate { path: &path, len }) {
            Ok(file) => self.opened(disk, file),
            Err(ref fault) => {
                self.failed(fault.clone());
                return Err(fault.clone());
            }
        }
        Ok(())
    }

    /// Indexes a record that was just appended, unless there are older ones to be indexed first.
    pub(crate) fn add(&mut self, memory: &mut impl Memory, facts: &Facts<'_>) {
        if self.shape.is_none() || self.behind.is_some() {
            return;
        }
        let behind = Behind::from(facts.span.at);
        self.behind = self.put(memory, behind, facts.stored, hashes(facts)).err();
    }

    /// Puts what of a record's keys is not put yet; if a file is missing, what is left then.
    fn put(
        &mut self,
        memory: &mut impl Memory,
        mut behind: Behind,
        stored: Wall,
        hashes: impl Iterator<Item = u32>,
    ) -> Result<(), Behind> {
        let shape = self.shape.expect("only an index that is wanted is written");
        for hash in hashes.skip(behind.done) {
            let file = self.files.back_mut().filter(|file| !file.is_full(shape)).ok_or(behind)?;
            file.put(memory, shape, hash, (behind.at, stored));
            behind.done += 1;
        }
        Ok(())
    }

    /// Indexes records that lie in the log, at most `most` of them: until the index is level with
    /// the log, or a file is missing. The store time of the record that lacks one is returned.
    pub(crate) fn catch_up(
        &mut self,
        memory: &mut impl Memory,
        log: &CommitLog,
        most: usize,
    ) -> Option<Wall> {
        let end = log.written().end();
        for _ in 0..most {
            let behind = self.behind?;
            let at = behind.at.max(log.start());
            if at >= end {
                self.behind = None;
                return None;
            }
            let behind = if at == behind.at { behind } else { Behind::from(at) };
            let (len, stored) = self.read(memory, log, at);
            let hashes = std::mem::take(&mut self.scratch);
            let put = self.put(memory, behind, stored, hashes.iter().copied());
            self.scratch = hashes;
            self.behind = Some(put.err().unwrap_or(Behind::from(at.plus(len))));
            if put.is_err() {
                return Some(stored);
            }
        }
        None
    }

    /// Reads the record at `at` into `scratch`. Its length, and when it was stored. What is no
    /// record has no keys: a blank, or damage, behind which the next file's beginning is sound.
    fn read(&mut self, memory: &impl Memory, log: &CommitLog, at: Physical) -> (u64, Wall) {
        self.scratch.clear();
        match log.verdict(memory, at, Crc::Skip) {
            Some(Verdict::Good(record)) => {
                let properties = [record.properties()];
                self.scratch.extend(hashes(&Facts::of(&record, &properties)));
                (u64::from(record.size()), record.store_time())
            }
            Some(Verdict::Blank { len }) => (u64::from(len), Wall::default()),
            Some(Verdict::Bad(_)) | None => {
                let file_len = log.chain.file_len();
                (file_len - at.get() % file_len, Wall::default())
            }
        }
    }

    /// The records with a key, newest first, as far as `found` takes them: it says whether it has
    /// enough. Records that are not indexed yet are looked at, at most `most` of them.
    pub(crate) fn query(
        &self,
        memory: &impl Memory,
        log: &CommitLog,
        hash: u32,
        within: Within,
        most: usize,
        mut found: impl FnMut(Physical) -> bool,
    ) {
        let Some(shape) = self.shape else { return };
        let lacking = self.lacking(memory, log, hash, within, most);
        if lacking.into_iter().rev().any(&mut found) {
            return;
        }
        let mut enough = false;
        for file in self.files.iter().rev() {
            file.search(memory, shape, hash, within, |at| {
                enough = found(at);
                enough
            });
            if enough || file.header.begin < within.0 {
                return;
            }
        }
    }

    /// Records with a key that is not in a file yet, oldest first.
    fn lacking(
        &self,
        memory: &impl Memory,
        log: &CommitLog,
        hash: u32,
        (from, to): Within,
        most: usize,
    ) -> Vec<Physical> {
        let mut lacking = Vec::new();
        let Some(Behind { at, mut done }) = self.behind else { return lacking };
        let mut at = at.max(log.start());
        for _ in 0..most {
            let Some(record) = log.record(memory, at) else {
                let Some(next) = log.behind_blank(memory, at) else { break };
                at = next;
                continue;
            };
            let properties = [record.properties()];
            let keys = hashes(&Facts::of(&record, &properties)).skip(std::mem::take(&mut done));
            let stored = record.store_time();
            if from <= stored && stored <= to {
                lacking.extend(keys.filter(|key| *key == hash).map(|_| at));
            }
            at = at.plus(u64::from(record.size()));
        }
        lacking
    }

    /// Lets go of files, oldest first, that speak only of records below `min`; the newest stays.
    /// The caller deletes them.
    pub(crate) fn expire(&mut self, min: Physical) -> impl Iterator<Item = FileId> + use<> {
        let is_old = |file: &&IndexFile| file.header.last < min;
        let old = self.files.iter().take_while(is_old).count();
        let old = old.min(self.files.len().saturating_sub(1));
        self.files.drain(..old).map(|file| file.file).collect::<Vec<_>>().into_iter()
    }

    /// Every part that is not known to be on the medium.
    pub(crate) fn unsynced(&self) -> impl Iterator<Item = (FileId, u64, u64)> {
        let shape = self.shape;
        self.files.iter().flat_map(move |file| {
            let parts = shape.into_iter().flat_map(|shape| file.unsynced(shape, SYNC_PART));
            parts.map(|(from, to)| (file.file, from, to))
        })
    }

    /// Is the file still one of these?
    pub(crate) fn has(&self, file: FileId) -> bool {
        self.files.iter().any(|known| known.file == file)
    }

    /// How many items each file has.
    pub(crate) fn counts(&self) -> Vec<(FileId, u32)> {
        self.files.iter().map(|file| (file.file, file.header.next)).collect()
    }

    /// Everything that these files held when they were counted is on the medium.
    pub(crate) fn set_synced(&mut self, counts: &[(FileId, u32)]) {
        for (id, next) in counts {
            if let Some(file) = self.files.iter_mut().find(|file| file.file == *id) {
                file.synced = *next;
                file.dirty = file.header.next > *next;
            }
        }
    }

    /// Puts what is left, into files allocated on the spot, and syncs all. On a full disk the index
    /// stays behind: the next start goes on there.
    pub(crate) fn finish<D: Disk>(&mut self, disk: &mut D, log: &CommitLog) -> Result<(), Fault> {
        self.complete(disk, log, |_| {})?;
        // Apache puts keys into the last file, and begins a search there.
        if let Some(file) = self.files.pop_back_if(|file| file.is_empty()) {
            disk.perform(Op::Delete { file: file.file })?;
        }
        self.sync_all(disk)
    }

    /// Indexes everything that the log holds, as far as the disk has room.
    /// `told` hears now and then up to where it came.
    pub(crate) fn complete<D: Disk>(
        &mut self,
        disk: &mut D,
        log: &CommitLog,
        mut told: impl FnMut(Physical),
    ) -> Result<(), Fault> {
        while let Some(behind) = self.behind {
            told(behind.at);
            let Some(wall) = self.catch_up(disk, log, TOLD_RECORDS) else { continue };
            match self.grow(disk, wall) {
                Err(Fault::Crashed) => return Err(Fault::Crashed),
                Err(_) => return Ok(()),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    pub(crate) fn sync_all<D: Disk>(&mut self, disk: &mut D) -> Result<(), Fault> {
        let parts: Vec<_> = self.unsynced().collect();
        sync_each(disk, parts)?;
        let counts = self.counts();
        self.set_synced(&counts);
        Ok(())
    }

    pub(crate) fn verify(&self) {
        let Some(shape) = self.shape else { return };
        let mut last = Physical::ZERO;
        let newest = self.files.len().saturating_sub(1);
        for (number, file) in self.files.iter().enumerate().skip(newest.saturating_sub(1)) {
            file.verify(shape);
            assert!(file.is_full(shape) || number == newest, "files are filled one by one");
            assert!(last <= file.header.last, "files follow each other");
            last = file.header.last;
        }
    }
}

#[cfg(test)]
mod tests;
