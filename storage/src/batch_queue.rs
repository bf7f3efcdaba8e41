//! The 46-byte unit of a queue of inner batches (store.md 5.2). All integers big-endian.
//!
//! ```text
//!  0            8      12           20           28           36      38         42     46
//!  | phy offset | size | tags code  | store time | first      | count | compact. | 0    |
//! ```
//!
//! A unit stands for `count` messages, so it is found by searching for its first offset.

use crate::consume_queue::Unit;
use crate::position::{Physical, QueueOffset, Span};
use crate::time::Wall;

/// Bytes of a unit.
pub(crate) const UNIT_LEN: u64 = 46;
/// The same, as a length in memory.
pub(crate) const BYTES: usize = 46;
/// Written where a compaction queue holds its own offset.
const NOT_COMPACTED: i32 = -1;

pub(crate) fn encode(unit: &Unit, stored: Wall) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&unit.span.at.get().to_be_bytes());
    bytes[8..12].copy_from_slice(&unit.span.len.to_be_bytes());
    bytes[12..20].copy_from_slice(&unit.tags_code.to_be_bytes());
    bytes[20..28].copy_from_slice(&stored.as_millis().to_be_bytes());
    bytes[28..36].copy_from_slice(&unit.first.get().to_be_bytes());
    bytes[36..38].copy_from_slice(&unit.count.to_be_bytes());
    bytes[38..42].copy_from_slice(&NOT_COMPACTED.to_be_bytes());
    bytes
}

/// The unit in `bytes`; `None` for what ends a queue.
pub(crate) fn decode(bytes: &[u8]) -> Option<Unit> {
    let at = u64::from_be_bytes(*bytes.first_chunk()?);
    let len = u32::from_be_bytes(*bytes.get(8..)?.first_chunk()?);
    let tags_code = i64::from_be_bytes(*bytes.get(12..)?.first_chunk()?);
    let first = u64::from_be_bytes(*bytes.get(28..)?.first_chunk()?);
    let count = u16::from_be_bytes(*bytes.get(36..)?.first_chunk()?);
    let valid = i64::try_from(at).is_ok()
        && i64::try_from(first).is_ok()
        && i32::try_from(len).is_ok_and(|len| len > 0)
        && i16::try_from(count).is_ok_and(|count| count > 0);
    let span = Span { at: Physical::new(at), len };
    valid.then_some(Unit { span, tags_code, first: QueueOffset::new(first), count })
}

/// When the record of a unit was stored.
pub(crate) fn stored(bytes: &[u8]) -> Wall {
    let millis = bytes[20..].first_chunk().expect("a unit is longer");
    Wall::from_millis(i64::from_be_bytes(*millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_reads_back_and_zeros_end_the_queue() {
        let span = Span { at: Physical::new(77), len: 91 };
        let unit = Unit { span, tags_code: -5, first: QueueOffset::new(3), count: 9 };
        let bytes = encode(&unit, Wall::from_millis(1));
        assert_eq!(decode(&bytes), Some(unit));
        assert_eq!(bytes[38..], [0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0]);
        assert_eq!(decode(&[0; 46]), None);
    }
}
