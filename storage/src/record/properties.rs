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
    let mut rest = Some(raw);
    let pairs = std::iter::from_fn(move || {
        let raw = rest.take()?;
        let end = memchr::memchr(VALUE_END, raw);
        rest = end.map(|end| &raw[end + 1..]);
        Some(&raw[..end.unwrap_or(raw.len())])
    });
    pairs.filter_map(|pair| {
        let end = memchr::memchr(NAME_END, pair)?;
        Some((&pair[..end], &pair[end + 1..]))
    })
}

/// The value of the first property named `key`.
pub fn find<'a>(mut raw: &'a [u8], key: &str) -> Option<&'a [u8]> {
    loop {
        let end = memchr::memchr(VALUE_END, raw);
        let pair = &raw[..end.unwrap_or(raw.len())];
        let rest = pair.strip_prefix(key.as_bytes());
        if let Some(value) = rest.and_then(|rest| rest.strip_prefix(&[NAME_END])) {
            return Some(value);
        }
        raw = &raw[end? + 1..];
    }
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
    let step = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    if text.is_ascii() {
        return text.bytes().fold(before, |hash, byte| step(hash, u16::from(byte)));
    }
    text.encode_utf16().fold(before, step)
}

/// The tags code of a ConsumeQueue unit (store.md 5.1): the sign-extended hash of the tags, 0
/// without any; in the schedule topic the time of delivery, in milliseconds.
pub fn tags_code(topic: &str, properties: &[&[u8]], stored: Wall, delay_levels: &[i64]) -> i64 {
    if topic == SCHEDULE_TOPIC
        && let Some(level) = find_in(properties, DELAY).and_then(number)
        && level > 0
    {
        return delivery_time(level, stored, delay_levels);
    }
    let tags = find_in(properties, TAGS).and_then(|tags| std::str::from_utf8(tags).ok());
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
        // A character outside the basic plane counts as two code units.
        assert_eq!(java_hash("\u{1F600}"), 0xD83D * 31 + 0xDE00);
    }

    #[test]
    fn a_delayed_message_carries_its_time_instead_of_its_tags() {
        let (levels, stored) = ([1000, 5000], Wall::from_millis(100));
        let code = |topic, raw: &[u8]| tags_code(topic, &[raw], stored, &levels);
        assert_eq!(code(SCHEDULE_TOPIC, b"DELAY\x012\x02TAGS\x01a"), 5100);
        assert_eq!(code(SCHEDULE_TOPIC, b"DELAY\x0199\x02TAGS\x01a"), 5100);
        assert_eq!(code(SCHEDULE_TOPIC, b"DELAY\x010\x02TAGS\x01a"), 97);
        assert_eq!(code("T", b"DELAY\x012\x02TAGS\x01a"), 97);
        assert_eq!(code("T", b"TAGS\x01polygenelubricants"), i64::from(i32::MIN));
        assert_eq!(tags_code(SCHEDULE_TOPIC, &[b"DELAY\x012"], stored, &[]), 1100);
    }
}
