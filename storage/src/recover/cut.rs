//! The cut: what lies behind the log's end is made unreadable, what lies before it durable.

use super::Recovery;
use crate::checkpoint::{self, Durable};
use crate::position::{Physical, Span};
use crate::queue::Rest;
use crate::record::BLANK_HEADER;
use crate::seam::{Disk, Fault, Op, Token, sync_each};

/// What the kernel marks clean or dirty, in bytes. Files begin at multiples of it in memory.
const PAGE: u64 = 4096;
const PAGE_LEN: usize = 4096;

impl<D: Disk> Recovery<'_, D> {
    pub(super) fn is_used(&self, at: Physical) -> bool {
        let rest = self.log.rest(self.disk, at).unwrap_or_default();
        rest.iter().take(8).any(|&byte| byte != 0)
    }

    /// What lies behind the end may be anything: the process before died, or it was Apache's.
    pub(super) fn distrusts_rest(&self) -> bool {
        !self.clean || self.foreign
    }

    /// Truncation is a write: what lies behind the end is made unreadable, and durably so,
    /// before anything is appended there. That goes for files that are deleted, too: the next one
    /// of their name may get their blocks, and a file system that shows the past of a block would
    /// show whole records in their right places.
    pub(super) fn cut_log(&mut self, scanned_from: Physical, end: Physical) -> Result<(), Fault> {
        let accepted = self.checkpoint.durable.filter(|durable| durable.flushed > end);
        if let Some(durable) = accepted {
            // The operator accepted the loss. The promise goes first, or a crash during the cut
            // would find it broken again.
            let checked = durable.checked;
            let lowered = Durable { flushed: end, checked, ..Durable::default() };
            self.checkpoint.durable = Some(lowered);
            // Queues end elsewhere now than where anybody counted.
            self.rest = Rest::Unknown;
            let bytes = &self.checkpoint.encode();
            self.disk.perform(Op::Replace { path: checkpoint::PATH, bytes })?;
        }
        let room_end = self.log.chain.room_end();
        if self.distrusts_rest() || accepted.is_some() || self.is_used(end) {
            let tail: Vec<_> = self.log.chain.parts(end.get(), room_end).collect();
            for (file, from, to) in tail {
                self.disk.perform(Op::Zero { file, from, to })?;
            }
            self.clear_blanks()?;
            self.write_again(scanned_from, end);
            let chain = &self.log.chain;
            let kept = (chain.file_start(end.get()) + chain.file_len()).min(room_end);
            sync_each(self.disk, chain.parts(kept, room_end))?;
            // Queues and index have their turn meanwhile: nothing is said of them before the log.
            let from = scanned_from.get() / PAGE * PAGE;
            for (file, from, to) in chain.parts(from, kept) {
                self.syncs += 1;
                self.disk.submit(Token(self.syncs), Op::Sync { file, from, to });
            }
        }
        self.log.chain.cut(self.disk, end.get())?;
        self.log.set_end(end);
        Ok(())
    }

    /// Waits until all of the log is on the medium.
    pub(super) fn await_log(&mut self) -> Result<(), Fault> {
        let Some((file, at)) = self.log.chain.locate(self.log.chain.start()) else { return Ok(()) };
        let mut synced = Ok(());
        while self.syncs > 0 {
            // Of nothing, but behind all that was asked for before.
            self.disk.perform(Op::Sync { file, from: at, to: at })?;
            while let Some((_, outcome)) = self.disk.poll() {
                synced = synced.and(outcome.map(drop));
                self.syncs -= 1;
            }
        }
        synced
    }

    /// What a blank record fills is zero. Where it was not on the medium when the power failed, a
    /// file system that shows the past of a block shows it there; no checksum covers it, and slaves
    /// would be sent it that have zeros.
    fn clear_blanks(&mut self) -> Result<(), Fault> {
        let durable = self.durable_below();
        for Span { at, len } in std::mem::take(&mut self.blanks) {
            let (file, from) = self.log.chain.locate(at.get()).expect("it was read there");
            let (from, to) = (from + u64::from(BLANK_HEADER), from + u64::from(len));
            let is_safe = durable.is_some_and(|durable| at.plus(u64::from(len)) <= durable);
            if !is_safe && !self.disk.is_zero(file, from, to) {
                self.disk.perform(Op::Zero { file, from, to })?;
            }
        }
        Ok(())
    }

    /// What lies below is on the medium, as our own process knew.
    fn durable_below(&self) -> Option<Physical> {
        // What another process wrote below our mark, after cutting there, may not be durable.
        let ours = self.checkpoint.durable.filter(|_| !self.foreign);
        ours.map(|durable| durable.flushed)
    }

    /// Makes what may not be on the medium dirty, so that the sync to come writes it. After a sync
    /// that failed the kernel takes pages for clean whose bytes never arrived; if then only the
    /// process dies, they are readable here, and no sync would ever write them.
    fn write_again(&mut self, scanned_from: Physical, end: Physical) {
        let durable = self.durable_below().unwrap_or(scanned_from);
        let from = durable.max(scanned_from).get() / PAGE * PAGE;
        let parts: Vec<_> = self.log.chain.parts(from, end.get()).collect();
        for (file, from, to) in parts {
            for page in (from / PAGE * PAGE..to).step_by(PAGE_LEN) {
                let byte = &mut self.disk.slot(file, page, 1)[0];
                // A store of what is there already: the optimiser must not see that.
                *byte = std::hint::black_box(*byte);
            }
        }
    }
}
