//! A slave whose master came back with another past: what it gives up is kept, and can be read.

use std::fs;
use std::process::Command;

use hotfire_tests::group::{Group, TOPIC};
use hotfire_tests::process::binary;
use hotfire_tests::small::copy;
use hotfire_tests::wire::Client;

const SOON: &str = "haHousekeepingInterval=1500\nhaSendHeartbeatInterval=300";

/// Sends as many messages of 60,000 bytes.
fn send(port: u16, count: usize, byte: &str) {
    let mut client = Client::connect(port).expect("listening");
    for _ in 0..count {
        client.send(TOPIC, 0, byte.repeat(60_000).as_bytes()).expect("stored");
    }
}

#[test]
fn what_a_slave_gives_up_is_kept_and_can_be_read() {
    let mut group = Group::start(SOON, SOON);
    send(group.master.port, 4, "a");
    group.wait_until_same();
    group.master.kill();
    let (root, dir) = (group.master.root().to_owned(), tempfile::tempdir().expect("a directory"));
    let past = dir.path().join("past");
    copy(&root, &past);
    group.master.start();
    // More than a file, which the master will know nothing of.
    send(group.master.port, 30, "b");
    group.wait_until_same();
    let before = group.slave.log();
    group.master.kill();
    fs::remove_dir_all(&root).expect("removed");
    copy(&past, &root);
    group.master.start();
    send(group.master.port, 3, "c");
    let line = group.slave.process().wait_for_log("is kept as");
    assert!(line.contains("diverged/1-*"), "{line}");
    group.wait_until_same();

    let aside = group.slave.root().join("diverged");
    let mut names: Vec<String> = fs::read_dir(&aside)
        .expect("a directory")
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into())
        .collect();
    names.sort();
    assert_eq!(names.len(), 2, "{names:?}");
    let place = |name: &str| -> usize { name[2..].parse().expect("a position") };
    let tail = fs::read(aside.join(&names[0])).expect("readable");
    let first = &before["00000000000000000000"];
    assert_eq!(tail, first[place(&names[0])..][..tail.len()]);
    assert!(first[place(&names[0]) + tail.len()..].iter().all(|byte| *byte == 0));
    // A whole file is readable as a log.
    let log = dir.path().join("old/commitlog");
    fs::create_dir_all(&log).expect("made");
    fs::copy(aside.join(&names[1]), log.join(&names[1][2..])).expect("copied");
    let from = place(&names[1]).to_string();
    let dumped = Command::new(binary())
        .args(["store", "dump", "--from", &from, "--count", "2", "--body"])
        .arg(log.parent().expect("it has one"))
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&dumped.stdout);
    assert!(text.contains(&"b".repeat(100)), "{text:.300} {:?}", dumped.stderr);
}
