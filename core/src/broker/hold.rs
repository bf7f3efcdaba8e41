//! Pulls that found nothing and wait for a message (broker-behaviour.md 5.3).
//!
//! Ten thousand of them cost nothing while nothing happens: they are found by queue when a message
//! arrives, by deadline when their time is up, by connection when it closes; never scanned.

use std::collections::{BTreeMap, BTreeSet};

use hotfire_storage::time::Mono;

use crate::domain::{Caller, ConnId, Pull, QueueRef};
use crate::machine::Digest;

/// A held pull's number: the order in which they came.
type Ticket = u64;

#[derive(Debug)]
pub(super) struct Held {
    pub(super) caller: Caller,
    pub(super) pull: Box<Pull>,
    pub(super) deadline: Mono,
}

#[derive(Debug, Default)]
pub(super) struct Holds {
    next: Ticket,
    held: BTreeMap<Ticket, Held>,
    by_queue: BTreeMap<QueueRef, BTreeSet<Ticket>>,
    by_deadline: BTreeSet<(Mono, Ticket)>,
    by_conn: BTreeSet<(ConnId, Ticket)>,
}

impl Holds {
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) fn hold(&mut self, held: Held) {
        let ticket = self.next;
        self.next += 1;
        self.by_queue.entry(held.pull.from.clone()).or_default().insert(ticket);
        self.by_deadline.insert((held.deadline, ticket));
        self.by_conn.insert((held.caller.conn, ticket));
        self.held.insert(ticket, held);
    }

    /// Takes out everything that waits for this queue, oldest first.
    pub(super) fn take_queue(&mut self, queue: &QueueRef, into: &mut Vec<Held>) {
        for ticket in self.by_queue.remove(queue).unwrap_or_default() {
            into.extend(self.remove(ticket));
        }
    }

    /// Takes out everything, oldest first.
    pub(super) fn take_all(&mut self, into: &mut Vec<Held>) {
        into.extend(std::iter::from_fn(|| self.take_any()));
    }

    /// Takes out the next one whose time is up.
    pub(super) fn take_late(&mut self, now: Mono) -> Option<Held> {
        let &(_, ticket) = self.by_deadline.first().filter(|(deadline, _)| *deadline <= now)?;
        self.remove(ticket)
    }

    /// Takes out the oldest, whatever it waits for.
    pub(super) fn take_any(&mut self) -> Option<Held> {
        let ticket = *self.held.first_key_value()?.0;
        self.remove(ticket)
    }

    /// Forgets what nobody can be told any more.
    pub(super) fn closed(&mut self, conn: ConnId) {
        let range = (conn, Ticket::MIN)..=(conn, Ticket::MAX);
        let tickets: Vec<Ticket> = self.by_conn.range(range).map(|(_, ticket)| *ticket).collect();
        for ticket in tickets {
            self.remove(ticket);
        }
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Held> {
        let held = self.held.remove(&ticket)?;
        self.by_deadline.remove(&(held.deadline, ticket));
        self.by_conn.remove(&(held.caller.conn, ticket));
        if let Some(tickets) = self.by_queue.get_mut(&held.pull.from) {
            tickets.remove(&ticket);
            if tickets.is_empty() {
                self.by_queue.remove(&held.pull.from);
            }
        }
        Some(held)
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        self.by_deadline.first().map(|(deadline, _)| *deadline)
    }

    pub(super) fn verify(&self) {
        let by_queue: usize = self.by_queue.values().map(BTreeSet::len).sum();
        assert!(
            [by_queue, self.by_deadline.len(), self.by_conn.len()] == [self.held.len(); 3],
            "a held pull is in every index, and nothing else is"
        );
    }

    pub(super) fn digest(&self, into: &mut Digest) {
        for (ticket, held) in &self.held {
            into.number(*ticket);
            into.number(held.deadline.as_micros());
            into.number(held.caller.conn.0);
        }
    }
}
