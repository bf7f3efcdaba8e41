//! The log as it lies, for reading from anywhere in it.

use super::explain;
use crate::chain::Chain;
use crate::position::Physical;
use crate::record::{Crc, Record, Verdict, check};
use crate::resync::{next_good, rest};
use crate::seam::{Disk, Fault};
use crate::settings::Settings;

/// The files of a log, open.
#[derive(Debug)]
pub struct LogView {
    chain: Chain,
}

impl LogView {
    /// Opens the files of the log. What is no fault of the disk is told in words: which file, and
    /// what about it.
    pub fn open<D: Disk>(disk: &mut D, settings: &Settings) -> Result<Result<Self, String>, Fault> {
        let (dir, len) = (settings.commit_log_dir.clone(), u64::from(settings.commit_log_file));
        Ok(match Chain::load(disk, dir, len, &mut Vec::new()) {
            Ok(chain) => Ok(Self { chain }),
            Err(error) => {
                let (path, why) = explain(error)?;
                Err(format!("{path}: {why}"))
            }
        })
    }

    /// Where its first file begins.
    pub fn start(&self) -> Physical {
        Physical::new(self.chain.start())
    }

    /// Behind its last file.
    pub fn room_end(&self) -> Physical {
        Physical::new(self.chain.room_end())
    }

    /// The record at `at`, CRC checked, or else the first good one behind it.
    pub fn record_from<'a, D: Disk>(&self, disk: &'a D, at: Physical) -> Option<Record<'a>> {
        let mut at = at.max(self.start());
        loop {
            match check(rest(disk, &self.chain, at)?, at, Crc::Verify) {
                Verdict::Good(record) => return Some(record),
                Verdict::Blank { len } => at = at.plus(u64::from(len)),
                Verdict::Bad(_) => at = next_good(disk, &self.chain, at)?,
            }
        }
    }
}
