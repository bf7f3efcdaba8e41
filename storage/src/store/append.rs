//! Appending: all checks first, then memory only. When it errs, nothing was appended.

use super::Store;
use super::assign::{self, Given};
use crate::commit_log::Place;
use crate::dispatch::{Facts, LIGHT_QUEUE_ID};
use crate::position::{QueueOffset, Span};
use crate::queue::{Kind, PENDING_MAX, Side};
use crate::record::{Draft, DraftError, Layout};
use crate::seam::{Disk, Fault};
use crate::time::Wall;

/// How much longer than the largest body a whole record may be, in bytes.
const RECORD_EXTRA: u64 = 64 * 1024;

/// Where a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The record's bytes; of a batch, all its records'.
    pub span: Span,
    /// The message's number in its queue; of a batch, the first one's.
    pub queue_offset: QueueOffset,
    /// When it was stored.
    pub store_time: Wall,
}

/// Why nothing was appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// There is no room, and the last attempt to make some failed. A new one has begun.
    #[error("no room: {0}")]
    Full(Fault),
    /// The message is not one that the format can hold.
    #[error(transparent)]
    Illegal(#[from] DraftError),
    /// The message names a light queue that cannot be.
    #[error("{name:?} is not a light queue: %LMQ% and a name, 255 bytes at most")]
    LightName {
        /// What it names.
        name: String,
    },
    /// The message names light queues that would be too many.
    #[error("there are {max} light queues, as many as may be (maxLmqConsumeQueueNum)")]
    LightQueues {
        /// The limit.
        max: usize,
    },
    /// A file is being allocated, or the pool is full: park the send until `RoomReady` or
    /// `RoomFailed`. [`Store::is_pressed`] says that a commit makes room.
    #[error("a file is being allocated")]
    NotReady,
    /// The message, or the batch, is too long.
    #[error("{len} bytes, {max} at most")]
    TooLarge {
        /// Its length in bytes.
        len: u64,
        /// The limit in bytes.
        max: u64,
    },
}

/// What is known of drafts that may be appended.
struct Checked<'a> {
    /// Bytes of all.
    len: u32,
    /// What the last record will look like.
    last: Layout<'a>,
    /// May the store have to say something of one?
    is_concerned: bool,
}

impl<D: Disk> Store<D> {
    /// Appends one message and its unit. `wall` becomes its store time.
    pub fn append(&mut self, wall: Wall, draft: &Draft<'_>) -> Result<Appended, AppendError> {
        self.append_all(wall, std::slice::from_ref(draft), |_| {})
    }

    /// Appends messages of one queue side by side: all or none, in one file, with consecutive
    /// offsets. `spans` receives each record's place.
    ///
    /// Panics on an empty batch or one of several queues: the caller split it wrongly.
    pub fn append_batch(
        &mut self,
        wall: Wall,
        drafts: &[Draft<'_>],
        spans: &mut Vec<Span>,
    ) -> Result<Appended, AppendError> {
        self.append_all(wall, drafts, |span| spans.push(span))
    }

    /// Could this be appended, given room? Says what is wrong with it otherwise.
    pub fn check_draft(&self, draft: &Draft<'_>) -> Result<(), AppendError> {
        self.check(std::slice::from_ref(draft)).map(|_| ())
    }

    /// Completes what needs it, and appends.
    fn append_all(
        &mut self,
        wall: Wall,
        drafts: &[Draft<'_>],
        tell: impl FnMut(Span),
    ) -> Result<Appended, AppendError> {
        let mut given = Given::default();
        match self.check(drafts) {
            Ok(checked) if !checked.is_concerned => {
                return self.append_complete(wall, drafts, checked, &given, tell);
            }
            Err(why) if !drafts.iter().any(assign::is_concerned) => return Err(why),
            // What is appended is another draft, and it is that which counts.
            _ => {}
        }
        let words = drafts.iter().map(|draft| self.own_words(draft, &mut given));
        let words: Vec<String> = words.collect::<Result<_, _>>()?;
        let pieces = drafts.iter().zip(&words).map(|(draft, own)| assign::completed(draft, own));
        let pieces: Vec<_> = pieces.collect();
        let complete = drafts.iter().zip(&pieces);
        let complete: Vec<_> =
            complete.map(|(draft, properties)| Draft { properties, ..*draft }).collect();
        let checked = self.check(&complete)?;
        self.append_complete(wall, &complete, checked, &given, tell)
    }

    fn append_complete(
        &mut self,
        wall: Wall,
        drafts: &[Draft<'_>],
        Checked { len, last: layout, .. }: Checked<'_>,
        given: &Given<'_>,
        mut tell: impl FnMut(Span),
    ) -> Result<Appended, AppendError> {
        let first = drafts.first().expect("a batch holds messages");
        let (topic, id) = (first.topic, first.queue_id);
        let place = self.log.make_place(&mut self.disk, len);
        match place {
            Place::Here | Place::Next => {}
            Place::Pool => {
                self.pressed = true;
                return Err(AppendError::NotReady);
            }
            Place::Full(fault) => {
                self.ask_log_room();
                return Err(AppendError::Full(fault));
            }
            Place::Wait => {
                self.ask_log_room();
                return Err(AppendError::NotReady);
            }
        }
        let queue_offset = self.check_room(topic, id, self.kind(topic), drafts.len())?;
        self.check_lights(given)?;
        // From here on nothing can fail.
        if place == Place::Next {
            self.log.roll(&mut self.disk);
        }
        let at = self.log.written().end();
        if let [draft] = drafts {
            tell(self.write((wall, queue_offset), draft, layout));
        } else {
            let crc = self.settings.prop_crc;
            for draft in drafts {
                let next = self.next_offset(topic, id);
                tell(self.write((wall, next), draft, draft.layout(crc)));
            }
        }
        // After a failure this append found room all the same; asking again at each one would have
        // the disk say no at the rate of sends. `retry_room` does it in time.
        if self.log.wants_room() && !self.log.chain.has_failed() {
            self.ask_log_room();
        }
        let is_queued = first.sys_flag.is_queued();
        let queue_offset = if is_queued { queue_offset } else { QueueOffset::ZERO };
        Ok(Appended { span: Span { at, len }, queue_offset, store_time: wall })
    }

    /// Checks what can be checked without knowing the log's state.
    fn check<'a>(&self, drafts: &[Draft<'a>]) -> Result<Checked<'a>, AppendError> {
        let (body_max, crc) = (u64::from(self.settings.max_message_size), self.settings.prop_crc);
        let too_large = |len, max| Err(AppendError::TooLarge { len, max });
        let (mut sum, mut last, mut is_concerned) = (0, None, false);
        for draft in drafts {
            let is_one_queue =
                draft.topic == drafts[0].topic && draft.queue_id == drafts[0].queue_id;
            assert!(is_one_queue, "a batch has one queue");
            let layout = draft.check(crc)?;
            let (body, record) = (draft.body.len() as u64, layout.len as u64);
            is_concerned |= assign::concerns(draft, &layout.known);
            last = Some(layout);
            if body > body_max {
                return too_large(body, body_max);
            }
            if record > body_max + RECORD_EXTRA {
                return too_large(record, body_max + RECORD_EXTRA);
            }
            sum += record;
        }
        match u32::try_from(sum) {
            Ok(len) if self.log.fits_a_file(sum) => {
                Ok(Checked { len, last: last.expect("a batch holds messages"), is_concerned })
            }
            _ => too_large(sum, self.log.chain.file_len() - 8),
        }
    }

    /// The offset of the queue's next message, if there is room for so many units: in files, or
    /// waiting for one. If there is none, it is asked for whatever the queue itself thinks: a batch
    /// may need more than the next file.
    pub(super) fn check_room(
        &mut self,
        topic: &str,
        id: i32,
        kind: Kind,
        units: usize,
    ) -> Result<QueueOffset, AppendError> {
        let error = match self.queues.get(topic, id) {
            Some(queue) if queue.takes(units) => return Ok(queue.next()),
            Some(queue) => queue.fault().cloned().map_or(AppendError::NotReady, AppendError::Full),
            // A queue that is not there yet has its whole pending list.
            None if units <= PENDING_MAX => return Ok(QueueOffset::ZERO),
            None => {
                // Made now, empty, so that its first file can be asked for.
                self.queues.entry(&self.settings, topic, id, kind);
                AppendError::NotReady
            }
        };
        for side in Side::ALL {
            if self.queues.get(topic, id).is_some_and(|queue| queue.lacks(side, units)) {
                self.ask_queue_file(topic, id, side);
            }
        }
        Err(error)
    }

    pub(super) fn kind(&self, topic: &str) -> Kind {
        if self.batch_topics.contains(topic) { Kind::Batch } else { Kind::Simple }
    }

    /// Writes a record, of which it was checked that there is room for it and its units.
    fn write(
        &mut self,
        (wall, next): (Wall, QueueOffset),
        draft: &Draft<'_>,
        layout: Layout<'_>,
    ) -> Span {
        let span = Span { at: self.log.written().end(), len: layout.len() };
        let facts = Facts {
            topic: draft.topic,
            queue_offset: if draft.sys_flag.is_queued() { next } else { QueueOffset::ZERO },
            span,
            stored: wall,
            sys_flag: draft.sys_flag,
            properties: draft.properties,
            known: layout.known,
        };
        let slot = self.log.slot(span.len);
        draft.encode_into(layout, slot, facts.queue_offset, span.at, wall);
        self.log.publish(span.len);
        self.newest = (wall, span.at);
        self.dispatch(&facts, draft.queue_id);
        self.index(&facts);
        span
    }

    fn dispatch(&mut self, facts: &Facts<'_>, id: i32) {
        let kind = self.kind(facts.topic);
        if let Some((mut unit, stored)) = facts.own(kind, &self.settings.delay_levels) {
            let queue = match self.queues.get_mut(facts.topic, id) {
                // Nearly always; `entry` looks for it twice.
                Some(queue) => queue,
                None => self.queues.entry(&self.settings, facts.topic, id, kind),
            };
            // The queue counts, not the message: a client's INNER_BASE is never believed.
            unit.first = queue.next();
            queue.push(&mut self.disk, (unit, stored));
            if Side::ALL.iter().any(|side| queue.asks(*side)) {
                self.ask_ahead(facts.topic, id);
            }
        }
        if self.settings.light_queues {
            for (name, entry) in facts.light(kind, &self.settings.delay_levels) {
                let queue = self.queues.entry(&self.settings, name, LIGHT_QUEUE_ID, Kind::Simple);
                queue.push(&mut self.disk, entry);
                self.ask_ahead(name, LIGHT_QUEUE_ID);
            }
        }
    }

    /// Has the files allocated that a queue will need soon. After a failure only
    /// [`retry_room`](Self::retry_room) does.
    pub(super) fn ask_ahead(&mut self, topic: &str, id: i32) {
        for side in Side::ALL {
            if self.queues.get(topic, id).is_some_and(|queue| queue.asks(side)) {
                self.ask_queue_file(topic, id, side);
            }
        }
    }

    /// The offset that the next message of a queue gets; units that wait for a file counted.
    pub fn next_offset(&self, topic: &str, queue_id: i32) -> QueueOffset {
        self.queues.get(topic, queue_id).map_or(QueueOffset::ZERO, crate::queue::Queue::next)
    }

    /// Operations that were submitted and not yet polled.
    pub fn is_idle(&self) -> bool {
        self.ops.running.is_empty()
    }

    /// Does a sync run? At most one may.
    pub fn is_syncing(&self) -> bool {
        self.log_sync.is_some()
    }
}
