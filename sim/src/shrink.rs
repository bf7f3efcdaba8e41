//! Shrinking: the shortest, dullest tape that still fails in the same way.
//!
//! A tape is a list of numbers, and whatever is done to it is a tape again: there is nothing to
//! understand. Five moves, each kept if the run still violates the same oracle, until none helps:
//! cut the end off, delete a run of draws, answer a run of draws with 0, lower one answer, and
//! answer one with 0 while deleting all draws of one kind: a rate of 0 asks no questions, so that
//! without their answers gone the rest of the tape would be read askew.
//! Deleting a draw shifts its own concern only (see [`Tape`]), which is why it works at all.

use std::collections::BTreeSet;

use crate::choose::{Draw, Tape};

/// What shrinking came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrunk {
    /// The best tape found. Fails as the first one did.
    pub tape: Tape,
    /// How many tapes were run.
    pub tries: u64,
}

/// Shrinks `tape`, which violates `oracle`. `run` says which oracle a tape violates, if any, and
/// what the run really drew; `more`, given the number of tries so far, says whether to go on: the
/// caller owns the clock.
pub fn shrink(
    tape: Tape,
    oracle: &str,
    run: impl FnMut(&Tape) -> Option<(String, Tape)>,
    more: impl FnMut(u64) -> bool,
) -> Shrunk {
    let mut shrinker = Shrinker { best: tape, oracle, run, more, tries: 0 };
    loop {
        let before = shrinker.best.clone();
        shrinker.cut_off();
        shrinker.chunks(|draws, at| drop(draws.drain(at)));
        shrinker.chunks(|draws, at| draws[at].iter_mut().for_each(|draw| draw.value = 0));
        shrinker.lower();
        shrinker.switch_off();
        if shrinker.best == before || !shrinker.goes_on() {
            return Shrunk { tape: shrinker.best, tries: shrinker.tries };
        }
    }
}

struct Shrinker<'a, R, M> {
    best: Tape,
    oracle: &'a str,
    run: R,
    more: M,
    tries: u64,
}

impl<R, M> Shrinker<'_, R, M>
where
    R: FnMut(&Tape) -> Option<(String, Tape)>,
    M: FnMut(u64) -> bool,
{
    /// Asked before a tape is copied, not only before it is run: of a long tape the copies alone
    /// take minutes.
    fn goes_on(&mut self) -> bool {
        (self.more)(self.tries)
    }

    /// Keeps `draws` if they are better and fail in the same way.
    fn try_keep(&mut self, draws: Vec<Draw>) -> bool {
        let tape = Tape::new(draws);
        if tape == self.best || !self.goes_on() {
            return false;
        }
        self.tries += 1;
        let Some((oracle, drawn)) = (self.run)(&tape) else { return false };
        if oracle != self.oracle {
            return false;
        }
        // What the run drew says what the answers now mean, but only the part that the tape
        // decided: the zeros that it goes on with need not be written down.
        let drawn = without_dull_end(drawn.draws());
        self.best = if drawn.len() <= tape.len() { Tape::new(drawn) } else { tape };
        true
    }

    /// Halves the tape while that fails, then takes ever smaller ends off.
    fn cut_off(&mut self) {
        let mut size = self.best.len().div_ceil(2);
        while size > 0 && self.goes_on() {
            let kept = self.best.len().saturating_sub(size);
            if !self.try_keep(self.best.draws()[..kept].to_vec()) {
                size /= 2;
            }
        }
    }

    /// Applies `edit` to ever smaller runs of draws, from the end to the start.
    fn chunks(&mut self, edit: impl Fn(&mut Vec<Draw>, std::ops::Range<usize>)) {
        // Powers of two: questions often come in pairs, which a size of 3 never meets.
        let mut size = self.best.len().next_power_of_two() / 2;
        while size > 0 {
            let mut end = self.best.len();
            while end > 0 && self.goes_on() {
                let start = end.saturating_sub(size);
                let mut draws = self.best.draws().to_vec();
                edit(&mut draws, start..end);
                self.try_keep(draws);
                end = start.min(self.best.len());
            }
            size /= 2;
        }
    }

    /// Lowers each answer as far as a binary search brings it.
    fn lower(&mut self) {
        let mut at = 0;
        while at < self.best.len() && self.goes_on() {
            let (mut low, mut high) = (0, self.best.draws()[at].value);
            while low < high && self.goes_on() {
                let middle = low + (high - low) / 2;
                let mut draws = self.best.draws().to_vec();
                draws[at].value = middle;
                if self.try_keep(draws) && at < self.best.len() {
                    high = self.best.draws()[at].value.min(middle);
                } else {
                    low = middle + 1;
                }
            }
            at += 1;
        }
    }

    /// Answers a question with 0, and deletes what was asked only because of the other answer.
    fn switch_off(&mut self) {
        let mut at = 0;
        while at < self.best.len() && self.goes_on() {
            let kinds: BTreeSet<_> = self.best.draws().iter().map(|d| d.why.clone()).collect();
            let switch = |draws: &[Draw], kind| {
                let numbered = draws.iter().cloned().enumerate();
                let mut left: Vec<_> =
                    numbered.filter(|(i, d)| *i == at || d.why != kind).collect();
                left.iter_mut().filter(|(i, _)| *i == at).for_each(|(_, draw)| draw.value = 0);
                left.into_iter().map(|(_, draw)| draw).collect::<Vec<_>>()
            };
            if self.best.draws()[at].value > 0 {
                kinds.into_iter().any(|kind| self.try_keep(switch(self.best.draws(), kind)));
            }
            at += 1;
        }
    }
}

fn without_dull_end(draws: &[Draw]) -> Vec<Draw> {
    let kept = draws.iter().rposition(|draw| draw.value != 0).map_or(0, |last| last + 1);
    draws[..kept].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choose::{Chance, Choose, Concern};

    /// Fails if three of its faults strike, the last one on a large number.
    fn run(tape: &Tape) -> Option<(String, Tape)> {
        let chance = Chance::tape(tape);
        let (mut work, mut disk) = (chance.of(Concern::Work), chance.of(Concern::Disk));
        let mut strikes = 0;
        for _ in 0..200 {
            let number = work.below(1000, "number");
            strikes += u32::from(disk.chance(30, "strike") && (strikes < 2 || number > 300));
        }
        let oracle = if strikes > 2 { "three" } else { return None };
        Some((oracle.to_owned(), chance.written()))
    }

    fn failing() -> Tape {
        let seeds = (0..).map(|seed| {
            let chance = Chance::recorded(seed);
            let (mut work, mut disk) = (chance.of(Concern::Work), chance.of(Concern::Disk));
            for _ in 0..200 {
                work.below(1000, "number");
                disk.chance(30, "strike");
            }
            chance.written()
        });
        seeds.into_iter().find(|tape| run(tape).is_some()).expect("one in a few fails")
    }

    #[test]
    fn a_tape_shrinks_to_what_matters() {
        let shrunk = shrink(failing(), "three", run, |_| true);
        let told: Vec<u64> = shrunk.tape.draws().iter().map(|draw| draw.value).collect();
        // Three strikes and one number just above the bound, and the dull numbers before it.
        assert_eq!(shrunk.tape.weight(), 4, "{told:?}");
        assert!(told.contains(&301), "{told:?}");
        assert!(shrunk.tape.len() <= 6, "{told:?}");
    }

    #[test]
    fn shrinking_stops_when_told_and_keeps_its_oracle() {
        let tape = failing();
        assert_eq!(shrink(tape.clone(), "three", run, |_| false).tape, tape);
        let other = shrink(tape.clone(), "another oracle", run, |_| true);
        assert_eq!(other.tape, tape);
        let bounded = shrink(tape, "three", run, |tries| tries < 10);
        assert_eq!(bounded.tries, 10);
    }

    #[test]
    fn shrinking_that_is_told_to_stop_walks_no_tape_any_more() {
        let tape = failing();
        let (mut asked, draws) = (0, tape.len());
        let stopped = |_| {
            asked += 1;
            false
        };
        shrink(tape, "three", run, stopped);
        // A few times for each move and each size of a chunk, and not for each draw.
        assert!(asked < draws / 4, "asked {asked} times about {draws} draws");
    }
}
