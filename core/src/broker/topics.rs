//! The broker's topics: their queues and permissions, how they come to be, and which of them a
//! power loss can no longer take away.

use std::collections::{BTreeMap, BTreeSet};

use hotfire_storage::documents::{FilterType, QUEUE_TYPE, QUEUE_TYPE_BATCH};
use hotfire_storage::text::Text;
use hotfire_storage::time::Wall;

use super::BrokerConfig;
use super::names::{self, Refusal};
use super::version::Version;
use crate::domain::{
    Code, CreateTopic, DEFAULT_TOPIC, DataVersion, QueueRef, RegisteredTopic, Send,
    TopicDescription,
};
use crate::machine::Digest;

const READ: i32 = 4;
const WRITE: i32 = 2;
const INHERIT: i32 = 1;

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Topic {
    pub(super) read_queues: u32,
    pub(super) write_queues: u32,
    pub(super) perm: i32,
    pub(super) sys_flag: i32,
    pub(super) order: bool,
    /// Kept for the original's sake: nobody asks for it any more.
    pub(super) filter: FilterType,
    pub(super) attributes: BTreeMap<Text, Text>,
    /// The change of the table that made it what it is.
    pub(super) since: i64,
}

/// What a send has to know of its topic.
#[derive(Debug)]
pub(super) struct Target {
    /// The name, which keeps nothing of the request.
    pub(super) name: Text,
    pub(super) order: bool,
    pub(super) read_queues: u32,
    pub(super) write_queues: u32,
    /// The change of the table that made the topic what it is.
    pub(super) since: i64,
}

impl Target {
    fn of(name: Text, topic: &Topic) -> Self {
        let Topic { order, read_queues, write_queues, since, .. } = *topic;
        Self { name, order, read_queues, write_queues, since }
    }
}

impl Topic {
    pub(super) fn new(queues: u32, perm: i32) -> Self {
        Self {
            read_queues: queues,
            write_queues: queues,
            perm,
            sys_flag: 0,
            order: false,
            filter: FilterType::default(),
            attributes: BTreeMap::new(),
            since: 0,
        }
    }

    pub(super) fn readable(&self) -> bool {
        self.perm & READ != 0
    }

    /// Does it keep inner batches whole (`queue.type=BatchCQ`)?
    pub(super) fn is_batch(&self) -> bool {
        self.attributes.get(QUEUE_TYPE).is_some_and(|kind| kind == QUEUE_TYPE_BATCH)
    }

    pub(super) fn describe(&self, topic: &Text) -> TopicDescription {
        TopicDescription {
            topic: topic.clone(),
            read_queues: self.read_queues,
            write_queues: self.write_queues,
            perm: self.perm,
            sys_flag: self.sys_flag,
            order: self.order,
            attributes: self.attributes.clone(),
        }
    }
}

/// What name servers are told: the table at some change. It is told once it is durable, or a power
/// loss leaves routes to topics that this broker does not know: a producer that follows one creates
/// the topic anew, of another kind than its owner had made it.
#[derive(Clone, Debug, Default)]
struct Registered {
    version: DataVersion,
    topics: Vec<RegisteredTopic>,
    /// Those of inner batches.
    batches: BTreeSet<Text>,
}

/// All topics. Changes are numbered; a topic is durable once the table was saved with the change
/// that made it.
#[derive(Debug)]
pub(super) struct Topics {
    table: BTreeMap<Text, Topic>,
    version: Version,
    durable: Registered,
    /// What becomes durable with the save under way.
    saving: Option<Registered>,
    max: usize,
    max_queues: u32,
    /// What every light queue is like, if there are any.
    light: Option<Topic>,
}

impl Topics {
    /// The table as it was saved; what every broker has is added.
    pub(super) fn restore(
        table: BTreeMap<Text, Topic>,
        version: DataVersion,
        config: &BrokerConfig,
        wall: Wall,
    ) -> Self {
        let mut topics = Self {
            table,
            version: Version::restored(version),
            durable: Registered::default(),
            saving: None,
            max: config.limits.topics,
            max_queues: config.limits.queues_per_topic,
            light: config.light_queues.then(|| Topic::new(1, READ | WRITE)),
        };
        for (name, queues, perm) in names::BUILT_IN {
            topics.built_in(wall, name, queues, perm);
        }
        let identity = &config.identity;
        topics.built_in(wall, &identity.cluster, 16, READ | WRITE | INHERIT);
        topics.built_in(wall, &identity.broker_name, 1, READ | WRITE | INHERIT);
        let reply = format!("{}_REPLY_TOPIC", identity.cluster);
        topics.built_in(wall, &reply, 1, READ | WRITE);
        if config.acting.is_some() {
            // Members of Apache's look at its route to see who else lives.
            let watched = format!("{}{}", names::SYNC_MEMBER_PREFIX, identity.broker_name);
            topics.built_in(wall, &watched, 1, INHERIT);
        }
        // The template shrinks to a plain topic when nothing may be created from it.
        let inherit = if config.auto_create_topic { INHERIT } else { 0 };
        let template = Topic::new(config.default_topic_queues, READ | WRITE | inherit);
        topics.put(wall, DEFAULT_TOPIC, template);
        // As it was read, and with what every start adds.
        topics.durable = topics.snapshot();
        topics
    }

    fn built_in(&mut self, wall: Wall, name: &str, queues: u32, perm: i32) {
        if !self.table.contains_key(name) {
            self.put(wall, name, Topic::new(queues, perm));
        }
    }

    fn put(&mut self, wall: Wall, name: &str, mut topic: Topic) {
        if let Some(held) = self.table.get(name) {
            topic.since = held.since;
            if *held == topic {
                return;
            }
        }
        topic.since = self.version.change(wall);
        // Bytes of its own: the header it came in must not be kept.
        self.table.insert(Text::from(name), topic);
    }

    /// Becomes what the master's table is, if it is not. Answers which topics changed.
    pub(super) fn follow(
        &mut self,
        table: BTreeMap<Text, Topic>,
        version: DataVersion,
    ) -> Vec<Text> {
        if !self.version.follow(version) {
            return Vec::new();
        }
        let mut changed: Vec<Text> =
            self.table.keys().filter(|name| !table.contains_key(*name)).cloned().collect();
        let before = std::mem::take(&mut self.table);
        for (name, mut topic) in table {
            let held = before.get(&name);
            topic.since = held.map_or(version.counter, |held| held.since);
            if held != Some(&topic) {
                topic.since = version.counter;
                changed.push(name.clone());
            }
            self.table.insert(name, topic);
        }
        changed
    }

    /// A topic. Light queues are not in the table, and all alike.
    pub(super) fn get(&self, topic: &str) -> Option<&Topic> {
        self.table.get(topic).or_else(|| self.light_of(topic))
    }

    fn light_of(&self, topic: &str) -> Option<&Topic> {
        self.light.as_ref().filter(|_| topic.starts_with(names::LIGHT_PREFIX))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Text, &Topic)> {
        self.table.iter()
    }

    pub(super) fn version(&self) -> &Version {
        &self.version
    }

    /// Is there a change to save, and no save under way? Asking starts it: the caller saves now.
    pub(super) fn start_save(&mut self) -> bool {
        let due = self.version.start_save();
        if due {
            self.saving = Some(self.snapshot());
        }
        due
    }

    /// The save ended.
    pub(super) fn save_ended(&mut self, durable: bool) {
        self.version.save_ended(durable);
        let saved = self.saving.take().expect("only a started save ends");
        if durable {
            self.durable = saved;
        }
    }

    /// The topic that a send goes to, created from its template if need be (2.2). What is in the
    /// table has a name that was looked at.
    pub(super) fn for_send(&mut self, wall: Wall, send: &Send) -> Result<Target, Refusal> {
        let name = &send.to.topic;
        if let Some((name, topic)) = self.table.get_key_value(name) {
            return Ok(Target::of(name.clone(), topic));
        }
        names::check_topic(name)?;
        if let Some(topic) = self.light_of(name) {
            return Ok(Target::of(name.detached(), topic));
        }
        let topic = self.templated(send)?;
        self.add(wall, name, topic)?;
        let (name, topic) = self.table.get_key_value(name).expect("added above");
        Ok(Target::of(name.clone(), topic))
    }

    /// The queue to which a message goes that has waited for its time, and since which change of
    /// the table its topic is what it is. A topic that is not in the table any more comes back, and
    /// a queue that is none any more is replaced: the message was acknowledged.
    pub(super) fn for_delivery(&mut self, wall: Wall, to: &QueueRef) -> (QueueRef, i64) {
        if self.get(&to.topic).is_none() {
            let needed = u32::try_from(to.queue).map_or(1, |queue| queue.saturating_add(1));
            let topic = Topic::new(needed.min(self.max_queues), READ | WRITE);
            tracing::warn!(topic = %to.topic, "a delayed message's topic is made anew");
            self.put(wall, &to.topic, topic);
        }
        let topic = self.get(&to.topic).expect("made above");
        let queues = topic.read_queues.max(1);
        let queue = u32::try_from(to.queue).map_or(0, |queue| queue % queues);
        let queue = i32::try_from(queue).expect("it is less than before");
        let name = self.name(&to.topic).unwrap_or(&to.topic).clone();
        (QueueRef { topic: name, queue }, topic.since)
    }

    fn templated(&self, send: &Send) -> Result<Topic, Refusal> {
        let name = &send.to.topic;
        let template = self.table.get(&send.default_topic).filter(|t| t.perm & INHERIT != 0);
        let Some(template) = template else {
            let remark = format!(
                "topic[{name}] not exist, and the template {} does not allow to create it: \
                 create the topic first, or set autoCreateTopicEnable=true",
                send.default_topic
            );
            return Err((Code::TopicNotExist, remark));
        };
        let wanted = u32::try_from(send.default_queues).unwrap_or(0);
        let queues = wanted.min(template.write_queues).max(1);
        let mut topic = Topic::new(queues, template.perm & !INHERIT);
        topic.sys_flag = i32::from(send.unit_mode);
        topic.filter = template.filter;
        Ok(topic)
    }

    /// The topic of this name that is a group's own, made with so many queues if it is not there.
    pub(super) fn of_group(
        &mut self,
        wall: Wall,
        name: &str,
        queues: i32,
        sys_flag: i32,
    ) -> Result<Target, Refusal> {
        if !self.table.contains_key(name) {
            names::check_topic(name)?;
            let queues = u32::try_from(queues).unwrap_or(0).clamp(1, self.max_queues);
            let topic = Topic { sys_flag, ..Topic::new(queues, READ | WRITE) };
            self.add(wall, name, topic)?;
        }
        let (name, topic) = self.table.get_key_value(name).expect("added above");
        Ok(Target::of(name.clone(), topic))
    }

    /// May this topic be written? Of sends that is not asked, as producers go by routes.
    pub(super) fn check_writable(&self, topic: &str) -> Result<(), Refusal> {
        if self.get(topic).is_some_and(|topic| topic.perm & WRITE != 0) {
            return Ok(());
        }
        let remark = format!(
            "the topic[{topic}] sending message is forbidden: its permission has no write bit"
        );
        Err((Code::NoPermission, remark))
    }

    fn add(&mut self, wall: Wall, name: &str, topic: Topic) -> Result<(), Refusal> {
        if self.table.len() >= self.max {
            let remark = format!(
                "this broker has {} topics, its limit: {name} was not created; delete topics, or \
                 raise maxTopics",
                self.table.len()
            );
            return Err((Code::SystemError, remark));
        }
        self.put(wall, name, topic);
        Ok(())
    }

    /// Queues with messages exist: so must their topics. Makes a difference where a store was
    /// brought along without its `topics.json`. Light queues have no topic of their own.
    pub(super) fn adopt<'a>(&mut self, wall: Wall, queues: impl Iterator<Item = (&'a str, i32)>) {
        let mut orphans: BTreeMap<&str, u32> = BTreeMap::new();
        for (name, queue) in queues {
            if !self.table.contains_key(name) && !name.starts_with(names::LIGHT_PREFIX) {
                let needed = u32::try_from(queue).map_or(1, |queue| queue + 1);
                let known = orphans.entry(name).or_default();
                *known = needed.max(*known);
            }
        }
        for (name, queues) in orphans {
            self.put(wall, name, Topic::new(queues, READ | WRITE));
        }
    }

    /// Does the topic keep inner batches whole?
    pub(super) fn is_batch(&self, topic: &str) -> bool {
        self.table.get(topic).is_some_and(Topic::is_batch)
    }

    /// Is it a topic of the table?
    pub(super) fn has(&self, topic: &str) -> bool {
        self.table.contains_key(topic)
    }

    /// Is it known of which kind the queues of a topic are, and will be whatever crashes? Those of
    /// one that is in no table, which `is_absent` says, are ordinary.
    pub(super) fn settles(&self, topic: &str, is_absent: bool) -> bool {
        let is_known = self.get(topic).is_some() || is_absent;
        is_known && self.is_batch(topic) == self.durable.batches.contains(topic)
    }

    /// The table's own text of a topic's name.
    pub(super) fn name(&self, topic: &str) -> Option<&Text> {
        self.table.get_key_value(topic).map(|(name, _)| name)
    }

    /// UPDATE_AND_CREATE_TOPIC. Answers the change that made the topic what it is now.
    pub(super) fn create(&mut self, wall: Wall, wanted: &CreateTopic) -> Result<i64, Refusal> {
        let name = &wanted.topic;
        names::check_topic(name)?;
        if names::is_system(name) {
            let remark = format!("the topic {name} is the broker's own and cannot be changed");
            return Err((Code::InvalidParameter, remark));
        }
        if self.light_of(name).is_some() {
            // As Apache answers: there it is, and it is like all light queues.
            return Ok(0);
        }
        let queues = |what: &str, number: i32| {
            u32::try_from(number).ok().filter(|n| (1..=self.max_queues).contains(n)).ok_or_else(
                || {
                    let remark = format!("{what}={number}: 1 to {} are allowed", self.max_queues);
                    (Code::InvalidParameter, remark)
                },
            )
        };
        let read_queues = queues("readQueueNums", wanted.read_queues)?;
        let write_queues = queues("writeQueueNums", wanted.write_queues)?;
        if !(0..=7).contains(&wanted.perm) {
            let remark = format!("perm={}: 0 to 7 are allowed (4 read, 2 write)", wanted.perm);
            return Err((Code::InvalidParameter, remark));
        }
        let held = self.table.get(name);
        let attributes = changed_attributes(
            held.map(|topic| topic.attributes.clone()).unwrap_or_default(),
            wanted.attributes.as_deref().unwrap_or_default(),
        )?;
        let known = held.is_some();
        let kind = |attributes: &BTreeMap<Text, Text>| attributes.get(QUEUE_TYPE).cloned();
        if held.is_some_and(|held| kind(&held.attributes) != kind(&attributes)) {
            let remark = format!("{QUEUE_TYPE} of {name} is fixed since the topic was created");
            return Err((Code::InvalidParameter, remark));
        }
        let topic = Topic {
            read_queues,
            write_queues,
            perm: wanted.perm,
            sys_flag: wanted.sys_flag,
            order: wanted.order,
            filter: held.map(|topic| topic.filter).unwrap_or_default(),
            attributes,
            since: 0,
        };
        if known {
            self.put(wall, name, topic);
        } else {
            self.add(wall, name, topic)?;
        }
        Ok(self.table[name].since)
    }

    fn snapshot(&self) -> Registered {
        let topics = self.table.iter().map(|(name, topic)| RegisteredTopic {
            topic: name.clone(),
            read_queues: topic.read_queues,
            write_queues: topic.write_queues,
            perm: topic.perm,
            sys_flag: topic.sys_flag,
            order: topic.order,
        });
        let batches = self.table.iter().filter(|(_, topic)| topic.is_batch());
        Registered {
            version: self.version.now(),
            topics: topics.collect(),
            batches: batches.map(|(name, _)| name.clone()).collect(),
        }
    }

    /// What name servers are told: what is durable, permissions the broker's at most.
    pub(super) fn registered(&self, permission: i32) -> Vec<RegisteredTopic> {
        let mask = permission | !(READ | WRITE);
        let masked =
            |topic: &RegisteredTopic| RegisteredTopic { perm: topic.perm & mask, ..topic.clone() };
        self.durable.topics.iter().map(masked).collect()
    }

    /// The version of what name servers are told.
    pub(super) fn registered_version(&self) -> DataVersion {
        self.durable.version
    }

    pub(super) fn digest(&self, into: &mut Digest) {
        into.number(self.version.now().counter.cast_unsigned());
        into.number(self.version.durable_upto().cast_unsigned());
        for (name, topic) in &self.table {
            into.bytes(name.as_bytes());
            into.number(u64::from(topic.read_queues) << 32 | u64::from(topic.write_queues));
            into.number(u64::from(topic.perm.cast_unsigned()));
        }
    }
}

/// Is the queue one of the topic's?
pub(super) fn check_queue(of: &QueueRef, queues: u32) -> Result<(), Refusal> {
    if u32::try_from(of.queue).is_ok_and(|queue| queue < queues) {
        return Ok(());
    }
    let remark =
        format!("request queueId[{}] is illegal: {} has {queues} queues", of.queue, of.topic);
    Err((Code::InvalidParameter, remark))
}

/// Applies `+key=value,-key` (requests.md 17).
fn changed_attributes(
    mut held: BTreeMap<Text, Text>,
    changes: &str,
) -> Result<BTreeMap<Text, Text>, Refusal> {
    for change in changes.split(',').map(str::trim).filter(|change| !change.is_empty()) {
        match (change.strip_prefix('+').and_then(|c| c.split_once('=')), change.strip_prefix('-')) {
            (Some((key, value)), _) => _ = held.insert(key.into(), value.into()),
            (None, Some(key)) => _ = held.remove(key),
            (None, None) => {
                let remark = format!("attributes: {change:?} is neither +key=value nor -key");
                return Err((Code::InvalidParameter, remark));
            }
        }
    }
    Ok(held)
}
