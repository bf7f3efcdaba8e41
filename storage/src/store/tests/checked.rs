//! Records with a CRC over all of them, and those without: who may be without, and where.

use super::*;
use crate::checkpoint::Checkpoint;
use crate::record::{Damage, PropCrc};

const LOG: &str = "commitlog/00000000000000000000";

fn omitting() -> Settings {
    Settings { prop_crc: PropCrc::Omit, ..settings() }
}

fn open_with(disk: PlainDisk, settings: &Settings) -> (Store<PlainDisk>, Opened) {
    Store::open(disk, settings.clone(), |_| false).expect("a sound store")
}

/// The process dies: what is in memory stays, and `abort`.
fn died(store: Store<PlainDisk>) -> PlainDisk {
    store.into_disk().reopened()
}

fn checked(store: &Store<PlainDisk>) -> Option<u64> {
    let bytes = store.disk().file("checkpoint").expect("written at the start");
    let durable = Checkpoint::decode(bytes).expect("ours").durable.expect("ours");
    durable.checked.map(Physical::get)
}

#[test]
fn a_torn_header_and_torn_properties_are_a_torn_tail() {
    let (mut store, _) = open(PlainDisk::default());
    let kept = append(&mut store, &draft("t", b"kept", &[]));
    let torn = append(&mut store, &draft("t", b"torn", &[b"KEYS\x01some key\x02"]));
    let at = |position: Physical| usize::try_from(position.get()).expect("small");
    let (begin, end) = (at(torn.span.at), at(torn.span.end()));
    let disk = died(store);
    // Queue, flag, queue offset, born time, store time, reconsume count, properties, the CRC.
    for at in
        [begin + 13, begin + 17, begin + 25, begin + 44, begin + 60, begin + 75, end - 30, end - 3]
    {
        let mut disk = disk.clone();
        let mut bytes = disk.file(LOG).expect("the log").to_vec();
        bytes[at] ^= 1;
        disk.put_file(LOG, bytes);
        let (store, opened) = open(disk);
        assert_eq!((opened.end, opened.cut), (kept.span.end(), Some(Damage::RecordCrc)), "{at}");
        assert_eq!(bodies(&store, "t"), [b"kept"]);
        store.verify_all().expect("queues follow the log");
    }
}

#[test]
fn records_without_it_are_good_where_they_were_appended() {
    let (mut store, _) = open_with(PlainDisk::default(), &omitting());
    assert_eq!(checked(&store), None);
    let first = append(&mut store, &draft("t", b"without", &[]));
    // Switched on: from here on, and not a byte earlier.
    let (mut store, opened) = open(died(store));
    assert_eq!((opened.records, checked(&store)), (1, Some(first.span.end().get())));
    append(&mut store, &draft("t", b"with", &[]));
    let (store, opened) = open(died(store));
    assert_eq!((opened.records, checked(&store)), (2, Some(first.span.end().get())));
    // Switched off: before the first append nothing is demanded any more.
    let (mut store, opened) = open_with(died(store), &omitting());
    assert_eq!((opened.records, checked(&store)), (2, None));
    append(&mut store, &draft("t", b"without again", &[]));
    let (store, opened) = open(died(store));
    assert_eq!((opened.records, checked(&store)), (3, Some(opened.end.get())));
    assert_eq!(bodies(&store, "t"), [&b"without"[..], b"with", b"without again"]);
}

#[test]
fn the_demand_survives_every_checkpoint_and_an_orderly_stop() {
    let (mut store, _) = open(PlainDisk::default());
    for _ in 0..3 {
        append(&mut store, &draft("t", b"one", &[]));
        store.sync(Physical::ZERO, store.committed());
        store.sync_queues();
        drop(events(&mut store));
        assert_eq!(checked(&store), Some(0));
        store.close().expect("a clean stop");
        store = open(store.into_disk().reopened()).0;
        assert_eq!(checked(&store), Some(0));
    }
}

/// A store that we left in order, demand and all; then a process of Apache's that appends without
/// CRCs and is killed before it writes a checkpoint.
#[test]
fn what_apache_appends_without_it_is_never_cut() {
    let (mut store, _) = open(PlainDisk::default());
    append(&mut store, &draft("t", b"ours", &[]));
    drop(events(&mut store));
    store.close().expect("a clean stop");
    let disk = store.into_disk().reopened();
    let checkpoint = disk.file("checkpoint").expect("written at the stop").to_vec();
    let (mut store, _) = open_with(disk, &omitting());
    append(&mut store, &draft("t", b"theirs", &[]));
    drop(events(&mut store));
    let mut disk = died(store);
    disk.put_file("checkpoint", checkpoint);
    // Were it a process of ours, nothing would have been appended without.
    let (_, opened) = open(disk.clone());
    assert_eq!((opened.records, opened.cut), (1, Some(Damage::RecordCrc)));
    disk.put_file("abort", b"4711".to_vec());
    let (store, opened) = open(disk);
    assert_eq!((opened.records, opened.cut), (2, None));
    assert_eq!(checked(&store), Some(opened.end.get()), "from here on all have one again");
    assert_eq!(bodies(&store, "t"), [&b"ours"[..], b"theirs"]);
}

/// To Apache's broker a CRC over a whole record is a property like others, unless it appends them
/// itself: a client that copies properties to a new message makes a wrong one.
#[test]
fn a_wrong_one_counts_only_where_one_is_demanded() {
    let (mut store, _) = open_with(PlainDisk::default(), &omitting());
    let appended = append(&mut store, &draft("t", b"body", &[b"__crc32#\x010123456789\x02"]));
    let mut disk = died(store);
    let mut bytes = disk.file(LOG).expect("the log").to_vec();
    let end = usize::try_from(appended.span.end().get()).expect("small");
    bytes[end - 20..end - 12].copy_from_slice(b"__CRC32#");
    disk.put_file(LOG, bytes);
    let (store, opened) = open(disk.clone());
    assert_eq!((opened.records, bodies(&store, "t").len()), (1, 1));
    assert_eq!(store.record(Physical::ZERO).expect("a record").whole_crc(), Some(false));
    // The operator may demand it of every record.
    let forced = Settings { force_prop_crc: true, ..settings() };
    let (_, opened) = open_with(disk, &forced);
    assert_eq!((opened.records, opened.cut), (0, Some(Damage::RecordCrc)));
}

#[test]
fn every_way_into_the_log_has_it() {
    let (mut store, _) = open(PlainDisk::default());
    store.declare_batch("batch", true);
    append(&mut store, &draft("t", b"single", &[b"A\x01b"]));
    let batch = [draft("t", b"one", &[]), draft("t", b"two", &[b"A\x01b\x02"])];
    store.append_batch(NOW, &batch, &mut Vec::new()).expect("there is room");
    let mut inner = draft("batch", b"three", &[b"INNER_NUM\x013\x02INNER_BASE\x010\x02"]);
    inner.sys_flag = SysFlag::INNER_BATCH | SysFlag::NEED_UNWRAP;
    append(&mut store, &inner);
    let light = [&b"INNER_MULTI_DISPATCH\x01%LMQ%a\x02INNER_MULTI_QUEUE_OFFSET\x010"[..]];
    append(&mut store, &draft("t", b"light", &light));
    let mut half = draft("t", b"half", &[b"TRAN_MSG\x01true\x02"]);
    half.sys_flag = SysFlag::PREPARED;
    append(&mut store, &half);
    let crcs: Vec<_> = store.records_from(store.start()).map(|record| record.whole_crc()).collect();
    assert_eq!(crcs, [Some(true); 6]);
    assert_eq!(bodies(&store, "%LMQ%a"), [b"light"]);
}
