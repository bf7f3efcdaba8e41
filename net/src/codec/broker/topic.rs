//! Topics: codes 17, 351 (requests.md C).

use std::collections::BTreeMap;

use bytes::Bytes;
use hotfire_core::domain::{BrokerRequest, BrokerResponse, CreateTopic, Text, TopicDescription};
use serde::{Deserialize, Serialize};

use super::{DecodeError, UPDATE_AND_CREATE_TOPIC};
use crate::codec::body;
use crate::head_writer::{Body, HeadWriter};
use crate::header::Header;

pub(super) fn decode(header: &Header) -> Result<BrokerRequest, DecodeError> {
    let fields = &header.fields;
    let topic = fields.text("topic")?;
    Ok(match header.code {
        UPDATE_AND_CREATE_TOPIC => BrokerRequest::CreateTopic(Box::new(CreateTopic {
            topic,
            read_queues: fields.number("readQueueNums")?,
            write_queues: fields.number("writeQueueNums")?,
            perm: fields.number("perm")?,
            sys_flag: fields.number_if("topicSysFlag").unwrap_or(0),
            order: fields.truth_if("order").ok_or(DecodeError::Missing("order"))?,
            attributes: fields.text_if("attributes").filter(|text| !text.is_empty()),
        })),
        _ => BrokerRequest::TopicConfig { topic },
    })
}

pub(super) fn put(head: &mut HeadWriter<'_>, request: &BrokerRequest) {
    match request {
        BrokerRequest::CreateTopic(create) => {
            head.field("topic", &create.topic)
                .field("defaultTopic", "TBW102")
                .show("readQueueNums", create.read_queues)
                .show("writeQueueNums", create.write_queues)
                .show("perm", create.perm)
                .field("topicFilterType", "SINGLE_TAG")
                .show("topicSysFlag", create.sys_flag)
                .show("order", create.order)
                .field_if("attributes", create.attributes.as_ref());
        }
        BrokerRequest::TopicConfig { topic } => {
            head.field("topic", topic);
        }
        other => unreachable!("{other:?} has no topic alone in it"),
    }
}

/// A TopicConfig, members in the order they are printed.
#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct TopicConfigBody {
    attributes: BTreeMap<Text, Text>,
    order: bool,
    perm: i32,
    read_queue_nums: u32,
    #[serde(skip_deserializing)]
    topic_filter_type: &'static str,
    topic_name: Text,
    topic_sys_flag: i32,
    write_queue_nums: u32,
}

pub(super) fn description_body(topic: &TopicDescription) -> Body {
    body::write(&TopicConfigBody {
        attributes: topic.attributes.clone(),
        order: topic.order,
        perm: topic.perm,
        read_queue_nums: topic.read_queues,
        topic_filter_type: "SINGLE_TAG",
        topic_name: topic.topic.clone(),
        topic_sys_flag: topic.sys_flag,
        write_queue_nums: topic.write_queues,
    })
    .into()
}

pub(super) fn decode_description(json: &Bytes) -> Result<BrokerResponse, DecodeError> {
    let config = body::parse::<TopicConfigBody>(json, "a topic's configuration")?;
    Ok(BrokerResponse::TopicConfig(Box::new(TopicDescription {
        topic: config.topic_name,
        read_queues: config.read_queue_nums,
        write_queues: config.write_queue_nums,
        perm: config.perm,
        sys_flag: config.topic_sys_flag,
        order: config.order,
        attributes: config.attributes,
    })))
}
