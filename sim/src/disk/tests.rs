//! The seam's contract, and proof that each fault strikes.

mod latent;

use std::collections::BTreeSet;

use super::*;
use crate::choose::{Chance, Concern, Stream, Tape, exhaust};
use crate::ledger::{Ledger, Strike};
use crate::trace::Column;
use hotfire_storage::time::Mono;

const PAGE: u64 = page::PAGE as u64;

fn medium(faults: Faults, chance: &Chance) -> (Medium, Ledger) {
    let ledger = Ledger::default();
    let dice = chance.of(Concern::Disk);
    (Medium::new(faults, dice, ledger.clone(), Column::default()), ledger)
}

/// A medium that answers every question with the dull answer.
fn dull(faults: Faults) -> (Medium, Ledger) {
    medium(faults, &Chance::tape(&Tape::default()))
}

/// A medium that gives these answers first.
fn told(faults: Faults, answers: &[u64]) -> (Medium, Ledger) {
    let line = |answer: &u64| format!("disk {answer}/{answer} told\n");
    let tape: String = answers.iter().map(line).collect();
    medium(faults, &Chance::tape(&tape.parse().expect("well formed")))
}

fn opened(done: Result<Done, Fault>) -> FileId {
    match done {
        Ok(Done::Opened { file, .. }) => file,
        other => panic!("nothing was opened: {other:?}"),
    }
}

fn allocate(disk: &mut SimDisk, path: &str, len: u64) -> FileId {
    opened(disk.perform(Op::Allocate { path, len }))
}

fn open(disk: &mut SimDisk, path: &str) -> FileId {
    opened(disk.perform(Op::Open { path }))
}

fn write(disk: &mut SimDisk, file: FileId, at: u64, bytes: &[u8]) {
    disk.slot(file, at, bytes.len()).copy_from_slice(bytes);
}

fn sync(disk: &mut SimDisk, file: FileId, to: u64) -> Result<Done, Fault> {
    disk.perform(Op::Sync { file, from: 0, to })
}

/// Ends a life by a power failure and starts the next one.
fn cycle(medium: &Medium, disk: SimDisk) -> SimDisk {
    medium.power_fail();
    drop(disk);
    medium.mount()
}

#[test]
fn a_file_is_allocated_written_and_read_back() {
    let (medium, _) = dull(Faults::none());
    let mut disk = medium.mount();
    let file = allocate(&mut disk, "log/0", 2 * PAGE + 100);
    assert!(disk.bytes(file, 0, 8292).iter().all(|byte| *byte == 0));
    write(&mut disk, file, PAGE - 2, b"four");
    assert_eq!(disk.bytes(file, PAGE - 2, 4), b"four");
    disk.perform(Op::Zero { file, from: PAGE, to: PAGE + 1 }).expect("it has no fault");
    assert_eq!(disk.bytes(file, PAGE - 2, 4), b"fo\0r");
    let entry = |name: &str, len, is_dir| Entry { name: name.into(), len, is_dir };
    assert_eq!(disk.list("log"), Ok(vec![entry("0", 8292, false)]));
    assert_eq!(disk.list(""), Ok(vec![entry("log", 0, true)]));
    disk.verify();
    let lease = disk.lease(file, PAGE - 2, 4);
    disk.perform(Op::Delete { file }).expect("it has no fault");
    assert_eq!(lease, &b"fo\0r"[..]);
    assert_eq!(disk.list("log"), Ok(vec![]));
}

#[test]
fn a_small_file_is_replaced_and_its_past_kept() {
    let (medium, _) = dull(Faults::none());
    let mut disk = medium.mount();
    assert_eq!(disk.read("c.json"), Ok(None));
    for bytes in [b"one", b"two"] {
        disk.perform(Op::Replace { path: "c.json", bytes }).expect("it has no fault");
    }
    assert_eq!(disk.read("c.json"), Ok(Some(b"two".to_vec())));
    assert_eq!(disk.read("c.json.bak"), Ok(Some(b"one".to_vec())));
    assert_eq!(disk.list("").map(|entries| entries.len()), Ok(2));
    disk.perform(Op::Remove { path: "c.json" }).expect("it exists");
    disk.perform(Op::Remove { path: "c.json" }).expect("that it does not exist is fine");
    assert_eq!(disk.read("c.json"), Ok(None));
}

#[test]
fn what_does_not_exist_is_not_opened() {
    let (medium, _) = dull(Faults::none());
    let fault = medium.mount().perform(Op::Open { path: "a" }).expect_err("it is not there");
    assert_eq!(fault.to_string(), "open a: No such file or directory");
}

#[test]
fn submitted_operations_complete_when_due_and_in_order_of_a_file() {
    let faults = Faults { latency_min_us: 10, latency_max_us: 1000, ..Faults::none() };
    // Latencies: 900 more for the first sync, none for the others; a sync takes its copy late.
    let (medium, _) = told(faults, &[900, 0, 0]);
    let mut disk = medium.mount();
    let (a, b) = (allocate(&mut disk, "a", PAGE), allocate(&mut disk, "b", PAGE));
    for (token, file) in [(1, a), (2, a), (3, b)] {
        disk.submit(Token(token), Op::Sync { file, from: 0, to: PAGE });
    }
    assert_eq!(disk.poll(), None);
    assert_eq!(medium.next_due(), Some(Mono::from_micros(10)));
    medium.advance(Mono::from_micros(10));
    assert_eq!(disk.poll(), Some((Token(3), Ok(Done::Finished))));
    assert_eq!(disk.poll(), None);
    medium.advance(medium.next_due().expect("two are under way"));
    assert_eq!(disk.poll(), Some((Token(1), Ok(Done::Finished))));
    assert_eq!(disk.poll(), Some((Token(2), Ok(Done::Finished))));
    assert_eq!(medium.next_due(), None);
}

#[test]
fn a_sync_that_ends_after_its_file_was_asked_to_go_leaves_the_pages_alone() {
    let faults = Faults { latency_min_us: 10, latency_max_us: 1000, ..Faults::none() };
    // The deletion takes 900 longer.
    let (medium, _) = told(faults, &[0, 0, 900]);
    let mut disk = medium.mount();
    let file = allocate(&mut disk, "a", PAGE);
    write(&mut disk, file, 0, b"bytes");
    disk.submit(Token(1), Op::Sync { file, from: 0, to: 1 });
    disk.submit(Token(2), Op::Delete { file });
    medium.advance(Mono::from_micros(10));
    assert_eq!(disk.poll(), Some((Token(1), Ok(Done::Finished))));
    disk.verify();
    assert_eq!(disk.poll(), None, "the file is not deleted yet");
    medium.advance(Mono::from_micros(5_000));
    assert_eq!(disk.poll(), Some((Token(2), Ok(Done::Finished))));
    assert_eq!(disk.list(""), Ok(vec![]));
    disk.verify();
}

#[test]
fn a_kill_spares_the_page_cache_and_a_power_failure_does_not() {
    let faults = Faults { merciless: 1000, ..Faults::none() };
    let (medium, ledger) = dull(faults);
    let mut disk = medium.mount();
    let file = allocate(&mut disk, "a", PAGE);
    write(&mut disk, file, 0, b"synced");
    sync(&mut disk, file, PAGE).expect("it has no fault");
    write(&mut disk, file, 6, b" not");
    medium.kill();
    drop(disk);
    let mut disk = medium.mount();
    let file = open(&mut disk, "a");
    assert_eq!(disk.bytes(file, 0, 10), b"synced not");
    let mut disk = cycle(&medium, disk);
    let file = open(&mut disk, "a");
    assert_eq!(disk.bytes(file, 0, 10), b"synced\0\0\0\0");
    assert_eq!(ledger.count(Strike::DiskPageDropped), 1);
    disk.verify();
}

#[test]
fn a_dead_process_changes_nothing() {
    let (medium, _) = dull(Faults::none());
    let mut disk = medium.mount();
    let file = allocate(&mut disk, "a", PAGE);
    write(&mut disk, file, 0, b"alive");
    medium.kill();
    write(&mut disk, file, 0, b"ghost");
    assert_eq!(disk.perform(Op::Sync { file, from: 0, to: PAGE }), Err(Fault::Crashed));
    assert_eq!(disk.read("a"), Err(Fault::Crashed));
    disk.submit(Token(1), Op::Delete { file });
    assert_eq!((disk.poll(), medium.next_due()), (None, None));
    drop(disk);
    let mut disk = medium.mount();
    let file = open(&mut disk, "a");
    assert_eq!(disk.bytes(file, 0, 5), b"alive");
}

#[test]
fn a_sync_in_flight_holds_what_was_written_before_it_or_also_what_came_during_it() {
    let faults = Faults { merciless: 1000, latency_min_us: 9, latency_max_us: 9, ..Faults::none() };
    let after = |early| {
        let (medium, _) = told(faults.clone(), &[early]);
        let mut disk = medium.mount();
        let file = allocate(&mut disk, "a", PAGE);
        write(&mut disk, file, 0, b"a");
        disk.submit(Token(1), Op::Sync { file, from: 0, to: PAGE });
        write(&mut disk, file, 1, b"b");
        medium.advance(Mono::from_micros(9));
        assert_eq!(disk.poll(), Some((Token(1), Ok(Done::Finished))));
        let mut disk = cycle(&medium, disk);
        let file = open(&mut disk, "a");
        disk.bytes(file, 0, 2).to_vec()
    };
    assert_eq!(after(0), b"ab");
    assert_eq!(after(1), b"a\0");
}

#[test]
fn a_failed_sync_leaves_old_content_and_the_next_one_proves_nothing() {
    let faults = Faults { merciless: 1000, ..Faults::none() };
    let failing = Faults { sync_fails: 1000, ..faults.clone() };
    // The one page keeps its old content.
    let (medium, ledger) = told(failing, &[1]);
    let mut disk = medium.mount();
    let file = allocate(&mut disk, "a", PAGE);
    write(&mut disk, file, 0, b"lost");
    let fault = sync(&mut disk, file, PAGE).expect_err("it always fails");
    assert_eq!(fault.to_string(), "sync a: Input/output error (os error 5)");
    medium.set_faults(faults);
    sync(&mut disk, file, PAGE).expect("Linux has reported it, and is content");
    assert_eq!(disk.bytes(file, 0, 4), b"lost");
    disk.verify();
    let mut disk = cycle(&medium, disk);
    let file = open(&mut disk, "a");
    assert_eq!(disk.bytes(file, 0, 4), &[0; 4]);
    assert_eq!(ledger.count(Strike::DiskSyncFailed), 1);
}

#[test]
fn a_failed_writeback_is_told_once_by_the_next_sync() {
    let faults = Faults { writeback_every: 1, writeback_fails: 1000, ..Faults::none() };
    // One quiet write. At the second: one page is written, and the medium keeps the old content.
    let (medium, ledger) = told(faults, &[1, 1, 1]);
    let mut disk = medium.mount();
    let file = allocate(&mut disk, "a", PAGE);
    write(&mut disk, file, 0, b"a");
    write(&mut disk, file, 1, b"b");
    assert_eq!(ledger.count(Strike::DiskWritebackFailed), 1);
    disk.verify();
    sync(&mut disk, file, PAGE).expect_err("the writeback had failed");
    sync(&mut disk, file, PAGE).expect("and is told once");
}

#[test]
fn a_lying_sync_is_believed_until_the_power_fails() {
    let (medium, ledger) = dull(Faults { merciless: 1000, sync_lies: 1000, ..Faults::none() });
    let mut disk = medium.mount();
    let file = allocate(&mut disk, "a", PAGE);
    write(&mut disk, file, 0, b"lost");
    sync(&mut disk, file, PAGE).expect("so it says");
    let mut disk = cycle(&medium, disk);
    let file = open(&mut disk, "a");
    assert_eq!(disk.bytes(file, 0, 4), &[0; 4]);
    assert_eq!(ledger.count(Strike::DiskSyncLied), 1);
}

#[test]
fn a_full_disk_says_so_before_anything_is_touched() {
    let (medium, ledger) = dull(Faults { capacity: 10 * PAGE, ..Faults::none() });
    let mut disk = medium.mount();
    let file = allocate(&mut disk, "a", 6 * PAGE);
    let full = |path: &str| Err(Fault::Full { path: path.into() });
    assert_eq!(disk.perform(Op::Allocate { path: "b", len: 5 * PAGE }), full("b"));
    let bytes = &vec![1; 5 * page::PAGE];
    assert_eq!(disk.perform(Op::Replace { path: "c", bytes }), full("c"));
    assert_eq!(ledger.count(Strike::DiskFull), 2);
    assert_eq!(disk.list("").map(|entries| entries.len()), Ok(1));
    disk.perform(Op::Delete { file }).expect("it has no fault");
    allocate(&mut disk, "b", 5 * PAGE);
}

#[test]
fn every_page_is_kept_dropped_or_torn_in_every_combination() {
    let mut images = BTreeSet::new();
    let faults = Faults { torn: true, ..Faults::none() };
    exhaust(1000, |chance| {
        let (medium, _) = medium(faults.clone(), chance);
        let mut disk = medium.mount();
        let file = allocate(&mut disk, "a", 2 * PAGE);
        // One byte changes in each of two sectors of the first page, and one in the second.
        for at in [0, 512, PAGE] {
            write(&mut disk, file, at, b"x");
        }
        medium.power_fail();
        drop(disk);
        let image = &medium.durable()["a"];
        images.insert([0, 512, page::PAGE].map(|at| image[at] == b'x'));
        medium.verify();
    });
    assert_eq!(images.len(), 8, "{images:?}");
}

#[test]
fn garbage_strikes_only_bytes_that_were_being_changed() {
    let faults = Faults { torn: true, garbage: true, ..Faults::none() };
    // The page is torn, its only changed sector is garbage of pattern 7.
    let (medium, ledger) = told(faults, &[1, 2, 3, 7]);
    let mut disk = medium.mount();
    let file = allocate(&mut disk, "a", PAGE);
    write(&mut disk, file, 0, b"before");
    sync(&mut disk, file, PAGE).expect("it has no fault");
    write(&mut disk, file, 6, b"after");
    let mut disk = cycle(&medium, disk);
    let file = open(&mut disk, "a");
    assert_eq!(disk.bytes(file, 0, 6), b"before");
    let tail = disk.bytes(file, 6, 5);
    assert!(tail != b"after" && tail != [0; 5], "{tail:?}");
    assert!(disk.bytes(file, 11, 501).iter().all(|byte| *byte == 0));
    assert_eq!(ledger.count(Strike::DiskSectorGarbage), 1);
}

#[test]
fn the_kernel_writes_back_in_the_middle_of_a_record() {
    let faults = Faults { writeback_every: 1, merciless: 1000, ..Faults::none() };
    let (medium, ledger) = told(faults, &[1, 1]);
    let mut disk = medium.mount();
    let file = allocate(&mut disk, "a", PAGE);
    write(&mut disk, file, 4, b"body");
    write(&mut disk, file, 0, b"head");
    let mut disk = cycle(&medium, disk);
    let file = open(&mut disk, "a");
    assert_eq!(disk.bytes(file, 0, 8), b"\0\0\0\0body");
    assert_eq!(ledger.count(Strike::DiskWriteback), 1);
}

#[test]
fn a_replacement_that_dies_anywhere_leaves_the_old_version_or_the_new_one() {
    let mut outcomes = BTreeSet::new();
    exhaust(10_000, |chance| {
        let backup_gap = chance.of(Concern::Plan).chance(500, "gap");
        let (medium, _) = medium(Faults { torn: true, backup_gap, ..Faults::none() }, chance);
        let mut disk = medium.mount();
        disk.perform(Op::Replace { path: "c", bytes: b"old" }).expect("it has no fault");
        medium.die_at(0);
        let died = disk.perform(Op::Replace { path: "c", bytes: b"new" });
        assert_eq!(died, Err(Fault::Crashed));
        drop(disk);
        let mut disk = medium.mount();
        // A second failure of the power finds what the first one left half done.
        let mut disk = if chance.of(Concern::Process).chance(500, "twice") {
            cycle(&medium, disk)
        } else {
            disk.list("").expect("it is alive");
            disk
        };
        let read = |disk: &mut SimDisk, path| disk.read(path).expect("it is alive");
        let (now, past) = (read(&mut disk, "c"), read(&mut disk, "c.bak"));
        let whole = [None, Some(b"old".to_vec()), Some(b"new".to_vec())];
        assert!(whole.contains(&now) && whole[..2].contains(&past), "{now:?} {past:?}");
        assert!(now.is_some() || past.is_some(), "neither version is left");
        outcomes.insert((now, past));
    });
    let (old, new) = (Some(b"old".to_vec()), Some(b"new".to_vec()));
    let expected = [(old.clone(), None), (None, old.clone()), (new.clone(), None), (new, old)];
    assert_eq!(outcomes, expected.into());
}

#[test]
fn an_allocation_that_dies_leaves_nothing_or_all_of_it_under_its_name() {
    let mut lens = BTreeSet::new();
    exhaust(1000, |chance| {
        let (medium, _) = medium(Faults::none(), chance);
        let mut disk = medium.mount();
        disk.submit(Token(1), Op::Allocate { path: "a", len: 2 * PAGE });
        let disk = cycle(&medium, disk);
        let seen = disk.seen();
        lens.insert(["a", "a.new"].map(|path| seen.get(path).map(Vec::len)));
    });
    let lens_of_new = [None, Some(0), Some(page::PAGE), Some(2 * page::PAGE)];
    let partial = lens_of_new.map(|len| [None, len]);
    assert_eq!(lens, partial.into_iter().chain([[Some(2 * page::PAGE), None]]).collect());
}

#[test]
fn a_boot_that_dies_stays_dead_until_the_next() {
    let (medium, ledger) = told(Faults { boot_dies: 500, ..Faults::none() }, &[1, 1]);
    let mut disk = medium.mount();
    disk.perform(Op::Replace { path: "a", bytes: b"1" }).expect("the first one is done");
    let second = Op::Replace { path: "b", bytes: b"1" };
    assert_eq!(disk.perform(second), Err(Fault::Crashed));
    assert_eq!(disk.perform(second), Err(Fault::Crashed));
    assert!(medium.is_dead());
    drop(disk);
    medium.mount().perform(second).expect("this boot does not die");
    assert_eq!(ledger.count(Strike::DiskDiedInBoot), 1);
}

#[test]
fn a_failed_operation_leaves_what_it_had_done() {
    let (medium, ledger) = dull(Faults { op_fails: 1000, ..Faults::none() });
    let mut disk = medium.mount();
    let allocate_a = Op::Allocate { path: "a", len: PAGE };
    disk.perform(allocate_a).expect_err("it always fails");
    medium.set_faults(Faults::none());
    let file = opened(disk.perform(allocate_a));
    medium.set_faults(Faults { op_fails: 1000, ..Faults::none() });
    disk.perform(Op::Delete { file }).expect_err("it always fails");
    medium.set_faults(Faults::none());
    // The handle is gone, the file is not.
    assert_eq!(disk.list("").map(|entries| entries.len()), Ok(1));
    disk.perform(Op::Remove { path: "a" }).expect("nobody has it open");
    assert_eq!(ledger.count(Strike::DiskOpFailed), 2);
    disk.verify();
}

/// A busy life of two files, told by chance.
fn life(chance: &Chance, faults: Faults) -> (BTreeMap<String, Vec<u8>>, u64) {
    let (medium, _) = medium(faults, chance);
    let mut work: Stream = chance.of(Concern::Work);
    for _ in 0..3 {
        let mut disk = medium.mount();
        let mut files = Vec::new();
        for path in ["a", "b"] {
            let known =
                disk.list("").unwrap_or_default().iter().any(|e| e.name == path && e.len > 0);
            let op = if known { Op::Open { path } } else { Op::Allocate { path, len: 3 * PAGE } };
            if let Ok(Done::Opened { file, len }) = disk.perform(op) {
                files.push((file, len));
            }
        }
        for turn in 0..40 {
            let Some(&(file, len)) = files.get(work.index(2, "work.file")) else { continue };
            let at = work.below(len, "work.at");
            let room = usize::try_from(len - at).expect("it is small");
            let size = 1 + work.index(room.min(900), "work.size");
            disk.slot(file, at, size).fill(u8::try_from(turn).expect("it is small") + 1);
            disk.submit(Token(turn), Op::Sync { file, from: 0, to: at });
            medium.advance(Mono::from_micros(turn * 50));
            while disk.poll().is_some() {}
            disk.verify();
        }
        medium.power_fail();
    }
    let mut digest = Digest::new();
    medium.digest(&mut digest);
    (medium.durable(), digest.value())
}

#[test]
fn a_tape_brings_back_every_byte_of_a_seed() {
    for seed in 0..50 {
        let faults = Faults::draw(&mut Chance::seed(seed).of(Concern::Plan));
        let first = Chance::recorded(seed);
        let image = life(&first, faults.clone());
        assert_eq!(image, life(&Chance::seed(seed), faults.clone()), "seed {seed}");
        assert_eq!(image, life(&Chance::tape(&first.written()), faults), "tape of seed {seed}");
    }
}

#[test]
#[should_panic(expected = "bytes 4095..4097 of a are touched, which has 4096")]
fn a_touch_beyond_the_end_names_the_file() {
    let (medium, _) = dull(Faults::none());
    let mut disk = medium.mount();
    let file = allocate(&mut disk, "a", PAGE);
    disk.slot(file, PAGE - 1, 2);
}

#[test]
#[should_panic(expected = "was opened by a process that is dead")]
fn a_handle_of_a_former_life_is_refused() {
    let (medium, _) = dull(Faults::none());
    let mut disk = medium.mount();
    let file = allocate(&mut disk, "a", PAGE);
    let disk = cycle(&medium, disk);
    disk.bytes(file, 0, 1);
}

#[test]
#[should_panic(expected = "drop it first")]
fn a_second_process_does_not_mount_beside_the_first() {
    let (medium, _) = dull(Faults::none());
    let _first = medium.mount();
    let _second = medium.mount();
}

#[test]
#[should_panic(expected = "a up to 10 is leased, and written at 9")]
fn leased_bytes_are_never_written_again() {
    let (medium, _) = dull(Faults::none());
    let mut disk = medium.mount();
    let file = allocate(&mut disk, "a", PAGE);
    let _lease = disk.lease(file, 0, 10);
    disk.slot(file, 9, 1);
}
