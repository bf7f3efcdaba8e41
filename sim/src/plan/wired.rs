//! What ring 2 alone has, in a plan: slaves that copy logs over its network, and sockets that take
//! and give a part of what they could.
//!
//! Drawn from a concern of its own, and for no other ring: their seeds stay what they were.

use serde::{Deserialize, Serialize};

use crate::choose::{Choose, pick};

/// Slaves, and how bytes arrive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wired {
    /// Slaves of each master; 0: masters are alone.
    pub slaves: u32,
    /// Slaves that a send waits for; 0: the masters are of the kind ASYNC_MASTER.
    pub wanted: u32,
    /// Do slaves acknowledge what is on their medium only?
    pub slaves_sync: bool,
    /// How long a send waits for slaves (`slaveTimeout`).
    pub timeout_us: u64,
    /// Are slaves told where their master is (`haMasterAddress`)? Else name servers tell.
    pub told: bool,
    /// Bytes of a frame at most (`haTransferBatchSize`).
    pub batch: u32,
    /// Bytes of its log that a slave compares at first.
    pub overlap: u64,
    /// Bytes of frames that a slave's socket has not taken, at most.
    pub window: u64,
    /// How many times a master and a slave cannot reach each other, one way or both, at most.
    pub cuts: u32,
    /// How long that takes, at most.
    pub cut_max_us: u64,
    /// Reads and writes of sockets that move a few bytes only, per mille.
    pub pieces: u32,
}

impl Wired {
    /// Masters that are alone, and sockets that move all they can.
    pub const fn none() -> Self {
        Self {
            slaves: 0,
            wanted: 0,
            slaves_sync: false,
            timeout_us: 3_000_000,
            told: false,
            batch: 32 << 10,
            overlap: 128 << 10,
            window: 1 << 20,
            cuts: 0,
            cut_max_us: 0,
            pieces: 0,
        }
    }

    /// Two plans of three have slaves, one of each master as a rule.
    pub fn draw(choose: &mut dyn Choose) -> Self {
        let slaves = *pick(choose, &[0, 0, 1, 1, 1, 2], "wired.slaves");
        let none = Self { pieces: *pick(choose, &[0, 100, 500], "wired.pieces"), ..Self::none() };
        if slaves == 0 {
            return none;
        }
        let most = u64::from(slaves) + 1;
        let wanted = choose.below(most, "wired.wanted");
        let is_sync = choose.chance(500, "wired.sync_master");
        Self {
            slaves,
            wanted: if is_sync { u32::try_from(wanted.max(1)).expect("few") } else { 0 },
            slaves_sync: choose.chance(300, "wired.slaves_sync"),
            timeout_us: *pick(choose, &[3_000_000, 500_000], "wired.timeout"),
            told: choose.chance(250, "wired.told"),
            batch: *pick(choose, &[32 << 10, 4000, 300], "wired.batch"),
            overlap: *pick(choose, &[128 << 10, 3000, 300], "wired.overlap"),
            window: *pick(choose, &[1 << 20, 2000], "wired.window"),
            cuts: *pick(choose, &[0, 1, 4], "wired.cuts"),
            cut_max_us: *pick(choose, &[500_000, 40_000_000], "wired.cut_max"),
            ..none
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choose::{Chance, Concern, Tape};

    fn drawn(chance: &Chance) -> Wired {
        Wired::draw(&mut chance.of(Concern::Wired))
    }

    #[test]
    fn the_dull_plan_has_no_slaves() {
        assert_eq!(drawn(&Chance::tape(&Tape::default())), Wired::none());
    }

    #[test]
    fn every_kind_of_group_is_in_some_plans() {
        let plans: Vec<Wired> = (0..1000).map(|seed| drawn(&Chance::seed(seed))).collect();
        let some = |is_so: &dyn Fn(&Wired) -> bool| plans.iter().filter(|p| is_so(p)).count() > 10;
        assert!(some(&|plan| plan.slaves == 0) && some(&|plan| plan.slaves == 1));
        assert!(some(&|plan| plan.slaves == 2 && plan.wanted == 2));
        assert!(some(&|plan| plan.slaves > 0 && plan.wanted == 0));
        assert!(some(&|plan| plan.wanted == 1 && plan.slaves_sync));
        assert!(some(&|plan| plan.cuts > 0 && plan.pieces == 0));
        assert!(plans.iter().all(|plan| plan.wanted <= plan.slaves));
    }
}
