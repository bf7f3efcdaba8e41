//! A queue's two kinds of files: its units, and the extension that an ordinary queue may have.
//!
//! A unit moves into a file only together with its extension, and behind it; until both have
//! room it waits in the list, its tags code in it. So no unit in a file, whatever of it a crash
//! leaves, was written before what it points at.

use super::{Kind, PENDING_MAX, Queue};
use crate::batch_queue;
use crate::chain::{Ahead, Chain};
use crate::consume_queue::Unit;
use crate::queue_ext::{Extension, is_address};
use crate::seam::{Disk, Fault, FileId, Memory};
use crate::time::Wall;

/// Which files of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Those of its extension.
    Extension,
    /// Those of its units.
    Units,
}

impl Side {
    /// In the order in which they are made durable.
    pub(crate) const ALL: [Self; 2] = [Self::Extension, Self::Units];
}

impl Queue {
    pub(crate) fn chain(&self, side: Side) -> Option<&Chain> {
        match side {
            Side::Extension => self.ext.as_ref().map(|ext| &ext.chain),
            Side::Units => Some(&self.chain),
        }
    }

    pub(crate) fn chain_mut(&mut self, side: Side) -> Option<&mut Chain> {
        match side {
            Side::Extension => self.ext.as_mut().map(|ext| &mut ext.chain),
            Side::Units => Some(&mut self.chain),
        }
    }

    /// Units for which there are files.
    fn room(&self, side: Side) -> u64 {
        match side {
            Side::Extension => self.ext.as_ref().map_or(u64::MAX, Extension::room),
            Side::Units => (self.chain.room_end() - self.end) / self.kind.unit_len(),
        }
    }

    /// Is there a unit's room in every file that it needs?
    pub(super) fn has_room(&self) -> bool {
        Side::ALL.iter().all(|side| self.room(*side) > 0)
    }

    pub(crate) fn takes(&self, units: usize) -> bool {
        // The pending list alone takes what one turn brings, whatever the files' room.
        self.pending.len() + units <= PENDING_MAX
            || Side::ALL.iter().all(|side| !self.lacks(*side, units))
    }

    /// Would so many more units, behind those that wait, not fit into files?
    pub(crate) fn lacks(&self, side: Side, units: usize) -> bool {
        self.room(side) < (self.pending.len() + units) as u64
    }

    /// Why nothing more can be taken: the last allocation's fault, if it failed.
    pub(crate) fn fault(&self) -> Option<&Fault> {
        Side::ALL.iter().find_map(|side| match self.chain(*side)?.ahead() {
            Ahead::Failed(fault) => Some(fault),
            Ahead::Asked | Ahead::Idle => None,
        })
    }

    pub(crate) fn has_failed(&self, side: Side) -> bool {
        self.chain(side).is_some_and(Chain::has_failed)
    }

    /// Is it time to have the next file allocated? A failed attempt included: when that is to be
    /// repeated is not for every append to say.
    ///
    /// For units, not before one waits: Apache takes the first twenty bytes of a queue's last file
    /// for a unit, whatever they are, so a file without one would be a message that never was.
    pub(crate) fn wants_room(&self, side: Side) -> bool {
        let is_short = match side {
            Side::Extension => self.ext.as_ref().is_some_and(Extension::is_short),
            Side::Units => false,
        };
        is_short || (!self.pending.is_empty() && self.room(side) == 0)
    }

    /// Is the next file to be asked for now, by whoever adds to the queue?
    pub(crate) fn asks(&self, side: Side) -> bool {
        self.wants_room(side) && !self.has_failed(side)
    }

    /// What of one side is in files and not known to be on the medium: from, to.
    fn unsynced(&self, side: Side) -> (u64, u64) {
        match side {
            Side::Extension => self.ext.as_ref().map_or((0, 0), Extension::unsynced),
            Side::Units => (self.synced, self.end),
        }
    }

    /// Position behind the last unit, or the last unit's extension, in a file.
    pub(crate) fn end(&self, side: Side) -> u64 {
        self.unsynced(side).1
    }

    pub(crate) fn is_dirty(&self, side: Side) -> bool {
        let (from, to) = self.unsynced(side);
        from < to
    }

    /// The first part of what is to be made durable, as far as it lies in `from..end`, and the
    /// position behind it.
    pub(crate) fn next_unsynced(
        &self,
        side: Side,
        from: u64,
        end: u64,
    ) -> Option<((FileId, u64, u64), u64)> {
        let (unsynced, to) = self.unsynced(side);
        let from = from.max(unsynced);
        let chain = self.chain(side)?;
        let part = chain.parts(from, end.min(to)).next()?;
        let behind = from.max(chain.start()) - part.1 + part.2;
        Some((part, behind))
    }

    /// Everything below `position` is on the medium.
    pub(crate) fn set_synced(&mut self, side: Side, position: u64) {
        match side {
            Side::Extension => self.ext.iter_mut().for_each(|ext| ext.set_synced(position)),
            Side::Units => self.synced = self.synced.max(position.min(self.end)),
        }
    }

    pub(crate) fn has_ext(&self) -> bool {
        self.ext.is_some()
    }

    /// Is what a unit points at to be here? It is in the unit itself, or in files that a queue
    /// keeps.
    pub(crate) fn has_ext_of(&self, unit: &Unit) -> bool {
        let holds = |ext: &Extension| ext.holds(unit.tags_code);
        !is_address(unit.tags_code) || self.ext.as_ref().is_some_and(holds)
    }

    /// The tags code of a unit: what stands in it, or what it points at. `None` if it points at
    /// an extension that this store does not have.
    pub(crate) fn tags_code(&self, memory: &impl Memory, tags_code: i64) -> Option<i64> {
        if !is_address(tags_code) {
            return Some(tags_code);
        }
        Some(self.ext.as_ref()?.get(memory, tags_code)?.tags_code)
    }

    /// When the record of the unit at a position was stored, where the queue says so: in a unit of
    /// the batch format, or in the extension at which it points.
    pub(crate) fn stored(&self, memory: &impl Memory, at: u64, unit: &Unit) -> Option<Wall> {
        match self.kind {
            Kind::Simple => Some(self.ext.as_ref()?.get(memory, unit.tags_code)?.stored),
            Kind::Batch => {
                let ((file, within), mut bytes) = (self.chain.locate(at)?, [0; batch_queue::BYTES]);
                memory.copy(file, within, &mut bytes);
                Some(batch_queue::stored(&bytes))
            }
        }
    }

    /// The handles of all files, units first: what is deleted half has addresses that lead
    /// nowhere, not an extension that nobody knows. The queue is not used afterwards.
    pub(crate) fn into_files(self) -> impl Iterator<Item = (String, FileId)> {
        let ext = self.ext.into_iter().flat_map(|ext| ext.chain.into_files());
        self.chain.into_files().chain(ext)
    }

    /// Sets the end of the extension by the queue's last address.
    pub(super) fn trim_ext(&mut self, memory: &impl Memory) {
        let Some(mut ext) = self.ext.take() else { return };
        let floor = self.end.saturating_sub(self.chain.file_len()).max(self.chain.start());
        let len = self.kind.unit_len();
        let places = (floor / len..self.end / len).rev();
        let mut units = places.filter_map(|place| self.at(memory, place * len));
        match units.find(|unit| is_address(unit.tags_code)) {
            Some(unit) => ext.end_behind(memory, unit.tags_code),
            // All units were looked at.
            None if floor == self.chain.start() => ext.clear(),
            None => ext.end_as_read(memory),
        }
        self.ext = Some(ext);
    }

    /// Did the queue's last address lead nowhere? The extension was lost, and with it what told
    /// old addresses from new ones.
    pub(crate) fn has_lost_ext(&self) -> bool {
        self.ext.as_ref().is_some_and(Extension::is_lost)
    }

    /// Allocates on the spot what the next unit needs. Boot and stop only.
    pub(super) fn make_room<D: Disk>(&mut self, disk: &mut D) -> Result<(), Fault> {
        if self.end == self.chain.room_end() {
            self.chain.grow(disk)?;
        }
        self.ext.as_mut().map_or(Ok(()), |ext| ext.make_room(disk))
    }
}
