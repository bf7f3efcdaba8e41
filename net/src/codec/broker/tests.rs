use std::time::Duration;

use hotfire_core::domain::{
    Boundary, BrokerId, CloneOffsets, ConnId, ConsumeFrom, ConsumeStats, ConsumeType, ConsumerData,
    CreateTopic, GroupConfig, GroupStats, HaInfo, HaLink, HaStatus, Heartbeat, KeyKind, Lag,
    MessageModel, MessageQueue, MinIdChange, OffsetsReset, Positions, Pull, PullStatus, Pulled,
    Queried, QueryMessage, QueueRef, ResetOffsets, ResetTo, RuntimeInfo, Send, SendBack,
    SendStatus, Sent, Subscription, Text, TopicDescription,
};
use hotfire_core::flush::FlushFigures;
use hotfire_storage::position::{Confirmed, Flushed, Physical, QueueOffset, Written};
use hotfire_storage::time::Wall;

use super::*;
use crate::codec;
use crate::frame::{FrameDecoder, FrameLimits};

fn read(outgoing: &Outgoing) -> (Header, Bytes) {
    let mut decoder = FrameDecoder::new(FrameLimits::default());
    decoder.read_into().extend_from_slice(&outgoing.to_vec());
    let frame = decoder.next_frame().expect("well formed").expect("whole");
    (Header::decode(&frame).expect("ours"), frame.body)
}

fn send(batch: bool) -> BrokerRequest {
    BrokerRequest::Send(Box::new(Send {
        group: "P".into(),
        to: queue(),
        default_topic: "TBW102".into(),
        default_queues: 4,
        sys_flag: 1,
        born: Wall::from_millis(1_700_000_000_000),
        flag: 5,
        properties: "k\u{1}v\u{2}TAGS\u{1}\"é\"\u{2}".into(),
        reconsume_times: 2,
        max_reconsume_times: Some(16),
        unit_mode: false,
        batch,
        body: Bytes::from_static(b"hello"),
    }))
}

fn queue() -> QueueRef {
    QueueRef { topic: "T".into(), queue: 3 }
}

fn pull() -> Pull {
    Pull {
        group: "G".into(),
        from: queue(),
        offset: -1,
        max_messages: 32,
        max_bytes: Some(1 << 20),
        commit: Some(7),
        hold_ms: Some(15_000),
        subscription: Some("TagA || TagB".into()),
        sub_version: 9,
        expression_type: Some("TAG".into()),
    }
}

fn heartbeat() -> BrokerRequest {
    let consumer = ConsumerData {
        group: "G".into(),
        consume_type: ConsumeType::Passively,
        model: MessageModel::Clustering,
        from: ConsumeFrom::LastOffset,
        subscriptions: vec![Subscription {
            topic: "T".into(),
            expression: "TagA".into(),
            tags: vec!["TagA".into()],
            codes: vec![2_598_919],
            version: 1_700_000_000_000,
            expression_type: "TAG".into(),
        }],
    };
    BrokerRequest::Heartbeat(Box::new(Heartbeat {
        client_id: "10.0.0.9@1#2".into(),
        producers: vec!["PG".into()],
        consumers: vec![consumer],
        fingerprint: 0,
        without_sub: false,
    }))
}

fn locked() -> Vec<MessageQueue> {
    vec![MessageQueue { topic: "T".into(), broker_name: "b".into(), queue: 0 }]
}

fn requests() -> Vec<BrokerRequest> {
    let at = Wall::from_millis(8);
    let bare = Pull { commit: None, hold_ms: None, subscription: None, ..pull() };
    vec![
        send(false),
        send(true),
        BrokerRequest::Pull(Box::new(pull())),
        BrokerRequest::Pull(Box::new(bare)),
        heartbeat(),
        BrokerRequest::ConsumerList { group: "G".into() },
        BrokerRequest::CreateTopic(Box::new(CreateTopic {
            topic: "T".into(),
            read_queues: 8,
            write_queues: 4,
            perm: 6,
            sys_flag: 0,
            order: true,
            attributes: Some("+queue.type=BatchCQ".into()),
        })),
        BrokerRequest::EarliestStoreTime(queue()),
        BrokerRequest::Lock { group: "G".into(), client_id: "c".into(), queues: locked() },
        BrokerRequest::Unlock { group: "G".into(), client_id: "c".into(), queues: locked() },
        BrokerRequest::MaxOffset(queue()),
        BrokerRequest::MinIdChanged(Box::new(MinIdChange {
            broker_name: "b".into(),
            id: BrokerId(1),
            addr: "10.0.0.2:10911".into(),
            offline: Some("10.0.0.1:10911".into()),
            ha_addr: None,
        })),
        BrokerRequest::MinOffset(queue()),
        BrokerRequest::QueryMessage(Box::new(QueryMessage {
            topic: "T".into(),
            key: "k 1".into(),
            kind: KeyKind::Tags,
            is_unique: true,
            max_messages: 32,
            begin: Wall::from_millis(0),
            end: Wall::from_millis(i64::MAX),
        })),
        BrokerRequest::ConfigureGroups(vec![GroupConfig::new("G")]),
        BrokerRequest::ConfigureGroups(vec![GroupConfig::new("G"), GroupConfig::new("H")]),
        BrokerRequest::DeleteGroup { group: "G".into(), clean_offset: true },
        BrokerRequest::GroupConfig { group: "G".into() },
        BrokerRequest::QueryOffset { group: "G".into(), of: queue(), zero_if_absent: Some(false) },
        BrokerRequest::HaInfo { told: None },
        BrokerRequest::HaInfo { told: Some("10.0.0.1:10912".into()) },
        BrokerRequest::HaStatus,
        BrokerRequest::RuntimeInfo,
        BrokerRequest::SearchOffset { of: queue(), at, boundary: Boundary::Upper },
        BrokerRequest::SendBack(Box::new(SendBack {
            group: "G".into(),
            at: Physical::new(4096),
            delay_level: -1,
            origin_id: Some("0A000001".into()),
            max_reconsume_times: Some(16),
            unit_mode: true,
        })),
        BrokerRequest::TopicConfig { topic: "T".into() },
        BrokerRequest::Unregister {
            client_id: "c".into(),
            producer_group: None,
            consumer_group: Some("G".into()),
        },
        BrokerRequest::Unsupported { code: 999 },
        BrokerRequest::UpdateOffset { group: "G".into(), of: queue(), offset: 12 },
        BrokerRequest::ViewMessage { at: Physical::new(1024) },
    ]
}

/// What operators ask about groups.
fn operations() -> Vec<BrokerRequest> {
    let at = Wall::from_millis(1_700_000_000_000);
    vec![
        BrokerRequest::AllConsumeStats { only_ordered: true },
        BrokerRequest::ConsumeStats { group: "G".into(), topics: vec!["T".into(), "U".into()] },
        BrokerRequest::CloneOffsets(Box::new(CloneOffsets {
            from: "G".into(),
            to: "H".into(),
            topic: Some("T".into()),
            offline: true,
        })),
        reset(Some(3), ResetTo::Offset(7)),
        reset(Some(3), ResetTo::End),
        reset(None, ResetTo::Time(at)),
    ]
}

#[test]
fn every_request_survives_the_wire() {
    for request in requests().into_iter().chain(operations()) {
        for json in [true, false] {
            let ask = Ask { opaque: 9, json, oneway: true };
            let (header, body) = read(&encode_request(ask, &request, &mut BytesMut::new()));
            assert_eq!((header.opaque, header.flag, header.json), (9, 2, json));
            assert_eq!(header.code, request_code(&request));
            assert_eq!(decode_request(&header, &body), request);
        }
    }
}

#[test]
fn every_required_field_is_asked_for_by_name() {
    for request in requests().into_iter().chain(operations()) {
        let (whole, body) = read(&encode_request(Ask::json(1), &request, &mut BytesMut::new()));
        for (gone, _) in whole.fields.iter() {
            let mut header = whole.clone();
            let kept = whole.fields.iter().filter(|(key, _)| *key != gone);
            header.fields = kept.collect();
            if let BrokerRequest::Malformed { why } = decode_request(&header, &body) {
                assert_eq!(why, format!("the custom field <{gone}> is null"));
            }
        }
    }
}

fn answered(code: i32, response: &BrokerResponse, json: bool) -> (Header, Bytes) {
    let (mut header, _) = read(&encode_request(
        Ask { opaque: 5, json, oneway: false },
        &BrokerRequest::Unsupported { code },
        &mut BytesMut::new(),
    ));
    header.version = 1;
    let peer = "10.0.0.9:5".parse().expect("an address");
    let caller = codec::caller(ConnId(1), peer, &header);
    let mut lease = |span: Span| Bytes::from(vec![b'x'; span.len as usize]);
    let store_host = "10.0.0.1:10911".parse().expect("an address");
    let mut with = Answering { store_host, lease: &mut lease };
    read(&encode_response(&caller, response, &mut with, &mut BytesMut::new()))
}

fn sent(status: SendStatus, at: Positions) -> BrokerResponse {
    BrokerResponse::Sent(Box::new(Sent {
        status,
        queue: 3,
        queue_offset: QueueOffset::new(42),
        // A batch stored as one record has an id of its own.
        inner_batch: status == SendStatus::FlushDiskTimeout,
        at,
        transaction_id: "U".into(),
    }))
}

fn runtime(sends_refused: Option<Text>) -> RuntimeInfo {
    RuntimeInfo {
        booted: Wall::from_millis(1_700_000_000_000),
        uptime: Duration::from_secs(93_784),
        start: Physical::new(1024),
        written: Written::upto(Physical::new(4096)),
        flushed: Flushed::upto(Physical::new(2048)),
        confirmed: Confirmed::upto(Physical::new(3072)),
        held_pulls: 7,
        waiting_sends: 3,
        flushes: FlushFigures {
            syncs: 9,
            micros_p50: 400,
            micros_p99: 800,
            micros_max: 1_200,
            shared_p50: 12,
            shared_max: 256,
        },
        sends_refused,
    }
}

fn ha_statuses() -> [HaStatus; 2] {
    let written = Written::upto(Physical::new(4096));
    let link = HaLink {
        peer: "10.0.0.2:5000".parse().expect("an address"),
        from: Physical::new(1024),
        acked: Physical::new(4000),
        lacks: 96,
        behind: Duration::from_millis(4),
        in_sync: true,
    };
    let slave = HaStatus::Slave {
        master: Some("10.0.0.1:10912".into()),
        follows: true,
        written,
        flushed: Flushed::upto(Physical::new(2048)),
        heard: Wall::from_millis(1_700_000_000_000),
    };
    [HaStatus::Master { written, in_sync: 1, links: vec![link] }, slave]
}

/// What `mqadmin haStatus` prints, and what it is called there.
#[test]
fn the_status_of_replication_has_the_names_that_tools_know() {
    let [master, slave] = ha_statuses();
    let json = |status| {
        let (_, body) = answered(907, &BrokerResponse::HaStatus(Box::new(status)), true);
        serde_json::from_slice::<serde_json::Value>(&body).expect("JSON")
    };
    let (master, slave) = (json(master), json(slave));
    assert_eq!((&master["master"], &slave["master"]), (&true.into(), &false.into()));
    assert_eq!(master["masterCommitLogMaxOffset"], 4096);
    assert_eq!(master["inSyncSlaveNums"], 1);
    let link = &master["haConnectionInfo"][0];
    assert_eq!((&link["addr"], &link["diff"]), (&"10.0.0.2:5000".into(), &96.into()));
    assert_eq!((&link["slaveAckOffset"], &link["inSync"]), (&4000.into(), &true.into()));
    let client = &slave["haClientRuntimeInfo"];
    assert_eq!((&client["activated"], &client["maxOffset"]), (&true.into(), &4096.into()));
    assert_eq!(client["lastReadTimestamp"], 1_700_000_000_000_i64);
}

/// What `mqadmin brokerStatus` prints, and what it is called there.
#[test]
fn the_runtime_info_is_a_table_of_texts() {
    let response = BrokerResponse::RuntimeInfo(Box::new(runtime(None)));
    let (_, body) = answered(28, &response, true);
    let json: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    let value = |key: &str| json["table"][key].as_str().expect("a text").to_owned();
    assert_eq!(value("runtime"), "[ 1 days, 2 hours, 3 minutes, 4 seconds ]");
    assert_eq!(
        (value("bootTimestamp"), value("brokerActive")),
        ("1700000000000".into(), "true".into())
    );
    assert_eq!(
        (value("commitLogMinOffset"), value("commitLogMaxOffset")),
        ("1024".into(), "4096".into())
    );
    assert_eq!(value("remainHowManyDataToFlush"), "2048 B");
}

#[test]
fn every_answer_survives_the_wire() {
    let [master, slave] = ha_statuses();
    let info = HaInfo { ha_addr: "m:2".into(), addr: "m:1".into(), begun: Physical::new(7) };
    let pair = Positions::Many(vec![Physical::new(1024), Physical::new(2048)]);
    let description = TopicDescription {
        topic: "T".into(),
        read_queues: 8,
        write_queues: 4,
        perm: 6,
        sys_flag: 0,
        order: false,
        attributes: [("queue.type".into(), "BatchCQ".into())].into(),
    };
    let stats = ConsumeStats { messages_per_minute: 90, queues: vec![lag()] };
    let groups = vec![GroupStats { group: "G".into(), topics: vec![stats.clone()] }];
    for (code, response) in [
        (317, BrokerResponse::AllConsumeStats { broker_addr: "b:1".into(), groups }),
        (208, BrokerResponse::ConsumeStats(Box::new(stats))),
        (222, BrokerResponse::OffsetsReset(moves())),
        (38, BrokerResponse::Consumers(vec!["c".into()])),
        (215, BrokerResponse::Done),
        (34, BrokerResponse::Heartbeat { sub_changed: false }),
        (41, BrokerResponse::Locked(locked())),
        (30, BrokerResponse::Offset(-1)),
        (30, BrokerResponse::Refused { code: Code::TopicNotExist, remark: "no".into() }),
        (310, sent(SendStatus::Ok, Positions::One(Physical::new(1024)))),
        (10, sent(SendStatus::FlushDiskTimeout, Positions::One(Physical::new(u64::MAX >> 1)))),
        (320, sent(SendStatus::SlaveNotAvailable, pair.clone())),
        (320, sent(SendStatus::FlushSlaveTimeout, pair)),
        (906, BrokerResponse::HaInfo(None)),
        (906, BrokerResponse::HaInfo(Some(Box::new(info)))),
        (907, BrokerResponse::HaStatus(Box::new(master))),
        (907, BrokerResponse::HaStatus(Box::new(slave))),
        (28, BrokerResponse::RuntimeInfo(Box::new(runtime(None)))),
        (28, BrokerResponse::RuntimeInfo(Box::new(runtime(Some("a sync failed".into()))))),
        (32, BrokerResponse::Timestamp(1_700_000_000_000)),
        (351, BrokerResponse::TopicConfig(Box::new(description))),
        (352, BrokerResponse::GroupConfig(Box::new(GroupConfig::new("G")))),
    ] {
        for json in [true, false] {
            let (header, body) = answered(code, &response, json);
            assert_eq!((header.opaque, header.flag, header.json), (5, 1, json));
            let reply = decode_response(code, &header, &body).expect("ours");
            assert_eq!(reply, Reply { response: response.clone(), records: Bytes::new() });
        }
    }
}

#[test]
fn the_answer_to_a_send_names_the_records() {
    let one = sent(SendStatus::Ok, Positions::One(Physical::new(1024)));
    let (header, _) = answered(310, &one, true);
    let field = |key| header.fields.get(key);
    assert_eq!(field("msgId"), Some("0A00000100002A9F0000000000000400"));
    assert_eq!(field("MSG_REGION"), Some("DefaultRegion"));
    assert_eq!(field("TRACE_ON"), Some("true"));
    assert_eq!(field("transactionId"), Some("U"));
}

#[test]
fn pulled_records_are_the_leases_in_order() {
    let span = |len| Span { at: Physical::new(0), len };
    for (status, code, spans) in [
        (PullStatus::Found, Code::Success, vec![span(3)]),
        (PullStatus::Found, Code::Success, vec![span(3), span(4)]),
        (PullStatus::NoMessageInQueue, Code::PullNotFound, vec![]),
        (PullStatus::OffsetOverflowBadly, Code::PullOffsetMoved, vec![]),
        (PullStatus::MessageWasRemoving, Code::PullRetryImmediately, vec![]),
    ] {
        let offset = QueueOffset::new;
        let records = spans.iter().map(|span: &Span| span.len as usize).sum::<usize>();
        let pulled = Pulled {
            status,
            code,
            next: offset(3),
            min: offset(1),
            max: offset(9),
            suggest: 0,
            spans,
        };
        let (header, body) = answered(11, &BrokerResponse::Pulled(Box::new(pulled.clone())), true);
        let reply = decode_response(11, &header, &body).expect("ours");
        let bare = Box::new(Pulled { spans: Vec::new(), ..pulled });
        assert_eq!(reply.response, BrokerResponse::Pulled(bare));
        assert_eq!(reply.records, vec![b'x'; records]);
    }
}

#[test]
fn queried_records_are_the_leases_in_order() {
    let spans = [3, 4].map(|len| Span { at: Physical::new(0), len }).to_vec();
    let (indexed_time, indexed) = (Wall::from_millis(7), Physical::new(9));
    let queried = Queried { indexed_time, indexed, spans };
    let response = BrokerResponse::Queried(Box::new(queried.clone()));
    let (header, body) = answered(12, &response, true);
    let reply = decode_response(12, &header, &body).expect("ours");
    let bare = Box::new(Queried { spans: Vec::new(), ..queried });
    assert_eq!(reply.response, BrokerResponse::Queried(bare));
    assert_eq!(reply.records, vec![b'x'; 7]);
}

#[test]
fn a_heartbeat_is_read_from_whoever_wrote_it() {
    let header = |body: &str| {
        let request = BrokerRequest::Unsupported { code: 34 };
        let (header, _) = read(&encode_request(Ask::json(1), &request, &mut BytesMut::new()));
        decode_request(&header, &Bytes::copy_from_slice(body.as_bytes()))
    };
    let odd = concat!(
        r#"{"clientID":"10.0.0.9@1#2","producerDataSet":[{"groupName":"PG"}],"#,
        r#""consumerDataSet":[{"groupName":"G","consumeType":"CONSUME_NEWLY","#,
        r#""subscriptionDataSet":[{"topic":"T","codeSet":["2598919"],"tagsSet":["TagA"],"#,
        r#""subString":"TagA","subVersion":1700000000000}]}],"unknown":1}"#
    );
    assert_eq!(header(odd), heartbeat());
    assert!(matches!(header("{}"), BrokerRequest::Malformed { .. }));
    assert!(matches!(
        header(r#"{"clientID":"c","consumerDataSet":null}"#),
        BrokerRequest::Heartbeat(_)
    ));
}

#[test]
fn a_notice_is_a_oneway_request() {
    let reset = |as_list| {
        let (group, topic, offsets) = ("G".into(), "T".into(), moves());
        BrokerNotice::OffsetsReset(Box::new(OffsetsReset { group, topic, offsets, as_list }))
    };
    let changed = BrokerNotice::ConsumerIdsChanged { group: "G".into() };
    for (code, notice) in [(40, changed), (220, reset(false)), (220, reset(true))] {
        let (header, body) = read(&encode_notice(&notice, 3, &mut BytesMut::new()));
        assert_eq!((header.code, header.flag, header.opaque), (code, 2, 3));
        assert_eq!(decode_notice(&header, &body), Some(notice));
    }
}

/// Newer clients of the original read no key that is a text.
#[test]
fn tables_by_queue_have_objects_as_keys() {
    let (_, body) = answered(222, &BrokerResponse::OffsetsReset(moves()), true);
    let queue = |number| format!(r#"{{"brokerName":"b","queueId":{number},"topic":"T"}}"#);
    let table = format!(r#"{{"offsetTable":{{{}:7,{}:0}}}}"#, queue(0), queue(1));
    assert_eq!(body, table);
}

/// A number that cannot be read is no wish for all queues.
#[test]
fn a_reset_of_which_something_cannot_be_read_is_none() {
    let (whole, body) =
        read(&encode_request(Ask::json(1), &reset(Some(3), ResetTo::End), &mut BytesMut::new()));
    for broken in ["queueId", "offset", "timestamp"] {
        let mut header = whole.clone();
        let value = |key: &str, value: &str| if key == broken { "x" } else { value }.to_owned();
        let fields: Vec<_> = whole.fields.iter().map(|(k, v)| (k, value(k, v))).collect();
        header.fields = fields.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let request = decode_request(&header, &body);
        assert!(matches!(request, BrokerRequest::Malformed { .. }), "{broken}: {request:?}");
    }
}

fn reset(queue: Option<i32>, to: ResetTo) -> BrokerRequest {
    let (group, topic) = ("G".into(), "T".into());
    let wanted = ResetOffsets { group, topic, queue, to, is_forced: true };
    BrokerRequest::ResetOffsets(Box::new(wanted))
}

fn named(queue: i32) -> MessageQueue {
    MessageQueue { topic: "T".into(), broker_name: "b".into(), queue }
}

fn moves() -> Vec<(MessageQueue, QueueOffset)> {
    vec![(named(0), QueueOffset::new(7)), (named(1), QueueOffset::ZERO)]
}

fn lag() -> Lag {
    let [end, next, pulled] = [9, 3, 5].map(QueueOffset::new);
    Lag { queue: named(0), end, next, pulled, consumed: Some(Wall::from_millis(1_700)) }
}
