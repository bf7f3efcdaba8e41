//! JSON bodies of the name server (requests.md B.1), members in the order they are printed.
//!
//! Routes are always written in the quoted form with every member present: clients from 4.9.4 on
//! need it, older ones and all others read it (wire.md 6).

use std::collections::BTreeMap;

use hotfire_core::domain::{
    BrokerData, BrokerId, ClusterInfo, DataVersion, QueueData, Route, Text,
};
use serde::{Deserialize, Serialize};

#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DataVersionBody {
    counter: i64,
    state_version: i64,
    timestamp: i64,
}

impl From<DataVersion> for DataVersionBody {
    fn from(version: DataVersion) -> Self {
        let DataVersion { state_version, timestamp, counter } = version;
        Self { counter, state_version, timestamp }
    }
}

impl From<DataVersionBody> for DataVersion {
    fn from(body: DataVersionBody) -> Self {
        let DataVersionBody { counter, state_version, timestamp } = body;
        Self { state_version, timestamp, counter }
    }
}

#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct QueueDataBody {
    broker_name: Text,
    perm: i32,
    read_queue_nums: u32,
    topic_sys_flag: i32,
    write_queue_nums: u32,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct BrokerDataBody {
    broker_addrs: BTreeMap<i64, Text>,
    broker_name: Text,
    cluster: Text,
    enable_acting_master: bool,
}

impl From<&BrokerData> for BrokerDataBody {
    fn from(data: &BrokerData) -> Self {
        Self {
            broker_addrs: data.addrs.iter().map(|(id, addr)| (id.0, addr.clone())).collect(),
            broker_name: data.broker_name.clone(),
            cluster: data.cluster.clone(),
            enable_acting_master: data.enable_acting_master,
        }
    }
}

impl From<BrokerDataBody> for BrokerData {
    fn from(body: BrokerDataBody) -> Self {
        let addrs = body.broker_addrs.into_iter();
        Self {
            cluster: body.cluster,
            broker_name: body.broker_name,
            addrs: addrs.map(|(id, addr)| (BrokerId(id), addr)).collect(),
            enable_acting_master: body.enable_acting_master,
        }
    }
}

/// TopicRouteData.
#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RouteBody {
    broker_datas: Vec<BrokerDataBody>,
    // Nothing fills it any more, but clients read it without asking whether it is there.
    #[serde(skip_deserializing)]
    filter_server_table: BTreeMap<Text, Vec<Text>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_topic_conf: Option<Text>,
    queue_datas: Vec<QueueDataBody>,
}

impl From<&Route> for RouteBody {
    fn from(route: &Route) -> Self {
        let queues = route.queues.iter().map(|data| QueueDataBody {
            broker_name: data.broker_name.clone(),
            perm: data.perm,
            read_queue_nums: data.read_queues,
            topic_sys_flag: data.sys_flag,
            write_queue_nums: data.write_queues,
        });
        Self {
            broker_datas: route.brokers.iter().map(BrokerDataBody::from).collect(),
            filter_server_table: BTreeMap::new(),
            order_topic_conf: route.order_conf.clone(),
            queue_datas: queues.collect(),
        }
    }
}

impl From<RouteBody> for Route {
    fn from(body: RouteBody) -> Self {
        let queues = body.queue_datas.into_iter().map(|data| QueueData {
            broker_name: data.broker_name,
            read_queues: data.read_queue_nums,
            write_queues: data.write_queue_nums,
            perm: data.perm,
            sys_flag: data.topic_sys_flag,
        });
        Self {
            order_conf: body.order_topic_conf,
            queues: queues.collect(),
            brokers: body.broker_datas.into_iter().map(BrokerData::from).collect(),
        }
    }
}

#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ClusterInfoBody {
    broker_addr_table: BTreeMap<Text, BrokerDataBody>,
    cluster_addr_table: BTreeMap<Text, Vec<Text>>,
}

impl From<&ClusterInfo> for ClusterInfoBody {
    fn from(info: &ClusterInfo) -> Self {
        let brokers = info.brokers.iter();
        Self {
            broker_addr_table: brokers.map(|(name, data)| (name.clone(), data.into())).collect(),
            cluster_addr_table: info.clusters.clone(),
        }
    }
}

impl From<ClusterInfoBody> for ClusterInfo {
    fn from(body: ClusterInfoBody) -> Self {
        let brokers = body.broker_addr_table.into_iter();
        Self {
            brokers: brokers.map(|(name, data)| (name, data.into())).collect(),
            clusters: body.cluster_addr_table,
        }
    }
}

/// The answer to GET_BROKER_MEMBER_GROUP. Its member lacks enableActingMaster in the original;
/// readers skip what they do not know.
#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct MemberGroupBody {
    pub(super) broker_member_group: BrokerDataBody,
}

impl From<&BrokerData> for MemberGroupBody {
    fn from(group: &BrokerData) -> Self {
        Self { broker_member_group: group.into() }
    }
}

#[derive(Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct TopicListBody {
    pub(super) topic_list: Vec<Text>,
}
