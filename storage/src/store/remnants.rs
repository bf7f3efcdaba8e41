//! What is left of queues that were deleted: their files go one by one, and a new queue of the name
//! gets no file before the last is gone.
//!
//! ```text
//!  deleted:  | file | file | (being made)     one at a time, oldest first
//!  its successor's:                 | file |  a chain with a hole would not open
//! ```
//!
//! A deletion may fail, or the process may die: what is left then is a queue that opens, and that
//! ends earlier or begins later than it did. With a file of its successor among them it would have
//! a hole, or units of both. So the successor's units wait in memory, as for any file that is being
//! made, and a deletion that fails is for them an allocation that fails.

use std::collections::{BTreeMap, VecDeque};

use super::{Store, StoreEvent, Task};
use crate::chain::Ahead;
use crate::queue::{Queue, Side};
use crate::seam::{Disk, Fault, FileId, Op, each};
use crate::text::Text;

/// What is left of deleted queues, by topic and id.
pub(super) type All = BTreeMap<(Text, i32), Remnants>;

/// A file that is to go; its handle, if it is open.
type Remnant = (String, Option<FileId>);

/// What is left of the deleted queues of one name.
#[derive(Debug, Default)]
pub(super) struct Remnants {
    files: VecDeque<Remnant>,
    /// The first of them is being deleted.
    is_running: bool,
    /// Files that are being made, for nobody.
    made: usize,
}

impl Remnants {
    fn is_over(&self) -> bool {
        self.files.is_empty() && self.made == 0
    }
}

/// How it goes. By its name, if an attempt failed that took the handle.
fn deletion<'a>(path: &'a str, file: &mut Option<FileId>) -> Op<'a> {
    match file.take() {
        Some(file) => Op::Delete { file },
        None => Op::Remove { path },
    }
}

impl<D: Disk> Store<D> {
    /// Must a queue wait for the files of another that had its name?
    pub(super) fn is_blocked(&self, topic: &str, id: i32) -> bool {
        self.remnants.contains_key(&(topic.into(), id)) || self.is_leaving(topic, id)
    }

    /// A queue was deleted, and its files are to follow. `was_blocked`: it waited for those of
    /// another itself, so that what it asked for is not being made.
    pub(super) fn leave_behind(&mut self, topic: &str, id: i32, queue: Queue, was_blocked: bool) {
        let is_made = |side: &Side| {
            let chain = queue.chain(*side);
            !was_blocked && chain.is_some_and(|chain| *chain.ahead() == Ahead::Asked)
        };
        let made = Side::ALL.iter().filter(|side| is_made(side)).count();
        let left = self.take_left(topic, id).map(|path| (path, None));
        let files = queue.into_files().map(|(path, file)| (path, Some(file)));
        let remnants = self.remnants.entry((topic.into(), id)).or_default();
        remnants.made += made;
        remnants.files.extend(left.into_iter().chain(files));
        self.clear(topic, id);
    }

    /// A file was made, or could not be, for a queue that was deleted meanwhile.
    pub(super) fn made_for_nobody(
        &mut self,
        topic: &str,
        id: i32,
        path: String,
        file: Option<FileId>,
    ) {
        let remnants = self.remnants.entry((topic.into(), id)).or_default();
        remnants.made = remnants.made.saturating_sub(1);
        remnants.files.extend(file.map(|file| (path, Some(file))));
        self.clear(topic, id);
    }

    /// The deletion of a spent file is over whose queue was deleted meanwhile; this one could not
    /// be deleted.
    pub(super) fn left(&mut self, topic: &str, id: i32, path: Option<String>) {
        let remnants = self.remnants.entry((topic.into(), id)).or_default();
        let first = usize::from(remnants.is_running);
        if let Some(path) = path {
            remnants.files.insert(first, (path, None));
        }
        self.clear(topic, id);
    }

    /// Starts to delete the first file that is left, unless that is under way.
    pub(super) fn clear(&mut self, topic: &str, id: i32) {
        let key = (Text::from(topic), id);
        let Some(remnants) = self.remnants.get_mut(&key) else { return };
        if remnants.is_over() {
            self.remnants.remove(&key);
            self.begin_again(topic, id);
            return;
        }
        if remnants.is_running {
            return;
        }
        let Some((path, file)) = remnants.files.front_mut() else { return };
        let op = deletion(path, file);
        remnants.is_running = true;
        self.ops.submit(&mut self.disk, Task::Clear { topic: key.0, id }, op);
    }

    /// Tries once more what could not be deleted.
    pub(super) fn clear_all(&mut self) {
        for (topic, id) in self.remnants.keys().cloned().collect::<Vec<_>>() {
            self.clear(&topic, id);
        }
    }

    /// Deletes all of it on the spot, as far as that can be done. Nothing else is under way: stop
    /// only.
    pub(super) fn clear_now(&mut self) -> Result<(), Fault> {
        let (disk, all) = (&mut self.disk, &mut self.remnants);
        let cleared = each(all.values_mut(), |remnants| {
            assert!(!remnants.is_running && remnants.made == 0, "nothing is under way");
            while let Some((path, file)) = remnants.files.front_mut() {
                disk.perform(deletion(path, file))?;
                remnants.files.pop_front();
            }
            Ok(())
        });
        all.retain(|_, remnants| !remnants.is_over());
        cleared
    }

    pub(super) fn cleared(&mut self, topic: &str, id: i32, outcome: Result<(), Fault>) {
        let key = (Text::from(topic), id);
        let remnants = self.remnants.get_mut(&key).expect("its deletion was under way");
        remnants.is_running = false;
        match outcome {
            Ok(()) => {
                remnants.files.pop_front();
                self.clear(topic, id);
            }
            Err(fault) => {
                self.events.push_back(StoreEvent::DeleteFailed(fault.clone()));
                self.fail_room(topic, id, &fault);
            }
        }
    }

    /// The queue that has waited gets the files that it asked for.
    fn begin_again(&mut self, topic: &str, id: i32) {
        if self.is_blocked(topic, id) {
            return;
        }
        for side in Side::ALL {
            if self.has_asked(topic, id, side) {
                self.allocate_queue_file(topic, id, side);
            }
        }
    }

    /// ... or hears why not.
    fn fail_room(&mut self, topic: &str, id: i32, fault: &Fault) {
        for side in Side::ALL {
            if !self.has_asked(topic, id, side) {
                continue;
            }
            let queue = self.queues.get_mut(topic, id);
            if let Some(chain) = queue.and_then(|queue| queue.chain_mut(side)) {
                chain.failed(fault.clone());
                self.tell_room(Err(fault.clone()));
            }
        }
    }

    fn has_asked(&self, topic: &str, id: i32, side: Side) -> bool {
        let chain = self.queues.get(topic, id).and_then(|queue| queue.chain(side));
        chain.is_some_and(|chain| *chain.ahead() == Ahead::Asked)
    }
}
