//! Light queues, and inner batches, as clients meet them.

use hotfire_storage::documents::{LIGHT_OFFSETS, OFFSETS};
use hotfire_storage::record::{Record, SysFlag};

use super::*;
use crate::domain::Positions;

const LIGHT: &str = "%LMQ%a";

fn light_config() -> BrokerConfig {
    BrokerConfig { light_queues: true, ..config() }
}

fn named(topic: &str, body: &'static [u8], names: &str) -> BrokerRequest {
    let BrokerRequest::Send(mut request) = send(topic, body) else { unreachable!() };
    request.properties = format!("INNER_MULTI_DISPATCH\u{1}{names}\u{2}").into();
    BrokerRequest::Send(request)
}

fn of(topic: &str) -> QueueRef {
    QueueRef { topic: topic.into(), queue: 0 }
}

fn committed(group: &str, topic: &str) -> BrokerRequest {
    BrokerRequest::QueryOffset { group: group.into(), of: of(topic), zero_if_absent: Some(false) }
}

fn bodies(rig: &Rig, pulled: &Pulled) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    for span in &pulled.spans {
        let mut rest = &rig.broker.lease(*span)[..];
        while let Some(len) = rest.first_chunk().map(|len| u32::from_be_bytes(*len) as usize) {
            bodies.push(Record::parse(&rest[..len]).expect("a record").body().to_vec());
            rest = &rest[len..];
        }
    }
    bodies
}

#[test]
fn a_light_queue_is_pulled_as_a_topic_of_one_queue_and_its_pulls_wake() {
    let mut rig = Rig::open(PlainDisk::default(), light_config());
    let held = rig.ask(1, pull(LIGHT, 0, Some(15_000)));
    assert_eq!(rig.run(1), []);
    let sent = rig.ask(2, named("t", b"one", "%LMQ%a,%LMQ%b"));
    let answers = rig.run(2);
    let answered: Vec<i32> = answers.iter().map(|(opaque, _)| *opaque).collect();
    assert_eq!(answered, [sent, held]);
    rig.one(3, named("u", b"two", LIGHT));
    let pulled = rig.pulled(4, LIGHT, 0);
    assert_eq!(bodies(&rig, &pulled), [b"one", b"two"]);
    assert_eq!((pulled.next.get(), pulled.max.get()), (2, 2));
    let topics = rig.broker.registration().topics;
    assert!(topics.iter().all(|topic| !topic.topic.starts_with("%LMQ%")));
    let BrokerRequest::Pull(mut second) = pull(LIGHT, 0, None) else { unreachable!() };
    second.from.queue = 1;
    let refused = rig.one(5, BrokerRequest::Pull(second));
    assert!(matches!(refused, BrokerResponse::Refused { code: Code::InvalidParameter, .. }));
}

#[test]
fn names_and_properties_that_are_not_for_a_client_to_say_are_refused() {
    let mut rig = Rig::open(PlainDisk::default(), light_config());
    let refused = |response| match response {
        BrokerResponse::Refused { code, .. } => code,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(rig.one(1, named("t", b"x", "plain"))), Code::MessageIllegal);
    let mut changed = |change: &dyn Fn(&mut Send)| {
        let BrokerRequest::Send(mut request) = send("t", b"x") else { unreachable!() };
        change(&mut request);
        refused(rig.one(1, BrokerRequest::Send(request)))
    };
    assert_eq!(changed(&|send| send.sys_flag = 0xC0), Code::MessageIllegal);
    assert_eq!(changed(&|s| s.properties = "INNER_NUM\u{1}9\u{2}".into()), Code::MessageIllegal);
    let mut plain = Rig::new();
    assert_eq!(refused(plain.one(1, pull(LIGHT, 0, None))), Code::TopicNotExist);
}

#[test]
fn offsets_of_light_queues_are_kept_apart_and_found_again() {
    let mut rig = Rig::open(PlainDisk::default(), light_config());
    for _ in 0..5 {
        rig.one(1, named("t", b"x", LIGHT));
    }
    for (group, topic, offset) in [("g", "t", 4), ("g", LIGHT, 3), ("%LMQ%g", LIGHT, 2)] {
        let commit = BrokerRequest::UpdateOffset { group: group.into(), of: of(topic), offset };
        assert_eq!(rig.one(2, commit), BrokerResponse::Done);
    }
    rig.broker.stop(at(3)).unwrap();
    rig.run(3);
    let disk = rig.broker.into_store().into_disk();
    assert!(disk.file(LIGHT_OFFSETS).is_some() && disk.file(OFFSETS).is_none());
    let mut rig = Rig::open(disk.reopened(), light_config());
    assert_eq!(rig.one(4, committed("g", "t")), BrokerResponse::Offset(4));
    assert_eq!(rig.one(4, committed("g", LIGHT)), BrokerResponse::Offset(3));
    assert_eq!(rig.one(4, committed("%LMQ%g", LIGHT)), BrokerResponse::Offset(2));
    assert_eq!(rig.pulled(4, LIGHT, 2).max.get(), 5);
    // Whoever turns light queues off has the offsets of before; and so has who turns them on.
    let mut rig = Rig::open(disk.reopened(), config());
    assert_eq!(rig.one(4, committed("g", "t")), BrokerResponse::Offset(4));
    rig.broker.stop(at(5)).unwrap();
    let mut disk = rig.broker.into_store().into_disk();
    let found = (disk.file(OFFSETS).is_some(), disk.take_file(LIGHT_OFFSETS));
    assert_eq!(found, (true, true), "nothing is thrown away");
    let mut rig = Rig::open(disk.reopened(), light_config());
    assert_eq!(rig.one(6, committed("g", LIGHT)), BrokerResponse::Offset(3));
    assert_eq!(rig.one(6, committed("%LMQ%g", LIGHT)), BrokerResponse::Offset(2));
}

/// The body of a batch: one message for each text.
fn batch_of(bodies: &[&str]) -> Bytes {
    let mut all = Vec::new();
    for body in bodies {
        let len = i32::try_from(body.len()).unwrap();
        all.extend_from_slice(&(22 + len).to_be_bytes());
        all.extend_from_slice(&[0; 12]);
        all.extend_from_slice(&len.to_be_bytes());
        all.extend_from_slice(body.as_bytes());
        all.extend_from_slice(&[0; 2]);
    }
    all.into()
}

#[test]
fn a_batch_to_a_topic_of_inner_batches_is_one_record_with_many_offsets() {
    let mut rig = Rig::new();
    rig.one(1, create("t", Some(BATCHES)));
    let mut batch = |properties: &str, bodies: &[&str]| {
        let BrokerRequest::Send(mut request) = send("t", b"") else { unreachable!() };
        (request.batch, request.body) = (true, batch_of(bodies));
        request.properties = properties.to_owned().into();
        match rig.one(2, BrokerRequest::Send(request)) {
            BrokerResponse::Sent(sent) => *sent,
            other => panic!("{other:?}"),
        }
    };
    let first = batch("UNIQ_KEY\u{1}U", &["a", "b", "c"]);
    assert_eq!((first.inner_batch, first.queue_offset.get()), (true, 0));
    assert!(matches!(first.at, Positions::One(_)) && first.transaction_id == "U");
    let second = batch("UNIQ_KEY\u{1}V", &["d", "e"]);
    assert_eq!((second.inner_batch, second.queue_offset.get()), (true, 3));
    // Without a key of its own a batch is what it is elsewhere.
    let third = batch("", &["f", "g"]);
    assert_eq!((third.inner_batch, third.queue_offset.get()), (false, 5));
    let Positions::One(at) = second.at else { panic!("one record") };
    let record = rig.broker.store.record(at).expect("a record");
    assert!(record.sys_flag().has(SysFlag::INNER_BATCH | SysFlag::NEED_UNWRAP));
    assert_eq!(record.body(), batch_of(&["d", "e"]));
    assert_eq!(record.property("INNER_NUM"), Some(&b"2"[..]));
    assert_eq!(record.property("INNER_BASE"), Some(&b"3"[..]));
    // Whoever asks for a message within a batch gets all of it, and goes on behind it.
    let mut next = |from, most| {
        let BrokerRequest::Pull(mut request) = pull("t", from, None) else { unreachable!() };
        request.max_messages = most;
        match rig.one(3, BrokerRequest::Pull(request)) {
            BrokerResponse::Pulled(pulled) => (pulled.spans.len(), pulled.next.get()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!([next(1, 1), next(4, 2), next(0, 4), next(0, 5)], [(1, 3), (1, 5), (1, 3), (1, 5)]);
    assert_eq!(next(0, 32).1, 7);
}
