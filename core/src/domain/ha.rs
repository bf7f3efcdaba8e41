//! How replication stands, as GET_BROKER_HA_STATUS shows it (requests.md D.1).

use std::net::SocketAddr;
use std::time::Duration;

use hotfire_storage::position::{Flushed, Physical, Written};
use hotfire_storage::text::Text;
use hotfire_storage::time::Wall;

/// Either side's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HaStatus {
    /// A master's.
    Master {
        /// Where its log ends.
        written: Written,
        /// Replicas that can be waited for.
        in_sync: usize,
        /// Who follows.
        links: Vec<HaLink>,
    },
    /// A slave's.
    Slave {
        /// Whom it follows: where that one's replication port is.
        master: Option<Text>,
        /// Is it connected, and does its log continue the master's?
        follows: bool,
        /// Where its log ends.
        written: Written,
        /// Up to where that is on the medium.
        flushed: Flushed,
        /// When the master was heard last.
        heard: Wall,
    },
}

/// What a master says of itself to members of its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HaInfo {
    /// Its replication port, `host:port`.
    pub ha_addr: Text,
    /// Where clients reach it.
    pub addr: Text,
    /// Where its log ended when it started.
    pub begun: Physical,
}

/// A connection of a slave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HaLink {
    /// From where it comes.
    pub peer: SocketAddr,
    /// Where it began.
    pub from: Physical,
    /// What it has acknowledged.
    pub acked: Physical,
    /// Bytes of the log that it is not known to hold.
    pub lacks: u64,
    /// For how long it has lacked some.
    pub behind: Duration,
    /// Can it be waited for?
    pub in_sync: bool,
}
