//! Clients and their groups: codes 34, 35, 38, 41, 42 (requests.md A.4).

use bytes::Bytes;
use hotfire_core::domain::{
    BrokerRequest, BrokerResponse, ConsumeFrom, ConsumeType, ConsumerData, Heartbeat, MessageModel,
    MessageQueue, Subscription, Text,
};
use serde::{Deserialize, Deserializer, Serialize};

use super::queues::QueueBody;
use super::{DecodeError, HEART_BEAT, LOCK_BATCH_MQ, UNLOCK_BATCH_MQ, UNREGISTER_CLIENT};
use crate::codec::body;
use crate::head_writer::{Body, HeadWriter};
use crate::header::Header;

pub(super) fn decode(header: &Header, json: &Bytes) -> Result<BrokerRequest, DecodeError> {
    let fields = &header.fields;
    let named = |name: &Text| !name.is_empty();
    Ok(match header.code {
        HEART_BEAT => {
            let heartbeat: HeartbeatBody = body::parse(json, "a heartbeat")?;
            BrokerRequest::Heartbeat(Box::new(heartbeat.into()))
        }
        LOCK_BATCH_MQ => {
            let LockBody { client_id, consumer_group, mq_set, .. } = lock_body(json)?;
            BrokerRequest::Lock { group: consumer_group, client_id, queues: queues(mq_set) }
        }
        UNLOCK_BATCH_MQ => {
            let LockBody { client_id, consumer_group, mq_set, .. } = lock_body(json)?;
            BrokerRequest::Unlock { group: consumer_group, client_id, queues: queues(mq_set) }
        }
        UNREGISTER_CLIENT => BrokerRequest::Unregister {
            client_id: fields.text("clientID")?,
            producer_group: fields.text_if("producerGroup").filter(named),
            consumer_group: fields.text_if("consumerGroup").filter(named),
        },
        _ => BrokerRequest::ConsumerList { group: fields.text("consumerGroup")? },
    })
}

pub(super) fn put(head: &mut HeadWriter<'_>, request: &BrokerRequest) -> Body {
    match request {
        BrokerRequest::ConsumerList { group } => {
            head.field("consumerGroup", group);
            Body::None
        }
        BrokerRequest::Heartbeat(heartbeat) => {
            body::write(&HeartbeatBody::from(heartbeat.as_ref())).into()
        }
        BrokerRequest::Lock { group, client_id, queues }
        | BrokerRequest::Unlock { group, client_id, queues } => body::write(&LockBody {
            client_id: client_id.clone(),
            consumer_group: group.clone(),
            mq_set: queues.iter().map(QueueBody::from).collect(),
            only_this_broker: false,
        })
        .into(),
        BrokerRequest::Unregister { client_id, producer_group, consumer_group } => {
            head.field("clientID", client_id)
                .field_if("producerGroup", producer_group.as_ref())
                .field_if("consumerGroup", consumer_group.as_ref());
            Body::None
        }
        other => unreachable!("{other:?} is not about clients"),
    }
}

pub(super) fn members_body(members: &[Text]) -> Body {
    body::write(&MembersBody { consumer_id_list: members.to_vec() }).into()
}

pub(super) fn decode_members(json: &Bytes) -> Result<BrokerResponse, DecodeError> {
    let members = body::parse::<MembersBody>(json, "a list of consumers")?.consumer_id_list;
    Ok(BrokerResponse::Consumers(members))
}

pub(super) fn locked_body(locked: &[MessageQueue]) -> Body {
    let lock_ok_mq_set = locked.iter().map(QueueBody::from).collect();
    body::write(&LockedBody { lock_ok_mq_set }).into()
}

pub(super) fn decode_locked(json: &Bytes) -> Result<BrokerResponse, DecodeError> {
    let locked = body::parse::<LockedBody>(json, "a set of queues")?.lock_ok_mq_set;
    Ok(BrokerResponse::Locked(queues(locked)))
}

fn lock_body(json: &Bytes) -> Result<LockBody, DecodeError> {
    body::parse(json, "a lock request")
}

fn queues(bodies: Vec<QueueBody>) -> Vec<MessageQueue> {
    bodies.into_iter().map(MessageQueue::from).collect()
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct MembersBody {
    #[serde(default)]
    consumer_id_list: Vec<Text>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct LockBody {
    client_id: Text,
    consumer_group: Text,
    #[serde(default)]
    mq_set: Vec<QueueBody>,
    #[serde(default)]
    only_this_broker: bool,
}

#[derive(Deserialize, Serialize)]
struct LockedBody {
    #[serde(rename = "lockOKMQSet", default)]
    lock_ok_mq_set: Vec<QueueBody>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct HeartbeatBody {
    #[serde(rename = "clientID")]
    client_id: Text,
    #[serde(default, deserialize_with = "null_is_default")]
    consumer_data_set: Vec<ConsumerBody>,
    #[serde(default)]
    heartbeat_fingerprint: i32,
    #[serde(default, deserialize_with = "null_is_default")]
    producer_data_set: Vec<ProducerBody>,
    #[serde(default)]
    without_sub: bool,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProducerBody {
    group_name: Text,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct ConsumerBody {
    #[serde(default)]
    consume_from_where: Option<Text>,
    #[serde(default)]
    consume_type: Option<Text>,
    group_name: Text,
    #[serde(default)]
    message_model: Option<Text>,
    #[serde(default, deserialize_with = "null_is_default")]
    subscription_data_set: Vec<SubscriptionBody>,
    #[serde(default)]
    unit_mode: bool,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct SubscriptionBody {
    #[serde(default)]
    class_filter_mode: bool,
    #[serde(default, deserialize_with = "codes")]
    code_set: Vec<i32>,
    #[serde(default)]
    expression_type: Option<Text>,
    #[serde(default, deserialize_with = "null_is_default")]
    sub_string: Text,
    #[serde(default)]
    sub_version: i64,
    #[serde(default, deserialize_with = "null_is_default")]
    tags_set: Vec<Text>,
    topic: Text,
}

/// Members that are null instead of absent: some clients write both.
fn null_is_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Hash codes as numbers; the Go client writes them as strings. A null set is empty.
fn codes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<i32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Code {
        Number(i32),
        Text(String),
    }
    let codes: Vec<Code> = null_is_default(from)?;
    let number = |code| match code {
        Code::Number(number) => Ok(number),
        Code::Text(text) => text.parse().map_err(serde::de::Error::custom),
    };
    codes.into_iter().map(number).collect()
}

impl From<HeartbeatBody> for Heartbeat {
    fn from(body: HeartbeatBody) -> Self {
        Self {
            client_id: body.client_id,
            producers: body.producer_data_set.into_iter().map(|data| data.group_name).collect(),
            consumers: body.consumer_data_set.into_iter().map(ConsumerData::from).collect(),
            fingerprint: body.heartbeat_fingerprint,
            without_sub: body.without_sub,
        }
    }
}

impl From<ConsumerBody> for ConsumerData {
    fn from(body: ConsumerBody) -> Self {
        // Names that we do not know, of newer peers, count as absent; what an absent one means
        // is what most clients are: push consumers of a cluster.
        Self {
            group: body.group_name,
            consume_type: match body.consume_type.as_deref() {
                Some("CONSUME_ACTIVELY") => ConsumeType::Actively,
                Some("CONSUME_POP") => ConsumeType::Pop,
                _ => ConsumeType::Passively,
            },
            model: match body.message_model.as_deref() {
                Some("BROADCASTING") => MessageModel::Broadcasting,
                _ => MessageModel::Clustering,
            },
            from: match body.consume_from_where.as_deref() {
                Some("CONSUME_FROM_FIRST_OFFSET" | "CONSUME_FROM_MIN_OFFSET") => {
                    ConsumeFrom::FirstOffset
                }
                Some("CONSUME_FROM_TIMESTAMP") => ConsumeFrom::Timestamp,
                _ => ConsumeFrom::LastOffset,
            },
            subscriptions: body.subscription_data_set.into_iter().map(Subscription::from).collect(),
        }
    }
}

impl From<SubscriptionBody> for Subscription {
    fn from(body: SubscriptionBody) -> Self {
        Self {
            topic: body.topic,
            expression: body.sub_string,
            tags: body.tags_set,
            codes: body.code_set,
            version: body.sub_version,
            expression_type: body.expression_type.unwrap_or(Text::from_static("TAG")),
        }
    }
}

impl From<&Heartbeat> for HeartbeatBody {
    fn from(heartbeat: &Heartbeat) -> Self {
        let producers = heartbeat.producers.iter();
        Self {
            client_id: heartbeat.client_id.clone(),
            consumer_data_set: heartbeat.consumers.iter().map(ConsumerBody::from).collect(),
            heartbeat_fingerprint: heartbeat.fingerprint,
            producer_data_set: producers
                .map(|group| ProducerBody { group_name: group.clone() })
                .collect(),
            without_sub: heartbeat.without_sub,
        }
    }
}

impl From<&ConsumerData> for ConsumerBody {
    fn from(data: &ConsumerData) -> Self {
        let from = match data.from {
            ConsumeFrom::FirstOffset => "CONSUME_FROM_FIRST_OFFSET",
            ConsumeFrom::LastOffset => "CONSUME_FROM_LAST_OFFSET",
            ConsumeFrom::Timestamp => "CONSUME_FROM_TIMESTAMP",
        };
        let consume_type = match data.consume_type {
            ConsumeType::Actively => "CONSUME_ACTIVELY",
            ConsumeType::Passively => "CONSUME_PASSIVELY",
            ConsumeType::Pop => "CONSUME_POP",
        };
        let model = match data.model {
            MessageModel::Broadcasting => "BROADCASTING",
            MessageModel::Clustering => "CLUSTERING",
        };
        Self {
            consume_from_where: Some(Text::from_static(from)),
            consume_type: Some(Text::from_static(consume_type)),
            group_name: data.group.clone(),
            message_model: Some(Text::from_static(model)),
            subscription_data_set: data.subscriptions.iter().map(SubscriptionBody::from).collect(),
            unit_mode: false,
        }
    }
}

impl From<&Subscription> for SubscriptionBody {
    fn from(subscription: &Subscription) -> Self {
        let Subscription { topic, expression, tags, codes, version, expression_type } =
            subscription.clone();
        Self {
            class_filter_mode: false,
            code_set: codes,
            expression_type: Some(expression_type),
            sub_string: expression,
            sub_version: version,
            tags_set: tags,
            topic,
        }
    }
}
