//! The real disk: mapped files, and one thread that does what can block.
//!
//! ```text
//!   owner (one thread)                          disk thread
//!   bytes, slot, lease  ── mapped memory
//!   submit, perform  ───── work, in order ───►  fallocate, msync, unlink, rename
//!   poll  ◄──────────────── outcomes ─────────  wake() after each
//! ```
//!
//! Work is done strictly in the order of submission, so an operation performed is a barrier.
//! A `lock` file, locked against every other process (Apache's broker included), keeps the store
//! to one owner for as long as the disk lives.

mod files;
mod mapping;
mod work;

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use bytes::Bytes;
use rustix::fs::FlockOperation;

use self::mapping::{Mapping, Maps};
use self::work::{Job, Outcome, Work};
use crate::seam::{Disk, Done, Entry, Fault, FileId, Memory, Op, Token};

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

/// A directory of mapped files.
pub struct MappedDisk {
    root: PathBuf,
    maps: Maps,
    /// `None` only while dropping: the thread ends when it is gone.
    work: Option<Sender<Work>>,
    outcomes: Receiver<Outcome>,
    /// Arrived while waiting for another.
    arrived: VecDeque<(Token, Result<Done, Fault>)>,
    thread: Option<JoinHandle<()>>,
    /// Held for its lock.
    _lock: File,
}

impl MappedDisk {
    /// Takes the directory `root`, which is made if need be. `wake` is called from the disk
    /// thread after each completion, so that the owner knows to poll.
    pub fn open(
        root: impl Into<PathBuf>,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, LockError> {
        let root = root.into();
        let lock = take(&root)?;
        let (work, jobs) = channel();
        let (tell, outcomes) = channel();
        let run = {
            let root = root.clone();
            move || work::run(&root, &jobs, &tell, &wake)
        };
        let thread = std::thread::Builder::new().name("disk".to_owned()).spawn(run);
        let thread = thread.map_err(|why| LockError::Io { dir: root.clone(), why })?;
        Ok(Self {
            root,
            maps: Maps::default(),
            work: Some(work),
            outcomes,
            arrived: VecDeque::new(),
            thread: Some(thread),
            _lock: lock,
        })
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn send(&mut self, token: Option<Token>, op: Op<'_>) {
        let job = match op {
            Op::Allocate { path, len } => Job::Allocate { path: path.to_owned(), len },
            Op::Delete { file } => Job::Remove { path: self.maps.remove(file).path().to_owned() },
            Op::Open { path } => Job::Open { path: path.to_owned() },
            Op::Remove { path } => Job::Remove { path: path.to_owned() },
            Op::Replace { path, bytes } => {
                Job::Replace { path: path.to_owned(), bytes: bytes.to_vec() }
            }
            Op::Sync { file, from, to } => Job::Sync { mapping: self.maps.share(file), from, to },
            Op::Zero { file, from, to } => {
                let mapping = self.maps.share(file);
                mapping.assert_unleased(from);
                Job::Zero { mapping, from, to }
            }
        };
        let work = self.work.as_ref().expect("taken only by drop");
        work.send(Work { token, job }).expect("the disk thread lives as long as the disk");
    }

    fn adopt(&mut self, made: Result<Option<Mapping>, Fault>) -> Result<Done, Fault> {
        let Some(mapping) = made? else { return Ok(Done::Finished) };
        let len = mapping.len();
        Ok(Done::Opened { file: self.maps.insert(mapping), len })
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

impl Memory for MappedDisk {
    fn bytes(&self, file: FileId, at: u64, len: usize) -> &[u8] {
        self.maps.bytes(file, at, len)
    }

    fn slot(&mut self, file: FileId, at: u64, len: usize) -> &mut [u8] {
        self.maps.slot(file, at, len)
    }

    fn lease(&self, file: FileId, at: u64, len: usize) -> Bytes {
        self.maps.lease(file, at, len)
    }
}

impl Disk for MappedDisk {
    fn list(&mut self, dir: &str) -> Result<Vec<Entry>, Fault> {
        files::list(&self.root, dir)
    }

    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, Fault> {
        files::read(&self.root, path)
    }

    fn perform(&mut self, op: Op<'_>) -> Result<Done, Fault> {
        self.send(None, op);
        loop {
            let outcome = self.outcomes.recv().expect("the disk thread lives as long as the disk");
            let done = self.adopt(outcome.made);
            match outcome.token {
                Some(token) => self.arrived.push_back((token, done)),
                None => return done,
            }
        }
    }

    fn submit(&mut self, token: Token, op: Op<'_>) {
        self.send(Some(token), op);
    }

    fn poll(&mut self) -> Option<(Token, Result<Done, Fault>)> {
        if let Some(arrived) = self.arrived.pop_front() {
            return Some(arrived);
        }
        let outcome = self.outcomes.try_recv().ok()?;
        let token = outcome.token.expect("who performs waits for the outcome");
        Some((token, self.adopt(outcome.made)))
    }
}

impl Drop for MappedDisk {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            // A panic over there was already printed; a second one here would abort.
            drop(thread.join());
        }
    }
}

impl fmt::Debug for MappedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappedDisk").field("root", &self.root).finish_non_exhaustive()
    }
}
