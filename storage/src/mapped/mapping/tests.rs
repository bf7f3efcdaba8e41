//! The pointers of `mapping`, used in every way there is: over a real file, or under a checker
//! over the heap.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use super::*;
use crate::mapped::places::Places;

#[cfg(any(miri, heap_pages))]
fn pages(bytes: &[u8]) -> Pages {
    Pages::of(bytes.to_vec())
}

#[cfg(not(any(miri, heap_pages)))]
fn pages(bytes: &[u8]) -> Pages {
    use std::io::Write as _;
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(bytes).expect("written");
    Pages::map(&file).expect("mapped")
}

fn mapping(bytes: &[u8], number: u64) -> Handle {
    let (path, len, usage) = ("log".to_owned(), bytes.len() as u64, Usage::default());
    let found = Found { path, len, identity: (1, number), usage };
    Handle::Mapped(Arc::new(Mapping::of(pages(bytes), Arc::new(found))))
}

fn maps() -> Maps {
    Maps::new(Path::new(""), usize::MAX)
}

fn insert(maps: &mut Maps, bytes: &[u8], number: u64) -> FileId {
    maps.know(mapping(bytes, number)).map_err(drop).expect("another file")
}

/// Files in a directory, none of them mapped, each full of its number.
fn files(count: u8, len: usize, most: usize) -> (tempfile::TempDir, Maps, Vec<FileId>) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut maps = Maps::new(dir.path(), most);
    let known = (0..count).map(|number| {
        let (path, usage) = (number.to_string(), Usage::default());
        std::fs::write(dir.path().join(&path), vec![number; len]).expect("written");
        let mut places = Places::new(dir.path());
        let (found, _) = files::find(&mut places, &path, usage).expect("found");
        maps.know(Handle::Named(Arc::new(found))).map_err(drop).expect("another file")
    });
    let known = known.collect();
    (dir, maps, known)
}

fn is_mapped(maps: &Maps, file: FileId) -> bool {
    maps.get(file).mapping.get().is_some()
}

#[test]
fn borrows_and_leases_of_one_file_live_side_by_side() {
    let mut maps = maps();
    let file = insert(&mut maps, &[0; 64], 1);
    let other = insert(&mut maps, &[9; 8], 2);
    maps.slot(file, 0, 5).copy_from_slice(b"first");
    let first = maps.lease(file, 0, 5);
    maps.slot(file, 5, 6).copy_from_slice(b"second");
    let (one, two) = (maps.bytes(file, 0, 11), maps.bytes(file, 3, 4));
    let second = maps.lease(file, 5, 6);
    assert_eq!((one, two), (&b"firstsecond"[..], &b"stse"[..]));
    maps.slot(file, 11, 53).fill(7);
    assert_eq!((&first[..], &second[1..3]), (&b"first"[..], &b"ec"[..]));
    let part = second.slice(2..);
    drop((first, second));
    maps.remove(file);
    assert_eq!(&part[..], b"cond");
    assert_eq!(maps.bytes(other, 7, 1), [9]);
}

#[test]
fn leases_are_read_elsewhere_while_the_writer_goes_on_and_the_file_goes() {
    let mut maps = maps();
    let file = insert(&mut maps, &[0; 4096], 1);
    let mut readers = Vec::new();
    for round in 0..8_u8 {
        let at = u64::from(round) * 100;
        maps.slot(file, at, 100).fill(round);
        let lease = maps.lease(file, at, 100);
        let again = lease.clone();
        readers.push(thread::spawn(move || {
            assert!(lease.iter().all(|byte| *byte == round));
            drop(lease);
            again
        }));
    }
    let shared = maps.share(file);
    let disk = thread::spawn(move || {
        shared.sync(0, 4096).expect("synced");
    });
    let deleted = maps.remove(file);
    let deleter = thread::spawn(move || drop(deleted));
    for (round, reader) in readers.into_iter().enumerate() {
        let lease = reader.join().expect("a reader");
        assert!(lease.iter().all(|byte| usize::from(*byte) == round));
    }
    disk.join().expect("the disk");
    deleter.join().expect("the disk");
}

#[test]
fn what_was_leased_is_not_written_and_nothing_lies_outside() {
    let mut maps = maps();
    let file = insert(&mut maps, &[1; 16], 1);
    let lease = maps.lease(file, 4, 4);
    let mut refused = |at: u64, len: usize| {
        catch_unwind(AssertUnwindSafe(|| maps.slot(file, at, len).fill(2))).is_err()
    };
    assert!(refused(7, 9), "below the mark");
    assert!(cfg!(miri) || (refused(0, 1) && refused(7, 1)), "below the mark");
    assert!(cfg!(miri) || (refused(8, 9) && refused(16, 1) && refused(u64::MAX, 2)), "outside");
    assert!(!refused(8, 8));
    let outside = [(0, 17), (17, 0), (u64::MAX, 1), (1, usize::MAX)];
    // A panic is slow under Miri, and reaches no pointer.
    for (at, len) in outside.into_iter().take(if cfg!(miri) { 1 } else { 4 }) {
        let read = catch_unwind(AssertUnwindSafe(|| maps.bytes(file, at, len).len()));
        assert!(read.is_err(), "{len} bytes at {at}");
        assert!(catch_unwind(AssertUnwindSafe(|| maps.lease(file, at, len))).is_err());
    }
    assert_eq!(&lease[..], [1; 4]);
    assert!(maps.bytes(file, 16, 0).is_empty() && maps.lease(file, 16, 0).is_empty());
}

#[test]
fn a_file_is_mapped_once_at_a_time() {
    let mut maps = maps();
    let file = insert(&mut maps, &[0; 4], 1);
    assert!(maps.know(mapping(&[0; 4], 1)).is_err(), "it is open");
    let deleted = maps.remove(file);
    let file = insert(&mut maps, &[5; 4], 1);
    drop(deleted);
    assert_eq!(maps.bytes(file, 0, 4), [5; 4]);
}

#[test]
fn few_files_are_mapped_at_a_time_and_all_can_be_read_and_written() {
    let (_dir, mut maps, files) = files(9, 100, 3);
    for round in 0..3_u8 {
        for (file, number) in files.iter().zip(0..) {
            let mut bytes = [0; 2];
            maps.copy(*file, 49, &mut bytes);
            let before = if round == 0 { number } else { round };
            assert_eq!(bytes, [before, number], "round {round}");
            maps.slot(*file, u64::from(round) + 10, 1)[0] = 7;
            maps.slot(*file, 49, 1)[0] = round + 1;
            assert!(maps.residents.len() <= 3, "as few as were asked for");
        }
    }
    assert_eq!(maps.bytes(files[4], 9, 5), [4, 7, 7, 7, 4]);
}

#[test]
fn what_nobody_may_unmap_stays_mapped() {
    let (_dir, mut maps, files) = files(5, 16, 1);
    let lease = maps.lease(files[0], 0, 4);
    let thread = maps.share(files[1]);
    for file in [files[2], files[3], files[4], files[2]] {
        maps.slot(file, 3, 1)[0] = 9;
    }
    assert!(is_mapped(&maps, files[0]) && is_mapped(&maps, files[1]), "leased, and at a thread");
    assert!(is_mapped(&maps, files[2]) && !is_mapped(&maps, files[3]), "the others make room");
    assert_eq!((&lease[..], maps.bytes(files[0], 0, 2)), (&[0; 4][..], &[0; 2][..]));
    drop((lease, thread));
    maps.slot(files[3], 0, 1)[0] = 8;
    let mapped = files.iter().filter(|file| is_mapped(&maps, **file)).count();
    assert!(mapped <= 2 && is_mapped(&maps, files[3]));
    assert_eq!(maps.bytes(files[4], 2, 3), [4, 9, 4], "nothing was lost");
    let refused = catch_unwind(AssertUnwindSafe(|| maps.slot(files[0], 3, 1)[0] = 1));
    assert!(refused.is_err(), "what was leased stays as it is, mapped again or not");
}

#[test]
fn what_is_not_synced_goes_last_and_a_sync_of_all_of_it_lets_it_go() {
    let (_dir, mut maps, files) = files(6, 16, 4);
    for file in &files[..3] {
        maps.slot(*file, 4, 2).fill(9);
    }
    drop(maps.hand_to_sync(files[1], 4, 5));
    drop(maps.hand_to_sync(files[2], 0, 16));
    let mut bytes = [0; 1];
    maps.copy(files[3], 0, &mut bytes);
    for (file, goes) in [(files[4], files[2]), (files[5], files[3])] {
        maps.slot(file, 0, 1)[0] = 9;
        assert!(!is_mapped(&maps, goes), "it had nothing to lose");
    }
    assert!(is_mapped(&maps, files[0]) && is_mapped(&maps, files[1]), "written and not synced");
    maps.slot(files[2], 0, 1)[0] = 9;
    maps.slot(files[3], 0, 1)[0] = 9;
    assert!(maps.residents.len() <= 4, "synced on the spot, as all are written");
    assert_eq!(maps.bytes(files[0], 3, 4), [0, 9, 9, 0]);
}

#[test]
fn a_file_that_is_read_without_being_mapped_is_read_as_it_is() {
    let (dir, mut maps, files) = files(3, 10_000, 1);
    assert_eq!(maps.bytes(files[0], 9_999, 1), [0], "the only one that is mapped");
    let read = |maps: &Maps, at| {
        let mut bytes = [0; 3];
        maps.copy(files[1], at, &mut bytes);
        bytes
    };
    assert_eq!((read(&maps, 4_095), read(&maps, 9_997)), ([1; 3], [1; 3]));
    maps.slot(files[1], 9_998, 1)[0] = 7;
    maps.slot(files[2], 0, 1)[0] = 7;
    maps.slot(files[0], 0, 1)[0] = 7;
    assert_eq!(read(&maps, 9_997), [1, 7, 1], "and not as it was when it was read first");
    let outside = catch_unwind(AssertUnwindSafe(|| read(&maps, 9_998)));
    assert!(outside.is_err(), "outside");
    // As the disk does for `Op::Zero`, but by a call that Miri knows.
    let handle = maps.hand_to_zero(files[1], 9_000, 10_000);
    let named = OpenOptions::new().write(true).open(dir.path().join(&handle.found().path));
    named.and_then(|file| file.write_all_at(&[0; 1_000], 9_000)).expect("zeroed");
    drop(handle);
    assert_eq!(read(&maps, 8_998), [1, 1, 0]);
}

#[test]
fn what_the_system_writes_is_what_is_mapped() {
    let (dir, mut maps, files) = files(2, 64, 9);
    maps.write(files[0], 3, b"first");
    maps.write(files[1], 0, b"other");
    maps.slot(files[0], 8, 3).copy_from_slice(b"and");
    maps.write(files[0], 11, b"more");
    assert_eq!(maps.bytes(files[0], 2, 14), b"\0firstandmore\0");
    let lease = maps.lease(files[0], 3, 5);
    let refused = |maps: &mut Maps, at| {
        catch_unwind(AssertUnwindSafe(|| maps.write(files[0], at, b"xx"))).is_err()
    };
    assert!(refused(&mut maps, 7), "below what is leased");
    assert!(cfg!(miri) || refused(&mut maps, 63), "beyond the end");
    maps.write(files[0], 8, b"AND");
    assert_eq!((&lease[..], maps.bytes(files[0], 8, 4)), (&b"first"[..], &b"ANDm"[..]));

    // Another file has its name: it is not written, and what is mapped is.
    std::fs::rename(dir.path().join("1"), dir.path().join("gone")).expect("renamed");
    std::fs::write(dir.path().join("1"), [9; 64]).expect("written");
    maps.write(files[0], 20, b"x");
    maps.write(files[1], 5, b"wise");
    assert_eq!(maps.bytes(files[1], 0, 9), b"otherwise");
    assert_eq!(std::fs::read(dir.path().join("1")).expect("read"), [9; 64]);
}
