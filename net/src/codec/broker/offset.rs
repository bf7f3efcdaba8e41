//! Offsets of queues and groups: codes 14, 15, 29, 30, 31, 32 (requests.md A).

use hotfire_core::domain::{Boundary, BrokerRequest, QueueRef};
use hotfire_storage::time::Wall;

use super::{
    DecodeError, GET_EARLIEST_MSG_STORETIME, GET_MAX_OFFSET, GET_MIN_OFFSET, QUERY_CONSUMER_OFFSET,
    UPDATE_CONSUMER_OFFSET,
};
use crate::head_writer::HeadWriter;
use crate::header::Header;

pub(super) fn decode(header: &Header) -> Result<BrokerRequest, DecodeError> {
    let fields = &header.fields;
    let of = QueueRef { topic: fields.text("topic")?, queue: fields.number("queueId")? };
    Ok(match header.code {
        GET_MAX_OFFSET => BrokerRequest::MaxOffset(of),
        GET_MIN_OFFSET => BrokerRequest::MinOffset(of),
        GET_EARLIEST_MSG_STORETIME => BrokerRequest::EarliestStoreTime(of),
        QUERY_CONSUMER_OFFSET => BrokerRequest::QueryOffset {
            group: fields.text("consumerGroup")?,
            of,
            zero_if_absent: fields.truth_if("setZeroIfNotFound"),
        },
        UPDATE_CONSUMER_OFFSET => BrokerRequest::UpdateOffset {
            group: fields.text("consumerGroup")?,
            of,
            offset: fields.number("commitOffset")?,
        },
        _ => BrokerRequest::SearchOffset {
            of,
            at: Wall::from_millis(fields.number("timestamp")?),
            boundary: match fields.get("boundaryType") {
                Some(name) if name.eq_ignore_ascii_case("UPPER") => Boundary::Upper,
                _ => Boundary::Lower,
            },
        },
    })
}

pub(super) fn put(head: &mut HeadWriter<'_>, request: &BrokerRequest) {
    match request {
        BrokerRequest::EarliestStoreTime(of)
        | BrokerRequest::MaxOffset(of)
        | BrokerRequest::MinOffset(of) => put_queue(head, of),
        BrokerRequest::QueryOffset { group, of, zero_if_absent } => {
            put_queue(head, of);
            head.field("consumerGroup", group).field_if("setZeroIfNotFound", *zero_if_absent);
        }
        BrokerRequest::SearchOffset { of, at, boundary } => {
            put_queue(head, of);
            head.show("timestamp", at.as_millis());
            if *boundary == Boundary::Upper {
                head.field("boundaryType", "UPPER");
            }
        }
        BrokerRequest::UpdateOffset { group, of, offset } => {
            put_queue(head, of);
            head.field("consumerGroup", group).show("commitOffset", offset);
        }
        other => unreachable!("{other:?} has no offset in it"),
    }
}

fn put_queue(head: &mut HeadWriter<'_>, of: &QueueRef) {
    head.field("topic", &of.topic).show("queueId", of.queue);
}
