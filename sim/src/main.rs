//! `hotfire-sim`: runs seeds, plays failures again, prints digests.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)] // A command line speaks.

mod batch;
mod images_command;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
// The clock of the operator, for speed, patience and fresh seeds. No run sees it.
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand, ValueEnum};
use hotfire_sim::choose::{Chance, Tape};
use hotfire_sim::disk::Faults;
use hotfire_sim::ledger::Ledger;
use hotfire_sim::plan::{Family, Plan};
use hotfire_sim::report::{Failure, LOG_LINES, told};
use hotfire_sim::ring::{self, Change, Outcome, Ring, Run};
use hotfire_sim::trace::Trace;

use batch::{Batch, More, Seeds};

/// Tests Hotfire under simulated disks, networks, clocks and crashes. A run is a function of its
/// seed: what fails once fails again.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run seeds until one fails
    Run {
        #[command(flatten)]
        seeds: Seeds,
        #[command(flatten)]
        more: More,
        #[command(flatten)]
        world: World,
        /// Seeds that are run at the same time
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1024))]
        jobs: u64,
        /// Let every disk lie about every second sync: succeeds only if some seed fails
        #[arg(long)]
        canary: bool,
        /// Seconds to spend on shortening a failure
        #[arg(long, default_value_t = 60)]
        patience: u64,
        /// Where failures are written down
        #[arg(long, default_value = "failures")]
        failures: PathBuf,
        /// Print seed, plan and digest of every run
        #[arg(short, long)]
        verbose: bool,
    },
    /// Run one seed, or one tape, with its log on
    Replay {
        /// The seed; it also names the run if a tape is played
        seed: u64,
        #[command(flatten)]
        world: World,
        /// Play this tape instead of drawing from the seed
        #[arg(long)]
        tape: Option<PathBuf>,
        /// Run this plan instead of the one that is drawn
        #[arg(long)]
        plan: Option<PathBuf>,
        /// Show so many lines of the log, its last ones
        #[arg(long, default_value_t = LOG_LINES, value_parser = lines)]
        lines: usize,
    },
    /// Judge crash images of the store: every moment of many workloads
    Images(images_command::Images),
    /// Print one line `ring seed digest` per run, for comparing processes and platforms
    Digests {
        #[command(flatten)]
        seeds: Seeds,
        #[command(flatten)]
        world: World,
    },
}

#[derive(Args)]
struct World {
    /// The world to run in
    #[arg(long, value_enum, default_value_t = Rings::All)]
    ring: Rings,
    /// Families of faults to switch off
    #[arg(long, value_enum, value_delimiter = ',')]
    mute: Vec<Mute>,
    /// Single faults of disks to switch off, as the plan calls them: `torn,garbage`
    #[arg(long, value_parser = fault, value_delimiter = ',')]
    off: Vec<String>,
}

/// How much of a log is shown.
fn lines(text: &str) -> Result<usize, String> {
    let lines = text.parse().ok().filter(|lines| *lines > 0);
    lines.ok_or_else(|| "a whole number above 0".to_owned())
}

/// The name of a fault of disks.
pub(crate) fn fault(name: &str) -> Result<String, String> {
    let known = Faults::none().without(name);
    known.map(|_| name.to_owned()).ok_or_else(|| "no such fault in plan.disk".to_owned())
}

const NO_MADSIM: &str = "ring 2 is not compiled in: use `cargo sim`";

#[derive(Clone, Copy, ValueEnum)]
enum Rings {
    /// The disk alone, under the smallest store that can be right
    Disk,
    /// The store alone: one crash image a seed
    Images,
    /// A master and its slaves
    Pair,
    /// The machines in lockstep
    #[value(name = "1")]
    Lockstep,
    /// The real drivers, under madsim
    #[value(name = "2")]
    Madsim,
    /// Rings pair, 1 and 2; not 2 where madsim was not compiled in
    All,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mute {
    Clock,
    Disk,
    Net,
    Process,
}

impl World {
    /// Where a batch is run.
    fn rings_of(&self, batch: &Batch) -> Result<Vec<Ring>, String> {
        match (self.ring, batch.rings()) {
            (Rings::All, Some(named)) if named.contains(&Ring::Madsim) && !cfg!(madsim) => {
                Err(NO_MADSIM.to_owned())
            }
            (Rings::All, Some(named)) => Ok(named),
            _ => self.rings(),
        }
    }

    fn rings(&self) -> Result<Vec<Ring>, String> {
        let has_madsim = cfg!(madsim);
        match self.ring {
            Rings::Disk => Ok(vec![Ring::Disk]),
            Rings::Images => Ok(vec![Ring::Images]),
            Rings::Pair => Ok(vec![Ring::Pair]),
            Rings::Lockstep => Ok(vec![Ring::Lockstep]),
            Rings::All if !has_madsim => Ok(vec![Ring::Pair, Ring::Lockstep]),
            Rings::All => Ok(vec![Ring::Pair, Ring::Lockstep, Ring::Madsim]),
            Rings::Madsim if has_madsim => Ok(vec![Ring::Madsim]),
            Rings::Madsim => Err(NO_MADSIM.to_owned()),
        }
    }

    fn change(&self) -> Change {
        let families = self.mute.iter().map(|mute| match mute {
            Mute::Clock => Family::Clock,
            Mute::Disk => Family::Disk,
            Mute::Net => Family::Net,
            Mute::Process => Family::Process,
        });
        Change { mute: families.collect(), off: self.off.clone(), ..Change::default() }
    }

    /// As it is typed.
    fn arguments(&self, ring: Ring) -> String {
        let names = self.mute.iter().filter_map(Mute::to_possible_value);
        let names: Vec<String> = names.map(|value| value.get_name().to_owned()).collect();
        let mute =
            if names.is_empty() { String::new() } else { format!(" --mute {}", names.join(",")) };
        let off = if self.off.is_empty() {
            String::new()
        } else {
            format!(" --off {}", self.off.join(","))
        };
        format!("--ring {}{mute}{off}", ring.name())
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    ring::remember_panics();
    let done = match &cli.command {
        Command::Run { seeds, more, world, jobs, canary, patience, failures, verbose } => {
            let shelf = Shelf { patience: Duration::from_secs(*patience), root: failures };
            Batch::new(seeds, more)
                .and_then(|batch| soak(&batch, world, *jobs, *canary, &shelf, *verbose))
        }
        Command::Replay { seed, world, tape, plan, lines } => {
            replay(*seed, world, tape.as_ref(), plan.as_ref(), *lines)
        }
        Command::Digests { seeds, world } => digests(seeds, world),
        Command::Images(images) => images.run(),
    };
    done.unwrap_or_else(|error| {
        eprintln!("hotfire-sim: {error}");
        ExitCode::from(2)
    })
}

/// Where failures go, and how long they may be worked on.
struct Shelf<'a> {
    patience: Duration,
    root: &'a PathBuf,
}

fn soak(
    batch: &Batch,
    world: &World,
    jobs: u64,
    canary: bool,
    shelf: &Shelf<'_>,
    verbose: bool,
) -> Result<ExitCode, String> {
    let change = Change { lies: if canary { 500 } else { 0 }, ..world.change() };
    for ring in world.rings_of(batch)? {
        let (sum, batch) = (Sum::default(), &batch.of(ring));
        let start = Instant::now();
        let first = first_failure(batch, jobs, &sum, |seed| {
            let run = Run::new(ring, Chance::seed(seed), &change, Trace::off());
            let outcome = ring::run(ring, &run);
            if verbose {
                println!("{}", spoken(ring, seed, &run, &outcome));
            }
            (outcome, run.ledger)
        });
        sum.print(ring, batch, start.elapsed());
        match (first, canary) {
            (None, true) => return Err("the canary lives: no oracle saw that disks lie".into()),
            (None, false) => {}
            (Some(seed), true) => println!("ring {}: the canary died at seed {seed}", ring.name()),
            (Some(seed), false) => {
                report(ring, seed, &change, world, shelf)?;
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs seeds on `jobs` threads. Seeds are handed out in order and what was handed out is
/// finished, so that the answer does not depend on who was faster.
fn first_failure(
    batch: &Batch,
    jobs: u64,
    sum: &Sum,
    run: impl Fn(u64) -> (Outcome, Ledger) + Sync,
) -> Option<u64> {
    let start = Instant::now();
    let (next, failed) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let seed = batch.seed(at, start).filter(|_| at < failed.load(Ordering::Relaxed));
            let Some(seed) = seed else { return };
            let (outcome, ledger) = run(seed);
            sum.add(seed, &outcome, &ledger);
            if outcome.is_err() {
                failed.fetch_min(at, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| (0..jobs).for_each(|_| drop(scope.spawn(work))));
    let failed = failed.into_inner();
    // Asked at the beginning of time, so that patience has not run out.
    (failed != u64::MAX).then(|| batch.seed(failed, Instant::now())).flatten()
}

/// Of all runs together.
#[derive(Default)]
struct Sum {
    ledger: Ledger,
    /// Runs, steps, simulated time, and a digest that does not depend on the order of the runs.
    total: Mutex<(u64, u64, Duration, u64)>,
}

impl Sum {
    fn add(&self, seed: u64, outcome: &Outcome, ledger: &Ledger) {
        self.ledger.absorb(ledger);
        let mut total = self.total.lock().expect("nobody panics while adding");
        total.0 += 1;
        if let Ok(passed) = outcome {
            total.1 += passed.steps;
            total.2 += passed.simulated;
            let mut digest = hotfire_core::machine::Digest::new();
            digest.number(seed);
            digest.number(passed.digest);
            total.3 = total.3.wrapping_add(digest.value());
        }
    }

    fn print(&self, ring: Ring, batch: &Batch, real: Duration) {
        let (runs, steps, simulated, digest) = *self.total.lock().expect("the runs are over");
        let speed = simulated.as_micros() / real.as_micros().max(1);
        println!(
            "ring {}: {runs} runs of {batch}, {steps} steps, {} s simulated in {} ms \
             ({speed}x), digest {digest:016x}",
            ring.name(),
            simulated.as_secs(),
            real.as_millis(),
        );
        print!("{}", self.ledger);
        let never: Vec<&str> = self.ledger.never().iter().map(|strike| strike.name()).collect();
        if !never.is_empty() {
            println!("never struck: {}", never.join(" "));
        }
    }
}

fn report(
    ring: Ring,
    seed: u64,
    change: &Change,
    world: &World,
    shelf: &Shelf<'_>,
) -> Result<(), String> {
    let unsure = || format!("seed {seed} failed, and passed when run again: it is not its seed's");
    let failure = Failure::again(ring, seed, change).ok_or_else(unsure)?;
    println!("{}", printed(&failure.run.plan));
    println!("{}", told(&failure.run, &Err(failure.violation.clone())));
    let start = Instant::now();
    let shortest = failure.shrunk(|_| start.elapsed() < shelf.patience);
    let dir = failure.write(shelf.root, &shortest).map_err(|error| error.to_string())?;
    let (long, short) = (failure.run.chance.written().len(), shortest.weight());
    let arguments = world.arguments(ring);
    println!("seed {seed} failed; of its {long} draws, {short} matter");
    println!("again: hotfire-sim replay {seed} {arguments}");
    println!("short: hotfire-sim replay {seed} {arguments} --tape {}/tape.min", dir.display());
    Ok(())
}

fn replay(
    seed: u64,
    world: &World,
    tape: Option<&PathBuf>,
    plan: Option<&PathBuf>,
    lines: usize,
) -> Result<ExitCode, String> {
    let read = |path: &PathBuf| {
        fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let named =
        |path: &PathBuf, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let mut change = world.change();
    if let Some(path) = plan {
        let plan = serde_json::from_str(&read(path)?).map_err(|error| named(path, &error))?;
        change.plan = Some(plan);
    }
    let mut code = ExitCode::SUCCESS;
    for ring in world.rings()? {
        let chance = match tape {
            Some(path) => {
                let tape: Tape = read(path)?.parse().map_err(|error| named(path, &error))?;
                Chance::tape(&tape)
            }
            None => Chance::recorded(seed),
        };
        let run = Run::new(ring, chance, &change, Trace::last(lines));
        let outcome = ring::run(ring, &run);
        println!("ring {} seed {seed}\n{}", ring.name(), printed(&run.plan));
        println!("{}", told(&run, &outcome));
        if outcome.is_err() {
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

fn digests(seeds: &Seeds, world: &World) -> Result<ExitCode, String> {
    for ring in world.rings()? {
        for seed in seeds.from..seeds.from.saturating_add(seeds.seeds) {
            let run = Run::new(ring, Chance::seed(seed), &world.change(), Trace::off());
            match ring::run(ring, &run) {
                Ok(passed) => println!("{} {seed} {:016x}", ring.name(), passed.digest),
                Err(violation) => println!("{} {seed} {violation}", ring.name()),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn spoken(ring: Ring, seed: u64, run: &Run, outcome: &Outcome) -> String {
    let end = match outcome {
        Ok(passed) => format!("{:016x}", passed.digest),
        Err(violation) => violation.to_string(),
    };
    let plan = serde_json::to_string(&run.plan).expect("a plan is plain data");
    format!("ring {} seed {seed} {end} {plan}", ring.name())
}

fn printed(plan: &Plan) -> String {
    serde_json::to_string_pretty(plan).expect("a plan is plain data")
}
