//! Where operators send groups: codes 220, 222, 314 (requests.md C.3).

use bytes::Bytes;
use hotfire_core::domain::{
    BrokerNotice, BrokerRequest, BrokerResponse, CloneOffsets, MessageQueue, OffsetsReset,
    ResetOffsets, ResetTo,
};
use hotfire_storage::position::QueueOffset;
use hotfire_storage::time::Wall;
use serde::{Deserialize, Serialize};

use super::queues::{ByQueue, QueueBody, write_by_queue};
use super::{CLONE_GROUP_OFFSET, DecodeError};
use crate::codec::body;
use crate::head_writer::{Body, HeadWriter};
use crate::header::Header;

const WHAT: &str = "offsets by queue";
/// "The end", as a time; "none", as a queue or an offset.
const NONE: i64 = -1;

pub(super) fn decode(header: &Header) -> Result<BrokerRequest, DecodeError> {
    let fields = &header.fields;
    if header.code == CLONE_GROUP_OFFSET {
        return Ok(BrokerRequest::CloneOffsets(Box::new(CloneOffsets {
            from: fields.text("srcGroup")?,
            to: fields.text("destGroup")?,
            topic: fields.text_if("topic").filter(|topic| !topic.trim().is_empty()),
            offline: fields.truth_if("offline").unwrap_or(false),
        })));
    }
    // What was said and cannot be read is no wish for all queues.
    let queue = fields.get("queueId").map(|_| fields.number::<i32>("queueId")).transpose()?;
    let offset = fields.get("offset").map(|_| fields.number::<i64>("offset")).transpose()?;
    let (queue, offset) = (queue.filter(|it| *it >= 0), offset.filter(|it| *it != NONE));
    let time: i64 = fields.number("timestamp")?;
    Ok(BrokerRequest::ResetOffsets(Box::new(ResetOffsets {
        group: fields.text("group")?,
        topic: fields.text("topic")?,
        queue,
        to: match (queue, offset) {
            (Some(_), Some(offset)) => ResetTo::Offset(offset),
            _ if time < 0 => ResetTo::End,
            _ => ResetTo::Time(Wall::from_millis(time)),
        },
        is_forced: fields.truth_if("isForce").unwrap_or(false),
    })))
}

pub(super) fn put(head: &mut HeadWriter<'_>, request: &BrokerRequest) {
    match request {
        BrokerRequest::CloneOffsets(wanted) => {
            head.field("srcGroup", &wanted.from)
                .field("destGroup", &wanted.to)
                .field_if("topic", wanted.topic.as_ref())
                .show("offline", wanted.offline);
        }
        BrokerRequest::ResetOffsets(wanted) => {
            let (time, offset) = match wanted.to {
                ResetTo::End => (NONE, NONE),
                ResetTo::Offset(offset) => (NONE, offset),
                ResetTo::Time(at) => (at.as_millis(), NONE),
            };
            head.field("group", &wanted.group)
                .field("topic", &wanted.topic)
                .show("queueId", wanted.queue.map_or(NONE, i64::from))
                .show("offset", offset)
                .show("timestamp", time)
                .show("isForce", wanted.is_forced);
        }
        other => unreachable!("{other:?} moves no group"),
    }
}

pub(super) fn put_notice(head: &mut HeadWriter<'_>, reset: &OffsetsReset) -> Body {
    head.field("group", &reset.group)
        .field("topic", &reset.topic)
        .show("queueId", NONE)
        .show("timestamp", NONE)
        .show("isForce", true);
    if !reset.as_list {
        return moved_body(&reset.offsets);
    }
    let row = |(queue, next): &(MessageQueue, QueueOffset)| Row {
        offset: next.get(),
        queue: QueueBody::from(queue),
    };
    body::write(&Rows { offset_table: reset.offsets.iter().map(row).collect() }).into()
}

pub(super) fn decode_notice(header: &Header, json: &Bytes) -> Result<BrokerNotice, DecodeError> {
    let as_list = body::parse::<Rows>(json, WHAT).ok();
    let is_list = as_list.is_some();
    let offsets = match as_list {
        Some(rows) => {
            let row = |Row { offset, queue }| (MessageQueue::from(queue), QueueOffset::new(offset));
            rows.offset_table.into_iter().map(row).collect()
        }
        None => table(json)?,
    };
    Ok(BrokerNotice::OffsetsReset(Box::new(OffsetsReset {
        group: header.fields.text("group")?,
        topic: header.fields.text("topic")?,
        offsets,
        as_list: is_list,
    })))
}

pub(super) fn moved_body(offsets: &[(MessageQueue, QueueOffset)]) -> Body {
    let mut json = b"{\"offsetTable\":".to_vec();
    write_by_queue(offsets.iter().map(|(queue, next)| (queue, next.get())), &mut json);
    json.push(b'}');
    json.into()
}

pub(super) fn decode_moved(json: &Bytes) -> Result<BrokerResponse, DecodeError> {
    Ok(BrokerResponse::OffsetsReset(table(json)?))
}

fn table(json: &Bytes) -> Result<Vec<(MessageQueue, QueueOffset)>, DecodeError> {
    let Table { offset_table: ByQueue(rows) } = body::parse(json, WHAT)?;
    Ok(rows.into_iter().map(|(queue, next)| (queue, QueueOffset::new(next))).collect())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Table {
    offset_table: ByQueue<u64>,
}

/// As C++ clients read it.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rows {
    offset_table: Vec<Row>,
}

#[derive(Deserialize, Serialize)]
struct Row {
    offset: u64,
    #[serde(flatten)]
    queue: QueueBody,
}
