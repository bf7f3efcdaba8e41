//! Requests to a broker and its answers (requests.md, groups A and C).

use std::collections::BTreeMap;

use bytes::Bytes;
use hotfire_storage::position::{Physical, QueueOffset, Span};
use hotfire_storage::text::Text;
use hotfire_storage::time::Wall;
pub use hotfire_storage::{Boundary, KeyKind};

use super::Code;

/// A queue of a topic on this broker, as requests name it. May not exist.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueRef {
    /// Topic.
    pub topic: Text,
    /// Queue number, 0 and up; what a client sent, so possibly nonsense.
    pub queue: i32,
}

/// A queue with its broker's name, as lock requests carry it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageQueue {
    /// Topic.
    pub topic: Text,
    /// Broker group.
    pub broker_name: Text,
    /// Queue number.
    pub queue: i32,
}

impl QueueRef {
    /// The same, with bytes of its own ([`Text::detached`]).
    #[must_use]
    pub fn detached(&self) -> Self {
        Self { topic: self.topic.detached(), queue: self.queue }
    }
}

impl MessageQueue {
    /// The same, with bytes of its own ([`Text::detached`]).
    #[must_use]
    pub fn detached(&self) -> Self {
        Self {
            topic: self.topic.detached(),
            broker_name: self.broker_name.detached(),
            queue: self.queue,
        }
    }
}

impl Pull {
    /// The same, with bytes of its own ([`Text::detached`]).
    #[must_use]
    pub fn detached(self) -> Self {
        Self {
            group: self.group.detached(),
            from: self.from.detached(),
            subscription: self.subscription.map(|text| text.detached()),
            expression_type: self.expression_type.map(|text| text.detached()),
            ..self
        }
    }
}

impl Heartbeat {
    /// The same, with bytes of its own ([`Text::detached`]).
    #[must_use]
    pub fn detached(self) -> Self {
        let detach = |texts: Vec<Text>| texts.iter().map(Text::detached).collect();
        let consumers = self.consumers.into_iter().map(|data| ConsumerData {
            group: data.group.detached(),
            subscriptions: data
                .subscriptions
                .into_iter()
                .map(|sub| Subscription {
                    topic: sub.topic.detached(),
                    expression: sub.expression.detached(),
                    tags: detach(sub.tags),
                    expression_type: sub.expression_type.detached(),
                    ..sub
                })
                .collect(),
            ..data
        });
        Self {
            client_id: self.client_id.detached(),
            consumers: consumers.collect(),
            producers: detach(self.producers),
            ..self
        }
    }
}

/// SEND_MESSAGE (10), SEND_MESSAGE_V2 (310), SEND_BATCH_MESSAGE (320).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send {
    /// Producer group.
    pub group: Text,
    /// Target; a negative queue lets the broker choose.
    pub to: QueueRef,
    /// The template for creating the topic (`TBW102`).
    pub default_topic: Text,
    /// Queues to create, at most the template's.
    pub default_queues: i32,
    /// sysFlag of wire.md 7.
    pub sys_flag: i32,
    /// The producer's clock.
    pub born: Wall,
    /// The application's flag.
    pub flag: i32,
    /// Properties as encoded (wire.md 8).
    pub properties: Text,
    /// Earlier deliveries, of a message on its way to a retry topic.
    pub reconsume_times: i32,
    /// The client's own limit of deliveries.
    pub max_reconsume_times: Option<i32>,
    /// Unit mode of the topic to create.
    pub unit_mode: bool,
    /// The body is a batch (wire.md 9).
    pub batch: bool,
    /// The stored body, perhaps compressed.
    pub body: Bytes,
}

/// PULL_MESSAGE (11), LITE_PULL_MESSAGE (361).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pull {
    /// Consumer group.
    pub group: Text,
    /// From which queue.
    pub from: QueueRef,
    /// First offset wanted; what a client sent.
    pub offset: i64,
    /// Most messages wanted.
    pub max_messages: i32,
    /// Most bytes wanted, if the client said.
    pub max_bytes: Option<i32>,
    /// Commit this offset first (sysFlag bit 1).
    pub commit: Option<i64>,
    /// May the answer be held until a message arrives (sysFlag bit 2), and for how long.
    pub hold_ms: Option<u64>,
    /// The subscription itself (sysFlag bit 4), else the heartbeat's counts.
    pub subscription: Option<Text>,
    /// The subscription's version.
    pub sub_version: i64,
    /// `TAG` (also when absent) or `SQL92`.
    pub expression_type: Option<Text>,
}

/// QUERY_MESSAGE (12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryMessage {
    /// Topic.
    pub topic: Text,
    /// The key, the unique id or the tags.
    pub key: Text,
    /// What `key` is.
    pub kind: KeyKind,
    /// A unique id is looked for: `max_messages` does not count.
    pub is_unique: bool,
    /// Most messages wanted; what a client sent.
    pub max_messages: i32,
    /// Stored then or later.
    pub begin: Wall,
    /// Stored then or earlier.
    pub end: Wall,
}

/// A consumer's subscription to one topic (requests.md A.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Topic.
    pub topic: Text,
    /// The expression as written: `*`, `TagA || TagB`, or SQL.
    pub expression: Text,
    /// Tags named in it.
    pub tags: Vec<Text>,
    /// Their Java hash codes.
    pub codes: Vec<i32>,
    /// Version: milliseconds when it was made.
    pub version: i64,
    /// `TAG` or `SQL92`.
    pub expression_type: Text,
}

/// How a group consumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConsumeType {
    /// CONSUME_ACTIVELY: the application pulls.
    Actively,
    /// CONSUME_PASSIVELY: a push consumer.
    Passively,
    /// CONSUME_POP.
    Pop,
}

/// Who gets a message of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MessageModel {
    /// Every member.
    Broadcasting,
    /// One member.
    Clustering,
}

/// Where a group without offset begins. Decided by the client; kept to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConsumeFrom {
    /// At the oldest message.
    FirstOffset,
    /// At the end.
    LastOffset,
    /// At a time.
    Timestamp,
}

/// One consumer group within a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerData {
    /// Group.
    pub group: Text,
    /// How it consumes.
    pub consume_type: ConsumeType,
    /// Who gets what.
    pub model: MessageModel,
    /// Where it begins.
    pub from: ConsumeFrom,
    /// Topics.
    pub subscriptions: Vec<Subscription>,
}

/// HEART_BEAT (34).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The client's id, `ip@instance`.
    pub client_id: Text,
    /// Producer groups.
    pub producers: Vec<Text>,
    /// Consumer groups.
    pub consumers: Vec<ConsumerData>,
    /// Not 0: heartbeat V2, a hash of the subscriptions.
    pub fingerprint: i32,
    /// V2: subscriptions are left out, since they did not change.
    pub without_sub: bool,
}

/// UPDATE_AND_CREATE_TOPIC (17).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTopic {
    /// Name.
    pub topic: Text,
    /// Queues that may be read.
    pub read_queues: i32,
    /// Queues that may be written.
    pub write_queues: i32,
    /// Permission bits.
    pub perm: i32,
    /// Topic flags.
    pub sys_flag: i32,
    /// Keeps order across brokers.
    pub order: bool,
    /// `+key=value,-key` changes of attributes.
    pub attributes: Option<Text>,
}

/// What a broker may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerRequest {
    /// 38 GET_CONSUMER_LIST_BY_GROUP.
    ConsumerList {
        /// Group.
        group: Text,
    },
    /// 17 UPDATE_AND_CREATE_TOPIC.
    CreateTopic(Box<CreateTopic>),
    /// 32 GET_EARLIEST_MSG_STORETIME.
    EarliestStoreTime(QueueRef),
    /// 34 HEART_BEAT.
    Heartbeat(Box<Heartbeat>),
    /// 41 LOCK_BATCH_MQ.
    Lock {
        /// Consumer group.
        group: Text,
        /// Who wants them.
        client_id: Text,
        /// Which.
        queues: Vec<MessageQueue>,
    },
    /// A known code whose header or body could not be read.
    Malformed {
        /// What is wrong, for the remark.
        why: String,
    },
    /// 30 GET_MAX_OFFSET.
    MaxOffset(QueueRef),
    /// 31 GET_MIN_OFFSET.
    MinOffset(QueueRef),
    /// 11 PULL_MESSAGE, 361 LITE_PULL_MESSAGE.
    Pull(Box<Pull>),
    /// 12 QUERY_MESSAGE.
    QueryMessage(Box<QueryMessage>),
    /// 14 QUERY_CONSUMER_OFFSET.
    QueryOffset {
        /// Group.
        group: Text,
        /// Queue.
        of: QueueRef,
        /// `Some(false)`: never answer 0 for a group without offset.
        zero_if_absent: Option<bool>,
    },
    /// 29 SEARCH_OFFSET_BY_TIMESTAMP.
    SearchOffset {
        /// Queue.
        of: QueueRef,
        /// Store time.
        at: Wall,
        /// Which end of equal times.
        boundary: Boundary,
    },
    /// 10, 310, 320.
    Send(Box<Send>),
    /// 351 GET_TOPIC_CONFIG.
    TopicConfig {
        /// Topic.
        topic: Text,
    },
    /// 42 UNLOCK_BATCH_MQ.
    Unlock {
        /// Consumer group.
        group: Text,
        /// Who holds them.
        client_id: Text,
        /// Which.
        queues: Vec<MessageQueue>,
    },
    /// 35 UNREGISTER_CLIENT.
    Unregister {
        /// Client.
        client_id: Text,
        /// Leave this producer group.
        producer_group: Option<Text>,
        /// Leave this consumer group.
        consumer_group: Option<Text>,
    },
    /// A code that this broker does not serve.
    Unsupported {
        /// Its number.
        code: i32,
    },
    /// 15 UPDATE_CONSUMER_OFFSET.
    UpdateOffset {
        /// Group.
        group: Text,
        /// Queue.
        of: QueueRef,
        /// Next message to consume.
        offset: i64,
    },
    /// 33 VIEW_MESSAGE_BY_ID.
    ViewMessage {
        /// The record's position.
        at: Physical,
    },
}

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
    /// 38.
    Consumers(Vec<Text>),
    /// Success with nothing to say.
    Done,
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
    /// 10, 310, 320.
    Sent(Box<Sent>),
    /// 32: milliseconds, or -1.
    Timestamp(i64),
    /// 351.
    TopicConfig(Box<TopicDescription>),
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
}
