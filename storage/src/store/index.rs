//! The index within the store: written with each append, asked by key.

use super::{Store, Task, file_of};
use crate::dispatch::Facts;
use crate::index::{self, KeyKind};
use crate::position::Physical;
use crate::seam::{Disk, Done, Fault, Op};
use crate::time::Wall;

/// Records that are indexed at once, of many that wait: what else the turn has to do comes first.
const CATCH_UP: usize = 2_000;
/// Records that are not indexed yet and that a query looks through. More there are only if the disk
/// had no room for the next file while they came.
const LOOK_THROUGH: usize = 10_000;

/// What is asked of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// The topic.
    pub topic: &'a str,
    /// What the key is.
    pub kind: KeyKind,
    /// The key.
    pub key: &'a str,
    /// Stored then or later.
    pub begin: Wall,
    /// Stored then or earlier; to the second, and for items below one to the second before.
    pub end: Wall,
}

impl<D: Disk> Store<D> {
    /// Puts a record that was just written into the index.
    pub(super) fn index(&mut self, facts: &Facts<'_>) {
        self.index.add(&mut self.disk, facts);
    }

    /// Asks for the index file that is missing, if one is, and indexes some of the records that
    /// wait for it. To be called once a turn, behind [`sync`](Self::sync): senders wait for that,
    /// and allocating an index file takes the disk longer than anything else.
    pub fn tend_index(&mut self) {
        self.catch_up();
        if self.index.wants_room() && !self.index.has_failed() {
            self.ask_index_file();
        }
    }

    pub(super) fn ask_index_file(&mut self) {
        if let Some((path, len)) = self.index.ask(self.newest.0) {
            let op = Op::Allocate { path: &path, len };
            self.ops.submit(&mut self.disk, Task::AllocateIndex, op);
        }
    }

    pub(super) fn complete_index_room(&mut self, outcome: Result<Done, Fault>) {
        match outcome {
            Ok(done) => {
                self.index.opened(&mut self.disk, file_of(done));
                self.catch_up();
            }
            Err(ref fault) => self.index.failed(fault.clone()),
        }
        self.tell_room(outcome);
    }

    fn catch_up(&mut self) {
        let _lacks_file = self.index.catch_up(&mut self.disk, &self.log, CATCH_UP);
    }

    /// Are there records that [`tend_index`](Self::tend_index) would index, though nothing else has
    /// happened?
    pub fn is_catching_up(&self) -> bool {
        self.index.can_catch_up()
    }

    /// The records that have a key, as far as their hashes tell: somebody else's may be among them.
    /// Newest first, as far as `found` takes them: it says whether it has enough. Each is told
    /// once for each key of that hash. Positions below [`start`](Self::start) are not told.
    pub fn query(&self, query: &Query<'_>, mut found: impl FnMut(Physical) -> bool) {
        let hash = index::hash(query.topic, query.kind, query.key.as_bytes());
        let within = (query.begin, query.end);
        let start = self.start();
        self.index
            .query(&self.disk, &self.log, hash, within, LOOK_THROUGH, |at| at < start || found(at));
    }

    /// Every key of the records below is in an index file.
    pub fn indexed_upto(&self) -> Physical {
        self.index.upto(self.written().end())
    }

    /// The newest record that is indexed: when it was stored, where it lies.
    pub fn indexed(&self) -> (Wall, Physical) {
        self.index.newest()
    }

    /// Starts to delete the index files that speak only of records which the log no longer has.
    pub fn expire_index(&mut self) {
        for file in self.index.expire(self.start()) {
            self.ops.submit(&mut self.disk, Task::Delete, Op::Delete { file });
        }
    }
}
