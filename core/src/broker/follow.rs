//! What a slave takes over from its master besides the log: topics, groups, consumer offsets, and
//! how far delayed messages are delivered (broker-behaviour.md 9.4). Asked for as documents, and
//! kept as if they were its own.
//!
//! In a group with acting masters offsets also come back from slaves: see `hand_over`. There a
//! slave takes its master's word for how far groups are, be it less than it knew, or what an
//! operator took back would return with the next start of the master. But what it was told itself
//! stays, until the master is as far.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hotfire_storage::documents::{DelayOffsetTable, Document, GroupTable, OffsetTable, TopicTable};
use hotfire_storage::seam::Disk;
use hotfire_storage::text::Text;
use hotfire_storage::time::{Mono, Now};

use super::topics::Topic;
use super::{Broker, BrokerConfig, Effect, GroupEffect, state};
use crate::domain::{BrokerResponse, NameResponse, StateKind};

/// How often they are asked for. A consumer that turns to the slave repeats what the master was
/// told since; that is short, and asking costs little.
const EVERY: Duration = Duration::from_secs(3);
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// No group is served otherwise than others.
const NO_MODES: &[u8] = br#"{"messageRequestModeMap":{}}"#;

/// Whom to ask, and when.
#[derive(Debug)]
pub(super) struct Follow {
    master: Option<Text>,
    next: Mono,
    /// Documents that are on their way.
    asked: usize,
    /// Since when.
    asked_at: Mono,
    /// Will anybody ever say where the master answers?
    is_told: bool,
    /// What a record waits for.
    missing: Option<Missing>,
}

/// A topic of which a record waits that came before the topic itself.
#[derive(Debug)]
struct Missing {
    topic: Text,
    stage: Stage,
    /// Do people know that replication waits for it?
    is_said: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The master is to be asked.
    Wanted,
    /// It was, since.
    Asked,
    /// It has no such topic any more. What is left of one are ordinary queues.
    Absent,
}

impl Follow {
    pub(super) fn new(now: Mono, config: &BrokerConfig) -> Self {
        let is_told = config.name_servers > 0;
        Self { master: None, next: now, asked: 0, asked_at: now, is_told, missing: None }
    }

    /// Has the master said all that it ever will of a topic that is not in its table?
    pub(super) fn is_absent(&self, topic: &str) -> bool {
        let missing = self.missing.as_ref().filter(|missing| missing.topic == *topic);
        !self.is_told || missing.is_some_and(|missing| missing.stage == Stage::Absent)
    }

    /// A record waits, of a topic that is not in the table: the master is asked as soon as can be.
    pub(super) fn misses(&mut self, now: Mono, topic: &str) {
        if self.missing.as_ref().is_none_or(|missing| missing.topic != *topic) {
            let (topic, stage) = (topic.into(), Stage::Wanted);
            self.missing = Some(Missing { topic, stage, is_said: false });
            if self.master.is_none() {
                self.say("no name server has said where the master answers");
            }
            self.ask_soon(now);
        }
    }

    /// No record waits for its topic.
    pub(super) fn misses_nothing(&mut self) {
        self.missing = None;
    }

    fn ask_soon(&mut self, now: Mono) {
        if self.missing.as_ref().is_some_and(|missing| missing.stage == Stage::Wanted) {
            self.next = self.next.min(now);
        }
    }

    /// When to ask. What was asked before is answered first: maybe it was before a topic was made,
    /// and then it is no answer to the question for that.
    fn due(&self) -> Mono {
        if self.asked > 0 { self.asked_at.after(PATIENCE) } else { self.next }
    }

    /// All documents are asked for.
    fn asks(&mut self, now: Mono) {
        (self.asked, self.asked_at) = (StateKind::FOLLOWED.len(), now);
        self.next = now.after(EVERY);
        match &mut self.missing {
            Some(missing) if missing.stage == Stage::Wanted => missing.stage = Stage::Asked,
            Some(missing) if missing.stage == Stage::Asked => {
                self.say("the master does not answer what is asked");
            }
            _ => {}
        }
    }

    /// Says that replication waits, once.
    fn say(&mut self, why: &str) {
        let unsaid = self.missing.iter_mut().filter(|missing| !missing.is_said);
        for missing in unsaid {
            missing.is_said = true;
            let topic = missing.topic.as_str();
            tracing::warn!(topic, why, "a record waits until its topic is known here");
        }
    }

    /// Another master is asked.
    fn turn_to(&mut self, master: Option<Text>) {
        if self.master != master {
            self.master = master;
            if let Some(missing) = &mut self.missing {
                missing.stage = Stage::Wanted;
                self.next = Mono::ZERO;
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        self.master.as_ref().map(|_| self.due())
    }
}

impl<D: Disk> Broker<D> {
    /// A name server may have said where the master answers.
    pub(super) fn learn_master_of_state(&mut self, response: Option<&NameResponse>) {
        if let Some(NameResponse::Registered { master_addr: Some(master), .. }) = response
            && !master.is_empty()
            && self.ha.is_slave()
        {
            self.follow.turn_to(Some(master.detached()));
        }
    }

    /// Name servers say that the master answers there, or that there is none.
    pub(super) fn follow_member(&mut self, master: Option<Text>) {
        if self.follow.master != master {
            // One that comes back may have its replication port elsewhere: the answer tells.
            self.register_now |= master.is_some();
            self.follow.turn_to(master);
        }
    }

    /// Asks for all documents, if it is time.
    pub(super) fn ask_master(&mut self, now: Mono) {
        if self.follow.due() > now {
            return;
        }
        let Some(master) = self.follow.master.clone() else { return };
        self.follow.asks(now);
        let asked = StateKind::FOLLOWED.into_iter();
        let fetch = |kind| Effect::Group(GroupEffect::Fetch { from: master.clone(), kind });
        self.outbox.extend(asked.map(fetch));
    }

    /// The master answered, or did not. What cannot be read changes nothing.
    pub(super) fn fetched(&mut self, now: Now, kind: StateKind, json: Option<&Bytes>) {
        if !self.ha.is_slave() {
            return self.fetched_from_slave(now, json);
        }
        self.follow.asked = self.follow.asked.saturating_sub(1);
        self.follow.ask_soon(now.mono);
        let Some(json) = json else { return };
        let taken = match kind {
            StateKind::Topics => TopicTable::parse(json).map(|table| self.take_topics(table)),
            StateKind::Groups => GroupTable::parse(json).map(|table| self.groups.follow(table)),
            StateKind::Offsets => OffsetTable::parse(json).map(|table| self.take_offsets(&table)),
            StateKind::DelayOffsets => {
                let written = self.store.written().end();
                DelayOffsetTable::parse(json).map(|table| self.delays.follow(&table, written))
            }
            StateKind::RequestModes => Ok(()),
        };
        if let Err(why) = taken {
            tracing::warn!(?kind, %why, "the master's answer cannot be read");
        }
        if kind == StateKind::Topics {
            self.became_ready(now);
            self.take_pieces(now);
        }
    }

    fn take_topics(&mut self, table: TopicTable) {
        let topics = table.topic_config_table;
        let topics = topics.into_iter().map(|(name, kept)| (name, state::topic_of(kept)));
        let topics: BTreeMap<Text, Topic> = topics.collect();
        if let Some(missing) = &mut self.follow.missing
            && missing.stage == Stage::Asked
            && !topics.contains_key(&missing.topic)
        {
            missing.stage = Stage::Absent;
        }
        for name in self.topics.follow(topics, table.data_version) {
            let is_batch = self.topics.is_batch(&name);
            if self.store.may_declare(&name, is_batch) {
                self.store.declare_batch(&name, is_batch);
            } else if self.topics.has(&name) {
                tracing::error!(
                    topic = %name,
                    "its queues here are of another kind than the master's: consumers cannot read \
                     them here; empty this store, and let it be copied anew"
                );
            }
        }
    }

    /// Offsets of queues that are not here yet are taken, too: the log is on its way.
    fn take_offsets(&mut self, table: &OffsetTable) {
        let is_handed_back = self.acting.is_on();
        for ((topic, group), queues) in state::offsets_of(&table.offset_table) {
            for (queue, next) in queues {
                if is_handed_back {
                    self.offsets.follow(&topic, &group, queue, next);
                } else {
                    self.offsets.advance(&topic, &group, queue, next);
                }
            }
        }
        self.offsets.take_light(&table.lmq_offset_table);
    }

    /// What a slave is told, and the change of the topic table that it speaks of. A slave tells
    /// name servers of its topics: one that a power loss can still take from its master would be
    /// routed to for ever, and written to by nobody.
    pub(super) fn state_of(&self, kind: StateKind) -> (i64, BrokerResponse) {
        let (count, json) = match kind {
            StateKind::Topics => (self.topics.iter().count(), state::topics_json(&self.topics)),
            StateKind::Groups => (self.groups.table().len(), state::groups_json(&self.groups)),
            StateKind::Offsets => (0, state::offsets_json(&self.offsets)),
            StateKind::DelayOffsets => (0, self.delays.told().to_json()),
            StateKind::RequestModes => (0, NO_MODES.into()),
        };
        let is_of_topics = kind == StateKind::Topics;
        let change = if is_of_topics { self.topics.version().now().counter } else { 0 };
        (change, BrokerResponse::State { kind, count, json: json.into() })
    }
}
