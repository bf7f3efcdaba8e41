//! What becomes of a copy of a log that cannot be continued as it is.
//!
//! ```text
//!  Cut:    | same | same | other bytes          the copy ends where the logs part
//!  Begin:  | old | old |        | master's ..   the copy begins where the master's log does now
//! ```
//!
//! This happens before a start and makes an ordinary one of it: a log that ends at a torn tail, or
//! one without a record. The promise goes first, durably, or a crash on the way would leave less
//! than was promised; a crash anywhere leaves a store that opens, and whose log is to be parted
//! again.

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

/// Takes out of a closed store's log what is not the master's. Open the disk anew afterwards, and
/// then the store.
pub fn part<D: Disk>(disk: &mut D, settings: &Settings, at: Parting) -> Result<(), OpenError> {
    let checkpoint = recover::checkpoint(disk)?;
    let mut chain = recover::log_files(disk, settings)?;
    let end = match at {
        Parting::Cut(end) => end,
        Parting::Begin(_) => Physical::ZERO,
    };
    lower(disk, checkpoint, end)?;
    let content = format!("{}{ABORT_OURS}", settings.process);
    disk.perform(Op::Replace { path: ABORT, bytes: content.as_bytes() })?;
    match at {
        Parting::Cut(end) => cut(disk, &mut chain, end)?,
        Parting::Begin(start) => {
            chain.restart(disk, start.get())?;
            let path = chain.path(start.get());
            open(disk, Op::Allocate { path: &path, len: chain.file_len() })?;
        }
    }
    Ok(())
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

/// Makes what lies behind `end` unreadable, durably: later files first, the newest of them first.
fn cut<D: Disk>(disk: &mut D, chain: &mut Chain, end: Physical) -> Result<(), OpenError> {
    let tail: Vec<_> = chain.parts(end.get(), chain.room_end()).collect();
    for (file, from, to) in tail.iter().rev() {
        disk.perform(Op::Zero { file: *file, from: *from, to: *to })?;
    }
    sync_each(disk, tail.into_iter().rev())?;
    chain.cut(disk, end.get())?;
    Ok(())
}
