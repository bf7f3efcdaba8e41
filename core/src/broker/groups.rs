//! Consumer groups: which exist, and what they may do.

use std::collections::BTreeMap;

use hotfire_storage::documents::{GroupConfig, GroupTable};
use hotfire_storage::text::Text;
use hotfire_storage::time::Wall;

use super::BrokerConfig;
use super::names::{self, Refusal};
use super::version::Version;
use crate::domain::Code;
use crate::machine::Digest;

/// Every group that was configured, or seen while groups are created on first use.
#[derive(Debug)]
pub(super) struct Groups {
    table: BTreeMap<Text, GroupConfig>,
    /// Group and topic to what is forbidden there. Kept as found: no request changes it yet.
    forbidden: BTreeMap<Text, BTreeMap<Text, i32>>,
    version: Version,
    auto_create: bool,
    max: usize,
    /// What every group of light queues is like, if there are any.
    light: Option<GroupConfig>,
}

/// What is to become of messages that a group fails to consume.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retries {
    /// Queues of its retry topic (`retryQueueNums`); none: what failed is not wanted again.
    pub(super) queues: i32,
    /// How often a message comes again (`retryMaxTimes`).
    pub(super) most: i32,
}

impl Groups {
    pub(super) fn restore(kept: GroupTable, config: &BrokerConfig) -> Self {
        Self {
            table: kept.subscription_group_table,
            forbidden: kept.forbidden_table,
            version: Version::restored(kept.data_version),
            auto_create: config.auto_create_group,
            max: config.limits.groups,
            light: config.light_queues.then(GroupConfig::default),
        }
    }

    pub(super) fn table(&self) -> &BTreeMap<Text, GroupConfig> {
        &self.table
    }

    pub(super) fn forbidden(&self) -> &BTreeMap<Text, BTreeMap<Text, i32>> {
        &self.forbidden
    }

    pub(super) fn version(&self) -> &Version {
        &self.version
    }

    pub(super) fn version_mut(&mut self) -> &mut Version {
        &mut self.version
    }

    /// Which brokers a group pulls from: as long as it keeps up, and when it is far behind.
    pub(super) fn served_by(&self, group: &str) -> (i64, i64) {
        let kept = self.get(group);
        kept.map_or((0, 1), |of| (of.broker_id, of.which_broker_when_consume_slowly))
    }

    /// How many queues a group's retry topic has, and how often a message comes again.
    pub(super) fn retries(&self, group: &str) -> Retries {
        let of = |kept: &GroupConfig| Retries {
            queues: kept.retry_queue_nums,
            most: kept.retry_max_times,
        };
        self.get(group).map_or_else(|| of(&GroupConfig::default()), of)
    }

    /// A group. Those of light queues are not in the table, and all alike.
    fn get(&self, group: &str) -> Option<&GroupConfig> {
        let light = self.light.as_ref().filter(|_| group.starts_with(names::LIGHT_PREFIX));
        self.table.get(group).or(light)
    }

    /// Becomes what the master's table is, if it is not.
    pub(super) fn follow(&mut self, kept: GroupTable) {
        if self.version.follow(kept.data_version) {
            self.table = kept.subscription_group_table;
            self.forbidden = kept.forbidden_table;
        }
    }

    /// The group exists from now on, and may pull.
    pub(super) fn check_pull(&mut self, wall: Wall, group: &Text) -> Result<(), Refusal> {
        self.ensure(wall, group)?;
        if self.get(group).is_some_and(|config| config.consume_enable) {
            return Ok(());
        }
        let remark = format!("subscription group no permission, {group}: consumeEnable=false");
        Err((Code::NoPermission, remark))
    }

    /// The group exists from now on.
    pub(super) fn ensure(&mut self, wall: Wall, group: &Text) -> Result<(), Refusal> {
        if self.table.contains_key(group) {
            return Ok(());
        }
        names::check_group(group)?;
        if self.get(group).is_some() {
            return Ok(());
        }
        if !self.auto_create {
            let remark = format!(
                "subscription group [{group}] does not exist: create it, or set \
                 autoCreateSubscriptionGroup=true"
            );
            return Err((Code::SubscriptionGroupNotExist, remark));
        }
        if self.table.len() >= self.max {
            let remark = format!("this broker keeps {} groups, its limit", self.max);
            return Err((Code::SystemError, remark));
        }
        self.table.insert(group.detached(), GroupConfig::new(group));
        self.version.change(wall);
        Ok(())
    }

    pub(super) fn digest(&self, into: &mut Digest) {
        into.number(self.version.now().counter.cast_unsigned());
        self.table.keys().for_each(|group| into.bytes(group.as_bytes()));
    }
}
