//! The pages of a mapped file: where they are, and the system's calls on them. Whoever turns a
//! pointer into a reference is in `mapping`.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::mm::MlockFlags;

/// A whole file, mapped for reading and writing, shared with the medium.
pub(super) struct Pages(MmapRaw);

impl Pages {
    /// Maps `file` at its present length.
    pub(super) fn map(file: &File) -> io::Result<Self> {
        MmapOptions::new().map_raw(file).map(Self)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Where `len` bytes at `start` begin, for reading. The caller checked the range.
    pub(super) fn read(&self, start: usize, len: usize) -> *const u8 {
        debug_assert!(start + len <= self.len(), "inside the mapping");
        self.0.as_ptr().wrapping_add(start)
    }

    /// Where `len` bytes at `start` begin, for writing. The caller checked the range.
    pub(super) fn write(&self, start: usize, len: usize) -> *mut u8 {
        debug_assert!(start + len <= self.len(), "inside the mapping");
        self.0.as_mut_ptr().wrapping_add(start)
    }

    /// Writes the pages to the medium and waits for it.
    pub(super) fn flush(&self, start: usize, len: usize) -> io::Result<()> {
        self.0.flush_range(start, len)
    }

    /// Makes the pages present and writable. They keep their content.
    pub(super) fn populate(&self, start: usize, len: usize) -> io::Result<()> {
        self.0.advise_range(Advice::PopulateWrite, start, len)
    }

    /// For a system that cannot [`populate`](Self::populate): has the pages read, at least.
    pub(super) fn read_ahead(&self, start: usize, len: usize) -> io::Result<()> {
        self.0.advise_range(Advice::WillNeed, start, len)
    }

    /// Neighbours of a page that is read are not read as well.
    pub(super) fn no_read_ahead(&self) -> io::Result<()> {
        self.0.advise(Advice::Random)
    }

    /// Every page that is touched from now on stays in memory.
    pub(super) fn lock(&self) -> io::Result<()> {
        // SAFETY: the range is the mapping, which `self` owns; locking pages changes no byte.
        let locked = unsafe {
            rustix::mm::mlock_with(self.0.as_mut_ptr().cast(), self.len(), MlockFlags::ONFAULT)
        };
        locked.map_err(io::Error::from)
    }

    /// Takes [`lock`](Self::lock) back.
    pub(super) fn unlock(&self) -> io::Result<()> {
        self.0.unlock()
    }
}
