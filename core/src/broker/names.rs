//! Names: which are well formed, which are the system's, and who may send where (wire.md 11).

use hotfire_storage::record::properties::SCHEDULE_TOPIC;

use crate::domain::{Code, DEFAULT_TOPIC};

/// A consumer group's own topic for what it failed to consume.
pub(super) const RETRY_PREFIX: &str = "%RETRY%";
/// Where messages go that a group failed to consume too often.
pub(super) const DEAD_LETTER_PREFIX: &str = "%DLQ%";
/// A topic of a group of brokers, by which its members watch each other.
pub(super) const SYNC_MEMBER_PREFIX: &str = "rmq_sys_SYNC_BROKER_MEMBER_";
/// A light queue: messages of other topics, found under one more name.
pub(super) const LIGHT_PREFIX: &str = "%LMQ%";

const TOPIC_MAX: usize = 127;
const GROUP_TOPIC_MAX: usize = 255;
const GROUP_MAX: usize = 255;

/// Topics that exist on every broker, with their queues and permission.
pub(super) const BUILT_IN: [(&str, u32, i32); 9] = [
    ("SELF_TEST_TOPIC", 1, 6),
    ("BenchmarkTest", 1024, 6),
    ("OFFSET_MOVED_EVENT", 1, 6),
    (SCHEDULE_TOPIC, 18, 6),
    ("RMQ_SYS_TRANS_HALF_TOPIC", 1, 6),
    ("RMQ_SYS_TRANS_OP_HALF_TOPIC", 1, 6),
    ("TRANS_CHECK_MAX_TIME_TOPIC", 1, 6),
    ("rmq_sys_wheel_timer", 1, 6),
    ("RMQ_SYS_TRACE_TOPIC", 1, 6),
];

/// Topics that no client may send to.
const BARRED: [&str; 6] = [
    SCHEDULE_TOPIC,
    "RMQ_SYS_TRANS_HALF_TOPIC",
    "RMQ_SYS_TRANS_OP_HALF_TOPIC",
    "TRANS_CHECK_MAX_TIME_TOPIC",
    "SELF_TEST_TOPIC",
    "OFFSET_MOVED_EVENT",
];

/// A reason to refuse, for programs and for people.
pub(super) type Refusal = (Code, String);

fn well_formed(name: &str) -> bool {
    let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'%' | b'|' | b'_' | b'-');
    !name.is_empty() && name.bytes().all(fits)
}

/// Is this the name of a topic? These names also become directories: what passes holds no
/// separator and no dot.
pub(super) fn check_topic(topic: &str) -> Result<(), Refusal> {
    let of_group = topic.starts_with(RETRY_PREFIX) || topic.starts_with(DEAD_LETTER_PREFIX);
    let max = if of_group { GROUP_TOPIC_MAX } else { TOPIC_MAX };
    if topic.len() > max {
        let remark = format!("the topic name has {} bytes; at most {max} are allowed", topic.len());
        return Err((Code::InvalidParameter, remark));
    }
    if !well_formed(topic) {
        let remark = format!(
            "{topic:?} is not a topic name: use letters, digits, '_', '-', '%' and '|' only"
        );
        return Err((Code::InvalidParameter, remark));
    }
    Ok(())
}

/// Is this the name of a group?
pub(super) fn check_group(group: &str) -> Result<(), Refusal> {
    if group.len() > GROUP_MAX || !well_formed(group) {
        let remark = format!(
            "{:?} is not a group name: use at most {GROUP_MAX} letters, digits, '_', '-', '%' \
             and '|'",
            &group[..group.floor_char_boundary(GROUP_MAX)]
        );
        return Err((Code::InvalidParameter, remark));
    }
    Ok(())
}

/// May clients send to this topic, if there is one of that name?
pub(super) fn check_not_barred(topic: &str) -> Result<(), Refusal> {
    if BARRED.contains(&topic) {
        let remark = format!("the topic {topic} is the broker's own; send to another");
        return Err((Code::NoPermission, remark));
    }
    Ok(())
}

/// Is this a topic of the system, which no tool may change or delete?
pub(super) fn is_system(topic: &str) -> bool {
    topic == DEFAULT_TOPIC
        || topic.starts_with("rmq_sys_")
        || BUILT_IN.iter().any(|(name, ..)| *name == topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CVE-2019-17572: a topic name that is a path.
    #[test]
    fn a_name_that_could_leave_its_directory_is_refused() {
        for bad in ["", ".", "..", "a/b", "../x", "a\\b", "a\0b", "tópico", "a b", "a.b"] {
            assert!(check_topic(bad).is_err(), "{bad:?}");
            assert!(check_group(bad).is_err(), "{bad:?}");
        }
        assert!(check_topic("%RETRY%group_1-a|b").is_ok());
        assert!(check_topic(&"x".repeat(128)).is_err());
        assert!(check_not_barred("SCHEDULE_TOPIC_XXXX").is_err());
    }
}
