//! Pieces of the master's log: compared with what is here already, or put behind it.

use bytes::Bytes;
use hotfire_storage::position::Physical;
use hotfire_storage::seam::Disk;
use hotfire_storage::time::Now;
use hotfire_storage::{Owner, ReceiveError};

use super::{Ha, own};
use crate::broker::Broker;
use crate::broker::arrivals::Arrivals;
use crate::broker::follow::Follow;
use crate::broker::topics::Topics;
use crate::domain::QueueRef;
use crate::ha::slave::Step;

/// What the broker has to say of its master's log while that comes in.
struct Receiver<'a> {
    topics: &'a Topics,
    arrivals: &'a mut Arrivals,
    follow: &'a Follow,
}

impl Owner for Receiver<'_> {
    fn settles(&mut self, topic: &str) -> bool {
        self.topics.settles(topic, self.follow.is_absent(topic))
    }

    fn arrived(&mut self, topic: &str, queue: i32, end: Physical) {
        let topic = self.topics.name(topic).cloned().unwrap_or_else(|| topic.into());
        self.arrivals.push(end, QueueRef { topic, queue });
    }
}

impl<D: Disk> Broker<D> {
    /// Takes what came of the master's log, as far as that can be. A record that waits goes on even
    /// where nothing came behind it.
    pub(in crate::broker) fn take_pieces(&mut self, now: Now) {
        let Ha::Slave(following) = &self.ha else { return };
        let mut goes_on = !following.waiting.is_empty() || self.receive(now, Bytes::new());
        while goes_on {
            let Ha::Slave(following) = &mut self.ha else { return };
            let Some((at, bytes)) = following.waiting.front() else { break };
            let own = own(&self.store, &self.flush);
            let (at, len) = (*at, bytes.len() as u64);
            let step = match following.slave.frame(now.mono, at, len, own) {
                Step::Compare { len } => {
                    let len = usize::try_from(len).expect("no longer than the piece");
                    let same = self.store.same_as(at, &bytes[..len]);
                    let step = following.slave.compared(same as u64, same == len, own);
                    following.passed(same as u64);
                    step
                }
                Step::Append => {
                    let bytes = bytes.clone();
                    goes_on = self.receive(now, bytes);
                    continue;
                }
                Step::Prove { at } => {
                    following.hold(now.mono, at, own.file_len);
                    continue;
                }
                step => {
                    following.passed(len);
                    step
                }
            };
            if let Step::Locate { from, to } = step {
                let end = self.store.last_record_between(from, to);
                if following.slave.located(now.mono, end, own) {
                    (following.told, following.given_up) = (false, None);
                } else {
                    following.waiting.clear();
                }
            }
        }
        self.flush.wrote(now.mono, self.store.written());
    }

    /// Puts what came first into the log. Answers whether what came next can follow.
    fn receive(&mut self, now: Now, bytes: Bytes) -> bool {
        let Ha::Slave(following) = &mut self.ha else { return false };
        let (topics, arrivals, follow) = (&self.topics, &mut self.arrivals, &self.follow);
        let (taken, outcome) =
            self.store.receive(&bytes, &mut Receiver { topics, arrivals, follow });
        drop(bytes);
        if taken > 0 {
            following.slave.appended(taken as u64);
            (following.told, following.given_up) = (false, None);
            following.passed(taken as u64);
        }
        if !matches!(outcome, Err(ReceiveError::Unsettled { .. })) {
            self.follow.misses_nothing();
        }
        match outcome {
            Ok(()) => true,
            Err(ReceiveError::NotReady | ReceiveError::Full(_)) => false,
            Err(ReceiveError::Unsettled { topic }) => {
                if !self.topics.has(&topic) {
                    self.follow.misses(now.mono, &topic);
                }
                false
            }
            Err(why @ ReceiveError::Damaged { .. }) => {
                following.refuse(now.mono, why.to_string());
                true
            }
        }
    }

    /// What came and waits for room is not wanted any more: a store that is closed takes nothing.
    /// It is asked for again at the next start.
    pub(in crate::broker) fn forget_pieces(&mut self) {
        if let Ha::Slave(following) = &mut self.ha {
            following.forget();
            self.store.forget_unfinished();
        }
    }
}
