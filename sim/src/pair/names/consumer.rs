//! A consumer of a group that goes by routes, as RocketMQ's do: it asks a name server where a topic
//! is, has its queue locked if the group is ordered, asks how far the group is, pulls, and commits
//! what it has consumed. What it is not sure of it asks again.

use std::collections::BTreeMap;

use hotfire_core::domain::{
    BrokerRequest, BrokerResponse, Code, MessageQueue, NameResponse, Pull, QueueRef, Text,
};

use super::super::work::{self, TOPICS};
use crate::choose::{Choose as _, Stream};

/// Its group.
pub(super) const GROUP: &str = "routed";
/// Life of a lock at a broker; a client relies on half of it, and renews it after a third.
pub(super) const LOCK_LIFE: u64 = 24_000_000;
/// Between two commits.
const COMMIT_EVERY: u64 = 2_000_000;
/// Before something that failed is tried again.
const AGAIN: u64 = 1_000_000;
/// Before an empty queue is looked at again.
const EMPTY: u64 = 700_000;

/// What a broker is asked about a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Question {
    Lock,
    /// How far is the group?
    Progress,
    Commit(i64),
    Pull {
        offset: i64,
        commit: Option<i64>,
    },
    /// A message, to one that must not take it.
    Send,
}

impl Question {
    /// The offset that it commits, if it is answered.
    pub(super) fn commits(self) -> Option<u64> {
        let offset = match self {
            Self::Commit(offset) => Some(offset),
            Self::Pull { commit, .. } => commit,
            _ => None,
        };
        offset.and_then(|offset| u64::try_from(offset).ok())
    }
}

/// A queue, as a consumer knows it.
#[derive(Clone, Debug, Default)]
struct Lane {
    /// Members of its broker's group, by the route.
    route: BTreeMap<i64, usize>,
    is_asked: bool,
    /// The lock is relied on until then.
    locked_until: u64,
    next_lock: u64,
    /// The next message; `None`: to be asked for.
    position: Option<i64>,
    /// Counts positions that were given up.
    epoch: u64,
    is_dirty: bool,
    next_commit: u64,
    next_pull: u64,
    /// Whom to pull from.
    suggested: i64,
}

/// One of the group.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) id: Text,
    pub(super) life: u32,
    is_ordered: bool,
    route_every: u64,
    /// Which name server it asks.
    pub(super) server: usize,
    servers: usize,
    asks_route: bool,
    next_route: u64,
    of_route: usize,
    lanes: [Lane; TOPICS.len()],
}

/// What it does next.
#[derive(Debug)]
pub(super) enum Move {
    /// Ask the name server for a topic.
    Route(usize),
    /// Ask a broker about a queue, having given up positions so many times.
    Ask { broker: usize, of: usize, question: Question, epoch: u64 },
}

impl Consumer {
    pub(super) fn new(at: usize, life: u32, plan: &crate::plan::Names) -> Self {
        let servers = usize::try_from(plan.servers).expect("few");
        Self {
            id: format!("10.0.1.{at}@{life}").into(),
            life,
            is_ordered: plan.ordered,
            route_every: plan.route_every_us,
            server: at % servers,
            servers,
            asks_route: false,
            next_route: 0,
            of_route: 0,
            lanes: Default::default(),
        }
    }

    /// How far it is in a queue, if it knows.
    pub(super) fn position(&self, of: usize) -> Option<i64> {
        self.lanes[of].position
    }

    /// What it does now.
    pub(super) fn moves(&mut self, now: u64, luck: &mut Stream) -> Vec<Move> {
        let mut moves = Vec::new();
        if !self.asks_route && self.next_route <= now {
            (self.asks_route, self.of_route) = (true, 0);
            moves.push(Move::Route(0));
        }
        for of in 0..TOPICS.len() {
            moves.extend(self.ask(now, of, luck));
        }
        moves
    }

    fn ask(&mut self, now: u64, of: usize, luck: &mut Stream) -> Option<Move> {
        let is_ordered = self.is_ordered;
        let lane = &mut self.lanes[of];
        if lane.is_asked {
            return None;
        }
        if is_ordered && lane.locked_until <= now && lane.position.take().is_some() {
            lane.epoch += 1;
        }
        let master = lane.route.get(&0).copied();
        let any = master.or_else(|| lane.route.values().next().copied());
        let next = if is_ordered && lane.next_lock <= now {
            // It cannot be relied on but with who is named as master.
            lane.next_lock = now + LOCK_LIFE / 3;
            master.map(|broker| (broker, Question::Lock))
        } else if is_ordered && lane.locked_until <= now {
            None
        } else if let Some(offset) = lane.position {
            if lane.is_dirty && lane.next_commit <= now {
                any.map(|broker| (broker, Question::Commit(offset)))
            } else if lane.next_pull <= now {
                let from = lane.route.get(&lane.suggested).copied().or(any);
                let commit = (from == master && lane.is_dirty).then_some(offset);
                from.map(|broker| (broker, Question::Pull { offset, commit }))
            } else {
                None
            }
        } else if lane.next_pull <= now {
            any.map(|broker| (broker, Question::Progress))
        } else {
            None
        };
        let probes = next.is_none() && luck.chance(20, "names.probe");
        let slave = lane.route.values().copied().find(|broker| *broker > 0);
        let probe = slave.filter(|_| probes).map(|broker| (broker, Question::Send));
        let (broker, question) = next.or(probe)?;
        lane.is_asked = true;
        Some(Move::Ask { broker, of, question, epoch: lane.epoch })
    }

    /// A name server answered, or did not. Is another topic to be asked for?
    pub(super) fn routed(&mut self, now: u64, of: usize, said: Option<&NameResponse>) -> bool {
        let Some(said) = said else {
            // Another one may know.
            self.server = (self.server + 1) % self.servers;
            (self.asks_route, self.next_route) = (false, now + AGAIN);
            return false;
        };
        let is_known = matches!(said, NameResponse::Route(_));
        if let NameResponse::Route(route) = said {
            let members = route.brokers.first().into_iter().flat_map(|group| &group.addrs);
            self.lanes[of].route =
                members.filter_map(|(id, addr)| Some((id.0, broker_at(addr)?))).collect();
        }
        let is_last = of + 1 == TOPICS.len();
        self.asks_route = !is_last;
        self.next_route = now + if is_known { self.route_every } else { AGAIN };
        !is_last
    }

    /// A broker answered what was asked at `asked`, or did not. Does it go by the answer?
    pub(super) fn answered(
        &mut self,
        now: u64,
        (of, question, asked, epoch): (usize, Question, u64, u64),
        response: Option<&BrokerResponse>,
    ) -> bool {
        let lane = &mut self.lanes[of];
        lane.is_asked = false;
        match (question, response) {
            (Question::Lock, Some(BrokerResponse::Locked(queues))) if !queues.is_empty() => {
                if lane.locked_until <= now {
                    // Another may have had it meanwhile.
                    (lane.position, lane.epoch) = (None, lane.epoch + 1);
                }
                lane.locked_until = asked + LOCK_LIFE / 2;
                lane.next_lock = asked + LOCK_LIFE / 3;
            }
            (Question::Lock, Some(BrokerResponse::Locked(_))) => {
                (lane.position, lane.epoch) = (None, lane.epoch + 1);
                (lane.locked_until, lane.next_lock) = (0, now + 2 * AGAIN);
            }
            (Question::Lock, _) => lane.next_lock = now + AGAIN,
            (Question::Send, _) => {}
            _ if epoch != lane.epoch => return false,
            (Question::Progress, Some(BrokerResponse::Offset(offset))) => {
                (lane.position, lane.is_dirty) = (Some(*offset), false);
            }
            (
                Question::Progress,
                Some(BrokerResponse::Refused { code: Code::QueryNotFound, .. }),
            ) => lane.position = Some(0),
            (Question::Commit(offset), Some(BrokerResponse::Done)) => {
                lane.is_dirty &= lane.position != Some(offset);
                lane.next_commit = now + COMMIT_EVERY;
            }
            (Question::Pull { offset, commit }, Some(BrokerResponse::Pulled(pulled))) => {
                lane.is_dirty &= commit != Some(offset);
                let next = i64::try_from(pulled.next.get()).expect("queues are short");
                lane.is_dirty |= next != offset;
                lane.position = Some(next);
                lane.suggested = pulled.suggest;
                lane.next_pull = match pulled.code {
                    Code::Success => now,
                    _ => now + EMPTY,
                };
            }
            _ => {
                lane.suggested = 0;
                (lane.next_pull, lane.next_commit) = (now + AGAIN, now + AGAIN);
                self.next_route = self.next_route.min(now + AGAIN);
            }
        }
        true
    }

    /// The question as a request.
    pub(super) fn request(&self, of: usize, question: Question) -> BrokerRequest {
        let queue = || QueueRef { topic: TOPICS[of].into(), queue: 0 };
        match question {
            Question::Lock => BrokerRequest::Lock {
                group: GROUP.into(),
                client_id: self.id.clone(),
                queues: vec![MessageQueue {
                    topic: TOPICS[of].into(),
                    broker_name: "b".into(),
                    queue: 0,
                }],
            },
            Question::Progress => BrokerRequest::QueryOffset {
                group: GROUP.into(),
                of: queue(),
                zero_if_absent: None,
            },
            Question::Commit(offset) => {
                BrokerRequest::UpdateOffset { group: GROUP.into(), of: queue(), offset }
            }
            Question::Pull { offset, commit } => {
                let BrokerRequest::Pull(pull) = work::pull(of, offset) else {
                    unreachable!("it makes pulls")
                };
                BrokerRequest::Pull(Box::new(Pull { group: GROUP.into(), commit, ..*pull }))
            }
            Question::Send => work::unwanted(of),
        }
    }
}

/// Which broker of the ring clients reach there.
pub(super) fn broker_at(addr: &str) -> Option<usize> {
    let host = addr.strip_prefix("10.0.0.")?.strip_suffix(":10911")?;
    host.parse::<usize>().ok()?.checked_sub(1)
}
