//! What clients saw, and what was done to the brokers, in order. Oracles judge this and nothing
//! else that clients could know.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hotfire_core::domain::{Code, SendStatus};
use hotfire_storage::record::properties::SCHEDULE_TOPIC;
use hotfire_storage::text::Text;
use hotfire_storage::time::Mono;

use super::message::{Id, Lane};
use super::retries;

/// A message that was sent at least once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where to.
    pub lane: Lane,
    /// Its number among the producer's messages to that queue.
    pub sequence: u64,
    /// Does nobody wait for it to be stored before the next one is sent?
    pub oneway: bool,
    /// Its body.
    pub body: Bytes,
    /// The light queues that it names.
    pub light: Vec<Text>,
    /// Does its sender wait for the promise of the broker's policy?
    pub promised: bool,
    /// The queue to which it goes once it has waited for its time in the one above.
    pub belongs: Option<Lane>,
}

impl Message {
    /// Is this a queue of its?
    fn goes_to(&self, lane: &Lane) -> bool {
        self.lane == *lane || self.belongs.as_ref() == Some(lane)
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A send was acknowledged.
    Acked {
        /// By which process of the broker.
        life: u32,
        /// What was promised.
        status: SendStatus,
        /// The messages, in order.
        ids: Vec<Id>,
        /// The first one's offset.
        offset: u64,
        /// Where each lies in the log.
        at: Vec<u64>,
    },
    /// A broker started, over what it found.
    Began {
        /// Which.
        broker: Text,
        /// Its how-many-eth process.
        life: u32,
    },
    /// A consumer asked to keep an offset for its group.
    Committed {
        /// Group.
        group: Text,
        /// Who.
        client: Text,
        /// Queue.
        lane: Lane,
        /// The next message to consume.
        next: u64,
    },
    /// A consumer got a message.
    Consumed {
        /// By which process of the broker.
        life: u32,
        /// Group.
        group: Text,
        /// Who.
        client: Text,
        /// From which queue.
        lane: Lane,
        /// The offset in the record.
        offset: u64,
        /// The record's position.
        at: u64,
        /// Its bytes.
        size: u32,
        /// Which message; `None` if it is not one of ours, which is wrong in itself.
        id: Option<Id>,
        /// Its body.
        body: Bytes,
    },
    /// A topic was created as asked.
    Created {
        /// On which broker.
        broker: Text,
        /// Topic.
        topic: Text,
        /// Its queues.
        queues: u32,
    },
    /// A broker died.
    Died {
        /// Which.
        broker: Text,
        /// If its machine lost power: below which position all log was on the medium. Asked of the
        /// medium, not of the broker.
        durable: Option<u64>,
    },
    /// A consumer failed to consume a message, and wants it again: its group may find it once more.
    Failed {
        /// Group.
        group: Text,
        /// Which message.
        id: Id,
    },
    /// A consumer holds queues for itself.
    Locked {
        /// By which process of the broker.
        life: u32,
        /// Group.
        group: Text,
        /// Who.
        client: Text,
        /// Which.
        lane: Lane,
        /// When it had asked.
        asked: Mono,
    },
    /// A send was refused.
    Refused {
        /// Why.
        code: Code,
        /// The messages.
        ids: Vec<Id>,
    },
    /// A group will go on where it was sent.
    Reset {
        /// Which time that was.
        number: usize,
    },
    /// Somebody asks that a group consume a queue from an offset on.
    Resetting {
        /// A number of its own.
        number: usize,
        /// Group.
        group: Text,
        /// Queue.
        lane: Lane,
        /// From here on.
        to: u64,
    },
    /// A message that a consumer sent back was taken.
    SentBack {
        /// By which broker.
        broker: Text,
        /// By which process of it.
        life: u32,
        /// Group.
        group: Text,
        /// Which message.
        id: Id,
        /// How often it had failed before.
        times: i32,
    },
    /// A send went out.
    Sent {
        /// The messages.
        ids: Vec<Id>,
        /// Connections of the sender that had ended by then: as many for two sends to one broker
        /// say that one connection took both.
        ended: u64,
    },
    /// A consumer gave up what it had locked.
    Unlocked {
        /// Group.
        group: Text,
        /// Who.
        client: Text,
        /// Which.
        lane: Lane,
    },
}

/// All of it.
#[derive(Debug, Default)]
pub struct History {
    facts: Vec<(Mono, Fact)>,
    messages: BTreeMap<Id, Message>,
    sends: u64,
    /// How often each message was sent, and over which connection first.
    sent: BTreeMap<Id, (u32, u64)>,
    /// What groups failed to consume.
    failed: BTreeSet<(Text, Id)>,
}

impl History {
    /// Writes a fact down.
    pub fn add(&mut self, now: Mono, fact: Fact) {
        if let Fact::Sent { ids, ended } = &fact {
            self.sends += 1;
            for id in ids {
                self.sent.entry(*id).or_insert((0, *ended)).0 += 1;
            }
        }
        if let Fact::Failed { group, id } = &fact {
            self.failed.insert((group.clone(), *id));
        }
        self.facts.push((now, fact));
    }

    /// A message that is about to be sent for the first time.
    pub fn made(&mut self, id: Id, message: Message) {
        let before = self.messages.insert(id, message);
        assert!(before.is_none(), "{id} is made once");
    }

    /// Everything from fact number `from` on.
    pub fn since(&self, from: usize) -> &[(Mono, Fact)] {
        &self.facts[from..]
    }

    /// How many facts there are.
    pub const fn len(&self) -> usize {
        self.facts.len()
    }

    /// Is there none?
    pub const fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// The messages, by identity.
    pub const fn messages(&self) -> &BTreeMap<Id, Message> {
        &self.messages
    }

    /// Is this a queue where the message may be? The one to which it was sent; or one to which it
    /// came since a group failed to consume it.
    pub fn may_be_in(&self, lane: &Lane, id: Id) -> bool {
        let Some(made) = self.messages.get(&id) else { return false };
        let failed = |group: &str| self.failed.contains(&(group.into(), id));
        let is_back = match retries::group_of(&lane.topic) {
            Some(group) => failed(group),
            None => lane.topic == SCHEDULE_TOPIC && self.failed.iter().any(|(_, of)| *of == id),
        };
        made.goes_to(lane) || (is_back && lane.broker == made.lane.broker)
    }

    /// When a message was first sent.
    pub fn first_sent(&self, id: Id) -> Option<Mono> {
        let sent = |fact: &Fact| matches!(fact, Fact::Sent { ids, .. } if ids.contains(&id));
        self.facts.iter().find(|(_, fact)| sent(fact)).map(|(now, _)| *now)
    }

    /// Was a message sent more than once?
    pub fn was_repeated(&self, id: Id) -> bool {
        self.sent.get(&id).is_some_and(|(times, _)| *times > 1)
    }

    /// Over which of its sender's connections a message was sent first: how many had ended before.
    pub fn connection(&self, id: Id) -> Option<u64> {
        self.sent.get(&id).map(|(_, ended)| *ended)
    }

    /// How often something was sent: the clock that faults go by.
    pub const fn sends(&self) -> u64 {
        self.sends
    }
}
