//! What becomes of a copy of a log that cannot be continued as it is.
//!
//! ```text
//!  Cut:    | same | same | other bytes          the copy ends where the logs part
//!  Begin:  | old | old |        | master's ..   the copy begins where the master's log does now
//! ```
//!
//! What is taken out is kept aside, and of the newest partings only: see `aside`.
//!
//! This happens before a start and makes an ordinary one of it: a log that ends at a torn tail, or
//! one without a record. The promise goes first, durably, or a crash on the way would leave less
//! than was promised; a crash anywhere leaves a store that opens, and whose log is to be parted
//! again.

mod aside;

use self::aside::Aside;
pub use self::aside::{KeptAside, PARTINGS_KEPT};
use crate::chain::{Chain, open};
use crate::checkpoint::{self, Checkpoint, Durable};
use crate::position::Physical;
use crate::recover::{self, ABORT, ABORT_OURS, OpenError};
use crate::seam::{Disk, Op, sync_each};
use crate::settings::Settings;
use crate::time::Wall;

/// How a copy and its master's log part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// They are the same up to here, which is where a record ends; what lies behind is not the
    /// master's.
    Cut(Physical),
    /// Nothing of the copy is in the master's log any more, which begins here, with a file.
    Begin(Physical),
}

/// Takes out of a closed store's log what is not the master's, and says where that is kept; `None`
/// if nothing was there. Open the disk anew afterwards, and then the store.
pub fn part<D: Disk>(
    disk: &mut D,
    settings: &Settings,
    at: Parting,
) -> Result<Option<KeptAside>, OpenError> {
    let checkpoint = recover::checkpoint(disk)?;
    let mut chain = recover::log_files(disk, settings)?;
    let mut aside = Aside::look(disk)?;
    let end = match at {
        Parting::Cut(end) => end,
        Parting::Begin(_) => Physical::ZERO,
    };
    lower(disk, checkpoint, end)?;
    let content = format!("{}{ABORT_OURS}", settings.process);
    disk.perform(Op::Replace { path: ABORT, bytes: content.as_bytes() })?;
    match at {
        Parting::Cut(end) => {
            aside.copy(disk, &chain, end.get())?;
            aside.take(disk, &mut chain, Some(end.get()))?;
            clear(disk, &chain, end)?;
        }
        Parting::Begin(start) => {
            aside.take(disk, &mut chain, None)?;
            chain.restart(disk, start.get())?;
            let path = chain.path(start.get());
            open(disk, Op::Allocate { path: &path, len: chain.file_len() })?;
        }
    }
    Ok(aside.finish(disk)?)
}

/// Promises no more than what stays; of queues and index nothing that a look does not show.
fn lower<D: Disk>(disk: &mut D, before: Checkpoint, end: Physical) -> Result<(), OpenError> {
    let known = before.durable.unwrap_or_default();
    let durable = Durable {
        flushed: known.flushed.min(end),
        queued: known.queued.min(end),
        checked: known.checked,
        ..Durable::default()
    };
    let lowered = Checkpoint { durable: Some(durable), index: Wall::default(), ..before };
    disk.perform(Op::Replace { path: checkpoint::PATH, bytes: &lowered.encode() })?;
    Ok(())
}

/// Makes what lies behind `end` in its file unreadable, durably.
fn clear<D: Disk>(disk: &mut D, chain: &Chain, end: Physical) -> Result<(), OpenError> {
    let tail: Vec<_> = chain.parts(end.get(), chain.room_end()).collect();
    for (file, from, to) in &tail {
        disk.perform(Op::Zero { file: *file, from: *from, to: *to })?;
    }
    sync_each(disk, tail)?;
    Ok(())
}
