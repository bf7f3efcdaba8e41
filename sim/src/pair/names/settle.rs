//! After the last fault: everybody is listed, everything is consumed, what was said to a slave is
//! known to its master, and slaves have its table of delayed messages.

use std::collections::BTreeSet;

use hotfire_core::domain::{BrokerId, ConnId, NameRequest, NameResponse};
use hotfire_core::machine::Machine as _;
use hotfire_core::namesrv::{Effect, Input};

use super::consumer::broker_at;
use super::turn::caller;
use super::{Names, delays, time};
use crate::pair::World;
use crate::pair::work::TOPICS;
use crate::ring::Violation;

/// Permission bit: writable.
const WRITE: i32 = 2;

impl World<'_> {
    /// Is there anything among name servers and consumers that has still to come right?
    pub(in super::super) fn names_unsettled(&mut self) -> Result<Option<Violation>, Violation> {
        let (now, brokers) = (self.now, self.nodes.len());
        let Some(names) = self.names.as_mut() else { return Ok(None) };
        if let Some(why) = names.misrouted(now, brokers)? {
            return Ok(Some(Violation::new("routes say who lives", why)));
        }
        if let Some(misled) = delays::misled(&self.nodes) {
            return Ok(Some(misled));
        }
        let log = self.nodes[0].held();
        for of in 0..TOPICS.len() {
            if let Some(missed) = names.delivered.lacks(&log, of, u64::MAX) {
                return Ok(Some(Violation::new("routed consumers get everything", missed)));
            }
        }
        let said = self.probe_offsets()?;
        let owed = self.names.as_ref().and_then(|names| names.committed.owed(said));
        Ok(owed.map(|owed| Violation::new("what an acting slave was told comes back", owed)))
    }
}

impl Names {
    /// Whom a name server does not name as it should now that all live.
    fn misrouted(&mut self, now: u64, brokers: usize) -> Result<Option<String>, Violation> {
        for (server, topic) in
            (0..self.servers.len()).flat_map(|server| TOPICS.iter().map(move |of| (server, of)))
        {
            let response = self.probe(now, server, topic);
            let Some(NameResponse::Route(route)) = response else {
                // A topic of which no message was stored is nowhere.
                if self.delivered.knows(topic) {
                    return Ok(Some(format!("name server {server} says {response:?} of {topic}")));
                }
                continue;
            };
            self.heard.check(now, server, &route)?;
            let group = route.brokers.iter().flat_map(|group| &group.addrs);
            let listed: BTreeSet<_> =
                group.clone().filter_map(|(_, addr)| broker_at(addr)).collect();
            let master = group.clone().find(|(id, _)| **id == BrokerId::MASTER);
            let is_right = listed.len() == brokers
                && master.and_then(|(_, addr)| broker_at(addr)) == Some(0)
                && route.queues.iter().all(|queue| queue.perm & WRITE != 0);
            if !is_right {
                return Ok(Some(format!("name server {server} says {route:?}")));
            }
        }
        Ok(None)
    }

    fn probe(&mut self, now: u64, at: usize, topic: &str) -> Option<NameResponse> {
        let machine = self.servers[at].machine.as_mut()?;
        let caller = caller(u64::MAX, 0, false);
        let request = NameRequest::Route { topic: topic.into() };
        machine.handle(time(now), Input::Request { caller, request });
        let mut said = None;
        // It was polled until it had nothing to say.
        while let Some(effect) = machine.poll(time(now)) {
            if let Effect::Answer { caller, response } = effect
                && caller.conn == ConnId(u64::MAX)
            {
                said = Some(response);
            }
        }
        said
    }
}
