//! What only the store can say in a record: its places in queues that count for themselves.
//!
//! A message that names light queues gets its offsets in them (`INNER_MULTI_QUEUE_OFFSET`), an
//! inner batch the offset of its first message (`INNER_BASE`), at the end of its properties
//! (store.md 4.5, 4.6). What a client says of these is left out. Everything else stays as it is,
//! byte for byte.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{AppendError, Store};
use crate::dispatch::{COUNT_MAX, LIGHT_QUEUE_ID, is_light, light_names, names};
use crate::position::QueueOffset;
use crate::queue::Kind;
use crate::record::{Draft, Known, SysFlag, properties};
use crate::seam::Disk;

/// Properties that the store alone gives.
const OURS: [&str; 2] = [properties::INNER_BASE, properties::MULTI_QUEUE_OFFSET];

/// May the store have to say something of this message, or to leave something out?
pub(super) fn is_concerned(draft: &Draft<'_>) -> bool {
    concerns(draft, &Known::of(draft.properties))
}

/// The same of one whose properties were looked through.
pub(super) fn concerns(draft: &Draft<'_>, known: &Known<'_>) -> bool {
    draft.sys_flag.has(SysFlag::INNER_BATCH) || known.has_inner
}

/// The properties of a message with `own` behind them, and without what only the store says.
pub(super) fn completed<'a>(draft: &Draft<'a>, own: &'a str) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for piece in draft.properties {
        let is_ours = |pair: &&[u8]| {
            let key = pair.split(|byte| *byte == properties::NAME_END).next();
            OURS.iter().any(|ours| key == Some(ours.as_bytes()))
        };
        let pairs = piece.split_inclusive(|byte| *byte == properties::VALUE_END);
        pieces.extend(pairs.filter(|pair| !is_ours(pair)));
    }
    let last = pieces.iter().rev().find_map(|piece| piece.last());
    if last.is_some_and(|byte| *byte != properties::VALUE_END) && !own.is_empty() {
        pieces.push(&[properties::VALUE_END]);
    }
    pieces.push(own.as_bytes());
    pieces
}

/// Offsets given out in one append, before anything is written.
#[derive(Default)]
pub(super) struct Given<'a> {
    lights: BTreeMap<&'a str, u64>,
    /// Messages of the queue itself.
    own: u64,
}

impl<D: Disk> Store<D> {
    /// What the store says of the next message of an append.
    pub(super) fn own_words<'a>(
        &self,
        draft: &Draft<'a>,
        given: &mut Given<'a>,
    ) -> Result<String, AppendError> {
        let kind = self.kind(draft.topic);
        let mut words = String::new();
        if !draft.sys_flag.is_queued() {
            return Ok(words);
        }
        let mut count = 1;
        if kind == Kind::Batch && draft.sys_flag.has(SysFlag::INNER_BATCH) {
            let base = self.next_offset(draft.topic, draft.queue_id).plus(given.own);
            write!(words, "{}\u{1}{base}\u{2}", properties::INNER_BASE).expect("a String grows");
            let number = properties::find_in(draft.properties, properties::INNER_NUM);
            let number = number.and_then(properties::number);
            count = number.filter(|n| (1..=u64::from(COUNT_MAX)).contains(n)).unwrap_or(1);
        }
        given.own += count;
        let is_dispatched = self.settings.light_queues && kind == Kind::Simple;
        let named = is_dispatched.then(|| light_names(draft.topic, draft.properties)).flatten();
        let Some(named) = named else { return Ok(words) };
        write!(words, "{}\u{1}", properties::MULTI_QUEUE_OFFSET).expect("a String grows");
        let mut seen: Vec<(&str, QueueOffset)> = Vec::new();
        for (number, name) in names(named).enumerate() {
            let comma = if number > 0 { "," } else { "" };
            // A name with a separator in it is passed over, as Apache does.
            let offset = match seen.iter().find(|(known, _)| *known == name) {
                Some((_, offset)) => *offset,
                None if name.contains('/') => QueueOffset::ZERO,
                None if !is_light(name) => {
                    return Err(AppendError::LightName { name: name.to_owned() });
                }
                None => {
                    let before = given.lights.entry(name).or_default();
                    *before += 1;
                    let offset = self.next_offset(name, LIGHT_QUEUE_ID).plus(*before - 1);
                    seen.push((name, offset));
                    offset
                }
            };
            write!(words, "{comma}{offset}").expect("a String grows");
        }
        words.push('\u{2}');
        Ok(words)
    }

    /// Every light queue that the append adds to must have room, and must be allowed.
    pub(super) fn check_lights(&mut self, given: &Given<'_>) -> Result<(), AppendError> {
        let is_new = |name: &&&str| self.queues.get(name, LIGHT_QUEUE_ID).is_none();
        let new = given.lights.keys().filter(is_new).count();
        let max = self.settings.light_queues_max;
        if new > 0 && self.queues.lights() + new > max {
            return Err(AppendError::LightQueues { max });
        }
        for (name, units) in &given.lights {
            let units = usize::try_from(*units).expect("at most one a message");
            self.check_room(name, LIGHT_QUEUE_ID, Kind::Simple, units)?;
        }
        Ok(())
    }
}
