//! I16: of a group, one client at a time holds a queue's lock. A lock is its holder's until it is
//! given up, the broker's process ends, or its life has passed since it was asked for; clocks run
//! up to a tenth apart.

use std::collections::BTreeMap;
use std::time::Duration;

use hotfire_storage::text::Text;
use hotfire_storage::time::Mono;

use super::Verdict;
use crate::ring::Violation;
use crate::workload::history::Fact;
use crate::workload::message::Lane;

/// A lock's life of 60 s, on the fastest clock.
const LIFE: Duration = Duration::from_secs(54);

#[derive(Debug)]
struct Lock {
    client: Text,
    life: u32,
    asked: Mono,
}

/// Who holds what.
#[derive(Debug, Default)]
pub struct Locks(BTreeMap<(Text, Lane), Lock>);

impl Locks {
    /// Takes a fact in.
    pub fn follow(&mut self, now: Mono, fact: &Fact) -> Verdict {
        match fact {
            Fact::Locked { life, group, client, lane, asked } => {
                let new = Lock { client: client.clone(), life: *life, asked: *asked };
                let old = self.0.insert((group.clone(), lane.clone()), new);
                let Some(old) = old.filter(|old| old.client != *client && old.life == *life) else {
                    return Ok(());
                };
                if now.since(old.asked) < LIFE {
                    let detail = format!("{lane} is {client}'s, and {}'s", old.client);
                    return Err(Violation::new("a lock has one holder", detail));
                }
            }
            Fact::Unlocked { group, client, lane } => {
                let key = (group.clone(), lane.clone());
                if self.0.get(&key).is_some_and(|lock| lock.client == *client) {
                    self.0.remove(&key);
                }
            }
            _ => {}
        }
        Ok(())
    }
}
