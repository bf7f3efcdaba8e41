//! The name server: who is alive, and who has which topic.
//!
//! State: the table of broker groups and their topics, the live entry of each broker address,
//! and the KV configuration. Inputs: requests and closed connections. Effects: answers, notices to
//! brokers whose group has another smallest id, and "the KV configuration changed, keep it". Name
//! servers do not talk to each other; brokers register with every one (broker-behaviour.md 1).

mod kv;
mod registration;
mod table;

use std::collections::VecDeque;
use std::time::Duration;

use hotfire_storage::text::Text;
use hotfire_storage::time::{Mono, Now};

use crate::domain::{Caller, Code, ConnId, MinIdChange, NameRequest, NameResponse};
use crate::machine::{Digest, Machine};

pub use kv::KvConfig;
use table::Table;

/// The KV namespace that lists ordered topics.
const ORDER_TOPICS: &str = "ORDER_TOPIC_CONFIG";

/// What an operator may set.
#[derive(Clone, Debug)]
pub struct NameServerConfig {
    /// Silence after which a broker is dead, unless it asked for another bound.
    pub broker_expiry: Duration,
    /// How often the dead are looked for (`scanNotActiveBrokerInterval`).
    pub scan_every: Duration,
    /// Answer routes with the order configuration (`orderMessageEnable`).
    pub order_message: bool,
    /// Tell brokers of ordered topics (`returnOrderTopicConfigToBroker`).
    pub return_order_topics: bool,
    /// Topics gone from a registration are gone (`deleteTopicWithBrokerRegistration`).
    pub delete_absent_topics: bool,
    /// Show the smallest id of a group in place of a lost master (`supportActingMaster`).
    pub acting_master: bool,
    /// Tell the members of a group that may have an acting master when their smallest id changes
    /// (`notifyMinBrokerIdChanged`).
    pub notify_min_id: bool,
    /// Most brokers kept; a registration beyond is refused.
    pub max_brokers: usize,
    /// Most topics kept; a registration beyond is refused.
    pub max_topics: usize,
}

impl Default for NameServerConfig {
    fn default() -> Self {
        Self {
            broker_expiry: Duration::from_secs(120),
            scan_every: Duration::from_secs(5),
            order_message: false,
            return_order_topics: true,
            delete_absent_topics: false,
            acting_master: false,
            notify_min_id: false,
            max_brokers: 10_000,
            max_topics: 1_000_000,
        }
    }
}

/// What can happen to a name server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A connection ended. Its brokers are gone with it.
    Closed {
        /// Which.
        conn: ConnId,
    },
    /// Somebody asks.
    Request {
        /// Who.
        caller: Caller,
        /// What.
        request: NameRequest,
    },
}

/// What a name server asks of its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send this answer.
    Answer {
        /// To whom.
        caller: Caller,
        /// Saying what.
        response: NameResponse,
    },
    /// Tell these brokers, one-way, where clients reach them.
    Notify {
        /// `host:port` of each.
        to: Vec<Text>,
        /// What.
        change: MinIdChange,
    },
    /// [`NameServer::kv`] changed: replace its file.
    SaveKv,
}

/// The machine.
#[derive(Debug)]
pub struct NameServer {
    config: NameServerConfig,
    table: Table,
    kv: KvConfig,
    kv_changed: bool,
    next_scan: Mono,
    answers: VecDeque<(Caller, NameResponse)>,
}

impl NameServer {
    /// A name server that knows nobody yet.
    pub fn new(config: NameServerConfig, kv: KvConfig, now: Now) -> Self {
        Self {
            next_scan: now.mono.after(config.scan_every),
            table: Table::new(config.notify_min_id),
            config,
            kv,
            kv_changed: false,
            answers: VecDeque::new(),
        }
    }

    /// The KV configuration, to be kept.
    pub fn kv(&self) -> &KvConfig {
        &self.kv
    }

    /// Also before a request, however late the driver polls: the dead are in no answer.
    fn scan_if_due(&mut self, now: Now) {
        if now.mono >= self.next_scan {
            self.table.expire(now.mono);
            self.next_scan = now.mono.after(self.config.scan_every);
        }
    }

    fn respond(&mut self, now: Now, caller: &Caller, request: NameRequest) -> NameResponse {
        match request {
            NameRequest::BrokerHeartbeat { addr, cluster } => {
                self.table.touch(now.mono, &cluster, &addr);
                NameResponse::Done
            }
            NameRequest::ClusterInfo => NameResponse::ClusterInfo(self.table.clusters()),
            NameRequest::DeleteKv { namespace, key } => {
                self.kv_changed |= self.kv.remove(&namespace, &key);
                NameResponse::Done
            }
            NameRequest::DeleteTopic { topic, cluster } => {
                self.table.delete_topic(&topic, cluster.as_deref());
                NameResponse::Done
            }
            NameRequest::GetKv { namespace, key } => self.kv_value(&namespace, &key),
            NameRequest::KvList { namespace } => match self.kv.namespace(&namespace) {
                Some(table) => NameResponse::KvTable(table.clone()),
                None => refused(
                    Code::QueryNotFound,
                    format!("no KV configuration in the namespace {namespace:?}"),
                ),
            },
            NameRequest::MemberGroup { cluster, broker_name } => {
                NameResponse::MemberGroup(self.table.members(&cluster, &broker_name))
            }
            NameRequest::PutKv { namespace, key, value } => {
                let [namespace, key, value] = [namespace, key, value].map(|text| text.detached());
                self.kv_changed |= self.kv.put(namespace, key, value);
                NameResponse::Done
            }
            NameRequest::QueryDataVersion { broker, version } => {
                let stored = self.table.query_version(now.mono, &broker);
                NameResponse::DataVersion { changed: stored != Some(version), stored }
            }
            NameRequest::Register(registration) => {
                self.register(now, caller.conn, &registration.detached())
            }
            NameRequest::Route { topic } => self.route(&topic),
            NameRequest::SetWritePerm { broker_name, writable } => {
                let topics = self.table.set_write_perm(&broker_name, writable);
                NameResponse::WritePerm { writable, topics }
            }
            NameRequest::TopicList => NameResponse::Topics(self.table.topics()),
            NameRequest::TopicsOfCluster { cluster } => {
                NameResponse::Topics(self.table.topics_of(&cluster))
            }
            NameRequest::Unregister(broker) => {
                self.table.unregister(&broker, caller.conn);
                NameResponse::Done
            }
            NameRequest::Unsupported { code } => refused(
                Code::RequestCodeNotSupported,
                format!(" request type {code} not supported"),
            ),
            NameRequest::Malformed { why } => refused(Code::SystemError, why),
        }
    }

    fn kv_value(&self, namespace: &Text, key: &Text) -> NameResponse {
        match self.kv.get(namespace, key) {
            Some(value) => NameResponse::KvValue(value.clone()),
            None => refused(
                Code::QueryNotFound,
                format!("no KV configuration {key:?} in the namespace {namespace:?}"),
            ),
        }
    }

    fn route(&self, topic: &Text) -> NameResponse {
        let Some(mut route) = self.table.route(topic, self.config.acting_master) else {
            let remark = format!(
                "no route info of this topic: {topic}: no live broker has registered it; create \
                 the topic, or send to it where autoCreateTopicEnable is on"
            );
            return refused(Code::TopicNotExist, remark);
        };
        if self.config.order_message {
            route.order_conf = self.kv.get(ORDER_TOPICS, topic).cloned();
        }
        NameResponse::Route(route)
    }
}

fn refused(code: Code, remark: String) -> NameResponse {
    NameResponse::Refused { code, remark }
}

impl Machine for NameServer {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, now: Now, input: Input) {
        self.scan_if_due(now);
        match input {
            Input::Closed { conn } => self.table.closed(conn),
            Input::Request { caller, request } => {
                let response = self.respond(now, &caller, request);
                if !caller.oneway {
                    self.answers.push_back((caller, response));
                }
            }
        }
    }

    fn poll(&mut self, now: Now) -> Option<Effect> {
        self.scan_if_due(now);
        // Kept before it is acknowledged to be: the driver does effects in order.
        if std::mem::take(&mut self.kv_changed) {
            return Some(Effect::SaveKv);
        }
        if let Some((to, change)) = self.table.next_change() {
            return Some(Effect::Notify { to, change });
        }
        let (caller, response) = self.answers.pop_front()?;
        Some(Effect::Answer { caller, response })
    }

    fn deadline(&self) -> Option<Mono> {
        self.table.has_brokers().then_some(self.next_scan)
    }

    fn verify(&self) {
        self.table.verify();
    }

    fn digest(&self, into: &mut Digest) {
        self.table.digest(into);
        self.kv.digest(into);
        into.number(self.answers.len() as u64);
    }
}

#[cfg(test)]
mod tests;
