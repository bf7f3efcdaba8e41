//! The keys under which a record is found, as hashes (store.md 7).
//!
//! In this order: the unique key, each blank-separated part of KEYS, and, as Apache does since
//! 5.4, the tags. What is hashed is `topic#key`, of tags `topic#T#tags`, as a Java string; nothing
//! is put together for it.

use crate::dispatch::Facts;
use crate::record::{Known, SysFlag, properties};

/// Separates a topic from a key.
const SEPARATOR: &str = "#";
/// Separates keys in KEYS.
const BLANK: u8 = b' ';

/// What a key is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// A unique key, or one of KEYS.
    #[default]
    Key,
    /// The tags, as a whole.
    Tags,
}

/// The hash under which the index knows a key: never above [`i32::MAX`].
pub(crate) fn hash(topic: &str, kind: KeyKind, key: &[u8]) -> u32 {
    let mark = match kind {
        KeyKind::Key => SEPARATOR,
        KeyKind::Tags => "#T#",
    };
    let begun = properties::java_hash_on(properties::java_hash(topic), mark);
    let hash = properties::java_hash_of(begun, key);
    let hash = hash.unsigned_abs();
    if i32::try_from(hash).is_ok() { hash } else { 0 }
}

/// The hashes of a record's keys, in the order in which they are put. Of a rolled-back record
/// there is none.
pub(crate) fn hashes<'a>(facts: &Facts<'a>) -> impl Iterator<Item = u32> + use<'a> {
    let is_indexed = facts.sys_flag.transaction() != SysFlag::ROLLBACK;
    let known = if is_indexed { facts.known } else { Known::default() };
    let Known { unique_key: unique, keys, tags_key: tags, .. } = known;
    let topic = facts.topic;
    let keys = keys.into_iter().flat_map(|keys: &[u8]| keys.split(|&byte| byte == BLANK));
    let keys = unique.into_iter().chain(keys.filter(|key| !key.is_empty()));
    let keys = keys.map(move |key| hash(topic, KeyKind::Key, key));
    keys.chain(tags.map(move |tags| hash(topic, KeyKind::Tags, tags)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{Physical, QueueOffset, Span};
    use crate::time::Wall;

    fn of(sys_flag: SysFlag, raw: &[&[u8]]) -> Vec<u32> {
        let span = Span { at: Physical::ZERO, len: 1 };
        let (queue_offset, stored) = (QueueOffset::ZERO, Wall::default());
        let (topic, known) = ("T", Known::of(raw));
        let facts = Facts { topic, queue_offset, span, stored, sys_flag, properties: raw, known };
        hashes(&facts).collect()
    }

    #[test]
    fn hashes_are_those_of_java() {
        let java = |text: &str| properties::java_hash(text).unsigned_abs();
        assert_eq!(hash("Topic", KeyKind::Key, b"k1"), java("Topic#k1"));
        assert_eq!(hash("Topic", KeyKind::Tags, b"a"), java("Topic#T#a"));
        let smile = "\u{1F600}\u{e9}";
        assert_eq!(hash("T", KeyKind::Key, smile.as_bytes()), java(&format!("T#{smile}")));
        assert_eq!(hash("T", KeyKind::Key, b"a\xFF"), java("T#a\u{FFFD}"));
    }

    #[test]
    fn a_record_is_known_by_its_unique_key_its_keys_and_its_tags() {
        let key = |key: &str| hash("T", KeyKind::Key, key.as_bytes());
        let raw: &[&[u8]] = &[b"TAGS\x01x\x02KEYS\x01a  b \x02", b"UNIQ_KEY\x01U\x02"];
        let tags = hash("T", KeyKind::Tags, b"x");
        assert_eq!(of(SysFlag::NONE, raw), [key("U"), key("a"), key("b"), tags]);
        assert_eq!(of(SysFlag::COMMIT, raw).len(), 4);
        assert_eq!(of(SysFlag::PREPARED, raw).len(), 4);
        assert!(of(SysFlag::ROLLBACK, raw).is_empty());
        assert!(of(SysFlag::NONE, &[b"UNIQ_KEY\x01\x02KEYS\x01 \x02A\x01b"]).is_empty());
    }
}
