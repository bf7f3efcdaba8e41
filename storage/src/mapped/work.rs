//! The disk thread: takes work in order, does it, says how it went.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use super::files;
use super::mapping::Mapping;
use crate::seam::{Fault, Token};

/// An operation with everything it needs.
pub(super) enum Job {
    Allocate { path: String, len: u64 },
    Open { path: String },
    Remove { path: String },
    Replace { path: String, bytes: Vec<u8> },
    Sync { mapping: Arc<Mapping>, from: u64, to: u64 },
    Zero { mapping: Arc<Mapping>, from: u64, to: u64 },
}

/// A job, and whom to tell: a token for what was submitted, none for what is waited for.
pub(super) struct Work {
    pub(super) token: Option<Token>,
    pub(super) job: Job,
}

/// What a job brought: a new mapping, or nothing but success.
pub(super) struct Outcome {
    pub(super) token: Option<Token>,
    pub(super) made: Result<Option<Mapping>, Fault>,
}

/// Runs until the owner is gone.
pub(super) fn run(root: &Path, work: &Receiver<Work>, tell: &Sender<Outcome>, wake: &dyn Fn()) {
    while let Ok(Work { token, job }) = work.recv() {
        let made = job.run(root);
        if tell.send(Outcome { token, made }).is_err() {
            return;
        }
        wake();
    }
}

impl Job {
    fn run(self, root: &Path) -> Result<Option<Mapping>, Fault> {
        match self {
            Self::Allocate { path, len } => files::allocate(root, &path, len).map(Some),
            Self::Open { path } => files::open(root, &path).map(Some),
            Self::Remove { path } => files::remove(root, &path).map(|()| None),
            Self::Replace { path, bytes } => files::replace(root, &path, &bytes).map(|()| None),
            Self::Sync { mapping, from, to } => files::sync(&mapping, from, to).map(|()| None),
            Self::Zero { mapping, from, to } => {
                files::zero(root, &mapping, from, to).map(|()| None)
            }
        }
    }
}
