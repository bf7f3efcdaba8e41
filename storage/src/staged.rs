//! Records that are written, and not in their file yet.
//!
//! ```text
//!  committed          written
//!  ──────|== staged ======|            bytes of a buffer of the process
//!   in files, mapped
//! ```
//!
//! They wait for the end of their turn, to go there in one write; or, in the transient store pool
//! (store.md 1), for as long as the flush machine says, and then a kill loses them. What is staged
//! lies in one file always: a log commits before it goes on to the next. The beginning of a record
//! whose rest is still to come from a master is staged as well, and stays so.
//!
//! What the last turn staged is kept until the next turn's is committed: slaves, and consumers who
//! wait, are given it from here at once, and the system need not map its pages for them.

use bytes::{Buf, Bytes, BytesMut};

/// So many bytes of a turn are staged at once: what is copied twice is still in the processor's
/// cache then.
const TURN_MOST: usize = 256 * 1024;

/// The buffer.
#[derive(Debug)]
pub(crate) struct Staged {
    /// Where it begins in the log: below, everything is in files.
    base: u64,
    bytes: BytesMut,
    /// The last turn's, which are in their file.
    last: Last,
    /// So many bytes may wait; one record may always.
    most: usize,
    is_pool: bool,
}

/// What a turn staged, and where it lies in the log.
#[derive(Debug, Default)]
struct Last {
    base: u64,
    bytes: Bytes,
}

impl Staged {
    /// For records that wait for the end of their turn.
    pub(crate) fn new(base: u64) -> Self {
        let (bytes, last) = (BytesMut::new(), Last::default());
        Self { base, bytes, last, most: TURN_MOST, is_pool: false }
    }

    /// From now on they wait until they are committed, `most` bytes of them.
    pub(crate) fn pool(&mut self, most: usize) {
        (self.most, self.is_pool) = (most, true);
    }

    pub(crate) fn is_pool(&self) -> bool {
        self.is_pool
    }

    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// Is there room for `len` more bytes?
    pub(crate) fn takes(&self, len: usize) -> bool {
        self.bytes.is_empty() || self.bytes.len() + len <= self.most
    }

    /// The next `len` bytes, to be written.
    pub(crate) fn slot(&mut self, len: usize) -> &mut [u8] {
        let from = self.bytes.len();
        self.bytes.resize(from + len, 0);
        &mut self.bytes[from..]
    }

    /// Stages bytes that are there already.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What is staged from `at` on; `None` if that is in a file, or not written.
    pub(crate) fn from(&self, at: u64) -> Option<&[u8]> {
        let from = usize::try_from(at.checked_sub(self.base)?).ok()?;
        self.bytes.get(from..).filter(|rest| !rest.is_empty())
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// These bytes of the log, if they are the last turn's.
    pub(crate) fn recent(&self, at: u64, len: usize) -> Option<Bytes> {
        let from = usize::try_from(at.checked_sub(self.last.base)?).ok()?;
        let to = from.checked_add(len).filter(|to| *to <= self.last.bytes.len())?;
        Some(self.last.bytes.slice(from..to))
    }

    /// All below `base` is in files. The buffers are used again, but not one that a large message
    /// has made larger.
    pub(crate) fn committed(&mut self, base: u64) {
        let len = usize::try_from(base - self.base).expect("no more than is staged");
        if self.is_pool || self.bytes.len() > TURN_MOST {
            self.last = Last::default();
            // A buffer that is empty begins at its beginning again.
            if len == self.bytes.len() {
                self.bytes.clear();
            } else {
                self.bytes.advance(len);
            }
            if self.bytes.is_empty() && self.bytes.capacity() > self.most {
                self.bytes = BytesMut::new();
            }
        } else if len > 0 {
            let bytes = std::mem::take(&mut self.bytes).freeze();
            let (bytes, rest) = (bytes.slice(..len), bytes.slice(len..));
            let before = std::mem::replace(&mut self.last, Last { base: self.base, bytes });
            // Whoever still has some of it keeps it.
            self.bytes = before.bytes.try_into_mut().unwrap_or_default();
            self.bytes.clear();
            self.bytes.extend_from_slice(&rest);
        }
        self.base = base;
    }

    /// Only the first `len` bytes are wanted.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// The log goes on at `base`, whatever was known of it.
    pub(crate) fn restarted(&mut self, base: u64) {
        (self.base, self.last) = (base, Last::default());
        self.bytes.clear();
    }

    pub(crate) fn verify(&self, end: u64) {
        assert_eq!(self.base + self.bytes.len() as u64, end, "what is not in files is staged");
        let last = self.last.base + self.last.bytes.len() as u64;
        assert!(last <= self.base, "what is kept of the last turn is in files");
    }
}
