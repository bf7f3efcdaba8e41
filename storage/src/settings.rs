//! What a store is told about itself.

use crate::record::PropCrc;

/// Sizes, places and tables of a store. Apache's names in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the CommitLog lies, relative to the root.
    pub commit_log_dir: String,
    /// Where ordinary queues lie.
    pub consume_queue_dir: String,
    /// Where queues of inner batches lie.
    pub batch_queue_dir: String,
    /// Where the extensions of ordinary queues lie.
    pub queue_ext_dir: String,
    /// Where index files lie.
    pub index_dir: String,
    /// Are records indexed by their keys (`messageIndexEnable`)?
    pub index: bool,
    /// Slots of an index file (`maxHashSlotNum`). With `index_items` it gives the file's size, and
    /// files of another size are made anew from the log.
    pub index_slots: u32,
    /// Items of an index file, one more than fit (`maxIndexNum`).
    pub index_items: u32,
    /// Bytes of a CommitLog file (`mappedFileSizeCommitLog`).
    pub commit_log_file: u32,
    /// Bytes of a queue file, rounded up to whole units (`mappedFileSizeConsumeQueue`).
    pub consume_queue_file: u32,
    /// Bytes of a batch queue file (`mapperFileSizeBatchConsumeQueue`), likewise rounded up.
    pub batch_queue_file: u32,
    /// Bytes of a file of an extension (`mappedFileSizeConsumeQueueExt`).
    pub queue_ext_file: u32,
    /// Do ordinary queues have an extension (`enableConsumeQueueExt`)? Without one, tags codes of
    /// units that point at it are not known.
    pub queue_ext: bool,
    /// The largest body, in bytes (`maxMessageSize`); a record may be 64 KiB larger.
    pub max_message_size: u32,
    /// What each delay level waits, in milliseconds, level 1 first (`messageDelayLevel`).
    pub delay_levels: Vec<i64>,
    /// Are light queues written (`enableLmq` and `enableMultiDispatch`)?
    pub light_queues: bool,
    /// The most light queues (`maxLmqConsumeQueueNum`); a message that would make more is refused.
    pub light_queues_max: usize,
    /// Does recovery compare CRCs (`checkCRCOnRecover`)?
    pub verify_crc: bool,
    /// Do appended records end in a CRC over all of their bytes (`enabledAppendPropCRC`)? Where
    /// they do, recovery takes none without it for good.
    pub prop_crc: PropCrc,
    /// Does recovery demand that CRC of every record that it reads, whoever wrote it
    /// (`forceVerifyPropCRC`)?
    pub force_prop_crc: bool,
    /// Bytes of records that may wait in a buffer for a commit before they are in their file
    /// (`transientStorePoolEnable`); `None`: they wait for the end of their turn. What is not
    /// committed a kill loses. Not for a store that receives.
    pub staged: Option<usize>,
    /// The operator's word that a log damaged below its durable end may be cut there. Without it
    /// such a store refuses to open.
    pub accept_rot: bool,
    /// Are all queues and the index to be computed from the log, whatever they hold? Only for a
    /// repair.
    pub rebuild: bool,
    /// The process id: what the `abort` file begins with, for humans.
    pub process: u32,
}

impl Default for Settings {
    fn default() -> Self {
        const SECOND: i64 = 1000;
        const MINUTE: i64 = 60 * SECOND;
        const HOUR: i64 = 60 * MINUTE;
        let seconds = [1, 5, 10, 30].map(|s| s * SECOND);
        let minutes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30].map(|m| m * MINUTE);
        let hours = [1, 2].map(|h| h * HOUR);
        Self {
            commit_log_dir: "commitlog".to_owned(),
            consume_queue_dir: "consumequeue".to_owned(),
            batch_queue_dir: "batchconsumequeue".to_owned(),
            queue_ext_dir: "consumequeue_ext".to_owned(),
            index_dir: "index".to_owned(),
            index: true,
            index_slots: 5_000_000,
            index_items: 20_000_000,
            commit_log_file: 1 << 30,
            consume_queue_file: 300_000 * 20,
            batch_queue_file: 300_000 * 46,
            queue_ext_file: 48 << 20,
            queue_ext: false,
            max_message_size: 4 << 20,
            delay_levels: [&seconds[..], &minutes, &hours].concat(),
            light_queues: false,
            light_queues_max: 20_000,
            verify_crc: true,
            prop_crc: PropCrc::Append,
            force_prop_crc: false,
            staged: None,
            accept_rot: false,
            rebuild: false,
            process: 0,
        }
    }
}
