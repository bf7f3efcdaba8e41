//! What lies in a broker's log is found by its key, asked as a client would.

use std::collections::BTreeMap;

use hotfire_core::domain::{BrokerRequest, BrokerResponse, KeyKind, QueryMessage};
use hotfire_storage::text::Text;
use hotfire_storage::time::Wall;

use super::Verdict;
use super::image::Image;
use crate::ring::Violation;
use crate::workload::message::Id;
use crate::workload::producer::BATCH_TOPIC;

/// Most records of one answer: a message that was sent again more often is found in part.
const ANSWER_MAX: usize = 32;

/// The records of each message, by position: each attempt to send it left one.
pub type Records = BTreeMap<(Text, Id), BTreeMap<u64, u32>>;

/// The records of a log that are ours. A record of an inner batch has one key, its own: what is in
/// it is not indexed, in Apache's files as in ours.
pub fn records(image: &Image) -> Records {
    let mut records = Records::new();
    for (topic, _, messages) in image.queues().filter(|(topic, ..)| **topic != BATCH_TOPIC) {
        for placed in messages.values() {
            let Some(id) = placed.id else { continue };
            records.entry((topic.clone(), id)).or_default().insert(placed.at, placed.size);
        }
    }
    records
}

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

/// Judges the answer: the newest records must be among those that are found.
pub fn check(
    message: &(Text, Id),
    records: &BTreeMap<u64, u32>,
    answer: Option<&BrokerResponse>,
) -> Verdict {
    let found = match answer {
        Some(BrokerResponse::Queried(queried)) => queried.spans.as_slice(),
        _ => &[],
    };
    let is_found = |at: u64, size: u32| found.iter().any(|s| (s.at.get(), s.len) == (at, size));
    let newest = records.iter().rev().take(ANSWER_MAX);
    match newest.into_iter().find(|(at, size)| !is_found(**at, **size)) {
        None => Ok(()),
        Some((at, _)) => {
            let (topic, id) = message;
            let detail = format!("{topic}: {id} at {at}, answered {answer:?}");
            Err(Violation::new("a message is found by its key", detail))
        }
    }
}
