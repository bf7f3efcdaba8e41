//! Sends that are stored and wait for their promise to come true.

use std::collections::VecDeque;

use hotfire_storage::position::{Flushed, Physical};
use hotfire_storage::time::Mono;

use crate::domain::{BrokerResponse, Caller, Code, SendStatus, Sent};
use crate::ha::members::Held;

/// What a send waits for, and until when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Awaited {
    /// The medium.
    pub(super) flush: Option<Mono>,
    /// Replicas.
    pub(super) replicas: Option<Mono>,
}

/// What is answered once it is known what came of the promise.
#[derive(Debug)]
pub(super) enum Reply {
    /// To who sent a message back. That a replica lacks it is nothing that to send it again would
    /// help.
    Back(SendStatus),
    /// To a producer.
    Sent(Sent),
}

impl Reply {
    fn status(&self) -> SendStatus {
        match self {
            Self::Back(status) => *status,
            Self::Sent(sent) => sent.status,
        }
    }

    /// The same, of a promise that was kept as far as this.
    pub(super) fn with(self, status: SendStatus) -> Self {
        match self {
            Self::Back(_) => Self::Back(status),
            Self::Sent(sent) => Self::Sent(Sent { status, ..sent }),
        }
    }

    pub(super) fn into_response(self) -> BrokerResponse {
        match self {
            Self::Back(SendStatus::FlushDiskTimeout) => BrokerResponse::Refused {
                code: Code::SystemError,
                remark: "the disk is late: whether the message stays is not known".to_owned(),
            },
            Self::Back(_) => BrokerResponse::Done,
            Self::Sent(sent) => BrokerResponse::Sent(Box::new(sent)),
        }
    }
}

#[derive(Debug)]
struct Waiter {
    end: Physical,
    awaited: Awaited,
    caller: Caller,
    reply: Reply,
}

impl Waiter {
    /// What came of it, if that is known: the medium speaks before replicas do.
    fn outcome(&self, flushed: Flushed, replicated: Held, now: Mono) -> Option<SendStatus> {
        match self.awaited.flush {
            Some(_) if flushed.covers(self.end) => {}
            Some(until) if until <= now => return Some(SendStatus::FlushDiskTimeout),
            Some(_) => return None,
            None => {}
        }
        match self.awaited.replicas {
            Some(_) if replicated.covers(self.end) => {}
            Some(until) if until <= now => return Some(SendStatus::FlushSlaveTimeout),
            Some(_) => return None,
            None => {}
        }
        Some(self.reply.status())
    }
}

/// Waiters in the order of the log. All wait equally long for the same thing, so the queue is
/// sorted by position and by deadline at once, and the first is the first to be answered: an
/// answer is a position crossing, O(1).
#[derive(Debug, Default)]
pub(super) struct Waiters(VecDeque<Waiter>);

impl Waiters {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn push(&mut self, end: Physical, awaited: Awaited, caller: Caller, reply: Reply) {
        let last = self.0.back();
        assert!(last.is_none_or(|last| last.end < end), "records are appended in order");
        self.0.push_back(Waiter { end, awaited, caller, reply });
    }

    /// The next one whose promise came true, or that has waited long enough.
    pub(super) fn next(
        &mut self,
        flushed: Flushed,
        replicated: Held,
        now: Mono,
    ) -> Option<(Caller, Reply)> {
        let status = self.0.front()?.outcome(flushed, replicated, now)?;
        let Waiter { caller, reply, .. } = self.0.pop_front().expect("it was looked at");
        Some((caller, reply.with(status)))
    }

    /// The next one: the caller knows that everything is durable. Whether replicas have it was
    /// not seen.
    pub(super) fn stopped(&mut self, replicated: Held) -> Option<(Caller, Reply)> {
        let Waiter { end, awaited, caller, mut reply } = self.0.pop_front()?;
        if awaited.replicas.is_some() && !replicated.covers(end) {
            reply = reply.with(SendStatus::FlushSlaveTimeout);
        }
        Some((caller, reply))
    }

    /// The next one, whatever it waits for: its promise can no longer come true.
    pub(super) fn abandon(&mut self) -> Option<Caller> {
        self.0.pop_front().map(|waiter| waiter.caller)
    }

    pub(super) fn deadline(&self, flushed: Flushed) -> Option<Mono> {
        let first = self.0.front()?;
        let flush = first.awaited.flush.filter(|_| !flushed.covers(first.end));
        flush.or(first.awaited.replicas)
    }
}
