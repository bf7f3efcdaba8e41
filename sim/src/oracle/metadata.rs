//! I15: a topic whose creation was acknowledged, or that has an acknowledged message, survives
//! power failures; offsets that a broker knows were once committed.
//!
//! Not promised: that an offset survives. It is saved every few seconds, and a group consumes
//! again what it has consumed since.

use std::collections::BTreeMap;

use hotfire_core::domain::RegisteredTopic;
use hotfire_storage::text::Text;

use super::Verdict;
use crate::ring::Violation;
use crate::workload::history::{Fact, History};

/// Topics that must exist, by broker, and how many queues each has at least.
#[derive(Debug, Default)]
pub struct Metadata {
    topics: BTreeMap<Text, BTreeMap<Text, u32>>,
}

impl Metadata {
    /// Takes a fact in.
    pub fn follow(&mut self, fact: &Fact, history: &History) {
        match fact {
            Fact::Created { broker, topic, queues } => self.exists(broker, topic, *queues),
            Fact::Acked { ids, .. } => {
                let lane = &history.messages()[&ids[0]].lane;
                let queues = u32::try_from(lane.queue).expect("queues are not negative") + 1;
                self.exists(&lane.broker, &lane.topic, queues);
            }
            _ => {}
        }
    }

    fn exists(&mut self, broker: &Text, topic: &Text, queues: u32) {
        let topics = self.topics.entry(broker.clone()).or_default();
        let known = topics.entry(topic.clone()).or_default();
        *known = (*known).max(queues);
    }

    /// Topics that must exist on a broker.
    pub fn topics(&self, broker: &Text) -> impl Iterator<Item = &Text> {
        self.topics.get(broker).into_iter().flat_map(BTreeMap::keys)
    }

    /// Checks what a broker says of itself.
    pub fn check(&self, broker: &Text, told: &[RegisteredTopic]) -> Verdict {
        for (topic, queues) in self.topics.get(broker).into_iter().flatten() {
            let found = told.iter().find(|known| known.topic == *topic);
            if found.is_none_or(|known| known.read_queues < *queues) {
                let detail = format!("{broker}: {topic} had {queues} queues, and is {found:?}");
                return Err(Violation::new("a topic that was relied on survives", detail));
            }
        }
        Ok(())
    }
}

/// An offset that a broker knows must have been committed.
pub fn check_offset(what: &str, known: i64, mut committed: impl Iterator<Item = u64>) -> Verdict {
    // 0 is also the answer for a group that never committed.
    if known <= 0 || committed.any(|next| i64::try_from(next) == Ok(known)) {
        return Ok(());
    }
    let detail = format!("{what}: {known} was never committed");
    Err(Violation::new("an offset was once committed", detail))
}
