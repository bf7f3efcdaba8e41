//! The simulated medium: a page cache over a disk, as Linux has them, and a power switch.
//!
//! ```text
//!  process       SimDisk: mapped files, written through `slot`    lives as long as the process
//!  ------------------------------------------------------------------------------------------
//!  kernel        page cache of unmapped files, dirty marks        Medium: shared with the
//!                names as seen           journal of names         world, outlives processes
//!  ------------------------------------------------------------------------------------------
//!  power switch  pages on the medium     names on the medium      outlives the power
//! ```
//!
//! **Two images.** What a process sees and what a power failure leaves are two images of a file.
//! Pages of 4 KiB travel from the first to the second by a sync, or because the kernel felt like
//! it, in any order and in the middle of a record. The second image is sparse: a page that was
//! never written is on no list and costs nothing.
//!
//! **Who owns the page cache.** [`Memory::bytes`] lends a plain slice, so while a process has a
//! file mapped its pages belong to the process's [`SimDisk`]. Yet they must outlive it. They do so
//! by being *handed back when the disk is dropped*, and by three rules around that moment:
//!
//! 1. A process is dead from [`Medium::kill`] or [`Medium::power_fail`] on. Destructors that run
//!    later (madsim drops a dead node's futures late) write into a scratch buffer: the pages stay
//!    what they were. Nothing is written from beyond the grave.
//! 2. The crash image is made when the dead disk is dropped, from the pages handed back.
//! 3. [`Medium::mount`] refuses while the disk before has not been dropped. A file handle carries
//!    the number of its mount, so that one from a former life is not taken for a present one.
//!
//! **Why writeback happens inside `slot`.** Memory changes in `slot` (and in [`Op::Zero`]), and a
//! medium is looked at after a crash and never before. So a page that the kernel writes at any
//! time between two calls of `slot` might as well be written at the second call, before the bytes
//! change. This makes writeback strike *within* a turn of a machine, between the body of a record
//! and its header. For the same reason there is no search for undeclared writes: a byte that was
//! not declared by `slot` cannot have changed, the compiler says so; [`SimDisk::verify`] checks
//! our own bookkeeping.
//!
//! **A sync takes its copy when it starts or when it ends**, drawn each time. Whoever counts what
//! was written while the sync ran as flushed is caught by the first, whoever relies on it not
//! being flushed by the second.
//!
//! **Reads fail where they can say so**: at a start, when directories are listed and files are read
//! or opened. A mapped page that cannot be read is a fatal signal and no answer; to the store it is
//! a death at some instruction, which a kill already is, and a start that dies again and again.
//!
//! **Rot strikes while the power is off**, since only then is everything read from the medium anew.
//!
//! **Not modelled:** misdirected writes; permissions; a file system that reorders its journal.

mod faults;
mod files;
mod medium;
mod names;
mod ops;
mod page;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use hotfire_core::machine::Digest;
use hotfire_storage::seam::{Disk, DiskUse, Done, Entry, Fault, FileId, Memory, Op, Token};

pub use faults::Faults;
pub use medium::Medium;
use medium::{Death, Flight, Inner, NEVER};
use names::Inode;
use ops::{Request, What};
use page::Cache;
pub use snapshot::{Moment, Snapshot};

use crate::choose::Choose;

/// Bits of a [`FileId`] that number the files opened in one mount; the others number the mount.
const INDEX_BITS: u32 = 20;

/// At most so many pages are written back at a time.
const WRITEBACK_PAGES: usize = 8;

/// The disk of one process. See the module for who owns what.
pub struct SimDisk {
    medium: Medium,
    mount: u32,
    files: Vec<Mapping>,
    /// Where a dead process writes.
    scratch: Vec<u8>,
    /// Writes until the kernel writes back on its own.
    quiet: u64,
}

struct Mapping {
    path: String,
    inode: Inode,
    /// `None` from the moment that its deletion is asked for.
    cache: Option<Cache>,
    /// Bytes below were leased, so they stay as they are. A cell because a lease is a way to read.
    leased: AtomicU64,
}

impl Mapping {
    /// May bytes from `at` on be written?
    fn is_free(&self, at: u64) -> bool {
        at >= self.leased.load(Ordering::Relaxed)
    }
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} up to {}", self.path, self.leased.load(Ordering::Relaxed))
    }
}

impl SimDisk {
    fn new(medium: Medium, mount: u32, quiet: u64) -> Self {
        Self { medium, mount, files: Vec::new(), scratch: Vec::new(), quiet }
    }

    /// The medium under it.
    pub fn medium(&self) -> &Medium {
        &self.medium
    }

    /// What this process sees: every path and its bytes.
    pub fn seen(&self) -> BTreeMap<String, Vec<u8>> {
        self.seen_where(|_| true)
    }

    /// The same, of some paths.
    pub fn seen_where(&self, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, Vec<u8>> {
        let mut seen = self.medium.lock().files.seen(&wanted);
        for Mapping { path, cache, .. } in &self.files {
            if let Some(cache) = cache.as_ref().filter(|_| wanted(path)) {
                seen.insert(path.clone(), cache.bytes.clone());
            }
        }
        seen
    }

    /// Folds in both images.
    pub fn digest(&self, into: &mut Digest) {
        self.medium.lock().files.digest(into);
        let caches = self.files.iter().filter_map(|mapping| mapping.cache.as_ref());
        caches.for_each(|cache| files::digest(cache, into));
    }

    /// Checks that memory and medium differ only where they are known to.
    pub fn verify(&self) {
        let inner = self.medium.lock();
        inner.files.verify();
        for Mapping { inode, cache, .. } in &self.files {
            if let Some(cache) = cache {
                inner.files.verify_mapped(*inode, cache);
            }
        }
    }

    fn handle(&self, index: usize) -> FileId {
        let index = u32::try_from(index).expect("a process opens few files");
        assert!(index < 1 << INDEX_BITS, "a process opens few files");
        FileId((self.mount << INDEX_BITS) | index)
    }

    fn index(&self, file: FileId) -> usize {
        let ours = file.0 >> INDEX_BITS == (self.mount << INDEX_BITS) >> INDEX_BITS;
        assert!(ours, "{file:?} was opened by a process that is dead");
        (file.0 & ((1 << INDEX_BITS) - 1)) as usize
    }

    /// The cache of an open file, `at..at + len` checked to lie within it.
    fn reach(&self, file: FileId, at: u64, len: usize) -> (&Mapping, std::ops::Range<usize>) {
        let mapping = &self.files[self.index(file)];
        let path = &mapping.path;
        let cache = mapping.cache.as_ref().unwrap_or_else(|| panic!("{path} is deleted"));
        let end = page::size(at).saturating_add(len);
        let has = cache.bytes.len();
        assert!(end <= has, "bytes {at}..{end} of {path} are touched, which has {has}");
        (mapping, page::size(at)..end)
    }

    /// Takes an operation on, as far as that happens when it is asked for: ranges are checked, and
    /// a file to be deleted is unmapped.
    fn request(&mut self, op: Op<'_>) -> Request {
        let file = match op {
            Op::Delete { file }
            | Op::Rename { file, .. }
            | Op::Sync { file, .. }
            | Op::Zero { file, .. } => Some(file),
            Op::Allocate { .. }
            | Op::Measure { .. }
            | Op::Open { .. }
            | Op::Remove { .. }
            | Op::Replace { .. } => None,
        };
        if let Op::Sync { file, from, to } | Op::Zero { file, from, to } = op {
            assert!(from <= to, "{from}..{to} is not a range");
            let (mapping, _) = self.reach(file, from, page::size(to - from));
            assert!(matches!(op, Op::Sync { .. }) || mapping.is_free(from), "{mapping} is leased");
        }
        let mapped = file.map(|file| {
            let (mapping, _) = self.reach(file, 0, 0);
            (mapping.path.as_str(), mapping.inode)
        });
        let mut inner = self.medium.lock();
        let request = Request::new(op, mapped, &mut inner.luck);
        if let Op::Delete { file } | Op::Rename { file, .. } = op {
            let index = self.index(file);
            let node = inner.files.node(self.files[index].inode);
            (node.cache, node.mapped) = (self.files[index].cache.take(), false);
        }
        drop(inner);
        request
    }

    /// Runs `work` with the pages of the request's file handed back to the medium, and takes them
    /// again; maps what the request opens. The pages of a file whose deletion was asked for while a
    /// sync of it was under way are the medium's already, and stay there.
    fn run(
        &mut self,
        request: &Request,
        work: impl FnOnce(&mut Inner, &Request) -> Result<(), Fault>,
    ) -> Result<Done, Fault> {
        let medium = self.medium.clone();
        let mut inner = medium.lock();
        let index = request.file().map(|file| self.index(file));
        let index = index.filter(|index| self.files[*index].cache.is_some());
        if let Some(index) = index {
            let Mapping { inode, cache, .. } = &mut self.files[index];
            inner.files.node(*inode).cache = cache.take();
        }
        let outcome = work(&mut inner, request);
        if let Some(index) = index {
            let Mapping { inode, cache, .. } = &mut self.files[index];
            *cache = inner.files.node(*inode).cache.take();
        }
        outcome?;
        match request.what {
            What::Allocate { .. } | What::Open => Ok(self.map(&request.path, &mut inner)),
            What::Measure => {
                let (used, total) = (inner.files.used(), inner.luck.faults.capacity);
                inner.measures.push(DiskUse { used, total });
                Ok(Done::Measured(DiskUse { used, total }))
            }
            _ => Ok(Done::Finished),
        }
    }

    fn map(&mut self, path: &str, inner: &mut Inner) -> Done {
        let inode = inner.files.find(path).expect("it was just opened");
        inner.files.cached(inode);
        let node = inner.files.node(inode);
        node.mapped = true;
        let cache = node.cache.take();
        let leased = AtomicU64::new(0);
        self.files.push(Mapping { path: path.to_owned(), inode, cache, leased });
        Done::Opened { file: self.handle(self.files.len() - 1), len: inner.files.len(inode) }
    }

    fn complete(&mut self, flight: Flight) -> (Token, Result<Done, Fault>) {
        let Flight { token, request, outcome, .. } = flight;
        let outcome = self.run(&request, |inner, request| {
            outcome.unwrap_or_else(|| ops::run(request, &mut inner.files, &mut inner.luck))
        });
        (token, outcome)
    }

    /// The kernel writes some dirty pages, whichever it likes.
    fn write_back(&mut self, inner: &mut Inner) {
        let dirty = |mapping: &Mapping| mapping.cache.as_ref().map_or(0, |c| c.dirty.len());
        let total: usize = self.files.iter().map(dirty).sum();
        let count = inner.luck.dice.index(total.min(WRITEBACK_PAGES) + 1, "disk.writeback.pages");
        for left in (0..count).map(|done| total - done) {
            let mut nth = inner.luck.dice.index(left, "disk.writeback.page");
            let mut mappings = self.files.iter_mut();
            let mapping = mappings
                .find(|mapping| {
                    let here = dirty(mapping);
                    let found = nth < here;
                    nth -= if found { 0 } else { here };
                    found
                })
                .expect("there are as many as were counted");
            let cache = mapping.cache.take().expect("it has dirty pages");
            let page = *cache.dirty.iter().nth(nth).expect("there are as many as were counted");
            inner.files.node(mapping.inode).cache = Some(cache);
            inner.files.write_back(mapping.inode, page, &mapping.path, &mut inner.luck);
            mapping.cache = inner.files.node(mapping.inode).cache.take();
        }
    }
}

impl Memory for SimDisk {
    fn bytes(&self, file: FileId, at: u64, len: usize) -> &[u8] {
        let (mapping, range) = self.reach(file, at, len);
        &mapping.cache.as_ref().expect("reach has seen it").bytes[range]
    }

    fn slot(&mut self, file: FileId, at: u64, len: usize) -> &mut [u8] {
        let (mapping, range) = self.reach(file, at, len);
        assert!(mapping.is_free(at), "{mapping} is leased, and written at {at}");
        let medium = self.medium.clone();
        let mut inner = medium.lock();
        if inner.death.is_some() {
            let (mapping, _) = self.reach(file, at, len);
            let bytes = &mapping.cache.as_ref().expect("reach has seen it").bytes[range];
            self.scratch = bytes.to_vec();
            return &mut self.scratch;
        }
        self.cut_in(&mut inner, Moment::Write, None);
        if self.quiet == 0 {
            self.write_back(&mut inner);
            self.quiet = inner.luck.quiet();
        } else {
            self.quiet -= 1;
        }
        let index = self.index(file);
        let Mapping { inode, cache, .. } = &mut self.files[index];
        inner.will_write(*inode, &range);
        let cache = cache.as_mut().expect("reach has seen it");
        cache.touch(range.start as u64, range.end as u64);
        &mut cache.bytes[range]
    }

    fn lease(&self, file: FileId, at: u64, len: usize) -> Bytes {
        let (mapping, _) = self.reach(file, at, len);
        mapping.leased.fetch_max(at + len as u64, Ordering::Relaxed);
        Bytes::copy_from_slice(self.bytes(file, at, len))
    }
}

impl Disk for SimDisk {
    fn list(&mut self, dir: &str) -> Result<Vec<Entry>, Fault> {
        let mut inner = self.medium.lock();
        if inner.death.is_some() {
            return Err(Fault::Crashed);
        }
        inner.luck.read("list", dir)?;
        Ok(inner.files.names.list(dir))
    }

    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, Fault> {
        let mut inner = self.medium.lock();
        if inner.death.is_some() {
            return Err(Fault::Crashed);
        }
        inner.luck.read("read", path)?;
        let Some(inode) = inner.files.find(path) else { return Ok(None) };
        let mut mapped = self.files.iter().filter(|mapping| mapping.inode == inode);
        let bytes = match mapped.find_map(|mapping| mapping.cache.as_ref()) {
            Some(cache) => &cache.bytes,
            None => &inner.files.cached(inode).bytes,
        };
        Ok(Some(bytes.clone()))
    }

    fn perform(&mut self, op: Op<'_>) -> Result<Done, Fault> {
        if self.medium.lock().death.is_some() {
            return Err(Fault::Crashed);
        }
        let request = self.request(op);
        // What was submitted before comes before.
        loop {
            let mut inner = self.medium.lock();
            if inner.flights.next_due().is_some() {
                self.cut_in(&mut inner, Moment::Complete, None);
            }
            let Some(flight) = inner.flights.take_due(NEVER) else {
                if inner.flights.is_stuck() {
                    // It waits for ever, until somebody loses patience.
                    inner.die(Death::Kill);
                    return Err(Fault::Crashed);
                }
                break;
            };
            drop(inner);
            let (token, outcome) = self.complete(flight);
            self.medium.lock().flights.land(token, outcome);
        }
        self.cut_in(&mut self.medium.lock(), Moment::Perform, Some(&request));
        self.run(&request, Inner::perform)
    }

    fn submit(&mut self, token: Token, op: Op<'_>) {
        let mut inner = self.medium.lock();
        if inner.death.is_some() {
            return;
        }
        let is_performed = matches!(op, Op::Rename { .. } | Op::Zero { .. });
        assert!(!is_performed, "{op:?} is performed, never submitted");
        self.cut_in(&mut inner, Moment::Submit, None);
        drop(inner);
        let request = self.request(op);
        let mut inner = self.medium.lock();
        let latency = std::time::Duration::from_micros(inner.luck.latency_us(&request.path));
        let before = inner.flights.last_due(&request.path);
        let mut due = inner.now.after(latency).max(before.unwrap_or_default());
        let is_sync = matches!(request.what, What::Sync { .. });
        if is_sync && due < NEVER && inner.luck.is_stuck(&request.path) {
            due = NEVER;
            // A device that hangs does so for everybody: then nothing else ends either.
            if inner.luck.dice.chance(500, "disk.sync.hangs") {
                inner.flights.hang();
            }
        }
        let share = if is_sync && before.is_none() { inner.luck.faults.sync_early } else { 0 };
        let early = inner.luck.dice.chance(share, "disk.sync.early");
        drop(inner);
        let outcome = early.then(|| {
            let done = self.run(&request, |inner, request| {
                ops::run(request, &mut inner.files, &mut inner.luck)
            });
            done.map(|_| ())
        });
        self.medium.lock().flights.push(Flight { token, request, due, outcome });
    }

    fn poll(&mut self) -> Option<(Token, Result<Done, Fault>)> {
        let mut inner = self.medium.lock();
        if inner.death.is_some() {
            return None;
        }
        if let Some(landed) = inner.flights.take_landed() {
            return Some(landed);
        }
        let now = inner.now;
        if inner.flights.next_due().is_some_and(|due| due <= now) {
            self.cut_in(&mut inner, Moment::Complete, None);
        }
        let flight = inner.flights.take_due(now)?;
        drop(inner);
        Some(self.complete(flight))
    }
}

impl Drop for SimDisk {
    /// Hands the pages back; a dead process's crash image is made of them.
    fn drop(&mut self) {
        let mut inner = self.medium.lock();
        // While a failed run unwinds nobody will mount this again, and a second panic would abort.
        if std::thread::panicking() {
            inner.mounted = false;
            return;
        }
        for Mapping { inode, cache, .. } in self.files.drain(..).filter(|m| m.cache.is_some()) {
            let node = inner.files.node(inode);
            (node.cache, node.mapped) = (cache, false);
        }
        inner.mounted = false;
        let death = inner.death.take().unwrap_or(Death::Kill);
        inner.settle(death);
    }
}
