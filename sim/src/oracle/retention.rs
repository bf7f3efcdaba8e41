//! I20: of a log only the oldest files go, and only those that may: nothing was written to them
//! for the reserved time, or the disk said that it was too full, and then no more than need be.
//!
//! What a broker decides by is not asked. The world says when each file became full, and by how
//! much clocks can have misled; the disk says what it answered to whom asked how full it was.
//!
//! Below [`Retention::floor`] messages may be gone. They may come back, too: a deletion that was
//! under way when the power failed is one that never was.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use hotfire_storage::seam::DiskUse;
use hotfire_storage::text::Text;
use hotfire_storage::time::Mono;

use super::Verdict;
use super::promises::Promises;
use crate::ledger::{Ledger, Strike};
use crate::plan::Keeping;
use crate::ring::Violation;
use crate::workload::history::History;
use crate::workload::message::Id;

const ORACLE: &str = "only what may go is deleted";
/// Answers of a disk that are remembered however old they are.
const ANSWERS_KEPT: usize = 4;

/// What the disk answered, and when.
#[derive(Clone, Copy, Debug)]
struct Measure {
    at: u64,
    found: DiskUse,
    /// Young files that went since.
    forced: u64,
}

/// What is known of one broker's log. Times are the world's, in microseconds.
#[derive(Debug, Default)]
struct Watch {
    start: u64,
    floor: u64,
    end: u64,
    seen: u64,
    /// When each file became full, by its first byte.
    full: BTreeMap<u64, u64>,
    measures: VecDeque<Measure>,
    /// When it last was an hour at which old files go.
    hour: Option<u64>,
    jumps: u64,
    /// Is only its medium looked at, now and then?
    is_sampled: bool,
}

/// The rules, and who follows them.
#[derive(Debug)]
pub struct Retention {
    rules: Keeping,
    file_len: u64,
    brokers: BTreeMap<Text, Watch>,
    ledger: Ledger,
}

impl Retention {
    /// Rules for logs of files of so many bytes.
    pub fn new(rules: Keeping, file_len: u32, ledger: Ledger) -> Self {
        Self { rules, file_len: u64::from(file_len), brokers: BTreeMap::new(), ledger }
    }

    /// Below it, messages of this broker may be gone.
    pub fn floor(&self, broker: &Text) -> u64 {
        self.brokers.get(broker).map_or(0, |watch| watch.floor)
    }

    /// Below it, delayed messages of this broker, whose log ends at `end`, may have been passed
    /// over: their file went, or was to go. One whose deletion failed is still on the medium, and
    /// part of the log again after a start.
    pub fn passed_over(&self, broker: &Text, end: u64) -> u64 {
        let Some(watch) = self.brokers.get(broker) else { return 0 };
        if watch.is_sampled && self.rules != Keeping::forever() {
            return end.saturating_sub(1) / self.file_len * self.file_len;
        }
        watch.floor
    }

    /// A clock of the broker jumped.
    pub fn jumped(&mut self, broker: &Text) {
        self.watch(broker).jumps += 1;
    }

    /// The broker's log was given up, and begins anew here.
    pub fn anew(&mut self, broker: &Text, start: u64) {
        let watch = self.watch(broker);
        watch.full.clear();
        (watch.start, watch.floor, watch.end) = (start, start, start);
    }

    /// A file of the broker's log, a copy, is full where it came from since then: it is as old
    /// here. To be told of all files, in order.
    pub fn full_since(&mut self, broker: &Text, file: u64, at: u64) {
        let file_len = self.file_len;
        let watch = self.watch(broker);
        let next = watch.full.last_key_value().map_or(watch.start, |(start, _)| start + file_len);
        if file == next.max(watch.start) {
            watch.full.insert(file, at);
        } else if let Some(known) = watch.full.get_mut(&file) {
            *known = at.min(*known);
        }
    }

    /// The broker's disk answered how full it is.
    pub fn measured(&mut self, broker: &Text, at: u64, found: DiskUse) {
        let window = window(&self.rules);
        let watch = self.watch(broker);
        watch.measures.push_back(Measure { at, found, forced: 0 });
        // A disk that hangs deletes late what the broker asked for when it was last answered.
        let is_old = |measure: &mut Measure| measure.at + 2 * window < at;
        while watch.measures.len() > ANSWERS_KEPT && watch.measures.pop_front_if(is_old).is_some() {
        }
    }

    /// The broker has begun over a log from `start` to `end`.
    pub fn began(&mut self, broker: &Text, now: u64, start: u64, end: u64) -> Verdict {
        let file_len = self.file_len;
        let watch = self.watch(broker);
        if start > watch.floor {
            let detail = format!("{broker}: the log begins at {start}, {} had gone", watch.floor);
            return Err(Violation::new(ORACLE, detail));
        }
        // What became full in the turn of a death did so when the broker was last seen.
        fill(watch, file_len, end, watch.seen);
        watch.full.retain(|start, _| start + file_len < end);
        watch.measures.clear();
        (watch.start, watch.end, watch.seen) = (start, end, now);
        Ok(())
    }

    /// A turn of the broker is over, on whose clock it was an hour at which old files go, or not.
    pub fn turned(
        &mut self,
        broker: &Text,
        now: u64,
        is_hour: bool,
        (start, end): (u64, u64),
    ) -> Verdict {
        let (file_len, rules) = (self.file_len, self.rules.clone());
        let watch = self.brokers.entry(broker.clone()).or_default();
        fill(watch, file_len, end, now);
        watch.hour = if is_hour { Some(now) } else { watch.hour };
        while watch.start < start {
            let file = watch.start;
            match watch.lose(file, file_len, now, end, &rules) {
                Ok(strike) => self.ledger.hit(strike),
                Err(why) => {
                    let detail = format!("{broker}: the file at {file} went at {now} us, {why}");
                    return Err(Violation::new(ORACLE, detail));
                }
            }
            watch.start += file_len;
            watch.floor = watch.floor.max(watch.start);
        }
        (watch.end, watch.seen) = (end, now);
        Ok(())
    }

    /// Somebody looked at where the log begins, now and then, and knows no more than when messages
    /// were sent: those in the files that went were old, or the disk was too full. A slave's log
    /// holds what was promised by the one that it is a copy of, as far as it `holds` a message
    /// there and not what lay there before in both.
    pub fn sampled(
        &mut self,
        (broker, promised_by): (&Text, &Text),
        now: Mono,
        start: u64,
        (promises, history): (&Promises, &History),
        holds: impl Fn(u64, Id) -> bool,
    ) -> Verdict {
        let (rules, file_len) = (self.rules.clone(), self.file_len);
        let watch = self.watch(broker);
        let was_full = rules.force
            && watch.measures.iter().any(|measure| measure.found.is_above(rules.forcibly));
        let reserved = Duration::from_micros(rules.reserved_us);
        let placed = promises.placed(promised_by, watch.start, start);
        for (_, id) in placed.filter(|(at, id)| holds(*at, *id)) {
            let sent = history.first_sent(id).expect("what is acknowledged was sent");
            if !was_full && now.since(sent) < reserved {
                let detail = format!("{broker}: {id}, sent at {}, is gone", sent.as_micros());
                return Err(Violation::new(ORACLE, detail));
            }
        }
        let gone = start.saturating_sub(watch.start) / file_len;
        watch.start = watch.start.max(start);
        watch.floor = watch.floor.max(start);
        watch.is_sampled = true;
        self.ledger
            .add(if was_full { Strike::LogFileForced } else { Strike::LogFileExpired }, gone);
        Ok(())
    }

    fn watch(&mut self, broker: &Text) -> &mut Watch {
        self.brokers.entry(broker.clone()).or_default()
    }
}

/// How long an answer may be acted upon: until the next round, on a clock that is a little slow. Of
/// two questions one may be answered late.
const fn window(rules: &Keeping) -> u64 {
    rules.every_us + rules.every_us / 16 + 6_000_000
}

fn fill(watch: &mut Watch, file_len: u64, end: u64, at: u64) {
    let first = watch.full.last_key_value().map_or(watch.start, |(start, _)| start + file_len);
    let mut start = first.max(watch.start);
    while start + file_len < end {
        watch.full.insert(start, at);
        start += file_len;
    }
}

impl Watch {
    /// May this file go?
    fn lose(
        &mut self,
        file: u64,
        file_len: u64,
        now: u64,
        end: u64,
        rules: &Keeping,
    ) -> Result<Strike, String> {
        if file + file_len >= end {
            return Err(format!("and the log ends at {end}"));
        }
        let full = *self.full.get(&file).expect("every file before the last is full");
        let age = now - full;
        // Clocks are a twentieth fast at most. A jump that lies in the log, or in the time before
        // a start, counts for half of the time.
        let misled = age / 16 + self.jumps * rules.reserved_us / 2 + 10_000;
        let is_old = age + misled >= rules.reserved_us;
        let window = window(rules);
        let is_recent = |m: &Measure| m.at + window >= now;
        let is_filling = |m: &Measure| is_recent(m) && m.found.is_above(rules.max_used);
        let is_time = self.hour.is_some_and(|at| at + window >= now);
        if is_old && (is_time || self.measures.iter().any(is_filling)) {
            return Ok(Strike::LogFileExpired);
        }
        let is_needed = |m: &Measure| m.forced * file_len < m.found.excess(rules.forcibly);
        if !rules.force || !self.measures.iter().any(|m| is_recent(m) && is_needed(m)) {
            return Err(format!("{age} us after it became full, the disk: {:?}", self.measures));
        }
        self.measures.iter_mut().for_each(|measure| measure.forced += 1);
        Ok(Strike::LogFileForced)
    }
}
