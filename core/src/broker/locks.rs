//! Queue locks of ordered consumers (broker-behaviour.md 6.3).

use std::collections::BTreeMap;
use std::time::Duration;

use hotfire_storage::text::Text;
use hotfire_storage::time::Mono;

use crate::domain::MessageQueue;
use crate::machine::Digest;

#[derive(Debug)]
struct Lock {
    owner: Text,
    renewed: Mono,
}

/// Who may consume a queue in order: one client of a group at a time, for as long as it renews.
#[derive(Debug)]
pub(super) struct Locks {
    life: Duration,
    groups: BTreeMap<Text, BTreeMap<MessageQueue, Lock>>,
}

impl Locks {
    pub(super) fn new(life: Duration) -> Self {
        Self { life, groups: BTreeMap::new() }
    }

    /// Locks, or renews, what is free, expired or already the client's; says which.
    pub(super) fn lock(
        &mut self,
        now: Mono,
        group: &Text,
        client: &Text,
        queues: Vec<MessageQueue>,
    ) -> Vec<MessageQueue> {
        let held = self.groups.entry(group.detached()).or_default();
        let mut locked = Vec::with_capacity(queues.len());
        for queue in queues {
            let free = held
                .get(&queue)
                .is_none_or(|lock| lock.owner == *client || now.since(lock.renewed) > self.life);
            if free {
                let lock = Lock { owner: client.detached(), renewed: now };
                held.insert(queue.detached(), lock);
                locked.push(queue);
            }
        }
        locked
    }

    /// Has a client of the group locked anything?
    pub(super) fn has_any(&self, now: Mono, group: &str) -> bool {
        let held = self.groups.get(group).into_iter().flat_map(BTreeMap::values);
        held.into_iter().any(|lock| now.since(lock.renewed) <= self.life)
    }

    /// Releases what is the client's.
    pub(super) fn unlock(&mut self, group: &str, client: &Text, queues: &[MessageQueue]) {
        let Some(held) = self.groups.get_mut(group) else { return };
        for queue in queues {
            if held.get(queue).is_some_and(|lock| lock.owner == *client) {
                held.remove(queue);
            }
        }
        if held.is_empty() {
            self.groups.remove(group);
        }
    }

    /// Forgets locks that nobody renewed: bounded by live clients, not by history.
    pub(super) fn expire(&mut self, now: Mono) {
        self.groups.retain(|_, held| {
            held.retain(|_, lock| now.since(lock.renewed) <= self.life);
            !held.is_empty()
        });
    }

    pub(super) fn digest(&self, into: &mut Digest) {
        for (group, held) in &self.groups {
            into.bytes(group.as_bytes());
            for (queue, lock) in held {
                into.bytes(queue.topic.as_bytes());
                into.number(u64::from(queue.queue.cast_unsigned()));
                into.bytes(lock.owner.as_bytes());
                into.number(lock.renewed.as_micros());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_one_clients_until_it_stops_renewing() {
        let at = |secs: u64| Mono::from_micros(secs * 1_000_000);
        let mut locks = Locks::new(Duration::from_secs(60));
        let queue = MessageQueue { topic: "t".into(), broker_name: "b".into(), queue: 0 };
        let mut lock = |secs, client: &str| {
            locks.lock(at(secs), &"g".into(), &client.into(), vec![queue.clone()]).len()
        };
        assert_eq!((lock(0, "a"), lock(1, "b"), lock(50, "a"), lock(110, "b")), (1, 0, 1, 0));
        assert_eq!(lock(111, "b"), 1, "61 s after the last renewal");
        locks.unlock("g", &"a".into(), std::slice::from_ref(&queue));
        assert_eq!(locks.lock(at(112), &"g".into(), &"c".into(), vec![queue]), [], "still b's");
    }
}
