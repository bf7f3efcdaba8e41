//! Lives of a store, without a broker: what clients could make it do, and some more.

use std::net::SocketAddr;
use std::sync::Arc;

use hotfire_storage::position::Physical;
use hotfire_storage::record::{Draft, SysFlag};
use hotfire_storage::time::{Mono, Wall};
use hotfire_storage::{AppendError, OpenError, Settings, Store, StoreEvent};

use super::model::{Appended, History, Known, Place};
use crate::choose::{Choose, Stream, mixed, pick};
use crate::disk::{Medium, SimDisk, Snapshot};
use crate::ring::Violation;
use crate::trace::{Column, Mark};

/// A state file.
pub(super) const STATE: &str = "config/state.json";
/// Topics whose queues hold inner batches begin with it.
pub(super) const INNER: &str = "inner";
/// Light queues.
const LIGHT: [&str; 2] = ["%LMQ%x", "%LMQ%y"];

/// Does the topic have queues of inner batches?
pub(super) fn is_batch(topic: &str) -> bool {
    topic.starts_with(INNER)
}

/// How a store is set: files that roll every few records.
pub(super) fn settings(work: &mut Stream) -> Settings {
    Settings {
        commit_log_file: *pick(work, &[1024, 5000, 700, 12_288], "work.commit_log_file"),
        consume_queue_file: 20 * *pick(work, &[10, 1, 3, 250], "work.consume_queue_file"),
        batch_queue_file: 46 * *pick(work, &[4, 1, 100], "work.batch_queue_file"),
        light_queues: work.chance(400, "work.light_queues"),
        queue_ext: work.chance(300, "work.queue_ext"),
        queue_ext_file: *pick(work, &[1024, 100, 50], "work.queue_ext_file"),
        max_message_size: 600,
        index_slots: *pick(work, &[8, 1, 3], "work.index_slots"),
        index_items: *pick(work, &[40, 8, 2], "work.index_items"),
        ..Settings::default()
    }
}

/// A moment at which the machine could die, and what is known then.
pub(super) struct Cut {
    pub(super) snapshot: Snapshot,
    pub(super) known: Known,
}

/// What is appended: some lengths and topics, and every message different. Few lengths, so that a
/// new record often ends where an older one began that was cut.
#[derive(Clone, Debug)]
pub(super) struct Source {
    work: Stream,
    number: u64,
}

impl Source {
    pub(super) const fn new(work: Stream, number: u64) -> Self {
        Self { work, number }
    }

    /// Appends something; records in `history` what, `false` if it was not possible now.
    pub(super) fn append(
        &mut self,
        store: &mut Store<SimDisk>,
        history: &mut History,
    ) -> Result<bool, Violation> {
        let kinds: &[Kind] = if store.settings().light_queues { &Kind::ALL } else { &Kind::PLAIN };
        let kind = *pick(&mut self.work, kinds, "work.kind");
        let long = "v2".repeat(65);
        let topics = ["a", "b", &long, INNER];
        let topic =
            if kind == Kind::Inner { INNER } else { topics[self.work.index(3, "work.topic")] };
        let queue = i32::from(kind != Kind::Inner && self.work.chance(300, "work.queue"));
        let count = if kind == Kind::Batch { 2 + self.work.index(2, "work.batch") } else { 1 };
        let bodies: Vec<Vec<u8>> = (0..count).map(|_| self.body()).collect();
        let messages = if kind == Kind::Inner { 1 + self.work.below(3, "work.inner") } else { 1 };
        let base = store.next_offset(topic, queue).get();
        let light = LIGHT.map(|name| store.next_offset(name, 0).get());
        let properties = properties(kind, self.number, (messages, base), light);
        let pieces = [properties.as_bytes()];
        let host = |v6: bool| {
            let text = if v6 { "[2001:db8::1]:10911" } else { "10.0.0.1:10911" };
            text.parse::<SocketAddr>().expect("an address")
        };
        let born_host = host(self.work.chance(100, "work.v6"));
        // The clock runs backwards now and then.
        let wall = 1_700_000_000_000 + self.work.below(100_000, "work.wall");
        let wall = Wall::from_millis(i64::try_from(wall).expect("a time"));
        let draft = |body| Draft {
            topic,
            queue_id: queue,
            flag: 0,
            sys_flag: kind.flag(),
            born: wall,
            born_host,
            store_host: host(false),
            reconsume_times: 0,
            prepared: Physical::ZERO,
            body,
            properties: &pieces,
        };
        let drafts: Vec<Draft<'_>> = bodies.iter().map(|body| draft(body)).collect();
        let mut spans = Vec::new();
        match store.append_batch(wall, &drafts, &mut spans) {
            Ok(_) => {}
            // A batch lies in one file.
            Err(AppendError::NotReady | AppendError::Full(_) | AppendError::TooLarge { .. }) => {
                return Ok(false);
            }
            Err(error) => return Err(Violation::new("a legal message is appended", error)),
        }
        for (span, first) in spans.into_iter().zip(base..) {
            let place =
                |topic: &str, queue, first, next| Place { topic: topic.into(), queue, first, next };
            let mut places = Vec::new();
            if kind != Kind::Half {
                places.push(place(topic, queue, first, first + messages));
            }
            if kind == Kind::Light {
                places.extend(LIGHT.iter().zip(light).map(|(name, at)| place(name, 0, at, at + 1)));
            }
            let bytes = store.view(span).to_vec();
            history.push(Arc::new(Appended { span, bytes, places }));
        }
        Ok(true)
    }

    fn body(&mut self) -> Vec<u8> {
        self.number += 1;
        let len = *pick(&mut self.work, &[8_u64, 99, 190, 8], "work.body");
        let mut body = self.number.to_be_bytes().to_vec();
        body.extend((8..len).map(|at| mixed(self.number << 16 | at).to_le_bytes()[0]));
        body
    }
}

/// The properties of a message; `inner` says how many an inner batch holds, and its first offset.
fn properties(kind: Kind, number: u64, inner: (u64, u64), light: [u64; 2]) -> String {
    match kind {
        Kind::Inner => {
            let (messages, base) = inner;
            format!("INNER_NUM\u{1}{messages}\u{2}INNER_BASE\u{1}{base}\u{2}")
        }
        Kind::Light => format!(
            "INNER_MULTI_DISPATCH\u{1}{},{}\u{2}INNER_MULTI_QUEUE_OFFSET\u{1}{},{}\u{2}",
            LIGHT[0], LIGHT[1], light[0], light[1]
        ),
        _ => format!("UNIQ_KEY\u{1}{number:05}\u{2}TAGS\u{1}t{}\u{2}", number % 3),
    }
}

/// Kinds of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Batch,
    Half,
    Inner,
    Light,
    Single,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Single,
        Self::Batch,
        Self::Half,
        Self::Inner,
        Self::Light,
        Self::Light,
        Self::Single,
    ];
    const PLAIN: [Self; 6] =
        [Self::Single, Self::Batch, Self::Half, Self::Inner, Self::Inner, Self::Single];

    const fn flag(self) -> SysFlag {
        match self {
            Self::Half => SysFlag::PREPARED,
            Self::Inner => SysFlag::INNER_BATCH,
            Self::Batch | Self::Light | Self::Single => SysFlag::NONE,
        }
    }
}

/// Some lives of one store, watched.
pub(super) struct Lives {
    medium: Medium,
    settings: Settings,
    work: Stream,
    source: Source,
    log: Column,
    known: Known,
    history: History,
    now: u64,
    is_broken: bool,
    is_saving: bool,
    /// Everything so far. Their histories are filled in when a life ends: a record that is being
    /// appended is known once it was.
    pub(super) cuts: Vec<Cut>,
    /// Of these the history is filled in.
    filled: usize,
    pub(super) steps: u64,
}

impl Lives {
    pub(super) fn new(medium: Medium, settings: Settings, work: Stream, log: Column) -> Self {
        medium.watch();
        Self {
            medium,
            settings,
            source: Source::new(work.clone(), 0),
            work,
            log,
            known: Known::default(),
            history: History::new(),
            now: 0,
            is_broken: false,
            is_saving: false,
            cuts: Vec::new(),
            filled: 0,
            steps: 0,
        }
    }

    pub(super) fn run(&mut self) -> Result<(), Violation> {
        let lives = 1 + self.work.below(3, "work.lives");
        for _ in 0..lives {
            let Some(mut store) = self.open()? else { break };
            self.live(&mut store)?;
            self.end(store);
            self.fill();
        }
        Ok(())
    }

    /// Opens the store; `None` if the disk does not let it.
    fn open(&mut self) -> Result<Option<Store<SimDisk>>, Violation> {
        for _ in 0..4 {
            let opened = Store::open(self.medium.mount(), self.settings.clone(), is_batch);
            match opened {
                Ok((mut store, opened)) => {
                    self.note(&store);
                    self.fill();
                    self.log.say(Mark::Up, format_args!("{opened:?}"));
                    let file_len = u64::from(self.settings.commit_log_file);
                    let found = self.known.check(&mut store, file_len)?;
                    self.history.truncate(found);
                    self.known.appended = found;
                    self.known.flushed = store.flushed().end().get();
                    store.declare_batch(INNER, true);
                    (self.is_broken, self.is_saving) = (false, false);
                    return Ok(Some(store));
                }
                Err(OpenError::Disk(fault)) => {
                    self.log.say(Mark::Died, format_args!("in its boot: {fault}"));
                    self.take();
                }
                Err(error) => return Err(Violation::new("a crash image opens", error)),
            }
        }
        Ok(None)
    }

    fn live(&mut self, store: &mut Store<SimDisk>) -> Result<(), Violation> {
        // Short lives end where stale bytes of the life before still lie behind the end.
        let turns = *pick(&mut self.work, &[6_u64, 20, 50], "work.turns");
        for _ in 0..turns {
            self.steps += 1;
            match self.work.below(12, "work.what") {
                0..5 if !self.is_broken => {
                    if self.source.append(store, &mut self.history)? {
                        store.end_turn();
                        self.known.appended = self.history.len();
                        let end = store.written().end();
                        self.log.say(Mark::State, format_args!("appended up to {end}"));
                    } else {
                        store.retry_room();
                    }
                }
                5..7 if !store.is_syncing() => {
                    store.sync(Physical::new(self.known.flushed), store.committed());
                }
                7 => store.sync_queues(),
                8 if !self.is_saving => {
                    self.is_saving = true;
                    self.known.saving += 1;
                    store.save(STATE, self.known.saving.to_string().as_bytes());
                }
                _ => self.wait(store),
            }
            self.note(store);
            store.verify();
        }
        Ok(())
    }

    /// Lets time pass until the next completion, and hears of it.
    fn wait(&mut self, store: &mut Store<SimDisk>) {
        if let Some(due) = self.medium.next_due() {
            self.now = self.now.max(due.as_micros());
            self.medium.advance(Mono::from_micros(self.now));
        }
        let (mut flushed, mut saved) = (self.known.flushed, self.known.saved);
        store.tend_index();
        while let Some(event) = store.poll() {
            match event {
                StoreEvent::Synced(Ok(upto)) => flushed = flushed.max(upto.end().get()),
                StoreEvent::Synced(Err(_)) => self.is_broken = true,
                StoreEvent::Saved { outcome, .. } => {
                    self.is_saving = false;
                    // One that failed left the old version or the new one.
                    saved = outcome.map_or(saved, |()| self.known.saving);
                }
                _ => {}
            }
        }
        // What was polled was true only when it was polled.
        self.note(store);
        if (flushed, saved) != (self.known.flushed, self.known.saved) {
            self.log.say(Mark::State, format_args!("flushed {flushed}, saved {saved}"));
        }
        (self.known.flushed, self.known.saved) = (flushed, saved);
    }

    fn end(&mut self, mut store: Store<SimDisk>) {
        let how = self.work.below(4, "work.end");
        if how == 0 {
            let closed = store.close();
            self.note(&store);
            self.log.say(Mark::Note, format_args!("closed: {closed:?}"));
            if closed.is_ok() {
                self.known.flushed = store.written().end().get();
                self.note(&store);
            }
        } else if how == 1 {
            self.medium.kill();
        } else {
            self.medium.power_fail();
        }
        // A save under way may have come through.
        drop(store);
        self.take();
    }

    /// Keeps what can be cut between two calls, and all that was cut in the last one.
    fn note(&mut self, store: &Store<SimDisk>) {
        store.disk().cut();
        self.take();
    }

    fn take(&mut self) {
        let known = &self.known;
        let cuts = self.medium.cuts();
        self.cuts.extend(cuts.into_iter().map(|snapshot| Cut { snapshot, known: known.clone() }));
    }

    /// What was cut so far belongs to the history so far.
    fn fill(&mut self) {
        let history = Arc::new(self.history.clone());
        for cut in &mut self.cuts[self.filled..] {
            cut.known.history = history.clone();
        }
        self.known.history = history;
        self.filled = self.cuts.len();
    }
}
