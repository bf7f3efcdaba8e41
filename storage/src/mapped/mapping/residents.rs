//! Which files are mapped, and which of them goes when another one is to be.
//!
//! ```text
//!   looked at next                                            mapped last
//!   | file | file | file | …                                  | file |
//!     used since it was looked at? ─ yes ─► to the end, no longer used
//!     leased, or at a thread?      ─ yes ─► to the end
//!     written and not synced?      ─ yes ─► to the end, or synced here and now if all are
//!     none of these                ───────► unmapped
//! ```

use std::cell::{OnceCell, RefCell};
use std::collections::VecDeque;

use super::{Known, Maps};
use crate::mapped::sync::Arc;
use crate::seam::FileId;

/// Files that are looked at for one that may go at no cost. With more, a broker whose files are
/// all in use would spend its time looking.
const LOOKS: usize = 64;

/// The files that are mapped.
pub(super) struct Residents {
    most: usize,
    ring: RefCell<VecDeque<FileId>>,
}

/// May a file be unmapped that has bytes which nobody synced? They are synced first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unsynced {
    Go,
    Stay,
}

impl Residents {
    pub(super) fn new(most: usize) -> Self {
        Self { most, ring: RefCell::default() }
    }

    pub(super) fn set_most(&mut self, most: usize) {
        self.most = most;
    }

    pub(super) fn add(&self, file: FileId) {
        self.ring.borrow_mut().push_back(file);
    }

    pub(super) fn remove(&mut self, file: FileId) {
        self.ring.get_mut().retain(|other| *other != file);
    }

    pub(super) fn len(&self) -> usize {
        self.ring.borrow().len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.most
    }
}

impl Maps {
    /// Unmaps files until there is room for one more, as far as that can be.
    pub(super) fn make_room(&mut self) {
        while self.residents.is_full() {
            if !self.unmap_one(Unsynced::Stay) && !self.unmap_one(Unsynced::Go) {
                return;
            }
        }
    }

    /// Looks for a file that nobody needs mapped, and unmaps it.
    fn unmap_one(&mut self, unsynced: Unsynced) -> bool {
        // Twice at each, if there are few: the first look only finds that it was used.
        let looks = LOOKS.min(2 * self.residents.len());
        for _ in 0..looks {
            let ring = self.residents.ring.get_mut();
            let file = ring.pop_front().expect("as many as were counted");
            let known = self.open.get_mut(file.0 as usize).and_then(Option::as_deref_mut);
            let known = known.expect("a file that is mapped is open");
            if !known.is_used.replace(false) && known.unmap(unsynced) {
                self.peek.get_mut().forget(file);
                return true;
            }
            self.residents.add(file);
        }
        false
    }
}

impl Known {
    /// Unmaps the file, unless it is in use. Whatever was written and fails to be synced here is
    /// told by the next sync.
    fn unmap(&mut self, unsynced: Unsynced) -> bool {
        if self.unsynced.is_some() && unsynced == Unsynced::Stay {
            return false;
        }
        let Some(mapping) = self.mapping.take() else { return true };
        match Arc::try_unwrap(mapping) {
            Ok(mapping) => {
                if let Some((from, to)) = self.unsynced.take()
                    && let Err(why) = mapping.sync(from, to)
                {
                    self.failed.get_or_insert(why);
                }
                true
            }
            Err(mapping) => {
                self.mapping = OnceCell::from(mapping);
                false
            }
        }
    }
}
