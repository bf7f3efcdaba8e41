//! QUERY_MESSAGE and VIEW_MESSAGE_BY_ID (requests.md A).

use bytes::{Bytes, BytesMut};
use hotfire_core::domain::{
    BrokerRequest, BrokerResponse, Caller, Code, KeyKind, Queried, QueryMessage,
};
use hotfire_storage::position::{Physical, Span};
use hotfire_storage::time::Wall;

use super::{Answering, DecodeError, answer};
use crate::head_writer::{Body, HeadWriter, Outgoing};
use crate::header::Fields;

/// Says that the key is a unique id.
const UNIQUE: &str = "_UNIQUE_KEY_QUERY";
/// Says what the key is: `K`, also when absent, or `T` for tags.
const KIND: &str = "indexType";

pub(super) fn decode(fields: &Fields) -> Result<BrokerRequest, DecodeError> {
    let is_tags = fields.text_if(KIND).is_some_and(|kind| &*kind == "T");
    Ok(BrokerRequest::QueryMessage(Box::new(QueryMessage {
        topic: fields.text("topic")?,
        key: fields.text("key")?,
        kind: if is_tags { KeyKind::Tags } else { KeyKind::Key },
        is_unique: fields.truth_if(UNIQUE).unwrap_or(false),
        max_messages: fields.number("maxNum")?,
        begin: Wall::from_millis(fields.number("beginTimestamp")?),
        end: Wall::from_millis(fields.number("endTimestamp")?),
    })))
}

pub(super) fn put(head: &mut HeadWriter<'_>, query: &QueryMessage) -> Body {
    let kind = match query.kind {
        KeyKind::Key => "K",
        KeyKind::Tags => "T",
    };
    head.field("topic", &query.topic)
        .field("key", &query.key)
        .show("maxNum", query.max_messages)
        .show("beginTimestamp", query.begin.as_millis())
        .show("endTimestamp", query.end.as_millis())
        .show(UNIQUE, query.is_unique)
        .field(KIND, kind);
    Body::None
}

pub(super) fn encode_response(
    caller: &Caller,
    queried: &Queried,
    with: &mut Answering<'_>,
    into: &mut BytesMut,
) -> Outgoing {
    let mut head = answer(caller, Code::Success, None, into);
    head.show("indexLastUpdateTimestamp", queried.indexed_time.as_millis())
        .show("indexLastUpdatePhyoffset", queried.indexed);
    head.finish(Body::Many(queried.spans.iter().map(|span| (with.lease)(*span)).collect()))
}

pub(super) fn decode_response(fields: &Fields) -> Result<BrokerResponse, DecodeError> {
    Ok(BrokerResponse::Queried(Box::new(Queried {
        indexed_time: Wall::from_millis(fields.number("indexLastUpdateTimestamp")?),
        indexed: Physical::new(fields.number("indexLastUpdatePhyoffset")?),
        spans: Vec::new(),
    })))
}

pub(super) fn decode_view(fields: &Fields) -> Result<BrokerRequest, DecodeError> {
    Ok(BrokerRequest::ViewMessage { at: Physical::new(fields.number("offset")?) })
}

/// Where the one record of a VIEW_MESSAGE_BY_ID answer says it lies (wire.md 7, fields 1 and 7).
pub(super) fn decode_viewed(record: &Bytes) -> Result<BrokerResponse, DecodeError> {
    let word = |at: usize| record.get(at..at + 8).and_then(|bytes| bytes.first_chunk::<8>());
    let at = word(28).map(|bytes| Physical::new(u64::from_be_bytes(*bytes)));
    match (at, u32::try_from(record.len())) {
        (Some(at), Ok(len)) => Ok(BrokerResponse::Message(Span { at, len })),
        _ => Err(DecodeError::Body { what: "a record", why: "too short".into() }),
    }
}
