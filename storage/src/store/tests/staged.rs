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

#[test]
fn the_records_of_a_turn_go_to_their_file_when_it_ends_and_not_before() {
    let (mut store, _) = open(PlainDisk::default());
    drop(events(&mut store));
    let one = store.append(NOW, &draft("t", b"one", &[])).expect("there is room");
    let two = store.append(NOW, &draft("t", b"two", &[])).expect("there is room");
    assert_eq!(bodies(&store, "t"), [b"one", b"two"], "the store itself knows them");
    assert_eq!(store.committed().end(), one.span.at, "no file does");
    let (killed, _) = open(store.disk().reopened());
    assert_eq!(killed.written().end(), one.span.at, "a kill within the turn takes them");

    store.end_turn();
    assert_eq!(store.committed().end(), two.span.end());
    let store = after_a_kill(store);
    assert_eq!((bodies(&store, "t").len(), store.written().end()), (2, two.span.end()));
    store.verify_all().expect("queues follow the log");
}

#[test]
fn a_turn_that_becomes_long_makes_room_for_itself() {
    let settings = Settings { commit_log_file: 1 << 20, max_message_size: 1 << 17, ..settings() };
    let (mut store, _) = Store::open(PlainDisk::default(), settings, |_| false).expect("sound");
    drop(events(&mut store));
    let body = vec![7; 100_000];
    let ends: Vec<_> = (0..4)
        .map(|_| store.append(NOW, &draft("t", &body, &[])).expect("there is room").span.end())
        .collect();
    assert_eq!(store.committed().end(), ends[1], "as much as is staged at once");
    assert!(!store.is_pressed(), "nobody waits for a commit");
    store.end_turn();
    assert_eq!(bodies(&store, "t"), vec![body; 4]);
}
