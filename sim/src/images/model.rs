//! What a store was given, and what may be found of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use hotfire_storage::position::{Physical, QueueOffset, Span};
use hotfire_storage::seam::Disk;
use hotfire_storage::text::Text;
use hotfire_storage::{LoadError, Loaded, Store};

use super::workload::STATE;
use crate::oracle::Verdict;
use crate::ring::Violation;

/// The rule that a log holds what was appended, byte for byte.
const EXACT: &str = "nothing is found that was not appended";

/// A record, as it was appended.
#[derive(Debug)]
pub(super) struct Appended {
    pub(super) span: Span,
    pub(super) bytes: Vec<u8>,
    pub(super) places: Vec<Place>,
}

impl Appended {
    pub(super) fn end(&self) -> u64 {
        self.span.end().get()
    }
}

/// Where a queue counts a record: messages `first..next` of it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) topic: Text,
    pub(super) queue: i32,
    pub(super) first: u64,
    pub(super) next: u64,
}

/// Records in the order of the log.
pub(super) type History = Vec<Arc<Appended>>;

/// What is known of a store at some moment, and so what may be found after a crash then.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// At most these, and of these a first part.
    pub(super) history: Arc<History>,
    /// How many of them had been appended, the one being appended included.
    pub(super) appended: usize,
    /// At least what lies below: a sync said so.
    pub(super) flushed: u64,
    /// The newest version of the state file that a save had promised.
    pub(super) saved: u64,
    /// The newest version that a save may have written.
    pub(super) saving: u64,
}

impl Known {
    pub(super) fn records(&self) -> &[Arc<Appended>] {
        &self.history[..self.appended]
    }

    /// Everything that a crash image promises, of a store that was opened over it. Says how many
    /// records were found.
    pub(super) fn check<D: Disk>(
        &self,
        store: &mut Store<D>,
        file_len: u64,
    ) -> Result<usize, Violation> {
        let found = self.check_log(store, file_len)?;
        check_queues(store, &self.history[..found])?;
        self.check_state(store)?;
        Ok(found)
    }

    fn check_log<D: Disk>(&self, store: &Store<D>, file_len: u64) -> Result<usize, Violation> {
        let violated = |rule: &str, detail: String| Err(Violation::new(rule, detail));
        let mut found = 0;
        for record in store.records_from(store.start()) {
            let at = record.physical();
            let span = Span { at, len: record.size() };
            let expected = self.records().get(found);
            let same = |e: &Arc<Appended>| e.span == span && e.bytes == store.view(span);
            if !expected.is_some_and(same) {
                let expected = expected.map(|expected| expected.span);
                let detail = format!("number {found}: {span:?}, appended was {expected:?}");
                return violated(EXACT, detail);
            }
            found += 1;
        }
        let end = store.written().end().get();
        let last = found.checked_sub(1).map_or(0, |last| self.history[last].end());
        if end != last && end != last.next_multiple_of(file_len) {
            let detail = format!("the log ends at {end}, its last record at {last}");
            return violated("a log ends with its last record", detail);
        }
        let flushed = self.records().partition_point(|record| record.end() <= self.flushed);
        if end < self.flushed.min(last.max(self.flushed)) || found < flushed {
            let detail = format!(
                "{flushed} records were flushed up to {}, {found} are found up to {end}",
                self.flushed
            );
            return violated("what was flushed survives", detail);
        }
        if store.flushed().end().get() != end {
            let detail = format!("{} of {end}", store.flushed().end());
            return violated("what is found is on the medium", detail);
        }
        Ok(found)
    }

    fn check_state<D: Disk>(&self, store: &mut Store<D>) -> Verdict {
        let parse = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse::<u64>().ok();
        let version = match store.load(STATE, |bytes| parse(bytes).is_some()) {
            Ok(Loaded::Absent) => Some(0),
            Ok(Loaded::Fresh(bytes) | Loaded::FromBackup(bytes)) => parse(&bytes),
            // A read that fails is the disk's word, and no judgement.
            Err(LoadError::Disk(_)) => return Ok(()),
            Err(error) => return Err(Violation::new("a state file loads", error)),
        };
        if version.is_some_and(|version| (self.saved..=self.saving).contains(&version)) {
            return Ok(());
        }
        let detail = format!("{version:?}, not {}..={}", self.saved, self.saving);
        Err(Violation::new("a replaced file is the old one or the new one", detail))
    }
}

/// Queues hold what `history` says and nothing else: by the store's own recomputation from its log,
/// and by what appending it had answered.
pub(super) fn check_queues<D: Disk>(store: &Store<D>, history: &[Arc<Appended>]) -> Verdict {
    let violated = |detail: String| Err(Violation::new("queues are what the log says", detail));
    if let Err(divergence) = store.verify_all() {
        return violated(divergence.to_string());
    }
    let mut ends: BTreeMap<(&str, i32), u64> = BTreeMap::new();
    for record in history {
        for Place { topic, queue, first, next } in &record.places {
            let unit = store.unit(topic, *queue, QueueOffset::new(*first));
            let span = unit.map(|unit| unit.span);
            if span != Some(record.span) {
                let expected = record.span;
                return violated(format!("{topic}/{queue} {first}: {span:?}, not {expected:?}"));
            }
            ends.insert((topic, *queue), *next);
        }
    }
    for (topic, queue, range) in store.queues() {
        let end = ends.remove(&(topic, queue)).unwrap_or(0);
        if range.max.get() != end || range.min.get() != 0 {
            return violated(format!("{topic}/{queue} has {range:?}, its records end at {end}"));
        }
    }
    match ends.first_key_value() {
        Some(((topic, queue), end)) => violated(format!("{topic}/{queue} lacks all {end}")),
        None => Ok(()),
    }
}

/// All that two recoveries of the same crash must agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Print {
    end: Physical,
    start: Physical,
    queues: Vec<(String, i32, u64, u64)>,
}

impl Print {
    pub(super) fn of<D: Disk>(store: &Store<D>) -> Self {
        let queues = store.queues().map(|(topic, queue, range)| {
            (topic.to_owned(), queue, range.min.get(), range.max.get())
        });
        let (start, end) = (store.start(), store.written().end());
        Self { end, start, queues: queues.filter(|(.., min, max)| min < max).collect() }
    }
}
