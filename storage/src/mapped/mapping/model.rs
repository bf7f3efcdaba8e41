//! The same code under loom: every order in which an owner, readers and the disk's threads can
//! take their steps. `tests/run` says how it is started.
//!
//! Each byte and the mapping itself are cells that loom watches (see `heap`): a read that is not
//! ordered after the write before it and before the end of the mapping fails, and so does a write
//! to what a lease holds. Two tests do wrong on purpose, to show that it would be seen.

use loom::thread;

use super::*;

fn owner(len: usize) -> (Maps, FileId) {
    let mut maps = Maps::new(Path::new(""), usize::MAX);
    let found = Found {
        path: "log".to_owned(),
        len: len as u64,
        identity: (1, 1),
        usage: Usage::default(),
    };
    let mapping = Mapping::of(Pages::of(vec![0; len]), Arc::new(found));
    let file = maps.know(Handle::Mapped(Arc::new(mapping))).map_err(drop).expect("the only one");
    (maps, file)
}

/// Writes a record of one byte, and leases it.
fn record(maps: &mut Maps, file: FileId, at: u64, byte: u8) -> Lease {
    maps.slot(file, at, 1)[0] = byte;
    maps.hold(file, at, 1)
}

#[test]
fn readers_keep_a_deleted_file_mapped_whoever_is_last() {
    loom::model(|| {
        let (mut maps, file) = owner(2);
        let readers = [1, 2].map(|byte| {
            let lease = record(&mut maps, file, u64::from(byte) - 1, byte);
            thread::spawn(move || assert_eq!(lease.as_ref(), [byte]))
        });
        // As `Op::Delete`: the owner forgets the file, and a thread of the disk unlinks it.
        let deleted = maps.remove(file);
        let files = thread::spawn(move || drop(deleted));
        readers.into_iter().for_each(|reader| reader.join().expect("a reader"));
        files.join().expect("the disk");
    });
}

#[test]
fn a_sync_under_way_keeps_a_deleted_file_mapped() {
    loom::model(|| {
        let (mut maps, file) = owner(1);
        let lease = record(&mut maps, file, 0, 7);
        let shared = maps.share(file);
        let syncs = thread::spawn(move || shared.sync(0, 1).expect("synced"));
        drop(maps.remove(file));
        assert_eq!(lease.as_ref(), [7]);
        drop(lease);
        syncs.join().expect("the disk");
    });
}

#[test]
fn the_writer_goes_on_behind_what_is_leased() {
    loom::model(|| {
        let (mut maps, file) = owner(3);
        let first = record(&mut maps, file, 0, 1);
        let reader = thread::spawn(move || {
            assert_eq!(first.as_ref(), [1]);
            assert_eq!(first.as_ref(), [1], "and for as long as it is held");
        });
        let second = record(&mut maps, file, 1, 2);
        let other = thread::spawn(move || assert_eq!(second.as_ref(), [2]));
        maps.slot(file, 2, 1)[0] = 3;
        assert_eq!(maps.bytes(file, 0, 3), [1, 2, 3]);
        reader.join().expect("a reader");
        other.join().expect("a reader");
    });
}

#[test]
fn the_kernel_zeroes_behind_what_is_leased_while_the_owner_waits() {
    loom::model(|| {
        let (mut maps, file) = owner(2);
        let lease = record(&mut maps, file, 0, 1);
        maps.slot(file, 1, 1)[0] = 9;
        let reader = thread::spawn(move || assert_eq!(lease.as_ref(), [1]));
        // As `Op::Zero`: asserted, handed over, waited for.
        drop(maps.hand_to_zero(file, 1, 2));
        let shared = maps.share(file);
        let syncs = thread::spawn(move || {
            // SAFETY: below loom's own watch: the write is told, and an overlap would fail.
            unsafe { shared.pages.write(1, 1).write(0) };
        });
        syncs.join().expect("the disk");
        assert_eq!(maps.bytes(file, 0, 2), [1, 0]);
        reader.join().expect("a reader");
    });
}

#[test]
fn a_file_is_unmapped_only_when_nobody_reads_it() {
    loom::model(|| {
        let (mut maps, file) = owner(2);
        let readers = [1, 2].map(|byte| {
            let lease = record(&mut maps, file, u64::from(byte) - 1, byte);
            thread::spawn(move || assert_eq!(lease.as_ref(), [byte]))
        });
        let shared = maps.share(file);
        let syncs = thread::spawn(move || shared.sync(0, 1).expect("synced"));
        maps.set_most(1);
        // Once to find that it was used, once to unmap it if it is in nobody's hands.
        maps.make_room();
        maps.make_room();
        readers.into_iter().for_each(|reader| reader.join().expect("a reader"));
        syncs.join().expect("the disk");
        maps.make_room();
        maps.make_room();
        assert!(maps.get(file).mapping.get().is_none(), "now nobody has it");
    });
}

#[test]
#[should_panic(expected = "leased up to 1")]
fn a_slot_below_the_mark_is_refused() {
    loom::model(|| {
        let (mut maps, file) = owner(2);
        let lease = record(&mut maps, file, 0, 1);
        let reader = thread::spawn(move || drop(lease));
        reader.join().expect("a reader");
        // The lease is gone, its mark is not: marks only grow.
        maps.slot(file, 0, 1);
    });
}

#[test]
#[should_panic(expected = "ausality violation")]
fn a_write_to_what_is_leased_would_be_seen() {
    loom::model(|| {
        let (mut maps, file) = owner(1);
        let lease = record(&mut maps, file, 0, 1);
        let reader = thread::spawn(move || lease.as_ref().len());
        maps.mapping(file).pages.write(0, 1);
        reader.join().expect("a reader");
    });
}

#[test]
#[should_panic(expected = "ausality violation")]
fn an_end_under_a_lease_would_be_seen() {
    loom::model(|| {
        let (mut maps, file) = owner(1);
        let lease = record(&mut maps, file, 0, 1);
        let reader = thread::spawn(move || lease.as_ref().len());
        maps.mapping(file).pages.end();
        reader.join().expect("a reader");
    });
}
