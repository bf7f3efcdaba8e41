//! Where an operator sends a group: to an offset or a time (222), or to where another group is
//! (314); broker-behaviour.md 6.2, requests.md C.3.
//!
//! As a rule the broker itself remembers it until the group pulls from there, and answers all other
//! pulls that the offset moved; held ones at once. Else (`useServerSideResetOffset=false`),
//! and for the members of a broadcast group, who keep their offsets themselves, all members that
//! are online are told.

use hotfire_storage::Boundary;
use hotfire_storage::position::QueueOffset;
use hotfire_storage::seam::Disk;
use hotfire_storage::text::Text;
use hotfire_storage::time::Now;

use super::clients::ConsumerGroup;
use super::names::Refusal;
use super::requests::{After, no_topic};
use super::topics::check_queue;
use super::{Broker, Effect};
use crate::domain::{
    BrokerNotice, BrokerResponse, CloneOffsets, Code, Language, MessageModel, MessageQueue,
    OffsetsReset, QueueRef, ResetOffsets, ResetTo,
};

impl<D: Disk> Broker<D> {
    pub(super) fn reset_offsets(
        &mut self,
        now: Now,
        wanted: &ResetOffsets,
    ) -> Result<(After, BrokerResponse), Refusal> {
        let ResetOffsets { group, topic, queue, .. } = wanted;
        self.refuse_as_slave()?;
        let config = self.topics.get(topic).ok_or_else(|| no_topic(topic))?;
        if !self.groups.table().contains_key(group) {
            let remark = format!("the group {group} does not exist: create it, or consume with it");
            return Err((Code::SubscriptionGroupNotExist, remark));
        }
        let queues = match *queue {
            Some(queue) => {
                let of = QueueRef { topic: topic.clone(), queue };
                check_queue(&of, config.read_queues.max(config.write_queues))?;
                queue..queue + 1
            }
            None => 0..i32::try_from(config.read_queues).unwrap_or(i32::MAX),
        };
        if queues.is_empty() {
            let remark = format!("topic[{topic}] has no queue to read: there is nothing to reset");
            return Err((Code::SystemError, remark));
        }
        let mut moves = Vec::new();
        for queue in queues {
            let of = QueueRef { topic: topic.clone(), queue };
            let mut to = self.offset_of(&of, wanted.to)?;
            if !wanted.is_forced
                && let Some(next) = self.offsets.committed(group, &of)
            {
                to = to.min(next);
            }
            moves.push((of, to));
        }
        let online = self.clients.consumer_group(group);
        let keeps_its_own = online.is_some_and(|group| group.model == MessageModel::Broadcasting);
        if keeps_its_own || !self.config.server_side_reset {
            return self.tell_members(group, topic, &moves);
        }
        Ok(self.move_group(now, group, &moves))
    }

    pub(super) fn clone_offsets(
        &mut self,
        now: Now,
        wanted: &CloneOffsets,
    ) -> Result<(After, BrokerResponse), Refusal> {
        let CloneOffsets { from, to, topic, offline } = wanted;
        self.refuse_as_slave()?;
        let online = self.clients.consumer_group(from).filter(|_| !offline);
        let counts = |of: &Text| {
            topic.as_ref().is_none_or(|topic| topic == of)
                && self.topics.get(of).is_some()
                && online.is_none_or(|group| group.takes(of))
        };
        let table = self.offsets.table().iter();
        let table = table.filter(|((topic, group), _)| group == from && counts(topic));
        let moves = table.flat_map(|((topic, _), queues)| {
            let of = |queue: &i32| QueueRef { topic: topic.clone(), queue: *queue };
            queues.iter().map(move |(queue, known)| (of(queue), known.next))
        });
        let moves: Vec<_> = moves.collect();
        if moves.is_empty() {
            let remark = format!("the group {from} has consumed nothing there: nothing to clone");
            return Err((Code::SystemError, remark));
        }
        self.groups.ensure(now.wall, to)?;
        let (after, _) = self.move_group(now, to, &moves);
        Ok((after, BrokerResponse::Done))
    }

    /// An offset of the queue, as consumers see it.
    fn offset_of(&self, of: &QueueRef, to: ResetTo) -> Result<QueueOffset, Refusal> {
        let range = self.visible(of);
        let (min, max) =
            range.map_or((QueueOffset::ZERO, QueueOffset::ZERO), |range| (range.min, range.max));
        match to {
            ResetTo::End => Ok(max),
            ResetTo::Time(at) => {
                let found = self.store.offset_by_time(&of.topic, of.queue, at, Boundary::Lower);
                Ok(found.map_or(max, |found| found.clamp(min, max)))
            }
            ResetTo::Offset(asked) => {
                let offset = u64::try_from(asked).ok().map(QueueOffset::new);
                offset.filter(|offset| (min..=max).contains(offset)).ok_or_else(|| {
                    let remark = format!(
                        "Target offset {asked} not in consume queue range [{min}-{max}]: choose \
                         one within it"
                    );
                    (Code::SystemError, remark)
                })
            }
        }
    }

    /// Whoever pulls is moved. Answered once it is kept.
    fn move_group(
        &mut self,
        now: Now,
        group: &Text,
        moves: &[(QueueRef, QueueOffset)],
    ) -> (After, BrokerResponse) {
        let save = self.offsets.next_save();
        for (of, to) in moves {
            tracing::info!(%group, topic = %of.topic, queue = of.queue, %to, "an offset is reset");
            self.offsets.reset(group, of, *to);
            self.wake(of);
        }
        self.timers.save_offsets = now.mono;
        (After::Offsets(save), BrokerResponse::OffsetsReset(self.named(moves)))
    }

    fn tell_members(
        &mut self,
        group: &Text,
        topic: &Text,
        moves: &[(QueueRef, QueueOffset)],
    ) -> Result<(After, BrokerResponse), Refusal> {
        let offsets = self.named(moves);
        let online = self.clients.consumer_group(group).into_iter();
        let members: Vec<_> = online.flat_map(ConsumerGroup::languages).collect();
        if members.is_empty() {
            let remark = format!(
                "Consumer not online, so can not reset offset, Group: {group} Topic: {topic}: \
                 start a member, or set useServerSideResetOffset=true"
            );
            return Err((Code::ConsumerNotOnline, remark));
        }
        for (conn, language) in members {
            let notice = BrokerNotice::OffsetsReset(Box::new(OffsetsReset {
                group: group.clone(),
                topic: topic.clone(),
                offsets: offsets.clone(),
                as_list: language == Language::CPP,
            }));
            self.outbox.push_back(Effect::Notify { conn, notice });
        }
        Ok((After::Nothing, BrokerResponse::OffsetsReset(offsets)))
    }

    fn named(&self, moves: &[(QueueRef, QueueOffset)]) -> Vec<(MessageQueue, QueueOffset)> {
        moves.iter().map(|(of, to)| (self.named_queue(of), *to)).collect()
    }
}
