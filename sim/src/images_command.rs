//! `hotfire-sim images`: crash images, so and so many.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
// The operator's clock, for speed and patience.
use std::time::{Duration, Instant};

use clap::Args;
use hotfire_sim::images::{Counts, Found, sweep};
use hotfire_sim::ledger::Ledger;
use hotfire_sim::report::{Failure, told};
use hotfire_sim::ring::{Change, Ring};

/// What is asked for.
#[derive(Args)]
pub(crate) struct Images {
    /// Seeds to sweep, one workload each; without it as many as `--images` take
    #[arg(long)]
    seeds: Option<u64>,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Images to judge, at least
    #[arg(long = "images", default_value_t = 100_000, conflicts_with = "seeds")]
    at_least: u64,
    /// Images of each snapshot
    #[arg(long, default_value_t = 2)]
    per_cut: u64,
    /// Single faults of disks to switch off, as the plan calls them: `torn,garbage`
    #[arg(long, value_parser = crate::fault, value_delimiter = ',')]
    off: Vec<String>,
    /// Seeds that are swept at the same time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1024))]
    jobs: u64,
    /// Seconds to spend on shortening a failure
    #[arg(long, default_value_t = 60)]
    patience: u64,
    /// Where failures are written down
    #[arg(long, default_value = "failures")]
    failures: PathBuf,
}

/// Of all seeds together: counts, and the first seed that failed.
type Sum = (Counts, Option<(u64, Box<Found>)>);

impl Images {
    fn is_done(&self, next: &AtomicU64, (counts, found): &Sum) -> bool {
        let enough = match self.seeds {
            Some(seeds) => next.load(Ordering::Relaxed) >= self.from.saturating_add(seeds),
            None => counts.images() >= self.at_least,
        };
        enough || found.is_some()
    }

    pub(crate) fn run(&self) -> Result<ExitCode, String> {
        let change = Change { off: self.off.clone(), ..Change::default() };
        let (ledger, start) = (Ledger::default(), Instant::now());
        let next = AtomicU64::new(self.from);
        let sum = Mutex::new(Sum::default());
        let work = || {
            loop {
                if self.is_done(&next, &sum.lock().expect("nobody panics while adding")) {
                    return;
                }
                let seed = next.fetch_add(1, Ordering::Relaxed);
                let swept = sweep(seed, &change, self.per_cut, &ledger);
                let mut sum = sum.lock().expect("nobody panics while adding");
                match swept {
                    Ok(counts) => sum.0.absorb(&counts),
                    Err(found) if sum.1.as_ref().is_none_or(|(first, _)| seed < *first) => {
                        sum.1 = Some((seed, Box::new(found)));
                    }
                    Err(_) => {}
                }
            }
        };
        std::thread::scope(|scope| (0..self.jobs).for_each(|_| drop(scope.spawn(work))));
        let (counts, found) = sum.into_inner().expect("the threads are joined");
        print(&counts, &ledger, start.elapsed());
        match found {
            None => Ok(ExitCode::SUCCESS),
            Some((seed, found)) => self.report(seed, &found, &change).map(|()| ExitCode::FAILURE),
        }
    }

    fn report(&self, seed: u64, found: &Found, change: &Change) -> Result<(), String> {
        let Found { violation, tape, place } = found;
        println!("seed {seed}, {place}");
        println!("FAILED {violation}");
        if self.patience == 0 {
            return Ok(());
        }
        let unsure =
            || format!("seed {seed} failed, and its tape passes: chance came from elsewhere");
        let failure = Failure::played(Ring::Images, seed, tape, change).ok_or_else(unsure)?;
        println!("{}", told(&failure.run, &Err(failure.violation.clone())));
        let (start, patience) = (Instant::now(), Duration::from_secs(self.patience));
        let shortest = failure.shrunk(|_| start.elapsed() < patience);
        let dir = failure.write(&self.failures, &shortest).map_err(|error| error.to_string())?;
        let (long, short, dir) = (tape.len(), shortest.weight(), dir.display());
        println!("of its {long} draws, {short} matter");
        let off = if self.off.is_empty() {
            String::new()
        } else {
            format!(" --off {}", self.off.join(","))
        };
        for tape in ["tape", "tape.min"] {
            println!("again: hotfire-sim replay {seed} --ring images{off} --tape {dir}/{tape}");
        }
        Ok(())
    }
}

fn print(counts: &Counts, ledger: &Ledger, real: Duration) {
    println!(
        "images: {} images of {} snapshots of {} workloads in {} ms",
        counts.images(),
        counts.cuts(),
        counts.workloads,
        real.as_millis()
    );
    for (moment, (cuts, images)) in &counts.moments {
        println!("{images:>12}  images of {cuts} snapshots: {}", moment.name());
    }
    for (why, images) in &counts.refused {
        println!("{images:>12}  images were refused at first: {why}");
    }
    println!("{:>12}  images lack what nobody had promised", counts.shortened);
    println!("{:>12}  recoveries died on the way", counts.deaths);
    print!("{ledger}");
}
