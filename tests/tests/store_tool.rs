//! `hotfire store`: what it says of stores, what it finds, what it changes and what it does not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use hotfire_storage::mapped::MappedDisk;
use hotfire_tests::process::binary;
use hotfire_tests::small;
use serde_json::Value;

const TOPICS: [&str; 3] = ["One", "Two", small::BATCH_TOPIC];

/// Messages in two log files, 47 in each queue: too few for a queue to want its next file.
const MESSAGES: usize = 282;

/// A small store, stopped in order. Made once.
static TEMPLATE: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a directory");
    small::make(dir.path(), &TOPICS, MESSAGES);
    dir
});

struct Copy {
    dir: tempfile::TempDir,
}

impl Copy {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        small::copy(TEMPLATE.path(), dir.path());
        Self { dir }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    fn edit(&self, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.path(file)).expect("a file");
        change(&mut bytes);
        fs::write(self.path(file), bytes).expect("written");
    }

    fn store(&self, args: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command.arg("store").arg(args[0]).arg(self.dir.path()).args(&args[1..]);
        command.stdin(Stdio::null()).output().expect("the binary runs")
    }
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Every file with its content and its times.
fn image(dir: &Path) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
    let mut image = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("listed").path();
        if path.is_dir() {
            image.extend(self::image(&path));
        } else {
            let changed = fs::metadata(&path).and_then(|meta| meta.modified()).expect("known");
            image.push((path.clone(), fs::read(&path).expect("readable"), changed));
        }
    }
    image.sort();
    image
}

#[test]
fn a_sound_store_is_told_and_left_alone() {
    let copy = Copy::new();
    let before = image(copy.dir.path());
    let verified = copy.store(&["verify"]);
    assert_eq!(verified.status.code(), Some(0), "{}{}", out(&verified), err(&verified));
    assert!(out(&verified).trim_end().ends_with(": 282 records; 6 queues: 282 units: sound"));
    let inspected = copy.store(&["inspect", "--json"]);
    let told: Value = serde_json::from_slice(&inspected.stdout).expect("JSON");
    assert_eq!((&told["clean"], &told["log"]["start"]), (&Value::from(true), &Value::from(0)));
    assert_eq!(told["checkpoint"]["flushed"], told["log"]["end"]);
    let queues = told["queues"].as_array().expect("queues");
    let kinds = queues.iter().filter(|queue| queue["kind"] == "batch").count();
    assert_eq!((queues.len(), kinds), (6, 2));
    assert!(queues.iter().all(|queue| queue["max"] == 47 && queue["units"] == 47));
    let one = copy.store(&["inspect", "--topic", "One"]);
    assert!(out(&one).contains("One") && !out(&one).contains("Two"), "{}", out(&one));
    let repaired = copy.store(&["repair"]);
    assert!(out(&repaired).contains("a start changes nothing"), "{}", out(&repaired));
    assert!(image(copy.dir.path()) == before, "reading changed the store");
}

#[test]
fn messages_are_dumped_from_the_next_one_on() {
    let copy = Copy::new();
    let expected = small::messages(&copy.path("commitlog"));
    let third = expected.values().nth(2).expect("a message");
    let from = (third.at - 1).to_string();
    let dumped = copy.store(&["dump", "--from", &from, "--count", "2", "--json", "--body"]);
    let lines: Vec<Value> =
        out(&dumped).lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect();
    assert_eq!(lines.len(), 2, "{}", err(&dumped));
    assert_eq!(lines[0]["offset"], third.at);
    assert_eq!(lines[0]["topic"], third.topic);
    assert!(lines[0]["body"].as_str().is_some_and(|body| body.starts_with("00000002")));
    // The last file begins behind a blank record.
    let last = copy.store(&["dump", "--from", "1048570", "--count", "1"]);
    assert!(out(&last).trim_start().starts_with("1048576 "), "{}", out(&last));
    let beyond = copy.store(&["dump", "--from", "99999999"]);
    assert_eq!(beyond.status.code(), Some(2));
    assert!(err(&beyond).contains("the log's files span 0 to 2097152"), "{}", err(&beyond));
}

#[test]
fn a_store_in_use_is_not_checked_unless_that_is_wanted() {
    let copy = Copy::new();
    let _other = MappedDisk::open(copy.dir.path(), || {}).expect("nobody else has it");
    for args in [&["verify"][..], &["inspect"], &["repair"], &["dump", "--from", "0"]] {
        let output = copy.store(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(err(&output).contains("is in use by another process"), "{}", err(&output));
    }
    let snapshot = copy.store(&["verify", "--no-lock"]);
    assert_eq!(snapshot.status.code(), Some(0), "{}{}", out(&snapshot), err(&snapshot));
}

#[test]
fn a_damaged_unit_is_found_and_a_rebuild_mends_it() {
    let copy = Copy::new();
    copy.edit("consumequeue/One/0/00000000000000000000", |bytes| bytes[71] ^= 1);
    let before = image(copy.dir.path());
    let verified = copy.store(&["verify"]);
    let said = out(&verified);
    assert_eq!(verified.status.code(), Some(1), "{said}");
    let line = "consumequeue/One/0/00000000000000000000:60: ";
    assert!(said.contains(line) && said.contains("a start does not notice it"), "{said}");
    assert!(said.contains("hotfire store repair --rebuild"), "{said}");
    assert!(image(copy.dir.path()) == before, "checking changed the store");
    // Without being told to, nothing is changed.
    let asked = copy.store(&["repair", "--rebuild"]);
    assert_eq!(asked.status.code(), Some(2), "{}", out(&asked));
    let change = "rebuild  consumequeue/One/0/00000000000000000000, ";
    assert!(out(&asked).contains(change) && err(&asked).contains("--yes"), "{}", out(&asked));
    assert!(image(copy.dir.path()) == before, "asking changed the store");
    let repaired = copy.store(&["repair", "--rebuild", "--yes"]);
    assert_eq!(repaired.status.code(), Some(0), "{}", err(&repaired));
    let verified = copy.store(&["verify"]);
    assert_eq!(verified.status.code(), Some(0), "{}", out(&verified));
}

#[test]
fn units_that_are_gone_are_found_and_a_start_mends_them() {
    let copy = Copy::new();
    copy.edit("consumequeue/Two/1/00000000000000000000", |bytes| bytes[60..64].fill(0x11));
    let verified = copy.store(&["verify"]);
    let said = out(&verified);
    assert_eq!(verified.status.code(), Some(1), "{said}");
    let missing =
        "Two/1/00000000000000000000:80: the units of 44 records are missing, from message 3";
    assert!(said.contains(missing) && said.contains("a start mends it"), "{said}");
    assert_eq!(copy.store(&["repair", "--yes"]).status.code(), Some(0));
    assert_eq!(copy.store(&["verify"]).status.code(), Some(0));
}

/// One file of 199 items, one of 83; how many slots they have is told by nothing but their bytes.
#[test]
fn an_index_that_contradicts_the_log_is_found_and_mended() {
    type Edit = fn(&mut Vec<u8>);
    let item = |number: usize| 40 + 4 * 50 + 20 * number;
    let place: Edit = |bytes| bytes[40 + 4 * 50 + 20 * 7 + 11] += 1;
    let hash: Edit = |bytes| bytes[40 + 4 * 50 + 20 * 7] ^= 1;
    let cases: [(usize, Edit, String); 5] = [
        (0, place, format!(":{}: the item points at", item(7))),
        (0, hash, ":0: a chain is broken; ".to_owned()),
        (1, |bytes| bytes[39] += 1, ":0: its header does not fit its items; ".to_owned()),
        (1, |bytes| bytes.truncate(100), ":0: it is 100 bytes long, not 4240; ".to_owned()),
        (1, |bytes| bytes[40..240].fill(0), ":0: a slot does not hold its newest item; ".into()),
    ];
    for (file, edit, says) in cases {
        let copy = Copy::new();
        let mut files: Vec<_> = fs::read_dir(copy.path("index"))
            .expect("an index")
            .map(|entry| entry.expect("listed").file_name().into_string().expect("digits"))
            .collect();
        files.sort();
        assert_eq!(files.len(), 2);
        copy.edit(&format!("index/{}", files[file]), edit);
        let verified = copy.store(&["verify"]);
        let said = out(&verified);
        assert_eq!(verified.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("index/{}{says}", files[file])), "{said}");
        let repaired = copy.store(&["repair", "--rebuild", "--yes"]);
        assert_eq!(repaired.status.code(), Some(0), "{}", err(&repaired));
        let verified = copy.store(&["verify"]);
        assert_eq!(verified.status.code(), Some(0), "{}", out(&verified));
    }
    let copy = Copy::new();
    fs::remove_dir_all(copy.path("index")).expect("removed");
    let said = out(&copy.store(&["verify"]));
    assert!(said.contains("index:0: the keys of 282 records are not in the index"), "{said}");
}

#[test]
fn rot_is_found_and_cut_only_by_the_operators_word() {
    let copy = Copy::new();
    let messages = small::messages(&copy.path("commitlog"));
    // The last message but two, in the last file.
    let hurt = messages.values().rev().nth(2).expect("a message");
    let (file, at) = ("commitlog/00000000000001048576", hurt.at - 1_048_576);
    copy.edit(file, |bytes| bytes[usize::try_from(at).expect("small") + 100] ^= 1);
    let verified = copy.store(&["verify", "--json"]);
    assert_eq!(verified.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&verified.stdout).expect("JSON");
    let finding = &told["findings"][0];
    assert_eq!((&finding["file"], &finding["offset"]), (&Value::from(file), &Value::from(at)));
    assert_eq!(finding["start"], "a start refuses the store");
    assert!(told["refusal"].as_str().is_some_and(|why| why.contains("--accept-damaged-log")));
    let refused = copy.store(&["repair", "--yes"]);
    assert_eq!(refused.status.code(), Some(2), "{}", out(&refused));
    let repaired = copy.store(&["repair", "--yes", "--accept-rot"]);
    let said = out(&repaired);
    assert_eq!(repaired.status.code(), Some(0), "{}", err(&repaired));
    assert!(said.contains(&format!("its log ends at {}", hurt.at)), "{said}");
    assert!(said.contains(&format!("zero     {file}")), "{said}");
    assert_eq!(copy.store(&["verify"]).status.code(), Some(0));
    assert_eq!(small::messages(&copy.path("commitlog")).len(), MESSAGES - 3);
}

#[test]
fn a_state_file_without_a_good_version_is_damage() {
    let copy = Copy::new();
    fs::write(copy.path("config/topics.json"), "{\"a\":").expect("written");
    let verified = copy.store(&["verify"]);
    let said = out(&verified);
    assert!(said.contains("config/topics.json:0: not JSON"), "{said}");
    assert_eq!(verified.status.code(), Some(1));
}
