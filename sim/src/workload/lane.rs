//! One queue that a consumer has, and the shares in which a group has them.

use std::collections::VecDeque;
use std::ops::Range;

use hotfire_core::domain::{
    ConsumeFrom, ConsumeType, ConsumerData, Heartbeat, MessageModel, MessageQueue, QueueRef,
    Subscription,
};
use hotfire_storage::text::Text;
use hotfire_storage::time::Mono;

use super::message::Lane;
use super::retries::Back;

/// Where a consumer is with a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It must lock the queue first.
    Lock,
    /// It does not know where to begin.
    Offset,
    /// It pulls.
    Pull,
}

/// A queue that was allocated to a consumer.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) step: Step,
    /// A question about it is open: not another one meanwhile.
    pub(super) is_asked: bool,
    pub(super) again: Mono,
    /// The next message to consume.
    pub(super) next: u64,
    /// Did the last pull find something?
    pub(super) has_found: bool,
    /// What was last sent to the broker as such.
    pub(super) committed: Option<u64>,
    /// And was acknowledged.
    pub(super) kept: Option<u64>,
    pub(super) commit_at: Mono,
    /// What failed to be consumed: nothing is committed before it was sent back.
    pub(super) backs: VecDeque<Back>,
}

impl Held {
    pub(super) const fn new(ordered: bool) -> Self {
        Self {
            step: if ordered { Step::Lock } else { Step::Offset },
            is_asked: false,
            again: Mono::ZERO,
            next: 0,
            has_found: false,
            committed: None,
            kept: None,
            commit_at: Mono::ZERO,
            backs: VecDeque::new(),
        }
    }

    /// Is there something to say of how far it is?
    pub(super) fn wants_commit(&self) -> bool {
        self.step == Step::Pull && self.committed != Some(self.next) && self.backs.is_empty()
    }
}

/// Member number `index` of `count` has these of a topic's queues; the first members have one
/// more each if it does not divide evenly.
pub(super) fn share(index: u32, count: u32, queues: u32) -> Range<u32> {
    let (each, over) = (queues / count, queues % count);
    let from = index * each + index.min(over);
    from..from + each + u32::from(index < over)
}

pub(super) fn queue_ref(lane: &Lane) -> QueueRef {
    QueueRef { topic: lane.topic.clone(), queue: lane.queue }
}

pub(super) fn message_queue(lane: &Lane) -> MessageQueue {
    let Lane { broker, topic, queue } = lane.clone();
    MessageQueue { topic, broker_name: broker, queue }
}

/// What a member of a group says to every broker.
pub(super) fn heartbeat(client: &Text, group: &Text, topics: &[Text]) -> Heartbeat {
    let subscriptions = topics.iter().map(|topic| Subscription {
        topic: topic.clone(),
        expression: "*".into(),
        tags: Vec::new(),
        codes: Vec::new(),
        version: 1,
        expression_type: "TAG".into(),
    });
    Heartbeat {
        client_id: client.clone(),
        producers: Vec::new(),
        consumers: vec![ConsumerData {
            group: group.clone(),
            consume_type: ConsumeType::Passively,
            model: MessageModel::Clustering,
            from: ConsumeFrom::FirstOffset,
            subscriptions: subscriptions.collect(),
        }],
        fingerprint: 0,
        without_sub: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_and_leave_nothing_out() {
        for queues in 0..9 {
            for count in 1..5 {
                let shares: Vec<_> = (0..count).map(|index| share(index, count, queues)).collect();
                assert!(shares.iter().cloned().flatten().eq(0..queues));
                let lens = shares.iter().map(ExactSizeIterator::len);
                assert!(lens.clone().max() <= lens.min().map(|least| least + 1));
            }
        }
    }
}
