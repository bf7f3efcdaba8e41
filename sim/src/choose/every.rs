//! Every sequence of answers, once each: an odometer whose wheels are the questions of a run.
//!
//! A run is a function of its answers. The first run answers 0 throughout; each further run
//! repeats the longest possible beginning and answers the last question that has another answer
//! with the next one. Which questions follow may depend on the answers before them.

use super::{Chance, Inner, Source};

/// Runs `scope` once for every sequence of answers to its questions, and says how many those
/// were. Panics beyond `limit` runs: the scope is not as small as was thought.
pub fn exhaust(limit: u64, mut scope: impl FnMut(&Chance)) -> u64 {
    let mut runs = 0;
    let mut odometer = Odometer::default();
    loop {
        assert!(runs < limit, "the scope has more than {limit} runs");
        let chance = Chance::new(Source::Every(odometer));
        scope(&chance);
        runs += 1;
        let Inner { source: Source::Every(used), .. } = &mut *chance.lock() else {
            unreachable!("a source never changes its kind")
        };
        odometer = std::mem::take(used);
        if !odometer.advance() {
            return runs;
        }
    }
}

/// The answers of one run, and where in it we are.
#[derive(Debug, Default)]
pub(super) struct Odometer {
    wheels: Vec<Wheel>,
    at: usize,
}

#[derive(Debug)]
struct Wheel {
    why: &'static str,
    of: u64,
    value: u64,
}

impl Odometer {
    /// The answer to the next question of this run.
    pub(super) fn turn(&mut self, n: u64, why: &'static str) -> u64 {
        if self.at == self.wheels.len() {
            self.wheels.push(Wheel { why, of: n, value: 0 });
        }
        let wheel = &self.wheels[self.at];
        // The same answers must lead to the same question, or nothing was enumerated.
        assert!(
            wheel.of == n && wheel.why == why,
            "question {} was {} of {} and is now {why} of {n}: the scope is not deterministic",
            self.at,
            wheel.why,
            wheel.of,
        );
        self.at += 1;
        wheel.value
    }

    /// The next sequence, if there is one.
    fn advance(&mut self) -> bool {
        assert!(self.at == self.wheels.len(), "a run asked less than the one before it");
        self.at = 0;
        while let Some(wheel) = self.wheels.last_mut() {
            if wheel.value + 1 < wheel.of {
                wheel.value += 1;
                return true;
            }
            self.wheels.pop();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choose::{Choose, Concern};

    #[test]
    fn every_sequence_comes_once() {
        let mut seen = Vec::new();
        let runs = exhaust(100, |chance| {
            let mut stream = chance.of(Concern::Disk);
            let first = stream.below(3, "first");
            // Only one of the answers leads to a second question.
            let second = if first == 1 { stream.chance(1, "second") } else { false };
            seen.push((first, second));
        });
        assert_eq!(runs, 4);
        assert_eq!(seen, [(0, false), (1, false), (1, true), (2, false)]);
    }

    #[test]
    fn a_scope_without_questions_has_one_run() {
        assert_eq!(exhaust(1, |_| ()), 1);
    }

    #[test]
    #[should_panic(expected = "more than 7 runs")]
    fn a_scope_that_is_not_small_says_so() {
        exhaust(7, |chance| {
            chance.of(Concern::Disk).below(8, "test");
        });
    }
}
