//! A tape: the answers of a run, as data that can be kept, read, edited and played again.
//!
//! One draw a line, `concern value/of why`:
//!
//! ```text
//! disk 2/3 disk.page
//! work 17/64 work.body
//! ```
//!
//! Lines are in the order of the run. Playing sorts them into one queue a concern: deleting a
//! line shifts the later answers of its own concern, and of no other. `of` and `why` are for the
//! reader; playing looks at `value` alone, reduced to what is asked for.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use super::Concern;

/// One question and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draw {
    /// Whose stream it came from.
    pub concern: Concern,
    /// What was asked.
    pub why: Cow<'static, str>,
    /// How many answers there were.
    pub of: u64,
    /// The answer.
    pub value: u64,
}

/// The answers of a run, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tape {
    draws: Vec<Draw>,
}

impl Tape {
    /// The tape of these draws.
    pub const fn new(draws: Vec<Draw>) -> Self {
        Self { draws }
    }

    /// Its draws.
    pub fn draws(&self) -> &[Draw] {
        &self.draws
    }

    /// How many draws it has.
    pub const fn len(&self) -> usize {
        self.draws.len()
    }

    /// Has it none?
    pub const fn is_empty(&self) -> bool {
        self.draws.is_empty()
    }

    /// How many of its draws are not the dull answer: the honest length of a shrunk tape.
    pub fn weight(&self) -> usize {
        self.draws.iter().filter(|draw| draw.value != 0).count()
    }

    pub(super) fn queues(&self) -> [Queue; Concern::ALL.len()] {
        Concern::ALL.map(|concern| Queue {
            values: self.draws.iter().filter(|d| d.concern == concern).map(|d| d.value).collect(),
            at: 0,
        })
    }
}

/// What is left of one concern's answers.
pub(super) struct Queue {
    values: Vec<u64>,
    at: usize,
}

impl Queue {
    pub(super) fn next(&mut self) -> Option<u64> {
        let value = self.values.get(self.at).copied();
        self.at += usize::from(value.is_some());
        value
    }
}

impl fmt::Display for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.draws.iter().try_for_each(|Draw { concern, why, of, value }| {
            writeln!(f, "{concern} {value}/{of} {why}")
        })
    }
}

/// A line that is not a draw.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the tape is not `concern value/of why`: {text:?}")]
pub struct TapeError {
    /// Its number, from 1.
    pub line: usize,
    /// What it says.
    pub text: String,
}

impl FromStr for Tape {
    type Err = TapeError;

    /// Reads a tape. Empty lines and lines that start with `#` are skipped: a kept tape deserves
    /// a comment.
    fn from_str(text: &str) -> Result<Self, TapeError> {
        let lines = text.lines().enumerate();
        let draws = lines.filter(|(_, text)| !text.is_empty() && !text.starts_with('#'));
        draws
            .map(|(at, text)| {
                draw(text).ok_or_else(|| TapeError { line: at + 1, text: text.to_owned() })
            })
            .collect::<Result<_, _>>()
            .map(Self::new)
    }
}

fn draw(line: &str) -> Option<Draw> {
    let mut words = line.splitn(3, ' ');
    let concern = Concern::named(words.next()?)?;
    let (value, of) = words.next()?.split_once('/')?;
    let why = words.next()?.to_owned().into();
    Some(Draw { concern, why, of: of.parse().ok()?, value: value.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choose::{Chance, Choose};

    #[test]
    fn a_tape_written_down_and_read_again_answers_the_same() {
        let ask = |chance: &Chance| {
            let mut disk = chance.of(Concern::Disk);
            let mut net = chance.of(Concern::Net);
            let numbers: Vec<u64> = (1..50).map(|n| disk.below(n, "a question")).collect();
            let flips: Vec<bool> = (0..50).map(|_| net.chance(500, "net.flip")).collect();
            (numbers, flips)
        };
        let first = Chance::recorded(11);
        let answers = ask(&first);
        let tape: Tape = first.written().to_string().parse().expect("it was just written");
        let second = Chance::tape(&tape);
        assert_eq!(answers, ask(&second));
        assert_eq!(tape, second.written());
    }

    #[test]
    fn a_tape_reduces_what_is_too_large_and_ends_in_zeros() {
        let tape: Tape = "# why\n\ndisk 7/9 size\n".parse().expect("three good lines");
        let chance = Chance::tape(&tape);
        let mut disk = chance.of(Concern::Disk);
        assert_eq!(disk.below(5, "size"), 2);
        assert_eq!(disk.below(5, "size"), 0);
        assert!(!disk.chance(999, "fault"));
        assert_eq!(chance.written().to_string(), "disk 2/5 size\ndisk 0/5 size\ndisk 0/2 fault\n");
    }

    #[test]
    fn a_bad_line_is_named() {
        let error = "disk 1/2 ok\nmoon 1/2 no\n".parse::<Tape>().expect_err("there is no moon");
        assert_eq!(
            error.to_string(),
            "line 2 of the tape is not `concern value/of why`: \"moon 1/2 no\""
        );
    }
}
