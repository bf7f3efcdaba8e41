//! The store: log, queues, index and checkpoint as one machine over a [`Disk`].
//!
//! | call | what happens |
//! |---|---|
//! | [`Store::open`] | recovery; afterwards everything readable is durable |
//! | [`Store::append`] | in one turn: a record in the log's memory, its unit, its keys |
//! | [`Store::query`] | records by key |
//! | [`Store::sync`], [`Store::sync_queues`], [`Store::save`] | operations started |
//! | [`Store::delete_oldest_log_file`] | the log's beginning moves, queues follow |
//! | [`Store::poll`] | their outcomes, as [`StoreEvent`]s |
//! | [`Store::close`] | everything durable, the `abort` file gone |
//!
//! Nothing here waits: what is not possible now is [`AppendError::NotReady`], and
//! [`StoreEvent::RoomReady`] says when to try again.

mod append;
mod assign;
mod durable;
mod index;
mod read;
mod receive;
mod remnants;
mod retire;
mod verify;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::checkpoint::Checkpoint;
use crate::commit_log::CommitLog;
use crate::index::Index;
use crate::position::{Committed, Flushed, Physical, Written};
use crate::queue::{Kind, Queue, Side};
use crate::queues::Queues;
use crate::recover::{OpenError, Opened, Watch, recover};
use crate::seam::{Disk, DiskUse, Done, Fault, FileId, Op, Token};
use crate::settings::Settings;
use crate::text::Text;
use crate::time::Wall;

pub use append::{AppendError, Appended};
pub use durable::{LoadError, Loaded, load};
pub use index::Query;
pub use read::{Boundary, QueueView};
pub use receive::{Owner, ReceiveError};
pub use retire::{Kept, LogFile};
pub use verify::Divergence;

/// What the store has to say when it is polled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreEvent {
    /// A file of a queue could not be deleted: [`Store::follow_log_start`] tries again. One of a
    /// deleted queue that is still there at the next start comes back.
    DeleteFailed(Fault),
    /// What [`Store::delete_oldest_log_file`] started is over. After a failure the file may still
    /// be there; [`Store::follow_log_start`] tries again.
    LogFileDeleted {
        /// The file's first byte.
        start: Physical,
        /// How it went.
        outcome: Result<(), Fault>,
    },
    /// How full the disk is, or why that cannot be said.
    Measured(Result<DiskUse, Fault>),
    /// A spent file of a queue is gone: there may be more.
    QueueFileDeleted,
    /// What [`Store::sync_queues`] started is over: queues and checkpoint are durable, or not.
    /// After a failure the checkpoint stays where it is until a restart.
    QueuesSynced(Result<(), Fault>),
    /// A file could not be allocated. Parked sends should be tried once more: they are answered
    /// with the fault if they found no room at all, and ask for the file again; for everything
    /// else there is [`Store::retry_room`].
    RoomFailed(Fault),
    /// A file is there: parked sends may be tried again.
    RoomReady,
    /// What [`Store::save`] started is over.
    Saved {
        /// Its path.
        path: &'static str,
        /// How it went.
        outcome: Result<(), Fault>,
    },
    /// What [`Store::sync`] started is over. A failure is final: no later sync of this process
    /// can prove anything, and each fails at once.
    Synced(Result<Flushed, Fault>),
}

/// What a submitted operation was for.
#[derive(Clone, Debug)]
enum Task {
    AllocateIndex,
    AllocateLog,
    AllocateQueue {
        topic: Text,
        id: i32,
        life: u64,
        side: Side,
        path: String,
    },
    Checkpoint,
    /// The first of what is left of a queue that was deleted.
    Clear {
        topic: Text,
        id: i32,
    },
    Delete,
    Measure,
    Retire,
    Save(&'static str),
    SyncLog,
    /// A part of a queue, or of an index file.
    SyncQueue,
    /// The checkpoint, without its word on records' CRCs.
    Uncheck,
}

/// Operations under way.
#[derive(Debug, Default)]
struct Ops {
    last: u64,
    running: BTreeMap<Token, Task>,
}

impl Ops {
    fn submit<D: Disk>(&mut self, disk: &mut D, task: Task, op: Op<'_>) {
        self.last += 1;
        let token = Token(self.last);
        self.running.insert(token, task);
        disk.submit(token, op);
    }
}

/// A store that serves.
#[derive(Debug)]
pub struct Store<D: Disk> {
    disk: D,
    settings: Settings,
    log: CommitLog,
    queues: Queues,
    index: Index,
    /// Topics whose queues hold inner batches.
    batch_topics: BTreeSet<String>,
    ops: Ops,
    events: VecDeque<StoreEvent>,
    flushed: Flushed,
    checkpoint: Checkpoint,
    /// The newest record's store time and beginning.
    newest: (Wall, Physical),
    log_sync: Option<durable::LogSync>,
    queue_sync: Option<durable::QueueSync>,
    /// The first sync that failed: from then on nothing is claimed to be durable.
    broken: Option<Fault>,
    leaving: Option<retire::Leaving>,
    following: Option<retire::Following>,
    remnants: remnants::All,
    /// What the checkpoint says of records' CRCs is being taken back.
    taking_back: receive::TakingBack,
    /// A record that was received, while it is taken in.
    scratch: Vec<u8>,
    /// Somebody waits for a commit.
    pressed: bool,
}

impl<D: Disk> Store<D> {
    /// Opens what lies on `disk`, repairing it if the process before died. `is_batch` says which
    /// topics have queues of inner batches (attribute `queue.type=BatchCQ`).
    pub fn open(
        disk: D,
        settings: Settings,
        is_batch: impl Fn(&str) -> bool,
    ) -> Result<(Self, Opened), OpenError> {
        Self::open_watched(disk, settings, is_batch, &mut ())
    }

    /// The same, telling `watch` how far it has come.
    pub fn open_watched(
        mut disk: D,
        settings: Settings,
        is_batch: impl Fn(&str) -> bool,
        watch: &mut dyn Watch,
    ) -> Result<(Self, Opened), OpenError> {
        let found = recover(&mut disk, &settings, &is_batch, watch)?;
        let topics = found.queues.iter().map(|(topic, ..)| topic);
        let batch_topics = topics.filter(|topic| is_batch(topic)).map(str::to_owned).collect();
        let flushed = Flushed::upto(found.log.written().end());
        let confirm = u64::try_from(found.checkpoint.confirm).unwrap_or_default();
        let mut store = Self {
            disk,
            settings,
            log: found.log,
            queues: found.queues,
            index: found.index,
            batch_topics,
            ops: Ops::default(),
            events: VecDeque::new(),
            flushed,
            checkpoint: found.checkpoint,
            newest: (found.last_store_time, Physical::new(confirm)),
            log_sync: None,
            queue_sync: None,
            broken: None,
            leaving: None,
            following: None,
            remnants: remnants::All::default(),
            taking_back: receive::TakingBack::Done,
            scratch: Vec::new(),
            pressed: false,
        };
        if let Some(most) = store.settings.staged {
            store.log.pool(most);
        }
        Ok((store, found.opened))
    }

    /// Has the topic no queues of the other kind?
    pub fn may_declare(&self, topic: &str, is_batch: bool) -> bool {
        let kind = if is_batch { Kind::Batch } else { Kind::Simple };
        self.queues.of(topic).all(|queue| queue.kind == kind)
    }

    /// Queues of `topic` made from now on hold inner batches, or no longer.
    /// [`may_declare`](Self::may_declare) says whether they can.
    pub fn declare_batch(&mut self, topic: &str, is_batch: bool) {
        if is_batch {
            self.batch_topics.insert(topic.to_owned());
        } else {
            self.batch_topics.remove(topic);
        }
    }

    /// What has happened since. Poll until `None`.
    #[must_use]
    pub fn poll(&mut self) -> Option<StoreEvent> {
        while let Some((token, outcome)) = self.disk.poll() {
            self.complete(token, outcome);
        }
        self.events.pop_front()
    }

    fn complete(&mut self, token: Token, outcome: Result<Done, Fault>) {
        let task = self.ops.running.remove(&token).expect("a completion answers a submission");
        match task {
            Task::AllocateIndex => self.complete_index_room(outcome),
            Task::AllocateLog => {
                match outcome {
                    Ok(done) => self.log.chain.opened(file_of(done)),
                    Err(ref fault) => self.log.chain.failed(fault.clone()),
                }
                self.tell_room(outcome);
            }
            Task::AllocateQueue { topic, id, life, side, path } => {
                self.complete_queue_room((&topic, id), life, side, (path, outcome));
            }
            Task::Clear { topic, id } => self.cleared(&topic, id, outcome.map(drop)),
            Task::Checkpoint => self.checkpoint_written(outcome.map(drop)),
            Task::Delete => {
                if let Err(fault) = outcome {
                    self.events.push_back(StoreEvent::DeleteFailed(fault));
                }
            }
            Task::Measure => {
                self.events.push_back(StoreEvent::Measured(outcome.map(use_of)));
            }
            Task::Retire => self.retired(&outcome.map(drop)),
            Task::Save(path) => {
                let outcome = outcome.map(drop);
                self.events.push_back(StoreEvent::Saved { path, outcome });
            }
            Task::SyncLog => self.log_synced(outcome.map(drop)),
            Task::SyncQueue => self.queue_synced(outcome.map(drop)),
            Task::Uncheck => self.unchecked(outcome),
        }
    }

    fn complete_queue_room(
        &mut self,
        (topic, id): (&Text, i32),
        life: u64,
        side: Side,
        (path, outcome): (String, Result<Done, Fault>),
    ) {
        let queue = self.queues.get_mut(topic, id).filter(|queue| queue.life == life);
        let Some(queue) = queue else {
            // The queue was deleted while its file was being made.
            self.made_for_nobody(topic, id, path, outcome.ok().map(file_of));
            return;
        };
        let chain = queue.chain_mut(side).expect("it was asked for a file");
        match outcome {
            Ok(done) => {
                chain.opened(file_of(done));
                queue.drain(&mut self.disk);
                self.tell_room(Ok(done));
                // What waited for this file may wait for one of the other side now.
                self.ask_ahead(topic, id);
            }
            Err(fault) => {
                chain.failed(fault.clone());
                self.tell_room(Err(fault));
            }
        }
    }

    fn tell_room(&mut self, outcome: Result<Done, Fault>) {
        self.events.push_back(match outcome {
            Ok(_) => StoreEvent::RoomReady,
            Err(fault) => StoreEvent::RoomFailed(fault),
        });
    }

    fn ask_log_room(&mut self) {
        if let Some(path) = self.log.chain.ask() {
            let op = Op::Allocate { path: &path, len: self.log.chain.file_len() };
            self.ops.submit(&mut self.disk, Task::AllocateLog, op);
        }
    }

    fn ask_queue_file(&mut self, topic: &str, id: i32, side: Side) {
        let Some(queue) = self.queues.get_mut(topic, id) else { return };
        let Some(chain) = queue.chain_mut(side) else { return };
        if chain.ask().is_none() {
            return;
        }
        if self.is_blocked(topic, id) {
            self.clear(topic, id);
        } else {
            self.allocate_queue_file(topic, id, side);
        }
    }

    /// Has the file made that was asked for.
    fn allocate_queue_file(&mut self, topic: &str, id: i32, side: Side) {
        let Some(queue) = self.queues.get(topic, id) else { return };
        let Some(chain) = queue.chain(side) else { return };
        let (path, len) = (chain.path(chain.room_end()), chain.file_len());
        let (topic, life) = (topic.into(), queue.life);
        let task = Task::AllocateQueue { topic, id, life, side, path: path.clone() };
        self.ops.submit(&mut self.disk, task, Op::Allocate { path: &path, len });
    }

    /// Asks again for the files that could not be allocated and are still wanted: the log's, those
    /// of queues whose units wait, the index's. Appends do so only when they find no room at all,
    /// so call this some time after a [`StoreEvent::RoomFailed`]. `true` if there was something to
    /// ask for; an event follows then.
    pub fn retry_room(&mut self) -> bool {
        let mut asked = false;
        if self.log.chain.has_failed() && self.log.wants_room() {
            self.ask_log_room();
            asked = true;
        }
        let wants = |queue: &Queue, side| queue.has_failed(side) && queue.wants_room(side);
        let queues = self.queues.iter().flat_map(|of| Side::ALL.map(|side| (of, side)));
        let failed = queues.filter(|((.., queue), side)| wants(queue, *side));
        let failed: Vec<_> =
            failed.map(|((topic, id, _), side)| (Text::from(topic), id, side)).collect();
        for (topic, id, side) in &failed {
            self.ask_queue_file(topic, *id, *side);
        }
        if self.index.has_failed() && self.index.wants_room() {
            self.ask_index_file();
            asked = true;
        }
        asked || !failed.is_empty()
    }

    /// Forgets a queue and deletes its files.
    pub fn delete_queue(&mut self, topic: &str, queue_id: i32) {
        let is_blocked = self.is_blocked(topic, queue_id);
        if let Some(queue) = self.queues.remove(topic, queue_id) {
            self.leave_behind(topic, queue_id, queue, is_blocked);
        }
    }

    /// Forgets every queue of a topic and deletes their files. The records stay in the log.
    pub fn delete_topic(&mut self, topic: &str) {
        for id in self.queues.ids(topic) {
            self.delete_queue(topic, id);
        }
    }

    /// Starts to measure how full the file system is that holds `dir`, relative to the root.
    /// [`StoreEvent::Measured`] ends it.
    pub fn measure(&mut self, dir: &str) {
        self.ops.submit(&mut self.disk, Task::Measure, Op::Measure { dir });
    }

    /// Where the log begins: its oldest file.
    pub fn start(&self) -> Physical {
        self.log.start()
    }

    /// Where the log ends.
    pub fn written(&self) -> Written {
        self.log.written()
    }

    /// Up to where records are in their files.
    pub fn committed(&self) -> Committed {
        self.log.committed()
    }

    /// Moves what is staged into files, where a kill does not take it.
    pub fn commit(&mut self) {
        self.log.commit(&mut self.disk);
        if std::mem::take(&mut self.pressed) {
            self.events.push_back(StoreEvent::RoomReady);
        }
    }

    /// A turn is over: what it appended goes to files in one write, unless there is a pool. Nothing
    /// of it may be answered, shown or synced before.
    pub fn end_turn(&mut self) {
        self.log.end_turn(&mut self.disk);
    }

    /// Does an append wait for a commit?
    pub fn is_pressed(&self) -> bool {
        self.pressed
    }

    /// What the store knows to be on the medium.
    pub fn flushed(&self) -> Flushed {
        self.flushed
    }

    /// When the newest record was stored.
    pub fn newest(&self) -> Wall {
        self.newest.0
    }

    /// What this store was opened with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The disk below.
    pub fn disk(&self) -> &D {
        &self.disk
    }

    /// The disk below, for what is not the store's.
    pub fn disk_mut(&mut self) -> &mut D {
        &mut self.disk
    }

    /// The disk, back from a store that is no longer used.
    pub fn into_disk(self) -> D {
        self.disk
    }
}

fn file_of(done: Done) -> FileId {
    match done {
        Done::Opened { file, .. } => file,
        Done::Finished | Done::Measured(_) => {
            panic!("an allocation yields an open file, says its contract")
        }
    }
}

fn use_of(done: Done) -> DiskUse {
    match done {
        Done::Measured(found) => found,
        Done::Finished | Done::Opened { .. } => panic!("a measure yields a use, says its contract"),
    }
}
