//! From a record to the units that point at it: one in its own queue, one in each light queue
//! that it names (store.md 4.5, 4.6, 5). A pure function, used by appends and by recovery alike.

use crate::consume_queue::Unit;
use crate::position::{QueueOffset, Span};
use crate::queue::{Entry, Kind};
use crate::record::{Known, Record, SysFlag, properties};
use crate::time::Wall;

/// What topics begin with whose messages never go to light queues: retries, those of the system,
/// and light queues themselves.
const UNDISPATCHED: [&str; 3] = ["%RETRY%", "rmq_sys_", LIGHT_PREFIX];
/// The longest name of a light queue, which is a directory's, in bytes.
const LIGHT_MAX: usize = 255;
/// The most messages of an inner batch.
pub(crate) const COUNT_MAX: u16 = i16::MAX.cast_unsigned();
/// What every light queue's name begins with.
pub(crate) const LIGHT_PREFIX: &str = "%LMQ%";
/// Light queues have one queue each.
pub(crate) const LIGHT_QUEUE_ID: i32 = 0;

/// Is this the name of a light queue?
pub(crate) fn is_light(name: &str) -> bool {
    name.starts_with(LIGHT_PREFIX) && name.len() <= LIGHT_MAX && !name.contains(['/', '\0'])
}

/// The value of the property that names a message's light queues, if it can have any.
pub(crate) fn light_names<'a>(topic: &str, properties: &[&'a [u8]]) -> Option<&'a str> {
    let named = properties::find_in(properties, properties::MULTI_DISPATCH)?;
    let is_plain = !UNDISPATCHED.iter().any(|prefix| topic.starts_with(prefix))
        && topic != properties::SCHEDULE_TOPIC;
    let named = std::str::from_utf8(named).ok().filter(|named| is_plain && !named.is_empty())?;
    Some(named)
}

/// The parts of a list; as in Java, empty ones at its end do not count.
pub(crate) fn names(list: &str) -> impl Iterator<Item = &str> {
    list.trim_end_matches(',').split(',')
}

/// The light queues that a message points at besides its own, as far as its store has light
/// queues; `properties` are its pieces.
pub fn light_queues<'a>(topic: &str, properties: &[&'a [u8]]) -> impl Iterator<Item = &'a str> {
    let named = light_names(topic, properties).into_iter();
    named.flat_map(names).filter(|name| is_light(name))
}

/// What dispatching needs to know of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) topic: &'a str,
    pub(crate) queue_offset: QueueOffset,
    pub(crate) span: Span,
    pub(crate) stored: Wall,
    pub(crate) sys_flag: SysFlag,
    pub(crate) properties: &'a [&'a [u8]],
    /// What is found among these.
    pub(crate) known: Known<'a>,
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
            known: Known::of(properties),
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
    pub(crate) fn light(&self, kind: Kind, delay_levels: &[i64]) -> Vec<(&'a str, Entry)> {
        let Some(named) = light_names(self.topic, self.properties) else { return Vec::new() };
        let offsets = properties::find_in(self.properties, properties::MULTI_QUEUE_OFFSET);
        let offsets = offsets.and_then(|offsets| std::str::from_utf8(offsets).ok());
        let Some(offsets) = offsets else { return Vec::new() };
        let is_paired = names(named).count() == names(offsets).count();
        if !is_paired || !self.sys_flag.is_queued() || kind == Kind::Batch {
            return Vec::new();
        }
        let mut entries: Vec<(&str, Entry)> = Vec::new();
        for (name, offset) in names(named).zip(names(offsets)) {
            let is_new = !entries.iter().any(|(known, _)| *known == name);
            if let Some(offset) = offset.parse().ok().filter(|_| is_new && is_light(name)) {
                let unit = self.unit(QueueOffset::new(offset), 1, delay_levels);
                entries.push((name, (unit, self.stored)));
            }
        }
        entries
    }

    fn unit(&self, first: QueueOffset, count: u16, delay_levels: &[i64]) -> Unit {
        let (pieces, tags) = (self.properties, self.known.tags);
        let tags_code = properties::tags_code(self.topic, pieces, tags, self.stored, delay_levels);
        Unit { span: self.span, tags_code, first, count }
    }

    fn batch(&self) -> (QueueOffset, u16) {
        let number = |key| properties::find_in(self.properties, key).and_then(properties::number);
        if !self.sys_flag.has(SysFlag::INNER_BATCH) {
            return (self.queue_offset, 1);
        }
        let count = number(properties::INNER_NUM).and_then(|count| u16::try_from(count).ok());
        let first = number(properties::INNER_BASE).map_or(self.queue_offset, QueueOffset::new);
        (first, count.filter(|count| (1..=COUNT_MAX).contains(count)).unwrap_or(1))
    }
}
