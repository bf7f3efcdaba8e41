//! Starts after a crash of ours: they write what the checkpoint does not cover, and nothing else.

use std::collections::BTreeMap;

use super::*;
use crate::seam::{Entry, Memory};

const MENDING: &str = "mending";

/// Writes down what is done, and fails from some operation on.
#[derive(Debug, Default)]
struct Told {
    disk: PlainDisk,
    left: Option<usize>,
    paths: BTreeMap<FileId, String>,
    ops: Vec<String>,
}

impl Told {
    fn new(disk: &PlainDisk, left: Option<usize>) -> Self {
        Self { disk: disk.clone(), left, ..Self::default() }
    }

    fn tell(&mut self, op: Op<'_>) {
        let (word, path) = match op {
            Op::Allocate { path, .. } => ("allocate", path),
            Op::Delete { file } => ("delete", self.paths[&file].as_str()),
            Op::Remove { path } => ("remove", path),
            Op::Rename { file, .. } => ("rename", self.paths[&file].as_str()),
            Op::Replace { path, .. } => ("replace", path),
            Op::Sync { file, .. } => ("sync", self.paths[&file].as_str()),
            Op::Zero { file, .. } => ("zero", self.paths[&file].as_str()),
            Op::Measure { .. } | Op::Open { .. } => return,
        };
        self.ops.push(format!("{word} {path}"));
    }

    /// Operations on files whose names begin like this.
    fn on(&self, prefix: &str) -> Vec<&str> {
        let ops = self.ops.iter().map(String::as_str);
        ops.filter(|op| op.split(' ').nth(1).is_some_and(|path| path.starts_with(prefix))).collect()
    }
}

impl Memory for &mut Told {
    fn bytes(&self, file: FileId, at: u64, len: usize) -> &[u8] {
        self.disk.bytes(file, at, len)
    }

    fn slot(&mut self, file: FileId, at: u64, len: usize) -> &mut [u8] {
        self.disk.slot(file, at, len)
    }

    fn lease(&self, file: FileId, at: u64, len: usize) -> bytes::Bytes {
        self.disk.lease(file, at, len)
    }
}

impl Disk for &mut Told {
    fn list(&mut self, dir: &str) -> Result<Vec<Entry>, Fault> {
        self.disk.list(dir)
    }

    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, Fault> {
        self.disk.read(path)
    }

    fn perform(&mut self, op: Op<'_>) -> Result<Done, Fault> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1).ok_or(Fault::Crashed)?;
        }
        self.tell(op);
        let done = self.disk.perform(op)?;
        if let (Op::Allocate { path, .. } | Op::Open { path }, Done::Opened { file, .. }) =
            (op, done)
        {
            self.paths.insert(file, path.to_owned());
        }
        Ok(done)
    }

    fn submit(&mut self, token: Token, op: Op<'_>) {
        self.tell(op);
        self.disk.submit(token, op);
    }

    fn poll(&mut self) -> Option<(Token, Result<Done, Fault>)> {
        self.disk.poll()
    }
}

fn reopen(disk: &mut Told) -> (Store<&mut Told>, Opened) {
    Store::open(disk, settings(), |_| false).expect("a sound store")
}

fn send(store: &mut Store<PlainDisk>, topics: &[&str]) {
    for topic in topics {
        append(store, &draft(topic, topic.as_bytes(), &[b"KEYS\x01k\x02"]));
        drop(events(store));
    }
}

fn checkpoint(store: &mut Store<PlainDisk>) -> Physical {
    store.sync(store.flushed().end(), store.committed());
    drop(events(store));
    store.sync_queues();
    assert!(events(store).contains(&StoreEvent::QueuesSynced(Ok(()))));
    store.written().end()
}

/// Two messages for each of three queues that a checkpoint covers; four more that it does not. Of
/// the last two the medium has the units, and of the records if `whole`.
fn killed(whole: bool) -> (PlainDisk, Physical) {
    let (mut store, _) = open(PlainDisk::default());
    send(&mut store, &["a", "b", "c", "a", "b", "c"]);
    let covered = checkpoint(&mut store);
    send(&mut store, &["a", "a"]);
    let lost = store.written().end().get();
    send(&mut store, &["b", "a"]);
    let mut disk = store.into_disk().reopened();
    if !whole {
        let logs = disk.paths().filter(|path| path.starts_with("commitlog/"));
        for path in logs.map(str::to_owned).collect::<Vec<_>>() {
            let start: u64 = path[path.len() - 20..].parse().expect("a position");
            let mut bytes = disk.file(&path).expect("listed").to_vec();
            let keeps = lost.saturating_sub(start).min(bytes.len() as u64);
            bytes[usize::try_from(keeps).expect("small")..].fill(0);
            disk.put_file(&path, bytes);
        }
    }
    (disk, covered)
}

fn counts<D: Disk>(store: &Store<D>) -> [u64; 3] {
    store.verify_all().expect("queues follow the log");
    ["a", "b", "c"].map(|topic| store.queue(topic, 0).map_or(0, |range| range.max.get()))
}

#[test]
fn nothing_of_a_queue_is_synced_and_nothing_more_is_said_of_it() {
    let (disk, covered) = killed(true);
    let mut told = Told::new(&disk, None);
    let (mut store, opened) = reopen(&mut told);
    assert_eq!(opened.scanned_from, Physical::new(covered.get() - 120), "one record below");
    assert_eq!((opened.indexed_from, opened.dispatched), (covered, 4));
    assert_eq!(counts(&store), [5, 3, 2]);
    let durable = store.checkpoint.durable.expect("positions");
    assert_eq!((durable.flushed, durable.queued), (store.written().end(), covered));
    assert_eq!(durable.indexed, covered);
    let before = store.disk().ops.len();
    store.sync_queues();
    while let Some(event) = store.poll() {
        assert_eq!(event, StoreEvent::QueuesSynced(Ok(())));
    }
    let durable = store.checkpoint.durable.expect("positions");
    let end = store.written().end();
    assert_eq!((durable.queued, durable.indexed), (end, end));
    drop(store);
    let later = told.ops.split_off(before);
    assert!(told.on("consumequeue/").is_empty() && told.on("index/").is_empty(), "{told:?}");
    assert!(told.on(MENDING).is_empty(), "{told:?}");
    told.ops = later;
    let synced = ["sync consumequeue/a", "sync consumequeue/b", "sync index/"];
    for wanted in synced {
        assert!(told.ops.iter().any(|op| op.starts_with(wanted)), "{wanted}: {told:?}");
    }
    assert!(told.on("consumequeue/c").is_empty(), "nothing was appended there");
}

#[test]
fn a_crash_behind_such_a_start_finds_as_much() {
    let (disk, covered) = killed(true);
    let (store, _) = open(disk);
    let (mut store, opened) = open(store.into_disk().reopened());
    assert_eq!((opened.indexed_from, opened.dispatched), (covered, 4));
    send(&mut store, &["b", "d"]);
    let (store, opened) = open(store.into_disk().reopened());
    assert_eq!((opened.dispatched, counts(&store)), (6, [5, 4, 2]));
    assert_eq!(bodies(&store, "d"), [b"d"]);
    let mut store = store;
    store.close().expect("a clean stop");
    let (store, opened) = open(store.into_disk().reopened());
    assert!(opened.clean && counts(&store) == [5, 4, 2]);
}

#[test]
fn units_whose_records_are_gone_are_made_zero_and_word_is_left_meanwhile() {
    let (disk, covered) = killed(false);
    let mut told = Told::new(&disk, None);
    let (store, opened) = reopen(&mut told);
    assert_eq!((opened.indexed_from, opened.dispatched), (covered, 2));
    assert_eq!(counts(&store), [4, 2, 2]);
    drop(store);
    assert_word_is_left(&told.ops);
    assert!(told.on("consumequeue/c").is_empty(), "{told:?}");
}

/// It makes zeros of more than it counted on, and if it dies the checkpoint stands as it was.
#[test]
fn word_is_left_by_a_start_that_takes_nothing_for_granted_too() {
    let (mut disk, _) = killed(false);
    // A lost page of a new queue shows a unit of another one, of long ago.
    let file = |topic: &str| format!("consumequeue/{topic}/0/{:020}", 0);
    let strange = disk.file(&file("a")).expect("a file").to_vec();
    disk.put_file(&file("d"), strange);
    let mut told = Told::new(&disk, None);
    let (store, opened) = reopen(&mut told);
    assert_eq!((opened.dispatched, counts(&store)), (8, [4, 2, 2]));
    drop(store);
    assert_word_is_left(&told.ops);
}

fn assert_word_is_left(ops: &[String]) {
    let place = |wanted: &str| ops.iter().position(|op| op.starts_with(wanted));
    let order = [
        "replace mending",
        "zero consumequeue/b",
        "sync consumequeue/b",
        "replace checkpoint",
        "remove mending",
    ];
    let places = order.map(|wanted| place(wanted).unwrap_or_else(|| panic!("{wanted}: {ops:?}")));
    assert!(places.is_sorted(), "{ops:?}");
}

#[test]
fn whoever_finds_the_word_makes_sure_of_every_queue() {
    let (disk, _) = killed(false);
    let mut found = 0;
    for left in 0.. {
        let mut dying = Told::new(&disk, Some(left));
        let is_over = Store::open(&mut dying, settings(), |_| false).is_ok();
        let left_behind = dying.disk.reopened();
        let mut told = Told::new(&left_behind, None);
        let (store, _) = reopen(&mut told);
        assert_eq!(counts(&store), [4, 2, 2], "died after {left} operations");
        drop(store);
        assert!(told.disk.file(MENDING).is_none());
        if left_behind.file(MENDING).is_some() {
            found += 1;
            assert!(!told.on("consumequeue/c").is_empty(), "died after {left}: {told:?}");
        }
        if is_over {
            break;
        }
    }
    assert!(found > 2, "it died in between");
}

/// Nothing lies behind the checkpoint. What was stored last is known all the same, from the log,
/// whatever the checkpoint says of it.
#[test]
fn the_newest_record_is_known_although_none_is_new() {
    let (mut store, _) = open(PlainDisk::default());
    send(&mut store, &["a", "b", "c"]);
    checkpoint(&mut store);
    let (newest, sound) = (store.newest(), store.checkpoint);
    assert_ne!(newest, Wall::default());
    let disk = store.into_disk().reopened();
    let older = Checkpoint { physic: Wall::from_millis(1), confirm: 0, ..sound };
    let mut torn = sound.encode();
    torn[..40].fill(0);
    for bytes in [sound.encode(), older.encode(), torn] {
        let mut disk = disk.clone();
        disk.put_file("checkpoint", bytes.to_vec());
        let (store, opened) = open(disk);
        assert_eq!((opened.records, opened.scanned_from), (1, Physical::new(240)));
        let Checkpoint { physic, confirm, .. } = store.checkpoint;
        assert_eq!((store.newest(), physic, confirm), (newest, sound.physic, sound.confirm));
    }
}

/// What the checkpoint covers is on the medium, and not read again; but a file that does not begin
/// as it should is another one, and a last record that is damaged is not to be built on.
#[test]
fn a_file_that_is_not_what_it_was_is_refused() {
    let (disk, covered) = killed(true);
    let path = format!("commitlog/{:020}", 0);
    let end = usize::try_from(covered.get()).expect("small");
    for damaged in [0..8, end - 8..end] {
        let mut disk = disk.clone();
        let mut bytes = disk.file(&path).expect("a file").to_vec();
        bytes[damaged].iter_mut().for_each(|byte| *byte ^= 0x5A);
        disk.put_file(&path, bytes);
        let refused = Store::open(disk, settings(), |_| false).err();
        assert!(matches!(refused, Some(OpenError::Rot { durable, .. }) if durable == covered));
    }
}

#[test]
fn queues_that_do_not_end_where_the_checkpoint_says_are_looked_into() {
    let path = |topic: &str| format!("consumequeue/{topic}/0/{:020}", 0);
    // A file is gone; another queue's is in its place; one ends too soon.
    let damages: [fn(&mut PlainDisk, [&str; 2]); 3] = [
        |disk, [_, c]| assert!(disk.take_file(c)),
        |disk, [b, c]| {
            let of = |path| disk.file(path).expect("a file").to_vec();
            let (one, other) = (of(b), of(c));
            disk.put_file(b, other);
            disk.put_file(c, one);
        },
        |disk, [_, c]| {
            let mut bytes = disk.file(c).expect("a file").to_vec();
            bytes[20..40].fill(0);
            disk.put_file(c, bytes);
        },
    ];
    for damage in damages {
        let (mut disk, _) = killed(true);
        damage(&mut disk, [&path("b"), &path("c")]);
        let mut told = Told::new(&disk, None);
        let (store, _) = reopen(&mut told);
        assert_eq!(counts(&store), [5, 3, 2]);
        let durable = store.checkpoint.durable.expect("positions");
        assert_eq!(durable.queued, store.written().end());
        drop(store);
        assert!(!told.on("consumequeue/a").is_empty(), "{told:?}");
    }
}

/// What was in the way of a checkpoint did not keep the log's first file from going. The units of
/// its records were taken for lost then, and the next one for the first behind a gap.
#[test]
fn units_of_records_that_are_gone_stay_though_the_checkpoint_is_older() {
    let (mut store, _) = open(PlainDisk::default());
    send(&mut store, &["a"]);
    checkpoint(&mut store);
    let older = store.disk().file("checkpoint").expect("written").to_vec();
    while store.written().end().get() < 2048 {
        send(&mut store, &["a"]);
    }
    checkpoint(&mut store);
    let begun = store.delete_oldest_log_file().expect("it is on the medium").end;
    drop(events(&mut store));
    let range = store.queue("a", 0).expect("a queue");
    let mut disk = store.into_disk().reopened();
    disk.put_file("checkpoint", older);
    let (store, opened) = open(disk);
    assert_eq!((opened.clean, opened.scanned_from), (false, begun));
    assert_eq!(store.queue("a", 0), Some(range));
    store.verify_all().expect("queues follow the log");
}
