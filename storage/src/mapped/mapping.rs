//! Mapped files: the only place where memory is reached through raw pointers.
//!
//! Why this is sound. A [`Mapping`] owns a shared mapping of a whole file, which lives until the
//! last `Arc` to it is gone; the file is never shortened, and the store's lock keeps other
//! processes away. Its bytes are reached in three ways only, all in this file: [`Maps::bytes`]
//! borrows the [`Maps`] shared and [`Maps::slot`] mutably, so the borrow checker keeps those two
//! apart as it does for a `Vec`. Leases outlive every borrow, so for them a mark is kept: bytes
//! below [`leased`](Mapping::leased) are never again written, and `slot` panics rather than
//! breaking that. The disk thread holds `Arc`s too, but syncs and zeroes through the kernel.

#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use memmap2::{MmapOptions, MmapRaw};

use crate::seam::FileId;

/// A whole file, mapped for reading and writing, shared with the medium. It keeps no descriptor:
/// a mapping does not need one, and a broker has more queues than a process may have open files.
pub(super) struct Mapping {
    map: MmapRaw,
    path: String,
    /// Bytes below were leased, so they stay as they are.
    leased: AtomicU64,
}

impl Mapping {
    /// Maps `file` at its present length.
    pub(super) fn new(file: &File, path: String) -> io::Result<Self> {
        let map = MmapOptions::new().map_raw(file)?;
        Ok(Self { map, path, leased: AtomicU64::new(0) })
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn len(&self) -> u64 {
        self.map.len() as u64
    }

    /// Panics unless everything from `from` on may still be written.
    pub(super) fn assert_unleased(&self, from: u64) {
        let leased = self.leased.load(Ordering::Acquire);
        assert!(from >= leased, "{}: leased up to {leased}, written at {from}", self.path);
    }

    pub(super) fn sync(&self, from: u64, to: u64) -> io::Result<()> {
        assert!(from <= to && to <= self.len(), "{}: sync {from}..{to}", self.path);
        let len = usize::try_from(to - from).expect("inside the mapping");
        self.map.flush_range(usize::try_from(from).expect("inside the mapping"), len)
    }

    fn checked(&self, at: u64, len: usize) -> usize {
        let at = usize::try_from(at).expect("inside the mapping");
        let end = at.checked_add(len).expect("inside the mapping");
        assert!(end <= self.map.len(), "{}: {at}..{end} of {}", self.path, self.map.len());
        at
    }
}

/// The open files of one owner.
#[derive(Default)]
pub(super) struct Maps {
    open: BTreeMap<FileId, Arc<Mapping>>,
    next: u32,
}

impl Maps {
    pub(super) fn insert(&mut self, mapping: Mapping) -> FileId {
        let file = FileId(self.next);
        self.next += 1;
        self.open.insert(file, Arc::new(mapping));
        file
    }

    /// Forgets a file: from now on only leases know it.
    pub(super) fn remove(&mut self, file: FileId) -> Arc<Mapping> {
        self.open.remove(&file).expect("the file is open")
    }

    pub(super) fn share(&self, file: FileId) -> Arc<Mapping> {
        Arc::clone(self.get(file))
    }

    fn get(&self, file: FileId) -> &Arc<Mapping> {
        self.open.get(&file).expect("the file is open")
    }

    pub(super) fn bytes(&self, file: FileId, at: u64, len: usize) -> &[u8] {
        let mapping = self.get(file);
        let start = mapping.checked(at, len);
        // SAFETY: inside the mapping (checked), which lives at least as long as `self` does
        // unchanged. Nobody writes there meanwhile: `slot` needs `self` mutably.
        unsafe { std::slice::from_raw_parts(mapping.map.as_ptr().add(start), len) }
    }

    pub(super) fn slot(&mut self, file: FileId, at: u64, len: usize) -> &mut [u8] {
        let mapping = self.get(file);
        mapping.assert_unleased(at);
        let start = mapping.checked(at, len);
        // SAFETY: inside the mapping (checked), which outlives this borrow of `self`. No other
        // reference to these bytes exists: those of `bytes` and `slot` ended when `self` was
        // borrowed mutably, and leases end below the mark (asserted; it moves only through
        // `lease`, which needs `self` too).
        unsafe { std::slice::from_raw_parts_mut(mapping.map.as_mut_ptr().add(start), len) }
    }

    /// Bytes that keep their file mapped.
    pub(super) fn lease(&self, file: FileId, at: u64, len: usize) -> Bytes {
        let mapping = self.share(file);
        let start = mapping.checked(at, len);
        mapping.leased.fetch_max(at + len as u64, Ordering::Release);
        Bytes::from_owner(Lease { mapping, start, len })
    }
}

struct Lease {
    mapping: Arc<Mapping>,
    start: usize,
    len: usize,
}

impl AsRef<[u8]> for Lease {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: inside the mapping (checked by `lease`), which `self` keeps alive. It lies
        // below the lease mark, so nobody writes it any more.
        unsafe { std::slice::from_raw_parts(self.mapping.map.as_ptr().add(self.start), self.len) }
    }
}
