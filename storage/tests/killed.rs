//! A process that appends to a store on mapped files is killed in the middle, for real: whatever
//! it acknowledged is there afterwards.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use hotfire_storage::mapped::MappedDisk;
use hotfire_storage::position::{Physical, QueueOffset};
use hotfire_storage::record::{Draft, SysFlag};
use hotfire_storage::time::Wall;
use hotfire_storage::{AppendError, Settings, Store, StoreEvent};

/// Names the child's directory, and thereby makes the child.
const CHILD_DIR: &str = "HOTFIRE_KILLED_DIR";
const TOPICS: [&str; 2] = ["odd", "even"];
const LIVES: usize = 3;
const ACKNOWLEDGED_A_LIFE: usize = 700;

fn open(dir: &Path) -> Store<MappedDisk> {
    let settings = Settings {
        commit_log_file: 256 * 1024,
        consume_queue_file: 4000,
        index_slots: 50,
        index_items: 200,
        max_message_size: 4096,
        ..Settings::default()
    };
    let disk = MappedDisk::open(dir, || {}).expect("nobody else has it");
    Store::open(disk, settings, |_| false).expect("a sound store").0
}

fn body(number: u64) -> Vec<u8> {
    format!("{number},").repeat(1 + usize::try_from(number % 90).expect("small")).into_bytes()
}

fn append(store: &mut Store<MappedDisk>, number: u64) -> Physical {
    let host = std::net::SocketAddr::from(([127, 0, 0, 1], 10911));
    let (body, keys) = (body(number), format!("UNIQ_KEY\u{1}{number}\u{2}"));
    let draft = Draft {
        topic: TOPICS[usize::from(number.is_multiple_of(2))],
        queue_id: 0,
        flag: 0,
        sys_flag: SysFlag::NONE,
        born: Wall::default(),
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared: Physical::ZERO,
        body: &body,
        properties: &[keys.as_bytes()],
    };
    loop {
        match store.append(Wall::from_millis(1), &draft) {
            Ok(appended) => {
                store.end_turn();
                return appended.span.at;
            }
            Err(AppendError::NotReady) => while store.poll().is_some() {},
            Err(error) => panic!("{error}"),
        }
    }
}

/// Not a test of its own: what the killed process runs.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let mut store = open(Path::new(&dir));
    let mut synced = store.written().end();
    let mut out = std::io::stdout();
    for number in 0..u64::MAX {
        let at = append(&mut store, number);
        writeln!(out, "ack {number} {at}").expect("the parent listens");
        out.flush().expect("the parent listens");
        if number % 50 == 49 && !store.is_syncing() {
            let written = store.committed();
            store.sync(synced, written);
            store.sync_queues();
        }
        store.tend_index();
        while let Some(event) = store.poll() {
            match event {
                StoreEvent::Synced(outcome) => synced = outcome.expect("a sound disk").end(),
                StoreEvent::QueuesSynced(outcome) => outcome.expect("a sound disk"),
                _ => {}
            }
        }
    }
}

#[test]
fn whatever_a_killed_process_acknowledged_is_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut acknowledged: Vec<(u64, Physical)> = Vec::new();
    for life in 1..=LIVES {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "child", "--nocapture"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test, once more");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut seen = 0;
        while let Some(Ok(line)) = lines.next() {
            // The test harness prints as well, and the last line may be cut.
            let Some((number, at)) = line.strip_prefix("ack ").and_then(|ack| ack.split_once(' '))
            else {
                continue;
            };
            let (Ok(number), Ok(at)) = (number.parse(), at.parse()) else { continue };
            acknowledged.push((number, Physical::new(at)));
            seen += 1;
            if seen == ACKNOWLEDGED_A_LIFE * life {
                child.kill().expect("still alive");
            }
        }
        child.wait().expect("dead");
        assert!(seen >= ACKNOWLEDGED_A_LIFE * life, "the child ended by itself after {seen}");

        let store = open(dir.path());
        store.verify_all().expect("queues follow the log");
        for (number, at) in &acknowledged {
            let record = store.record(*at).expect("an acknowledged record");
            assert_eq!(record.body(), body(*number), "at {at}");
        }
        let units = TOPICS.map(|topic| store.queue(topic, 0).expect("a queue").max.get());
        assert!(units.iter().sum::<u64>() >= acknowledged.len() as u64);
        let last = QueueOffset::new(units[0] - 1);
        assert!(store.unit("odd", 0, last).is_some());
    }
}
