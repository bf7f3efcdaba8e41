//! What strikes, and when.
//!
//! As in ring 1 faults go by work, not by time: a fault is planned for the moment at which so many
//! sends have gone out, and a little later.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hotfire_storage::text::Text;
use hotfire_storage::time::Mono;
use madsim::net::NetSim;
use madsim::plugin::simulator;
use madsim::runtime::Handle;

use super::brokers::durable_end;
use super::disks::{Berth, SimDisks};
use super::nodes::Host;
use super::world::World;
use crate::choose::{Choose, Concern, Stream};
use crate::ledger::Strike;
use crate::trace::Mark;
use crate::workload::history::Fact;

/// A process that ended by itself is started again after at least this long.
const RESTART_MIN_US: u64 = 5_000;
/// ... and the pause is twice as long after each that did not serve, so many times.
const DOUBLED_MAX: u32 = 8;
/// Operators look at a broker that has lost its disk within so long.
const OPERATOR_MAX_US: u64 = 3_000_000;

/// Something that goes wrong, or is put right. Servers and clients by their number in the world.
#[derive(Clone, Debug)]
enum Event {
    /// A server dies.
    Death { server: usize, power: bool },
    /// Some cannot send to some others.
    Clog { links: Vec<(usize, usize)>, us: u64, strike: Strike },
    /// They can again.
    Unclog { links: Vec<(usize, usize)> },
    /// A process stands still.
    Pause { node: usize, us: u64 },
    /// It goes on.
    Resume { node: usize },
    /// A dead server's next process starts.
    Start { server: usize },
    /// A server is asked to stop in order.
    Stop { server: usize },
}

/// The timeline of faults.
pub(super) struct Faults {
    world: Arc<World>,
    process: Stream,
    net: Stream,
    /// By the number of sends at which they are due.
    planned: Vec<(u64, Event)>,
    agenda: BTreeMap<(Mono, u64), Event>,
    numbered: u64,
    /// Servers with a `Start` on the agenda.
    down: Vec<bool>,
    /// Sick brokers that an operator will kill.
    seen: Vec<bool>,
    /// Whose kernel's log was looked into since all was healed.
    asked: Vec<bool>,
    /// Processes of a server in a row that ended before they served.
    vain: Vec<u32>,
}

impl Faults {
    pub(super) fn new(world: &Arc<World>) -> Self {
        let chance = &world.run.chance;
        let mut faults = Self {
            world: Arc::clone(world),
            process: chance.of(Concern::Process),
            net: chance.of(Concern::Net),
            planned: Vec::new(),
            agenda: BTreeMap::new(),
            numbered: 0,
            down: vec![false; world.hosts().count()],
            seen: vec![false; world.hosts().count()],
            asked: vec![false; world.hosts().count()],
            vain: vec![0; world.hosts().count()],
        };
        faults.plan();
        faults
    }

    /// Is everything over that was planned?
    pub(super) fn are_over(&self) -> bool {
        self.planned.is_empty() && self.agenda.is_empty()
    }

    fn plan(&mut self) {
        let plan = self.world.run.plan.clone();
        let (process, net) = (&plan.process, &plan.net);
        for _ in 0..self.process.below(u64::from(process.deaths) + 1, "process.deaths") {
            let event = self.draw_death();
            self.plan_one(event);
        }
        for _ in 0..self.process.below(u64::from(process.pauses) + 1, "process.pauses") {
            // Clients pause, too: a paused consumer is a peer that does not read.
            let nodes = self.down.len() + self.world.guests().count();
            let node = self.process.index(nodes, "process.paused");
            let us = self.process.below(process.pause_max_us, "process.pause");
            self.plan_one(Event::Pause { node, us });
        }
        for _ in 0..self.net.below(u64::from(net.partitions) + 1, "net.partitions") {
            let event = self.draw_partition();
            self.plan_one(event);
        }
        // A rate per burst has no counterpart here: a few stalls a run.
        let stalls = if net.stall > 0 { 5 } else { 0 };
        for _ in 0..self.net.below(stalls + 1, "net.stalls") {
            let event = self.draw_stall();
            self.plan_one(event);
        }
        let cuts = if self.world.slaves.is_empty() { 0 } else { plan.wired.cuts };
        for _ in 0..self.net.below(u64::from(cuts) + 1, "net.slaves") {
            let event = self.draw_unreached();
            self.plan_one(event);
        }
    }

    fn draw_death(&mut self) -> Event {
        let brokers = self.world.brokers.len();
        if self.process.chance(150, "process.name_dies") {
            let name = self.process.index(self.world.names.len(), "process.name");
            return Event::Death { server: brokers + name, power: false };
        }
        let with_logs = brokers + self.world.slaves.len();
        let server = match self.process.index(with_logs, "process.broker") {
            slave if slave >= brokers => self.number_of_slave(slave - brokers),
            master => master,
        };
        if self.process.chance(self.world.run.plan.process.power, "process.power") {
            Event::Death { server, power: true }
        } else if self.process.chance(250, "process.stop") {
            Event::Stop { server }
        } else {
            Event::Death { server, power: false }
        }
    }

    fn draw_partition(&mut self) -> Event {
        let nodes = self.down.len() + self.world.guests().count();
        let sides: Vec<bool> = (0..nodes).map(|_| self.net.chance(500, "net.side")).collect();
        let one_way = self.net.chance(300, "net.one_way");
        let pairs = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
        let links = pairs.filter(|(from, to)| {
            let parted = sides[*from] != sides[*to];
            parted && (!one_way || sides[*from])
        });
        let links = links.collect();
        let us = self.net.below(self.world.run.plan.net.partition_max_us, "net.partition.us");
        Event::Clog { links, us, strike: Strike::NetPartition }
    }

    /// One link, one way or both.
    fn draw_stall(&mut self) -> Event {
        let nodes = self.down.len() + self.world.guests().count();
        let server = self.net.index(self.down.len(), "net.stall.server");
        let other = (server + 1 + self.net.index(nodes - 1, "net.stall.other")) % nodes;
        let links = self.draw_ways(server, other);
        let us = self.net.below(self.world.run.plan.net.stall_max_us, "net.stall.us");
        Event::Clog { links, us, strike: Strike::NetStalled }
    }

    /// A slave and its master.
    fn draw_unreached(&mut self) -> Event {
        let slave = self.net.index(self.world.slaves.len(), "net.slave");
        let group = &self.world.slaves[slave].group;
        let master = self.world.brokers.iter().position(|host| host.name == *group);
        let master = master.expect("a slave has a master");
        let links = self.draw_ways(master, self.number_of_slave(slave));
        let us = self.net.below(self.world.run.plan.wired.cut_max_us, "net.slave.us");
        Event::Clog { links, us, strike: Strike::SlaveUnreached }
    }

    fn draw_ways(&mut self, one: usize, other: usize) -> Vec<(usize, usize)> {
        match self.net.below(3, "net.stall.way") {
            0 => vec![(one, other)],
            1 => vec![(other, one)],
            _ => vec![(one, other), (other, one)],
        }
    }

    /// A slave's number among the servers.
    fn number_of_slave(&self, slave: usize) -> usize {
        self.world.brokers.len() + self.world.names.len() + slave
    }

    fn plan_one(&mut self, event: Event) {
        let sends = self.process.below(u64::from(self.world.run.plan.work.sends), "process.when");
        self.planned.push((sends, event));
    }

    fn at(&mut self, delay_us: u64, event: Event) {
        self.numbered += 1;
        let at = self.world.now().after(Duration::from_micros(delay_us));
        self.agenda.insert((at, self.numbered), event);
    }

    /// Does what is due. `flush`: sends are over, so what is planned for later ones is due now.
    pub(super) fn tick(&mut self, flush: bool) {
        let sends = self.world.judge().history.sends();
        for (at, event) in std::mem::take(&mut self.planned) {
            if at <= sends || flush {
                let delay = self.process.below(20_000, "process.when.us");
                self.at(delay, event);
            } else {
                self.planned.push((at, event));
            }
        }
        self.look_after();
        let now = self.world.now();
        while let Some(first) = self.agenda.first_entry().filter(|first| first.key().0 <= now) {
            let event = first.remove();
            self.strike(event);
        }
    }

    /// What operators and supervisors of processes do.
    fn look_after(&mut self) {
        let hosts: Vec<Arc<Host>> = self.world.hosts().cloned().collect();
        for (server, host) in hosts.iter().enumerate() {
            if host.has_exited.load(Ordering::Relaxed) && !self.down[server] {
                self.vain[server] += 1;
                self.start_later(server);
            } else if host.is_up() {
                self.vain[server] = 0;
            }
        }
        for (server, host) in hosts.iter().enumerate() {
            let is_sick = host.berth.as_ref().is_some_and(Berth::is_sick);
            let is_bad = is_sick || self.was_sick(server, host);
            if !is_bad || self.down[server] || self.seen[server] {
                continue;
            }
            self.seen[server] = true;
            self.world.run.ledger.hit(Strike::NodeRestarted);
            let delay = self.process.below(OPERATOR_MAX_US, "process.operator");
            self.at(delay, Event::Death { server, power: false });
        }
    }

    /// Did a write in the background fail before all was healed, and does nobody know? The next
    /// sync would tell, and no more messages be taken, in peace. Operators look into the kernel's
    /// log then, once; what a start does not sync, broker and operator hear of soon.
    fn was_sick(&mut self, server: usize, host: &Host) -> bool {
        let is_asked = self.world.is_calm() && host.is_up();
        let Some(berth) = host.berth.as_ref().filter(|_| is_asked) else { return false };
        !std::mem::replace(&mut self.asked[server], true) && berth.medium().has_failed_untold()
    }

    fn start_later(&mut self, server: usize) {
        self.down[server] = true;
        let down = self.process.below(self.world.run.plan.process.down_max_us, "process.down");
        // Supervisors have less and less hope.
        let pause = RESTART_MIN_US << self.vain[server].min(DOUBLED_MAX);
        self.at(pause + down, Event::Start { server });
    }

    fn strike(&mut self, event: Event) {
        self.world.say(Mark::Fault, format_args!("{event:?}"));
        let ledger = self.world.run.ledger.clone();
        match event {
            Event::Death { server, power } if !self.down[server] => {
                ledger.hit(Strike::NodeDied);
                self.kill(server, power);
                self.start_later(server);
            }
            Event::Death { .. } => {}
            Event::Clog { links, us, strike } => {
                ledger.hit(strike);
                for (from, to) in &links {
                    NetSim::current().clog_link(self.world.node(*from), self.world.node(*to));
                }
                self.at(us, Event::Unclog { links });
            }
            Event::Unclog { links } => {
                for (from, to) in links {
                    NetSim::current().unclog_link(self.world.node(from), self.world.node(to));
                }
            }
            Event::Pause { node, us } => {
                ledger.hit(Strike::NodePaused);
                Handle::current().pause(self.world.node(node));
                self.at(us, Event::Resume { node });
            }
            Event::Resume { node } => Handle::current().resume(self.world.node(node)),
            Event::Start { server } => self.start(server),
            Event::Stop { server } => {
                let host = self.world.hosts().nth(server).expect("it is a server's number");
                if host.is_up.load(Ordering::Relaxed) {
                    host.ask_to_stop();
                }
            }
        }
    }

    fn kill(&mut self, server: usize, power: bool) {
        let world = Arc::clone(&self.world);
        let node = world.node(server);
        let host = world.hosts().nth(server).expect("it is a server's number");
        if host.berth.is_some() {
            self.died(host, power);
            if power {
                simulator::<SimDisks>().arm_power(node);
            }
        }
        // Of a paused node madsim drops what is ready to run at once, inside of its own lock and
        // before any simulator hears of the death: it wakes up to die.
        Handle::current().resume(node);
        Handle::current().kill(node);
        host.is_up.store(false, Ordering::Relaxed);
        host.log
            .say(Mark::Died, format_args!("{}", if power { "with its power" } else { "killed" }));
    }

    /// The process on a broker's node dies, or its power fails.
    fn died(&self, host: &Host, power: bool) {
        let (now, mut judge) = (self.world.now(), self.world.judge());
        if host.is_slave() {
            return judge.copies.before(host);
        }
        let durable = power.then(|| durable_end(host.berth(), &host.name, &judge.history));
        judge.add(now, Fact::Died { broker: host.name.clone(), durable });
    }

    /// The operator of a slave gives its log up.
    pub(super) fn give_up(&mut self, name: &Text) {
        let at = self.world.slaves.iter().position(|slave| slave.name == *name);
        let at = at.expect("it is a slave's name");
        let server = self.number_of_slave(at);
        if !self.down[server] {
            self.world.say(Mark::Fault, format_args!("the log of {name} is given up"));
            self.world.slaves[at].gives_up.store(true, Ordering::Relaxed);
            self.at(0, Event::Death { server, power: false });
        }
    }

    pub(super) fn start(&mut self, server: usize) {
        (self.down[server], self.seen[server]) = (false, false);
        let world = Arc::clone(&self.world);
        let host = world.hosts().nth(server).expect("it is a server's number");
        host.has_exited.store(false, Ordering::Relaxed);
        if let Some(berth) = host.berth.as_ref().filter(|berth| berth.is_free()) {
            let power = if world.is_calm() { 0 } else { world.run.plan.process.power / 4 };
            if self.process.chance(power, "process.power.between") {
                self.died(host, true);
                berth.medium().power_fail();
            }
        }
        // A process that ended by itself still has its ports, until it is killed as well.
        let node = world.node(server);
        Handle::current().kill(node);
        Handle::current().restart(node);
    }

    /// Puts everything right: links, paused and dead processes, disks.
    pub(super) fn heal(&mut self) {
        self.planned.clear();
        self.agenda.clear();
        let nodes = self.down.len() + self.world.guests().count();
        for from in 0..nodes {
            Handle::current().resume(self.world.node(from));
            for to in 0..nodes {
                NetSim::current().unclog_link(self.world.node(from), self.world.node(to));
            }
        }
        let plan = self.world.run.plan.clone();
        NetSim::current().update_config(|config| config.packet_loss_rate = 0.0);
        for berth in self.world.with_logs().map(|host| host.berth()) {
            berth.medium().set_faults(plan.disk.muted());
        }
        for server in 0..self.down.len() {
            self.seen[server] = false;
            if self.down[server] {
                self.start(server);
            }
        }
    }

    /// Nothing fails any more, but what exits is still started again.
    pub(super) fn keep_up(&mut self) {
        self.look_after();
        let now = self.world.now();
        while let Some(first) = self.agenda.first_entry().filter(|first| first.key().0 <= now) {
            let event = first.remove();
            self.strike(event);
        }
    }

    /// Everybody dies.
    pub(super) fn end(&mut self) {
        for node in 0..self.down.len() + self.world.guests().count() {
            Handle::current().resume(self.world.node(node));
            Handle::current().kill(self.world.node(node));
        }
    }
}
