//! Ring 1, the lockstep world: name servers, brokers and clients as machines on one timeline.
//!
//! ```text
//!  timeline (time, number) ──► arrival · turn · start · fault · timeout
//!                                  │       │
//!   clients ◄── links ──► brokers ─┘       └─ all inputs that are ready, then effects until none;
//!                 │          │                between any two of them the process may die
//!            name servers   medium
//! ```
//!
//! One thread, no runtime, no clock: a run is a function of its chance. Two phases: in the first
//! producers send and faults strike; in the second nothing fails any more, everything that is down
//! comes up, and all that was promised must come true within a bounded time. Then every broker
//! dies once more, and its store is judged.
//!
//! **Faults go by work, not by time.** A fault is planned for the moment at which so many sends
//! have gone out, and a little later: a run of ten sends and a run of two hundred are both struck
//! while they are busy.

mod broker;
mod clients;
mod clock;
#[cfg(test)]
mod crash_points;
mod faults;
mod keeping;
mod names;
mod net;
mod settle;
#[cfg(test)]
mod stuck;
#[cfg(test)]
mod tests;
mod ties;

use std::collections::BTreeMap;

use hotfire_core::machine::Digest;
use hotfire_storage::text::Text;
use hotfire_storage::time::Mono;

use crate::choose::{Choose, Concern, Stream};
use crate::ring::{Outcome, Passed, Run, Violation};
use crate::workload::Peer;
use crate::workload::history::History;
use crate::{oracle, oracle::Oracles, oracle::Verdict};
use broker::BrokerNode;
use clients::ClientNode;
use faults::{Death, Fault, Planned};
use names::NameNode;
use net::{Arrival, Net};

/// Faults end at the latest here, in microseconds, however slow the work is.
const FAULTS_END: u64 = 120_000_000;
/// More events than any run needs: one that has them goes in a circle.
const STEPS_MAX: u64 = 3_000_000;

/// Somebody who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Actor {
    Broker(usize),
    Client(usize),
    Name(usize),
}

/// What is on the timeline.
#[derive(Debug)]
enum Event {
    /// The next parcel of a connection, one way.
    Arrive { conn: u64, way: usize },
    /// An operator restarts a broker that asked for it.
    Restart { broker: usize, life: u32, how: Death },
    /// A fault whose time has come.
    Strike(Fault),
    /// A broker or name server starts.
    Start(Actor),
    /// A broker has waited for a name server long enough.
    Timeout { broker: usize, life: u32, name: usize, opaque: i32 },
    /// A client is told that there is nobody.
    Told { client: usize, peer: Peer, conn: u64 },
    /// Somebody has inputs, or a deadline.
    Turn(Actor),
}

/// The world.
struct World<'a> {
    run: &'a Run,
    now: u64,
    numbered: u64,
    timeline: BTreeMap<(u64, u64), Event>,
    brokers: Vec<BrokerNode>,
    clients: Vec<ClientNode>,
    names: Vec<NameNode>,
    net: Net,
    /// What is sent to and consumed.
    topics: Vec<Text>,
    history: History,
    oracles: Oracles,
    planned: Vec<Planned>,
    healed: bool,
    /// Starts that failed on a healed disk.
    refused: u64,
    schedule: Stream,
    process: Stream,
    clock: Stream,
    work: Stream,
    digest: Digest,
    steps: u64,
}

/// Runs a seed.
pub fn run(run: &Run) -> Outcome {
    let mut world = World::new(run);
    world.busy()?;
    world.settle()?;
    world.brokers.iter().for_each(|node| node.medium.digest(&mut world.digest));
    let simulated = Mono::from_micros(world.now).since(Mono::ZERO);
    Ok(Passed { digest: world.digest.value(), simulated, steps: world.steps })
}

impl<'a> World<'a> {
    fn new(run: &'a Run) -> Self {
        let chance = &run.chance;
        let net = Net::new(run.plan.net.clone(), chance.of(Concern::Net), run.ledger.clone());
        let mut world = Self {
            run,
            now: 0,
            numbered: 0,
            timeline: BTreeMap::new(),
            brokers: Vec::new(),
            clients: Vec::new(),
            names: Vec::new(),
            net,
            topics: Vec::new(),
            history: History::default(),
            oracles: Oracles::new(
                run.plan.store.sync_flush,
                run.plan.keep.clone(),
                run.plan.store.commit_log_file,
                run.ledger.clone(),
            ),
            planned: Vec::new(),
            healed: false,
            refused: 0,
            schedule: chance.of(Concern::Schedule),
            process: chance.of(Concern::Process),
            clock: chance.of(Concern::Clock),
            work: chance.of(Concern::Work),
            digest: Digest::new(),
            steps: 0,
        };
        let cluster = &run.plan.cluster;
        (0..cluster.name_servers).for_each(|number| world.add_name(number));
        (0..cluster.brokers).for_each(|number| world.add_broker(number));
        world.add_clients();
        world.plan_faults();
        world
    }

    /// Puts an event on the timeline; of equal times the earlier call comes first.
    fn at(&mut self, time: u64, event: Event) {
        self.numbered += 1;
        self.timeline.insert((time.max(self.now), self.numbered), event);
    }

    /// A turn at `time`, unless an earlier one is due.
    fn turn_at(&mut self, who: Actor, time: u64) {
        let time = time.max(self.now);
        let turn = match who {
            Actor::Broker(at) => &mut self.brokers[at].turn,
            Actor::Client(at) => &mut self.clients[at].turn,
            Actor::Name(at) => &mut self.names[at].turn,
        };
        if turn.is_none_or(|due| due > time) {
            *turn = Some(time);
            self.at(time, Event::Turn(who));
        }
    }

    /// A turn for inputs that have come: at once, or a little later, so that more may join them.
    fn turn_soon(&mut self, who: Actor) {
        let later = self.schedule.chance(200, "schedule.later");
        let delay = if later { self.schedule.below(300, "schedule.us") } else { 0 };
        self.turn_at(who, self.now + delay);
    }

    /// The first phase: work and faults.
    fn busy(&mut self) -> Verdict {
        let is_busy = |world: &Self| {
            world.now < FAULTS_END && !world.clients.iter().all(ClientNode::has_sent)
        };
        while is_busy(self) {
            self.step()?;
        }
        Ok(())
    }

    /// One event.
    fn step(&mut self) -> Verdict {
        let Some(((time, _), event)) = self.timeline.pop_first() else {
            return Err(Violation::new("time goes on", "nothing will ever happen again"));
        };
        self.now = time;
        self.steps += 1;
        self.run.trace.advance(Mono::from_micros(time));
        if self.steps > STEPS_MAX {
            return Err(Violation::new("time goes on", format!("stuck: {}", self.state())));
        }
        self.digest.number(time);
        self.happen(event)?;
        for (time, conn, way) in std::mem::take(&mut self.net.due) {
            self.at(time, Event::Arrive { conn, way });
        }
        self.oracles.follow(&self.history)?;
        self.strike_planned();
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Verdict {
        match event {
            Event::Arrive { conn, way } => {
                if let Some(arrival) = self.net.arrive(self.now, conn, way) {
                    self.arrived(arrival);
                }
            }
            Event::Start(Actor::Broker(at)) => self.start_broker(at)?,
            Event::Start(Actor::Name(at)) => self.start_name(at),
            Event::Start(Actor::Client(_)) => unreachable!("clients are replaced, not started"),
            Event::Restart { broker, life, how } => self.restart(broker, life, how)?,
            Event::Strike(fault) => self.strike(&fault)?,
            Event::Timeout { broker, life, name, opaque } => {
                self.registration_late(broker, life, name, opaque);
            }
            Event::Told { client, peer, conn } => self.told(client, peer, conn),
            Event::Turn(who) => self.turn(who)?,
        }
        Ok(())
    }

    fn turn(&mut self, who: Actor) -> Verdict {
        let due = match who {
            Actor::Broker(at) => &mut self.brokers[at].turn,
            Actor::Client(at) => &mut self.clients[at].turn,
            Actor::Name(at) => &mut self.names[at].turn,
        };
        // A turn that an earlier one made superfluous.
        if due.take_if(|time| *time == self.now).is_none() {
            return Ok(());
        }
        match who {
            Actor::Broker(at) => self.broker_turn(at),
            Actor::Client(at) => {
                self.client_turn(at);
                Ok(())
            }
            Actor::Name(at) => {
                self.name_turn(at);
                Ok(())
            }
        }
    }

    fn arrived(&mut self, arrival: Arrival) {
        match arrival.at {
            Actor::Broker(at) => self.broker_hears(at, arrival),
            Actor::Client(at) => self.client_hears(at, arrival),
            Actor::Name(at) => self.name_hears(at, arrival),
        }
    }

    /// What everybody waits for, for a report.
    fn state(&self) -> String {
        let clients = self.clients.iter().map(|node| node.model().state());
        let brokers = self.brokers.iter().map(BrokerNode::state);
        brokers.chain(clients).collect::<Vec<_>>().join("\n")
    }
}

/// The oracle that a run which must end has not ended.
fn stuck(detail: String) -> Violation {
    Violation::new("once faults stop, everything goes on", detail)
}

/// Where a broker's log has the byte at `at`.
fn log_path(at: u64, file_len: u64) -> (String, u64) {
    (format!("commitlog/{:020}", at - at % file_len), at % file_len)
}

/// Judges an acknowledged record by what its medium holds.
fn honest(medium: &crate::disk::Medium, at: u64, size: u32, file_len: u64) -> Verdict {
    let (path, from) = log_path(at, file_len);
    oracle::honest::check(at, medium.durable_part(&path, from, size as usize).as_deref())
}
