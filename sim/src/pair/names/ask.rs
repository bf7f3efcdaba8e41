//! What brokers are asked, say and do among name servers and consumers, and what is made of it.

use hotfire_core::broker::{Broker, GroupEffect, Input};
use hotfire_core::domain::{
    BrokerRequest, BrokerResponse, Caller, Code, ConnId, NameRequest, NameResponse, PullStatus,
    Pulled, StateKind,
};
use hotfire_core::machine::Machine as _;

use super::committed::Ends;
use super::consumer::{LOCK_LIFE, Question, broker_at};
use super::delivered::topic_of;
use super::faults::Away;
use super::net::{Party, Word};
use super::turn::caller;
use super::{CONNS, Names, Purpose, fresh};
use crate::ledger::Strike;
use crate::oracle::audit::Entry;
use crate::pair::node::Node;
use crate::pair::work::TOPICS;
use crate::pair::{Event, World};
use crate::ring::Violation;
use crate::trace::Mark;
use crate::workload::message::{Found, parse};

type Verdict = Result<(), Violation>;

/// A slave serves at the latest so long after what it holds is there.
const SERVES: u64 = 20_000_000;
/// Where consumer offsets are kept.
const OFFSETS: [&str; 2] = ["config/consumerOffset.json", "config/consumerOffset.json.bak"];

impl World<'_> {
    /// Hands a broker something, if it lives.
    pub(super) fn hand(&mut self, at: usize, input: Input) -> Verdict {
        let now = self.time(at);
        self.nodes[at].medium.advance(now.mono);
        let Some(broker) = self.nodes[at].broker.as_mut() else { return Ok(()) };
        broker.handle(now, input);
        self.turn(at)
    }

    pub(super) fn asked_by(
        &mut self,
        at: usize,
        conn: u64,
        opaque: i32,
        request: BrokerRequest,
    ) -> Verdict {
        let Some(names) = self.names.as_mut() else { return Ok(()) };
        if let Some((_, _, Purpose::Queue(of, question, ..))) = names.open.get(&(at, opaque))
            && let Some(next) = question.commits()
        {
            names.committed.handed(at, *of, next);
        }
        let caller = caller(CONNS + conn, opaque, false);
        self.hand(at, Input::Request { caller, request })
    }

    /// A broker is told what a registrar or a fetcher has to say.
    pub(super) fn told(&mut self, at: usize, life: u32, input: Input) -> Verdict {
        let Some(names) = self.names.as_mut() else { return Ok(()) };
        if names.lives[at] != life || !names.up[at] {
            return Ok(());
        }
        if let Input::Members { name_server, response } = &input {
            names.views[at][*name_server] = match response {
                Some(NameResponse::MemberGroup(group)) => {
                    Some(group.addrs.keys().map(|id| id.0).collect())
                }
                _ => None,
            };
        }
        self.hand(at, input)
    }

    /// A broker answered one of those whose connections are beyond the ring's own.
    pub(in super::super) fn names_answer(
        &mut self,
        at: usize,
        caller: &Caller,
        response: BrokerResponse,
    ) -> Verdict {
        let now = self.now;
        let found = match &response {
            BrokerResponse::Pulled(pulled) => found(&self.nodes[at], pulled),
            _ => Vec::new(),
        };
        let Some(names) = self.names.as_mut() else { return Ok(()) };
        let Some((by, life, why)) = names.open.remove(&(at, caller.opaque)) else { return Ok(()) };
        if let Purpose::Queue(of, question, ..) = why {
            names.judge(now, at, (by, life), (of, question), &response, &self.nodes)?;
        }
        let conn = caller.conn.0 - CONNS;
        if names.net.has(conn, Party::Broker(at)) {
            let word = Word::BrokerSays(caller.opaque, response, found);
            let packet = names.net.send(now, conn, Party::Broker(at), word);
            names.carry([packet]);
        }
        self.names_plan();
        Ok(())
    }

    /// What a broker said is there.
    pub(super) fn broker_said(
        &mut self,
        opaque: i32,
        response: BrokerResponse,
        found: &[Entry],
    ) -> Verdict {
        let now = self.now;
        let Some(names) = self.names.as_mut() else { return Ok(()) };
        let Some(asked) = names.asked.remove(&opaque) else { return Ok(()) };
        if names.life_of(asked.by) != asked.life {
            return Ok(());
        }
        match (asked.by, asked.to, asked.why) {
            (Party::Broker(at), Party::Broker(from), Purpose::Fetch(kind)) => {
                let json = match response {
                    BrokerResponse::State { json, .. } => Some(json),
                    _ => None,
                };
                if let Some(json) = json.as_ref().filter(|_| kind == StateKind::Offsets) {
                    if at > 0 {
                        names.committed.follows(at, json);
                    } else {
                        names.committed.takes_back(from, json, ends(&self.nodes[0]));
                    }
                }
                self.hand(at, Input::Fetched { kind, json })
            }
            (
                Party::Consumer(at),
                Party::Broker(from),
                Purpose::Queue(of, question, when, epoch),
            ) => {
                let taken =
                    names.consumers[at].answered(now, (of, question, when, epoch), Some(&response));
                if let BrokerResponse::Pulled(pulled) = &response
                    && taken
                {
                    names.pulled(of, when, from, pulled, found);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What a broker wants of name servers, or of others of its group.
    pub(in super::super) fn names_effect(&mut self, at: usize, effect: Option<GroupEffect>) {
        let (now, node) = (self.now, &self.nodes[at]);
        let (Some(names), Some(broker)) = (self.names.as_mut(), &node.broker) else { return };
        let identity = &broker.config().identity;
        let by = Party::Broker(at);
        match effect {
            None => names.register(now, at, broker.registration()),
            Some(GroupEffect::Beat) => {
                let (addr, cluster) = (identity.addr.clone(), identity.cluster.clone());
                for server in 0..names.servers.len() {
                    if let Some(conn) = names.net.known(by, Party::Server(server)) {
                        let (addr, cluster) = (addr.clone(), cluster.clone());
                        let word = Word::Tells(NameRequest::BrokerHeartbeat { addr, cluster });
                        let packet = names.net.send(now, conn, by, word);
                        names.carry([packet]);
                    }
                }
            }
            Some(GroupEffect::Watch { name_server }) => {
                let (cluster, broker_name) =
                    (identity.cluster.clone(), identity.broker_name.clone());
                let request = NameRequest::MemberGroup { cluster, broker_name };
                let word = |opaque| Word::AskServer(opaque, request.clone());
                let to = Party::Server(name_server);
                names.ask(now, by, to, Purpose::Members(name_server), word);
            }
            Some(GroupEffect::Fetch { from, kind }) => {
                let Some(other) = broker_at(&from) else { return };
                let life = names.lives[at];
                let word = |opaque| {
                    Word::AskBroker(opaque, BrokerRequest::State(kind), Purpose::Fetch(kind), life)
                };
                names.ask(now, by, Party::Broker(other), Purpose::Fetch(kind), word);
            }
        }
        self.names_plan();
    }

    /// A broker is up.
    pub(in super::super) fn names_boot(&mut self, at: usize) {
        let (now, node) = (self.now, &self.nodes[at]);
        let Some(names) = self.names.as_mut() else { return };
        let (ends, mut asks) = (ends(node), names.peace.slaves(now));
        asks.retain(|_| names.plan.acting);
        let kept = kept(node);
        names.committed.began(at, kept.as_deref(), ends, &asks);
        if at == 0 {
            for (of, end) in ends.iter().enumerate() {
                let positions = names.consumers.iter().filter_map(|known| known.position(of));
                let most = positions.filter_map(|next| u64::try_from(next).ok()).max();
                if let Some(most) = most.filter(|most| most > end) {
                    names.delivered.excuse(of, most);
                }
            }
            names.master_began = now;
        }
        names.lives[at] += 1;
        names.up[at] = true;
        names.registrars[at] = fresh(names.servers.len());
        names.views[at].fill(None);
        names.unserved.retain(|(of, ..), _| *of != at);
        names.peace.began(now, at);
        names.net.began(Party::Broker(at));
    }

    /// A broker's process ends; in order if it takes its leave.
    pub(in super::super) fn names_died(&mut self, at: usize, power: bool, in_order: bool) {
        let (now, node) = (self.now, &self.nodes[at]);
        let Some(names) = self.names.as_mut() else { return };
        if let Some(broker) = node.broker.as_ref().filter(|_| in_order) {
            let who = NameRequest::Unregister(broker.config().identity.clone());
            names.take_leave(now, at, &who);
        }
        if at == 0 && names.plan.acting && names.peace.has_master(now) {
            let follow = names.peace.slaves(now);
            names.committed.master_died(now, &follow);
        }
        names.lives[at] += 1;
        names.up[at] = false;
        names.open.retain(|(of, _), _| *of != at);
        names.peace.ended(now, at);
        let packets = names.net.died(now, Party::Broker(at), power);
        names.carry(packets);
        self.names_plan();
    }

    /// A broker goes, and stays away.
    pub(super) fn goes_away(&mut self, away: Away) -> Verdict {
        let Away { broker: at, in_order, power, back } = away;
        if self.nodes[at].broker.is_none() {
            return Ok(());
        }
        if in_order {
            self.run.ledger.hit(Strike::NamesTookLeave);
            self.stop_until(at, back)
        } else {
            self.kill(at, power)?;
            self.at(back, Event::Boot(at));
            Ok(())
        }
    }

    /// A turn of a broker is over: does it act with reason?
    pub(in super::super) fn names_rested(&self, at: usize) -> Verdict {
        let (Some(names), Some(broker)) = (&self.names, &self.nodes[at].broker) else {
            return Ok(());
        };
        let id = i64::try_from(at).expect("few");
        let views = names.views[at].iter().flatten();
        let is_first = |ids: &std::collections::BTreeSet<i64>| ids.first().is_none_or(|f| *f >= id);
        if broker.acts() && !(names.plan.acting && views.clone().all(is_first)) {
            let detail = format!("broker {at} acts, and name servers say {:?}", names.views[at]);
            return Err(Violation::new("who acts knows of no master", detail));
        }
        if names.plan.acting && names.peace.acts(self.now) == Some(at) && !broker.acts() {
            let detail = format!("broker {at} does not act; it hears {:?}", names.views[at]);
            return Err(Violation::new("somebody acts for a master that is gone", detail));
        }
        Ok(())
    }
}

impl Names {
    /// A broker answers a consumer.
    fn judge(
        &mut self,
        now: u64,
        at: usize,
        (by, life): (Party, u32),
        (of, question): (usize, Question),
        response: &BrokerResponse,
        nodes: &[Node],
    ) -> Verdict {
        self.log.say(Mark::Received, format_args!("{at} says {by:?} of {of}: {response:?}"));
        if let (Some(next), BrokerResponse::Done | BrokerResponse::Pulled(_)) =
            (question.commits(), response)
        {
            self.committed.acknowledged(now, at, of, next);
        }
        match (question, response) {
            (Question::Lock, BrokerResponse::Locked(queues)) if !queues.is_empty() => {
                let Party::Consumer(consumer) = by else { return Ok(()) };
                let given = (at, self.lives[at], of);
                self.holders.given(now, given, (consumer, life), LOCK_LIFE)
            }
            (Question::Progress, BrokerResponse::Offset(said)) => {
                let said = u64::try_from(*said).unwrap_or_default();
                self.committed.check(at, of, said)?;
                if at > 0 {
                    return Ok(());
                }
                self.said[of] = Some(said);
                self.delivered.check(&nodes[0].held(), of, said)
            }
            (Question::Send, BrokerResponse::Refused { .. }) => Ok(()),
            (Question::Send, _) if at > 0 => {
                Err(Violation::new("a slave takes no message", format!("{at}: {response:?}")))
            }
            (Question::Pull { offset, .. }, BrokerResponse::Pulled(pulled)) if at > 0 => {
                self.judge_slave(now, (at, of, offset), pulled, &nodes[at])
            }
            _ => Ok(()),
        }
    }

    /// A slave answers a pull.
    fn judge_slave(
        &mut self,
        now: u64,
        (at, of, offset): (usize, usize, i64),
        pulled: &Pulled,
        node: &Node,
    ) -> Verdict {
        let asked = u64::try_from(offset).unwrap_or_default();
        let stays = !matches!(pulled.status, PullStatus::Found | PullStatus::MessageWasRemoving);
        if pulled.next.get() < asked || (stays && pulled.next.get() > asked) {
            let detail = format!("slave {at} was asked for {asked}, and says {pulled:?}");
            return Err(Violation::new("a slave moves no consumer", detail));
        }
        let place = (at, of, asked);
        let holds = |entry: &Entry| topic_of(entry) == Some(of) && entry.offset == asked;
        if pulled.code == Code::Success || node.fails() || !node.held().iter().any(holds) {
            self.unserved.remove(&place);
            return Ok(());
        }
        let since = *self.unserved.entry(place).or_insert(now);
        if now < since + SERVES {
            return Ok(());
        }
        let detail = format!("slave {at} holds {asked} of {}, and says {pulled:?}", TOPICS[of]);
        Err(Violation::new("a slave serves what it holds", detail))
    }

    /// A consumer goes on with what it got.
    fn pulled(&mut self, of: usize, when: u64, from: usize, pulled: &Pulled, found: &[Entry]) {
        self.delivered.consumed(found, from > 0);
        if when < self.master_began {
            self.delivered.excuse(of, pulled.next.get());
        }
    }
}

/// The messages of an answer.
fn found(node: &Node, pulled: &Pulled) -> Vec<Entry> {
    let Some(broker) = &node.broker else { return Vec::new() };
    let mut all = Vec::new();
    for span in &pulled.spans {
        let bytes = broker.lease(*span);
        let mut at = 0;
        while let Some(Found::Record(record)) = bytes.get(at..).map(parse) {
            at += record.size as usize;
            all.extend(Entry::found(&record, record.bytes));
        }
    }
    all
}

/// Where the queues of a broker end.
pub(super) fn ends(node: &Node) -> Ends {
    let store = node.broker.as_ref().map(Broker::store);
    let end = |topic| store.and_then(|s| s.queue(topic, 0)).map_or(0, |range| range.max.get());
    TOPICS.map(end)
}

/// What the disk of a broker that has just begun says of consumer offsets.
fn kept(node: &Node) -> Option<Vec<u8>> {
    let disk = node.broker.as_ref()?.store().disk();
    let mut seen = disk.seen_where(|path| OFFSETS.contains(&path));
    OFFSETS.iter().find_map(|path| seen.remove(*path))
}

impl World<'_> {
    /// Asks the master how far the group is, as nobody in particular.
    pub(super) fn probe_offsets(&mut self) -> Result<[Option<u64>; TOPICS.len()], Violation> {
        for of in 0..TOPICS.len() {
            let Some(names) = self.names.as_mut() else { return Ok([None; TOPICS.len()]) };
            names.said[of] = None;
            names.next += 1;
            let (opaque, now) = (names.next, self.now);
            let why = Purpose::Queue(of, Question::Progress, now, 0);
            names.open.insert((0, opaque), (Party::Consumer(0), 0, why));
            let request = names.consumers[0].request(of, Question::Progress);
            let conn = ConnId(u64::MAX);
            let caller = Caller { conn, ..caller(0, opaque, false) };
            self.hand(0, Input::Request { caller, request })?;
        }
        Ok(self.names.as_ref().map_or([None; TOPICS.len()], |names| names.said))
    }
}
