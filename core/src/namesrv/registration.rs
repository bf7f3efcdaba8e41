//! REGISTER_BROKER, rule by rule (broker-behaviour.md 1.1).

use std::collections::BTreeMap;
use std::time::Duration;

use hotfire_storage::time::Now;

use super::table::{Live, Verdict};
use super::{NameServer, ORDER_TOPICS, refused};
use crate::domain::{BrokerId, Code, ConnId, NameResponse, Registration};

impl NameServer {
    pub(super) fn register(
        &mut self,
        now: Now,
        conn: ConnId,
        registration: &Registration,
    ) -> NameResponse {
        if let Some(remark) = self.over_limit(registration) {
            return refused(Code::SystemError, remark);
        }
        let live = Live {
            conn,
            last_seen: now.mono,
            timeout: registration
                .heartbeat_timeout_ms
                .map_or(self.config.broker_expiry, Duration::from_millis),
            data_version: registration.data_version,
            ha_addr: registration.ha_addr.clone(),
        };
        match self.table.register(registration, live, self.config.delete_absent_topics) {
            Verdict::Incomplete => refused(
                Code::SystemError,
                "register broker failed: this broker is unknown here and sent one topic only; \
                 register all its topics first"
                    .to_owned(),
            ),
            Verdict::OtherCluster => refused(
                Code::SystemError,
                format!(
                    "register broker failed: the broker name {} is taken in another cluster; \
                     give this one a name of its own (brokerName), or correct brokerClusterName",
                    registration.broker.broker_name
                ),
            ),
            // The original answers success and stays silent: the newcomer must not take over. And
            // who was overtaken does not listen there any more.
            Verdict::Outranked | Verdict::Overtaken => NameResponse::Registered {
                ha_addr: None,
                master_addr: None,
                order_topics: BTreeMap::new(),
            },
            Verdict::Accepted => self.registered(registration),
        }
    }

    fn registered(&self, registration: &Registration) -> NameResponse {
        let master = (registration.broker.id != BrokerId::MASTER)
            .then(|| self.table.master_of(&registration.broker))
            .flatten();
        let (master_addr, ha_addr) = master.unzip();
        let order_topics = (self.config.return_order_topics)
            .then(|| self.kv.namespace(ORDER_TOPICS).cloned())
            .flatten()
            .unwrap_or_default();
        NameResponse::Registered { ha_addr, master_addr, order_topics }
    }

    fn over_limit(&self, registration: &Registration) -> Option<String> {
        let brokers = self.table.broker_count();
        if brokers >= self.config.max_brokers && !self.table.knows(&registration.broker) {
            return Some(format!(
                "this name server keeps {brokers} brokers, its limit; raise maxBrokers or remove \
                 brokers"
            ));
        }
        // Only what is new counts: a broker at the limit goes on being registered.
        let new = registration.topics.iter().filter(|topic| !self.table.has_topic(&topic.topic));
        let new = new.count();
        (new > 0 && self.table.topic_count() + new > self.config.max_topics).then(|| {
            format!(
                "this name server keeps at most {} topics; raise maxTopics or delete topics",
                self.config.max_topics
            )
        })
    }
}
