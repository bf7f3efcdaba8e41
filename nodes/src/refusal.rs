//! A store that does not open, in one line that says what to do.

use std::path::Path;

use hotfire_core::broker::OpenError;
use hotfire_storage::mapped::LockError;
use hotfire_storage::seam::Fault;
use hotfire_storage::{LoadError, OpenError as StoreError};

use crate::Failure;

/// The directory could not be taken.
pub fn of_lock(why: &LockError) -> Failure {
    match why {
        LockError::InUse { dir } => Failure::new(format!(
            "the store {} is in use by another process; stop that, or choose another directory",
            dir.display()
        )),
        LockError::Io { dir, why } => Failure::new(format!(
            "cannot write the store {}: {why}; it must be a directory that the user who runs this \
             may write, the file lock in it included",
            dir.display()
        )),
    }
}

/// The broker's files, or its store, could not be opened.
pub fn of_broker(why: &OpenError, root: &Path) -> Failure {
    match why {
        OpenError::Store(why) => of_store(why, root),
        OpenError::State(LoadError::Disk(fault)) => said(root, why, hint_of_fault(fault)),
        OpenError::State(LoadError::Damaged { .. }) => said(root, why, ""),
    }
}

/// The store could not be opened.
pub fn of_store(why: &StoreError, root: &Path) -> Failure {
    let hint = match why {
        StoreError::Disk(fault) => hint_of_fault(fault),
        StoreError::Gap { .. } => {
            "restore it from a replica or a backup; or move the files before it out of the way to \
             give up what they hold"
        }
        StoreError::Length { expected, setting, .. } => {
            return of_length(why, root, *expected, *setting);
        }
        StoreError::Misplaced { .. } => {
            "give the files of the log back their names, or restore it from a replica or a \
             backup; --accept-damaged-log gives up everything from there on"
        }
        StoreError::QueueKind { .. } => {
            "restore the config/topics.json that belongs to this store (attribute queue.type)"
        }
        StoreError::Rot { .. } => {
            "restore it from a replica or a backup, or give up what is behind the damage with \
             --accept-damaged-log"
        }
        StoreError::Newer { .. } | StoreError::Settings(_) => "",
    };
    said(root, why, hint)
}

/// A setting that is not the store's, or a file that was cut.
fn of_length(why: &StoreError, root: &Path, expected: u64, setting: Option<&str>) -> Failure {
    let hint = match (why, setting) {
        (StoreError::Length { len, .. }, Some(setting)) => format!(
            "set {setting} = {len} if the store was made so, or else restore the file from a \
             replica or a backup"
        ),
        _ => format!(
            "its neighbours are as long as they should be, so it was cut or is not of this store: \
             restore it from a replica or a backup, or extend it with zeros (truncate -s \
             {expected}) and let the next start judge what is missing"
        ),
    };
    said(root, why, &hint)
}

fn hint_of_fault(fault: &Fault) -> &'static str {
    match fault {
        Fault::Full { .. } => "free some space on its device",
        Fault::Io { .. } => {
            "it must be what its name says, readable and writable for the user who runs this, on a \
             sound device"
        }
        Fault::Crashed => "",
    }
}

fn said(root: &Path, why: &dyn std::fmt::Display, hint: &str) -> Failure {
    let (root, between) = (root.display(), if hint.is_empty() { "" } else { "; " });
    Failure::new(format!("cannot open the store {root}: {why}{between}{hint}"))
}
