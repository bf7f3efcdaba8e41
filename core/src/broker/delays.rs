//! How far delayed messages are delivered, by delay level (broker-behaviour.md 4.2).
//!
//! Nothing is delivered here yet. The table is kept for whoever delivers: a slave has its master's,
//! a master the one that it found in its store. A broker of Apache's that takes over the store goes
//! on where the table says, and delivers no message a second time.

use std::collections::BTreeMap;

use hotfire_storage::documents::DelayOffsetTable;
use hotfire_storage::position::QueueOffset;

use crate::domain::DataVersion;
use crate::machine::Digest;

/// A delay level: 1 or more, without a unit. Level L waits in queue L - 1 of the schedule topic
/// (store.md 8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct DelayLevel(i32);

/// The next offset to deliver of each level that is known.
#[derive(Debug, Default)]
pub(super) struct Delays {
    table: BTreeMap<DelayLevel, QueueOffset>,
    version: DataVersion,
    /// Is there a file of it, or is there to be one? A broker that has never heard of delayed
    /// messages writes none, as it found none.
    is_kept: bool,
    changed: bool,
}

impl Delays {
    /// The table as it was found, if there was one.
    pub(super) fn restore(kept: Option<DelayOffsetTable>) -> Self {
        let Some(kept) = kept else { return Self::default() };
        let (table, version) = (levels_of(&kept), kept.data_version);
        Self { table, version, is_kept: true, changed: false }
    }

    /// Becomes what the master's table is, if it is not. The version alone does not tell: Apache's
    /// stays the same for many changes.
    pub(super) fn follow(&mut self, kept: &DelayOffsetTable) {
        let (table, version) = (levels_of(kept), kept.data_version);
        if self.version != version || self.table != table {
            (self.table, self.version) = (table, version);
            (self.is_kept, self.changed) = (true, true);
        }
    }

    /// What is kept in a file, and said to slaves.
    pub(super) fn document(&self) -> DelayOffsetTable {
        let number =
            |next: QueueOffset| i64::try_from(next.get()).expect("it was read from such a number");
        let table = self.table.iter().map(|(level, next)| (level.0, number(*next)));
        DelayOffsetTable { data_version: self.version, offset_table: table.collect() }
    }

    pub(super) fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Is there something to save? Asking takes it: the caller saves it now.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The save failed: there still is something to save.
    pub(super) fn save_failed(&mut self) {
        self.changed = true;
    }

    pub(super) fn digest(&self, into: &mut Digest) {
        for (level, next) in &self.table {
            into.number(u64::from(level.0.cast_unsigned()));
            into.number(next.get());
        }
    }
}

/// A level below 1, or a negative offset, was never written by a broker: it is left out.
fn levels_of(kept: &DelayOffsetTable) -> BTreeMap<DelayLevel, QueueOffset> {
    let known = kept.offset_table.iter().filter_map(|(level, next)| {
        let next = u64::try_from(*next).ok().filter(|_| *level > 0)?;
        Some((DelayLevel(*level), QueueOffset::new(next)))
    });
    known.collect()
}
