//! Why a process ends before it is asked to.

use std::fmt;

/// One line for the operator: what is wrong, and what to do instead. The process exits with 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    /// Says why. Line breaks become blanks.
    pub fn new(why: impl fmt::Display) -> Self {
        let words = why.to_string();
        Self(words.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}
