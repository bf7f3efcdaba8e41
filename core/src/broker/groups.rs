//! Consumer groups: which exist, and what they may do.

use std::collections::BTreeMap;

use hotfire_storage::documents::{GroupConfig, GroupTable};
use hotfire_storage::text::Text;
use hotfire_storage::time::Wall;

use super::BrokerConfig;
use super::names::{self, Refusal};
use crate::domain::{Code, DataVersion};
use crate::machine::Digest;

/// Every group that was configured, or seen while groups are created on first use.
#[derive(Debug)]
pub(super) struct Groups {
    table: BTreeMap<Text, GroupConfig>,
    /// Group and topic to what is forbidden there. Kept as found: no request changes it yet.
    forbidden: BTreeMap<Text, BTreeMap<Text, i32>>,
    version: DataVersion,
    saved: i64,
    saving: Option<i64>,
    auto_create: bool,
    max: usize,
}

impl Groups {
    pub(super) fn restore(kept: GroupTable, version: DataVersion, config: &BrokerConfig) -> Self {
        Self {
            table: kept.subscription_group_table,
            forbidden: kept.forbidden_table,
            version,
            saved: version.counter,
            saving: None,
            auto_create: config.auto_create_group,
            max: config.limits.groups,
        }
    }

    pub(super) fn table(&self) -> &BTreeMap<Text, GroupConfig> {
        &self.table
    }

    pub(super) fn forbidden(&self) -> &BTreeMap<Text, BTreeMap<Text, i32>> {
        &self.forbidden
    }

    pub(super) fn version(&self) -> DataVersion {
        self.version
    }

    /// The group exists from now on, and may pull.
    pub(super) fn check_pull(&mut self, wall: Wall, group: &Text) -> Result<(), Refusal> {
        self.ensure(wall, group)?;
        if self.table.get(group).is_some_and(|config| config.consume_enable) {
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
        self.version.counter += 1;
        self.version.timestamp = wall.as_millis();
        Ok(())
    }

    /// Is there a change to save, and no save under way?
    pub(super) fn wants_save(&self) -> bool {
        self.saving.is_none() && self.saved < self.version.counter
    }

    /// The same; asking starts it: the caller saves now.
    pub(super) fn start_save(&mut self) -> bool {
        let due = self.wants_save();
        if due {
            self.saving = Some(self.version.counter);
        }
        due
    }

    /// The save ended.
    pub(super) fn save_ended(&mut self, durable: bool) {
        let upto = self.saving.take().expect("only a started save ends");
        if durable {
            self.saved = upto;
        }
    }

    pub(super) fn digest(&self, into: &mut Digest) {
        into.number(self.version.counter.cast_unsigned());
        self.table.keys().for_each(|group| into.bytes(group.as_bytes()));
    }
}
