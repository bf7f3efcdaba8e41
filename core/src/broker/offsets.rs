//! How far each group has consumed each queue (broker-behaviour.md 6.2).

use std::collections::BTreeMap;

use hotfire_storage::position::QueueOffset;
use hotfire_storage::text::Text;
use hotfire_storage::time::Wall;

use crate::domain::{DataVersion, QueueRef};
use crate::machine::Digest;

/// Committed offsets by topic, group and queue: the next message to consume.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    table: BTreeMap<(Text, Text), BTreeMap<i32, QueueOffset>>,
    /// Offsets of light queues, `%LMQ%x@group`. Kept as found: nothing changes them yet.
    light: BTreeMap<Text, i64>,
    /// Of the table; counts saves.
    version: DataVersion,
    changed: bool,
}

impl Offsets {
    pub(super) fn restore(
        table: BTreeMap<(Text, Text), BTreeMap<i32, QueueOffset>>,
        light: BTreeMap<Text, i64>,
        version: DataVersion,
    ) -> Self {
        Self { table, light, version, changed: false }
    }

    pub(super) fn light(&self) -> &BTreeMap<Text, i64> {
        &self.light
    }

    pub(super) fn version(&self) -> DataVersion {
        self.version
    }

    pub(super) fn table(&self) -> &BTreeMap<(Text, Text), BTreeMap<i32, QueueOffset>> {
        &self.table
    }

    pub(super) fn commit(&mut self, group: &Text, of: &QueueRef, next: QueueOffset) {
        let key = (of.topic.clone(), group.clone());
        let queues = match self.table.get_mut(&key) {
            Some(queues) => queues,
            None => self.table.entry((of.topic.detached(), group.detached())).or_default(),
        };
        self.changed |= queues.insert(of.queue, next) != Some(next);
    }

    /// Takes back what lies beyond a queue's end: a power loss took those messages, and what is
    /// appended in their place must be consumed.
    pub(super) fn clamp(&mut self, end_of: impl Fn(&QueueRef) -> Option<QueueOffset>) {
        for ((topic, _), queues) in &mut self.table {
            for (queue, next) in queues {
                let end = end_of(&QueueRef { topic: topic.clone(), queue: *queue });
                let end = end.unwrap_or(QueueOffset::ZERO);
                if *next > end {
                    *next = end;
                    self.changed = true;
                }
            }
        }
    }

    pub(super) fn committed(&self, group: &Text, of: &QueueRef) -> Option<QueueOffset> {
        self.table.get(&(of.topic.clone(), group.clone()))?.get(&of.queue).copied()
    }

    /// Is there something to save? Asking takes it: the caller saves it now.
    pub(super) fn take_changed(&mut self, wall: Wall) -> bool {
        if self.changed {
            self.version.counter += 1;
            self.version.timestamp = wall.as_millis();
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
            for (queue, next) in queues {
                into.number(u64::from(queue.cast_unsigned()));
                into.number(next.get());
            }
        }
    }
}
