//! The medium: what outlives a process, and who decides when one dies.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hotfire_core::machine::Digest;
use hotfire_storage::seam::{DiskUse, Done, Fault, Token};
use hotfire_storage::time::Mono;

use super::SimDisk;
use super::faults::{Fate, Faults, Luck};
use super::files::Files;
use super::ops::{self, Request};
use super::page;
use super::snapshot::Snapshot;
use crate::choose::{Choose, Stream};
use crate::ledger::{Ledger, Strike};
use crate::trace::{Column, Mark};

/// Of a boot that dies, the operation it dies at is among the first so many.
const BOOT_OPS: u64 = 12;

/// The medium of one machine: a handle, cheap to clone, held by the world. What a process does to
/// it goes through the [`SimDisk`] that [`Medium::mount`] gives it.
#[derive(Clone)]
pub struct Medium(Arc<Mutex<Inner>>);

pub(super) struct Inner {
    pub(super) files: Files,
    pub(super) luck: Luck,
    pub(super) flights: Flights,
    pub(super) now: Mono,
    pub(super) mounts: u32,
    pub(super) mounted: bool,
    losses: u64,
    pub(super) death: Option<Death>,
    /// What it said to those who asked how full it is.
    pub(super) measures: Vec<DiskUse>,
    /// Operations to be performed before the machine dies at one.
    fuse: Option<u64>,
    /// Snapshots of every moment at which it could have died, if that is asked for.
    pub(super) cuts: Option<Vec<Snapshot>>,
}

/// How a process ends that did not stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Death {
    /// The page cache stays.
    Kill,
    /// Nothing stays but what the medium holds.
    Power,
}

impl Medium {
    /// An empty medium.
    pub fn new(faults: Faults, dice: Stream, ledger: Ledger, log: Column) -> Self {
        assert!(faults.latency_min_us <= faults.latency_max_us, "latencies are in order");
        Self(Arc::new(Mutex::new(Inner {
            files: Files::default(),
            luck: Luck { faults, dice, ledger, log },
            flights: Flights::default(),
            now: Mono::ZERO,
            mounts: 0,
            mounted: false,
            losses: 0,
            death: None,
            measures: Vec::new(),
            fuse: None,
            cuts: None,
        })))
    }

    /// The disk of a new process. Draws whether its boot will die, and at which operation.
    ///
    /// Panics while the disk of the process before has not been dropped: a process is mounted
    /// when the one before it is no more.
    #[must_use]
    pub fn mount(&self) -> SimDisk {
        let mut inner = self.lock();
        assert!(!inner.mounted, "the process before still holds the disk: drop it first");
        inner.mounted = true;
        inner.mounts += 1;
        let Luck { faults, dice, .. } = &mut inner.luck;
        let dies = dice.chance(faults.boot_dies, "disk.boot.dies");
        inner.fuse = dies.then(|| inner.luck.dice.below(BOOT_OPS, "disk.boot.dies.at"));
        let quiet = inner.luck.quiet();
        SimDisk::new(self.clone(), inner.mounts, quiet)
    }

    /// Another machine had the medium, and left a file on it, whatever was there before.
    pub fn leave(&self, path: &str, bytes: &[u8]) {
        let Inner { files, luck, mounted, .. } = &mut *self.lock();
        assert!(!*mounted, "a process still holds the disk");
        if files.find(path).is_some() {
            files.unlink(path);
        }
        let inode = files.create(path);
        files.write(inode, bytes);
        files.settle(inode, page::pages(0, bytes.len() as u64), Fate::Holds, path, luck);
        files.commit();
    }

    /// Lights a fuse by hand: the machine dies at performed operation number `after`, counted
    /// from 0, for scenarios and for enumerations of every crash point.
    pub fn die_at(&self, after: u64) {
        self.lock().fuse = Some(after);
    }

    /// Puts the fuse out.
    pub fn spare(&self) {
        self.lock().fuse = None;
    }

    /// The process dies, the machine does not. From here on nothing that its disk is told changes
    /// anything; dropping the disk settles what was under way.
    pub fn kill(&self) {
        self.lock().die(Death::Kill);
    }

    /// The power fails. As [`Medium::kill`], and when the disk has been dropped (or at once, if
    /// there is none) memory is gone, and dirty pages are kept, dropped or torn.
    pub fn power_fail(&self) {
        let mut inner = self.lock();
        if inner.mounted {
            inner.die(Death::Power);
        } else {
            inner.lose_power();
        }
    }

    /// Is it dead, or has it never been mounted?
    pub fn is_dead(&self) -> bool {
        let inner = self.lock();
        !inner.mounted || inner.death.is_some()
    }

    /// How many times its power failed.
    pub fn losses(&self) -> u64 {
        self.lock().losses
    }

    /// Time passes. Operations whose time has come are then polled from the disk.
    pub fn advance(&self, now: Mono) {
        let mut inner = self.lock();
        inner.now = inner.now.max(now);
    }

    /// When the next operation completes, if one is under way.
    #[must_use]
    pub fn next_due(&self) -> Option<Mono> {
        let inner = self.lock();
        if inner.death.is_some() { None } else { inner.flights.next_due() }
    }

    /// Other faults from now on: a liveness phase heals the disk, a scenario breaks it.
    /// Where no boot dies any more, a fuse that was lit for one goes out; where no sync is stuck
    /// any more, those that were go on.
    pub fn set_faults(&self, faults: Faults) {
        let mut inner = self.lock();
        if faults.boot_dies == 0 {
            inner.fuse = None;
        }
        if faults.sync_stuck == 0 {
            let now = inner.now;
            inner.flights.release(now);
        }
        inner.luck.faults = faults;
    }

    /// What is durable at this moment: every path and its bytes.
    pub fn durable(&self) -> BTreeMap<String, Vec<u8>> {
        self.durable_where(|_| true)
    }

    /// The same, of some paths.
    pub fn durable_where(&self, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, Vec<u8>> {
        self.lock().files.durable(wanted)
    }

    /// What a process would see that starts now: every path and its bytes. Files that a process has
    /// mapped are known to its [`SimDisk::seen`].
    pub fn seen(&self) -> BTreeMap<String, Vec<u8>> {
        self.seen_where(|_| true)
    }

    /// The same, of some paths.
    pub fn seen_where(&self, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, Vec<u8>> {
        self.lock().files.seen(wanted)
    }

    /// What has rotted so far: paths, and bytes of them.
    pub fn rotten(&self) -> Vec<(String, Range<u64>)> {
        self.lock().files.rotten.clone()
    }

    /// What is durable of `len` bytes of one file, from `from` on; `None` if there is no such file.
    pub fn durable_part(&self, path: &str, from: u64, len: usize) -> Option<Vec<u8>> {
        self.lock().files.durable_part(path, from, len)
    }

    /// Has a write in the background failed that no sync has told of? The kernel's log says so.
    pub fn has_failed_untold(&self) -> bool {
        self.lock().files.has_failed_untold()
    }

    /// The first byte of a log's first file, as a process would see it that starts now.
    pub fn log_start(&self) -> Option<u64> {
        self.log_files().first().copied()
    }

    /// The first bytes of a log's files, in order, as a process would see them that starts now.
    pub fn log_files(&self) -> Vec<u64> {
        let inner = self.lock();
        let logs = inner.files.names.live.paths.keys().map(|path| path.strip_prefix("commitlog/"));
        logs.filter_map(|name| name?.parse().ok()).collect()
    }

    /// What it has said since this was asked to those who asked how full it is.
    pub fn take_measures(&self) -> Vec<DiskUse> {
        std::mem::take(&mut self.lock().measures)
    }

    /// Folds in both images. While a process has files mapped, [`SimDisk::digest`] knows more.
    pub fn digest(&self, into: &mut Digest) {
        self.lock().files.digest(into);
    }

    /// Checks that memory and medium differ only where they are known to.
    pub fn verify(&self) {
        self.lock().files.verify();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panicking run poisons the lock; its images are looked at all the same.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Marks the process as dead; a power failure is not undone by a kill.
    pub(super) fn die(&mut self, death: Death) {
        if self.mounted {
            self.death = self.death.max(Some(death));
            self.luck.log.say(Mark::Died, format_args!("{death:?}"));
        }
    }

    /// Performs `request` now, or dies of it.
    pub(super) fn perform(&mut self, request: &Request) -> Result<(), Fault> {
        match self.fuse {
            Some(0) => {
                self.fuse = None;
                self.luck.strike(Strike::DiskDiedInBoot, &request.path);
                ops::run_some(request, &mut self.files, &mut self.luck);
                let power = self.luck.dice.chance(500, "disk.boot.power");
                self.die(if power { Death::Power } else { Death::Kill });
                return Err(Fault::Crashed);
            }
            Some(more) => self.fuse = Some(more - 1),
            None => {}
        }
        ops::run(request, &mut self.files, &mut self.luck)
    }

    /// The dead process has handed back its mappings: what becomes of what it left under way?
    pub(super) fn settle(&mut self, death: Death) {
        let mut cut: Vec<String> = Vec::new();
        for flight in self.flights.take() {
            let waits = cut.contains(&flight.request.path) || flight.outcome.is_some();
            if !waits && !ops::run_some(&flight.request, &mut self.files, &mut self.luck) {
                cut.push(flight.request.path);
            }
        }
        match death {
            Death::Kill => self.luck.ledger.hit(Strike::DiskKilled),
            Death::Power => self.lose_power(),
        }
    }

    fn lose_power(&mut self) {
        self.losses += 1;
        let pending = self.files.names.pending();
        self.luck.strike(Strike::DiskPowerFailed, format_args!("{pending} names pending"));
        self.files.power_failed(&mut self.luck);
        if self.luck.dice.chance(self.luck.faults.rot, "disk.rot") {
            self.files.rot(&mut self.luck);
        }
    }
}

/// Operations under way.
#[derive(Debug, Default)]
pub(super) struct Flights {
    /// In the order of submission.
    flying: Vec<Flight>,
    /// Completed before they were due, because something had to come after them.
    landed: VecDeque<(Token, Result<Done, Fault>)>,
    /// Nothing that is submitted ends.
    hangs: bool,
}

/// When a stuck operation is due.
pub(super) const NEVER: Mono = Mono::from_micros(u64::MAX);

#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) token: Token,
    pub(super) request: Request,
    pub(super) due: Mono,
    /// Set if it did its work when it was submitted, and only its answer is still under way.
    pub(super) outcome: Option<Result<(), Fault>>,
}

impl Flight {
    /// An operation that is performed and not submitted.
    pub(super) const fn at_once(request: Request) -> Self {
        Self { token: Token(u64::MAX), request, due: Mono::ZERO, outcome: None }
    }
}

impl Flights {
    pub(super) fn push(&mut self, flight: Flight) {
        let taken = self.flying.iter().any(|other| other.token == flight.token);
        assert!(!taken, "{:?} names an operation that still runs", flight.token);
        self.flying.push(flight);
    }

    pub(super) fn next_due(&self) -> Option<Mono> {
        if self.landed.is_empty() {
            self.flying.iter().map(|flight| flight.due).filter(|due| *due < NEVER).min()
        } else {
            Some(Mono::ZERO)
        }
    }

    /// When the last operation on `path` will be done; `None` if there is none under way.
    pub(super) fn last_due(&self, path: &str) -> Option<Mono> {
        if self.hangs { Some(NEVER) } else { self.on(path).map(|flight| flight.due).max() }
    }

    /// From now on nothing ends that is submitted.
    pub(super) fn hang(&mut self) {
        self.hangs = true;
    }

    /// Is something stuck?
    pub(super) fn is_stuck(&self) -> bool {
        self.flying.iter().any(|flight| flight.due == NEVER)
    }

    /// What is stuck goes on.
    fn release(&mut self, now: Mono) {
        self.hangs = false;
        let stuck = self.flying.iter_mut().filter(|flight| flight.due == NEVER);
        stuck.for_each(|flight| flight.due = now);
    }

    /// Takes out the operation that completes next, if it is due. The earlier submission wins a
    /// tie, which keeps operations on one file in order; operations on different files overtake
    /// each other, which the seam allows, and the mapped disk does where they differ in kind.
    pub(super) fn take_due(&mut self, now: Mono) -> Option<Flight> {
        let numbered = self.flying.iter().enumerate();
        let is_due = |f: &Flight| f.due <= now && f.due < NEVER;
        let (at, _) = numbered.filter(|(_, f)| is_due(f)).min_by_key(|(at, f)| (f.due, *at))?;
        Some(self.flying.remove(at))
    }

    pub(super) fn land(&mut self, token: Token, outcome: Result<Done, Fault>) {
        self.landed.push_back((token, outcome));
    }

    pub(super) fn take_landed(&mut self) -> Option<(Token, Result<Done, Fault>)> {
        self.landed.pop_front()
    }

    /// What is under way, in the order of submission. What has landed waits for its poll only.
    pub(super) fn flying(&self) -> &[Flight] {
        &self.flying
    }

    fn take(&mut self) -> Vec<Flight> {
        self.landed.clear();
        self.hangs = false;
        std::mem::take(&mut self.flying)
    }

    fn on(&self, path: &str) -> impl Iterator<Item = &Flight> {
        self.flying.iter().filter(move |flight| flight.request.path == path)
    }
}
