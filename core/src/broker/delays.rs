//! How far delayed messages are delivered, by delay level (broker-behaviour.md 4.2).
//!
//! There are two tables. One says where delivery goes on in this process. The other is what is kept
//! in a file and told to slaves, and it is behind: it passes no message whose delivery a power loss
//! can still take out of the log. What is behind it is delivered again after a crash; were it
//! ahead, messages would be lost. A slave takes its master's over once its own log has what that
//! table speaks of, and is known to be its master's.

use std::collections::BTreeMap;

use hotfire_storage::QueueRange;
use hotfire_storage::documents::DelayOffsetTable;
use hotfire_storage::position::{Physical, QueueOffset};
use hotfire_storage::record::properties::SCHEDULE_TOPIC;
use hotfire_storage::text::Text;
use hotfire_storage::time::{Mono, Wall};

use crate::domain::{DataVersion, QueueRef};
use crate::machine::Digest;

/// A delay level: 1 or more, without a unit. Level L waits in queue L - 1 of the schedule topic
/// (store.md 8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DelayLevel(i32);

impl DelayLevel {
    /// What a property asks for, the highest of `count` levels at most; `None`: no delay.
    pub(super) fn asked(property: &str, count: usize) -> Result<Option<Self>, ()> {
        property.parse().map(|level| Self::of(level, count)).map_err(drop)
    }

    /// The highest of `count` levels at most; `None`: no delay.
    pub(super) fn of(level: i32, count: usize) -> Option<Self> {
        let highest = i32::try_from(count.max(1)).unwrap_or(i32::MAX);
        (level > 0).then(|| Self(level.min(highest)))
    }

    fn of_queue(queue: i32) -> Option<Self> {
        queue.checked_add(1).filter(|level| *level > 0).map(Self)
    }

    /// Its number.
    pub(super) fn get(self) -> i32 {
        self.0
    }

    /// Where its messages wait.
    pub(super) fn queue(self) -> QueueRef {
        QueueRef { topic: Text::from_static(SCHEDULE_TOPIC), queue: self.0 - 1 }
    }
}

/// The next offset to deliver of each level that is known.
type Table = BTreeMap<DelayLevel, QueueOffset>;

/// Where the delivery of a level goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Line {
    next: QueueOffset,
    /// When to look; `None`: once something arrives.
    look: Option<Mono>,
    /// Since when messages are met that are due later than they can be: the clock was set back.
    odd_since: Option<Mono>,
}

/// A table that is not safe yet.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pending {
    table: Table,
    version: DataVersion,
    /// It is once the log is durable up to here.
    upto: Physical,
}

/// All levels.
#[derive(Debug, Default)]
pub(super) struct Delays {
    lines: BTreeMap<DelayLevel, Line>,
    /// Whose turn was last.
    last: Option<DelayLevel>,
    /// Was anything delivered that no table speaks of?
    is_ahead: bool,
    pending: Option<Pending>,
    /// The safe table, and up to where the log has what it speaks of.
    table: Table,
    version: DataVersion,
    upto: Physical,
    /// Is there a file of it, or is there to be one? A broker that has never heard of delayed
    /// messages writes none, as it found none.
    is_kept: bool,
    changed: bool,
}

impl Delays {
    /// The table as it was found, if there was one.
    pub(super) fn restore(kept: Option<DelayOffsetTable>) -> Self {
        let Some(kept) = kept else { return Self::default() };
        let (table, version) = (levels_of(&kept), kept.data_version);
        Self { table, version, is_kept: true, ..Self::default() }
    }

    /// As a master: delivery goes on where the table says. `queues` are those of the schedule
    /// topic, in a log that ends at `end`. An offset beyond its queue's end is taken back, as the
    /// power loss took what lay there: what comes in its place must be delivered. Then the table
    /// must be saved before anything comes, which is what the answer says.
    pub(super) fn begin(
        &mut self,
        queues: impl Iterator<Item = (i32, QueueRange)>,
        end: Physical,
        wall: Wall,
    ) -> bool {
        let known = queues.filter_map(|(queue, range)| Some((DelayLevel::of_queue(queue)?, range)));
        let known: BTreeMap<DelayLevel, QueueRange> = known.collect();
        let before = self.table.clone();
        for (level, next) in &mut self.table {
            let max = known.get(level).map_or(QueueOffset::ZERO, |range| range.max);
            *next = max.min(*next);
        }
        let levels = known.keys().chain(self.table.keys());
        self.lines = levels.map(|level| (*level, self.line(*level))).collect();
        self.upto = end;
        let is_corrected = self.table != before;
        if is_corrected {
            self.version.advance(wall);
        }
        is_corrected
    }

    fn line(&self, level: DelayLevel) -> Line {
        let next = self.table.get(&level).copied().unwrap_or_default();
        Line { next, look: Some(Mono::ZERO), odd_since: None }
    }

    /// Something arrived in this queue of the schedule topic, or may be seen now.
    pub(super) fn arrived(&mut self, queue: i32) {
        if let Some(level) = DelayLevel::of_queue(queue) {
            self.lines.entry(level).or_default().look = Some(Mono::ZERO);
        }
    }

    /// The same, in whichever queue.
    pub(super) fn any_arrived(&mut self) {
        self.lines.values_mut().for_each(|line| line.look = Some(Mono::ZERO));
    }

    /// The next level to look at, and the message there: each in its turn.
    pub(super) fn due(&mut self, now: Mono) -> Option<(DelayLevel, QueueOffset)> {
        let is_due = |(_, line): &(&DelayLevel, &Line)| line.look.is_some_and(|look| look <= now);
        let behind = self.lines.iter().filter(|(level, _)| Some(**level) > self.last);
        let (level, line) = behind.chain(self.lines.iter()).find(|entry| is_due(entry))?;
        let found = (*level, line.next);
        self.last = Some(found.0);
        Some(found)
    }

    /// A level's messages below `next` are delivered, or will never be.
    pub(super) fn passed(&mut self, level: DelayLevel, next: QueueOffset) {
        let line = self.lines.get_mut(&level).expect("it was looked at");
        assert!(line.next < next, "delivery goes on");
        (line.next, line.look) = (next, Some(Mono::ZERO));
        self.is_ahead = true;
    }

    /// A level is looked at again then; `None`: once something arrives.
    pub(super) fn wait(&mut self, level: DelayLevel, until: Option<Mono>) {
        self.lines.get_mut(&level).expect("it was looked at").look = until;
    }

    /// A level's next message is due later than it can be. Since when is that so?
    pub(super) fn odd_since(&mut self, now: Mono, level: DelayLevel) -> Mono {
        *self.lines.get_mut(&level).expect("it was looked at").odd_since.get_or_insert(now)
    }

    /// A level's next message is due when it can be.
    pub(super) fn not_odd(&mut self, level: DelayLevel) {
        self.lines.get_mut(&level).expect("it was looked at").odd_since = None;
    }

    /// When to look next.
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.lines.values().filter_map(|line| line.look).min()
    }

    /// What is delivered by now lies in the log below `upto`, and is to be kept once that is
    /// durable. One table at a time.
    pub(super) fn mark(&mut self, wall: Wall, upto: Physical) {
        if self.pending.is_none() && std::mem::take(&mut self.is_ahead) {
            let mut version = self.version;
            version.advance(wall);
            let table = self.lines.iter().map(|(level, line)| (*level, line.next)).collect();
            self.pending = Some(Pending { table, version, upto });
        }
    }

    /// Is to become what the master's table is, if it is not, once the log here has what that
    /// speaks of: below `upto` if the master did not say. The version alone does not tell: Apache's
    /// stays the same for many changes.
    pub(super) fn follow(&mut self, kept: &DelayOffsetTable, upto: Physical) {
        let (table, version) = (levels_of(kept), kept.data_version);
        if self.pending.is_none() && (self.version != version || self.table != table) {
            let upto = kept.log_end.map_or(upto, Physical::new);
            self.pending = Some(Pending { table, version, upto });
        }
    }

    /// As a slave: the master is connected anew. What is not taken over yet may speak of a log that
    /// it has lost meanwhile; it tells again.
    pub(super) fn forget_pending(&mut self) {
        self.pending = None;
    }

    /// The log is durable below `flushed`.
    pub(super) fn settle(&mut self, flushed: Physical) {
        if let Some(pending) = self.pending.take_if(|pending| pending.upto <= flushed) {
            Pending { table: self.table, version: self.version, upto: self.upto } = pending;
            (self.is_kept, self.changed) = (true, true);
        }
    }

    /// What is kept in a file.
    pub(super) fn document(&self) -> DelayOffsetTable {
        let number =
            |next: QueueOffset| i64::try_from(next.get()).expect("a queue is never so long");
        let table = self.table.iter().map(|(level, next)| (level.0, number(*next)));
        let (data_version, offset_table) = (self.version, table.collect());
        DelayOffsetTable { data_version, offset_table, log_end: None }
    }

    /// What slaves are told.
    pub(super) fn told(&self) -> DelayOffsetTable {
        DelayOffsetTable { log_end: Some(self.upto.get()), ..self.document() }
    }

    pub(super) fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Is there something to save?
    pub(super) fn has_changed(&self) -> bool {
        self.changed
    }

    /// The same. Asking takes it: the caller saves it now.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The save failed: there still is something to save.
    pub(super) fn save_failed(&mut self) {
        self.changed = true;
    }

    /// A master's table passes no message that is not delivered. A slave delivers none.
    pub(super) fn verify(&self) {
        for (level, line) in &self.lines {
            let kept = self.table.get(level).copied().unwrap_or_default();
            assert!(kept <= line.next, "{level:?}: {kept:?} is kept, and {line:?}");
        }
    }

    pub(super) fn digest(&self, into: &mut Digest) {
        for (level, next) in &self.table {
            into.number(u64::from(level.0.cast_unsigned()));
            into.number(next.get());
        }
        for (level, line) in &self.lines {
            into.number(u64::from(level.0.cast_unsigned()));
            into.number(line.next.get());
            into.number(line.look.map_or(u64::MAX, Mono::as_micros));
        }
        into.number(self.pending.as_ref().map_or(u64::MAX, |pending| pending.upto.get()));
    }
}

/// A level below 1, or a negative offset, was never written by a broker: it is left out.
fn levels_of(kept: &DelayOffsetTable) -> Table {
    let known = kept.offset_table.iter().filter_map(|(level, next)| {
        let next = u64::try_from(*next).ok().filter(|_| *level > 0)?;
        Some((DelayLevel(*level), QueueOffset::new(next)))
    });
    known.collect()
}
