//! One contract, every disk: what the seam promises holds in memory and on mapped files.

use hotfire_storage::mapped::{LockError, MappedDisk};
use hotfire_storage::plain::PlainDisk;
use hotfire_storage::seam::{Disk, Done, FileId, Memory, Op, Token};

macro_rules! on_every_disk {
    ($($contract:ident),* $(,)?) => {
        mod plain {
            $(#[test]
            fn $contract() {
                super::$contract(super::PlainDisk::default());
            })*
        }
        mod mapped {
            $(#[test]
            fn $contract() {
                let dir = tempfile::tempdir().expect("a directory");
                super::$contract(super::MappedDisk::open(dir.path(), || {}).expect("unused"));
            })*
        }
        /// With more files than may be mapped.
        mod squeezed {
            $(#[test]
            fn $contract() {
                let dir = tempfile::tempdir().expect("a directory");
                let mut disk = super::MappedDisk::open(dir.path(), || {}).expect("unused");
                disk.set_mapped_max(1);
                super::$contract(disk);
            })*
        }
    };
}

on_every_disk!(
    an_allocated_file_is_zero_and_listed_with_its_length,
    bytes_written_are_read_leased_and_outlive_deletion,
    completions_come_in_order_and_performing_waits_for_them,
    many_files_are_written_and_read_in_turn,
    what_is_replaced_is_kept_once,
    zeroing_a_range_leaves_the_rest,
    how_full_it_is_can_be_asked,
    what_is_not_there_is_said,
    a_file_is_given_another_name,
);

fn allocate(disk: &mut impl Disk, path: &str, len: u64) -> FileId {
    match disk.perform(Op::Allocate { path, len }) {
        Ok(Done::Opened { file, len: given }) if given == len => file,
        other => panic!("{other:?}"),
    }
}

fn an_allocated_file_is_zero_and_listed_with_its_length(mut disk: impl Disk) {
    let file = allocate(&mut disk, "a/b/one", 10_000);
    allocate(&mut disk, "a/b/two", 5);
    assert!(disk.bytes(file, 0, 10_000).iter().all(|byte| *byte == 0));
    let entries = disk.list("a/b").expect("a directory");
    let seen: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.len, e.is_dir)).collect();
    assert_eq!(seen, [("one", 10_000, false), ("two", 5, false)]);
    let entries = disk.list("a").expect("a directory");
    assert!(entries.len() == 1 && entries[0].is_dir && entries[0].name == "b");
}

fn bytes_written_are_read_leased_and_outlive_deletion(mut disk: impl Disk) {
    let file = allocate(&mut disk, "log", 8192);
    disk.slot(file, 100, 5).copy_from_slice(b"hello");
    assert_eq!(disk.bytes(file, 101, 3), b"ell");
    let lease = disk.lease(file, 100, 5);
    disk.slot(file, 105, 1)[0] = b'!';
    disk.perform(Op::Sync { file, from: 0, to: 8192 }).expect("synced");
    disk.perform(Op::Delete { file }).expect("deleted");
    assert_eq!(&lease[..], b"hello");
    assert_eq!(disk.list("").expect("the root").iter().filter(|e| e.name == "log").count(), 0);
}

fn completions_come_in_order_and_performing_waits_for_them(mut disk: impl Disk) {
    for n in 0..20 {
        disk.submit(Token(n), Op::Allocate { path: &format!("f/{n}"), len: 100 });
    }
    disk.perform(Op::Remove { path: "f/none" }).expect("fine if it does not exist");
    for n in 0..20 {
        let (token, done) = disk.poll().expect("over, since a later one was performed");
        assert_eq!(token, Token(n));
        assert!(matches!(done, Ok(Done::Opened { len: 100, .. })));
    }
    assert!(disk.poll().is_none());
}

fn many_files_are_written_and_read_in_turn(mut disk: impl Disk) {
    let files: Vec<_> = (0..9).map(|n| allocate(&mut disk, &format!("q/{n}"), 9_000)).collect();
    let lease = disk.lease(files[8], 0, 4);
    for round in 1..4_u8 {
        for (file, number) in files.iter().zip(0..) {
            disk.slot(*file, 4_094, 4).copy_from_slice(&[round, number, round, number]);
        }
        for (file, number) in files.iter().zip(0..) {
            let mut bytes = [9; 6];
            disk.copy(*file, 4_093, &mut bytes);
            assert_eq!(bytes, [0, round, number, round, number, 0]);
            assert!(disk.is_zero(*file, 0, 4_094) && disk.is_zero(*file, 4_098, 9_000));
            assert!(!disk.is_zero(*file, 0, 4_095) && !disk.is_zero(*file, 4_096, 9_000));
            if number % 2 == 0 {
                disk.perform(Op::Sync { file: *file, from: 4_094, to: 4_098 }).expect("synced");
            }
        }
    }
    disk.perform(Op::Zero { file: files[3], from: 4_096, to: 9_000 }).expect("zeroed");
    assert_eq!(disk.bytes(files[3], 4_094, 3), [3, 3, 0]);
    disk.perform(Op::Delete { file: files[5] }).expect("deleted");
    assert_eq!((&lease[..], disk.list("q").expect("a directory").len()), (&[0; 4][..], 8));
}

fn what_is_replaced_is_kept_once(mut disk: impl Disk) {
    for content in [&b"one"[..], b"two", b"three"] {
        disk.perform(Op::Replace { path: "c/state.json", bytes: content }).expect("replaced");
    }
    assert_eq!(disk.read("c/state.json").expect("readable").as_deref(), Some(&b"three"[..]));
    assert_eq!(disk.read("c/state.json.bak").expect("readable").as_deref(), Some(&b"two"[..]));
    assert_eq!(disk.list("c").expect("a directory").len(), 2);
}

fn zeroing_a_range_leaves_the_rest(mut disk: impl Disk) {
    let file = allocate(&mut disk, "log", 20_000);
    disk.slot(file, 0, 20_000).fill(7);
    disk.perform(Op::Zero { file, from: 5_001, to: 13_003 }).expect("zeroed");
    disk.perform(Op::Sync { file, from: 4_096, to: 16_384 }).expect("synced");
    let bytes = disk.bytes(file, 0, 20_000);
    assert!(bytes[..5_001].iter().chain(&bytes[13_003..]).all(|byte| *byte == 7));
    assert!(bytes[5_001..13_003].iter().all(|byte| *byte == 0));
}

fn a_file_is_given_another_name(mut disk: impl Disk) {
    let file = allocate(&mut disk, "log/one", 5_000);
    disk.slot(file, 4_094, 4).copy_from_slice(b"text");
    let lease = disk.lease(file, 4_094, 4);
    disk.perform(Op::Rename { file, to: "aside/1/two" }).expect("renamed");
    assert_eq!((&lease[..], disk.list("log")), (&b"text"[..], Ok(Vec::new())));
    let Ok(Done::Opened { file, len: 5_000 }) = disk.perform(Op::Open { path: "aside/1/two" })
    else {
        panic!("it is there");
    };
    assert_eq!(disk.bytes(file, 4_093, 6), b"\0text\0");
    // The name that it had is free.
    let file = allocate(&mut disk, "log/one", 10);
    assert!(disk.is_zero(file, 0, 10));
}

fn how_full_it_is_can_be_asked(mut disk: impl Disk) {
    allocate(&mut disk, "log/one", 4096);
    for dir in ["", "log", "none/at/all"] {
        let Ok(Done::Measured(found)) = disk.perform(Op::Measure { dir }) else {
            panic!("{dir:?} can be measured");
        };
        assert!(found.used < found.total && !found.is_above(100), "{found:?}");
    }
}

fn what_is_not_there_is_said(mut disk: impl Disk) {
    assert_eq!(disk.read("none"), Ok(None));
    assert_eq!(disk.list("none"), Ok(Vec::new()));
    assert!(disk.perform(Op::Open { path: "none" }).is_err());
    disk.submit(Token(7), Op::Open { path: "none" });
    disk.perform(Op::Remove { path: "none" }).expect("fine if it does not exist");
    assert!(matches!(disk.poll(), Some((Token(7), Err(_)))));
}

#[test]
fn a_directory_has_one_owner() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = MappedDisk::open(dir.path(), || {}).expect("unused");
    let error = MappedDisk::open(dir.path(), || {}).expect_err("in use");
    assert!(matches!(error, LockError::InUse { .. }));
    assert!(error.to_string().contains(&dir.path().display().to_string()));
    drop(first);
    MappedDisk::open(dir.path(), || {}).expect("free again");
}

#[test]
fn what_was_written_is_there_for_the_next_process_and_the_owner_was_woken() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    let dir = tempfile::tempdir().expect("a directory");
    let woken = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&woken);
    let wake = move || {
        count.fetch_add(1, Ordering::Relaxed);
    };
    let mut disk = MappedDisk::open(dir.path(), wake).expect("unused");
    let file = allocate(&mut disk, "log", 4096);
    disk.slot(file, 4090, 6).copy_from_slice(b"durable"[..6].as_ref());
    disk.perform(Op::Sync { file, from: 4090, to: 4096 }).expect("synced");
    drop(disk);
    assert_eq!(woken.load(Ordering::Relaxed), 2);
    let mut disk = MappedDisk::open(dir.path(), || {}).expect("free again");
    let Ok(Done::Opened { file, len: 4096 }) = disk.perform(Op::Open { path: "log" }) else {
        panic!("not there");
    };
    assert_eq!(disk.bytes(file, 4090, 6), b"durabl");
}

#[test]
#[should_panic(expected = "leased up to 10")]
fn leased_bytes_are_never_written_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut disk = MappedDisk::open(dir.path(), || {}).expect("unused");
    let file = allocate(&mut disk, "log", 4096);
    let _lease = disk.lease(file, 0, 10);
    disk.slot(file, 9, 1);
}

#[test]
fn mapped_files_keep_no_descriptor() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut disk = MappedDisk::open(dir.path(), || {}).expect("unused");
    let files: Vec<_> = (0..50).map(|n| allocate(&mut disk, &format!("q/{n}"), 4096)).collect();
    let open = std::fs::read_dir("/proc/self/fd").expect("what this process has open");
    let ours = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let ours: Vec<_> = ours.filter(|path| path.starts_with(dir.path())).collect();
    assert_eq!(ours, [dir.path().join("lock")]);
    // What needs one takes it for as long as it lasts.
    disk.slot(files[7], 0, 3).copy_from_slice(b"abc");
    disk.perform(Op::Zero { file: files[7], from: 1, to: 2 }).expect("zeroed");
    disk.perform(Op::Sync { file: files[7], from: 0, to: 4096 }).expect("synced");
    assert_eq!(disk.bytes(files[7], 0, 3), b"a\0c");
}
