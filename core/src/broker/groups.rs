//! Consumer groups: which exist, and what they may do.

use std::collections::{BTreeMap, BTreeSet};

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
    /// Group and topic to what is forbidden there. Kept as found, until the group is deleted.
    forbidden: BTreeMap<Text, BTreeMap<Text, i32>>,
    version: Version,
    auto_create: bool,
    max: usize,
    /// Queues of a topic, of a group's retries, too.
    max_queues: u32,
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
            max_queues: config.limits.queues_per_topic,
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
            return Err(self.too_many());
        }
        self.table.insert(group.detached(), GroupConfig::new(group));
        self.version.change(wall);
        Ok(())
    }

    /// Makes groups as wanted: all of them, or none. Answers the newest change that this speaks of.
    pub(super) fn configure(
        &mut self,
        wall: Wall,
        wanted: Vec<GroupConfig>,
    ) -> Result<i64, Refusal> {
        let made = wanted.into_iter().map(|wanted| self.changed(wanted));
        let made: Vec<GroupConfig> = made.collect::<Result<_, _>>()?;
        let is_new = |config: &&GroupConfig| !self.table.contains_key(&config.group_name);
        let new: BTreeSet<&Text> =
            made.iter().filter(is_new).map(|made| &made.group_name).collect();
        if self.table.len() + new.len() > self.max {
            return Err(self.too_many());
        }
        for config in made {
            let name = config.group_name.detached();
            if self.table.get(&name) != Some(&config) {
                self.version.change(wall);
                self.table.insert(name, config);
            }
        }
        Ok(self.version.now().counter)
    }

    /// A group as it is wanted, with the attributes that it has.
    fn changed(&self, wanted: GroupConfig) -> Result<GroupConfig, Refusal> {
        let group = &wanted.group_name;
        names::check_group(group)?;
        let allowed = 0..=i32::try_from(self.max_queues).unwrap_or(i32::MAX);
        if !allowed.contains(&wanted.retry_queue_nums) {
            let (queues, most) = (wanted.retry_queue_nums, self.max_queues);
            let remark = format!("retryQueueNums={queues}: 0 to {most} are allowed");
            return Err((Code::InvalidParameter, remark));
        }
        let held = self.table.get(group);
        let mut attributes = held.map(|held| held.attributes.clone()).unwrap_or_default();
        for (change, value) in &wanted.attributes {
            match (change.strip_prefix('+'), change.strip_prefix('-')) {
                (Some(key), _) => _ = attributes.insert(key.into(), value.detached()),
                (None, Some(key)) => _ = attributes.remove(key),
                (None, None) => {
                    let remark = format!("attributes: {change:?} is neither +key nor -key");
                    return Err((Code::InvalidParameter, remark));
                }
            }
        }
        Ok(GroupConfig { attributes, ..wanted })
    }

    /// The group is no more. Answers the newest change that this speaks of.
    pub(super) fn delete(&mut self, wall: Wall, group: &str) -> i64 {
        let (was, were) = (self.table.remove(group), self.forbidden.remove(group));
        if was.is_some() || were.is_some() {
            self.version.change(wall);
        }
        self.version.now().counter
    }

    /// How a group is configured.
    pub(super) fn config(&mut self, wall: Wall, group: &Text) -> Result<GroupConfig, Refusal> {
        self.ensure(wall, group)?;
        let config = self.get(group).cloned().expect("it is there from now on");
        Ok(GroupConfig { group_name: group.detached(), ..config })
    }

    fn too_many(&self) -> Refusal {
        let remark = format!("this broker keeps {} groups, its limit", self.max);
        (Code::SystemError, remark)
    }

    pub(super) fn digest(&self, into: &mut Digest) {
        into.number(self.version.now().counter.cast_unsigned());
        self.table.keys().for_each(|group| into.bytes(group.as_bytes()));
    }
}
