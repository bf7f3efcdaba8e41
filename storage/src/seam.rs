//! The storage seam: the one line between what cannot fail and what can.
//!
//! *Writing memory is not I/O.* Once a file's blocks are reserved, a store to its pages, which are
//! the system's cache, cannot fail and does not wait for the medium: [`Memory`]. Whatever can block
//! or fail is an [`Op`] with a completion: [`Disk`]. During boot and at the end of a stop nothing
//! else runs, and the same operations are performed on the spot: [`Disk::perform`].
//!
//! **Order.** Operations on one file, and on one path, complete in the order in which they were
//! submitted; those on different files may overtake each other. One exception, for what senders
//! wait for must not stand behind what nobody waits for: an [`Op::Delete`] does not wait for a sync
//! of the file that it deletes.
//!
//! Paths are relative to the store's root, `/`-separated, without `.` or `..`.

use bytes::Bytes;

/// An open file, as an effect can carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// Names one submitted operation; chosen by the submitter, unique while the operation runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// What can block or fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// Create a file of `len` zero bytes with every block reserved (a full disk fails here, not
    /// at a later write), open it, and make its directory entry durable. Missing directories are
    /// created. Done: [`Done::Opened`].
    Allocate {
        /// Where.
        path: &'a str,
        /// Bytes.
        len: u64,
    },
    /// Unmap (once the last lease is gone) and delete a file; the directory is synced. Its blocks
    /// are free once the last lease is gone.
    Delete {
        /// Which.
        file: FileId,
    },
    /// Ask how full the file system is that holds a directory. Done: [`Done::Measured`].
    Measure {
        /// The directory; its nearest parent that exists stands in for it.
        dir: &'a str,
    },
    /// Make an existing file, at its present length, one whose bytes can be reached. Done:
    /// [`Done::Opened`].
    Open {
        /// Where.
        path: &'a str,
    },
    /// Delete a file that is not open; the directory is synced. Fine if it does not exist: then
    /// that is durable.
    Remove {
        /// Where.
        path: &'a str,
    },
    /// Give a file another name, which no other has; unmapped once the last lease is gone. Missing
    /// directories are created, and both directories are synced. A crash at any point leaves the
    /// whole file under one of the two names; under both, where they lie on two file systems, since
    /// there it is copied. Performed, never submitted: it has two paths, and an order on each.
    Rename {
        /// Which.
        file: FileId,
        /// Its path from now on.
        to: &'a str,
    },
    /// Replace a small file atomically and durably: write a temporary, sync it, keep the previous
    /// version as `<path>.bak`, rename, sync the directory. A crash at any point leaves the old
    /// version or the new one readable under `path` or `path.bak`.
    Replace {
        /// Where.
        path: &'a str,
        /// The whole new content.
        bytes: &'a [u8],
    },
    /// Make bytes `from..to` of a file durable.
    Sync {
        /// Which.
        file: FileId,
        /// First byte.
        from: u64,
        /// Behind the last byte.
        to: u64,
    },
    /// Make bytes `from..to` read as zero, keeping the blocks reserved. Durable only after a
    /// following [`Op::Sync`]. Performed, never submitted: while it runs nobody may look.
    Zero {
        /// Which.
        file: FileId,
        /// First byte.
        from: u64,
        /// Behind the last byte.
        to: u64,
    },
}

/// What an operation brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// The operation had no result but success.
    Finished,
    /// `Measure`: the file system, in bytes.
    Measured(DiskUse),
    /// `Allocate` and `Open`: the file, `len` bytes long.
    Opened {
        /// Its handle.
        file: FileId,
        /// Its length in bytes.
        len: u64,
    },
}

/// Syncs each part on the spot, and reports the first failure. It goes on behind one: a disk tells
/// of a write that failed once, and of each file on its own, so what the rest has to tell would
/// fail the next process, and the one behind it.
pub(crate) fn sync_each<D: Disk>(
    disk: &mut D,
    parts: impl IntoIterator<Item = (FileId, u64, u64)>,
) -> Result<(), Fault> {
    each(parts, |(file, from, to)| disk.perform(Op::Sync { file, from, to }).map(drop))
}

/// Does all, whatever fails, and reports the first failure. A crash ends it.
pub(crate) fn each<T>(
    items: impl IntoIterator<Item = T>,
    mut act: impl FnMut(T) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut outcome = Ok(());
    for item in items {
        match act(item) {
            Err(Fault::Crashed) => return Err(Fault::Crashed),
            done => outcome = outcome.and(done),
        }
    }
    outcome
}

/// How full a file system is, in bytes, as `df` counts: what is kept for the superuser is neither
/// used nor part of the whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DiskUse {
    /// Bytes that are taken.
    pub used: u64,
    /// Bytes that are taken or can be.
    pub total: u64,
}

impl DiskUse {
    /// Is more than `percent` of it taken? Of nothing nothing is.
    pub fn is_above(self, percent: u32) -> bool {
        u128::from(self.used) * 100 > u128::from(self.total) * u128::from(percent)
    }

    /// Bytes to be freed until no more than `percent` of it is taken.
    pub fn excess(self, percent: u32) -> u64 {
        let allowed = u128::from(self.total) * u128::from(percent) / 100;
        self.used.saturating_sub(u64::try_from(allowed).unwrap_or(u64::MAX))
    }

    /// Which of two is the fuller.
    #[must_use]
    pub fn fuller(self, other: Self) -> Self {
        let share = |of: Self, in_total: Self| u128::from(of.used) * u128::from(in_total.total);
        if share(other, self) > share(self, other) { other } else { self }
    }

    /// The per cent of it that are taken, rounded down.
    pub fn percent(self) -> u64 {
        let percent = u128::from(self.used) * 100 / u128::from(self.total.max(1));
        u64::try_from(percent).unwrap_or(u64::MAX)
    }
}

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No space left on the device.
    #[error("no space left on the device for {path}")]
    Full {
        /// What did not fit.
        path: String,
    },
    /// The device, or the file system, said no.
    #[error("{op} {path}: {why}")]
    Io {
        /// The operation, in a word.
        op: &'static str,
        /// On what.
        path: String,
        /// The system's own words.
        why: String,
    },
    /// The machine died here. Only the simulated disk says so; whoever receives it stops at once.
    #[error("the machine died")]
    Crashed,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The last component of its path.
    pub name: String,
    /// Bytes; 0 for a directory.
    pub len: u64,
    /// Is it a directory?
    pub is_dir: bool,
}

/// The mapped bytes of open files.
pub trait Memory {
    /// Bytes `at..at + len` of `file`. Panics beyond its end: the caller checked a length wrongly.
    fn bytes(&self, file: FileId, at: u64, len: usize) -> &[u8];

    /// The same bytes, to be written, by the one writer.
    fn slot(&mut self, file: FileId, at: u64, len: usize) -> &mut [u8];

    /// Puts `bytes` at `at`: the same as copying them into a [`slot`](Self::slot), for many of them
    /// at once. A disk may do that without touching a page of its own.
    fn write(&mut self, file: FileId, at: u64, bytes: &[u8]) {
        self.slot(file, at, bytes.len()).copy_from_slice(bytes);
    }

    /// The same bytes, kept alive for as long as the lease is, without copying where the medium
    /// allows. The file stays mapped until the last lease is gone. The bytes must not be written
    /// any more: only published records are leased.
    fn lease(&self, file: FileId, at: u64, len: usize) -> Bytes;

    /// Copies the same bytes. What is small and lies in many files is read like this: a disk need
    /// not keep a file at hand for a slice that nobody holds.
    fn copy(&self, file: FileId, at: u64, into: &mut [u8]) {
        into.copy_from_slice(self.bytes(file, at, into.len()));
    }

    /// Are the bytes `from..to` all zero? A disk may know without reading them.
    fn is_zero(&self, file: FileId, from: u64, to: u64) -> bool {
        let mut chunk = [0; 4096];
        (from..to).step_by(chunk.len()).all(|at| {
            let len = chunk.len().min(usize::try_from(to - at).unwrap_or(usize::MAX));
            self.copy(file, at, &mut chunk[..len]);
            chunk[..len].iter().fold(0, |any, byte| any | byte) == 0
        })
    }
}

/// Memory, and the operations that can block or fail.
pub trait Disk: Memory {
    /// The entries of a directory, sorted by name; empty if it does not exist. Boot only.
    fn list(&mut self, dir: &str) -> Result<Vec<Entry>, Fault>;

    /// A small file, whole; `None` if it does not exist. Boot only.
    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, Fault>;

    /// Does `op` now and waits for it. Boot, and the end of a stop, only. Operations submitted
    /// before are over when it returns; their completions are there to be polled.
    fn perform(&mut self, op: Op<'_>) -> Result<Done, Fault>;

    /// Starts `op`. Never blocks, never fails: the outcome is polled. See the module for what
    /// comes before what. Panics on [`Op::Zero`] and
    /// [`Op::Rename`].
    fn submit(&mut self, token: Token, op: Op<'_>);

    /// The next completion, if there is one.
    fn poll(&mut self) -> Option<(Token, Result<Done, Fault>)>;
}
