//! What a person sees while a store opens: a bar on a terminal, a line every few seconds in a log.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use hotfire_storage::{Progress, Stage, Watch};
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};

/// A start that is over sooner says nothing.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two lines of a log.
const EVERY: Duration = Duration::from_secs(3);
/// Between two drawings of a bar.
const DRAW: Duration = Duration::from_millis(100);

/// Listens to a store that opens.
pub struct Opening {
    /// On a terminal.
    bar: Option<ProgressBar>,
    next: Instant,
}

impl Opening {
    /// The start begins now. Draws on standard error if that is a terminal.
    pub fn begin() -> Self {
        let style = "{msg} {bar:30} {percent}%";
        let style = ProgressStyle::with_template(style).expect("a valid template");
        let is_terminal = std::io::stderr().is_terminal();
        let bar = is_terminal.then(|| ProgressBar::no_length().with_style(style));
        let wait = if bar.is_some() { PATIENCE } else { EVERY };
        Self { bar, next: Instant::now() + wait }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Watch for Opening {
    fn at(&mut self, progress: Progress) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        let text = describe(&progress);
        if let Some(bar) = &self.bar {
            bar.set_length(progress.total.max(1));
            bar.set_position(progress.done.min(progress.total));
            bar.set_message(text);
            self.next = now + DRAW;
        } else {
            tracing::info!("opening the store: {text}");
            self.next = now + EVERY;
        }
    }
}

fn describe(progress: &Progress) -> String {
    let Progress { stage, done, total, records } = *progress;
    let (bytes, of, good) = (HumanBytes(done), HumanBytes(total), HumanCount(records));
    match stage {
        Stage::Check => format!("checked {bytes} of at most {of} of the log, {good} records"),
        Stage::Index => format!("computing the index from the log, {bytes} of {of} read"),
        Stage::Load => format!("{} queues found", HumanCount(done)),
        Stage::Rebuild => format!("computing queues from the log, {bytes} of {of} read"),
        Stage::Settle => format!("{} of {} queues settled", HumanCount(done), HumanCount(total)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_told_in_words() {
        let progress = |stage| Progress { stage, done: 3 << 20, total: 6 << 20, records: 12_345 };
        let said = describe(&progress(Stage::Check));
        assert_eq!(said, "checked 3.00 MiB of at most 6.00 MiB of the log, 12,345 records");
        assert_eq!(describe(&progress(Stage::Load)), "3,145,728 queues found");
    }
}
