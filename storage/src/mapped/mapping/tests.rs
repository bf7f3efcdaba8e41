//! The pointers of `mapping`, used in every way there is: over a real file, or under a checker
//! over the heap.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use super::*;

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

fn mapping(bytes: &[u8], number: u64) -> Mapping {
    Mapping::of(pages(bytes), "log".to_owned(), (1, number), Usage::default())
}

fn insert(maps: &mut Maps, bytes: &[u8], number: u64) -> FileId {
    maps.insert(mapping(bytes, number)).map_err(drop).expect("another file")
}

#[test]
fn borrows_and_leases_of_one_file_live_side_by_side() {
    let mut maps = Maps::default();
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
    let mut maps = Maps::default();
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
        shared.populate(0, 4096).or_else(|_| shared.read_ahead(0, 4096)).expect("advice");
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
    let mut maps = Maps::default();
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
    let mut maps = Maps::default();
    let file = insert(&mut maps, &[0; 4], 1);
    let again = maps.insert(mapping(&[0; 4], 1)).expect_err("it is open");
    drop(again);
    let deleted = maps.remove(file);
    let file = insert(&mut maps, &[5; 4], 1);
    drop(deleted);
    assert_eq!(maps.bytes(file, 0, 4), [5; 4]);
}
