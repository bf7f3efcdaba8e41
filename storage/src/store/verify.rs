//! What is always true of a store, for the simulator to ask after each step.

use std::collections::BTreeMap;

use super::Store;
use crate::dispatch::{Facts, LIGHT_QUEUE_ID};
use crate::position::{Physical, QueueOffset};
use crate::queue::Kind;
use crate::seam::Disk;

/// How the queues differ from what the log says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("queue {topic}/{queue_id}, offset {offset}: the log says {expected:?}, the unit {found:?}")]
pub struct Divergence {
    /// The queue's topic.
    pub topic: String,
    /// The queue within it.
    pub queue_id: i32,
    /// The offset in question.
    pub offset: QueueOffset,
    /// Where the log holds that message.
    pub expected: Option<Physical>,
    /// Where the queue says it is.
    pub found: Option<Physical>,
}

impl<D: Disk> Store<D> {
    /// Relations that always hold; a panic names the first that does not. Costs a few reads a
    /// queue: its last unit stands for all.
    pub fn verify(&self) {
        self.log.verify();
        assert!(self.flushed.end() <= self.written().end(), "flushed is never ahead of written");
        if let Some(durable) = self.checkpoint.durable {
            assert!(durable.flushed <= self.flushed.end(), "a checkpoint never runs ahead");
            assert!(durable.queued <= self.written().end(), "a checkpoint never runs ahead");
            assert!(durable.indexed <= self.written().end(), "a checkpoint never runs ahead");
        }
        for (topic, id, queue) in self.queues.iter() {
            queue.verify();
            let Some(unit) = queue.last(&self.disk) else { continue };
            assert!(self.written().covers(unit.span.end()), "{topic}/{id} points beyond the log");
            if unit.span.at < self.start() || unit.is_placeholder() {
                continue;
            }
            let record = self.record(unit.span.at).expect("a unit points at a record");
            assert_eq!(record.size(), unit.span.len, "{topic}/{id} knows its record's size");
            let is_own = record.topic() == topic;
            assert!(is_own || self.settings.light_queues, "{topic}/{id} points at its own");
            if is_own && queue.kind == Kind::Simple {
                assert_eq!(record.queue_offset(), unit.first, "{topic}/{id} counts as its record");
                assert_eq!(record.queue_id(), id, "{topic}/{id} points at its own");
            }
        }
    }

    /// Recomputes every queue from the log and compares: queues are a pure function of the log.
    /// Reads everything; for tests. Units of records that the log no longer holds, and queues
    /// that were deleted, are not compared.
    pub fn verify_all(&self) -> Result<(), Divergence> {
        self.verify();
        let expected = self.recompute();
        for (topic, id, queue) in self.queues.iter() {
            let none = BTreeMap::new();
            let expected = expected.get(&(topic, id)).unwrap_or(&none);
            let range = queue.range();
            let diverges = |offset, found| {
                let expected = expected.get(&offset).copied();
                let topic = topic.to_owned();
                Err(Divergence { topic, queue_id: id, offset, expected, found })
            };
            let mut next = range.min;
            for unit in queue.units(&self.disk) {
                let at = unit.span.at;
                if unit.first != next || expected.get(&next) != Some(&at) {
                    return diverges(next, Some(at));
                }
                next = unit.next();
            }
            if next != range.max || expected.keys().any(|offset| *offset >= queue.next()) {
                return diverges(range.max, None);
            }
        }
        Ok(())
    }

    fn recompute(&self) -> BTreeMap<(&str, i32), BTreeMap<QueueOffset, Physical>> {
        let mut queues: BTreeMap<(&str, i32), BTreeMap<QueueOffset, Physical>> = BTreeMap::new();
        let mut put = |topic, id, offset, at| {
            let queue = queues.entry((topic, id)).or_default();
            // A queue that was deleted begins anew: the later record is the truth.
            queue.split_off(&offset);
            queue.insert(offset, at);
        };
        for record in self.records_from(self.start()) {
            let (topic, at) = (record.topic(), record.physical());
            let kind = match self.queues.get(topic, record.queue_id()) {
                Some(queue) => queue.kind,
                None => continue,
            };
            let properties = [record.properties()];
            let facts = Facts::of(&record, &properties);
            if let Some((unit, _)) = facts.own(kind, &[]) {
                put(topic, record.queue_id(), unit.first, at);
            }
            if self.settings.light_queues {
                for (name, (unit, _)) in facts.light(&[]) {
                    let known = self.queues.iter().find(|(topic, ..)| *topic == name);
                    if let Some((name, ..)) = known {
                        put(name, LIGHT_QUEUE_ID, unit.first, at);
                    }
                }
            }
        }
        queues
    }

    /// Feeds every number that makes up the store's state to `into`, in a fixed order.
    pub fn digest_state(&self, into: &mut impl FnMut(u64)) {
        into(self.start().get());
        into(self.written().end().get());
        into(self.flushed.end().get());
        into(self.log.chain.count() as u64);
        into(self.ops.last);
        into(self.ops.running.len() as u64);
        into(self.events.len() as u64);
        for (topic, id, queue) in self.queues.iter() {
            into(u64::from(crc32fast::hash(topic.as_bytes())));
            into(u64::from(id.cast_unsigned()));
            into(queue.range().min.get());
            into(queue.range().max.get());
            into(queue.next().get());
        }
    }
}
