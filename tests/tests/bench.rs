//! The tool that measures: what it prints is what happened.

use std::process::Command;

use hotfire_tests::process::{Hotfire, binary, free_port};
use serde_json::Value;

fn bench(args: &[&str]) -> Value {
    let out = Command::new(binary()).arg("bench").args(args).arg("--json").output();
    let out = out.expect("it runs");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{args:?}: {said}");
    serde_json::from_slice(&out.stdout).expect("one JSON object")
}

#[test]
fn what_was_sent_can_be_pulled_and_is_counted() {
    let data = tempfile::tempdir().expect("a directory");
    let (namesrv, port) = (free_port(), free_port());
    let _node = Hotfire::standalone(data.path(), namesrv, port);
    let namesrv = format!("127.0.0.1:{namesrv}");
    let load = ["-n", &namesrv, "-t", "Bench", "--connections", "2", "--window", "8"];
    let sent = bench(&[&["send"], &load[..], &["--messages", "1000", "--size", "100"]].concat());
    assert_eq!(sent["messages"], 1000, "{sent}");
    assert_eq!((&sent["failed"], &sent["bytes"]), (&0.into(), &100_000.into()), "{sent}");
    let latency = &sent["latency_us"];
    assert!(latency["p50"].as_u64() <= latency["max"].as_u64(), "{sent}");
    let addr = format!("127.0.0.1:{port}");
    let pulled = bench(&["pull", "--addr", &addr, "-t", "Bench", "--messages", "2000"]);
    assert!(pulled["messages"].as_u64() >= Some(2000), "{pulled}");
    assert_eq!(pulled["failed"], 0, "{pulled}");
}

#[test]
fn idle_nodes_need_little_memory_of_their_own() {
    let report = bench(&["startup", "--runs", "1", "--idle-seconds", "1"]);
    let kib = |node: &str| report[node]["anonymous"].as_u64().expect("a number");
    assert!(kib("broker") < 16 << 10, "a broker at idle: {report}");
    assert!(kib("namesrv") < 6 << 10, "a name server at idle: {report}");
    assert!(report["broker_ms"][0].as_f64() > Some(0.0), "{report}");
}

#[test]
fn what_a_promise_costs_is_measured_with_a_slave_that_keeps_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path().to_str().expect("a printable temporary directory");
    let few = ["--rounds", "1", "--seconds", "1", "--warm-up", "1", "--dir", dir];
    let report = bench(&[&["replicate", "--sync-flush"], &few[..]].concat());
    assert_eq!((&report["flush"], &report["slaves"]), (&"SYNC_FLUSH".into(), &1.into()));
    assert!(report["hotfire"]["per_second"].as_f64() > Some(0.0), "{report}");
    assert_eq!(report["hotfire"]["failed"], 0, "{report}");
}

#[test]
fn a_broker_that_is_not_there_is_one_line() {
    let addr = format!("127.0.0.1:{}", free_port());
    let ended = Hotfire::start(["bench", "send", "--addr", &addr]).wait();
    let said = ended.stderr.join("\n");
    assert_eq!((ended.status.code(), ended.stderr.len()), (Some(2), 1), "{said}");
    assert!(said.starts_with(&format!("hotfire: cannot connect to {addr}: ")), "{said}");
}
