//! A member of a consumer group: heartbeats, the group's list of members, an average allocation of
//! queues, pulls with long polling from the committed offset, commits on their own and within
//! pulls; locks, if the group consumes in order; messages that it fails to consume; and resets of
//! how far its group is.
//!
//! Allocation is done broker by broker: each broker lists the members connected to it, and its
//! queues are divided among those.

mod rebalance;
mod resets;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hotfire_core::domain::{BrokerNotice, BrokerRequest, BrokerResponse, Pull, PullStatus, Pulled};
use hotfire_storage::text::Text;
use hotfire_storage::time::Mono;

use super::calls::Calls;
use super::history::{Fact, History};
use super::lane::{self, Held, Step, message_queue, queue_ref};
use super::message::{self, Found, Lane};
use super::retries::{self, Back};
use super::routes::Routes;
use super::{Act, Ask, Client, Event, Peer, Reply};
use crate::choose::{Choose, Stream};
use crate::plan::Work;

const PATIENCE: Duration = Duration::from_secs(3);
/// How long a broker may hold a pull.
const HOLD: Duration = Duration::from_secs(15);
const BEAT_EVERY: Duration = Duration::from_secs(30);
const LIST_EVERY: Duration = Duration::from_secs(20);
const COMMIT_EVERY: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(200);

/// The model.
#[derive(Debug)]
pub struct Consumer {
    client: Text,
    group: Text,
    topics: Vec<Text>,
    ordered: bool,
    /// Messages that it fails to consume, per mille; none in order.
    failing: u32,
    /// Times that it may still send its group back.
    resets: u32,
    routes: Routes,
    calls: Calls<What>,
    brokers: BTreeMap<Text, Tie>,
    lanes: BTreeMap<Lane, Held>,
    closing: Vec<Peer>,
}

/// What is between a consumer and a broker.
#[derive(Debug)]
struct Tie {
    addr: Text,
    /// Does the broker know how the group is to be?
    is_configured: bool,
    beat_at: Mono,
    has_beaten: bool,
    list_at: Mono,
    members: Option<Vec<Text>>,
    asked: bool,
}

impl Tie {
    /// When the next question is due. Who is not known to the broker is in no list.
    fn due(&self) -> Mono {
        match self {
            Self { asked: true, .. } => Mono::from_micros(u64::MAX),
            Self { has_beaten: true, .. } => self.beat_at.min(self.list_at),
            Self { .. } => self.beat_at,
        }
    }
}

#[derive(Debug)]
enum What {
    Back { lane: Lane, back: Back },
    Beat { broker: Text },
    Commit { lane: Lane, next: u64 },
    Configure { broker: Text },
    List { broker: Text },
    Lock { lane: Lane, asked: Mono },
    Offset { lane: Lane },
    Pull { lane: Lane },
    Reset { lane: Lane, number: usize },
    Route { topic: Text },
    Unlock,
}

impl Consumer {
    /// A member of `group`; in an ordered one it locks queues before it consumes them, and else
    /// it fails to consume some messages, as `work` has it.
    pub fn new(
        number: u32,
        group: &str,
        ordered: bool,
        mut topics: Vec<Text>,
        work: &Work,
        name_servers: u32,
    ) -> Self {
        let failing = if ordered { 0 } else { work.failing };
        if failing > 0 {
            topics.push(retries::topic_of(group));
        }
        Self {
            client: format!("10.1.0.{number}@consumer").into(),
            group: group.into(),
            routes: Routes::new(topics.iter().cloned(), name_servers, number),
            topics,
            ordered,
            failing,
            resets: work.resets,
            calls: Calls::default(),
            brokers: BTreeMap::new(),
            lanes: BTreeMap::new(),
            closing: Vec::new(),
        }
    }

    fn broker_at(&mut self, peer: &Peer) -> Option<(&Text, &mut Tie)> {
        let Peer::Broker(addr) = peer else { return None };
        self.brokers.iter_mut().find(|(_, tie)| tie.addr == *addr)
    }

    fn call(&mut self, now: Mono, broker: &Text, request: BrokerRequest, what: What) -> Act {
        let peer = Peer::Broker(self.brokers[broker].addr.clone());
        let patience = if let What::Pull { .. } = what { HOLD + PATIENCE } else { PATIENCE };
        let id = self.calls.start(now, &peer, patience, what);
        Act::Call { id, peer, ask: Ask::Broker(request), oneway: false }
    }

    /// Nothing will come of it: try again a little later.
    fn failed(&mut self, now: Mono, what: What) {
        let again = now.after(RETRY);
        match what {
            What::Beat { broker } | What::Configure { broker } => {
                let tie = self.brokers.get_mut(&broker).expect("ties stay");
                (tie.asked, tie.beat_at) = (false, again);
            }
            What::List { broker } => {
                let tie = self.brokers.get_mut(&broker).expect("ties stay");
                (tie.asked, tie.list_at) = (false, again);
            }
            What::Commit { lane, .. } => {
                if let Some(held) = self.lanes.get_mut(&lane) {
                    (held.committed, held.commit_at) = (None, again);
                }
            }
            What::Back { lane, .. }
            | What::Lock { lane, .. }
            | What::Offset { lane }
            | What::Pull { lane }
            | What::Reset { lane, .. } => {
                if let Some(held) = self.lanes.get_mut(&lane) {
                    (held.is_asked, held.again) = (false, again);
                }
            }
            What::Route { topic } => self.routes.answered(now, &topic, None),
            What::Unlock => {}
        }
    }

    fn answered(&mut self, now: Mono, life: u32, what: What, reply: Reply, history: &mut History) {
        match (what, reply) {
            (What::Route { topic }, Reply::Name(answer)) => {
                self.routes.answered(now, &topic, Some(&answer));
            }
            (What::Beat { broker }, Reply::Broker(BrokerResponse::Heartbeat { .. }, _)) => {
                let tie = self.brokers.get_mut(&broker).expect("ties stay");
                if !tie.has_beaten {
                    tie.list_at = now;
                }
                (tie.asked, tie.has_beaten) = (false, true);
                tie.beat_at = now.after(BEAT_EVERY);
            }
            (What::Configure { broker }, Reply::Broker(BrokerResponse::Done, _)) => {
                let tie = self.brokers.get_mut(&broker).expect("ties stay");
                (tie.asked, tie.is_configured, tie.beat_at) = (false, true, now);
            }
            (What::List { broker }, Reply::Broker(BrokerResponse::Consumers(members), _)) => {
                let tie = self.brokers.get_mut(&broker).expect("ties stay");
                (tie.asked, tie.list_at) = (false, now.after(LIST_EVERY));
                tie.members = Some(members);
            }
            (What::Lock { lane, asked }, Reply::Broker(BrokerResponse::Locked(got), _)) => {
                self.locked(now, life, &lane, asked, !got.is_empty(), history);
            }
            (What::Offset { lane }, Reply::Broker(response, _)) => {
                self.positioned(now, &lane, &response);
            }
            (What::Commit { lane, next }, Reply::Broker(BrokerResponse::Done, _)) => {
                if let Some(held) = self.lanes.get_mut(&lane) {
                    held.kept = Some(next);
                }
            }
            (What::Reset { lane, number }, Reply::Broker(BrokerResponse::OffsetsReset(_), _)) => {
                self.group_sent_back(now, &lane, number, history);
            }
            (What::Back { lane, back }, Reply::Broker(BrokerResponse::Done, _)) => {
                let (broker, group) = (lane.broker.clone(), self.group.clone());
                let Back { id, times, .. } = back;
                history.add(now, Fact::SentBack { broker, life, group, id, times });
                self.sent_back(now, &lane, &back);
            }
            (
                What::Back { lane, back },
                Reply::Broker(BrokerResponse::Refused { remark, .. }, _),
            ) if Back::is_gone(&remark) => {
                self.sent_back(now, &lane, &back);
            }
            (What::Pull { lane }, Reply::Broker(BrokerResponse::Pulled(pulled), records)) => {
                self.pulled(now, life, &lane, &pulled, &records, history);
            }
            (What::Pull { lane }, Reply::Broker(BrokerResponse::Refused { .. }, _)) => {
                // As real clients do when a subscription is not known: say it again.
                let tie = self.brokers.get_mut(&lane.broker).expect("ties stay");
                tie.beat_at = tie.beat_at.min(now.after(RETRY));
                self.failed(now, What::Pull { lane });
            }
            (what, _) => self.failed(now, what),
        }
    }

    fn locked(
        &mut self,
        now: Mono,
        life: u32,
        lane: &Lane,
        asked: Mono,
        got: bool,
        history: &mut History,
    ) {
        let Some(held) = self.lanes.get_mut(lane) else { return };
        held.is_asked = false;
        held.again = now.after(RETRY);
        if got {
            (held.step, held.again) = (Step::Offset, now);
            let (group, client) = (self.group.clone(), self.client.clone());
            history.add(now, Fact::Locked { life, group, client, lane: lane.clone(), asked });
        }
    }

    /// A message was taken back, or is there no more.
    fn sent_back(&mut self, now: Mono, lane: &Lane, back: &Back) {
        let Some(held) = self.lanes.get_mut(lane) else { return };
        (held.is_asked, held.again) = (false, now);
        // It may be another time that the queue is this consumer's.
        held.backs.pop_front_if(|first| first == back);
    }

    fn positioned(&mut self, now: Mono, lane: &Lane, response: &BrokerResponse) {
        let Some(held) = self.lanes.get_mut(lane) else { return };
        held.is_asked = false;
        match response {
            BrokerResponse::Offset(next) => {
                held.next = u64::try_from(*next).unwrap_or(0);
                (held.step, held.again) = (Step::Pull, now);
            }
            // "Not found": a group that never committed begins at the oldest message.
            BrokerResponse::Refused { .. } => {
                held.next = 0;
                (held.step, held.again) = (Step::Pull, now.after(RETRY));
            }
            _ => held.again = now.after(RETRY),
        }
    }

    fn pulled(
        &mut self,
        now: Mono,
        life: u32,
        lane: &Lane,
        pulled: &Pulled,
        records: &[Bytes],
        history: &mut History,
    ) {
        let Some(held) = self.lanes.get_mut(lane) else { return };
        (held.is_asked, held.again) = (false, now);
        held.next = pulled.next.get();
        if pulled.status != PullStatus::Found {
            // Not in a circle without time passing.
            held.again = now.after(Duration::from_millis(5));
            return;
        }
        held.has_found = true;
        for bytes in records {
            let mut rest = &bytes[..];
            while let Found::Record(record) = message::parse(rest) {
                rest = &rest[record.size as usize..];
                for ((id, body), offset) in record.messages().into_iter().zip(record.offset..) {
                    let fact = Fact::Consumed {
                        life,
                        group: self.group.clone(),
                        client: self.client.clone(),
                        lane: Lane {
                            broker: lane.broker.clone(),
                            topic: record.topic.into(),
                            queue: record.queue,
                        },
                        offset,
                        at: record.at,
                        size: record.size,
                        id,
                        body: bytes.slice_ref(body),
                    };
                    history.add(now, fact);
                    let Some(id) = id else { continue };
                    if retries::fails(id, record.times, self.failing) {
                        let (at, times) = (record.at, record.times);
                        held.backs.push_back(Back { at, id, times });
                        history.add(now, Fact::Failed { group: self.group.clone(), id });
                    }
                }
            }
            assert!(rest.is_empty(), "an answer to a pull ends where a record does");
        }
    }

    fn commit(&mut self, now: Mono, lane: &Lane, history: &mut History) -> Act {
        let held = self.lanes.get_mut(lane).expect("only queues that are held are committed");
        let next = held.next;
        (held.committed, held.commit_at) = (Some(next), now.after(COMMIT_EVERY));
        let group = self.group.clone();
        history.add(now, self.committed(lane, next));
        let offset = i64::try_from(next).expect("offsets are small");
        let request = BrokerRequest::UpdateOffset { group, of: queue_ref(lane), offset };
        self.call(now, &lane.broker, request, What::Commit { lane: lane.clone(), next })
    }

    fn committed(&self, lane: &Lane, next: u64) -> Fact {
        let (group, client) = (self.group.clone(), self.client.clone());
        Fact::Committed { group, client, lane: lane.clone(), next }
    }

    /// Heartbeats and lists that are due.
    fn keep_ties(&mut self, now: Mono) -> Option<Act> {
        let (broker, tie) = self.brokers.iter_mut().find(|(_, tie)| tie.due() <= now)?;
        tie.asked = true;
        let broker = broker.clone();
        if self.failing > 0 && !tie.is_configured {
            let request = BrokerRequest::ConfigureGroups(vec![retries::group(&self.group)]);
            let what = What::Configure { broker: broker.clone() };
            return Some(self.call(now, &broker, request, what));
        }
        if tie.beat_at <= now || !tie.has_beaten {
            let beat = lane::heartbeat(&self.client, &self.group, &self.topics);
            let beat = BrokerRequest::Heartbeat(Box::new(beat));
            return Some(self.call(now, &broker, beat, What::Beat { broker: broker.clone() }));
        }
        let list = BrokerRequest::ConsumerList { group: self.group.clone() };
        Some(self.call(now, &broker, list, What::List { broker: broker.clone() }))
    }

    /// The next question about a queue, or a commit.
    fn consume(&mut self, now: Mono, dice: &mut Stream, history: &mut History) -> Option<Act> {
        let commits = |held: &Held| held.wants_commit() && held.commit_at <= now;
        if let Some(lane) = self.lanes.iter().find(|(_, held)| commits(held)).map(|(l, _)| l) {
            return Some(self.commit(now, &lane.clone(), history));
        }
        let is_due = |held: &Held| !held.is_asked && held.again <= now;
        let (lane, held) = self.lanes.iter_mut().find(|(_, held)| is_due(held))?;
        held.is_asked = true;
        let (lane, step) = (lane.clone(), held.step);
        let (group, client_id) = (self.group.clone(), self.client.clone());
        match step {
            Step::Lock => {
                let queues = vec![message_queue(&lane)];
                let lock = BrokerRequest::Lock { group, client_id, queues };
                Some(self.call(now, &lane.broker.clone(), lock, What::Lock { lane, asked: now }))
            }
            Step::Offset => {
                let of = queue_ref(&lane);
                let query = BrokerRequest::QueryOffset { group, of, zero_if_absent: None };
                Some(self.call(now, &lane.broker.clone(), query, What::Offset { lane }))
            }
            Step::Pull => {
                if let Some(back) = held.backs.front() {
                    let (request, back) = (back.request(&group), back.clone());
                    let broker = lane.broker.clone();
                    return Some(self.call(now, &broker, request, What::Back { lane, back }));
                }
                let reset = self.send_back_group(now, &lane, dice, history);
                Some(reset.unwrap_or_else(|| self.pull(now, lane, dice, history)))
            }
        }
    }

    fn pull(&mut self, now: Mono, lane: Lane, dice: &mut Stream, history: &mut History) -> Act {
        let held = self.lanes.get_mut(&lane).expect("it was just found");
        let offset = i64::try_from(held.next).expect("offsets are small");
        let (group, next) = (self.group.clone(), held.next);
        let commits = held.committed != Some(next) && dice.chance(200, "work.commit_in_pull");
        if commits {
            history.add(now, self.committed(&lane, next));
        }
        let pull = BrokerRequest::Pull(Box::new(Pull {
            group,
            from: queue_ref(&lane),
            offset,
            max_messages: *crate::choose::pick(dice, &[32, 1, 3], "work.pull_max"),
            max_bytes: None,
            commit: commits.then_some(offset),
            hold_ms: Some(u64::try_from(HOLD.as_millis()).expect("short")),
            subscription: dice.chance(500, "work.pull_sub").then(|| "*".into()),
            sub_version: 1,
            expression_type: None,
        }));
        self.call(now, &lane.broker.clone(), pull, What::Pull { lane })
    }

    /// All calls to a broker are lost, and with its process its memory of us may be.
    fn parted(&mut self, now: Mono, peer: &Peer) {
        self.calls.lost(peer).into_iter().for_each(|what| self.failed(now, what));
        self.routes.doubt(now);
        let Some((broker, tie)) = self.broker_at(peer) else { return };
        (tie.has_beaten, tie.beat_at) = (false, now.after(RETRY));
        let broker = broker.clone();
        let ordered = self.ordered;
        for (lane, held) in &mut self.lanes {
            if lane.broker == broker && ordered {
                (held.step, held.again) = (Step::Lock, now.after(RETRY));
            }
        }
    }
}

impl Client for Consumer {
    fn event(&mut self, now: Mono, event: Event, history: &mut History) {
        match event {
            Event::Answered { id, life, reply } => {
                if let Some(what) = self.calls.answered(id) {
                    self.answered(now, life, what, reply, history);
                }
            }
            Event::Closed(peer) => self.parted(now, &peer),
            Event::Noticed(peer, BrokerNotice::ConsumerIdsChanged { .. }) => {
                if let Some((_, tie)) = self.broker_at(&peer) {
                    tie.list_at = now;
                }
            }
            // The simulated brokers remember resets themselves.
            Event::Noticed(_, BrokerNotice::OffsetsReset(_)) => {}
        }
    }

    fn act(&mut self, now: Mono, dice: &mut Stream, history: &mut History) -> Option<Act> {
        for (peer, what) in self.calls.late(now) {
            self.failed(now, what);
            if dice.chance(500, "work.gives_up") {
                self.closing.push(peer);
            }
        }
        if let Some(peer) = self.closing.pop() {
            self.parted(now, &peer);
            return Some(Act::Close(peer));
        }
        if let Some((peer, topic, ask)) = self.routes.ask(now) {
            let id = self.calls.start(now, &peer, PATIENCE, What::Route { topic });
            return Some(Act::Call { id, peer, ask, oneway: false });
        }
        self.rebalance(now, history)
            .or_else(|| self.keep_ties(now))
            .or_else(|| self.consume(now, dice, history))
    }

    fn wake(&self) -> Mono {
        let ties = self.brokers.values().map(Tie::due);
        let lanes = self.lanes.values().filter(|held| !held.is_asked).map(|held| held.again);
        let commits =
            self.lanes.values().filter(|held| held.wants_commit()).map(|held| held.commit_at);
        let times = ties.chain(lanes).chain(commits);
        let times = times.chain(self.routes.wake()).chain(self.calls.deadline());
        times.min().unwrap_or(Mono::from_micros(u64::MAX))
    }

    /// It has said, and been told, how far it is with each of its queues.
    fn is_done(&self) -> bool {
        let is_done = |held: &Held| held.backs.is_empty() && held.kept == Some(held.next);
        self.lanes.values().all(|held| held.step == Step::Pull && is_done(held))
    }

    fn state(&self) -> String {
        let lanes = self.lanes.iter().map(|(lane, held)| {
            let Held { step, is_asked, next, kept, .. } = held;
            format!("{lane} {step:?} next {next} kept {kept:?} asked {is_asked}")
        });
        let lanes: Vec<String> = lanes.collect();
        let ties: Vec<_> = self.brokers.iter().map(|(name, tie)| (name, &tie.members)).collect();
        format!("consumer {} of {}: {lanes:?}, {ties:?}", self.client, self.group)
    }
}
