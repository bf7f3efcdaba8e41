//! What may be said of a master and its slaves, by the bytes of their logs.

mod bytes;
mod kept;
mod lives;

use std::collections::BTreeMap;
use std::time::Duration;

use hotfire_core::domain::{Positions, SendStatus, Sent};
use hotfire_storage::position::Span;
use hotfire_storage::time::Wall;

use self::bytes::{is_durable_upto, no_gaps, record_at};
use self::kept::Kept;
use super::clock::Clocks;
use super::node::{Node, Shape};
use crate::ledger::Ledger;
use crate::oracle::audit::{Audit, Entry};
use crate::oracle::derived;
use crate::oracle::image::Image;
use crate::ring::Violation;
use crate::workload::message::{Found, parse};

/// How long a slave may lack what consumers wait for, in microseconds (`haMaxTimeSlaveNotCatchup`).
const PATIENCE: u64 = 15_000_000;

type Verdict = Result<(), Violation>;

/// What happened to a node since it was last up.
#[derive(Clone, Copy, Debug, Default)]
struct Fate {
    power: bool,
}

/// What the master heard of a slave.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    /// What it asked for.
    first: Option<i64>,
    /// What it acknowledged.
    acked: Option<u64>,
    /// Since when it has acknowledged something, and lacked nothing for long.
    steady: Option<u64>,
}

/// The judge.
pub(super) struct Judge {
    shape: Shape,
    next: i32,
    /// Sends on their way, and since when.
    asked: BTreeMap<i32, u64>,
    statuses: BTreeMap<i32, Option<SendStatus>>,
    /// What was acknowledged; of a slave, what of it was held there then. What a node may have lost
    /// since is no part of its own any more.
    acked: Vec<Audit>,
    /// What consumers saw; nobody's copies.
    seen: Audit,
    /// What the master heard of each slave on its newest connection.
    links: Vec<Link>,
    /// Where records of the master end, as far as they are new, and when they were there first.
    grown: Vec<(u64, u64)>,
    /// Of each slave: up to where its log was the master's, at some time.
    ever: Vec<u64>,
    /// The same, as far as it has not died or been cut since.
    held: Vec<u64>,
    /// Of each slave: where its log began anew; what its master had below, it has not.
    lacks: Vec<u64>,
    /// When it began last.
    began: Vec<u64>,
    /// Of each node: how far its log was walked in this life.
    walked: Vec<u64>,
    fates: Vec<Fate>,
    kept: Kept,
}

impl Judge {
    pub(super) fn new(shape: &Shape, slaves: usize, clocks: &Clocks, ledger: Ledger) -> Self {
        Self {
            shape: shape.clone(),
            next: 1,
            asked: BTreeMap::new(),
            statuses: BTreeMap::new(),
            acked: vec![Audit::default(); slaves + 1],
            seen: Audit::default(),
            links: vec![Link::default(); slaves + 1],
            grown: Vec::new(),
            ever: vec![0; slaves + 1],
            held: vec![0; slaves + 1],
            began: vec![0; slaves + 1],
            walked: vec![0; slaves + 1],
            fates: vec![Fate::default(); slaves + 1],
            lacks: vec![0; slaves + 1],
            kept: Kept::new(shape, slaves, clocks, ledger),
        }
    }

    /// The number of the next send.
    pub(super) fn next(&self) -> i32 {
        self.next
    }

    pub(super) fn asked(&mut self, when: u64) -> i32 {
        let number = self.next;
        self.next += 1;
        self.asked.insert(number, when);
        number
    }

    pub(super) fn unanswered(&self) -> usize {
        self.asked.len()
    }

    pub(super) fn is_answered(&self, number: i32) -> bool {
        self.statuses.contains_key(&number)
    }

    pub(super) fn status(&self, number: i32) -> Option<SendStatus> {
        self.statuses.get(&number).copied().flatten()
    }

    pub(super) fn refused(&mut self, number: i32) {
        self.asked.remove(&number);
        self.statuses.insert(number, None);
    }

    /// The master heard a slave.
    pub(super) fn heard(&mut self, slave: usize, offset: i64) {
        let (link, floor) = (&mut self.links[slave], self.kept.floor(0));
        let first = *link.first.get_or_insert(offset);
        // What begins with a file was not asked for, and is no acknowledgement at once: the master
        // has nothing any more of what lies in front of it.
        let is_sent = |upto: &u64| offset > first.max(0) && *upto > floor;
        if let Some(upto) = u64::try_from(offset).ok().filter(is_sent) {
            link.acked = Some(upto);
        }
    }

    /// A connection of a slave began, or ended.
    pub(super) fn unlinked(&mut self, slave: usize) {
        self.links[slave] = Link::default();
    }

    /// Slaves that a record has been waited for since it was there first, at `born`.
    fn steady(&self, born: u64) -> usize {
        self.links.iter().filter(|link| link.steady.is_some_and(|since| since < born)).count()
    }

    /// A consumer saw records.
    pub(super) fn saw(&mut self, span: Span, nodes: &[Node]) -> Verdict {
        for slave in 1..nodes.len() {
            self.look(slave, nodes)?;
        }
        let mut at = span.at.get();
        while at < span.end().get() {
            let Some(bytes) = self.record(at, nodes) else {
                return Err(Violation::new("what is seen is a record", at));
            };
            let end = at + bytes.len() as u64;
            if self.shape.sync_flush && !self.is_durable(at, &bytes, nodes) {
                let detail = format!("the record at {at} was seen and is not on the medium");
                return Err(Violation::new("what is seen is safe", detail));
            }
            let born = self.grown.iter().find(|(known, _)| *known >= end).map(|(_, born)| *born);
            let many = (1..nodes.len()).filter(|slave| self.had(*slave, at, end)).count();
            if let Some(born) = born
                && many < self.shape.wanted
                && self.steady(born) >= self.shape.wanted
            {
                let detail = format!(
                    "the record at {at} was seen, and {many} slaves hold it, not {}",
                    self.shape.wanted
                );
                return Err(Violation::new("what is seen is safe", detail));
            }
            note(&mut self.seen, &entry(&bytes)?)?;
            at = end;
        }
        Ok(())
    }

    /// How far the master's log goes, and since when; which slaves keep up with it.
    fn grew(&mut self, now: u64, nodes: &[Node]) {
        let Some(broker) = &nodes[0].broker else { return };
        let end = broker.store().written().end().get();
        if self.grown.last().is_none_or(|(known, _)| *known < end) {
            self.grown.push((end, now));
        }
        for link in &mut self.links {
            let lacks_nothing_old = |upto: u64| {
                let oldest = self.grown.iter().find(|(end, _)| *end > upto);
                oldest.is_none_or(|(_, born)| now - born < PATIENCE)
            };
            let is_steady = link.acked.is_some_and(lacks_nothing_old);
            link.steady = is_steady.then(|| link.steady.unwrap_or(now));
        }
    }

    /// Something changed at a node.
    pub(super) fn turned(&mut self, now: u64, at: usize, nodes: &[Node]) -> Verdict {
        if at == 0 {
            self.grew(now, nodes);
            return Ok(());
        }
        self.look(at, nodes)
    }

    /// The record of the master's log that begins at `at`, though its file may be gone since.
    fn record(&self, at: u64, nodes: &[Node]) -> Option<Vec<u8>> {
        record_at(self.kept.master_file(&nodes[0], at)?, at)
    }

    /// Is this on the master's medium, or was it until it was to go?
    fn is_durable(&self, at: u64, bytes: &[u8], nodes: &[Node]) -> bool {
        at < self.kept.floor(0) || nodes[0].is_durable(at, bytes, self.shape.file_len)
    }

    /// Did a slave have what lies from `at` to `end`, at some time?
    fn had(&self, slave: usize, at: u64, end: u64) -> bool {
        self.lacks[slave] <= at && self.ever[slave] >= end
    }

    /// A wall clock jumped.
    pub(super) fn jumped(&mut self, at: usize) {
        self.kept.jumped(at);
    }

    /// A turn of a node is over, or its life.
    pub(super) fn rested(&mut self, now: u64, at: usize, wall: Wall, nodes: &[Node]) -> Verdict {
        self.kept.turned(now, at, wall, &nodes[at])
    }

    /// How far a slave's log is the master's: walks what is new, record by record.
    fn look(&mut self, at: usize, nodes: &[Node]) -> Verdict {
        let file_len = self.shape.file_len;
        // A hint only: what lies there is read.
        let end = nodes[at].broker.as_ref().map_or(0, |b| b.store().written().end().get());
        if end == self.walked[at] {
            return Ok(());
        }
        let mut here =
            self.walked[at].max(nodes[at].broker.as_ref().map_or(0, |b| b.store().start().get()));
        while here < end {
            let Some((start, file)) = nodes[at].log_file(here, file_len) else { break };
            let theirs = self.kept.master_file(&nodes[0], here).map(|(_, file)| file);
            let theirs = theirs.unwrap_or_default();
            let mut within = usize::try_from(here - start).expect("a file is short");
            while within < file.len() && here < end {
                let (len, is_record) = match parse(&file[within..]) {
                    Found::Record(record) => (record.size as usize, true),
                    Found::Blank => (file.len() - within, false),
                    Found::Nothing => {
                        let detail =
                            format!("slave {at}: no record at {here}, its log ends at {end}");
                        return Err(Violation::new("a slave's log is records", detail));
                    }
                };
                let ours = &file[within..within + len];
                let same = theirs.get(within..within + len) == Some(ours);
                here += len as u64;
                within += len;
                if same && is_record {
                    self.held[at] = self.held[at].max(here);
                    self.ever[at] = self.ever[at].max(here);
                }
            }
        }
        self.walked[at] = end;
        Ok(())
    }

    /// The master answered.
    pub(super) fn answered(
        &mut self,
        now: u64,
        number: i32,
        sent: &Sent,
        nodes: &[Node],
    ) -> Verdict {
        let Some(asked) = self.asked.remove(&number) else { return Ok(()) };
        no_gaps(&nodes[0], "the master")?;
        self.statuses.insert(number, Some(sent.status));
        for slave in 1..nodes.len() {
            self.look(slave, nodes)?;
        }
        let waited = Duration::from_micros(now - asked);
        if sent.status == SendStatus::FlushSlaveTimeout && waited < self.shape.timeout {
            let detail = format!("send {number} was told after {waited:?} that a slave is late");
            return Err(Violation::new("a status is honest", detail));
        }
        let Positions::One(at) = sent.at else {
            return Err(Violation::new("a single message has one place", number));
        };
        if sent.status != SendStatus::Ok {
            return Ok(());
        }
        let (at, file_len) = (at.get(), self.shape.file_len);
        let bytes = self.record(at, nodes);
        if bytes.is_none() && self.shape.staged && self.shape.wanted == 0 {
            // It is in the pool, and nothing is promised but that it was there.
            return Ok(());
        }
        let Some(bytes) = bytes else {
            let detail = format!("send {number} was acknowledged, there is no record at {at}");
            return Err(Violation::new("an acknowledgement is honest", detail));
        };
        let end = at + bytes.len() as u64;
        if self.shape.sync_flush && !self.is_durable(at, &bytes, nodes) {
            let detail = format!("send {number} at {at} was acknowledged and is not on the medium");
            return Err(Violation::new("an acknowledgement is honest", detail));
        }
        // A slave that waits for its medium acknowledges what is there, and nothing else. What one
        // acknowledged whose power has failed since is not known.
        let is_gone: Vec<bool> = self.fates.iter().map(|fate| fate.power).collect();
        let is_kept =
            |slave: usize| !self.shape.slaves_sync || is_durable_upto(&nodes[slave], end, file_len);
        let was_held = |slave: usize| {
            let died = is_gone[slave] || self.began[slave] > asked;
            self.had(slave, at, end) && (died || is_kept(slave))
        };
        let many = (1..nodes.len()).filter(|slave| was_held(*slave)).count();
        if many < self.shape.wanted {
            let detail = format!(
                "send {number} at {at} was acknowledged, and {many} slaves hold it, not {}",
                self.shape.wanted
            );
            return Err(Violation::new("an acknowledgement is honest", detail));
        }
        let entry = entry_of(number, sent, &bytes)?;
        note(&mut self.acked[0], &entry)?;
        let is_held = |slave: &usize| {
            let has = self.lacks[*slave] <= at && self.held[*slave] >= end;
            has && !is_gone[*slave] && is_kept(*slave)
        };
        for slave in (1..nodes.len()).filter(is_held) {
            note(&mut self.acked[slave], &entry)?;
        }
        Ok(())
    }

    pub(super) fn why_unsettled(&self, nodes: &[Node]) -> String {
        let of = |node: &Node| {
            node.broker.as_ref().map(|b| {
                (
                    b.store().start().get(),
                    b.store().written().end().get(),
                    b.parting(),
                    b.closed_for_sends(),
                )
            })
        };
        let ends: Vec<_> = nodes.iter().map(of).collect();
        let last: Vec<_> = self.statuses.iter().rev().take(3).collect();
        format!("{ends:?}, last statuses {last:?}")
    }

    /// All logs are the master's, byte for byte; all that was acknowledged is in them; and queues
    /// and index follow.
    pub(super) fn check_all(&self, nodes: &[Node]) -> Verdict {
        let file_len = self.shape.file_len;
        let end = nodes[0].broker.as_ref().map_or(0, |b| b.store().written().end().get());
        for (at, node) in nodes.iter().enumerate() {
            let store = node.broker.as_ref().expect("all are up").store();
            let files = store.disk().seen_where(|path| path.starts_with("commitlog/"));
            let image = Image::read(&files).from(store.start().get());
            derived::check(store, &image)
                .map_err(|why| Violation::new(&why.oracle, format!("node {at}: {}", why.detail)))?;
            let master = nodes[0].broker.as_ref().expect("all are up").store();
            let start = store.start().max(master.start()).get();
            let mut here = start;
            while here < end {
                let to = end.min(here / file_len * file_len + file_len);
                let len = usize::try_from(to - here).expect("a file is short");
                if node.bytes(here, len, file_len) != nodes[0].bytes(here, len, file_len) {
                    let detail =
                        format!("node {at} differs from the master between {here} and {to}");
                    return Err(Violation::new("logs agree", detail));
                }
                here = to;
            }
        }
        for (at, node) in nodes.iter().enumerate() {
            let (held, floor) = (node.held(), self.kept.floor(at));
            for (audit, stays) in [
                (&self.acked[0], "what was acknowledged stays"),
                (&self.seen, "what was seen stays"),
            ] {
                let wrong = |wrong| Violation::new(stays, format!("node {at}: {wrong}"));
                audit.judge_but(&held, |said| said.at < floor).map_err(wrong)?;
            }
        }
        Ok(())
    }
}

/// Is every slave up, and level with the master?
pub(super) fn is_settled(nodes: &[Node]) -> bool {
    let end = |node: &Node| node.broker.as_ref().map(|b| b.store().written().end());
    nodes.iter().all(|node| node.broker.is_some() && end(node) == end(&nodes[0]))
}

fn note(audit: &mut Audit, entry: &Entry) -> Verdict {
    let wrong = |wrong| Violation::new("an offset names one message", wrong);
    audit.note(entry.clone()).map_err(wrong)
}

/// What was acknowledged, by the record that lies where the answer says.
fn entry_of(number: i32, sent: &Sent, bytes: &[u8]) -> Result<Entry, Violation> {
    let entry = entry(bytes)?;
    let place = (entry.id.number.cast_signed(), entry.queue, entry.offset);
    if place == (number, sent.queue, sent.queue_offset.get()) {
        return Ok(entry);
    }
    let detail = format!("send {number} was answered {sent:?}, and there lies {entry}");
    Err(Violation::new("an acknowledgement is honest", detail))
}

/// A message by the bytes of its record.
fn entry(bytes: &[u8]) -> Result<Entry, Violation> {
    let known = match parse(bytes) {
        Found::Record(record) => Entry::found(&record, record.bytes),
        Found::Blank | Found::Nothing => None,
    };
    let nobodys = || Violation::new("nothing is consumed that was not sent", "a nameless record");
    known.ok_or_else(nobodys)
}
