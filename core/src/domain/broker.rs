//! Requests to a broker (requests.md, groups A and C).

use bytes::Bytes;
use hotfire_storage::position::Physical;
use hotfire_storage::text::Text;
use hotfire_storage::time::Wall;
pub use hotfire_storage::{Boundary, KeyKind};

use super::{CloneOffsets, GroupConfig, MinIdChange, ResetOffsets};

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

/// The template that clients name for the topics which their sends make.
pub const DEFAULT_TOPIC: &str = "TBW102";

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

impl Send {
    /// A message that says nothing of itself, and is sent as clients do that nobody configured.
    pub fn new(group: impl Into<Text>, to: QueueRef, body: impl Into<Bytes>) -> Self {
        Self {
            group: group.into(),
            to,
            default_topic: Text::from_static(DEFAULT_TOPIC),
            default_queues: 4,
            sys_flag: 0,
            born: Wall::default(),
            flag: 0,
            properties: Text::EMPTY,
            reconsume_times: 0,
            max_reconsume_times: None,
            unit_mode: false,
            batch: false,
            body: body.into(),
        }
    }
}

/// CONSUMER_SEND_MSG_BACK (36): a group failed to consume a message, and wants it again later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendBack {
    /// Consumer group.
    pub group: Text,
    /// The message's record.
    pub at: Physical,
    /// How long until it comes again: a delay level, 0 for the broker to choose, less than 0 for
    /// not at all.
    pub delay_level: i32,
    /// The message's id as its consumer knows it: tells messages of an inner batch apart.
    pub origin_id: Option<Text>,
    /// The client's own limit of deliveries.
    pub max_reconsume_times: Option<i32>,
    /// Unit mode of the topic to create.
    pub unit_mode: bool,
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

impl CreateTopic {
    /// A topic that may be read and written, with so many queues for each, and nothing else said.
    pub fn new(topic: impl Into<Text>, queues: i32) -> Self {
        Self {
            topic: topic.into(),
            read_queues: queues,
            write_queues: queues,
            perm: 6,
            sys_flag: 0,
            order: false,
            attributes: None,
        }
    }
}

/// What a broker may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerRequest {
    /// 317 GET_BROKER_CONSUME_STATS: how all groups get on.
    AllConsumeStats {
        /// In topics that keep order across brokers, only.
        only_ordered: bool,
    },
    /// 314.
    CloneOffsets(Box<CloneOffsets>),
    /// 200 UPDATE_AND_CREATE_SUBSCRIPTIONGROUP; 225 for more than one: all of them, or none.
    /// Attributes are changes: `+key` sets one, `-key` takes it away.
    ConfigureGroups(Vec<GroupConfig>),
    /// 208 GET_CONSUME_STATS: how a group gets on.
    ConsumeStats {
        /// Group.
        group: Text,
        /// In these topics; else in all that it consumes.
        topics: Vec<Text>,
    },
    /// 38 GET_CONSUMER_LIST_BY_GROUP.
    ConsumerList {
        /// Group.
        group: Text,
    },
    /// 17 UPDATE_AND_CREATE_TOPIC.
    CreateTopic(Box<CreateTopic>),
    /// 207 DELETE_SUBSCRIPTIONGROUP.
    DeleteGroup {
        /// Group.
        group: Text,
        /// And what it has consumed.
        clean_offset: bool,
    },
    /// 32 GET_EARLIEST_MSG_STORETIME.
    EarliestStoreTime(QueueRef),
    /// 352 GET_SUBSCRIPTIONGROUP_CONFIG.
    GroupConfig {
        /// Group.
        group: Text,
    },
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
    /// 905 NOTIFY_MIN_BROKER_ID_CHANGE, of a name server.
    MinIdChanged(Box<MinIdChange>),
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
    /// 222.
    ResetOffsets(Box<ResetOffsets>),
    /// 28 GET_BROKER_RUNTIME_INFO.
    RuntimeInfo,
    /// 906 EXCHANGE_BROKER_HA_INFO: where is the master's log, for a member of its group?
    HaInfo {
        /// The asker is the master and says it: its replication port, `host:port`.
        told: Option<Text>,
    },
    /// How does replication stand?
    HaStatus,
    /// 21, 43, 45, 201, 402: a table, whole; of slaves.
    State(StateKind),
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
    /// 36.
    SendBack(Box<SendBack>),
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

/// A table that slaves take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateKind {
    /// 45: how far delay levels are delivered.
    DelayOffsets,
    /// 201.
    Groups,
    /// 43: consumer offsets.
    Offsets,
    /// 402: how groups are served.
    RequestModes,
    /// 21.
    Topics,
}

impl StateKind {
    /// All there are.
    pub const ALL: [Self; 5] =
        [Self::Topics, Self::Groups, Self::Offsets, Self::DelayOffsets, Self::RequestModes];
    /// Those that a slave of ours asks for, in this order.
    pub const FOLLOWED: [Self; 4] = [Self::Topics, Self::Groups, Self::Offsets, Self::DelayOffsets];
}
