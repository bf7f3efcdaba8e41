//! What is kept of a failure: everything a person needs to see it again.
//!
//! `failures/<ring>-<seed>/`: `plan.json`, `tape`, `log` of the seed as it failed, and `tape.min`,
//! `log.min` of the shortest tape that fails in the same way.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::choose::{Chance, Tape};
use crate::ring::{self, Change, Outcome, Ring, Run, Violation};
use crate::shrink::shrink;
use crate::trace::Trace;

/// Lines of a log that are kept.
pub const LOG_LINES: usize = 400;

/// A failure, run again with its log on and its draws written down.
pub struct Failure {
    /// Where.
    pub ring: Ring,
    /// Of which seed.
    pub seed: u64,
    /// What an oracle saw.
    pub violation: Violation,
    /// The run, after it.
    pub run: Run,
    change: Change,
}

impl Failure {
    /// Runs a seed that failed again. `None` if it passes this time: then chance came from
    /// somewhere else than the seed, which is worse than the failure.
    pub fn again(ring: Ring, seed: u64, change: &Change) -> Option<Self> {
        let run = Run::new(ring, Chance::recorded(seed), change, Trace::last(LOG_LINES));
        let violation = ring::run(ring, &run).err()?;
        Some(Self { ring, seed, violation, run, change: change.clone() })
    }

    /// Plays a tape that failed. `None` if it passes this time.
    pub fn played(ring: Ring, seed: u64, tape: &Tape, change: &Change) -> Option<Self> {
        let (outcome, run) = ring::replay(ring, tape, change, Trace::last(LOG_LINES));
        let violation = outcome.err()?;
        Some(Self { ring, seed, violation, run, change: change.clone() })
    }

    /// The shortest tape found that fails in the same way; `more` as in [`shrink`].
    pub fn shrunk(&self, more: impl FnMut(u64) -> bool) -> Tape {
        let again = |tape: &Tape| {
            let (outcome, run) = ring::replay(self.ring, tape, &self.change, Trace::off());
            outcome.err().map(|violation| (violation.oracle, run.chance.written()))
        };
        shrink(self.run.chance.written(), &self.violation.oracle, again, more).tape
    }

    /// Writes the failure down, below `root`; says where.
    pub fn write(&self, root: &Path, shortest: &Tape) -> io::Result<PathBuf> {
        let dir = root.join(format!("{}-{}", self.ring.name(), self.seed));
        fs::create_dir_all(&dir)?;
        let plan = serde_json::to_string_pretty(&self.run.plan).map_err(io::Error::other)?;
        fs::write(dir.join("plan.json"), plan + "\n")?;
        fs::write(dir.join("tape"), self.run.chance.written().to_string())?;
        fs::write(dir.join("tape.min"), shortest.to_string())?;
        fs::write(dir.join("log"), told(&self.run, &Err(self.violation.clone())))?;
        let trace = Trace::last(LOG_LINES);
        let (outcome, run) = ring::replay(self.ring, shortest, &self.change, trace);
        fs::write(dir.join("log.min"), told(&run, &outcome))?;
        Ok(dir)
    }
}

/// A run in words: its log, what was injected, how it ended.
pub fn told(run: &Run, outcome: &Outcome) -> String {
    let mut text = format!("{}\n{}\n", run.trace, run.ledger);
    match outcome {
        Ok(passed) => {
            let (steps, millis) = (passed.steps, passed.simulated.as_millis());
            let _ = writeln!(text, "passed {:016x} ({steps} steps, {millis} ms)", passed.digest);
        }
        Err(violation) => {
            let _ = writeln!(text, "FAILED {violation}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_written_down_and_its_shortest_tape_fails_again() {
        let change = Change { lies: 1000, ..Change::default() };
        let mut failures = (0..20).filter_map(|seed| Failure::again(Ring::Disk, seed, &change));
        let failure = failures.next().expect("a disk that always lies is found");
        let shortest = failure.shrunk(|tries| tries < 500);
        let root = std::env::temp_dir().join(format!("hotfire-sim-{}", std::process::id()));
        let dir = failure.write(&root, &shortest).expect("temporary files can be written");
        let text = |name: &str| fs::read_to_string(dir.join(name)).expect("it was written");
        assert!(text("log").contains("FAILED promised records survive"));
        assert!(text("log.min").contains("FAILED promised records survive"));
        let kept: Tape = text("tape.min").parse().expect("a tape");
        assert_eq!(kept, shortest);
        assert!(kept.len() < failure.run.chance.written().len());
        fs::remove_dir_all(&root).expect("it was just made");
    }
}
