//! Retirement: the log's oldest file goes, and what points into it follows (store.md 6.8).
//!
//! ```text
//!  1. delete_oldest_log_file   the file leaves the log; it is deleted, its directory synced
//!  2. follow_log_start         each queue: minimum corrected, spent files deleted one by one;
//!                              at last index files that speak only of what is gone
//! ```
//!
//! **Order.** One file at a time, oldest first, each deletion durable before the next begins: a
//! chain with a hole would not open. The log's file before any queue's: a unit that points below
//! the log is an ordinary thing, a record without its unit is not. A crash in between leaves
//! queues with spent files, which the next round deletes.
//!
//! **What goes** is neither the file in use nor the last with records, and everything of it is on
//! the medium, *its queue units included*. Without the record a unit that is lost cannot be
//! computed again: the queue's maximum would fall back, and its offsets be given out twice.
//!
//! **Readers.** A lease keeps its bytes mapped for as long as it lives. Whoever holds a position
//! instead must look again: below [`Store::start`] there is nothing to view or lease any more.

use super::{Store, StoreEvent, Task};
use crate::position::Physical;
use crate::seam::{Disk, Fault, Op};
use crate::store::durable::PAGE;
use crate::text::Text;

/// Why the oldest file of the log stays for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Kept {
    /// Another file is being deleted, or could not be.
    #[error("another file is being deleted")]
    Busy,
    /// It is in use, or holds the newest records.
    #[error("it is the last one")]
    Last,
    /// Not all of it is on the medium, or not all units that point into it: sync the log and the
    /// queues first.
    #[error("it is not on the medium")]
    Unsynced,
}

/// The oldest file of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Its first byte.
    pub start: Physical,
    /// Behind its last byte.
    pub end: Physical,
}

/// A file that is being deleted, or could not be: until it is gone no other goes.
#[derive(Clone, Debug)]
pub(super) struct Leaving {
    path: String,
    of: Owner,
    is_running: bool,
}

/// Whose file it is.
#[derive(Clone, Debug)]
enum Owner {
    Log { start: Physical },
    Queue { topic: Text, id: i32, life: u64 },
}

/// Which queues have followed the log's beginning.
#[derive(Clone, Debug)]
pub(super) struct Following {
    /// The last one that did.
    done: Option<(Text, i32)>,
}

impl<D: Disk> Store<D> {
    /// The oldest file of the log, if others follow it.
    pub fn oldest_log_file(&self) -> Option<LogFile> {
        let chain = &self.log.chain;
        let (start, end) = (chain.start(), chain.start() + chain.file_len());
        let is_last = end >= self.log.written().end().get() || chain.count() < 2;
        (!is_last).then(|| LogFile { start: Physical::new(start), end: Physical::new(end) })
    }

    /// May the log's oldest file go?
    pub fn may_delete_oldest(&self) -> Result<LogFile, Kept> {
        if self.leaving.is_some() {
            return Err(Kept::Busy);
        }
        let oldest = self.oldest_log_file().ok_or(Kept::Last)?;
        let durable = self.checkpoint.durable.unwrap_or_default();
        // A sync under way began at a page's beginning.
        let flushed = self.flushed.end().get();
        let flushed = if self.is_syncing() { flushed / PAGE * PAGE } else { flushed };
        let is_safe = oldest.end.get() <= flushed && oldest.end <= durable.queued;
        if is_safe && self.broken.is_none() { Ok(oldest) } else { Err(Kept::Unsynced) }
    }

    /// Starts to delete the log's oldest file: from now on the log begins behind it, for every
    /// reader. [`StoreEvent::LogFileDeleted`] ends it.
    pub fn delete_oldest_log_file(&mut self) -> Result<LogFile, Kept> {
        let oldest = self.may_delete_oldest()?;
        let (path, file) = self.log.chain.take_first();
        let of = Owner::Log { start: oldest.start };
        self.leaving = Some(Leaving { path, of, is_running: true });
        self.ops.submit(&mut self.disk, Task::Retire, Op::Delete { file });
        Ok(oldest)
    }

    /// Begins to have every queue follow the log's beginning, and tries once more what could not
    /// be deleted. [`follow_some`](Self::follow_some) does the work.
    pub fn follow_log_start(&mut self) {
        self.following.get_or_insert(Following { done: None });
        self.clear_all();
        let Some(leaving) = self.leaving.as_mut().filter(|leaving| !leaving.is_running) else {
            return;
        };
        leaving.is_running = true;
        let op = Op::Remove { path: &leaving.path };
        self.ops.submit(&mut self.disk, Task::Retire, op);
    }

    /// Has up to `most` queues follow. `true`: there is more to do at once. A file being deleted
    /// makes the rest wait; call again after the next event.
    pub fn follow_some(&mut self, most: usize) -> bool {
        let log_start = self.start();
        for _ in 0..most {
            if self.leaving.is_some() {
                return false;
            }
            let Some(Following { done }) = &self.following else { return false };
            let after = done.as_ref().map(|(topic, id)| (&**topic, *id));
            let next = self.queues.key_after(after).map(|(topic, id)| (Text::from(topic), id));
            let Some((topic, id)) = next else {
                self.following = None;
                self.expire_index();
                return false;
            };
            let queue = self.queues.get_mut(&topic, id).expect("it was just found");
            queue.follow(&self.disk, log_start);
            let Some((path, file)) = queue.take_spent(&self.disk) else {
                self.following = Some(Following { done: Some((topic, id)) });
                continue;
            };
            // The same queue again when this file is gone.
            let of = Owner::Queue { topic, id, life: queue.life };
            self.leaving = Some(Leaving { path, of, is_running: true });
            self.ops.submit(&mut self.disk, Task::Retire, Op::Delete { file });
        }
        self.has_followers()
    }

    /// Has [`follow_some`](Self::follow_some) anything to do?
    pub fn has_followers(&self) -> bool {
        self.following.is_some() && self.leaving.is_none()
    }

    /// Is a file of a queue of this name, but of an earlier life, being deleted?
    pub(super) fn is_leaving(&self, topic: &str, id: i32) -> bool {
        let life = self.queues.get(topic, id).map(|queue| queue.life);
        self.leaving.as_ref().is_some_and(|leaving| match &leaving.of {
            Owner::Queue { topic: of, id: known, life: then } => {
                **of == *topic && *known == id && Some(*then) != life
            }
            Owner::Log { .. } => false,
        })
    }

    /// The queue was deleted. What could not be deleted of it before is left for others to delete.
    pub(super) fn take_left(&mut self, topic: &str, id: i32) -> Option<String> {
        let is_idle = self.leaving.as_ref().is_some_and(|leaving| !leaving.is_running);
        if is_idle && self.is_leaving(topic, id) {
            return self.leaving.take().map(|leaving| leaving.path);
        }
        None
    }

    pub(super) fn retired(&mut self, outcome: &Result<(), Fault>) {
        let leaving = self.leaving.as_mut().expect("its deletion was under way");
        leaving.is_running = false;
        let event = match (&leaving.of, outcome) {
            (Owner::Log { start }, _) => {
                StoreEvent::LogFileDeleted { start: *start, outcome: outcome.clone() }
            }
            (Owner::Queue { .. }, Err(fault)) => StoreEvent::DeleteFailed(fault.clone()),
            (Owner::Queue { .. }, Ok(())) => StoreEvent::QueueFileDeleted,
        };
        let owner = match &leaving.of {
            Owner::Queue { topic, id, .. } => Some((topic.clone(), *id)),
            Owner::Log { .. } => None,
        };
        let is_orphan = owner.as_ref().is_some_and(|(topic, id)| self.is_leaving(topic, *id));
        if let Some((topic, id)) = owner.filter(|_| is_orphan) {
            let path = self.leaving.take().map(|leaving| leaving.path);
            self.left(&topic, id, path.filter(|_| outcome.is_err()));
        }
        if outcome.is_ok() {
            self.leaving = None;
            self.following.get_or_insert(Following { done: None });
        }
        self.events.push_back(event);
    }
}
