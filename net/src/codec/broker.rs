//! The broker's requests, answers and notices (requests.md, groups A and C).
//!
//! | file | codes |
//! |---|---|
//! | `send`, `sent` | 10, 310, 320 |
//! | `pull` | 11, 361 |
//! | `query` | 12, 33 |
//! | `send_back` | 36 |
//! | `consumer` | 34, 35, 38, 40, 41, 42 |
//! | `offset` | 14, 15, 29, 30, 31, 32 |
//! | `group` | 905 |
//! | `group_config` | 200, 207, 225, 352 |
//! | `ha` | 906, 907 |
//! | `queues` | no codes: queues within bodies |
//! | `reset` | 220, 222, 314 |
//! | `runtime` | 28 |
//! | `stats` | 208, 317 |
//! | `state` | 21, 43, 45, 201, 402 |
//! | `topic` | 17, 351 |

mod consumer;
mod group;
mod group_config;
mod ha;
mod offset;
mod pull;
mod query;
mod queues;
mod reset;
mod runtime;
mod send;
mod send_back;
mod sent;
mod state;
mod stats;
mod topic;

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use hotfire_core::domain::{BrokerNotice, BrokerRequest, BrokerResponse, Caller, Code};
use hotfire_storage::position::Span;

use super::{Ask, DecodeError, answer, refusal};
use crate::head_writer::{Body, HeadWriter, Outgoing};
use crate::header::Header;

const SEND_MESSAGE: i32 = 10;
const PULL_MESSAGE: i32 = 11;
const QUERY_MESSAGE: i32 = 12;
const QUERY_CONSUMER_OFFSET: i32 = 14;
const UPDATE_CONSUMER_OFFSET: i32 = 15;
const UPDATE_AND_CREATE_TOPIC: i32 = 17;
const GET_BROKER_RUNTIME_INFO: i32 = 28;
const SEARCH_OFFSET_BY_TIMESTAMP: i32 = 29;
const GET_MAX_OFFSET: i32 = 30;
const GET_MIN_OFFSET: i32 = 31;
const GET_EARLIEST_MSG_STORETIME: i32 = 32;
const VIEW_MESSAGE_BY_ID: i32 = 33;
const HEART_BEAT: i32 = 34;
const UNREGISTER_CLIENT: i32 = 35;
const CONSUMER_SEND_MSG_BACK: i32 = 36;
const GET_CONSUMER_LIST_BY_GROUP: i32 = 38;
const NOTIFY_CONSUMER_IDS_CHANGED: i32 = 40;
const LOCK_BATCH_MQ: i32 = 41;
const UNLOCK_BATCH_MQ: i32 = 42;
const UPDATE_AND_CREATE_SUBSCRIPTIONGROUP: i32 = 200;
const DELETE_SUBSCRIPTIONGROUP: i32 = 207;
const GET_CONSUME_STATS: i32 = 208;
const RESET_CONSUMER_CLIENT_OFFSET: i32 = 220;
const INVOKE_BROKER_TO_RESET_OFFSET: i32 = 222;
const UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST: i32 = 225;
const SEND_MESSAGE_V2: i32 = 310;
const CLONE_GROUP_OFFSET: i32 = 314;
const GET_BROKER_CONSUME_STATS: i32 = 317;
const SEND_BATCH_MESSAGE: i32 = 320;
const GET_TOPIC_CONFIG: i32 = 351;
const GET_SUBSCRIPTIONGROUP_CONFIG: i32 = 352;
const LITE_PULL_MESSAGE: i32 = 361;
const NOTIFY_MIN_BROKER_ID_CHANGE: i32 = 905;
const EXCHANGE_BROKER_HA_INFO: i32 = 906;
const GET_BROKER_HA_STATUS: i32 = 907;

/// What a request frame asks of a broker. Never fails: what cannot be read is
/// [`BrokerRequest::Malformed`], what is not known [`BrokerRequest::Unsupported`].
pub fn decode_request(header: &Header, body: &Bytes) -> BrokerRequest {
    let decoded = match header.code {
        SEND_MESSAGE | SEND_MESSAGE_V2 | SEND_BATCH_MESSAGE => send::decode(header, body),
        CONSUMER_SEND_MSG_BACK => send_back::decode(&header.fields),
        PULL_MESSAGE | LITE_PULL_MESSAGE => pull::decode(&header.fields),
        QUERY_MESSAGE => query::decode(&header.fields),
        VIEW_MESSAGE_BY_ID => query::decode_view(&header.fields),
        HEART_BEAT
        | UNREGISTER_CLIENT
        | GET_CONSUMER_LIST_BY_GROUP
        | LOCK_BATCH_MQ
        | UNLOCK_BATCH_MQ => consumer::decode(header, body),
        QUERY_CONSUMER_OFFSET
        | UPDATE_CONSUMER_OFFSET
        | SEARCH_OFFSET_BY_TIMESTAMP
        | GET_MAX_OFFSET
        | GET_MIN_OFFSET
        | GET_EARLIEST_MSG_STORETIME => offset::decode(header),
        NOTIFY_MIN_BROKER_ID_CHANGE => group::decode(&header.fields),
        UPDATE_AND_CREATE_SUBSCRIPTIONGROUP
        | UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST
        | DELETE_SUBSCRIPTIONGROUP
        | GET_SUBSCRIPTIONGROUP_CONFIG => group_config::decode(header, body),
        GET_CONSUME_STATS | GET_BROKER_CONSUME_STATS => stats::decode(header),
        INVOKE_BROKER_TO_RESET_OFFSET | CLONE_GROUP_OFFSET => reset::decode(header),
        EXCHANGE_BROKER_HA_INFO => Ok(ha::decode_info(&header.fields)),
        GET_BROKER_HA_STATUS => Ok(BrokerRequest::HaStatus),
        GET_BROKER_RUNTIME_INFO => Ok(BrokerRequest::RuntimeInfo),
        UPDATE_AND_CREATE_TOPIC | GET_TOPIC_CONFIG => topic::decode(header),
        code => Ok(match state::kind(code) {
            Some(kind) => BrokerRequest::State(kind),
            None => BrokerRequest::Unsupported { code },
        }),
    };
    decoded.unwrap_or_else(|error| BrokerRequest::Malformed { why: error.to_string() })
}

/// What an answer's frame needs to know beyond the answer.
pub struct Answering<'a> {
    /// The broker's address as clients know it: part of every offset message id (wire.md 10).
    pub store_host: SocketAddr,
    /// The bytes of a span, shared with the store.
    pub lease: &'a mut dyn FnMut(Span) -> Bytes,
}

/// The frame of a broker's answer. Bodies of pulls are leases, never copies.
pub fn encode_response(
    caller: &Caller,
    response: &BrokerResponse,
    with: &mut Answering<'_>,
    into: &mut BytesMut,
) -> Outgoing {
    let body = match response {
        BrokerResponse::AllConsumeStats { broker_addr, groups } => {
            stats::all_body(broker_addr, groups)
        }
        BrokerResponse::ConsumeStats(stats) => stats::stats_body(stats),
        BrokerResponse::Consumers(members) => consumer::members_body(members),
        BrokerResponse::Done => Body::None,
        BrokerResponse::GroupConfig(config) => group_config::config_body(config),
        BrokerResponse::HaStatus(status) => ha::body(status),
        BrokerResponse::Locked(queues) => consumer::locked_body(queues),
        BrokerResponse::Message(span) => (with.lease)(*span).into(),
        BrokerResponse::OffsetsReset(offsets) => reset::moved_body(offsets),
        BrokerResponse::RuntimeInfo(info) => runtime::body(info),
        BrokerResponse::TopicConfig(description) => topic::description_body(description),
        BrokerResponse::Pulled(pulled) => return pull::encode_response(caller, pulled, with, into),
        BrokerResponse::Queried(queried) => {
            return query::encode_response(caller, queried, with, into);
        }
        BrokerResponse::Sent(sent) => return send::encode_response(caller, sent, with, into),
        BrokerResponse::Refused { code, remark } => {
            return answer(caller, *code, Some(remark), into).finish(Body::None);
        }
        with_fields => {
            let mut head = answer(caller, Code::Success, None, into);
            let body = put_fields(&mut head, with_fields);
            return head.finish(body);
        }
    };
    answer(caller, Code::Success, None, into).finish(body)
}

/// What is in the header of an answer.
fn put_fields(head: &mut HeadWriter<'_>, response: &BrokerResponse) -> Body {
    match response {
        BrokerResponse::Heartbeat { sub_changed } => {
            head.field("IS_SUPPORT_HEART_BEAT_V2", "true").show("IS_SUB_CHANGE", sub_changed);
        }
        BrokerResponse::HaInfo(info) => ha::put_info(head, info.as_deref()),
        BrokerResponse::Offset(offset) => {
            head.show("offset", offset);
        }
        BrokerResponse::State { kind, count, json } => {
            if let Some(field) = state::total_field(*kind) {
                head.show(field, count);
            }
            return json.clone().into();
        }
        BrokerResponse::Timestamp(timestamp) => {
            head.show("timestamp", timestamp);
        }
        other => unreachable!("{other:?} has no field of its own"),
    }
    Body::None
}

/// The frame of a notice. In the JSON form, which every client reads.
pub fn encode_notice(notice: &BrokerNotice, opaque: i32, into: &mut BytesMut) -> Outgoing {
    let ask = Ask { opaque, json: true, oneway: true };
    match notice {
        BrokerNotice::ConsumerIdsChanged { group } => {
            let mut head = ask.begin(NOTIFY_CONSUMER_IDS_CHANGED, into);
            head.field("consumerGroup", group);
            head.finish(Body::None)
        }
        BrokerNotice::OffsetsReset(reset) => {
            let mut head = ask.begin(RESET_CONSUMER_CLIENT_OFFSET, into);
            let body = reset::put_notice(&mut head, reset);
            head.finish(body)
        }
    }
}

/// The notice that a broker's request to a client carries, if it is one we know.
pub fn decode_notice(header: &Header, body: &Bytes) -> Option<BrokerNotice> {
    match header.code {
        RESET_CONSUMER_CLIENT_OFFSET => reset::decode_notice(header, body).ok(),
        NOTIFY_CONSUMER_IDS_CHANGED => {
            let group = header.fields.text_if("consumerGroup")?;
            Some(BrokerNotice::ConsumerIdsChanged { group })
        }
        _ => None,
    }
}

/// The request code of a request.
pub fn request_code(request: &BrokerRequest) -> i32 {
    match request {
        BrokerRequest::ConfigureGroups(configs) if configs.len() == 1 => {
            UPDATE_AND_CREATE_SUBSCRIPTIONGROUP
        }
        BrokerRequest::ConfigureGroups(_) => UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST,
        BrokerRequest::AllConsumeStats { .. } => GET_BROKER_CONSUME_STATS,
        BrokerRequest::CloneOffsets(_) => CLONE_GROUP_OFFSET,
        BrokerRequest::ConsumeStats { .. } => GET_CONSUME_STATS,
        BrokerRequest::ConsumerList { .. } => GET_CONSUMER_LIST_BY_GROUP,
        BrokerRequest::CreateTopic(_) => UPDATE_AND_CREATE_TOPIC,
        BrokerRequest::DeleteGroup { .. } => DELETE_SUBSCRIPTIONGROUP,
        BrokerRequest::EarliestStoreTime(_) => GET_EARLIEST_MSG_STORETIME,
        BrokerRequest::GroupConfig { .. } => GET_SUBSCRIPTIONGROUP_CONFIG,
        BrokerRequest::Heartbeat(_) => HEART_BEAT,
        BrokerRequest::Lock { .. } => LOCK_BATCH_MQ,
        // Not something to ask; a server answers the code 0 as unsupported.
        BrokerRequest::Malformed { .. } => 0,
        BrokerRequest::MaxOffset(_) => GET_MAX_OFFSET,
        BrokerRequest::MinIdChanged(_) => NOTIFY_MIN_BROKER_ID_CHANGE,
        BrokerRequest::MinOffset(_) => GET_MIN_OFFSET,
        BrokerRequest::Pull(_) => PULL_MESSAGE,
        BrokerRequest::QueryMessage(_) => QUERY_MESSAGE,
        BrokerRequest::QueryOffset { .. } => QUERY_CONSUMER_OFFSET,
        BrokerRequest::HaInfo { .. } => EXCHANGE_BROKER_HA_INFO,
        BrokerRequest::HaStatus => GET_BROKER_HA_STATUS,
        BrokerRequest::ResetOffsets(_) => INVOKE_BROKER_TO_RESET_OFFSET,
        BrokerRequest::RuntimeInfo => GET_BROKER_RUNTIME_INFO,
        BrokerRequest::SearchOffset { .. } => SEARCH_OFFSET_BY_TIMESTAMP,
        BrokerRequest::Send(send) if send.batch => SEND_BATCH_MESSAGE,
        BrokerRequest::Send(_) => SEND_MESSAGE_V2,
        BrokerRequest::SendBack(_) => CONSUMER_SEND_MSG_BACK,
        BrokerRequest::State(kind) => state::code(*kind),
        BrokerRequest::TopicConfig { .. } => GET_TOPIC_CONFIG,
        BrokerRequest::Unlock { .. } => UNLOCK_BATCH_MQ,
        BrokerRequest::Unregister { .. } => UNREGISTER_CLIENT,
        BrokerRequest::Unsupported { code } => *code,
        BrokerRequest::UpdateOffset { .. } => UPDATE_CONSUMER_OFFSET,
        BrokerRequest::ViewMessage { .. } => VIEW_MESSAGE_BY_ID,
    }
}

/// The frame of a request to a broker.
pub fn encode_request(ask: Ask, request: &BrokerRequest, into: &mut BytesMut) -> Outgoing {
    let mut head = ask.begin(request_code(request), into);
    let body = put_request(&mut head, request);
    head.finish(body)
}

fn put_request(head: &mut HeadWriter<'_>, request: &BrokerRequest) -> Body {
    match request {
        BrokerRequest::Send(send) => send::put(head, send),
        BrokerRequest::SendBack(back) => {
            send_back::put(head, back);
            Body::None
        }
        BrokerRequest::Pull(pull) => pull::put(head, pull),
        BrokerRequest::QueryMessage(query) => query::put(head, query),
        BrokerRequest::ViewMessage { at } => {
            head.show("offset", at);
            Body::None
        }
        BrokerRequest::ConsumerList { .. }
        | BrokerRequest::Heartbeat(_)
        | BrokerRequest::Lock { .. }
        | BrokerRequest::Unlock { .. }
        | BrokerRequest::Unregister { .. } => consumer::put(head, request),
        BrokerRequest::EarliestStoreTime(_)
        | BrokerRequest::MaxOffset(_)
        | BrokerRequest::MinOffset(_)
        | BrokerRequest::QueryOffset { .. }
        | BrokerRequest::SearchOffset { .. }
        | BrokerRequest::UpdateOffset { .. } => {
            offset::put(head, request);
            Body::None
        }
        BrokerRequest::ConfigureGroups(_)
        | BrokerRequest::DeleteGroup { .. }
        | BrokerRequest::GroupConfig { .. } => group_config::put(head, request),
        BrokerRequest::CreateTopic(_) | BrokerRequest::TopicConfig { .. } => {
            topic::put(head, request);
            Body::None
        }
        BrokerRequest::AllConsumeStats { .. } | BrokerRequest::ConsumeStats { .. } => {
            stats::put(head, request);
            Body::None
        }
        BrokerRequest::CloneOffsets(_) | BrokerRequest::ResetOffsets(_) => {
            reset::put(head, request);
            Body::None
        }
        BrokerRequest::HaInfo { told } => {
            head.field_if("masterHaAddress", told.as_ref());
            Body::None
        }
        BrokerRequest::MinIdChanged(change) => {
            group::put(head, change);
            Body::None
        }
        BrokerRequest::Malformed { .. }
        | BrokerRequest::HaStatus
        | BrokerRequest::RuntimeInfo
        | BrokerRequest::State(_)
        | BrokerRequest::Unsupported { .. } => Body::None,
    }
}

/// A broker's answer as its client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What was answered. Spans mean nothing outside of the broker, so they are left out.
    pub response: BrokerResponse,
    /// The records of a pull, query or view, one behind the other (wire.md 7); else empty.
    pub records: Bytes,
}

/// What the answer to a request with this code says.
pub fn decode_response(
    request_code: i32,
    header: &Header,
    body: &Bytes,
) -> Result<Reply, DecodeError> {
    let reply = |response| Ok(Reply { response, records: Bytes::new() });
    let fields = &header.fields;
    match request_code {
        SEND_MESSAGE | SEND_MESSAGE_V2 | SEND_BATCH_MESSAGE => {
            if let Some(status) = send::status(header.code) {
                return reply(send::decode_response(status, fields)?);
            }
        }
        PULL_MESSAGE | LITE_PULL_MESSAGE => {
            if let Some(response) = pull::decode_response(header)? {
                return Ok(Reply { response, records: body.clone() });
            }
        }
        _ => {}
    }
    if header.code != Code::Success.number() {
        let (code, remark) = refusal(header);
        return reply(BrokerResponse::Refused { code, remark });
    }
    reply(match request_code {
        QUERY_MESSAGE => {
            let response = query::decode_response(fields)?;
            return Ok(Reply { response, records: body.clone() });
        }
        VIEW_MESSAGE_BY_ID => {
            let response = query::decode_viewed(body)?;
            return Ok(Reply { response, records: body.clone() });
        }
        HEART_BEAT => {
            let sub_changed = fields.truth_if("IS_SUB_CHANGE").unwrap_or(true);
            BrokerResponse::Heartbeat { sub_changed }
        }
        EXCHANGE_BROKER_HA_INFO => ha::decode_info_answer(fields)?,
        GET_BROKER_HA_STATUS => ha::decode(body)?,
        GET_CONSUMER_LIST_BY_GROUP => consumer::decode_members(body)?,
        LOCK_BATCH_MQ => consumer::decode_locked(body)?,
        QUERY_CONSUMER_OFFSET | SEARCH_OFFSET_BY_TIMESTAMP | GET_MAX_OFFSET | GET_MIN_OFFSET => {
            BrokerResponse::Offset(fields.number("offset")?)
        }
        GET_EARLIEST_MSG_STORETIME => BrokerResponse::Timestamp(fields.number("timestamp")?),
        GET_BROKER_RUNTIME_INFO => runtime::decode(body)?,
        GET_BROKER_CONSUME_STATS => stats::decode_all(body)?,
        GET_CONSUME_STATS => stats::decode_stats(body)?,
        INVOKE_BROKER_TO_RESET_OFFSET => reset::decode_moved(body)?,
        GET_SUBSCRIPTIONGROUP_CONFIG => group_config::decode_config(body)?,
        GET_TOPIC_CONFIG => topic::decode_description(body)?,
        code => match state::kind(code) {
            Some(kind) => {
                let total = state::total_field(kind).and_then(|field| fields.text_if(field));
                let count = total.and_then(|total| total.parse().ok()).unwrap_or(0);
                BrokerResponse::State { kind, count, json: body.clone() }
            }
            None => BrokerResponse::Done,
        },
    })
}

#[cfg(test)]
mod tests;
