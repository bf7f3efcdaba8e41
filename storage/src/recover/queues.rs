//! What a start takes for granted of queues, and what it makes sure of.

use super::load::Before;
use super::{Plan, Recovery, Stage};
use crate::checkpoint::Checkpoint;
use crate::position::Physical;
use crate::queue::{Queue, Rest, Side};
use crate::record::Verdict;
use crate::seam::{Disk, Fault, Op, each};

/// Exists while a start makes zeros of units whose records are gone.
const MENDING: &str = "mending";

/// What may be taken for granted behind the last unit of each queue, and up to where the log's
/// records have units that are on the medium: by who was here before, unless there is a `doubt`.
pub(super) fn rest(
    before: Before,
    doubt: bool,
    checkpoint: &Checkpoint,
) -> (Rest, Option<Physical>) {
    let counted = checkpoint.durable.filter(|durable| durable.ends.is_some());
    match (before, counted) {
        (Before::Stopped, _) if !doubt => (Rest::Known, None),
        (Before::Died, Some(durable)) if !doubt => (Rest::Read, Some(durable.queued)),
        _ => (Rest::Unknown, None),
    }
}

/// Did a start die that was about to make such zeros?
pub(super) fn was_mending<D: Disk>(disk: &mut D) -> Result<bool, Fault> {
    Ok(disk.read(MENDING)?.is_some())
}

impl<D: Disk> Recovery<'_, D> {
    /// Is what was written to queues and index made durable later on, as what is appended is? Then
    /// the checkpoint covers no more of them than it did.
    pub(super) fn defers(&self) -> bool {
        self.rest == Rest::Read
    }

    /// After an orderly stop: does each queue end where the checkpoint says? Then each is there,
    /// and none is shorter than it was.
    pub(super) fn is_as_left(&self) -> bool {
        let ends = self.checkpoint.durable.and_then(|durable| durable.ends);
        ends.is_some() && self.queues.ends() == ends
    }

    /// Does each queue end, as far as the checkpoint covers it, where the checkpoint says? Then
    /// none is missing, shorter, or another one's, and there is no need to read the log for that.
    /// Otherwise nothing is taken for granted.
    pub(super) fn is_as_covered(&mut self) -> bool {
        let ends = self.checkpoint.durable.and_then(|durable| durable.ends);
        // They were ended there when they were loaded.
        if self.defers() && ends.is_some() && self.queues.ends() == ends {
            return true;
        }
        self.rest = Rest::Unknown;
        false
    }

    /// Goes on from `at`, where the checkpoint's word on one of log and queues ends, and checks
    /// from the last record below on. More of what lies there is not looked at: it is on the
    /// medium, and to look for rot in the last file only would cost much and prove little. But if
    /// that does not begin as it should, it is not the file that it was, and is checked from its
    /// beginning.
    pub(super) fn go_on_from(&mut self, at: Physical) -> Plan {
        for (.., queue) in self.queues.iter_mut().filter(|(.., queue)| queue.ends_behind(at)) {
            queue.trim(self.disk, at);
        }
        let known = self.queues.iter().filter_map(|(.., queue)| queue.last_at()).max();
        let scan_from = match self.last_file_start(|start| start < at) {
            Some(file) if self.is_sound(file) => known.map_or(file, |known| known.max(file)),
            Some(file) => file,
            None => at,
        };
        Plan { scan_from, dispatch_from: at }
    }

    fn is_sound(&self, at: Physical) -> bool {
        let verdict = self.log.verdict(self.disk, at, self.crc_at(at, false));
        matches!(verdict, Some(Verdict::Good(_) | Verdict::Blank { .. }))
    }

    /// Ends each queue behind the units that the plan trusts.
    pub(super) fn trust_below(&mut self, plan: Plan) -> Plan {
        self.queues.trim_all(self.disk, plan.dispatch_from);
        self.dismiss_strangers(plan.dispatch_from);
        plan
    }

    pub(super) fn settle_queues(&mut self, end: Physical) -> Result<(), Fault> {
        let (log_start, rest) = (self.log.start(), self.rest);
        if rest != Rest::Read {
            for (.., queue) in self.queues.iter_mut() {
                if queue.last(self.disk).is_some_and(|unit| unit.span.at >= end) {
                    queue.trim(self.disk, end);
                }
            }
        }
        // Where a next start would take zeros for durable.
        let is_believed = self.checkpoint.durable.is_some_and(|durable| durable.ends.is_some());
        let has_rest = |(.., queue): (_, _, &mut Queue)| queue.has_rest(self.disk, rest);
        if is_believed && self.queues.iter_mut().any(has_rest) {
            self.leave_word()?;
        }
        let (total, records) = (self.queues.iter().count() as u64, self.opened.records);
        self.teller.begin(Stage::Settle, total, records);
        each((0..).zip(self.queues.iter_mut()), |(done, (.., queue))| {
            self.teller.done(done, records);
            queue.settle(self.disk, rest)?;
            if rest != Rest::Read || queue.is_dirty(Side::Units) {
                queue.correct_min(self.disk, log_start);
            }
            Ok(())
        })
    }

    /// From here on what reads as zero behind a queue may not be zero on the medium: whoever finds
    /// this start unfinished must know.
    fn leave_word(&mut self) -> Result<(), Fault> {
        let content = format!("{}\n", self.settings.process);
        self.disk.perform(Op::Replace { path: MENDING, bytes: content.as_bytes() })?;
        self.is_mending = true;
        Ok(())
    }

    /// All queues are as they should be.
    pub(super) fn take_back_word(&mut self) -> Result<(), Fault> {
        if self.is_mending {
            self.disk.perform(Op::Remove { path: MENDING })?;
        }
        Ok(())
    }
}
