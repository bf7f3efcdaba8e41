//! Bytes of an index file (store.md 7). All integers big-endian.
//!
//! ```text
//!  0            40                    40 + 4 slots                       40 + 4 slots + 20 items
//!  | header     | slot 0 | slot 1 | … | item 0, never used | item 1 | item 2 | …     |
//!
//!  header  0       8      16              24             32           36          40
//!          | begin | end  | first record  | last record  | used slots | next item |
//!  item    0       4               12        16              20
//!          | hash  | record        | seconds | previous item |
//! ```
//!
//! A slot holds the number of the newest item whose hash falls into it, and each item the number
//! of the one before: chains from new to old, 0 ends one.

use crate::position::Physical;
use crate::time::Wall;

/// Bytes of the header.
pub(crate) const HEADER_LEN: u64 = 40;
const SLOT_LEN: u64 = 4;
/// Bytes of an item.
pub(crate) const ITEM_LEN: u64 = 20;

/// How many slots and items a file has; the file itself does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    slots: u32,
    items: u32,
}

impl Shape {
    /// Bytes of the smallest file: a slot and two items.
    pub(crate) const FILE_MIN: u64 = HEADER_LEN + SLOT_LEN + 2 * ITEM_LEN;

    /// `None` if Apache could not have files of this shape, or nothing fits.
    pub(crate) fn new(slots: u32, items: u32) -> Option<Self> {
        let fits = |count: u32, least| count >= least && i32::try_from(count).is_ok();
        (fits(slots, 1) && fits(items, 2)).then_some(Self { slots, items })
    }

    pub(crate) fn slots(self) -> u32 {
        self.slots
    }

    /// Behind the number of the last item that fits.
    pub(crate) fn items(self) -> u32 {
        self.items
    }

    pub(crate) fn file_len(self) -> u64 {
        self.item_at(self.items)
    }

    /// Where the chain of a hash begins.
    pub(crate) fn slot_of(self, hash: u32) -> u32 {
        hash % self.slots
    }

    pub(crate) fn slot_at(slot: u32) -> u64 {
        HEADER_LEN + u64::from(slot) * SLOT_LEN
    }

    pub(crate) fn item_at(self, item: u32) -> u64 {
        Self::slot_at(self.slots) + u64::from(item) * ITEM_LEN
    }
}

/// What a file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// When the record of the first item was stored.
    pub(crate) begin: Wall,
    /// The same of the last item.
    pub(crate) end: Wall,
    /// Where the record of the first item lies.
    pub(crate) first: Physical,
    /// The same of the last item.
    pub(crate) last: Physical,
    /// Slots with a chain.
    pub(crate) used: u32,
    /// The number of the next item: 1 in an empty file.
    pub(crate) next: u32,
}

impl Header {
    /// Of an empty file behind one that ended so. Apache begins a file with the former's end, and
    /// stops a search at a file that begins before the time that it looks for.
    pub(crate) fn behind(end: Wall, last: Physical) -> Self {
        Self { begin: end, end, first: last, last, used: 0, next: 1 }
    }

    pub(crate) fn decode(bytes: &[u8; 40]) -> Self {
        let long = |at: usize| i64::from_be_bytes(*bytes[at..].first_chunk().expect("inside"));
        let place = |at| Physical::new(long(at).cast_unsigned());
        let int = |at: usize| i32::from_be_bytes(*bytes[at..].first_chunk().expect("inside"));
        Self {
            begin: Wall::from_millis(long(0)),
            end: Wall::from_millis(long(8)),
            first: place(16),
            last: place(24),
            used: int(32).max(0).unsigned_abs(),
            next: int(36).max(1).unsigned_abs(),
        }
    }

    pub(crate) fn encode(&self) -> [u8; 40] {
        let mut bytes = [0; 40];
        let times = [self.begin, self.end].map(|wall| wall.as_millis().cast_unsigned());
        let places = [self.first.get(), self.last.get()];
        for (slot, value) in bytes.chunks_exact_mut(8).zip(times.into_iter().chain(places)) {
            slot.copy_from_slice(&value.to_be_bytes());
        }
        bytes[32..36].copy_from_slice(&self.used.to_be_bytes());
        bytes[36..].copy_from_slice(&self.next.to_be_bytes());
        bytes
    }
}

/// One key of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// The key's hash; see [`keys`](super::keys).
    pub(crate) hash: u32,
    /// Where the record begins.
    pub(crate) at: Physical,
    /// Seconds between the first record of the file and this one; negative in a damaged file.
    pub(crate) seconds: i32,
    /// The item before it in the chain, 0 if it is the oldest.
    pub(crate) previous: u32,
}

impl Item {
    #[inline]
    pub(crate) fn decode(bytes: &[u8; 20]) -> Self {
        let int = |at: usize| u32::from_be_bytes(*bytes[at..].first_chunk().expect("inside"));
        let at = u64::from_be_bytes(*bytes[4..].first_chunk().expect("inside"));
        Self {
            hash: int(0),
            at: Physical::new(at),
            seconds: int(12).cast_signed(),
            previous: int(16),
        }
    }

    pub(crate) fn encode(&self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&self.hash.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.at.get().to_be_bytes());
        bytes[12..16].copy_from_slice(&self.seconds.to_be_bytes());
        bytes[16..].copy_from_slice(&self.previous.to_be_bytes());
        bytes
    }

    /// Is this how the place of an item reads that was never put?
    #[inline]
    pub(crate) fn is_unused(&self) -> bool {
        // Hardly any item is of the log's first record: one comparison tells.
        self.at == Physical::ZERO && (self.hash, self.seconds, self.previous) == (0, 0, 0)
    }

    /// When its record was stored, to the second below, in a file that begins so.
    pub(crate) fn time(&self, begin: Wall) -> Wall {
        Wall::from_millis(begin.as_millis().saturating_add(i64::from(self.seconds) * 1000))
    }
}

/// The seconds of an item: 0 where the clock ran backwards, and in a file without a beginning.
pub(crate) fn seconds(begin: Wall, stored: Wall) -> i32 {
    let passed = stored.as_millis().saturating_sub(begin.as_millis()) / 1000;
    let passed = if begin.as_millis() <= 0 { 0 } else { passed.max(0) };
    i32::try_from(passed).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_items_read_back() {
        let header = Header {
            begin: Wall::from_millis(5),
            end: Wall::from_millis(-6),
            first: Physical::new(7),
            last: Physical::new(8),
            used: 9,
            next: 10,
        };
        assert_eq!(Header::decode(&header.encode()), header);
        let item = Item { hash: 1, at: Physical::new(2), seconds: -3, previous: 4 };
        assert_eq!(Item::decode(&item.encode()), item);
        assert_eq!(Header::decode(&[0; 40]).next, 1, "an empty file, says Apache");
    }

    #[test]
    fn a_file_is_as_long_as_apaches() {
        let shape = Shape::new(5_000_000, 20_000_000).expect("Apache's default");
        assert_eq!(shape.file_len(), 420_000_040);
        assert_eq!(Shape::new(0, 2), None);
        assert_eq!(Shape::new(1, 1), None);
        assert_eq!(Shape::new(1 << 31, 2), None);
    }

    #[test]
    fn seconds_never_run_backwards() {
        let seconds = |begin, stored| seconds(Wall::from_millis(begin), Wall::from_millis(stored));
        assert_eq!(seconds(1000, 4999), 3);
        assert_eq!(seconds(1000, 10), 0);
        assert_eq!(seconds(0, 10_000), 0);
        assert_eq!(seconds(1, i64::MAX), i32::MAX);
    }
}
