//! What follows a queue's last unit, and what of a queue a start makes durable.
//!
//! ```text
//!  | units below the checkpoint's `queued` | later units | zeros                     |
//!  '- on the medium ----------------------''-- of each byte zero or a later unit's --'
//! ```
//!
//! So it always is with queues of ours. A process that dies leaves them like that; and who takes
//! units back, because their records are gone, makes zeros of them, durably, before he is done with
//! his start. In between he leaves word, and whoever finds that word takes nothing for granted.
//!
//! That is why a start after a crash of ours syncs no queue which reads as it should. What it wrote
//! again is made durable like everything that is appended, some time later and before the
//! checkpoint covers it.

use super::Queue;
use crate::position::Physical;
use crate::seam::{Disk, Fault, Memory, Op, sync_each};

/// What is to be made sure of behind the last unit of each queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// An orderly stop of ours: one unit that reads as zero tells enough, for a start must not read
    /// the unused part of every file.
    Known,
    /// A crash of ours: what reads as zero is zero on the medium as well.
    Read,
    /// Whatever reads well may not be on the medium, and anything may follow.
    Unknown,
}

/// The 64 bit FNV-1a hash.
#[derive(Clone, Copy)]
struct Mark(u64);

impl Mark {
    const fn new() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }

    fn add(self, bytes: &[u8]) -> Self {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        Self(bytes.iter().fold(self.0, step))
    }
}

impl Queue {
    /// A number that says whose queue this is and where it ends; `None` if it has no unit.
    pub(crate) fn end_mark(&self, topic: &str, id: i32) -> Option<u64> {
        let at = self.last_at?.get();
        let mark = Mark::new().add(&id.to_be_bytes()).add(&self.end.to_be_bytes());
        Some(mark.add(&at.to_be_bytes()).add(topic.as_bytes()).0)
    }

    /// Where the last unit's record begins.
    pub(crate) fn last_at(&self) -> Option<Physical> {
        self.last_at
    }

    /// Does the last unit's record begin at `at` or behind it?
    pub(crate) fn ends_behind(&self, at: Physical) -> bool {
        self.last_at.is_some_and(|last| last >= at)
    }

    /// Looks at all that a start needs to know of a queue which ends here: what follows, and where
    /// units begin that point into the log.
    pub(crate) fn survey(&mut self, memory: &impl Memory, log_start: Physical) {
        self.is_rest_zero = self.is_zero_from(memory, self.end);
        self.correct_min(memory, log_start);
    }

    fn is_zero_from(&self, memory: &impl Memory, at: u64) -> bool {
        let mut parts = self.chain.parts(at, self.chain.room_end());
        parts.all(|(file, from, to)| memory.is_zero(file, from, to))
    }

    /// Does anything follow the last unit, or that of the extension, that is going to be zeros?
    pub(crate) fn has_rest(&mut self, memory: &impl Memory, rest: Rest) -> bool {
        let has_ext = self.ext.as_ref().is_some_and(|ext| ext.has_rest(memory, rest));
        has_ext
            || if self.is_known(rest) { self.tail_is_used(memory) } else { !self.is_zero(memory) }
    }

    /// Is one unit behind the last one enough to look at?
    fn is_known(&self, rest: Rest) -> bool {
        rest == Rest::Known && self.synced == self.end
    }

    fn is_zero(&mut self, memory: &impl Memory) -> bool {
        self.is_rest_zero = self.is_rest_zero || self.is_zero_from(memory, self.end);
        self.is_rest_zero
    }

    /// Makes what follows the end read as zero, deletes the files behind, and makes durable what
    /// has to be.
    pub(crate) fn settle<D: Disk>(&mut self, disk: &mut D, rest: Rest) -> Result<(), Fault> {
        let ext = self.ext.as_mut().map_or(Ok(()), |ext| ext.settle(disk, rest));
        ext.and(self.settle_units(disk, rest))
    }

    fn settle_units<D: Disk>(&mut self, disk: &mut D, rest: Rest) -> Result<(), Fault> {
        self.cut_unused(disk)?;
        match rest {
            Rest::Known if self.is_known(rest) && !self.tail_is_used(disk) => {}
            Rest::Read if self.is_rest_zero => {}
            Rest::Read => drop(self.clear_rest(disk, Rest::Read)?),
            Rest::Known | Rest::Unknown => {
                let is_dirty = self.clear_rest(disk, rest)? || self.synced < self.end;
                if is_dirty || rest == Rest::Unknown {
                    self.sync_from(disk, self.synced)?;
                }
                self.synced = self.end;
            }
        }
        Ok(())
    }

    /// Makes zeros of what follows and is none, and syncs those.
    fn clear_rest<D: Disk>(&mut self, disk: &mut D, rest: Rest) -> Result<bool, Fault> {
        let parts: Vec<_> = self.chain.parts(self.end, self.chain.room_end()).collect();
        let mut is_dirty = false;
        for (file, from, to) in parts {
            if !disk.is_zero(file, from, to) {
                disk.perform(Op::Zero { file, from, to })?;
                is_dirty = true;
            }
        }
        if is_dirty && rest == Rest::Read {
            self.sync_from(disk, self.end)?;
        }
        Ok(is_dirty)
    }

    fn sync_from<D: Disk>(&self, disk: &mut D, at: u64) -> Result<(), Fault> {
        sync_each(disk, self.chain.parts(at, self.chain.room_end()))
    }
}
