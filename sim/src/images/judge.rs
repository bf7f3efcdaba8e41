//! One crash image: it is made, recovered, recovered once more, appended to, and recovered again.

use std::sync::Arc;

use hotfire_storage::seam::Fault;
use hotfire_storage::time::Mono;
use hotfire_storage::{OpenError, Settings, Store, StoreEvent};

use super::behind;
use super::model::{Known, Print};
use super::workload::{Cut, INNER, Source, is_batch};
use crate::choose::{Choose, Stream};
use crate::disk::{Faults, Medium, SimDisk};
use crate::ledger::Ledger;
use crate::ring::Violation;
use crate::trace::{Column, Mark};

/// Of a recovery that dies, the operation that it dies at is among the first so many.
const RECOVERY_OPS: u64 = 12;
/// At most so many recoveries of an image die.
const DEATHS: u32 = 2;
/// After so many tries a store must have opened: some die, and each file may tell of a failure.
const TRIES: u32 = 60;

/// What an image is judged by and with.
pub(super) struct Court<'a> {
    pub(super) settings: &'a Settings,
    /// The disk of the workload; of it the image has what a power failure does.
    pub(super) faults: &'a Faults,
    pub(super) ledger: &'a Ledger,
    pub(super) log: &'a Column,
}

/// What became of an image that violates nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Judged {
    /// Records that were found.
    pub(super) found: usize,
    /// Recoveries that died on the way.
    pub(super) deaths: u32,
    /// Why it was not opened at first.
    pub(super) refused: Option<&'static str>,
}

impl Court<'_> {
    /// Makes the image of `cut` that `dice` describe, and demands everything of it.
    pub(super) fn judge(&self, cut: &Cut, mut dice: Stream) -> Result<Judged, Violation> {
        let kill = dice.chance(200, "image.kill");
        let Faults { rot, stale, kind, merciless, torn, garbage, backup_gap, .. } = *self.faults;
        let faults =
            Faults { rot, stale, kind, merciless, torn, garbage, backup_gap, ..Faults::none() };
        let (ledger, log) = (self.ledger.clone(), self.log.clone());
        let medium = cut.snapshot.die(!kill, faults.clone(), dice.clone(), ledger, log);
        let faults = faults.restored();
        medium.set_faults(faults.clone());
        // Of a process alone that died, a write that had failed in the background is told yet.
        let untold = kill && self.faults.writeback_fails > 0;
        let judged = Judged::default();
        let mut image = Image { court: self, medium, dice, faults, untold, judged };
        if image.medium.rotten().is_empty() {
            image.judge(&cut.known)?;
        } else {
            image.judge_rotten(&cut.known)?;
        }
        Ok(image.judged)
    }

    pub(super) fn file_len(&self) -> u64 {
        u64::from(self.settings.commit_log_file)
    }
}

/// A machine that came back.
pub(super) struct Image<'a> {
    pub(super) court: &'a Court<'a>,
    pub(super) medium: Medium,
    dice: Stream,
    faults: Faults,
    untold: bool,
    pub(super) judged: Judged,
}

impl Image<'_> {
    fn judge(&mut self, known: &Known) -> Result<(), Violation> {
        if self.court.faults.read_fails > 0 && self.dice.chance(300, "image.read_fails") {
            self.medium.set_faults(Faults { read_fails: 30, ..self.faults.clone() });
        }
        let mut store = self.open()?;
        let found = known.check(&mut store, self.court.file_len())?;
        behind::check(&store)?;
        let print = Print::of(&store);
        drop(store);
        self.again(known, &print)?;
        self.goes_on(known, found)?;
        self.judged.found = found;
        Ok(())
    }

    /// Opens the store; recovery may die on the way, or be failed by the disk, and is repeated.
    fn open(&mut self) -> Result<Store<SimDisk>, Violation> {
        for _ in 0..TRIES {
            let disk = self.medium.mount();
            if self.judged.deaths < DEATHS && self.dice.chance(150, "image.recovery.dies") {
                self.judged.deaths += 1;
                self.medium.die_at(self.dice.below(RECOVERY_OPS, "image.recovery.dies.at"));
            }
            let outcome = self.open_once(disk, self.court.settings.clone());
            self.medium.set_faults(self.faults.clone());
            match outcome {
                Ok(store) => return Ok(store),
                Err(OpenError::Disk(Fault::Crashed)) => {
                    self.court.log.say(Mark::Died, format_args!("in its recovery"));
                }
                Err(OpenError::Disk(Fault::Io { op: "list" | "read" | "open", .. })) => {
                    self.judged.refused = Some("a read failed");
                }
                Err(OpenError::Disk(Fault::Io { op: "sync", .. })) if self.untold => {
                    self.judged.refused = Some("a write had failed in the background");
                }
                Err(error) => return Err(Violation::new("a crash image opens", error)),
            }
        }
        Err(Violation::new("a crash image opens", format_args!("not in {TRIES} tries")))
    }

    pub(super) fn open_once(
        &self,
        disk: SimDisk,
        settings: Settings,
    ) -> Result<Store<SimDisk>, OpenError> {
        let opened = Store::open(disk, settings, is_batch);
        // Where the fuse is longer than the recovery, it goes out.
        self.medium.spare();
        let (mut store, opened) = opened?;
        self.court.log.say(Mark::Up, format_args!("{opened:?}"));
        store.declare_batch(INNER, true);
        Ok(store)
    }

    /// What is readable is on the medium, and a second recovery agrees with the first.
    fn again(&mut self, known: &Known, print: &Print) -> Result<(), Violation> {
        if self.dice.chance(500, "image.again.power") {
            self.medium.power_fail();
        }
        let mut store = self.open()?;
        known.check(&mut store, self.court.file_len())?;
        let other = Print::of(&store);
        if other != *print {
            let detail = format!("{print:?}, then {other:?}");
            return Err(Violation::new("recovering twice gives the same", detail));
        }
        Ok(())
    }

    /// What was cut stays cut, though the log grows over it and the power fails once more.
    fn goes_on(&mut self, known: &Known, found: usize) -> Result<(), Violation> {
        let mut store = self.open()?;
        let mut history = known.records()[..found].to_vec();
        let mut source = Source::new(self.dice.clone(), 1 << 32);
        let mut flushed = store.flushed();
        let count = 1 + self.dice.below(4, "image.appends");
        let sync_at = self.dice.below(count + 2, "image.sync");
        for number in 1..=count {
            source.append(&mut store, &mut history)?;
            store.end_turn();
            if number == sync_at {
                store.sync(flushed.end(), store.committed());
            }
            let later = self.medium.next_due().unwrap_or(Mono::ZERO);
            self.medium.advance(later);
            store.tend_index();
            while let Some(event) = store.poll() {
                if let StoreEvent::Synced(outcome) = event {
                    match outcome {
                        Ok(upto) => flushed = flushed.max(upto),
                        // Recovery had no reason to sync that file, so it is told only now.
                        Err(_) if self.untold => {
                            self.judged.refused = Some("a write had failed in the background");
                        }
                        Err(fault) => return Err(Violation::new("a sync succeeds", fault)),
                    }
                }
            }
        }
        store.verify();
        let appended = history.len();
        let known =
            Known { history: Arc::new(history), appended, flushed: flushed.end().get(), ..*known };
        if self.dice.chance(200, "image.kill") {
            self.medium.kill();
        } else {
            self.medium.power_fail();
        }
        drop(store);
        let mut store = self.open()?;
        known.check(&mut store, self.court.file_len())?;
        behind::check(&store)
    }
}
