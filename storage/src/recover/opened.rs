//! What came of a start.

use crate::position::Physical;
use crate::record::Damage;

/// What opening a store found and did, for one line in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// The broker before stopped in order.
    pub clean: bool,
    /// Files of the log.
    pub log_files: usize,
    /// Where checking began.
    pub scanned_from: Physical,
    /// Where the log ends.
    pub end: Physical,
    /// Good records read.
    pub records: u64,
    /// Of those, records whose units were written again.
    pub dispatched: u64,
    /// What lay at the end, if it was not merely unused: a torn or stale record.
    pub cut: Option<Damage>,
    /// Queues.
    pub queues: usize,
    /// From here on records were indexed again.
    pub indexed_from: Physical,
    /// The first index file that was damaged, or their directory if some were missing. What was
    /// lost with it was computed from the log again.
    pub index_damaged: Option<String>,
}
