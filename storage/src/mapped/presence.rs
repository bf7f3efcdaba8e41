//! Pages present before the writer gets there, and kept in memory while it is there.
//!
//! All of it is advice. A kernel that does not take it, or a limit that forbids it, is worth one
//! line in the log and nothing else.

use std::io::ErrorKind;

use super::mapping::Mapping;
use crate::seam::Advice;

/// Bytes made present in one system call. It holds a lock that the writer needs for anything that
/// changes its address space, so it must be short: well below a millisecond.
const CHUNK: u64 = 1 << 20;

/// What the kernel was found not to do.
#[derive(Default)]
pub(super) struct Presence {
    cannot_populate: bool,
    cannot_lock: bool,
}

impl Presence {
    pub(super) fn follow(&mut self, mapping: &Mapping, advice: Advice) {
        match advice {
            Advice::Leave => {
                if let Err(why) = mapping.unlock_pages() {
                    tracing::debug!(%why, path = mapping.path(), "pages were not unlocked");
                }
            }
            Advice::Prepare { from, to } => {
                self.lock(mapping);
                let mut at = from;
                while at < to {
                    let end = to.min(at + CHUNK);
                    self.populate(mapping, at, end);
                    at = end;
                }
            }
        }
    }

    fn lock(&mut self, mapping: &Mapping) {
        if self.cannot_lock {
            return;
        }
        if let Err(why) = mapping.lock_pages() {
            self.cannot_lock = true;
            tracing::warn!(
                %why,
                path = mapping.path(),
                "pages cannot be locked into memory; the limit is RLIMIT_MEMLOCK (ulimit -l)"
            );
        }
    }

    fn populate(&mut self, mapping: &Mapping, from: u64, to: u64) {
        if self.cannot_populate {
            drop(mapping.read_ahead(from, to));
            return;
        }
        match mapping.populate(from, to) {
            Ok(()) => {}
            // Linux before 5.14: the page cache is filled, and each first store still waits.
            Err(why) if why.kind() == ErrorKind::InvalidInput => {
                self.cannot_populate = true;
                drop(mapping.read_ahead(from, to));
            }
            Err(why) => tracing::debug!(%why, path = mapping.path(), "pages were not made present"),
        }
    }
}
