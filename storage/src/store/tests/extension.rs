//! Queues with an extension: what their units point at is there, whatever happens.

use super::*;

/// Files of two units each.
fn extended() -> Settings {
    Settings { queue_ext: true, queue_ext_file: 50, ..settings() }
}

fn open_extended(disk: PlainDisk) -> Store<PlainDisk> {
    Store::open(disk, extended(), |topic| topic == "batch").expect("a sound store").0
}

fn dir() -> &'static str {
    "consumequeue_ext/t/0"
}

/// Messages with tags of their own, in several files of everything.
fn filled(count: u8) -> Store<PlainDisk> {
    let mut store = open_extended(PlainDisk::default());
    fill(&mut store, 0..count);
    store
}

fn fill(store: &mut Store<PlainDisk>, numbers: std::ops::Range<u8>) {
    for n in numbers {
        append(store, &draft("t", &[n; 50], &[format!("TAGS\u{1}tag{n}").as_bytes()]));
        drop(events(store));
    }
}

fn tags(store: &Store<PlainDisk>) -> Vec<Option<i64>> {
    let view = store.queue_view("t", 0).expect("a queue");
    view.units_from(view.range().min).map(|unit| view.tags_code(&unit)).collect()
}

fn hashes(numbers: std::ops::Range<u8>) -> Vec<Option<i64>> {
    let hash = |n| i64::from(crate::record::properties::java_hash(&format!("tag{n}")));
    numbers.map(|n| Some(hash(n))).collect()
}

fn addresses(store: &Store<PlainDisk>) -> Vec<u64> {
    let view = store.queue_view("t", 0).expect("a queue");
    let codes = view.units_from(view.range().min).map(|unit| unit.tags_code);
    codes.map(|code| code.wrapping_sub(i64::MIN).cast_unsigned()).collect()
}

fn ext_files(disk: &PlainDisk) -> Vec<(String, Vec<u8>)> {
    let paths = disk.paths().filter(|path| path.starts_with(dir()));
    paths.map(|path| (path.to_owned(), disk.file(path).expect("listed").to_vec())).collect()
}

#[test]
fn a_unit_points_at_its_extension_which_has_the_tags() {
    let mut store = filled(8);
    // Two units, and at least four bytes for the mark of a file's end.
    assert_eq!(addresses(&store), [0, 20, 50, 70, 100, 120, 150, 170]);
    assert_eq!(tags(&store), hashes(0..8));
    store.verify_all().expect("queues follow the log");
    let file = store.disk().file("consumequeue_ext/t/0/00000000000000000000").expect("a file");
    let unit = [&[0, 20][..], &3_552_214_i64.to_be_bytes(), &1_000_000_i64.to_be_bytes(), &[0; 2]];
    assert_eq!(file[..20], unit.concat());
    assert_eq!(file[40..], [&[0xFF, 0xFF][..], &[0; 8]].concat());
    store.close().expect("a clean stop");
    let mut store = open_extended(store.into_disk().reopened());
    assert_eq!(tags(&store), hashes(0..8));
    fill(&mut store, 8..10);
    assert_eq!(addresses(&store)[8..], [200, 220]);
    store.verify_all().expect("queues follow the log");
}

#[test]
fn a_killed_process_leaves_an_extension_that_is_written_again_to_the_byte() {
    let store = filled(9);
    let disk = store.into_disk().reopened();
    let before = ext_files(&disk);
    // Garbage behind the end, as a power failure of a longer life leaves it.
    let mut torn = disk.clone();
    for (path, bytes) in &before {
        let mut bytes = bytes.clone();
        bytes.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = 0x11);
        torn.put_file(path, bytes);
    }
    for disk in [disk, torn] {
        let mut store = open_extended(disk);
        // What follows the mark of a file's end is nobody's.
        for ((_, after), (_, before)) in ext_files(store.disk()).iter().zip(&before) {
            assert_eq!(after[..42], before[..42]);
        }
        assert_eq!(tags(&store), hashes(0..9));
        fill(&mut store, 9..11);
        assert_eq!(tags(&store), hashes(0..11));
        store.verify_all().expect("queues follow the log");
    }
}

#[test]
fn an_extension_that_is_lost_is_written_again_with_its_queue() {
    let mut store = filled(9);
    store.close().expect("a clean stop");
    let whole = store.into_disk().reopened();
    let paths: Vec<_> = ext_files(&whole).into_iter().map(|(path, _)| path).collect();
    for lost in [&paths[..], &paths[..1], &paths[1..2], &paths[2..]] {
        for died in [false, true] {
            let mut disk = whole.clone();
            assert!(lost.iter().all(|path| disk.take_file(path)));
            if died {
                disk.put_file("abort", Vec::new());
            }
            let mut store = open_extended(disk);
            fill(&mut store, 9..10);
            let found = tags(&store);
            // What was lost in front of the rest is not missed by a queue that goes on.
            let missing = if lost == &paths[..1] { 2 } else { 0 };
            assert_eq!(found[missing..], hashes(0..10)[missing..], "{lost:?}");
            assert!(found[..missing].iter().all(Option::is_none), "{lost:?}");
            store.verify_all().expect("queues follow the log");
        }
    }
}

#[test]
fn a_store_may_have_extensions_for_a_while() {
    let mut disk = PlainDisk::default();
    for (life, extends) in [false, true, false, true].into_iter().enumerate() {
        for died in [false, true] {
            let settings = Settings { queue_ext: extends, ..extended() };
            let mut store = Store::open(disk, settings, |_| false).expect("a sound store").0;
            let from = u8::try_from(life * 20).expect("small") + if died { 10 } else { 0 };
            fill(&mut store, from..from + 10);
            let known = tags(&store);
            let expected = hashes(0..from + 10);
            assert_eq!(known.len(), expected.len());
            let same = |(known, expected): (&Option<i64>, &Option<i64>)| known == expected;
            assert!(known.iter().zip(&expected).rev().take(10).all(same));
            if extends {
                assert!(known.iter().zip(&expected).all(same));
            }
            store.verify_all().expect("queues follow the log");
            if !died {
                store.close().expect("a clean stop");
            }
            disk = store.into_disk().reopened();
        }
    }
}

#[test]
fn a_full_disk_keeps_units_waiting_for_their_extension_and_says_so() {
    let mut store = filled(2);
    store.disk_mut().fail_allocations(true);
    fill(&mut store, 2..6);
    assert_eq!(tags(&store), hashes(0..6), "what waits can be read");
    let waiting = store.queues.get("t", 0).expect("a queue").pending_from();
    assert!(waiting.is_some());
    store.sync_queues();
    drop(events(&mut store));
    assert_eq!(store.checkpoint.durable.expect("ours").queued, waiting.expect("checked above"));
    let refused = store.disk().refused_allocations();
    fill(&mut store, 6..8);
    assert!(store.disk().refused_allocations() <= refused + 1, "appends do not ask again");
    store.disk_mut().fail_allocations(false);
    for _ in 0..9 {
        store.retry_room();
        drop(events(&mut store));
    }
    assert_eq!(addresses(&store), [0, 20, 50, 70, 100, 120, 150, 170]);
    assert_eq!(tags(&store), hashes(0..8));
    store.verify_all().expect("queues follow the log");
}

#[test]
fn a_queue_goes_with_its_extension_and_leaves_none_to_its_successor() {
    let mut store = filled(5);
    let before = store.disk().clone();
    store.delete_topic("t");
    drop(events(&mut store));
    assert_eq!(ext_files(store.disk()), []);
    // Deleted half, by a crash.
    let mut disk = before.reopened();
    let units: Vec<_> = disk.paths().filter(|path| path.starts_with("consumequeue/t/")).collect();
    let units: Vec<_> = units.into_iter().map(str::to_owned).collect();
    assert!(units.iter().all(|path| disk.take_file(path)));
    let mut store = open_extended(disk);
    fill(&mut store, 5..7);
    assert_eq!(tags(&store), hashes(0..7));
    store.verify_all().expect("queues follow the log");
}

#[test]
fn light_queues_and_those_of_inner_batches_hold_their_tags_themselves() {
    let mut store = open_extended(PlainDisk::default());
    store.declare_batch("batch", true);
    let light = b"INNER_MULTI_DISPATCH\x01%LMQ%a\x02INNER_MULTI_QUEUE_OFFSET\x010\x02TAGS\x01a\x02";
    append(&mut store, &draft("t", b"one", &[light]));
    append(&mut store, &draft("batch", b"one", &[b"TAGS\x01a\x02"]));
    drop(events(&mut store));
    for topic in ["%LMQ%a", "batch"] {
        assert_eq!(store.unit(topic, 0, QueueOffset::ZERO).expect("a unit").tags_code, 97);
    }
    assert_eq!(tags(&store), [Some(97)]);
    store.verify_all().expect("queues follow the log");
}
