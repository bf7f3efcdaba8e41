//! What becomes of old messages: the [`Retention`](crate::retention::Retention) machine decides,
//! the store does.
//!
//! The log's beginning moves only when no answer waits to be sent: an answer names positions until
//! its effect is taken, and is leased then. Held pulls name offsets, and are looked up again.

use hotfire_storage::seam::{Disk, DiskUse, Fault};
use hotfire_storage::time::Now;

use super::Broker;
use super::names::Refusal;
use crate::domain::Code;
use crate::retention::{Act, Why};

/// Steps of the machine in one turn, and queues that follow the log in one.
const STEPS_MAX: usize = 32;

/// Measures under way, and what they found so far: log and queues may lie on different disks.
#[derive(Debug, Default)]
pub(super) struct Measures {
    open: u32,
    fullest: Option<DiskUse>,
}

impl<D: Disk> Broker<D> {
    /// Why no sends are taken while the disk is full.
    pub(super) fn refuse_if_full(&self) -> Result<(), Refusal> {
        let Some(found) = self.retention.full() else { return Ok(()) };
        let remark = format!(
            "the disk of this broker is {} % full, above diskSpaceWarningLevelRatio={}: free space \
             on it, or lower fileReservedTime; until then send to another broker",
            found.percent(),
            self.retention.policy().warning
        );
        Err((Code::ServiceNotAvailable, remark))
    }

    /// Does anything go? Not from a store that has been closed, nor after a sync that failed.
    pub(super) fn retains(&self) -> bool {
        self.closed_for_sends.is_none()
    }

    /// Does what retention wants now. Only while no answer waits: see above.
    pub(super) fn retain(&mut self, now: Now) {
        for _ in 0..STEPS_MAX {
            let extent = (self.store.start(), self.store.written().end());
            let oldest = self.store.oldest_log_file();
            let Some(act) = self.retention.poll(now, extent, oldest) else { break };
            self.act(now, act);
        }
        // Whether there is more is a matter of `deadline`.
        let _more = self.store.follow_some(STEPS_MAX);
    }

    fn act(&mut self, now: Now, act: Act) {
        match act {
            Act::Delete { why, .. } => match self.store.delete_oldest_log_file() {
                Ok(_) => self.retiring = Some(why),
                Err(kept) => {
                    if let Some(act) = self.retention.kept(now.mono, kept) {
                        self.act(now, act);
                    }
                }
            },
            Act::Follow => self.store.follow_log_start(),
            Act::Look(at) => {
                let stored = self.store.record(at).map(|record| record.store_time());
                self.retention.looked(at, stored);
            }
            Act::Measure => {
                self.measures = Measures { open: 2, fullest: None };
                let log = self.store.settings().commit_log_dir.clone();
                self.store.measure(&log);
                self.store.measure("");
            }
            Act::Sync => self.timers.sync_queues = self.timers.sync_queues.min(now.mono),
        }
    }

    pub(super) fn measured(&mut self, now: Now, outcome: Result<DiskUse, Fault>) {
        let Measures { open, fullest } = &mut self.measures;
        *open -= 1;
        match outcome {
            Ok(found) => *fullest = Some(fullest.map_or(found, |other| found.fuller(other))),
            Err(fault) => tracing::warn!(%fault, "how full the disk is cannot be said"),
        }
        if *open > 0 {
            return;
        }
        let was_full = self.retention.full().is_some();
        self.retention.measured(now, *fullest);
        match self.retention.full() {
            Some(found) if !was_full => {
                tracing::error!("the disk is {} % full: no messages are taken", found.percent());
            }
            None if was_full => tracing::info!("the disk has room: messages are taken again"),
            _ => {}
        }
    }

    pub(super) fn log_file_deleted(
        &mut self,
        now: Now,
        start: hotfire_storage::position::Physical,
        outcome: &Result<(), Fault>,
    ) {
        self.retention.deleted(now.mono, outcome.is_ok());
        let why = match self.retiring.take() {
            Some(Why::Expired(age)) => {
                format!("nothing was written to it for {} minutes", age.as_secs() / 60)
            }
            Some(Why::Forced) => "the disk is too full".to_owned(),
            None => "at last".to_owned(),
        };
        match outcome {
            Ok(()) => tracing::info!("the log's file at {start} is deleted: {why}"),
            Err(fault) => tracing::warn!(%fault, "the log's file at {start} is still there"),
        }
    }
}
