//! Log lines of a kind that a flood could repeat.

use std::cell::Cell;
use std::time::Duration;

use crate::rt::Instant;

/// One line in so long.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Lets one line in a while through, and counts the others.
#[derive(Debug, Default)]
pub struct Sparse {
    last: Cell<Option<Instant>>,
    unsaid: Cell<u64>,
}

impl Sparse {
    /// Says it, with the number of those that were not said since the last; or counts it.
    pub fn maybe(&self, say: impl FnOnce(u64)) {
        if self.last.get().is_some_and(|last| last.elapsed() < LOG_EVERY) {
            self.unsaid.set(self.unsaid.get() + 1);
        } else {
            self.last.set(Some(Instant::now()));
            say(self.unsaid.take());
        }
    }
}
