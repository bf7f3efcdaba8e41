//! I16: of each producer's messages to a queue, first occurrences lie there in the order of
//! sending: those that it waited for, and those that one connection brought, one-way messages
//! among them. Excused: a message that was sent again may have come to lie behind what was sent
//! meanwhile; and messages that the loss contract let go, for a hole is not a disorder.

use std::collections::{BTreeMap, BTreeSet};

use hotfire_storage::text::Text;

use super::Verdict;
use super::image::Image;
use crate::ring::Violation;
use crate::workload::history::History;
use crate::workload::message::{Id, Lane};

/// The last number of each producer, in one queue.
#[derive(Default)]
struct Last {
    /// Of what it waited for before it went on.
    waited: BTreeMap<u32, u64>,
    /// Of what each of its connections brought for each topic: of those that wait for their time
    /// there are several, and what is for one may be held until that is ready.
    brought: BTreeMap<(u32, u64, Option<Text>), u64>,
}

impl Last {
    /// The next message in the queue. The error is its number, and the one before.
    fn next(&mut self, id: Id, history: &History) -> Result<(), (u64, u64)> {
        let Some(made) = history.messages().get(&id) else { return Ok(()) };
        let was_repeated = history.was_repeated(id);
        let mut before = 0;
        if !made.oneway {
            before = self.waited.insert(id.producer, made.sequence).unwrap_or(0);
        }
        if let Some(connection) = history.connection(id).filter(|_| !was_repeated) {
            let topic = made.belongs.as_ref().map(|lane| lane.topic.clone());
            let brought = self.brought.insert((id.producer, connection, topic), made.sequence);
            before = before.max(brought.unwrap_or(0));
        }
        if before < made.sequence { Ok(()) } else { Err((made.sequence, before)) }
    }
}

/// Checks every queue of a store.
pub fn check(broker: &Text, image: &Image, history: &History) -> Verdict {
    for (topic, queue, messages) in image.queues() {
        let (mut last, mut seen) = (Last::default(), BTreeSet::new());
        let lane = Lane { broker: broker.clone(), topic: topic.clone(), queue };
        // Those that have waited for their time come when they come.
        let was_sent = |id: &Id| history.messages().get(id).is_none_or(|made| made.lane == lane);
        for (offset, placed) in messages {
            // What comes again was not sent there.
            let id = placed.id.filter(|_| placed.times == 0);
            let id = id.filter(|id| was_sent(id) && seen.insert(*id));
            let Some(id) = id else { continue };
            // A repetition may lie there whose first occurrence was deleted.
            if image.start > 0 && history.was_repeated(id) {
                continue;
            }
            last.next(id, history).map_err(|(number, before)| {
                let detail = format!(
                    "{broker}/{topic}/{queue} offset {offset}: {id} is number {number} of its \
                     producer there, and lies behind number {before}"
                );
                Violation::new("a queue keeps the order of sending", detail)
            })?;
        }
    }
    Ok(())
}
