//! How far each group has consumed each queue (broker-behaviour.md 6.2).
//!
//! A *reset* is an offset that an operator set. It is open until a member of the group that has
//! been told of it has pulled from there, and pulls on, or commits: then it has what it got there.
//! All other pulls are moved there meanwhile, of other members too, and what these commit does not
//! count, for it is how far the group was before. Open ones are kept in the offsets' file, in a
//! member that Apache's brokers pass over.

use std::collections::BTreeMap;

use hotfire_storage::documents::{self, OffsetTable};
use hotfire_storage::position::QueueOffset;
use hotfire_storage::text::Text;
use hotfire_storage::time::Wall;

use super::names;
use super::version::Version;
use crate::domain::{ConnId, DataVersion, QueueRef};
use crate::machine::Digest;

/// How far a group is in a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// The next message to consume.
    pub(super) next: QueueOffset,
    /// Was that said here? As a slave it is, perhaps, more than the master knows.
    is_own: bool,
}

/// An offset that an operator set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reset {
    next: QueueOffset,
    /// Was the group told? Else who pulls there is there by chance, and has more in hand.
    is_told: bool,
    /// Who has pulled from there.
    taker: Option<ConnId>,
}

/// Where groups are, by topic and group.
pub(super) type ByGroup<T> = BTreeMap<(Text, Text), BTreeMap<i32, T>>;

/// Committed offsets by topic, group and queue.
#[derive(Debug)]
pub(super) struct Offsets {
    table: ByGroup<Progress>,
    resets: ByGroup<Reset>,
    /// Those of groups that consume light queues as such, by `topic@group`.
    light: BTreeMap<Text, i64>,
    /// Are there such groups?
    has_light: bool,
    /// Of the table; counts saves.
    version: Version,
    changed: bool,
}

/// What was kept of them.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) table: ByGroup<QueueOffset>,
    pub(super) resets: ByGroup<QueueOffset>,
    pub(super) light: BTreeMap<Text, i64>,
    pub(super) version: DataVersion,
}

impl Offsets {
    /// `has_light`: groups may consume light queues as such.
    pub(super) fn restore(kept: Kept, has_light: bool) -> Self {
        // Whose word a kept offset was is not known: none is given up for less.
        Self {
            table: mapped(kept.table, |next| Progress { next, is_own: true }),
            resets: mapped(kept.resets, |next| Reset { next, is_told: false, taker: None }),
            light: kept.light,
            has_light,
            version: Version::restored(kept.version),
            changed: false,
        }
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
        self.version.now()
    }

    pub(super) fn table(&self) -> &ByGroup<Progress> {
        &self.table
    }

    /// The resets that are open.
    pub(super) fn resets(&self) -> ByGroup<QueueOffset> {
        mapped(self.resets.clone(), |reset| reset.next)
    }

    /// A member of a group says how far that is.
    pub(super) fn commit(&mut self, group: &Text, of: &QueueRef, conn: ConnId, next: QueueOffset) {
        if let Some(reset) = self.reset_of(group, of) {
            if reset.taker != Some(conn) {
                return;
            }
            // It has consumed what it got there.
            if reset.next != next {
                self.close_reset(group, of);
            }
        }
        self.set(group, of, next);
    }

    /// An operator says where a group is to go on.
    pub(super) fn reset(&mut self, group: &Text, of: &QueueRef, next: QueueOffset) {
        let queues = self.resets.entry((of.topic.detached(), group.detached())).or_default();
        queues.insert(of.queue, Reset { next, is_told: false, taker: None });
        self.set(group, of, next);
        self.changed = true;
    }

    fn reset_of(&self, group: &Text, of: &QueueRef) -> Option<&Reset> {
        if self.resets.is_empty() {
            return None;
        }
        self.resets.get(&(of.topic.clone(), group.clone()))?.get(&of.queue)
    }

    /// Where a pull for the group from `asked` on is to be moved, if an operator set that.
    pub(super) fn moved(
        &mut self,
        group: &Text,
        of: &QueueRef,
        conn: ConnId,
        asked: i64,
    ) -> Option<QueueOffset> {
        let Reset { next, is_told, taker } = *self.reset_of(group, of)?;
        let is_there = is_told && u64::try_from(asked) == Ok(next.get());
        if taker == Some(conn) && !is_there {
            self.close_reset(group, of);
            return None;
        }
        let reset = self.reset_mut(group, of)?;
        if is_there {
            reset.taker = Some(conn);
            return None;
        }
        reset.is_told = true;
        Some(next)
    }

    fn close_reset(&mut self, group: &Text, of: &QueueRef) {
        let key = (of.topic.clone(), group.clone());
        if let Some(queues) = self.resets.get_mut(&key) {
            queues.remove(&of.queue);
            if queues.is_empty() {
                self.resets.remove(&key);
            }
        }
        self.changed = true;
    }

    fn reset_mut(&mut self, group: &Text, of: &QueueRef) -> Option<&mut Reset> {
        if self.resets.is_empty() {
            return None;
        }
        self.resets.get_mut(&(of.topic.clone(), group.clone()))?.get_mut(&of.queue)
    }

    /// Where the group is to go on, for somebody who means to.
    pub(super) fn position(&mut self, group: &Text, of: &QueueRef) -> Option<QueueOffset> {
        if let Some(reset) = self.reset_mut(group, of) {
            reset.is_told = true;
        }
        self.committed(group, of)
    }

    fn set(&mut self, group: &Text, of: &QueueRef, next: QueueOffset) {
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
        let key = (topic.clone(), group.clone());
        if self.resets.get(&key).is_some_and(|queues| queues.contains_key(&queue)) {
            return;
        }
        let known = self.table.entry(key).or_default().entry(queue).or_default();
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
        self.resets.retain(|(_, of), _| *of != *group);
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
        for ((topic, _), queues) in &mut self.resets {
            for (queue, reset) in queues {
                let end = end_of(&QueueRef { topic: topic.clone(), queue: *queue });
                reset.next = reset.next.min(end.unwrap_or(QueueOffset::ZERO));
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

    /// The topics in which a group has an offset, light ones aside.
    pub(super) fn topics_of(&self, group: &str) -> impl Iterator<Item = &Text> {
        let of_group = self.table.keys().filter(move |(_, of)| *of == *group);
        of_group.map(|(topic, _)| topic)
    }

    /// Is there something to save, and no save under way? Asking starts it: the caller saves now.
    pub(super) fn start_save(&mut self, wall: Wall) -> bool {
        let starts = !self.version.is_saving() && (self.changed || self.version.wants_save());
        if starts {
            // Numbered anew even if the last one failed: this one keeps more.
            self.version.change(wall);
            self.version.start_save();
            self.changed = false;
        }
        starts
    }

    /// The number of the save that keeps what was changed by now.
    pub(super) fn next_save(&self) -> i64 {
        self.version.now().counter + 1
    }

    /// The newest save that a power loss cannot take away.
    pub(super) fn durable_upto(&self) -> i64 {
        self.version.durable_upto()
    }

    /// The save ended.
    pub(super) fn save_ended(&mut self, durable: bool) {
        self.version.save_ended(durable);
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
        for ((topic, group), queues) in &self.resets {
            into.bytes(topic.as_bytes());
            into.bytes(group.as_bytes());
            for (queue, Reset { next, is_told, taker }) in queues {
                into.number(u64::from(queue.cast_unsigned()));
                into.number(next.get() << 1 | u64::from(*is_told));
                into.number(taker.map_or(0, |conn| conn.0));
            }
        }
        for (key, next) in &self.light {
            into.bytes(key.as_bytes());
            into.number(next.cast_unsigned());
        }
    }
}

fn mapped<A, B>(from: ByGroup<A>, each: impl Fn(A) -> B) -> ByGroup<B> {
    let queues =
        |queues: BTreeMap<i32, A>| queues.into_iter().map(|(queue, a)| (queue, each(a))).collect();
    from.into_iter().map(|(of, all)| (of, queues(all))).collect()
}
