//! Starts that find less than the last stop left, or more.

use std::cell::Cell;

use super::*;
use crate::consume_queue::Unit;

pub(super) const LOG: &str = "commitlog/";
/// The `abort` file of a process of ours that died.
pub(super) const OURS: &[u8] = b"7 hotfire\n";
/// That of one of Apache's.
const APACHES: &[u8] = b"7";

/// Twenty messages in several files of log and queue, stopped in order.
pub(super) fn closed() -> PlainDisk {
    let (mut store, _) = open(PlainDisk::default());
    for n in 0..20_u8 {
        append(&mut store, &draft("t", &[n; 50], &[]));
        drop(events(&mut store));
    }
    store.sync_queues();
    drop(events(&mut store));
    store.close().expect("a clean stop");
    store.into_disk().reopened()
}

fn take_all(disk: &mut PlainDisk, prefix: &str) -> Vec<(String, Vec<u8>)> {
    let paths: Vec<_> = disk.paths().filter(|path| path.starts_with(prefix)).collect();
    let paths: Vec<_> = paths.into_iter().map(str::to_owned).collect();
    let mut taken = Vec::new();
    for path in paths {
        let bytes = disk.file(&path).expect("listed").to_vec();
        assert!(disk.take_file(&path));
        taken.push((path, bytes));
    }
    taken
}

/// Fails from the given operation on, as far as a start is concerned.
#[derive(Debug)]
pub(super) struct Dying {
    pub(super) disk: PlainDisk,
    left: usize,
    /// Bytes of files that were read.
    read: Cell<usize>,
    /// The first operation that does more than look.
    first: Option<String>,
}

impl Dying {
    pub(super) fn new(disk: PlainDisk, left: usize) -> Self {
        Self { disk, left, read: Cell::default(), first: None }
    }

    /// What a start on `disk` leaves that dies at operation number `left`; was it over?
    pub(super) fn at(disk: &PlainDisk, left: usize, settings: &Settings) -> (PlainDisk, bool) {
        let mut dying = Self::new(disk.clone(), left);
        let is_over = Store::open(&mut dying, settings.clone(), |_| false).is_ok();
        (dying.disk.reopened(), is_over)
    }

    /// The first operation that does more than look, of a start on `disk`.
    pub(super) fn first(disk: &PlainDisk, settings: &Settings) -> Option<String> {
        let mut dying = Self::new(disk.clone(), usize::MAX);
        Store::open(&mut dying, settings.clone(), |_| false).expect("it opens");
        dying.first
    }
}

impl crate::seam::Memory for &mut Dying {
    fn bytes(&self, file: FileId, at: u64, len: usize) -> &[u8] {
        self.read.set(self.read.get() + len);
        self.disk.bytes(file, at, len)
    }

    fn slot(&mut self, file: FileId, at: u64, len: usize) -> &mut [u8] {
        self.disk.slot(file, at, len)
    }

    fn lease(&self, file: FileId, at: u64, len: usize) -> bytes::Bytes {
        self.disk.lease(file, at, len)
    }
}

impl Disk for &mut Dying {
    fn list(&mut self, dir: &str) -> Result<Vec<crate::seam::Entry>, Fault> {
        self.disk.list(dir)
    }

    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, Fault> {
        self.disk.read(path)
    }

    fn perform(&mut self, op: Op<'_>) -> Result<Done, Fault> {
        self.left = self.left.checked_sub(1).ok_or(Fault::Crashed)?;
        if !matches!(op, Op::Open { .. }) {
            self.first.get_or_insert_with(|| format!("{op:?}"));
        }
        self.disk.perform(op)
    }

    fn submit(&mut self, token: Token, op: Op<'_>) {
        self.disk.submit(token, op);
    }

    fn poll(&mut self) -> Option<(Token, Result<Done, Fault>)> {
        self.disk.poll()
    }
}

/// Dies at every operation of a start on `disk` in turn; whatever it left must open whole.
fn dies_anywhere(disk: &PlainDisk, settings: &Settings, repair: impl Fn(&mut PlainDisk)) {
    for left in 0.. {
        let (mut disk, over) = Dying::at(disk, left, settings);
        repair(&mut disk);
        let (store, _) = open(disk);
        assert_eq!(bodies(&store, "t").len(), 20, "died after {left} operations");
        store.verify_all().expect("queues follow the log");
        if over {
            return;
        }
    }
}

#[test]
fn a_log_that_is_missing_at_a_start_is_refused_and_not_a_file_changes() {
    let mut disk = closed();
    let log = take_all(&mut disk, LOG);
    let before: Vec<_> = disk.paths().map(str::to_owned).collect();
    let mut dying = Dying::new(disk.clone(), usize::MAX);
    let error = Store::open(&mut dying, settings(), |_| false).expect_err("no log");
    assert!(matches!(error, OpenError::Rot { .. }));
    assert!(dying.disk.paths().eq(before.iter().map(String::as_str)), "nothing is lost");
    let mut disk = dying.disk.reopened();
    for (path, bytes) in log {
        disk.put_file(&path, bytes);
    }
    let (store, opened) = open(disk);
    assert_eq!((opened.clean, bodies(&store, "t").len()), (true, 20));
}

#[test]
fn a_log_that_comes_back_after_its_loss_was_accepted_finds_no_promise_about_queues() {
    let mut disk = closed();
    let log = take_all(&mut disk, LOG);
    let accept = Settings { accept_rot: true, ..settings() };
    dies_anywhere(&disk, &accept, |disk| {
        for (path, bytes) in &log {
            disk.put_file(path, bytes.clone());
        }
    });
}

#[test]
fn a_crash_while_a_queue_with_a_gap_is_thrown_away_costs_no_unit() {
    let mut disk = closed();
    assert!(disk.take_file("consumequeue/t/0/00000000000000000100"));
    dies_anywhere(&disk, &settings(), |_| {});
}

#[test]
fn queues_that_are_gone_after_a_crash_are_computed_from_the_whole_log() {
    let mut disk = closed();
    disk.put_file("abort", OURS.to_vec());
    take_all(&mut disk, "consumequeue/");
    let (store, _) = open(disk);
    assert_eq!(bodies(&store, "t").len(), 20);
    store.verify_all().expect("queues follow the log");
}

#[test]
fn what_apache_left_behind_the_end_of_a_log_never_comes_back() {
    let mut disk = closed();
    let end = open(disk.clone()).0.written().end();
    let within = usize::try_from(end.get() % 1024).expect("small");
    let path = format!("{LOG}{:020}", end.get() / 1024 * 1024);
    let mut bytes = disk.file(&path).expect("the last file").to_vec();
    // The first bytes read as zero, as if nothing followed; a record may lie further on.
    bytes[within + 20] = 0xEE;
    disk.put_file(&path, bytes);
    let checkpoint = disk.file("checkpoint").expect("written at the stop").to_vec();
    let ours = Checkpoint::decode(&checkpoint).expect("ours");
    let theirs = Checkpoint { durable: None, ..ours };
    disk.put_file("checkpoint", theirs.encode().to_vec());
    let (store, opened) = open(disk);
    assert_eq!((opened.clean, opened.end), (true, end));
    let file = store.disk().file(&path).expect("the last file");
    assert!(file[within..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_queue_whose_last_file_is_missing_is_completed_from_the_log() {
    for died in [false, true] {
        let mut disk = closed();
        // The file ahead and the last two with units; the checkpoint covers them.
        let last = ["200", "300", "400"].map(|n| format!("consumequeue/t/0/{n:0>20}"));
        let taken = last.iter().filter(|path| disk.take_file(path)).count();
        assert!(taken >= 2 && disk.file("consumequeue/t/0/00000000000000000100").is_some());
        if died {
            disk.put_file("abort", OURS.to_vec());
        }
        let (store, opened) = open(disk.clone());
        assert_eq!((opened.clean, bodies(&store, "t").len()), (!died, 20));
        store.verify_all().expect("queues follow the log");
        let view = store.queue_view("t", 0).expect("a queue");
        assert!(view.units_from(QueueOffset::ZERO).all(|unit| store.readable(&unit)));
        dies_anywhere(&disk, &settings(), |_| {});
    }
}

#[test]
fn a_queue_whose_only_file_is_missing_after_a_crash_is_complete_again() {
    let (mut store, _) = open(PlainDisk::default());
    for n in 0..4_u8 {
        append(&mut store, &draft("t", &[n; 380], &[]));
        append(&mut store, &draft("other", &[n; 380], &[]));
        drop(events(&mut store));
    }
    store.close().expect("a clean stop");
    let mut disk = store.into_disk().reopened();
    disk.put_file("abort", OURS.to_vec());
    take_all(&mut disk, "consumequeue/t/");
    let (store, _) = open(disk);
    assert_eq!(bodies(&store, "t").len(), 4);
    store.verify_all().expect("queues follow the log");
}

#[test]
fn a_damaged_unit_is_written_again_after_a_clean_stop() {
    let mut disk = closed();
    let path = "consumequeue/t/0/00000000000000000300";
    let mut bytes = disk.file(path).expect("the last file").to_vec();
    bytes[20] = 0xFF;
    disk.put_file(path, bytes);
    let (store, opened) = open(disk);
    assert_eq!((opened.clean, bodies(&store, "t").len()), (true, 20));
    store.verify_all().expect("queues follow the log");
}

#[test]
fn offsets_that_the_log_itself_lacks_name_the_record_behind_them() {
    let mut disk = closed();
    let (store, _) = open(disk.clone());
    let unit = store.unit("t", 0, QueueOffset::new(7)).expect("a unit");
    // The record claims a later place in its queue. A CRC over all of it would tell, but Apache
    // was here, whose records have none.
    let (path, at) = (unit.span.at.get() / 1024 * 1024, unit.span.at.get() % 1024);
    let path = format!("{LOG}{path:020}");
    let mut bytes = disk.file(&path).expect("a file").to_vec();
    let field = usize::try_from(at).expect("small") + 20;
    assert_eq!(bytes[field..field + 8], 7_u64.to_be_bytes());
    bytes[field + 7] = 9;
    disk.put_file(&path, bytes);
    take_all(&mut disk, "consumequeue/");
    disk.put_file("abort", OURS.to_vec());
    let refused = Store::open(disk.clone(), settings(), |_| false).map(|_| ());
    assert!(matches!(refused, Err(OpenError::Rot { at, .. }) if at == unit.span.at));
    disk.put_file("abort", APACHES.to_vec());
    let (store, _) = open(disk);
    let view = store.queue_view("t", 0).expect("a queue");
    assert_eq!((view.range().min.get(), view.range().max.get()), (0, 20));
    assert!(view.units_from(QueueOffset::ZERO).all(|unit| store.readable(&unit)));
    assert_eq!(view.get(QueueOffset::new(7)).expect("a unit").span, unit.span);
}

#[test]
fn a_unit_that_points_at_no_record_is_told_from_one_that_does() {
    let (store, _) = open(closed());
    let unit = store.unit("t", 0, QueueOffset::new(3)).expect("a unit");
    assert!(store.readable(&unit));
    let end = store.written().end();
    let moved = |at, len| Unit { span: Span { at, len }, ..unit };
    assert!(!store.readable(&moved(unit.span.at, unit.span.len + 1)));
    assert!(!store.readable(&moved(unit.span.at.plus(1), unit.span.len)));
    assert!(!store.readable(&moved(end, unit.span.len)));
    assert!(!store.readable(&moved(Physical::new(u64::MAX), unit.span.len)));
    assert!(!store.readable(&Unit::placeholder(unit.first)));
}

#[test]
fn a_clean_start_does_not_read_the_unused_part_of_a_queue() {
    let large = Settings { consume_queue_file: 1_000_000, ..settings() };
    let store = Store::open(PlainDisk::default(), large.clone(), |_| false);
    let (mut store, _) = store.expect("an empty store");
    append(&mut store, &draft("t", b"one", &[]));
    drop(events(&mut store));
    store.close().expect("a clean stop");
    let disk = store.into_disk().reopened();
    let mut counting = Dying::new(disk, usize::MAX);
    let (store, opened) = Store::open(&mut counting, large, |_| false).expect("a sound store");
    assert!(opened.clean && store.queue("t", 0).is_some());
    assert!(counting.read.get() < 100_000, "{} bytes", counting.read.get());
}

#[test]
fn a_damaged_checkpoint_gives_way_to_the_one_before_which_promises_no_queues() {
    let mut disk = closed();
    let mut bytes = disk.file("checkpoint").expect("written at the stop").to_vec();
    let now = Checkpoint::decode(&bytes).expect("ours");
    disk.put_file("checkpoint.bak", bytes.clone());
    bytes[50] ^= 1;
    disk.put_file("checkpoint", bytes);
    // What the log promised still holds: a log that is gone is not taken for an empty one.
    let mut lost = disk.clone();
    take_all(&mut lost, LOG);
    let error = Store::open(lost, settings(), |_| false).expect_err("no log");
    let durable = now.durable.expect("ours").flushed;
    assert_eq!(error, OpenError::Rot { at: Physical::ZERO, durable });
    disk.put_file("abort", OURS.to_vec());
    assert!(disk.take_file("consumequeue/t/0/00000000000000000300"));
    let (store, _) = open(disk);
    let mut wanted = now;
    // Nothing is said of what lies below.
    wanted.durable.as_mut().expect("ours").checked = Some(durable);
    assert_eq!((store.checkpoint, bodies(&store, "t").len()), (wanted, 20));
}

#[test]
fn a_store_of_a_later_version_is_refused_and_not_a_file_changes() {
    for path in ["checkpoint", "checkpoint.bak"] {
        let mut disk = closed();
        let mut bytes = disk.file("checkpoint").expect("written at the stop").to_vec();
        assert_eq!(&bytes[40..48], b"HOTFIRE2");
        bytes[47] = b'3';
        let crc = crc32fast::hash(&bytes[40..96]);
        bytes[96..100].copy_from_slice(&crc.to_be_bytes());
        assert!(disk.take_file("checkpoint"));
        disk.put_file(path, bytes);
        let before: Vec<_> = disk.paths().map(str::to_owned).collect();
        let mut dying = Dying::new(disk, usize::MAX);
        let error = Store::open(&mut dying, settings(), |_| false).expect_err("later");
        assert_eq!(error, OpenError::Newer { version: 3 });
        assert!(dying.disk.paths().eq(before.iter().map(String::as_str)));
    }
}

#[test]
fn what_apache_appended_before_its_first_checkpoint_stays() {
    // Our stop, then a process of Apache's that appends and is killed: our checkpoint still says
    // what it said. The appends are made by ours here, and what tells them apart is `abort`.
    let disk = closed();
    let checkpoint = disk.file("checkpoint").expect("written at the stop").to_vec();
    let (mut store, _) = open(disk);
    assert_eq!(store.disk().file("abort"), Some(&b"0 hotfire\n"[..]));
    append(&mut store, &draft("t", b"theirs", &[]));
    drop(events(&mut store));
    let mut disk = store.into_disk().reopened();
    disk.put_file("checkpoint", checkpoint.clone());
    disk.put_file("abort", APACHES.to_vec());
    let (store, opened) = open(disk.clone());
    assert_eq!((opened.clean, bodies(&store, "t").len()), (false, 21));
    assert_eq!(store.disk().file("abort"), Some(&b"0 hotfire\n"[..]), "ours from now on");
    store.verify_all().expect("queues follow the log");
    // What was durable when we stopped is still promised, whoever came after us.
    take_all(&mut disk, LOG);
    let durable = Checkpoint::decode(&checkpoint).expect("ours").durable.expect("ours");
    let error = Store::open(disk, settings(), |_| false).expect_err("no log");
    assert_eq!(error, OpenError::Rot { at: Physical::ZERO, durable: durable.flushed });
}

#[test]
fn a_file_that_a_crash_left_without_its_name_is_removed() {
    let mut disk = closed();
    let leftovers =
        ["commitlog/00000000000000009216.new", "consumequeue/t/0/00000000000000000900.new"];
    for path in leftovers {
        disk.put_file(path, vec![0; 7]);
    }
    let (store, _) = open(disk);
    assert!(leftovers.iter().all(|path| store.disk().file(path).is_none()));
    assert_eq!(bodies(&store, "t").len(), 20);
}

/// Where a file system gives blocks to a file before its bytes are in them, a power failure can
/// show the past of such a block: here, units of another queue.
#[test]
fn units_of_another_queue_in_a_new_file_are_not_taken_for_its_own() {
    let mut disk = closed();
    let stale = disk.file("consumequeue/t/0/00000000000000000000").expect("it has units").to_vec();
    disk.put_file("abort", OURS.to_vec());
    disk.put_file("consumequeue/u/0/00000000000000000000", stale);
    let (store, _) = open(disk);
    assert!(store.queue("u", 0).is_none_or(|range| range.min == range.max));
    assert_eq!(bodies(&store, "t").len(), 20);
    store.verify_all().expect("queues follow the log");
}
