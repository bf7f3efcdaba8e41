//! The keys of `broker.conf`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;

use hotfire_core::broker::{BrokerConfig, FlushPolicy, Pace};
use hotfire_core::domain::{BrokerId, BrokerIdentity};
use hotfire_storage::text::Text;

use super::acting::{self, ActingConf};
use super::connections::{Connections, connection_keys};
use super::crc::{self, CrcConf};
use super::ha::{self, HaConf};
use super::memory::{self, Memory};
use super::pool::{self, Pool};
use super::queues::{self, QueueConf};
use super::retention::{Retention, retention_keys};
use super::value::{self, Addrs, Delays, FlushDisk, Millis, Place, Role};
use super::value::{millis, switch, whole};
use super::{Key, Settings, host, ignored, key, row};

/// Everything a broker's operator may set.
// Each switch is a key of a file, not a state.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Debug)]
pub struct BrokerConf {
    /// Its cluster.
    pub cluster: String,
    /// Its name within the cluster; one name, one log.
    pub name: String,
    /// 0 for a master.
    pub id: i64,
    /// Master or slave.
    pub role: Role,
    /// Does a send wait for the medium?
    pub flush: FlushDisk,
    /// The address listened on.
    pub bind: IpAddr,
    /// The port listened on.
    pub port: u16,
    /// Another one that answers the same; 0: none. Unless set, two below `port`.
    pub fast_port: Option<u16>,
    /// The address told to clients, and written into records.
    pub advertised: Ipv4Addr,
    /// The address told to slaves.
    pub advertised_ha: Option<Ipv4Addr>,
    /// Name servers.
    pub namesrv: Addrs,
    /// The store's directory.
    pub root: Place,
    /// The CommitLog's directory, if it is not the root's `commitlog`.
    pub commit_log: Place,
    /// Bytes of a CommitLog file.
    pub commit_log_file: u32,
    /// Bytes of a ConsumeQueue file.
    pub consume_queue_file: u32,
    /// How the CommitLog lies in memory.
    pub memory: Memory,
    /// Records that wait before they go to their file.
    pub pool: Pool,
    /// Consume queues.
    pub queues: QueueConf,
    /// Are records indexed by their keys?
    pub index: bool,
    /// Slots of an index file.
    pub index_slots: u32,
    /// Items of an index file.
    pub index_items: u32,
    /// How long between looks at what is dirty.
    pub flush_every: Millis,
    /// Dirty pages that are worth a sync.
    pub flush_pages: u32,
    /// Sync whatever is dirty after this long.
    pub flush_thorough: Millis,
    /// How long a send waits for its sync.
    pub sync_timeout: Millis,
    /// Permission bits of the broker.
    pub permission: i32,
    /// Create a topic on the first send to it.
    pub auto_create_topic: bool,
    /// Create a group on its first heartbeat.
    pub auto_create_group: bool,
    /// Queues of the template topic.
    pub default_topic_queues: u32,
    /// Largest body.
    pub max_message_size: u32,
    /// Delays of the levels.
    pub delay_levels: Delays,
    /// Hold a pull that finds nothing.
    pub long_polling: bool,
    /// A reset of offsets is remembered here until the group pulls.
    pub server_side_reset: bool,
    /// How long, when long polling is off.
    pub short_polling: Millis,
    /// How often name servers are told.
    pub register_every: Millis,
    /// How often consumer offsets are saved.
    pub save_offsets_every: Millis,
    /// Silence after which a client is gone.
    pub client_expiry: Millis,
    /// How the log is replicated.
    pub ha: HaConf,
    /// Do slaves act for a master that is gone?
    pub acting: ActingConf,
    /// CRCs of records.
    pub crcs: CrcConf,
    /// What becomes of old messages.
    pub retention: Retention,
    /// A safety that is refused.
    pub refused: bool,
    /// The kind of store.
    pub store_type: String,
    /// Open a log that is damaged below its durable end; a word of the command line only.
    pub accept_damaged_log: bool,
    /// Bounds of connections.
    pub connections: Connections,
    /// Bounds of the broker.
    pub limits: hotfire_core::broker::BrokerLimits,
}

impl Default for BrokerConf {
    fn default() -> Self {
        let limits = hotfire_core::broker::BrokerLimits::default();
        Self {
            cluster: "DefaultCluster".into(),
            name: host::name(),
            id: 0,
            role: Role::AsyncMaster,
            flush: FlushDisk::Async,
            bind: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: 10911,
            fast_port: None,
            advertised: host::ipv4(),
            advertised_ha: None,
            namesrv: Addrs::default(),
            root: Place(home().join("store")),
            commit_log: Place::default(),
            commit_log_file: 1 << 30,
            consume_queue_file: 6_000_000,
            memory: Memory::default(),
            pool: Pool::default(),
            queues: QueueConf::default(),
            index: true,
            index_slots: 5_000_000,
            index_items: 20_000_000,
            flush_every: Millis(500),
            flush_pages: 4,
            flush_thorough: Millis(10_000),
            sync_timeout: Millis(5000),
            permission: 6,
            auto_create_topic: true,
            auto_create_group: true,
            default_topic_queues: 8,
            max_message_size: 4 << 20,
            delay_levels: value::delays(DELAYS).expect("a default is valid"),
            long_polling: true,
            server_side_reset: true,
            short_polling: Millis(1000),
            register_every: Millis(30_000),
            save_offsets_every: Millis(5000),
            client_expiry: Millis(120_000),
            ha: HaConf::default(),
            acting: ActingConf::default(),
            crcs: CrcConf::default(),
            retention: Retention::default(),
            refused: false,
            store_type: "default".into(),
            accept_damaged_log: false,
            connections: Connections::default(),
            limits,
        }
    }
}

/// The home directory, as Apache's default store path wants it.
pub(super) fn home() -> PathBuf {
    std::env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from)
}

const DELAYS: &str = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h";

/// The room of a record beside its body: topic, properties, fixed fields, and the file's blank end.
const RECORD_ROOM: u32 = 128 << 10;
/// Bytes of a ConsumeQueue entry.
const ENTRY: u32 = 20;

impl BrokerConf {
    /// The settings of the machine.
    pub fn machine(&self, seed: u64) -> BrokerConfig {
        let identity = BrokerIdentity {
            cluster: Text::from(self.cluster.as_str()),
            broker_name: Text::from(self.name.as_str()),
            addr: Text::from(format!("{}:{}", self.advertised, self.port)),
            id: BrokerId(self.id),
        };
        let store_host = SocketAddr::V4(SocketAddrV4::new(self.advertised, self.port));
        let ha_ip = self.advertised_ha.unwrap_or(self.advertised);
        let ha_port = self.ha_port().unwrap_or(self.port.saturating_add(1));
        let ha_addr = Text::from(format!("{ha_ip}:{ha_port}"));
        let flush = match self.flush {
            FlushDisk::Async => FlushPolicy::Async {
                flush: Pace {
                    every: self.flush_every.into(),
                    least_pages: self.flush_pages,
                    thorough: self.flush_thorough.into(),
                },
                commit: self.commits(),
            },
            FlushDisk::Sync => FlushPolicy::Sync { timeout: self.sync_timeout.into() },
        };
        BrokerConfig {
            permission: self.permission,
            auto_create_topic: self.auto_create_topic,
            auto_create_group: self.auto_create_group,
            light_queues: self.queues.light,
            default_topic_queues: self.default_topic_queues,
            max_message_size: self.max_message_size,
            flush,
            role: self.duty(),
            acting: self.acting.policy(),
            retention: self.retention.policy(),
            long_polling: self.long_polling,
            server_side_reset: self.server_side_reset,
            short_polling: self.short_polling.into(),
            register_every: self.register_every.into(),
            save_offsets_every: self.save_offsets_every.into(),
            client_expiry: self.client_expiry.into(),
            limits: self.limits.clone(),
            far_behind: self.memory.far_behind(),
            name_servers: self.namesrv.0.len(),
            seed,
            ..BrokerConfig::new(identity, store_host, ha_addr)
        }
    }

    /// The settings of the store.
    pub fn store(&self) -> hotfire_storage::Settings {
        let mut settings = hotfire_storage::Settings {
            commit_log_file: self.commit_log_file,
            consume_queue_file: self.consume_queue_file.next_multiple_of(ENTRY),
            index: self.index,
            index_slots: self.index_slots,
            index_items: self.index_items,
            max_message_size: self.max_message_size,
            delay_levels: self.delay_levels.millis.clone(),
            staged: self.staged(),
            accept_rot: self.accept_damaged_log,
            process: std::process::id(),
            ..hotfire_storage::Settings::default()
        };
        self.crcs.apply(&mut settings);
        self.queues.apply(&mut settings);
        settings
    }
}

impl Settings for BrokerConf {
    const KEYS: &'static [&'static [Key<Self>]] = &[
        KEYS,
        acting::KEYS,
        crc::KEYS,
        ha::KEYS,
        memory::KEYS,
        pool::KEYS,
        queues::KEYS,
        retention_keys!(BrokerConf),
        connection_keys!(BrokerConf),
    ];
    const IGNORED: &'static [&'static str] = &[ignored::BROKER, ignored::STORE, ignored::REMOTING];

    fn check(&self) -> Result<(), String> {
        let Self { id, role, .. } = self;
        match role {
            Role::Slave if *id == 0 => {
                return Err("brokerRole = SLAVE needs brokerId above 0".into());
            }
            Role::AsyncMaster | Role::SyncMaster if *id != 0 => {
                return Err(format!("brokerRole = {role} needs brokerId 0, not {id}"));
            }
            _ => {}
        }
        let record = self.max_message_size + RECORD_ROOM;
        if self.commit_log_file < record {
            return Err(format!(
                "mappedFileSizeCommitLog = {} cannot hold a message of maxMessageSize = {}: \
                 expected at least {record}",
                self.commit_log_file, self.max_message_size,
            ));
        }
        self.check_ha()?;
        self.acting.check()?;
        self.retention.check()
    }
}

const KEYS: &[Key<BrokerConf>] = &[
    row!("brokerClusterName", cluster, value::name, "The cluster.").important(),
    row!("brokerName", name, value::name, "The broker's name; one name, one log.")
        .default("the host name")
        .important(),
    row!("brokerId", id, whole(0..=i64::MAX), "0 for a master, above for a slave.").important(),
    row!("brokerRole", role, value::role, "ASYNC_MASTER, SYNC_MASTER or SLAVE.").important(),
    row!("flushDiskType", flush, value::flush_disk, "SYNC_FLUSH: a send waits for the medium.")
        .important(),
    row!("bindAddress", bind, value::ip, "The address listened on."),
    row!("listenPort", port, value::port, "The port listened on.").important(),
    row!("brokerIP1", advertised, value::ipv4, "The address told to clients.")
        .default("the machine's first IPv4 address")
        .important(),
    Key {
        set: |conf: &mut BrokerConf, text| {
            conf.advertised_ha = Some(value::ipv4(text)?);
            Ok(())
        },
        show: |conf: &BrokerConf| conf.advertised_ha.unwrap_or(conf.advertised).to_string(),
        ..row!("brokerIP2", advertised, value::ipv4, "The address told to slaves.")
    }
    .default("as brokerIP1"),
    row!("namesrvAddr", namesrv, value::addrs, "Name servers, `;` between them; `-n` overrides.")
        .important(),
    row!("storePathRootDir", root, value::place, "The store's directory.")
        .default("`$HOME/store`")
        .important(),
    row!(
        "storePathCommitLog",
        commit_log,
        value::place,
        "The CommitLog's directory; elsewhere than in the root it is reached by a link."
    )
    .default("`commitlog` in the root")
    .important(),
    row!("storeType", store_type, value::default_store, "Only `default`."),
    row!(
        "mappedFileSizeCommitLog",
        commit_log_file,
        whole(1 << 20..=1 << 31),
        "Bytes of a CommitLog file; fixed for the life of a store."
    ),
    row!(
        "mappedFileSizeConsumeQueue",
        consume_queue_file,
        whole(ENTRY..=1 << 31),
        "Bytes of a ConsumeQueue file, rounded up to whole entries of 20."
    ),
    row!("messageIndexEnable", index, switch, "Messages are found by their keys."),
    row!(
        "maxHashSlotNum",
        index_slots,
        whole(1..=1 << 30),
        "Slots of an index file, 4 bytes each."
    ),
    row!("maxIndexNum", index_items, whole(2..=1 << 30), "Items of an index file, 20 bytes each."),
    row!(
        "flushIntervalCommitLog",
        flush_every,
        millis(1..=3_600_000),
        "ASYNC_FLUSH: time between looks at what is dirty."
    ),
    row!(
        "flushCommitLogLeastPages",
        flush_pages,
        whole(0..=1 << 20),
        "ASYNC_FLUSH: dirty pages of 4 KiB that are worth a sync."
    ),
    row!(
        "flushCommitLogThoroughInterval",
        flush_thorough,
        millis(1..=3_600_000),
        "ASYNC_FLUSH: after this long, sync whatever is dirty."
    ),
    row!(
        "syncFlushTimeout",
        sync_timeout,
        millis(1..=3_600_000),
        "SYNC_FLUSH: how long a send waits before it is answered FLUSH_DISK_TIMEOUT."
    ),
    row!("brokerPermission", permission, value::permission, "2 write, 4 read, 6 both."),
    row!("autoCreateTopicEnable", auto_create_topic, switch, "Create a topic on the first send.")
        .important(),
    row!(
        "autoCreateSubscriptionGroup",
        auto_create_group,
        switch,
        "Create a consumer group when it first appears."
    )
    .important(),
    row!(
        "defaultTopicQueueNums",
        default_topic_queues,
        whole(1..=16_384),
        "Queues of the template of automatic topics."
    ),
    row!(
        "maxMessageSize",
        max_message_size,
        whole(1..=15 << 20),
        "Largest body in bytes; a frame ends at 16 MiB."
    ),
    row!("messageDelayLevel", delay_levels, value::delays, "Delays of the levels, from 1."),
    row!(
        "useServerSideResetOffset",
        server_side_reset,
        switch,
        "A reset of offsets is remembered until the group pulls; else its members are told."
    ),
    row!("longPollingEnable", long_polling, switch, "Hold a pull that finds nothing."),
    row!(
        "shortPollingTimeMills",
        short_polling,
        millis(1..=3_600_000),
        "How long to hold it when long polling is off."
    ),
    row!(
        "registerNameServerPeriod",
        register_every,
        millis(10_000..=60_000),
        "How often name servers are told, change or not."
    ),
    row!(
        "flushConsumerOffsetInterval",
        save_offsets_every,
        millis(1..=3_600_000),
        "How often consumer offsets are saved."
    ),
    row!(
        "channelExpiredTimeout",
        client_expiry,
        millis(1000..=86_400_000),
        "Silence after which a client is gone."
    ),
    row!("aclEnable", refused, value::off, "Only `false`: there is no access control yet."),
    row!("authenticationEnabled", refused, value::off, "Only `false`, as aclEnable."),
    row!("authorizationEnabled", refused, value::off, "Only `false`, as aclEnable."),
    row!("enableControllerMode", refused, value::off, "Only `false`: there is no controller yet."),
    row!(
        "enableDLegerCommitLog",
        refused,
        value::off,
        "Only `false`: a CommitLog in DLedger's format is not read."
    ),
    row!("maxTopics", limits.topics, whole(1..=10_000_000), "Hotfire's own: most topics."),
    row!(
        "maxGroups",
        limits.groups,
        whole(1..=10_000_000),
        "Hotfire's own: most consumer groups, and most producer groups."
    ),
    row!(
        "maxClientsPerGroup",
        limits.clients_per_group,
        whole(1..=1_000_000),
        "Hotfire's own: most clients of one group."
    ),
    row!(
        "maxQueuesPerTopic",
        limits.queues_per_topic,
        whole(1..=65_536),
        "Hotfire's own: most queues of one topic."
    ),
    row!(
        "maxWaitingPulls",
        limits.waiting_pulls,
        whole(1..=10_000_000),
        "Hotfire's own: most pulls held until a message arrives."
    ),
    row!(
        "maxWaitingSends",
        limits.waiting_sends,
        whole(1..=10_000_000),
        "Hotfire's own: most sends that wait for a sync or for the next file."
    ),
    row!(
        "maxParkedBytes",
        limits.parked_bytes,
        whole(1 << 20..=1 << 40),
        "Hotfire's own: most bytes of sends that wait for the next file."
    ),
    row!(
        "maxBatchMessages",
        limits.batch_messages,
        whole(1..=1_000_000),
        "Hotfire's own: most messages of one batch."
    ),
];
