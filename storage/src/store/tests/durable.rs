//! Syncs, and what they stand in the way of.

use super::*;
use crate::recover::recover;

const TOPICS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Messages in five queues, over several files each.
fn dirty() -> Store<PlainDisk> {
    let (mut store, _) = open(PlainDisk::default());
    for _ in 0..12 {
        for topic in TOPICS {
            append(&mut store, &draft(topic, b"x", &[]));
            drop(events(&mut store));
        }
    }
    store
}

#[test]
fn a_sync_of_the_log_waits_for_one_part_of_a_queue_at_most() {
    let mut store = dirty();
    store.disk_mut().hold_completions(true);
    store.sync_queues();
    assert_eq!(store.disk().completions(), 1, "one part, of many");
    store.disk_mut().hold_completions(false);
    let synced = events(&mut store);
    assert!(synced.contains(&StoreEvent::QueuesSynced(Ok(()))));
    let is_dirty = |queue: &Queue| Side::ALL.iter().any(|side| queue.is_dirty(*side));
    assert!(store.queues.iter().all(|(.., queue)| !is_dirty(queue)));
    assert_eq!(store.checkpoint.durable.expect("ours").queued, store.written().end());
    store.verify_all().expect("queues follow the log");
}

#[test]
fn queues_that_are_deleted_while_queues_are_synced_are_passed_over() {
    let mut store = dirty();
    store.disk_mut().hold_completions(true);
    store.sync_queues();
    for topic in ["a", "c", "e"] {
        store.delete_topic(topic);
    }
    append(&mut store, &draft("a", b"a new life", &[]));
    store.disk_mut().hold_completions(false);
    assert!(events(&mut store).contains(&StoreEvent::QueuesSynced(Ok(()))));
    assert_eq!(bodies(&store, "a"), [b"a new life"]);
    store.verify_all().expect("queues follow the log");
}

#[test]
fn a_stop_during_a_sync_of_the_queues_is_a_clean_one() {
    let mut store = dirty();
    store.sync_queues();
    store.close().expect("a clean stop");
    let (store, opened) = open(store.into_disk().reopened());
    assert_eq!((opened.clean, opened.dispatched), (true, 0));
    assert!(TOPICS.iter().all(|topic| bodies(&store, topic).len() == 12));
}

/// A disk tells of each file on its own: were the first failure the end of it, there would be as
/// many stops and starts as files.
#[test]
fn a_sync_of_the_queues_hears_of_all_files_that_failed() {
    let mut store = dirty();
    for dir in ["consumequeue/", "index/"] {
        store.disk_mut().fail_writebacks(dir);
    }
    assert!(store.disk().untold().count() > TOPICS.len());
    let before = store.checkpoint;
    store.sync_queues();
    assert!(matches!(events(&mut store)[..], [StoreEvent::QueuesSynced(Err(_))]));
    assert_eq!(store.disk().untold().next(), None);
    assert_eq!(store.checkpoint, before, "nothing is claimed");
    assert!(store.queues.iter().all(|(.., queue)| queue.is_dirty(Side::Units)), "nor believed");
    // Whatever was told: the next process writes it again.
    let (store, opened) = open(store.into_disk().reopened());
    assert_eq!((opened.clean, opened.dispatched), (false, 60));
    store.verify_all().expect("queues follow the log");
}

#[test]
fn a_stop_and_few_starts_hear_of_all_files_that_failed() {
    let mut store = dirty();
    let ahead = format!("commitlog/{:020}", store.log.chain.room_end() - 1024);
    store.disk_mut().fail_writebacks("");
    store.close().expect_err("it is told");
    let mut disk = store.into_disk().reopened();
    let untold = |disk: &PlainDisk| disk.untold().any(|path| path.contains('/') && path != ahead);
    assert!(!untold(&disk));
    // A start that takes nothing for granted.
    disk.take_file("checkpoint");
    disk.fail_writebacks("");
    let mut failed = 0;
    while let Err(refusal) = recover(&mut disk, &settings(), &|_| false, &mut ()) {
        assert!(matches!(refusal, OpenError::Disk(_)), "{refusal}");
        disk = disk.reopened();
        failed += 1;
    }
    assert!(!untold(&disk));
    assert_eq!(failed, 2, "one for queues and log, one for the index");
}
