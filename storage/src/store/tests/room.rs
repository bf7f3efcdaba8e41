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
