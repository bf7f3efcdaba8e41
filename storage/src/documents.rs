//! Provisional (landed by the lead to unblock core): the storage branch replaces this file whole. Keep these
//! names, or adapt core/src/broker/{state,groups}.rs in the same commit.
#![allow(missing_docs)]
use crate::text::Text;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataVersion {
    pub counter: i64,
    pub state_version: i64,
    pub timestamp: i64,
}
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupConfig {
    pub group_name: Text,
    pub consume_enable: bool,
}
impl GroupConfig {
    pub fn new(group: &str) -> Self {
        Self { group_name: group.into(), consume_enable: true }
    }
}
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfig {
    pub topic_name: Text,
    pub read_queue_nums: u32,
    pub write_queue_nums: u32,
    pub perm: i32,
    pub topic_sys_flag: i32,
    pub order: bool,
    pub attributes: BTreeMap<Text, Text>,
}
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicTable {
    pub data_version: DataVersion,
    pub topic_config_table: BTreeMap<Text, TopicConfig>,
}
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupTable {
    pub data_version: DataVersion,
    pub subscription_group_table: BTreeMap<Text, GroupConfig>,
}
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OffsetTable {
    pub data_version: DataVersion,
    pub offset_table: BTreeMap<Text, BTreeMap<i32, i64>>,
}
pub trait Document: Sized {
    fn parse(bytes: &[u8]) -> Result<Self, String>;
    fn to_json(&self) -> Vec<u8>;
}
impl<T: Serialize + for<'a> Deserialize<'a>> Document for T {
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|e| e.to_string())
    }
    fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).unwrap()
    }
}
