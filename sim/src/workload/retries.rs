//! Messages that consumers fail to consume: which, how often, and where they go then.

use hotfire_core::domain::{BrokerRequest, GroupConfig, SendBack};
use hotfire_storage::position::Physical;
use hotfire_storage::text::Text;

use super::message::Id;
use crate::choose::mixed;

/// How often a message comes again before it is kept aside.
pub const MOST: i32 = 2;

/// A group that gets messages again so often: what every broker is told before it is asked for any,
/// and has to keep.
pub fn group(name: &Text) -> GroupConfig {
    GroupConfig { retry_max_times: MOST, retry_queue_nums: 2, ..GroupConfig::new(name) }
}

/// The topic from which a group gets what it failed to consume.
pub fn topic_of(group: &str) -> Text {
    format!("%RETRY%{group}").into()
}

/// Where that goes at last.
pub fn dead_letters_of(group: &str) -> Text {
    format!("%DLQ%{group}").into()
}

/// Whose retries, or dead letters, are in a topic.
pub fn group_of(topic: &str) -> Option<&str> {
    topic.strip_prefix("%RETRY%").or_else(|| topic.strip_prefix("%DLQ%"))
}

/// Does whoever consumes this message, that had failed so often, fail again? Nothing is drawn for
/// it, so that it is the same for every member of a group and in every attempt to shrink a run.
pub fn fails(id: Id, times: i32, per_mille: u32) -> bool {
    let number = u64::from(id.producer) << 40 | u64::from(id.number) << 8;
    mixed(number | u64::from(times.cast_unsigned())) % 1000 < u64::from(per_mille)
}

/// A message that is to be sent back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Back {
    /// Where its record lies.
    pub at: u64,
    /// Which.
    pub id: Id,
    /// How often it had failed before.
    pub times: i32,
}

impl Back {
    /// What its consumer asks for. Half of them leave it to the group how often.
    pub fn request(&self, group: &Text) -> BrokerRequest {
        BrokerRequest::SendBack(Box::new(SendBack {
            group: group.clone(),
            at: Physical::new(self.at),
            delay_level: 0,
            origin_id: Some(self.id.to_string().into()),
            max_reconsume_times: self.id.number.is_multiple_of(2).then_some(MOST),
            unit_mode: false,
        }))
    }

    /// Is this the answer of a broker that has the message no more? A real consumer sends another
    /// one in its place.
    pub fn is_gone(remark: &str) -> bool {
        remark.starts_with("can not find message by the offset")
    }
}
