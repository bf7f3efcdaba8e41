//! How syncs went: for operators, and no state of the machine.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Syncs since the broker's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlushFigures {
    /// How many ended.
    pub syncs: u64,
    /// How long one took, in microseconds: the median.
    pub micros_p50: u64,
    /// 99 of 100 took no longer.
    pub micros_p99: u64,
    /// The longest.
    pub micros_max: u64,
    /// Appends that shared one (group commit): the median.
    pub shared_p50: u64,
    /// The most.
    pub shared_max: u64,
}

/// The account.
#[derive(Clone, Debug)]
pub(super) struct Record {
    micros: Histogram<u64>,
    shared: Histogram<u64>,
    /// Appends that no sync covers yet.
    waiting: u64,
    /// Those that the sync in flight covers.
    in_flight: u64,
}

impl Record {
    pub(super) fn new() -> Self {
        let histogram = || Histogram::new(2).expect("two digits are possible");
        Self { micros: histogram(), shared: histogram(), waiting: 0, in_flight: 0 }
    }

    pub(super) fn wrote(&mut self) {
        self.waiting += 1;
    }

    pub(super) fn started(&mut self) {
        self.in_flight = std::mem::take(&mut self.waiting);
    }

    pub(super) fn ended(&mut self, took: Duration) {
        // Both grow with what they are told. A machine of 16 bits could not hold a day.
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.record(micros).expect("it grows");
        self.shared.record(self.in_flight).expect("it grows");
    }

    pub(super) fn figures(&self) -> FlushFigures {
        FlushFigures {
            syncs: self.micros.len(),
            micros_p50: self.micros.value_at_quantile(0.5),
            micros_p99: self.micros.value_at_quantile(0.99),
            micros_max: self.micros.max(),
            shared_p50: self.shared.value_at_quantile(0.5),
            shared_max: self.shared.max(),
        }
    }
}
