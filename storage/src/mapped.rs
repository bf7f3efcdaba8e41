//! The real disk: mapped files, and threads that do what can block.
//!
//! ```text
//!   owner (one thread)                          disk threads
//!   bytes, slot, lease  ── mapped memory
//!   write               ── the page cache
//!   submit, perform  ──┬─── syncs ───────────►  msync, zeroing
//!                      └─── files ───────────►  fallocate, unlink, rename, small files
//!   poll  ◄──────────────── outcomes ─────────  wake() after each
//! ```
//!
//! Each thread does its work strictly in the order of submission; an operation performed waits for
//! all of them, so it is a barrier. Files are mapped when they are reached, and only so many at a
//! time (`mapping`): a store may have more than a system lets a process map.
//!
//! A `lock` file, locked against every other process (Apache's
//! broker included), keeps the store to one owner for as long as the disk lives.

mod files;
mod limit;
mod mapping;
#[cfg(not(any(loom, miri, heap_pages)))]
mod pages;
#[cfg(any(loom, miri, heap_pages))]
#[path = "mapped/heap.rs"]
mod pages;
mod peek;
mod places;
#[cfg(not(any(loom, miri, heap_pages)))]
mod rehearsal;
mod sync;
mod walk;
mod work;

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::FlockOperation;

use self::mapping::{Handle, Maps};
use self::places::Places;
use self::sync::Arc;
use self::walk::Walk;
use self::work::{Job, Lanes, Made, Outcome};
use crate::seam::{Disk, Done, Entry, Fault, FileId, Memory, Op, Token};

#[cfg(not(any(loom, miri, heap_pages)))]
pub use self::rehearsal::{Change, Rehearsal};

/// The file whose lock makes a store somebody's.
const LOCK: &str = "lock";
/// What Apache writes into it.
const LOCK_CONTENT: &[u8; 4] = b"lock";

/// Why a directory could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process, or another store of this one, has it.
    #[error("{} is in use by another process", dir.display())]
    InUse {
        /// The store's root.
        dir: PathBuf,
    },
    /// The directory or its lock file cannot be made.
    #[error("{}: {why}", dir.display())]
    Io {
        /// The store's root.
        dir: PathBuf,
        /// The system's own words.
        why: io::Error,
    },
}

/// How files are used that lie in one directory, for the system to act upon. What a store means
/// does not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Does the system read more than it is asked for, as it guesses that neighbours are next?
    pub read_ahead: bool,
}

impl Default for Usage {
    fn default() -> Self {
        Self { read_ahead: true }
    }
}

/// Tells the owner to poll.
type Wake = std::sync::Arc<dyn Fn() + Send + Sync>;

/// A directory of mapped files.
pub struct MappedDisk {
    root: PathBuf,
    places: Places,
    walk: Option<Walk>,
    maps: Maps,
    lanes: Lanes,
    /// Arrived while waiting for another.
    arrived: VecDeque<(Token, Result<Done, Fault>)>,
    /// Directories whose files are not used as others are.
    usages: Vec<(String, Usage)>,
    /// Held for its lock.
    _lock: File,
}

impl MappedDisk {
    /// Takes the directory `root`, which is made if need be. `wake` is called from the disk's
    /// threads after each completion, so that the owner knows to poll.
    pub fn open(
        root: impl Into<PathBuf>,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, LockError> {
        let root = root.into();
        let lock = take(&root)?;
        let wake: Wake = std::sync::Arc::new(wake);
        let lanes = Lanes::start(&root, &wake);
        let lanes = lanes.map_err(|why| LockError::Io { dir: root.clone(), why })?;
        let maps = Maps::new(&root, limit::mappings());
        let places = Places::new(&root);
        let (arrived, usages) = (VecDeque::new(), Vec::new());
        Ok(Self { root, places, walk: None, maps, lanes, arrived, usages, _lock: lock })
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Files of `dir` (relative to the root) are used like this, as far as they are opened or
    /// allocated from now on.
    pub fn set_usage(&mut self, dir: &str, usage: Usage) {
        self.usages.push((format!("{dir}/"), usage));
    }

    /// From now on about so many files are mapped at a time, others when they are reached. Without
    /// a word on it that is half of what the system allows a process.
    pub fn set_mapped_max(&mut self, files: usize) {
        self.maps.set_most(files);
    }

    fn usage(&self, path: &str) -> Usage {
        let set = self.usages.iter().rfind(|(dir, _)| path.starts_with(dir));
        set.map_or_else(Usage::default, |(_, usage)| *usage)
    }

    fn send(&mut self, token: Option<Token>, op: Op<'_>) {
        let job = match op {
            Op::Allocate { path, len } => {
                Job::Allocate { path: path.to_owned(), len, usage: self.usage(path) }
            }
            Op::Delete { file } => Job::Delete { file: self.maps.remove(file) },
            Op::Measure { dir } => Job::Measure { dir: dir.to_owned() },
            Op::Open { path } => Job::Open { path: path.to_owned(), usage: self.usage(path) },
            Op::Remove { path } => Job::Remove { path: path.to_owned() },
            Op::Rename { file, to } => {
                assert!(token.is_none(), "a file is renamed while its owner waits");
                Job::Rename { file: self.maps.remove(file), to: to.to_owned() }
            }
            Op::Replace { path, bytes } => {
                Job::Replace { path: path.to_owned(), bytes: bytes.to_vec() }
            }
            Op::Sync { file, from, to } => {
                let (file, failed) = self.maps.hand_to_sync(file, from, to);
                Job::Sync { file, from, to, failed }
            }
            Op::Zero { file, from, to } => {
                // The kernel writes these bytes: nobody holds a reference to them while the
                // owner waits, for its borrows ended here, and leases end below.
                assert!(token.is_none(), "zeroing is performed, never submitted");
                Job::Zero { file: self.maps.hand_to_zero(file, from, to), from, to }
            }
        };
        self.lanes.send(token, job);
    }

    fn adopt(&mut self, made: Result<Made, Fault>) -> Result<Done, Fault> {
        let handle = match made? {
            Made::File(handle) => handle,
            Made::Measured(found) => return Ok(Done::Measured(found)),
            Made::Nothing => return Ok(Done::Finished),
        };
        let len = handle.found().len;
        match self.maps.know(handle) {
            Ok(file) => Ok(Done::Opened { file, len }),
            Err(handle) => {
                let (path, why) = (
                    handle.found().path.clone(),
                    "it is open already, perhaps under another name".to_owned(),
                );
                Err(Fault::Io { op: "open", path, why })
            }
        }
    }
}

/// Locks `<root>/lock` twice: a record lock, which a Java process sees and sets, and a lock of
/// the open file, which also keeps a second store of this very process out.
fn take(root: &Path) -> Result<File, LockError> {
    let failed = |why| LockError::Io { dir: root.to_owned(), why };
    let lock = files::lock_file(root, LOCK, LOCK_CONTENT).map_err(failed)?;
    let whole = FlockOperation::NonBlockingLockExclusive;
    let locks = [rustix::fs::flock(&lock, whole), rustix::fs::fcntl_lock(&lock, whole)];
    for outcome in locks {
        match outcome {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::ACCESS) => {
                return Err(LockError::InUse { dir: root.to_owned() });
            }
            Err(errno) => return Err(failed(errno.into())),
        }
    }
    Ok(lock)
}

/// The same two locks, shared, on a file that is opened for reading only: they keep owners away,
/// not other readers. A store that has no lock file never had an owner.
#[cfg(not(any(loom, miri, heap_pages)))]
fn take_shared(root: &Path, name: &str) -> Result<Option<File>, LockError> {
    let failed = |why| LockError::Io { dir: root.to_owned(), why };
    let lock = match File::open(root.join(name)) {
        Ok(lock) => lock,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(failed(why)),
    };
    let whole = FlockOperation::NonBlockingLockShared;
    for outcome in [rustix::fs::flock(&lock, whole), rustix::fs::fcntl_lock(&lock, whole)] {
        match outcome {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::ACCESS) => {
                return Err(LockError::InUse { dir: root.to_owned() });
            }
            Err(errno) => return Err(failed(errno.into())),
        }
    }
    Ok(Some(lock))
}

impl Memory for MappedDisk {
    fn bytes(&self, file: FileId, at: u64, len: usize) -> &[u8] {
        self.maps.bytes(file, at, len)
    }

    fn slot(&mut self, file: FileId, at: u64, len: usize) -> &mut [u8] {
        self.maps.slot(file, at, len)
    }

    fn write(&mut self, file: FileId, at: u64, bytes: &[u8]) {
        self.maps.write(file, at, bytes);
    }

    fn lease(&self, file: FileId, at: u64, len: usize) -> Bytes {
        self.maps.lease(file, at, len)
    }

    fn copy(&self, file: FileId, at: u64, into: &mut [u8]) {
        self.maps.copy(file, at, into);
    }

    fn is_zero(&self, file: FileId, from: u64, to: u64) -> bool {
        self.maps.is_zero(file, from, to)
    }
}

impl Disk for MappedDisk {
    fn list(&mut self, dir: &str) -> Result<Vec<Entry>, Fault> {
        if let Some((place, entries)) = self.walk.as_mut().and_then(|walk| walk.take(dir)) {
            self.places.adopt(place);
            return Ok(entries);
        }
        let entries = files::list(&mut self.places, dir)?;
        if let Some(walk) = Walk::begin(&self.root, dir, &entries) {
            self.walk = Some(walk);
        }
        Ok(entries)
    }

    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, Fault> {
        files::read(&self.root, path)
    }

    fn perform(&mut self, op: Op<'_>) -> Result<Done, Fault> {
        while !self.lanes.is_idle() {
            let Outcome { token, made } = self.lanes.wait();
            let token = token.expect("who performs waits for the outcome");
            let done = self.adopt(made);
            self.arrived.push_back((token, done));
        }
        if let Op::Open { path } = op {
            // Done here: a start opens every file there is, and two threads that wake each other
            // for each of them take longer than the system does.
            let usage = self.usage(path);
            let (found, file) = files::find(&mut self.places, path, usage)?;
            let done = self.adopt(Ok(Made::File(Handle::Named(Arc::new(found)))))?;
            if let Done::Opened { file: id, .. } = done {
                self.maps.peek_at(id, file);
            }
            return Ok(done);
        }
        // What was listed ahead may change now.
        self.walk = None;
        self.send(None, op);
        let Outcome { token, made } = self.lanes.wait();
        assert!(token.is_none(), "nothing else was under way");
        self.adopt(made)
    }

    fn submit(&mut self, token: Token, op: Op<'_>) {
        self.maps.end_peek();
        self.places.leave();
        self.walk = None;
        self.send(Some(token), op);
    }

    fn poll(&mut self) -> Option<(Token, Result<Done, Fault>)> {
        if let Some(arrived) = self.arrived.pop_front() {
            return Some(arrived);
        }
        let Outcome { token, made } = self.lanes.poll()?;
        let token = token.expect("who performs waits for the outcome");
        Some((token, self.adopt(made)))
    }
}

impl fmt::Debug for MappedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappedDisk").field("root", &self.root).finish_non_exhaustive()
    }
}
