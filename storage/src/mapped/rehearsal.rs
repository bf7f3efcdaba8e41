//! A disk on which anything may be tried: it reads what lies in a directory, and keeps what is
//! written to itself.
//!
//! ```text
//!   list, read, Open  ──►  the directory, opened for reading only
//!   slot, Zero        ──►  private copies of the pages written, made by the kernel
//!   Allocate, Replace, Delete, Remove  ──►  remembered by name
//! ```
//!
//! Recovery runs on it as on the real one, so what a start would do can be said before it is done:
//! [`Rehearsal::changes`] compares the end with the beginning.

#![allow(unsafe_code)]

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use memmap2::{MmapMut, MmapOptions};
use rustix::fs::OFlags;

use super::peek::Peek;
use super::places::Places;
use super::{LOCK, LockError, files, limit, take_shared};
use crate::seam::{Disk, DiskUse, Done, Entry, Fault, FileId, Memory, Op, Token};

/// What is compared at once, in bytes.
const PAGE: usize = 4096;

/// A directory, to be read and not to be changed.
pub struct Rehearsal {
    root: PathBuf,
    places: Places,
    open: BTreeMap<FileId, Copied>,
    next: u32,
    /// Files that are mapped.
    mapped: Cell<usize>,
    /// With so many others are read without being mapped, until they are written.
    mapped_max: usize,
    peek: RefCell<Peek>,
    over: BTreeMap<String, Over>,
    done: VecDeque<(Token, Result<Done, Fault>)>,
    /// Held for its lock, if there is one.
    _lock: Option<File>,
}

/// A file whose pages are copied as they are written.
struct Copied {
    path: String,
    len: u64,
    map: OnceCell<MmapMut>,
    is_new: bool,
    /// Pages that were reached for writing, by number.
    touched: BTreeSet<usize>,
}

/// What a name stands for, if not for what the directory says.
enum Over {
    Gone,
    Open(FileId),
    Small(Vec<u8>),
}

/// How a file would end up different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It would be made.
    Created {
        /// Which.
        path: String,
        /// Its length in bytes.
        len: u64,
        /// Bytes of it that would not be zero.
        used: u64,
    },
    /// It would be deleted.
    Deleted {
        /// Which.
        path: String,
        /// Its length in bytes.
        len: u64,
    },
    /// A small file would be replaced, its previous version kept as `.bak`.
    Replaced {
        /// Which.
        path: String,
        /// What it holds now, if it exists.
        before: Option<Vec<u8>>,
        /// What it would hold.
        after: Vec<u8>,
    },
    /// Bytes would be overwritten.
    Written {
        /// Which.
        path: String,
        /// The first byte that differs.
        from: u64,
        /// Behind the last one.
        to: u64,
        /// How many differ.
        bytes: u64,
    },
    /// Bytes that are not zero would become zero.
    Zeroed {
        /// Which.
        path: String,
        /// The first of them.
        from: u64,
        /// Behind the last one.
        to: u64,
        /// How many there are.
        bytes: u64,
    },
}

impl Rehearsal {
    /// Reads the directory `root`, with its lock: a broker that runs on it is respected, and none
    /// starts as long as this lives. Nothing is opened for writing.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, LockError> {
        let root = root.into();
        let lock = take_shared(&root, LOCK)?;
        Ok(Self { _lock: lock, ..Self::unlocked(root) })
    }

    /// Reads the directory `root` whoever has it. What is read while somebody writes may be half
    /// of two states, and a file that is cut meanwhile ends the process: for copies, and for what
    /// nobody uses.
    pub fn unlocked(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Self {
            places: Places::new(&root),
            root,
            open: BTreeMap::new(),
            next: 0,
            mapped: Cell::new(0),
            mapped_max: limit::mappings(),
            peek: RefCell::default(),
            over: BTreeMap::new(),
            done: VecDeque::new(),
            _lock: None,
        }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What would be different, by path.
    pub fn changes(&self) -> Result<Vec<Change>, Fault> {
        let mut changes = Vec::new();
        for (path, over) in &self.over {
            let path = path.clone();
            match over {
                Over::Gone => {
                    let meta = std::fs::metadata(self.root.join(&path));
                    if let Ok(meta) = meta {
                        changes.push(Change::Deleted { path, len: meta.len() });
                    }
                }
                Over::Open(file) => {
                    let copied = &self.open[file];
                    if copied.is_new {
                        let (len, used) = (copied.len, copied.used());
                        changes.push(Change::Created { path, len, used });
                    } else {
                        let compared = copied.compare(&self.root.join(&path));
                        let compared = compared.map_err(|why| files::fault("read", &path, &why));
                        changes.extend(compared?);
                    }
                }
                Over::Small(after) => {
                    let before = files::read(&self.root, &path)?;
                    if before.as_ref() != Some(after) {
                        changes.push(Change::Replaced { path, before, after: after.clone() });
                    }
                }
            }
        }
        Ok(changes)
    }

    fn run(&mut self, op: Op<'_>) -> Result<Done, Fault> {
        match op {
            Op::Allocate { path, len } => {
                let map = MmapMut::map_anon(usize::try_from(len).expect("a file can be mapped"));
                let map = map.map_err(|why| files::fault("allocate", path, &why))?;
                return Ok(self.adopt(path, len, Some(map)));
            }
            Op::Delete { file } => {
                let copied = self.open.remove(&file).expect("the file is open");
                self.peek.get_mut().forget(file);
                self.over.insert(copied.path, Over::Gone);
            }
            // Nobody is to be refused anything here for want of space.
            Op::Measure { .. } => {
                return Ok(Done::Measured(DiskUse { used: 0, total: u64::MAX }));
            }
            Op::Open { path } => {
                if let Some(Over::Open(file)) = self.over.get(path) {
                    return Ok(Done::Opened { file: *file, len: self.open[file].len });
                }
                let file = self.places.open(path, OFlags::RDONLY).map(File::from);
                let len = file.and_then(|file| file.metadata());
                let len = len.map_err(|why| files::fault("open", path, &why))?.len();
                return Ok(self.adopt(path, len, None));
            }
            Op::Remove { path } => {
                self.over.insert(path.to_owned(), Over::Gone);
            }
            Op::Rename { file, .. } => {
                // A repair is a start, and no start gives a file another name.
                let (path, why) = (self.copied(file).path.clone(), "it is only read".to_owned());
                return Err(Fault::Io { op: "rename", path, why });
            }
            Op::Replace { path, bytes } => {
                self.over.insert(path.to_owned(), Over::Small(bytes.to_vec()));
            }
            Op::Sync { .. } => {}
            Op::Zero { file, from, to } => {
                self.written(file).zero(to_usize(from), to_usize(to));
            }
        }
        Ok(Done::Finished)
    }

    /// Takes a file in; a new one is mapped.
    fn adopt(&mut self, path: &str, len: u64, map: Option<MmapMut>) -> Done {
        let file = FileId(self.next);
        self.next += 1;
        let (is_new, touched) = (map.is_some(), BTreeSet::new());
        let map = map.map_or_else(OnceCell::new, OnceCell::from);
        self.open.insert(file, Copied { path: path.to_owned(), len, map, is_new, touched });
        self.over.insert(path.to_owned(), Over::Open(file));
        Done::Opened { file, len }
    }

    fn copied(&self, file: FileId) -> &Copied {
        self.open.get(&file).expect("the file is open")
    }

    /// The file, mapped.
    fn map(&self, file: FileId) -> &MmapMut {
        let Copied { path, len, map, .. } = self.copied(file);
        map.get_or_init(|| {
            let map = File::open(self.root.join(path)).and_then(|file| copy_on_write(&file));
            let map = map.unwrap_or_else(|why| panic!("{path} cannot be mapped: {why}"));
            assert_eq!(map.len() as u64, *len, "{path}: its length has changed");
            self.mapped.set(self.mapped.get() + 1);
            map
        })
    }

    /// The file, about to be written.
    fn written(&mut self, file: FileId) -> &mut Copied {
        self.map(file);
        self.peek.get_mut().forget(file);
        self.open.get_mut(&file).expect("it was just mapped")
    }
}

/// The whole file; pages that are written are copied first, and only this process sees them.
fn copy_on_write(file: &File) -> io::Result<MmapMut> {
    // SAFETY: the mapping must not change under the slices that are made of it. It is private, so
    // nobody else's mapping sees our writes; others' writes to the file could show through pages
    // that were not copied yet. The lock that `Rehearsal::open` takes keeps every broker away;
    // `unlocked` hands this duty to its caller, in words.
    unsafe { MmapOptions::new().map_copy(file) }
}

impl Copied {
    /// What was written; nothing, if it is not mapped.
    fn bytes(&self) -> &[u8] {
        self.map.get().map_or(&[], |map| &map[..])
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.map.get_mut().expect("what is written is mapped")
    }

    /// Only pages that hold something are copied for it.
    fn zero(&mut self, from: usize, to: usize) {
        let mut at = from;
        while at < to {
            let end = ((at / PAGE + 1) * PAGE).min(to);
            let bytes = &mut self.bytes_mut()[at..end];
            if bytes.iter().any(|byte| *byte != 0) {
                bytes.fill(0);
                self.touched.insert(at / PAGE);
            }
            at = end;
        }
    }

    /// Bytes of a new file that are not zero.
    fn used(&self) -> u64 {
        let (pages, bytes) = (self.touched.iter().map(|page| page * PAGE), self.bytes());
        let page = |at: usize| &bytes[at..(at + PAGE).min(bytes.len())];
        pages.flat_map(page).filter(|byte| **byte != 0).count() as u64
    }

    fn compare(&self, path: &Path) -> io::Result<Vec<Change>> {
        let file = File::open(path)?;
        let (mut zeroed, mut written) = (Extent::default(), Extent::default());
        let mut before = [0; PAGE];
        for page in &self.touched {
            let at = page * PAGE;
            let after = &self.bytes()[at..(at + PAGE).min(self.bytes().len())];
            file.read_exact_at(&mut before[..after.len()], at as u64)?;
            for (index, (old, new)) in before.iter().zip(after).enumerate() {
                if old != new {
                    let into = if *new == 0 { &mut zeroed } else { &mut written };
                    into.add((at + index) as u64);
                }
            }
        }
        let (path, mut changes) = (self.path.clone(), Vec::new());
        // A byte that happens to become zero belongs to what is written around it.
        if zeroed.bytes > 0 && zeroed.from < written.to {
            written.merge(zeroed);
            zeroed = Extent::default();
        }
        if written.bytes > 0 {
            let Extent { from, to, bytes } = written;
            changes.push(Change::Written { path: path.clone(), from, to, bytes });
        }
        if zeroed.bytes > 0 {
            let Extent { from, to, bytes } = zeroed;
            changes.push(Change::Zeroed { path, from, to, bytes });
        }
        Ok(changes)
    }
}

/// Bytes that differ.
#[derive(Clone, Copy, Default)]
struct Extent {
    from: u64,
    to: u64,
    bytes: u64,
}

impl Extent {
    /// In ascending order.
    fn add(&mut self, at: u64) {
        if self.bytes == 0 {
            self.from = at;
        }
        (self.to, self.bytes) = (at + 1, self.bytes + 1);
    }

    fn merge(&mut self, other: Self) {
        self.from = self.from.min(other.from);
        (self.to, self.bytes) = (self.to.max(other.to), self.bytes + other.bytes);
    }
}

impl Memory for Rehearsal {
    fn bytes(&self, file: FileId, at: u64, len: usize) -> &[u8] {
        &self.map(file)[to_usize(at)..][..len]
    }

    fn slot(&mut self, file: FileId, at: u64, len: usize) -> &mut [u8] {
        let (copied, at) = (self.written(file), to_usize(at));
        copied.touched.extend(at / PAGE..(at + len).div_ceil(PAGE));
        &mut copied.bytes_mut()[at..][..len]
    }

    fn lease(&self, file: FileId, at: u64, len: usize) -> Bytes {
        Bytes::copy_from_slice(self.bytes(file, at, len))
    }

    fn copy(&self, file: FileId, at: u64, into: &mut [u8]) {
        let copied = self.copied(file);
        if copied.map.get().is_some() || self.mapped.get() < self.mapped_max {
            into.copy_from_slice(self.bytes(file, at, into.len()));
            return;
        }
        let path = &copied.path;
        assert!(at + into.len() as u64 <= copied.len, "{path}: {} bytes at {at}", into.len());
        let open = || File::open(self.root.join(path));
        let read = self.peek.borrow_mut().copy(file, open, at, into);
        read.unwrap_or_else(|why| panic!("{path} cannot be read: {why}"));
    }
}

impl Disk for Rehearsal {
    fn list(&mut self, dir: &str) -> Result<Vec<Entry>, Fault> {
        let there = files::list(&mut self.places, dir)?.into_iter().map(|e| (e.name.clone(), e));
        let mut entries: BTreeMap<String, Entry> = there.collect();
        let prefix = format!("{dir}/");
        for (path, over) in self.over.range(prefix.clone()..) {
            let Some(name) = path.strip_prefix(&prefix) else { break };
            let len = match over {
                Over::Gone => {
                    entries.remove(name);
                    continue;
                }
                Over::Open(file) => self.copied(*file).len,
                Over::Small(bytes) => bytes.len() as u64,
            };
            let (name, is_dir) = name.split_once('/').map_or((name, false), |(dir, _)| (dir, true));
            let len = if is_dir { 0 } else { len };
            entries.insert(name.to_owned(), Entry { name: name.to_owned(), len, is_dir });
        }
        Ok(entries.into_values().collect())
    }

    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, Fault> {
        match self.over.get(path) {
            Some(Over::Gone) => Ok(None),
            Some(Over::Open(file)) => Ok(Some(self.map(*file).to_vec())),
            Some(Over::Small(bytes)) => Ok(Some(bytes.clone())),
            None => files::read(&self.root, path),
        }
    }

    fn perform(&mut self, op: Op<'_>) -> Result<Done, Fault> {
        self.run(op)
    }

    fn submit(&mut self, token: Token, op: Op<'_>) {
        let outcome = self.run(op);
        self.done.push_back((token, outcome));
    }

    fn poll(&mut self) -> Option<(Token, Result<Done, Fault>)> {
        self.done.pop_front()
    }
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).expect("inside a mapping")
}
