//! I19: some time after the last fault every name server lists exactly the brokers that live, each
//! with its topics; who is dead is gone at the latest one expiry and one scan after its last word.

use std::collections::BTreeSet;

use hotfire_core::domain::{ClusterInfo, Route};
use hotfire_storage::text::Text;

use super::Verdict;
use crate::ring::Violation;

const ORACLE: &str = "routes say who lives";

/// Checks which brokers a name server lists.
pub fn check_brokers(name_server: usize, listed: &ClusterInfo, alive: &BTreeSet<Text>) -> Verdict {
    let names: BTreeSet<Text> = listed.brokers.keys().cloned().collect();
    if names == *alive {
        return Ok(());
    }
    let detail = format!("name server {name_server} lists {names:?}, alive are {alive:?}");
    Err(Violation::new(ORACLE, detail))
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
