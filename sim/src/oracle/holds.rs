//! Every request is answered once, or its connection ends; and no pull waits in front of a
//! message that it may see.

use std::collections::BTreeMap;
use std::time::Duration;

use hotfire_core::domain::{BrokerRequest, ConnId, QueueRef};
use hotfire_storage::time::Mono;

use super::Verdict;
use crate::ring::Violation;

/// Longer than any request but a held pull may wait: parked for 3 s, then for a sync of 5 s, on a
/// clock that is a little slow.
const PATIENCE: Duration = Duration::from_secs(20);
/// The same for pulls, which are held for 15 s.
const PULL_PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Open {
    since: Mono,
    pull: Option<(QueueRef, i64)>,
    waits: bool,
    /// The connection has ended: an answer may come, and need not.
    is_over: bool,
}

/// Requests that a broker has not answered.
#[derive(Debug, Default)]
pub struct Requests {
    open: BTreeMap<(ConnId, i32), Open>,
}

impl Requests {
    /// A request arrived.
    pub fn asked(&mut self, now: Mono, conn: ConnId, opaque: i32, request: &BrokerRequest) {
        let pull = match request {
            BrokerRequest::Pull(pull) => Some((pull.from.clone(), pull.offset)),
            _ => None,
        };
        let waits = match request {
            BrokerRequest::Send(send) => !send.properties.contains("WAIT\u{1}false"),
            _ => false,
        };
        self.open.insert((conn, opaque), Open { since: now, pull, waits, is_over: false });
    }

    /// Is it a send that waits for the promise of the broker's policy?
    pub fn is_promised(&self, conn: ConnId, opaque: i32) -> bool {
        self.open.get(&(conn, opaque)).is_some_and(|open| open.waits)
    }

    /// An answer was given.
    pub fn answered(&mut self, conn: ConnId, opaque: i32) -> Verdict {
        if self.open.remove(&(conn, opaque)).is_some() {
            return Ok(());
        }
        let detail = format!("{conn:?} opaque {opaque} was not asked, or answered before");
        Err(Violation::new("a request is answered once", detail))
    }

    /// The connection ended.
    pub fn closed(&mut self, conn: ConnId) {
        let of = self.open.range_mut((conn, i32::MIN)..=(conn, i32::MAX));
        of.for_each(|(_, open)| open.is_over = true);
    }

    /// Checks after each turn: `visible` says how far a queue may be seen.
    pub fn check(&self, visible: impl Fn(&QueueRef, u64) -> bool) -> Verdict {
        for ((conn, opaque), open) in &self.open {
            let Some((queue, offset)) = open.pull.as_ref().filter(|_| !open.is_over) else {
                continue;
            };
            if u64::try_from(*offset).is_ok_and(|offset| visible(queue, offset)) {
                let detail = format!("{conn:?} opaque {opaque} at {queue:?} offset {offset}");
                return Err(Violation::new("no pull waits in front of a message", detail));
            }
        }
        Ok(())
    }

    /// Checks when faults have stopped for a while.
    pub fn check_age(&self, now: Mono) -> Verdict {
        let late = self.open.iter().find(|(_, open)| {
            let patience = if open.pull.is_some() { PULL_PATIENCE } else { PATIENCE };
            !open.is_over && now.since(open.since) > patience
        });
        let Some((key, open)) = late else { return Ok(()) };
        let detail = format!("{key:?} waits since {}, {:?}", open.since.as_micros(), open.pull);
        Err(Violation::new("a request is answered", detail))
    }

    /// How many there are on connections that live.
    pub fn len(&self) -> usize {
        self.open.values().filter(|open| !open.is_over).count()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
