//! One index file: keys put, keys searched. Its header is kept in memory and, since it is cheap,
//! in the mapping as well: a process that is killed leaves a true one.

use super::format::{HEADER_LEN, Header, ITEM_LEN, Item, Shape, seconds};
use super::name::Name;
use crate::position::Physical;
use crate::seam::{FileId, Memory};
use crate::time::Wall;

/// When a record that is searched for was stored: from, to, both included.
pub(crate) type Within = (Wall, Wall);

#[derive(Clone, Debug)]
pub(crate) struct IndexFile {
    pub(crate) name: Name,
    pub(crate) file: FileId,
    pub(crate) header: Header,
    /// Items below this number are on the medium.
    pub(crate) synced: u32,
    /// Slots or header changed since they were synced.
    pub(crate) dirty: bool,
}

impl IndexFile {
    /// An empty file behind `before`, its bytes all zero.
    pub(crate) fn fresh(
        memory: &mut impl Memory,
        name: Name,
        file: FileId,
        before: Option<&Header>,
    ) -> Self {
        let zero = (Wall::default(), Physical::ZERO);
        let (end, last) = before.map_or(zero, |before| (before.end, before.last));
        let fresh = Self { name, file, header: Header::behind(end, last), synced: 1, dirty: true };
        fresh.write_header(memory);
        fresh
    }

    /// What another process left, believed for now.
    pub(crate) fn found(memory: &impl Memory, name: Name, file: FileId) -> Self {
        let bytes = memory.bytes(file, 0, usize_of(HEADER_LEN));
        let header = Header::decode(bytes.first_chunk().expect("asked for as many"));
        Self { name, file, header, synced: header.next, dirty: false }
    }

    pub(crate) fn is_full(&self, shape: Shape) -> bool {
        self.header.next >= shape.items()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.header.next == 1
    }

    /// Puts a key; the caller saw that the file is not full.
    pub(crate) fn put(
        &mut self,
        memory: &mut impl Memory,
        shape: Shape,
        hash: u32,
        (at, stored): (Physical, Wall),
    ) {
        let header = &mut self.header;
        let number = header.next;
        if number == 1 {
            (header.begin, header.first) = (stored, at);
        }
        let slot = memory.slot(self.file, Shape::slot_at(shape.slot_of(hash)), 4);
        let slot: &mut [u8; 4] = slot.first_chunk_mut().expect("asked for as many");
        let known = u32::from_be_bytes(*slot);
        let previous = if known < number { known } else { 0 };
        *slot = number.to_be_bytes();
        let item = Item { hash, at, seconds: seconds(header.begin, stored), previous };
        memory
            .slot(self.file, shape.item_at(number), usize_of(ITEM_LEN))
            .copy_from_slice(&item.encode());
        header.used += u32::from(previous == 0);
        header.next += 1;
        (header.end, header.last) = (stored, at);
        self.write_header(memory);
        self.dirty = true;
    }

    pub(crate) fn write_header(&self, memory: &mut impl Memory) {
        memory.slot(self.file, 0, usize_of(HEADER_LEN)).copy_from_slice(&self.header.encode());
    }

    pub(crate) fn item(&self, memory: &impl Memory, shape: Shape, number: u32) -> Item {
        let bytes = memory.bytes(self.file, shape.item_at(number), usize_of(ITEM_LEN));
        Item::decode(bytes.first_chunk().expect("asked for as many"))
    }

    pub(crate) fn slot(&self, memory: &impl Memory, slot: u32) -> u32 {
        let bytes = memory.bytes(self.file, Shape::slot_at(slot), 4);
        u32::from_be_bytes(*bytes.first_chunk().expect("asked for as many"))
    }

    /// Walks the chain of a hash, from new to old, as Apache does, until `found` has enough.
    /// Terminates whatever the bytes are: a chain that does not go backwards ends.
    pub(crate) fn search(
        &self,
        memory: &impl Memory,
        shape: Shape,
        hash: u32,
        (from, to): Within,
        mut found: impl FnMut(Physical) -> bool,
    ) {
        let Header { begin, end, next, .. } = self.header;
        let overlaps = begin <= to && from <= end;
        let mut number = self.slot(memory, shape.slot_of(hash));
        if !overlaps || number >= next {
            return;
        }
        while number > 0 {
            let item = self.item(memory, shape, number);
            let stored = item.time(begin);
            if item.seconds < 0 {
                return;
            }
            let matches = item.hash == hash && from <= stored && stored <= to;
            if (matches && found(item.at)) || stored < from || item.previous >= number {
                return;
            }
            number = item.previous;
        }
    }

    /// What is to be synced, in parts of at most `most` bytes: first slots and header, then items.
    pub(crate) fn unsynced(&self, shape: Shape, most: u64) -> impl Iterator<Item = (u64, u64)> {
        let is_dirty = self.dirty || self.synced < self.header.next;
        let slots = if is_dirty { Shape::slot_at(shape.slots()) } else { 0 };
        let items = shape.item_at(self.synced)..shape.item_at(self.header.next);
        [0..slots, items].into_iter().flat_map(move |range| {
            let step = usize::try_from(most).unwrap_or(usize::MAX);
            let end = range.end;
            range.step_by(step).map(move |from| (from, end.min(from + most)))
        })
    }

    pub(crate) fn verify(&self, shape: Shape) {
        let Header { first, last, used, next, .. } = self.header;
        assert!(1 <= next && next <= shape.items(), "an item has a number");
        assert!(first <= last, "records are indexed in their order");
        assert!(used < next && used <= shape.slots(), "a chain has an item");
        assert!(self.synced <= next, "what is on the medium was written");
    }
}

fn usize_of(len: u64) -> usize {
    usize::try_from(len).expect("a header or an item is small")
}
