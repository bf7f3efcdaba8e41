//! Name servers beside a master and its slaves, in a plan.

use serde::{Deserialize, Serialize};

use crate::choose::{Choose, pick};

/// Name servers, consumers that are routed by them, and what becomes of both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Names {
    /// How many there are; 0: the group has none, and nobody is routed.
    pub servers: u32,
    /// Does the group act for its master (`enableSlaveActingMaster`)?
    pub acting: bool,
    /// Do name servers show who acts (`supportActingMaster`)?
    pub shown: bool,
    /// Do they say so at once (`notifyMinBrokerIdChanged`)?
    pub notify: bool,
    /// Do consumers lock their queues? There are two of them then, otherwise one.
    pub ordered: bool,
    /// How often consumers ask for routes.
    pub route_every_us: u64,
    /// How many times two cannot reach each other, at most.
    pub cuts: u32,
    /// ... one cannot reach the other, which can reach it.
    pub one_way: u32,
    /// ... a connection ends.
    pub ends: u32,
    /// ... a name server begins anew, and knows nobody.
    pub restarts: u32,
    /// ... a broker stops in order, or dies, and stays away for long.
    pub away: u32,
    /// ... a consumer dies, and another one takes its place.
    pub clients: u32,
    /// How long a cut lasts, and a broker is away, at most.
    pub long_us: u64,
}

/// Of 1000 plans, so many have name servers beside slaves: a run with them takes longer.
const SHARE: u32 = 130;

impl Names {
    /// None.
    pub const fn none() -> Self {
        Self {
            servers: 0,
            acting: false,
            shown: false,
            notify: false,
            ordered: false,
            route_every_us: 5_000_000,
            cuts: 0,
            one_way: 0,
            ends: 0,
            restarts: 0,
            away: 0,
            clients: 0,
            long_us: 0,
        }
    }

    /// A small part of all plans has some.
    pub fn draw(choose: &mut dyn Choose) -> Self {
        if !choose.chance(SHARE, "plan.names") {
            return Self::none();
        }
        Self {
            servers: *pick(choose, &[1, 2], "plan.names.servers"),
            acting: !choose.chance(250, "plan.names.plain"),
            shown: !choose.chance(200, "plan.names.hidden"),
            notify: choose.chance(500, "plan.names.notify"),
            ordered: choose.chance(500, "plan.names.ordered"),
            route_every_us: *pick(choose, &[5_000_000, 1_000_000], "plan.names.route_every"),
            cuts: *pick(choose, &[0, 0, 1, 3], "plan.names.cuts"),
            one_way: *pick(choose, &[0, 0, 1, 3], "plan.names.one_way"),
            ends: *pick(choose, &[0, 0, 3], "plan.names.ends"),
            restarts: *pick(choose, &[0, 0, 1, 2], "plan.names.restarts"),
            away: *pick(choose, &[0, 1, 2], "plan.names.away"),
            clients: *pick(choose, &[0, 1, 2], "plan.names.clients"),
            long_us: *pick(choose, &[3_000_000, 25_000_000, 60_000_000], "plan.names.long"),
        }
    }
}
