//! Mapped files: the only place where memory is reached through raw pointers.
//!
//! Why this is sound. A [`Mapping`] owns a shared mapping of a whole file, which lives until the
//! last `Arc` to it is gone. Its bytes are reached in three ways only, all in this file:
//!
//! - [`Maps::bytes`] borrows the [`Maps`] shared and [`Maps::slot`] mutably, so the borrow checker
//!   keeps those two apart as it does for a `Vec`;
//! - a [`Lease`] outlives every borrow, so for it a mark is kept: bytes below
//!   [`leased`](Mapping::leased) are never again written, and `slot` panics rather than breaking
//!   that. The mark only grows, and only under a borrow of the `Maps`.
//!
//! The disk's threads hold `Arc`s too, and reach the bytes through the kernel only. Reading them
//! there (a sync) disturbs nobody. Writing them (zeroing a range) is done while the owner waits,
//! holding its `Maps` mutably, and never below the mark. Making pages present changes no byte.
//!
//! Two mappings of one file would be two ways to the same bytes: a file is mapped once, whatever
//! its name ([`Maps::insert`]).
//!
//! What no program can see to: another process that shortens a mapped file (the next access is a
//! fatal signal, SIGBUS) or writes to it. The store's lock keeps those away that respect it. A
//! page that the medium fails to read is a SIGBUS as well: the process ends, and the store is
//! recovered.
//!
//! How it is checked: `model.rs` runs this code under loom, in every order of steps; `tests.rs`
//! under Miri, where that is installed, or else an address sanitizer. `tests/run` does both.

#![allow(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use bytes::Bytes;

use super::Usage;
use super::pages::Pages;
use super::sync::{Arc, AtomicBool, AtomicU64, Ordering};
use crate::seam::FileId;

/// Device and number: what makes a file the same under two names.
pub(super) type Identity = (u64, u64);

/// A whole file, mapped. It keeps no descriptor: a mapping does not need one, and a broker has
/// more queues than a process may have open files.
pub(super) struct Mapping {
    pages: Pages,
    path: String,
    identity: Identity,
    usage: Usage,
    /// Bytes below were leased, so they stay as they are.
    leased: AtomicU64,
    /// Were its pages locked into memory, or was that tried?
    locked: AtomicBool,
}

impl Mapping {
    /// Maps `file` at its present length.
    pub(super) fn new(file: &File, path: String, usage: Usage) -> io::Result<Self> {
        let meta = file.metadata()?;
        let mapping = Self::of(Pages::map(file)?, path, (meta.dev(), meta.ino()), usage);
        if !usage.read_ahead {
            // Advice: a kernel that does not take it reads more than need be.
            drop(mapping.pages.no_read_ahead());
        }
        Ok(mapping)
    }

    fn of(pages: Pages, path: String, identity: Identity, usage: Usage) -> Self {
        let (leased, locked) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { pages, path, identity, usage, leased, locked }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn len(&self) -> u64 {
        self.pages.len() as u64
    }

    /// Panics unless everything from `from` on may still be written.
    pub(super) fn assert_unleased(&self, from: u64) {
        let leased = self.leased.load(Ordering::Acquire);
        assert!(from >= leased, "{}: leased up to {leased}, written at {from}", self.path);
    }

    pub(super) fn sync(&self, from: u64, to: u64) -> io::Result<()> {
        let (start, len) = self.range(from, to);
        self.pages.flush(start, len)
    }

    /// Makes pages present and writable, where the system can.
    pub(super) fn populate(&self, from: u64, to: u64) -> io::Result<()> {
        let (start, len) = self.range(from, to);
        self.pages.populate(start, len)
    }

    /// Has pages read.
    pub(super) fn read_ahead(&self, from: u64, to: u64) -> io::Result<()> {
        let (start, len) = self.range(from, to);
        self.pages.read_ahead(start, len)
    }

    /// Locks pages into memory as they are touched, if that is wanted and was not tried before.
    pub(super) fn lock_pages(&self) -> io::Result<()> {
        let due = self.usage.lock_pages && !self.locked.swap(true, Ordering::Relaxed);
        if due { self.pages.lock() } else { Ok(()) }
    }

    /// Takes [`lock_pages`](Self::lock_pages) back.
    pub(super) fn unlock_pages(&self) -> io::Result<()> {
        if self.locked.swap(false, Ordering::Relaxed) { self.pages.unlock() } else { Ok(()) }
    }

    /// Panics unless `from..to` lies in the file.
    pub(super) fn range(&self, from: u64, to: u64) -> (usize, usize) {
        let len = to.checked_sub(from).and_then(|len| usize::try_from(len).ok());
        let len = len.unwrap_or_else(|| panic!("{}: {from}..{to} is no range", self.path));
        (self.checked(from, len), len)
    }

    fn checked(&self, at: u64, len: usize) -> usize {
        let at = usize::try_from(at).expect("inside the mapping");
        let end = at.checked_add(len).expect("inside the mapping");
        assert!(end <= self.pages.len(), "{}: {at}..{end} of {}", self.path, self.pages.len());
        at
    }
}

/// The open files of one owner.
#[derive(Default)]
pub(super) struct Maps {
    open: BTreeMap<FileId, Arc<Mapping>>,
    known: BTreeSet<Identity>,
    next: u32,
}

impl Maps {
    /// Takes a file in. Gives it back if it is open already, under this name or another.
    pub(super) fn insert(&mut self, mapping: Mapping) -> Result<FileId, Mapping> {
        if !self.known.insert(mapping.identity) {
            return Err(mapping);
        }
        let file = FileId(self.next);
        self.next += 1;
        self.open.insert(file, Arc::new(mapping));
        Ok(file)
    }

    /// Forgets a file: from now on only leases know it, and who gets it here.
    pub(super) fn remove(&mut self, file: FileId) -> Arc<Mapping> {
        let mapping = self.open.remove(&file).expect("the file is open");
        self.known.remove(&mapping.identity);
        mapping
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
        // unchanged. Nobody writes there meanwhile: `slot` needs `self` mutably, and so does who
        // has the kernel write.
        unsafe { std::slice::from_raw_parts(mapping.pages.read(start, len), len) }
    }

    pub(super) fn slot(&mut self, file: FileId, at: u64, len: usize) -> &mut [u8] {
        let mapping = self.get(file);
        mapping.assert_unleased(at);
        let start = mapping.checked(at, len);
        // SAFETY: inside the mapping (checked), which outlives this borrow of `self`. No other
        // reference to these bytes exists: those of `bytes` and `slot` ended when `self` was
        // borrowed mutably, leases end below the mark (asserted; it moves only through `hold`,
        // which needs `self` too), and no other file of `self` is this one under another name.
        unsafe { std::slice::from_raw_parts_mut(mapping.pages.write(start, len), len) }
    }

    /// Bytes that keep their file mapped.
    pub(super) fn lease(&self, file: FileId, at: u64, len: usize) -> Bytes {
        Bytes::from_owner(self.hold(file, at, len))
    }

    fn hold(&self, file: FileId, at: u64, len: usize) -> Lease {
        let mapping = self.share(file);
        let start = mapping.checked(at, len);
        mapping.leased.fetch_max(at + len as u64, Ordering::Release);
        Lease { mapping, start, len }
    }
}

/// Bytes that stay mapped, and as they are, for as long as this lives.
struct Lease {
    mapping: Arc<Mapping>,
    start: usize,
    len: usize,
}

impl AsRef<[u8]> for Lease {
    fn as_ref(&self) -> &[u8] {
        let pointer = self.mapping.pages.read(self.start, self.len);
        // SAFETY: inside the mapping (checked by `hold`), which `self` keeps alive. It lies below
        // the mark, so nobody writes it any more.
        unsafe { std::slice::from_raw_parts(pointer, self.len) }
    }
}

#[cfg(all(test, loom))]
mod model;
#[cfg(all(test, not(loom)))]
mod tests;
