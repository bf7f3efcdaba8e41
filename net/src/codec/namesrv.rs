//! The name server's requests and answers (requests.md, group B).

mod bodies;
mod register;

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use hotfire_core::domain::{
    BrokerId, BrokerIdentity, Caller, Code, DataVersion, NameRequest, NameResponse,
};

use super::{Ask, DecodeError, answer, body, refusal};
use crate::head_writer::{Body, HeadWriter, Outgoing};
use crate::header::{Fields, Header};
use bodies::{ClusterInfoBody, DataVersionBody, MemberGroupBody, RouteBody, TopicListBody};

const PUT_KV_CONFIG: i32 = 100;
const GET_KV_CONFIG: i32 = 101;
const DELETE_KV_CONFIG: i32 = 102;
const REGISTER_BROKER: i32 = 103;
const UNREGISTER_BROKER: i32 = 104;
const GET_ROUTEINFO_BY_TOPIC: i32 = 105;
const GET_BROKER_CLUSTER_INFO: i32 = 106;
const WIPE_WRITE_PERM_OF_BROKER: i32 = 205;
const GET_ALL_TOPIC_LIST_FROM_NAMESERVER: i32 = 206;
const DELETE_TOPIC_IN_NAMESRV: i32 = 216;
const GET_KVLIST_BY_NAMESPACE: i32 = 219;
const GET_TOPICS_BY_CLUSTER: i32 = 224;
const QUERY_DATA_VERSION: i32 = 322;
const ADD_WRITE_PERM_OF_BROKER: i32 = 327;
const GET_BROKER_MEMBER_GROUP: i32 = 901;
const BROKER_HEARTBEAT: i32 = 904;

/// What a request frame asks of a name server. Never fails: what cannot be read is
/// [`NameRequest::Malformed`], what is not known [`NameRequest::Unsupported`].
pub fn decode_request(header: &Header, body: &Bytes) -> NameRequest {
    decode(header, body).unwrap_or_else(|error| NameRequest::Malformed { why: error.to_string() })
}

fn decode(header: &Header, body: &Bytes) -> Result<NameRequest, DecodeError> {
    let fields = &header.fields;
    Ok(match header.code {
        PUT_KV_CONFIG => NameRequest::PutKv {
            namespace: fields.text("namespace")?,
            key: fields.text("key")?,
            value: fields.text("value")?,
        },
        GET_KV_CONFIG => {
            NameRequest::GetKv { namespace: fields.text("namespace")?, key: fields.text("key")? }
        }
        DELETE_KV_CONFIG => {
            NameRequest::DeleteKv { namespace: fields.text("namespace")?, key: fields.text("key")? }
        }
        REGISTER_BROKER => NameRequest::Register(Box::new(register::decode(fields, body)?)),
        UNREGISTER_BROKER => NameRequest::Unregister(identity(fields)?),
        GET_ROUTEINFO_BY_TOPIC => NameRequest::Route { topic: fields.text("topic")? },
        GET_BROKER_CLUSTER_INFO => NameRequest::ClusterInfo,
        WIPE_WRITE_PERM_OF_BROKER | ADD_WRITE_PERM_OF_BROKER => NameRequest::SetWritePerm {
            broker_name: fields.text("brokerName")?,
            writable: header.code == ADD_WRITE_PERM_OF_BROKER,
        },
        GET_ALL_TOPIC_LIST_FROM_NAMESERVER => NameRequest::TopicList,
        DELETE_TOPIC_IN_NAMESRV => NameRequest::DeleteTopic {
            topic: fields.text("topic")?,
            cluster: fields.text_if("clusterName").filter(|name| !name.is_empty()),
        },
        GET_KVLIST_BY_NAMESPACE => NameRequest::KvList { namespace: fields.text("namespace")? },
        GET_TOPICS_BY_CLUSTER => NameRequest::TopicsOfCluster { cluster: fields.text("cluster")? },
        QUERY_DATA_VERSION => NameRequest::QueryDataVersion {
            broker: identity(fields)?,
            version: data_version(body)?.unwrap_or_default(),
        },
        GET_BROKER_MEMBER_GROUP => NameRequest::MemberGroup {
            cluster: fields.text("clusterName")?,
            broker_name: fields.text("brokerName")?,
        },
        BROKER_HEARTBEAT => NameRequest::BrokerHeartbeat {
            addr: fields.text("brokerAddr")?,
            cluster: fields.text("clusterName")?,
        },
        code => NameRequest::Unsupported { code },
    })
}

/// The frame of a name server's answer.
pub fn encode_response(caller: &Caller, response: &NameResponse, into: &mut BytesMut) -> Outgoing {
    if let NameResponse::Refused { code, remark } = response {
        return answer(caller, *code, Some(remark), into).finish(Body::None);
    }
    let mut head = answer(caller, Code::Success, None, into);
    let json = match response {
        NameResponse::ClusterInfo(info) => body::write(&ClusterInfoBody::from(info)),
        NameResponse::DataVersion { changed, stored } => {
            head.show("changed", changed);
            match stored {
                Some(version) => body::write(&DataVersionBody::from(*version)),
                None => Vec::new(),
            }
        }
        NameResponse::Done | NameResponse::Refused { .. } => Vec::new(),
        NameResponse::MemberGroup(group) => body::write(&MemberGroupBody::from(group)),
        NameResponse::Registered { ha_addr, master_addr, order_topics } => {
            head.field_if("haServerAddr", ha_addr.as_ref());
            head.field_if("masterAddr", master_addr.as_ref());
            if order_topics.is_empty() {
                Vec::new()
            } else {
                body::write(&body::KvTable { table: order_topics.clone() })
            }
        }
        NameResponse::Route(route) => body::write(&RouteBody::from(route)),
        NameResponse::Topics(topics) => body::write(&TopicListBody { topic_list: topics.clone() }),
        NameResponse::WritePerm { writable, topics } => {
            head.show(if *writable { "addTopicCount" } else { "wipeTopicCount" }, topics);
            Vec::new()
        }
        NameResponse::KvValue(value) => {
            head.field("value", value);
            Vec::new()
        }
        NameResponse::KvTable(table) => body::write(&body::KvTable { table: table.clone() }),
    };
    head.finish(json)
}

/// The request code of a request.
pub const fn request_code(request: &NameRequest) -> i32 {
    match request {
        NameRequest::BrokerHeartbeat { .. } => BROKER_HEARTBEAT,
        NameRequest::ClusterInfo => GET_BROKER_CLUSTER_INFO,
        NameRequest::DeleteKv { .. } => DELETE_KV_CONFIG,
        NameRequest::DeleteTopic { .. } => DELETE_TOPIC_IN_NAMESRV,
        NameRequest::GetKv { .. } => GET_KV_CONFIG,
        NameRequest::KvList { .. } => GET_KVLIST_BY_NAMESPACE,
        NameRequest::MemberGroup { .. } => GET_BROKER_MEMBER_GROUP,
        NameRequest::PutKv { .. } => PUT_KV_CONFIG,
        NameRequest::QueryDataVersion { .. } => QUERY_DATA_VERSION,
        NameRequest::Register(_) => REGISTER_BROKER,
        NameRequest::Route { .. } => GET_ROUTEINFO_BY_TOPIC,
        NameRequest::SetWritePerm { writable: true, .. } => ADD_WRITE_PERM_OF_BROKER,
        NameRequest::SetWritePerm { writable: false, .. } => WIPE_WRITE_PERM_OF_BROKER,
        NameRequest::TopicList => GET_ALL_TOPIC_LIST_FROM_NAMESERVER,
        NameRequest::TopicsOfCluster { .. } => GET_TOPICS_BY_CLUSTER,
        NameRequest::Unregister(_) => UNREGISTER_BROKER,
        NameRequest::Unsupported { code } => *code,
        // Not something to ask; a server answers the code 0 as unsupported.
        NameRequest::Malformed { .. } => 0,
    }
}

/// The frame of a request to a name server.
pub fn encode_request(ask: Ask, request: &NameRequest, into: &mut BytesMut) -> Outgoing {
    let mut head = ask.begin(request_code(request), into);
    let mut json = Vec::new();
    match request {
        NameRequest::BrokerHeartbeat { addr, cluster } => {
            head.field("brokerAddr", addr).field("clusterName", cluster);
        }
        NameRequest::DeleteKv { namespace, key } | NameRequest::GetKv { namespace, key } => {
            head.field("namespace", namespace).field("key", key);
        }
        NameRequest::DeleteTopic { topic, cluster } => {
            head.field("topic", topic).field_if("clusterName", cluster.as_ref());
        }
        NameRequest::KvList { namespace } => {
            head.field("namespace", namespace);
        }
        NameRequest::MemberGroup { cluster, broker_name } => {
            head.field("clusterName", cluster).field("brokerName", broker_name);
        }
        NameRequest::PutKv { namespace, key, value } => {
            head.field("namespace", namespace).field("key", key).field("value", value);
        }
        NameRequest::QueryDataVersion { broker, version } => {
            put_identity(&mut head, broker);
            json = body::write(&DataVersionBody::from(*version));
        }
        NameRequest::Register(registration) => {
            json = register::encode(&mut head, registration);
        }
        NameRequest::Route { topic } => {
            head.field("topic", topic).field("acceptStandardJsonOnly", "true");
        }
        NameRequest::SetWritePerm { broker_name, .. } => {
            head.field("brokerName", broker_name);
        }
        NameRequest::TopicsOfCluster { cluster } => {
            head.field("cluster", cluster);
        }
        NameRequest::Unregister(broker) => put_identity(&mut head, broker),
        NameRequest::ClusterInfo
        | NameRequest::Malformed { .. }
        | NameRequest::TopicList
        | NameRequest::Unsupported { .. } => {}
    }
    head.finish(json)
}

/// What the answer to a request with this code says.
pub fn decode_response(
    request_code: i32,
    header: &Header,
    body: &Bytes,
) -> Result<NameResponse, DecodeError> {
    if header.code != Code::Success.number() {
        let (code, remark) = refusal(header);
        return Ok(NameResponse::Refused { code, remark });
    }
    let fields = &header.fields;
    Ok(match request_code {
        GET_KV_CONFIG => NameResponse::KvValue(fields.text("value")?),
        REGISTER_BROKER => NameResponse::Registered {
            ha_addr: fields.text_if("haServerAddr"),
            master_addr: fields.text_if("masterAddr"),
            order_topics: if body.is_empty() {
                BTreeMap::new()
            } else {
                body::parse::<body::KvTable>(body, "a KVTable")?.table
            },
        },
        GET_ROUTEINFO_BY_TOPIC => {
            NameResponse::Route(body::parse::<RouteBody>(body, "a route")?.into())
        }
        GET_BROKER_CLUSTER_INFO => {
            NameResponse::ClusterInfo(body::parse::<ClusterInfoBody>(body, "a cluster")?.into())
        }
        WIPE_WRITE_PERM_OF_BROKER => {
            NameResponse::WritePerm { writable: false, topics: fields.number("wipeTopicCount")? }
        }
        ADD_WRITE_PERM_OF_BROKER => {
            NameResponse::WritePerm { writable: true, topics: fields.number("addTopicCount")? }
        }
        GET_ALL_TOPIC_LIST_FROM_NAMESERVER | GET_TOPICS_BY_CLUSTER => {
            NameResponse::Topics(body::parse::<TopicListBody>(body, "a list of topics")?.topic_list)
        }
        GET_KVLIST_BY_NAMESPACE => {
            NameResponse::KvTable(body::parse::<body::KvTable>(body, "a KVTable")?.table)
        }
        QUERY_DATA_VERSION => NameResponse::DataVersion {
            changed: fields.truth_if("changed").ok_or(DecodeError::Missing("changed"))?,
            stored: data_version(body)?,
        },
        GET_BROKER_MEMBER_GROUP => {
            let group = body::parse::<MemberGroupBody>(body, "a member group")?;
            NameResponse::MemberGroup(group.broker_member_group.into())
        }
        _ => NameResponse::Done,
    })
}

fn data_version(json: &Bytes) -> Result<Option<DataVersion>, DecodeError> {
    if json.is_empty() {
        return Ok(None);
    }
    body::parse::<DataVersionBody>(json, "a data version").map(|version| Some(version.into()))
}

fn identity(fields: &Fields) -> Result<BrokerIdentity, DecodeError> {
    Ok(BrokerIdentity {
        broker_name: fields.text("brokerName")?,
        addr: fields.text("brokerAddr")?,
        cluster: fields.text("clusterName")?,
        id: BrokerId(fields.number("brokerId")?),
    })
}

fn put_identity(head: &mut HeadWriter<'_>, broker: &BrokerIdentity) {
    head.field("brokerName", &broker.broker_name)
        .field("brokerAddr", &broker.addr)
        .field("clusterName", &broker.cluster)
        .show("brokerId", broker.id.0);
}

#[cfg(test)]
mod tests;
