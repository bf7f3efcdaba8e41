//! How groups get on: how fast, how far, and how much is before them (208, 317; requests.md C).

use std::collections::BTreeMap;

use hotfire_storage::position::QueueOffset;
use hotfire_storage::seam::Disk;
use hotfire_storage::text::Text;
use hotfire_storage::time::Wall;

use super::Broker;
use crate::domain::{ConsumeStats, GroupStats, Lag, MessageQueue, Pull, QueueRef};
use crate::machine::Digest;

/// Samples of a minute, its beginning and its end among them.
const SAMPLES: usize = 7;

/// What a group takes of a topic.
#[derive(Debug, Default)]
struct Taken {
    messages: u64,
    /// How many those were every ten seconds; the newest last.
    samples: [u64; SAMPLES],
    /// Samples since it pulled.
    idle: usize,
    /// Where it pulled last, by queue.
    pulled: BTreeMap<i32, QueueOffset>,
}

/// What groups take of topics. Who has not pulled for a minute is forgotten.
#[derive(Debug, Default)]
pub(super) struct Consumption(BTreeMap<(Text, Text), Taken>);

impl Consumption {
    /// A group pulled, and got so many messages.
    pub(super) fn pulled(&mut self, pull: &Pull, messages: u64) {
        let Ok(offset) = u64::try_from(pull.offset) else { return };
        let key = (pull.from.topic.clone(), pull.group.clone());
        let taken = match self.0.get_mut(&key) {
            Some(taken) => taken,
            None => self.0.entry((key.0.detached(), key.1.detached())).or_default(),
        };
        taken.idle = 0;
        taken.messages += messages;
        taken.pulled.insert(pull.from.queue, QueueOffset::new(offset));
    }

    /// Ten seconds have passed.
    pub(super) fn sample(&mut self) {
        self.0.retain(|_, taken| {
            taken.idle += 1;
            taken.samples.rotate_left(1);
            taken.samples[SAMPLES - 1] = taken.messages;
            taken.idle < SAMPLES
        });
    }

    fn of(&self, topic: &Text, group: &Text) -> Option<&Taken> {
        self.0.get(&(topic.clone(), group.clone()))
    }

    pub(super) fn digest(&self, into: &mut Digest) {
        for ((topic, group), taken) in &self.0 {
            into.bytes(topic.as_bytes());
            into.bytes(group.as_bytes());
            into.number(taken.messages);
        }
    }
}

impl<D: Disk> Broker<D> {
    /// 208: of `topics`, if any are named, else of all in which the group has offsets and, if it
    /// is online, a subscription.
    pub(super) fn consume_stats(&self, group: &Text, topics: Vec<Text>) -> ConsumeStats {
        let topics = if topics.is_empty() { self.consumed_by(group) } else { topics };
        let mut sum = ConsumeStats::default();
        for topic in topics {
            let queues = self.topics.get(&topic).map_or(0, |config| config.read_queues);
            let ConsumeStats { messages_per_minute, queues } =
                self.consumption_of(group, &topic, queues);
            sum.messages_per_minute += messages_per_minute;
            sum.queues.extend(queues);
        }
        sum
    }

    /// 317: of all groups.
    pub(super) fn all_consume_stats(&self, only_ordered: bool) -> Vec<GroupStats> {
        let of_group = |group: &Text| {
            let topics = self.consumed_by(group).into_iter().filter_map(|topic| {
                let config = self.topics.get(&topic)?;
                let counts = config.order || !only_ordered;
                counts.then(|| self.consumption_of(group, &topic, config.write_queues))
            });
            GroupStats { group: group.clone(), topics: topics.collect() }
        };
        self.groups.table().keys().map(of_group).collect()
    }

    /// Topics in which a group has offsets, and, if it is online, a subscription.
    fn consumed_by(&self, group: &Text) -> Vec<Text> {
        let online = self.clients.consumer_group(group);
        let counts = |topic: &&Text| online.is_none_or(|online| online.takes(topic));
        self.offsets.topics_of(group).filter(counts).cloned().collect()
    }

    fn consumption_of(&self, group: &Text, topic: &Text, queues: u32) -> ConsumeStats {
        let taken = self.consumption.of(topic, group);
        let queues = 0..i32::try_from(queues).unwrap_or(i32::MAX);
        let lag = |queue: i32| {
            let of = QueueRef { topic: topic.clone(), queue };
            let next = self.offsets.committed(group, &of).unwrap_or(QueueOffset::ZERO);
            let pulled = taken.and_then(|taken| taken.pulled.get(&queue).copied());
            Lag {
                queue: self.named_queue(&of),
                end: self.visible(&of).map_or(QueueOffset::ZERO, |range| range.max),
                next,
                pulled: pulled.unwrap_or(next).max(next),
                consumed: self.last_stored(&of, next),
            }
        };
        ConsumeStats {
            messages_per_minute: taken.map_or(0, |taken| taken.messages - taken.samples[0]),
            queues: queues.map(lag).collect(),
        }
    }

    /// When the message before an offset was stored.
    fn last_stored(&self, of: &QueueRef, next: QueueOffset) -> Option<Wall> {
        let last = QueueOffset::new(next.get().checked_sub(1)?);
        let unit = self.store.unit(&of.topic, of.queue, last)?;
        Some(self.store.record(unit.span.at)?.store_time())
    }

    /// A queue as clients know it.
    pub(super) fn named_queue(&self, of: &QueueRef) -> MessageQueue {
        MessageQueue {
            topic: of.topic.clone(),
            broker_name: self.config.identity.broker_name.clone(),
            queue: of.queue,
        }
    }
}
