//! A message is found in every light queue that it names, and in no other. Once: what a group
//! failed to consume comes again to that group alone.

use std::collections::{BTreeMap, BTreeSet};

use hotfire_storage::text::Text;

use super::Verdict;
use super::image::Image;
use crate::ring::Violation;
use crate::workload::history::History;

const ORACLE: &str = "a message is in the light queues it names";

/// Checks every message of a store.
pub fn check(broker: &Text, image: &Image, history: &History) -> Verdict {
    let mut found: BTreeMap<u64, BTreeSet<&Text>> = BTreeMap::new();
    for (name, messages) in image.lights() {
        for placed in messages.values() {
            found.entry(placed.at).or_default().insert(name);
        }
    }
    let none = BTreeSet::new();
    for (topic, queue, messages) in image.queues() {
        for (offset, placed) in messages {
            let Some(made) = placed.id.and_then(|id| history.messages().get(&id)) else { continue };
            // What comes again to one group is not for others to get again.
            let named = made.light.iter().filter(|_| placed.times == 0);
            let named: BTreeSet<&Text> = named.collect();
            let found = found.get(&placed.at).unwrap_or(&none);
            if named != *found {
                let detail = format!(
                    "{broker}/{topic}/{queue} offset {offset} names {named:?}, and is in {found:?}"
                );
                return Err(Violation::new(ORACLE, detail));
            }
        }
    }
    Ok(())
}

/// Compares what pulls of a light queue brought, positions in order, with what is in it.
pub fn check_pulled(name: &Text, pulled: &[u64], image: &Image) -> Verdict {
    let held = image.light(name).into_iter().flat_map(BTreeMap::values);
    let held: Vec<u64> = held.map(|placed| placed.at).collect();
    if pulled == held {
        return Ok(());
    }
    let detail = format!("{name}: {pulled:?} were pulled, {held:?} are there");
    Err(Violation::new("light queues are delivered", detail))
}
