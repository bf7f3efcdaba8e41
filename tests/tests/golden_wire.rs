//! Every recorded frame reads as what its recorder saw, and is written again as it was.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use flate2::read::GzDecoder;
use hotfire_core::domain::{
    BrokerRequest, BrokerResponse, Caller, ConnId, Language, NameRequest, NameResponse,
};
use hotfire_net::codec::broker::Answering;
use hotfire_net::codec::{Ask, broker, namesrv};
use hotfire_net::frame::{Frame, FrameDecoder, FrameLimits};
use hotfire_net::head_writer::Outgoing;
use hotfire_net::header::Header;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

#[derive(Deserialize)]
struct Index {
    frames: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    file: String,
    kind: String,
    request_code: i32,
    serialization: String,
    header: Expected,
    body_len: usize,
    body_sha256: String,
    size: usize,
}

#[derive(Deserialize)]
struct Expected {
    code: i32,
    language: Value,
    version: i32,
    opaque: i32,
    flag: i32,
    remark: Option<String>,
    ext: Map<String, Value>,
}

fn unzip(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/wire").join(name);
    let mut bytes = Vec::new();
    let file = File::open(path).expect("a golden file");
    GzDecoder::new(file).read_to_end(&mut bytes).expect("gzip");
    bytes
}

/// All frames with their entries, read in chunks that no frame ends at, as a socket would.
fn recorded() -> Vec<(Entry, Frame, Vec<u8>)> {
    let index: Index = serde_json::from_slice(&unzip("index.json.gz")).expect("an index");
    let stream = unzip("frames.bin.gz");
    let mut decoder = FrameDecoder::new(FrameLimits::default());
    let mut frames = Vec::new();
    for chunk in stream.chunks(1009) {
        decoder.read_into().extend_from_slice(chunk);
        while let Some(frame) = decoder.next_frame().expect("recorded frames are well formed") {
            frames.push(frame);
        }
    }
    assert_eq!((decoder.unfinished(), frames.len()), (0, index.frames.len()));
    let mut at = 0;
    let pair = |(entry, frame): (Entry, Frame)| {
        let whole = stream[at..at + entry.size].to_vec();
        at += entry.size;
        (entry, frame, whole)
    };
    index.frames.into_iter().zip(frames).map(pair).collect()
}

/// Requests only, with their headers.
fn requests() -> impl Iterator<Item = (String, Header, Bytes)> {
    let requests = recorded().into_iter().filter(|(entry, ..)| entry.kind == "req");
    requests.map(|(entry, frame, _)| {
        (entry.file, Header::decode(&frame).expect("a header"), frame.body)
    })
}

#[test]
fn every_frame_decodes_as_recorded() {
    for (entry, frame, _) in recorded() {
        let name = &entry.file;
        assert_eq!(frame.wire_len(), entry.size, "{name}");
        assert_eq!(frame.json, entry.serialization == "JSON", "{name}");
        let header = Header::decode(&frame).expect(name);
        let Expected { code, language, version, opaque, flag, remark, ext } = entry.header;
        // Binary headers cut codes to 16 bits; we map those of requests back.
        let cut = if code == 3442 && !header.is_response() { 200_050 } else { code };
        assert_eq!(header.code, cut, "{name}");
        assert!(language == "JAVA" || language == 0, "{name}: {language}");
        assert_eq!(header.language, Language::JAVA, "{name}");
        assert_eq!((header.version, header.opaque, header.flag), (version, opaque, flag), "{name}");
        assert_eq!(header.remark.as_deref(), remark.as_deref(), "{name}");
        let pairs = header.fields.iter();
        let fields: Map<String, Value> =
            pairs.map(|(key, value)| (key.to_string(), value.to_string().into())).collect();
        assert_eq!(fields, ext, "{name}");
        assert_eq!(frame.body.len(), entry.body_len, "{name}");
        let hash = Sha256::digest(&frame.body);
        let hash: Vec<_> = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash.concat(), entry.body_sha256, "{name}");
    }
}

#[test]
fn every_frame_is_written_again_as_it_was() {
    let mut into = BytesMut::new();
    for (entry, frame, whole) in recorded() {
        let name = &entry.file;
        let header = Header::decode(&frame).expect(name);
        let again = header.encode(frame.body.clone(), &mut into).to_vec();
        if !frame.json {
            assert_eq!(again, whole, "{name}");
            continue;
        }
        // An empty table of fields and none are the same to every reader; we write none.
        let text = |bytes: &[u8]| {
            let len = u32::from_be_bytes([0, bytes[5], bytes[6], bytes[7]]) as usize;
            let text = std::str::from_utf8(&bytes[8..8 + len]).expect(name);
            text.replace("\"extFields\":{},", "")
        };
        // Letter for letter, order and escapes included: more than the same document.
        assert_eq!(text(&again), text(&whole), "{name}");
        assert!(again.ends_with(&frame.body), "{name}");
    }
}

/// Codes that our name server serves.
const NAME_CODES: [i32; 14] =
    [100, 101, 102, 103, 104, 105, 106, 205, 206, 216, 219, 224, 322, 327];

#[test]
fn every_request_that_we_serve_is_understood() {
    let mut understood = 0;
    for (name, header, body) in requests() {
        if NAME_CODES.contains(&header.code) {
            let request = namesrv::decode_request(&header, &body);
            assert!(
                !matches!(request, NameRequest::Malformed { .. } | NameRequest::Unsupported { .. }),
                "{name}: {request:?}"
            );
            assert_eq!(namesrv::request_code(&request), header.code, "{name}");
            understood += 1;
        } else {
            let request = broker::decode_request(&header, &body);
            assert!(!matches!(request, BrokerRequest::Malformed { .. }), "{name}: {request:?}");
            understood += i32::from(!matches!(request, BrokerRequest::Unsupported { .. }));
        }
    }
    assert!(understood >= 100, "only {understood} requests are known");
}

#[test]
fn a_request_of_the_original_means_the_same_when_we_ask_it() {
    let mut into = BytesMut::new();
    let read = |outgoing: Outgoing| {
        let mut decoder = FrameDecoder::new(FrameLimits::default());
        decoder.read_into().extend_from_slice(&outgoing.to_vec());
        let frame = decoder.next_frame().expect("ours").expect("whole");
        (Header::decode(&frame).expect("ours"), frame.body)
    };
    for (name, header, body) in requests() {
        let oneway = header.is_oneway();
        let ask = Ask { opaque: header.opaque, json: header.json, oneway };
        if NAME_CODES.contains(&header.code) {
            let request = namesrv::decode_request(&header, &body);
            let (header, body) = read(namesrv::encode_request(ask, &request, &mut into));
            assert_eq!(namesrv::decode_request(&header, &body), request, "{name}");
        } else {
            let request = broker::decode_request(&header, &body);
            let (header, body) = read(broker::encode_request(ask, &request, &mut into));
            assert_eq!(broker::decode_request(&header, &body), request, "{name}");
        }
    }
}

/// Apache answers a query with the records in the order of the log, as we do.
#[test]
fn queries_and_what_they_brought_are_understood() {
    let (mut asked, mut answered) = (0, 0);
    for (entry, frame, _) in recorded() {
        let name = &entry.file;
        let header = Header::decode(&frame).expect(name);
        if entry.kind == "req" && entry.request_code == 12 {
            let BrokerRequest::QueryMessage(query) = broker::decode_request(&header, &frame.body)
            else {
                panic!("{name}");
            };
            assert_eq!(
                (&*query.key, query.max_messages, query.is_unique),
                ("shared-key", 32, false)
            );
            asked += 1;
        } else if entry.request_code == 12 {
            let reply = broker::decode_response(12, &header, &frame.body).expect(name);
            let BrokerResponse::Queried(queried) = reply.response else { panic!("{name}") };
            assert_eq!(queried.indexed.get(), 2_093_066, "{name}");
            let (mut rest, mut places) = (&reply.records[..], Vec::new());
            while let Some(size) = rest.first_chunk().map(|size| u32::from_be_bytes(*size)) {
                let (record, behind) = rest.split_at(size as usize);
                let record = hotfire_storage::record::Record::parse(record).expect(name);
                places.push(record.physical());
                rest = behind;
            }
            assert!(places.len() == 12 && places.is_sorted(), "{name}: {places:?}");
            answered += 1;
        }
    }
    assert_eq!((asked, answered), (2, 2));
}

#[test]
fn every_answer_to_what_we_ask_is_understood() {
    for (entry, frame, _) in recorded() {
        let name = &entry.file;
        if entry.kind != "resp" {
            continue;
        }
        let header = Header::decode(&frame).expect(name);
        let code = entry.request_code;
        if NAME_CODES.contains(&code) {
            let response = namesrv::decode_response(code, &header, &frame.body).expect(name);
            let refused = matches!(response, NameResponse::Refused { .. });
            assert_eq!(refused, header.code != 0, "{name}: {response:?}");
        } else {
            let reply = broker::decode_response(code, &header, &frame.body).expect(name);
            let refused = matches!(reply.response, BrokerResponse::Refused { .. });
            // A pull that found nothing is no refusal.
            assert_eq!(refused, ![0, 19, 20, 21].contains(&header.code), "{name}: {reply:?}");
        }
    }
}

/// Tables by queue are JSON of the original's own kind: letter for letter, or its clients fail.
#[test]
fn tables_by_queue_are_written_again_as_they_were() {
    let caller = Caller {
        conn: ConnId(1),
        peer: ([127, 0, 0, 1], 1).into(),
        opaque: 0,
        oneway: false,
        language: Language::JAVA,
        version: 493,
        json: true,
    };
    let store_host = ([127, 0, 0, 1], 2).into();
    let mut written = 0;
    for (entry, frame, _) in recorded() {
        let (name, code) = (&entry.file, entry.request_code);
        if entry.kind != "resp" || ![208, 222].contains(&code) {
            continue;
        }
        let header = Header::decode(&frame).expect(name);
        let reply = broker::decode_response(code, &header, &frame.body).expect(name);
        let mut with = Answering { store_host, lease: &mut |_| Bytes::new() };
        let again =
            broker::encode_response(&caller, &reply.response, &mut with, &mut BytesMut::new());
        assert!(again.to_vec().ends_with(&frame.body), "{name}");
        written += 1;
    }
    assert_eq!(written, 4);
}
