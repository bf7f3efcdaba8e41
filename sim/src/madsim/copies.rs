//! What may be said of masters and their slaves, by the bytes of their logs as processes and media
//! have them. No broker is asked.
//!
//! A slave's log is read while it grows, and before anything happens to it that could take bytes
//! away: what it once held is known when an answer comes that was given because of it.

mod tail;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hotfire_core::domain::SendStatus;
use hotfire_storage::text::Text;
use hotfire_storage::time::Mono;

use super::nodes::Host;
use crate::oracle::Verdict;
use crate::oracle::image::{Image, Log};
use crate::plan::Wired;
use crate::ring::Violation;
use crate::workload::history::{Fact, History, Message};
use crate::workload::message::{Found, Id, parse};
use tail::Tail;

/// So long a slave may lack what its master has, once nothing has failed for long.
const LAG_MAX: Duration = Duration::from_secs(10);

/// A master's log.
struct Original {
    host: Arc<Host>,
    tail: Tail,
    /// Where it ended, and since when.
    grown: Vec<(u64, Mono)>,
}

/// A record that a slave held.
struct Held {
    bytes: Vec<u8>,
    /// The master's process from which on the master's log does not have it.
    gone: Option<u32>,
}

/// A slave's log.
struct Copy {
    host: Arc<Host>,
    tail: Tail,
    held: BTreeMap<u64, Vec<Held>>,
    /// Below, its medium has what its process sees.
    durable: u64,
    /// When its process began.
    began: Mono,
    /// Where queues of its log ended when one of its processes began, or the log was given up.
    ends: BTreeSet<(Text, i32, u64)>,
}

/// All of them.
pub(super) struct Copies {
    rules: Wired,
    masters: BTreeMap<Text, Original>,
    slaves: Vec<Copy>,
    /// When each message was sent last.
    asked: BTreeMap<Id, Mono>,
    /// Facts that were read.
    read: usize,
    /// When a broker began last.
    restarted: Mono,
    /// All has come to rest, and slaves have had time to ask their masters.
    at_rest: bool,
}

/// An answer to a send.
struct Answer<'a> {
    life: u32,
    at: u64,
    offset: u64,
    id: Id,
    message: &'a Message,
}

impl Answer<'_> {
    /// Is this record the one that it speaks of?
    fn is(&self, bytes: &[u8]) -> bool {
        let Found::Record(record) = parse(bytes) else { return false };
        let lane = &self.message.lane;
        let place = (record.at, record.topic, record.queue);
        let mut messages = record.messages().into_iter().zip(record.offset..);
        place == (self.at, &*lane.topic, lane.queue)
            && messages.any(|((id, body), offset)| {
                (id, body, offset) == (Some(self.id), &*self.message.body, self.offset)
            })
    }
}

impl Copies {
    pub(super) fn new(
        rules: Wired,
        file_len: u32,
        masters: &[Arc<Host>],
        slaves: &[Arc<Host>],
    ) -> Self {
        let tail = |host: &Arc<Host>| Tail::new(host.berth().clone(), u64::from(file_len));
        let original = |host: &Arc<Host>| {
            let original = Original { host: Arc::clone(host), tail: tail(host), grown: Vec::new() };
            (host.group.clone(), original)
        };
        let copy = |host: &Arc<Host>| Copy {
            host: Arc::clone(host),
            tail: tail(host),
            held: BTreeMap::new(),
            durable: 0,
            began: Mono::ZERO,
            ends: BTreeSet::new(),
        };
        Self {
            // Nobody looks at masters that are alone.
            masters: if slaves.is_empty() { &[] } else { masters }.iter().map(original).collect(),
            rules,
            slaves: slaves.iter().map(copy).collect(),
            asked: BTreeMap::new(),
            read: 0,
            restarted: Mono::ZERO,
            at_rest: false,
        }
    }

    /// A broker has begun.
    pub(super) fn disturbed(&mut self, now: Mono) {
        self.restarted = now;
    }

    /// All has come to rest.
    pub(super) fn rest(&mut self) {
        self.at_rest = true;
    }

    /// Has it?
    pub(super) fn are_at_rest(&self) -> bool {
        self.at_rest
    }

    /// When a broker began last.
    pub(super) fn restarted(&self) -> Mono {
        self.restarted
    }

    /// Reads what the history has to say since the last time.
    pub(super) fn follow(&mut self, history: &History) -> Verdict {
        let from = std::mem::replace(&mut self.read, history.len());
        if self.slaves.is_empty() {
            return Ok(());
        }
        for (now, fact) in history.since(from) {
            match fact {
                Fact::Sent { ids, .. } => {
                    self.asked.extend(ids.iter().map(|id| (*id, *now)));
                }
                Fact::Acked { life, status, ids, offset, at } => {
                    let parts = ids.iter().zip(at).zip(*offset..);
                    for ((id, at), offset) in parts {
                        let (life, id, at) = (*life, *id, *at);
                        let message = &history.messages()[&id];
                        let answer = Answer { life, at, offset, id, message };
                        self.answered(*now, *status, &answer)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A status is honest, and so is SEND_OK.
    fn answered(&mut self, now: Mono, status: SendStatus, answer: &Answer<'_>) -> Verdict {
        let asked = self.asked[&answer.id];
        let master = &self.masters[&answer.message.lane.broker];
        let waits = answer.message.promised && self.rules.wanted > 0;
        let dishonest = |what: String| {
            let Answer { life, at, id, .. } = answer;
            let detail = format!("{id} at {at}, by process {life}: {what}");
            Err(Violation::new("a status is honest", detail))
        };
        match status {
            SendStatus::FlushSlaveTimeout | SendStatus::SlaveNotAvailable if !waits => {
                dishonest(format!("{status:?}, and nobody waits for a slave"))
            }
            SendStatus::FlushSlaveTimeout => {
                let waited = now.since(asked);
                // Nobody waits for a slave any longer than until an orderly stop.
                let is_early = waited < Duration::from_micros(self.rules.timeout_us)
                    && !master.host.was_asked_to_stop(answer.life);
                if is_early { dishonest(format!("late after {waited:?}")) } else { Ok(()) }
            }
            SendStatus::Ok if waits => self.acknowledged(asked, answer),
            _ => Ok(()),
        }
    }

    /// SEND_OK: as many slaves as are waited for have the record, or had it.
    fn acknowledged(&mut self, asked: Mono, answer: &Answer<'_>) -> Verdict {
        let group = &answer.message.lane.broker;
        let master = &self.masters[group];
        let is_there = master.host.is_life(answer.life);
        // As it lies there, unless its file has just gone or its process has.
        let original = master.tail.record(answer.at).filter(|bytes| is_there && answer.is(bytes));
        let slaves_sync = self.rules.slaves_sync;
        let mut holders = Vec::new();
        for slave in self.slaves.iter_mut().filter(|slave| slave.host.group == *group) {
            slave.look();
            if slave.had(answer, original.as_deref())
                && (!slaves_sync || slave.keeps(answer.at, asked))
            {
                holders.push(slave.host.name.clone());
            }
        }
        if holders.len() >= self.rules.wanted as usize {
            return Ok(());
        }
        let Answer { id, at, life, .. } = answer;
        let ends = self.ends(group);
        let detail = format!(
            "{id} at {at} was acknowledged by process {life} of {group}, which waits for {} \
             slaves, and {holders:?} have it{}: {ends}",
            self.rules.wanted,
            if slaves_sync { " on their media" } else { "" },
        );
        Err(Violation::new("an acknowledgement is honest", detail))
    }

    /// Looks at all logs.
    pub(super) fn look(&mut self, now: Mono) {
        for master in self.masters.values_mut() {
            master.tail.news();
            let end = master.tail.end();
            if master.grown.last().is_none_or(|(known, _)| *known < end) {
                master.grown.push((end, now));
            }
        }
        self.slaves.iter_mut().for_each(Copy::look);
    }

    /// Something is about to happen to the log of a slave.
    pub(super) fn before(&mut self, host: &Host) {
        if let Some(slave) = self.slaves.iter_mut().find(|slave| slave.host.name == host.name) {
            slave.look();
            slave.tail.rewind();
            slave.durable = 0;
        }
    }

    /// A slave's process has begun.
    pub(super) fn slave_began(&mut self, now: Mono, host: &Host, image: &Image) {
        self.before(host);
        if let Some(slave) = self.slaves.iter_mut().find(|slave| slave.host.name == host.name) {
            slave.began = now;
        }
        self.ended(host, image);
    }

    /// A slave's log is this, with which it starts or which it is to give up. A queue of which
    /// nothing is left still has its number.
    pub(super) fn ended(&mut self, host: &Host, image: &Image) {
        if let Some(slave) = self.slaves.iter_mut().find(|slave| slave.host.name == host.name) {
            slave.ends.extend(image.queues().map(|(topic, queue, records)| {
                let end = records.last_key_value().map_or(0, |(offset, _)| offset + 1);
                (topic.clone(), queue, end)
            }));
        }
    }

    /// Did a queue of this slave's log end there when one of its processes began, or its log was
    /// given up? An offset beyond was taken back to it then.
    pub(super) fn has_ended_at(&self, slave: &Host, topic: &Text, queue: i32, end: u64) -> bool {
        let of = self.slaves.iter().find(|copy| copy.host.name == slave.name);
        of.is_some_and(|copy| copy.ends.contains(&(topic.clone(), queue, end)))
    }

    /// Did a slave ever hold this message there?
    pub(super) fn has_held(&self, slave: &Text, at: u64, id: Id) -> bool {
        let of = self.slaves.iter().find(|copy| copy.host.name == *slave);
        let known = of.and_then(|copy| copy.held.get(&at)).into_iter().flatten();
        let mut records = known.filter_map(|held| match parse(&held.bytes) {
            Found::Record(record) => Some(record),
            _ => None,
        });
        records.any(|record| record.messages().iter().any(|(known, _)| *known == Some(id)))
    }

    /// A master's process has begun, over these files.
    pub(super) fn master_began(
        &mut self,
        host: &Host,
        life: u32,
        files: &BTreeMap<String, Vec<u8>>,
    ) {
        let Some(master) = self.masters.get_mut(&host.group) else { return };
        master.tail.rewind();
        master.grown.clear();
        let log = Log::read(files);
        let known: BTreeMap<u64, &[u8]> =
            log.records.iter().map(|record| (record.at, record.bytes)).collect();
        for slave in self.slaves.iter_mut().filter(|slave| slave.host.group == host.group) {
            slave.look();
            for (at, records) in slave.held.range_mut(log.start..) {
                let theirs = known.get(at);
                let lost = records.iter_mut().filter(|held| theirs != Some(&&*held.bytes));
                lost.for_each(|held| held.gone = held.gone.or(Some(life)));
            }
        }
    }

    /// The first slave that lacks what its master has had for a while.
    pub(super) fn late(&self, now: Mono) -> Option<String> {
        let is_late = |slave: &&Copy| {
            let grown = &self.masters[&slave.host.group].grown;
            let mut lacks = grown.iter().filter(|(end, _)| *end > slave.tail.end());
            lacks.any(|(_, since)| now.since(*since) > LAG_MAX)
        };
        let slave = self.slaves.iter().find(is_late)?;
        Some(format!("{} lags: {}", slave.host.name, self.ends(&slave.host.group)))
    }

    /// Does every slave end where its master does, and as it does? A stranger can be as long.
    pub(super) fn are_level(&self) -> bool {
        let is_level = |slave: &Copy| {
            let (ours, theirs) = (&slave.tail, &self.masters[&slave.host.group].tail);
            let end = theirs.end();
            let last_file = |tail: &Tail| {
                let (start, mut bytes) = tail.file(end.checked_sub(1)?)?;
                bytes.truncate(usize::try_from(end - start).unwrap_or(usize::MAX));
                Some(bytes)
            };
            let has_none = || ours.start() == end;
            ours.end() == end && (has_none() || last_file(ours) == last_file(theirs))
        };
        self.slaves.iter().all(|slave| slave.host.is_up() && is_level(slave))
    }

    /// Slaves that have records, and none of them in common with their masters: what the two had
    /// together is lost, and they are left to an operator.
    pub(super) fn strangers(&self) -> Vec<Text> {
        let is_strange = |slave: &&Copy| {
            let theirs = self.masters[&slave.host.group].tail.all();
            let ours = slave.tail.all();
            !ours.is_empty() && !ours.iter().any(|(at, bytes)| theirs.get(at) == Some(bytes))
        };
        self.slaves.iter().filter(is_strange).map(|slave| slave.host.name.clone()).collect()
    }

    /// Each slave's log is its master's, byte for byte, from where the younger of the two begins.
    pub(super) fn agree(&mut self, now: Mono) -> Verdict {
        self.look(now);
        for slave in &self.slaves {
            let master = &self.masters[&slave.host.group];
            let end = master.tail.end();
            if slave.tail.end() != end {
                let detail = format!("{}: {}", slave.host.name, self.ends(&slave.host.group));
                return Err(Violation::new("logs agree", detail));
            }
            let mut at = slave.tail.start().max(master.tail.start());
            while at < end {
                let (ours, theirs) = (slave.tail.file(at), master.tail.file(at));
                let upto = |file: Option<(u64, Vec<u8>)>| {
                    let (start, mut bytes) = file?;
                    bytes.truncate(usize::try_from(end - start).unwrap_or(usize::MAX));
                    Some((start, bytes))
                };
                let (ours, theirs) = (upto(ours), upto(theirs));
                let next = theirs.as_ref().map(|(start, bytes)| start + bytes.len() as u64);
                if ours != theirs || next.is_none() {
                    let detail = format!("{} differs from its master at {at}", slave.host.name);
                    return Err(Violation::new("logs agree", detail));
                }
                at = next.expect("it was just looked at");
            }
        }
        Ok(())
    }

    /// Where all logs begin and end, for people.
    pub(super) fn all_ends(&self) -> String {
        let groups: Vec<String> = self.masters.keys().map(|group| self.ends(group)).collect();
        groups.join("; ")
    }

    fn ends(&self, group: &Text) -> String {
        let slaves = self.slaves.iter().filter(|slave| slave.host.group == *group);
        let of = |host: &Host, tail: &Tail| {
            let up = if host.is_up() { "up" } else { "down" };
            format!("{} {up} {}..{}", host.name, tail.start(), tail.end())
        };
        let master = &self.masters[group];
        let slaves = slaves.map(|slave| of(&slave.host, &slave.tail));
        let all: Vec<String> =
            std::iter::once(of(&master.host, &master.tail)).chain(slaves).collect();
        all.join(", ")
    }
}

impl Copy {
    /// Reads what is new.
    fn look(&mut self) {
        for (at, bytes) in self.tail.news() {
            let known = self.held.entry(at).or_default();
            if known.iter().all(|held| held.bytes != bytes) {
                known.push(Held { bytes, gone: None });
            }
        }
    }

    /// Did it hold what an answer speaks of, as the master has it, when that was given?
    fn had(&self, answer: &Answer<'_>, original: Option<&[u8]>) -> bool {
        let mut held = self.held.get(&answer.at).into_iter().flatten();
        held.any(|held| {
            let is_old = held.gone.is_some_and(|life| life <= answer.life);
            !is_old && answer.is(&held.bytes) && original.is_none_or(|bytes| bytes == held.bytes)
        })
    }

    /// Is the record on its medium, and all before it? Of one that began since the send was asked
    /// that is not known.
    fn keeps(&mut self, at: u64, asked: Mono) -> bool {
        if self.began > asked || at < self.tail.start() {
            return true;
        }
        let Some(bytes) = self.tail.record(at) else { return false };
        let end = at + bytes.len() as u64;
        let from = self.durable.max(self.tail.start()).min(end);
        let is_kept = self.tail.is_durable(from, end);
        if is_kept {
            self.durable = self.durable.max(end);
        }
        is_kept
    }
}
