//! Faults that strike long after their cause, and snapshots.

use super::*;

#[test]
fn a_stuck_sync_ends_when_the_disk_is_healed_or_its_process_killed() {
    let faults = Faults { sync_stuck: 1000, ..Faults::none() };
    let (medium, ledger) = dull(faults.clone());
    let mut disk = medium.mount();
    let a = allocate(&mut disk, "a", PAGE);
    disk.submit(Token(1), Op::Sync { file: a, from: 0, to: PAGE });
    disk.submit(Token(2), Op::Sync { file: a, from: 0, to: PAGE });
    disk.submit(Token(3), Op::Replace { path: "b", bytes: b"b" });
    medium.advance(Mono::from_micros(u64::MAX - 1));
    // What follows on the same file waits, on another it does not.
    assert_eq!(disk.poll(), Some((Token(3), Ok(Done::Finished))));
    assert_eq!((disk.poll(), medium.next_due()), (None, None));
    medium.set_faults(Faults::none());
    assert_eq!(disk.poll(), Some((Token(1), Ok(Done::Finished))));
    assert_eq!(disk.poll(), Some((Token(2), Ok(Done::Finished))));

    medium.set_faults(faults);
    disk.submit(Token(1), Op::Sync { file: a, from: 0, to: PAGE });
    // Whoever waits for it waits until he is killed.
    assert_eq!(disk.perform(Op::Zero { file: a, from: 0, to: 1 }), Err(Fault::Crashed));
    assert!(medium.is_dead());
    assert_eq!(ledger.count(Strike::DiskSyncStuck), 2);
}

#[test]
fn a_stuck_sync_may_take_the_whole_disk_along() {
    let (medium, _) = told(Faults { sync_stuck: 1000, ..Faults::none() }, &[1]);
    let mut disk = medium.mount();
    let a = allocate(&mut disk, "a", PAGE);
    disk.submit(Token(1), Op::Sync { file: a, from: 0, to: PAGE });
    disk.submit(Token(2), Op::Replace { path: "b", bytes: b"b" });
    assert_eq!((disk.poll(), medium.next_due()), (None, None));
    medium.set_faults(Faults::none());
    assert_eq!(disk.poll(), Some((Token(1), Ok(Done::Finished))));
}

#[test]
fn reads_fail_at_a_start_and_say_so() {
    let (medium, ledger) = dull(Faults::none());
    let mut disk = medium.mount();
    allocate(&mut disk, "a", PAGE);
    drop(disk);
    medium.set_faults(Faults { read_fails: 1000, ..Faults::none() });
    let mut disk = medium.mount();
    let said = |fault: Fault| fault.to_string();
    let error = "Input/output error (os error 5)";
    assert_eq!(disk.list("d").map_err(said), Err(format!("list d: {error}")));
    assert_eq!(disk.read("a").map_err(said), Err(format!("read a: {error}")));
    let opened = disk.perform(Op::Open { path: "a" });
    assert_eq!(opened.map_err(said), Err(format!("open a: {error}")));
    assert_eq!(ledger.count(Strike::DiskReadFailed), 3);
    medium.set_faults(Faults::none());
    open(&mut disk, "a");
}

#[test]
fn what_was_synced_rots_while_the_power_is_off_and_is_known_to_have() {
    let (medium, ledger) = dull(Faults { rot: 1000, ..Faults::none() });
    let mut disk = medium.mount();
    let file = allocate(&mut disk, "a", PAGE);
    write(&mut disk, file, 0, b"good");
    sync(&mut disk, file, PAGE).expect("it has no fault");
    medium.kill();
    drop(disk);
    let mut disk = medium.mount();
    let file = open(&mut disk, "a");
    assert_eq!(disk.bytes(file, 0, 4), b"good", "the power was on");
    let mut disk = cycle(&medium, disk);
    let file = open(&mut disk, "a");
    // The dull rot is the lowest bit of the first byte.
    assert_eq!(disk.bytes(file, 0, 4), b"food");
    assert_eq!(medium.rotten(), [("a".to_owned(), 0..1)]);
    assert_eq!(ledger.count(Strike::DiskRotted), 1);
    disk.verify();
}

#[test]
fn a_lost_page_shows_what_a_deleted_file_held() {
    let (medium, ledger) = dull(Faults { merciless: 1000, stale: 1000, ..Faults::none() });
    let mut disk = medium.mount();
    let old = allocate(&mut disk, "old", PAGE);
    write(&mut disk, old, 0, b"secret");
    sync(&mut disk, old, PAGE).expect("it has no fault");
    disk.perform(Op::Delete { file: old }).expect("it has no fault");
    let new = allocate(&mut disk, "new", 2 * PAGE);
    write(&mut disk, new, 0, b"lost");
    let mut disk = cycle(&medium, disk);
    let file = open(&mut disk, "new");
    assert_eq!(disk.bytes(file, 0, 6), b"secret");
    assert_eq!(disk.bytes(file, PAGE, 6), &[0; 6], "never written: no blocks, no past");
    assert_eq!(ledger.count(Strike::DiskPageStale), 1);
}

#[test]
fn a_snapshot_dies_as_often_as_one_likes_in_every_way() {
    let faults = Faults { torn: true, ..Faults::none() };
    let (medium, ledger) = dull(faults.clone());
    let mut disk = medium.mount();
    let file = allocate(&mut disk, "a", PAGE);
    medium.watch();
    write(&mut disk, file, 0, b"xy");
    disk.submit(Token(1), Op::Sync { file, from: 0, to: PAGE });
    disk.cut();
    let cuts = medium.cuts();
    let moments: Vec<Moment> = cuts.iter().map(Snapshot::moment).collect();
    assert_eq!(moments, [Moment::Write, Moment::Submit, Moment::Rest]);
    // Every byte of the write, in memory and on the medium; and the sync, done or not.
    let images = |cut: &Snapshot, power| {
        let mut images = BTreeSet::new();
        exhaust(1000, |chance| {
            let dice = chance.of(Concern::Disk);
            let died = cut.die(power, faults.clone(), dice, ledger.clone(), Column::default());
            images.insert(died.seen()["a"][..2].to_vec());
        });
        images
    };
    let parts: BTreeSet<Vec<u8>> = [b"\0\0", b"x\0", b"xy"].map(|part| part.to_vec()).into();
    assert_eq!(images(&cuts[0], false), parts);
    assert_eq!(images(&cuts[0], true), parts);
    assert_eq!(images(&cuts[2], false), [b"xy".to_vec()].into());
    assert_eq!(images(&cuts[2], true), parts);
    // The machine that was watched is not touched by any of it.
    assert_eq!(disk.poll(), Some((Token(1), Ok(Done::Finished))));
    assert_eq!(disk.bytes(file, 0, 2), b"xy");
}
