//! Opening a store: from the files that another process left to a store that can serve
//! (store.md 6).
//!
//! The log is the truth. Recovery decides on two positions and then recomputes the rest:
//!
//! ```text
//!  log start        scan_from      dispatch_from             end (first bad record)
//!  |  trusted       |  checked     |  checked, dispatched    | made zero, later files deleted
//! ```
//!
//! Queue units that point below `dispatch_from` are trusted; those behind are written again from
//! the log. After a clean stop dispatching begins at the end of what the queues know. After a crash
//! of ours it begins where the checkpoint's word on one of log and queues ends, if each queue ends
//! there where the checkpoint says (see `queues`), and checking with the last record below;
//! otherwise with the last file that the checkpoint covers the beginning of. After a clean stop the
//! log file is checked from its beginning in which that lies.
//!
//! Before the first change the `abort` file is made durable, so a crash at any operation leads
//! to a new recovery of the thorough kind; every step may be repeated. When it is done every
//! readable record is on the medium: *flushed* is *written*. Units need not be (see `queue::rest`).
//!
//! The index is settled last, over a log that stands: see `index`.
//!
//! The `abort` file also says whose process died. If it was not ours, it may have appended without
//! having written a checkpoint yet, so ours is older than the log. What it says of log and queues
//! is then still true, as nobody takes back what is durable: Apache cuts a log only at a bad
//! record, and if it cut below what was durable, that is a loss to be told. What it says of the
//! index and of records' own CRCs is not true any more: Apache deletes index files at a start after
//! a crash, and its records have no CRC. Neither is believed.

mod cut;
mod damaged;
mod index;
mod load;
mod opened;
mod progress;
mod queues;
mod refusal;
mod repair;
mod scan;

use self::load::Before;
use crate::chain::Chain;
use crate::checkpoint::{self, Checkpoint, Durable};
use crate::commit_log::CommitLog;
use crate::index::Index;
use crate::position::{Physical, Span};
use crate::queue::Rest;
use crate::queues::Queues;
use crate::record::{Crc, PropCrc, Record, Verdict};
use crate::resync::{good, next_good, rest};
use crate::seam::{Disk, Fault, Op};
use crate::settings::Settings;
use crate::time::Wall;

pub use opened::Opened;
pub(crate) use progress::Teller;
pub use progress::{Progress, Stage, Watch};
pub use refusal::OpenError;

/// Exists while a broker runs; still there at a start, it says that the broker died.
pub(crate) const ABORT: &str = "abort";
/// How the content of ours ends, behind the process id.
pub(crate) const ABORT_OURS: &str = " hotfire\n";

/// A store at rest, ready to serve.
pub(crate) struct Recovered {
    pub(crate) log: CommitLog,
    pub(crate) queues: Queues,
    pub(crate) index: Index,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) last_store_time: Wall,
    pub(crate) opened: Opened,
}

/// Where recovery begins, and what it may trust.
#[derive(Clone, Copy, Debug)]
struct Plan {
    scan_from: Physical,
    dispatch_from: Physical,
}

struct Recovery<'a, D: Disk> {
    disk: &'a mut D,
    settings: &'a Settings,
    is_batch: &'a dyn Fn(&str) -> bool,
    checkpoint: Checkpoint,
    /// What the checkpoint said of queues before recovery took any of it back.
    queued: Physical,
    /// What is taken for granted behind the last unit of a queue.
    rest: Rest,
    /// A file says that queues are being changed.
    is_mending: bool,
    /// Blank records that were read, from end to end of what they fill.
    blanks: Vec<Span>,
    /// Syncs of the log that are under way.
    syncs: u64,
    /// What the checkpoint says of the index stays as it is.
    index_kept: bool,
    clean: bool,
    /// Queue files were thrown away already.
    is_changed: bool,
    /// The last writer was Apache's, which ends a log by forgetting the rest and leaves it there.
    foreign: bool,
    log: CommitLog,
    queues: Queues,
    index: Index,
    /// Index files of a wrong length, and those behind them.
    unfit: Vec<String>,
    /// Queues that know less than the log.
    broken: repair::Broken,
    opened: Opened,
    /// The newest good record: where it begins and when it was stored.
    newest: Option<(Physical, Wall)>,
    teller: Teller<'a>,
}

/// What the checkpoint says, as far as it is believed.
pub(crate) fn checkpoint<D: Disk>(disk: &mut D) -> Result<Checkpoint, OpenError> {
    let before = load::before(disk)?;
    Ok(believed(load::checkpoint(disk, before)?, before))
}

/// The files of the log.
pub(crate) fn log_files<D: Disk>(disk: &mut D, settings: &Settings) -> Result<Chain, OpenError> {
    load::log(disk, settings, &mut Vec::new())
}

/// Opens, repairs, and makes durable.
pub(crate) fn recover<D: Disk>(
    disk: &mut D,
    settings: &Settings,
    is_batch: &dyn Fn(&str) -> bool,
    watch: &mut dyn Watch,
) -> Result<Recovered, OpenError> {
    let mut teller = Teller::new(watch);
    let before = load::before(disk)?;
    let mut checkpoint = believed(load::checkpoint(disk, before)?, before);
    let clean = before == Before::Stopped;
    let foreign = before == Before::DiedForeign || checkpoint.durable.is_none();
    let is_mending = queues::was_mending(disk)?;
    let (mut rest, covered) = queues::rest(before, foreign || is_mending, &checkpoint);
    let wanted = load::Wanted { is_batch, clean, covered };
    let mut loaded = load::files(disk, settings, &wanted, &mut teller)?;
    // Files of the log are missing: a mount that failed, perhaps. Nothing may change, or the
    // next start, which finds them, would not find the queues.
    let is_news = loaded.believe_queues(disk, clean, &mut checkpoint);
    refuse_rot(&checkpoint, settings, Physical::new(loaded.log.room_end()))?;
    if clean {
        let renew = is_news || (foreign && disk.read(checkpoint::PATH)?.is_some());
        take_over(disk, settings, renew.then_some(&checkpoint))?;
    } else {
        settle_names(disk)?;
    }
    let queued = checkpoint.durable.map_or(Physical::ZERO, |durable| durable.queued);
    let is_changed = settings.rebuild || !loaded.broken.is_empty() || loaded.log.is_empty();
    if is_changed {
        forsake_units(disk, &mut checkpoint)?;
        rest = Rest::Unknown;
    }
    for path in &loaded.stale {
        disk.perform(Op::Remove { path })?;
    }
    let (log, queues, index) = (CommitLog::new(loaded.log), loaded.queues, loaded.index);
    let mut recovery = Recovery {
        disk,
        settings,
        is_batch,
        checkpoint,
        queued,
        rest,
        is_mending,
        blanks: Vec::new(),
        syncs: 0,
        index_kept: false,
        clean,
        is_changed,
        foreign,
        log,
        queues,
        index,
        unfit: loaded.unfit,
        broken: loaded.broken,
        opened: Opened { clean, ..Opened::default() },
        newest: None,
        teller,
    };
    recovery.run()?;
    if before == Before::DiedForeign {
        // Last: should a crash find neither the old file nor the new one, nothing is missed, for
        // all is as an orderly stop leaves it.
        claim(recovery.disk, settings)?;
    }
    Ok(recovery.finish())
}

/// The first changes to a store that was stopped in order.
///
/// Apache's checkpoint becomes ours before the store does: of a process of ours that died it then
/// follows that Apache did not write it last.
fn take_over<D: Disk>(
    disk: &mut D,
    settings: &Settings,
    renewed: Option<&Checkpoint>,
) -> Result<(), Fault> {
    if let Some(checkpoint) = renewed {
        disk.perform(Op::Replace { path: checkpoint::PATH, bytes: &checkpoint.encode() })?;
    }
    // From here on files change: whoever finds them half changed must know.
    claim(disk, settings)
}

/// What of a checkpoint is believed, by who used the store since.
fn believed(mut checkpoint: Checkpoint, before: Before) -> Checkpoint {
    if before == Before::DiedForeign
        && let Some(durable) = &mut checkpoint.durable
    {
        *durable = Durable { indexed: Physical::ZERO, checked: None, last_item: None, ..*durable };
    }
    checkpoint
}

/// Makes durable what the store's own directory names, and changes none of it. Of a process that
/// died, `abort` and the checkpoint can be read and their names still not be on the medium: a power
/// failure behind this start would bring back the ones before.
fn settle_names<D: Disk>(disk: &mut D) -> Result<(), Fault> {
    // Nothing has this name; that it is so becomes durable, and with it the other names.
    disk.perform(Op::Remove { path: "none" })?;
    Ok(())
}

/// Leaves word that a process of ours uses the store.
fn claim<D: Disk>(disk: &mut D, settings: &Settings) -> Result<(), Fault> {
    let content = format!("{}{ABORT_OURS}", settings.process);
    disk.perform(Op::Replace { path: ABORT, bytes: content.as_bytes() })?;
    Ok(())
}

/// Torn is not rot: a tear lies above what was durable.
fn refuse_rot(
    checkpoint: &Checkpoint,
    settings: &Settings,
    end: Physical,
) -> Result<(), OpenError> {
    match checkpoint.durable {
        Some(Durable { flushed, .. }) if end < flushed && !settings.accept_rot => {
            Err(OpenError::Rot { at: end, durable: flushed })
        }
        _ => Ok(()),
    }
}

/// Queue files are about to go: first the promise that they hold anything, and durably so. A
/// crash in between would leave them half gone, and the next start would trust the rest.
fn forsake_units<D: Disk>(disk: &mut D, checkpoint: &mut Checkpoint) -> Result<(), Fault> {
    let flushed = checkpoint.durable.map_or(Physical::ZERO, |durable| durable.flushed);
    // Without positions the times would be believed, so there must be some from now on.
    let kept = checkpoint.durable.unwrap_or_default();
    let lowered = Some(Durable { flushed, queued: Physical::ZERO, ends: None, ..kept });
    if checkpoint.durable == lowered {
        return Ok(());
    }
    checkpoint.durable = lowered;
    disk.perform(Op::Replace { path: checkpoint::PATH, bytes: &checkpoint.encode() })?;
    Ok(())
}

impl<D: Disk> Recovery<'_, D> {
    fn run(&mut self) -> Result<(), OpenError> {
        if self.log.chain.is_empty() {
            self.forget_queues()?;
        }
        let plan = self.plan();
        let is_doubtful = self.clean && !self.is_as_left();
        if is_doubtful {
            let suspects = self.suspects();
            self.broken.extend(suspects);
        }
        self.forget_lost();
        let end = self.scan(plan)?;
        if is_doubtful {
            self.find_cut_off(end);
        }
        self.refuse_loss(end)?;
        self.cut_log(plan.scan_from, end)?;
        self.repair(end)?;
        self.settle_queues(end)?;
        self.settle_index(end)?;
        self.make_room()?;
        self.await_log()?;
        self.write_checkpoint(end)?;
        Ok(self.take_back_word()?)
    }

    /// Refuses to cut what was promised, or what nothing that a crash does can explain; and to
    /// repair from what is damaged.
    fn refuse_loss(&mut self, end: Physical) -> Result<(), OpenError> {
        let told = refuse_rot(&self.checkpoint, self.settings, end);
        let told = told.and_then(|()| self.refuse_silent_loss(end));
        let Err(refusal) = told.and_then(|()| self.refuse_blindness(end)) else { return Ok(()) };
        if self.clean && !self.is_changed && self.opened.dispatched == 0 {
            // Nothing was changed yet: the store is as it was, stopped in order.
            self.disk.perform(Op::Remove { path: ABORT })?;
        }
        Err(refusal)
    }

    /// Without positions of ours there are only times: what is stored behind the end, and was
    /// durable by Apache's own word, did not get there before what is bad at the end.
    fn refuse_silent_loss(&self, end: Physical) -> Result<(), OpenError> {
        if self.settings.accept_rot || self.checkpoint.durable.is_some() {
            return Ok(());
        }
        let chain = &self.log.chain;
        let is_good = |at: &Physical| good(self.disk, chain, *at, Crc::Skip).is_some();
        let next = match self.opened.cut {
            Some(_) => next_good(self.disk, chain, end),
            None => chain.starts().map(Physical::new).filter(|at| *at > end).find(is_good),
        };
        let lost = next.and_then(|at| good(self.disk, chain, at, Crc::Skip));
        if let Some(record) = lost
            && (self.clean || record.store_time() <= self.checkpoint.physic)
        {
            let durable = record.physical().plus(u64::from(record.size()));
            return Err(OpenError::Rot { at: end, durable });
        }
        let is_file = end.get() == chain.file_start(end.get());
        match rest(self.disk, chain, end).map(Record::parse_first) {
            Some(Some(record)) if is_file && record.physical() != end => {
                let (path, says) = (chain.path(end.get()), record.physical());
                Err(OpenError::Misplaced { path, says })
            }
            _ => Ok(()),
        }
    }

    /// Without a log no unit can point anywhere.
    fn forget_queues(&mut self) -> Result<(), Fault> {
        for queue in std::mem::take(&mut self.queues).into_queues() {
            for (_, file) in queue.into_files() {
                self.disk.perform(Op::Delete { file })?;
            }
        }
        Ok(())
    }

    fn plan(&mut self) -> Plan {
        let start = self.log.start();
        // No queue at all beside a log: they were lost, or a rebuild died before the first.
        let are_gone = !self.clean && self.queues.iter().next().is_none();
        if are_gone || self.settings.rebuild {
            self.rest = Rest::Unknown;
            return self.trust_below(Plan { scan_from: start, dispatch_from: start });
        }
        if self.clean {
            let known = self.queues.trim_all(self.disk, Physical::new(u64::MAX));
            // Units of deleted topics are missing on purpose: what the checkpoint covers is not
            // dispatched again, unless every queue is gone.
            let all_gone = known.is_none() && self.broken.is_empty();
            let queued = if all_gone { Physical::ZERO } else { self.queued };
            let dispatch_from = known.unwrap_or_default().max(queued);
            let is_known = |at: Physical, _| at <= dispatch_from;
            let scan_from = self.last_file_where(is_known).unwrap_or(start);
            return Plan { scan_from, dispatch_from };
        }
        let from = if let Some(Durable { flushed, .. }) = self.checkpoint.durable {
            let safe = flushed.min(self.queued);
            if self.is_as_covered() {
                return self.go_on_from(safe.max(start));
            }
            self.last_file_start(|at| at <= safe)
        } else {
            let safe = self.checkpoint.safe_time();
            let is_old = |_, stored: Wall| stored <= safe && stored > Wall::from_millis(0);
            self.last_file_where(is_old)
        };
        let from = from.unwrap_or(start);
        self.trust_below(Plan { scan_from: from, dispatch_from: from })
    }

    fn last_file_start(&self, matches: impl Fn(Physical) -> bool) -> Option<Physical> {
        let chain = &self.log.chain;
        chain.starts().rev().map(Physical::new).find(|at| matches(*at))
    }

    /// The last file that begins with a good record of which `matches` holds.
    fn last_file_where(&self, matches: impl Fn(Physical, Wall) -> bool) -> Option<Physical> {
        self.last_file_start(|at| {
            matches!(
                self.log.verdict(self.disk, at, Crc::Skip),
                Some(Verdict::Good(record)) if matches(at, record.store_time())
            )
        })
    }

    /// A first append should not have to wait. A full disk is no reason not to serve reads.
    fn make_room(&mut self) -> Result<(), Fault> {
        if self.log.written().end().get() < self.log.chain.room_end() {
            return Ok(());
        }
        match self.log.chain.grow(self.disk) {
            Err(Fault::Crashed) => Err(Fault::Crashed),
            Err(fault) => {
                let _path = self.log.chain.ask();
                self.log.chain.failed(fault);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn write_checkpoint(&mut self, end: Physical) -> Result<(), Fault> {
        let mut next = self.checkpoint;
        // Before the first append, as every position here: what is appended has a CRC, or has none.
        let known = next.durable.and_then(|durable| durable.checked);
        let checked = match self.settings.prop_crc {
            PropCrc::Append => Some(known.map_or(end, |checked| checked.min(end))),
            PropCrc::Omit => None,
        };
        let before = next.durable.unwrap_or_default();
        let (queued, ends) = if self.defers() {
            (self.queued.min(end), before.ends)
        } else {
            (end, self.queues.ends())
        };
        next.durable = Some(Durable { flushed: end, queued, checked, ends, ..Durable::default() });
        self.index_promise(&mut next, end);
        if let Some((at, stored)) = self.newest {
            next.physic = stored;
            if !self.defers() {
                next.logics = stored;
            }
            next.confirm = i64::try_from(at.get()).unwrap_or(i64::MAX);
        }
        self.replace_checkpoint(next)
    }

    /// Durably, if it says anything else than the one that is there.
    fn replace_checkpoint(&mut self, next: Checkpoint) -> Result<(), Fault> {
        if next != self.checkpoint {
            self.checkpoint = next;
            let bytes = &next.encode();
            self.disk.perform(Op::Replace { path: checkpoint::PATH, bytes })?;
        }
        Ok(())
    }

    fn finish(self) -> Recovered {
        let Self { log, queues, index, checkpoint, mut opened, newest, .. } = self;
        opened.log_files = log.chain.count();
        opened.end = log.written().end();
        opened.queues = queues.iter().count();
        let last_store_time = newest.map_or(checkpoint.physic, |(_, stored)| stored);
        Recovered { log, queues, index, checkpoint, last_store_time, opened }
    }
}
