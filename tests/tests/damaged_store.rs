//! Every kind of file, damaged in every way: a start repairs it or refuses, does not panic, and
//! throws nothing good away. What is good is found by another reader of the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use hotfire_storage::OpenError;
use hotfire_storage::mapped::MappedDisk;
use hotfire_storage::position::{Physical, QueueOffset};
use hotfire_tests::small::{self, Found};

const TOPICS: [&str; 3] = ["One", "Two", small::BATCH_TOPIC];
/// Two log files; each queue fits into one file.
const MESSAGES: usize = 282;

static TEMPLATE: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a directory");
    small::make(dir.path(), &TOPICS, MESSAGES);
    dir
});

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Directory,
    Empty,
    HalfUnit,
    Magic,
    Missing,
    Random,
    Swapped,
    Truncated,
}

const DAMAGES: [Damage; 8] = [
    Damage::Directory,
    Damage::Empty,
    Damage::HalfUnit,
    Damage::Magic,
    Damage::Missing,
    Damage::Random,
    Damage::Swapped,
    Damage::Truncated,
];

/// A file, and the one it is swapped with.
type Target = (&'static str, &'static str);

const LOG: [Target; 2] = [
    ("commitlog/00000000000000000000", "commitlog/00000000000001048576"),
    ("commitlog/00000000000001048576", "commitlog/00000000000000000000"),
];

const DERIVED: [Target; 2] = [
    ("consumequeue/One/0/00000000000000000000", "consumequeue/Two/1/00000000000000000000"),
    (
        "batchconsumequeue/Batches/0/00000000000000000000",
        "batchconsumequeue/Batches/1/00000000000000000000",
    ),
];

const SMALL: [Target; 4] = [
    ("checkpoint", "checkpoint.bak"),
    ("checkpoint.bak", "checkpoint"),
    ("abort", "lock"),
    ("lock", "abort"),
];

/// Bytes that look like nothing in particular, the same in every run.
fn random(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[5]
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn hurt(root: &Path, (file, other): Target, damage: Damage) {
    let path = root.join(file);
    let bytes = fs::read(&path).unwrap_or_default();
    let write = |bytes: &[u8]| fs::write(&path, bytes).expect("written");
    match damage {
        Damage::Directory => {
            let _ = fs::remove_file(&path);
            fs::create_dir(&path).expect("made");
        }
        Damage::Empty => write(b""),
        Damage::HalfUnit => {
            // The last unit of a queue, or whatever lies last in another file, is half there.
            let last = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let mut bytes = bytes;
            bytes[last.saturating_sub(10)..last].fill(0);
            write(&bytes);
        }
        Damage::Magic => {
            let mut bytes = bytes;
            bytes.iter_mut().take(8).for_each(|byte| *byte ^= 0x5A);
            write(&bytes);
        }
        Damage::Missing => drop(fs::remove_file(&path)),
        Damage::Random => write(&random(bytes.len().max(1))),
        Damage::Swapped => {
            let instead = fs::read(root.join(other)).unwrap_or_default();
            write(&instead);
            fs::write(root.join(other), bytes).expect("written");
        }
        Damage::Truncated => write(&bytes[..bytes.len() / 2]),
    }
}

/// How the process before ended.
#[derive(Clone, Copy, Debug)]
enum Before {
    Died,
    Stopped,
}

/// What came of a start.
#[derive(Debug)]
enum Outcome {
    Opened,
    Refused(String),
}

struct Case {
    dir: tempfile::TempDir,
    name: String,
    /// What the log holds after the damage.
    good: BTreeMap<u64, Found>,
    log: Vec<(PathBuf, Vec<u8>)>,
}

impl Case {
    fn new(before: Before, target: Target, damage: Damage) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        small::copy(TEMPLATE.path(), dir.path());
        if matches!(before, Before::Died) {
            fs::write(dir.path().join("abort"), "1 hotfire\n").expect("written");
        }
        hurt(dir.path(), target, damage);
        let log = files(&dir.path().join("commitlog"));
        let good = small::messages(&dir.path().join("commitlog"));
        Self { dir, name: format!("{before:?}: {} {damage:?}", target.0), good, log }
    }

    /// Starts, and checks what holds for every damage.
    fn start(&self) -> Outcome {
        let (root, name) = (self.dir.path(), &self.name);
        let started = catch_unwind(AssertUnwindSafe(|| open(root)));
        let started = started.unwrap_or_else(|_| panic!("{name}: it panics"));
        let kept = small::messages(&root.join("commitlog"));
        for (at, message) in &self.good {
            assert_eq!(kept.get(at), Some(message), "{name}: the message at {at} was thrown away");
        }
        match started {
            Err(why) => {
                let log = files(&root.join("commitlog"));
                assert!(log == self.log, "{name}: a refusal changed the log: {why}");
                Outcome::Refused(why)
            }
            Ok(store) => {
                store.verify();
                for (at, message) in &self.good {
                    let record = store.record(Physical::new(*at));
                    let bytes = record.map(|record| record.bytes().to_vec());
                    assert_eq!(bytes.as_ref(), Some(&message.bytes), "{name}: {at} is not read");
                }
                Outcome::Opened
            }
        }
    }

    /// Is every message found by its number in its queue?
    fn lost_units(&self) -> usize {
        let store = open(self.dir.path()).expect("it opened before");
        let is_found = |message: &&Found| {
            let offset = QueueOffset::new(message.offset);
            let unit = store.unit(&message.topic, message.queue, offset);
            unit.is_none_or(|unit| unit.span.at.get() != message.at)
        };
        self.good.values().filter(is_found).count()
    }
}

fn open(root: &Path) -> Result<hotfire_storage::Store<MappedDisk>, String> {
    let disk = MappedDisk::open(root, || {}).map_err(|why| why.to_string())?;
    let opened =
        hotfire_storage::Store::open(disk, small::settings(), |topic| topic == small::BATCH_TOPIC);
    opened.map(|(store, _)| store).map_err(|why: OpenError| why.to_string())
}

fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> =
        entries.map(|path| (path.clone(), fs::read(path).unwrap_or_default())).collect();
    files.sort();
    files
}

/// All that was sent is below the durable mark, however the process ended: a log whose end lost any
/// of it is never opened in silence. Damage inside of an earlier file is below what a start reads,
/// and costs what it hit; a first file that is gone is gone by retention, for all a start knows.
#[test]
fn a_damaged_log_is_refused_and_left_as_it_is() {
    for before in [Before::Stopped, Before::Died] {
        for target in LOG {
            for damage in DAMAGES {
                let case = Case::new(before, target, damage);
                let outcome = case.start();
                let is_within = matches!(
                    damage,
                    Damage::HalfUnit | Damage::Magic | Damage::Missing | Damage::Random
                );
                let may_open = target == LOG[0] && is_within;
                let is_refused = matches!(outcome, Outcome::Refused(_));
                assert!(is_refused || may_open, "{}: {outcome:?}", case.name);
            }
        }
    }
}

/// What queues say is in the log as well.
#[test]
fn damaged_queues_are_computed_again() {
    for target in DERIVED {
        for damage in DAMAGES {
            let case = Case::new(Before::Stopped, target, damage);
            let outcome = case.start();
            match (damage, outcome) {
                (Damage::Directory, Outcome::Refused(why)) => {
                    assert!(why.contains("it is a directory"), "{}: {why}", case.name);
                }
                // A queue without any file looks like that of a topic that was deleted.
                (Damage::Missing, Outcome::Opened) => {}
                (_, Outcome::Opened) => assert_eq!(case.lost_units(), 0, "{}", case.name),
                (_, outcome) => panic!("{}: {outcome:?}", case.name),
            }
        }
    }
}

/// Small files say less when they are damaged, and nothing is lost by that.
#[test]
fn damaged_small_files_cost_nothing_but_time() {
    for before in [Before::Stopped, Before::Died] {
        for target in SMALL {
            for damage in DAMAGES {
                let case = Case::new(before, target, damage);
                match (damage, case.start()) {
                    (_, Outcome::Opened) => assert_eq!(case.lost_units(), 0, "{}", case.name),
                    (Damage::Directory, Outcome::Refused(_)) => {}
                    (_, Outcome::Refused(why)) => panic!("{}: {why}", case.name),
                }
            }
        }
    }
}

/// A state file, or the version before it, or a refusal: never silence.
#[test]
fn damaged_state_files_fall_back_or_are_refused() {
    use hotfire_storage::{LoadError, Loaded, load};
    let is_valid = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).is_ok();
    for with_backup in [false, true] {
        for damage in DAMAGES {
            let dir = tempfile::tempdir().expect("a directory");
            small::copy(TEMPLATE.path(), dir.path());
            let file = "config/topics.json";
            if with_backup {
                let (from, to) = (dir.path().join(file), dir.path().join("config/topics.json.bak"));
                fs::copy(from, to).expect("copied");
            }
            hurt(dir.path(), (file, "lock"), damage);
            let mut disk = MappedDisk::open(dir.path(), || {}).expect("nobody else has it");
            match (load(&mut disk, file, is_valid), with_backup, damage) {
                (Ok(Loaded::FromBackup(_)), true, _)
                | (Ok(Loaded::Absent), false, Damage::Missing)
                | (Err(LoadError::Damaged { .. }), false, _)
                | (Err(LoadError::Disk(_)), _, Damage::Directory) => {}
                (other, ..) => panic!("{damage:?}, backup {with_backup}: {other:?}"),
            }
        }
    }
}
