//! Replication: the log of a master, copied byte for byte by slaves (broker-behaviour.md 9.1).
//!
//! ```text
//!  master                                   slave
//!  log ──frames: position, length, bytes──► compare, then append
//!      ◄──reports: the next byte wanted────
//! ```
//!
//! | room | what |
//! |---|---|
//! | [`master`] | who follows, what each was sent, what each is known to hold |
//! | [`members`] | the replicas behind those connections, and which of them count |
//! | [`slave`] | whom a slave follows, and whether what comes continues its log |
//! | `given_up` | why it stopped following |
//!
//! The protocol knows no names: a slave is a connection that reports positions. So nothing that a
//! peer says is believed further than it can be: a report acknowledges nothing beyond what was sent
//! on its own connection, and what it says first is what it asks for and acknowledges nothing. Who
//! plays a slave's part to the end is one: a master that is not to trust every address is told
//! which to ([`MasterPolicy::allowed`]).

mod given_up;
pub mod master;
pub mod members;
pub mod slave;
#[cfg(test)]
mod tests;

use std::time::Duration;

use ipnet::IpNet;

pub use slave::SlavePolicy;

/// A replication connection, as the machines know it: unique within a process's life, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// How a master treats its slaves.
#[derive(Clone, Debug)]
pub struct MasterPolicy {
    /// Replicas, the master not counted, that a send waits for; 0: it waits for none.
    pub wanted: usize,
    /// Does it wait for every replica that is in sync, be they more (`allAckInSyncStateSet`)?
    pub all: bool,
    /// Sends are refused while fewer, the master not counted, are in sync (`minInSyncReplicas`).
    pub least: usize,
    /// How long a send waits for them (`slaveTimeout`).
    pub timeout: Duration,
    /// Most bytes of one frame (`haTransferBatchSize`).
    pub batch: u32,
    /// Silence of ours after which an empty frame is sent (`haSendHeartbeatInterval`).
    pub heartbeat: Duration,
    /// Silence of a peer after which its connection is closed (`haHousekeepingInterval`).
    pub silence: Duration,
    /// A replica that lacks as many bytes is not in sync (`haMaxGapNotInSync`).
    pub max_gap: u64,
    /// Nor is one that has not caught up for so long (`haMaxTimeSlaveNotCatchup`).
    pub max_behind: Duration,
    /// Most bytes a second to all slaves together (`maxHaTransferByteInSecond`, if
    /// `haFlowControlEnable`).
    pub rate: Option<u64>,
    /// A slave that has nothing begins with the last file instead of the first
    /// (`syncFromLastFile`).
    pub from_last_file: bool,
    /// Bytes handed to a connection that its socket has not taken.
    pub window: u64,
    /// Connections at once.
    pub max_links: usize,
    /// From where slaves may come; empty: from anywhere (`haAllowedPeers`).
    pub allowed: Vec<IpNet>,
}

impl Default for MasterPolicy {
    fn default() -> Self {
        Self {
            wanted: 0,
            all: false,
            least: 0,
            timeout: Duration::from_secs(3),
            batch: 32 * 1024,
            heartbeat: Duration::from_secs(5),
            silence: Duration::from_secs(20),
            max_gap: 256 << 20,
            max_behind: Duration::from_secs(15),
            rate: None,
            from_last_file: false,
            window: 1 << 20,
            max_links: 64,
            allowed: Vec::new(),
        }
    }
}
