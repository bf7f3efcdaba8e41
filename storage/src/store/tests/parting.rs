//! Logs that begin anew, or end earlier: what makes a copy do so, and what becomes of the rest.

use super::*;
use crate::opening::{NoOpening, opening};
use crate::record::{Damage, MAGIC_BLANK, MAGIC_V1};
use crate::{PARTINGS_KEPT, Parting, part};

const AT: Physical = Physical::new(3 * 1024);

/// A log that begins at `AT`, with one record.
fn log() -> Vec<u8> {
    let mut disk = PlainDisk::default();
    part(&mut disk, &settings(), Parting::Begin(AT)).expect("a log that begins there");
    let (mut store, _) = open(disk.reopened());
    append(&mut store, &draft("t", b"a body", &[]));
    store.disk().file(&format!("commitlog/{:020}", AT.get())).expect("its file").to_vec()
}

#[test]
fn nothing_is_known_before_the_record_is_whole() {
    let log = log();
    let size = u32::from_be_bytes(*log.first_chunk().expect("a header"));
    let len = usize::try_from(size).expect("a record is short");
    for known in 0..len {
        assert_eq!(opening(&log[..known], AT, 1024), None, "{known} bytes");
    }
    for known in len..=log.len() {
        assert_eq!(opening(&log[..known], AT, u64::from(size)), Some(Ok(())), "{known} bytes");
    }
    assert_eq!(opening(&log, AT, u64::from(size) - 1), Some(Err(NoOpening::TooLong(size))));
}

#[test]
fn what_is_no_record_or_belongs_elsewhere_is_told_apart() {
    let log = log();
    let with = |at: usize, byte: u8| {
        let mut bytes = log.clone();
        bytes[at] ^= byte;
        opening(&bytes, AT, 1024)
    };
    let damaged = |damage| Some(Err(NoOpening::Damaged(damage)));
    assert_eq!(with(5, 1), damaged(Damage::Magic));
    assert_eq!(with(3, 1), damaged(Damage::Lengths), "the size");
    assert_eq!(with(11, 1), damaged(Damage::BodyCrc));
    assert_eq!(opening(&log, AT.plus(1024), 1024), damaged(Damage::Position));
    assert_eq!(opening(&[7; 8], AT, 1024), damaged(Damage::Magic));
    let blank = [1024_u32.to_be_bytes(), MAGIC_BLANK.to_be_bytes()].concat();
    assert_eq!(opening(&blank, AT, 1024), Some(Err(NoOpening::Blank)));
    let zero = [0_u32.to_be_bytes(), MAGIC_V1.to_be_bytes()].concat();
    assert!(matches!(opening(&zero, AT, 1024), Some(Err(NoOpening::Damaged(_)))));
}

/// A log of several files, and where its records begin.
fn closed() -> (PlainDisk, Vec<u64>) {
    let disk = super::starts::closed();
    let (store, _) = open(disk.reopened());
    let places = store.records_from(Physical::ZERO).map(|record| record.physical().get()).collect();
    (disk, places)
}

/// Every byte of the log that is not zero, by its place.
fn bytes_of(disk: &PlainDisk) -> std::collections::BTreeMap<u64, u8> {
    files(disk, "commitlog/").flat_map(|(start, bytes)| used(start, bytes)).collect()
}

/// The same of what is kept aside.
fn aside(disk: &PlainDisk) -> std::collections::BTreeMap<u64, u8> {
    let files = disk.paths().filter_map(|path| {
        let name = path.strip_prefix("diverged/")?.split_once('-')?.1;
        let start = name.split('.').next()?.parse().ok()?;
        Some((start, disk.file(path)?))
    });
    files.flat_map(|(start, bytes)| used(start, bytes)).collect()
}

fn files<'a>(disk: &'a PlainDisk, dir: &'a str) -> impl Iterator<Item = (u64, &'a [u8])> + use<'a> {
    disk.paths()
        .filter_map(move |path| Some((path.strip_prefix(dir)?.parse().ok()?, disk.file(path)?)))
}

fn used(start: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, u8)> {
    (start..).zip(bytes.to_vec()).filter(|(_, byte)| *byte != 0)
}

fn partings(places: &[u64]) -> Vec<Parting> {
    let mut all: Vec<_> = [0, 1, 7, 8, 19].map(|n| Parting::Cut(Physical::new(places[n]))).into();
    all.push(Parting::Begin(Physical::new(9 * 1024)));
    all
}

#[test]
fn what_is_taken_out_of_a_log_is_kept_aside() {
    let (disk, places) = closed();
    let before = bytes_of(&disk);
    for at in partings(&places) {
        let mut disk = disk.clone();
        let kept = part(&mut disk, &settings(), at).expect("it is parted").expect("and kept");
        let mut left = bytes_of(&disk);
        let end = if let Parting::Cut(end) = at { end.get() } else { 0 };
        assert!(left.keys().all(|place| *place < end), "{at:?}");
        let aside = aside(&disk);
        assert_eq!((kept.number, kept.to_string().as_str()), (1, "diverged/1-*"));
        assert!(kept.bytes >= aside.len() as u64);
        left.extend(aside);
        assert_eq!(left, before, "{at:?}");
        let (store, _) = open(disk.reopened());
        assert!(store.written().end().get() == end.max(store.start().get()), "{at:?}");
    }
}

#[test]
fn nothing_is_kept_of_nothing() {
    let (mut store, _) = open(PlainDisk::default());
    store.close().expect("a clean stop");
    let mut disk = store.into_disk().reopened();
    for at in [Parting::Begin(Physical::new(1024)), Parting::Cut(Physical::new(1024))] {
        assert_eq!(part(&mut disk, &settings(), at), Ok(None));
        disk = disk.reopened();
    }
    assert!(disk.paths().all(|path| !path.starts_with("diverged")));
}

#[test]
fn of_old_partings_only_the_newest_are_kept() {
    let (mut disk, places) = closed();
    for (times, place) in (1..).zip(places.iter().rev().take(PARTINGS_KEPT + 3)) {
        let at = Parting::Cut(Physical::new(*place));
        let kept = part(&mut disk, &settings(), at).expect("it is parted").expect("and kept");
        assert_eq!(kept.number, times);
        disk = disk.reopened();
        let first = times.saturating_sub(PARTINGS_KEPT as u64 - 1).max(1);
        let names: Vec<_> = disk.paths().filter(|path| path.starts_with("diverged/")).collect();
        let wanted: Vec<_> = (first..=times).map(|number| format!("diverged/{number}-")).collect();
        assert!(names.iter().zip(&wanted).all(|(name, of)| name.starts_with(of)), "{names:?}");
        assert_eq!(names.len(), wanted.len());
    }
}

/// Dies at every operation in turn, and then once more; a start in between, or none.
#[test]
fn a_parting_that_dies_loses_nothing_and_leaves_a_store_that_opens() {
    let (disk, places) = closed();
    let before = bytes_of(&disk);
    for (at, first, second, starts) in partings(&places).into_iter().flat_map(|at| {
        (0..40).flat_map(move |n| [(at, n, 3, true), (at, n, 9, false), (at, n, n, true)])
    }) {
        let mut here = disk.clone();
        for left in [first, second] {
            let mut dying = super::starts::Dying::new(here, left);
            drop(part(&mut &mut dying, &settings(), at));
            here = dying.disk.reopened();
            if starts {
                let (store, _) = open(here);
                store.verify_all().expect("queues follow the log");
                here = store.into_disk().reopened();
            }
        }
        let what = format!("{at:?} died after {first} and {second} operations");
        part(&mut here, &settings(), at).expect(&what);
        let end = if let Parting::Cut(end) = at { end.get() } else { 0 };
        let mut kept = bytes_of(&here);
        assert!(kept.keys().all(|place| *place < end), "{what}");
        for (place, byte) in aside(&here) {
            assert_eq!(before.get(&place), Some(&byte), "{what}");
            kept.insert(place, byte);
        }
        assert_eq!(kept, before, "{what}");
        let is_over = here.paths().all(|path| !path.ends_with("unfinished"));
        assert!(is_over, "{what}");
        let (store, _) = open(here.reopened());
        store.verify_all().expect("queues follow the log");
    }
}

#[test]
fn a_queue_of_which_only_the_number_is_left_has_no_gap_either() {
    let (mut writer, _) = open(PlainDisk::default());
    for _ in 0..4 {
        append(&mut writer, &draft("t", &[5; 600], &[]));
    }
    let last = writer.disk().file(&format!("commitlog/{:020}", AT.get())).expect("its file");
    let size = u32::from_be_bytes(*last.first_chunk().expect("a header"));
    let last = last[..usize::try_from(size).expect("short")].to_vec();
    // A queue whose first file begins with number 1, of which no record is there any more.
    let settings = Settings { consume_queue_file: 20, ..settings() };
    let open = |disk| Store::open(disk, settings.clone(), |_| false).expect("a sound store").0;
    let mut disk = PlainDisk::default();
    disk.put_file("consumequeue/t/0/00000000000000000020", vec![0; 20]);
    part(&mut disk, &settings, Parting::Begin(AT)).expect("parted");
    let mut copy = open(disk.reopened());
    let mut rest = &last[..];
    while !rest.is_empty() {
        let (taken, _) = copy.receive(rest, &mut Anybody);
        rest = &rest[taken..];
        while copy.poll().is_some() {}
    }
    assert_eq!(copy.receive(&[], &mut Anybody).1, Ok(()));
    let range = copy.queue("t", 0).expect("its queue");
    assert_eq!((range.min.get(), range.max.get()), (3, 4), "nothing stands for what is gone");
}

#[test]
fn a_log_that_begins_anew_has_no_gap_to_what_was_before() {
    let (mut writer, _) = open(PlainDisk::default());
    for _ in 0..4 {
        // A file each.
        append(&mut writer, &draft("t", &[5; 600], &[]));
    }
    let copied = |disk: PlainDisk, from: u64, fails: bool| {
        let (mut copy, _) = open(disk);
        copy.disk_mut().fail_deletions(fails);
        let file = writer.disk().file(&format!("commitlog/{from:020}")).expect("its file");
        let size = u32::from_be_bytes(*file.first_chunk().expect("a header"));
        let mut rest = &file[..usize::try_from(size).expect("short")];
        while !rest.is_empty() {
            let (taken, _) = copy.receive(rest, &mut Anybody);
            rest = &rest[taken..];
            while copy.poll().is_some() {}
        }
        let (_, outcome) = copy.receive(&[], &mut Anybody);
        assert_eq!(outcome, Ok(()));
        copy.end_turn();
        copy
    };
    let mut before = copied(PlainDisk::default(), 0, false);
    before.close().expect("closed");
    let mut disk = before.disk().reopened();
    part(&mut disk, &settings(), Parting::Begin(AT)).expect("parted");
    for fails in [false, true] {
        let after = copied(disk.reopened(), AT.get(), fails);
        let range = after.queue("t", 0).expect("its queue");
        assert_eq!((range.min.get(), range.max.get()), (3, 4), "nothing stands for what is gone");
        // It may die before the queue that was is deleted.
        let (again, _) = open(after.into_disk().reopened());
        assert_eq!(again.queue("t", 0), Some(range));
        again.verify_all().expect("queues follow the log");
    }
    // Nor does it get a file over one of those when it stops: that deletes them first, or fails.
    for heals in [false, true] {
        let mut after = copied(disk.reopened(), AT.get(), true);
        after.disk_mut().fail_deletions(!heals);
        assert_eq!(after.close().is_ok(), heals);
        let (again, opened) = open(after.into_disk().reopened());
        assert_eq!(opened.clean, heals);
        let range = again.queue("t", 0).expect("its queue");
        assert_eq!((range.min.get(), range.max.get()), (3, 4), "healed: {heals}");
        again.verify_all().expect("queues follow the log");
    }
}
