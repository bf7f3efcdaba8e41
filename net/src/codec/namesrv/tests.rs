use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use hotfire_core::domain::{BrokerData, ConnId, QueueData, RegisteredTopic, Registration, Route};

use super::*;
use crate::codec;
use crate::frame::{Frame, FrameDecoder, FrameLimits};

fn read(outgoing: &Outgoing) -> (Header, Bytes) {
    let mut decoder = FrameDecoder::new(FrameLimits::default());
    decoder.read_into().extend_from_slice(&outgoing.to_vec());
    let frame: Frame = decoder.next_frame().expect("well formed").expect("whole");
    (Header::decode(&frame).expect("ours"), frame.body)
}

fn registration() -> Registration {
    let topic = |name: &str| RegisteredTopic {
        topic: name.into(),
        read_queues: 8,
        write_queues: 4,
        perm: 6,
        sys_flag: 0,
        order: false,
    };
    Registration {
        broker: BrokerIdentity {
            cluster: "c".into(),
            broker_name: "b".into(),
            addr: "10.0.0.1:10911".into(),
            id: BrokerId::MASTER,
        },
        ha_addr: "10.0.0.1:10912".into(),
        heartbeat_timeout_ms: None,
        enable_acting_master: Some(false),
        data_version: DataVersion { state_version: 0, timestamp: 1_700_000_000_000, counter: 3 },
        topics: vec![topic("A"), topic("B")],
    }
}

#[test]
fn every_request_survives_the_wire() {
    let broker = registration().broker;
    let (namespace, key, topic) = ("n".into(), "k".into(), "T".into());
    let requests = [
        NameRequest::BrokerHeartbeat { addr: "a:1".into(), cluster: "c".into() },
        NameRequest::ClusterInfo,
        NameRequest::DeleteKv { namespace: "n".into(), key: "k".into() },
        NameRequest::DeleteTopic { topic: "T".into(), cluster: Some("c".into()) },
        NameRequest::GetKv { namespace, key },
        NameRequest::KvList { namespace: "n".into() },
        NameRequest::MemberGroup { cluster: "c".into(), broker_name: "b".into() },
        NameRequest::PutKv { namespace: "n".into(), key: "k".into(), value: "\u{1}\"".into() },
        NameRequest::QueryDataVersion {
            broker: broker.clone(),
            version: DataVersion { state_version: 1, timestamp: 2, counter: 3 },
        },
        NameRequest::Register(Box::new(registration())),
        NameRequest::Route { topic },
        NameRequest::SetWritePerm { broker_name: "b".into(), writable: true },
        NameRequest::SetWritePerm { broker_name: "b".into(), writable: false },
        NameRequest::TopicList,
        NameRequest::TopicsOfCluster { cluster: "c".into() },
        NameRequest::Unregister(broker),
        NameRequest::Unsupported { code: 4711 },
    ];
    for (request, json) in requests.iter().flat_map(|request| [(request, true), (request, false)]) {
        let ask = Ask { opaque: 9, json, oneway: false };
        let (header, body) = read(&encode_request(ask, request, &mut BytesMut::new()));
        assert_eq!((header.opaque, header.flag), (9, 0));
        assert_eq!(decode_request(&header, &body), *request);
    }
}

#[test]
fn every_answer_survives_the_wire() {
    let group = BrokerData {
        cluster: "c".into(),
        broker_name: "b".into(),
        addrs: [(BrokerId(0), "a:1".into()), (BrokerId(2), "a:2".into())].into(),
        enable_acting_master: true,
    };
    let queue = QueueData {
        broker_name: "b".into(),
        read_queues: 8,
        write_queues: 4,
        perm: 6,
        sys_flag: 1,
    };
    let route =
        Route { order_conf: Some("b:4".into()), queues: vec![queue], brokers: vec![group.clone()] };
    let info = hotfire_core::domain::ClusterInfo {
        brokers: [("b".into(), group.clone())].into(),
        clusters: [("c".into(), vec!["b".into()])].into(),
    };
    let order_topics = [("T".into(), "b:4".into())];
    let registered = NameResponse::Registered {
        ha_addr: Some("a:3".into()),
        master_addr: None,
        order_topics: order_topics.into(),
    };
    let version = DataVersion { state_version: 0, timestamp: 5, counter: 6 };
    for (code, response) in [
        (106, NameResponse::ClusterInfo(info)),
        (322, NameResponse::DataVersion { changed: true, stored: None }),
        (322, NameResponse::DataVersion { changed: false, stored: Some(version) }),
        (104, NameResponse::Done),
        (901, NameResponse::MemberGroup(group)),
        (103, registered),
        (105, NameResponse::Refused { code: Code::TopicNotExist, remark: "no".into() }),
        (105, NameResponse::Route(route)),
        (206, NameResponse::Topics(vec!["T".into()])),
        (205, NameResponse::WritePerm { writable: false, topics: 3 }),
        (327, NameResponse::WritePerm { writable: true, topics: 3 }),
        (101, NameResponse::KvValue("v".into())),
        (219, NameResponse::KvTable([("k".into(), "v".into())].into())),
    ] {
        let request = Header {
            code,
            language: hotfire_core::domain::Language::JAVA,
            version: 493,
            opaque: 77,
            flag: 0,
            remark: None,
            fields: Fields::default(),
            json: code % 2 == 0,
        };
        let peer = "10.0.0.9:5".parse().expect("an address");
        let caller = codec::caller(ConnId(1), peer, &request);
        let (header, body) = read(&encode_response(&caller, &response, &mut BytesMut::new()));
        assert_eq!((header.opaque, header.json, header.flag), (77, request.json, 1));
        assert_eq!(decode_response(code, &header, &body).expect("ours"), response);
    }
}

#[test]
fn a_route_is_written_as_the_specification_shows_it() {
    let route = Route {
        order_conf: None,
        queues: vec![QueueData {
            broker_name: "b".into(),
            read_queues: 8,
            write_queues: 8,
            perm: 6,
            sys_flag: 0,
        }],
        brokers: vec![BrokerData {
            cluster: "c".into(),
            broker_name: "b".into(),
            addrs: [(BrokerId(0), "10.0.0.1:10911".into()), (BrokerId(1), "10.0.0.2:1".into())]
                .into(),
            enable_acting_master: false,
        }],
    };
    let json = String::from_utf8(body::write(&RouteBody::from(&route))).expect("JSON");
    assert_eq!(
        json,
        concat!(
            r#"{"brokerDatas":[{"brokerAddrs":{"0":"10.0.0.1:10911","1":"10.0.0.2:1"},"#,
            r#""brokerName":"b","cluster":"c","enableActingMaster":false}],"#,
            r#""filterServerTable":{},"queueDatas":[{"brokerName":"b","perm":6,"#,
            r#""readQueueNums":8,"topicSysFlag":0,"writeQueueNums":8}]}"#
        )
    );
}

fn deflated(text: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).expect("memory");
    encoder.finish().expect("memory")
}

fn compressed_request(body: Vec<u8>) -> NameRequest {
    let plain = NameRequest::Register(Box::new(registration()));
    let (mut header, _) = read(&encode_request(Ask::json(1), &plain, &mut BytesMut::new()));
    let fields = header
        .fields
        .iter()
        .filter(|(key, _)| *key != "bodyCrc32")
        .map(|(key, value)| (key, if key == "compressed" { "true" } else { value }));
    header.fields = fields.collect();
    decode_request(&header, &body.into())
}

#[test]
fn a_compressed_registration_says_what_a_plain_one_does() {
    let mut text = Vec::new();
    let mut put = |piece: &str| {
        text.extend(u32::try_from(piece.len()).expect("short").to_be_bytes());
        text.extend(piece.as_bytes());
    };
    put(r#"{"counter":3,"stateVersion":0,"timestamp":1700000000000}"#);
    let mut body = std::mem::take(&mut text);
    body.extend(2_u32.to_be_bytes());
    for line in ["A 8 4 6 SINGLE_TAG {}", "B 8 4 6 SINGLE_TAG"] {
        body.extend(u32::try_from(line.len()).expect("short").to_be_bytes());
        body.extend(line.as_bytes());
    }
    body.extend([0, 0, 0, 2, b'[', b']', 0, 0, 0, 0]);
    let expected = NameRequest::Register(Box::new(registration()));
    assert_eq!(compressed_request(deflated(&body)), expected);
}

#[test]
fn a_compressed_registration_cannot_grow_without_bound_or_lie() {
    for body in [deflated(&vec![0; 80 << 20]), b"not zlib".to_vec(), deflated(b"\0\0\0\x09")] {
        assert!(matches!(compressed_request(body), NameRequest::Malformed { .. }));
    }
}

#[test]
fn what_is_missing_or_broken_is_said() {
    let plain = NameRequest::Register(Box::new(registration()));
    let (header, body) = read(&encode_request(Ask::binary(1), &plain, &mut BytesMut::new()));
    let why = |request| match request {
        NameRequest::Malformed { why } => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(why(decode_request(&header, &body.slice(1..))), "crc32 not match");
    for (gone, unparsable) in [("brokerName", false), ("brokerId", true)] {
        let mut broken = header.clone();
        let kept = header.fields.iter().filter(|(key, _)| unparsable || *key != gone);
        broken.fields =
            kept.map(|(key, value)| (key, if key == gone { "x" } else { value })).collect();
        let expected = format!("the custom field <{gone}> is null");
        assert_eq!(why(decode_request(&broken, &body)), expected);
    }
}
