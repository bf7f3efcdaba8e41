//! A master is killed, and its slave takes its place, for reads: consumers find it by their route's
//! key 0, pull, commit offsets and lock queues there. The master comes back and knows all of it.

use std::thread;
use std::time::{Duration, Instant};

use hotfire_tests::group::{Group, TOPIC};
use hotfire_tests::process::PATIENCE;
use hotfire_tests::wire::{Client, code};
use serde_json::{Value, json};

const NAMES: &str = "supportActingMaster=true\nnotifyMinBrokerIdChanged=true\n\
                     scanNotActiveBrokerInterval=300";
const MEMBER: &str = "enableSlaveActingMaster=true\nbrokerHeartbeatInterval=300\n\
                      brokerNotActiveTimeoutMillis=2000\nhaSendHeartbeatInterval=300";
/// READ, and READ | WRITE.
const READ_ONLY: i64 = 4;
const READ_WRITE: i64 = 6;

fn connect(port: u16) -> Client {
    Client::connect(port).expect("listening")
}

/// Looks until it is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Where the route of the topic has id 0, and the permission; if there is one.
fn route(names: &mut Client) -> Option<(String, i64)> {
    let asked = [("topic", TOPIC), ("acceptStandardJsonOnly", "true")];
    let answer = names.ask(code::ROUTE, &asked, b"").expect("an answer");
    let route: Value = serde_json::from_slice(&answer.body).ok()?;
    let master = route["brokerDatas"][0]["brokerAddrs"]["0"].as_str()?;
    Some((master.to_owned(), route["queueDatas"][0]["perm"].as_i64()?))
}

fn commit(broker: &mut Client, offset: i64) {
    let offset = offset.to_string();
    let fields =
        [("consumerGroup", "G"), ("topic", TOPIC), ("queueId", "0"), ("commitOffset", &offset)];
    let answer = broker.ask(code::UPDATE_OFFSET, &fields, b"").expect("an answer");
    assert_eq!(answer.code, 0, "{}", answer.remark);
}

fn committed(broker: &mut Client) -> Option<i64> {
    let fields = [
        ("consumerGroup", "G"),
        ("topic", TOPIC),
        ("queueId", "0"),
        ("setZeroIfNotFound", "false"),
    ];
    let answer = broker.ask(code::QUERY_OFFSET, &fields, b"").expect("an answer");
    answer.fields.get("offset").map(|offset| offset.parse().expect("a number"))
}

/// How many queues `client` has locked of the one that it wants.
fn lock(broker: &mut Client, client: &str) -> usize {
    let body = lock_body(client);
    let answer = broker.ask(code::LOCK, &[], &body).expect("an answer");
    assert_eq!(answer.code, 0, "{}", answer.remark);
    let locked: Value = serde_json::from_slice(&answer.body).expect("JSON");
    locked["lockOKMQSet"].as_array().expect("a list").len()
}

fn lock_body(client: &str) -> Vec<u8> {
    let queue = json!({ "topic": TOPIC, "brokerName": "pair", "queueId": 0 });
    let body = json!({ "clientId": client, "consumerGroup": "G", "mqSet": [queue] });
    body.to_string().into_bytes()
}

fn heartbeat(broker: &mut Client) {
    let subscription = json!({
        "topic": TOPIC, "subString": "*", "subVersion": 1, "tagsSet": [], "codeSet": [],
        "expressionType": "TAG", "classFilterMode": false,
    });
    let consumer = json!({
        "groupName": "G", "consumeType": "CONSUME_PASSIVELY", "messageModel": "CLUSTERING",
        "consumeFromWhere": "CONSUME_FROM_FIRST_OFFSET", "subscriptionDataSet": [subscription],
        "unitMode": false,
    });
    let beat = json!({
        "clientID": "c1", "producerDataSet": [], "consumerDataSet": [consumer],
        "heartbeatFingerprint": 0, "withoutSub": false,
    });
    let answer = broker.ask(code::HEARTBEAT, &[], beat.to_string().as_bytes());
    let mut answer = answer.expect("an answer");
    if answer.code == code::CONSUMER_IDS_CHANGED {
        answer = broker.answer().expect("an answer");
    }
    assert_eq!(answer.code, 0, "{}", answer.remark);
}

/// A pair with ten messages and an offset of 4, which both know.
fn pair() -> (Group, Client) {
    let group = Group::start_with(NAMES, MEMBER, MEMBER);
    let mut master = connect(group.master.port);
    for number in 0..10 {
        master.send(TOPIC, 0, format!("message {number}").as_bytes()).expect("taken");
    }
    commit(&mut master, 4);
    group.wait_until_same();
    let mut slave = connect(group.slave.port);
    until("the slave knows the offset", || committed(&mut slave) == Some(4));
    let names = connect(group.names.port);
    (group, names)
}

#[test]
fn consumers_go_on_at_the_slave_and_their_master_takes_over_from_there() {
    let (mut group, mut names) = pair();
    let (at_master, at_slave) =
        (format!("127.0.0.1:{}", group.master.port), format!("127.0.0.1:{}", group.slave.port));
    assert_eq!(route(&mut names), Some((at_master.clone(), READ_WRITE)));

    group.master.kill();
    until("the route has the slave in its master's place", || {
        route(&mut names) == Some((at_slave.clone(), READ_ONLY))
    });
    group.slave.process().wait_for_log("this slave acts for it");
    let mut slave = connect(group.slave.port);
    heartbeat(&mut slave);
    assert_eq!(slave.pull_all(TOPIC, 0, 0).expect("served").len(), 10);
    assert_eq!(committed(&mut slave), Some(4));
    commit(&mut slave, 7);
    assert_eq!((lock(&mut slave, "c1"), lock(&mut slave, "c2")), (1, 0));
    let unlocked = slave.ask(code::UNLOCK, &[], &lock_body("c1")).expect("an answer");
    assert_eq!((unlocked.code, lock(&mut slave, "c2")), (0, 1));
    let refused = slave.try_send(TOPIC, 0, b"to a slave").expect("an answer");
    assert_eq!(refused.code, 14, "{}", refused.remark);

    // Whoever asks the master as soon as it answers is told what the slave was.
    group.master.start();
    let mut master = connect(group.master.port);
    assert_eq!(committed(&mut master), Some(7));
    until("the route has the master again", || {
        route(&mut names) == Some((at_master.clone(), READ_WRITE))
    });
    group.slave.process().wait_for_log("does not act for its master any more");
    // Clients with a route of before are still there, and are not sent away in a loop.
    assert_eq!(committed(&mut slave), Some(7));
    commit(&mut slave, 9);
    until("the master is told", || committed(&mut master) == Some(9));
    let waits = thread::spawn(move || slave.pull_all(TOPIC, 0, 11));
    master.send(TOPIC, 0, b"message 10").expect("taken");
    let pulled = waits.join().expect("no panic").expect("held until it came");
    assert_eq!(pulled.last().map(|message| message.body.as_slice()), Some(&b"message 10"[..]));
}

#[test]
fn a_master_that_stood_still_takes_its_place_again() {
    let (mut group, mut names) = pair();
    let (at_master, at_slave) =
        (format!("127.0.0.1:{}", group.master.port), format!("127.0.0.1:{}", group.slave.port));
    // It says nothing, and no connection ends: name servers wait for brokerNotActiveTimeoutMillis.
    group.master.process().signal("STOP");
    until("the route has the slave in its master's place", || {
        route(&mut names) == Some((at_slave.clone(), READ_ONLY))
    });
    commit(&mut connect(group.slave.port), 8);
    group.master.process().signal("CONT");
    until("the route has the master again", || {
        route(&mut names) == Some((at_master.clone(), READ_WRITE))
    });
    let mut master = connect(group.master.port);
    until("the master is told", || committed(&mut master) == Some(8));
}
