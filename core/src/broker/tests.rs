mod acting;
mod delays;
mod delivery;
mod groups;
mod ha;
mod pool;
mod query;
mod queues;
mod resets;
mod retention;
mod retry;
mod sends;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use hotfire_storage::Settings;
use hotfire_storage::plain::PlainDisk;
use hotfire_storage::position::QueueOffset;
use hotfire_storage::time::Wall;

use super::*;
use crate::domain::{
    BrokerId, BrokerIdentity, BrokerResponse, Caller, ConnId, CreateTopic, Language, Pull,
    PullStatus, Pulled, QueueRef, Send, SendStatus, Sent,
};

fn settings() -> Settings {
    Settings {
        commit_log_file: 4096,
        consume_queue_file: 20 * 20,
        index_slots: 10,
        index_items: 20,
        ..Settings::default()
    }
}

fn at(ms: u64) -> Now {
    Now {
        mono: Mono::from_micros(ms * 1_000),
        wall: Wall::from_millis(1_700_000_000_000 + i64::try_from(ms).unwrap()),
    }
}

fn config() -> BrokerConfig {
    let identity = BrokerIdentity {
        cluster: "c".into(),
        broker_name: "b".into(),
        addr: "127.0.0.1:10911".into(),
        id: BrokerId::MASTER,
    };
    let host = SocketAddr::from((Ipv4Addr::LOCALHOST, 10_911));
    BrokerConfig::new(identity, host, "127.0.0.1:10912".into())
}

fn send(topic: &str, body: &'static [u8]) -> BrokerRequest {
    let to = QueueRef { topic: topic.into(), queue: 0 };
    BrokerRequest::Send(Box::new(Send::new("p", to, body)))
}

fn pull(topic: &str, offset: i64, hold_ms: Option<u64>) -> BrokerRequest {
    BrokerRequest::Pull(Box::new(Pull {
        group: "g".into(),
        from: QueueRef { topic: topic.into(), queue: 0 },
        offset,
        max_messages: 32,
        max_bytes: None,
        commit: None,
        hold_ms,
        subscription: Some("*".into()),
        sub_version: 0,
        expression_type: None,
    }))
}

/// Topics of inner batches.
const BATCHES: &str = "+queue.type=BatchCQ";

fn create(topic: &str, attributes: Option<&str>) -> BrokerRequest {
    let attributes = attributes.map(Text::from);
    BrokerRequest::CreateTopic(Box::new(CreateTopic { attributes, ..CreateTopic::new(topic, 1) }))
}

/// A slave hears from a name server where its master answers.
fn learns_master(slave: &mut Broker<PlainDisk>, ms: u64) {
    let response = Some(NameResponse::Registered {
        master_addr: Some("m:1".into()),
        ha_addr: None,
        order_topics: BTreeMap::new(),
    });
    let version = slave.registration().data_version;
    slave.handle(at(ms), Input::Registered { version, response });
}

fn caller(opaque: i32) -> Caller {
    Caller {
        conn: ConnId(1),
        peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 5_000)),
        opaque,
        oneway: false,
        language: Language::JAVA,
        version: 493,
        json: true,
    }
}

/// A broker on a disk in memory, and what it answered.
struct Rig {
    broker: Broker<PlainDisk>,
    opaque: i32,
}

impl Rig {
    fn open(disk: PlainDisk, config: BrokerConfig) -> Self {
        let settings = Settings { light_queues: config.light_queues, ..settings() };
        let (broker, _) = Broker::open(disk, settings, config, at(0)).unwrap();
        let mut rig = Self { broker, opaque: 0 };
        rig.run(0);
        rig
    }

    fn new() -> Self {
        Self::open(PlainDisk::default(), config())
    }

    fn ask(&mut self, ms: u64, request: BrokerRequest) -> i32 {
        self.tell(ms, request, false)
    }

    fn tell(&mut self, ms: u64, request: BrokerRequest, oneway: bool) -> i32 {
        self.opaque += 1;
        let caller = Caller { oneway, ..caller(self.opaque) };
        self.broker.handle(at(ms), Input::Request { caller, request });
        self.opaque
    }

    /// Polls until nothing is left; the answers, by opaque.
    fn run(&mut self, ms: u64) -> Vec<(i32, BrokerResponse)> {
        let mut answers = Vec::new();
        while let Some(effect) = self.broker.poll(at(ms)) {
            self.broker.verify();
            if let Effect::Answer { caller, response } = effect {
                answers.push((caller.opaque, response));
            }
        }
        answers
    }

    fn one(&mut self, ms: u64, request: BrokerRequest) -> BrokerResponse {
        let opaque = self.ask(ms, request);
        let mut answers = self.run(ms);
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert_eq!(answers[0].0, opaque);
        answers.remove(0).1
    }

    fn sent(&mut self, ms: u64, topic: &str, body: &'static [u8]) -> Sent {
        match self.one(ms, send(topic, body)) {
            BrokerResponse::Sent(sent) => *sent,
            other => panic!("{other:?}"),
        }
    }

    fn pulled(&mut self, ms: u64, topic: &str, offset: i64) -> Pulled {
        match self.one(ms, pull(topic, offset, None)) {
            BrokerResponse::Pulled(pulled) => *pulled,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_message_sent_to_an_unknown_topic_creates_it_and_can_be_pulled() {
    let mut rig = Rig::new();
    let sent = rig.sent(1, "t", b"hello");
    assert_eq!((sent.status, sent.queue_offset), (SendStatus::Ok, QueueOffset::ZERO));
    assert_eq!(rig.sent(2, "t", b"world").queue_offset, QueueOffset::new(1));
    let pulled = rig.pulled(3, "t", 0);
    assert_eq!((pulled.status, pulled.next), (PullStatus::Found, QueueOffset::new(2)));
    let bytes: Vec<u8> = pulled.spans.iter().flat_map(|span| rig.broker.lease(*span)).collect();
    assert!(bytes.windows(5).any(|w| w == b"hello") && bytes.windows(5).any(|w| w == b"world"));
    let topics = rig.broker.registration().topics;
    let topic = topics.iter().find(|topic| topic.topic == "t").unwrap();
    assert_eq!((topic.write_queues, topic.perm), (4, 6));
}

#[test]
fn offsets_outside_a_queue_are_corrected_as_the_spec_says() {
    let mut rig = Rig::new();
    rig.sent(1, "t", b"x");
    let mut case = |offset, status, code, next| {
        let pulled = rig.pulled(2, "t", offset);
        assert_eq!((pulled.status, pulled.code, pulled.next.get()), (status, code, next));
    };
    case(-1, PullStatus::OffsetTooSmall, Code::PullOffsetMoved, 0);
    case(1, PullStatus::OffsetOverflowOne, Code::PullNotFound, 1);
    case(9, PullStatus::OffsetOverflowBadly, Code::PullOffsetMoved, 1);
}

#[test]
fn a_held_pull_is_answered_by_the_message_it_waits_for_or_by_its_deadline() {
    let mut rig = Rig::new();
    rig.sent(0, "t", b"first");
    let held = rig.ask(1, pull("t", 1, Some(15_000)));
    assert_eq!(rig.run(1), []);
    let sent = rig.ask(2, send("t", b"second"));
    let answered: Vec<i32> = rig.run(2).into_iter().map(|(opaque, _)| opaque).collect();
    assert_eq!(answered, [sent, held]);
    rig.ask(3, pull("t", 2, Some(15_000)));
    assert_eq!(rig.run(15_002), []);
    let answers = rig.run(15_003);
    let BrokerResponse::Pulled(pulled) = &answers[0].1 else { panic!() };
    assert_eq!(pulled.code, Code::PullNotFound);
}

#[test]
fn a_bad_topic_queue_or_property_is_refused_with_a_reason() {
    let mut rig = Rig::new();
    let mut code = |change: &dyn Fn(&mut Send)| {
        let BrokerRequest::Send(mut request) = send("t", b"x") else { unreachable!() };
        change(&mut request);
        match rig.one(1, BrokerRequest::Send(request)) {
            BrokerResponse::Refused { code, .. } => code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code(&|s| s.to.topic = "../etc".into()), Code::InvalidParameter);
    assert_eq!(code(&|s| s.to.topic = "SCHEDULE_TOPIC_XXXX".into()), Code::NoPermission);
    assert_eq!(code(&|s| s.default_topic = "nothing".into()), Code::TopicNotExist);
    assert_eq!(code(&|s| s.to.queue = 99), Code::InvalidParameter);
    assert_eq!(code(&|s| s.properties = "TRAN_MSG\u{1}true\u{2}".into()), Code::MessageIllegal);
    assert_eq!(code(&|s| s.body = vec![0; (4 << 20) + 1].into()), Code::MessageIllegal);
    assert_eq!(code(&|s| s.batch = true), Code::MessageIllegal);
}

#[test]
fn topics_messages_and_offsets_survive_a_stop_and_a_start() {
    let mut rig = Rig::new();
    for _ in 0..100 {
        rig.sent(1, "t", b"0123456789");
    }
    let of = QueueRef { topic: "t".into(), queue: 0 };
    let commit = BrokerRequest::UpdateOffset { group: "g".into(), of: of.clone(), offset: 42 };
    assert_eq!(rig.one(2, commit), BrokerResponse::Done);
    rig.broker.stop(at(3)).unwrap();
    rig.run(3);
    let disk = rig.broker.into_store().into_disk();
    let mut rig = Rig::open(disk, config());
    assert_eq!(rig.pulled(4, "t", 0).max, QueueOffset::new(100));
    let query = BrokerRequest::QueryOffset { group: "g".into(), of, zero_if_absent: None };
    assert_eq!(rig.one(5, query), BrokerResponse::Offset(42));
    assert_eq!(rig.sent(6, "t", b"next").queue_offset, QueueOffset::new(100));
}

#[test]
fn a_send_that_creates_a_topic_is_answered_once_the_name_servers_route_to_it() {
    let mut rig = Rig::open(PlainDisk::default(), BrokerConfig { name_servers: 2, ..config() });
    rig.ask(1, send("t", b"x"));
    assert_eq!(rig.run(1), []);
    let version = rig.broker.registration().data_version;
    let mut answer = |ms| {
        rig.broker.handle(at(ms), Input::Registered { version, response: None });
        rig.run(ms).len()
    };
    assert_eq!((answer(2), answer(3)), (0, 1));
    rig.ask(10, send("u", b"x"));
    assert_eq!(rig.run(10), []);
    assert_eq!(rig.run(1_009), [], "a silent name server is waited for");
    assert_eq!(rig.run(1_010).len(), 1, "but not for ever");
}

/// Else a producer follows the route, and the topic comes to be again as whatever its first message
/// makes it.
#[test]
fn a_topic_is_registered_once_a_power_loss_cannot_take_it_away() {
    let mut rig = Rig::open(PlainDisk::default(), BrokerConfig { name_servers: 1, ..config() });
    rig.run(1);
    let before = rig.broker.registration();
    rig.broker.store.disk_mut().hold_completions(true);
    rig.ask(2, send("t", b"x"));
    rig.run(2);
    assert_eq!(rig.broker.registration(), before);
    rig.broker.store.disk_mut().hold_completions(false);
    rig.run(3);
    let after = rig.broker.registration();
    assert!(after.topics.iter().any(|topic| topic.topic == "t"));
    assert_eq!(after.data_version.counter, before.data_version.counter + 1);
}

/// A slave tells name servers of what its master has: a topic that the master loses would be routed
/// to, to be read, for ever.
#[test]
fn a_slave_is_told_of_a_topic_once_a_power_loss_cannot_take_it_away() {
    let mut rig = Rig::new();
    rig.broker.store.disk_mut().hold_completions(true);
    rig.ask(2, send("t", b"x"));
    let asked = rig.ask(2, BrokerRequest::State(crate::domain::StateKind::Topics));
    let is_it = |(opaque, _): &(i32, BrokerResponse)| *opaque == asked;
    assert!(!rig.run(2).iter().any(is_it));
    rig.broker.store.disk_mut().hold_completions(false);
    let answers = rig.run(3);
    let table = answers.into_iter().find(is_it).map(|(_, table)| table);
    let Some(BrokerResponse::State { json, .. }) = table else { panic!("{table:?}") };
    assert!(String::from_utf8_lossy(&json).contains("\"t\": {"));
}

/// Its topic lacked a route; when the wait for one ends it is appended, and nobody is answered.
#[test]
fn a_one_way_send_that_had_to_wait_wakes_the_pull_that_waits_for_it() {
    let mut rig = Rig::open(PlainDisk::default(), BrokerConfig { name_servers: 1, ..config() });
    rig.tell(1, send("t", b"x"), true);
    assert_eq!(rig.run(1), []);
    let held = rig.ask(2, pull("t", 0, Some(15_000)));
    assert_eq!(rig.run(2), []);
    // Completions would bring the broker to look again.
    rig.broker.store.disk_mut().hold_completions(true);
    let answers = rig.run(1_001);
    assert_eq!(answers.iter().map(|(opaque, _)| *opaque).collect::<Vec<_>>(), [held]);
}

#[test]
fn under_sync_flush_nothing_is_acknowledged_or_seen_before_it_is_durable() {
    let flush = FlushPolicy::Sync { timeout: Duration::from_secs(5) };
    let mut rig = Rig::open(PlainDisk::default(), BrokerConfig { flush, ..config() });
    let sent = rig.sent(1, "t", b"x");
    assert!(rig.broker.flush.flushed().covers(match sent.at {
        crate::domain::Positions::One(at) => at.plus(1),
        crate::domain::Positions::Many(_) => unreachable!(),
    }));
    assert_eq!(rig.pulled(2, "t", 0).status, PullStatus::Found);
}

/// A topic whose file cannot be kept is tried again after a while, not in a loop.
#[test]
fn a_state_file_that_cannot_be_saved_is_tried_again_a_second_later() {
    let mut rig = Rig::new();
    rig.broker.timers.save = Mono::from_micros(5_000_000);
    rig.ask(1, send("t", b"x"));
    assert_eq!(rig.run(1), [], "nothing is saved before its time");
    assert_eq!(rig.broker.deadline(), Some(Mono::from_micros(3_001_000)), "the send's own");
    assert_eq!(rig.run(3_001).len(), 1, "the send gives up");
    assert_eq!(rig.broker.deadline(), Some(Mono::from_micros(5_000_000)));
    rig.run(5_000);
    assert!(!rig.broker.topics.version().wants_save());
}

#[test]
fn a_committed_offset_beyond_what_a_power_loss_left_is_taken_back() {
    let mut rig = Rig::new();
    rig.sent(1, "t", b"x");
    let of = QueueRef { topic: "t".into(), queue: 0 };
    let commit = BrokerRequest::UpdateOffset { group: "g".into(), of: of.clone(), offset: 7 };
    rig.one(2, commit);
    rig.broker.stop(at(3)).unwrap();
    let mut rig = Rig::open(rig.broker.into_store().into_disk(), config());
    let query = BrokerRequest::QueryOffset { group: "g".into(), of, zero_if_absent: None };
    assert_eq!(rig.one(5, query), BrokerResponse::Offset(1));
}

#[test]
fn the_kind_of_a_topics_queues_is_fixed_when_it_is_created() {
    let mut rig = Rig::new();
    let mut create = |attributes| rig.one(1, create("t", attributes));
    assert_eq!(create(None), BrokerResponse::Done);
    assert!(matches!(create(Some(BATCHES)), BrokerResponse::Refused { .. }));
}
