//! Clients of the world: models from the workload, and the connections they have.

use std::collections::BTreeMap;
use std::time::Duration;

use hotfire_storage::text::Text;
use hotfire_storage::time::Mono;

use super::net::{Arrival, Parcel};
use super::{Actor, Event, World};
use crate::choose::Choose;
use crate::ledger::Strike;
use crate::trace::{Column, Mark};
use crate::workload::consumer::Consumer;
use crate::workload::producer::{BATCH_TOPIC, Order, Producer};
use crate::workload::{self, Act, Client, Peer, Reply};

/// A client whose wish cannot be met is asked again this much later.
const IDLE_US: u64 = 20_000;

/// One client.
pub(super) struct ClientNode {
    model: Model,
    conns: BTreeMap<Peer, u64>,
    pub(super) turn: Option<u64>,
    log: Column,
}

enum Model {
    Consumer(Consumer, Member),
    Producer(Producer),
}

/// How a consumer was made, to make another in its place.
#[derive(Clone, Debug)]
struct Member {
    number: u32,
    group: Text,
    ordered: bool,
}

impl ClientNode {
    pub(super) fn model(&self) -> &dyn Client {
        match &self.model {
            Model::Consumer(model, _) => model,
            Model::Producer(model) => model,
        }
    }

    fn model_mut(&mut self) -> &mut dyn Client {
        match &mut self.model {
            Model::Consumer(model, _) => model,
            Model::Producer(model) => model,
        }
    }

    /// Has it nothing left to send? A consumer never had.
    pub(super) fn has_sent(&self) -> bool {
        match &self.model {
            Model::Consumer(..) => true,
            Model::Producer(model) => model.is_done(),
        }
    }

    pub(super) fn is_consumer(&self) -> bool {
        matches!(self.model, Model::Consumer(..))
    }
}

impl World<'_> {
    pub(super) fn add_clients(&mut self) {
        let plan = &self.run.plan;
        let work = plan.work.clone();
        let count = u32::try_from(self.work.range(1, 3, "work.topics")).expect("small");
        let mut topics: Vec<Text> = (0..count).map(|n| Text::from(format!("topic-{n}"))).collect();
        let mut creates = self.work.chance(300, "work.creates").then(|| topics[0].clone());
        if work.inner_batches {
            topics.push(BATCH_TOPIC.into());
            creates = topics.last().cloned();
        }
        let window = *crate::choose::pick(&mut self.work, &[1, 4], "work.window");
        for number in 0..work.producers {
            let order = Order {
                number,
                topics: topics.clone(),
                creates: creates.clone().filter(|_| number == 0),
                lights: plan.store.lights(),
                delayed: work.delayed,
                queues: plan.cluster.queues,
                messages: work.sends / work.producers,
                body_max: work.body_max,
                record_max: plan.store.commit_log_file - 8,
                think_max: Duration::from_micros(work.think_max_us),
                window,
                name_servers: plan.cluster.name_servers,
            };
            self.add_client(&format!("producer-{number}"), Model::Producer(Producer::new(order)));
        }
        // Up to three members a group; the last group may be one that consumes in order.
        let groups = if work.consumers > 3 { 2 } else { 1 };
        let ordered = self.work.chance(500, "work.ordered");
        for number in 0..work.consumers {
            let group = u32::from(number > 2);
            let ordered = ordered && group + 1 == groups;
            let group = Text::from(format!("group-{group}"));
            self.oracles.delivery.expect(&group);
            let member = Member { number, group, ordered };
            let model = self.consumer(&member, &topics);
            self.add_client(&format!("consumer-{number}"), Model::Consumer(model, member));
        }
        self.topics = topics;
    }

    fn consumer(&self, member: &Member, topics: &[Text]) -> Consumer {
        let name_servers = self.run.plan.cluster.name_servers;
        let Member { number, group, ordered } = member;
        let work = &self.run.plan.work;
        Consumer::new(*number, group, *ordered, topics.to_vec(), work, name_servers)
    }

    fn add_client(&mut self, name: &str, model: Model) {
        let log = self.run.trace.column(name);
        self.clients.push(ClientNode { model, conns: BTreeMap::new(), turn: None, log });
        let start = self.schedule.below(10_000, "schedule.client");
        self.turn_at(Actor::Client(self.clients.len() - 1), start);
    }

    /// A consumer dies, with all that it knew; another takes its name.
    pub(super) fn client_dies(&mut self, at: usize) {
        let topics = self.topics.clone();
        let Model::Consumer(_, member) = &self.clients[at].model else { return };
        let model = self.consumer(member, &topics);
        let member = member.clone();
        let node = &mut self.clients[at];
        node.conns.clear();
        node.model = Model::Consumer(model, member);
        node.log.say(Mark::Died, format_args!("and another takes its place"));
        self.run.ledger.hit(Strike::ClientDied);
        self.net.died(self.now, Actor::Client(at), false);
        let down = self.process.below(self.run.plan.process.down_max_us, "process.down");
        self.clients[at].turn = None;
        self.turn_at(Actor::Client(at), self.now + down);
    }

    pub(super) fn client_hears(&mut self, at: usize, arrival: Arrival) {
        let node = &mut self.clients[at];
        let known = node.conns.iter().find(|(_, conn)| **conn == arrival.conn);
        let Some((peer, _)) = known else { return };
        let peer = peer.clone();
        let event = match arrival.parcel {
            Parcel::BrokerReply { opaque: id, life, response, records } => {
                node.log.say(Mark::Received, format_args!("{id} {response:?}"));
                workload::Event::Answered { id, life, reply: Reply::Broker(response, records) }
            }
            Parcel::NameReply { opaque: id, response } => {
                workload::Event::Answered { id, life: 0, reply: Reply::Name(response) }
            }
            Parcel::Notice(notice) => workload::Event::Noticed(peer, notice),
            Parcel::Fin => {
                node.conns.remove(&peer);
                node.log.say(Mark::Note, format_args!("{peer:?} closed"));
                workload::Event::Closed(peer)
            }
            Parcel::Ask { .. } => unreachable!("clients are not asked"),
        };
        self.tell(at, event);
    }

    /// Nobody is there, or not the one who was.
    pub(super) fn told(&mut self, at: usize, peer: Peer, conn: u64) {
        let node = &mut self.clients[at];
        if node.conns.get(&peer).is_none_or(|known| *known == conn) {
            node.conns.remove(&peer);
            self.tell(at, workload::Event::Closed(peer));
        }
    }

    fn tell(&mut self, at: usize, event: workload::Event) {
        let now = Mono::from_micros(self.now);
        self.clients[at].model_mut().event(now, event, &mut self.history);
        self.turn_at(Actor::Client(at), self.now);
    }

    pub(super) fn client_turn(&mut self, at: usize) {
        let now = Mono::from_micros(self.now);
        loop {
            let model = self.clients[at].model_mut();
            let Some(act) = model.act(now, &mut self.work, &mut self.history) else { break };
            self.act(at, act);
        }
        let wake = self.clients[at].model().wake().as_micros();
        let soon = if wake > self.now { wake } else { self.now + IDLE_US };
        self.turn_at(Actor::Client(at), soon);
    }

    fn act(&mut self, at: usize, act: Act) {
        match act {
            Act::Close(peer) => {
                if let Some(conn) = self.clients[at].conns.remove(&peer) {
                    self.net.close(self.now, conn, Actor::Client(at));
                }
            }
            Act::Call { id, peer, ask, oneway } => {
                self.clients[at].log.say(Mark::Sent, format_args!("{id} {ask:?}"));
                let Some(conn) = self.connected(at, &peer) else { return };
                let parcel = Parcel::Ask { opaque: id, ask, oneway };
                let heard = self.net.send(self.now, conn, Actor::Client(at), parcel);
                // The machine is up and knows nothing of this connection: it says so.
                if !heard && self.is_up(&peer).is_some() {
                    self.tell_later(at, peer, conn);
                }
            }
        }
    }

    fn tell_later(&mut self, client: usize, peer: Peer, conn: u64) {
        let delay = self.net.latency();
        self.at(self.now + delay, Event::Told { client, peer, conn });
    }

    /// The connection to a peer, made if there is none; `None` if nobody is there.
    fn connected(&mut self, at: usize, peer: &Peer) -> Option<u64> {
        if let Some(conn) = self.clients[at].conns.get(peer) {
            return Some(*conn);
        }
        let Some((actor, life)) = self.is_up(peer) else {
            if !self.is_silent(peer) {
                self.tell_later(at, peer.clone(), 0);
            }
            return None;
        };
        let conn = self.net.dial(Actor::Client(at), actor, life);
        self.clients[at].conns.insert(peer.clone(), conn);
        Some(conn)
    }

    /// Who serves there at the moment, and in which life.
    fn is_up(&self, peer: &Peer) -> Option<(Actor, u32)> {
        match peer {
            Peer::Broker(addr) => {
                let at = self.brokers.iter().position(|node| node.addr == *addr)?;
                let node = &self.brokers[at];
                node.broker.is_some().then_some((Actor::Broker(at), node.life))
            }
            Peer::NameServer(number) => {
                let at = *number as usize;
                let node = &self.names[at];
                node.server.is_some().then_some((Actor::Name(at), node.life))
            }
        }
    }

    /// Is the machine without power, so that not even a refusal comes?
    fn is_silent(&self, peer: &Peer) -> bool {
        match peer {
            Peer::Broker(addr) => self.brokers.iter().any(|node| node.addr == *addr && node.silent),
            Peer::NameServer(number) => self.names[*number as usize].silent,
        }
    }
}
