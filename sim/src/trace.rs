//! The column log of a run: one line per event, one column per node.
//!
//! ```text
//! ! died   ^ is up   * fault   > sent   < received   = state   . note
//!      time us  broker-a         broker-b         clients
//!        12040  ^ recovered to 8192
//!        12311                                    > send q0 k=17
//!        12840  * sync failed
//! ```
//!
//! Seeds that pass keep no log: a line costs its formatting, and a failing seed is run again with
//! the log on. It keeps the last lines only, since a failure is understood from its end.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hotfire_storage::time::Mono;

/// The sign that starts an event, so that an eye can run down a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The node died.
    Died,
    /// A fault was injected.
    Fault,
    /// Anything else worth a line.
    Note,
    /// Something arrived.
    Received,
    /// Something was sent.
    Sent,
    /// A state or position moved.
    State,
    /// The node is up.
    Up,
}

impl Mark {
    const ALL: [Self; 7] =
        [Self::Died, Self::Up, Self::Fault, Self::Sent, Self::Received, Self::State, Self::Note];

    const fn sign(self) -> char {
        match self {
            Self::Died => '!',
            Self::Fault => '*',
            Self::Note => '.',
            Self::Received => '<',
            Self::Sent => '>',
            Self::State => '=',
            Self::Up => '^',
        }
    }

    const fn meaning(self) -> &'static str {
        match self {
            Self::Died => "died",
            Self::Fault => "fault",
            Self::Note => "note",
            Self::Received => "received",
            Self::Sent => "sent",
            Self::State => "state",
            Self::Up => "is up",
        }
    }
}

/// The log: a handle, cheap to clone, that outlives a panic of the run.
#[derive(Clone, Debug, Default)]
pub struct Trace(Option<Arc<Mutex<Log>>>);

#[derive(Debug, Default)]
struct Log {
    columns: Vec<String>,
    lines: VecDeque<Line>,
    keep: usize,
    dropped: u64,
    now: Mono,
}

#[derive(Debug)]
struct Line {
    at: Mono,
    column: usize,
    mark: Mark,
    text: String,
}

impl Trace {
    /// No log.
    pub const fn off() -> Self {
        Self(None)
    }

    /// A log of the last `keep` lines.
    pub fn last(keep: usize) -> Self {
        assert!(keep > 0, "a log that keeps nothing is Trace::off");
        Self(Some(Arc::new(Mutex::new(Log { keep, ..Log::default() }))))
    }

    /// A further column, to the right of the others.
    pub fn column(&self, name: &str) -> Column {
        let number = self.lock().map_or(0, |mut log| {
            log.columns.push(name.to_owned());
            log.columns.len() - 1
        });
        Column { trace: self.clone(), number }
    }

    /// What the time column says from here on.
    pub fn advance(&self, now: Mono) {
        if let Some(mut log) = self.lock() {
            log.now = now;
        }
    }

    fn lock(&self) -> Option<MutexGuard<'_, Log>> {
        // A panicking run poisons the lock; its last lines are exactly what is wanted then.
        self.0.as_ref().map(|log| log.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One node's place in a [`Trace`].
#[derive(Clone, Debug, Default)]
pub struct Column {
    trace: Trace,
    number: usize,
}

impl Column {
    /// Writes a line. Formats nothing if there is no log.
    pub fn say(&self, mark: Mark, what: fmt::Arguments<'_>) {
        let Some(mut log) = self.trace.lock() else { return };
        if log.lines.len() == log.keep {
            log.lines.pop_front();
            log.dropped += 1;
        }
        let line = Line { at: log.now, column: self.number, mark, text: what.to_string() };
        log.lines.push_back(line);
    }
}

/// A column is at least this wide, so that short logs look like long ones.
const WIDTH_MIN: usize = 16;
/// And at most this: longer lines reach into the columns to their right, which are empty.
const WIDTH_MAX: usize = 40;

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lock().map_or(Ok(()), |log| log.fmt(f))
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let legend = Mark::ALL.map(|mark| format!("{} {}", mark.sign(), mark.meaning()));
        writeln!(f, "{}", legend.join("   "))?;
        let widths: Vec<usize> = (0..self.columns.len()).map(|column| self.width(column)).collect();
        let names = self.columns.iter().zip(&widths);
        let names =
            names.fold(String::new(), |head, (name, width)| format!("{head}  {name:width$}"));
        writeln!(f, "{:>12}{}", "time us", names.trim_end())?;
        if self.dropped > 0 {
            writeln!(f, "{:>12}  {} earlier lines", "...", self.dropped)?;
        }
        self.lines.iter().try_for_each(|line| {
            let before: usize = widths[..line.column].iter().map(|width| width + 2).sum();
            let (at, sign, text) = (line.at.as_micros(), line.mark.sign(), &line.text);
            writeln!(f, "{at:>12}  {:before$}{sign} {text}", "")
        })
    }
}

impl Log {
    fn width(&self, column: usize) -> usize {
        let texts = self.lines.iter().filter(|line| line.column == column);
        let longest = texts.map(|line| line.text.chars().count() + 2).max().unwrap_or(0);
        longest.max(self.columns[column].chars().count()).clamp(WIDTH_MIN, WIDTH_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_has_a_legend_columns_and_its_last_lines() {
        let trace = Trace::last(3);
        let (a, b) = (trace.column("broker-a"), trace.column("broker-b"));
        a.say(Mark::Note, format_args!("forgotten"));
        trace.advance(Mono::from_micros(1500));
        a.say(Mark::Up, format_args!("recovered to {}", 8192));
        b.say(Mark::Fault, format_args!("sync failed"));
        trace.advance(Mono::from_micros(2500));
        a.say(Mark::Died, format_args!("power"));
        let expected = "\
! died   ^ is up   * fault   > sent   < received   = state   . note
     time us  broker-a             broker-b
         ...  1 earlier lines
        1500  ^ recovered to 8192
        1500                       * sync failed
        2500  ! power
";
        assert_eq!(trace.to_string(), expected);
    }

    #[test]
    fn no_log_costs_and_says_nothing() {
        let trace = Trace::off();
        trace.column("a").say(Mark::Note, format_args!("{Loud}"));
        assert_eq!(trace.to_string(), "");
    }

    struct Loud;

    impl fmt::Display for Loud {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("formatted for nobody")
        }
    }
}
