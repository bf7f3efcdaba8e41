//! Keys of how a broker's CommitLog lies in memory.

use hotfire_storage::mapped::Usage;

use super::value::{switch, whole};
use super::{BrokerConf, Key, key};

/// How the CommitLog lies in memory.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Bytes of the log ahead of its end that are made present.
    pub prefault: u64,
    /// Do the pages of the file that is written stay in memory?
    pub lock_pages: bool,
    /// May the system read more of the log than it is asked for?
    pub read_ahead: bool,
}

impl Default for Memory {
    fn default() -> Self {
        let Usage { read_ahead, lock_pages } = Usage::default();
        Self { prefault: hotfire_storage::Settings::default().prefault, lock_pages, read_ahead }
    }
}

impl Memory {
    /// How the CommitLog's files are used.
    pub fn usage(self) -> Usage {
        Usage { read_ahead: self.read_ahead, lock_pages: self.lock_pages }
    }
}

macro_rules! row {
    ($($part:tt)*) => { key!(BrokerConf, $($part)*) };
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
];
