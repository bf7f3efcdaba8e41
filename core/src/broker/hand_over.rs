//! What was said to a slave that acted for its master comes back: consumer offsets.
//!
//! ```text
//!  master starts ─► who is of the group? ─► their offsets ─► registered: clients come back
//!                                           └ again every 3 s, while clients may still be there
//! ```
//!
//! The original does that once, before a master registers, and takes a slave's whole table if its
//! version is not older (broker-behaviour.md 12, "pre-online"). Here each offset is taken if it is
//! more than what is known, so none goes back, whoever has the newer table. Never more than the
//! queue has: a slave may have had messages that this log has lost, and what is appended in their
//! place is yet to be consumed.
//!
//! Who asks for an offset meanwhile waits, for it is a matter of milliseconds; a slave that does
//! not answer delays it by [`PATIENCE`], not for ever. For [`ROUTE_LIFE`] after the last name
//! server had to be told anew, or was heard again, offsets only go forward here: what is taken back
//! then comes again.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use hotfire_storage::documents::{Document, OffsetTable};
use hotfire_storage::position::QueueOffset;
use hotfire_storage::seam::Disk;
use hotfire_storage::time::{Mono, Now};

use super::acting::{Acting, ROUTE_LIFE};
use super::{Broker, BrokerConfig, Effect, GroupEffect, state};
use crate::domain::{BrokerId, BrokerRequest, Caller, Code, QueueRef, StateKind};
use crate::machine::Digest;

/// How long a master waits for its slaves' word before it registers. A dead one is not listed any
/// more by then.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an answer is waited for, and how soon after a failure it is asked for again.
const ANSWER: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(500);
/// How often slaves are asked afterwards.
const EVERY: Duration = Duration::from_secs(3);
/// Requests that wait for it.
const WAITING_MOST: usize = 10_000;

/// How far a master is with it.
#[derive(Debug)]
pub(super) struct HandOver {
    /// Is there anything to hand over, ever?
    is_on: bool,
    /// The master does not register before.
    is_done: bool,
    give_up: Mono,
    /// Slaves are asked until then.
    listens_until: Mono,
    next: Mono,
    /// Answers that are on their way, and whether one failed to come.
    asked: usize,
    has_failed: bool,
    waiting: VecDeque<(Caller, BrokerRequest)>,
}

/// Does this request depend on it?
pub(super) fn must_wait(request: &BrokerRequest) -> bool {
    matches!(request, BrokerRequest::QueryOffset { .. } | BrokerRequest::State(StateKind::Offsets))
}

impl HandOver {
    pub(super) fn new(config: &BrokerConfig, now: Mono) -> Self {
        let is_on = config.acting.is_some()
            && config.identity.id == BrokerId::MASTER
            && config.name_servers > 0;
        Self {
            is_on,
            is_done: !is_on,
            give_up: now.after(PATIENCE),
            listens_until: now.after(ROUTE_LIFE),
            next: now,
            asked: 0,
            has_failed: false,
            waiting: VecDeque::new(),
        }
    }

    /// May the broker register?
    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// A name server does not know this broker, or did not for all that is known: clients may be
    /// with another.
    pub(super) fn expect(&mut self, now: Mono) {
        self.listens_until = now.after(ROUTE_LIFE);
    }

    pub(super) fn deadline(&self, acting: &Acting) -> Option<Mono> {
        let give_up = (!self.is_done).then_some(self.give_up);
        let asks = self.is_on && acting.has_looked() && self.next < self.listens_until;
        give_up.into_iter().chain(asks.then_some(self.next)).min()
    }

    pub(super) fn digest(&self, into: &mut Digest) {
        into.number(u64::from(self.is_done) << 1 | u64::from(self.has_failed));
        into.number(self.listens_until.as_micros());
        into.number(self.next.as_micros());
        into.number((self.asked << 16 | self.waiting.len()) as u64);
    }
}

impl<D: Disk> Broker<D> {
    /// As a master: asks the others of the group how far consumers are, if it is time.
    pub(super) fn ask_slaves(&mut self, now: Now) {
        if !self.hand_over.is_done && self.hand_over.give_up <= now.mono {
            tracing::warn!("a slave does not say how far consumers are: they may go back to less");
            self.end_hand_over(now);
        }
        let hand_over = &mut self.hand_over;
        let is_due = hand_over.next <= now.mono && hand_over.next < hand_over.listens_until;
        if !hand_over.is_on || !is_due || !self.acting.has_looked() {
            return;
        }
        let others = self.acting.others();
        hand_over.next = now.mono.after(if others.is_empty() { EVERY } else { ANSWER });
        (hand_over.asked, hand_over.has_failed) = (others.len(), false);
        if others.is_empty() {
            return self.end_hand_over(now);
        }
        let kind = StateKind::Offsets;
        let fetch = |from| Effect::Group(GroupEffect::Fetch { from, kind });
        self.outbox.extend(others.into_iter().map(fetch));
    }

    /// A slave has said how far consumers are, or has not.
    pub(super) fn fetched_from_slave(&mut self, now: Now, json: Option<&Bytes>) {
        let taken = json.map(|json| OffsetTable::parse(json).map(|t| self.take_back(&t)));
        let hand_over = &mut self.hand_over;
        hand_over.has_failed |= !matches!(taken, Some(Ok(())));
        hand_over.asked = hand_over.asked.saturating_sub(1);
        if hand_over.asked > 0 {
            return;
        }
        if hand_over.has_failed && !hand_over.is_done {
            hand_over.next = now.mono.after(AGAIN);
        } else {
            hand_over.next = now.mono.after(EVERY);
            self.end_hand_over(now);
        }
    }

    fn take_back(&mut self, table: &OffsetTable) {
        let end_of = |topic: &str, queue| {
            self.store.queue(topic, queue).map_or(QueueOffset::ZERO, |range| range.max)
        };
        for ((topic, group), queues) in state::offsets_of(&table.offset_table) {
            for (queue, next) in queues {
                let next = next.min(end_of(&topic, queue));
                if next > QueueOffset::ZERO {
                    self.offsets.advance(&topic, &group, queue, next);
                }
            }
        }
        let mut light = table.lmq_offset_table.clone();
        light.retain(|key, next| {
            let topic = key.rsplit_once('@').map_or("", |(topic, _)| topic);
            *next = i64::try_from(end_of(topic, 0).get()).unwrap_or(i64::MAX).min(*next);
            *next > 0
        });
        self.offsets.take_light(&light);
    }

    /// Holds a request until the hand-over is done.
    pub(super) fn serve_after_hand_over(&mut self, caller: Caller, request: BrokerRequest) {
        if self.hand_over.waiting.len() >= WAITING_MOST {
            let remark = "the master is taking over from its slaves; ask again".to_owned();
            return self.refuse(caller, Code::SystemBusy, remark);
        }
        // The header it came in must not be kept.
        let request = match request {
            BrokerRequest::QueryOffset { group, of, zero_if_absent } => {
                let of = QueueRef { topic: of.topic.detached(), queue: of.queue };
                BrokerRequest::QueryOffset { group: group.detached(), of, zero_if_absent }
            }
            other => other,
        };
        self.hand_over.waiting.push_back((caller, request));
    }

    /// It is done, or is not waited for any more: who waits is served.
    pub(super) fn end_hand_over(&mut self, now: Now) {
        if !std::mem::replace(&mut self.hand_over.is_done, true) {
            tracing::debug!(waiting = self.hand_over.waiting.len(), "offsets are handed over");
        }
        for (caller, request) in std::mem::take(&mut self.hand_over.waiting) {
            self.serve(now, caller, request);
        }
    }
}
