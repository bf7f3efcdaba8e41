//! The queues, unit by unit, against the records that the walk over the log meets.
//!
//! Records come in the order of the log, and a queue's units point in that order too. So each
//! queue has a cursor, which every record of the queue must find at its own unit.

use std::collections::BTreeMap;

use super::log::is_used;
use super::{Audit, Depth, QueueFacts, Topics, Weight, What, explain};
use crate::chain::Chain;
use crate::consume_queue::Unit;
use crate::dispatch::{Facts, LIGHT_QUEUE_ID};
use crate::position::Physical;
use crate::queue::{Entry, Kind, Queue, Side};
use crate::queues::Queues as Roots;
use crate::record::properties::SCHEDULE_TOPIC;
use crate::record::{Crc, Record};
use crate::recover::Teller;
use crate::resync::good;
use crate::seam::{Disk, Fault, Memory};
use crate::settings::Settings;
use crate::time::Wall;

/// A queue that is being compared.
struct Cursor {
    queue: Queue,
    /// Where the next record's unit should lie; behind the last unit that agreed.
    next: u64,
    /// Units that agreed.
    agreed: u64,
    /// Records without a unit, one behind the other: where it should lie, the first of them, how
    /// many.
    missing: Option<(u64, Unit, u64)>,
}

pub(super) struct Queues {
    topics: BTreeMap<String, BTreeMap<i32, Cursor>>,
    /// Records whose queue is not there, by topic and id.
    homeless: BTreeMap<String, BTreeMap<i32, u64>>,
    delay_levels: Vec<i64>,
    /// From here on units may be missing: the last stop was no stop, and a start makes them.
    owed_from: Physical,
}

impl Queues {
    pub(super) fn load<D: Disk>(
        disk: &mut D,
        settings: &Settings,
        topics: &dyn Topics,
        audit: &mut Audit,
        teller: &mut Teller<'_>,
    ) -> Result<Self, Fault> {
        let durable = audit.checkpoint.and_then(|checkpoint| checkpoint.durable);
        let owed_from = match durable {
            _ if audit.clean => Physical::new(u64::MAX),
            Some(durable) => durable.queued,
            None => Physical::ZERO,
        };
        let mut queues = Self {
            topics: BTreeMap::new(),
            homeless: BTreeMap::new(),
            delay_levels: settings.delay_levels.clone(),
            owed_from,
        };
        let mut found = 0;
        let ext_root = settings.queue_ext.then_some(&settings.queue_ext_dir);
        for kind in [Kind::Batch, Kind::Simple] {
            let root = Roots::root(settings, kind);
            for topic in disk.list(root)?.into_iter().filter(|entry| entry.is_dir) {
                for entry in disk.list(&format!("{root}/{}", topic.name))? {
                    let Ok(id) = entry.name.parse::<i32>() else { continue };
                    let dir = format!("{root}/{}/{id}", topic.name);
                    let len = Roots::file_len(settings, kind);
                    let units = chain(disk, dir, len, audit)?;
                    let Some(units) = units.filter(|units| !units.is_empty()) else { continue };
                    let ext = match ext_root.filter(|_| kind == Kind::Simple) {
                        Some(root) => {
                            let len = u64::from(settings.queue_ext_file);
                            chain(disk, format!("{root}/{}/{id}", topic.name), len, audit)?
                        }
                        None => None,
                    };
                    let cursor = Cursor::new(disk, kind, units, ext);
                    queues.topics.entry(topic.name.clone()).or_default().insert(id, cursor);
                    found += 1;
                    teller.done(found, 0);
                }
            }
        }
        queues.compare_kinds(settings, topics, audit);
        Ok(queues)
    }

    /// The kind of a queue on disk is the kind that the topics' table says.
    fn compare_kinds(&self, settings: &Settings, topics: &dyn Topics, audit: &mut Audit) {
        for (topic, ids) in &self.topics {
            let is_batch = topics.is_batch(topic);
            let kinds = ids.values().map(|cursor| cursor.queue.kind);
            for kind in kinds.filter(|kind| (*kind == Kind::Batch) != is_batch).take(1) {
                let path = format!("{}/{topic}", Roots::root(settings, kind));
                let why = "the topics' table says that this topic's queues are of the other kind";
                audit.find(&path, 0, Weight::Damage, What::Files(why.to_owned()));
            }
        }
    }

    /// A record was read: its units should be next.
    pub(super) fn meet<D: Disk>(
        &mut self,
        disk: &D,
        log: &Chain,
        record: &Record<'_>,
        audit: &mut Audit,
    ) {
        let properties = [record.properties()];
        let (facts, id) = (Facts::of(record, &properties), record.queue_id());
        let known = self.topics.get(facts.topic).and_then(|ids| ids.get(&id));
        let kind = known.map_or(Kind::Simple, |cursor| cursor.queue.kind);
        let own = facts.own(kind, &self.delay_levels).map(|entry| (facts.topic, id, entry));
        let light = facts.light(kind, &self.delay_levels).into_iter();
        let light = light.map(|(name, entry)| (name, LIGHT_QUEUE_ID, entry));
        for (topic, id, entry) in own.into_iter().chain(light) {
            let owed = entry.0.span.at >= self.owed_from;
            match self.topics.get_mut(topic).and_then(|ids| ids.get_mut(&id)) {
                Some(cursor) => cursor.meet((disk, log), topic, &entry, owed, audit),
                None if owed => {}
                None => {
                    let ids = self.homeless.entry(topic.to_owned()).or_default();
                    *ids.entry(id).or_default() += 1;
                }
            }
        }
    }

    /// The log is over: what is left of each queue points nowhere.
    pub(super) fn finish<D: Disk>(
        mut self,
        disk: &D,
        chain: &Chain,
        topics: &dyn Topics,
        depth: Depth,
        audit: &mut Audit,
    ) {
        for (topic, ids) in &mut self.topics {
            for (id, cursor) in ids {
                if depth == Depth::All {
                    cursor.finish(disk, self.owed_from, audit);
                }
                cursor.queue.correct_min(disk, audit.start);
                audit.queues.push(cursor.facts(disk, chain, topic, *id));
            }
        }
        for (topic, ids) in &self.homeless {
            for (id, records) in ids {
                // A topic that was deleted leaves its records behind.
                let is_known = topics.is_known(topic);
                let weight = if is_known { Weight::Damage } else { Weight::Note };
                let what = What::NoQueue { records: *records };
                audit.find(&format!("{topic}/{id}"), 0, weight, what);
            }
        }
    }
}

/// The files of a directory, if they are a sequence.
fn chain<D: Disk>(
    disk: &mut D,
    dir: String,
    file_len: u64,
    audit: &mut Audit,
) -> Result<Option<Chain>, Fault> {
    let mut stale = Vec::new();
    let loaded = Chain::load(disk, dir, file_len, &mut stale);
    audit.note_stale(&stale);
    match loaded {
        Ok(chain) => Ok(Some(chain)),
        Err(error) => {
            let (path, why) = explain(error)?;
            audit.find(&path, 0, Weight::Damage, What::Files(why));
            Ok(None)
        }
    }
}

impl Cursor {
    fn new(disk: &impl Memory, kind: Kind, units: Chain, ext: Option<Chain>) -> Self {
        let ext = ext.filter(|ext| !ext.is_empty());
        let mut queue = Queue::found(kind, 0, units, ext);
        queue.trim(disk, Physical::new(u64::MAX));
        let next = queue.chain.start();
        Self { next, queue, agreed: 0, missing: None }
    }

    /// The units from `next` on, up to the record's own, which is compared.
    fn meet<D: Disk>(
        &mut self,
        (disk, log): (&D, &Chain),
        topic: &str,
        entry: &Entry,
        owed: bool,
        audit: &mut Audit,
    ) {
        let (expected, len) = (&entry.0, self.queue.kind.unit_len());
        while self.next < self.queue.end(Side::Units) {
            let at = self.next;
            let Some(unit) = self.queue.at(disk, at) else {
                self.find(at, Weight::Damage, What::UnitInvalid, audit);
                self.next += len;
                continue;
            };
            let is_before_log = unit.is_placeholder() || unit.span.at.get() < log.start();
            if is_before_log && self.agreed == 0 {
                self.next += len;
                continue;
            }
            // A record comes later in the log, or the unit points nowhere.
            let is_later = unit.span.at > expected.span.at;
            if is_later && good(disk, log, unit.span.at, Crc::Skip).is_some() {
                break;
            }
            self.next += len;
            if unit.span.at != expected.span.at {
                self.find(at, Weight::Damage, What::UnitStray { at: unit.span.at }, audit);
                continue;
            }
            // A gap that the log has is filled with units of the message behind it.
            if unit.first < expected.first {
                continue;
            }
            self.tell_missing(audit);
            if self.differs(disk, (at, &unit), entry, topic) {
                // A crash may leave units whose extension did not get to the medium.
                let weight = if owed { Weight::Note } else { Weight::Damage };
                self.find(at, weight, What::UnitDiffers { at: unit.span.at }, audit);
            }
            self.agreed += 1;
            return;
        }
        // A record before the queue's first one is of a former life of the queue, or expired.
        let is_former = self.agreed == 0 && self.next < self.queue.end(Side::Units);
        if !owed && !is_former {
            self.missing.get_or_insert((self.next, *expected, 0)).2 += 1;
        }
    }

    fn tell_missing(&mut self, audit: &mut Audit) {
        if let Some((position, first, records)) = self.missing.take() {
            let (at, offset) = (first.span.at, first.first);
            let what = What::UnitsMissing { at, offset, records };
            self.find(position, Weight::Damage, what, audit);
        }
    }

    fn finish<D: Disk>(&mut self, disk: &D, owed_from: Physical, audit: &mut Audit) {
        self.tell_missing(audit);
        let len = self.queue.kind.unit_len();
        while self.next < self.queue.end(Side::Units) {
            let at = self.next;
            self.next += len;
            let Some(unit) = self.queue.at(disk, at) else {
                self.find(at, Weight::Damage, What::UnitInvalid, audit);
                continue;
            };
            if unit.is_placeholder() || unit.span.at < audit.start {
                continue;
            }
            // A crash may leave units whose records did not get to the medium.
            let is_torn = unit.span.at >= audit.end && unit.span.at >= owed_from;
            let weight = if is_torn { Weight::Note } else { Weight::Damage };
            self.find(at, weight, What::UnitStray { at: unit.span.at }, audit);
        }
        if is_used(disk, &self.queue.chain, self.queue.end(Side::Units)) {
            let is_ours = audit.durable().is_some();
            let weight = if audit.clean && is_ours { Weight::Damage } else { Weight::Note };
            self.find(self.queue.end(Side::Units), weight, What::UnitTail, audit);
        }
    }

    /// Tags are not compared in the schedule topic, where they are times, which depend on settings.
    /// Neither they nor times are where the extension that has them is not there.
    fn differs(
        &self,
        memory: &impl Memory,
        (at, unit): (u64, &Unit),
        (expected, stored): &Entry,
        topic: &str,
    ) -> bool {
        let tags = self.queue.tags_code(memory, unit.tags_code);
        let is_there = self.queue.has_ext_of(unit);
        let tags_differ = tags != Some(expected.tags_code) && topic != SCHEDULE_TOPIC;
        let told = self.queue.stored(memory, at, unit);
        let times_differ = told.is_some_and(|told| told != *stored);
        let without_tags = |unit: &Unit| Unit { tags_code: 0, ..*unit };
        is_there && (tags_differ || times_differ) || without_tags(unit) != without_tags(expected)
    }

    fn find(&self, at: u64, weight: Weight, what: What, audit: &mut Audit) {
        let chain = &self.queue.chain;
        // A queue that ends with its last file has its next unit in a file that is not there.
        let start = chain.file_start(at).min(chain.room_end() - chain.file_len());
        audit.find(&chain.path(start), at - start, weight, what);
    }

    fn facts<D: Disk>(&self, disk: &D, log: &Chain, topic: &str, id: i32) -> QueueFacts {
        let range = self.queue.range(disk, Physical::new(log.start()));
        let stored = |unit: Option<Unit>| -> Option<Wall> {
            Some(good(disk, log, unit?.span.at, Crc::Skip)?.store_time())
        };
        QueueFacts {
            topic: topic.to_owned(),
            id,
            kind: self.queue.kind,
            range,
            units: self.queue.count(),
            files: self.queue.chain.count(),
            first_stored: stored(self.queue.get(disk, range.min)),
            last_stored: stored(self.queue.last(disk)),
        }
    }
}
