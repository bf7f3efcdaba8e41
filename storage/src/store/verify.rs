//! What is always true of a store, for the simulator to ask after each step.

use std::collections::BTreeMap;

use super::Store;
use crate::consume_queue::Unit;
use crate::dispatch::{Facts, LIGHT_QUEUE_ID, is_light};
use crate::position::{Physical, QueueOffset};
use crate::queue::{Kind, Side};
use crate::record::properties;
use crate::seam::Disk;

/// How what is derived differs from what the log says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Divergence {
    /// An index file differs.
    #[error("{file}: {what}")]
    Index {
        /// Its path; the directory's, if something is missing behind the last file.
        file: String,
        /// In what.
        what: String,
    },
    /// A queue differs.
    #[error(
        "queue {topic}/{queue_id}, offset {offset}: the log says {expected:?} and tags {tags:?}, \
         the unit {found:?} and {found_tags:?}"
    )]
    Queue {
        /// The queue's topic.
        topic: String,
        /// The queue within it.
        queue_id: i32,
        /// The offset in question.
        offset: QueueOffset,
        /// Where the log holds that message.
        expected: Option<Physical>,
        /// Where the queue says it is.
        found: Option<Physical>,
        /// The message's tags code.
        tags: Option<i64>,
        /// What the queue says it is, extension included.
        found_tags: Option<i64>,
    },
}

/// What a queue says of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    at: Physical,
    tags: Option<i64>,
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
        self.index.verify();
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
            assert!(is_own || is_light(topic), "{topic}/{id} points at its own");
            let tags = queue.tags_code(&self.disk, unit.tags_code);
            assert!(!queue.has_ext() || tags.is_some(), "{topic}/{id} points at its extension");
            if is_own && queue.kind == Kind::Simple {
                assert_eq!(record.queue_offset(), unit.first, "{topic}/{id} counts as its record");
                assert_eq!(record.queue_id(), id, "{topic}/{id} points at its own");
            }
        }
    }

    /// Recomputes every queue, and the index, from the log and compares: they are a pure function
    /// of it.
    /// Reads everything; for tests. Units of records that the log no longer holds, and queues
    /// that were deleted, are not compared.
    pub fn verify_all(&self) -> Result<(), Divergence> {
        self.verify();
        let expected = self.recompute();
        for (topic, id, queue) in self.queues.iter() {
            let none = BTreeMap::new();
            let expected = expected.get(&(topic, id)).unwrap_or(&none);
            let range = queue.range(&self.disk, self.start());
            let diverges = |offset, found: Option<Place>| {
                let expected: Option<&Place> = expected.get(&offset);
                Err(Divergence::Queue {
                    topic: topic.to_owned(),
                    queue_id: id,
                    offset,
                    expected: expected.map(|place| place.at),
                    found: found.map(|place| place.at),
                    tags: expected.and_then(|place| place.tags),
                    found_tags: found.and_then(|place| place.tags),
                })
            };
            let mut next = range.min;
            let live = |unit: &Unit| unit.span.at >= self.start();
            for unit in queue.units(&self.disk).filter(live) {
                let said = expected.get(&next).copied();
                // What an extension said that is not here any more is not compared, nor is a time
                // of delivery: the delays may have been others then.
                let excused = topic == properties::SCHEDULE_TOPIC || !queue.has_ext_of(&unit);
                let tags = match said {
                    Some(place) if excused => place.tags,
                    _ => queue.tags_code(&self.disk, unit.tags_code),
                };
                let found = Some(Place { at: unit.span.at, tags });
                if unit.first != next || said != found {
                    return diverges(next, found);
                }
                next = unit.next();
            }
            if next != range.max || expected.keys().any(|offset| *offset >= queue.next()) {
                return diverges(range.max, None);
            }
        }
        let index = self.index.check(&self.disk, &self.log);
        index.map_err(|(file, what)| Divergence::Index { file, what })
    }

    fn recompute(&self) -> BTreeMap<(&str, i32), BTreeMap<QueueOffset, Place>> {
        let mut queues: BTreeMap<(&str, i32), BTreeMap<QueueOffset, Place>> = BTreeMap::new();
        let mut put = |topic, id, unit: Unit| {
            let queue = queues.entry((topic, id)).or_default();
            // A queue that was deleted begins anew: the later record is the truth.
            queue.split_off(&unit.first);
            queue.insert(unit.first, Place { at: unit.span.at, tags: Some(unit.tags_code) });
        };
        for record in self.records_from(self.start()) {
            let topic = record.topic();
            let own = self.queues.get(topic, record.queue_id());
            let kind = own.map_or(self.kind(topic), |queue| queue.kind);
            let properties = [record.properties()];
            let facts = Facts::of(&record, &properties);
            if let Some((unit, _)) = facts.own(kind, &[]).filter(|_| own.is_some()) {
                put(topic, record.queue_id(), unit);
            }
            for (name, (unit, _)) in facts.light(kind, &[]) {
                if let Some(name) = self.queues.name(name, LIGHT_QUEUE_ID) {
                    put(name, LIGHT_QUEUE_ID, unit);
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
            let range = queue.range(&self.disk, self.start());
            into(range.min.get());
            into(range.max.get());
            into(queue.next().get());
            for side in Side::ALL {
                into(queue.end(side));
            }
        }
        for (_, items) in self.index.counts() {
            into(u64::from(items));
        }
        into(self.index.upto(self.written().end()).get());
    }
}
