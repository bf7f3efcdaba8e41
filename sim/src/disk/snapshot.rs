//! Snapshots: every moment at which a machine could have died, kept so that it can die there
//! afterwards, as often and in as many ways as one likes.
//!
//! A workload is run once, with [`Medium::watch`] on. Before each write to memory, each operation
//! and each completion the whole medium is copied: what processes see, what is on the medium,
//! which names are pending, what is under way. [`Snapshot::die`] makes a medium of such a copy on
//! which the machine has just died. Pages of the medium are shared between copies; the page cache
//! is not, so files should be small.

use std::ops::Range;

use super::faults::Faults;
use super::files::Files;
use super::medium::{Death, Flight, Inner};
use super::names::Inode;
use super::ops::Request;
use super::page::Cache;
use super::{Medium, SimDisk};
use crate::choose::{Choose, Stream};
use crate::ledger::Ledger;
use crate::trace::Column;

/// Between what a snapshot was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// Before an operation that was submitted completes.
    Complete,
    /// Before an operation is performed, or in it: between any two of its steps.
    Perform,
    /// Between two calls of the store.
    Rest,
    /// Before an operation is submitted.
    Submit,
    /// Before bytes are written to memory, or between any two of them.
    Write,
}

impl Moment {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Complete, Self::Perform, Self::Rest, Self::Submit, Self::Write];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Perform => "perform",
            Self::Rest => "rest",
            Self::Submit => "submit",
            Self::Write => "write",
        }
    }
}

/// A machine at a moment at which it could have died.
#[derive(Clone, Debug)]
pub struct Snapshot {
    moment: Moment,
    files: Files,
    flights: Vec<Flight>,
    half: Option<Half>,
}

/// Bytes that were about to be written; a process can die between any two of them.
#[derive(Clone, Debug)]
struct Half {
    inode: Inode,
    range: Range<usize>,
    /// What was written, once it is.
    bytes: Vec<u8>,
}

impl Snapshot {
    /// When.
    pub const fn moment(&self) -> Moment {
        self.moment
    }

    /// A medium whose machine died at this moment: the process alone, or the power with it. `dice`
    /// decides what became of everything under way, and goes on to decide for the medium.
    pub fn die(
        &self,
        power: bool,
        faults: Faults,
        dice: Stream,
        ledger: Ledger,
        log: Column,
    ) -> Medium {
        let medium = Medium::new(faults, dice, ledger, log);
        let mut inner = medium.lock();
        inner.files = self.files.clone();
        if let Some(Half { inode, range, bytes }) = &self.half {
            let count = inner.luck.dice.index(bytes.len() + 1, "disk.half_written");
            let range = range.start..range.start + count;
            let cache = inner.files.cached(*inode);
            cache.bytes[range.clone()].copy_from_slice(&bytes[..count]);
            cache.touch(range.start as u64, range.end as u64);
        }
        self.flights.iter().for_each(|flight| inner.flights.push(flight.clone()));
        inner.settle(if power { Death::Power } else { Death::Kill });
        drop(inner);
        medium
    }
}

impl Medium {
    /// From now on a snapshot is kept of every moment at which the machine could die.
    pub fn watch(&self) {
        self.lock().cuts.get_or_insert_default();
    }

    /// The snapshots kept since this was last asked.
    pub fn cuts(&self) -> Vec<Snapshot> {
        self.lock().cuts.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

impl Inner {
    /// The snapshot just kept was of the moment before a write.
    pub(super) fn will_write(&mut self, inode: Inode, range: &Range<usize>) {
        if let Some(last) = self.cuts.as_mut().and_then(|cuts| cuts.last_mut()) {
            last.half = Some(Half { inode, range: range.clone(), bytes: Vec::new() });
        }
    }
}

impl SimDisk {
    /// Keeps a snapshot, if the medium is watched.
    pub fn cut(&self) {
        self.cut_in(&mut self.medium.lock(), Moment::Rest, None);
    }

    /// Keeps a snapshot; what the one before was about to write is written now. `performed` is an
    /// operation that is done on the spot.
    pub(super) fn cut_in(&self, inner: &mut Inner, moment: Moment, performed: Option<&Request>) {
        if inner.cuts.is_none() || inner.death.is_some() {
            return;
        }
        let mut files = inner.files.clone();
        for mapping in &self.files {
            if let Some(cache) = &mapping.cache {
                let node = files.node(mapping.inode);
                (node.cache, node.mapped) = (Some(cache.clone()), false);
            }
        }
        let mut flights = inner.flights.flying().to_vec();
        flights.extend(performed.map(|request| Flight::at_once(request.clone())));
        let cuts = inner.cuts.as_mut().expect("asked above");
        if let Some(half) = cuts.last_mut().and_then(|last| last.half.as_mut())
            && half.bytes.is_empty()
        {
            let mapping = self.files.iter().find(|mapping| mapping.inode == half.inode);
            let written = |cache: &Cache| cache.bytes[half.range.clone()].to_vec();
            let cache = mapping.and_then(|mapping| mapping.cache.as_ref());
            half.bytes = cache.map(written).unwrap_or_default();
        }
        cuts.push(Snapshot { moment, files, flights, half: None });
    }
}
