//! SEND_MESSAGE, SEND_MESSAGE_V2, SEND_BATCH_MESSAGE (wire.md 5 and 9, requests.md A.1).

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use bytes::{Bytes, BytesMut};
use hotfire_core::domain::{
    BrokerRequest, BrokerResponse, Caller, Code, DEFAULT_TOPIC, Positions, QueueRef, Send,
    SendStatus, Sent, Text,
};
use hotfire_storage::position::{Physical, QueueOffset};
use hotfire_storage::record::{offset_message_id, parse_offset_message_id};
use hotfire_storage::time::Wall;

use super::{Answering, DecodeError, SEND_BATCH_MESSAGE, SEND_MESSAGE, answer, sent};
use crate::head_writer::{Body, HeadWriter, Outgoing};
use crate::header::{Fields, Header};

/// The fields of a send, in the order of their short names.
#[derive(Clone, Copy)]
enum Field {
    Group,
    Topic,
    DefaultTopic,
    DefaultQueues,
    Queue,
    SysFlag,
    Born,
    Flag,
    Properties,
    ReconsumeTimes,
    UnitMode,
    MaxReconsumeTimes,
    Batch,
}

const FIELDS: usize = Field::Batch as usize + 1;

/// The names of SEND_MESSAGE's fields.
const LONG: [&str; FIELDS] = [
    "producerGroup",
    "topic",
    "defaultTopic",
    "defaultTopicQueueNums",
    "queueId",
    "sysFlag",
    "bornTimestamp",
    "flag",
    "properties",
    "reconsumeTimes",
    "unitMode",
    "maxReconsumeTimes",
    "batch",
];

/// The names of the other two's: a letter each.
const SHORT: [&str; FIELDS] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m"];

/// A send's fields, found in one walk: this is the request that counts.
struct Found<'a> {
    fields: &'a Fields,
    names: &'static [&'static str; FIELDS],
    /// Where among all each is; at [`NOWHERE`] is none.
    places: [usize; FIELDS],
}

const NOWHERE: usize = usize::MAX;

impl<'a> Found<'a> {
    fn new(header: &'a Header) -> Self {
        let mut places = [NOWHERE; FIELDS];
        let is_long = header.code == SEND_MESSAGE;
        for (at, name) in header.fields.keys().enumerate() {
            let field = match name {
                [letter] if !is_long => usize::from(letter.wrapping_sub(b'a')),
                _ if is_long => {
                    LONG.iter().position(|known| known.as_bytes() == name).unwrap_or(FIELDS)
                }
                _ => FIELDS,
            };
            // Of two of a name the first counts, as everywhere.
            if let Some(place @ &mut NOWHERE) = places.get_mut(field) {
                *place = at;
            }
        }
        Self { fields: &header.fields, names: if is_long { &LONG } else { &SHORT }, places }
    }

    fn value(&self, field: Field) -> Option<&'a str> {
        self.fields.value_at(self.places[field as usize])
    }

    fn text_if(&self, field: Field) -> Option<Text> {
        self.value(field).map(|value| self.fields.share(value))
    }

    fn text(&self, field: Field) -> Result<Text, DecodeError> {
        self.text_if(field).ok_or(DecodeError::Missing(self.names[field as usize]))
    }

    fn number_if<T: FromStr + From<u8>>(&self, field: Field) -> Option<T> {
        let value = self.value(field)?;
        match value.as_bytes() {
            [digit @ b'0'..=b'9'] => Some(T::from(digit - b'0')),
            _ => value.parse().ok(),
        }
    }

    fn number<T: FromStr + From<u8>>(&self, field: Field) -> Result<T, DecodeError> {
        self.number_if(field).ok_or(DecodeError::Missing(self.names[field as usize]))
    }

    fn truth_if(&self, field: Field) -> Option<bool> {
        self.value(field).map(|value| value.eq_ignore_ascii_case("true"))
    }
}

pub(super) fn decode(header: &Header, body: &Bytes) -> Result<BrokerRequest, DecodeError> {
    let found = Found::new(header);
    let batch = found.truth_if(Field::Batch).unwrap_or(header.code == SEND_BATCH_MESSAGE);
    Ok(BrokerRequest::Send(Box::new(Send {
        group: found.text(Field::Group)?,
        to: QueueRef { topic: found.text(Field::Topic)?, queue: found.number(Field::Queue)? },
        default_topic: match found.value(Field::DefaultTopic) {
            // Nearly always; a text of the program is cloned and dropped for nothing.
            Some(DEFAULT_TOPIC) => Text::from_static(DEFAULT_TOPIC),
            _ => found.text(Field::DefaultTopic)?,
        },
        default_queues: found.number(Field::DefaultQueues)?,
        sys_flag: found.number(Field::SysFlag)?,
        born: Wall::from_millis(found.number(Field::Born)?),
        flag: found.number(Field::Flag)?,
        properties: found.text_if(Field::Properties).unwrap_or(Text::EMPTY),
        reconsume_times: found.number_if(Field::ReconsumeTimes).unwrap_or(0),
        max_reconsume_times: found.number_if(Field::MaxReconsumeTimes),
        unit_mode: found.truth_if(Field::UnitMode).unwrap_or(false),
        batch,
        body: body.clone(),
    })))
}

pub(super) fn put(head: &mut HeadWriter<'_>, send: &Send) -> Body {
    let name = |field: Field| SHORT[field as usize];
    let truth = |truth| if truth { "true" } else { "false" };
    head.field(name(Field::Group), &send.group)
        .field(name(Field::Topic), &send.to.topic)
        .field(name(Field::DefaultTopic), &send.default_topic)
        .number(name(Field::DefaultQueues), send.default_queues)
        .number(name(Field::Queue), send.to.queue)
        .number(name(Field::SysFlag), send.sys_flag)
        .number(name(Field::Born), send.born.as_millis())
        .number(name(Field::Flag), send.flag)
        .field(name(Field::Properties), &send.properties)
        .number(name(Field::ReconsumeTimes), send.reconsume_times)
        .field(name(Field::UnitMode), truth(send.unit_mode))
        .field_if(name(Field::MaxReconsumeTimes), send.max_reconsume_times)
        .field(name(Field::Batch), truth(send.batch));
    Body::One(send.body.clone())
}

pub(super) fn encode_response(
    caller: &Caller,
    sent: &Sent,
    with: &Answering<'_>,
    into: &mut BytesMut,
) -> Outgoing {
    let code = code(sent.status);
    sent::encode(caller, code, sent, with.store_host, into)
        .unwrap_or_else(|| by_field(caller, code, sent, with, into))
}

/// The code of an answer to a message that was stored.
pub(super) fn code(status: SendStatus) -> Code {
    match status {
        SendStatus::Ok => Code::Success,
        SendStatus::FlushDiskTimeout => Code::FlushDiskTimeout,
        SendStatus::SlaveNotAvailable => Code::SlaveNotAvailable,
        SendStatus::FlushSlaveTimeout => Code::FlushSlaveTimeout,
    }
}

/// An answer of any kind.
pub(super) fn by_field(
    caller: &Caller,
    code: Code,
    sent: &Sent,
    with: &Answering<'_>,
    into: &mut BytesMut,
) -> Outgoing {
    let mut head = answer(caller, code, None, into);
    head.show("msgId", MessageIds { host: with.store_host, at: &sent.at })
        .number("queueId", sent.queue)
        .number("queueOffset", sent.queue_offset.get());
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
