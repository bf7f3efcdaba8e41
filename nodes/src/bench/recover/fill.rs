//! Fills a store as a broker would that is killed afterwards: with the store's own code, but for
//! the waiting. No sync is waited for and no block is reserved, so that ten million messages take
//! minutes; what a reader finds is the same.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use hotfire_storage::documents::{Document as _, Perm, TopicConfig, TopicTable};
use hotfire_storage::mapped::MappedDisk;
use hotfire_storage::plain::PlainDisk;
use hotfire_storage::position::Physical;
use hotfire_storage::record::{Draft, SysFlag};
use hotfire_storage::seam::{Disk, Done, Entry, Fault, FileId, Memory, Op, Token};
use hotfire_storage::text::Text;
use hotfire_storage::time::Wall;
use hotfire_storage::{AppendError, Settings, Store, StoreEvent};
use indicatif::{ProgressBar, ProgressStyle};

use crate::Failure;

/// What lies in a store.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// Topics; queues of each.
    pub(super) topics: u32,
    pub(super) queues: u32,
    /// Messages in all, and bytes of each body.
    pub(super) messages: u64,
    pub(super) body: usize,
    /// The last messages, which no checkpoint covers, and the topics that they go to.
    pub(super) tail: u64,
    pub(super) busy_topics: u32,
}

/// Messages a millisecond, by the store times given out.
const RATE: u64 = 10;
/// Messages of a turn.
const TURN: u64 = 256;

impl Shape {
    /// The name of a topic.
    pub(super) fn topic(number: u32) -> String {
        format!("Bench-{number:06}")
    }

    /// Where message `n` goes: topic by topic, queue by queue.
    fn place(&self, n: u64) -> (u32, i32) {
        let is_tail = n >= self.messages - self.tail;
        let topics = u64::from(if is_tail { self.busy_topics } else { self.topics });
        let topic = u32::try_from(n % topics).expect("a remainder");
        let queue = i32::try_from(n / topics % u64::from(self.queues)).expect("a remainder");
        (topic, queue)
    }
}

/// Fills `root`. Afterwards it is as a killed broker left it, all of it on the medium.
pub(super) fn fill(root: &Path, settings: Settings, shape: &Shape) -> Result<(), Failure> {
    fs::create_dir_all(root.join("config")).map_err(Failure::new)?;
    fs::write(root.join("config/topics.json"), topics(shape)).map_err(Failure::new)?;
    let disk = Hasty::open(root, &settings)?;
    let (mut store, _) = Store::open(disk, settings, |_| false).map_err(Failure::new)?;
    let bar = bar(shape.messages);
    let names: Vec<_> = (0..shape.topics).map(Shape::topic).collect();
    let body: Vec<_> = (b'a'..=b'z').cycle().take(shape.body).collect();
    let host = SocketAddr::from(([127, 0, 0, 1], 10911));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or_default();
    let begun = now - shape.messages / RATE;
    for n in 0..shape.messages {
        if n == shape.messages - shape.tail {
            index_all(&mut store)?;
            checkpoint(&mut store)?;
        }
        let (topic, queue_id) = shape.place(n);
        let wall = Wall::from_millis(i64::try_from(begun + n / RATE).unwrap_or(i64::MAX));
        let property = format!("UNIQ_KEY\u{1}7F0000010000000000{n:014X}\u{2}");
        let draft = Draft {
            topic: &names[topic as usize],
            queue_id,
            flag: 0,
            sys_flag: SysFlag::default(),
            born: wall,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared: Physical::ZERO,
            body: &body,
            properties: &[property.as_bytes()],
        };
        append(&mut store, wall, &draft)?;
        if n % TURN == 0 {
            store.tend_index();
            bar.set_position(n);
        }
    }
    bar.finish_and_clear();
    index_all(&mut store)?;
    // No orderly stop: this is the kill.
    store.into_disk().write_queues().map_err(Failure::new)?;
    let root = File::open(root).map_err(Failure::new)?;
    rustix::fs::syncfs(&root).map_err(Failure::new)
}

fn append(store: &mut Store<Hasty>, wall: Wall, draft: &Draft<'_>) -> Result<(), Failure> {
    loop {
        let outcome = store.append(wall, draft);
        store.end_turn();
        while let Some(event) = store.poll() {
            if let StoreEvent::RoomFailed(fault) = event {
                return Err(Failure::new(fault));
            }
        }
        match outcome {
            Ok(_) => return Ok(()),
            Err(AppendError::NotReady) => std::thread::sleep(Duration::from_micros(50)),
            Err(why) => return Err(Failure::new(why)),
        }
    }
}

/// Every message in the index.
fn index_all(store: &mut Store<Hasty>) -> Result<(), Failure> {
    while store.indexed_upto() < store.written().end() {
        store.tend_index();
        match store.poll() {
            Some(StoreEvent::RoomFailed(fault)) => return Err(Failure::new(fault)),
            Some(_) => {}
            None => std::thread::sleep(Duration::from_micros(50)),
        }
    }
    Ok(())
}

/// What a broker does from time to time: everything so far is durable, and the checkpoint says so.
fn checkpoint(store: &mut Store<Hasty>) -> Result<(), Failure> {
    store.sync(store.flushed().end(), store.committed());
    await_event(store, |event| matches!(event, StoreEvent::Synced(Ok(_))))?;
    store.sync_queues();
    await_event(store, |event| matches!(event, StoreEvent::QueuesSynced(Ok(()))))
}

fn await_event(
    store: &mut Store<Hasty>,
    is_it: impl Fn(&StoreEvent) -> bool,
) -> Result<(), Failure> {
    loop {
        match store.poll() {
            Some(event) if is_it(&event) => return Ok(()),
            Some(StoreEvent::Synced(Err(why)) | StoreEvent::QueuesSynced(Err(why))) => {
                return Err(Failure::new(why));
            }
            Some(_) => {}
            None => std::thread::sleep(Duration::from_micros(50)),
        }
    }
}

fn topics(shape: &Shape) -> Vec<u8> {
    let mut table = TopicTable::default();
    for number in 0..shape.topics {
        let name = Shape::topic(number);
        let config = TopicConfig::new(&name, shape.queues, Perm::READ_WRITE);
        table.topic_config_table.insert(Text::from(name), config);
    }
    table.to_json()
}

fn bar(messages: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("filling the store {bar:40} {percent}% {eta}");
    ProgressBar::new(messages).with_style(style.expect("a valid template"))
}

/// Files of this disk of plain memory have handles from here on.
const PLAIN: u32 = 1 << 31;

/// A mapped disk that syncs nothing and reserves no blocks. Queues are kept in memory until all is
/// done: there may be more of them than a process can map.
struct Hasty {
    disk: MappedDisk,
    queues: PlainDisk,
    queue_dir: String,
    done: VecDeque<(Token, Result<Done, Fault>)>,
}

impl Hasty {
    fn open(root: &Path, settings: &Settings) -> Result<Self, Failure> {
        Ok(Self {
            disk: MappedDisk::open(root, || {}).map_err(Failure::new)?,
            queues: PlainDisk::default(),
            queue_dir: format!("{}/", settings.consume_queue_dir),
            done: VecDeque::new(),
        })
    }

    /// Writes the queues' files, as long as they should be, but for zeros at their ends.
    fn write_queues(&self) -> io::Result<()> {
        for path in self.queues.paths() {
            let bytes = self.queues.file(path).unwrap_or_default();
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let mut file = self.make(path, bytes.len() as u64)?;
            file.write_all(&bytes[..used])?;
        }
        Ok(())
    }

    /// A sparse file in place of a reserved one.
    fn make(&self, path: &str, len: u64) -> io::Result<File> {
        let whole = self.disk.root().join(path);
        if let Some(parent) = whole.parent() {
            fs::create_dir_all(parent)?;
        }
        let file = File::create(&whole)?;
        file.set_len(len)?;
        Ok(file)
    }

    /// What is allocated, or opened, without waiting.
    fn allocate(&mut self, path: &str, len: u64) -> Result<Done, Fault> {
        if path.starts_with(&self.queue_dir) {
            return self.queues.perform(Op::Allocate { path, len }).map(|done| match done {
                Done::Opened { file, len } => Done::Opened { file: FileId(file.0 | PLAIN), len },
                other => other,
            });
        }
        let fault = |why: io::Error| Fault::Io {
            op: "allocate",
            path: path.to_owned(),
            why: why.to_string(),
        };
        self.make(path, len).map_err(fault)?;
        self.disk.perform(Op::Open { path })
    }
}

/// The handle of a queue's file in memory.
fn in_memory(file: FileId) -> Option<FileId> {
    (file.0 & PLAIN != 0).then_some(FileId(file.0 & !PLAIN))
}

impl Memory for Hasty {
    fn bytes(&self, file: FileId, at: u64, len: usize) -> &[u8] {
        match in_memory(file) {
            Some(file) => self.queues.bytes(file, at, len),
            None => self.disk.bytes(file, at, len),
        }
    }

    fn slot(&mut self, file: FileId, at: u64, len: usize) -> &mut [u8] {
        match in_memory(file) {
            Some(file) => self.queues.slot(file, at, len),
            None => self.disk.slot(file, at, len),
        }
    }

    fn lease(&self, file: FileId, at: u64, len: usize) -> Bytes {
        self.disk.lease(file, at, len)
    }
}

impl Disk for Hasty {
    fn list(&mut self, dir: &str) -> Result<Vec<Entry>, Fault> {
        self.disk.list(dir)
    }

    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, Fault> {
        self.disk.read(path)
    }

    fn perform(&mut self, op: Op<'_>) -> Result<Done, Fault> {
        match op {
            Op::Allocate { path, len } => self.allocate(path, len),
            Op::Sync { .. } => Ok(Done::Finished),
            other => self.disk.perform(other),
        }
    }

    fn submit(&mut self, token: Token, op: Op<'_>) {
        match op {
            Op::Allocate { path, len } => {
                let outcome = self.allocate(path, len);
                self.done.push_back((token, outcome));
            }
            Op::Sync { .. } => self.done.push_back((token, Ok(Done::Finished))),
            other => self.disk.submit(token, other),
        }
    }

    fn poll(&mut self) -> Option<(Token, Result<Done, Fault>)> {
        self.done.pop_front().or_else(|| self.disk.poll())
    }
}
