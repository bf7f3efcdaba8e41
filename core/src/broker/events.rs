//! What the disk has to say, and what follows from it.

use std::time::Duration;

use hotfire_storage::StoreEvent;
use hotfire_storage::seam::{Disk, Fault};
use hotfire_storage::time::Now;

use super::{Broker, state};
use crate::domain::Code;

/// How long after a file could not be allocated, or a state file saved, it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

impl<D: Disk> Broker<D> {
    pub(super) fn store_event(&mut self, now: Now, event: StoreEvent) {
        match event {
            StoreEvent::Synced(outcome) => {
                self.flush.synced(now.mono, outcome.is_ok());
                if let Err(fault) = outcome {
                    tracing::error!(%fault, "a sync failed: no more messages are taken");
                    self.sync_fault = Some(fault);
                    self.flush_failed();
                }
            }
            StoreEvent::RoomReady => {
                self.take_pieces(now);
                self.retry_parked(now);
            }
            StoreEvent::RoomFailed(fault) => {
                // Tried again, each is answered with the fault, or finds that it needs no file.
                tracing::error!(%fault, "the store cannot grow");
                self.timers.room.get_or_insert(now.mono.after(AGAIN));
                self.retry_parked(now);
            }
            StoreEvent::DeleteFailed(fault) => {
                tracing::warn!(%fault, "a file of a queue is still there");
            }
            StoreEvent::LogFileDeleted { start, outcome } => {
                self.log_file_deleted(now, start, &outcome);
            }
            StoreEvent::Measured(outcome) => self.measured(now, outcome),
            StoreEvent::Saved { path, outcome } => self.saved(now, path, &outcome),
            StoreEvent::QueueFileDeleted | StoreEvent::QueuesSynced(Ok(())) => {}
            StoreEvent::QueuesSynced(Err(fault)) => {
                // No message is lost by it, but a disk that fails one sync is not trusted with the
                // next: the store fails that one too, and sends end there.
                tracing::error!(%fault, "queue files were not made durable");
            }
        }
    }

    /// The newest change of the topic table that may be relied on.
    pub(super) fn ready_upto(&self) -> i64 {
        self.readiness.upto(self.topics.version().durable_upto())
    }

    /// More of the topic table may be relied on: who waited for that goes on.
    pub(super) fn became_ready(&mut self, now: Now) {
        let upto = self.ready_upto();
        while let Some((caller, response)) = self.readiness.answers.next(upto) {
            self.answer(caller, response);
        }
        self.retry_parked(now);
    }

    /// The disk does not answer: who has waited for it long enough must know.
    pub(super) fn tell_late(&mut self, now: Now) {
        while let Some(caller) = self.readiness.answers.late(now.mono) {
            let remark = "the disk has not kept the topic yet; try again, or use another broker";
            self.refuse(caller, Code::SystemBusy, remark.to_owned());
        }
        while let Some(caller) = self.group_answers.late(now.mono) {
            let remark = "the disk has not kept the group yet; try again";
            self.refuse(caller, Code::SystemBusy, remark.to_owned());
        }
        while let Some(caller) = self.offset_answers.late(now.mono) {
            let remark = "the disk has not kept the offsets yet; try again";
            self.refuse(caller, Code::SystemBusy, remark.to_owned());
        }
    }

    /// The topic table could not be kept: who waited for that must know.
    fn topics_lost(&mut self) {
        let remark = "the disk failed to keep the topic; use another broker";
        while let Some(caller) = self.readiness.answers.abandon() {
            self.refuse(caller, Code::SystemError, remark.to_owned());
        }
        self.refuse_parked(Code::SystemError, remark);
    }

    /// The table of groups was kept, or could not be: who waited for that must know.
    fn groups_saved(&mut self, durable: bool) {
        self.groups.version_mut().save_ended(durable);
        let upto = self.groups.version().durable_upto();
        while let Some((caller, response)) = self.group_answers.next(upto) {
            self.answer(caller, response);
        }
        while !durable && let Some(caller) = self.group_answers.abandon() {
            let remark = "the disk failed to keep the group; try again";
            self.refuse(caller, Code::SystemError, remark.to_owned());
        }
    }

    /// The same of the table of offsets. A reset that came meanwhile is kept at once.
    fn offsets_saved(&mut self, now: Now, durable: bool) {
        self.offsets.save_ended(durable);
        let upto = self.offsets.durable_upto();
        while let Some((caller, response)) = self.offset_answers.next(upto) {
            self.answer(caller, response);
        }
        while !durable && let Some(caller) = self.offset_answers.abandon() {
            let remark = "the disk failed to keep the offsets; try again";
            self.refuse(caller, Code::SystemError, remark.to_owned());
        }
        if self.offset_answers.deadline().is_some() {
            self.timers.save_offsets = now.mono;
        }
    }

    fn saved(&mut self, now: Now, path: &str, outcome: &Result<(), Fault>) {
        if let Err(fault) = outcome {
            tracing::error!(%fault, path, "a state file was not saved; it is tried again");
            self.timers.save = now.mono.after(AGAIN);
        }
        let durable = outcome.is_ok();
        match path {
            state::TOPICS => {
                self.topics.save_ended(durable);
                if durable {
                    self.register_now = true;
                    self.became_ready(now);
                    self.take_pieces(now);
                } else {
                    self.topics_lost();
                }
            }
            state::GROUPS => self.groups_saved(durable),
            state::OFFSETS | state::LIGHT_OFFSETS => self.offsets_saved(now, durable),
            state::DELAY_OFFSETS if !durable => self.delays.save_failed(),
            _ => {}
        }
    }
}
