//! Which queues are a consumer's.

use hotfire_core::domain::BrokerRequest;
use hotfire_storage::time::Mono;

use super::{Consumer, Tie, What};
use crate::workload::Act;
use crate::workload::history::{Fact, History};
use crate::workload::lane::{self, Held, message_queue};
use crate::workload::message::Lane;

impl Consumer {
    /// Follows routes and members: ties to new brokers, queues gained and lost.
    pub(super) fn rebalance(&mut self, now: Mono, history: &mut History) -> Option<Act> {
        for topic in &self.topics {
            for place in self.routes.of(topic) {
                self.brokers.entry(place.broker.clone()).or_insert_with(|| Tie {
                    addr: place.addr.clone(),
                    is_configured: false,
                    beat_at: now,
                    has_beaten: false,
                    list_at: now,
                    members: None,
                    asked: false,
                });
            }
        }
        let mut mine = Vec::new();
        for topic in &self.topics {
            for place in self.routes.of(topic) {
                let Some(members) = &self.brokers[&place.broker].members else { continue };
                let count = u32::try_from(members.len()).expect("few");
                let Some(index) = members.iter().position(|id| *id == self.client) else {
                    continue;
                };
                let share = lane::share(u32::try_from(index).expect("few"), count, place.queues);
                let (broker, topic) = (&place.broker, topic);
                mine.extend(share.map(|queue| Lane {
                    broker: broker.clone(),
                    topic: topic.clone(),
                    queue: i32::try_from(queue).expect("few"),
                }));
            }
        }
        for lane in &mine {
            self.lanes.entry(lane.clone()).or_insert_with(|| Held::new(self.ordered));
        }
        let lost = self.lanes.keys().find(|lane| self.is_taken(lane, &mine)).cloned()?;
        self.give_up(now, lost, history)
    }

    /// A queue of a broker whose members are known, which is not ours. A broker that is not
    /// listed at the moment keeps its queues: it may come back.
    fn is_taken(&self, lane: &Lane, mine: &[Lane]) -> bool {
        let listed = self.routes.of(&lane.topic).iter().any(|place| place.broker == lane.broker);
        listed && self.brokers[&lane.broker].members.is_some() && !mine.contains(lane)
    }

    /// Commits a queue that somebody else will consume, and unlocks it.
    fn give_up(&mut self, now: Mono, lane: Lane, history: &mut History) -> Option<Act> {
        let held = self.lanes.get(&lane).expect("it was just found").clone();
        // What was not sent back yet is for the next one to consume, and to fail.
        if held.wants_commit() {
            return Some(self.commit(now, &lane, history));
        }
        self.lanes.remove(&lane);
        if !self.ordered {
            return None;
        }
        let (group, client) = (self.group.clone(), self.client.clone());
        let queues = vec![message_queue(&lane)];
        let broker = lane.broker.clone();
        let fact = Fact::Unlocked { group: group.clone(), client: client.clone(), lane };
        history.add(now, fact);
        let unlock = BrokerRequest::Unlock { group, client_id: client, queues };
        Some(self.call(now, &broker, unlock, What::Unlock))
    }
}
