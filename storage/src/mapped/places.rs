//! Directories kept open while a start walks through them: what lies in one is then found by its
//! last name alone, and not by way of every directory above it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

/// A directory that is open, and its path relative to the root.
#[derive(Clone, Debug)]
pub(super) struct Place(Arc<(String, OwnedFd)>);

impl Place {
    pub(super) fn path(&self) -> &str {
        &self.0.0
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.0.1
    }

    /// Does `path` lie below?
    fn is_above(&self, path: &str) -> bool {
        path.strip_prefix(self.path()).is_some_and(|rest| rest.starts_with('/'))
    }
}

/// The directories on the way to the one that was entered last.
#[derive(Debug)]
pub(super) struct Places {
    root: PathBuf,
    /// Each one below the one before.
    entered: Vec<Place>,
}

impl Places {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), entered: Vec::new() }
    }

    /// Opens what lies at `path`.
    pub(super) fn open(&mut self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        self.leave_for(path);
        let (flags, mode) = (flags | OFlags::CLOEXEC, Mode::empty());
        let opened = match self.entered.last() {
            Some(dir) => rustix::fs::openat(dir.fd(), &path[dir.path().len() + 1..], flags, mode),
            None => rustix::fs::open(self.root.join(path), flags, mode),
        };
        Ok(opened?)
    }

    /// Opens a directory, and keeps it until something is asked for that lies elsewhere.
    pub(super) fn enter(&mut self, dir: &str) -> io::Result<&OwnedFd> {
        let opened = self.open(dir, OFlags::RDONLY | OFlags::DIRECTORY)?;
        self.entered.push(Place(Arc::new((dir.to_owned(), opened))));
        Ok(self.entered.last().expect("it was just pushed").fd())
    }

    /// Keeps a directory that somebody else opened.
    pub(super) fn adopt(&mut self, place: Place) {
        self.leave_for(place.path());
        self.entered.push(place);
    }

    /// The directory that was entered last.
    pub(super) fn share(&self) -> Option<Place> {
        self.entered.last().cloned()
    }

    /// Leaves the directories that are not above `path`.
    fn leave_for(&mut self, path: &str) {
        while self.entered.pop_if(|dir| !dir.is_above(path)).is_some() {}
    }

    /// Nobody walks any more.
    pub(super) fn leave(&mut self) {
        self.entered.clear();
    }
}
