//! What a store looks for among a message's properties, found in one walk over them.

use super::prop_crc;
use super::properties::{self, KEYS, TAGS, UNIQ_KEY};

/// What the names begin with that a store gives, or asks for.
const INNER: &[u8] = b"INNER_";

/// The values by which a message is queued and indexed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known<'a> {
    /// The first TAGS.
    pub(crate) tags: Option<&'a [u8]>,
    /// What the index knows it by: the first of each that is not empty.
    pub(crate) unique_key: Option<&'a [u8]>,
    pub(crate) keys: Option<&'a [u8]>,
    pub(crate) tags_key: Option<&'a [u8]>,
    /// Is there one that the store may have a say in?
    pub(crate) has_inner: bool,
    /// Is there a `__CRC32#`?
    pub(crate) has_crc: bool,
}

impl<'a> Known<'a> {
    /// Walks over the pieces of the properties, of which none cuts one in two.
    pub(crate) fn of(pieces: &[&'a [u8]]) -> Self {
        let mut known = Self::default();
        for piece in pieces {
            properties::iter(piece).for_each(|(name, value)| known.take(name, value));
        }
        known
    }

    fn take(&mut self, name: &[u8], value: &'a [u8]) {
        let full = (!value.is_empty()).then_some(value);
        match name {
            name if name == UNIQ_KEY.as_bytes() => self.unique_key = self.unique_key.or(full),
            name if name == KEYS.as_bytes() => self.keys = self.keys.or(full),
            name if name == TAGS.as_bytes() => {
                self.tags = self.tags.or(Some(value));
                self.tags_key = self.tags_key.or(full);
            }
            name if name == prop_crc::NAME.as_bytes() => self.has_crc = true,
            name if name.starts_with(INNER) => self.has_inner = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_each_counts_and_the_index_passes_over_empty_ones() {
        let pieces: [&[u8]; 2] =
            [b"TAGS\x01\x02KEYS\x01\x02TAGS\x01a\x02", b"KEYS\x01k\x02KEYS\x01l"];
        let known = Known::of(&pieces);
        assert_eq!((known.tags, known.tags_key), (Some(&b""[..]), Some(&b"a"[..])));
        assert_eq!((known.keys, known.unique_key), (Some(&b"k"[..]), None));
        assert!(!known.has_inner && !known.has_crc);
        let known = Known::of(&[b"INNER_X\x011\x02__CRC32#\x011\x02UNIQ_KEY\x01u"]);
        assert!(known.has_inner && known.has_crc && known.unique_key == Some(b"u"));
    }
}
