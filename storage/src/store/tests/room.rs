//! Appends that need files which are not there.

use super::*;
use crate::queue::PENDING_MAX;

/// Files as large as they are in earnest, against what a test appends.
fn large() -> Settings {
    Settings { commit_log_file: 1 << 20, consume_queue_file: 200, ..settings() }
}

fn open_large() -> Store<PlainDisk> {
    Store::open(PlainDisk::default(), large(), |_| false).expect("an empty store").0
}

#[test]
fn a_full_disk_is_not_asked_again_by_appends_that_find_room() {
    let mut store = open_large();
    for _ in 0..6 {
        append(&mut store, &draft("t", b"x", &[]));
        drop(events(&mut store));
    }
    store.disk_mut().fail_allocations(true);
    for _ in 0..200 {
        append(&mut store, &draft("t", b"x", &[]));
        drop(events(&mut store));
    }
    assert!(store.disk().refused_allocations() <= 1);
    assert!(store.retry_room());
    assert_eq!(store.disk().refused_allocations(), 2);
    drop(events(&mut store));

    store.disk_mut().fail_allocations(false);
    assert!(store.retry_room());
    assert!(events(&mut store).contains(&StoreEvent::RoomReady));
    assert!(!store.retry_room(), "all units are in files");
    store.sync_queues();
    drop(events(&mut store));
    assert_eq!(store.checkpoint.durable.expect("ours").queued, store.written().end());
    store.verify_all().expect("queues follow the log");
}

#[test]
fn a_queue_that_can_take_no_more_says_why_and_asks_at_each_refusal() {
    let mut store = open_large();
    store.disk_mut().fail_allocations(true);
    for _ in 0..PENDING_MAX {
        append(&mut store, &draft("t", b"x", &[]));
        drop(events(&mut store));
    }
    let before = store.disk().refused_allocations();
    let error = store.append(NOW, &draft("t", b"x", &[])).expect_err("no room");
    assert!(matches!(error, AppendError::Full(_)));
    assert_eq!(store.disk().refused_allocations(), before + 1);
    store.disk_mut().fail_allocations(false);
    drop(events(&mut store));
    drop(store.append(NOW, &draft("t", b"x", &[])));
    drop(events(&mut store));
    append(&mut store, &draft("t", b"x", &[]));
    store.verify_all().expect("queues follow the log");
}

#[test]
fn a_batch_of_more_messages_than_may_wait_goes_to_a_new_queue_once_it_has_files() {
    let mut store = open_large();
    let batch = vec![draft("t", b"x", &[]); PENDING_MAX + 1];
    let mut spans = Vec::new();
    for _ in 0..1000 {
        match store.append_batch(NOW, &batch, &mut spans) {
            Ok(_) => break,
            Err(AppendError::NotReady) => drop(events(&mut store)),
            Err(error) => panic!("{error}"),
        }
        store.verify();
    }
    assert_eq!(spans.len(), batch.len());
    store.verify_all().expect("queues follow the log");
}

/// Apache reads the first unit of a queue's last file without asking whether it is one.
#[test]
fn no_file_of_a_queue_is_ever_without_a_unit() {
    let (mut store, _) = open(PlainDisk::default());
    let sound = |disk: &PlainDisk| {
        let queues = disk.paths().filter(|path| path.starts_with("consumequeue/"));
        let mut files = queues.map(|path| disk.file(path).expect("listed"));
        files.all(|file| file[8..12] != [0; 4])
    };
    for n in 0..20_u8 {
        append(&mut store, &draft("t", &[n; 50], &[]));
        drop(events(&mut store));
        assert!(sound(store.disk()), "after {n}");
    }
    store.close().expect("a clean stop");
    assert!(sound(store.disk()));
    // The log loses what the last unit of a file, and the first of the next, point at.
    let mut disk = store.into_disk().reopened();
    for path in ["abort", "checkpoint", "checkpoint.bak"] {
        disk.put_file(path, Vec::new());
    }
    let unit = |n| store_of(&disk).unit("t", 0, QueueOffset::new(n)).expect("a unit").span.at;
    for n in [15, 10, 9, 1, 0] {
        let mut torn = disk.clone();
        let (file, at) = (unit(n).get() / 1024 * 1024, unit(n).get() % 1024);
        let path = format!("commitlog/{file:020}");
        let mut bytes = torn.file(&path).expect("a file").to_vec();
        bytes[usize::try_from(at).expect("small") + 5] ^= 0xFF;
        torn.put_file(&path, bytes);
        let store = store_of(&torn);
        assert_eq!(store.queue("t", 0).map_or(0, |range| range.max.get()), n);
        assert!(sound(store.disk()), "cut at {n}");
    }
}

fn store_of(disk: &PlainDisk) -> Store<PlainDisk> {
    open(disk.reopened()).0
}
