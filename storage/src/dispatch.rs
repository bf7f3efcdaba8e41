//! From a record to the units that point at it: one in its own queue, one in each light queue
//! that it names (store.md 4.5, 4.6, 5). A pure function, used by appends and by recovery alike.

use crate::consume_queue::Unit;
use crate::position::{QueueOffset, Span};
use crate::queue::{Entry, Kind};
use crate::record::{Record, SysFlag, properties};
use crate::time::Wall;

/// The prefix of retry topics, whose messages never go to light queues.
const RETRY_PREFIX: &str = "%RETRY%";
/// What every light queue's name begins with.
pub(crate) const LIGHT_PREFIX: &str = "%LMQ%";
/// Light queues have one queue each.
pub(crate) const LIGHT_QUEUE_ID: i32 = 0;

/// What dispatching needs to know of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) topic: &'a str,
    pub(crate) queue_offset: QueueOffset,
    pub(crate) span: Span,
    pub(crate) stored: Wall,
    pub(crate) sys_flag: SysFlag,
    pub(crate) properties: &'a [&'a [u8]],
}

impl<'a> Facts<'a> {
    /// `properties` holds exactly the record's own properties string.
    pub(crate) fn of(record: &Record<'a>, properties: &'a [&'a [u8]; 1]) -> Self {
        Self {
            topic: record.topic(),
            queue_offset: record.queue_offset(),
            span: Span { at: record.physical(), len: record.size() },
            stored: record.store_time(),
            sys_flag: record.sys_flag(),
            properties,
        }
    }

    /// The entry in the record's own queue; `None` if it has no place there.
    pub(crate) fn own(&self, kind: Kind, delay_levels: &[i64]) -> Option<Entry> {
        if !self.sys_flag.is_queued() {
            return None;
        }
        let (first, count) = match kind {
            Kind::Simple => (self.queue_offset, 1),
            Kind::Batch => self.batch(),
        };
        Some((self.unit(first, count, delay_levels), self.stored))
    }

    /// The entries in light queues, by name. None if names and offsets do not pair up.
    pub(crate) fn light(&self, delay_levels: &[i64]) -> Vec<(&'a str, Entry)> {
        let text = |key| {
            let value = properties::find_in(self.properties, key)?;
            std::str::from_utf8(value).ok()
        };
        let Some(names) = text(properties::MULTI_DISPATCH) else { return Vec::new() };
        let offsets = text(properties::MULTI_QUEUE_OFFSET).unwrap_or_default();
        let is_paired = names.split(',').count() == offsets.split(',').count();
        if !is_paired || !self.sys_flag.is_queued() || self.topic.starts_with(RETRY_PREFIX) {
            return Vec::new();
        }
        let pairs = names.split(',').zip(offsets.split(','));
        pairs
            .filter(|(name, _)| !name.is_empty() && !name.contains('/'))
            .filter_map(|(name, offset)| {
                let first = QueueOffset::new(offset.parse().ok()?);
                Some((name, (self.unit(first, 1, delay_levels), self.stored)))
            })
            .collect()
    }

    fn unit(&self, first: QueueOffset, count: u16, delay_levels: &[i64]) -> Unit {
        let tags_code =
            properties::tags_code(self.topic, self.properties, self.stored, delay_levels);
        Unit { span: self.span, tags_code, first, count }
    }

    fn batch(&self) -> (QueueOffset, u16) {
        let number = |key| properties::find_in(self.properties, key).and_then(properties::number);
        if !self.sys_flag.has(SysFlag::INNER_BATCH) {
            return (self.queue_offset, 1);
        }
        let count = number(properties::INNER_NUM).and_then(|count| u16::try_from(count).ok());
        let first = number(properties::INNER_BASE).map_or(self.queue_offset, QueueOffset::new);
        (first, count.filter(|count| *count > 0).unwrap_or(1))
    }
}
