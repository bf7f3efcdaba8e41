//! Files put and searched, against a plain list of keys.

use proptest::prelude::*;

use super::*;
use crate::plain::PlainDisk;

const DIR: &str = "index";

fn index(slots: u32, items: u32) -> Index {
    let settings = Settings { index_slots: slots, index_items: items, ..Settings::default() };
    Index::new(&settings).expect("a possible shape")
}

fn time(ms: i64) -> Wall {
    Wall::from_millis(ms)
}

/// Puts keys of records at 0, 10, 20, …, in files made as needed.
fn filled(index: &mut Index, disk: &mut PlainDisk, keys: &[(u32, i64)]) {
    for (at, (hash, stored)) in (0..).step_by(10).zip(keys) {
        let mut behind = Behind::from(Physical::new(at));
        while let Err(left) = index.put(disk, behind, time(*stored), [*hash].into_iter()) {
            behind = left;
            index.grow(disk, time(*stored)).expect("room");
        }
    }
}

fn found(index: &Index, disk: &PlainDisk, hash: u32, (from, to): (i64, i64)) -> Vec<u64> {
    let log = CommitLog::new(crate::chain::Chain::new("log".into(), 100, 0));
    let mut all = Vec::new();
    index.query(disk, &log, hash, (time(from), time(to)), 0, |at| {
        all.push(at.get());
        all.len() == 64
    });
    all
}

#[test]
fn keys_are_found_newest_first_through_all_files() {
    let (mut index, mut disk) = (index(2, 4), PlainDisk::default());
    let keys = [(7, 1000), (9, 2000), (7, 3000), (7, 4000), (8, 9000), (7, 9500)];
    filled(&mut index, &mut disk, &keys);
    assert_eq!(index.counts().iter().map(|(_, next)| *next).collect::<Vec<_>>(), [4, 4]);
    assert_eq!(found(&index, &disk, 7, (0, i64::MAX)), [50, 30, 20, 0]);
    assert_eq!(found(&index, &disk, 9, (0, i64::MAX)), [10], "in a slot with others");
    assert!(found(&index, &disk, 11, (0, i64::MAX)).is_empty());
    assert_eq!(found(&index, &disk, 7, (3000, 8000)), [30, 20]);
    assert_eq!(found(&index, &disk, 7, (9000, 9000)), [50], "times are of whole seconds");
    index.verify();
}

#[test]
fn a_file_is_named_after_the_time_and_never_twice() {
    let (mut index, mut disk) = (index(2, 2), PlainDisk::default());
    filled(&mut index, &mut disk, &[(1, 1000), (1, 1000), (1, 500)]);
    let paths: Vec<_> = disk.paths().collect();
    let names = ["19700101000001000", "19700101000001001", "19700101000001002"];
    assert_eq!(paths, names.map(|name| format!("{DIR}/{name}")));
}

#[test]
fn old_files_are_let_go_and_the_newest_stays() {
    let (mut index, mut disk) = (index(2, 3), PlainDisk::default());
    filled(&mut index, &mut disk, &[(1, 1000); 6]);
    assert_eq!(index.files.len(), 3);
    assert_eq!(index.expire(Physical::new(10)).count(), 0, "10 is the last of the first");
    assert_eq!(index.expire(Physical::new(11)).count(), 1);
    assert_eq!(index.expire(Physical::new(999)).count(), 1);
    assert_eq!(index.files.len(), 1);
}

#[test]
fn what_is_dirty_is_synced_in_parts() {
    let (mut index, mut disk) = (index(3, 4), PlainDisk::default());
    filled(&mut index, &mut disk, &[(1, 1000); 2]);
    let (file, shape) = (&index.files[0], index.shape.expect("on"));
    let parts: Vec<_> = file.unsynced(shape, 30).collect();
    assert_eq!(parts, [(0, 30), (30, 52), (72, 102), (102, 112)]);
    let counts = index.counts();
    index.set_synced(&counts);
    assert_eq!(index.unsynced().count(), 0);
    filled(&mut index, &mut disk, &[(1, 1000); 1]);
    assert_eq!(index.unsynced().count(), 2);
}

proptest! {
    #[test]
    fn every_key_is_found_and_no_other(
        slots in 1_u32..6,
        items in 2_u32..9,
        keys in proptest::collection::vec((0_u32..5, 0_i64..9000), 0..60),
        from in 0_i64..9000,
        span in 0_i64..9000,
    ) {
        let (mut index, mut disk) = (index(slots, items), PlainDisk::default());
        filled(&mut index, &mut disk, &keys);
        index.verify();
        for hash in 0..5 {
            let all = keys.iter().zip((0..).step_by(10));
            let mut expected: Vec<u64> =
                all.filter(|((key, _), _)| *key == hash).map(|(_, at)| at).collect();
            expected.reverse();
            prop_assert_eq!(&found(&index, &disk, hash, (0, i64::MAX)), &expected);
            // With a time: nothing else, in the same order.
            let some = found(&index, &disk, hash, (from, from + span));
            let mut rest = expected.iter();
            prop_assert!(some.iter().all(|at| rest.any(|known| known == at)));
        }
    }
}
