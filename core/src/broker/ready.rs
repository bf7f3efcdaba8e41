//! When a change of the topic table may be relied on: once a power loss cannot take it away and
//! the name servers route to it.
//!
//! A producer whose first send created a topic starts its consumer next, and some clients give up
//! if the topic has no route by then. So whoever caused a change is answered once it is ready. A
//! name server that does not answer delays that by [`ROUTE_PATIENCE`], not for ever. A disk that
//! does not answer delays it by [`DISK_PATIENCE`]; then whoever waits is told so.

use std::collections::VecDeque;
use std::time::Duration;

use hotfire_storage::time::Mono;

use crate::domain::{BrokerResponse, Caller};

/// How long a change waits for the name servers.
const ROUTE_PATIENCE: Duration = Duration::from_secs(1);
/// How long an answer waits for the disk; longer than clients do.
const DISK_PATIENCE: Duration = Duration::from_secs(10);

/// A registration under way.
#[derive(Clone, Copy, Debug)]
struct Routing {
    change: i64,
    unanswered: usize,
    deadline: Mono,
}

/// Which changes of the topic table are routed, and who waits for one.
#[derive(Debug)]
pub(super) struct Readiness {
    name_servers: usize,
    routed: i64,
    routing: Option<Routing>,
    /// Who waits.
    pub(super) answers: Answers,
}

/// Answers that wait until a change of a table may be relied on.
#[derive(Debug, Default)]
pub(super) struct Answers(VecDeque<Waiting>);

/// An answer that waits for a change.
#[derive(Debug)]
struct Waiting {
    change: i64,
    deadline: Mono,
    caller: Caller,
    response: BrokerResponse,
}

impl Readiness {
    pub(super) fn new(name_servers: usize, change: i64) -> Self {
        // What was there at the start is announced, but nobody here waits for it.
        Self { name_servers, routed: change, routing: None, answers: Answers::default() }
    }

    /// The table with this change is sent to every name server now.
    pub(super) fn registering(&mut self, now: Mono, change: i64) {
        if self.name_servers == 0 {
            self.routed = change;
            return;
        }
        let deadline = now.after(ROUTE_PATIENCE);
        self.routing = Some(Routing { change, unanswered: self.name_servers, deadline });
    }

    /// A name server answered, or could not be reached.
    pub(super) fn registered(&mut self, change: i64) {
        if let Some(routing) = self.routing.as_mut().filter(|routing| routing.change <= change) {
            routing.unanswered = routing.unanswered.saturating_sub(1);
            if routing.unanswered == 0 {
                self.routed = self.routed.max(change);
                self.routing = None;
            }
        }
    }

    /// Stops waiting for a name server that does not answer. Did that change anything?
    pub(super) fn give_up(&mut self, now: Mono) -> bool {
        let late = self.routing.take_if(|routing| routing.deadline <= now);
        late.is_some_and(|routing| {
            self.routed = self.routed.max(routing.change);
            true
        })
    }

    /// The newest change that may be relied on, given the newest that is durable.
    pub(super) fn upto(&self, durable: i64) -> i64 {
        if self.name_servers == 0 { durable } else { durable.min(self.routed) }
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        let routing = self.routing.map(|routing| routing.deadline);
        routing.into_iter().chain(self.answers.deadline()).min()
    }
}

impl Answers {
    /// Answers once the change may be relied on.
    pub(super) fn push(
        &mut self,
        now: Mono,
        change: i64,
        caller: Caller,
        response: BrokerResponse,
    ) {
        // All wait equally long, so the first is the first to lose patience.
        let deadline = now.after(DISK_PATIENCE);
        self.0.push_back(Waiting { change, deadline, caller, response });
    }

    /// The next answer that may go, given the newest change that may be relied on.
    pub(super) fn next(&mut self, upto: i64) -> Option<(Caller, BrokerResponse)> {
        let next = self.0.pop_front_if(|first| first.change <= upto);
        next.map(|next| (next.caller, next.response))
    }

    /// The next one that has waited long enough.
    pub(super) fn late(&mut self, now: Mono) -> Option<Caller> {
        self.0.pop_front_if(|first| first.deadline <= now).map(|late| late.caller)
    }

    /// The next one that waits, whatever for: the table could not be kept.
    pub(super) fn abandon(&mut self) -> Option<Caller> {
        self.0.pop_front().map(|waiting| waiting.caller)
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        self.0.front().map(|first| first.deadline)
    }
}
