//! What happens to brokers and wires.

use hotfire_core::domain::{BrokerResponse, SendStatus};
use hotfire_storage::Parting;

use super::{Event, World};
use crate::choose::{Choose as _, pick};
use crate::ledger::Strike;
use crate::ring::Violation;
use crate::trace::Mark;

impl World<'_> {
    pub(super) fn die(&mut self, at: usize) -> Result<(), Violation> {
        let power = self.luck.chance(self.run.plan.process.power, "pair.power");
        self.kill(at, power)?;
        let most = *pick(&mut self.luck, &[10_000, 40_000_000], "pair.down");
        let down = self.luck.below(most, "pair.down_for");
        self.at(self.now + 1 + down, Event::Boot(at));
        Ok(())
    }

    pub(super) fn kill(&mut self, at: usize, power: bool) -> Result<(), Violation> {
        self.judge.rested(self.now, at, self.time(at).wall, &self.nodes)?;
        self.nodes[at].log.say(Mark::Died, format_args!("power {power}"));
        self.run.ledger.hit(Strike::NodeDied);
        self.judge.died(at, power);
        self.names_died(at, power, false);
        self.nodes[at].die(power);
        let parcels = self.wires.died(self.now, at, power);
        self.carry(parcels);
        Ok(())
    }

    /// An orderly stop and a start: after a failed sync, or because the log is to be parted.
    pub(super) fn restart(&mut self, at: usize) -> Result<(), Violation> {
        self.stop_until(at, self.now + 1)
    }

    /// An orderly stop, and a start at some time.
    pub(super) fn stop_until(&mut self, at: usize, back: u64) -> Result<(), Violation> {
        let now = self.time(at);
        self.run.ledger.hit(Strike::NodeRestarted);
        self.names_died(at, false, true);
        let parcels = self.wires.died(self.now, at, false);
        self.carry(parcels);
        let answers = self.nodes[at].restart(now);
        for (opaque, response) in answers {
            if let BrokerResponse::Sent(sent) = &response
                && sent.status == SendStatus::FlushSlaveTimeout
            {
                // Nobody waits for a slave any longer than until the stop.
                self.judge.refused(opaque);
                continue;
            }
            self.answered(opaque, response)?;
        }
        self.judge.stopped(at);
        if let Some(parting) = self.nodes[at].parting() {
            self.judge.parts(at, parting, &self.nodes)?;
            self.run.ledger.hit(match parting {
                Parting::Begin(_) => Strike::SlaveBegan,
                Parting::Cut(_) => Strike::SlaveCutBack,
            });
        }
        self.at(back, Event::Boot(at));
        Ok(())
    }

    /// Wall clocks jump whose time it is.
    pub(super) fn jump(&mut self) {
        for (at, by_ms) in self.clocks.sent(self.sent) {
            self.run.ledger.hit(Strike::ClockJumped);
            self.judge.jumped(at);
            self.nodes[at].log.say(Mark::Note, format_args!("its wall clock jumps by {by_ms} ms"));
        }
    }

    pub(super) fn strike(&mut self) -> Result<(), Violation> {
        if self.strikes == 0 {
            return Ok(());
        }
        self.strikes -= 1;
        let most = *pick(&mut self.luck, &[20_000, 5_000_000], "pair.strike");
        let pause = self.luck.below(most, "pair.strike_pause");
        self.at(self.now + 1 + pause, Event::Strike);
        let at = self.luck.index(self.nodes.len(), "pair.whom");
        if let Some(names) = &mut self.names {
            names.disturbed(self.now);
        }
        match self.luck.below(6, "pair.what") {
            0 if self.nodes[at].broker.is_some() => self.die(at)?,
            1 => {
                self.run.ledger.hit(Strike::NetCut);
                let parcels = self.wires.cut(self.now, &mut self.luck);
                self.carry(parcels);
            }
            2 => {
                self.run.ledger.hit(Strike::NetBlackHole);
                self.wires.mute(&mut self.luck);
            }
            3 => {
                if let Some(master) = &self.nodes[0].broker {
                    self.run.ledger.hit(Strike::NetStranger);
                    let (end, acts) = (master.store().written().end().get(), self.guarded);
                    let parcels = self.wires.stranger(self.now, &mut self.luck, end, acts);
                    self.carry(parcels);
                }
            }
            4 if at > 0 => {
                self.nodes[at].misled = true;
                let parcels = self.wires.cut_of(self.now, at);
                self.carry(parcels);
            }
            _ => self.nodes[at].dying = 20,
        }
        Ok(())
    }

    /// No fault from here on. What hangs is ended by its operator.
    pub(super) fn quiet(&mut self) -> Result<(), Violation> {
        self.calm = Some(self.now);
        self.wires.heal();
        for node in &mut self.nodes {
            node.medium.set_faults(self.run.plan.disk.muted());
            (node.dying, node.misled) = (0, false);
        }
        for at in 0..self.nodes.len() {
            if self.run.plan.disk.sync_stuck > 0 && self.nodes[at].broker.is_some() {
                self.kill(at, false)?;
                self.at(self.now + 1, Event::Boot(at));
            }
        }
        Ok(())
    }
}
