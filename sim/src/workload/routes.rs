//! What a client knows of where topics are.

use std::collections::BTreeMap;
use std::time::Duration;

use hotfire_core::domain::{BrokerId, NameRequest, NameResponse, Route};
use hotfire_storage::text::Text;
use hotfire_storage::time::Mono;

use super::{Ask, Peer};

/// The template of topics that do not exist yet.
pub const TEMPLATE: &str = "TBW102";
/// Routes are asked for again this often.
const REFRESH: Duration = Duration::from_secs(30);
/// After a failure, or for a topic that has no route, this soon.
const RETRY: Duration = Duration::from_secs(1);

/// A broker that has a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The broker's name.
    pub broker: Text,
    /// The master's address.
    pub addr: Text,
    /// Its queues.
    pub queues: u32,
}

/// Routes of some topics, as last heard.
#[derive(Debug)]
pub struct Routes {
    places: BTreeMap<Text, Vec<Place>>,
    due: BTreeMap<Text, Mono>,
    name_servers: u32,
    current: u32,
    asking: bool,
}

impl Routes {
    /// Routes of `topics`; the name servers are numbered from 0.
    pub fn new(topics: impl IntoIterator<Item = Text>, name_servers: u32, first: u32) -> Self {
        let due = topics.into_iter().map(|topic| (topic, Mono::ZERO)).collect();
        let (places, current) = (BTreeMap::new(), first % name_servers);
        Self { places, due, name_servers, current, asking: false }
    }

    /// Where the topic is; empty if that is not known.
    pub fn of(&self, topic: &str) -> &[Place] {
        self.places.get(topic).map_or(&[], Vec::as_slice)
    }

    /// A broker's address, from any topic's route.
    pub fn addr(&self, broker: &str) -> Option<&Text> {
        let places = self.places.values().flatten();
        places.into_iter().find(|place| place.broker == broker).map(|place| &place.addr)
    }

    /// Ask soon: what is known proved wrong.
    pub fn doubt(&mut self, now: Mono) {
        for due in self.due.values_mut() {
            *due = (*due).min(now.after(RETRY));
        }
    }

    /// The next question, if one is due. One at a time.
    pub fn ask(&mut self, now: Mono) -> Option<(Peer, Text, Ask)> {
        let (topic, _) = self.due.iter().find(|(_, due)| !self.asking && **due <= now)?;
        self.asking = true;
        let (peer, topic) = (Peer::NameServer(self.current), topic.clone());
        Some((peer, topic.clone(), Ask::Name(NameRequest::Route { topic })))
    }

    /// The answer to the question, or none came. `None` is the next name server's turn.
    pub fn answered(&mut self, now: Mono, topic: &Text, answer: Option<&NameResponse>) {
        self.asking = false;
        let mut again = RETRY;
        match answer {
            Some(NameResponse::Route(route)) => {
                self.places.insert(topic.clone(), places(route));
                again = REFRESH;
            }
            Some(_) => _ = self.places.remove(topic),
            None => self.current = (self.current + 1) % self.name_servers,
        }
        self.due.insert(topic.clone(), now.after(again));
    }

    /// When the next question is due.
    pub fn wake(&self) -> Option<Mono> {
        self.due.values().min().copied().filter(|_| !self.asking)
    }
}

fn places(route: &Route) -> Vec<Place> {
    let found = route.queues.iter().filter_map(|row| {
        let broker = route.brokers.iter().find(|broker| broker.broker_name == row.broker_name)?;
        let addr = broker.addrs.get(&BrokerId::MASTER)?.clone();
        Some(Place { broker: row.broker_name.clone(), addr, queues: row.write_queues })
    });
    found.collect()
}
