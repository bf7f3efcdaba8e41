//! Sends: checked, appended, and answered as soon as their promise is kept.
//!
//! ```text
//! request ─► checks ─► topic ready?   ─► room in the log? ─► appended ─► promise kept? ─► answer
//!                          │ no              │ no                            │ not yet
//!                          └── parked ◄──────┘                            waiters
//! ```

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use hotfire_storage::position::{Physical, Span};
use hotfire_storage::record::properties::{self, DELAY, INNER_NUM, UNIQ_KEY};
use hotfire_storage::record::{Draft, SysFlag};
use hotfire_storage::seam::Disk;
use hotfire_storage::text::Text;
use hotfire_storage::time::{Mono, Now, Wall};
use hotfire_storage::{AppendError, Appended};
use rand::RngExt;

use super::delays::DelayLevel;
use super::names::{self, Refusal};
use super::waiters::{Awaited, Reply};
use super::{Broker, Effect, deliver};
use crate::domain::{BrokerResponse, Caller, Code, Positions, QueueRef, Send, SendStatus, Sent};

pub(super) const WAIT: &str = "WAIT";
/// Properties that ask for what this broker does not do yet: to ignore them would deliver a
/// message too early, or a half message at all.
const NOT_YET: [&str; 4] = {
    let [a, b, c] = deliver::TIMERS;
    ["TRAN_MSG", a, b, c]
};
/// What a send is looked through for before it is taken.
const LOOKED_FOR: [&str; 4 + NOT_YET.len()] = {
    let [a, b, c, d] = NOT_YET;
    [UNIQ_KEY, WAIT, INNER_NUM, DELAY, a, b, c, d]
};
/// How long a send waits for room before the client is told to try elsewhere.
const PARK_MAX: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct ParkedSend {
    caller: Caller,
    send: Box<Send>,
    said: Said,
    deadline: Mono,
}

/// What a send's properties say to the broker itself.
#[derive(Debug)]
struct Said {
    unique_key: Option<Text>,
    /// Does its sender want more than that it is written?
    waits: bool,
    /// How long it is to wait before it is delivered.
    delay: Option<DelayLevel>,
    /// A consumer sent the message back, which was born there. It has all properties that it needs.
    born_host: Option<SocketAddr>,
}

/// A send that may be appended, as far as is known without the log.
#[derive(Debug)]
pub(super) struct Admitted {
    send: Box<Send>,
    said: Said,
    /// Since which change of the table its topic is what it is.
    since: i64,
}

impl Admitted {
    /// A message that comes back from a consumer, to be stored as if it were sent anew.
    pub(super) fn back(
        send: Send,
        born_host: SocketAddr,
        delay: Option<DelayLevel>,
        since: i64,
    ) -> Self {
        let found = properties::find(send.properties.as_bytes(), UNIQ_KEY);
        let unique_key = found.and_then(|key| str::from_utf8(key).ok()).map(Text::from);
        let said = Said { unique_key, waits: true, delay, born_host: Some(born_host) };
        Self { send: Box::new(send), said, since }
    }
}

/// Sends that cannot be appended yet: their topic is not ready, or the next file is not there.
/// Within a topic the order of arrival is kept.
#[derive(Debug, Default)]
pub(super) struct Parked {
    sends: VecDeque<ParkedSend>,
    /// Topics that must wait: whoever comes later must not overtake.
    topics: BTreeSet<Text>,
    bytes: usize,
}

impl Parked {
    pub(super) fn must_wait(&self, topic: &str) -> bool {
        self.topics.contains(topic)
    }

    fn push(&mut self, parked: ParkedSend) {
        self.bytes += cost(&parked.send);
        self.topics.insert(parked.send.to.topic.clone());
        self.sends.push_back(parked);
    }

    /// Takes everything out, to be tried again in order.
    fn take(&mut self) -> VecDeque<ParkedSend> {
        self.topics.clear();
        self.bytes = 0;
        std::mem::take(&mut self.sends)
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        self.sends.front().map(|first| first.deadline)
    }

    pub(super) fn len(&self) -> usize {
        self.sends.len()
    }
}

/// What came of trying to append.
enum Tried {
    NoRoom,
    Refused(Refusal),
    Stored(Appended, Sent, Vec<Text>),
}

impl<D: Disk> Broker<D> {
    /// A send arrived.
    pub(super) fn send(&mut self, now: Now, caller: Caller, send: Box<Send>) {
        match self.admit(now, send) {
            Ok(admitted) => self.store_admitted(now, caller, admitted),
            Err((code, remark)) => self.refuse(caller, code, remark),
        }
    }

    /// Appends it, now or once it can be.
    pub(super) fn store_admitted(&mut self, now: Now, caller: Caller, admitted: Admitted) {
        let Admitted { send, said, since } = admitted;
        let must_wait = self.must_wait(&send.to.topic, since);
        let deadline = now.mono.after(PARK_MAX);
        let send = ParkedSend { caller, send, said, deadline };
        if must_wait { self.park(send) } else { self.try_send(now, send) }
    }

    /// Does this broker take messages?
    pub(super) fn check_open(&self) -> Result<(), Refusal> {
        if let Some(why) = &self.closed_for_sends {
            return Err((Code::ServiceNotAvailable, (*why).to_owned()));
        }
        if self.ha.is_slave() {
            let why = "this broker is a slave and takes no messages; send to its master";
            return Err((Code::ServiceNotAvailable, why.to_owned()));
        }
        self.refuse_if_full()?;
        self.refuse_if_overloaded()
    }

    /// May messages be stored here (`brokerPermission`)?
    pub(super) fn check_permission(&self) -> Result<(), Refusal> {
        if self.config.permission & 2 != 0 {
            return Ok(());
        }
        let remark = format!(
            "the broker[{}] sending message is forbidden: brokerPermission has no write bit",
            self.config.identity.broker_name
        );
        Err((Code::NoPermission, remark))
    }

    /// Everything that can be said without the log (2.3). Chooses the queue, and takes the topic's
    /// name from the table: a header is not kept for as long as a sync takes.
    fn admit(&mut self, now: Now, mut send: Box<Send>) -> Result<Admitted, Refusal> {
        self.check_open()?;
        names::check_not_barred(&send.to.topic)?;
        check_size(&send, self.config.max_message_size)?;
        if send.to.topic.starts_with(names::RETRY_PREFIX) {
            self.send_to_retry(now, &mut send)?;
        }
        let topic = self.topics.for_send(now.wall, &send)?;
        // Only ordered topics are barred: others lose nothing by a broker that drains.
        if topic.order {
            self.check_permission()?;
        }
        if send.to.queue < 0 {
            let chosen = self.rng.random_range(0..topic.write_queues.max(1));
            send.to.queue = i32::try_from(chosen).expect("queue numbers are bounded by config");
        }
        super::topics::check_queue(&send.to, topic.read_queues.max(topic.write_queues))?;
        send.to.topic = topic.name;
        let found = properties::find_all(send.properties.as_bytes(), LOOKED_FOR);
        let [unique_key, wait, inner, delay, not_yet @ ..] = found;
        if SysFlag::from_bits(send.sys_flag).has(SysFlag::INNER_BATCH) || inner.is_some() {
            let remark = "whether messages are stored as one, and how many, is for the broker to \
                          say: send a batch to a topic with queue.type=BatchCQ";
            return Err((Code::MessageIllegal, remark.to_owned()));
        }
        let delay = delay.map_or(Ok(None), |level| self.delay_asked(&send, level))?;
        for (property, asked) in NOT_YET.into_iter().zip(not_yet) {
            // A delay level counts for more than a time.
            let counts = delay.is_none() || !deliver::TIMERS.contains(&property);
            if counts && asked.is_some_and(|value| !matches!(value, b"0" | b"false")) {
                let remark = format!("{property} is not served by this broker yet");
                return Err((Code::MessageIllegal, remark));
            }
        }
        let unique_key = unique_key.and_then(|key| str::from_utf8(key).ok());
        let unique_key = unique_key.map(|key| send.properties.share(key));
        let said = Said { unique_key, waits: wait != Some(b"false"), delay, born_host: None };
        Ok(Admitted { send, said, since: topic.since })
    }

    /// The delay level that a send asks for.
    fn delay_asked(&self, send: &Send, level: &[u8]) -> Result<Option<DelayLevel>, Refusal> {
        let levels = self.store.settings().delay_levels.len();
        let illegal = |remark| Err((Code::MessageIllegal, remark));
        let asked = str::from_utf8(level).map_err(drop);
        match asked.and_then(|level| DelayLevel::asked(level, levels)) {
            Ok(Some(_)) if send.batch => {
                illegal("messages of a batch cannot be delayed: send them one by one".to_owned())
            }
            Ok(level) => Ok(level),
            Err(()) => illegal(format!(
                "DELAY={:?} is no delay level: 1 to {levels} are, and 0 for none",
                String::from_utf8_lossy(level)
            )),
        }
    }

    /// Unconfirmed records count whether somebody waits for them or not: one-way sends too must
    /// not outrun a disk that hangs.
    pub(super) fn refuse_if_overloaded(&self) -> Result<(), Refusal> {
        let most = self.config.limits.waiting_sends;
        let with = |unflushed: usize| unflushed.max(self.waiters.len()) + self.parked.len();
        if with(self.arrivals.most_behind()) < most {
            return Ok(());
        }
        let waiting = with(self.arrivals.behind(self.flush.confirmed().end()));
        if waiting < most {
            return Ok(());
        }
        let remark = format!(
            "[OVERLOAD]system busy, start flow control for a while: {waiting} sends wait for the \
             disk"
        );
        Err((Code::SystemBusy, remark))
    }

    /// Does somebody wait to whom such a send must not be preferred, or is the change of the table
    /// that made its topic not relied on yet?
    pub(super) fn must_wait(&self, topic: &str, since: i64) -> bool {
        self.parked.must_wait(topic) || since > self.ready_upto()
    }

    fn park(&mut self, parked: ParkedSend) {
        if self.parked.bytes + cost(&parked.send) > self.config.limits.parked_bytes {
            let remark = "[OVERLOAD]system busy, start flow control for a while: the disk is \
                          behind";
            return self.refuse(parked.caller, Code::SystemBusy, remark.to_owned());
        }
        self.parked.push(parked);
    }

    /// Something changed that parked sends may have waited for: try them again, in order.
    pub(super) fn retry_parked(&mut self, now: Now) {
        for parked in self.parked.take() {
            let ParkedSend { caller, send, said, deadline } = parked;
            let topic = &send.to.topic;
            let since = self.topics.get(topic).map(|found| found.since);
            if let Some(why) = &self.closed_for_sends {
                let why = (*why).to_owned();
                self.refuse(caller, Code::ServiceNotAvailable, why);
            } else if since.is_none() {
                let remark = format!("topic[{topic}] was deleted meanwhile");
                self.refuse(caller, Code::TopicNotExist, remark);
            } else if deadline <= now.mono {
                let remark = "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while: \
                              the disk did not make room in time";
                self.refuse(caller, Code::SystemBusy, remark.to_owned());
            } else if since.is_some_and(|since| self.must_wait(topic, since)) {
                self.parked.push(ParkedSend { caller, send, said, deadline });
            } else {
                self.try_send(now, ParkedSend { caller, send, said, deadline });
            }
        }
    }

    /// Refuses every parked send: what they waited for will not come.
    pub(super) fn refuse_parked(&mut self, code: Code, remark: &str) {
        for parked in self.parked.take() {
            self.refuse(parked.caller, code, remark.to_owned());
        }
    }

    fn try_send(&mut self, now: Now, parked: ParkedSend) {
        let ParkedSend { caller, send, said, deadline } = parked;
        if let Some(why) = self.too_few_replicas(now.mono).filter(|_| said.waits) {
            return self.refuse(caller, Code::SystemError, why);
        }
        match self.append(now.wall, &caller, &send, &said) {
            Tried::NoRoom => self.park(ParkedSend { caller, send, said, deadline }),
            Tried::Refused((code, remark)) => self.refuse(caller, code, remark),
            Tried::Stored(appended, sent, lights) => {
                let to = said.delay.map_or(send.to, DelayLevel::queue);
                self.arrived(to, &appended, lights);
                let is_back = said.born_host.is_some();
                let reply = if is_back { Reply::Back(sent.status) } else { Reply::Sent(sent) };
                self.stored(now, caller, said.waits, &appended, reply);
            }
        }
    }

    /// Pulls on the message's queue, and on its light queues, wake once it may be seen.
    pub(super) fn arrived(&mut self, to: QueueRef, appended: &Appended, lights: Vec<Text>) {
        let end = appended.span.end();
        self.arrivals.push(end, to);
        for topic in lights {
            self.arrivals.push(end, QueueRef { topic, queue: 0 });
        }
    }

    /// The records are in the log: answer, or wait.
    fn stored(&mut self, now: Now, caller: Caller, waits: bool, appended: &Appended, reply: Reply) {
        self.flush.wrote(now.mono, self.store.written());
        let end = appended.span.end();
        if !waits || caller.oneway {
            return self.answer(caller, reply.into_response());
        }
        let flush = self.flush.patience().map(|patience| now.mono.after(patience));
        let (replicas, status) = self.replicas_for(now.mono);
        let reply = reply.with(status);
        match (Awaited { flush, replicas }) {
            Awaited { flush: None, replicas: None } => {
                self.answer(caller, reply.into_response());
            }
            awaited => self.waiters.push(end, awaited, caller, reply),
        }
    }

    fn append(&mut self, wall: Wall, caller: &Caller, send: &Send, said: &Said) -> Tried {
        let waiting = said
            .delay
            .map(|level| (level.queue(), deliver::waiting(level, &send.to, &send.properties)));
        let (to, raw) = match &waiting {
            Some((queue, properties)) => (queue, properties.as_bytes()),
            None => (&send.to, send.properties.as_bytes()),
        };
        let made;
        let (key, property) = if let Some(key) = &said.unique_key {
            (key.clone(), &b""[..])
        } else {
            made = self.unique_keys.next(wall);
            (Text::from(made.key()), made.property())
        };
        let separator: &[u8] = if raw.is_empty() || raw.ends_with(b"\x02") { b"" } else { b"\x02" };
        let is_back = said.born_host.is_some();
        let stamp = if is_back { Text::EMPTY } else { self.stamp.clone() };
        let pieces = [raw, separator, stamp.as_bytes(), property];
        let draft = Draft {
            topic: &to.topic,
            queue_id: to.queue,
            flag: send.flag,
            sys_flag: SysFlag::from_bits(send.sys_flag),
            born: send.born,
            born_host: said.born_host.unwrap_or(caller.peer),
            store_host: self.config.store_host,
            reconsume_times: send.reconsume_times,
            prepared: Physical::ZERO,
            body: &send.body,
            properties: &pieces,
        };
        // Where it belongs its topic's name may be longer, and then there must be room for that.
        let belongs = Draft { topic: &send.to.topic, ..draft };
        if let Some(why) = waiting.as_ref().and_then(|_| self.store.check_draft(&belongs).err()) {
            return Tried::Refused((Code::MessageIllegal, why.to_string()));
        }
        let mut spans = Vec::new();
        let inner_batch =
            send.batch && said.unique_key.is_some() && self.topics.is_batch(&send.to.topic);
        let stored = if inner_batch {
            self.append_inner_batch(wall, &draft)
        } else if send.batch {
            self.append_batch(wall, &draft, &mut spans)
        } else {
            self.store.append(wall, &draft).map_err(refusal_of)
        };
        match stored {
            Ok(appended) => {
                let at = match &*spans {
                    [] => Positions::One(appended.span.at),
                    many => Positions::Many(many.iter().map(|span: &Span| span.at).collect()),
                };
                let sent = Sent {
                    status: SendStatus::Ok,
                    queue: send.to.queue,
                    queue_offset: appended.queue_offset,
                    at,
                    transaction_id: key,
                    inner_batch,
                };
                let lights = if waiting.is_some() { Vec::new() } else { self.light_queues(send) };
                Tried::Stored(appended, sent, lights)
            }
            Err(None) => Tried::NoRoom,
            Err(Some(refusal)) => Tried::Refused(refusal),
        }
    }

    /// Answers every waiter whose promise came true, and those who waited long enough.
    pub(super) fn answer_waiters(&mut self, now: Now) {
        let (flushed, replicated) = (self.flush.flushed(), self.replicated());
        while let Some((caller, reply)) = self.waiters.next(flushed, replicated, now.mono) {
            self.answer(caller, reply.into_response());
        }
    }

    /// A sync failed: what the medium holds is unknown. Nobody is told otherwise.
    pub(super) fn flush_failed(&mut self) {
        const WHY: &str = "the disk failed to make messages durable; this broker takes no more \
                           until it is restarted on a sound disk";
        self.closed_for_sends = Some(WHY);
        self.abandon_waiters();
        self.refuse_parked(Code::ServiceNotAvailable, WHY);
    }

    /// Tells every waiter that its promise cannot be kept.
    pub(super) fn abandon_waiters(&mut self) {
        while let Some(caller) = self.waiters.abandon() {
            let remark = "the disk failed: whether the message survives is not known; send again";
            self.refuse(caller, Code::SystemError, remark.to_owned());
        }
    }

    /// Queues the response, unless the request was one-way.
    pub(super) fn answer(&mut self, caller: Caller, response: BrokerResponse) {
        if !caller.oneway {
            self.outbox.push_back(Effect::Answer { caller, response });
        }
    }

    /// Queues a refusal.
    pub(super) fn refuse(&mut self, caller: Caller, code: Code, remark: String) {
        self.answer(caller, BrokerResponse::Refused { code, remark });
    }
}

/// What a parked send keeps in memory, in bytes.
fn cost(send: &Send) -> usize {
    size_of::<Send>() + send.body.len() + send.properties.len()
}

fn check_size(send: &Send, max: u32) -> Result<(), Refusal> {
    if send.body.len() as u64 > u64::from(max) {
        let remark = format!(
            "the body has {} bytes; at most {max} are allowed (maxMessageSize)",
            send.body.len()
        );
        return Err((Code::MessageIllegal, remark));
    }
    Ok(())
}

/// `None`: there is no room yet, the send can wait for it.
pub(super) fn refusal_of(error: AppendError) -> Option<Refusal> {
    match error {
        AppendError::NotReady => None,
        AppendError::Full(fault) => Some((
            Code::ServiceNotAvailable,
            format!("the store cannot grow: {fault}; free space, or send to another broker"),
        )),
        AppendError::LightQueues { .. } => Some((
            Code::SystemError,
            format!("[LMQ_CONSUME_QUEUE_NUM_EXCEEDED]{error}; raise it, or use other names"),
        )),
        other => Some((Code::MessageIllegal, other.to_string())),
    }
}
