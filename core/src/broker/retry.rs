//! What a group failed to consume: it comes again from the group's own topic, after a while that
//! grows; what failed too often is kept aside, among its dead letters (broker-behaviour.md 3).
//!
//! A message that is sent back is stored as a send, and its consumer is answered as a producer is,
//! once the promise of the broker's policy is kept: it commits behind the message then. In the
//! original nobody waits there, and a power failure loses what all others were promised.

use std::net::SocketAddr;

use bytes::Bytes;
use hotfire_storage::record::properties::{
    self, DELAY, MULTI_DISPATCH, MULTI_QUEUE_OFFSET, NAME_END, UNIQ_KEY, VALUE_END,
};
use hotfire_storage::record::{Record, SysFlag, offset_message_id};
use hotfire_storage::seam::Disk;
use hotfire_storage::text::Text;
use hotfire_storage::time::{Now, Wall};
use rand::RngExt;

use super::Broker;
use super::batch::{self, BatchMessage, INNER_MAX};
use super::delays::DelayLevel;
use super::deliver::without;
use super::names::{self, DEAD_LETTER_PREFIX, RETRY_PREFIX, Refusal};
use super::send::{Admitted, WAIT};
use super::topics::Target;
use crate::domain::{BrokerResponse, Caller, Code, QueueRef, Send, SendBack};

/// From which topic a message came before it was retried.
const RETRY_TOPIC: &str = "RETRY_TOPIC";
/// The offset message id that it had there.
const ORIGIN_ID: &str = "ORIGIN_MESSAGE_ID";
/// The delay level of the first retry; of each further one it is one higher.
const FIRST_LEVEL: i32 = 3;
/// Bit of a topic's flags: a unit's consumers read it.
const UNIT_SUBSCRIBED: i32 = 2;

/// A message as it lies in the log.
struct Failed {
    flag: i32,
    sys_flag: SysFlag,
    born: Wall,
    born_host: SocketAddr,
    /// How often it had come again.
    times: i32,
    properties: String,
    body: Bytes,
}

impl<D: Disk> Broker<D> {
    /// A consumer sends a message back.
    pub(super) fn send_back(&mut self, now: Now, caller: Caller, back: &SendBack) {
        match self.admit_back(now.wall, back) {
            Ok(Some(admitted)) => self.store_admitted(now, caller, admitted),
            Ok(None) => self.answer(caller, BrokerResponse::Done),
            Err((code, remark)) => self.refuse(caller, code, remark),
        }
    }

    /// `None`: the group wants nothing again.
    fn admit_back(&mut self, wall: Wall, back: &SendBack) -> Result<Option<Admitted>, Refusal> {
        self.check_open()?;
        self.check_permission()?;
        self.groups.ensure(wall, &back.group)?;
        let retries = self.groups.retries(&back.group);
        if retries.queues <= 0 {
            return Ok(None);
        }
        let Failed { flag, sys_flag, born, born_host, times, properties, body } =
            self.failed(back)?;
        let is_spent = times >= back.max_reconsume_times.unwrap_or(retries.most);
        let (to, delay) = if is_spent || back.delay_level < 0 {
            (self.dead_letters(wall, &back.group)?, None)
        } else {
            let first = FIRST_LEVEL.saturating_add(times).max(1);
            let level = if back.delay_level == 0 { first } else { back.delay_level };
            let delay = DelayLevel::of(level, self.store.settings().delay_levels.len());
            (self.retry_topic(wall, &back.group, back.unit_mode)?, delay)
        };
        self.topics.check_writable(&to.name)?;
        let queues = to.write_queues.min(retries.queues.unsigned_abs()).max(1);
        let queue = self.rng.random_range(0..queues).cast_signed();
        let level = delay.map_or(0, DelayLevel::get);
        let send = Send {
            sys_flag: sys_flag.bits(),
            born,
            flag,
            properties: with(properties, DELAY, &level.to_string()).into(),
            reconsume_times: times.saturating_add(1),
            ..Send::new(back.group.detached(), QueueRef { topic: to.name, queue }, body)
        };
        Ok(Some(Admitted::back(send, born_host, delay, to.since)))
    }

    /// The message that is sent back, with what its properties have to say from now on.
    fn failed(&self, back: &SendBack) -> Result<Failed, Refusal> {
        let bytes = self.store.lease(self.find(back.at)?);
        let unreadable = || (Code::SystemError, format!("the message at {} is damaged", back.at));
        let record = Record::parse(&bytes).map_err(|_| unreadable())?;
        let (sys_flag, message) = message_of(&record, back).ok_or_else(|| {
            let remark = format!(
                "can not find message by the offset, {}: {} is not what consumers find there",
                back.at,
                back.origin_id.as_deref().unwrap_or("a message without originMsgId")
            );
            (Code::SystemError, remark)
        })?;
        Ok(Failed {
            flag: message.flag,
            sys_flag,
            born: record.born(),
            born_host: record.born_host(),
            times: record.reconsume_times(),
            properties: again(&record, message.properties),
            body: bytes.slice_ref(message.body),
        })
    }

    /// A send to a group's retry topic, by a consumer that could not send the message back. What
    /// failed too often goes to the dead letters; so does what comes while consumers of the group
    /// hold queues, which they do to consume in order: nothing is to overtake there.
    pub(super) fn send_to_retry(&mut self, now: Now, send: &mut Send) -> Result<(), Refusal> {
        let Some(group) = send.to.topic.strip_prefix(RETRY_PREFIX) else { return Ok(()) };
        let group = Text::from(group);
        self.groups.ensure(now.wall, &group)?;
        let most = send.max_reconsume_times.unwrap_or(self.groups.retries(&group).most);
        if send.reconsume_times <= most && !self.locks.has_any(now.mono, &group) {
            return self.retry_topic(now.wall, &group, send.unit_mode).map(drop);
        }
        let to = self.dead_letters(now.wall, &group)?;
        send.to = QueueRef { topic: to.name, queue: 0 };
        let kept = text(without(send.properties.as_bytes(), [DELAY]));
        send.properties = with(kept, DELAY, "-1").into();
        Ok(())
    }

    /// Where a group's messages come again.
    pub(super) fn retry_topic(
        &mut self,
        wall: Wall,
        group: &str,
        is_unit: bool,
    ) -> Result<Target, Refusal> {
        let queues = self.groups.retries(group).queues;
        let sys_flag = if is_unit { UNIT_SUBSCRIBED } else { 0 };
        self.topics.of_group(wall, &format!("{RETRY_PREFIX}{group}"), queues, sys_flag)
    }

    /// Where they go at last.
    fn dead_letters(&mut self, wall: Wall, group: &str) -> Result<Target, Refusal> {
        self.topics.of_group(wall, &format!("{DEAD_LETTER_PREFIX}{group}"), 1, 0)
    }
}

/// The message that is meant, if it is in this record, and consumers can see it: another one may
/// lie there since the power failed, and of an inner batch it is one.
fn message_of<'a>(record: &Record<'a>, back: &SendBack) -> Option<(SysFlag, BatchMessage<'a>)> {
    names::check_not_barred(record.topic()).ok()?;
    let sys_flag = record.sys_flag();
    let id = back.origin_id.as_deref().filter(|id| !id.is_empty());
    if sys_flag.has(SysFlag::INNER_BATCH) {
        let messages = batch::split(record.body(), INNER_MAX).unwrap_or_default();
        let is_it = |raw| properties::find(raw, UNIQ_KEY) == id.map(str::as_bytes);
        let found = messages.into_iter().find(|message| id.is_some() && is_it(message.properties));
        return Some((sys_flag.without(SysFlag::INNER_BATCH | SysFlag::NEED_UNWRAP), found?));
    }
    let [key, origin] = properties::find_all(record.properties(), [UNIQ_KEY, ORIGIN_ID]);
    let place = offset_message_id(record.store_host(), record.physical()).to_string();
    let known = [key, origin, Some(place.as_bytes())];
    let is_it = id.is_none_or(|id| key.is_none() || known.contains(&Some(id.as_bytes())));
    let (flag, body, properties) = (record.flag(), record.body(), record.properties());
    is_it.then_some((sys_flag, BatchMessage { flag, body, properties }))
}

/// The properties of a message that comes again: whence it came the first time, and without what
/// was done already.
fn again(record: &Record<'_>, raw: &[u8]) -> String {
    let kept = without(raw, [DELAY, WAIT, MULTI_DISPATCH, MULTI_QUEUE_OFFSET]);
    let [topic, id] = properties::find_all(&kept, [RETRY_TOPIC, ORIGIN_ID]);
    let (has_topic, has_id) = (topic.is_some(), id.is_some_and(|id| !id.is_empty()));
    let mut all = with(text(kept), WAIT, "false");
    if !has_topic {
        all = with(all, RETRY_TOPIC, record.topic());
    }
    if !has_id {
        let id = offset_message_id(record.store_host(), record.physical());
        all = with(all, ORIGIN_ID, &id.to_string());
    }
    all
}

/// One property more.
fn with(mut all: String, name: &str, value: &str) -> String {
    all.push_str(name);
    all.push(char::from(NAME_END));
    all.push_str(value);
    all.push(char::from(VALUE_END));
    all
}

/// Clients write text. What is none in an old store is as near as can be.
fn text(raw: Vec<u8>) -> String {
    String::from_utf8(raw)
        .unwrap_or_else(|bytes| String::from_utf8_lossy(bytes.as_bytes()).into_owned())
}
