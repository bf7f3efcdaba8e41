//! What is taken out of a log is kept aside, under other names.
//!
//! ```text
//!  commitlog/00000000000000004096  | same | other  ─copied─►  diverged/3-00000000000000005210
//!  commitlog/00000000000000008192  | other  ───────renamed─►  diverged/3-00000000000000008192
//! ```
//!
//! Each file is named by the number of the parting and the position of its first byte. A log can
//! be hundreds of GiB, so whole files keep their blocks and get another name. The file in which the
//! log is cut stays where it is, so of that the tail is copied, which is short as a rule: a copy of
//! all of the file would be readable as a log, and cost a GiB for a few lost messages.
//!
//! Nothing is taken out before it is durable aside. A parting that a crash interrupts goes on
//! under its number, which a file says, and takes no name twice: what was kept before the crash may
//! be all there is.

use std::collections::BTreeSet;
use std::fmt;

use crate::chain::{Chain, open};
use crate::seam::{Disk, Entry, Fault, FileId, Memory, Op};

/// Where it is kept.
const DIR: &str = "diverged";
/// Of how many partings.
pub const PARTINGS_KEPT: usize = 4;
/// How the name of the file ends that says that a parting is under way.
const UNFINISHED: &str = "unfinished";
/// Bytes that are copied, or looked at, at once.
const CHUNK: u64 = 64 << 10;

/// What was kept of a log when it was parted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptAside {
    /// The number of the parting.
    pub number: u64,
    /// Bytes up to the last of each file that is not zero.
    pub bytes: u64,
}

/// The files, below the store's root, as a shell names them.
impl fmt::Display for KeptAside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{DIR}/{}-*", self.number)
    }
}

/// The directory.
pub(super) struct Aside {
    number: u64,
    bytes: u64,
    /// Does a file say that this parting is under way?
    is_begun: bool,
    taken: BTreeSet<String>,
}

impl Aside {
    /// Looks at what is kept there already.
    pub(super) fn look<D: Disk>(disk: &mut D) -> Result<Self, Fault> {
        let entries = disk.list(DIR)?;
        let unfinished = |entry: &Entry| {
            let (number, what) = entry.name.split_once('-')?;
            if what == UNFINISHED { number.parse().ok() } else { None }
        };
        let unfinished: Option<u64> = entries.iter().find_map(unfinished);
        let newest = entries.iter().filter_map(number).max().unwrap_or_default();
        let (number, is_begun) = (unfinished.unwrap_or(newest + 1), unfinished.is_some());
        let taken = entries.into_iter().map(|entry| entry.name).collect();
        Ok(Self { number, bytes: 0, is_begun, taken })
    }

    /// Copies what lies from `from` on in its file, durably.
    pub(super) fn copy<D: Disk>(
        &mut self,
        disk: &mut D,
        chain: &Chain,
        from: u64,
    ) -> Result<(), Fault> {
        let Some((file, within)) = chain.locate(from) else { return Ok(()) };
        let end = used(disk, file, within, chain.file_len());
        let len = end - within;
        if len == 0 {
            return Ok(());
        }
        let path = self.name(disk, from)?;
        let copy = open(disk, Op::Allocate { path: &path, len })?;
        for at in (0..len).step_by(usize::try_from(CHUNK).expect("a chunk is short")) {
            let mut bytes = vec![0; size(CHUNK.min(len - at))];
            disk.copy(file, within + at, &mut bytes);
            disk.slot(copy, at, bytes.len()).copy_from_slice(&bytes);
        }
        disk.perform(Op::Sync { file: copy, from: 0, to: len })?;
        self.bytes += len;
        Ok(())
    }

    /// Takes the files out that begin behind `end`, or all, the newest first: whenever that ends,
    /// what is left is a log. One that nothing was written into is deleted.
    pub(super) fn take<D: Disk>(
        &mut self,
        disk: &mut D,
        chain: &mut Chain,
        end: Option<u64>,
    ) -> Result<(), Fault> {
        loop {
            let Some(start) = chain.starts().next_back() else { return Ok(()) };
            if end.is_some_and(|end| start <= end) {
                return Ok(());
            }
            let (file, _) = chain.locate(start).expect("its last file");
            let len = used(disk, file, 0, chain.file_len());
            if len == 0 {
                forget(disk, file, chain.file_len())?;
            } else {
                let path = self.name(disk, start)?;
                // The stop before this may have failed, and its bytes be in memory alone. Under
                // its new name nobody syncs it any more.
                disk.perform(Op::Sync { file, from: 0, to: chain.file_len() })?;
                disk.perform(Op::Rename { file, to: &path })?;
                self.bytes += len;
            }
            chain.drop_last();
        }
    }

    /// A name that nothing has. The first one says durably that there is more to come.
    fn name<D: Disk>(&mut self, disk: &mut D, from: u64) -> Result<String, Fault> {
        let number = self.number;
        if !self.is_begun {
            let path = format!("{DIR}/{number}-{UNFINISHED}");
            disk.perform(Op::Replace { path: &path, bytes: b"a log is being parted\n" })?;
            self.is_begun = true;
        }
        let name = format!("{number}-{from:020}");
        let again = (1..).map(|attempt: u64| format!("{name}.{attempt}"));
        let mut names = std::iter::once(name.clone()).chain(again);
        let free = names.find(|name| !self.taken.contains(name)).expect("numbers do not end");
        self.taken.insert(free.clone());
        Ok(format!("{DIR}/{free}"))
    }

    /// All is kept. Of older partings only the newest still are.
    pub(super) fn finish<D: Disk>(self, disk: &mut D) -> Result<Option<KeptAside>, Fault> {
        if !self.is_begun {
            return Ok(None);
        }
        disk.perform(Op::Remove { path: &format!("{DIR}/{}-{UNFINISHED}", self.number) })?;
        let entries = disk.list(DIR)?;
        let numbers: BTreeSet<u64> = entries.iter().filter_map(number).collect();
        let oldest = numbers.iter().rev().nth(PARTINGS_KEPT - 1).copied().unwrap_or_default();
        let old = |entry: &&Entry| number(entry).is_some_and(|number| number < oldest);
        for Entry { name, len, .. } in entries.iter().filter(old) {
            let path = format!("{DIR}/{name}");
            if *len == 0 {
                disk.perform(Op::Remove { path: &path })?;
            } else {
                let file = open(disk, Op::Open { path: &path })?;
                forget(disk, file, *len)?;
            }
        }
        Ok(Some(KeptAside { number: self.number, bytes: self.bytes }))
    }
}

/// Of which parting is it?
fn number(entry: &Entry) -> Option<u64> {
    if entry.is_dir { None } else { entry.name.split_once('-')?.0.parse().ok() }
}

/// Deletes a file, zeros first: a file of the log may get its blocks, and a file system that shows
/// the past of a block would show records of another log in their right places.
fn forget<D: Disk>(disk: &mut D, file: FileId, len: u64) -> Result<(), Fault> {
    disk.perform(Op::Zero { file, from: 0, to: len })?;
    disk.perform(Op::Sync { file, from: 0, to: len })?;
    disk.perform(Op::Delete { file })?;
    Ok(())
}

/// Behind the last byte from `from` on that is not zero.
fn used(memory: &impl Memory, file: FileId, from: u64, to: u64) -> u64 {
    let (mut low, mut high) = (from, to);
    while high - low > CHUNK {
        let middle = low + (high - low) / 2;
        if memory.is_zero(file, middle, high) {
            high = middle;
        } else {
            low = middle;
        }
    }
    let mut bytes = vec![0; size(high - low)];
    memory.copy(file, low, &mut bytes);
    match bytes.iter().rposition(|byte| *byte != 0) {
        Some(last) => low + last as u64 + 1,
        None => from,
    }
}

fn size(len: u64) -> usize {
    usize::try_from(len).expect("a chunk fits in memory")
}
