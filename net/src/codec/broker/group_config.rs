//! How groups are configured: codes 200, 207, 225, 352 (requests.md D).

use bytes::Bytes;
use hotfire_core::domain::{BrokerRequest, BrokerResponse, GroupConfig};
use serde::{Deserialize, Serialize};

use super::{
    DELETE_SUBSCRIPTIONGROUP, DecodeError, GET_SUBSCRIPTIONGROUP_CONFIG,
    UPDATE_AND_CREATE_SUBSCRIPTIONGROUP,
};
use crate::codec::body;
use crate::head_writer::{Body, HeadWriter};
use crate::header::Header;

const WHAT: &str = "a group's configuration";

#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct GroupConfigs {
    group_config_list: Vec<GroupConfig>,
}

pub(super) fn decode(header: &Header, json: &Bytes) -> Result<BrokerRequest, DecodeError> {
    let fields = &header.fields;
    Ok(match header.code {
        UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => {
            BrokerRequest::ConfigureGroups(vec![body::parse(json, WHAT)?])
        }
        DELETE_SUBSCRIPTIONGROUP => BrokerRequest::DeleteGroup {
            group: fields.text("groupName")?,
            clean_offset: fields.truth_if("cleanOffset").unwrap_or(false),
        },
        GET_SUBSCRIPTIONGROUP_CONFIG => BrokerRequest::GroupConfig { group: fields.text("group")? },
        _ => {
            let configs: GroupConfigs = body::parse(json, "configurations of groups")?;
            BrokerRequest::ConfigureGroups(configs.group_config_list)
        }
    })
}

pub(super) fn put(head: &mut HeadWriter<'_>, request: &BrokerRequest) -> Body {
    match request {
        BrokerRequest::ConfigureGroups(configs) => match &configs[..] {
            [config] => body::write(config).into(),
            many => body::write(&GroupConfigs { group_config_list: many.to_vec() }).into(),
        },
        BrokerRequest::DeleteGroup { group, clean_offset } => {
            head.field("groupName", group).show("cleanOffset", clean_offset);
            Body::None
        }
        BrokerRequest::GroupConfig { group } => {
            head.field("group", group);
            Body::None
        }
        other => unreachable!("{other:?} configures no group"),
    }
}

pub(super) fn config_body(config: &GroupConfig) -> Body {
    body::write(config).into()
}

pub(super) fn decode_config(json: &Bytes) -> Result<BrokerResponse, DecodeError> {
    Ok(BrokerResponse::GroupConfig(Box::new(body::parse(json, WHAT)?)))
}
