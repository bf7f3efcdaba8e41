//! The second phase: nothing fails any more, and everything that was promised comes true.

use std::collections::{BTreeMap, BTreeSet};

use hotfire_core::domain::{
    BrokerRequest, BrokerResponse, NameRequest, NameResponse, Pull, PullStatus, QueueRef,
};
use hotfire_storage::text::Text;
use hotfire_storage::time::Mono;

use super::faults::Death;
use super::{Actor, World, stuck};
use crate::choose::Choose;
use crate::oracle::image::Image;
use crate::oracle::{Verdict, derived, keys, light, metadata, routes, timers};
use crate::ring::Violation;
use crate::workload::message::{Found, Lane, parse};

const SECOND: u64 = 1_000_000;
/// Within this everything must have come to rest.
const REST: u64 = 300 * SECOND;
/// Registrations come every 30 s, and a broken tie is noticed by one.
const ROUTED: u64 = 75 * SECOND;
/// What lies in a pool is in its file within 200 ms, on a clock that may be slow.
const COMMITTED: u64 = SECOND;
/// A broker that says nothing is gone after 120 s and a scan of 5 s, on a slow clock.
const EXPIRED: u64 = 140 * SECOND;

impl World<'_> {
    /// Heals, waits, judges; then kills everything once more, and judges again.
    pub(super) fn settle(&mut self) -> Verdict {
        self.heal()?;
        let healed = self.now;
        // Messages that wait for their time keep consumers busy until then.
        self.go_on(ROUTED)?;
        while !self.is_at_rest() {
            if self.now > healed + REST {
                return Err(stuck(self.stuck()));
            }
            self.go_on(SECOND / 2)?;
        }
        // A pool commits what was acknowledged last.
        self.go_on(COMMITTED)?;
        self.judge_stores()?;
        self.judge_keys()?;
        self.judge_offsets()?;
        self.judge_lights()?;
        self.judge_routes()?;
        self.last_deaths()
    }

    /// Goes on for some time.
    fn go_on(&mut self, us: u64) -> Verdict {
        let until = self.now + us;
        while self.timeline.first_key_value().is_some_and(|((time, _), _)| *time <= until) {
            self.step()?;
        }
        self.now = until;
        Ok(())
    }

    fn heal(&mut self) -> Verdict {
        self.healed = true;
        self.planned.clear();
        self.net.heal();
        let muted = self.run.plan.disk.muted();
        for at in 0..self.names.len() {
            self.names[at].paused_until = 0;
            self.start_name(at);
            self.turn_at(Actor::Name(at), self.now);
        }
        for at in 0..self.brokers.len() {
            let node = &mut self.brokers[at];
            node.medium.set_faults(muted.clone());
            (node.paused_until, node.fuse) = (0, None);
            self.start_broker(at)?;
            self.turn_at(Actor::Broker(at), self.now);
        }
        Ok(())
    }

    fn images(&self) -> BTreeMap<Text, Image> {
        let up = self.brokers.iter().filter(|node| node.broker.is_some());
        up.map(|node| (node.name.clone(), node.image())).collect()
    }

    /// Is everything sent, consumed and committed?
    fn is_at_rest(&self) -> bool {
        self.clients.iter().all(|node| node.model().is_done())
            && self.brokers.iter().all(|node| node.broker.is_some())
            && self.missing().is_none()
    }

    fn missing(&self) -> Option<String> {
        let images = self.images();
        images.iter().find_map(|(broker, image)| {
            let missing = self.oracles.delivery.missing(broker, image);
            let floor = self.oracles.retention.passed_over(broker, image.end);
            missing.or_else(|| timers::missing(image, floor))
        })
    }

    fn stuck(&self) -> String {
        format!("{:?}\n{}", self.missing(), self.state())
    }

    fn judge_stores(&mut self) -> Verdict {
        self.oracles.follow(&self.history)?;
        self.oracles.quiet(&self.images(), &self.history)?;
        for node in &self.brokers {
            let broker = node.broker.as_ref().expect("all are up");
            derived::check(broker.store(), &node.image())?;
            node.requests.check_age(Mono::from_micros(self.now))?;
            node.medium.verify();
        }
        Ok(())
    }

    /// Whatever lies in a log is found by its key.
    fn judge_keys(&mut self) -> Verdict {
        for at in 0..self.brokers.len() {
            for (message, records) in keys::records(&self.brokers[at].image()) {
                let answer = self.probe_broker(at, keys::question(&message.0, message.1))?;
                keys::check(&message, &records, answer.as_ref())?;
            }
        }
        Ok(())
    }

    /// Whatever a broker believes of a group's offset was once committed.
    fn judge_offsets(&mut self) -> Verdict {
        let groups: Vec<Text> = self.oracles.delivery.groups().cloned().collect();
        let queues = i32::try_from(self.run.plan.cluster.queues).expect("few");
        for at in 0..self.brokers.len() {
            for group in &groups {
                for topic in self.topics.clone() {
                    for queue in 0..queues {
                        self.judge_offset(at, group, &topic, queue)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn judge_offset(&mut self, at: usize, group: &Text, topic: &Text, queue: i32) -> Verdict {
        let of = QueueRef { topic: topic.clone(), queue };
        let query = BrokerRequest::QueryOffset { group: group.clone(), of, zero_if_absent: None };
        let Some(BrokerResponse::Offset(known)) = self.probe_broker(at, query)? else {
            return Ok(());
        };
        let broker = self.brokers[at].name.clone();
        let lane = Lane { broker, topic: topic.clone(), queue };
        let what = format!("{group} on {lane}");
        metadata::check_offset(&what, known, self.oracles.delivery.committed(group, &lane))
    }

    /// What pulls bring from light queues is what is in them.
    fn judge_lights(&mut self) -> Verdict {
        for at in 0..self.brokers.len() {
            let image = self.brokers[at].image();
            for name in self.run.plan.store.lights() {
                let pulled = self.pull_all(at, &name)?;
                light::check_pulled(&name, &pulled, &image)?;
            }
        }
        Ok(())
    }

    /// Positions of all messages of a light queue, as pulls bring them.
    fn pull_all(&mut self, at: usize, name: &Text) -> Result<Vec<u64>, Violation> {
        let (mut found, mut offset) = (Vec::new(), 0);
        loop {
            let pull = BrokerRequest::Pull(Box::new(Pull {
                group: "of-lights".into(),
                from: QueueRef { topic: name.clone(), queue: 0 },
                offset,
                max_messages: 3,
                max_bytes: None,
                commit: None,
                hold_ms: None,
                subscription: Some("*".into()),
                sub_version: 0,
                expression_type: None,
            }));
            let Some(BrokerResponse::Pulled(pulled)) = self.probe_broker(at, pull)? else {
                return Err(Violation::new("light queues are delivered", "no pull is answered"));
            };
            let next = i64::try_from(pulled.next.get()).expect("offsets are small");
            // What lay at the beginning may have grown old: then the queue begins later.
            let is_moved = pulled.status == PullStatus::OffsetTooSmall && next > offset;
            if pulled.status != PullStatus::Found && !is_moved {
                return Ok(found);
            }
            offset = next;
            let broker = self.brokers[at].broker.as_ref().expect("all are up");
            for span in &pulled.spans {
                let bytes = broker.lease(*span);
                let mut rest = &bytes[..];
                while let Found::Record(record) = parse(rest) {
                    found.push(record.at);
                    rest = &rest[record.size as usize..];
                }
            }
        }
    }

    fn judge_routes(&mut self) -> Verdict {
        let alive: BTreeSet<Text> = self.brokers.iter().map(|node| node.name.clone()).collect();
        for name in 0..self.names.len() {
            self.judge_brokers(name, &alive)?;
            for at in 0..self.brokers.len() {
                let broker = self.brokers[at].name.clone();
                let topics: Vec<Text> = self.oracles.metadata.topics(&broker).cloned().collect();
                for topic in topics {
                    let ask = NameRequest::Route { topic: topic.clone() };
                    let answer = self.probe_name(name, ask);
                    let route = match &answer {
                        Some(NameResponse::Route(route)) => Some(route),
                        _ => None,
                    };
                    routes::check_topic(name, &topic, &broker, route)?;
                }
            }
        }
        Ok(())
    }

    fn judge_brokers(&mut self, name: usize, alive: &BTreeSet<Text>) -> Verdict {
        let Some(NameResponse::ClusterInfo(listed)) =
            self.probe_name(name, NameRequest::ClusterInfo)
        else {
            unreachable!("a name server says whom it knows");
        };
        routes::check_brokers(name, &listed, alive)
    }

    /// Every broker dies. The dead are forgotten by name servers; and what they were trusted with
    /// is there when they come back.
    fn last_deaths(&mut self) -> Verdict {
        let power = self.process.chance(700, "process.last");
        let how = if power { Death::Power } else { Death::Kill };
        for at in 0..self.brokers.len() {
            self.broker_dies(at, how)?;
        }
        // They stay dead for now.
        self.timeline.retain(|_, event| !matches!(event, super::Event::Start(_)));
        self.go_on(EXPIRED)?;
        for name in 0..self.names.len() {
            self.judge_brokers(name, &BTreeSet::new())?;
        }
        for at in 0..self.brokers.len() {
            self.start_broker(at)?;
        }
        while self.brokers.iter().any(|node| node.broker.is_none()) {
            self.go_on(SECOND)?;
        }
        self.judge_stores_after_death()
    }

    fn judge_stores_after_death(&mut self) -> Verdict {
        for (broker, image) in &self.images() {
            let floor = self.oracles.retention.floor(broker);
            self.oracles.promises.check(broker, image, &self.history, floor)?;
        }
        for node in &self.brokers {
            let broker = node.broker.as_ref().expect("all have just started");
            derived::check(broker.store(), &node.image())?;
        }
        self.judge_keys()
    }
}
