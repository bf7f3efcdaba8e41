//! Keys of how a broker's CommitLog lies in memory.

use hotfire_storage::mapped::Usage;

use super::value::{switch, whole};
use super::{BrokerConf, Key, row};

/// How the CommitLog lies in memory.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Bytes of the log ahead of its end that are made present.
    pub prefault: u64,
    /// Do the pages of the file that is written stay in memory?
    pub lock_pages: bool,
    /// Are consumers that are far behind sent to a slave?
    pub slave_reads: bool,
    /// How far that is: per cent of the machine's memory.
    pub near_percent: u64,
    /// May the system read more of the log than it is asked for?
    pub read_ahead: bool,
}

impl Default for Memory {
    fn default() -> Self {
        let Usage { read_ahead, lock_pages } = Usage::default();
        Self {
            prefault: hotfire_storage::Settings::default().prefault,
            lock_pages,
            slave_reads: false,
            near_percent: 40,
            read_ahead,
        }
    }
}

impl Memory {
    /// How the CommitLog's files are used.
    pub fn usage(self) -> Usage {
        Usage { read_ahead: self.read_ahead, lock_pages: self.lock_pages }
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
        "maxPrefaultBytes",
        memory.prefault,
        whole(0..=1 << 30),
        "Hotfire's own: at most so many bytes of the CommitLog ahead of its end are made present \
         in memory; 0: none."
    ),
    row!(
        "warmMapedFileEnable",
        memory.lock_pages,
        switch,
        "Lock the pages of the CommitLog file that is written into memory, as far as \
         RLIMIT_MEMLOCK (`ulimit -l`) allows."
    ),
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
