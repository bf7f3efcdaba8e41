//! Requests to the name server and its answers (requests.md, group B).

use std::collections::BTreeMap;

use hotfire_storage::documents::DataVersion;
use hotfire_storage::text::Text;

use super::Code;

/// A broker's place in a group: 0 is the master.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrokerId(pub i64);

impl BrokerId {
    /// The master's.
    pub const MASTER: Self = Self(0);
}

/// What the name server keeps of a topic on one broker group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueData {
    /// The broker group's name.
    pub broker_name: Text,
    /// Queues that may be read.
    pub read_queues: u32,
    /// Queues that may be written.
    pub write_queues: u32,
    /// Permission bits: 4 read, 2 write, 1 inherit.
    pub perm: i32,
    /// Topic flags: 1 unit, 2 unit-sub.
    pub sys_flag: i32,
}

/// A broker group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerData {
    /// The cluster it belongs to.
    pub cluster: Text,
    /// The group's name.
    pub broker_name: Text,
    /// Members: id to `host:port`.
    pub addrs: BTreeMap<BrokerId, Text>,
    /// The smallest surviving id may act for a lost master.
    pub enable_acting_master: bool,
}

/// Everything a client needs to reach a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// `brokerA:queues;brokerB:queues` of an ordered topic, if configured.
    pub order_conf: Option<Text>,
    /// One entry a broker group that has the topic.
    pub queues: Vec<QueueData>,
    /// Those groups.
    pub brokers: Vec<BrokerData>,
}

/// The groups of every cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterInfo {
    /// Every broker group, by name.
    pub brokers: BTreeMap<Text, BrokerData>,
    /// Cluster name to its groups' names.
    pub clusters: BTreeMap<Text, Vec<Text>>,
}

/// Who a broker says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerIdentity {
    /// Cluster.
    pub cluster: Text,
    /// Group name.
    pub broker_name: Text,
    /// `host:port` that clients use.
    pub addr: Text,
    /// Its id in the group.
    pub id: BrokerId,
}

/// A topic, as a registration carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredTopic {
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
    /// Does the topic keep order across brokers?
    pub order: bool,
}

/// REGISTER_BROKER (103).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Who.
    pub broker: BrokerIdentity,
    /// Where slaves fetch the log, `host:port`.
    pub ha_addr: Text,
    /// Silence after which it counts as dead; `None`: the name server's own 120 s.
    pub heartbeat_timeout_ms: Option<u64>,
    /// `None`: a broker too old to know of acting masters.
    pub enable_acting_master: Option<bool>,
    /// Version of the topic table.
    pub data_version: DataVersion,
    /// All its topics; from a broker that is known, also a single one that changed.
    pub topics: Vec<RegisteredTopic>,
}

/// The smallest id of a group changed (905 NOTIFY_MIN_BROKER_ID_CHANGE, requests.md D).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinIdChange {
    /// The group's name.
    pub broker_name: Text,
    /// The smallest id now.
    pub id: BrokerId,
    /// Who has it, `host:port`.
    pub addr: Text,
    /// Who had the smallest before and is gone.
    pub offline: Option<Text>,
    /// Who has it now serves its log here, if it has just come.
    pub ha_addr: Option<Text>,
}

impl BrokerIdentity {
    /// The same, with bytes of its own ([`Text::detached`]).
    #[must_use]
    pub fn detached(&self) -> Self {
        Self {
            cluster: self.cluster.detached(),
            broker_name: self.broker_name.detached(),
            addr: self.addr.detached(),
            id: self.id,
        }
    }
}

impl Registration {
    /// The same, with bytes of its own ([`Text::detached`]): a row of a table must not keep the
    /// frame that brought it, which holds every topic of a broker.
    #[must_use]
    pub fn detached(self) -> Self {
        let topics = self.topics.into_iter();
        Self {
            broker: self.broker.detached(),
            ha_addr: self.ha_addr.detached(),
            topics: topics
                .map(|topic| RegisteredTopic { topic: topic.topic.detached(), ..topic })
                .collect(),
            ..self
        }
    }
}

/// What a name server may be asked. Connection ids matter: a broker's death is its connection's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameRequest {
    /// 904 BROKER_HEARTBEAT.
    BrokerHeartbeat {
        /// Who lives.
        addr: Text,
        /// Of which cluster.
        cluster: Text,
    },
    /// 106 GET_BROKER_CLUSTER_INFO.
    ClusterInfo,
    /// 102 DELETE_KV_CONFIG.
    DeleteKv {
        /// Namespace.
        namespace: Text,
        /// Key.
        key: Text,
    },
    /// 216 DELETE_TOPIC_IN_NAMESRV.
    DeleteTopic {
        /// Topic.
        topic: Text,
        /// Only on this cluster's brokers.
        cluster: Option<Text>,
    },
    /// 101 GET_KV_CONFIG.
    GetKv {
        /// Namespace.
        namespace: Text,
        /// Key.
        key: Text,
    },
    /// 219 GET_KVLIST_BY_NAMESPACE.
    KvList {
        /// Namespace.
        namespace: Text,
    },
    /// 901 GET_BROKER_MEMBER_GROUP.
    MemberGroup {
        /// Cluster.
        cluster: Text,
        /// Group name.
        broker_name: Text,
    },
    /// 100 PUT_KV_CONFIG.
    PutKv {
        /// Namespace.
        namespace: Text,
        /// Key.
        key: Text,
        /// Value.
        value: Text,
    },
    /// 322 QUERY_DATA_VERSION; counts as a heartbeat.
    QueryDataVersion {
        /// Who asks.
        broker: BrokerIdentity,
        /// The version it has.
        version: DataVersion,
    },
    /// 103 REGISTER_BROKER.
    Register(Box<Registration>),
    /// 105 GET_ROUTEINFO_BY_TOPIC.
    Route {
        /// Topic.
        topic: Text,
    },
    /// 205 WIPE_WRITE_PERM_OF_BROKER (`writable: false`) and 327 ADD_WRITE_PERM_OF_BROKER.
    SetWritePerm {
        /// Group name.
        broker_name: Text,
        /// Grant or take.
        writable: bool,
    },
    /// 206 GET_ALL_TOPIC_LIST_FROM_NAMESERVER.
    TopicList,
    /// 224 GET_TOPICS_BY_CLUSTER.
    TopicsOfCluster {
        /// Cluster.
        cluster: Text,
    },
    /// 104 UNREGISTER_BROKER.
    Unregister(BrokerIdentity),
    /// A code that this server does not serve.
    Unsupported {
        /// Its number.
        code: i32,
    },
    /// A known code whose header or body could not be read.
    Malformed {
        /// What is wrong, for the remark.
        why: String,
    },
}

/// What a name server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameResponse {
    /// 106.
    ClusterInfo(ClusterInfo),
    /// 322: did the version differ, and what is stored.
    DataVersion {
        /// The asker must register again.
        changed: bool,
        /// The stored version.
        stored: Option<DataVersion>,
    },
    /// Success with nothing to say.
    Done,
    /// 901.
    MemberGroup(BrokerData),
    /// 103.
    Registered {
        /// Where this slave's master serves its log.
        ha_addr: Option<Text>,
        /// This slave's master.
        master_addr: Option<Text>,
        /// The namespace ORDER_TOPIC_CONFIG.
        order_topics: BTreeMap<Text, Text>,
    },
    /// No.
    Refused {
        /// Why, for programs.
        code: Code,
        /// Why, for people, and what to do.
        remark: String,
    },
    /// 105.
    Route(Route),
    /// 206, 224.
    Topics(Vec<Text>),
    /// 205, 327: rows changed.
    WritePerm {
        /// Was it granted (327) or taken (205)?
        writable: bool,
        /// How many topics were touched.
        topics: u32,
    },
    /// 101.
    KvValue(Text),
    /// 219.
    KvTable(BTreeMap<Text, Text>),
}
