//! Delayed messages: not before their time, not lost, and not twice without a crash.

use hotfire_storage::record::Record;

use super::*;

/// A message for topic `t`, of the default levels: 1 s, 5 s, 10 s, and so on.
fn delayed(level: &str) -> Box<Send> {
    let BrokerRequest::Send(send) = send("t", b"later") else { unreachable!() };
    let properties = format!("KEYS\u{1}k\u{2}DELAY\u{1}{level}\u{2}UNIQ_KEY\u{1}id\u{2}");
    Box::new(Send { properties: properties.into(), ..*send })
}

fn wait(rig: &mut Rig, ms: u64, level: &str) -> Sent {
    match rig.one(ms, BrokerRequest::Send(delayed(level))) {
        BrokerResponse::Sent(sent) => *sent,
        other => panic!("{other:?}"),
    }
}

/// How many messages can be pulled from the topic.
fn delivered(rig: &mut Rig, ms: u64) -> u64 {
    rig.pulled(ms, "t", 0).max.get()
}

/// Another process, on what an orderly stop or a kill left.
fn again(rig: Rig) -> Rig {
    Rig::open(rig.broker.into_store().into_disk().reopened(), config())
}

#[test]
fn a_message_is_delivered_when_it_is_due_as_it_was_sent() {
    let mut rig = Rig::new();
    let sent = wait(&mut rig, 100, "2");
    assert_eq!((sent.queue, sent.transaction_id.as_str()), (0, "id"));
    let held = rig.ask(101, pull("t", 0, Some(15_000)));
    assert_eq!(rig.run(5_099), []);
    let answers = rig.run(5_100);
    let [(opaque, BrokerResponse::Pulled(pulled))] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((*opaque, pulled.max.get()), (held, 1));
    let bytes = rig.broker.lease(pulled.spans[0]);
    let record = Record::parse(&bytes).expect("a record");
    assert_eq!((record.topic(), record.queue_id(), record.body()), ("t", 0, &b"later"[..]));
    assert_eq!(record.store_time(), at(5_100).wall);
    // As Apache's delivers them: with what they waited by.
    let wanted = [("KEYS", "k"), ("DELAY", "2"), ("REAL_TOPIC", "t"), ("REAL_QID", "0")];
    for (key, value) in wanted {
        assert_eq!(record.property(key), Some(value.as_bytes()), "{key}");
    }
    assert_eq!(rig.run(60_000), [], "once");
    assert_eq!(delivered(&mut rig, 60_000), 1);
}

#[test]
fn levels_wait_for_themselves_and_there_is_a_highest() {
    let mut rig = Rig::new();
    for level in ["3", "1", "2", "0", "-1"] {
        wait(&mut rig, 0, level);
    }
    let mut seen = |ms| {
        rig.run(ms);
        delivered(&mut rig, ms)
    };
    assert_eq!([seen(999), seen(1_000), seen(5_000), seen(9_999), seen(10_000)], [2, 3, 4, 4, 5]);
    wait(&mut rig, 20_000, "99");
    let hours_2 = 20_000 + 7_200_000;
    rig.run(hours_2 - 1);
    assert_eq!(delivered(&mut rig, hours_2 - 1), 5);
    rig.run(hours_2);
    assert_eq!(delivered(&mut rig, hours_2), 6);
}

#[test]
fn what_is_no_level_is_refused() {
    let mut rig = Rig::new();
    let batch = Send { batch: true, ..*delayed("1") };
    for bad in [*delayed("soon"), *delayed(""), *delayed("99999999999"), batch] {
        match rig.one(1, BrokerRequest::Send(Box::new(bad))) {
            BrokerResponse::Refused { code, .. } => assert_eq!(code, Code::MessageIllegal),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn after_a_stop_nothing_is_delivered_twice_and_after_a_kill_nothing_is_lost() {
    let mut rig = Rig::new();
    wait(&mut rig, 0, "1");
    wait(&mut rig, 0, "2");
    rig.run(1_000);
    assert_eq!(delivered(&mut rig, 1_000), 1);
    rig.broker.stop(at(1_001)).unwrap();
    let mut rig = again(rig);
    rig.run(4_999);
    assert_eq!(delivered(&mut rig, 4_999), 1);
    // A kill: what was delivered since the last save is delivered again.
    rig.run(5_000);
    let mut rig = again(rig);
    rig.run(5_001);
    assert_eq!(delivered(&mut rig, 5_001), 3);
    rig.run(20_000);
    let mut rig = again(rig);
    rig.run(20_001);
    assert_eq!(delivered(&mut rig, 20_001), 3, "it was saved meanwhile");
}

/// Polls with clocks that do not agree.
fn run_at(rig: &mut Rig, mono: u64, wall: u64) -> u64 {
    let now = Now { mono: at(mono).mono, wall: at(wall).wall };
    while rig.broker.poll(now).is_some() {}
    delivered(rig, mono)
}

#[test]
fn a_clock_that_is_set_back_holds_no_message_for_longer_than_twice() {
    let mut rig = Rig::new();
    for _ in 0..3 {
        wait(&mut rig, 3_600_000, "2");
    }
    assert_eq!(run_at(&mut rig, 3_600_001, 1), 0);
    assert_eq!(run_at(&mut rig, 3_605_000, 5_000), 0, "and nothing comes early");
    assert_eq!(run_at(&mut rig, 3_605_001, 5_001), 3, "all of them, since all were there");
    wait(&mut rig, 3_605_001, "2");
}

#[test]
fn a_clock_that_is_set_forward_is_noticed_within_a_second() {
    let mut rig = Rig::new();
    wait(&mut rig, 0, "4");
    assert_eq!(run_at(&mut rig, 1, 1), 0);
    let look = rig.broker.delivery_deadline().expect("something waits");
    assert!(look <= at(1_001).mono);
    assert_eq!(run_at(&mut rig, 1_001, 3_600_000), 1);
}

#[test]
fn a_topic_that_is_gone_comes_back_for_what_was_acknowledged() {
    let mut rig = Rig::new();
    wait(&mut rig, 0, "1");
    rig.broker.stop(at(1)).unwrap();
    let mut disk = rig.broker.into_store().into_disk().reopened();
    for kept in ["", ".bak"] {
        disk.take_file(&format!("{}{kept}", hotfire_storage::documents::TOPICS));
    }
    let mut rig = Rig::open(disk, config());
    assert!(!rig.broker.topics.has("t"));
    rig.run(2_000);
    rig.run(2_100);
    assert_eq!(delivered(&mut rig, 2_100), 1);
}

/// Where it waits nobody looks at these names.
#[test]
fn a_message_whose_light_queue_cannot_be_is_in_its_own_queue_at_least() {
    let mut rig = Rig::open(PlainDisk::default(), BrokerConfig { light_queues: true, ..config() });
    let mut send = delayed("1");
    let light = format!("INNER_MULTI_DISPATCH\u{1}%LMQ%{}\u{2}", "x".repeat(300));
    send.properties = format!("{}{light}", send.properties).into();
    let BrokerResponse::Sent(_) = rig.one(0, BrokerRequest::Send(send)) else { panic!() };
    rig.run(1_000);
    assert_eq!(delivered(&mut rig, 1_000), 1);
}

#[test]
fn a_broker_at_rest_has_nothing_to_look_at() {
    let mut rig = Rig::new();
    wait(&mut rig, 0, "1");
    assert!(rig.broker.delivery_deadline().is_some());
    rig.run(1_000);
    assert_eq!(rig.broker.delivery_deadline(), None);
}
