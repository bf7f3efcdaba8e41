//! Keys of how a broker's CommitLog lies in memory.

use hotfire_storage::mapped::Usage;

use super::value::{switch, whole};
use super::{BrokerConf, Key, row};

/// How the CommitLog lies in memory.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Are consumers that are far behind sent to a slave?
    pub slave_reads: bool,
    /// How far that is: per cent of the machine's memory.
    pub near_percent: u64,
    /// May the system read more of the log than it is asked for?
    pub read_ahead: bool,
}

impl Default for Memory {
    fn default() -> Self {
        let Usage { read_ahead } = Usage::default();
        Self { slave_reads: false, near_percent: 40, read_ahead }
    }
}

impl Memory {
    /// How the CommitLog's files are used.
    pub fn usage(self) -> Usage {
        Usage { read_ahead: self.read_ahead }
    }

    /// From how many bytes behind the log's end on consumers are sent to a slave, if they are.
    pub fn far_behind(self) -> Option<u64> {
        let memory = self.slave_reads.then(of_the_machine).flatten()?;
        Some(memory / 100 * self.near_percent)
    }
}

/// Bytes of memory that the machine has, if it says so.
fn of_the_machine() -> Option<u64> {
    let told = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = told.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

pub(super) const KEYS: &[Key<BrokerConf>] = &[
    row!(
        "dataReadAheadEnable",
        memory.read_ahead,
        switch,
        "Off: the system reads no more of the CommitLog than it is asked for."
    ),
    row!(
        "slaveReadEnable",
        memory.slave_reads,
        switch,
        "Consumers that read what may have left the memory are sent to a slave \
         (whichBrokerWhenConsumeSlowly of their group). A slave answers those that come in any \
         case: their master is gone."
    ),
    row!(
        "accessMessageInMemoryMaxRatio",
        memory.near_percent,
        whole(1..=100),
        "slaveReadEnable: how far behind the log's end that is, in per cent of the \
         machine's memory."
    ),
];
