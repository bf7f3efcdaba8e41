//! Records that are written, and not in their file yet.

use super::*;

fn staged(most: usize) -> Store<PlainDisk> {
    let settings = Settings { staged: Some(most), ..settings() };
    Store::open(PlainDisk::default(), settings, |_| false).expect("a sound store").0
}

/// What a start finds after a kill.
fn after_a_kill(store: Store<PlainDisk>) -> Store<PlainDisk> {
    open(store.into_disk().reopened()).0
}

#[test]
fn what_is_staged_is_read_at_once_and_lost_by_a_kill_until_it_is_committed() {
    let mut store = staged(500);
    let one = append(&mut store, &draft("t", b"one", &[]));
    assert_eq!((store.committed().end(), store.written().end()), (Physical::ZERO, one.span.end()));
    assert_eq!(bodies(&store, "t"), [b"one"], "the store itself knows it");
    store.commit();
    assert_eq!(store.committed().end(), one.span.end());
    append(&mut store, &draft("t", b"two", &[]));
    store.verify_all().expect("queues follow the log");

    let store = after_a_kill(store);
    assert_eq!(
        (bodies(&store, "t"), store.written().end()),
        (vec![b"one".to_vec()], one.span.end())
    );
    store.verify_all().expect("no unit of what is lost is left");
}

#[test]
fn a_full_pool_is_no_error_and_a_commit_makes_room() {
    let mut store = staged(400);
    append(&mut store, &draft("t", &[1; 250], &[]));
    assert!(!store.is_pressed());
    let next = store.append(NOW, &draft("t", &[2; 250], &[]));
    assert!(next == Err(AppendError::NotReady) && store.is_pressed());
    store.commit();
    assert!(events(&mut store).contains(&StoreEvent::RoomReady) && !store.is_pressed());
    append(&mut store, &draft("t", &[2; 250], &[]));
    // Larger than the pool, but alone in it.
    store.commit();
    append(&mut store, &draft("t", &[3; 600], &[]));
    assert_eq!(bodies(&store, "t").len(), 3);
}

#[test]
fn a_log_commits_before_it_goes_on_to_the_next_file() {
    let mut store = staged(5000);
    for body in [[1; 400], [2; 400], [3; 400]] {
        append(&mut store, &draft("t", &body, &[]));
    }
    assert_eq!(store.committed().end(), Physical::new(2048), "two files are whole");
    store.close().expect("a clean stop");
    let (store, opened) = open(store.into_disk().reopened());
    assert!(opened.clean);
    assert_eq!(bodies(&store, "t").len(), 3);
    store.verify_all().expect("queues follow the log");
}
