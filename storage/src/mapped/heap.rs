//! Stands in for `pages` where a checker runs that knows nothing of mapped files: the same calls
//! over bytes on the heap, so that the pointers of `mapping` are checked as they are.
//!
//! Miri (`cfg(miri)`) watches every access by itself, and so does an address sanitizer
//! (`--cfg heap_pages`). loom (`cfg(loom)`) knows of an access only if it is told: here, of each
//! byte that a pointer is asked for, and of the end of the mapping. An access that is not ordered
//! after every conflicting one, or before the end, fails the model.

#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};

/// A copy of a file on the heap, which the file gets back in the end.
pub(super) struct Pages {
    bytes: *mut [u8],
    file: Option<File>,
    #[cfg(loom)]
    told: told::Told,
}

// SAFETY: the bytes are reached through pointers only, and whoever makes references of those
// argues for them, as with mapped pages.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Pages {
    pub(super) fn map(mut file: &File) -> io::Result<Self> {
        let mut bytes = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut bytes)?;
        let file = file.try_clone()?;
        let mut pages = Self::of(bytes);
        pages.file = Some(file);
        Ok(pages)
    }

    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self {
            #[cfg(loom)]
            told: told::Told::new(bytes.len()),
            bytes: Box::into_raw(bytes.into_boxed_slice()),
            file: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn read(&self, start: usize, len: usize) -> *const u8 {
        assert!(start + len <= self.len(), "inside the mapping");
        #[cfg(loom)]
        self.told.read(start, len);
        self.bytes.cast::<u8>().wrapping_add(start)
    }

    pub(super) fn write(&self, start: usize, len: usize) -> *mut u8 {
        assert!(start + len <= self.len(), "inside the mapping");
        #[cfg(loom)]
        self.told.write(start, len);
        self.bytes.cast::<u8>().wrapping_add(start)
    }

    /// The kernel reads the bytes; the writer may be writing them, as the medium may get either.
    #[allow(clippy::unused_self, clippy::unnecessary_wraps)]
    pub(super) fn flush(&self, _start: usize, _len: usize) -> io::Result<()> {
        #[cfg(loom)]
        self.told.is_mapped();
        Ok(())
    }

    /// The system's write, on the heap.
    #[allow(clippy::unnecessary_wraps)]
    pub(super) fn put(&self, _file: &File, start: usize, bytes: &[u8]) -> io::Result<()> {
        let pointer = self.write(start, bytes.len());
        // SAFETY: inside the mapping (asserted); whoever has the system write argues that nobody
        // else reaches the bytes, as for `write`.
        unsafe { pointer.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }

    pub(super) fn no_read_ahead(&self) -> io::Result<()> {
        self.flush(0, 0)
    }

    /// Tells loom of the end of the mapping.
    #[cfg(loom)]
    pub(super) fn end(&self) {
        self.told.end();
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        #[cfg(loom)]
        self.end();
        // SAFETY: made by `Box::into_raw`, and freed here only.
        let bytes = unsafe { Box::from_raw(self.bytes) };
        if let Some(file) = &mut self.file {
            file.rewind().and_then(|()| file.write_all(&bytes)).expect("a file of a test");
        }
    }
}

#[cfg(loom)]
mod told {
    use loom::cell::UnsafeCell;

    /// What loom is told: a cell a byte, and one for the mapping as a whole.
    pub(super) struct Told {
        bytes: Vec<UnsafeCell<()>>,
        mapping: UnsafeCell<()>,
    }

    impl Told {
        pub(super) fn new(len: usize) -> Self {
            let bytes = (0..len).map(|_| UnsafeCell::new(())).collect();
            Self { bytes, mapping: UnsafeCell::new(()) }
        }

        pub(super) fn is_mapped(&self) {
            self.mapping.with(|_| ());
        }

        pub(super) fn read(&self, start: usize, len: usize) {
            self.is_mapped();
            self.bytes[start..start + len].iter().for_each(|byte| byte.with(|_| ()));
        }

        pub(super) fn write(&self, start: usize, len: usize) {
            self.is_mapped();
            self.bytes[start..start + len].iter().for_each(|byte| byte.with_mut(|_| ()));
        }

        pub(super) fn end(&self) {
            self.mapping.with_mut(|_| ());
        }
    }
}
