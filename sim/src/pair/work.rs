//! What clients of the pair ask.

use std::net::SocketAddr;

use hotfire_core::domain::{BrokerRequest, Caller, ConnId, Language, Pull, QueueRef, Send, Text};
use hotfire_storage::time::Wall;

use crate::choose::{Stream, mixed, pick};

/// The topics.
pub(super) const TOPICS: [&str; 2] = ["one", "two"];

/// Message number so and so.
pub(super) fn message(work: &mut Stream, number: i32, born: Wall) -> BrokerRequest {
    let len = *pick(work, &[8_u64, 200, 1500, 40], "pair.body");
    let mut body = number.to_be_bytes().to_vec();
    let seed = u64::from(number.cast_unsigned()) << 16;
    body.extend((8..len).map(|at| mixed(seed | at).to_le_bytes()[0]));
    let topic = *pick(work, &TOPICS, "pair.topic");
    BrokerRequest::Send(Box::new(Send {
        default_queues: 1,
        born,
        properties: Text::from(format!("UNIQ_KEY\u{1}P0N{number}\u{2}")),
        ..Send::new("p", QueueRef { topic: topic.into(), queue: 0 }, body)
    }))
}

/// A message that nobody may take, for it goes to a slave.
pub(super) fn unwanted(of: usize) -> BrokerRequest {
    let to = QueueRef { topic: TOPICS[of].into(), queue: 0 };
    BrokerRequest::Send(Box::new(Send { default_queues: 1, ..Send::new("p", to, vec![7; 20]) }))
}

/// Who asks question number so and so.
pub(super) fn caller(opaque: i32) -> Caller {
    Caller {
        conn: ConnId(1),
        peer: SocketAddr::from(([127, 0, 0, 1], 5000)),
        opaque,
        oneway: false,
        language: Language::RUST,
        version: 0,
        json: true,
    }
}

/// Who pulls from a topic.
pub(super) fn reader(of: usize) -> Caller {
    caller(-1 - i32::try_from(of).expect("few"))
}

/// Is this a puller's number? Of which topic?
pub(super) fn reader_of(opaque: i32) -> Option<usize> {
    usize::try_from(-1 - i64::from(opaque)).ok()
}

/// What is in a topic from so and so on.
pub(super) fn pull(of: usize, offset: i64) -> BrokerRequest {
    BrokerRequest::Pull(Box::new(Pull {
        group: "g".into(),
        from: QueueRef { topic: TOPICS[of].into(), queue: 0 },
        offset,
        max_messages: 8,
        max_bytes: None,
        commit: None,
        hold_ms: None,
        subscription: Some("*".into()),
        sub_version: 0,
        expression_type: None,
    }))
}
