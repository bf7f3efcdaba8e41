//! Stores that Apache RocketMQ 5.4.0 wrote, opened by ours and compared with what Apache itself
//! reads from them: every queue, every unit, every byte of every message. Then the same stores,
//! damaged (`mutations.json`).
//!
//! Queues of `store-kill9` have extensions. Recovery writes them again from the log, without the
//! bitmaps of SQL filters; without extensions it writes the tags' hash in the address' place.
//! Apache's own reader resolves an address to the same number.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use hotfire_storage::checkpoint::Checkpoint;
use hotfire_storage::documents::{Document, GroupTable, OffsetTable, TopicConfig, TopicTable};
use hotfire_storage::mapped::MappedDisk;
use hotfire_storage::position::{Physical, QueueOffset};
use hotfire_storage::record::{SysFlag, body_crc, offset_message_id};
use hotfire_storage::time::Wall;
use hotfire_storage::{KeyKind, OpenError, Opened, Query, Settings, Store};
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// What Apache made of a store.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Expected {
    broker_config: BTreeMap<String, String>,
    store: Summary,
    topics: BTreeMap<String, BTreeMap<i32, Queue>>,
    consumer_offsets: BTreeMap<String, BTreeMap<i32, i64>>,
    index_queries: Vec<IndexQuery>,
}

/// A key, and where Apache found it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IndexQuery {
    topic: String,
    key: String,
    phy_offsets: Vec<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    min_phy_offset: u64,
    max_phy_offset: u64,
    messages_in_queues: u64,
}

#[derive(Deserialize)]
struct Queue {
    min: u64,
    max: u64,
    units: Vec<UnitRow>,
    messages: Vec<Message>,
}

/// Queue offset, position, size, tags code, messages in it.
type UnitRow = (u64, u64, u32, i64, u16);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    queue_offset: u64,
    phy_offset: u64,
    size: u32,
    topic: String,
    queue_id: i32,
    offset_msg_id: String,
    body_sha256: String,
    #[serde(rename = "bodyCRC")]
    body_crc: u32,
    raw_sha256: String,
    flag: i32,
    sys_flag: i32,
    born_timestamp: i64,
    store_timestamp: i64,
    born_host: String,
    store_host: String,
    reconsume_times: i32,
    prepared_transaction_offset: u64,
    properties: BTreeMap<String, String>,
}

/// A damage, and what Apache makes of it.
#[derive(Deserialize)]
struct Mutation {
    name: String,
    base: String,
    ops: Vec<Damage>,
    expected: MutationOutcome,
}

#[derive(Deserialize)]
struct Damage {
    op: String,
    #[serde(alias = "path")]
    file: String,
    #[serde(default)]
    at: u64,
    #[serde(default)]
    from: u64,
    #[serde(default)]
    to: u64,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    hex: String,
}

#[derive(Deserialize)]
struct MutationOutcome {
    started: bool,
    store: Option<Summary>,
    #[serde(default)]
    queues: BTreeMap<String, (u64, u64, u64, u64, String)>,
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name)
}

fn gunzip(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = fs::File::open(golden(name)).expect("a golden file");
    GzDecoder::new(file).read_to_end(&mut bytes).expect("gzip");
    bytes
}

fn expected(base: &str) -> Expected {
    let name = format!("expected-{}.json.gz", base.trim_start_matches("store-"));
    serde_json::from_slice(&gunzip(&name)).expect("what Apache recovered")
}

/// A golden store, unpacked into a directory of its own.
struct Unpacked {
    dir: tempfile::TempDir,
    base: String,
    settings: Settings,
}

impl Unpacked {
    fn new(base: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let archive = gunzip(&format!("{base}.tar.gz"));
        tar::Archive::new(&archive[..]).unpack(dir.path()).expect("a tar archive");
        let settings = settings(&expected(base).broker_config);
        Self { dir, base: base.to_owned(), settings }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(&self.base).join(file)
    }

    fn open(&self) -> Result<(Store<MappedDisk>, Opened), OpenError> {
        let topics = fs::read(self.path("config/topics.json")).expect("topics");
        let topics = TopicTable::parse(&topics).expect("Apache's topics").topic_config_table;
        let disk = MappedDisk::open(self.path(""), || {}).expect("nobody else has it");
        let is_batch = |topic: &str| topics.get(topic).is_some_and(TopicConfig::is_batch);
        Store::open(disk, self.settings.clone(), is_batch)
    }
}

fn settings(config: &BTreeMap<String, String>) -> Settings {
    let number = |key: &str| config[key].parse::<u32>().expect("a number");
    let is = |key: &str| config.get(key).is_some_and(|value| value == "true");
    let delay_levels = config["messageDelayLevel"].split(' ').map(|level| {
        let (count, unit) = level.split_at(level.len() - 1);
        let unit = match unit {
            "s" => 1_000,
            "m" => 60_000,
            _ => 3_600_000,
        };
        count.parse::<i64>().expect("a number") * unit
    });
    Settings {
        commit_log_file: number("mappedFileSizeCommitLog"),
        consume_queue_file: number("mappedFileSizeConsumeQueue"),
        batch_queue_file: number("mapperFileSizeBatchConsumeQueue"),
        index_slots: number("maxHashSlotNum"),
        index_items: number("maxIndexNum"),
        max_message_size: number("maxMessageSize"),
        delay_levels: delay_levels.collect(),
        light_queues: is("enableLmq") && is("enableMultiDispatch"),
        queue_ext: is("enableConsumeQueueExt"),
        queue_ext_file: number("mappedFileSizeConsumeQueueExt"),
        ..Settings::default()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn units(store: &Store<MappedDisk>, topic: &str, id: i32) -> Vec<UnitRow> {
    let Some(view) = store.queue_view(topic, id) else { return Vec::new() };
    let tags = |unit: &_| view.tags_code(unit).expect("what a unit points at is there");
    let units = view.units_from(view.range().min);
    units.map(|u| (u.first.get(), u.span.at.get(), u.span.len, tags(&u), u.count)).collect()
}

/// Apache served the topics named `Compact` from their compaction log, whose records differ from
/// the originals in one field: each holds its position there.
fn compare_message(store: &Store<MappedDisk>, unit: &UnitRow, message: &Message) {
    let at = Physical::new(unit.1);
    let record = store.record(at).expect("a record");
    let is_compacted = record.topic().ends_with("Compact");
    assert!(is_compacted || message.phy_offset == unit.1, "{at}: {}", record.topic());
    let mut raw = record.bytes().to_vec();
    raw[28..36].copy_from_slice(&message.phy_offset.to_be_bytes());
    assert_eq!(sha256(&raw), message.raw_sha256, "record at {at}");
    assert_eq!((record.size(), record.body_crc()), (message.size, message.body_crc));
    assert_eq!(body_crc(record.body()), message.body_crc);
    assert_eq!(sha256(record.body()), message.body_sha256);
    assert_eq!((record.topic(), record.queue_id()), (&message.topic[..], message.queue_id));
    assert_eq!(record.queue_offset(), QueueOffset::new(message.queue_offset));
    assert_eq!((record.flag(), record.reconsume_times()), (message.flag, message.reconsume_times));
    assert_eq!(record.sys_flag(), SysFlag::from_bits(message.sys_flag));
    assert_eq!(record.born().as_millis(), message.born_timestamp);
    assert_eq!(record.store_time().as_millis(), message.store_timestamp);
    assert_eq!(format!("/{}", record.born_host()), message.born_host);
    assert_eq!(format!("/{}", record.store_host()), message.store_host);
    assert_eq!(record.prepared().get(), message.prepared_transaction_offset);
    let served_at = Physical::new(message.phy_offset);
    let id = offset_message_id(record.store_host(), served_at).to_string();
    assert_eq!(id, message.offset_msg_id);
    for (key, value) in &message.properties {
        assert_eq!(record.property(key), Some(value.as_bytes()), "{key} of {at}");
    }
}

/// Compares everything; returns queues, units and messages seen.
fn compare(store: &Store<MappedDisk>, expected: &Expected) -> (usize, usize, usize) {
    assert_eq!(store.start().get(), expected.store.min_phy_offset);
    assert_eq!(store.written().end().get(), expected.store.max_phy_offset);
    let (mut queues, mut seen, mut messages) = (0, 0, 0);
    for (topic, ids) in &expected.topics {
        for (id, queue) in ids {
            let range = store.queue(topic, *id).unwrap_or_default();
            assert_eq!((range.min.get(), range.max.get()), (queue.min, queue.max), "{topic}/{id}");
            assert_eq!(units(store, topic, *id), queue.units, "{topic}/{id}");
            assert_eq!(queue.units.len(), queue.messages.len(), "{topic}/{id}");
            for (unit, message) in queue.units.iter().zip(&queue.messages) {
                compare_message(store, unit, message);
            }
            queues += 1;
            seen += queue.units.len();
            messages += queue.messages.len();
        }
    }
    (queues, seen, messages)
}

/// Every key that Apache was asked for is found where, and in the order in which, Apache found it.
fn compare_index(store: &Store<MappedDisk>, expected: &Expected) {
    let (begin, end) = (Wall::from_millis(0), Wall::from_millis(i64::MAX));
    for IndexQuery { topic, key, phy_offsets } in &expected.index_queries {
        let query = Query { topic, kind: KeyKind::Key, key, begin, end };
        let mut found = Vec::new();
        store.query(&query, |at| {
            found.push(at.get());
            false
        });
        assert_eq!(&found, phy_offsets, "{topic}#{key}");
    }
    assert_eq!(expected.index_queries.len(), 40);
    assert_eq!(store.indexed_upto(), store.written().end());
}

/// The index files, by name.
fn index_files(unpacked: &Unpacked) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(unpacked.path("index")).expect("an index");
    let file = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().expect("digits");
        (name, fs::read(entry.path()).expect("a file"))
    };
    let mut files: Vec<_> = entries.map(|entry| file(entry.expect("an entry"))).collect();
    files.sort();
    files
}

#[test]
fn an_index_made_from_the_log_is_apaches_byte_for_byte() {
    let unpacked = Unpacked::new("store-clean");
    let theirs = index_files(&unpacked);
    assert_eq!(theirs.len(), 9);
    fs::remove_dir_all(unpacked.path("index")).expect("deleted");
    let (mut store, opened) = unpacked.open().expect("a sound store");
    assert_eq!(opened.indexed_from.get(), 0, "{opened:?}");
    compare_index(&store, &expected("store-clean"));
    store.close().expect("a clean stop");
    let bytes = |files: Vec<(String, Vec<u8>)>| -> Vec<_> {
        files.into_iter().map(|(_, bytes)| bytes).collect()
    };
    assert!(bytes(index_files(&unpacked)) == bytes(theirs), "the files differ");
    // What Apache would delete at a start after a crash: nothing but the newest file.
    let checkpoint = fs::read(unpacked.path("checkpoint")).expect("written at the stop");
    let until = Checkpoint::decode(&checkpoint).expect("sound").index.as_millis();
    assert_eq!(until, 1_795_505_547_454);
}

#[test]
fn a_store_that_apache_closed_reads_byte_for_byte_and_is_left_as_it_was() {
    let unpacked = Unpacked::new("store-clean");
    let expected = expected("store-clean");
    let index = index_files(&unpacked);
    let (mut store, opened) = unpacked.open().expect("a sound store");
    assert!(opened.clean && opened.cut.is_none(), "{opened:?}");
    assert_eq!(opened.indexed_from, opened.end, "{opened:?}");
    compare_index(&store, &expected);
    let (queues, units, messages) = compare(&store, &expected);
    assert_eq!((queues, messages), (111, 1259), "{units} units");
    assert_eq!(messages as u64, expected.store.messages_in_queues);
    store.verify_all().expect("queues follow the log");
    assert_eq!(store.records_from(store.start()).count(), 1229);
    store.close().expect("a clean stop");
    drop(store);
    // A second life, after our own stop.
    let (store, opened) = unpacked.open().expect("a sound store");
    assert!(opened.clean && opened.dispatched == 0, "{opened:?}");
    compare(&store, &expected);
    compare_index(&store, &expected);
    assert!(index_files(&unpacked) == index, "the index was changed");
}

#[test]
fn a_store_whose_broker_was_killed_gets_its_queues_back() {
    let unpacked = Unpacked::new("store-kill9");
    let index = index_files(&unpacked);
    let (store, opened) = unpacked.open().expect("a sound store");
    assert!(!opened.clean, "{opened:?}");
    // Six full files are covered by the checkpoint; the seventh, of which the log has more, is not.
    assert_eq!(opened.indexed_from.get(), 435_715, "{opened:?}");
    assert!(index_files(&unpacked)[..6] == index[..6], "full files are kept");
    compare_index(&store, &expected("store-kill9"));
    let (_, units, messages) = compare(&store, &expected("store-kill9"));
    assert_eq!((units, messages), (2978, 2978));
    assert_eq!(store.records_from(store.start()).count(), 2978);
    store.verify_all().expect("queues follow the log");
    drop(store);
    // The recovered store, killed again: recovery is idempotent.
    let (store, opened) = unpacked.open().expect("a sound store");
    assert!(!opened.clean, "{opened:?}");
    compare(&store, &expected("store-kill9"));
    compare_index(&store, &expected("store-kill9"));
}

/// Bytes of every extension, by path; those of queues with bitmaps apart.
fn extensions(unpacked: &Unpacked) -> (BTreeMap<PathBuf, Vec<u8>>, BTreeMap<PathBuf, Vec<u8>>) {
    let dirs = |path: PathBuf| fs::read_dir(path).expect("a directory").map(|e| e.unwrap().path());
    let root = unpacked.path("consumequeue_ext");
    let files = dirs(root).flat_map(dirs).flat_map(dirs);
    let files = files.map(|path| (path.clone(), fs::read(path).expect("a file")));
    files.partition(|(path, _)| !path.to_str().expect("ASCII").contains("/Filter/"))
}

/// The units of an extension's first file: tags code, store time, bitmap.
fn ext_units(bytes: &[u8]) -> Vec<(&[u8], &[u8], &[u8])> {
    let (mut units, mut rest) = (Vec::new(), bytes);
    while let size @ 1.. = usize::from(u16::from_be_bytes([rest[0], rest[1]])) {
        units.push((&rest[2..10], &rest[10..18], &rest[20..size]));
        rest = &rest[size..];
    }
    units
}

#[test]
fn extensions_are_written_again_as_apache_wrote_them_but_for_its_bitmaps() {
    let unpacked = Unpacked::new("store-kill9");
    let (plain, mapped) = extensions(&unpacked);
    assert_eq!((plain.len(), mapped.len()), (38, 2));
    drop(unpacked.open().expect("a sound store"));
    let mut seen = 0;
    for (path, theirs) in &plain {
        let ours = fs::read(path).expect("a file");
        let units = ext_units(theirs);
        // Apache died in the middle of its work: its queues are behind the log.
        assert_eq!(ours[..20 * units.len()], theirs[..20 * units.len()], "{}", path.display());
        seen += units.len();
    }
    for (path, theirs) in &mapped {
        let ours = fs::read(path).expect("a file");
        for (ours, theirs) in ext_units(&ours).into_iter().zip(ext_units(theirs)) {
            assert_eq!((ours.0, ours.1, ours.2.len()), (theirs.0, theirs.1, 0));
            assert_eq!(theirs.2.len(), 14);
            seen += 1;
        }
    }
    assert_eq!(seen, 891);
}

#[test]
fn without_extensions_recovery_writes_the_hash_itself() {
    let mut unpacked = Unpacked::new("store-kill9");
    unpacked.settings.queue_ext = false;
    let (plain, mapped) = extensions(&unpacked);
    let (store, _) = unpacked.open().expect("a sound store");
    compare(&store, &expected("store-kill9"));
    store.verify_all().expect("queues follow the log");
    assert_eq!(extensions(&unpacked), (plain, mapped), "they are left alone");
}

#[test]
fn the_state_files_of_apache_are_read() {
    let unpacked = Unpacked::new("store-clean");
    let read = |file: &str| fs::read(unpacked.path(file)).expect("a state file");
    let topics = TopicTable::parse(&read("config/topics.json")).expect("topics");
    assert_eq!((topics.topic_config_table.len(), topics.data_version.counter), (75, 64));
    let groups = GroupTable::parse(&read("config/subscriptionGroup.json")).expect("groups");
    assert_eq!(groups.data_version.counter, 22);
    let offsets = OffsetTable::parse(&read("config/lmqConsumerOffset.json")).expect("offsets");
    for (key, queues) in expected("store-clean").consumer_offsets {
        assert_eq!(offsets.offset_table.get(&key[..]), Some(&queues), "{key}");
    }
    assert_eq!(TopicTable::parse(&topics.to_json()).expect("our own"), topics);
}

fn damage(unpacked: &Unpacked, damage: &Damage) {
    let path = unpacked.path(&damage.file);
    let size = |bytes: u64| usize::try_from(bytes).expect("a file in memory");
    let patch: Vec<u8> = (0..damage.hex.len() / 2)
        .map(|n| u8::from_str_radix(&damage.hex[2 * n..2 * n + 2], 16).expect("hex"))
        .collect();
    let edit = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(&path).expect("a file");
        change(&mut bytes);
        fs::write(&path, bytes).expect("written");
    };
    let at = size(damage.at);
    match damage.op.as_str() {
        "create" => fs::write(&path, b"").expect("created"),
        "delete" if path.is_dir() => fs::remove_dir_all(&path).expect("deleted"),
        "delete" => fs::remove_file(&path).expect("deleted"),
        "truncate" => edit(&|bytes| bytes.truncate(size(damage.size))),
        "write" => edit(&|bytes| bytes[at..at + patch.len()].copy_from_slice(&patch)),
        "xor" => edit(&|bytes| bytes[at..].iter_mut().zip(&patch).for_each(|(b, p)| *b ^= p)),
        "zero" => edit(&|bytes| bytes[size(damage.from)..size(damage.to)].fill(0)),
        other => panic!("unknown damage {other}"),
    }
}

#[test]
fn damaged_stores_are_recovered_as_apache_recovers_them() {
    let text = fs::read(golden("mutations.json")).expect("the damages");
    let mutations: Vec<Mutation> = serde_json::from_slice(&text).expect("the damages");
    assert_eq!(mutations.len(), 7);
    for mutation in mutations {
        let name = &mutation.name;
        let unpacked = Unpacked::new(&mutation.base);
        mutation.ops.iter().for_each(|op| damage(&unpacked, op));
        let Some(summary) = mutation.expected.store else {
            // A queue file that was cut: Apache refuses, and the log knows what the file said.
            assert!(!mutation.expected.started);
            let (store, _) = unpacked.open().expect(name);
            compare(&store, &expected(&mutation.base));
            store.verify_all().expect("queues follow the log");
            continue;
        };
        let (store, opened) = unpacked.open().expect(name);
        assert_eq!(store.start().get(), summary.min_phy_offset, "{name}: {opened:?}");
        assert_eq!(store.written().end().get(), summary.max_phy_offset, "{name}: {opened:?}");
        for (queue, (min, max, count, _, sha)) in &mutation.expected.queues {
            let (topic, id) = queue.rsplit_once('/').expect("topic and id");
            let id = id.parse().expect("an id");
            let range = store.queue(topic, id).unwrap_or_default();
            assert_eq!((range.min.get(), range.max.get()), (*min, *max), "{name}: {queue}");
            let units = units(&store, topic, id);
            assert_eq!(units.len() as u64, *count, "{name}: {queue}");
            let text = serde_json::to_vec(&units).expect("JSON");
            assert_eq!(sha256(&text), *sha, "{name}: {queue}");
        }
    }
}

/// Its queues say what was durable. Apache itself would cut the log there, with all that follows.
#[test]
fn a_store_that_apache_closed_is_not_cut_where_it_is_damaged() {
    let unpacked = Unpacked::new("store-clean");
    let last = unpacked.path("commitlog/00000000000002097152");
    let sound = fs::read(&last).expect("a log file");
    let (mut flipped, zeros) = (sound.clone(), vec![0; sound.len()]);
    flipped[60_000] ^= 1;
    // Twice each: a refusal must not make the next start a careless one.
    for damaged in [&flipped, &flipped, &zeros, &zeros] {
        fs::write(&last, damaged).expect("written");
        let refused = unpacked.open().map(|(_, opened)| opened);
        assert!(matches!(refused, Err(OpenError::Rot { .. })), "{refused:?}");
        assert!(fs::read(&last).expect("a log file") == *damaged, "it was changed");
    }
    fs::write(&last, sound).expect("written");
    let (_, opened) = unpacked.open().expect("a sound store again");
    assert!(opened.clean, "refused starts leave no abort file: {opened:?}");
}
