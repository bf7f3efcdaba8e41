//! What lies in a broker's log is found by its key, asked as a client would.

use hotfire_core::domain::{BrokerRequest, BrokerResponse, KeyKind, QueryMessage};
use hotfire_storage::text::Text;
use hotfire_storage::time::Wall;

use super::Verdict;
use super::image::Placed;
use crate::ring::Violation;
use crate::workload::message::Id;

/// The question for a message, whenever it was stored.
pub fn question(topic: &Text, id: Id) -> BrokerRequest {
    BrokerRequest::QueryMessage(Box::new(QueryMessage {
        topic: topic.clone(),
        key: id.to_string().into(),
        kind: KeyKind::Key,
        is_unique: true,
        max_messages: 0,
        begin: Wall::from_millis(0),
        end: Wall::from_millis(i64::MAX),
    }))
}

/// Judges the answer: the record must be among those that are found.
pub fn check(topic: &Text, placed: &Placed, answer: Option<&BrokerResponse>) -> Verdict {
    let found = match answer {
        Some(BrokerResponse::Queried(queried)) => queried.spans.as_slice(),
        _ => &[],
    };
    if found.iter().any(|span| (span.at.get(), span.len) == (placed.at, placed.size)) {
        return Ok(());
    }
    let detail = format!("{topic}: {:?} at {}, answered {answer:?}", placed.id, placed.at);
    Err(Violation::new("a message is found by its key", detail))
}
