//! The JSON state files of a broker that are domain types as well (store.md 3, requests.md D.1).
//!
//! Names are Apache's. Unknown members are ignored and missing ones defaulted, since files of
//! older and newer versions must load. Maps are sorted, so one state has one text.

mod group;
mod topic;

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use group::{
    CustomizedRetry, ExponentialRetry, GroupConfig, GroupTable, RetryPolicy, RetryPolicyType,
    SimpleSubscription,
};
pub use topic::{FilterType, Perm, QUEUE_TYPE, QUEUE_TYPE_BATCH, TopicConfig, TopicTable};

use crate::dialect::{DialectError, to_strict};
use crate::text::Text;
use crate::time::Wall;

/// Where the topics lie, relative to the store's root.
pub const TOPICS: &str = "config/topics.json";
/// Where the groups lie.
pub const GROUPS: &str = "config/subscriptionGroup.json";
/// Where the consumer offsets lie.
pub const OFFSETS: &str = "config/consumerOffset.json";
/// Where they lie instead if light queues are on.
pub const LIGHT_OFFSETS: &str = "config/lmqConsumerOffset.json";
/// Where it says how far delayed messages are delivered.
pub const DELAY_OFFSETS: &str = "config/delayOffset.json";

/// Where the consumer offsets lie, with light queues or without.
pub const fn offsets_path(light_queues: bool) -> &'static str {
    if light_queues { LIGHT_OFFSETS } else { OFFSETS }
}

/// Why a document cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is not JSON, not even Apache's.
    #[error(transparent)]
    Dialect(#[from] DialectError),
    /// It does not have the document's shape.
    #[error(transparent)]
    Shape(#[from] serde_json::Error),
}

/// What is kept as text.
pub trait Document: Sized {
    /// Reads a document in Apache's dialect or in strict JSON.
    fn parse(text: &[u8]) -> Result<Self, DocumentError>;

    /// Prints it as Apache does, tabs and all, but with every key quoted.
    fn to_json(&self) -> Vec<u8>;
}

impl<T: Serialize + DeserializeOwned> Document for T {
    fn parse(text: &[u8]) -> Result<Self, DocumentError> {
        Ok(serde_json::from_slice(&to_strict(text)?)?)
    }

    fn to_json(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let format = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut printer = serde_json::Serializer::with_formatter(&mut text, format);
        self.serialize(&mut printer).expect("maps with text keys, written to memory");
        text
    }
}

/// Which state of a table one looks at. Grows with every change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DataVersion {
    /// Changes so far.
    pub counter: i64,
    /// The controller's version; 0 without one.
    pub state_version: i64,
    /// When the last change was made, in milliseconds since 1970.
    pub timestamp: i64,
}

impl DataVersion {
    /// One change more, made at `now`.
    pub fn advance(&mut self, now: Wall) {
        self.counter += 1;
        self.timestamp = now.as_millis();
    }
}

/// `consumerOffset.json`, and with light queues `lmqConsumerOffset.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OffsetTable {
    /// Its version.
    pub data_version: DataVersion,
    /// Which topics a group has offsets in; older stores lack it.
    pub group_topic_map: BTreeMap<Text, BTreeSet<Text>>,
    /// Offsets in light queues, by `%LMQ%name@group`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lmq_offset_table: BTreeMap<Text, i64>,
    /// The next offset to consume, by `topic@group` and queue id.
    pub offset_table: BTreeMap<Text, BTreeMap<i32, i64>>,
    /// Offsets that an operator set, and to which the group has not gone yet; by the same keys.
    /// Ours alone: Apache's forget them with their process, and read over them here.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reset_offset_table: BTreeMap<Text, BTreeMap<i32, i64>>,
}

impl OffsetTable {
    /// The key of a topic's offsets for a group.
    pub fn key(topic: &str, group: &str) -> Text {
        Text::from(format!("{topic}@{group}"))
    }
}

/// `delayOffset.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DelayOffsetTable {
    /// Its version. Apache's counts it up at every 200th change only.
    pub data_version: DataVersion,
    /// The next offset to deliver, by delay level: level 1 is queue 0 of the schedule topic.
    pub offset_table: BTreeMap<i32, i64>,
    /// What our masters tell slaves besides, and is in no file: below this position of the log lies
    /// everything that was delivered by then. Apache's read over it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_end: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_in_the_dialect_and_written_strictly() {
        let text = br#"{"dataVersion":{"counter":1,"later":2},"offsetTable":{"T@G":{1:6,2:3}}}"#;
        let table = OffsetTable::parse(text).expect("an offset table");
        assert_eq!(table.data_version.counter, 1);
        assert_eq!(table.offset_table[&OffsetTable::key("T", "G")][&2], 3);
        let printed = table.to_json();
        assert!(printed.windows(6).any(|window| window == b"\"1\": 6"));
        assert_eq!(serde_json::from_slice::<OffsetTable>(&printed).expect("strict"), table);
    }

    #[test]
    fn delay_offsets_are_read_in_the_dialect_and_written_strictly() {
        let text = br#"{"dataVersion":{"counter":7,"timestamp":9},"offsetTable":{1:5,18:0}}"#;
        let table = DelayOffsetTable::parse(text).expect("a table");
        assert_eq!((table.data_version.counter, table.data_version.timestamp), (7, 9));
        assert_eq!(table.offset_table, BTreeMap::from([(1, 5), (18, 0)]));
        let printed = table.to_json();
        assert_eq!(serde_json::from_slice::<DelayOffsetTable>(&printed).expect("strict"), table);
        assert_eq!(DelayOffsetTable::parse(b"{}").expect("a table"), DelayOffsetTable::default());
        assert!(DelayOffsetTable::parse(br#"{"offsetTable":{1:"five"}}"#).is_err());
    }

    #[test]
    fn a_version_counts_changes() {
        let mut version = DataVersion::default();
        version.advance(Wall::from_millis(9));
        assert_eq!(version, DataVersion { counter: 1, state_version: 0, timestamp: 9 });
    }
}
