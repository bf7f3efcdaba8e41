//! Whom name servers list, by what was said to them.
//!
//! **A name server lists a broker that has registered, until it takes its leave, its connection
//! ends, or it has been silent for longer than its expiry**; from then on, for as long as it takes
//! to look for the silent, it may. What comes over a connection that the broker has given up for a
//! later one says nothing. Of a group that acts for its master a route names the least live id as
//! 0 while none other has it, and its topics can not be written.

use std::collections::{BTreeMap, BTreeSet};

use hotfire_core::domain::{BrokerId, NameRequest, Route};

use super::consumer::broker_at;
use crate::ring::Violation;

const ORACLE: &str = "a route names who lives";
/// How often a name server looks for the silent.
const SCAN: u64 = 5_000_000;
/// Permission bit: writable.
const WRITE: i32 = 2;

/// What a name server knows of a broker.
#[derive(Clone, Copy, Debug)]
struct Word {
    conn: u64,
    expiry: u64,
    /// It is listed until then.
    sure: u64,
    /// It may be listed until then.
    perhaps: u64,
}

impl Word {
    fn of(now: u64, conn: u64, expiry: u64) -> Self {
        Self { conn, expiry, sure: now + expiry, perhaps: now + expiry + SCAN }
    }
}

/// What each of them has heard, and how they answer.
#[derive(Debug)]
pub(super) struct Heard {
    servers: Vec<BTreeMap<usize, Word>>,
    /// The expiry of a broker that asks for no other.
    expiry: u64,
    /// Does the group act, and do name servers show it?
    shows: bool,
    /// Which brokers there are.
    brokers: usize,
}

impl Heard {
    pub(super) fn new(servers: usize, brokers: usize, expiry: u64, shows: bool) -> Self {
        Self { servers: vec![BTreeMap::new(); servers], expiry, shows, brokers }
    }

    /// A name server begins anew.
    pub(super) fn anew(&mut self, server: usize) {
        self.servers[server].clear();
    }

    /// It is told something.
    pub(super) fn told(&mut self, now: u64, server: usize, conn: u64, what: &NameRequest) {
        let known = &mut self.servers[server];
        match what {
            NameRequest::Register(registration) => {
                let Some(broker) = broker_at(&registration.broker.addr) else { return };
                let expiry = registration.heartbeat_timeout_ms.map_or(self.expiry, |ms| ms * 1000);
                let new = Word::of(now, conn, expiry);
                match known.get_mut(&broker) {
                    Some(old) if conn < old.conn && now <= old.sure => {}
                    // Whether it was looked for in between is not known.
                    Some(old) if conn < old.conn && now <= old.perhaps => {
                        old.perhaps = new.perhaps;
                    }
                    _ => _ = known.insert(broker, new),
                }
            }
            NameRequest::BrokerHeartbeat { addr, .. } => {
                let broker = broker_at(addr);
                let Some(word) = broker.and_then(|broker| known.get_mut(&broker)) else { return };
                let fresh = Word::of(now, word.conn, word.expiry);
                if now <= word.sure {
                    *word = fresh;
                } else if now <= word.perhaps {
                    word.perhaps = fresh.perhaps;
                }
            }
            NameRequest::Unregister(identity) => {
                let Some(broker) = broker_at(&identity.addr) else { return };
                if known.get(&broker).is_some_and(|word| conn >= word.conn) {
                    known.remove(&broker);
                }
            }
            _ => {}
        }
    }

    /// It hears that a connection ended.
    pub(super) fn closed(&mut self, server: usize, conn: u64) {
        self.servers[server].retain(|_, word| word.conn != conn);
    }

    /// Does it list a broker, whatever it did meanwhile?
    pub(super) fn lists(&self, now: u64, server: usize, broker: usize) -> bool {
        self.servers[server].get(&broker).is_some_and(|word| now <= word.sure)
    }

    fn check_all(
        &self,
        now: u64,
        server: usize,
        listed: &BTreeSet<usize>,
    ) -> Result<(), Violation> {
        for broker in 0..self.brokers {
            let word = self.servers[server].get(&broker);
            let must = word.is_some_and(|word| now <= word.sure);
            let may = word.is_some_and(|word| now <= word.perhaps);
            let is_listed = listed.contains(&broker);
            if (must && !is_listed) || (!may && is_listed) {
                let detail = format!(
                    "name server {server} names the brokers {listed:?}; of {broker} it has heard \
                     {word:?} at {now}"
                );
                return Err(Violation::new(ORACLE, detail));
            }
        }
        Ok(())
    }

    /// It has answered with a route.
    pub(super) fn check(&self, now: u64, server: usize, route: &Route) -> Result<(), Violation> {
        let wrong = |what: &str| {
            let detail = format!("name server {server} at {now}: {what}: {route:?}");
            Err(Violation::new(ORACLE, detail))
        };
        let [group] = &route.brokers[..] else { return wrong("there is one group") };
        let at: BTreeMap<BrokerId, Option<usize>> =
            group.addrs.iter().map(|(id, addr)| (*id, broker_at(addr))).collect();
        let listed: BTreeSet<usize> = at.values().flatten().copied().collect();
        self.check_all(now, server, &listed)?;
        let shown = at.get(&BrokerId::MASTER).copied().flatten();
        let stands_in = self.shows && !listed.contains(&0);
        let wanted = if stands_in { listed.first() } else { listed.get(&0) };
        if shown != wanted.copied() {
            return wrong("another one is to be the master");
        }
        let others = at.iter().filter(|(id, _)| **id != BrokerId::MASTER);
        for (id, broker) in others {
            if broker.and_then(|broker| i64::try_from(broker).ok()) != Some(id.0) {
                return wrong("this is somebody else's id");
            }
        }
        if stands_in && route.queues.iter().any(|queue| queue.perm & WRITE != 0) {
            return wrong("who acts takes no messages");
        }
        Ok(())
    }
}
