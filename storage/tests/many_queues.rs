//! More queues than files may be mapped at a time: they are written, recovered, repaired and read.

use std::path::Path;

use hotfire_storage::mapped::{MappedDisk, Rehearsal};
use hotfire_storage::position::{Physical, QueueOffset};
use hotfire_storage::record::{Draft, SysFlag};
use hotfire_storage::seam::Disk;
use hotfire_storage::time::Wall;
use hotfire_storage::{AppendError, Settings, Store, StoreEvent};

const QUEUES: i32 = 30;
/// Files that may be mapped.
const MAPPED: usize = 8;
/// Files of the log and of the index are in use all the time: they are mapped whatever else is.
const OTHERS: usize = 6;
/// Those that threads of the disk have just made, or have not let go of yet: they stay mapped.
const AT_THREADS: usize = 2;

fn settings() -> Settings {
    Settings {
        commit_log_file: 1 << 16,
        consume_queue_file: 20 * 4,
        index_slots: 50,
        index_items: 2_000,
        max_message_size: 4096,
        ..Settings::default()
    }
}

fn disk(dir: &Path) -> MappedDisk {
    let mut disk = MappedDisk::open(dir, || {}).expect("nobody else has it");
    disk.set_mapped_max(MAPPED);
    disk
}

/// Queue files that this process has mapped.
fn mapped(dir: &Path) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps of this process");
    let queues = format!("{}/consumequeue", dir.display());
    maps.lines().filter(|line| line.contains(&queues)).count()
}

fn append<D: Disk>(store: &mut Store<D>, queue_id: i32, number: u64) {
    let host = std::net::SocketAddr::from(([127, 0, 0, 1], 10911));
    let body = format!("{queue_id}/{number}");
    let draft = Draft {
        topic: "t",
        queue_id,
        flag: 0,
        sys_flag: SysFlag::NONE,
        born: Wall::default(),
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared: Physical::ZERO,
        body: body.as_bytes(),
        properties: &[b"KEYS\x01k\x02"],
    };
    while let Err(error) = store.append(Wall::from_millis(1), &draft) {
        assert_eq!(error, AppendError::NotReady);
        while store.poll().is_some() {}
    }
    store.end_turn();
    store.tend_index();
}

/// One message for each queue.
fn round(store: &mut Store<MappedDisk>, dir: &Path, number: u64) {
    for queue_id in 0..QUEUES {
        append(store, queue_id, number);
        wait(store);
        let mapped = mapped(dir);
        assert!(mapped <= MAPPED + AT_THREADS, "queue {queue_id}, message {number}: {mapped}");
    }
}

/// Waits for what is under way.
fn wait(store: &mut Store<MappedDisk>) {
    loop {
        match store.poll() {
            Some(StoreEvent::Synced(outcome)) => drop(outcome.expect("a sound disk")),
            Some(StoreEvent::QueuesSynced(outcome)) => outcome.expect("a sound disk"),
            Some(_) => {}
            None if store.is_idle() => return,
            None => std::thread::yield_now(),
        }
    }
}

fn check<D: Disk>(store: &Store<D>, rounds: u64) {
    store.verify_all().expect("queues follow the log");
    for queue_id in 0..QUEUES {
        let view = store.queue_view("t", queue_id).expect("a queue");
        assert_eq!(view.range().max, QueueOffset::new(rounds));
        for (unit, number) in view.units_from(QueueOffset::ZERO).zip(0..rounds) {
            let record = store.record(unit.span.at).expect("its record");
            assert_eq!(record.body(), format!("{queue_id}/{number}").as_bytes());
        }
    }
}

#[test]
fn more_queues_than_mappings_are_served_and_recovered() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let (mut store, _) = Store::open(disk(dir), settings(), |_| false).expect("an empty store");
    for number in 0..6 {
        round(&mut store, dir, number);
    }
    let log_from = store.flushed().end();
    store.sync(log_from, store.committed());
    wait(&mut store);
    store.sync_queues();
    wait(&mut store);
    check(&store, 6);
    assert!(mapped(dir) <= MAPPED + AT_THREADS, "whoever only reads maps no more");
    round(&mut store, dir, 6);
    // Killed: no checkpoint covers the last message of each queue.
    drop(store);
    assert_eq!(mapped(dir), 0);

    let rehearsal = Rehearsal::unlocked(dir);
    let (store, opened) = Store::open(rehearsal, settings(), |_| false).expect("a sound store");
    assert!(!opened.clean && opened.dispatched > 0);
    check(&store, 7);
    drop(store);

    let (mut store, opened) = Store::open(disk(dir), settings(), |_| false).expect("sound");
    assert_eq!((opened.clean, opened.queues), (false, 30));
    assert!(mapped(dir) <= MAPPED + AT_THREADS, "nor does a start");
    check(&store, 7);
    round(&mut store, dir, 7);
    store.close().expect("a sound disk");
    drop(store);
    let (store, opened) = Store::open(disk(dir), settings(), |_| false).expect("sound");
    assert!(opened.clean && mapped(dir) <= MAPPED + AT_THREADS);
    check(&store, 8);
    let all = std::fs::read_to_string("/proc/self/maps").expect("maps of this process");
    let ours = all.lines().filter(|line| line.contains(&dir.display().to_string()));
    assert!(ours.count() <= MAPPED + AT_THREADS + OTHERS);
}
