//! Operations, as the steps they are made of. Between any two steps the machine may die.
//!
//! ```text
//! Allocate         create .new, reserve its blocks, sync it, rename it, sync the directory
//! Delete, Remove   unlink, sync the directory
//! Rename           rename, sync the directories
//! Replace          write .new, sync it, name the old one .old, rename .new, rename .old to .bak,
//!                  sync the directory
//! Sync, Zero       one step
//! Measure, Open    none: they change nothing
//! ```
//!
//! These are the calls that the mapped disk makes. While blocks are being reserved the file has
//! any length up to the one asked for: on ext4 each extent is a transaction of its own.

use hotfire_storage::seam::{Fault, FileId, Op};

use super::faults::{EIO, Fate, Luck};
use super::files::Files;
use super::names::Inode;
use super::page::{self, PAGE};
use crate::choose::Choose;
use crate::ledger::Strike;

/// An [`Op`] that owns what it needs, and knows what its handles stand for.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) path: String,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Allocate { len: u64 },
    Delete,
    Measure,
    Open,
    Remove,
    Rename { to: String },
    Replace { bytes: Vec<u8> },
    Sync { file: FileId, inode: Inode, from: u64, to: u64, fate: Fate },
    Zero { file: FileId, inode: Inode, from: u64, to: u64 },
}

impl Request {
    /// `mapped` is the path and content of the file that `op` is about, if it is about one.
    pub(super) fn new(op: Op<'_>, mapped: Option<(&str, Inode)>, luck: &mut Luck) -> Self {
        let of = || mapped.expect("the operation names an open file");
        let (path, what) = match op {
            Op::Allocate { path, len } => (path, What::Allocate { len }),
            Op::Delete { .. } => (of().0, What::Delete),
            Op::Measure { dir } => (dir, What::Measure),
            Op::Open { path } => (path, What::Open),
            Op::Remove { path } => (path, What::Remove),
            Op::Rename { to, .. } => (of().0, What::Rename { to: to.to_owned() }),
            Op::Replace { path, bytes } => (path, What::Replace { bytes: bytes.to_vec() }),
            Op::Sync { file, from, to } => {
                let fate = luck.fate();
                (of().0, What::Sync { file, inode: of().1, from, to, fate })
            }
            Op::Zero { file, from, to } => (of().0, What::Zero { file, inode: of().1, from, to }),
        };
        Self { path: path.to_owned(), what }
    }

    /// The open file whose pages it is about. A file to be deleted is open no more.
    pub(super) const fn file(&self) -> Option<FileId> {
        match self.what {
            What::Sync { file, .. } | What::Zero { file, .. } => Some(file),
            _ => None,
        }
    }

    const fn name(&self) -> &'static str {
        match self.what {
            What::Allocate { .. } => "allocate",
            What::Delete => "delete",
            What::Measure => "measure",
            What::Open => "open",
            What::Remove => "remove",
            What::Rename { .. } => "rename",
            What::Replace { .. } => "replace",
            What::Sync { .. } => "sync",
            What::Zero { .. } => "zero",
        }
    }

    fn failed(&self, why: &str) -> Fault {
        Fault::Io { op: self.name(), path: self.path.clone(), why: why.to_owned() }
    }

    /// How many steps it has.
    const fn steps(&self) -> usize {
        match self.what {
            What::Allocate { .. } => 5,
            What::Delete | What::Remove | What::Rename { .. } => 2,
            What::Measure | What::Open => 0,
            What::Replace { .. } => 6,
            What::Sync { .. } | What::Zero { .. } => 1,
        }
    }
}

/// Does all of it, or fails.
pub(super) fn run(request: &Request, files: &mut Files, luck: &mut Luck) -> Result<(), Fault> {
    permit(request, files)?;
    if let What::Open = request.what {
        luck.read("open", &request.path)?;
    }
    let full = || Fault::Full { path: request.path.clone() };
    if let What::Allocate { .. } | What::Replace { .. } = request.what {
        let more = match &request.what {
            What::Allocate { len } => *len,
            What::Replace { bytes } => bytes.len() as u64,
            _ => unreachable!("matched above"),
        };
        let fits = files.used().saturating_add(more) <= luck.faults.capacity;
        if !fits || luck.dice.chance(luck.faults.full, "disk.full") {
            luck.strike(Strike::DiskFull, &request.path);
            return Err(full());
        }
    }
    let fallible = matches!(
        request.what,
        What::Allocate { .. }
            | What::Delete
            | What::Measure
            | What::Remove
            | What::Rename { .. }
            | What::Replace { .. }
    );
    if fallible && luck.dice.chance(luck.faults.op_fails, "disk.op_fails") {
        luck.strike(Strike::DiskOpFailed, format_args!("{} {}", request.name(), request.path));
        let done = luck.dice.index(request.steps().max(1), "disk.op_fails.at");
        (0..done).for_each(|at| step(request, at, files, luck));
        undo(request, files);
        return Err(request.failed(EIO));
    }
    if let What::Sync { inode, from, to, fate, .. } = request.what {
        let held = files.settle(inode, page::pages(from, to), fate, &request.path, luck);
        return if held { Ok(()) } else { Err(request.failed(EIO)) };
    }
    (0..request.steps()).for_each(|at| step(request, at, files, luck));
    Ok(())
}

/// Does as much of it as was done when the machine died. `false`: not all.
pub(super) fn run_some(request: &Request, files: &mut Files, luck: &mut Luck) -> bool {
    if permit(request, files).is_err() {
        return true;
    }
    let undone = luck.dice.index(request.steps() + 1, "disk.op.undone");
    let done = request.steps() - undone;
    (0..done).for_each(|at| step(request, at, files, luck));
    if let What::Allocate { len } = request.what
        && done == 1
    {
        let pages = luck.dice.below(len.div_ceil(PAGE as u64), "disk.reserve.pages");
        let inode = files.find(&new(&request.path)).expect("the first step made it");
        files.reserve(inode, pages * PAGE as u64);
    }
    if undone > 0 {
        luck.strike(
            Strike::DiskOpCut,
            format_args!("{} {}: {undone} steps undone", request.name(), request.path),
        );
    }
    undone == 0
}

/// Refuses what no file system would do.
fn permit(request: &Request, files: &mut Files) -> Result<(), Fault> {
    let found = files.find(&request.path);
    match &request.what {
        What::Allocate { .. } => {
            let free = found.is_none_or(|inode| files.len(inode) == 0 && !files.node(inode).mapped);
            assert!(
                free,
                "{} is allocated over a file that exists: its owner lost it",
                request.path
            );
            Ok(())
        }
        What::Open => {
            let inode = found.ok_or_else(|| request.failed("No such file or directory"))?;
            assert!(!files.node(inode).mapped, "{} is opened twice", request.path);
            Ok(())
        }
        What::Remove | What::Replace { .. } => {
            let open = found.is_some_and(|inode| files.node(inode).mapped);
            assert!(!open, "{} is open", request.path);
            Ok(())
        }
        What::Rename { to } => {
            assert!(files.find(to).is_none(), "{to} is taken: its owner lost it");
            Ok(())
        }
        What::Delete | What::Measure | What::Sync { .. } | What::Zero { .. } => Ok(()),
    }
}

/// Does one step.
fn step(request: &Request, at: usize, files: &mut Files, luck: &mut Luck) {
    let path = &request.path;
    let made = |files: &Files| files.find(&new(path)).expect("an earlier step made it");
    match (&request.what, at) {
        (What::Allocate { .. }, 0) => {
            files.create(&new(path));
        }
        (What::Allocate { len }, 1) => files.reserve(made(files), *len),
        (What::Allocate { .. }, 2) => {
            files.settle(made(files), 0..0, Fate::Holds, path, luck);
        }
        (What::Allocate { .. } | What::Replace { .. }, 3) => files.rename(&new(path), path),
        (What::Delete | What::Remove, 0) => {
            if files.find(path).is_some() {
                files.unlink(path);
            }
        }
        (What::Rename { to }, 0) => files.rename(path, to),
        (What::Replace { bytes }, 0) => {
            let inode = files.create(&new(path));
            files.write(inode, bytes);
        }
        (What::Replace { bytes }, 1) => {
            let pages = page::pages(0, bytes.len() as u64);
            files.settle(made(files), pages, Fate::Holds, path, luck);
        }
        (What::Replace { .. }, 2) if luck.faults.backup_gap => files.rename(path, &bak(path)),
        (What::Replace { .. }, 2) => files.link(path, &old(path)),
        (What::Replace { .. }, 4) => files.rename(&old(path), &bak(path)),
        (What::Sync { inode, from, to, .. }, 0) => {
            files.settle(*inode, page::pages(*from, *to), Fate::Holds, path, luck);
        }
        (What::Zero { inode, from, to, .. }, 0) => {
            let cache = files.cached(*inode);
            cache.bytes[page::size(*from)..page::size(*to)].fill(0);
            cache.touch(*from, *to);
        }
        (What::Allocate { .. }, 4)
        | (What::Delete | What::Remove | What::Rename { .. }, 1)
        | (What::Replace { .. }, 5) => files.commit(),
        (what, at) => unreachable!("{what:?} has no step {at}"),
    }
}

/// An allocation that fails gives its blocks back, without a sync. What else a failed operation
/// leaves behind stays there, as it does on the mapped disk.
fn undo(request: &Request, files: &mut Files) {
    if let What::Allocate { .. } = request.what {
        for path in [new(&request.path), request.path.clone()] {
            if files.find(&path).is_some() {
                files.unlink(&path);
            }
        }
    }
}

fn bak(path: &str) -> String {
    format!("{path}.bak")
}

fn new(path: &str) -> String {
    format!("{path}.new")
}

fn old(path: &str) -> String {
    format!("{path}.old")
}
