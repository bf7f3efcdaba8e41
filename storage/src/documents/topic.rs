//! Topics: what they are called, how many queues they have, who may do what.

use std::collections::BTreeMap;
use std::ops::BitOr;

use serde::{Deserialize, Serialize};

use super::DataVersion;
use crate::text::Text;

/// The attribute that says what a topic's queues hold.
pub const QUEUE_TYPE: &str = "queue.type";
/// Its value for queues of inner batches.
pub const QUEUE_TYPE_BATCH: &str = "BatchCQ";

/// Queues that Apache gives a topic of which nothing else is said.
const QUEUES: u32 = 16;

/// What clients may do with a topic, or a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Perm(i32);

impl Perm {
    /// Nothing at all.
    pub const NONE: Self = Self(0);
    /// New topics may take over the configuration of this one.
    pub const INHERIT: Self = Self(1);
    /// Messages may be sent.
    pub const WRITE: Self = Self(2);
    /// Messages may be consumed.
    pub const READ: Self = Self(4);
    /// Both.
    pub const READ_WRITE: Self = Self(6);

    /// The permission with these bits.
    pub const fn from_bits(bits: i32) -> Self {
        Self(bits)
    }

    /// The bits, for formats.
    pub const fn bits(self) -> i32 {
        self.0
    }

    /// May messages be consumed?
    pub const fn is_readable(self) -> bool {
        self.0 & Self::READ.0 != 0
    }

    /// May messages be sent?
    pub const fn is_writable(self) -> bool {
        self.0 & Self::WRITE.0 != 0
    }

    /// May new topics take over this configuration?
    pub const fn is_inherited(self) -> bool {
        self.0 & Self::INHERIT.0 != 0
    }

    /// Without the bits of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// What both allow.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Default for Perm {
    fn default() -> Self {
        Self::READ_WRITE
    }
}

impl BitOr for Perm {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// How many tags a message has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FilterType {
    /// Several.
    MultiTag,
    /// One at most.
    #[default]
    SingleTag,
}

/// A topic's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicConfig {
    /// Attributes, without the `+` of requests.
    pub attributes: BTreeMap<Text, Text>,
    /// Is the topic ordered across brokers?
    pub order: bool,
    /// What clients may do.
    pub perm: Perm,
    /// Queues that consumers see.
    pub read_queue_nums: u32,
    /// How many tags a message has.
    pub topic_filter_type: FilterType,
    /// Its name.
    pub topic_name: Text,
    /// 1: unit topic, 2: unit subscription.
    pub topic_sys_flag: i32,
    /// Queues that producers see.
    pub write_queue_nums: u32,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            order: false,
            perm: Perm::default(),
            read_queue_nums: QUEUES,
            topic_filter_type: FilterType::default(),
            topic_name: Text::EMPTY,
            topic_sys_flag: 0,
            write_queue_nums: QUEUES,
        }
    }
}

impl TopicConfig {
    /// A topic of `queues` queues to read and to write.
    pub fn new(name: &str, queues: u32, perm: Perm) -> Self {
        Self {
            topic_name: name.into(),
            read_queue_nums: queues,
            write_queue_nums: queues,
            perm,
            ..Self::default()
        }
    }

    /// Do its queues hold inner batches?
    pub fn is_batch(&self) -> bool {
        self.attributes.get(QUEUE_TYPE).is_some_and(|value| value == QUEUE_TYPE_BATCH)
    }
}

/// `topics.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicTable {
    /// Its version.
    pub data_version: DataVersion,
    /// By name.
    pub topic_config_table: BTreeMap<Text, TopicConfig>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::Document;

    #[test]
    fn a_topic_is_written_in_apaches_words() {
        let mut topic = TopicConfig::new("T", 8, Perm::READ_WRITE | Perm::INHERIT);
        topic.attributes.insert(QUEUE_TYPE.into(), QUEUE_TYPE_BATCH.into());
        let text = serde_json::to_string(&topic).expect("JSON");
        let expected = concat!(
            r#"{"attributes":{"queue.type":"BatchCQ"},"order":false,"perm":7,"#,
            r#""readQueueNums":8,"topicFilterType":"SINGLE_TAG","topicName":"T","#,
            r#""topicSysFlag":0,"writeQueueNums":8}"#
        );
        assert_eq!(text, expected);
        assert!(topic.is_batch());
        assert_eq!(TopicConfig::parse(&topic.to_json()).expect("a topic"), topic);
    }

    #[test]
    fn what_is_missing_is_apaches_default() {
        let topic = TopicConfig::parse(b"{topicName:'T',later:{}}").expect("a topic");
        assert_eq!(topic, TopicConfig::new("T", 16, Perm::READ_WRITE));
    }
}
