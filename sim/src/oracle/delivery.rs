//! I10: after quiescence each message of a store was consumed by each group, and no committed
//! offset passes a message that was not delivered.
//!
//! Excused: under ASYNC_FLUSH a consumer sees what a power failure can take. If it does, the queue
//! counts the same offsets again, and a consumer whose own position is ahead of the queue skips
//! them as soon as the queue has grown past it. Offsets between the queue's end after the failure
//! and the furthest position of the group before it are excused for that group. An answer that was
//! under way while the broker died and came back, once or more often, brings such a position as
//! well.

use std::collections::{BTreeMap, BTreeSet};

use hotfire_storage::record::properties::SCHEDULE_TOPIC;
use hotfire_storage::text::Text;

use super::Verdict;
use super::image::{Image, Placed};
use crate::ring::Violation;
use crate::workload::history::{Fact, History};
use crate::workload::message::{Id, Lane};
use crate::workload::retries;

/// What a group did with a queue.
#[derive(Debug, Default)]
struct Progress {
    consumed: BTreeSet<(u64, Id)>,
    committed: BTreeSet<u64>,
    /// The furthest that it consumed or committed.
    next: u64,
    /// Below, offsets from `.0` on may have been skipped.
    skipped: Vec<(u64, u64)>,
}

impl Progress {
    fn may_skip(&self, offset: u64) -> bool {
        self.skipped.iter().any(|(from, to)| (*from..*to).contains(&offset))
    }
}

/// What was delivered.
#[derive(Debug, Default)]
pub struct Delivery {
    groups: BTreeMap<Text, BTreeMap<Lane, Progress>>,
    /// Of each broker: where each queue ended when each of its processes began.
    ends: BTreeMap<Text, BTreeMap<u32, Ends>>,
}

/// Where queues end.
type Ends = BTreeMap<(Text, i32), u64>;

impl Delivery {
    /// Takes a fact in.
    pub fn follow(&mut self, fact: &Fact, _: &History) -> Verdict {
        match fact {
            Fact::Consumed { life, group, lane, offset, id: Some(id), .. } => {
                let queue = (lane.topic.clone(), lane.queue);
                let since = self.ends.get(&lane.broker).into_iter();
                let since = since.flat_map(|lives| lives.range(life + 1..));
                let end = since.map(|(_, ends)| ends.get(&queue).copied().unwrap_or(0)).min();
                let progress = self.progress(group, lane);
                if let Some(end) = end.filter(|end| end <= offset) {
                    progress.skipped.push((end, offset + 1));
                }
                progress.consumed.insert((*offset, *id));
                progress.next = progress.next.max(offset + 1);
            }
            Fact::Committed { group, lane, next, .. } => {
                let progress = self.progress(group, lane);
                progress.committed.insert(*next);
                progress.next = progress.next.max(*next);
            }
            Fact::Resetting { group, lane, to, .. } => {
                self.progress(group, lane).committed.insert(*to);
            }
            _ => {}
        }
        Ok(())
    }

    /// Groups that must exist even if they never consume anything.
    pub fn expect(&mut self, group: &Text) {
        self.groups.entry(group.clone()).or_default();
    }

    fn progress(&mut self, group: &Text, lane: &Lane) -> &mut Progress {
        self.groups.entry(group.clone()).or_default().entry(lane.clone()).or_default()
    }

    /// A broker is back, perhaps with less than before.
    pub fn began(&mut self, broker: &Text, life: u32, image: &Image) {
        let end = |messages: &BTreeMap<u64, Placed>| {
            messages.last_key_value().map_or(0, |(offset, _)| offset + 1)
        };
        let ends = image.queues().map(|(topic, queue, all)| ((topic.clone(), queue), end(all)));
        self.ends.entry(broker.clone()).or_default().insert(life, ends.collect());
        let lanes = self.groups.values_mut().flatten();
        for (lane, progress) in lanes.filter(|(lane, _)| lane.broker == *broker) {
            let queue = image.queue(&lane.topic, lane.queue);
            let end = queue.map_or(0, end);
            if end < progress.next {
                progress.skipped.push((end, progress.next));
            }
        }
    }

    /// The first message of a store that a group has not consumed and could not skip.
    pub fn missing(&self, broker: &Text, image: &Image) -> Option<String> {
        let none = Progress::default();
        // Nobody consumes what waits for its time: it comes to its own queue. Nor dead letters.
        let is_read = |topic: &Text| *topic != SCHEDULE_TOPIC && !topic.starts_with("%DLQ%");
        let queues = image.queues().filter(|(topic, ..)| is_read(topic));
        for (topic, queue, messages) in queues {
            let lane = Lane { broker: broker.clone(), topic: topic.clone(), queue };
            let of = retries::group_of(topic);
            let groups =
                self.groups.iter().filter(|(group, _)| of.is_none_or(|of| group.as_str() == of));
            for (group, lanes) in groups {
                let progress = lanes.get(&lane).unwrap_or(&none);
                let missing = messages.iter().find(|(offset, placed)| {
                    placed.id.is_some_and(|id| !progress.consumed.contains(&(**offset, id)))
                        && !progress.may_skip(**offset)
                });
                if let Some((offset, placed)) = missing {
                    let id = placed.id.expect("others are not missed");
                    return Some(format!("{group} never got {id} of {lane}, offset {offset}"));
                }
            }
        }
        None
    }

    /// May a group have passed over an offset, since a power failure took what lay there?
    pub fn may_skip(&self, group: &Text, lane: &Lane, offset: u64) -> bool {
        let progress = self.groups.get(group).and_then(|lanes| lanes.get(lane));
        progress.is_some_and(|progress| progress.may_skip(offset))
    }

    /// Everything was delivered.
    pub fn check(&self, broker: &Text, image: &Image) -> Verdict {
        let missing = self.missing(broker, image);
        missing.map_or(Ok(()), |what| Err(Violation::new("everything is delivered", what)))
    }

    /// What a group ever committed on a queue, and what that became where a process of the broker
    /// began over less: the end of the queue.
    pub fn committed(&self, group: &Text, lane: &Lane) -> impl Iterator<Item = u64> {
        let progress = self.groups.get(group).and_then(|lanes| lanes.get(lane));
        let most = progress.and_then(|progress| progress.committed.last().copied());
        let queue = (lane.topic.clone(), lane.queue);
        let lives = self.ends.get(&lane.broker).into_iter().flat_map(BTreeMap::values);
        let ends = lives.filter_map(move |ends| ends.get(&queue).copied());
        let taken_back = ends.filter(move |end| most > Some(*end));
        let committed = progress.into_iter().flat_map(|progress| progress.committed.iter());
        committed.copied().chain(taken_back)
    }

    /// The groups.
    pub fn groups(&self) -> impl Iterator<Item = &Text> {
        self.groups.keys()
    }
}
