//! Crash images: the real store over the simulated medium, cut at every write and every operation.
//!
//! ```text
//! workload   open · append, sync, save, wait · close, kill or power failure · open · ...
//!               |        |      |     |            a snapshot before every write to memory,
//!               v        v      v     v            operation and completion, recovery's included
//! images     of each snapshot some: which bytes of a write, steps of an operation, names, pages
//!            and sectors were on the medium is drawn
//! judgement  recover (it may die of it) · check · recover again, the same · append · power fails ·
//!            recover · check
//! ```
//!
//! *Check* is: the log is an exact first part of what was appended, byte for byte, with everything
//! that the store had announced as flushed by then; each queue, light and batch queues included, is
//! what a recomputation from the log says and what appending had answered; the state file is the
//! old version or the new one; all of it is on the medium. A typed refusal is a violation, unless
//! the image has a fault that justifies one.
//!
//! As a ring ([`run`]) a seed is one image of one workload, so that seeds replay, tapes shrink and
//! digests compare as everywhere. A [`sweep`] makes images of every snapshot of a workload, and
//! names the one that fails by a tape for the ring.

mod behind;
mod judge;
mod model;
mod rot;
mod workload;

use std::collections::BTreeMap;
use std::time::Duration;

use hotfire_core::machine::Digest;

use crate::choose::{Chance, Choose, Concern, Draw, Tape, mixed};
use crate::disk::{Faults, Medium, Moment};
use crate::ledger::Ledger;
use crate::ring::{Change, Outcome, Passed, Ring, Run, Violation, caught};
use crate::trace::Trace;
use judge::Court;
use workload::{Cut, Lives, settings};

/// The question which snapshot is judged.
const CUT: &str = "images.cut";

/// Of a workload: its settings, and its snapshots if it violated nothing.
struct Collected {
    settings: hotfire_storage::Settings,
    cuts: Vec<Cut>,
    steps: u64,
}

fn collect(run: &Run) -> Result<Collected, Violation> {
    let (dice, log) = (run.chance.of(Concern::Disk), run.trace.column("workload"));
    let faults = Faults { boot_dies: 0, ..run.plan.disk.restored() };
    let medium = Medium::new(faults, dice, run.ledger.clone(), log.clone());
    let mut work = run.chance.of(Concern::Work);
    let settings = settings(&mut work);
    let mut lives = Lives::new(medium, settings.clone(), work, log);
    lives.run()?;
    Ok(Collected { settings, cuts: lives.cuts, steps: lives.steps })
}

/// One image of one workload.
pub fn run(run: &Run) -> Outcome {
    let Collected { settings, cuts, steps } = collect(run)?;
    let log = run.trace.column("image");
    let mut dice = run.chance.of(Concern::Process);
    let cut = &cuts[dice.index(cuts.len(), CUT)];
    let faults = &run.plan.disk;
    let court = Court { settings: &settings, faults, ledger: &run.ledger, log: &log };
    let judged = court.judge(cut, dice)?;
    let mut digest = Digest::new();
    for number in [cuts.len(), judged.found] {
        digest.number(number as u64);
    }
    digest.number(run.chance.drawn());
    Ok(Passed { digest: digest.value(), simulated: Duration::ZERO, steps })
}

/// What sweeps did.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Workloads.
    pub workloads: u64,
    /// Snapshots, and images made of them, by moment.
    pub moments: BTreeMap<Moment, (u64, u64)>,
    /// Images that were refused before they were opened, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Recoveries that died on the way.
    pub deaths: u64,
    /// Images that lack something that was appended, and that nobody had promised.
    pub shortened: u64,
}

impl Counts {
    /// Adds another's.
    pub fn absorb(&mut self, other: &Self) {
        self.workloads += other.workloads;
        self.deaths += other.deaths;
        self.shortened += other.shortened;
        for (moment, (cuts, images)) in &other.moments {
            let all = self.moments.entry(*moment).or_default();
            *all = (all.0 + cuts, all.1 + images);
        }
        for (why, images) in &other.refused {
            *self.refused.entry(why).or_default() += images;
        }
    }

    /// How many snapshots there were.
    pub fn cuts(&self) -> u64 {
        self.moments.values().map(|(cuts, _)| cuts).sum()
    }

    /// How many images were judged.
    pub fn images(&self) -> u64 {
        self.moments.values().map(|(_, images)| images).sum()
    }
}

/// An image that violates something, or a workload that did on its way.
#[derive(Clone, Debug)]
pub struct Found {
    /// What.
    pub violation: Violation,
    /// The same, for the ring to play.
    pub tape: Tape,
    /// In words: which image of which snapshot.
    pub place: String,
}

/// Makes `per_cut` images of each snapshot of a seed's workload.
pub fn sweep(seed: u64, change: &Change, per_cut: u64, ledger: &Ledger) -> Result<Counts, Found> {
    let mut run = Run::new(Ring::Images, Chance::recorded(seed), change, Trace::off());
    run.ledger = ledger.clone();
    let workload = || run.chance.written().draws().to_vec();
    let collected = caught(|| collect(&run)).map_err(|violation| {
        let place = "the workload itself".to_owned();
        Found { violation, tape: Tape::new(workload()), place }
    })?;
    let Collected { settings, cuts, .. } = &collected;
    let mut counts = Counts { workloads: 1, ..Counts::default() };
    let log = run.trace.column("image");
    let faults = &run.plan.disk;
    let court = Court { settings, faults, ledger, log: &log };
    for (number, cut) in cuts.iter().enumerate() {
        let mut images = 0;
        for image in 0..per_cut {
            let seed = image_seed(seed, number, image);
            let judge = |chance: &Chance| caught(|| court.judge(cut, chance.of(Concern::Process)));
            let judged = judge(&Chance::seed(seed)).map_err(|violation| {
                let again = Chance::recorded(seed);
                drop(judge(&again));
                let of = cuts.len() as u64;
                let asked =
                    Draw { concern: Concern::Process, why: CUT.into(), of, value: number as u64 };
                let draws = [workload(), vec![asked], again.written().draws().to_vec()].concat();
                let place = format!("image {image} of snapshot {number} of {of}");
                Found { violation, tape: Tape::new(draws), place }
            })?;
            images += 1;
            counts.deaths += u64::from(judged.deaths);
            if let Some(why) = judged.refused {
                *counts.refused.entry(why).or_default() += 1;
            }
            counts.shortened += u64::from(judged.found < cut.known.appended);
        }
        let all = counts.moments.entry(cut.snapshot.moment()).or_default();
        *all = (all.0 + 1, all.1 + images);
    }
    Ok(counts)
}

fn image_seed(seed: u64, cut: usize, image: u64) -> u64 {
    mixed(mixed(seed) ^ (cut as u64) << 20 ^ image)
}

#[cfg(test)]
mod tests;
