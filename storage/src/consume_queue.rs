//! The 20-byte unit of an ordinary queue (store.md 5.1). All integers big-endian.
//!
//! ```text
//!  0                8        12               20
//!  | phy offset     | size   | tags code      |     position = queue offset x 20
//! ```

use crate::position::{Physical, QueueOffset, Span};

/// Bytes of a unit.
pub(crate) const UNIT_LEN: u64 = 20;
/// The same, as a length in memory.
pub(crate) const BYTES: usize = 20;
/// The size that marks a placeholder: a unit before the first real one of a queue that does not
/// begin at its file's beginning.
const PLACEHOLDER_LEN: u32 = 0x7FFF_FFFF;

/// What a queue says about one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Where the record lies.
    pub span: Span,
    /// The tags' hash, a time of delivery, or an address in the queue's extension.
    pub tags_code: i64,
    /// The number of the record's first message in the queue.
    pub first: QueueOffset,
    /// Messages in the record: 1, more for an inner batch, never 0.
    pub count: u16,
}

impl Unit {
    /// The number behind the record's last message.
    pub fn next(&self) -> QueueOffset {
        self.first.plus(u64::from(self.count))
    }

    /// A unit that only fills a file's front.
    pub(crate) fn placeholder(first: QueueOffset) -> Self {
        let span = Span { at: Physical::ZERO, len: PLACEHOLDER_LEN };
        Self { span, tags_code: 0, first, count: 1 }
    }

    pub(crate) fn is_placeholder(&self) -> bool {
        self.span == Self::placeholder(self.first).span
    }
}

pub(crate) fn encode(unit: &Unit) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&unit.span.at.get().to_be_bytes());
    bytes[8..12].copy_from_slice(&unit.span.len.to_be_bytes());
    bytes[12..].copy_from_slice(&unit.tags_code.to_be_bytes());
    bytes
}

/// The unit in `bytes`, number `first` of its queue; `None` for what ends a queue.
pub(crate) fn decode(bytes: &[u8], first: QueueOffset) -> Option<Unit> {
    let at = u64::from_be_bytes(*bytes.first_chunk()?);
    let len = u32::from_be_bytes(*bytes.get(8..)?.first_chunk()?);
    let tags_code = i64::from_be_bytes(*bytes.get(12..)?.first_chunk()?);
    let valid = i64::try_from(at).is_ok() && i32::try_from(len).is_ok_and(|len| len > 0);
    let span = Span { at: Physical::new(at), len };
    valid.then_some(Unit { span, tags_code, first, count: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_reads_back_and_zeros_end_the_queue() {
        let span = Span { at: Physical::new(77), len: 91 };
        let unit = Unit { span, tags_code: -5, first: QueueOffset::new(3), count: 1 };
        assert_eq!(decode(&encode(&unit), QueueOffset::new(3)), Some(unit));
        assert_eq!(decode(&[0; 20], QueueOffset::ZERO), None);
        assert_eq!(decode(&[0xFF; 20], QueueOffset::ZERO), None);
        let filler = Unit::placeholder(QueueOffset::ZERO);
        assert!(decode(&encode(&filler), QueueOffset::ZERO).is_some_and(|u| u.is_placeholder()));
    }
}
