//! SEND_MESSAGE, SEND_MESSAGE_V2, SEND_BATCH_MESSAGE (wire.md 5 and 9, requests.md A.1).

use std::fmt;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use hotfire_core::domain::{
    BrokerRequest, BrokerResponse, Caller, Code, Positions, QueueRef, Send, SendStatus, Sent, Text,
};
use hotfire_storage::position::{Physical, QueueOffset};
use hotfire_storage::record::{offset_message_id, parse_offset_message_id};
use hotfire_storage::time::Wall;

use super::{Answering, DecodeError, SEND_BATCH_MESSAGE, SEND_MESSAGE, answer};
use crate::head_writer::{Body, HeadWriter, Outgoing};
use crate::header::{Fields, Header};

/// The names of one header in its two spellings.
struct Keys {
    group: &'static str,
    topic: &'static str,
    default_topic: &'static str,
    default_queues: &'static str,
    queue: &'static str,
    sys_flag: &'static str,
    born: &'static str,
    flag: &'static str,
    properties: &'static str,
    reconsume_times: &'static str,
    unit_mode: &'static str,
    max_reconsume_times: &'static str,
    batch: &'static str,
}

const LONG: Keys = Keys {
    group: "producerGroup",
    topic: "topic",
    default_topic: "defaultTopic",
    default_queues: "defaultTopicQueueNums",
    queue: "queueId",
    sys_flag: "sysFlag",
    born: "bornTimestamp",
    flag: "flag",
    properties: "properties",
    reconsume_times: "reconsumeTimes",
    unit_mode: "unitMode",
    max_reconsume_times: "maxReconsumeTimes",
    batch: "batch",
};

const SHORT: Keys = Keys {
    group: "a",
    topic: "b",
    default_topic: "c",
    default_queues: "d",
    queue: "e",
    sys_flag: "f",
    born: "g",
    flag: "h",
    properties: "i",
    reconsume_times: "j",
    unit_mode: "k",
    max_reconsume_times: "l",
    batch: "m",
};

pub(super) fn decode(header: &Header, body: &Bytes) -> Result<BrokerRequest, DecodeError> {
    let fields = &header.fields;
    let keys = if header.code == SEND_MESSAGE { &LONG } else { &SHORT };
    let batch = fields.truth_if(keys.batch).unwrap_or(header.code == SEND_BATCH_MESSAGE);
    Ok(BrokerRequest::Send(Box::new(Send {
        group: fields.text(keys.group)?,
        to: QueueRef { topic: fields.text(keys.topic)?, queue: fields.number(keys.queue)? },
        default_topic: fields.text(keys.default_topic)?,
        default_queues: fields.number(keys.default_queues)?,
        sys_flag: fields.number(keys.sys_flag)?,
        born: Wall::from_millis(fields.number(keys.born)?),
        flag: fields.number(keys.flag)?,
        properties: fields.text_if(keys.properties).unwrap_or(Text::EMPTY),
        reconsume_times: fields.number_if(keys.reconsume_times).unwrap_or(0),
        max_reconsume_times: fields.number_if(keys.max_reconsume_times),
        unit_mode: fields.truth_if(keys.unit_mode).unwrap_or(false),
        batch,
        body: body.clone(),
    })))
}

pub(super) fn put(head: &mut HeadWriter<'_>, send: &Send) -> Body {
    head.field(SHORT.group, &send.group)
        .field(SHORT.topic, &send.to.topic)
        .field(SHORT.default_topic, &send.default_topic)
        .show(SHORT.default_queues, send.default_queues)
        .show(SHORT.queue, send.to.queue)
        .show(SHORT.sys_flag, send.sys_flag)
        .show(SHORT.born, send.born.as_millis())
        .show(SHORT.flag, send.flag)
        .field(SHORT.properties, &send.properties)
        .show(SHORT.reconsume_times, send.reconsume_times)
        .show(SHORT.unit_mode, send.unit_mode)
        .field_if(SHORT.max_reconsume_times, send.max_reconsume_times)
        .show(SHORT.batch, send.batch);
    Body::One(send.body.clone())
}

pub(super) fn encode_response(
    caller: &Caller,
    sent: &Sent,
    with: &Answering<'_>,
    into: &mut BytesMut,
) -> Outgoing {
    let code = match sent.status {
        SendStatus::Ok => Code::Success,
        SendStatus::FlushDiskTimeout => Code::FlushDiskTimeout,
        SendStatus::SlaveNotAvailable => Code::SlaveNotAvailable,
        SendStatus::FlushSlaveTimeout => Code::FlushSlaveTimeout,
    };
    let mut head = answer(caller, code, None, into);
    head.show("msgId", MessageIds { host: with.store_host, at: &sent.at })
        .show("queueId", sent.queue)
        .show("queueOffset", sent.queue_offset);
    if !sent.transaction_id.is_empty() {
        head.field("transactionId", &sent.transaction_id);
    }
    if sent.inner_batch {
        // A producer knows by it that its batch has one id.
        head.field("batchUniqId", &sent.transaction_id);
    }
    head.field("TRACE_ON", "true").field("MSG_REGION", "DefaultRegion");
    head.finish(Body::None)
}

/// Is this code the answer to a message that was stored?
pub(super) fn status(code: i32) -> Option<SendStatus> {
    match Code::from_number(code)? {
        Code::Success => Some(SendStatus::Ok),
        Code::FlushDiskTimeout => Some(SendStatus::FlushDiskTimeout),
        Code::SlaveNotAvailable => Some(SendStatus::SlaveNotAvailable),
        Code::FlushSlaveTimeout => Some(SendStatus::FlushSlaveTimeout),
        _ => None,
    }
}

pub(super) fn decode_response(
    status: SendStatus,
    fields: &Fields,
) -> Result<BrokerResponse, DecodeError> {
    let ids = fields.text("msgId")?;
    let position = |id| parse_offset_message_id(id).map(|(_, at)| at);
    let at: Option<Vec<Physical>> = ids.split(',').map(position).collect();
    let at = at.ok_or(DecodeError::Missing("msgId"))?;
    Ok(BrokerResponse::Sent(Box::new(Sent {
        status,
        queue: fields.number("queueId")?,
        queue_offset: QueueOffset::new(fields.number("queueOffset")?),
        at: if let [one] = at[..] { Positions::One(one) } else { Positions::Many(at) },
        transaction_id: fields.text_if("transactionId").unwrap_or(Text::EMPTY),
        inner_batch: fields.text_if("batchUniqId").is_some(),
    })))
}

/// Offset message ids, comma-joined.
struct MessageIds<'a> {
    host: SocketAddr,
    at: &'a Positions,
}

impl fmt::Display for MessageIds<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = match self.at {
            Positions::Many(all) => all.as_slice(),
            Positions::One(one) => std::slice::from_ref(one),
        };
        for (number, at) in all.iter().enumerate() {
            if number > 0 {
                f.write_str(",")?;
            }
            offset_message_id(self.host, *at).fmt(f)?;
        }
        Ok(())
    }
}
