//! Keys of the transient store pool: records that wait in memory before they go to their file.

use hotfire_core::broker::Pace;

use super::value::{FlushDisk, Millis, Role, millis, switch, whole};
use super::{BrokerConf, Key, row};

/// Bytes of a buffer of the pool.
const BUFFER: u32 = 8 << 20;

/// The pool.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// Is there one?
    pub enabled: bool,
    /// How many buffers it has.
    pub buffers: u32,
    /// When staged records go to their file: looked for so often,
    pub every: Millis,
    /// if there are so many pages of them,
    pub pages: u32,
    /// or after so long.
    pub thorough: Millis,
}

impl Default for Pool {
    fn default() -> Self {
        Self { enabled: false, buffers: 5, every: Millis(200), pages: 4, thorough: Millis(200) }
    }
}

impl BrokerConf {
    /// When staged records are committed, if records are staged: on a master of ASYNC_FLUSH.
    pub(super) fn commits(&self) -> Option<Pace> {
        let Pool { enabled, every, pages, thorough, .. } = self.pool;
        let applies = self.flush == FlushDisk::Async && self.role != Role::Slave;
        let pace = Pace { every: every.into(), least_pages: pages, thorough: thorough.into() };
        (enabled && applies).then_some(pace)
    }

    /// How many bytes may be staged.
    pub(super) fn staged(&self) -> Option<usize> {
        self.commits().map(|_| (self.pool.buffers * BUFFER) as usize)
    }
}

pub(super) const KEYS: &[Key<BrokerConf>] = &[
    row!(
        "transientStorePoolEnable",
        pool.enabled,
        switch,
        "Records wait in memory before they go to their file, and are not seen until then. What \
         waits a kill of the process loses, though it was answered SEND_OK. Only on a master, and \
         with ASYNC_FLUSH."
    ),
    row!(
        "transientStorePoolSize",
        pool.buffers,
        whole(1..=64),
        "Buffers of the pool, 8 MiB each. When it is full, sends wait for a commit."
    ),
    row!(
        "commitIntervalCommitLog",
        pool.every,
        millis(1..=3_600_000),
        "How often what waits in the pool is looked for."
    ),
    row!(
        "commitCommitLogLeastPages",
        pool.pages,
        whole(0..=1 << 20),
        "Pages of 4 KiB that it must be; more than 256 go at once."
    ),
    row!(
        "commitCommitLogThoroughInterval",
        pool.thorough,
        millis(1..=3_600_000),
        "After this long all of it goes."
    ),
];
