//! Every queue of a store, by topic and id.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use crate::chain::Chain;
use crate::dispatch::LIGHT_PREFIX;
use crate::position::Physical;
use crate::queue::{Kind, Queue};
use crate::seam::Memory;
use crate::settings::Settings;

#[derive(Debug, Default)]
pub(crate) struct Queues {
    topics: BTreeMap<String, BTreeMap<i32, Queue>>,
    /// Lives given out so far.
    lives: u64,
    /// Light queues among them.
    lights: usize,
}

impl Queues {
    /// The directory of all queues of a kind.
    pub(crate) fn root(settings: &Settings, kind: Kind) -> &str {
        match kind {
            Kind::Batch => &settings.batch_queue_dir,
            Kind::Simple => &settings.consume_queue_dir,
        }
    }

    /// Bytes of a file: the configured size, rounded up to whole units.
    pub(crate) fn file_len(settings: &Settings, kind: Kind) -> u64 {
        let len = match kind {
            Kind::Batch => settings.batch_queue_file,
            Kind::Simple => settings.consume_queue_file,
        };
        u64::from(len).next_multiple_of(kind.unit_len())
    }

    /// Where a queue's extension lies; `None` if it has none: light queues and those of inner
    /// batches never have.
    pub(crate) fn ext_dir(settings: &Settings, topic: &str, id: i32, kind: Kind) -> Option<String> {
        let has = settings.queue_ext && kind == Kind::Simple && !topic.starts_with(LIGHT_PREFIX);
        has.then(|| format!("{}/{topic}/{id}", settings.queue_ext_dir))
    }

    pub(crate) fn get(&self, topic: &str, id: i32) -> Option<&Queue> {
        self.topics.get(topic)?.get(&id)
    }

    /// The topic's name as it is kept here, if the queue exists.
    pub(crate) fn name(&self, topic: &str, id: i32) -> Option<&str> {
        let (name, ids) = self.topics.get_key_value(topic)?;
        ids.contains_key(&id).then_some(name)
    }

    pub(crate) fn get_mut(&mut self, topic: &str, id: i32) -> Option<&mut Queue> {
        self.topics.get_mut(topic)?.get_mut(&id)
    }

    /// The queue, made if need be.
    pub(crate) fn entry(
        &mut self,
        settings: &Settings,
        topic: &str,
        id: i32,
        kind: Kind,
    ) -> &mut Queue {
        if self.get(topic, id).is_none() {
            let dir = format!("{}/{topic}/{id}", Self::root(settings, kind));
            let chain = Chain::new(dir, Self::file_len(settings, kind), 0);
            let ext = Self::ext_dir(settings, topic, id, kind);
            let ext = ext.map(|dir| Chain::new(dir, u64::from(settings.queue_ext_file), 0));
            let queue = Queue::new(kind, self.life(), chain, ext);
            self.adopt(topic, id, queue);
        }
        self.get_mut(topic, id).expect("made above")
    }

    /// The life of a queue to come.
    pub(crate) fn life(&mut self) -> u64 {
        self.lives += 1;
        self.lives
    }

    /// Takes a queue in.
    pub(crate) fn adopt(&mut self, topic: &str, id: i32, queue: Queue) {
        let before = match self.topics.get_mut(topic) {
            Some(ids) => ids.insert(id, queue),
            None => self.topics.entry(topic.to_owned()).or_default().insert(id, queue),
        };
        self.lights += usize::from(before.is_none() && topic.starts_with(LIGHT_PREFIX));
    }

    /// Lives given out so far.
    pub(crate) fn given(&self) -> u64 {
        self.lives
    }

    /// The queue that follows the one named, by topic and id; the first one, if none is named.
    pub(crate) fn key_after(&self, after: Option<(&str, i32)>) -> Option<(&str, i32)> {
        let Some((topic, id)) = after else {
            return self.iter().next().map(|(topic, id, _)| (topic, id));
        };
        let same = self.topics.get_key_value(topic).and_then(|(topic, ids)| {
            ids.range((Excluded(id), Unbounded)).next().map(|(id, _)| (topic.as_str(), *id))
        });
        same.or_else(|| {
            let mut others = self.topics.range::<str, _>((Excluded(topic), Unbounded));
            others.find_map(|(topic, ids)| Some((topic.as_str(), *ids.keys().next()?)))
        })
    }

    pub(crate) fn remove(&mut self, topic: &str, id: i32) -> Option<Queue> {
        let ids = self.topics.get_mut(topic)?;
        let queue = ids.remove(&id);
        self.lights -= usize::from(queue.is_some() && topic.starts_with(LIGHT_PREFIX));
        if ids.is_empty() {
            self.topics.remove(topic);
        }
        queue
    }

    /// How many light queues there are.
    pub(crate) fn lights(&self) -> usize {
        self.lights
    }

    pub(crate) fn ids(&self, topic: &str) -> Vec<i32> {
        self.topics.get(topic).map(|ids| ids.keys().copied().collect()).unwrap_or_default()
    }

    pub(crate) fn of(&self, topic: &str) -> impl Iterator<Item = &Queue> {
        self.topics.get(topic).into_iter().flat_map(BTreeMap::values)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, i32, &Queue)> {
        self.topics.iter().flat_map(|(topic, ids)| {
            ids.iter().map(move |(id, queue)| (topic.as_str(), *id, queue))
        })
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&str, i32, &mut Queue)> {
        self.topics.iter_mut().flat_map(|(topic, ids)| {
            ids.iter_mut().map(move |(id, queue)| (topic.as_str(), *id, queue))
        })
    }

    pub(crate) fn into_queues(self) -> impl Iterator<Item = Queue> {
        self.topics.into_values().flat_map(BTreeMap::into_values)
    }

    /// One number for where every queue ends, if all of their units are in files. A queue more or
    /// less, or one that ends elsewhere or at another record, makes it another one.
    pub(crate) fn ends(&self) -> Option<u64> {
        self.iter().try_fold(0_u64, |sum, (topic, id, queue)| {
            let is_filed = queue.pending_from().is_none();
            is_filed.then(|| sum.wrapping_add(queue.end_mark(topic, id).unwrap_or_default()))
        })
    }

    /// Trims every queue; the position behind the last record that any of them knows.
    pub(crate) fn trim_all(&mut self, memory: &impl Memory, end: Physical) -> Option<Physical> {
        self.iter_mut().filter_map(|(.., queue)| queue.trim(memory, end)).max()
    }
}
