//! The log's oldest file goes; what pointed into it follows.

use super::*;

/// Everything that was started is over, and all queues have followed.
fn settle(store: &mut Store<PlainDisk>) -> Vec<StoreEvent> {
    let mut seen = Vec::new();
    loop {
        let more = store.follow_some(1);
        let events = events(store);
        if events.is_empty() && !more {
            return seen;
        }
        store.verify();
        store.verify_all().expect("queues follow the log");
        seen.extend(events);
    }
}

/// Log and queues are durable.
fn sync(store: &mut Store<PlainDisk>) {
    store.sync(store.flushed().end(), store.committed());
    drop(events(store));
    store.sync_queues();
    drop(events(store));
}

fn files(store: &Store<PlainDisk>, dir: &str) -> Vec<u64> {
    let names = store.disk().paths().filter_map(|path| path.strip_prefix(dir));
    names.map(|name| name.parse().expect("a position")).collect()
}

/// A message to `old` and fifty to `t`, two in a file of the log, five in one of a queue.
fn filled() -> Store<PlainDisk> {
    let (mut store, _) = open(PlainDisk::default());
    append(&mut store, &draft("old", &[0; 300], &[]));
    for n in 0..50_u8 {
        append(&mut store, &draft("t", &[n; 300], &[]));
        drop(events(&mut store));
    }
    store
}

#[test]
fn what_is_not_on_the_medium_with_its_units_stays_and_so_does_the_last() {
    let mut store = filled();
    assert_eq!(store.delete_oldest_log_file(), Err(Kept::Unsynced));
    store.sync(Physical::ZERO, store.committed());
    drop(events(&mut store));
    assert_eq!(store.delete_oldest_log_file(), Err(Kept::Unsynced), "its units are not");
    store.sync_queues();
    drop(events(&mut store));
    let mut gone = 0;
    while store.delete_oldest_log_file().is_ok() {
        assert_eq!(store.delete_oldest_log_file(), Err(Kept::Busy));
        settle(&mut store);
        gone += 1;
    }
    assert_eq!(store.delete_oldest_log_file(), Err(Kept::Last));
    assert_eq!(store.start().get(), gone * 1024);
    assert!(store.records_from(store.start()).count() > 0, "the newest records stay");
    append(&mut store, &draft("t", &[50; 300], &[]));
    assert_eq!(store.queue("t", 0).expect("a queue").max.get(), 51);
}

#[test]
fn readers_see_the_new_beginning_at_once_and_queues_follow_in_their_turn() {
    let mut store = filled();
    sync(&mut store);
    let unit = store.unit("t", 0, QueueOffset::ZERO).expect("a unit");
    let lease = store.lease(unit.span);
    let mut seen = 0;
    for _ in 0..12 {
        let file = store.delete_oldest_log_file().expect("it may go");
        assert_eq!(store.start(), file.end);
        let range = store.queue("t", 0).expect("a queue");
        assert_eq!(store.unit("t", 0, QueueOffset::new(range.min.get() - 1)), None);
        let first = store.unit("t", 0, range.min).expect("the first that can be read");
        assert!(first.span.at >= file.end && store.readable(&first));
        store.verify_all().expect("though no queue has followed yet");
        let earliest = store.offset_by_time("t", 0, Wall::from_millis(0), Boundary::Upper);
        assert_eq!(earliest, Some(range.min));
        seen += settle(&mut store).iter().filter(|e| **e == StoreEvent::QueueFileDeleted).count();
    }
    assert_eq!(lease.len(), unit.span.len as usize, "a lease keeps its bytes");
    assert!(!store.readable(&unit) && store.record(unit.span.at).is_none());
    let range = store.queue("t", 0).expect("a queue");
    let spent = range.min.get() / 5;
    assert_eq!(files(&store, "consumequeue/t/0/")[0], spent * 100);
    assert_eq!(seen as u64, spent, "one at a time");

    // The other queue is wholly below: it is empty, goes on counting, and keeps its file.
    let old = store.queue("old", 0).expect("a queue");
    assert_eq!((old.min.get(), old.max.get()), (1, 1));
    assert_eq!(files(&store, "consumequeue/old/0/"), [0]);
    let (mut store, opened) = open(store.into_disk().reopened());
    assert!(!opened.clean);
    assert_eq!(store.queue("old", 0), Some(old));
    assert_eq!(store.queue("t", 0), Some(range));
    store.verify_all().expect("queues follow the log");
    assert_eq!(append(&mut store, &draft("old", b"new", &[])).queue_offset.get(), 1);
    drop(events(&mut store));
    assert_eq!(bodies(&store, "old"), [b"new"]);
    store.close().expect("a clean stop");
    let (store, opened) = open(store.into_disk().reopened());
    assert!(opened.clean && opened.cut.is_none());
    store.verify_all().expect("queues follow the log");
}

#[test]
fn queues_of_inner_batches_follow_too() {
    let (mut store, _) = open(PlainDisk::default());
    store.declare_batch("batch", true);
    for n in 0..20_u8 {
        append(&mut store, &draft("batch", &[n; 300], &[]));
        drop(events(&mut store));
    }
    sync(&mut store);
    for _ in 0..5 {
        store.delete_oldest_log_file().expect("it may go");
        settle(&mut store);
    }
    let range = store.queue("batch", 0).expect("a queue");
    assert!(range.min.get() >= 10 && range.max.get() == 20, "{range:?}");
    assert!(files(&store, "batchconsumequeue/batch/0/")[0] >= 4 * 92);
    let (store, _) = open(store.into_disk().reopened());
    assert_eq!(store.queue("batch", 0), Some(range));
    store.verify_all().expect("queues follow the log");
}

#[test]
fn a_file_that_cannot_be_deleted_is_tried_again_and_no_other_goes_before() {
    let mut store = filled();
    sync(&mut store);
    store.disk_mut().fail_deletions(true);
    store.delete_oldest_log_file().expect("it may go");
    let failed = settle(&mut store);
    assert!(matches!(failed[..], [StoreEvent::LogFileDeleted { outcome: Err(_), .. }]));
    assert_eq!(store.delete_oldest_log_file(), Err(Kept::Busy));
    store.follow_log_start();
    assert_eq!(settle(&mut store).len(), 1, "it failed again");
    // Whoever starts now finds the file, and everything that points into it.
    let (found, _) = open(store.disk().reopened());
    assert_eq!((found.start().get(), bodies(&found, "t").len()), (0, 50));
    found.verify_all().expect("queues follow the log");

    store.disk_mut().fail_deletions(false);
    store.follow_log_start();
    let gone = settle(&mut store);
    assert!(matches!(gone[0], StoreEvent::LogFileDeleted { outcome: Ok(()), .. }));
    assert_eq!(files(&store, "commitlog/")[0], 1024);
    for _ in 0..5 {
        store.delete_oldest_log_file().expect("it may go");
        drop(events(&mut store));
    }
    store.disk_mut().fail_deletions(true);
    assert!(settle(&mut store).iter().any(|e| matches!(e, StoreEvent::DeleteFailed(_))));
    // The queue is deleted, and made again at the same place: what is tried again is not that.
    store.disk_mut().fail_deletions(false);
    store.delete_topic("t");
    drop(events(&mut store));
    append(&mut store, &draft("t", b"anew", &[]));
    drop(events(&mut store));
    store.follow_log_start();
    drop(events(&mut store));
    assert_eq!(bodies(&store, "t"), [b"anew"]);
}

#[test]
fn nothing_goes_from_a_store_whose_sync_failed() {
    let mut store = filled();
    sync(&mut store);
    store.broken = Some(Fault::Crashed);
    assert_eq!(store.delete_oldest_log_file(), Err(Kept::Unsynced));
}

#[test]
fn a_spent_file_that_a_crash_left_is_found_after_it() {
    let mut store = filled();
    sync(&mut store);
    for _ in 0..12 {
        store.delete_oldest_log_file().expect("it may go");
        drop(events(&mut store));
    }
    assert_eq!(files(&store, "consumequeue/t/0/")[0], 0, "no queue has followed");
    let (mut store, _) = open(store.into_disk().reopened());
    store.follow_log_start();
    settle(&mut store);
    assert!(files(&store, "consumequeue/t/0/")[0] > 0);
}

#[test]
fn the_extension_of_a_queue_follows_too() {
    let extended = Settings { queue_ext: true, queue_ext_file: 50, ..settings() };
    let mut store = Store::open(PlainDisk::default(), extended.clone(), |_| false).expect("new").0;
    for n in 0..20_u8 {
        append(&mut store, &draft("t", &[n; 300], &[b"TAGS\x01a"]));
        drop(events(&mut store));
    }
    sync(&mut store);
    for _ in 0..5 {
        store.delete_oldest_log_file().expect("it may go");
        settle(&mut store);
    }
    let range = store.queue("t", 0).expect("a queue");
    // Two units in a file.
    let spent = range.min.get() / 2;
    assert_eq!(files(&store, "consumequeue_ext/t/0/")[0], spent * 50);
    let disk = store.into_disk().reopened();
    let (store, _) = Store::open(disk, extended, |_| false).expect("a sound store");
    let view = store.queue_view("t", 0).expect("a queue");
    assert_eq!(view.range(), range);
    assert!(view.units_from(range.min).all(|unit| view.tags_code(&unit) == Some(97)));
}

#[test]
fn a_queue_waits_for_the_files_of_a_deleted_one_that_had_its_name() {
    let (mut store, _) = open(PlainDisk::default());
    for n in 0..12_u8 {
        append(&mut store, &draft("t", &[n; 30], &[]));
        drop(events(&mut store));
    }
    assert_eq!(files(&store, "consumequeue/t/0/"), [0, 100, 200]);
    store.disk_mut().fail_deletions(true);
    store.delete_topic("t");
    assert!(matches!(events(&mut store)[..], [StoreEvent::DeleteFailed(_)]), "one at a time");
    append(&mut store, &draft("t", b"anew", &[]));
    let heard = events(&mut store);
    assert!(heard.iter().any(|event| matches!(event, StoreEvent::RoomFailed(_))), "{heard:?}");
    assert_eq!(bodies(&store, "t"), [b"anew"], "it is read from memory");
    assert_eq!(files(&store, "consumequeue/t/0/"), [0, 100, 200], "nothing of two queues");

    store.disk_mut().fail_deletions(false);
    assert!(store.retry_room());
    drop(events(&mut store));
    assert_eq!(files(&store, "consumequeue/t/0/"), [0]);
    store.close().expect("a clean stop");
    let (store, _) = open(store.into_disk().reopened());
    assert_eq!(bodies(&store, "t"), [b"anew"]);
}

#[test]
fn a_file_that_is_being_made_for_a_deleted_queue_goes_before_another_is_made() {
    let (mut store, _) = open(PlainDisk::default());
    store.disk_mut().hold_completions(true);
    append(&mut store, &draft("t", b"old", &[]));
    store.delete_topic("t");
    append(&mut store, &draft("t", b"anew", &[]));
    store.disk_mut().hold_completions(false);
    drop(events(&mut store));
    assert_eq!(bodies(&store, "t"), [b"anew"]);
    assert_eq!(files(&store, "consumequeue/t/0/"), [0]);
    store.close().expect("a clean stop");
    let (store, _) = open(store.into_disk().reopened());
    assert_eq!(bodies(&store, "t"), [b"anew"]);
}
