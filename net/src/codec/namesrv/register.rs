//! REGISTER_BROKER and its body, plain and compressed (requests.md B.1).
//!
//! We read both and write the plain one: it is the default of the original, and the compressed
//! one loses topicSysFlag and order.

use std::collections::BTreeMap;
use std::io::Read;

use bytes::{Buf, Bytes};
use flate2::read::ZlibDecoder;
use hotfire_core::domain::{DataVersion, RegisteredTopic, Registration, Text};
use serde::{Deserialize, Serialize};

use super::bodies::DataVersionBody;
use super::{DecodeError, HeadWriter, body, identity, put_identity};
use crate::header::Fields;

/// What a compressed registration may grow to: some 400,000 topics, while a frame of zeros
/// could ask for 16 GiB.
const INFLATED_MAX: usize = 64 << 20;

const WHAT: &str = "a registration";

#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct RegisterBody {
    filter_server_list: Vec<Text>,
    topic_config_serialize_wrapper: Wrapper,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Wrapper {
    data_version: DataVersionBody,
    // Static topics are not ours yet; the members must be there for the original to read.
    #[serde(skip_deserializing)]
    mapping_data_version: DataVersionBody,
    topic_config_table: BTreeMap<Text, TopicConfigBody>,
    #[serde(skip_deserializing)]
    topic_queue_mapping_detail_map: Empty,
    #[serde(skip_deserializing)]
    topic_queue_mapping_info_map: Empty,
}

/// An object without members.
#[derive(Default, Serialize)]
struct Empty {}

#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct TopicConfigBody {
    #[serde(skip_deserializing)]
    attributes: BTreeMap<Text, Text>,
    order: bool,
    perm: i32,
    read_queue_nums: u32,
    #[serde(skip_deserializing)]
    topic_filter_type: &'static str,
    topic_name: Option<Text>,
    topic_sys_flag: i32,
    write_queue_nums: u32,
}

pub(super) fn decode(fields: &Fields, bytes: &Bytes) -> Result<Registration, DecodeError> {
    // 0 means that the sender did not count.
    let crc = fields.number_if::<u32>("bodyCrc32").unwrap_or(0);
    if crc != 0 && crc != checksum(bytes) {
        return Err(DecodeError::Checksum);
    }
    let (data_version, topics) = if bytes.is_empty() {
        (DataVersion::default(), Vec::new())
    } else if fields.truth_if("compressed") == Some(true) {
        compressed(bytes)?
    } else {
        plain(bytes)?
    };
    Ok(Registration {
        broker: identity(fields)?,
        ha_addr: fields.text("haServerAddr")?,
        heartbeat_timeout_ms: fields.number_if("heartbeatTimeoutMillis"),
        enable_acting_master: fields.truth_if("enableActingMaster"),
        data_version,
        topics,
    })
}

pub(super) fn encode(head: &mut HeadWriter<'_>, registration: &Registration) -> Vec<u8> {
    let table = registration.topics.iter().map(|topic| {
        let config = TopicConfigBody {
            attributes: BTreeMap::new(),
            order: topic.order,
            perm: topic.perm,
            read_queue_nums: topic.read_queues,
            topic_filter_type: "SINGLE_TAG",
            topic_name: Some(topic.topic.clone()),
            topic_sys_flag: topic.sys_flag,
            write_queue_nums: topic.write_queues,
        };
        (topic.topic.clone(), config)
    });
    let json = body::write(&RegisterBody {
        filter_server_list: Vec::new(),
        topic_config_serialize_wrapper: Wrapper {
            data_version: registration.data_version.into(),
            topic_config_table: table.collect(),
            ..Wrapper::default()
        },
    });
    put_identity(head, &registration.broker);
    head.field("haServerAddr", &registration.ha_addr)
        .field_if("heartbeatTimeoutMillis", registration.heartbeat_timeout_ms)
        .field_if("enableActingMaster", registration.enable_acting_master)
        .field("compressed", "false")
        .show("bodyCrc32", checksum(&json));
    json
}

fn checksum(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes) & 0x7fff_ffff
}

fn plain(json: &Bytes) -> Result<(DataVersion, Vec<RegisteredTopic>), DecodeError> {
    let wrapper = body::parse::<RegisterBody>(json, WHAT)?.topic_config_serialize_wrapper;
    let topics = wrapper.topic_config_table.into_iter().map(|(key, config)| RegisteredTopic {
        topic: config.topic_name.unwrap_or(key),
        read_queues: config.read_queue_nums,
        write_queues: config.write_queue_nums,
        perm: config.perm,
        sys_flag: config.topic_sys_flag,
        order: config.order,
    });
    Ok((wrapper.data_version.into(), topics.collect()))
}

fn compressed(bytes: &Bytes) -> Result<(DataVersion, Vec<RegisteredTopic>), DecodeError> {
    let mut inflated = Vec::new();
    ZlibDecoder::new(bytes.as_ref())
        .take(INFLATED_MAX as u64 + 1)
        .read_to_end(&mut inflated)
        .map_err(|error| broken(&error.to_string()))?;
    if inflated.len() > INFLATED_MAX {
        return Err(DecodeError::TooLarge(INFLATED_MAX));
    }
    let mut rest = inflated.as_slice();
    let version = body::parse::<DataVersionBody>(piece(&mut rest)?, WHAT)?;
    let count = rest.try_get_u32().map_err(|_| broken("no number of topics"))?;
    let mut topics = Vec::new();
    for _ in 0..count {
        let line = std::str::from_utf8(piece(&mut rest)?).map_err(|_| broken("not UTF-8"))?;
        topics.push(topic_line(line).ok_or_else(|| broken(line))?);
    }
    // Filter servers and static topics follow; neither is used.
    Ok((version.into(), topics))
}

/// `name read write perm filterType [attributes]`.
fn topic_line(line: &str) -> Option<RegisteredTopic> {
    let mut words = line.split(' ');
    Some(RegisteredTopic {
        topic: words.next()?.into(),
        read_queues: words.next()?.parse().ok()?,
        write_queues: words.next()?.parse().ok()?,
        perm: words.next()?.parse().ok()?,
        sys_flag: 0,
        order: false,
    })
}

fn piece<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let len = rest.try_get_u32().map_err(|_| broken("cut off"))? as usize;
    rest.split_off(..len).ok_or_else(|| broken("cut off"))
}

fn broken(why: &str) -> DecodeError {
    DecodeError::Body { what: WHAT, why: why.to_owned() }
}
