//! Why a store does not open. Each is for an operator to act on; who serves says how.

use crate::checkpoint;
use crate::position::Physical;
use crate::queue::Kind;
use crate::seam::Fault;

/// Why a store does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] Fault),
    /// A CommitLog file is missing between two others.
    #[error("{path} does not follow the file before it: {missing} is missing")]
    Gap {
        /// The file behind the gap.
        path: String,
        /// The first file that is not there.
        missing: String,
    },
    /// A file does not have the configured size.
    #[error("{path} is {len} bytes long, the configuration says {expected}")]
    Length {
        /// Which.
        path: String,
        /// Its length.
        len: u64,
        /// The configured length.
        expected: u64,
        /// What sets it, if no file of the kind is as long as that says.
        setting: Option<&'static str>,
    },
    /// A later version of Hotfire wrote the store.
    #[error(
        "the store was written by a later Hotfire (its checkpoint is of version {version}, this \
         one knows {known}): open it with that one or a later one",
        known = checkpoint::VERSION
    )]
    Newer {
        /// The version of the checkpoint.
        version: u8,
    },
    /// The topic's type in `topics.json` and the kind of its queues on disk differ.
    #[error("topic {topic} has {found:?} queues on disk, its configuration says otherwise")]
    QueueKind {
        /// Which.
        topic: String,
        /// What lies on disk.
        found: Kind,
    },
    /// Bytes that were durable are damaged or gone. Cutting the log here would lose messages
    /// that were promised; fetch them from a replica, or accept the loss by configuration.
    #[error("the log is damaged at {at}, but was durable up to {durable}")]
    Rot {
        /// The first bad record.
        at: Physical,
        /// What the checkpoint promises.
        durable: Physical,
    },
    /// A file of the log holds records of another one: it was renamed, or swapped.
    #[error("{path} holds records that belong to position {says}")]
    Misplaced {
        /// Which.
        path: String,
        /// Where its first record says that it lies.
        says: Physical,
    },
    /// The settings contradict themselves.
    #[error("{0}")]
    Settings(&'static str),
}
