//! What happens to links, name servers and consumers, and to brokers that are away for long.

use super::consumer::Consumer;
use super::net::Party;
use super::{Happening, Names};
use crate::choose::{Choose as _, Stream};
use crate::ledger::Strike;
use crate::plan;
use crate::trace::Mark;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Away,
    Consumer,
    Cut,
    End,
    OneWay,
    Restart,
}

/// What becomes of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Away {
    pub(in super::super) broker: usize,
    pub(in super::super) in_order: bool,
    pub(in super::super) power: bool,
    pub(in super::super) back: u64,
}

impl Kind {
    /// Those of a run, in the order in which they strike.
    pub(super) fn draw(plan: &plan::Names, luck: &mut Stream) -> Vec<Self> {
        let of = |kind, count: u32| (0..count).map(move |_| kind);
        let mut all: Vec<Self> = of(Self::Away, plan.away)
            .chain(of(Self::Consumer, plan.clients))
            .chain(of(Self::Cut, plan.cuts))
            .chain(of(Self::End, plan.ends))
            .chain(of(Self::OneWay, plan.one_way))
            .chain(of(Self::Restart, plan.restarts))
            .collect();
        for last in (1..all.len()).rev() {
            all.swap(last, luck.index(last + 1, "names.order"));
        }
        all
    }
}

impl Names {
    /// Something bad happens; to a broker, perhaps.
    pub(super) fn strike(&mut self, now: u64) -> Option<Away> {
        let kind = self.strikes.pop()?;
        let most = if self.luck.chance(500, "names.soon") { 2_000_000 } else { 30_000_000 };
        let pause = self.luck.below(most, "names.pause");
        self.out.push((now + 1 + pause, Happening::Strikes));
        match kind {
            Kind::Away => return Some(self.away(now)),
            Kind::Consumer => self.replace(),
            Kind::Cut => {
                let (one, other) = self.two();
                let until = now + self.long();
                self.ledger.hit(Strike::NamesCut);
                self.log.say(Mark::Fault, format_args!("{one:?} and {other:?} until {until}"));
                self.net.hold(one, other, until);
                self.net.hold(other, one, until);
            }
            Kind::End => {
                let packets = self.net.cut(now);
                self.carry(packets);
            }
            Kind::OneWay => {
                let (one, other) = self.two();
                let until = now + self.long();
                self.ledger.hit(Strike::NamesOneWay);
                self.log.say(Mark::Fault, format_args!("{one:?} to {other:?} until {until}"));
                self.net.hold(one, other, until);
            }
            Kind::Restart => self.restart_one(now),
        }
        None
    }

    /// Something bad happens to brokers or their wires.
    pub(in super::super) fn disturbed(&mut self, now: u64) {
        self.peace.break_until(now);
    }

    fn long(&mut self) -> u64 {
        1 + self.luck.below(self.plan.long_us.max(1), "names.long")
    }

    /// Two that talk to each other: mostly a broker and a name server.
    fn two(&mut self) -> (Party, Party) {
        let brokers = self.up.len();
        let server = Party::Server(self.luck.index(self.servers.len(), "names.server"));
        let broker = Party::Broker(self.luck.index(brokers, "names.broker"));
        let consumer = Party::Consumer(self.luck.index(self.consumers.len(), "names.consumer"));
        let slave = Party::Broker(1 + self.luck.index(brokers - 1, "names.slave"));
        let (one, other) = match self.luck.below(6, "names.who") {
            0 | 1 => (broker, server),
            2 => (Party::Broker(0), server),
            3 => (consumer, server),
            4 => (consumer, broker),
            _ => (Party::Broker(0), slave),
        };
        if self.luck.chance(500, "names.swap") { (other, one) } else { (one, other) }
    }

    fn away(&mut self, now: u64) -> Away {
        let is_master = self.luck.chance(700, "names.away.master");
        let slave = 1 + self.luck.index(self.up.len() - 1, "names.away.slave");
        let back = now + self.long();
        self.back = self.back.max(back);
        Away {
            broker: if is_master { 0 } else { slave },
            in_order: self.luck.chance(400, "names.away.in_order"),
            power: self.luck.chance(400, "names.away.power"),
            back,
        }
    }

    /// A consumer dies, and another one takes its place.
    fn replace(&mut self) {
        let at = self.luck.index(self.consumers.len(), "names.dies");
        self.ledger.hit(Strike::ClientDied);
        self.consumers[at] = Consumer::new(at, self.consumers[at].life + 1, &self.plan);
        self.log.say(Mark::Died, format_args!("consumer {at}"));
    }

    fn restart_one(&mut self, now: u64) {
        let at = self.luck.index(self.servers.len(), "names.restarts");
        let power = self.luck.chance(500, "names.power");
        let down = self.luck.below(3_000_000, "names.down");
        let server = &mut self.servers[at];
        if server.machine.take().is_none() {
            return;
        }
        self.ledger.hit(Strike::NamesRestartedEmpty);
        server.log.say(Mark::Died, format_args!("power {power}"));
        // Whoever was known has to find out, and to come again.
        self.peace.break_until(now + down);
        let packets = self.net.died(now, Party::Server(at), power);
        self.carry(packets);
        self.out.push((now + 1 + down, Happening::Starts(at)));
    }

    /// No fault from here on, but who is away and what is held back comes when its time has come.
    /// When is that?
    pub(in super::super) fn quiet(&mut self, now: u64) -> u64 {
        self.net.calm = true;
        self.strikes.clear();
        now.max(self.net.trouble()).max(self.back)
    }
}
