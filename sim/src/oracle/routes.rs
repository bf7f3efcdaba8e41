//! I19: some time after the last fault every name server lists exactly the brokers that live, each
//! with its topics; who is dead is gone at the latest one expiry and one scan after its last word.

use std::collections::BTreeSet;

use hotfire_core::domain::{ClusterInfo, RegisteredTopic, Route};
use hotfire_storage::text::Text;

use super::Verdict;
use crate::ring::Violation;

const ORACLE: &str = "routes say who lives";
const TOLD: &str = "name servers are told of what is durable";

/// Checks which brokers a name server lists.
pub fn check_brokers(name_server: usize, listed: &ClusterInfo, alive: &BTreeSet<Text>) -> Verdict {
    let names: BTreeSet<Text> = listed.brokers.keys().cloned().collect();
    if names == *alive {
        return Ok(());
    }
    let detail = format!("name server {name_server} lists {names:?}, alive are {alive:?}");
    Err(Violation::new(ORACLE, detail))
}

/// Checks that a topic of clients which a broker tells name servers of is in the topic table that
/// the medium holds at that moment: a producer that follows the route to a broker which lost the
/// topic makes another one of it. The medium's durable image is asked, not the broker.
pub fn check_told(broker: &str, told: &[RegisteredTopic], table: Option<&[u8]>) -> Verdict {
    let table = table.map(serde_json::from_slice::<serde_json::Value>).transpose();
    let table = table.map_err(|error| Violation::new(TOLD, format_args!("{broker}: {error}")))?;
    let saved = table.as_ref().map(|table| &table["topicConfigTable"]);
    let is_saved = |topic: &RegisteredTopic| saved.is_some_and(|all| !all[&*topic.topic].is_null());
    // What a broker makes for itself it makes at every start.
    let mut of_clients = told.iter().filter(|topic| topic.topic.starts_with("topic-"));
    match of_clients.find(|topic| !is_saved(topic)) {
        Some(topic) => Err(Violation::new(TOLD, format_args!("{broker}: {}", topic.topic))),
        None => Ok(()),
    }
}

/// Checks that a name server routes a topic to a broker.
pub fn check_topic(
    name_server: usize,
    topic: &Text,
    broker: &Text,
    route: Option<&Route>,
) -> Verdict {
    let routed = |route: &Route| route.queues.iter().any(|row| row.broker_name == *broker);
    if route.is_some_and(routed) {
        return Ok(());
    }
    let detail = format!("name server {name_server} does not route {topic} to {broker}: {route:?}");
    Err(Violation::new(ORACLE, detail))
}
