//! What a broker answers, and what it says unasked (requests.md, groups A and C).

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hotfire_storage::position::{Confirmed, Flushed, Physical, QueueOffset, Span, Written};
use hotfire_storage::text::Text;
use hotfire_storage::time::Wall;

use super::{
    Code, ConsumeStats, GroupConfig, GroupStats, HaInfo, HaStatus, MessageQueue, OffsetsReset,
    StateKind,
};
use crate::flush::FlushFigures;

/// What a stored message's sender was promised, as far as it was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SendStatus {
    /// Everything promised.
    Ok,
    /// Stored; the disk sync is late.
    FlushDiskTimeout,
    /// Stored; no replica is there.
    SlaveNotAvailable,
    /// Stored; the replica is late.
    FlushSlaveTimeout,
}

/// The answer to a send that was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Which promise was kept.
    pub status: SendStatus,
    /// The queue it went to.
    pub queue: i32,
    /// Its offset there; of a batch, the first one's.
    pub queue_offset: QueueOffset,
    /// Where each message lies, in order: with the store host, the offset message ids.
    pub at: Positions,
    /// The message's UNIQ_KEY.
    pub transaction_id: Text,
    /// It was a batch, stored as one record.
    pub inner_batch: bool,
}

/// Positions of the records of one send: one as a rule, several of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Positions {
    /// A batch's.
    Many(Vec<Physical>),
    /// A single message's.
    One(Physical),
}

/// How a pull ended (requests.md A.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PullStatus {
    /// Messages.
    Found,
    /// None of the messages looked at passed the filter.
    NoMatchedMessage,
    /// The queue is empty, or does not exist, and offset 0 was asked for.
    NoMessageInQueue,
    /// The log no longer holds what the queue points at.
    MessageWasRemoving,
    /// Nothing behind this offset yet.
    OffsetOverflowOne,
    /// The offset lies beyond the queue's end.
    OffsetOverflowBadly,
    /// The offset lies before the queue's start.
    OffsetTooSmall,
    /// An operator has set where the group goes on.
    OffsetReset,
}

/// The answer to a pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// How it ended.
    pub status: PullStatus,
    /// The code that goes with it; depends on the offset asked for.
    pub code: Code,
    /// Where to pull next.
    pub next: QueueOffset,
    /// First offset of the queue.
    pub min: QueueOffset,
    /// Offset of the next message to come that may be seen.
    pub max: QueueOffset,
    /// The broker id to pull from next time.
    pub suggest: i64,
    /// The records, neighbours merged. Leased from the store when the answer is written.
    pub spans: Vec<Span>,
}

/// The answer to a query that found something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queried {
    /// When the newest record that is indexed was stored.
    pub indexed_time: Wall,
    /// Where that one lies.
    pub indexed: Physical,
    /// The records, oldest first. Leased from the store when the answer is written.
    pub spans: Vec<Span>,
}

/// What a broker answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerResponse {
    /// 317.
    AllConsumeStats {
        /// The broker's address.
        broker_addr: Text,
        /// Of each group.
        groups: Vec<GroupStats>,
    },
    /// 208.
    ConsumeStats(Box<ConsumeStats>),
    /// 38.
    Consumers(Vec<Text>),
    /// Success with nothing to say.
    Done,
    /// 352.
    GroupConfig(Box<GroupConfig>),
    /// 34.
    Heartbeat {
        /// The subscriptions differ from the stored ones: send them in full.
        sub_changed: bool,
    },
    /// 41.
    Locked(Vec<MessageQueue>),
    /// 33: one record.
    Message(Span),
    /// 14, 29, 30, 31.
    Offset(i64),
    /// 222: where the group goes on, by queue.
    OffsetsReset(Vec<(MessageQueue, QueueOffset)>),
    /// 11, 361.
    Pulled(Box<Pulled>),
    /// 12.
    Queried(Box<Queried>),
    /// No.
    Refused {
        /// Why, for programs.
        code: Code,
        /// Why, for people, and what to do.
        remark: String,
    },
    /// 28.
    RuntimeInfo(Box<RuntimeInfo>),
    /// 906; `None` of a slave.
    HaInfo(Option<Box<HaInfo>>),
    /// How replication stands.
    HaStatus(Box<HaStatus>),
    /// 10, 310, 320.
    Sent(Box<Sent>),
    /// 21, 43, 45, 201, 402.
    State {
        /// Which table.
        kind: StateKind,
        /// How many rows it has, where askers count.
        count: usize,
        /// All of it.
        json: Bytes,
    },
    /// 32: milliseconds, or -1.
    Timestamp(i64),
    /// 351.
    TopicConfig(Box<TopicDescription>),
}

/// How a broker is, as GET_BROKER_RUNTIME_INFO shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeInfo {
    /// When its store was opened.
    pub booted: Wall,
    /// How long ago that was, by a clock that does not jump.
    pub uptime: Duration,
    /// Where the log begins.
    pub start: Physical,
    /// Up to where it is written.
    pub written: Written,
    /// Up to where it is durable.
    pub flushed: Flushed,
    /// Up to where consumers may see.
    pub confirmed: Confirmed,
    /// Pulls that wait for messages.
    pub held_pulls: u64,
    /// Sends that are stored, and wait for their promise to come true.
    pub waiting_sends: u64,
    /// How syncs of the log went.
    pub flushes: FlushFigures,
    /// Why all sends are refused, if they are: a sync failed, or the broker is ending.
    pub sends_refused: Option<Text>,
}

/// A topic's configuration, as GET_TOPIC_CONFIG shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// Name.
    pub topic: Text,
    /// Queues that may be read.
    pub read_queues: u32,
    /// Queues that may be written.
    pub write_queues: u32,
    /// Permission bits.
    pub perm: i32,
    /// Topic flags.
    pub sys_flag: i32,
    /// Keeps order across brokers.
    pub order: bool,
    /// `queue.type=BatchCQ` and the like.
    pub attributes: BTreeMap<Text, Text>,
}

/// What a broker says to a client unasked, one-way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerNotice {
    /// 40 NOTIFY_CONSUMER_IDS_CHANGED: rebalance now.
    ConsumerIdsChanged {
        /// Group.
        group: Text,
    },
    /// 220.
    OffsetsReset(Box<OffsetsReset>),
}
