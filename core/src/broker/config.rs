//! What an operator may set of a broker, in domain terms. Keys of `broker.conf` are mapped onto
//! it by hotfire-nodes.

use std::net::SocketAddr;
use std::time::Duration;

use hotfire_storage::text::Text;

use super::acting::ActingPolicy;
use super::ha::Role;
use crate::domain::BrokerIdentity;
use crate::flush::FlushPolicy;
use crate::ha::MasterPolicy;
use crate::retention::RetentionPolicy;

/// Bounds of what a broker keeps.
#[derive(Clone, Debug)]
pub struct BrokerLimits {
    /// Topics.
    pub topics: usize,
    /// Consumer and producer groups, each.
    pub groups: usize,
    /// Clients of one group.
    pub clients_per_group: usize,
    /// Queues of one topic.
    pub queues_per_topic: u32,
    /// Pulls held until a message arrives.
    pub waiting_pulls: usize,
    /// Sends that wait for a sync, or for the next file.
    pub waiting_sends: usize,
    /// Bytes of sends that wait for the next file.
    pub parked_bytes: usize,
    /// Messages of one batch.
    pub batch_messages: usize,
}

impl Default for BrokerLimits {
    fn default() -> Self {
        Self {
            topics: 100_000,
            groups: 100_000,
            clients_per_group: 10_000,
            queues_per_topic: 16_384,
            waiting_pulls: 100_000,
            waiting_sends: 100_000,
            parked_bytes: 256 << 20,
            batch_messages: 10_000,
        }
    }
}

/// A broker's settings.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Who it is.
    pub identity: BrokerIdentity,
    /// Where slaves fetch the log, `host:port`.
    pub ha_addr: Text,
    /// The address in its records and message ids: `brokerIP1` and `listenPort`.
    pub store_host: SocketAddr,
    /// Permission bits of the whole broker (`brokerPermission`).
    pub permission: i32,
    /// Create a topic on the first send to it (`autoCreateTopicEnable`).
    pub auto_create_topic: bool,
    /// Create a group on its first heartbeat (`autoCreateSubscriptionGroup`).
    pub auto_create_group: bool,
    /// Are there light queues, and groups that consume them (`enableLmq`)?
    pub light_queues: bool,
    /// Queues of the template topic (`defaultTopicQueueNums`).
    pub default_topic_queues: u32,
    /// Largest body, in bytes (`maxMessageSize`).
    pub max_message_size: u32,
    /// When bytes are made durable.
    pub flush: FlushPolicy,
    /// Master or slave, and how.
    pub role: Role,
    /// Does the group act for its master when that is gone, and how (`enableSlaveActingMaster`)?
    pub acting: Option<ActingPolicy>,
    /// When old files go.
    pub retention: RetentionPolicy,
    /// Hold a pull that finds nothing (`longPollingEnable`).
    pub long_polling: bool,
    /// A reset of offsets is remembered here until the group pulls (`useServerSideResetOffset`);
    /// else its members are told.
    pub server_side_reset: bool,
    /// How long to hold it when long polling is off (`shortPollingTimeMills`).
    pub short_polling: Duration,
    /// Consumers that lack more bytes of the log than this are sent to a slave (`slaveReadEnable`,
    /// `accessMessageInMemoryMaxRatio`).
    pub far_behind: Option<u64>,
    /// How many name servers there are: a new topic is ready once each was told.
    pub name_servers: usize,
    /// How often name servers are told, change or not (`registerNameServerPeriod`).
    pub register_every: Duration,
    /// How often consumer offsets are saved (`flushConsumerOffsetInterval`).
    pub save_offsets_every: Duration,
    /// Silence after which a client is gone (`channelExpiredTimeout`).
    pub client_expiry: Duration,
    /// Life of a queue lock (`rocketmq.broker.rebalance.lockMaxLiveTime`).
    pub lock_life: Duration,
    /// Bounds.
    pub limits: BrokerLimits,
    /// Seeds the broker's own choices (which queue, when a send names none).
    pub seed: u64,
}

impl BrokerConfig {
    /// The defaults, for this broker.
    pub fn new(identity: BrokerIdentity, store_host: SocketAddr, ha_addr: Text) -> Self {
        Self {
            identity,
            ha_addr,
            store_host,
            permission: 6,
            auto_create_topic: true,
            auto_create_group: true,
            light_queues: false,
            default_topic_queues: 8,
            max_message_size: 4 << 20,
            flush: FlushPolicy::default(),
            role: Role::Master(MasterPolicy::default()),
            acting: None,
            retention: RetentionPolicy::default(),
            long_polling: true,
            server_side_reset: true,
            short_polling: Duration::from_secs(1),
            far_behind: None,
            name_servers: 0,
            register_every: Duration::from_secs(30),
            save_offsets_every: Duration::from_secs(5),
            client_expiry: Duration::from_secs(120),
            lock_life: Duration::from_secs(60),
            limits: BrokerLimits::default(),
            seed: 0,
        }
    }
}
