//! What was really injected, counted.
//!
//! A rate in a plan says what may happen; the ledger says what did. A fault that strikes in no
//! run of a night is a fault that is not tested: `hotfire-sim run` prints the sum over all seeds,
//! and what is still 0 in it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One kind of injected event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strike {
    /// A client died, and another took its place.
    ClientDied,
    /// A wall clock jumped.
    ClockJumped,
    /// An operation found no space.
    DiskFull,
    /// A process died; its page cache lives on.
    DiskKilled,
    /// The machine died at an operation of a boot.
    DiskDiedInBoot,
    /// An operation was under way when its process died, and stopped between two of its steps.
    DiskOpCut,
    /// An operation other than a sync failed.
    DiskOpFailed,
    /// A dirty page did not reach the medium before the power failed.
    DiskPageDropped,
    /// A lost page shows what its blocks held in a deleted file.
    DiskPageStale,
    /// A page reached the medium in part.
    DiskPageTorn,
    /// The power failed.
    DiskPowerFailed,
    /// The power failed, and by luck nothing was lost.
    DiskPowerFailedKindly,
    /// A listing, a read or an open failed.
    DiskReadFailed,
    /// Something on the medium rotted while the power was off.
    DiskRotted,
    /// A changing part of a sector became garbage.
    DiskSectorGarbage,
    /// An operation took very long.
    DiskStalled,
    /// A sync failed: pages clean, content old or new.
    DiskSyncFailed,
    /// A sync said done, and had done nothing.
    DiskSyncLied,
    /// A sync did not end.
    DiskSyncStuck,
    /// The kernel wrote a dirty page nobody had asked it to write.
    DiskWriteback,
    /// It tried and failed; the next sync says so, once.
    DiskWritebackFailed,
    /// A file of a log went because it was old.
    LogFileExpired,
    /// A file of a log went because the disk was too full.
    LogFileForced,
    /// Two of brokers, name servers and consumers could not reach each other.
    NamesCut,
    /// A connection between two of them ended.
    NamesEnded,
    /// What was said between two of them was late by more than others wait.
    NamesLate,
    /// A name server did not know a master that lived, while another one did.
    NamesDiffer,
    /// One of them could not reach another, which could reach it.
    NamesOneWay,
    /// A name server began anew and knew nobody.
    NamesRestartedEmpty,
    /// A broker stopped in order, took its leave, and stayed away.
    NamesTookLeave,
    /// A connection swallows what is said on it, one way.
    NetBlackHole,
    /// A connection was cut.
    NetCut,
    /// A slave reached somebody else where its master should be.
    NetImpostor,
    /// Some nodes could not reach some others.
    NetPartition,
    /// A socket gave or took a few bytes only.
    NetPiece,
    /// A connection stalled.
    NetStalled,
    /// Somebody who is no slave came to the replication port.
    NetStranger,
    /// A node died between two effects, or while idle.
    NodeDied,
    /// A node was paused.
    NodePaused,
    /// A broker refused to go on after a failed sync, and its operator restarted it.
    NodeRestarted,
    /// A slave's log began anew where its master's does, which had lost its first files.
    SlaveBegan,
    /// A slave's log was cut where it was not its master's.
    SlaveCutBack,
    /// A slave with nothing of its master's log was given up by its operator.
    SlaveGivenUp,
    /// A slave and its master could not reach each other, one way or both.
    SlaveUnreached,
}

impl Strike {
    /// All kinds.
    pub const ALL: [Self; 44] = [
        Self::ClientDied,
        Self::ClockJumped,
        Self::DiskFull,
        Self::DiskKilled,
        Self::DiskDiedInBoot,
        Self::DiskOpCut,
        Self::DiskOpFailed,
        Self::DiskPageDropped,
        Self::DiskPageStale,
        Self::DiskPageTorn,
        Self::DiskPowerFailed,
        Self::DiskPowerFailedKindly,
        Self::DiskReadFailed,
        Self::DiskRotted,
        Self::DiskSectorGarbage,
        Self::DiskStalled,
        Self::DiskSyncFailed,
        Self::DiskSyncLied,
        Self::DiskSyncStuck,
        Self::DiskWriteback,
        Self::DiskWritebackFailed,
        Self::LogFileExpired,
        Self::LogFileForced,
        Self::NamesCut,
        Self::NamesEnded,
        Self::NamesLate,
        Self::NamesDiffer,
        Self::NamesOneWay,
        Self::NamesRestartedEmpty,
        Self::NamesTookLeave,
        Self::NetBlackHole,
        Self::NetCut,
        Self::NetImpostor,
        Self::NetPartition,
        Self::NetPiece,
        Self::NetStalled,
        Self::NetStranger,
        Self::NodeDied,
        Self::NodePaused,
        Self::NodeRestarted,
        Self::SlaveBegan,
        Self::SlaveCutBack,
        Self::SlaveGivenUp,
        Self::SlaveUnreached,
    ];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientDied => "client.died",
            Self::ClockJumped => "clock.jumped",
            Self::DiskFull => "disk.full",
            Self::DiskKilled => "disk.killed",
            Self::DiskDiedInBoot => "disk.died_in_boot",
            Self::DiskOpCut => "disk.op_cut",
            Self::DiskOpFailed => "disk.op_failed",
            Self::DiskPageDropped => "disk.page_dropped",
            Self::DiskPageStale => "disk.page_stale",
            Self::DiskPageTorn => "disk.page_torn",
            Self::DiskPowerFailed => "disk.power_failed",
            Self::DiskPowerFailedKindly => "disk.power_failed_kindly",
            Self::DiskReadFailed => "disk.read_failed",
            Self::DiskRotted => "disk.rotted",
            Self::DiskSectorGarbage => "disk.sector_garbage",
            Self::DiskStalled => "disk.stalled",
            Self::DiskSyncFailed => "disk.sync_failed",
            Self::DiskSyncLied => "disk.sync_lied",
            Self::DiskSyncStuck => "disk.sync_stuck",
            Self::DiskWriteback => "disk.writeback",
            Self::DiskWritebackFailed => "disk.writeback_failed",
            Self::LogFileExpired => "log.file_expired",
            Self::LogFileForced => "log.file_forced",
            Self::NamesCut => "names.cut",
            Self::NamesEnded => "names.ended",
            Self::NamesLate => "names.late",
            Self::NamesDiffer => "names.differ",
            Self::NamesOneWay => "names.one_way",
            Self::NamesRestartedEmpty => "names.restarted_empty",
            Self::NamesTookLeave => "names.took_leave",
            Self::NetBlackHole => "net.black_hole",
            Self::NetCut => "net.cut",
            Self::NetImpostor => "net.impostor",
            Self::NetPartition => "net.partition",
            Self::NetPiece => "net.piece",
            Self::NetStalled => "net.stalled",
            Self::NetStranger => "net.stranger",
            Self::NodeDied => "node.died",
            Self::NodePaused => "node.paused",
            Self::NodeRestarted => "node.restarted",
            Self::SlaveBegan => "slave.began",
            Self::SlaveCutBack => "slave.cut_back",
            Self::SlaveGivenUp => "slave.given_up",
            Self::SlaveUnreached => "slave.unreached",
        }
    }
}

/// Counters of every [`Strike`]: a handle, cheap to clone, that outlives a panic of the run.
#[derive(Clone, Debug)]
pub struct Ledger(Arc<[AtomicU64; Strike::ALL.len()]>);

// Arrays have a default up to a length only.
impl Default for Ledger {
    fn default() -> Self {
        Self(Arc::new(std::array::from_fn(|_| AtomicU64::default())))
    }
}

impl Ledger {
    /// Counts one.
    pub fn hit(&self, strike: Strike) {
        self.add(strike, 1);
    }

    /// How often it struck.
    pub fn count(&self, strike: Strike) -> u64 {
        self.0[strike as usize].load(Ordering::Relaxed)
    }

    /// Adds another ledger's counts: the sum over runs.
    pub fn absorb(&self, other: &Self) {
        for strike in Strike::ALL {
            self.add(strike, other.count(strike));
        }
    }

    /// What never struck.
    pub fn never(&self) -> Vec<Strike> {
        Strike::ALL.into_iter().filter(|strike| self.count(*strike) == 0).collect()
    }

    /// Counts so many.
    pub fn add(&self, strike: Strike, count: u64) {
        // Relaxed: a count orders nothing, and is read after the runs have been joined.
        self.0[strike as usize].fetch_add(count, Ordering::Relaxed);
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Strike::ALL
            .into_iter()
            .filter(|strike| self.count(*strike) > 0)
            .try_for_each(|strike| writeln!(f, "{:>12}  {}", self.count(strike), strike.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_strike_has_its_own_place_and_name() {
        for (at, strike) in Strike::ALL.into_iter().enumerate() {
            assert_eq!(at, strike as usize);
            let same = Strike::ALL.into_iter().filter(|other| other.name() == strike.name());
            assert_eq!(same.count(), 1, "{strike:?}");
        }
    }

    #[test]
    fn a_ledger_sums_and_knows_what_never_struck() {
        let (night, run) = (Ledger::default(), Ledger::default());
        run.hit(Strike::DiskFull);
        night.absorb(&run);
        night.absorb(&run);
        assert_eq!(night.to_string(), "           2  disk.full\n");
        assert_eq!(night.never().len(), Strike::ALL.len() - 1);
    }
}
