//! What a group failed to consume: retries, and dead letters.

use hotfire_storage::documents::{Document, GROUPS, GroupConfig, GroupTable};
use hotfire_storage::position::Physical;
use hotfire_storage::record::properties::SCHEDULE_TOPIC;
use hotfire_storage::record::{Record, offset_message_id};

use super::*;
use crate::domain::{MessageQueue, Positions, SendBack};
use crate::ha::SlavePolicy;

const RETRIES: &str = "%RETRY%g";
const DEAD: &str = "%DLQ%g";

fn back_of(at: Physical) -> SendBack {
    SendBack {
        group: "g".into(),
        at,
        delay_level: 0,
        origin_id: None,
        max_reconsume_times: None,
        unit_mode: false,
    }
}

fn send_back(rig: &mut Rig, ms: u64, back: SendBack) -> BrokerResponse {
    rig.one(ms, BrokerRequest::SendBack(Box::new(back)))
}

fn refusal(response: BrokerResponse) -> Code {
    match response {
        BrokerResponse::Refused { code, .. } => code,
        other => panic!("{other:?}"),
    }
}

fn position(sent: &Sent) -> Physical {
    match &sent.at {
        Positions::One(at) => *at,
        Positions::Many(all) => all[0],
    }
}

/// A message that says more of itself than others do.
fn task() -> BrokerRequest {
    let BrokerRequest::Send(send) = send("t", b"a task") else { unreachable!() };
    let properties = "TAGS\u{1}x\u{2}UNIQ_KEY\u{1}id\u{2}INNER_MULTI_DISPATCH\u{1}%LMQ%l\u{2}";
    let (properties, born) = (properties.into(), Wall::from_millis(5));
    BrokerRequest::Send(Box::new(Send { properties, flag: 7, born, ..*send }))
}

/// With a group as an operator configured it.
fn with_group(group: GroupConfig, config: BrokerConfig) -> Rig {
    let subscription_group_table = BTreeMap::from([("g".into(), group)]);
    let table = GroupTable { subscription_group_table, ..GroupTable::default() };
    let mut disk = PlainDisk::default();
    disk.put_file(GROUPS, table.to_json());
    Rig::open(disk, config)
}

/// How many messages the first queue of a topic has.
fn count(rig: &mut Rig, ms: u64, topic: &str) -> u64 {
    let of = QueueRef { topic: topic.into(), queue: 0 };
    match rig.one(ms, BrokerRequest::MaxOffset(of)) {
        BrokerResponse::Offset(max) => max.cast_unsigned(),
        other => panic!("{other:?}"),
    }
}

/// Where the last message of a topic's first queue lies: it is the task, with these properties.
fn last(rig: &mut Rig, ms: u64, topic: &str, times: i32, wanted: &[(&str, &str)]) -> Physical {
    let newest = count(rig, ms, topic).checked_sub(1).expect("there is one");
    let spans = rig.pulled(ms, topic, newest.cast_signed()).spans;
    let bytes = rig.broker.lease(spans[0]);
    let record = Record::parse(&bytes).expect("a record");
    assert_eq!((record.body(), record.flag()), (&b"a task"[..], 7));
    assert_eq!((record.born().as_millis(), record.reconsume_times()), (5, times));
    assert_eq!(record.born_host(), caller(1).peer);
    for (key, value) in wanted {
        assert_eq!(record.property(key), Some(value.as_bytes()), "{key}");
    }
    assert_eq!(record.property("INNER_MULTI_DISPATCH"), None, "there it was the first time");
    record.physical()
}

#[test]
fn what_failed_comes_again_later_each_time_and_is_kept_aside_at_last() {
    let group = GroupConfig { retry_max_times: 2, ..GroupConfig::new("g") };
    let mut rig = with_group(group, config());
    let BrokerResponse::Sent(sent) = rig.one(0, task()) else { panic!() };
    let mut at = position(&sent);
    let ids = ["id".to_owned(), offset_message_id(config().store_host, at).to_string()];
    let origin = ids[1].clone();
    let same = [
        ("TAGS", "x"),
        ("UNIQ_KEY", "id"),
        ("RETRY_TOPIC", "t"),
        ("ORIGIN_MESSAGE_ID", &*origin),
        ("WAIT", "false"),
        ("CLUSTER", "c"),
    ];
    // Levels 3 and 4.
    let mut now = 0;
    for (times, delay) in [(1_i32, 10_000), (2, 30_000)] {
        let id = &*ids[usize::from(times > 1)];
        let back = SendBack { origin_id: Some(id.into()), ..back_of(at) };
        assert_eq!(send_back(&mut rig, now, back), BrokerResponse::Done);
        rig.run(now + delay - 1);
        assert_eq!(count(&mut rig, now + delay - 1, RETRIES), u64::from(times.cast_unsigned()) - 1);
        now += delay;
        rig.run(now);
        at = last(&mut rig, now, RETRIES, times, &same);
    }
    assert_eq!(send_back(&mut rig, now, back_of(at)), BrokerResponse::Done);
    last(&mut rig, now, DEAD, 3, &[&same[..], &[("DELAY", "0")]].concat());
    assert_eq!(count(&mut rig, now + 10_000_000, RETRIES), 2);
}

#[test]
fn a_consumer_may_say_how_long_and_how_often() {
    let mut rig = Rig::new();
    let at = position(&rig.sent(0, "t", b"x"));
    let one = SendBack { delay_level: 1, ..back_of(at) };
    assert_eq!(send_back(&mut rig, 0, one), BrokerResponse::Done);
    rig.run(1_000);
    assert_eq!(count(&mut rig, 1_000, RETRIES), 1, "a second");
    let most = SendBack { delay_level: 99, ..back_of(at) };
    assert_eq!(send_back(&mut rig, 1_000, most), BrokerResponse::Done);
    rig.run(7_201_000);
    assert_eq!(count(&mut rig, 7_201_000, RETRIES), 2, "two hours, the longest");
    let never = SendBack { delay_level: -1, ..back_of(at) };
    let enough = SendBack { max_reconsume_times: Some(0), ..back_of(at) };
    for (number, back) in [never, enough].into_iter().enumerate() {
        assert_eq!(send_back(&mut rig, 7_201_000, back), BrokerResponse::Done);
        assert_eq!(count(&mut rig, 7_201_000, DEAD), number as u64 + 1);
    }
}

/// Else the consumer commits behind a message that a power failure takes.
#[test]
fn it_is_answered_once_the_message_is_durable() {
    let flush = FlushPolicy::Sync { timeout: Duration::from_secs(5) };
    let mut rig = Rig::open(PlainDisk::default(), BrokerConfig { flush, ..config() });
    let at = position(&rig.sent(0, "t", b"x"));
    assert_eq!(send_back(&mut rig, 0, back_of(at)), BrokerResponse::Done, "now the topic is there");
    rig.broker.store.disk_mut().hold_completions(true);
    let asked = rig.ask(1, BrokerRequest::SendBack(Box::new(back_of(at))));
    assert_eq!(rig.run(1), []);
    rig.broker.store.disk_mut().hold_completions(false);
    assert_eq!(rig.run(2), [(asked, BrokerResponse::Done)]);
}

#[test]
fn what_cannot_come_again_is_refused_and_says_why() {
    let mut rig = Rig::new();
    let at = position(&rig.sent(0, "t", b"x"));
    let mut case = |back| refusal(send_back(&mut rig, 1, back));
    assert_eq!(case(back_of(Physical::new(at.get() + 1))), Code::SystemError);
    assert_eq!(case(back_of(Physical::new(u64::MAX))), Code::SystemError);
    let other = SendBack { origin_id: Some("another's".into()), ..back_of(at) };
    assert_eq!(case(other), Code::SystemError);
    assert_eq!(case(SendBack { group: "../g".into(), ..back_of(at) }), Code::InvalidParameter);
    // What waits is nobody's to consume.
    let BrokerRequest::Send(send) = send("t", b"later") else { unreachable!() };
    let delayed = Send { properties: "DELAY\u{1}3\u{2}".into(), ..*send };
    let BrokerResponse::Sent(waits) = rig.one(2, BrokerRequest::Send(Box::new(delayed))) else {
        panic!()
    };
    assert_eq!(refusal(send_back(&mut rig, 3, back_of(position(&waits)))), Code::SystemError);
    let mut draining = Rig::open(PlainDisk::default(), BrokerConfig { permission: 4, ..config() });
    let at = position(&draining.sent(0, "t", b"x"));
    assert_eq!(refusal(send_back(&mut draining, 1, back_of(at))), Code::NoPermission);
    let strict = BrokerConfig { auto_create_group: false, ..config() };
    let mut strict = Rig::open(PlainDisk::default(), strict);
    let at = position(&strict.sent(0, "t", b"x"));
    let unknown = refusal(send_back(&mut strict, 1, back_of(at)));
    assert_eq!(unknown, Code::SubscriptionGroupNotExist);
    let role = Role::Slave { policy: SlavePolicy::default(), master: None };
    let identity = BrokerIdentity { id: BrokerId(1), ..config().identity };
    let mut slave = Rig::open(PlainDisk::default(), BrokerConfig { identity, role, ..config() });
    let refused = refusal(send_back(&mut slave, 1, back_of(Physical::ZERO)));
    assert_eq!(refused, Code::ServiceNotAvailable);
}

#[test]
fn a_group_without_retry_queues_wants_nothing_again() {
    let mut rig =
        with_group(GroupConfig { retry_queue_nums: 0, ..GroupConfig::new("g") }, config());
    let at = position(&rig.sent(0, "t", b"x"));
    let end = rig.broker.store().written();
    assert_eq!(send_back(&mut rig, 1, back_of(at)), BrokerResponse::Done);
    assert_eq!(rig.broker.store().written(), end);
}

#[test]
fn retries_are_spread_over_as_many_queues_as_the_group_has() {
    let group = GroupConfig { retry_queue_nums: 3, ..GroupConfig::new("g") };
    let mut rig = with_group(group, config());
    let at = position(&rig.sent(0, "t", b"x"));
    for _ in 0..60 {
        let back = SendBack { delay_level: 1, ..back_of(at) };
        assert_eq!(send_back(&mut rig, 0, back), BrokerResponse::Done);
    }
    // A small file fills, and room for the next is made meanwhile.
    (10..30).for_each(|tenth| drop(rig.run(tenth * 100)));
    let found = (0..4).map(|queue| {
        let of = QueueRef { topic: RETRIES.into(), queue };
        match rig.one(3_000, BrokerRequest::MaxOffset(of)) {
            BrokerResponse::Offset(max) => max,
            other => panic!("{other:?}"),
        }
    });
    let found: Vec<i64> = found.collect();
    assert!(found[..3].iter().all(|count| *count > 0), "{found:?}");
    assert_eq!((found.iter().sum::<i64>(), found[3]), (60, 0));
}

/// Java's consumers do so when a message cannot be sent back.
#[test]
fn a_send_to_a_retry_topic_that_comes_too_often_is_a_dead_letter() {
    let group = GroupConfig { retry_max_times: 2, ..GroupConfig::new("g") };
    let mut rig = with_group(group, config());
    let sends = |rig: &mut Rig, times, most| {
        let BrokerRequest::Send(send) = send(RETRIES, b"x") else { unreachable!() };
        let properties = "DELAY\u{1}5\u{2}K\u{1}v\u{2}".into();
        let (reconsume_times, max_reconsume_times) = (times, most);
        let send = Send { properties, reconsume_times, max_reconsume_times, ..*send };
        let response = rig.one(0, BrokerRequest::Send(Box::new(send)));
        assert!(matches!(response, BrokerResponse::Sent(_)), "{response:?}");
        (count(rig, 0, SCHEDULE_TOPIC), count(rig, 0, DEAD))
    };
    let waits = |rig: &mut Rig| {
        let of = QueueRef { topic: SCHEDULE_TOPIC.into(), queue: 4 };
        rig.one(0, BrokerRequest::MaxOffset(of))
    };
    assert_eq!(sends(&mut rig, 2, None), (0, 0));
    assert_eq!(waits(&mut rig), BrokerResponse::Offset(1));
    assert_eq!(sends(&mut rig, 3, None), (0, 1));
    assert_eq!(sends(&mut rig, 3, Some(3)), (0, 1));
    assert_eq!(sends(&mut rig, 1, Some(0)), (0, 2));
    assert_eq!(waits(&mut rig), BrokerResponse::Offset(2));
    let spans = rig.pulled(1, DEAD, 0).spans;
    let bytes = rig.broker.lease(spans[0]);
    let record = Record::parse(&bytes).expect("a record");
    assert_eq!(
        (record.property("DELAY"), record.property("K")),
        (Some(&b"-1"[..]), Some(&b"v"[..]))
    );
    // While the group consumes in order nothing comes again behind what followed it.
    let queue = MessageQueue { topic: "t".into(), broker_name: "b".into(), queue: 0 };
    let (group, client_id) = ("g".into(), "c".into());
    rig.one(2, BrokerRequest::Lock { group, client_id, queues: vec![queue] });
    assert_eq!(sends(&mut rig, 0, None), (0, 3));
}

#[test]
fn one_message_of_an_inner_batch_comes_again_alone() {
    let mut rig = Rig::new();
    rig.one(0, create("t", Some(BATCHES)));
    let mut body = Vec::new();
    for id in ["a", "b"] {
        let properties = format!("UNIQ_KEY\u{1}{id}\u{2}TAGS\u{1}{id}\u{2}");
        let len = 22 + 6 + properties.len();
        body.extend_from_slice(&i32::try_from(len).unwrap().to_be_bytes());
        body.extend_from_slice(&[0; 8]);
        body.extend_from_slice(&7_i32.to_be_bytes());
        body.extend_from_slice(&6_i32.to_be_bytes());
        body.extend_from_slice(b"a task");
        body.extend_from_slice(&i16::try_from(properties.len()).unwrap().to_be_bytes());
        body.extend_from_slice(properties.as_bytes());
    }
    let to = QueueRef { topic: "t".into(), queue: 0 };
    let batch = Send {
        batch: true,
        born: Wall::from_millis(5),
        properties: "UNIQ_KEY\u{1}a,b\u{2}".into(),
        ..Send::new("p", to, body)
    };
    let BrokerResponse::Sent(sent) = rig.one(0, BrokerRequest::Send(Box::new(batch))) else {
        panic!()
    };
    let at = position(&sent);
    assert_eq!(refusal(send_back(&mut rig, 0, back_of(at))), Code::SystemError);
    let back = SendBack { origin_id: Some("b".into()), delay_level: 1, ..back_of(at) };
    assert_eq!(send_back(&mut rig, 0, back), BrokerResponse::Done);
    rig.run(1_000);
    assert_eq!(count(&mut rig, 1_000, RETRIES), 1);
    let wanted = [("UNIQ_KEY", "b"), ("TAGS", "b"), ("RETRY_TOPIC", "t")];
    last(&mut rig, 1_000, RETRIES, 1, &wanted);
}
