//! A chain: equal-sized files, each named by the position of its first byte in 20 digits, that
//! together are one address space (store.md 1).
//!
//! ```text
//!  start                    start + len              start + 2 len            room_end
//!  | 00000000000000000000   | 00000000000001048576   | 00000000000002097152   |  (asked for)
//! ```
//!
//! A chain knows positions and handles, never bytes. Growing it takes time: [`Chain::ask`] names
//! the file to allocate, [`Chain::opened`] or [`Chain::failed`] end the wait.

use std::collections::VecDeque;

use crate::seam::{Disk, Done, Fault, FileId, Op};

/// Digits of a file name.
const NAME_LEN: usize = 20;

/// What the name of a file ends with until the file has its full size.
pub(crate) const UNNAMED: &str = ".new";

/// Where the next file stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// Being allocated.
    Asked,
    /// The last attempt failed; the next request tries again.
    Failed(Fault),
    /// Nobody asked.
    Idle,
}

/// Why a directory is not a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ChainError {
    Disk(Fault),
    /// `path` does not follow the file before it; `missing` would.
    Gap {
        path: String,
        missing: String,
    },
    /// `is_alone`: others in the directory have the right length.
    Length {
        path: String,
        len: u64,
        is_alone: bool,
    },
}

impl From<Fault> for ChainError {
    fn from(fault: Fault) -> Self {
        Self::Disk(fault)
    }
}

#[derive(Debug)]
pub(crate) struct Chain {
    dir: String,
    file_len: u64,
    /// Position of the first file; of the file to come, while there is none.
    start: u64,
    files: VecDeque<FileId>,
    ahead: Ahead,
}

impl Chain {
    pub(crate) fn new(dir: String, file_len: u64, start: u64) -> Self {
        assert!(file_len > 0 && start.is_multiple_of(file_len), "files begin at multiples");
        Self { dir, file_len, start, files: VecDeque::new(), ahead: Ahead::Idle }
    }

    /// Opens what lies in `dir`. A zero-length last file is a creation that a crash interrupted:
    /// it is named in `stale`, to be removed once the whole store is known to be sound. So is a
    /// file that had not got its name yet: Apache would refuse the directory for it.
    pub(crate) fn load<D: Disk>(
        disk: &mut D,
        dir: String,
        file_len: u64,
        stale: &mut Vec<String>,
    ) -> Result<Self, ChainError> {
        let entries = disk.list(&dir)?;
        if let Some(entry) = entries.iter().find(|entry| entry.is_dir && is_name(&entry.name)) {
            let (path, why) = (format!("{dir}/{}", entry.name), "it is a directory".to_owned());
            return Err(ChainError::Disk(Fault::Io { op: "open", path, why }));
        }
        let mut names: Vec<_> = entries.iter().filter(|e| !e.is_dir && is_name(&e.name)).collect();
        if let Some(last) = names.pop_if(|last| last.len == 0) {
            stale.push(format!("{dir}/{}", last.name));
        }
        let unnamed = entries.iter().filter(|e| !e.is_dir && is_unnamed(&e.name));
        stale.extend(unnamed.map(|entry| format!("{dir}/{}", entry.name)));
        let start =
            |name: &str| -> u64 { name.parse().expect("a name is 20 digits, checked above") };
        let mut chain = Self::new(dir, file_len, 0);
        // All is checked before anything is opened: a refusal leaves nothing behind.
        for (index, entry) in names.iter().enumerate() {
            let (path, at) = (format!("{}/{}", chain.dir, entry.name), start(&entry.name));
            if entry.len != file_len {
                let is_alone = names.iter().any(|other| other.len == file_len);
                return Err(ChainError::Length { path, len: entry.len, is_alone });
            }
            if index == 0 {
                chain.start = at;
            }
            if at != chain.start + index as u64 * file_len || !at.is_multiple_of(file_len) {
                let missing = chain.path(chain.start + index as u64 * file_len);
                return Err(ChainError::Gap { path, missing });
            }
        }
        for entry in names {
            let path = format!("{}/{}", chain.dir, entry.name);
            chain.files.push_back(open(disk, Op::Open { path: &path })?);
        }
        Ok(chain)
    }

    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    pub(crate) fn file_len(&self) -> u64 {
        self.file_len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub(crate) fn count(&self) -> usize {
        self.files.len()
    }

    /// Where each file begins.
    pub(crate) fn starts(&self) -> impl DoubleEndedIterator<Item = u64> {
        (0..self.files.len() as u64).map(|number| self.start + number * self.file_len)
    }

    pub(crate) fn ahead(&self) -> &Ahead {
        &self.ahead
    }

    pub(crate) fn has_failed(&self) -> bool {
        matches!(self.ahead, Ahead::Failed(_))
    }

    /// Behind the last byte of the last file.
    pub(crate) fn room_end(&self) -> u64 {
        self.start + self.files.len() as u64 * self.file_len
    }

    /// Where the file that holds `at` begins.
    pub(crate) fn file_start(&self, at: u64) -> u64 {
        at - at % self.file_len
    }

    /// The file that holds byte `at`, and `at` within it.
    pub(crate) fn locate(&self, at: u64) -> Option<(FileId, u64)> {
        let index = at.checked_sub(self.start)? / self.file_len;
        let file = self.files.get(usize::try_from(index).ok()?)?;
        Some((*file, at % self.file_len))
    }

    /// The parts of `from..to` that lie in files, file by file: handle, first byte, behind last.
    pub(crate) fn parts(&self, from: u64, to: u64) -> impl Iterator<Item = (FileId, u64, u64)> {
        let (from, to) = (from.max(self.start), to.min(self.room_end()));
        let first = self.file_start(from);
        (first..to).step_by(usize::try_from(self.file_len).unwrap_or(usize::MAX)).filter_map(
            move |start| {
                let (file, _) = self.locate(start)?;
                let (from, to) = (from.max(start) - start, to.min(start + self.file_len) - start);
                (from < to).then_some((file, from, to))
            },
        )
    }

    /// The path of the next file, if its allocation is to be submitted now.
    pub(crate) fn ask(&mut self) -> Option<String> {
        if self.ahead == Ahead::Asked {
            return None;
        }
        self.ahead = Ahead::Asked;
        Some(self.path(self.room_end()))
    }

    /// The allocation that was asked for succeeded.
    pub(crate) fn opened(&mut self, file: FileId) {
        assert_eq!(self.ahead, Ahead::Asked, "a file arrives because somebody asked");
        self.ahead = Ahead::Idle;
        self.files.push_back(file);
    }

    /// The allocation that was asked for failed.
    pub(crate) fn failed(&mut self, fault: Fault) {
        assert_eq!(self.ahead, Ahead::Asked, "an answer arrives because somebody asked");
        self.ahead = Ahead::Failed(fault);
    }

    /// Allocates the next file on the spot. Boot and stop only.
    pub(crate) fn grow<D: Disk>(&mut self, disk: &mut D) -> Result<(), Fault> {
        let path = self.path(self.room_end());
        let file = open(disk, Op::Allocate { path: &path, len: self.file_len })?;
        self.files.push_back(file);
        self.ahead = Ahead::Idle;
        Ok(())
    }

    /// Deletes the files that begin behind `end`. Boot only.
    pub(crate) fn cut<D: Disk>(&mut self, disk: &mut D, end: u64) -> Result<bool, Fault> {
        let mut deleted = false;
        while self.room_end() > self.start && self.room_end() - self.file_len > end {
            let file = *self.files.back().expect("the room is made of files");
            disk.perform(Op::Delete { file })?;
            self.files.pop_back();
            deleted = true;
        }
        Ok(deleted)
    }

    /// The last file is this chain's no more. Boot only.
    pub(crate) fn drop_last(&mut self) {
        self.files.pop_back();
    }

    /// Deletes every file and begins anew at `start`. Boot only.
    pub(crate) fn restart<D: Disk>(&mut self, disk: &mut D, start: u64) -> Result<(), Fault> {
        while let Some(file) = self.files.back() {
            disk.perform(Op::Delete { file: *file })?;
            self.files.pop_back();
        }
        self.start = start;
        Ok(())
    }

    /// Has a chain without files begin at `start`.
    pub(crate) fn begin(&mut self, start: u64) {
        assert!(self.files.is_empty() && self.ahead == Ahead::Idle, "nothing of it lies elsewhere");
        assert!(start.is_multiple_of(self.file_len), "files begin at multiples");
        self.start = start;
    }

    /// Takes the first file out, to be deleted; says where it lies. The last one stays: it says
    /// where the chain is.
    pub(crate) fn take_first(&mut self) -> (String, FileId) {
        assert!(self.files.len() > 1, "the last file stays");
        let path = self.path(self.start);
        self.start += self.file_len;
        (path, self.files.pop_front().expect("there are two at least"))
    }

    /// Paths and handles, for deletion; the chain is not used afterwards.
    pub(crate) fn into_files(self) -> impl Iterator<Item = (String, FileId)> {
        let paths: Vec<String> = self.starts().map(|start| self.path(start)).collect();
        paths.into_iter().zip(self.files)
    }

    /// Where the file that begins at `start` lies.
    pub(crate) fn path(&self, start: u64) -> String {
        format!("{}/{start:020}", self.dir)
    }
}

/// Performs an operation that yields an open file.
pub(crate) fn open<D: Disk>(disk: &mut D, op: Op<'_>) -> Result<FileId, Fault> {
    match disk.perform(op)? {
        Done::Opened { file, .. } => Ok(file),
        Done::Finished | Done::Measured(_) => {
            panic!("{op:?} yields an open file, says its contract")
        }
    }
}

pub(crate) fn is_name(name: &str) -> bool {
    name.len() == NAME_LEN
        && name.bytes().all(|b| b.is_ascii_digit())
        && name.parse::<u64>().is_ok()
}

/// A file that is being allocated: its name to be, and what the mapped disk adds meanwhile.
fn is_unnamed(name: &str) -> bool {
    name.strip_suffix(UNNAMED).is_some_and(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plain::PlainDisk;

    #[test]
    fn a_chain_is_loaded_in_order_and_refuses_gaps_and_wrong_lengths() {
        let mut disk = PlainDisk::default();
        for start in [20, 30, 40] {
            disk.put_file(&format!("q/{start:020}"), vec![0; 10]);
        }
        disk.put_file("q/00000000000000000050", Vec::new());
        disk.put_file("q/notes.txt", vec![1]);
        disk.put_file("q/notes.new", vec![1]);
        disk.put_file("q/00000000000000000060.new", vec![0; 3]);
        let mut stale = Vec::new();
        let chain = Chain::load(&mut disk, "q".into(), 10, &mut stale).expect("sound");
        assert_eq!((chain.start(), chain.room_end(), chain.count()), (20, 50, 3));
        assert_eq!(stale, ["q/00000000000000000050", "q/00000000000000000060.new"]);
        let parts: Vec<_> = chain.parts(25, 41).map(|(_, from, to)| (from, to)).collect();
        assert_eq!(parts, [(5, 10), (0, 10), (0, 1)]);
        assert!(chain.locate(19).is_none() && chain.locate(50).is_none());

        disk.take_file("q/00000000000000000050");
        disk.put_file("q/00000000000000000070", vec![0; 10]);
        let gap = Chain::load(&mut disk, "q".into(), 10, &mut stale);
        assert!(matches!(gap, Err(ChainError::Gap { .. })));
        let length = Chain::load(&mut disk, "q".into(), 11, &mut stale);
        assert!(matches!(length, Err(ChainError::Length { .. })));
    }
}
