//! The keys about consume queues.

use super::value::{switch, whole};
use super::{BrokerConf, Key, key};

/// What an operator may set of consume queues.
#[derive(Clone, Debug)]
pub struct QueueConf {
    /// Bytes of a file of a queue of inner batches.
    pub batch_file: u32,
    /// Do queues have extensions?
    pub ext: bool,
    /// Bytes of a file of an extension.
    pub ext_file: u32,
}

impl Default for QueueConf {
    fn default() -> Self {
        Self { batch_file: 13_800_000, ext: false, ext_file: 48 << 20 }
    }
}

impl QueueConf {
    /// The settings of the store that this is about.
    pub(super) fn apply(&self, settings: &mut hotfire_storage::Settings) {
        settings.batch_queue_file = self.batch_file;
        settings.queue_ext = self.ext;
        settings.queue_ext_file = self.ext_file;
    }
}

macro_rules! row {
    ($($part:tt)*) => { key!(BrokerConf, $($part)*) };
}

pub(super) const KEYS: &[Key<BrokerConf>] = &[
    row!(
        "mapperFileSizeBatchConsumeQueue",
        queues.batch_file,
        whole(46..=1 << 31),
        "Bytes of a file of a queue of inner batches, rounded up to whole entries of 46."
    ),
    row!(
        "enableConsumeQueueExt",
        queues.ext,
        switch,
        "Keep tags and store times in extension files beside the queues."
    ),
    row!(
        "mappedFileSizeConsumeQueueExt",
        queues.ext_file,
        whole(4096..=1 << 31),
        "Bytes of an extension file; fixed for the life of a store."
    ),
];
