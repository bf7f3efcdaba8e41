//! What a consumer sent back, and was taken back, lies among its group's retries, or, if it failed
//! too often, among its dead letters; as it was.
//!
//! Excused: under ASYNC_FLUSH, what a power failure may have taken since; and where files were
//! deleted nothing is said.

use std::collections::{BTreeMap, BTreeSet};

use hotfire_storage::record::properties::SCHEDULE_TOPIC;
use hotfire_storage::text::Text;

use super::Verdict;
use super::image::{Image, Placed};
use crate::ring::Violation;
use crate::workload::history::{Fact, History};
use crate::workload::message::Id;
use crate::workload::retries::{MOST, dead_letters_of, group_of, topic_of};

/// A message that was taken back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Back {
    group: Text,
    id: Id,
    /// How often it has failed by now.
    times: i32,
}

/// What was taken back, by broker.
#[derive(Debug)]
pub struct Retries {
    sync_flush: bool,
    taken: BTreeMap<Text, BTreeSet<Back>>,
    /// The process of each broker, and the last one that a power failure ended.
    lives: BTreeMap<Text, (u32, u32)>,
}

impl Retries {
    /// Nothing was.
    pub fn new(sync_flush: bool) -> Self {
        Self { sync_flush, taken: BTreeMap::new(), lives: BTreeMap::new() }
    }

    /// Takes a fact in.
    pub fn follow(&mut self, fact: &Fact) {
        match fact {
            Fact::Began { broker, life } => {
                self.lives.entry(broker.clone()).or_default().0 = *life;
            }
            Fact::SentBack { broker, life, group, id, times } => {
                // It may be heard after the power failure that took it.
                let is_lost = self.lives.get(broker).is_some_and(|(_, lost)| lost >= life);
                if self.sync_flush || !is_lost {
                    let back = Back { group: group.clone(), id: *id, times: times + 1 };
                    self.taken.entry(broker.clone()).or_default().insert(back);
                }
            }
            Fact::Died { broker, durable: Some(_) } if !self.sync_flush => {
                let (now, lost) = self.lives.entry(broker.clone()).or_default();
                *lost = *now;
                self.taken.remove(broker);
            }
            _ => {}
        }
    }

    /// Judges a store.
    pub fn check(&self, broker: &Text, image: &Image, history: &History) -> Verdict {
        check_places(broker, image, history)?;
        let taken = self.taken.get(broker).into_iter().flatten();
        for Back { group, id, times } in taken.filter(|_| image.start == 0) {
            let is_dead = *times > MOST;
            let topic = if is_dead { dead_letters_of(group) } else { topic_of(group) };
            if !all(image).any(|(of, placed)| {
                *of == topic && placed.id == Some(*id) && placed.times == *times
            }) {
                let what = format!(
                    "{broker}: {group} sent {id} back, which had failed {times} times, and it is \
                     not in {topic}"
                );
                return Err(Violation::new("what is sent back comes again", what));
            }
        }
        Ok(())
    }
}

/// All messages, and for which topic each is in the end.
fn all(image: &Image) -> impl Iterator<Item = (&Text, &Placed)> {
    image.queues().flat_map(|(topic, _, messages)| {
        messages.values().filter_map(move |placed| {
            let waits = *topic == SCHEDULE_TOPIC;
            let of = if waits { &placed.belongs.as_ref()?.0 } else { topic };
            Some((of, placed))
        })
    })
}

/// Retries have failed as often as that allows, dead letters too often; and nothing else of them
/// has changed.
fn check_places(broker: &Text, image: &Image, history: &History) -> Verdict {
    for (topic, placed) in all(image).filter(|(topic, _)| group_of(topic).is_some()) {
        let is_dead = topic.starts_with("%DLQ%");
        let made = placed.id.and_then(|id| history.messages().get(&id));
        let is_right = placed.times > 0 && (placed.times > MOST) == is_dead;
        if !is_right || made.is_none_or(|made| made.body != placed.body) {
            let what = format!("{broker}/{topic}: {:?} failed {} times", placed.id, placed.times);
            return Err(Violation::new("dead letters are what failed too often", what));
        }
    }
    Ok(())
}
