//! The disk's threads: each takes its work in order, does it, says how it went.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::{io, thread};

use super::files;
use super::mapping::Handle;
use super::places::Places;
use super::sync::Arc;
use super::{Usage, Wake};
use crate::seam::{DiskUse, Fault, Token};

/// An operation with everything it needs.
pub(super) enum Job {
    Allocate {
        path: String,
        len: u64,
        usage: Usage,
    },
    Delete {
        file: Handle,
    },
    Measure {
        dir: String,
    },
    Open {
        path: String,
        usage: Usage,
    },
    Remove {
        path: String,
    },
    Rename {
        file: Handle,
        to: String,
    },
    Replace {
        path: String,
        bytes: Vec<u8>,
    },
    /// `failed`: what failed before, and nobody was told.
    Sync {
        file: Handle,
        from: u64,
        to: u64,
        failed: Option<io::Error>,
    },
    Zero {
        file: Handle,
        from: u64,
        to: u64,
    },
}

/// A job, and whom to tell: a token for what was submitted, none for what is waited for.
pub(super) struct Work {
    pub(super) token: Option<Token>,
    pub(super) job: Job,
}

/// What a job brought, and whom to tell.
pub(super) struct Outcome {
    pub(super) token: Option<Token>,
    pub(super) made: Result<Made, Fault>,
}

/// What a job that succeeded made.
pub(super) enum Made {
    File(Handle),
    Measured(DiskUse),
    Nothing,
}

/// One thread for each kind of waiting. Within a kind work is done in order, which is all the
/// order that the seam promises: what follows from what another kind did is submitted when that
/// is done.
pub(super) struct Lanes {
    /// Syncs: senders wait for these.
    prompt: Lane,
    /// Names and whole files: allocation, deletion, small state.
    patient: Lane,
    outcomes: Receiver<Outcome>,
    /// Works whose outcomes were not received.
    running: usize,
}

struct Lane {
    /// `None` only while dropping: the thread ends when it is gone.
    work: Option<Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

impl Lanes {
    /// Starts the threads; they work below `root`, and call `wake` after each outcome.
    pub(super) fn start(root: &Path, wake: &Wake) -> io::Result<Self> {
        let (tell, outcomes) = channel();
        let lane = |name: &str| Lane::start(name, root.to_owned(), tell.clone(), wake);
        let (prompt, patient) = (lane("sync")?, lane("files")?);
        Ok(Self { prompt, patient, outcomes, running: 0 })
    }

    pub(super) fn send(&mut self, token: Option<Token>, job: Job) {
        let lane = match job {
            Job::Sync { .. } | Job::Zero { .. } => &self.prompt,
            Job::Allocate { .. }
            | Job::Delete { .. }
            | Job::Measure { .. }
            | Job::Open { .. }
            | Job::Remove { .. }
            | Job::Rename { .. }
            | Job::Replace { .. } => &self.patient,
        };
        let work = lane.work.as_ref().expect("taken only by drop");
        work.send(Work { token, job }).expect("a disk thread lives as long as the disk");
        self.running += 1;
    }

    /// Is anything under way, or over and not received?
    pub(super) fn is_idle(&self) -> bool {
        self.running == 0
    }

    /// Waits for the next outcome.
    pub(super) fn wait(&mut self) -> Outcome {
        assert!(!self.is_idle(), "an outcome answers work");
        let outcome = self.outcomes.recv().expect("a disk thread lives as long as the disk");
        self.running -= 1;
        outcome
    }

    /// The next outcome, if there is one.
    pub(super) fn poll(&mut self) -> Option<Outcome> {
        let outcome = self.outcomes.try_recv().ok()?;
        self.running -= 1;
        Some(outcome)
    }
}

impl Lane {
    fn start(name: &str, root: PathBuf, tell: Sender<Outcome>, wake: &Wake) -> io::Result<Self> {
        let (work, jobs) = channel();
        let wake = Wake::clone(wake);
        let run = move || run(&root, &jobs, &tell, &*wake);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self { work: Some(work), thread: Some(thread) })
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            // A panic over there was already printed; a second one here would abort.
            drop(thread.join());
        }
    }
}

/// Runs until the owner is gone.
fn run(root: &Path, work: &Receiver<Work>, tell: &Sender<Outcome>, wake: &dyn Fn()) {
    while let Ok(Work { token, job }) = work.recv() {
        let made = job.run(root);
        if tell.send(Outcome { token, made }).is_err() {
            return;
        }
        wake();
    }
}

impl Job {
    fn run(self, root: &Path) -> Result<Made, Fault> {
        let done = match self {
            Self::Allocate { path, len, usage } => {
                let mapping = files::allocate(root, &path, len, usage)?;
                return Ok(Made::File(Handle::Mapped(Arc::new(mapping))));
            }
            // If nobody leases it, it is unmapped here: for a large file that takes a while.
            Self::Delete { file } => files::remove(root, &file.found().path),
            Self::Measure { dir } => return files::measure(root, &dir).map(Made::Measured),
            Self::Open { path, usage } => {
                let (found, _) = files::find(&mut Places::new(root), &path, usage)?;
                return Ok(Made::File(Handle::Named(Arc::new(found))));
            }
            Self::Remove { path } => files::remove(root, &path),
            Self::Rename { file, to } => files::rename(root, &file.found().path, &to),
            Self::Replace { path, bytes } => files::replace(root, &path, &bytes),
            Self::Sync { file, failed: Some(why), .. } => {
                Err(files::fault("sync", &file.found().path, &why))
            }
            Self::Sync { file, from, to, failed: None } => files::sync(root, &file, from, to),
            Self::Zero { file, from, to } => files::zero(root, &file.found().path, from, to),
        };
        done.map(|()| Made::Nothing)
    }
}
