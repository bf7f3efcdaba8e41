//! Damage in the log, and queues that need what it says. What they have stays.

use std::collections::BTreeMap;

use super::starts::{Dying, LOG, OURS, closed};
use super::*;
use crate::checkpoint::Checkpoint;

/// Flips a bit in the record of message number `offset` of a queue.
fn rot(disk: &mut PlainDisk, topic: &str, offset: u64) -> Span {
    let (store, _) = open(disk.clone());
    let span = store.unit(topic, 0, QueueOffset::new(offset)).expect("a unit").span;
    rot_at(disk, span.at);
    span
}

fn rot_at(disk: &mut PlainDisk, at: Physical) {
    let (file, within) = (at.get() / 1024 * 1024, at.get() % 1024);
    let path = format!("{LOG}{file:020}");
    let mut bytes = disk.file(&path).expect("a file").to_vec();
    bytes[usize::try_from(within).expect("small")] ^= 0x40;
    disk.put_file(&path, bytes);
}

/// Queue files of one unit each.
fn tiny() -> Settings {
    Settings { consume_queue_file: 20, ..settings() }
}

fn spans(store: &Store<PlainDisk>) -> Vec<Span> {
    let view = store.queue_view("t", 0).expect("a queue");
    view.units_from(QueueOffset::ZERO).map(|unit| unit.span).collect()
}

fn contents(disk: &PlainDisk) -> BTreeMap<String, Vec<u8>> {
    let bytes = |path: &str| disk.file(path).expect("listed").to_vec();
    disk.paths().map(|path| (path.to_owned(), bytes(path))).collect()
}

fn accepting() -> Settings {
    Settings { accept_rot: true, ..settings() }
}

/// Where the last file begins that holds a record: a start reads it anyway.
fn last_file(disk: &PlainDisk) -> Physical {
    let starts = disk.paths().filter_map(|path| path.strip_prefix(LOG)?.parse().ok());
    let used = starts.filter(|start: &u64| {
        disk.file(&format!("{LOG}{start:020}")).is_some_and(|bytes| bytes[0..4] != [0; 4])
    });
    Physical::new(used.max().expect("a file"))
}

/// Nobody counted where queues ended, as when Apache wrote last.
fn uncount(disk: &mut PlainDisk) {
    let bytes = disk.file("checkpoint").expect("written at the stop");
    let mut read = Checkpoint::decode(bytes).expect("sound");
    let ends = read.durable.as_mut().expect("positions").ends.take();
    assert!(ends.is_some(), "a stop in order counts");
    disk.put_file("checkpoint", read.encode().to_vec());
}

fn refusal(disk: &PlainDisk, settings: Settings) -> Option<OpenError> {
    Store::open(disk.clone(), settings, |_| false).err()
}

/// A queue that ends exactly with its last file is looked up in the log, if nobody counted. It was
/// taken for broken, and its units replaced by those of the next record that could be read.
#[test]
fn a_full_queue_keeps_its_units_whatever_became_of_their_records() {
    let (mut store, _) = open(PlainDisk::default());
    for (topic, count) in [("u", 5), ("t", 20)] {
        for n in 0..count {
            append(&mut store, &draft(topic, &[n; 50], &[]));
            drop(events(&mut store));
        }
    }
    store.close().expect("a clean stop");
    let counted = store.into_disk().reopened();
    let mut uncounted = counted.clone();
    uncount(&mut uncounted);
    let whole = spans(&open(counted.clone()).0);
    let mut kept = 0;
    for (disk, offset) in
        [counted, uncounted].iter().flat_map(|disk| (0..20).map(move |n| (disk, n)))
    {
        let mut disk = disk.clone();
        if rot(&mut disk, "t", offset).at >= last_file(&disk) {
            assert!(matches!(refusal(&disk, settings()), Some(OpenError::Rot { .. })));
            continue;
        }
        let (store, opened) = open(disk);
        assert_eq!((opened.clean, opened.dispatched, opened.cut), (true, 0, None));
        assert_eq!(spans(&store), whole);
        kept += 1;
    }
    assert!(kept > 20, "few of them lie in the last file");
}

#[test]
fn a_queue_is_not_repaired_from_a_log_that_is_damaged_where_it_is_needed() {
    let mut disk = closed();
    let whole = spans(&open(disk.clone()).0);
    for file in ["200", "300"] {
        assert!(disk.take_file(&format!("consumequeue/t/0/{file:0>20}")));
    }
    let damaged = rot(&mut disk, "t", 12);
    let Some(OpenError::Rot { at, .. }) = refusal(&disk, settings()) else { panic!("refused") };
    assert_eq!(at, damaged.at);
    // The operator's word loses that message, and no other offset changes its message.
    let (store, _) = Store::open(disk, accepting(), |_| false).expect("accepted");
    let mut expected = whole;
    expected[12] = expected[13];
    assert_eq!(spans(&store), expected);
}

/// However many messages of a queue are lost in one place: it began anew behind a gap that was
/// longer than one of its files.
#[test]
fn an_accepted_loss_costs_no_unit_in_front_of_it() {
    let store = Store::open(PlainDisk::default(), tiny(), |_| false);
    let (mut store, _) = store.expect("an empty store");
    for n in 0..9 {
        append(&mut store, &draft("t", &[n; 50], &[]));
        drop(events(&mut store));
    }
    let whole = spans(&store);
    store.close().expect("a clean stop");
    let mut disk = store.into_disk().reopened();
    for (number, span) in whole.iter().enumerate().skip(2) {
        assert!(disk.take_file(&format!("consumequeue/t/0/{:020}", number * 20)));
        if number < 5 {
            rot_at(&mut disk, span.at);
        }
    }
    let accepting = Settings { accept_rot: true, ..tiny() };
    let (store, _) = Store::open(disk, accepting, |_| false).expect("accepted");
    let mut expected = whole;
    let behind = expected[5];
    expected[2..5].fill(behind);
    assert_eq!(spans(&store), expected);
}

/// A unit whose record is damaged was taken for a stranger's after a crash, and dropped: the next
/// message would have got its offset.
#[test]
fn an_offset_is_not_given_twice_because_its_record_is_damaged() {
    let (mut store, _) = open(PlainDisk::default());
    append(&mut store, &draft("u", &[0; 50], &[]));
    for n in 0..20_u8 {
        append(&mut store, &draft("t", &[n; 50], &[]));
        drop(events(&mut store));
    }
    store.close().expect("a clean stop");
    let mut disk = store.into_disk().reopened();
    let damaged = rot(&mut disk, "u", 0);
    disk.put_file("abort", OURS.to_vec());
    // Each queue ends where it did, so none is asked for its last record.
    let (store, opened) = open(disk.clone());
    assert_eq!((opened.clean, opened.cut), (false, None));
    assert_eq!(store.unit("u", 0, QueueOffset::ZERO).map(|unit| unit.span), Some(damaged));
    uncount(&mut disk);
    let Some(OpenError::Rot { at, .. }) = refusal(&disk, settings()) else { panic!("refused") };
    assert_eq!(at, damaged.at);
}

/// A last unit that reads as zeros looks like none, wherever its record lies.
#[test]
fn a_queue_that_ends_earlier_than_it_did_is_looked_up_in_the_log() {
    let (mut store, _) = open(PlainDisk::default());
    for n in 0..23_u8 {
        append(&mut store, &draft(if n < 3 { "u" } else { "t" }, &[n; 50], &[]));
        drop(events(&mut store));
    }
    store.close().expect("a clean stop");
    let disk = store.into_disk().reopened();
    for (path, last) in [("u/0/00000000000000000000", 2), ("t/0/00000000000000000300", 4)] {
        let mut disk = disk.clone();
        let path = format!("consumequeue/{path}");
        let mut bytes = disk.file(&path).expect("a file").to_vec();
        bytes[last * 20..].fill(0);
        disk.put_file(&path, bytes);
        let (store, opened) = open(disk);
        assert_eq!((opened.clean, opened.dispatched), (true, 1), "{path}");
        assert_eq!((bodies(&store, "u").len(), bodies(&store, "t").len()), (3, 20), "{path}");
        store.verify_all().expect("queues follow the log");
    }
}

#[test]
fn a_refused_repair_leaves_an_orderly_stop_behind() {
    let mut disk = closed();
    assert!(disk.take_file("consumequeue/t/0/00000000000000000300"));
    rot(&mut disk, "t", 17);
    let (after, is_over) = Dying::at(&disk, usize::MAX, &settings());
    assert!(!is_over);
    assert!(contents(&after) == contents(&disk));
}

/// Zeros end a queue; a last file that begins with them ended it too early.
#[test]
fn a_last_file_without_a_unit_is_not_taken_for_the_end_of_a_queue() {
    let (mut store, _) = open(PlainDisk::default());
    append(&mut store, &draft("u", &[0; 50], &[]));
    for n in 0..8_u8 {
        append(&mut store, &draft("t", &[n; 50], &[]));
        drop(events(&mut store));
    }
    store.close().expect("a clean stop");
    let disk = store.into_disk().reopened();
    for (path, dispatched) in [("u/0/00000000000000000000", 1), ("t/0/00000000000000000100", 3)] {
        let mut disk = disk.clone();
        disk.put_file(&format!("consumequeue/{path}"), vec![0; 100]);
        let (store, opened) = open(disk);
        assert_eq!((opened.clean, opened.dispatched), (true, dispatched), "{path}");
        assert_eq!((bodies(&store, "u").len(), bodies(&store, "t").len()), (1, 8), "{path}");
        store.verify_all().expect("queues follow the log");
    }
}

/// A replacement that failed, or a death in it, can leave a checkpoint that is read and whose name
/// is not on the medium. A power failure behind that start brought the one before back, and with it
/// a record that was half written: nobody knew that records have a CRC over all their bytes.
#[test]
fn a_start_after_a_death_makes_the_names_durable_before_anything_else() {
    let mut disk = closed();
    disk.put_file("abort", OURS.to_vec());
    let first = Dying::first(&disk, &settings()).expect("it does something");
    assert_eq!(first, format!("{:?}", Op::Remove { path: "none" }));
    assert!(disk.file("none").is_none());
}

/// The next file of the name may get the same blocks, and a file system that gives blocks to a file
/// before its bytes are in them would show old records in their right places.
#[test]
fn what_is_cut_off_with_its_file_is_made_zero_first() {
    let mut disk = closed();
    disk.put_file("abort", OURS.to_vec());
    disk.take_file("checkpoint");
    disk.take_file("checkpoint.bak");
    rot(&mut disk, "t", 0);
    let behind = format!("{LOG}{:020}", 1024);
    let mut before = disk.clone();
    for left in 0.. {
        let (after, _) = Dying::at(&disk, left, &settings());
        if after.file(&behind).is_none() {
            let last = before.file(&behind).expect("it was there before");
            return assert!(last.iter().all(|byte| *byte == 0), "deleted at {left}");
        }
        before = after;
    }
}

/// Of a loss that the operator accepted the rest goes, also where the damage reads as zeros.
#[test]
fn what_lies_behind_zeros_is_cut_with_them() {
    let mut disk = closed();
    let (store, _) = open(disk.clone());
    let unit = store.unit("t", 0, QueueOffset::new(18)).expect("a unit");
    let (file, within) = (unit.span.at.get() / 1024 * 1024, unit.span.at.get() % 1024);
    let (path, within) = (format!("{LOG}{file:020}"), usize::try_from(within).expect("small"));
    let mut bytes = disk.file(&path).expect("a file").to_vec();
    bytes[within..within + 8].fill(0);
    disk.put_file(&path, bytes);
    let (store, opened) = Store::open(disk, accepting(), |_| false).expect("accepted");
    assert_eq!(opened.end, unit.span.at);
    let bytes = store.disk().file(&path).expect("a file");
    assert!(bytes[within..].iter().all(|byte| *byte == 0));
}

/// Behind units of records that lie beyond the log's end, too. They were found again by the search
/// for the last unit that points below it.
#[test]
fn strangers_that_were_dismissed_stay_away() {
    let store = Store::open(PlainDisk::default(), tiny(), |_| false);
    let (mut store, _) = store.expect("an empty store");
    for n in 0..7 {
        // The last one begins a file, and so what is dispatched again.
        append(&mut store, &draft(if n < 6 { "t" } else { "u" }, &[n; 50], &[]));
        drop(events(&mut store));
    }
    store.sync(Physical::ZERO, store.committed());
    drop(events(&mut store));
    store.sync_queues();
    drop(events(&mut store));
    let lost = append(&mut store, &draft("t", &[7; 50], &[])).span.at;
    append(&mut store, &draft("t", &[8; 50], &[]));
    drop(events(&mut store));
    let mut disk = store.into_disk().reopened();
    rot_at(&mut disk, lost);
    let unit = |number: u64| format!("consumequeue/t/0/{:020}", number * 20);
    let stranger = disk.file(&unit(0)).expect("a unit").to_vec();
    disk.put_file(&unit(8), stranger);
    let (store, opened) = Store::open(disk, tiny(), |_| false).expect("a sound store");
    assert_eq!((opened.clean, opened.end), (false, lost));
    assert_eq!((bodies(&store, "t").len(), bodies(&store, "u").len()), (6, 1));
    store.verify_all().expect("queues follow the log");
}

/// Bytes of another file, where a blank record fills the first file of a log.
fn stain(disk: &mut PlainDisk) -> usize {
    let path = format!("{LOG}{:020}", 0);
    let mut bytes = disk.file(&path).expect("a file").to_vec();
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("a record and a blank one") + 1;
    bytes[end..].fill(0xAB);
    disk.put_file(&path, bytes);
    end
}

#[test]
fn what_a_blank_record_fills_is_zero_however_the_power_failed() {
    for synced in [false, true] {
        let (mut store, _) = open(PlainDisk::default());
        for body in [[1; 600], [2; 600]] {
            append(&mut store, &draft("t", &body, &[]));
        }
        assert_eq!(store.written().end().get() / 1024, 1, "it went on in another file");
        if synced {
            store.sync(Physical::ZERO, store.committed());
            store.sync_queues();
            drop(events(&mut store));
        }
        let mut disk = store.into_disk().reopened();
        let end = stain(&mut disk);
        let (store, opened) = open(disk);
        assert_eq!((opened.cut, bodies(&store, "t").len()), (None, 2));
        let filled = &store.disk().file(&format!("{LOG}{:020}", 0)).expect("a file")[end..];
        // What was durable has rotted: that is for a verification to find.
        let wanted = if synced { 0xAB } else { 0 };
        assert!(filled.iter().all(|byte| *byte == wanted), "synced: {synced}");
    }
}

/// A file system that shows the past of blocks gives a new file of a queue the unit of an old one,
/// which may point anywhere.
#[test]
fn a_stale_unit_behind_a_gap_does_not_end_its_queue() {
    let (mut store, _) = Store::open(PlainDisk::default(), tiny(), |_| false).expect("a store");
    for body in [[1; 600], [2; 600], [3; 600], [4; 600]] {
        append(&mut store, &draft("t", &body, &[]));
        drop(events(&mut store));
    }
    let file = |number: u64| format!("consumequeue/t/0/{:020}", number * 20);
    let old = store.disk().file(&file(0)).expect("a file of one unit").to_vec();
    for (number, bytes) in [(2, vec![0; 20]), (3, old)] {
        store.disk_mut().put_file(&file(number), bytes);
    }
    let Store { queues, disk, .. } = &mut store;
    let queue = queues.get_mut("t", 0).expect("its queue");
    let known = queue.at(disk, 20).expect("the last unit that is the queue's own").span;
    assert_eq!(queue.trim(disk, Physical::new(u64::MAX)), Some(known.end()));
    assert_eq!(queue.next().get(), 2, "what lies behind has nothing to say");
}

/// The same where the log began anew: nothing says where the queue ended, and what stood in front
/// of its first unit is lost.
#[test]
fn stale_units_in_front_of_a_log_that_began_anew_are_no_queue() {
    let (mut writer, _) = open(PlainDisk::default());
    for _ in 0..4 {
        // A file each.
        append(&mut writer, &draft("t", &[5; 600], &[]));
    }
    let path = format!("{LOG}{:020}", 3 * 1024);
    let last = writer.disk().file(&path).expect("its file").to_vec();
    let mut stale = writer.disk().file("consumequeue/t/0/00000000000000000000").expect("units");
    let mut disk = PlainDisk::default();
    disk.put_file(&path, last);
    disk.put_file("consumequeue/t/0/00000000000000000040", vec![0; 40]);
    disk.put_file(
        "consumequeue/t/0/00000000000000000080",
        stale.split_off(..40).expect("2").to_vec(),
    );
    let settings = Settings { consume_queue_file: 40, ..settings() };
    let (store, _) = Store::open(disk, settings, |_| false).expect("a sound store");
    let range = store.queue("t", 0).expect("its queue");
    assert_eq!((range.min.get(), range.max.get()), (3, 4));
    store.verify_all().expect("queues follow the log");
}

#[test]
fn own_units_in_front_of_stale_ones_stay() {
    let (mut writer, _) = Store::open(PlainDisk::default(), tiny(), |_| false).expect("a store");
    for number in 0..6 {
        // A file of the log each, and one of the queue.
        append(&mut writer, &draft("t", &[5; 600], &[]));
        drop(events(&mut writer));
        if number == 3 {
            writer.sync(Physical::ZERO, writer.committed());
            writer.sync_queues();
            drop(events(&mut writer));
        }
    }
    let mut disk = writer.into_disk().reopened();
    let unit = |number: u64| format!("consumequeue/t/0/{:020}", number * 20);
    let old = [0, 1].map(|number| disk.file(&unit(number)).expect("a unit").to_vec());
    assert!(
        disk.take_file(&format!("{LOG}{:020}", 0)) && disk.take_file(&format!("{LOG}{:020}", 1024))
    );
    for (number, stale) in (4..).zip(old) {
        disk.put_file(&unit(number), stale);
    }
    let (mut store, _) = Store::open(disk, tiny(), |_| false).expect("a sound store");
    let log_start = store.start();
    let Store { queues, disk, .. } = &mut store;
    let queue = queues.get_mut("t", 0).expect("its queue");
    let range = queue.range(disk, log_start);
    assert_eq!((range.min.get(), range.max.get()), (2, 6));
    store.verify_all().expect("queues follow the log");
}
