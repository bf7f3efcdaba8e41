//! I13: what waits for its time is delivered where it belongs, once for each time that it was
//! stored, and not before it is due by the clock of its broker.
//!
//! Excused: a broker that died delivers again what it delivered shortly before. Where a clock
//! jumped nothing is said of what is early. What may be deleted need not be delivered, be it still
//! there because the deletion failed.
//!
//! And what a broker keeps of how far it delivered speaks of deliveries that its log has, when it
//! begins: who goes on from there passes over the rest. Asked where the drivers run, of masters and
//! of slaves whose log was never parted from their master's.

use std::collections::BTreeMap;

use hotfire_storage::record::properties::SCHEDULE_TOPIC;
use hotfire_storage::text::Text;

use super::Verdict;
use super::image::{Image, Placed};
use crate::ledger::{Ledger, Strike};
use crate::ring::Violation;
use crate::workload::history::{Fact, History};
use crate::workload::message::Id;
use crate::workload::producer::DELAYS_MS;

/// Who began how often.
#[derive(Debug)]
pub struct Timers {
    ledger: Ledger,
    lives: BTreeMap<Text, u32>,
}

/// A message that waits, or has waited, for one queue.
struct Waited<'a> {
    id: Id,
    /// Topic and queue.
    belongs: &'a (Text, i32),
    /// Each time that it was stored, in the order of the log.
    stored: Vec<Stored<'a>>,
}

/// Where a message waits.
struct Stored<'a> {
    level: i32,
    offset: u64,
    placed: &'a Placed,
}

impl Stored<'_> {
    fn due(&self) -> i64 {
        self.placed.stored + DELAYS_MS[usize::try_from(self.level - 1).expect("a level's")]
    }
}

impl Timers {
    /// Nobody began.
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger, lives: BTreeMap::new() }
    }

    /// Takes a fact in.
    pub fn follow(&mut self, fact: &Fact) {
        if let Fact::Began { broker, .. } = fact {
            *self.lives.entry(broker.clone()).or_default() += 1;
        }
    }

    /// Judges a store in which nothing waits any more. Below `floor` messages may be passed over.
    pub fn check(&self, broker: &Text, image: &Image, history: &History, floor: u64) -> Verdict {
        if let Some(detail) = missing(image, floor) {
            return Err(Violation::new("what waits is delivered", format!("{broker}: {detail}")));
        }
        check_directions(broker, image, history)?;
        let died = self.lives.get(broker).is_some_and(|lives| *lives > 1);
        let jumped = self.ledger.count(Strike::ClockJumped) > 0;
        for waited in all(image) {
            let delivered = delivered(image, &waited);
            let Waited { id, belongs, stored } = &waited;
            let belongs = format!("{}/{}", belongs.0, belongs.1);
            if !died && image.start == 0 && delivered.len() > stored.len() {
                let what =
                    format!("{id} {} times in {belongs}, sent {}", delivered.len(), stored.len());
                return Err(Violation::new("nothing is delivered twice", what));
            }
            let due = stored.iter().map(Stored::due).min();
            let early = delivered.iter().find(|placed| Some(placed.stored) < due);
            if let Some(early) = early.filter(|_| !jumped && image.start == 0) {
                let what = format!("{id} in {belongs}: {}, due {due:?}", early.stored);
                return Err(Violation::new("nothing is delivered early", what));
            }
        }
        Ok(())
    }
}

/// The file of a broker's store that says how far it is.
pub const FILE: &str = "config/delayOffset.json";

/// What is kept, `table`, says nothing of messages that are not delivered in this log; but below
/// `floor` they may be passed over.
pub fn check_kept(broker: &Text, table: &[u8], image: &Image, floor: u64) -> Verdict {
    let table: serde_json::Value = serde_json::from_slice(table).unwrap_or_default();
    for waited in all(image) {
        let delivered = delivered(image, &waited);
        let last = delivered.last().map_or(0, |placed| placed.at);
        let next = |level: i32| table["offsetTable"][level.to_string()].as_u64().unwrap_or(0);
        let mut counted = waited.stored.iter().filter(|stored| stored.offset < next(stored.level));
        if let Some(Stored { level, offset, placed }) =
            counted.find(|stored| stored.placed.at >= floor && stored.placed.at >= last)
        {
            let (id, next) = (waited.id, next(*level));
            let what = format!(
                "{broker} keeps {next} of level {level}, and has not delivered {id}, offset \
                 {offset}, stored at {}, in a log that ends at {}",
                placed.at, image.end
            );
            return Err(Violation::new("what is kept of deliveries lies in the log", what));
        }
    }
    Ok(())
}

/// A message that waits from `floor` on, and is not delivered.
pub fn missing(image: &Image, floor: u64) -> Option<String> {
    all(image).into_iter().find_map(|waited| {
        let stored: Vec<u64> = waited.stored.iter().map(|stored| stored.placed.at).collect();
        let stored = &stored[stored.partition_point(|at| *at < floor)..];
        // The last one that came must lie behind the last one that waited.
        let last = *stored.last()?;
        let delivered = delivered(image, &waited);
        let is_there = delivered.len() >= stored.len()
            && delivered.last().is_some_and(|placed| placed.at > last);
        let Waited { id, belongs, .. } = &waited;
        let log = image.start..image.end;
        let what =
            || format!("{id}, stored at {last}, of {log:?} from {floor}, is not in {belongs:?}");
        (!is_there).then(what)
    })
}

/// All that wait in a store, or have waited.
fn all(image: &Image) -> Vec<Waited<'_>> {
    let mut found: BTreeMap<(Id, &(Text, i32)), Vec<Stored<'_>>> = BTreeMap::new();
    for (_, queue, messages) in image.queues().filter(|(topic, ..)| **topic == SCHEDULE_TOPIC) {
        for (offset, placed) in messages {
            let Some(key) = placed.id.zip(placed.belongs.as_ref()) else { continue };
            let stored = Stored { level: queue + 1, offset: *offset, placed };
            found.entry(key).or_default().push(stored);
        }
    }
    let waited = found.into_iter().map(|((id, belongs), mut stored)| {
        stored.sort_by_key(|stored| stored.placed.at);
        Waited { id, belongs, stored }
    });
    waited.collect()
}

/// Where a message that has waited lies, each time that it was delivered.
fn delivered<'a>(image: &'a Image, waited: &Waited<'_>) -> Vec<&'a Placed> {
    let Waited { id, belongs: (topic, queue), .. } = waited;
    let queue = image.queue(topic, *queue).into_iter();
    queue.flat_map(BTreeMap::values).filter(|placed| placed.id == Some(*id)).collect()
}

/// A message that was sent to be delivered later says where it belongs.
fn check_directions(broker: &Text, image: &Image, history: &History) -> Verdict {
    for (_, queue, messages) in image.queues().filter(|(topic, ..)| **topic == SCHEDULE_TOPIC) {
        for placed in messages.values().filter(|placed| placed.times == 0) {
            let made = placed.id.and_then(|id| history.messages().get(&id));
            let Some(lane) = made.and_then(|made| made.belongs.as_ref()) else { continue };
            if placed.belongs != Some((lane.topic.clone(), lane.queue)) {
                let what = format!(
                    "{broker}: {:?} waits in queue {queue} for {:?}, and was sent to {lane}",
                    placed.id, placed.belongs
                );
                return Err(Violation::new("what waits says where it belongs", what));
            }
        }
    }
    Ok(())
}
