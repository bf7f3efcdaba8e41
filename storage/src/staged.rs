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
//! lies in one file always: a log commits before it goes on to the next.

/// So many bytes of a turn are staged at once: what is copied twice is still in the processor's
/// cache then.
const TURN_MOST: usize = 256 * 1024;

/// The buffer.
#[derive(Debug)]
pub(crate) struct Staged {
    /// Where it begins in the log: below, everything is in files.
    base: u64,
    bytes: Vec<u8>,
    /// So many bytes may wait; one record may always.
    most: usize,
    is_pool: bool,
}

impl Staged {
    /// For records that wait for the end of their turn.
    pub(crate) fn new(base: u64) -> Self {
        Self { base, bytes: Vec::new(), most: TURN_MOST, is_pool: false }
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

    /// What is staged from `at` on; `None` if that is in a file, or not written.
    pub(crate) fn from(&self, at: u64) -> Option<&[u8]> {
        let from = usize::try_from(at.checked_sub(self.base)?).ok()?;
        self.bytes.get(from..).filter(|rest| !rest.is_empty())
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All of it is in files up to `base`. The buffer is used again, but not one that a large
    /// message has made larger.
    pub(crate) fn committed(&mut self, base: u64) {
        self.bytes.clear();
        self.bytes.shrink_to(self.most);
        self.base = base;
    }

    pub(crate) fn verify(&self, written: u64) {
        assert_eq!(self.base + self.bytes.len() as u64, written, "what is not in files is staged");
    }
}
