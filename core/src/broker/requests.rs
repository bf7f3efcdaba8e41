//! Every request but sends and pulls.

use hotfire_storage::position::{Physical, QueueOffset, Span};
use hotfire_storage::seam::Disk;
use hotfire_storage::text::Text;
use hotfire_storage::time::{Now, Wall};

use super::names::Refusal;
use super::{Broker, hand_over};
use crate::domain::{
    BrokerRequest, BrokerResponse, Caller, Code, Heartbeat, QueueRef, RuntimeInfo,
};

/// Upon which change of a table an answer waits, until it may be relied on.
pub(super) enum After {
    Nothing,
    Groups(i64),
    Offsets(i64),
    Topics(i64),
}

impl<D: Disk> Broker<D> {
    pub(super) fn serve(&mut self, now: Now, caller: Caller, request: BrokerRequest) {
        if !self.hand_over.is_done() && hand_over::must_wait(&request) {
            return self.serve_after_hand_over(caller, request);
        }
        match self.respond(now, &caller, request) {
            Ok((After::Topics(change), response)) if change > self.ready_upto() => {
                self.readiness.answers.push(now.mono, change, caller, response);
            }
            Ok((After::Groups(change), response))
                if change > self.groups.version().durable_upto() =>
            {
                self.group_answers.push(now.mono, change, caller, response);
            }
            Ok((After::Offsets(save), response)) if save > self.offsets.durable_upto() => {
                self.offset_answers.push(now.mono, save, caller, response);
            }
            Ok((_, response)) => self.answer(caller, response),
            Err((code, remark)) => self.refuse(caller, code, remark),
        }
    }

    /// The response, and what it speaks of.
    fn respond(
        &mut self,
        now: Now,
        caller: &Caller,
        request: BrokerRequest,
    ) -> Result<(After, BrokerResponse), Refusal> {
        let response = match request {
            request @ (BrokerRequest::ConfigureGroups(_)
            | BrokerRequest::CreateTopic(_)
            | BrokerRequest::DeleteGroup { .. }
            | BrokerRequest::GroupConfig { .. }
            | BrokerRequest::TopicConfig { .. }) => return self.manage(now, request),
            request @ (BrokerRequest::AllConsumeStats { .. }
            | BrokerRequest::CloneOffsets(_)
            | BrokerRequest::ConsumeStats { .. }
            | BrokerRequest::ResetOffsets(_)) => return self.operate(now, request),
            BrokerRequest::ConsumerList { group } => self.consumer_list(&group)?,
            BrokerRequest::EarliestStoreTime(of) => {
                BrokerResponse::Timestamp(self.earliest(&of).map_or(-1, Wall::as_millis))
            }
            BrokerRequest::Heartbeat(beat) => return self.heartbeat(now, caller, beat.detached()),
            BrokerRequest::Lock { group, client_id, queues } => {
                BrokerResponse::Locked(self.locks.lock(now.mono, &group, &client_id, queues))
            }
            BrokerRequest::Malformed { why } => return Err((Code::SystemError, why)),
            BrokerRequest::MaxOffset(of) => self.max_offset(&of),
            BrokerRequest::MinOffset(of) => self.min_offset(&of),
            BrokerRequest::MinIdChanged(_) => self.group_changed(now.mono),
            BrokerRequest::QueryMessage(query) => self.query(&query)?,
            BrokerRequest::QueryOffset { group, of, zero_if_absent } => {
                self.query_offset(&group, &of, zero_if_absent)?
            }
            BrokerRequest::HaInfo { told } => self.ha_info(now.mono, told.is_some()),
            BrokerRequest::HaStatus => BrokerResponse::HaStatus(Box::new(self.ha_status(now))),
            BrokerRequest::RuntimeInfo => BrokerResponse::RuntimeInfo(Box::new(self.runtime(now))),
            BrokerRequest::SearchOffset { of, at, boundary } => {
                let found = self.store.offset_by_time(&of.topic, of.queue, at, boundary);
                offset(found.map_or(0, QueueOffset::get))
            }
            BrokerRequest::State(kind) => {
                let (change, response) = self.state_of(kind);
                return Ok((After::Topics(change), response));
            }
            BrokerRequest::Unlock { group, client_id, queues } => {
                self.locks.unlock(&group, &client_id, &queues);
                BrokerResponse::Done
            }
            BrokerRequest::Unregister { producer_group, consumer_group, .. } => {
                self.clients.unregister(
                    caller.conn,
                    producer_group.as_ref(),
                    consumer_group.as_ref(),
                );
                BrokerResponse::Done
            }
            BrokerRequest::Unsupported { code } => {
                let remark = format!(" request type {code} not supported");
                return Err((Code::RequestCodeNotSupported, remark));
            }
            BrokerRequest::UpdateOffset { group, of, offset } => {
                self.update_offset(now.wall, caller, &group, &of, offset)?
            }
            BrokerRequest::ViewMessage { at } => BrokerResponse::Message(self.find(at)?),
            BrokerRequest::Send(_) | BrokerRequest::SendBack(_) | BrokerRequest::Pull(_) => {
                unreachable!("they are handled before")
            }
        };
        Ok((After::Nothing, response))
    }

    /// Requests about how groups get on.
    fn operate(
        &mut self,
        now: Now,
        request: BrokerRequest,
    ) -> Result<(After, BrokerResponse), Refusal> {
        let response = match request {
            BrokerRequest::AllConsumeStats { only_ordered } => BrokerResponse::AllConsumeStats {
                broker_addr: self.config.identity.addr.clone(),
                groups: self.all_consume_stats(only_ordered),
            },
            BrokerRequest::ConsumeStats { group, topics } => {
                BrokerResponse::ConsumeStats(Box::new(self.consume_stats(&group, topics)))
            }
            BrokerRequest::CloneOffsets(wanted) => return self.clone_offsets(now, &wanted),
            BrokerRequest::ResetOffsets(wanted) => return self.reset_offsets(now, &wanted),
            other => unreachable!("{other:?} is about something else"),
        };
        Ok((After::Nothing, response))
    }

    /// Requests about topics and groups themselves.
    fn manage(
        &mut self,
        now: Now,
        request: BrokerRequest,
    ) -> Result<(After, BrokerResponse), Refusal> {
        Ok(match request {
            BrokerRequest::ConfigureGroups(wanted) => {
                self.refuse_as_slave()?;
                let change = self.groups.configure(now.wall, wanted)?;
                (After::Groups(change), BrokerResponse::Done)
            }
            BrokerRequest::CreateTopic(wanted) => {
                let change = self.topics.create(now.wall, &wanted)?;
                self.store.declare_batch(&wanted.topic, self.topics.is_batch(&wanted.topic));
                (After::Topics(change), BrokerResponse::Done)
            }
            BrokerRequest::DeleteGroup { group, clean_offset } => {
                self.refuse_as_slave()?;
                if clean_offset {
                    self.offsets.forget(&group);
                }
                let change = self.groups.delete(now.wall, &group);
                (After::Groups(change), BrokerResponse::Done)
            }
            BrokerRequest::GroupConfig { group } => {
                let config = self.groups.config(now.wall, &group)?;
                (After::Nothing, BrokerResponse::GroupConfig(Box::new(config)))
            }
            BrokerRequest::TopicConfig { topic } => {
                let config = self.topics.get(&topic).ok_or_else(|| no_topic(&topic))?;
                let description = Box::new(config.describe(&topic));
                (After::Nothing, BrokerResponse::TopicConfig(description))
            }
            other => unreachable!("{other:?} is about something else"),
        })
    }

    /// What a slave keeps is its master's.
    pub(super) fn refuse_as_slave(&self) -> Result<(), Refusal> {
        if self.ha.is_slave() {
            let remark = "this broker is a slave and takes its groups, and how far they are, over \
                          from its master: ask that one";
            return Err((Code::SystemError, remark.to_owned()));
        }
        Ok(())
    }

    fn runtime(&self, now: Now) -> RuntimeInfo {
        RuntimeInfo {
            booted: self.booted.wall,
            uptime: now.mono.since(self.booted.mono),
            start: self.store.start(),
            written: self.store.written(),
            flushed: self.flush.flushed(),
            confirmed: self.confirmed,
            held_pulls: self.holds.len() as u64,
            waiting_sends: self.waiters.len() as u64,
            flushes: self.flush.figures(),
            sends_refused: self.closed_for_sends.map(Text::from),
        }
    }

    /// The record at a position that consumers may see.
    pub(super) fn find(&self, at: Physical) -> Result<Span, Refusal> {
        let record = self.store.record(at).map(|record| Span { at, len: record.size() });
        record
            .filter(|span| self.confirmed().covers(span.end()))
            .ok_or_else(|| (Code::SystemError, format!("can not find message by the offset, {at}")))
    }

    fn earliest(&self, of: &QueueRef) -> Option<Wall> {
        let range = self.store.queue(&of.topic, of.queue)?;
        let unit = self.store.unit(&of.topic, of.queue, range.min)?;
        Some(self.store.record(unit.span.at)?.store_time())
    }

    fn consumer_list(&self, group: &str) -> Result<BrokerResponse, Refusal> {
        let ids = self.clients.client_ids(group);
        if ids.is_empty() {
            return Err((Code::SystemError, format!("no consumer for this group, {group}")));
        }
        Ok(BrokerResponse::Consumers(ids))
    }

    fn heartbeat(
        &mut self,
        now: Now,
        caller: &Caller,
        mut beat: Heartbeat,
    ) -> Result<(After, BrokerResponse), Refusal> {
        // A group that may not be created is left out; the rest of the heartbeat counts.
        beat.consumers.retain(|data| match self.groups.ensure(now.wall, &data.group) {
            Ok(()) => true,
            Err((_, remark)) => {
                tracing::warn!(group = %data.group, remark, "a heartbeat's group is left out");
                false
            }
        });
        let mut change = 0;
        for data in &beat.consumers {
            change = change.max(self.retry_topic(now.wall, &data.group, false)?.since);
        }
        let sub_changed = self.clients.heartbeat(now.mono, caller, beat)?;
        Ok((After::Topics(change), BrokerResponse::Heartbeat { sub_changed }))
    }

    fn max_offset(&self, of: &QueueRef) -> BrokerResponse {
        offset(self.visible(of).map_or(0, |range| range.max.get()))
    }

    fn min_offset(&self, of: &QueueRef) -> BrokerResponse {
        let range = self.store.queue(&of.topic, of.queue);
        range.map_or(BrokerResponse::Offset(-1), |range| offset(range.min.get()))
    }

    fn query_offset(
        &mut self,
        group: &Text,
        of: &QueueRef,
        zero_if_absent: Option<bool>,
    ) -> Result<BrokerResponse, Refusal> {
        if let Some(next) = self.offsets.position(group, of) {
            return Ok(offset(next.get()));
        }
        // A new group on a young queue starts at its beginning: nothing is skipped that was sent
        // before the group's first commit.
        let min = self.store.queue(&of.topic, of.queue).map_or(0, |range| range.min.get());
        if zero_if_absent != Some(false) && min == 0 && self.topics.get(&of.topic).is_some() {
            return Ok(BrokerResponse::Offset(0));
        }
        let remark = "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first".to_owned();
        Err((Code::QueryNotFound, remark))
    }

    fn update_offset(
        &mut self,
        wall: Wall,
        caller: &Caller,
        group: &Text,
        of: &QueueRef,
        next: i64,
    ) -> Result<BrokerResponse, Refusal> {
        self.groups.ensure(wall, group)?;
        let topic = self.topics.get(&of.topic).ok_or_else(|| no_topic(&of.topic))?;
        super::topics::check_queue(of, topic.read_queues.max(topic.write_queues))?;
        // Some clients commit -1 for a queue of which they have consumed nothing.
        if next == -1 {
            return Ok(BrokerResponse::Done);
        }
        let Ok(next) = u64::try_from(next) else {
            let remark = format!("commitOffset={next}: an offset is 0 or more");
            return Err((Code::InvalidParameter, remark));
        };
        self.offsets.commit(group, of, caller.conn, QueueOffset::new(next));
        Ok(BrokerResponse::Done)
    }
}

fn offset(number: u64) -> BrokerResponse {
    BrokerResponse::Offset(i64::try_from(number).unwrap_or(i64::MAX))
}

pub(super) fn no_topic(topic: &str) -> Refusal {
    (Code::TopicNotExist, format!("topic[{topic}] not exist: create it, or send to it first"))
}
