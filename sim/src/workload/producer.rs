//! A producer: asks for routes, sends to queues that it selects, and repeats what was not
//! acknowledged until it is. A repetition carries the same identity, so duplicates are legal, and
//! known.
//!
//! Per queue one send is under way at a time, so "the order of sending" is an order; several
//! queues at once make syncs shared. A one-way message is sent and forgotten.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hotfire_core::domain::{
    BrokerRequest, BrokerResponse, CreateTopic, Positions, QueueRef, Send, Sent,
};
use hotfire_storage::record::properties::SCHEDULE_TOPIC;
use hotfire_storage::text::Text;
use hotfire_storage::time::{Mono, Wall};

use super::calls::Calls;
use super::history::{Fact, History, Message};
use super::message::{self, Id, Lane};
use super::routes::{Routes, TEMPLATE};
use super::{Act, Ask, Client, Event, Peer, Reply};
use crate::choose::{Choose, Stream};

/// How long a producer waits for an acknowledgement (`sendMsgTimeout`).
const PATIENCE: Duration = Duration::from_secs(3);
/// What a record has besides its body and topic, at most, in the records made here.
const RECORD_REST: u32 = 470;

/// What messages of the first delay levels wait.
pub const DELAYS_MS: [i64; 5] = [1_000, 5_000, 10_000, 30_000, 60_000];
/// How many of them producers ask for.
const LEVELS: usize = 3;

/// The topic whose batches are stored as they are.
pub const BATCH_TOPIC: &str = "topic-batch";

/// What a producer is to do.
#[derive(Clone, Debug)]
pub struct Order {
    /// Its number.
    pub number: u32,
    /// Topics it sends to.
    pub topics: Vec<Text>,
    /// A topic that it creates first, on every broker.
    pub creates: Option<Text>,
    /// Light queues that messages may name; none for none.
    pub lights: Vec<Text>,
    /// Messages that are to wait for their time, per mille.
    pub delayed: u32,
    /// Queues of a topic.
    pub queues: u32,
    /// Messages.
    pub messages: u32,
    /// The largest body.
    pub body_max: u32,
    /// The largest record, or batch of records, that brokers take.
    pub record_max: u32,
    /// Between two sends, at most.
    pub think_max: Duration,
    /// Sends under way at the same time.
    pub window: usize,
    /// Name servers.
    pub name_servers: u32,
}

/// The model.
#[derive(Debug)]
pub struct Producer {
    order: Order,
    routes: Routes,
    calls: Calls<What>,
    made: u32,
    sequences: BTreeMap<Lane, u64>,
    jobs: Vec<Job>,
    next_send: Mono,
    closing: Vec<Peer>,
    /// Connections that ended.
    ended: u64,
    /// Brokers on which the topic to be created is not known to exist; `None`: not listed yet.
    creating: Option<BTreeMap<Text, bool>>,
    create_at: Mono,
}

#[derive(Debug)]
struct Job {
    ids: Vec<Id>,
    bodies: Vec<Bytes>,
    /// The light queues that each message names.
    lights: Vec<Vec<Text>>,
    lane: Lane,
    /// Where they belong once they have waited.
    belongs: Option<Lane>,
    oneway: bool,
    wait: bool,
    batch: bool,
    is_out: bool,
    again: Mono,
}

#[derive(Debug)]
enum What {
    Create { broker: Text },
    Route { topic: Text },
    Send { lane: Lane },
}

impl Producer {
    /// A producer with this order.
    pub fn new(order: Order) -> Self {
        let mut topics = order.topics.clone();
        topics.push(TEMPLATE.into());
        Self {
            routes: Routes::new(topics, order.name_servers, order.number),
            creating: order.creates.is_none().then(BTreeMap::new),
            order,
            calls: Calls::default(),
            made: 0,
            sequences: BTreeMap::new(),
            jobs: Vec::new(),
            next_send: Mono::ZERO,
            closing: Vec::new(),
            ended: 0,
            create_at: Mono::ZERO,
        }
    }

    fn group(&self) -> Text {
        format!("producers-{}", self.order.number).into()
    }

    fn call(&mut self, now: Mono, peer: Peer, ask: Ask, what: What) -> Act {
        let id = self.calls.start(now, &peer, PATIENCE, what);
        Act::Call { id, peer, ask, oneway: false }
    }

    /// Something was asked and no answer will be waited for any more.
    fn failed(&mut self, now: Mono, what: What) {
        self.routes.doubt(now);
        match what {
            What::Create { .. } => self.create_at = now.after(Duration::from_millis(200)),
            What::Route { topic } => self.routes.answered(now, &topic, None),
            What::Send { lane } => self.again(now, &lane),
        }
    }

    fn again(&mut self, now: Mono, lane: &Lane) {
        if let Some(job) = self.jobs.iter_mut().find(|job| job.is_out && job.lane == *lane) {
            job.is_out = false;
            job.again = now.after(Duration::from_millis(100));
        }
    }

    fn sent(&mut self, now: Mono, life: u32, lane: &Lane, sent: &Sent, history: &mut History) {
        let job = self.jobs.iter().position(|job| job.is_out && job.lane == *lane);
        let job = self.jobs.remove(job.expect("an open call has its job"));
        let at = match &sent.at {
            // An inner batch is one record.
            Positions::One(at) if sent.inner_batch => vec![at.get(); job.ids.len()],
            Positions::One(at) => vec![at.get()],
            Positions::Many(many) => many.iter().map(|at| at.get()).collect(),
        };
        let offset = sent.queue_offset.get();
        history.add(now, Fact::Acked { life, status: sent.status, ids: job.ids, offset, at });
    }

    fn answered(&mut self, now: Mono, life: u32, what: What, reply: &Reply, history: &mut History) {
        match (what, reply) {
            (What::Route { topic }, Reply::Name(answer)) => {
                self.routes.answered(now, &topic, Some(answer));
            }
            (What::Create { broker }, Reply::Broker(BrokerResponse::Done, _)) => {
                let topic = self.order.creates.clone().expect("it was asked for");
                let queues = self.order.queues;
                history.add(now, Fact::Created { broker: broker.clone(), topic, queues });
                self.creating.as_mut().expect("it was listed").insert(broker, true);
            }
            (What::Send { lane }, Reply::Broker(BrokerResponse::Sent(sent), _)) => {
                self.sent(now, life, &lane, sent, history);
            }
            (What::Send { lane }, Reply::Broker(BrokerResponse::Refused { code, .. }, _)) => {
                let job = self.jobs.iter().find(|job| job.is_out && job.lane == lane);
                let ids = job.expect("an open call has its job").ids.clone();
                history.add(now, Fact::Refused { code: *code, ids });
                self.again(now, &lane);
            }
            (what, _) => self.failed(now, what),
        }
    }

    /// The next broker on which the topic is to be created.
    fn create(&mut self, now: Mono) -> Option<Act> {
        let topic = self.order.creates.clone()?;
        let places = self.routes.of(TEMPLATE).to_vec();
        if self.creating.is_none() && !places.is_empty() {
            let list = places.iter().map(|place| (place.broker.clone(), false));
            self.creating = Some(list.collect());
        }
        let is_asked = self.calls.iter().any(|what| matches!(what, What::Create { .. }));
        if is_asked || now < self.create_at {
            return None;
        }
        let (broker, _) = self.creating.as_ref()?.iter().find(|(_, done)| !**done)?;
        let (broker, addr) = (broker.clone(), self.routes.addr(broker)?.clone());
        let queues = i32::try_from(self.order.queues).expect("few");
        let is_batch = topic == BATCH_TOPIC;
        let ask = Ask::Broker(BrokerRequest::CreateTopic(Box::new(CreateTopic {
            attributes: is_batch.then(|| "+queue.type=BatchCQ".into()),
            ..CreateTopic::new(topic, queues)
        })));
        Some(self.call(now, Peer::Broker(addr), ask, What::Create { broker }))
    }

    fn is_creating(&self) -> bool {
        self.creating.as_ref().is_none_or(|list| list.values().any(|done| !done))
    }

    /// Makes the next message, or batch, if it is time and a queue is free.
    fn make(&mut self, now: Mono, dice: &mut Stream, history: &mut History) {
        if self.made >= self.order.messages
            || now < self.next_send
            || self.jobs.len() >= self.order.window
            || self.is_creating()
        {
            return;
        }
        let Some(lane) = self.choose_lane(dice) else { return };
        let think = u64::try_from(self.order.think_max.as_micros()).expect("short");
        self.next_send = now.after(Duration::from_micros(dice.below(think + 1, "work.think")));
        let kind = dice.below(10, "work.kind");
        let (batch, oneway, wait) = (kind == 1 || kind == 2, kind == 3, kind != 4);
        let Some((lane, belongs)) = self.choose_delay(lane, batch, dice) else { return };
        let count = if batch { dice.range(1, 5, "work.batch") } else { 1 };
        let mut job = Job {
            ids: Vec::new(),
            bodies: Vec::new(),
            lights: Vec::new(),
            lane: lane.clone(),
            belongs: belongs.clone(),
            oneway,
            wait,
            batch,
            is_out: false,
            again: now,
        };
        let mut room = self.order.record_max;
        for _ in 0..count {
            let len = 1 + dice.below(u64::from(self.order.body_max), "work.body");
            let body_len = usize::try_from(len).expect("bodies are small");
            let size = u32::try_from(len).expect("bodies are small") + RECORD_REST;
            if self.made >= self.order.messages || (size > room && !job.ids.is_empty()) {
                break;
            }
            room = room.saturating_sub(size);
            let id = Id { producer: self.order.number, number: self.made };
            self.made += 1;
            let body = message::body(id, body_len);
            let sequence = self.sequences.entry(lane.clone()).or_default();
            *sequence += 1;
            let sequence = *sequence;
            let promised = wait && !oneway;
            let light = self.choose_lights(&lane, dice);
            let (lane, belongs) = (lane.clone(), belongs.clone());
            let (made_body, body) = (body.clone(), body);
            let made =
                Message { lane, sequence, oneway, body: made_body, light, promised, belongs };
            job.lights.push(made.light.clone());
            history.made(id, made);
            job.ids.push(id);
            job.bodies.push(body);
        }
        self.jobs.push(job);
    }

    /// Is the next message to wait? Then it lies in its level's queue before it comes to its own;
    /// `None`: the producer waits for what it sent there before.
    fn choose_delay(
        &self,
        lane: Lane,
        is_batch: bool,
        dice: &mut Stream,
    ) -> Option<(Lane, Option<Lane>)> {
        let may = self.order.delayed > 0 && !is_batch && lane.topic != BATCH_TOPIC;
        if !may || !dice.chance(self.order.delayed, "work.delayed") {
            return Some((lane, None));
        }
        let queue = i32::try_from(dice.index(LEVELS, "work.delay")).expect("few");
        let topic = Text::from_static(SCHEDULE_TOPIC);
        let waits = Lane { broker: lane.broker.clone(), topic, queue };
        let is_free = !self.jobs.iter().any(|job| job.lane == waits);
        is_free.then_some((waits, Some(lane)))
    }

    /// Light queues for the next message, in any order. Inner batches have none.
    fn choose_lights(&self, lane: &Lane, dice: &mut Stream) -> Vec<Text> {
        let lights = &self.order.lights;
        let has_none = lane.topic == BATCH_TOPIC || lane.topic == SCHEDULE_TOPIC;
        if lights.is_empty() || has_none || dice.chance(500, "work.plain") {
            return Vec::new();
        }
        let first = dice.index(lights.len(), "work.light");
        let count = 1 + dice.index(lights.len(), "work.lights");
        (0..count).map(|n| lights[(first + n) % lights.len()].clone()).collect()
    }

    /// A queue without a send under way, of any topic.
    fn choose_lane(&mut self, dice: &mut Stream) -> Option<Lane> {
        let topic = &self.order.topics[dice.index(self.order.topics.len(), "work.topic")];
        let known = self.routes.of(topic);
        // A topic without a route will be created from the template, by the first send to it; one
        // of inner batches must be created as such.
        if known.is_empty() && *topic == BATCH_TOPIC {
            return None;
        }
        let places = if known.is_empty() { self.routes.of(TEMPLATE) } else { known };
        if places.is_empty() {
            return None;
        }
        let place = &places[dice.index(places.len(), "work.broker")];
        let queues = place.queues.min(self.order.queues);
        let queue = dice.below(u64::from(queues.max(1)), "work.queue");
        let queue = i32::try_from(queue).expect("few");
        let lane = Lane { broker: place.broker.clone(), topic: topic.clone(), queue };
        (!self.jobs.iter().any(|job| job.lane == lane)).then_some(lane)
    }

    /// Sends what is due.
    fn send(&mut self, now: Mono, history: &mut History) -> Option<Act> {
        let is_due = |job: &Job| !job.is_out && job.again <= now;
        let routes = &self.routes;
        let known = |job: &Job| routes.addr(&job.lane.broker).is_some();
        let at = self.jobs.iter().position(|job| is_due(job) && known(job))?;
        let addr = self.routes.addr(&self.jobs[at].lane.broker)?.clone();
        let request = self.request(now, &self.jobs[at]);
        let (peer, ask) = (Peer::Broker(addr), Ask::Broker(request));
        let job = &mut self.jobs[at];
        history.add(now, Fact::Sent { ids: job.ids.clone(), ended: self.ended });
        if job.oneway {
            self.jobs.remove(at);
            return Some(Act::Call { id: self.calls.oneway(), peer, ask, oneway: true });
        }
        job.is_out = true;
        let lane = job.lane.clone();
        Some(self.call(now, peer, ask, What::Send { lane }))
    }

    fn request(&self, now: Mono, job: &Job) -> BrokerRequest {
        let (body, properties) = if job.batch {
            let parts = job.bodies.iter().cloned().zip(job.lights.iter().cloned());
            let messages = job.ids.iter().copied().zip(parts);
            let messages: Vec<_> = messages.map(|(id, (body, light))| (id, body, light)).collect();
            // The batch has a key of its own, as real producers give it.
            (message::batch(&messages, job.wait), message::properties(job.ids[0], job.wait))
        } else {
            let level = job.belongs.as_ref().map(|_| job.lane.queue + 1);
            let delay = level.map(|level| format!("DELAY\u{1}{level}\u{2}")).unwrap_or_default();
            let properties = message::properties(job.ids[0], job.wait) + &delay;
            (job.bodies[0].clone(), properties + &message::light_properties(&job.lights[0]))
        };
        let lane = job.belongs.as_ref().unwrap_or(&job.lane);
        let to = QueueRef { topic: lane.topic.clone(), queue: lane.queue };
        BrokerRequest::Send(Box::new(Send {
            default_queues: i32::try_from(self.order.queues).expect("few"),
            born: Wall::from_millis(i64::try_from(now.as_micros() / 1000).expect("runs are short")),
            properties: properties.into(),
            batch: job.batch,
            ..Send::new(self.group(), to, body)
        }))
    }
}

impl Client for Producer {
    fn event(&mut self, now: Mono, event: Event, history: &mut History) {
        match event {
            Event::Answered { id, life, reply } => {
                // An answer that comes too late acknowledges a repetition's twin: not recorded,
                // the repetition has its own.
                if let Some(what) = self.calls.answered(id) {
                    self.answered(now, life, what, &reply, history);
                }
            }
            Event::Closed(peer) => {
                self.ended += 1;
                self.calls.lost(&peer).into_iter().for_each(|what| self.failed(now, what));
            }
            Event::Noticed(..) => {}
        }
    }

    fn act(&mut self, now: Mono, dice: &mut Stream, history: &mut History) -> Option<Act> {
        for (peer, what) in self.calls.late(now) {
            self.failed(now, what);
            // Half of all timeouts give the connection up, so that late answers are met as well.
            if dice.chance(500, "work.gives_up") {
                self.closing.push(peer);
            }
        }
        if let Some(peer) = self.closing.pop() {
            self.ended += 1;
            self.calls.lost(&peer).into_iter().for_each(|what| self.failed(now, what));
            return Some(Act::Close(peer));
        }
        if let Some((peer, topic, ask)) = self.routes.ask(now) {
            return Some(self.call(now, peer, ask, What::Route { topic }));
        }
        self.create(now).or_else(|| {
            self.make(now, dice, history);
            self.send(now, history)
        })
    }

    fn wake(&self) -> Mono {
        let jobs = self.jobs.iter().filter(|job| !job.is_out).map(|job| job.again);
        let next = (self.made < self.order.messages).then_some(self.next_send);
        let times = jobs.chain(next).chain(self.routes.wake()).chain(self.calls.deadline());
        times.min().unwrap_or(Mono::from_micros(u64::MAX))
    }

    fn is_done(&self) -> bool {
        self.made >= self.order.messages && self.jobs.is_empty()
    }

    fn state(&self) -> String {
        let jobs = self.jobs.iter().map(|job| {
            format!("{} to {}{}", job.ids[0], job.lane, if job.is_out { ", asked" } else { "" })
        });
        let jobs: Vec<String> = jobs.collect();
        let (made, of) = (self.made, self.order.messages);
        format!("producer {}: {made} of {of} made, {jobs:?}", self.order.number)
    }
}
