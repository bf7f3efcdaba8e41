//! What came in and waits for the machine's next turn.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use hotfire_core::domain::{Caller, ConnId};
use tokio::sync::Notify;

use super::peer::Peer;

/// Something that a machine has to hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival<R> {
    /// A connection ended. Nothing comes from it after this.
    Closed {
        /// Which.
        conn: ConnId,
    },
    /// Somebody asks.
    Request {
        /// Who.
        caller: Caller,
        /// What.
        request: R,
    },
}

/// Arrivals of all connections, in order. Bounded by each connection's own bound.
pub struct Inbox<R> {
    arrivals: RefCell<VecDeque<Arrival<R>>>,
    /// Bytes to give back to connections once everything is drained.
    credits: RefCell<Vec<(Rc<Peer>, usize)>>,
    wake: Notify,
}

impl<R> Default for Inbox<R> {
    fn default() -> Self {
        Self { arrivals: RefCell::default(), credits: RefCell::default(), wake: Notify::new() }
    }
}

impl<R> Inbox<R> {
    /// Waits until there is something.
    pub async fn ready(&self) {
        while self.arrivals.borrow().is_empty() {
            self.wake.notified().await;
        }
    }

    /// The next arrival. `None`: the turn has everything, and connections may be read on.
    pub fn next(&self) -> Option<Arrival<R>> {
        let next = self.arrivals.borrow_mut().pop_front();
        if next.is_none() {
            for (peer, bytes) in self.credits.borrow_mut().drain(..) {
                peer.drained(bytes);
            }
        }
        next
    }

    pub(super) fn push(&self, arrival: Arrival<R>) {
        self.arrivals.borrow_mut().push_back(arrival);
    }

    /// Ends a batch: one wake-up for all that was pushed.
    pub(super) fn pushed(&self, peer: &Rc<Peer>, bytes: usize) {
        if bytes > 0 {
            self.credits.borrow_mut().push((Rc::clone(peer), bytes));
        }
        self.wake.notify_one();
    }
}
