//! A store on a disk in memory, against a plain list of what was appended.

mod audited;
mod checked;
mod copied;
mod damage;
mod durable;
mod extension;
mod index;
mod many;
mod parting;
mod retire;
mod room;
mod staged;
mod starts;
mod tail;

use proptest::prelude::*;

use super::*;
use crate::plain::PlainDisk;
use crate::position::{QueueOffset, Span};
use crate::record::{Draft, SysFlag};

/// The owner of a copy to whom all topics are alike.
struct Anybody;

impl Owner for Anybody {
    fn settles(&mut self, _: &str) -> bool {
        true
    }

    fn arrived(&mut self, _: &str, _: i32, _: Physical) {}
}

const NOW: Wall = Wall::from_millis(1_000_000);

fn settings() -> Settings {
    Settings {
        commit_log_file: 1024,
        consume_queue_file: 100,
        batch_queue_file: 92,
        index_slots: 8,
        index_items: 30,
        max_message_size: 700,
        light_queues: true,
        ..Settings::default()
    }
}

fn open(disk: PlainDisk) -> (Store<PlainDisk>, Opened) {
    Store::open(disk, settings(), |topic| topic == "batch").expect("a sound store")
}

fn draft<'a>(topic: &'a str, body: &'a [u8], properties: &'a [&'a [u8]]) -> Draft<'a> {
    let host = std::net::SocketAddr::from(([127, 0, 0, 1], 10911));
    Draft {
        topic,
        queue_id: 0,
        flag: 0,
        sys_flag: SysFlag::NONE,
        born: NOW,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared: Physical::ZERO,
        body,
        properties,
    }
}

fn events(store: &mut Store<PlainDisk>) -> Vec<StoreEvent> {
    store.tend_index();
    std::iter::from_fn(|| store.poll()).collect()
}

/// Appends, waiting for files as a broker would.
fn append(store: &mut Store<PlainDisk>, draft: &Draft<'_>) -> Appended {
    for _ in 0..4 {
        match store.append(NOW, draft) {
            Ok(appended) => {
                store.end_turn();
                return appended;
            }
            Err(AppendError::NotReady) => drop(events(store)),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("room never comes")
}

fn bodies(store: &Store<PlainDisk>, topic: &str) -> Vec<Vec<u8>> {
    let view = store.queue_view(topic, 0).expect("a queue");
    let spans = view.units_from(view.range().min).map(|unit| unit.span.at);
    spans.map(|at| store.record(at).expect("a record").body().to_vec()).collect()
}

#[test]
fn a_message_is_where_its_unit_says_and_survives_a_clean_stop() {
    let (mut store, opened) = open(PlainDisk::default());
    assert!(opened.clean && opened.records == 0);
    let first = append(&mut store, &draft("t", b"one", &[b"TAGS\x01a"]));
    let second = append(&mut store, &draft("t", b"two", &[]));
    assert_eq!((first.span.at.get(), first.queue_offset.get()), (0, 0));
    assert_eq!((second.span.at, second.queue_offset.get()), (first.span.end(), 1));
    drop(events(&mut store));
    assert_eq!(bodies(&store, "t"), [b"one", b"two"]);
    let unit = store.unit("t", 0, QueueOffset::ZERO).expect("a unit");
    assert_eq!((unit.span, unit.tags_code), (first.span, 97));
    store.sync(Physical::ZERO, store.committed());
    let end = store.written().end();
    assert!(events(&mut store).contains(&StoreEvent::Synced(Ok(Flushed::upto(end)))));
    store.close().expect("a clean stop");

    let (store, opened) = open(store.into_disk().reopened());
    assert_eq!((opened.clean, opened.records, opened.dispatched), (true, 2, 0));
    assert_eq!(bodies(&store, "t"), [b"one", b"two"]);
    store.verify_all().expect("queues follow the log");
}

#[test]
fn a_batch_moves_to_the_next_file_as_a_whole() {
    let (mut store, _) = open(PlainDisk::default());
    append(&mut store, &draft("t", &[7; 600], &[]));
    drop(events(&mut store));
    let body = [1; 100];
    let batch = [draft("t", &body, &[]); 2];
    let mut spans = Vec::new();
    let appended = store.append_batch(NOW, &batch, &mut spans).expect("there is room");
    assert_eq!((appended.span.at.get(), appended.queue_offset.get()), (1024, 1));
    assert_eq!(spans[1].at, spans[0].end());
    assert_eq!(store.queue("t", 0).expect("a queue").max.get(), 3);
    let large = [draft("t", &body, &[]); 6];
    let error = store.append_batch(NOW, &large, &mut spans).expect_err("too large");
    assert!(matches!(error, AppendError::TooLarge { .. }));
    store.verify_all().expect("queues follow the log");
}

#[test]
fn a_full_disk_is_said_and_tried_again() {
    let (mut store, _) = open(PlainDisk::default());
    store.disk_mut().fail_allocations(true);
    append(&mut store, &draft("t", &[7; 600], &[]));
    let failed = events(&mut store);
    assert!(failed.iter().all(|event| matches!(event, StoreEvent::RoomFailed(_))));
    let body = [7; 600];
    let error = store.append(NOW, &draft("t", &body, &[])).expect_err("no room");
    assert!(matches!(error, AppendError::Full(Fault::Full { .. })));
    // The message is there and can be read, though its unit waits for a file.
    assert_eq!(bodies(&store, "t").len(), 1);
    assert_eq!(store.next_offset("t", 0), QueueOffset::new(1));
    store.disk_mut().fail_allocations(false);
    drop(events(&mut store));
    assert!(store.append(NOW, &draft("t", &body, &[])).is_err());
    let ready = events(&mut store);
    assert!(ready.contains(&StoreEvent::RoomReady));
    append(&mut store, &draft("t", &body, &[]));
    drop(events(&mut store));
    assert_eq!(bodies(&store, "t").len(), 2);
    store.verify_all().expect("queues follow the log");
}

#[test]
fn a_torn_tail_is_cut_and_made_unreadable() {
    let (mut store, _) = open(PlainDisk::default());
    let kept = append(&mut store, &draft("t", b"kept", &[]));
    let torn = append(&mut store, &draft("t", b"torn", &[]));
    drop(events(&mut store));
    let path = "commitlog/00000000000000000000";
    let mut disk = store.into_disk().reopened();
    let mut bytes = disk.file(path).expect("the log").to_vec();
    let at = usize::try_from(torn.span.end().get()).expect("small") - 8;
    bytes[at..at + 2].fill(0xEE);
    disk.put_file(path, bytes);
    let (mut store, opened) = open(disk);
    assert_eq!((opened.clean, opened.records, opened.end), (false, 1, kept.span.end()));
    assert!(opened.cut.is_some());
    assert_eq!(bodies(&store, "t"), [b"kept"]);
    let log = store.disk().file(path).expect("the log");
    assert!(log[usize::try_from(opened.end.get()).expect("small")..].iter().all(|b| *b == 0));
    append(&mut store, &draft("t", b"next", &[]));
    assert_eq!(bodies(&store, "t"), [&b"kept"[..], b"next"]);
    store.verify_all().expect("queues follow the log");
}

#[test]
fn damage_below_the_durable_end_is_rot_and_needs_the_operators_word() {
    let (mut store, _) = open(PlainDisk::default());
    let first = append(&mut store, &draft("t", b"one", &[]));
    append(&mut store, &draft("t", b"two", &[]));
    store.close().expect("a clean stop");
    let path = "commitlog/00000000000000000000";
    let mut disk = store.into_disk().reopened();
    let mut bytes = disk.file(path).expect("the log").to_vec();
    bytes[usize::try_from(first.span.end().get()).expect("small")] ^= 1;
    disk.put_file(path, bytes);
    let error = Store::open(disk.clone(), settings(), |_| false).expect_err("rot");
    assert!(matches!(error, OpenError::Rot { .. }));
    let accept = Settings { accept_rot: true, ..settings() };
    let (store, opened) = Store::open(disk, accept, |_| false).expect("accepted");
    assert_eq!((opened.records, opened.end), (1, first.span.end()));
    store.verify_all().expect("queues follow the log");
}

#[test]
fn queues_that_are_gone_are_computed_again_and_deleted_topics_are_not() {
    let (mut store, _) = open(PlainDisk::default());
    for n in 0..20_u8 {
        append(&mut store, &draft("t", &[n; 50], &[]));
        append(&mut store, &draft("gone", &[n; 50], &[]));
        drop(events(&mut store));
    }
    store.delete_topic("gone");
    drop(events(&mut store));
    assert_eq!(store.queue("gone", 0), None);
    store.close().expect("a clean stop");
    let mut disk = store.into_disk().reopened();
    let (store, _) = open(disk.clone());
    assert_eq!((store.queue("gone", 0), bodies(&store, "t").len()), (None, 20));
    // A file in the middle of the queue is lost: the log knows what it said.
    assert!(disk.take_file("consumequeue/t/0/00000000000000000100"));
    let (store, opened) = open(disk);
    assert_eq!((opened.dispatched, bodies(&store, "t").len()), (20, 20));
    assert_eq!(store.queue("gone", 0), None);
    store.verify_all().expect("queues follow the log");
}

#[test]
fn a_wrong_length_and_a_wrong_kind_are_refused_and_change_nothing() {
    let (mut store, _) = open(PlainDisk::default());
    append(&mut store, &draft("t", b"one", &[]));
    store.close().expect("a clean stop");
    let disk = store.into_disk().reopened();
    let kind = Store::open(disk.clone(), settings(), |topic| topic == "t").expect_err("kind");
    assert!(matches!(kind, OpenError::QueueKind { .. }));
    let other = Settings { commit_log_file: 2048, ..settings() };
    let length = Store::open(disk, other, |_| false).expect_err("length");
    assert!(matches!(length, OpenError::Length { len: 1024, expected: 2048, .. }));
}

#[test]
fn a_state_file_falls_back_to_its_backup_and_refuses_when_both_are_damaged() {
    let mut disk = PlainDisk::default();
    let is_valid = |bytes: &[u8]| bytes.starts_with(b"{");
    let load = |disk: &mut PlainDisk| load(disk, "a.json", is_valid);
    assert_eq!(load(&mut disk), Ok(Loaded::Absent));
    disk.put_file("a.json", b"{1}".to_vec());
    assert_eq!(load(&mut disk), Ok(Loaded::Fresh(b"{1}".to_vec())));
    disk.put_file("a.json.bak", b"{0}".to_vec());
    disk.put_file("a.json", b"garbage".to_vec());
    assert_eq!(load(&mut disk), Ok(Loaded::FromBackup(b"{0}".to_vec())));
    disk.put_file("a.json.bak", b"garbage".to_vec());
    assert!(matches!(load(&mut disk), Err(LoadError::Damaged { .. })));
}

#[test]
fn a_time_names_an_offset() {
    let (mut store, _) = open(PlainDisk::default());
    for millis in [10, 20, 20, 30] {
        let stored = store.append(Wall::from_millis(millis), &draft("t", b"x", &[]));
        stored.expect("there is room");
    }
    drop(events(&mut store));
    let find = |millis, boundary| {
        let time = Wall::from_millis(millis);
        store.offset_by_time("t", 0, time, boundary).expect("a queue").get()
    };
    let lower = [5, 10, 15, 20, 30, 31].map(|millis| find(millis, Boundary::Lower));
    let upper = [5, 10, 15, 20, 30, 31].map(|millis| find(millis, Boundary::Upper));
    assert_eq!((lower, upper), ([0, 0, 1, 1, 3, 4], [0, 0, 0, 2, 3, 3]));
}

/// What a test run does to a store.
#[derive(Clone, Debug)]
enum Step {
    Append { topic: usize, len: usize },
    Close,
    Die,
    Poll,
    SyncQueues,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let append = (0..3_usize, 0..600_usize).prop_map(|(topic, len)| Step::Append { topic, len });
    let step = prop_oneof![
        8 => append,
        1 => Just(Step::Close),
        1 => Just(Step::Die),
        4 => Just(Step::Poll),
        1 => Just(Step::SyncQueues),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Memory survives the death of a process: whatever was appended is there again.
    #[test]
    fn a_store_is_its_list_of_messages(steps in steps()) {
        const TOPICS: [&str; 3] = ["a", "b", "c"];
        let (mut store, _) = open(PlainDisk::default());
        let mut model: Vec<(usize, Span, Vec<u8>)> = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Append { topic, len } => {
                    let body = vec![u8::try_from(number % 251).expect("small"); len];
                    let appended = append(&mut store, &draft(TOPICS[topic], &body, &[]));
                    let offset = model.iter().filter(|(known, ..)| *known == topic).count();
                    prop_assert_eq!(appended.queue_offset.get(), offset as u64);
                    model.push((topic, appended.span, body));
                }
                Step::Close => {
                    store.close().expect("a disk in memory does not fail");
                    store = open(store.into_disk().reopened()).0;
                }
                Step::Die => store = open(store.into_disk().reopened()).0,
                Step::Poll => drop(events(&mut store)),
                Step::SyncQueues => store.sync_queues(),
            }
            store.verify();
        }
        drop(events(&mut store));
        store.verify_all().expect("queues follow the log");
        for (topic, name) in TOPICS.iter().enumerate() {
            let expected: Vec<_> =
                model.iter().filter(|(known, ..)| *known == topic).map(|m| m.2.clone()).collect();
            let found = if expected.is_empty() { Vec::new() } else { bodies(&store, name) };
            prop_assert_eq!(found, expected);
        }
        for (_, span, body) in &model {
            prop_assert_eq!(store.record(span.at).expect("a record").body(), &body[..]);
        }
    }
}
