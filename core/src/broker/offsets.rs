//! How far each group has consumed each queue (broker-behaviour.md 6.2).

use std::collections::BTreeMap;

use hotfire_storage::documents::{self, OffsetTable};
use hotfire_storage::position::QueueOffset;
use hotfire_storage::text::Text;
use hotfire_storage::time::Wall;

use super::names;
use crate::domain::{DataVersion, QueueRef};
use crate::machine::Digest;

/// How far a group is in a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// The next message to consume.
    pub(super) next: QueueOffset,
    /// Was that said here? As a slave it is, perhaps, more than the master knows.
    is_own: bool,
}

/// Committed offsets by topic, group and queue.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    table: BTreeMap<(Text, Text), BTreeMap<i32, Progress>>,
    /// Those of groups that consume light queues as such, by `topic@group`.
    light: BTreeMap<Text, i64>,
    /// Are there such groups?
    has_light: bool,
    /// Of the table; counts saves.
    version: DataVersion,
    changed: bool,
}

impl Offsets {
    pub(super) fn restore(
        table: BTreeMap<(Text, Text), BTreeMap<i32, QueueOffset>>,
        light: BTreeMap<Text, i64>,
        has_light: bool,
        version: DataVersion,
    ) -> Self {
        // Whose word a kept offset was is not known: none is given up for less.
        let own = |next| Progress { next, is_own: true };
        let table = table.into_iter().map(|(of, queues)| {
            (of, queues.into_iter().map(|(queue, next)| (queue, own(next))).collect())
        });
        Self { table: table.collect(), light, has_light, version, changed: false }
    }

    /// Where they are kept.
    pub(super) fn path(&self) -> &'static str {
        documents::offsets_path(self.has_light)
    }

    /// The key of a group's offset in a light queue, if the group is one of these.
    fn light_key(&self, group: &str, topic: &str) -> Option<Text> {
        let is_light = self.has_light && group.starts_with(names::LIGHT_PREFIX);
        is_light.then(|| OffsetTable::key(topic, group))
    }

    pub(super) fn light(&self) -> &BTreeMap<Text, i64> {
        &self.light
    }

    pub(super) fn version(&self) -> DataVersion {
        self.version
    }

    pub(super) fn table(&self) -> &BTreeMap<(Text, Text), BTreeMap<i32, Progress>> {
        &self.table
    }

    pub(super) fn commit(&mut self, group: &Text, of: &QueueRef, next: QueueOffset) {
        if let Some(key) = self.light_key(group, &of.topic) {
            let next = i64::try_from(next.get()).unwrap_or(i64::MAX);
            self.changed |= self.light.insert(key, next) != Some(next);
            return;
        }
        let key = (of.topic.clone(), group.clone());
        let queues = match self.table.get_mut(&key) {
            Some(queues) => queues,
            None => self.table.entry((of.topic.detached(), group.detached())).or_default(),
        };
        let progress = Progress { next, is_own: true };
        self.changed |= queues.insert(of.queue, progress).is_none_or(|before| before.next != next);
    }

    /// Another broker says that a group is so far; it may be further.
    pub(super) fn advance(&mut self, topic: &Text, group: &Text, queue: i32, next: QueueOffset) {
        let queues = self.table.entry((topic.clone(), group.clone())).or_default();
        let known = queues.entry(queue).or_default();
        self.changed |= known.next < next;
        known.next = next.max(known.next);
    }

    /// The master says that a group is so far, and knows of all that was said to itself.
    pub(super) fn follow(&mut self, topic: &Text, group: &Text, queue: i32, next: QueueOffset) {
        let queues = self.table.entry((topic.clone(), group.clone())).or_default();
        let known = queues.entry(queue).or_default();
        if !known.is_own || known.next <= next {
            self.changed |= known.next != next;
            *known = Progress { next, is_own: false };
        }
    }

    /// The same of groups of light queues.
    pub(super) fn take_light(&mut self, light: &BTreeMap<Text, i64>) {
        for (key, next) in light {
            let known = self.light.entry(key.clone()).or_default();
            self.changed |= *known < *next;
            *known = (*next).max(*known);
        }
    }

    /// Forgets what a group has consumed.
    pub(super) fn forget(&mut self, group: &str) {
        let before = self.table.len() + self.light.len();
        self.table.retain(|(_, of), _| *of != *group);
        self.light.retain(|key, _| key.rsplit_once('@').is_none_or(|(_, of)| of != group));
        self.changed |= before != self.table.len() + self.light.len();
    }

    /// Takes back what lies beyond a queue's end: a power loss took those messages, and what is
    /// appended in their place must be consumed.
    pub(super) fn clamp(&mut self, end_of: impl Fn(&QueueRef) -> Option<QueueOffset>) {
        for ((topic, _), queues) in &mut self.table {
            for (queue, known) in queues {
                let end = end_of(&QueueRef { topic: topic.clone(), queue: *queue });
                let end = end.unwrap_or(QueueOffset::ZERO);
                if known.next > end {
                    known.next = end;
                    self.changed = true;
                }
            }
        }
        for (key, next) in &mut self.light {
            let topic = key.rsplit_once('@').map_or("", |(topic, _)| topic);
            let end = end_of(&QueueRef { topic: topic.into(), queue: 0 });
            let end = i64::try_from(end.unwrap_or(QueueOffset::ZERO).get()).unwrap_or(i64::MAX);
            if *next > end {
                *next = end;
                self.changed = true;
            }
        }
    }

    pub(super) fn committed(&self, group: &Text, of: &QueueRef) -> Option<QueueOffset> {
        if let Some(key) = self.light_key(group, &of.topic) {
            let next = u64::try_from(*self.light.get(&key)?).ok()?;
            return Some(QueueOffset::new(next));
        }
        let queues = self.table.get(&(of.topic.clone(), group.clone()))?;
        queues.get(&of.queue).map(|known| known.next)
    }

    /// Is there something to save? Asking takes it: the caller saves it now.
    pub(super) fn take_changed(&mut self, wall: Wall) -> bool {
        if self.changed {
            self.version.advance(wall);
        }
        std::mem::take(&mut self.changed)
    }

    /// The save failed: there still is something to save.
    pub(super) fn save_failed(&mut self) {
        self.changed = true;
    }

    pub(super) fn digest(&self, into: &mut Digest) {
        for ((topic, group), queues) in &self.table {
            into.bytes(topic.as_bytes());
            into.bytes(group.as_bytes());
            for (queue, Progress { next, is_own }) in queues {
                into.number(u64::from(queue.cast_unsigned()));
                into.number(next.get() << 1 | u64::from(*is_own));
            }
        }
        for (key, next) in &self.light {
            into.bytes(key.as_bytes());
            into.number(next.cast_unsigned());
        }
    }
}
