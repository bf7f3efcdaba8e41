//! A disk in plain memory whose operations complete at once: for tests of machines.
//!
//! Nothing is lost and nothing fails unless a test [asks for it](PlainDisk::fail_allocations);
//! power cuts and torn pages are the business of the simulator's disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::seam::{Disk, DiskUse, Done, Entry, Fault, FileId, Memory, Op, Token};

/// Files in memory. Clone it to freeze an image of the "medium".
#[derive(Clone, Debug, Default)]
pub struct PlainDisk {
    files: BTreeMap<String, Vec<u8>>,
    open: BTreeMap<FileId, String>,
    next_file: u32,
    done: VecDeque<(Token, Result<Done, Fault>)>,
    held: VecDeque<(Token, Result<Done, Fault>)>,
    hold: bool,
    no_space: bool,
    refused: u64,
    total: u64,
    keep: bool,
    untold: BTreeSet<String>,
}

impl PlainDisk {
    /// Puts a file there, as if an earlier process had written it.
    pub fn put_file(&mut self, path: &str, bytes: Vec<u8>) {
        self.files.insert(path.to_owned(), bytes);
    }

    /// A file's bytes.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(Vec::as_slice)
    }

    /// Takes a file away; `true` if it was there.
    pub fn take_file(&mut self, path: &str) -> bool {
        self.files.remove(path).is_some()
    }

    /// Every path, in order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// From now on, or no longer, allocations find the disk full.
    pub fn fail_allocations(&mut self, fail: bool) {
        self.no_space = fail;
    }

    /// From now on, or no longer, deletions fail: the file stays, and is open no more.
    pub fn fail_deletions(&mut self, fail: bool) {
        self.keep = fail;
    }

    /// Pages of each file below `dir` were written in the background, and that failed: whoever
    /// syncs the file next is told so, once, and be it another process.
    pub fn fail_writebacks(&mut self, dir: &str) {
        self.untold.extend(self.files.keys().filter(|path| path.starts_with(dir)).cloned());
    }

    /// Files of which nobody was told yet that they failed.
    pub fn untold(&self) -> impl Iterator<Item = &str> {
        self.untold.iter().map(String::as_str)
    }

    /// From now on it says that it has so many bytes; 0: it says that it is empty.
    pub fn set_total(&mut self, bytes: u64) {
        self.total = bytes;
    }

    /// Allocations that found it full.
    pub fn refused_allocations(&self) -> u64 {
        self.refused
    }

    /// Completions that are held or wait to be polled.
    pub fn completions(&self) -> usize {
        self.done.len() + self.held.len()
    }

    /// While held, operations happen and their completions wait.
    pub fn hold_completions(&mut self, hold: bool) {
        self.hold = hold;
        if !hold {
            self.done.append(&mut self.held);
        }
    }

    /// The same files, seen by a new process: nothing is open, nothing is under way.
    #[must_use]
    pub fn reopened(&self) -> Self {
        Self { files: self.files.clone(), untold: self.untold.clone(), ..Self::default() }
    }

    fn open_at(&mut self, path: &str) -> Done {
        let file = FileId(self.next_file);
        self.next_file += 1;
        self.open.insert(file, path.to_owned());
        Done::Opened { file, len: self.files[path].len() as u64 }
    }

    fn path(&self, file: FileId) -> &str {
        self.open.get(&file).expect("the file is open")
    }

    fn keep_or_remove(&mut self, path: &str) -> Result<(), Fault> {
        if self.keep {
            let why = "it is kept".to_owned();
            return Err(Fault::Io { op: "remove", path: path.to_owned(), why });
        }
        self.files.remove(path);
        Ok(())
    }

    fn run(&mut self, op: Op<'_>) -> Result<Done, Fault> {
        match op {
            Op::Allocate { path, .. } if self.no_space => {
                self.refused += 1;
                return Err(Fault::Full { path: path.to_owned() });
            }
            Op::Allocate { path, len } => {
                let before = self.files.insert(path.to_owned(), vec![0; to_usize(len)]);
                let is_free = before.is_none_or(|bytes| bytes.is_empty());
                assert!(is_free, "{path} is allocated over a file that exists: its owner lost it");
                return Ok(self.open_at(path));
            }
            Op::Delete { file } => {
                let path = self.open.remove(&file).expect("the file is open");
                self.keep_or_remove(&path)?;
            }
            Op::Measure { .. } => {
                let used = self.files.values().map(|bytes| bytes.len() as u64).sum();
                let empty = DiskUse { used: 0, total: u64::MAX };
                let known = DiskUse { used, total: self.total };
                return Ok(Done::Measured(if self.total == 0 { empty } else { known }));
            }
            Op::Open { path } if self.files.contains_key(path) => return Ok(self.open_at(path)),
            Op::Open { path } => {
                let why = "no such file".to_owned();
                return Err(Fault::Io { op: "open", path: path.to_owned(), why });
            }
            Op::Remove { path } => self.keep_or_remove(path)?,
            Op::Rename { file, to } => {
                let path = self.open.remove(&file).expect("the file is open");
                let bytes = self.files.remove(&path).expect("an open file exists");
                assert!(self.files.insert(to.to_owned(), bytes).is_none(), "{to} is taken");
            }
            Op::Replace { path, bytes } => {
                if let Some(old) = self.files.insert(path.to_owned(), bytes.to_vec()) {
                    self.files.insert(format!("{path}.bak"), old);
                }
            }
            Op::Sync { file, from, to } => {
                let path = self.path(file);
                assert!(from <= to && to <= self.files[path].len() as u64, "sync within {path}");
                let path = path.to_owned();
                if self.untold.remove(&path) {
                    let why = "a write in the background failed".to_owned();
                    return Err(Fault::Io { op: "sync", path, why });
                }
            }
            Op::Zero { file, from, to } => self.slot(file, from, to_usize(to - from)).fill(0),
        }
        Ok(Done::Finished)
    }
}

impl Memory for PlainDisk {
    fn bytes(&self, file: FileId, at: u64, len: usize) -> &[u8] {
        &self.files[self.path(file)][to_usize(at)..][..len]
    }

    fn slot(&mut self, file: FileId, at: u64, len: usize) -> &mut [u8] {
        let path = self.open.get(&file).expect("the file is open");
        let bytes = self.files.get_mut(path).expect("an open file exists");
        &mut bytes[to_usize(at)..][..len]
    }

    fn lease(&self, file: FileId, at: u64, len: usize) -> Bytes {
        Bytes::copy_from_slice(self.bytes(file, at, len))
    }
}

impl Disk for PlainDisk {
    fn list(&mut self, dir: &str) -> Result<Vec<Entry>, Fault> {
        let prefix = format!("{dir}/");
        let mut entries = BTreeMap::new();
        for (path, bytes) in self.files.range(prefix.clone()..) {
            let Some(name) = path.strip_prefix(&prefix) else { break };
            let (name, is_dir) = name.split_once('/').map_or((name, false), |(dir, _)| (dir, true));
            let len = if is_dir { 0 } else { bytes.len() as u64 };
            entries.insert(name.to_owned(), Entry { name: name.to_owned(), len, is_dir });
        }
        Ok(entries.into_values().collect())
    }

    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.files.get(path).cloned())
    }

    fn perform(&mut self, op: Op<'_>) -> Result<Done, Fault> {
        self.hold_completions(false);
        self.run(op)
    }

    fn submit(&mut self, token: Token, op: Op<'_>) {
        assert!(!matches!(op, Op::Rename { .. } | Op::Zero { .. }), "performed, never submitted");
        let outcome = self.run(op);
        let queue = if self.hold { &mut self.held } else { &mut self.done };
        queue.push_back((token, outcome));
    }

    fn poll(&mut self) -> Option<(Token, Result<Done, Fault>)> {
        self.done.pop_front()
    }
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a file in memory fits in memory")
}
