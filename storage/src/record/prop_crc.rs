//! The CRC over a whole record: the property `__CRC32#`, its last 20 bytes (store.md 4.2).
//!
//! ```text
//!  | all other bytes of the record                    | __CRC32# | 0x01 | 10 digits | 0x02 |
//!  '-- CRC-32, without its highest bit, in decimal, --------------------'
//!      the least significant digit first
//! ```
//!
//! The body's own CRC leaves header, topic and properties uncovered; a tear there passes for good.
//! This one covers them, its own place included: its name lies where the lengths say.

use std::ops::Range;

use super::properties::{NAME_END, VALUE_END};

/// The property's name.
pub const NAME: &str = "__CRC32#";
/// Bytes of the property, separators included.
pub const LEN: usize = 20;
/// How it begins.
const PREFIX: &[u8; 9] = b"__CRC32#\x01";
/// What a known body's CRC does to the record's takes a multiplication for each bit that is set in
/// its length; reading so many bytes of it a second time takes as long. Measured.
const BYTES_PER_BIT: usize = 1024;

const _: () = assert!(PREFIX.len() == NAME.len() + 1 && PREFIX[NAME.len()] == NAME_END);
const _: () = assert!(PREFIX.len() + 10 + 1 == LEN);

/// Do records that are appended end in it (`enabledAppendPropCRC`)?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PropCrc {
    /// They do.
    #[default]
    Append,
    /// They do not; header and properties go unchecked.
    Omit,
}

impl PropCrc {
    /// What it adds to a properties string without `__CRC32#` that ends as `is_ended` says, in
    /// bytes.
    pub(super) fn extra(self, is_ended: bool) -> usize {
        match self {
            Self::Append => LEN + usize::from(!is_ended),
            Self::Omit => 0,
        }
    }
}

/// A body, and its CRC with all its bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body {
    pub(super) at: usize,
    pub(super) len: usize,
    pub(super) crc: u32,
}

/// Fills the last 20 bytes of a record that is complete but for them.
pub(super) fn write(record: &mut [u8], body: Body) {
    let (rest, tail) = record.split_last_chunk_mut::<LEN>().expect("its room was counted");
    *tail = property(crc_of(rest, body));
}

/// Is the property there, and right?
pub(super) fn is_right(record: &[u8], body: Body) -> bool {
    record.split_last_chunk::<LEN>().is_some_and(|(rest, tail)| {
        tail.starts_with(PREFIX) && *tail == property(crc_of(rest, body))
    })
}

/// The same, of a record whose body was not looked at.
pub(super) fn is_right_outside(record: &[u8]) -> bool {
    record.split_last_chunk::<LEN>().is_some_and(|(rest, tail)| {
        tail.starts_with(PREFIX) && *tail == property(crc32fast::hash(rest))
    })
}

/// Does a properties string end in it?
pub(super) fn is_there(properties: &[u8]) -> bool {
    properties
        .last_chunk::<LEN>()
        .is_some_and(|tail| tail.starts_with(PREFIX) && tail[LEN - 1] == VALUE_END)
}

/// The CRC of `bytes`, in which `body` lies. Large bodies are not read again.
fn crc_of(bytes: &[u8], body: Body) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    let end = body.at + body.len;
    if body.len <= BYTES_PER_BIT * body.len.count_ones() as usize {
        hasher.update(bytes);
    } else {
        hasher.update(&bytes[..body.at]);
        let len = body.len as u64;
        hasher.combine(&crc32fast::Hasher::new_with_initial_len(body.crc, len));
        hasher.update(&bytes[end..]);
    }
    hasher.finalize()
}

fn property(crc: u32) -> [u8; LEN] {
    let mut bytes = [VALUE_END; LEN];
    bytes[..PREFIX.len()].copy_from_slice(PREFIX);
    let mut rest = crc & 0x7FFF_FFFF;
    for digit in &mut bytes[PREFIX.len()..LEN - 1] {
        *digit = b'0' + u8::try_from(rest % 10).expect("a digit");
        rest /= 10;
    }
    bytes
}

/// The pieces of `raw` that are not this property: what a client sends under its name is dropped,
/// and what is around it stays as it is.
pub(super) fn without(raw: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(raw);
    std::iter::from_fn(move || {
        let piece = rest.take()?;
        let Some(found) = find(piece) else { return Some(piece) };
        rest = Some(&piece[found.end..]);
        Some(&piece[..found.start])
    })
}

/// Where the property lies in `raw`, with the separator behind it.
fn find(raw: &[u8]) -> Option<Range<usize>> {
    let mut at = 0;
    for pair in raw.split_inclusive(|byte| *byte == VALUE_END) {
        if pair.starts_with(PREFIX) {
            return Some(at..at + pair.len());
        }
        at += pair.len();
    }
    None
}
