//! What strikes, and when.

use std::collections::BTreeSet;

use super::clock::Clock;
use super::{Actor, Event, World};
use crate::choose::Choose;
use crate::ledger::Strike;
use crate::oracle::Verdict;

/// Something that goes wrong.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// A consumer dies.
    Client(usize),
    /// A broker dies: after so many more effects, or as it is.
    Death { broker: usize, how: Death, after: Option<u64> },
    /// A wall clock jumps.
    Jump { who: Actor, by_ms: i64 },
    /// A name server dies.
    Name(usize),
    /// Some cannot reach others.
    Partition { from: BTreeSet<Actor>, to: BTreeSet<Actor>, both: bool, us: u64 },
    /// A process stands still.
    Pause { who: Actor, us: u64 },
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// Its machine lives on.
    Kill,
    /// Its machine dies with it.
    Power,
    /// It is told to stop, and does.
    Stop,
}

/// A fault, and the number of sends at which it is due.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    sends: u64,
    delay: u64,
    fault: Fault,
}

impl World<'_> {
    pub(super) fn draw_clock(&mut self) -> Clock {
        let max = u64::from(self.run.plan.clock.drift_ppm);
        let ppm = self.clock.below(2 * max + 1, "clock.drift");
        let signed = |number: u64| i64::try_from(number).expect("small");
        // 0 is the dull answer, and must mean no drift.
        let ppm = if ppm > max { -signed(ppm - max) } else { signed(ppm) };
        Clock { ppm, wall_ms: 0, born: 0 }
    }

    pub(super) fn plan_faults(&mut self) {
        let plan = self.run.plan.clone();
        let mut count = |max: u32, why| self.process.below(u64::from(max) + 1, why);
        let deaths = count(plan.process.deaths, "process.deaths");
        let pauses = count(plan.process.pauses, "process.pauses");
        let clients = count(plan.process.clients, "process.clients");
        let partitions = count(plan.net.partitions, "process.partitions");
        let jumps = self.clock.below(u64::from(plan.clock.jumps) + 1, "clock.jumps");
        for _ in 0..deaths {
            let fault = self.draw_death();
            self.plan_fault(fault);
        }
        for _ in 0..pauses {
            let who = self.draw_node();
            let us = self.process.below(plan.process.pause_max_us, "process.pause");
            self.plan_fault(Fault::Pause { who, us });
        }
        for _ in 0..clients {
            let at = self.process.index(self.clients.len(), "process.client");
            if self.clients[at].is_consumer() {
                self.plan_fault(Fault::Client(at));
            }
        }
        for _ in 0..partitions {
            let fault = self.draw_partition();
            self.plan_fault(fault);
        }
        for _ in 0..jumps {
            let max = plan.clock.jump_max_ms;
            let by = i64::try_from(self.clock.below(max, "clock.jump")).expect("small");
            let by_ms = if self.clock.chance(500, "clock.jump.back") { -by } else { by };
            let who = self.draw_node();
            self.plan_fault(Fault::Jump { who, by_ms });
        }
    }

    fn draw_death(&mut self) -> Fault {
        if self.process.chance(100, "process.name_dies") {
            return Fault::Name(self.process.index(self.names.len(), "process.name"));
        }
        let broker = self.process.index(self.brokers.len(), "process.broker");
        let how = if self.process.chance(self.run.plan.process.power, "process.power") {
            Death::Power
        } else if self.process.chance(250, "process.stop") {
            Death::Stop
        } else {
            Death::Kill
        };
        let in_turn = self.process.chance(700, "process.in_turn");
        let after = in_turn.then(|| self.process.below(6, "process.effects"));
        Fault::Death { broker, how, after }
    }

    fn draw_node(&mut self) -> Actor {
        let at = self.process.index(self.brokers.len() + self.names.len(), "process.node");
        let name = at.checked_sub(self.brokers.len());
        name.map_or(Actor::Broker(at), Actor::Name)
    }

    fn draw_partition(&mut self) -> Fault {
        let brokers = (0..self.brokers.len()).map(Actor::Broker);
        let names = (0..self.names.len()).map(Actor::Name);
        let clients = (0..self.clients.len()).map(Actor::Client);
        let everybody: Vec<Actor> = brokers.chain(names).chain(clients).collect();
        let (mut from, mut to) = (BTreeSet::new(), BTreeSet::new());
        for who in everybody {
            let side = self.process.chance(500, "process.side");
            if side { &mut from } else { &mut to }.insert(who);
        }
        let both = !self.process.chance(300, "process.one_way");
        let us = self.process.below(self.run.plan.net.partition_max_us, "process.partition");
        Fault::Partition { from, to, both, us }
    }

    fn plan_fault(&mut self, fault: Fault) {
        let sends = u64::from(self.run.plan.work.sends);
        let sends = self.process.below(sends, "process.when");
        let delay = self.process.below(20_000, "process.when.us");
        self.planned.push(Planned { sends, delay, fault });
    }

    /// Puts faults on the timeline whose number of sends is reached.
    pub(super) fn strike_planned(&mut self) {
        if self.healed || self.planned.is_empty() {
            return;
        }
        let sends = self.history.sends();
        let planned = std::mem::take(&mut self.planned);
        let (due, left): (Vec<_>, Vec<_>) =
            planned.into_iter().partition(|planned| planned.sends <= sends);
        self.planned = left;
        for Planned { delay, fault, .. } in due {
            self.at(self.now + delay, Event::Strike(fault));
        }
    }

    pub(super) fn strike(&mut self, fault: &Fault) -> Verdict {
        if self.healed {
            return Ok(());
        }
        match fault {
            Fault::Client(at) => self.client_dies(*at),
            Fault::Death { broker, how, after } => match after {
                Some(effects) if self.brokers[*broker].broker.is_some() => {
                    self.brokers[*broker].fuse = Some((*effects, *how));
                }
                _ => self.broker_dies(*broker, *how)?,
            },
            Fault::Jump { who, by_ms } => {
                self.run.ledger.hit(Strike::ClockJumped);
                match who {
                    Actor::Broker(at) => {
                        self.brokers[*at].clock.wall_ms += by_ms;
                        self.oracles.retention.jumped(&self.brokers[*at].name);
                    }
                    Actor::Name(at) => self.names[*at].clock.wall_ms += by_ms,
                    Actor::Client(_) => {}
                }
            }
            Fault::Name(at) => self.name_dies(*at),
            Fault::Partition { from, to, both, us } => {
                self.net.part(from.clone(), to.clone(), *both, self.now + us);
            }
            Fault::Pause { who, us } => {
                self.run.ledger.hit(Strike::NodePaused);
                match who {
                    Actor::Broker(at) => self.brokers[*at].paused_until = self.now + us,
                    Actor::Name(at) => self.names[*at].paused_until = self.now + us,
                    Actor::Client(_) => {}
                }
            }
        }
        Ok(())
    }
}
