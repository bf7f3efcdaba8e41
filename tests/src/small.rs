//! A small store made by the product's own store, and an independent reading of its log.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use hotfire_storage::mapped::MappedDisk;
use hotfire_storage::position::Physical;
use hotfire_storage::record::{Draft, SysFlag};
use hotfire_storage::time::Wall;
use hotfire_storage::{AppendError, Settings, Store};

/// Bytes of a log file.
pub const LOG_FILE: u32 = 1 << 20;
/// Bytes of a queue file: a hundred units.
pub const QUEUE_FILE: u32 = 2000;
/// Bytes of a batch queue file: a hundred units.
pub const BATCH_FILE: u32 = 4600;
/// Slots of an index file.
pub const INDEX_SLOTS: u32 = 50;
/// Items of an index file, one more than fit.
pub const INDEX_ITEMS: u32 = 200;
/// The topic whose queues hold inner batches.
pub const BATCH_TOPIC: &str = "Batches";

/// The settings of a small store.
pub fn settings() -> Settings {
    Settings {
        commit_log_file: LOG_FILE,
        consume_queue_file: QUEUE_FILE,
        batch_queue_file: BATCH_FILE,
        index_slots: INDEX_SLOTS,
        index_items: INDEX_ITEMS,
        max_message_size: 65_536,
        ..Settings::default()
    }
}

/// The same as lines of a `broker.conf`.
pub fn conf(root: &Path, port: u16) -> String {
    format!(
        "brokerName=small\nbrokerIP1=127.0.0.1\nbindAddress=127.0.0.1\nlistenPort={port}\n\
         haListenPort=0\nfastListenPort=0\n\
         storePathRootDir={}\nmappedFileSizeCommitLog={LOG_FILE}\n\
         mappedFileSizeConsumeQueue={QUEUE_FILE}\nmaxMessageSize=65536\n\
         maxHashSlotNum={INDEX_SLOTS}\nmaxIndexNum={INDEX_ITEMS}\n",
        root.display()
    )
}

/// Opens one.
pub fn open(root: &Path) -> Result<Store<MappedDisk>, hotfire_storage::OpenError> {
    let disk = MappedDisk::open(root, || {}).expect("nobody else has it");
    Ok(Store::open(disk, settings(), |topic| topic == BATCH_TOPIC)?.0)
}

/// Appends `count` messages of 4 KiB, each with a key, to queues 0 and 1 of each topic in turn.
pub fn append(store: &mut Store<MappedDisk>, topics: &[&str], count: usize) {
    let host = std::net::SocketAddr::from(([127, 0, 0, 1], 10911));
    for number in 0..count {
        let body = format!("{number:08}").repeat(512);
        let key = format!("KEYS\u{1}key-{number}\u{2}");
        let draft = Draft {
            topic: topics[number % topics.len()],
            queue_id: i32::from(number / topics.len() % 2 == 1),
            flag: 0,
            sys_flag: SysFlag::NONE,
            born: Wall::from_millis(1),
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared: Physical::ZERO,
            body: body.as_bytes(),
            properties: &[key.as_bytes()],
        };
        let stored = Wall::from_millis(1_000_000 + i64::try_from(number).expect("few"));
        loop {
            match store.append(stored, &draft) {
                Ok(_) => break,
                Err(AppendError::NotReady) => while store.poll().is_some() {},
                Err(error) => panic!("{error}"),
            }
        }
        while store.poll().is_some() {}
    }
}

/// Makes a store of `count` messages, `config/topics.json` included, and stops it in order.
pub fn make(root: &Path, topics: &[&str], count: usize) {
    let known = topics.iter().map(|topic| {
        let kind = if *topic == BATCH_TOPIC { "BatchCQ" } else { "SimpleCQ" };
        format!(
            "\"{topic}\":{{\"attributes\":{{\"queue.type\":\"{kind}\"}},\"perm\":6,\
             \"readQueueNums\":2,\"topicName\":\"{topic}\",\"writeQueueNums\":2}}"
        )
    });
    let known = known.collect::<Vec<_>>().join(",");
    fs::create_dir_all(root.join("config")).expect("a directory");
    let table = format!("{{\"topicConfigTable\":{{{known}}}}}");
    fs::write(root.join("config/topics.json"), table).expect("written");
    let mut store = open(root).expect("an empty directory");
    store.declare_batch(BATCH_TOPIC, true);
    append(&mut store, topics, count);
    store.close().expect("a clean stop");
}

/// Copies a directory and all in it.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("listed");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).expect("copied");
        }
    }
}

/// A message, as its bytes in the log say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Its topic.
    pub topic: String,
    /// Its queue.
    pub queue: i32,
    /// Its number there.
    pub offset: u64,
    /// Where it lies.
    pub at: u64,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// Every whole message in the files of a log, by position; reads the files and nothing else, and
/// stops in each file at the first bytes that are no message.
pub fn messages(log: &Path) -> BTreeMap<u64, Found> {
    let mut found = BTreeMap::new();
    let files = fs::read_dir(log).expect("a log").map(|entry| entry.expect("listed").path());
    for path in files.filter(|path| path.is_file()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Ok(start) = name.parse::<u64>() else { continue };
        let Ok(bytes) = fs::read(&path) else { continue };
        let mut at = 0;
        while let Some(message) = message(&bytes[at..], start + at as u64) {
            at += message.bytes.len();
            found.insert(message.at, message);
        }
    }
    found
}

fn message(bytes: &[u8], at: u64) -> Option<Found> {
    let word = |at: usize| Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    let long = |at: usize| Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    let size = word(0)? as usize;
    let flag = word(36)?;
    let wide = |bit: u32| if flag & bit == 0 { 8 } else { 20 };
    if word(4)? != 0xDAA3_20A7 || long(28)? != at || size > bytes.len() {
        return None;
    }
    let body = 48 + wide(0x10) + 8 + wide(0x20) + 12;
    let body_end = body + 4 + word(body)? as usize;
    let crc = crc32(bytes.get(body + 4..body_end)?) & 0x7FFF_FFFF;
    let topic = bytes.get(body_end + 1..)?.get(..usize::from(*bytes.get(body_end)?))?;
    (crc == word(8)?).then(|| Found {
        topic: String::from_utf8_lossy(topic).into_owned(),
        queue: word(12).unwrap_or_default().cast_signed(),
        offset: long(20).unwrap_or_default(),
        at,
        bytes: bytes[..size].to_vec(),
    })
}

/// CRC-32 (IEEE), bit by bit: not the product's.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc));
    !bytes.iter().fold(u32::MAX, byte)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_crc_is_the_common_one() {
        assert_eq!(super::crc32(b"123456789"), 0xCBF4_3926);
    }
}
