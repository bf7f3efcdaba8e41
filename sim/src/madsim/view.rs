//! What a process sees of its log, for the world to look at while the process runs.
//!
//! A file that is mapped belongs to the process's disk, and that to a driver which shows it to
//! nobody. So what is written to files of the log is written here as well.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hotfire_storage::seam::{FileId, Op};

/// The files of a log that a process has mapped: a handle.
#[derive(Clone, Default)]
pub(super) struct View(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    files: BTreeMap<FileId, (String, Vec<u8>)>,
    changes: u64,
}

impl View {
    /// Is this a file of the log?
    pub(super) fn has(&self, file: FileId) -> bool {
        self.lock().files.contains_key(&file)
    }

    /// A file of the log is mapped.
    pub(super) fn opened(&self, file: FileId, path: String, bytes: Vec<u8>) {
        let mut inner = self.lock();
        inner.files.insert(file, (path, bytes));
        inner.changes += 1;
    }

    /// Bytes of a file of the log are these now.
    pub(super) fn wrote(&self, file: FileId, at: u64, bytes: &[u8]) {
        let mut inner = self.lock();
        inner.changes += 1;
        if let Some((_, known)) = inner.files.get_mut(&file) {
            let from = usize::try_from(at).expect("simulated files are short");
            known[from..from + bytes.len()].copy_from_slice(bytes);
        }
    }

    /// A file that is to go is not mapped any more.
    pub(super) fn asked(&self, op: Op<'_>) {
        if let Op::Delete { file } | Op::Rename { file, .. } = op {
            self.lock().files.remove(&file);
        }
    }

    /// Nothing is mapped.
    pub(super) fn clear(&self) {
        let mut inner = self.lock();
        inner.files.clear();
        inner.changes += 1;
    }

    /// A file of the log, if it is mapped.
    pub(super) fn file(&self, path: &str) -> Option<Vec<u8>> {
        let inner = self.lock();
        let mut files = inner.files.values();
        files.find(|(known, _)| known == path).map(|(_, bytes)| bytes.clone())
    }

    /// Counts what changed.
    pub(super) fn changes(&self) -> u64 {
        self.lock().changes
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
