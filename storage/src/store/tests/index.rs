//! The index of a store: what is found by key, and what becomes of damaged files.

use super::*;
use crate::index::KeyKind;

const DIR: &str = "index/";

/// Files of two records each, with three keys a record.
fn small() -> Settings {
    Settings { index_slots: 4, index_items: 7, ..settings() }
}

fn reopen(disk: &PlainDisk) -> (Store<PlainDisk>, Opened) {
    Store::open(disk.reopened(), small(), |_| false).expect("a sound store")
}

fn ask(store: &Store<PlainDisk>, key: &str) -> Vec<u64> {
    let times = (Wall::from_millis(0), Wall::from_millis(i64::MAX));
    let (begin, end) = times;
    let query = Query { topic: "t", kind: KeyKind::Key, key, begin, end };
    let mut found = Vec::new();
    store.query(&query, |at| {
        found.push(at.get());
        false
    });
    found
}

/// Appends a message with the unique key `n`, the key `all`, and a tag.
fn append_keyed(store: &mut Store<PlainDisk>, n: u8) -> u64 {
    let keys = format!("UNIQ_KEY\u{1}{n}\u{2}KEYS\u{1}all\u{2}TAGS\u{1}x\u{2}");
    append(store, &draft("t", &[n; 50], &[keys.as_bytes()])).span.at.get()
}

/// Eleven messages in six index files, the newest half full; and where they lie.
fn filled() -> (Store<PlainDisk>, Vec<u64>) {
    let (mut store, _) = reopen(&PlainDisk::default());
    let mut places = Vec::new();
    for n in 0..11 {
        places.push(append_keyed(&mut store, n));
        drop(events(&mut store));
    }
    (store, places)
}

fn names(disk: &PlainDisk) -> Vec<String> {
    let paths = disk.paths().filter(|path| path.starts_with(DIR));
    paths.map(str::to_owned).collect()
}

/// The store's files, after a stop in order or in the middle.
fn stopped(mut store: Store<PlainDisk>, clean: bool) -> PlainDisk {
    store.sync_queues();
    drop(events(&mut store));
    if clean {
        store.close().expect("a clean stop");
    }
    store.into_disk().reopened()
}

fn check_all(store: &Store<PlainDisk>, places: &[u64]) {
    assert_eq!(store.indexed_upto(), store.written().end());
    store.verify_all().expect("queues and index follow the log");
    let newest: Vec<u64> = places.iter().rev().copied().collect();
    assert_eq!(ask(store, "all"), newest);
    for (n, at) in places.iter().enumerate() {
        assert_eq!(ask(store, &n.to_string()), [*at]);
    }
}

#[test]
fn a_message_is_found_by_its_keys_in_the_turn_that_appends_it() {
    let (mut store, _) = reopen(&PlainDisk::default());
    store.disk_mut().hold_completions(true);
    let mut places = vec![append_keyed(&mut store, 0)];
    assert_eq!(ask(&store, "all"), places, "although its file is not there yet");
    store.disk_mut().hold_completions(false);
    drop(events(&mut store));
    assert_eq!(names(store.disk()).len(), 1);
    for n in 1..29 {
        places.insert(0, append_keyed(&mut store, n));
        assert_eq!(ask(&store, "all"), places);
        assert_eq!(ask(&store, &n.to_string()), places[..1]);
        drop(events(&mut store));
        store.verify_all().expect("the index follows the log");
    }
    assert_eq!(names(store.disk()).len(), 15);
    assert_eq!(store.indexed(), (NOW, Physical::new(places[0])));
}

#[test]
fn a_full_disk_stops_no_send_for_the_index_alone() {
    let (mut store, _) = filled();
    store.disk_mut().fail_allocations(true);
    let body = [1; 10];
    let keys: &[&[u8]] = &[b"KEYS\x01late\x02"];
    // Room in log and queue there is; the index is full after three.
    let late: Vec<_> = (0..4).map(|_| append(&mut store, &draft("t", &body, keys))).collect();
    let failed = events(&mut store);
    assert!(failed.iter().any(|event| matches!(event, StoreEvent::RoomFailed(_))), "{failed:?}");
    let places: Vec<_> = late.iter().rev().map(|appended| appended.span.at.get()).collect();
    assert_eq!(ask(&store, "late"), places, "what is not indexed is looked through");
    assert!(store.retry_room());
    drop(events(&mut store));
    assert!(store.indexed_upto() < store.written().end());
    store.verify_all().expect("as far as it goes, it is right");
    store.verify();
    store.sync_queues();
    drop(events(&mut store));

    // A stop and a start that find no room either; then there is some.
    store.close().expect("a clean stop");
    let mut disk = store.into_disk().reopened();
    disk.fail_allocations(true);
    let (mut store, opened) = Store::open(disk, small(), |_| false).expect("it serves");
    assert_eq!((opened.clean, opened.index_damaged), (true, None));
    assert_eq!(ask(&store, "late"), places);
    store.disk_mut().fail_allocations(false);
    assert!(store.retry_room());
    drop(events(&mut store));
    assert_eq!(store.indexed_upto(), store.written().end());
    assert_eq!(ask(&store, "late"), places);
    store.verify_all().expect("the index follows the log");
}

#[test]
fn what_a_stop_left_is_there_at_the_next_start_and_nothing_is_read_again() {
    for clean in [true, false] {
        let (store, places) = filled();
        let disk = stopped(store, clean);
        let files = names(&disk);
        assert_eq!(files.len(), 6);
        let (store, opened) = reopen(&disk);
        check_all(&store, &places);
        assert_eq!((opened.clean, opened.index_damaged), (clean, None));
        assert_eq!(opened.indexed_from, opened.end);
        assert_eq!(names(store.disk()), files);
    }
}

#[test]
fn records_behind_the_checkpoint_are_indexed_again_and_once() {
    let (mut store, mut places) = filled();
    store.sync_queues();
    drop(events(&mut store));
    for n in 11..14 {
        places.push(append_keyed(&mut store, n));
        drop(events(&mut store));
    }
    let from = places[11];
    let mut disk = store.into_disk().reopened();
    // A slot that points beyond what is durable, a chain that never was, a header of garbage.
    let newest = names(&disk).pop().expect("files");
    let mut bytes = disk.file(&newest).expect("listed").to_vec();
    bytes[..60].fill(0x7F);
    disk.put_file(&newest, bytes);
    let (store, opened) = reopen(&disk);
    assert_eq!((opened.indexed_from.get(), opened.index_damaged), (from, None));
    check_all(&store, &places);
}

type Damage = fn(&mut PlainDisk, &str);

/// Ways to damage a file; the last two hit its header only.
fn damages() -> Vec<(&'static str, Damage)> {
    fn edit(disk: &mut PlainDisk, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = disk.file(path).expect("listed").to_vec();
        change(&mut bytes);
        disk.put_file(path, bytes);
    }
    vec![
        ("gone", |disk, path| assert!(disk.take_file(path))),
        ("empty", |disk, path| edit(disk, path, Vec::clear)),
        ("short", |disk, path| edit(disk, path, |bytes| bytes.truncate(100))),
        ("long", |disk, path| edit(disk, path, |bytes| bytes.push(0))),
        ("zeroed", |disk, path| edit(disk, path, |bytes| bytes.fill(0))),
        ("garbage", |disk, path| edit(disk, path, |bytes| bytes.fill(0xA5))),
        ("of its header, the last record", |disk, path| {
            edit(disk, path, |bytes| bytes[27] ^= 0x40);
        }),
        ("of its header, the count", |disk, path| edit(disk, path, |bytes| bytes[39] = 2)),
    ]
}

#[test]
fn a_damaged_file_is_made_again_from_the_log() {
    for clean in [true, false] {
        for (what, damage) in damages() {
            for number in 0..6 {
                let (store, places) = filled();
                let mut disk = stopped(store, clean);
                let path = names(&disk)[number].clone();
                damage(&mut disk, &path);
                let (store, opened) = reopen(&disk);
                let what = format!("{what}, file {number}, clean {clean}: {opened:?}");
                // The newest file's header is made anew from its items, but for their count, which
                // is believed after a clean stop.
                let is_header = what.starts_with("of its header");
                let unneeded = is_header && !(clean && what.contains("count"));
                assert_eq!(opened.index_damaged.is_none(), number == 5 && unneeded, "{what}");
                check_all(&store, &places);
                let (store, opened) = reopen(&stopped(store, clean));
                assert_eq!((&opened.index_damaged, opened.indexed_from), (&None, opened.end));
                check_all(&store, &places);
            }
        }
    }
}

#[test]
fn files_in_a_wrong_order_and_of_a_former_size_are_made_again() {
    let (store, places) = filled();
    let disk = stopped(store, true);
    let files = names(&disk);
    let mut swapped = disk.clone();
    for (to, from) in [(1, 3), (3, 1)] {
        swapped.put_file(&files[to], disk.file(&files[from]).expect("listed").to_vec());
    }
    check_all(&reopen(&swapped).0, &places);
    let other = Settings { index_items: 12, ..small() };
    let (store, opened) = Store::open(disk.reopened(), other, |_| false).expect("it starts");
    assert_eq!(opened.index_damaged.as_ref(), Some(&files[0]));
    check_all(&store, &places);
    let names = names(store.disk());
    assert!(names.len() == 3 && files.iter().all(|file| !names.contains(file)), "{names:?}");
}

#[test]
fn an_index_that_is_not_wanted_is_left_alone_and_completed_when_it_is() {
    let (store, mut places) = filled();
    let disk = stopped(store, true);
    let files = names(&disk);
    let off = || Settings { index: false, ..small() };
    let (mut store, _) = Store::open(disk, off(), |_| false).expect("it starts");
    places.push(append_keyed(&mut store, 11));
    drop(events(&mut store));
    assert!(ask(&store, "all").is_empty() && !store.is_catching_up());
    store.sync_queues();
    drop(events(&mut store));
    let (store, _) = Store::open(stopped(store, false), off(), |_| false).expect("it starts");
    let disk = stopped(store, true);
    assert_eq!(names(&disk), files);
    let (store, opened) = reopen(&disk);
    assert_eq!((opened.indexed_from.get(), &opened.index_damaged), (places[11], &None));
    check_all(&store, &places);
}

fn time_of_index(disk: &PlainDisk) -> Wall {
    let bytes = disk.file(crate::checkpoint::PATH).expect("written");
    Checkpoint::decode(bytes).expect("ours").index
}

#[test]
fn a_checkpoint_says_of_the_index_what_apache_would() {
    let (mut store, _) = filled();
    assert_eq!(time_of_index(store.disk()), Wall::default());
    store.sync_queues();
    drop(events(&mut store));
    assert_eq!(time_of_index(store.disk()), NOW);
}

#[test]
fn a_full_file_that_is_cut_has_no_time_any_more() {
    let wide = || Settings { index_items: 8, ..small() };
    let (mut store, _) = Store::open(PlainDisk::default(), wide(), |_| false).expect("empty");
    append_keyed(&mut store, 0);
    drop(events(&mut store));
    store.disk_mut().fail_allocations(true);
    // One key of the third one finds room.
    for n in 1..3 {
        append_keyed(&mut store, n);
    }
    let disk = stopped(store, false);
    assert_eq!(time_of_index(&disk), NOW);
    let (store, opened) = Store::open(disk, wide(), |_| false).expect("it opens");
    assert_eq!((opened.index_damaged, opened.indexed_from < opened.end), (None, true));
    assert_eq!(time_of_index(store.disk()), NOW.before());
}

#[test]
fn a_file_that_its_time_alone_speaks_for_must_agree_with_itself() {
    let (store, places) = filled();
    let mut disk = stopped(store, false);
    disk.put_file("abort", b"4711".to_vec());
    let files = names(&disk);
    let (store, opened) = reopen(&disk);
    let is_behind =
        |from: Physical, n: usize| places[n - 1] < from.get() && from.get() <= places[n];
    assert!(is_behind(opened.indexed_from, 10), "five full files are believed");
    check_all(&store, &places);
    // The clock went back, and the last of them was being written when the power failed.
    let mut bytes = disk.file(&files[4]).expect("listed").to_vec();
    bytes[40..56].fill(0);
    disk.put_file(&files[4], bytes);
    let (store, opened) = reopen(&disk);
    assert!(is_behind(opened.indexed_from, 8));
    check_all(&store, &places);
}
