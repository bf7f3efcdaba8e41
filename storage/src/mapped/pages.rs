//! The pages of a mapped file: where they are, and the system's calls on them. Whoever turns a
//! pointer into a reference is in `mapping`.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use memmap2::{Advice, MmapOptions, MmapRaw};

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

    /// Puts `bytes` at `start` by way of `file`, the mapped one: the system writes its cache, which
    /// is what is mapped. The caller checked the range.
    pub(super) fn put(&self, file: &File, start: usize, bytes: &[u8]) -> io::Result<()> {
        debug_assert!(start + bytes.len() <= self.len(), "inside the mapping");
        file.write_all_at(bytes, start as u64)
    }

    /// Neighbours of a page that is read are not read as well.
    pub(super) fn no_read_ahead(&self) -> io::Result<()> {
        self.0.advise(Advice::Random)
    }
}
