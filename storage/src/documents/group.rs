//! Subscription groups: how their messages are delivered, retried and given up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::DataVersion;
use crate::text::Text;

/// How long a group's retries wait.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RetryPolicy {
    /// The table of the customized kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customized_retry_policy: Option<CustomizedRetry>,
    /// The numbers of the exponential kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exponential_retry_policy: Option<ExponentialRetry>,
    /// Which kind.
    #[serde(rename = "type")]
    pub kind: RetryPolicyType,
}

/// Which kind of retry policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RetryPolicyType {
    /// Waits from a table.
    #[default]
    Customized,
    /// Waits that grow by a factor.
    Exponential,
}

/// Waits from a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CustomizedRetry {
    /// In milliseconds, first retry first.
    pub next: Vec<i64>,
}

/// Waits that grow by a factor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExponentialRetry {
    /// The first wait, in milliseconds.
    pub initial: i64,
    /// The longest wait, in milliseconds.
    pub max: i64,
    /// The factor.
    pub multiplier: i64,
}

impl Default for ExponentialRetry {
    fn default() -> Self {
        Self { initial: 5_000, max: 7_200_000, multiplier: 2 }
    }
}

/// A subscription that a group's configuration fixes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SimpleSubscription {
    /// What to take.
    pub expression: Text,
    /// In which language that is said: `TAG` or `SQL92`.
    pub expression_type: Text,
    /// Of which topic.
    pub topic: Text,
    /// When it was said.
    pub version: i64,
}

/// A group's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[allow(clippy::struct_excessive_bools, reason = "Apache's document has five")]
pub struct GroupConfig {
    /// Attributes, without the `+` of requests.
    pub attributes: BTreeMap<Text, Text>,
    /// Which broker of the set serves the group first.
    pub broker_id: i64,
    /// May it consume by broadcast?
    pub consume_broadcast_enable: bool,
    /// May it consume at all?
    pub consume_enable: bool,
    /// Does a new consumer begin at the minimum?
    pub consume_from_min_enable: bool,
    /// Does it consume in order?
    pub consume_message_orderly: bool,
    /// How long one message may take, in minutes.
    pub consume_timeout_minute: i32,
    /// Its name.
    pub group_name: Text,
    /// How long retries wait.
    pub group_retry_policy: RetryPolicy,
    /// A system flag; 0.
    pub group_sys_flag: i32,
    /// Are its consumers told when one joins or leaves?
    pub notify_consumer_ids_changed_enable: bool,
    /// How often a message is retried before it is given up.
    pub retry_max_times: i32,
    /// Queues of its retry topic.
    pub retry_queue_nums: i32,
    /// Subscriptions that are fixed here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data_set: Option<Vec<SimpleSubscription>>,
    /// Which broker serves it while the first one is slow.
    pub which_broker_when_consume_slowly: i64,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_message_orderly: false,
            consume_timeout_minute: 15,
            group_name: Text::EMPTY,
            group_retry_policy: RetryPolicy::default(),
            group_sys_flag: 0,
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            subscription_data_set: None,
            which_broker_when_consume_slowly: 1,
        }
    }
}

impl GroupConfig {
    /// A group of which only the name is known.
    pub fn new(name: &str) -> Self {
        Self { group_name: name.into(), ..Self::default() }
    }
}

/// `subscriptionGroup.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct GroupTable {
    /// Its version.
    pub data_version: DataVersion,
    /// What is forbidden: bits, by group and topic.
    pub forbidden_table: BTreeMap<Text, BTreeMap<Text, i32>>,
    /// By name.
    pub subscription_group_table: BTreeMap<Text, GroupConfig>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::Document;

    #[test]
    fn a_group_is_written_in_apaches_words() {
        let text = serde_json::to_string(&GroupConfig::new("G")).expect("JSON");
        let expected = concat!(
            r#"{"attributes":{},"brokerId":0,"consumeBroadcastEnable":true,"#,
            r#""consumeEnable":true,"consumeFromMinEnable":true,"#,
            r#""consumeMessageOrderly":false,"consumeTimeoutMinute":15,"groupName":"G","#,
            r#""groupRetryPolicy":{"type":"CUSTOMIZED"},"groupSysFlag":0,"#,
            r#""notifyConsumerIdsChangedEnable":true,"retryMaxTimes":16,"retryQueueNums":1,"#,
            r#""whichBrokerWhenConsumeSlowly":1}"#
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn a_retry_policy_reads_back() {
        let policy = r#"{"exponentialRetryPolicy":{"initial":7},"type":"EXPONENTIAL"}"#;
        let text = format!("{{groupRetryPolicy:{policy}}}");
        let group = GroupConfig::parse(text.as_bytes()).expect("a group");
        let policy = group.group_retry_policy.exponential_retry_policy.as_ref();
        assert_eq!(policy.map(|policy| (policy.initial, policy.multiplier)), Some((7, 2)));
        assert_eq!(GroupConfig::parse(&group.to_json()).expect("a group"), group);
    }
}
