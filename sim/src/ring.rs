//! Rings: the worlds that a seed can be run in, and what comes of a run.
//!
//! | ring | world | finds |
//! |---|---|---|
//! | disk | the medium under a store of one page, [`torture`] | mistakes of the simulator |
//! | images | the store over the medium, without a broker, [`images`] | mistakes of recovery |
//! | pair | a master and its slaves, machines in lockstep | mistakes of replication |
//! | 1 | the machines in lockstep: no runtime, one thread | mistakes of machines and store |
//! | 2 | the real drivers under madsim | mistakes of drivers |

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::choose::{Chance, Concern, Tape};
use crate::images;
use crate::ledger::Ledger;
use crate::pair;
use crate::plan::{Family, Plan, Wired};
use crate::torture;
use crate::trace::Trace;
use crate::world;

/// A world to run a seed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ring {
    /// The disk alone.
    Disk,
    /// The store alone, and its crash images.
    Images,
    /// A master and its slaves.
    Pair,
    /// The machines, in lockstep.
    Lockstep,
    /// The drivers, under madsim.
    Madsim,
}

impl Ring {
    /// Each of them.
    pub const ALL: [Self; 5] = [Self::Disk, Self::Images, Self::Pair, Self::Lockstep, Self::Madsim];

    /// The word for it on a command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Images => "images",
            Self::Pair => "pair",
            Self::Lockstep => "1",
            Self::Madsim => "2",
        }
    }
}

/// What a run is given. Handles all of them: whoever made them can look at them afterwards,
/// whatever became of the run.
#[derive(Clone, Debug)]
pub struct Run {
    /// All its chance.
    pub chance: Chance,
    /// Its plan.
    pub plan: Plan,
    /// Where it logs.
    pub trace: Trace,
    /// Where it counts.
    pub ledger: Ledger,
}

/// How a run is changed against what its chance would draw.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Another plan.
    pub plan: Option<Plan>,
    /// Families of faults that are off.
    pub mute: Vec<Family>,
    /// Single faults of disks that are off.
    pub off: Vec<String>,
    /// Per mille of syncs that lie: the canary.
    pub lies: u32,
}

impl Run {
    /// A run of `chance` in a ring: draws the plan.
    pub fn new(ring: Ring, chance: Chance, change: &Change, trace: Trace) -> Self {
        let drawn = || {
            let mut plan = Plan::draw(&mut chance.of(Concern::Plan));
            if ring == Ring::Madsim {
                plan.wired = Wired::draw(&mut chance.of(Concern::Wired));
            }
            plan
        };
        let mut plan = change.plan.clone().unwrap_or_else(drawn).muted(&change.mute);
        for name in &change.off {
            plan.disk = plan.disk.without(name).unwrap_or(plan.disk);
        }
        plan.disk.sync_lies = plan.disk.sync_lies.max(change.lies);
        Self { chance, plan, trace, ledger: Ledger::default() }
    }
}

/// What a run was that violated nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Of everything that happened and was left: two runs are one if it is equal.
    pub digest: u64,
    /// Simulated time that passed.
    pub simulated: Duration,
    /// Events that happened.
    pub steps: u64,
}

/// An oracle's verdict: something is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{oracle}: {detail}")]
pub struct Violation {
    /// Which oracle. A shrunk tape must violate the same one.
    pub oracle: String,
    /// What it saw.
    pub detail: String,
}

impl Violation {
    /// `oracle` saw this.
    pub fn new(oracle: &str, detail: impl fmt::Display) -> Self {
        Self { oracle: oracle.to_owned(), detail: detail.to_string() }
    }
}

/// What comes of a run.
pub type Outcome = Result<Passed, Violation>;

/// Runs in a ring. A panic, ours or the product's, is a violation whose oracle is the place of
/// the panic.
pub fn run(ring: Ring, run: &Run) -> Outcome {
    if ring == Ring::Madsim {
        // The standard library seeds its hash maps once a thread: each run has one of its own.
        return std::thread::scope(|scope| scope.spawn(|| run_here(ring, run)).join())
            .expect("panics are caught within");
    }
    run_here(ring, run)
}

fn run_here(ring: Ring, run: &Run) -> Outcome {
    caught(|| match ring {
        Ring::Disk => torture::run(run),
        Ring::Images => images::run(run),
        Ring::Pair => pair::run(run),
        Ring::Lockstep => ring1(run),
        Ring::Madsim => ring2(run),
    })
}

/// Runs a part of a run; a panic in it is a violation.
pub(crate) fn caught<T>(work: impl FnOnce() -> Result<T, Violation>) -> Result<T, Violation> {
    // The run's handles are looked at after a panic and made for it; the rest of it is gone.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(panicked(&*panic)))
}

/// Runs a tape.
pub fn replay(ring: Ring, tape: &Tape, change: &Change, trace: Trace) -> (Outcome, Run) {
    let made = Run::new(ring, Chance::tape(tape), change, trace);
    (run(ring, &made), made)
}

fn ring1(run: &Run) -> Outcome {
    world::run(run)
}

#[cfg(madsim)]
fn ring2(run: &Run) -> Outcome {
    crate::madsim::run(run)
}

#[cfg(not(madsim))]
fn ring2(_: &Run) -> Outcome {
    Err(Violation::new("ring 2 is compiled in", "it is not: build with `cargo sim`"))
}

thread_local! {
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on panics of this process are not printed but remembered: a run that fails is
/// reported once, by whoever ran it.
pub fn remember_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|at| format!("panic {}:{}", at.file(), at.line()));
        PLACE.with(|last| *last.borrow_mut() = place);
    }));
}

fn panicked(panic: &(dyn Any + Send)) -> Violation {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    let place = PLACE.with(|last| last.borrow_mut().take());
    Violation::new(place.as_deref().unwrap_or("panic"), text.unwrap_or("no message"))
}
