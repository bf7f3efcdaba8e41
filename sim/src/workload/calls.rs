//! Calls that wait for an answer.

use std::collections::BTreeMap;
use std::time::Duration;

use hotfire_storage::time::Mono;

use super::Peer;

/// What a client waits for, each thing with its own meaning to it.
#[derive(Debug)]
pub struct Calls<W> {
    last: i32,
    open: BTreeMap<i32, Open<W>>,
}

#[derive(Debug)]
struct Open<W> {
    peer: Peer,
    deadline: Mono,
    what: W,
}

impl<W> Default for Calls<W> {
    fn default() -> Self {
        Self { last: 0, open: BTreeMap::new() }
    }
}

impl<W> Calls<W> {
    /// A call begins; its number.
    pub fn start(&mut self, now: Mono, peer: &Peer, patience: Duration, what: W) -> i32 {
        self.last += 1;
        let open = Open { peer: peer.clone(), deadline: now.after(patience), what };
        self.open.insert(self.last, open);
        self.last
    }

    /// A number for a call that is not answered.
    pub fn oneway(&mut self) -> i32 {
        self.last += 1;
        self.last
    }

    /// A call was answered: what it was about; `None` if nobody waits any more.
    pub fn answered(&mut self, id: i32) -> Option<W> {
        self.open.remove(&id).map(|open| open.what)
    }

    /// A connection ended: what was asked over it.
    pub fn lost(&mut self, peer: &Peer) -> Vec<W> {
        self.take(|open| open.peer == *peer).into_iter().map(|open| open.what).collect()
    }

    /// What has waited too long, and for whom.
    pub fn late(&mut self, now: Mono) -> Vec<(Peer, W)> {
        let late = self.take(|open| open.deadline <= now);
        late.into_iter().map(|open| (open.peer, open.what)).collect()
    }

    /// When the next call is late.
    pub fn deadline(&self) -> Option<Mono> {
        self.open.values().map(|open| open.deadline).min()
    }

    /// What is waited for.
    pub fn iter(&self) -> impl Iterator<Item = &W> {
        self.open.values().map(|open| &open.what)
    }

    fn take(&mut self, is_due: impl Fn(&Open<W>) -> bool) -> Vec<Open<W>> {
        let due: Vec<i32> =
            self.open.iter().filter(|(_, open)| is_due(open)).map(|(id, _)| *id).collect();
        due.into_iter().filter_map(|id| self.open.remove(&id)).collect()
    }
}
