//! Keys of groups whose slaves act for a master that is gone.

use hotfire_core::broker::ActingPolicy;

use super::value::{Millis, millis, switch};
use super::{BrokerConf, Key, row};

/// Whether slaves act, and how brokers of a group watch each other.
#[derive(Clone, Debug)]
pub struct ActingConf {
    /// Do they?
    pub is_on: bool,
    /// How often name servers are told that the broker lives.
    pub beat_every: Millis,
    /// Silence after which they take it for dead.
    pub expiry: Millis,
    /// How often they are asked who lives.
    pub watch_every: Millis,
}

impl Default for ActingConf {
    fn default() -> Self {
        Self {
            is_on: false,
            beat_every: Millis(1000),
            expiry: Millis(10_000),
            watch_every: Millis(1000),
        }
    }
}

impl ActingConf {
    /// What the machine is told.
    pub(super) fn policy(&self) -> Option<ActingPolicy> {
        self.is_on.then(|| ActingPolicy {
            beat_every: self.beat_every.into(),
            expiry: self.expiry.into(),
            watch_every: self.watch_every.into(),
        })
    }

    /// Relations between keys.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { is_on, beat_every, expiry, .. } = self;
        if *is_on && expiry <= beat_every {
            return Err(format!(
                "brokerNotActiveTimeoutMillis = {expiry} is to be more than \
                 brokerHeartbeatInterval = {beat_every}, or a broker that lives is taken for dead"
            ));
        }
        Ok(())
    }
}

pub(super) const KEYS: &[Key<BrokerConf>] = &[
    row!(
        "enableSlaveActingMaster",
        acting.is_on,
        switch,
        "While the master is gone the slave with the smallest brokerId takes its place, for reads; \
         set it on all brokers of a name, and supportActingMaster on the name servers."
    ),
    row!(
        "brokerHeartbeatInterval",
        acting.beat_every,
        millis(100..=3_600_000),
        "enableSlaveActingMaster: how often name servers are told that the broker lives."
    ),
    row!(
        "brokerNotActiveTimeoutMillis",
        acting.expiry,
        millis(1000..=3_600_000),
        "enableSlaveActingMaster: silence after which they take it for dead."
    ),
    row!(
        "syncBrokerMemberGroupPeriod",
        acting.watch_every,
        millis(100..=3_600_000),
        "enableSlaveActingMaster: how often they are asked who of the group lives."
    ),
];
