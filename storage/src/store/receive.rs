//! A copy of another log: its bytes as they come, its records once they are whole.
//!
//! ```text
//!  start            written         received
//!  | record | record | part of a rec|            room_end
//! ```
//!
//! The log's writer says where each byte lies, and what each record is called in its queue; so the
//! copy is the same byte for byte, blank records and what follows them included. A record is there
//! for readers once all of it came, its CRCs match, it is settled of which kind its queue is, and
//! that has room for its unit.

use super::append::AppendError;
use super::{Store, Task};
use crate::checkpoint;
use crate::dispatch::{Facts, LIGHT_QUEUE_ID};
use crate::position::Physical;
use crate::queue::{Entry, Fit, Kind};
use crate::record::{BLANK_HEADER, Crc, Damage, MAGIC_BLANK, MAGIC_V1, MAGIC_V2};
use crate::record::{Record, Verdict, check};
use crate::seam::{Disk, Done, Fault, Op};

/// Why not all that came is in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveError {
    /// What came is no log: nothing of it is kept. Ask for it again.
    #[error("at {at} lies no record: {damage}")]
    Damaged {
        /// Where a record should begin.
        at: Physical,
        /// What is wrong.
        damage: Damage,
    },
    /// There is no room, and the last attempt to make some failed.
    #[error("no room: {0}")]
    Full(Fault),
    /// A file is being allocated: go on after `RoomReady`.
    #[error("a file is being allocated")]
    NotReady,
    /// The owner of the copy does not know of which kind queues of the topic are: go on when it
    /// does.
    #[error("it is not known of which kind queues of {topic} are")]
    Unsettled {
        /// The topic.
        topic: String,
    },
}

/// Who has the copy.
pub trait Owner {
    /// Is it settled, whatever crashes, of which kind the queues of this topic are? A log does not
    /// say, and a queue of the wrong kind is one that nobody can read. Not asked of topics that
    /// have a queue here: it says.
    fn settles(&mut self, topic: &str) -> bool;

    /// A record is new to a queue of this topic, and ends at `end`.
    fn arrived(&mut self, topic: &str, queue: i32, end: Physical);
}

/// Is the checkpoint's word on records' CRCs taken back? Until then no record without one is let
/// in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TakingBack {
    Done,
    Failed,
    Running,
}

impl<D: Disk> Store<D> {
    /// The place of the next byte to be received.
    pub fn received(&self) -> Physical {
        Physical::new(self.log.received())
    }

    /// Takes bytes of the copied log that lie at [`received`](Self::received), as many as there is
    /// room for: so many are taken, and why not all if so. Asked again with the rest, or with
    /// nothing, it goes on.
    pub fn receive(
        &mut self,
        mut bytes: &[u8],
        owner: &mut impl Owner,
    ) -> (usize, Result<(), ReceiveError>) {
        let (mut taken, mut last): (_, &[u8]) = (0, &[]);
        loop {
            if let Err(why) = self.finish_records(last, owner) {
                if matches!(why, ReceiveError::Damaged { .. }) {
                    self.forget_unfinished();
                }
                return (taken, Err(why));
            }
            if bytes.is_empty() {
                return (taken, Ok(()));
            }
            let Some((_, within)) = self.log.chain.locate(self.log.received()) else {
                self.ask_log_room();
                return (taken, Err(self.log_room_fault()));
            };
            let room = usize::try_from(self.log.chain.file_len() - within).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.log.receive(&mut self.disk, now);
            (taken, bytes, last) = (taken + now.len(), later, now);
        }
    }

    /// What came of a record that is not whole is not wanted any more.
    pub fn forget_unfinished(&mut self) {
        self.log.forget_unfinished(&mut self.disk);
    }

    /// How many bytes of the log from `at` on are these; all of them lie in the log.
    pub fn same_as(&mut self, at: Physical, bytes: &[u8]) -> usize {
        self.log.commit(&mut self.disk);
        let mut same = 0;
        while same < bytes.len() {
            let here = at.plus(same as u64);
            let Some(own) = self.log.rest(&self.disk, here) else { break };
            let len = own.len().min(bytes.len() - same);
            let pairs = own[..len].iter().zip(&bytes[same..same + len]);
            let equal = pairs.take_while(|(own, other)| own == other).count();
            same += equal;
            if equal < len {
                break;
            }
        }
        same
    }

    /// Where the last whole record ends that lies between two places of the log.
    pub fn last_record_between(&self, from: Physical, to: Physical) -> Option<Physical> {
        // A file begins with a record.
        let file = Physical::new(self.log.chain.file_start(from.get())).max(self.start());
        let (mut at, mut last) = (file, None);
        while at < to {
            let (next, is_record) = match self.log.record(&self.disk, at) {
                Some(record) => (at.plus(u64::from(record.size())), true),
                None => (self.log.behind_blank(&self.disk, at)?, false),
            };
            if next > to {
                break;
            }
            if last.is_some() || (from <= at && is_record) {
                last = Some(next);
            }
            at = next;
        }
        last
    }

    fn log_room_fault(&self) -> ReceiveError {
        match self.log.chain.ahead() {
            crate::chain::Ahead::Failed(fault) => ReceiveError::Full(fault.clone()),
            _ => ReceiveError::NotReady,
        }
    }

    /// Makes records of what came, as far as it is whole; `last` is the end of it.
    fn finish_records(&mut self, last: &[u8], owner: &mut impl Owner) -> Result<(), ReceiveError> {
        while self.log.unfinished() >= u64::from(BLANK_HEADER) {
            let at = self.written().end();
            let whole = whole_record(last, self.log.unfinished());
            if whole.is_none() && !self.is_whole(at)? {
                return Ok(());
            }
            let rest = match whole {
                Some(record) => record,
                None => self.log.rest(&self.disk, at).expect("what came lies in a file"),
            };
            let is_checked =
                self.checkpoint.durable.is_some_and(|durable| durable.checked.is_some());
            let crc = match self.settings.verify_crc {
                true if is_checked => Crc::Whole,
                true => Crc::Verify,
                false => Crc::Skip,
            };
            match check(rest, at, crc) {
                Verdict::Bad(damage) => {
                    if is_checked && matches!(check(rest, at, Crc::Verify), Verdict::Good(_)) {
                        self.take_check_back();
                        return Err(ReceiveError::NotReady);
                    }
                    return Err(ReceiveError::Damaged { at, damage });
                }
                Verdict::Good(_) if self.taking_back != TakingBack::Done => {
                    if self.taking_back == TakingBack::Failed {
                        self.take_check_back();
                    }
                    return Err(ReceiveError::NotReady);
                }
                Verdict::Blank { len } => self.log.pass_blank(len),
                Verdict::Good(record) => {
                    let size = record.size();
                    self.finish_record(whole, size, owner)?;
                }
            }
            if self.log.wants_room() && !self.log.chain.has_failed() {
                self.ask_log_room();
            }
        }
        Ok(())
    }

    /// Is there all of the record at `at`, the log's end? Whether it is one is judged then, but not
    /// whether it can be.
    fn is_whole(&mut self, at: Physical) -> Result<bool, ReceiveError> {
        self.log.gather(&mut self.disk);
        let (left, rest) = (self.log.left(), self.log.rest(&self.disk, at));
        let [size, magic] = head(rest.unwrap_or_default()).expect("a header came");
        let size = u64::from(size);
        match magic {
            MAGIC_BLANK if size != left => {
                Err(ReceiveError::Damaged { at, damage: Damage::BlankLength })
            }
            MAGIC_BLANK | MAGIC_V1 | MAGIC_V2 => Ok(size <= self.log.unfinished() || size > left),
            _ => Err(ReceiveError::Damaged { at, damage: Damage::Magic }),
        }
    }

    /// The log's writer makes records without a CRC over all of their bytes: durably, and before
    /// one is in the log, it is no longer said that all have one.
    fn take_check_back(&mut self) {
        if let Some(durable) = &mut self.checkpoint.durable {
            durable.checked = None;
        }
        self.taking_back = TakingBack::Running;
        let bytes = &self.checkpoint.encode();
        let op = Op::Replace { path: checkpoint::PATH, bytes };
        self.ops.submit(&mut self.disk, Task::Uncheck, op);
    }

    /// It is, or it could not be: then it is tried again.
    pub(super) fn unchecked(&mut self, outcome: Result<Done, Fault>) {
        self.taking_back = if outcome.is_ok() { TakingBack::Done } else { TakingBack::Failed };
        self.tell_room(outcome);
    }

    fn finish_record(
        &mut self,
        whole: Option<&[u8]>,
        size: u32,
        owner: &mut impl Owner,
    ) -> Result<(), ReceiveError> {
        if let Some(record) = whole {
            return self.take_record(record, owner);
        }
        let at = self.written().end();
        let mut copy = std::mem::take(&mut self.scratch);
        copy.clear();
        let rest = self.log.rest(&self.disk, at).expect("it lies in a file");
        copy.extend_from_slice(&rest[..size as usize]);
        let outcome = self.take_record(&copy, owner);
        self.scratch = copy;
        outcome
    }

    /// Puts the record into the log that lies there already.
    fn take_record(&mut self, bytes: &[u8], owner: &mut impl Owner) -> Result<(), ReceiveError> {
        let record = Record::parse(bytes).expect("it was judged good");
        let (properties, id) = ([record.properties()], record.queue_id());
        let facts = Facts::of(&record, &properties);
        let kind = match self.queues.of(facts.topic).next() {
            Some(queue) => queue.kind,
            None if owner.settles(facts.topic) => self.kind(facts.topic),
            None => return Err(ReceiveError::Unsettled { topic: facts.topic.to_owned() }),
        };
        let own = facts.own(kind, &self.settings.delay_levels);
        let lights = if self.settings.light_queues {
            facts.light(kind, &self.settings.delay_levels)
        } else {
            Vec::new()
        };
        if own.is_some() {
            self.check_room(facts.topic, id, kind, FILL)?;
        }
        for (name, _) in &lights {
            self.check_room(name, LIGHT_QUEUE_ID, Kind::Simple, FILL)?;
        }
        self.log.pass_record(facts.span.len);
        self.newest = (facts.stored, facts.span.at);
        if let Some(entry) = own {
            self.accept(facts.topic, id, kind, entry);
            owner.arrived(facts.topic, id, facts.span.end());
        }
        for (name, entry) in lights {
            self.accept(name, LIGHT_QUEUE_ID, Kind::Simple, entry);
            owner.arrived(name, LIGHT_QUEUE_ID, facts.span.end());
        }
        self.index(&facts);
        Ok(())
    }

    /// Gives a queue the unit that the log's writer gave its own. The log is the truth: a queue
    /// whose numbers go on elsewhere was deleted there, or begins in the middle here.
    fn accept(&mut self, topic: &str, id: i32, kind: Kind, (unit, stored): Entry) {
        let start = self.log.start();
        let queue = self.queues.entry(&self.settings, topic, id, kind);
        // The last record of a log that was begun anew is no neighbour of the next one's. Nor is
        // one of which nothing is left but the number.
        let is_old = queue.newest_at().is_none_or(|newest| newest < start);
        match queue.fit(unit.first) {
            Fit::Next => {}
            Fit::Lacks if !is_old => {
                let queue = self.queues.get_mut(topic, id).expect("it was just there");
                queue.fill(&mut self.disk, (unit, stored));
            }
            Fit::Elsewhere | Fit::Lacks => {
                self.delete_queue(topic, id);
                self.queues.entry(&self.settings, topic, id, kind).begin(unit.first);
            }
        }
        let queue = self.queues.get_mut(topic, id).expect("it was just there");
        queue.push(&mut self.disk, (unit, stored));
        self.ask_ahead(topic, id);
    }
}

impl From<AppendError> for ReceiveError {
    /// A record that lies in the log already lacks nothing but room.
    fn from(why: AppendError) -> Self {
        match why {
            AppendError::Full(fault) => Self::Full(fault),
            _ => Self::NotReady,
        }
    }
}

/// Units that one record may need in a queue.
const FILL: usize = 17;

/// The record that is next, if it lies in what came last: its file need not be looked into, nor
/// its pages be mapped. The last `unfinished` bytes are no records yet.
fn whole_record(last: &[u8], unfinished: u64) -> Option<&[u8]> {
    let from = last.len().checked_sub(usize::try_from(unfinished).ok()?)?;
    let [size, magic] = head(&last[from..])?;
    let is_record = size > BLANK_HEADER && matches!(magic, MAGIC_V1 | MAGIC_V2);
    last[from..].get(..size as usize).filter(|_| is_record)
}

/// Size and magic number.
fn head(bytes: &[u8]) -> Option<[u32; 2]> {
    let head: &[u8; BLANK_HEADER as usize] = bytes.first_chunk()?;
    let word = |from: usize| head[from..].first_chunk().map(|word| u32::from_be_bytes(*word));
    Some([word(0)?, word(4)?])
}
