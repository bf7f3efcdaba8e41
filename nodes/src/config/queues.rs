//! The keys about consume queues.

use super::value::{switch, whole};
use super::{BrokerConf, Key, row};

/// What an operator may set of consume queues.
#[derive(Clone, Debug)]
pub struct QueueConf {
    /// Bytes of a file of a queue of inner batches.
    pub batch_file: u32,
    /// Do queues have extensions?
    pub ext: bool,
    /// Bytes of a file of an extension.
    pub ext_file: u32,
    /// Are there light queues?
    pub light: bool,
    /// Do messages name the light queues that they go to as well?
    pub multi_dispatch: bool,
    /// The most light queues.
    pub light_max: usize,
}

impl Default for QueueConf {
    fn default() -> Self {
        Self {
            batch_file: 13_800_000,
            ext: false,
            ext_file: 48 << 20,
            light: false,
            multi_dispatch: false,
            light_max: 20_000,
        }
    }
}

impl QueueConf {
    /// The settings of the store that this is about.
    pub(super) fn apply(&self, settings: &mut hotfire_storage::Settings) {
        settings.batch_queue_file = self.batch_file;
        settings.queue_ext = self.ext;
        settings.queue_ext_file = self.ext_file;
        settings.light_queues = self.light && self.multi_dispatch;
        settings.light_queues_max = self.light_max;
    }
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
    row!(
        "enableLmq",
        queues.light,
        switch,
        "Light queues: `%LMQ%` topics of one queue that need no configuration; consumer offsets \
         are kept in lmqConsumerOffset.json."
    ),
    row!(
        "enableMultiDispatch",
        queues.multi_dispatch,
        switch,
        "With enableLmq: a message goes to the light queues that its property \
         INNER_MULTI_DISPATCH names as well."
    ),
    row!(
        "maxLmqConsumeQueueNum",
        queues.light_max,
        whole(0..=10_000_000),
        "Most light queues; a message that would make one more is refused."
    ),
];
