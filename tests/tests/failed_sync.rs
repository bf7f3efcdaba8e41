//! A real msync of a real broker fails. What it covered is not acknowledged, nothing is taken
//! after it, all of it is said; what was acknowledged is there, then and after a restart.

use std::fs;
use std::path::Path;
use std::process::Command;

use hotfire_tests::process::{Hotfire, binary, free_port};
use hotfire_tests::wire::{Client, code};
use serde_json::Value;

const TOPIC: &str = "FailedSync";

/// A broker whose next msync fails once `arm` was called.
struct Frail {
    node: Hotfire,
    port: u16,
    trigger: std::path::PathBuf,
}

impl Frail {
    fn start(dir: &Path, flush: &str) -> Self {
        let (port, conf) = (free_port(), dir.join("broker.conf"));
        let text = format!(
            "listenPort={port}\nhaListenPort=0\nfastListenPort=0\n\
             bindAddress=127.0.0.1\nbrokerIP1=127.0.0.1\n\
             storePathRootDir={}\nmaxMessageSize=65536\nmappedFileSizeCommitLog=1048576\n{flush}\n",
            dir.join("store").display()
        );
        fs::write(&conf, text).expect("written");
        let trigger = dir.join("fail");
        let mut command = Command::new(binary());
        command.arg("broker").arg("-c").arg(conf).env("HOTFIRE_FAIL_MSYNC", &trigger);
        // None where there is no C compiler; the tests are ignored then.
        command.env("LD_PRELOAD", option_env!("FAILING_MSYNC").unwrap_or_default());
        let mut node = Hotfire::spawn(command);
        node.wait_for_log("is ready on");
        Self { node, port, trigger }
    }

    fn connect(&self) -> Client {
        Client::connect(self.port).expect("it listens")
    }

    fn arm(&self) {
        fs::write(&self.trigger, b"").expect("written");
    }
}

fn body(number: i64) -> Vec<u8> {
    format!("message {number}").into_bytes()
}

fn refusal(client: &mut Client, number: i64) -> String {
    let refused = client.send(TOPIC, 0, &body(number));
    refused.expect_err("nothing is acknowledged").to_string()
}

/// Messages `0..count`, in order, and whatever may follow.
fn assert_has(client: &mut Client, count: i64) {
    let least = usize::try_from(count).expect("not negative");
    let messages = client.pull_all(TOPIC, 0, least).expect("pulls go on");
    for number in 0..count {
        let message = &messages[usize::try_from(number).expect("not negative")];
        assert_eq!((message.offset, &message.body), (number, &body(number)));
    }
}

#[test]
#[cfg_attr(not(failing_msync), ignore = "needs a C compiler")]
fn under_sync_flush_the_send_is_refused_and_so_are_all_until_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut frail = Frail::start(dir.path(), "flushDiskType=SYNC_FLUSH");
    let mut client = frail.connect();
    for number in 0..5 {
        assert_eq!(client.send(TOPIC, 0, &body(number)).expect("acknowledged"), number);
    }
    frail.arm();
    let remark = refusal(&mut client, 5);
    // SYSTEM_ERROR: a client sends it again, elsewhere.
    assert!(remark.starts_with("1: the disk failed"), "{remark}");
    assert!(!frail.trigger.exists(), "a sync did fail");
    for number in 6..9 {
        let remark = refusal(&mut client, number);
        // SERVICE_NOT_AVAILABLE, and what to do.
        assert!(remark.starts_with("14: ") && remark.contains("restarted"), "{remark}");
    }
    let line = frail.node.wait_for_log("a sync failed");
    assert!(line.contains("ERROR") && line.contains("commitlog"), "{line}");
    let mut other = frail.connect();
    assert!(refusal(&mut other, 9).starts_with("14: "), "for everybody");
    let info = other.ask(code::RUNTIME_INFO, &[], b"").expect("an answer");
    let info: Value = serde_json::from_slice(&info.body).expect("a table");
    assert_eq!(info["table"]["brokerActive"], "false");
    let why = info["table"]["sendsRefused"].as_str().expect("a reason");
    assert!(why.contains("failed to make messages durable"), "{why}");
    assert_has(&mut other, 5);

    let ended = frail.node.stop();
    assert!(!ended.status.success(), "a store that is not known to be whole was not closed");
    let last = ended.stderr.last().expect("it says so");
    assert!(last.contains("was not closed cleanly"), "{last}");

    let frail = Frail::start(dir.path(), "flushDiskType=SYNC_FLUSH");
    let mut client = frail.connect();
    assert_has(&mut client, 5);
    client.send(TOPIC, 0, &body(9)).expect("a restart verified the log");
}

#[test]
#[cfg_attr(not(failing_msync), ignore = "needs a C compiler")]
fn under_async_flush_sends_end_with_the_sync_that_failed() {
    let dir = tempfile::tempdir().expect("a directory");
    let flush = "flushIntervalCommitLog=20\nflushCommitLogLeastPages=0";
    let frail = Frail::start(dir.path(), flush);
    let mut client = frail.connect();
    frail.arm();
    let mut count = 0;
    let remark = loop {
        match client.send(TOPIC, 0, &body(count)) {
            Ok(offset) => assert_eq!(offset, count),
            Err(why) => break why.to_string(),
        }
        count += 1;
    };
    assert!(remark.starts_with("14: ") && remark.contains("restarted"), "{remark}");
    assert_has(&mut client, count);
    frail.node.kill();
    let frail = Frail::start(dir.path(), flush);
    assert_has(&mut frail.connect(), count);
}
