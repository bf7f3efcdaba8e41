//! The keys of the name server's file.

use std::net::{IpAddr, Ipv4Addr};

use hotfire_core::namesrv::NameServerConfig;

use super::broker::home;
use super::connections::{Connections, connection_keys};
use super::value::{self, Millis, Place};
use super::value::{millis, switch, whole};
use super::{Key, Settings, ignored, key};

/// Everything a name server's operator may set.
// Each switch is a key of a file, not a state.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Debug)]
pub struct NamesrvConf {
    /// The address listened on.
    pub bind: IpAddr,
    /// The port listened on.
    pub port: u16,
    /// The file of the KV configuration.
    pub kv_path: Place,
    /// How often dead brokers are looked for.
    pub scan_every: Millis,
    /// Answer routes with the order configuration.
    pub order_message: bool,
    /// Tell brokers of ordered topics.
    pub return_order_topics: bool,
    /// Topics gone from a registration are gone.
    pub delete_absent_topics: bool,
    /// Show the smallest id of a group in place of a lost master.
    pub acting_master: bool,
    /// Tell brokers when the smallest id of their group changes.
    pub notify_min_id: bool,
    /// Most brokers.
    pub max_brokers: usize,
    /// Most topics.
    pub max_topics: usize,
    /// Bounds of connections.
    pub connections: Connections,
    /// A switch that is refused.
    pub refused: bool,
}

impl Default for NamesrvConf {
    fn default() -> Self {
        let machine = NameServerConfig::default();
        Self {
            bind: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: 9876,
            kv_path: Place(home().join("namesrv").join("kvConfig.json")),
            scan_every: Millis(5000),
            order_message: machine.order_message,
            return_order_topics: machine.return_order_topics,
            delete_absent_topics: machine.delete_absent_topics,
            acting_master: machine.acting_master,
            notify_min_id: machine.notify_min_id,
            max_brokers: machine.max_brokers,
            max_topics: machine.max_topics,
            connections: Connections::default(),
            refused: false,
        }
    }
}

impl NamesrvConf {
    /// The settings of the machine.
    pub fn machine(&self) -> NameServerConfig {
        NameServerConfig {
            scan_every: self.scan_every.into(),
            order_message: self.order_message,
            return_order_topics: self.return_order_topics,
            delete_absent_topics: self.delete_absent_topics,
            acting_master: self.acting_master,
            notify_min_id: self.notify_min_id,
            max_brokers: self.max_brokers,
            max_topics: self.max_topics,
            ..NameServerConfig::default()
        }
    }
}

impl Settings for NamesrvConf {
    const KEYS: &'static [&'static [Key<Self>]] = &[KEYS, connection_keys!(NamesrvConf)];
    const IGNORED: &'static [&'static str] = &[ignored::NAMESRV, ignored::REMOTING];

    fn check(&self) -> Result<(), String> {
        if self.kv_path.0.file_name().is_none() {
            return Err(format!("kvConfigPath = \"{}\" names no file", self.kv_path));
        }
        Ok(())
    }
}

macro_rules! row {
    ($($part:tt)*) => { key!(NamesrvConf, $($part)*) };
}

const KEYS: &[Key<NamesrvConf>] = &[
    row!("bindAddress", bind, value::ip, "The address listened on."),
    row!("listenPort", port, value::port, "The port listened on.").important(),
    row!("kvConfigPath", kv_path, value::place, "The file of the KV configuration.")
        .default("`$HOME/namesrv/kvConfig.json`")
        .important(),
    row!(
        "scanNotActiveBrokerInterval",
        scan_every,
        millis(10..=3_600_000),
        "How often dead \
         brokers are looked for."
    ),
    row!(
        "orderMessageEnable",
        order_message,
        switch,
        "Answer routes with the order \
         configuration."
    )
    .important(),
    row!(
        "returnOrderTopicConfigToBroker",
        return_order_topics,
        switch,
        "Tell brokers which \
         topics are ordered."
    ),
    row!(
        "deleteTopicWithBrokerRegistration",
        delete_absent_topics,
        switch,
        "Topics gone from a \
         registration are gone."
    ),
    row!(
        "supportActingMaster",
        acting_master,
        switch,
        "Show the smallest id of a group in place of a lost master, to be read from, if its \
         brokers have enableSlaveActingMaster."
    ),
    row!(
        "notifyMinBrokerIdChanged",
        notify_min_id,
        switch,
        "Tell the brokers of such a group at once when its smallest id changes."
    ),
    row!(
        "enableControllerInNamesrv",
        refused,
        value::off,
        "Only `false`: there is no controller \
         yet."
    ),
    row!("maxBrokers", max_brokers, whole(1..=1_000_000), "Hotfire's own: most brokers."),
    row!("maxTopics", max_topics, whole(1..=100_000_000), "Hotfire's own: most topics."),
];
