//! What an operator was told is so: a group that was sent back to an offset consumes everything
//! from there on again, whatever its members were doing and whoever died since.
//!
//! Excused: what a later reset passes over; what a group may have skipped since a power failure
//! ([`delivery`](super::delivery)); and queues that more than one member had since. Two members
//! that rebalance may have a queue at once for a while, one of them where the group was before;
//! what that one commits last counts.

use std::collections::BTreeSet;

use hotfire_storage::text::Text;

use super::Verdict;
use super::delivery::Delivery;
use super::image::Image;
use crate::ring::Violation;
use crate::workload::history::Fact;
use crate::workload::message::{Id, Lane};

/// A reset that was asked for.
#[derive(Debug)]
struct Asked {
    number: usize,
    group: Text,
    lane: Lane,
    to: u64,
    /// Was it acknowledged?
    holds: bool,
    /// What was consumed since it was asked for.
    consumed: BTreeSet<(u64, Id)>,
    /// Who has had the queue since.
    members: BTreeSet<Text>,
}

/// All of them, in order.
#[derive(Debug, Default)]
pub struct Resets(Vec<Asked>);

impl Resets {
    /// Takes a fact in.
    pub fn follow(&mut self, fact: &Fact) {
        match fact {
            Fact::Resetting { number, group, lane, to } => self.0.push(Asked {
                number: *number,
                group: group.clone(),
                lane: lane.clone(),
                to: *to,
                holds: false,
                consumed: BTreeSet::new(),
                members: BTreeSet::new(),
            }),
            Fact::Reset { number } => {
                let asked = self.0.iter_mut().find(|asked| asked.number == *number);
                asked.expect("it was asked for").holds = true;
            }
            Fact::Consumed { group, client, lane, offset, id: Some(id), .. } => {
                for asked in self.of(group, lane) {
                    asked.consumed.insert((*offset, *id));
                    asked.members.insert(client.clone());
                }
            }
            Fact::Committed { group, client, lane, .. } => {
                for asked in self.of(group, lane) {
                    asked.members.insert(client.clone());
                }
            }
            _ => {}
        }
    }

    fn of(&mut self, group: &Text, lane: &Lane) -> impl Iterator<Item = &mut Asked> {
        self.0.iter_mut().filter(move |asked| asked.group == *group && asked.lane == *lane)
    }

    /// Judges a store.
    pub fn check(&self, broker: &Text, image: &Image, delivery: &Delivery) -> Verdict {
        for (at, asked) in self.0.iter().enumerate() {
            let Asked { group, lane, to, consumed, .. } = asked;
            let same = |later: &&Asked| later.group == *group && later.lane == *lane;
            let is_overtaken = self.0[at + 1..].iter().filter(same).any(|later| later.to > *to);
            let was_shared = asked.members.len() > 1;
            if lane.broker != *broker || !asked.holds || is_overtaken || was_shared {
                continue;
            }
            let queue = image.queue(&lane.topic, lane.queue).into_iter();
            let missing = queue.flat_map(|queue| queue.range(to..)).find(|(offset, placed)| {
                placed.id.is_some_and(|id| !consumed.contains(&(**offset, id)))
                    && !delivery.may_skip(group, lane, **offset)
            });
            if let Some((offset, placed)) = missing {
                let what = format!(
                    "{group} was sent back to {to} in {lane}, and has not consumed {:?} of \
                     offset {offset} since",
                    placed.id
                );
                return Err(Violation::new("a group goes where it is sent", what));
            }
        }
        Ok(())
    }
}
