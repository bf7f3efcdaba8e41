//! The log, read record by record: where it ends, and what its records say to queues.

use super::{Plan, Recovery, Stage};
use crate::dispatch::{Facts, LIGHT_QUEUE_ID};
use crate::position::{Physical, Span};
use crate::queue::{Entry, Kind};
use crate::record::{Crc, Record, Verdict};
use crate::seam::{Disk, Fault};

impl<D: Disk> Recovery<'_, D> {
    /// Reads record after record until one is bad, and dispatches them. Returns the log's end.
    pub(super) fn scan(&mut self, plan: Plan) -> Result<Physical, Fault> {
        self.opened.scanned_from = plan.scan_from;
        let mut at = plan.scan_from;
        let total = self.log.chain.room_end() - at.get();
        self.teller.begin(Stage::Check, total, 0);
        loop {
            self.teller.done(at.get() - plan.scan_from.get(), self.opened.records);
            let crc = self.crc_at(at, at >= plan.dispatch_from);
            let (len, targets) = match self.log.verdict(self.disk, at, crc) {
                None => return Ok(at),
                Some(Verdict::Bad(damage)) => {
                    self.opened.cut = self.is_used(at).then_some(damage);
                    return Ok(at);
                }
                Some(Verdict::Blank { len }) => {
                    self.blanks.push(Span { at, len });
                    (len, Vec::new())
                }
                Some(Verdict::Good(record)) => {
                    self.opened.records += 1;
                    self.newest = Some((at, record.store_time()));
                    let is_news = at >= plan.dispatch_from;
                    self.opened.dispatched += u64::from(is_news);
                    (record.size(), if is_news { self.targets(&record) } else { Vec::new() })
                }
            };
            self.put_all(targets, plan.dispatch_from > self.log.start())?;
            at = at.plus(u64::from(len));
        }
    }

    /// What must be right of a record at `at`. Of one that is no news it was looked at before
    /// whether its body is the one that was sent; since then it can only have rotted.
    pub(super) fn crc_at(&self, at: Physical, is_news: bool) -> Crc {
        let checked = self.checkpoint.durable.and_then(|durable| durable.checked);
        let is_checked = checked.is_some_and(|checked| checked <= at);
        match self.settings.verify_crc {
            false => Crc::Skip,
            true if is_checked && !is_news => Crc::Outer,
            true if is_checked || self.settings.force_prop_crc => Crc::Whole,
            true => Crc::Verify,
        }
    }

    pub(super) fn targets(&self, record: &Record<'_>) -> Vec<(String, i32, Kind, Entry)> {
        let properties = [record.properties()];
        let (facts, id) = (Facts::of(record, &properties), record.queue_id());
        let levels = &self.settings.delay_levels;
        let kind = match self.queues.get(facts.topic, id) {
            Some(queue) => queue.kind,
            None if (self.is_batch)(facts.topic) => Kind::Batch,
            None => Kind::Simple,
        };
        let own = facts.own(kind, levels).map(|entry| (facts.topic.to_owned(), id, kind, entry));
        let mut targets: Vec<_> = own.into_iter().collect();
        // Without light queues none is made, but those that are there stay whole.
        let light = facts.light(kind, levels).into_iter().filter(|(name, _)| {
            self.settings.light_queues || self.queues.get(name, LIGHT_QUEUE_ID).is_some()
        });
        targets.extend(
            light.map(|(name, entry)| (name.to_owned(), LIGHT_QUEUE_ID, Kind::Simple, entry)),
        );
        targets
    }
}
