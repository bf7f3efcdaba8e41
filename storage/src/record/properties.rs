//! The properties string of a message: `key 0x01 value 0x02`, repeated (store.md 4.1). The last
//! 0x02 may be missing. Nothing here allocates or re-serialises: what was stored stays as it is.

use crate::time::Wall;

/// Separates a key from its value.
pub const NAME_END: u8 = 1;
/// Ends a value.
pub const VALUE_END: u8 = 2;

/// By which a message is known, whatever its position: its client makes it.
pub const UNIQ_KEY: &str = "UNIQ_KEY";
/// Tags, `||`-separated in subscriptions, one string in a message.
pub const TAGS: &str = "TAGS";
/// Words by which a message may be found, blank-separated.
pub const KEYS: &str = "KEYS";
/// The delay level, in decimal.
pub const DELAY: &str = "DELAY";
/// How many messages an inner batch holds.
pub const INNER_NUM: &str = "INNER_NUM";
/// The first queue offset of an inner batch.
pub const INNER_BASE: &str = "INNER_BASE";
/// Light queues that also point at this message, `,`-separated.
pub const MULTI_DISPATCH: &str = "INNER_MULTI_DISPATCH";
/// The offsets in those queues, `,`-separated.
pub const MULTI_QUEUE_OFFSET: &str = "INNER_MULTI_QUEUE_OFFSET";

/// The topic in which delayed messages wait, one queue a level.
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";

/// The pairs of a properties string, in their order. A piece without [`NAME_END`] is skipped.
pub fn iter(raw: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < raw.len() {
            let (begin, mut end) = (at, separator(raw, at));
            let name = begin..end;
            let has_name = raw.get(end) == Some(&NAME_END);
            while raw.get(end) == Some(&NAME_END) {
                end = separator(raw, end + 1);
            }
            at = end + 1;
            if has_name {
                return Some((&raw[name.clone()], &raw[name.end + 1..end]));
            }
        }
        None
    })
}

/// Where the first separator of `raw` lies from `at` on, or where `raw` ends. Names and values are
/// short: eight bytes at once beat a search that is made for long ones.
fn separator(raw: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::MAX / 255;
    while let Some(word) = raw.get(at..).and_then(|rest| rest.first_chunk()) {
        let word = u64::from_le_bytes(*word);
        // The lowest bit that is set is of the first byte below 3; higher ones may be of others.
        let below = word.wrapping_sub(ONES * 3) & !word & (ONES * 128);
        if below == 0 {
            at += 8;
            continue;
        }
        at += below.trailing_zeros() as usize / 8;
        if raw[at] != 0 {
            return at;
        }
        at += 1;
    }
    let is_one = |byte: &u8| matches!(*byte, NAME_END | VALUE_END);
    raw.get(at..).and_then(|rest| rest.iter().position(is_one)).map_or(raw.len(), |n| at + n)
}

/// The value of the first property named `key`.
pub fn find<'a>(raw: &'a [u8], key: &str) -> Option<&'a [u8]> {
    iter(raw).find(|(name, _)| *name == key.as_bytes()).map(|(_, value)| value)
}

/// The value of the first property of each of these names, found in one walk.
pub fn find_all<'a, const N: usize>(raw: &'a [u8], keys: [&str; N]) -> [Option<&'a [u8]>; N] {
    let mut found = [None; N];
    for (name, value) in iter(raw) {
        if let Some(place) = keys.iter().position(|key| key.as_bytes() == name) {
            found[place].get_or_insert(value);
        }
    }
    found
}

/// The same over several pieces, of which none cuts a property in two.
pub fn find_in<'a>(pieces: &[&'a [u8]], key: &str) -> Option<&'a [u8]> {
    pieces.iter().find_map(|piece| find(piece, key))
}

/// Java's `String.hashCode`: over UTF-16 code units, wrapping.
pub fn java_hash(text: &str) -> i32 {
    java_hash_on(0, text)
}

/// The hash of a text that begins with one whose hash is `before`, and goes on with `text`.
pub fn java_hash_on(before: i32, text: &str) -> i32 {
    if text.is_ascii() {
        return ascii_hash_on(before, text.as_bytes());
    }
    text.encode_utf16().fold(before, |hash, unit| hash_step(hash, i32::from(unit)))
}

/// The same of bytes that are text in UTF-8: each run of others counts as U+FFFD, as in Java.
pub(crate) fn java_hash_of(before: i32, bytes: &[u8]) -> i32 {
    if bytes.is_ascii() {
        return ascii_hash_on(before, bytes);
    }
    bytes.utf8_chunks().fold(before, |hash, chunk| {
        let hash = java_hash_on(hash, chunk.valid());
        if chunk.invalid().is_empty() { hash } else { java_hash_on(hash, "\u{FFFD}") }
    })
}

fn hash_step(hash: i32, unit: i32) -> i32 {
    hash.wrapping_mul(31).wrapping_add(unit)
}

/// The same of bytes that are ASCII, four at once: each step waits for the one before it.
fn ascii_hash_on(before: i32, bytes: &[u8]) -> i32 {
    const P2: i32 = 31 * 31;
    const P3: i32 = P2 * 31;
    const P4: i32 = P3 * 31;
    let (fours, rest) = bytes.as_chunks();
    let hash = fours.iter().fold(before, |hash, [a, b, c, d]: &[u8; 4]| {
        let [a, b, c, d] = [*a, *b, *c, *d].map(i32::from);
        hash.wrapping_mul(P4).wrapping_add(a * P3 + b * P2 + c * 31 + d)
    });
    rest.iter().fold(hash, |hash, byte| hash_step(hash, i32::from(*byte)))
}

/// The tags code of a ConsumeQueue unit (store.md 5.1): the sign-extended hash of `tags`, which
/// are the first TAGS among the properties, 0 without any; in the schedule topic the time of
/// delivery, in milliseconds.
pub(crate) fn tags_code(
    topic: &str,
    properties: &[&[u8]],
    tags: Option<&[u8]>,
    stored: Wall,
    delay_levels: &[i64],
) -> i64 {
    if topic == SCHEDULE_TOPIC
        && let Some(level) = find_in(properties, DELAY).and_then(number)
        && level > 0
    {
        return delivery_time(level, stored, delay_levels);
    }
    let tags = tags.and_then(|tags| std::str::from_utf8(tags).ok());
    tags.map_or(0, |tags| i64::from(java_hash(tags)))
}

/// When a message of `level` stored at `stored` is due, in milliseconds since 1970. Levels above
/// the highest count as the highest; without a table everything is due after a second.
pub fn delivery_time(level: u64, stored: Wall, delay_levels: &[i64]) -> i64 {
    let index = usize::try_from(level).unwrap_or(usize::MAX).min(delay_levels.len());
    let delay = index.checked_sub(1).map_or(1000, |index| delay_levels[index]);
    stored.as_millis().saturating_add(delay)
}

/// A decimal number without sign.
pub fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_is_found_with_and_without_the_last_separator() {
        for raw in [
            &b"A\x011\x02BB\x0122\x02"[..],
            b"A\x011\x02BB\x0122",
            b"\x02junk\x02A\x011\x02BB\x0122",
        ] {
            assert_eq!(find(raw, "A"), Some(&b"1"[..]));
            assert_eq!(find(raw, "BB"), Some(&b"22"[..]));
            assert_eq!(find(raw, "B"), None);
        }
        let raw = b"\x02A\x02B\x012\x02A\x011\x02A\x013";
        assert_eq!(find_all(raw, ["A", "C", "B"]), [Some(&b"1"[..]), None, Some(b"2")]);
        assert_eq!(find_in(&[b"A\x011\x02", b"B\x01\x02"], "B"), Some(&b""[..]));
    }

    #[test]
    fn hashes_are_those_of_java() {
        let known =
            [("", 0), ("lmq", 107_280), ("Tag0", 2_598_902), ("polygenelubricants", i32::MIN)];
        for (text, hash) in known {
            assert_eq!(java_hash(text), hash, "{text}");
        }
        for text in ["The quick brown fox", "jumps", "over 13 lazy dogs!"] {
            let slow = |hash, byte| hash_step(hash, i32::from(byte));
            assert_eq!(java_hash_on(-7, text), text.bytes().fold(-7, slow));
        }
        // A character outside the basic plane counts as two code units.
        assert_eq!(java_hash("\u{1F600}"), 0xD83D * 31 + 0xDE00);
    }

    #[test]
    fn a_delayed_message_carries_its_time_instead_of_its_tags() {
        let (levels, stored) = ([1000, 5000], Wall::from_millis(100));
        let code = |topic, raw: &[u8]| tags_code(topic, &[raw], find(raw, TAGS), stored, &levels);
        assert_eq!(code(SCHEDULE_TOPIC, b"DELAY\x012\x02TAGS\x01a"), 5100);
        assert_eq!(code(SCHEDULE_TOPIC, b"DELAY\x0199\x02TAGS\x01a"), 5100);
        assert_eq!(code(SCHEDULE_TOPIC, b"DELAY\x010\x02TAGS\x01a"), 97);
        assert_eq!(code("T", b"DELAY\x012\x02TAGS\x01a"), 97);
        assert_eq!(code("T", b"TAGS\x01polygenelubricants"), i64::from(i32::MIN));
        assert_eq!(tags_code(SCHEDULE_TOPIC, &[b"DELAY\x012"], None, stored, &[]), 1100);
    }
}
