//! Mapped files: the only place where memory is reached through raw pointers.
//!
//! Why this is sound. A [`Mapping`] owns a shared mapping of a whole file, which lives until the
//! last `Arc` to it is gone. Its bytes are reached in three ways only, all in this file:
//!
//! - [`Maps::bytes`] borrows the [`Maps`] shared and [`Maps::slot`] mutably, so the borrow checker
//!   keeps those two apart as it does for a `Vec`;
//! - a [`Lease`] outlives every borrow, so for it a mark is kept: bytes below
//!   [`leased`](Known::leased) are never again written, and `slot` panics rather than breaking
//!   that. The mark only grows, and only under a borrow of the `Maps`.
//!
//! The kernel reaches the bytes by the file. Reading them there (a sync, by a thread of the disk)
//! disturbs nobody. Writing them (zeroing a range, or [`Maps::write`]) is done while the owner
//! waits, holding its `Maps` mutably, and never below the mark.
//!
//! Two mappings of one file would be two ways to the same bytes: a file is known once, whatever
//! its name ([`Maps::know`]), and mapped again only after its mapping is gone.
//!
//! **A file is mapped when it is first reached, and not for ever.** A system allows a process some
//! ten thousand mappings, and a broker may have more queues. So [`residents`]
//! keeps count, and before one more file is mapped for writing another is unmapped: not one that
//! is leased or that a thread of the disk is at, nor, as long as there are others, one with bytes
//! that nobody synced. That needs the `Maps` mutably: no borrowed slice ends early.
//!
//! What no program can see to: another process that shortens a mapped file (the next access is a
//! fatal signal, SIGBUS) or writes to it. The store's lock keeps those away that respect it. A
//! page that the medium fails to read is a SIGBUS as well, and a file that was opened once and
//! cannot be mapped when it is needed is a panic: the process ends, and the store is recovered.
//!
//! How it is checked: `model.rs` runs this code under loom, in every order of steps; `tests.rs`
//! under Miri, where that is installed, or else an address sanitizer. `tests/run` does both.

#![allow(unsafe_code)]

mod residents;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use self::residents::Residents;
use super::pages::Pages;
use super::peek::Peek;
use super::sync::Arc;
use super::{Usage, files};
use crate::seam::FileId;

/// Bytes that are read at once rather than asked about.
const SMALL: usize = 4096;

/// Device and number: what makes a file the same under two names.
pub(super) type Identity = (u64, u64);

/// A file, as it was when it was opened.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: String,
    pub(super) len: u64,
    identity: Identity,
    usage: Usage,
}

impl Found {
    pub(super) fn new(file: &File, path: String, usage: Usage) -> io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self { path, len: meta.len(), identity: (meta.dev(), meta.ino()), usage })
    }

    /// Panics unless `from..to` lies in the file.
    pub(super) fn range(&self, from: u64, to: u64) -> (usize, usize) {
        let len = to.checked_sub(from).and_then(|len| usize::try_from(len).ok());
        let len = len.unwrap_or_else(|| panic!("{}: {from}..{to} is no range", self.path));
        (self.checked(from, len), len)
    }

    fn checked(&self, at: u64, len: usize) -> usize {
        let end = at.checked_add(len as u64).expect("inside the file");
        assert!(end <= self.len, "{}: {at}..{end} of {}", self.path, self.len);
        usize::try_from(at).expect("inside a mapping")
    }
}

/// A whole file, mapped. It keeps no descriptor: a mapping does not need one, and a broker has
/// more queues than a process may have open files.
pub(super) struct Mapping {
    pages: Pages,
    found: Arc<Found>,
}

impl Mapping {
    /// Maps `file`, which is the one that was found.
    pub(super) fn new(file: &File, found: Arc<Found>) -> io::Result<Self> {
        let mapping = Self::of(Pages::map(file)?, found);
        if mapping.pages.len() as u64 != mapping.found.len {
            return Err(io::Error::other("its length has changed since it was opened"));
        }
        if !mapping.found.usage.read_ahead {
            // Advice: a kernel that does not take it reads more than need be.
            drop(mapping.pages.no_read_ahead());
        }
        Ok(mapping)
    }

    fn of(pages: Pages, found: Arc<Found>) -> Self {
        Self { pages, found }
    }

    pub(super) fn sync(&self, from: u64, to: u64) -> io::Result<()> {
        let (start, len) = self.found.range(from, to);
        self.pages.flush(start, len)
    }
}

/// A file that is open, as the seam has it: known, and mapped while it is used.
struct Known {
    found: Arc<Found>,
    mapping: OnceCell<Arc<Mapping>>,
    /// Bytes below were leased, so they stay as they are.
    leased: Cell<u64>,
    /// Was it reached since one to unmap was last looked for?
    is_used: Cell<bool>,
    /// What was written and not handed to a sync since: from, to.
    unsynced: Option<(u64, u64)>,
    /// Why what was written may not be on the medium, to be told by the next sync.
    failed: Option<io::Error>,
}

impl Known {
    /// Panics unless everything from `from` on may still be written.
    fn assert_unleased(&self, from: u64) {
        let (leased, path) = (self.leased.get(), &self.found.path);
        assert!(from >= leased, "{path}: leased up to {leased}, written at {from}");
    }
}

/// The open files of one owner.
pub(super) struct Maps {
    root: PathBuf,
    /// By their handles, which are never given again. Whoever appends looks here several times.
    open: Vec<Option<Box<Known>>>,
    known: BTreeSet<Identity>,
    residents: Residents,
    peek: RefCell<Peek>,
    /// The file that was last written by the system's own call.
    writer: Option<(FileId, File)>,
}

impl Maps {
    /// No files. Of those below `root` about `most` are mapped at a time.
    pub(super) fn new(root: &Path, most: usize) -> Self {
        Self {
            root: root.to_owned(),
            open: Vec::new(),
            known: BTreeSet::new(),
            residents: Residents::new(most),
            peek: RefCell::default(),
            writer: None,
        }
    }

    /// From now on about `most` files are mapped at a time.
    pub(super) fn set_most(&mut self, most: usize) {
        self.residents.set_most(most);
    }

    /// Takes a file in. Gives it back if it is open already, under this name or another.
    pub(super) fn know(&mut self, handle: Handle) -> Result<FileId, Handle> {
        if !self.known.insert(handle.found().identity) {
            return Err(handle);
        }
        let file = FileId(u32::try_from(self.open.len()).expect("files are opened too often"));
        let (found, mapping) = match handle {
            Handle::Named(found) => (found, OnceCell::new()),
            Handle::Mapped(mapping) => {
                self.make_room();
                self.residents.add(file);
                (Arc::clone(&mapping.found), OnceCell::from(mapping))
            }
        };
        let known = Known {
            found,
            mapping,
            leased: Cell::new(0),
            is_used: Cell::new(true),
            unsynced: None,
            failed: None,
        };
        self.open.push(Some(Box::new(known)));
        Ok(file)
    }

    /// Forgets a file: from now on only leases know it, and who gets it here.
    pub(super) fn remove(&mut self, file: FileId) -> Handle {
        let known = self.open.get_mut(file.0 as usize).and_then(Option::take);
        let known = known.expect("the file is open");
        self.known.remove(&known.found.identity);
        self.residents.remove(file);
        self.peek.get_mut().forget(file);
        self.writer.take_if(|(of, _)| *of == file);
        match known.mapping.into_inner() {
            Some(mapping) => Handle::Mapped(mapping),
            None => Handle::Named(known.found),
        }
    }

    /// The file for a thread of the disk, mapped or not.
    pub(super) fn handle(&self, file: FileId) -> Handle {
        let known = self.get(file);
        let named = || Handle::Named(Arc::clone(&known.found));
        known.mapping.get().map_or_else(named, |mapping| Handle::Mapped(Arc::clone(mapping)))
    }

    /// The file for a thread of the disk, mapped.
    pub(super) fn share(&self, file: FileId) -> Arc<Mapping> {
        Arc::clone(self.mapping(file))
    }

    /// The file for a thread of the disk that syncs a part of it, and what that has to tell
    /// besides its own outcome.
    pub(super) fn hand_to_sync(
        &mut self,
        file: FileId,
        from: u64,
        to: u64,
    ) -> (Handle, Option<io::Error>) {
        let handle = self.handle(file);
        let known = self.get_mut(file);
        known.found.range(from, to);
        if known.unsynced.is_some_and(|part| from <= part.0 && part.1 <= to) {
            known.unsynced = None;
        }
        (handle, known.failed.take())
    }

    /// The file for a thread of the disk that writes a part of it while the owner waits. Panics if
    /// any of it is leased.
    pub(super) fn hand_to_zero(&mut self, file: FileId, from: u64, to: u64) -> Handle {
        let known = self.get(file);
        known.found.range(from, to);
        known.assert_unleased(from);
        self.peek.get_mut().forget(file);
        self.handle(file)
    }

    fn get(&self, file: FileId) -> &Known {
        self.open.get(file.0 as usize).and_then(Option::as_deref).expect("the file is open")
    }

    fn get_mut(&mut self, file: FileId) -> &mut Known {
        self.open.get_mut(file.0 as usize).and_then(Option::as_deref_mut).expect("the file is open")
    }

    /// Maps the file, if it is not mapped.
    fn mapping(&self, file: FileId) -> &Arc<Mapping> {
        let known = self.get(file);
        known.is_used.set(true);
        known.mapping.get_or_init(|| {
            let path = &known.found.path;
            let opened = files::open(&self.root.join(path));
            let mapped = opened.and_then(|file| Mapping::new(&file, Arc::clone(&known.found)));
            let mapping = mapped.unwrap_or_else(|why| panic!("{path} cannot be mapped: {why}"));
            self.residents.add(file);
            Arc::new(mapping)
        })
    }

    pub(super) fn bytes(&self, file: FileId, at: u64, len: usize) -> &[u8] {
        let mapping = self.mapping(file);
        let start = mapping.found.checked(at, len);
        // SAFETY: inside the mapping (checked), which lives at least as long as `self` does
        // unchanged. Nobody writes there meanwhile: `slot` needs `self` mutably, and so does who
        // has the kernel write.
        unsafe { std::slice::from_raw_parts(mapping.pages.read(start, len), len) }
    }

    /// The file was just opened, to be looked into: whoever does so need not open it again.
    pub(super) fn peek_at(&mut self, file: FileId, opened: File) {
        self.peek.get_mut().set(file, opened);
    }

    /// From now on the store serves.
    pub(super) fn end_peek(&mut self) {
        self.peek.get_mut().end();
    }

    /// Copies bytes. A file that was just opened, or for which there is no room, is read and not
    /// mapped.
    pub(super) fn copy(&self, file: FileId, at: u64, into: &mut [u8]) {
        let known = self.get(file);
        let mut peek = self.peek.borrow_mut();
        let is_read = peek.is_at(file) || self.residents.is_full();
        if known.mapping.get().is_some() || !is_read {
            into.copy_from_slice(self.bytes(file, at, into.len()));
            return;
        }
        known.found.checked(at, into.len());
        let path = &known.found.path;
        let read = peek.copy(file, || files::open(&self.root.join(path)), at, into);
        read.unwrap_or_else(|why| panic!("{path} cannot be read: {why}"));
    }

    /// Are the bytes all zero? Of many the file system is asked first.
    pub(super) fn is_zero(&self, file: FileId, from: u64, to: u64) -> bool {
        let (path, (_, len)) = (&self.get(file).found.path, self.get(file).found.range(from, to));
        if len <= SMALL {
            let mut bytes = [0; SMALL];
            self.copy(file, from, &mut bytes[..len]);
            return bytes == [0; SMALL];
        }
        let told = files::open(&self.root.join(path)).and_then(|f| files::is_zero(&f, from, to));
        told.unwrap_or_else(|why| panic!("{path} cannot be read: {why}"))
    }

    pub(super) fn slot(&mut self, file: FileId, at: u64, len: usize) -> &mut [u8] {
        self.will_write(file, at, len);
        let mapping = self.mapping(file);
        let start = mapping.found.checked(at, len);
        // SAFETY: inside the mapping (checked), which outlives this borrow of `self`. No other
        // reference to these bytes exists: those of `bytes` and `slot` ended when `self` was
        // borrowed mutably, leases end below the mark (asserted; it moves only through `hold`,
        // which needs `self` too), no other file of `self` is this one under another name, and an
        // earlier mapping of it ended before this one began.
        unsafe { std::slice::from_raw_parts_mut(mapping.pages.write(start, len), len) }
    }

    /// Bytes `at..at + len` are about to be written. Panics if any of them is leased.
    fn will_write(&mut self, file: FileId, at: u64, len: usize) {
        if self.get(file).mapping.get().is_none() {
            self.make_room();
            self.peek.get_mut().forget(file);
        }
        let known = self.get_mut(file);
        known.found.checked(at, len);
        known.assert_unleased(at);
        let end = at + len as u64;
        let part = known.unsynced.get_or_insert((at, end));
        *part = (part.0.min(at), part.1.max(end));
    }

    /// Puts bytes into a file by the system's own call. A page that was not written before costs a
    /// store to the mapping a fault, and again after each sync, which protects it, and tells every
    /// processor so; here it costs nothing but the copy.
    pub(super) fn write(&mut self, file: FileId, at: u64, bytes: &[u8]) {
        self.will_write(file, at, bytes.len());
        let mapping = Arc::clone(self.mapping(file));
        let start = mapping.found.checked(at, bytes.len());
        // The kernel writes these bytes: nobody holds a reference to them, for the same reasons as
        // in `slot`.
        let put = self.writer(file).and_then(|writer| mapping.pages.put(writer, start, bytes));
        if let Err(why) = put {
            // What the system refuses here it tells the next sync; a store to the mapping does not
            // ask it.
            tracing::debug!(%why, path = mapping.found.path, "written through the mapping");
            self.writer = None;
            self.slot(file, at, bytes.len()).copy_from_slice(bytes);
        }
    }

    /// The file, open for [`write`](Self::write).
    fn writer(&mut self, file: FileId) -> io::Result<&File> {
        if self.writer.as_ref().is_none_or(|(of, _)| *of != file) {
            let found = &self.get(file).found;
            let opened = files::open(&self.root.join(&found.path))?;
            let now = Found::new(&opened, found.path.clone(), found.usage)?;
            if now.identity != found.identity {
                return Err(io::Error::other("another file has its name by now"));
            }
            self.writer = Some((file, opened));
        }
        Ok(self.writer.as_ref().map(|(_, writer)| writer).expect("it was just opened"))
    }

    /// Bytes that keep their file mapped.
    pub(super) fn lease(&self, file: FileId, at: u64, len: usize) -> Bytes {
        Bytes::from_owner(self.hold(file, at, len))
    }

    fn hold(&self, file: FileId, at: u64, len: usize) -> Lease {
        let mapping = self.share(file);
        let start = mapping.found.checked(at, len);
        let leased = &self.get(file).leased;
        leased.set(leased.get().max(at + len as u64));
        Lease { mapping, start, len }
    }
}

/// A file as a thread of the disk gets it.
pub(super) enum Handle {
    /// It stays mapped for as long as this lives.
    Mapped(Arc<Mapping>),
    /// Nobody needs it mapped.
    Named(Arc<Found>),
}

impl Handle {
    pub(super) fn found(&self) -> &Found {
        match self {
            Self::Mapped(mapping) => &mapping.found,
            Self::Named(found) => found,
        }
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
