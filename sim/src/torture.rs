//! The disk ring: the simulated medium under the smallest store that can be right.
//!
//! Who tests the tester? Here a log of one file keeps every promise that a log can keep on such a
//! disk. If an oracle speaks, the medium is wrong; if a medium that lies goes unnoticed, it is too.
//!
//! ```text
//! record   length u32 | check u32 | body                 length 0 ends the log
//! a life   open, scan, cut the tail, make all of it durable · append, sync, replace · die
//! ```
//!
//! It can also be told to make a [`Mistake`], each a classic of real stores, and each is found: a
//! simulator is as good as the mistakes that it sees.

use hotfire_core::machine::Digest;
use hotfire_storage::seam::{Disk, Done, Fault, FileId, Memory, Op, Token};
use hotfire_storage::time::Mono;

use crate::choose::{Choose, Concern, Stream, mixed, pick};
use crate::disk::{Medium, SimDisk};
use crate::ring::{Outcome, Passed, Run, Violation};
use crate::trace::{Column, Mark};

const LOG: &str = "log/0";
const STATE: &str = "state";
const HEAD: usize = 8;

/// What the little store does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// It promises what was written when a sync came back, not when it began.
    CountsLate,
    /// It ignores `.bak` when a state file is missing.
    ForgetsBackup,
    /// It does not check a body against its head.
    ForgetsCheck,
    /// It takes a record that has rotted for the end of the log, and goes on there.
    IgnoresRot,
    /// It appends over what a crash left behind the cut, without making it unreadable first.
    LeavesTail,
    /// It takes what it finds at a start for written, and only syncs it. But where a sync had
    /// failed and only the process died, memory shows what the medium does not have, in pages
    /// that count as clean.
    TrustsCache,
    /// It goes on after a sync that failed, and believes the next one.
    TriesAgain,
}

/// Runs some lives of the little store.
pub fn run(run: &Run) -> Outcome {
    run_with(run, None)
}

/// Runs some lives of the little store, with a mistake in it or without.
pub fn run_with(run: &Run, mistake: Option<Mistake>) -> Outcome {
    let column = run.trace.column("disk");
    let dice = run.chance.of(Concern::Disk);
    let medium = Medium::new(run.plan.disk.clone(), dice, run.ledger.clone(), column.clone());
    let log = run.trace.column("store");
    let mut world = World {
        medium,
        work: run.chance.of(Concern::Work),
        process: run.chance.of(Concern::Process),
        log,
        run,
        mistake,
        now: Mono::ZERO,
        steps: 0,
        sent: Vec::new(),
        acked: 0,
        state_sent: 0,
        state_acked: 0,
    };
    let lives = 1 + world.process.below(5, "process.lives");
    let mut digest = Digest::new();
    for life in 0..lives {
        world.live()?;
        if life + 1 < lives {
            world.die();
        }
        world.medium.digest(&mut digest);
        digest.number(world.acked);
    }
    let simulated = world.now.since(Mono::ZERO);
    Ok(Passed { digest: digest.value(), simulated, steps: world.steps })
}

struct World<'a> {
    medium: Medium,
    work: Stream,
    process: Stream,
    log: Column,
    run: &'a Run,
    mistake: Option<Mistake>,
    now: Mono,
    steps: u64,
    /// Bodies in the log, as far as anybody knows.
    sent: Vec<Vec<u8>>,
    /// How many of them a sync has promised.
    acked: u64,
    /// The newest state given to the disk, and the newest it has promised.
    state_sent: u64,
    state_acked: u64,
}

/// An open log.
struct Store {
    disk: SimDisk,
    file: FileId,
    len: u64,
    end: u64,
    /// Where each record ends.
    ends: Vec<u64>,
    /// The one sync under way: its token, and how many records it will promise.
    syncing: Option<(Token, u64)>,
    /// The one replacement under way.
    replacing: Option<(Token, u64)>,
    tokens: u64,
    broken: bool,
}

impl World<'_> {
    /// One life: a start, which may die or be refused, and some turns.
    fn live(&mut self) -> Result<(), Violation> {
        let disk = self.medium.mount();
        let mut store = match self.open(disk) {
            Ok(store) => store?,
            Err(fault) => {
                self.log.say(Mark::Died, format_args!("in its boot: {fault}"));
                return Ok(());
            }
        };
        let turns = self.work.below(60, "work.turns");
        for _ in 0..turns {
            self.steps += 1;
            match self.work.below(3, "work.what") {
                0 => self.append(&mut store),
                1 => self.submit(&mut store),
                _ => self.wait(&mut store),
            }
            store.disk.verify();
            if store.broken {
                break;
            }
        }
        let dies = self.process.chance(800, "process.dies");
        if dies && self.process.chance(self.run.plan.process.power, "process.power") {
            self.medium.power_fail();
        } else if dies {
            self.medium.kill();
        }
        Ok(())
    }

    /// Between two lives the power may fail as well.
    fn die(&mut self) {
        if self.process.chance(300, "process.power.between") {
            self.medium.power_fail();
        }
        self.medium.verify();
    }

    /// Starts. The outer error is the disk's, the inner one an oracle's.
    fn open(&mut self, mut disk: SimDisk) -> Result<Result<Store, Violation>, Fault> {
        let len = u64::from(self.run.plan.store.commit_log_file);
        let known = disk.list("log")?.into_iter().find(|entry| entry.name == "0");
        let usable = known.as_ref().is_some_and(|entry| entry.len == len);
        if known.is_some() && !usable {
            disk.perform(Op::Remove { path: LOG })?;
        }
        let op = if usable { Op::Open { path: LOG } } else { Op::Allocate { path: LOG, len } };
        let Done::Opened { file, .. } = disk.perform(op)? else { unreachable!("it opens") };
        let checks = !self.makes(Mistake::ForgetsCheck);
        let (bodies, ends) = scan(disk.bytes(file, 0, size(len)), checks);
        let end = ends.last().copied().unwrap_or(0);
        if let Err(violation) = self.check(&bodies, &mut disk)? {
            return Ok(Err(violation));
        }
        self.log.say(Mark::Up, format_args!("{} records, {} promised", bodies.len(), self.acked));
        if !self.makes(Mistake::TrustsCache) {
            let all = disk.bytes(file, 0, size(end)).to_vec();
            disk.slot(file, 0, size(end)).copy_from_slice(&all);
        }
        if !self.makes(Mistake::LeavesTail) {
            disk.perform(Op::Zero { file, from: end, to: len })?;
        }
        disk.perform(Op::Sync { file, from: 0, to: len })?;
        self.sent.truncate(bodies.len());
        self.acked = bodies.len() as u64;
        let (syncing, replacing) = (None, None);
        Ok(Ok(Store { disk, file, len, end, ends, syncing, replacing, tokens: 0, broken: false }))
    }

    /// The oracles.
    fn check(
        &mut self,
        bodies: &[Vec<u8>],
        disk: &mut SimDisk,
    ) -> Result<Result<(), Violation>, Fault> {
        let rotten = self.medium.rotten();
        let end: usize = bodies.iter().map(|body| HEAD + body.len()).sum();
        let next = self.sent.get(bodies.len()).map_or(0, |body| HEAD + body.len());
        let is_rot = |path: &str, at: std::ops::Range<usize>| {
            rotten.iter().any(|(of, bytes)| {
                of == path && size(bytes.start) < at.end && at.start < size(bytes.end)
            })
        };
        let refuses = !self.makes(Mistake::IgnoresRot);
        if refuses && (bodies.len() as u64) < self.acked && is_rot(LOG, end..end + next) {
            // The bytes were there, and are no more: cutting the log here would lose what follows.
            let why = "a record has rotted".to_owned();
            return Err(Fault::Io { op: "open", path: LOG.to_owned(), why });
        }
        if (bodies.len() as u64) < self.acked {
            let detail = format!("{} records found, {} were promised", bodies.len(), self.acked);
            return Ok(Err(Violation::new("promised records survive", detail)));
        }
        if let Some(at) = (0..bodies.len()).find(|at| self.sent.get(*at) != Some(&bodies[*at])) {
            let detail = format!("record {at} is not what was written");
            return Ok(Err(Violation::new("nothing is found that was not written", detail)));
        }
        if rotten.iter().any(|(path, _)| path.starts_with(STATE)) {
            // It has no checksum: what it says now nobody can judge.
            return Ok(Ok(()));
        }
        let parse = |bytes: Vec<u8>| bytes.try_into().ok().map(u64::from_le_bytes);
        let now = disk.read(STATE)?.and_then(parse);
        let state = match now {
            Some(state) => Some(state),
            None if self.makes(Mistake::ForgetsBackup) => None,
            None => disk.read(&format!("{STATE}.bak"))?.and_then(parse),
        };
        if !(self.state_acked..=self.state_sent).contains(&state.unwrap_or(0)) {
            let (low, high) = (self.state_acked, self.state_sent);
            let detail = format!("state {state:?} is not within {low}..={high}");
            return Ok(Err(Violation::new(
                "a replaced file is the old one or the new one",
                detail,
            )));
        }
        Ok(Ok(()))
    }

    fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    fn append(&mut self, store: &mut Store) {
        let max = u64::from(self.run.plan.work.body_max);
        // Few sizes: what lies behind a cut is dangerous where an old record begins at a new one's
        // end, and among many sizes that is one case in hundreds.
        let len = *pick(&mut self.work, &[max, 1, max / 2], "work.body");
        let number = self.sent.len() as u64;
        let body: Vec<u8> = (0..len).map(|at| mixed(number << 32 | at).to_le_bytes()[0]).collect();
        let end = store.end + HEAD as u64 + len;
        // Room for the length 0 that ends the log.
        if end + HEAD as u64 > store.len {
            return;
        }
        // The body first: a head without its body is what the check must find.
        store.disk.slot(store.file, store.end + HEAD as u64, body.len()).copy_from_slice(&body);
        store.disk.slot(store.file, store.end, HEAD).copy_from_slice(&head(&body));
        self.log.say(Mark::State, format_args!("record {number} ends at {end}"));
        store.end = end;
        store.ends.push(end);
        self.sent.push(body);
    }

    fn submit(&mut self, store: &mut Store) {
        store.tokens += 1;
        let token = Token(store.tokens);
        if store.syncing.is_none() && self.work.chance(700, "work.sync") {
            let promised = store.ends.len() as u64;
            store.disk.submit(token, Op::Sync { file: store.file, from: 0, to: store.end });
            store.syncing = Some((token, promised));
        } else if store.replacing.is_none() {
            self.state_sent += 1;
            let bytes = &self.state_sent.to_le_bytes();
            store.disk.submit(token, Op::Replace { path: STATE, bytes });
            store.replacing = Some((token, self.state_sent));
        }
    }

    fn wait(&mut self, store: &mut Store) {
        if let Some(due) = self.medium.next_due() {
            self.now = self.now.max(due);
        }
        self.run.trace.advance(self.now);
        self.medium.advance(self.now);
        while let Some((token, outcome)) = store.disk.poll() {
            if let Some((_, promised)) = store.syncing.take_if(|(of, _)| *of == token) {
                match outcome {
                    Ok(_) if self.makes(Mistake::CountsLate) => self.acked = self.sent.len() as u64,
                    Ok(_) => self.acked = promised,
                    Err(_) => store.broken = !self.makes(Mistake::TriesAgain),
                }
                self.log.say(Mark::State, format_args!("{} promised", self.acked));
            } else if let Some((_, state)) = store.replacing.take_if(|(of, _)| *of == token)
                && outcome.is_ok()
            {
                self.state_acked = state;
            }
        }
    }
}

fn head(body: &[u8]) -> [u8; HEAD] {
    let mut digest = Digest::new();
    digest.bytes(body);
    let len = u32::try_from(body.len()).expect("bodies are small");
    let check = digest.value().to_le_bytes();
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&len.to_le_bytes());
    head[4..].copy_from_slice(&check[..4]);
    head
}

/// The records from the start to the first that is not one, and where each ends.
fn scan(bytes: &[u8], checks: bool) -> (Vec<Vec<u8>>, Vec<u64>) {
    let (mut bodies, mut ends, mut at) = (Vec::new(), Vec::new(), 0);
    while let Some(found) = bytes.get(at..at + HEAD) {
        let len = u32::from_le_bytes(found[..4].try_into().expect("it has four bytes")) as usize;
        let Some(body) = bytes.get(at + HEAD..(at + HEAD).saturating_add(len)) else { break };
        if len == 0 || (checks && head(body) != *found) {
            break;
        }
        at += HEAD + len;
        bodies.push(body.to_vec());
        ends.push(at as u64);
    }
    (bodies, ends)
}

fn size(len: u64) -> usize {
    usize::try_from(len).expect("a simulated file is small")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choose::{Chance, Tape};
    use crate::ledger::{Ledger, Strike};
    use crate::ring::{self, Change, Ring};
    use crate::shrink::shrink;
    use crate::trace::Trace;

    fn plain(seed: u64) -> Run {
        Run::new(Ring::Disk, Chance::seed(seed), &Change::default(), Trace::off())
    }

    #[test]
    fn an_honest_disk_lets_a_careful_store_keep_its_promises() {
        let sum = Ledger::default();
        for seed in 0..1000 {
            let made = plain(seed);
            run(&made).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
            sum.absorb(&made.ledger);
        }
        let mut never = sum.never();
        never.retain(|strike| strike.name().starts_with("disk."));
        assert_eq!(never, [Strike::DiskSyncLied], "{sum}");
    }

    /// A run in which records lie across pages, syncs fail now and then, and the power often.
    fn hunting(seed: u64) -> Run {
        let mut made = plain(seed);
        made.plan.work.body_max = 700;
        made.plan.process.power = 700;
        made.plan.disk.sync_fails = 100;
        made.plan.disk.rot = 200;
        made
    }

    #[test]
    fn each_mistake_of_a_store_is_found() {
        let promised = "promised records survive";
        let written = "nothing is found that was not written";
        let replaced = "a replaced file is the old one or the new one";
        for (mistake, oracle, budget) in [
            (Mistake::CountsLate, promised, 100),
            (Mistake::ForgetsBackup, replaced, 200),
            (Mistake::ForgetsCheck, written, 200),
            (Mistake::IgnoresRot, promised, 400),
            (Mistake::LeavesTail, written, 4000),
            (Mistake::TriesAgain, promised, 100),
            (Mistake::TrustsCache, promised, 2000),
        ] {
            let mut seeds = 0..budget;
            let found = seeds.find_map(|seed| run_with(&hunting(seed), Some(mistake)).err());
            let found = found.unwrap_or_else(|| panic!("{mistake:?} is not found"));
            assert_eq!(found.oracle, oracle, "{mistake:?}: seed {}: {found}", seeds.start - 1);
        }
    }

    #[test]
    fn a_disk_that_lies_is_found_and_shrunk() {
        // Other faults leave noise around the lie that shortening does not always get rid of.
        let off = ["read_fails", "rot", "stale", "stall", "sync_stuck", "writeback_every"];
        let off = off.map(str::to_owned).to_vec();
        let change = Change { lies: 500, off, ..Change::default() };
        let fails = |seed: u64| {
            let run = Run::new(Ring::Disk, Chance::recorded(seed), &change, Trace::off());
            ring::run(Ring::Disk, &run).err().map(|found| (found.oracle, run.chance.written()))
        };
        let again = |tape: &Tape| {
            let (outcome, run) = ring::replay(Ring::Disk, tape, &change, Trace::off());
            outcome.err().map(|found| (found.oracle, run.chance.written()))
        };
        // Where shortening gets stuck depends on where it began: the best of three counts.
        let shortest = (0..20).filter_map(fails).take(3).map(|(oracle, tape)| {
            assert_eq!(oracle, "promised records survive");
            shrink(tape, &oracle, again, |tries| tries < 2500).tape
        });
        let shortest = shortest.min_by_key(Tape::weight).expect("20 seeds find a canary");
        assert!(shortest.weight() <= 10, "{shortest}");
    }
}
