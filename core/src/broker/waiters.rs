//! Sends that are stored and wait for their promise to come true.

use std::collections::VecDeque;

use hotfire_storage::position::{Flushed, Physical};
use hotfire_storage::time::Mono;

use crate::domain::{Caller, Sent};

#[derive(Debug)]
struct Waiter {
    end: Physical,
    deadline: Mono,
    caller: Caller,
    sent: Sent,
}

/// Waiters of one promise. All wait equally long, so the queue is sorted by position and by
/// deadline at once: an answer is a position crossing, O(1).
#[derive(Debug, Default)]
pub(super) struct Waiters(VecDeque<Waiter>);

impl Waiters {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn push(&mut self, end: Physical, deadline: Mono, caller: Caller, sent: Sent) {
        let last = self.0.back();
        assert!(last.is_none_or(|last| last.end < end), "records are appended in order");
        assert!(last.is_none_or(|last| last.deadline <= deadline), "all wait equally long");
        self.0.push_back(Waiter { end, deadline, caller, sent });
    }

    /// The next one whose bytes are durable.
    pub(super) fn kept(&mut self, flushed: Flushed) -> Option<(Caller, Sent)> {
        self.0.pop_front_if(|first| flushed.covers(first.end)).map(|w| (w.caller, w.sent))
    }

    /// The next one that has waited long enough.
    pub(super) fn late(&mut self, now: Mono) -> Option<(Caller, Sent)> {
        self.0.pop_front_if(|first| first.deadline <= now).map(|w| (w.caller, w.sent))
    }

    /// The next one, whatever it waited for: the caller knows that everything is durable.
    pub(super) fn stopped(&mut self) -> Option<(Caller, Sent)> {
        self.0.pop_front().map(|waiter| (waiter.caller, waiter.sent))
    }

    /// The next one, whatever it waits for: its promise can no longer come true.
    pub(super) fn abandon(&mut self) -> Option<Caller> {
        self.0.pop_front().map(|waiter| waiter.caller)
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        self.0.front().map(|first| first.deadline)
    }
}
