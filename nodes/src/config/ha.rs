//! Keys of replication: how many copies a send waits for, and how the log gets there.

use std::fmt;

use hotfire_core::broker::Role as Duty;
use hotfire_core::ha::{MasterPolicy, SlavePolicy};
use hotfire_storage::text::Text;

use super::value::{self, FlushDisk, Millis, Networks, Role, millis, networks, switch, whole};
use super::{BrokerConf, Key, row};

/// How the log is replicated.
// Each switch is a key of a file, not a state.
#[derive(Clone, Debug)]
pub struct HaConf {
    /// The port where slaves fetch the log; 0: none. Unless set, the one above `listenPort`.
    pub port: Option<u16>,
    /// The master's replication port, unless name servers tell it.
    pub master: String,
    /// Replicas, the master counted, that a SYNC_MASTER waits for; unless set, two.
    pub in_sync: Option<u32>,
    /// Is every slave waited for that is in sync?
    pub all: bool,
    /// Replicas, the master counted, without which a SYNC_MASTER refuses sends.
    pub least: u32,
    /// How long a send waits for them.
    pub timeout: Millis,
    /// Silence after which a heartbeat is sent.
    pub heartbeat: Millis,
    /// Silence after which a connection is closed.
    pub silence: Millis,
    /// Most bytes of a frame.
    pub batch: u32,
    /// Bytes that a replica in sync may lack.
    pub max_gap: u64,
    /// How long it may lack them.
    pub max_behind: Millis,
    /// Is there a limit of bytes a second?
    pub limited: bool,
    /// Which.
    pub rate: u64,
    /// Does a slave without a log begin with the last file?
    pub from_last_file: bool,
    /// Connections of slaves at once.
    pub max_links: usize,
    /// From where they may come; empty: from anywhere.
    pub allowed: Networks,
}

impl Default for HaConf {
    fn default() -> Self {
        Self {
            port: None,
            master: String::new(),
            in_sync: None,
            all: false,
            least: 1,
            timeout: Millis(3000),
            heartbeat: Millis(5000),
            silence: Millis(20_000),
            batch: 32 << 10,
            max_gap: 256 << 20,
            max_behind: Millis(15_000),
            limited: false,
            rate: 100 << 20,
            from_last_file: false,
            max_links: 64,
            allowed: Networks::default(),
        }
    }
}

impl BrokerConf {
    /// The other port that answers as `listenPort` does, if there is one.
    pub fn fast_port(&self) -> Option<u16> {
        let port = self.fast_port.unwrap_or(self.port.saturating_sub(2));
        Some(port).filter(|port| *port != 0)
    }

    /// The port where slaves fetch the log, if there is one.
    pub fn ha_port(&self) -> Option<u16> {
        let port = self.ha.port.unwrap_or(self.port.saturating_add(1));
        Some(port).filter(|port| *port != 0)
    }

    /// Replicas, the master not counted, that a send waits for.
    fn wanted(&self) -> usize {
        match self.role {
            Role::SyncMaster => self.ha.in_sync.unwrap_or(2).saturating_sub(1) as usize,
            Role::AsyncMaster | Role::Slave => 0,
        }
    }

    /// What the machine is to others of its name.
    pub(super) fn duty(&self) -> Duty {
        let ha = &self.ha;
        if self.role == Role::Slave {
            let policy = SlavePolicy {
                heartbeat: ha.heartbeat.into(),
                silence: ha.silence.into(),
                ..SlavePolicy::default()
            };
            let master = Some(Text::from(ha.master.as_str())).filter(|_| !ha.master.is_empty());
            return Duty::Slave { policy, master };
        }
        Duty::Master(MasterPolicy {
            wanted: self.wanted(),
            all: ha.all && self.role == Role::SyncMaster,
            least: match self.role {
                Role::SyncMaster => ha.least.saturating_sub(1) as usize,
                Role::AsyncMaster | Role::Slave => 0,
            },
            timeout: ha.timeout.into(),
            batch: ha.batch,
            heartbeat: ha.heartbeat.into(),
            silence: ha.silence.into(),
            max_gap: ha.max_gap,
            max_behind: ha.max_behind.into(),
            rate: ha.limited.then_some(ha.rate),
            from_last_file: ha.from_last_file,
            max_links: ha.max_links,
            allowed: ha.allowed.0.clone(),
            ..MasterPolicy::default()
        })
    }

    /// What SEND_OK means here, in a sentence.
    pub fn promise(&self) -> impl fmt::Display {
        let medium = match self.flush {
            FlushDisk::Async if self.commits().is_some() => {
                "in memory of this process, which a kill loses until it is committed,"
            }
            FlushDisk::Sync => "on the medium",
            FlushDisk::Async => "in memory, not yet on the medium",
        };
        match (self.role, self.wanted()) {
            (Role::Slave, _) => "a slave: it copies its master's log and takes no messages".into(),
            (_, 0) => format!("SEND_OK means: {medium} here; no slave is waited for"),
            (_, 1) => format!("SEND_OK means: {medium} here, and in the log of one slave"),
            (_, many) => format!("SEND_OK means: {medium} here, and in the logs of {many} slaves"),
        }
    }

    /// Relations between keys.
    pub(super) fn check_ha(&self) -> Result<(), String> {
        if self.ha.all && self.wanted() == 0 {
            return Err("allAckInSyncStateSet = true needs brokerRole = SYNC_MASTER and \
                        inSyncReplicas of at least 2"
                .into());
        }
        if self.wanted() > 0 && self.ha.port == Some(0) {
            return Err(
                "brokerRole = SYNC_MASTER waits for slaves, and haListenPort = 0 lets none \
                        come; set a port, or inSyncReplicas = 1"
                    .into(),
            );
        }
        Ok(())
    }
}

pub(super) const KEYS: &[Key<BrokerConf>] = &[
    Key {
        set: |conf: &mut BrokerConf, text| {
            conf.fast_port = Some(value::port_or_none(text)?);
            Ok(())
        },
        show: |conf: &BrokerConf| conf.fast_port().unwrap_or(0).to_string(),
        ..row!(
            "fastListenPort",
            port,
            value::port,
            "Another port that answers the same; 0: none. Apache's slaves, and clients \
             with vipChannelEnabled, take it to be `listenPort` - 2."
        )
    }
    .default("`listenPort` - 2"),
    Key {
        set: |conf: &mut BrokerConf, text| {
            conf.ha.port = Some(value::port_or_none(text)?);
            Ok(())
        },
        show: |conf: &BrokerConf| conf.ha_port().unwrap_or(0).to_string(),
        ..row!("haListenPort", port, value::port, "The port where slaves fetch the log; 0: none.")
    }
    .default("`listenPort` + 1"),
    row!(
        "haMasterAddress",
        ha.master,
        value::addr,
        "A slave's master, `host:port` of its replication port."
    )
    .default("what name servers tell"),
    Key {
        set: |conf: &mut BrokerConf, text| {
            conf.ha.in_sync = Some(whole(1..=16)(text)?);
            Ok(())
        },
        show: |conf: &BrokerConf| conf.ha.in_sync.unwrap_or(2).to_string(),
        ..row!(
            "inSyncReplicas",
            ha.batch,
            whole(1..=16),
            "Replicas, the master counted, that a SYNC_MASTER waits for; 1: it waits for none. \
             Slaves are told apart by their addresses."
        )
    },
    row!(
        "allAckInSyncStateSet",
        ha.all,
        switch,
        "SYNC_MASTER: wait for every slave that is in sync, at least for inSyncReplicas."
    ),
    row!(
        "minInSyncReplicas",
        ha.least,
        whole(1..=16),
        "SYNC_MASTER: refuse messages, and store nothing, while fewer replicas are in sync, the \
         master counted. Without it they are stored, and answered SLAVE_NOT_AVAILABLE."
    ),
    row!(
        "slaveTimeout",
        ha.timeout,
        millis(1..=3_600_000),
        "SYNC_MASTER: how long a send waits for slaves, before FLUSH_SLAVE_TIMEOUT."
    ),
    row!(
        "haSendHeartbeatInterval",
        ha.heartbeat,
        millis(100..=3_600_000),
        "Silence after which master and slave say that they live."
    ),
    row!(
        "haHousekeepingInterval",
        ha.silence,
        millis(1000..=3_600_000),
        "Silence after which they give a connection up."
    ),
    row!("haTransferBatchSize", ha.batch, whole(1..=64 << 20), "Most bytes of a frame."),
    row!(
        "haMaxGapNotInSync",
        ha.max_gap,
        whole(1..=1 << 50),
        "A slave that lacks as many bytes is not waited for."
    ),
    row!(
        "haMaxTimeSlaveNotCatchup",
        ha.max_behind,
        millis(1..=3_600_000),
        "Nor is one that has not caught up for so long; until then consumers of a SYNC_MASTER see \
         nothing that it lacks."
    ),
    row!("haFlowControlEnable", ha.limited, switch, "Limit what is sent to slaves."),
    row!(
        "maxHaTransferByteInSecond",
        ha.rate,
        whole(1024..=1 << 40),
        "Bytes a second, of all slaves together, if haFlowControlEnable."
    ),
    row!(
        "syncFromLastFile",
        ha.from_last_file,
        switch,
        "A slave without a log begins with the master's last file, as with Apache; off: with its \
         first."
    ),
    row!("haMaxConnections", ha.max_links, whole(1..=10_000), "Hotfire's own: slaves at once."),
    row!(
        "haAllowedPeers",
        ha.allowed,
        networks,
        "Hotfire's own: addresses and networks that slaves may come from, `,` between them; none: \
         any. The protocol has no passwords: whoever can reach the port can read the log, and, by \
         acting as a slave, count as one."
    ),
];
