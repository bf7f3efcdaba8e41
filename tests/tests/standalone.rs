//! Starting and stopping, as an operator meets it: what works says so, and what does not is one
//! line on standard error and exit code 2.

use std::net::TcpListener;

use hotfire_tests::process::{Hotfire, free_port, standalone_args};
use hotfire_tests::wire::{Client, code};

#[test]
fn a_message_sent_before_a_stop_is_there_after_the_next_start() {
    let data = tempfile::tempdir().expect("a directory");
    let (namesrv, port) = (free_port(), free_port());
    let node = Hotfire::standalone(data.path(), namesrv, port);
    let mut client = Client::connect(port).expect("listening");
    assert_eq!(client.send("Standalone", 0, b"kept").expect("acknowledged"), 0);
    let topic = [("topic", "Standalone"), ("acceptStandardJsonOnly", "true")];
    let mut names = Client::connect(namesrv).expect("listening");
    let route = names.ask(code::ROUTE, &topic, b"").expect("answered");
    let body = String::from_utf8(route.body).expect("JSON");
    assert!(route.code == 0 && body.contains(&format!("127.0.0.1:{port}")), "{body}");
    let ended = node.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr.join("\n"));

    let node = Hotfire::standalone(data.path(), namesrv, port);
    let mut client = Client::connect(port).expect("listening");
    let messages = client.pull_all("Standalone", 0, 0).expect("readable");
    assert_eq!(messages.iter().map(|m| m.body.as_slice()).collect::<Vec<_>>(), [b"kept"]);
    node.signal("INT");
    assert_eq!(node.wait().status.code(), Some(0), "Ctrl-C is a stop like any other");
}

#[test]
fn a_second_start_on_the_same_store_is_refused() {
    let data = tempfile::tempdir().expect("a directory");
    let _first = Hotfire::standalone(data.path(), free_port(), free_port());
    let second = Hotfire::start(standalone_args(data.path(), free_port(), free_port())).wait();
    let line = second.refusal();
    assert!(line.contains("in use") && line.contains("store"), "{line}");
}

#[test]
fn a_port_in_use_is_named_with_what_to_do() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let data = tempfile::tempdir().expect("a directory");
    let ended = Hotfire::start(standalone_args(data.path(), free_port(), port)).wait();
    let expected = format!(
        "hotfire: port {port} on 127.0.0.1 is in use by another process; choose another with --port"
    );
    assert_eq!(ended.refusal(), expected);
    let ended = Hotfire::start(standalone_args(data.path(), port, free_port())).wait();
    let line = ended.refusal();
    assert!(line.ends_with("choose another with --namesrv-port"), "{line}");
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let data = tempfile::tempdir().expect("a directory");
    let file = data.path().join("a-file");
    std::fs::write(&file, "not a directory").expect("written");
    let ended = Hotfire::start(standalone_args(&file, free_port(), free_port())).wait();
    let line = ended.refusal();
    assert!(line.contains("a-file"), "{line}");
}

#[test]
fn a_bad_configuration_is_named_with_its_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("broker.conf");
    std::fs::write(&file, "brokerName=a\nlistenPort=many\n").expect("written");
    let ended = Hotfire::start(["broker", "-c", file.to_str().expect("printable")]).wait();
    let line = ended.refusal();
    let expected = "broker.conf:2: listenPort = \"many\": expected a port from 1 to 65535";
    assert!(line.ends_with(expected), "{line}");
    let ended = Hotfire::start(["broker", "-c", "/nowhere/broker.conf"]).wait();
    assert!(ended.refusal().contains("cannot read the configuration file /nowhere/broker.conf"));
    let ended = Hotfire::start(["broker", "--no-such-flag"]).wait();
    assert!(ended.refusal().contains("'--no-such-flag'"));
}

#[test]
fn a_broker_and_a_name_server_of_their_own_find_each_other() {
    let dir = tempfile::tempdir().expect("a directory");
    let (namesrv, port) = (free_port(), free_port());
    let at = |name: &str| dir.path().join(name).display().to_string();
    let write = |name: &str, text: String| std::fs::write(at(name), text).expect("written");
    write("namesrv.conf", format!("listenPort={namesrv}\nkvConfigPath={}\n", at("kv.json")));
    write(
        "broker.conf",
        format!(
            "brokerName=broker-x\nbrokerIP1=127.0.0.1\nlistenPort={port}\n\
             haListenPort=0\nfastListenPort=0\nstorePathRootDir={}\n\
             flushDiskType=SYNC_FLUSH\n",
            at("store")
        ),
    );
    let mut names = Hotfire::start(["namesrv", "-c", &at("namesrv.conf")]);
    names.wait_for_log("ready");
    let addr = format!("127.0.0.1:{namesrv}");
    let mut broker = Hotfire::start(["broker", "-c", &at("broker.conf"), "-n", &addr]);
    broker.wait_for_log("ready");
    let mut client = Client::connect(port).expect("listening");
    client.send("Apart", 1, b"durable").expect("acknowledged after the sync");
    assert_eq!(broker.stop().status.code(), Some(0));
    assert_eq!(names.stop().status.code(), Some(0));
}
