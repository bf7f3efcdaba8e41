//! I16: of each producer's messages to a queue, first occurrences lie there in the order of
//! sending. Excused: one-way messages, which nobody waits for, and messages that the loss contract
//! let go while later ones were sent; a hole is not a disorder.

use std::collections::{BTreeMap, BTreeSet};

use hotfire_storage::text::Text;

use super::Verdict;
use super::image::Image;
use crate::ring::Violation;
use crate::workload::history::History;

/// Checks every queue of a store.
pub fn check(broker: &Text, image: &Image, history: &History) -> Verdict {
    for (topic, queue, messages) in image.queues() {
        let mut last: BTreeMap<u32, u64> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for (offset, placed) in messages {
            let Some(id) = placed.id.filter(|id| seen.insert(*id)) else { continue };
            // A repetition may lie there whose first occurrence was deleted.
            if image.start > 0 && history.was_repeated(id) {
                continue;
            }
            let Some(sequence) = history.messages().get(&id).and_then(|made| made.sequence) else {
                continue;
            };
            let before = last.insert(id.producer, sequence).unwrap_or(0);
            if before >= sequence {
                let detail = format!(
                    "{broker}/{topic}/{queue} offset {offset}: {id} is number {sequence} of its \
                     producer there, and lies behind number {before}"
                );
                return Err(Violation::new("a queue keeps the order of sending", detail));
            }
        }
    }
    Ok(())
}
