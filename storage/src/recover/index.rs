//! The index, brought to agree with the log.
//!
//! Which files are believed depends on who was here before. After an orderly stop: all that they
//! say. After a crash of ours: items that the checkpoint covers, and of slots nothing in the file
//! that was being written. After a crash of Apache's: full files that its checkpoint covers by
//! their time, if they agree with themselves. The rest is put again from the log, so what is
//! damaged or missing is never a reason not to start, and costs no more than reading the records
//! that are concerned.

use super::{Recovery, Stage};
use crate::checkpoint::{Checkpoint, Durable};
use crate::index::{Behind, Judged, Trust, keys_of};
use crate::position::Physical;
use crate::seam::{Disk, Fault, Op};
use crate::time::Wall;

/// What the checkpoint says of the index.
#[derive(Clone, Copy, Debug)]
struct Promise {
    indexed: Physical,
    last: Option<Physical>,
}

impl Promise {
    /// Does it still hold if the index goes on at `resume` in a log that ends at `end`?
    fn is_kept(&self, resume: Physical, end: Physical) -> bool {
        self.indexed <= resume && self.indexed <= end
    }
}

impl<D: Disk> Recovery<'_, D> {
    /// Judges, drops, cuts, and puts what is missing.
    pub(super) fn settle_index(&mut self, end: Physical) -> Result<(), Fault> {
        if !self.index.is_enabled() {
            return self.leave_index(end);
        }
        let unfit = std::mem::take(&mut self.unfit);
        let anew = self.settings.rebuild;
        let ours = self.checkpoint.durable.filter(|_| !self.foreign && !anew);
        let promise = ours.map(|ours| Promise { indexed: ours.indexed, last: ours.last_item });
        let trust = self.trust(promise, end);
        let mut judged =
            if anew { Judged::NOTHING } else { self.index.judge(self.disk, &self.log, trust) };
        let resume = self.resume(promise, judged.last);
        if resume.at < end {
            // A header that knows too little is not believed of its slots either.
            self.index.cut_newest(&mut judged);
        }
        let ended = self.index.cut_full(&judged);
        let dropped = self.index.drop_behind(&judged);
        let is_less = |promise: Promise| resume.at < promise.indexed.min(end);
        let changes = resume.at < end || judged.cut.is_some() || !dropped.is_empty();
        if promise.is_none_or(is_less) && (changes || !unfit.is_empty()) {
            // Whoever finds the files half changed must not believe them.
            self.forsake_index(&judged, resume)?;
        } else if let Some(ended) = ended.filter(|ended| *ended <= self.checkpoint.index) {
            // It is full no more, and Apache would believe the time.
            self.replace_checkpoint(Checkpoint { index: ended.before(), ..self.checkpoint })?;
        }
        if promise.is_some_and(|promise| promise.indexed <= end && is_less(promise)) {
            let first = dropped.last().map(|file| format!("{}/{}", self.index.dir(), file.name));
            let first = first.or_else(|| unfit.last().cloned());
            self.opened.index_damaged = first.or_else(|| Some(self.index.dir().to_owned()));
        } else {
            self.opened.index_damaged = unfit.last().cloned();
        }
        for path in &unfit {
            self.disk.perform(Op::Remove { path })?;
        }
        for file in dropped {
            self.disk.perform(Op::Delete { file: file.file })?;
        }
        if let Some(count) = judged.cut {
            self.index.cut(self.disk, &self.log, count);
        }
        self.index.resume(resume);
        self.opened.indexed_from = resume.at;
        let total = end.get().saturating_sub(resume.at.get());
        self.teller.begin(Stage::Index, total, self.opened.records);
        let (teller, records) = (&mut self.teller, self.opened.records);
        let told = |at: Physical| teller.done(at.get().saturating_sub(resume.at.get()), records);
        self.index.complete(self.disk, &self.log, told)?;
        if self.defers() && promise.is_some_and(|promise| promise.is_kept(resume.at, end)) {
            self.index_kept = true;
            return Ok(());
        }
        self.index.sync_all(self.disk)
    }

    /// The operator wants no index: its files stay as they are, and so does what is known of them,
    /// unless records that they speak of are gone.
    fn leave_index(&mut self, end: Physical) -> Result<(), Fault> {
        let is_gone = |durable: Durable| self.foreign || durable.indexed > end;
        if self.checkpoint.durable.is_none_or(is_gone) {
            self.forsake_index(&Judged::NOTHING, Behind::from(Physical::ZERO))?;
        }
        Ok(())
    }

    fn trust(&self, promise: Option<Promise>, end: Physical) -> Trust {
        let in_log = end.get().checked_sub(1).map(Physical::new);
        let last = match promise {
            Some(promise) => in_log.zip(promise.last).map(|(end, last)| end.min(last)),
            None => in_log,
        };
        let full_until = (!self.clean && promise.is_none()).then_some(self.checkpoint.index);
        Trust { last, headers: self.clean, full_until }
    }

    /// The first record that is to be indexed, given the last item that stays.
    fn resume(&self, promise: Option<Promise>, last: Option<Behind>) -> Behind {
        let start = self.log.start();
        let is_kept = |promise: &Promise| match promise.last.filter(|at| *at >= start) {
            promised @ Some(_) => promised == last.map(|last| last.at),
            None => true,
        };
        let known = promise.filter(is_kept).map_or(start, |promise| promise.indexed.max(start));
        let known = known.min(self.log.written().end());
        let Some(last) = last.filter(|last| last.at >= start) else { return Behind::from(known) };
        match self.log.record(self.disk, last.at) {
            Some(record) if last.done < keys_of(&record).len() => last,
            Some(record) => Behind::from(known.max(last.at.plus(u64::from(record.size())))),
            None => Behind::from(known),
        }
    }

    /// Takes back, durably, what was said of items that are about to change.
    fn forsake_index(&mut self, judged: &Judged, resume: Behind) -> Result<(), Fault> {
        let mut next = Checkpoint { index: Wall::default(), ..self.checkpoint };
        if let Some(durable) = &mut next.durable {
            // Of a record that is indexed in part nothing is said.
            let whole = judged.last.filter(|last| last.at < resume.at).map(|last| last.at);
            let is_known = !self.foreign && (whole.is_some() || judged.last.is_none());
            let (indexed, last_item) =
                if is_known { (resume.at, whole) } else { Default::default() };
            (durable.indexed, durable.last_item) = (indexed.min(durable.indexed), last_item);
        }
        self.replace_checkpoint(next)
    }

    /// What the checkpoint says of the index from now on.
    pub(super) fn index_promise(&self, next: &mut Checkpoint, end: Physical) {
        let Some(durable) = &mut next.durable else { return };
        if self.index.is_enabled() && !self.index_kept {
            durable.indexed = self.index.upto(end);
            durable.last_item = self.index.last_item(self.disk, durable.indexed);
            next.index = self.index.full_until().unwrap_or_default();
        } else {
            let before = self.checkpoint.durable.unwrap_or_default();
            (durable.indexed, durable.last_item) = (before.indexed, before.last_item);
        }
    }
}
