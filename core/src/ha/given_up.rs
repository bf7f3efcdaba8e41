//! Why a slave gave a connection up.

use hotfire_storage::NoOpening;
use hotfire_storage::position::Physical;

/// Why a connection was given up, where somebody should hear of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GivenUp {
    /// A frame of other bytes than those that come next.
    #[error("it sent bytes from {got} on, where those from {expected} on are due")]
    OutOfPlace {
        /// What it sent.
        got: Physical,
        /// What was due.
        expected: Physical,
    },
    /// It says that its log begins no earlier than this one ends, and shows no record there.
    #[error(
        "its log begins at {at}, it says, where this one has ended, and what it sends is {why}"
    )]
    Unproven {
        /// Where its log begins, as it says.
        at: Physical,
        /// What is wrong with what it sent.
        why: NoOpening,
    },
    /// Its files have another size.
    #[error(
        "its log has a file at {at}, where none begins here: mappedFileSizeCommitLog must be the \
         master's"
    )]
    FileSize {
        /// Where a file of its begins.
        at: Physical,
    },
    /// Its log and this one are two.
    #[error(
        "its log{} and this one ({start} to {end}) have no record in common: nothing is copied \
         until one of the two stores is moved away",
        theirs.map_or_else(String::new, |theirs| format!(" (up to {theirs})"))
    )]
    Stranger {
        /// Where its log ends, if it said so.
        theirs: Option<Physical>,
        /// Where this one begins.
        start: Physical,
        /// Where this one ends.
        end: Physical,
    },
    /// What it sent is no log.
    #[error("what it sent is no log: {0}")]
    Damaged(String),
    /// It said nothing.
    #[error("it was silent for too long")]
    Silent,
}
