//! What makes things durable: syncs, the checkpoint, state files, the orderly stop.

use std::collections::VecDeque;

use super::{Store, StoreEvent, Task};
use crate::checkpoint;
use crate::position::{Committed, Flushed, Physical};
use crate::queue::Side;
use crate::recover::ABORT;
use crate::seam::{Disk, Fault, FileId, Op, each, sync_each};
use crate::text::Text;
use crate::time::Wall;

/// Syncs begin at page boundaries, in bytes: that is what the medium writes.
pub(super) const PAGE: u64 = 4096;

/// A sync of the log, under way.
#[derive(Debug)]
pub(super) struct LogSync {
    upto: Committed,
    parts: usize,
    failed: Option<Fault>,
}

/// A sync of the queues, under way: one part at a time. The disk works in order, and a sync of
/// the log, for which senders wait, must not stand behind one of every queue there is. It goes on
/// behind a part that failed, as [`sync_each`] does, and for the same reason.
#[derive(Debug)]
pub(super) struct QueueSync {
    /// What is not done, extensions before the units that point at them.
    todo: VecDeque<Dirty>,
    /// Why the first part failed that did. Nothing is claimed any more.
    failed: Option<Fault>,
    /// Parts of index files that are not submitted.
    index: VecDeque<(FileId, u64, u64)>,
    /// What of the index is durable when all is done.
    indexed: Indexed,
    /// The store closes: no further part, and nothing is claimed.
    is_abandoned: bool,
    /// Every unit of the records below was in a file by then.
    queued: Physical,
    /// The store time of the last of them.
    logics: Wall,
    /// Where the queues ended then.
    ends: Option<u64>,
}

/// One side of a queue: what was tried lies below `upto`, and the side ended at `end` when the sync
/// began.
#[derive(Debug)]
struct Dirty {
    topic: Text,
    id: i32,
    life: u64,
    side: Side,
    upto: u64,
    end: u64,
}

/// The index, as far as a sync of it reaches.
#[derive(Debug, Default)]
struct Indexed {
    /// The items of each file.
    counts: Vec<(FileId, u32)>,
    upto: Physical,
    last_item: Option<Physical>,
    full_until: Option<Wall>,
}

/// A state file, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// Neither the file nor its backup exists.
    Absent,
    /// The file as last saved.
    Fresh(Vec<u8>),
    /// The file is absent or damaged; this is the version before.
    FromBackup(Vec<u8>),
}

/// Why a state file could not be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The file is damaged and no good backup exists.
    #[error("{path} is damaged and {path}.bak does not help: restore one of them, or remove both")]
    Damaged {
        /// Which.
        path: String,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] Fault),
}

/// Loads a state file from `disk`, falling back to its backup. `is_valid` judges content; an
/// empty file is a damaged one: nobody writes that, and to start empty would be to forget.
/// Usable before a store is open.
pub fn load<D: Disk>(
    disk: &mut D,
    path: &str,
    is_valid: impl Fn(&[u8]) -> bool,
) -> Result<Loaded, LoadError> {
    let fresh = disk.read(path)?;
    let is_damaged = match fresh {
        Some(bytes) if !bytes.is_empty() && is_valid(&bytes) => return Ok(Loaded::Fresh(bytes)),
        fresh => fresh.is_some(),
    };
    match disk.read(&format!("{path}.bak"))? {
        Some(bytes) if !bytes.is_empty() && is_valid(&bytes) => Ok(Loaded::FromBackup(bytes)),
        None if !is_damaged => Ok(Loaded::Absent),
        _ => Err(LoadError::Damaged { path: path.to_owned() }),
    }
}

impl<D: Disk> Store<D> {
    /// Starts to make the log durable from `from` up to `upto`. [`StoreEvent::Synced`] ends it.
    ///
    /// Panics if a sync runs, or if `upto` is not in files: at most one sync is in flight.
    pub fn sync(&mut self, from: Physical, upto: Committed) {
        assert!(self.log_sync.is_none(), "at most one sync is in flight");
        assert!(upto <= self.committed(), "only what is in files is made durable");
        let from = from.get() - from.get() % PAGE;
        let parts: Vec<_> = self.log.chain.parts(from, upto.end().get()).collect();
        let parts = if self.broken.is_some() { Vec::new() } else { parts };
        let failed = self.broken.clone();
        self.log_sync = Some(LogSync { upto, parts: parts.len(), failed });
        for &(file, from, to) in &parts {
            self.ops.submit(&mut self.disk, Task::SyncLog, Op::Sync { file, from, to });
        }
        self.finish_log_sync();
    }

    pub(super) fn log_synced(&mut self, outcome: Result<(), Fault>) {
        let sync = self.log_sync.as_mut().expect("a part belongs to a sync");
        sync.parts -= 1;
        if let Err(fault) = outcome {
            sync.failed.get_or_insert(fault);
        }
        self.finish_log_sync();
    }

    fn finish_log_sync(&mut self) {
        let Some(sync) = self.log_sync.take_if(|sync| sync.parts == 0) else { return };
        let outcome = if let Some(fault) = sync.failed {
            self.broken.get_or_insert(fault.clone());
            Err(fault)
        } else {
            self.flushed = self.flushed.max(Flushed::upto(sync.upto.end()));
            if sync.upto.end() == self.written().end() {
                self.checkpoint.physic = self.newest.0;
            }
            Ok(Flushed::upto(sync.upto.end()))
        };
        self.events.push_back(StoreEvent::Synced(outcome));
    }

    /// Starts to make the queues durable, then moves the checkpoint.
    /// [`StoreEvent::QueuesSynced`] ends it. Does nothing while the last one still runs.
    pub fn sync_queues(&mut self) {
        if self.queue_sync.is_some() {
            return;
        }
        if let Some(fault) = self.broken.clone() {
            self.events.push_back(StoreEvent::QueuesSynced(Err(fault)));
            return;
        }
        let waiting = self.queues.iter().filter_map(|(_, _, queue)| queue.pending_from()).min();
        let (queued, logics) = match waiting {
            Some(at) => (at, self.checkpoint.logics),
            None => (self.written().end(), self.newest.0),
        };
        let sides = self.queues.iter().flat_map(|of| Side::ALL.map(|side| (of, side)));
        let dirty = sides.filter(|((.., queue), side)| queue.is_dirty(*side));
        let todo = dirty.map(|((topic, id, queue), side)| {
            let (topic, life, end) = (topic.into(), queue.life, queue.end(side));
            Dirty { topic, id, life, side, upto: 0, end }
        });
        self.queue_sync = Some(QueueSync {
            todo: todo.collect(),
            failed: None,
            index: self.index.unsynced().collect(),
            indexed: self.indexed_now(),
            is_abandoned: false,
            queued,
            logics,
            ends: self.queues.ends(),
        });
        self.sync_next_part();
    }

    fn indexed_now(&self) -> Indexed {
        let upto = self.index.upto(self.written().end());
        Indexed {
            counts: self.index.counts(),
            upto,
            last_item: self.index.last_item(&self.disk, upto),
            full_until: self.index.full_until(),
        }
    }

    /// Submits the next part, or what ends the sync. Queues and index files that were deleted
    /// meanwhile have nothing to be made durable.
    fn sync_next_part(&mut self) {
        let sync = self.queue_sync.as_mut().expect("a sync of the queues runs");
        while let Some(Dirty { topic, id, life, side, upto, end }) = sync.todo.front_mut() {
            let queue = self.queues.get(topic, *id).filter(|queue| queue.life == *life);
            let part = queue.and_then(|queue| queue.next_unsynced(*side, *upto, *end));
            if let Some(((file, from, to), behind)) = part {
                *upto = behind;
                self.ops.submit(&mut self.disk, Task::SyncQueue, Op::Sync { file, from, to });
                return;
            }
            sync.todo.pop_front();
        }
        while let Some((file, from, to)) = sync.index.pop_front() {
            if self.index.has(file) {
                self.ops.submit(&mut self.disk, Task::SyncQueue, Op::Sync { file, from, to });
                return;
            }
        }
        if let Some(fault) = sync.failed.take() {
            self.queue_sync = None;
            self.events.push_back(StoreEvent::QueuesSynced(Err(fault)));
            return;
        }
        let (queued, logics, ends) = (sync.queued, sync.logics, sync.ends);
        let indexed = std::mem::take(&mut sync.indexed);
        self.move_checkpoint((queued, ends), logics, &indexed);
        let bytes = &self.checkpoint.encode();
        let op = Op::Replace { path: checkpoint::PATH, bytes };
        self.ops.submit(&mut self.disk, Task::Checkpoint, op);
    }

    pub(super) fn queue_synced(&mut self, outcome: Result<(), Fault>) {
        let sync = self.queue_sync.as_mut().expect("a part belongs to a sync");
        if let Err(fault) = outcome {
            self.broken.get_or_insert(fault.clone());
            sync.failed.get_or_insert(fault);
        }
        // Parts of the index come behind those of the queues.
        if sync.failed.is_none()
            && let Some(Dirty { topic, id, life, side, upto, .. }) = sync.todo.front()
            && let Some(queue) = self.queues.get_mut(topic, *id)
            && queue.life == *life
        {
            queue.set_synced(*side, *upto);
        }
        if sync.is_abandoned {
            self.queue_sync = None;
        } else {
            self.sync_next_part();
        }
    }

    fn move_checkpoint(
        &mut self,
        (queued, ends): (Physical, Option<u64>),
        logics: Wall,
        indexed: &Indexed,
    ) {
        let flushed = self.flushed.end();
        self.checkpoint.logics = logics;
        let before = self.checkpoint.durable.unwrap_or_default();
        let mut durable = checkpoint::Durable { flushed, queued, ends, ..before };
        if self.index.is_enabled() {
            self.index.set_synced(&indexed.counts);
            (durable.indexed, durable.last_item) = (indexed.upto, indexed.last_item);
            self.checkpoint.index = indexed.full_until.unwrap_or_default();
        }
        self.checkpoint.durable = Some(durable);
        if flushed == self.written().end() {
            self.checkpoint.physic = self.newest.0;
            self.checkpoint.confirm = i64::try_from(self.newest.1.get()).unwrap_or(i64::MAX);
        }
    }

    pub(super) fn checkpoint_written(&mut self, outcome: Result<(), Fault>) {
        self.queue_sync = None;
        self.events.push_back(StoreEvent::QueuesSynced(outcome));
    }

    /// Starts to replace a state file. [`StoreEvent::Saved`] ends it.
    pub fn save(&mut self, path: &'static str, bytes: &[u8]) {
        self.ops.submit(&mut self.disk, Task::Save(path), Op::Replace { path, bytes });
    }

    /// [`load`] from this store's disk.
    pub fn load(
        &mut self,
        path: &str,
        is_valid: impl Fn(&[u8]) -> bool,
    ) -> Result<Loaded, LoadError> {
        load(&mut self.disk, path, is_valid)
    }

    /// The orderly stop: everything durable, the checkpoint at the end, the `abort` file gone.
    /// If it fails, the next start recovers as after a crash. The store serves no longer.
    pub fn close(&mut self) -> Result<(), Fault> {
        if let Some(sync) = self.queue_sync.as_mut() {
            sync.is_abandoned = true;
        }
        self.forget_unfinished();
        self.log.commit(&mut self.disk);
        self.settle()?;
        if let Some(fault) = &self.broken {
            return Err(fault.clone());
        }
        let (from, end) = (self.flushed.end().get(), self.written().end());
        let parts = self.log.chain.parts(from - from % PAGE, end.get());
        let log = sync_each(&mut self.disk, parts);
        // Units that waited for the files of a deleted queue get theirs when those are gone.
        let left = self.clear_now();
        let is_free = |topic: &str, id| !self.remnants.contains_key(&(topic.into(), id));
        let free = self.queues.iter_mut().filter(|(topic, id, _)| is_free(topic, *id));
        let queues = each(free, |(.., queue)| queue.finish(&mut self.disk));
        log.and(left).and(queues).and(self.index.finish(&mut self.disk, &self.log))?;
        self.flushed = Flushed::upto(end);
        let indexed = self.indexed_now();
        self.move_checkpoint((end, self.queues.ends()), self.newest.0, &indexed);
        let bytes = &self.checkpoint.encode();
        self.disk.perform(Op::Replace { path: checkpoint::PATH, bytes })?;
        self.disk.perform(Op::Remove { path: ABORT })?;
        Ok(())
    }

    /// Waits for what is under way: an operation performed ends behind all submitted before, and
    /// writing the checkpoint as it stands harms nothing. Completions may start new operations,
    /// a few rounds of them.
    fn settle(&mut self) -> Result<(), Fault> {
        while !self.ops.running.is_empty() {
            let bytes = &self.checkpoint.encode();
            self.disk.perform(Op::Replace { path: checkpoint::PATH, bytes })?;
            while let Some((token, outcome)) = self.disk.poll() {
                self.complete(token, outcome);
            }
        }
        Ok(())
    }
}
