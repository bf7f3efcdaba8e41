//! The tables of a name server, and the relations between them that always hold.
//!
//! `groups` (broker name → members), `topics` (topic → broker name → queues) and `live` (cluster,
//! address → when it was last heard). The list of clusters is derived from `groups`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use hotfire_storage::text::Text;
use hotfire_storage::time::Mono;

use crate::domain::{
    BrokerData, BrokerId, BrokerIdentity, ClusterInfo, ConnId, DataVersion, MinIdChange, QueueData,
    RegisteredTopic, Registration, Route,
};
use crate::machine::Digest;

/// Permission bit: writable.
const PERM_WRITE: i32 = 2;
/// Permission of a topic that may be read and written.
const PERM_READ_WRITE: i32 = 6;
/// Topics by which brokers of a group watch each other: never shown with an acting master.
const SYNC_MEMBER_PREFIX: &str = "rmq_sys_SYNC_BROKER_MEMBER_";

/// A broker that was heard of.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) conn: ConnId,
    pub(super) last_seen: Mono,
    pub(super) timeout: Duration,
    pub(super) data_version: DataVersion,
    pub(super) ha_addr: Text,
}

/// What became of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is in the tables.
    Accepted,
    /// An unknown broker sent a single topic.
    Incomplete,
    /// The group's name is taken, in another cluster.
    OtherCluster,
    /// The id is held by another address with a newer state version.
    Outranked,
    /// It came over a connection that its broker has given up for a later one.
    Overtaken,
}

#[derive(Debug, Default)]
pub(super) struct Table {
    groups: BTreeMap<Text, BrokerData>,
    topics: BTreeMap<Text, BTreeMap<Text, QueueData>>,
    live: BTreeMap<(Text, Text), Live>,
    /// Whom to tell that a group has another smallest id, if anybody wants to know.
    changes: Option<VecDeque<(Vec<Text>, MinIdChange)>>,
}

impl Table {
    /// An empty one, that takes note of changes of smallest ids or does not.
    pub(super) fn new(takes_note: bool) -> Self {
        Self { changes: takes_note.then(VecDeque::new), ..Self::default() }
    }

    /// The next group that has another smallest id, and its members to be told.
    pub(super) fn next_change(&mut self) -> Option<(Vec<Text>, MinIdChange)> {
        self.changes.as_mut()?.pop_front()
    }

    pub(super) fn register(
        &mut self,
        registration: &Registration,
        live: Live,
        delete_absent: bool,
    ) -> Verdict {
        let broker = &registration.broker;
        if self.is_overtaken(broker, live.conn) {
            return Verdict::Overtaken;
        }
        let known = self.groups.get(&broker.broker_name);
        if known.is_some_and(|group| group.cluster != broker.cluster) {
            return Verdict::OtherCluster;
        }
        let holder = known.and_then(|group| group.addrs.get(&broker.id)).cloned();
        match &holder {
            Some(addr) if *addr != broker.addr && self.outranks(broker, addr, registration) => {
                // Whatever the newcomer was here before, under another id, it no longer is.
                self.remove(broker);
                return Verdict::Outranked;
            }
            None if registration.topics.len() == 1 => return Verdict::Incomplete,
            _ => {}
        }
        let replaced = holder.as_ref().filter(|addr| **addr != broker.addr);
        if let Some(addr) = replaced {
            self.live.remove(&(broker.cluster.clone(), addr.clone()));
        }
        self.join(registration);
        let key = (broker.cluster.clone(), broker.addr.clone());
        let before = self.live.insert(key, live).map(|live| live.data_version);
        let first = holder.is_none() || before != Some(registration.data_version);
        self.take_topics(registration, first, delete_absent);
        Verdict::Accepted
    }

    /// Has the broker been heard on a later connection? What was on its way on the one before it
    /// can arrive now, when a link comes back; taken for the present, it would tie the broker to a
    /// connection that ends with it.
    fn is_overtaken(&self, broker: &BrokerIdentity, conn: ConnId) -> bool {
        let known = self.live.get(&(broker.cluster.clone(), broker.addr.clone()));
        known.is_some_and(|live| conn < live.conn)
    }

    fn outranks(&self, broker: &BrokerIdentity, addr: &Text, new: &Registration) -> bool {
        self.live
            .get(&(broker.cluster.clone(), addr.clone()))
            .is_some_and(|live| live.data_version.state_version > new.data_version.state_version)
    }

    /// Puts the broker's address into its group; an address holds one id only.
    fn join(&mut self, registration: &Registration) {
        let broker = &registration.broker;
        let group = self.groups.entry(broker.broker_name.clone()).or_insert_with(|| BrokerData {
            cluster: broker.cluster.clone(),
            broker_name: broker.broker_name.clone(),
            addrs: BTreeMap::new(),
            enable_acting_master: false,
        });
        group.enable_acting_master = registration.enable_acting_master.unwrap_or(false);
        let before = group.addrs.keys().next().copied();
        group.addrs.retain(|id, addr| *addr != broker.addr || *id == broker.id);
        group.addrs.insert(broker.id, broker.addr.clone());
        let is_smaller = before.is_some_and(|before| broker.id < before);
        if let Some(changes) = self.changes.as_mut().filter(|_| is_smaller) {
            note(changes, group, None, Some(registration.ha_addr.clone()));
        }
    }

    /// Topics come from the master, or from the smallest id of a group that knows acting masters.
    fn take_topics(&mut self, registration: &Registration, changed: bool, delete_absent: bool) {
        let broker = &registration.broker;
        let group = &self.groups[&broker.broker_name];
        let smallest = group.addrs.keys().next() == Some(&broker.id);
        let prime_slave = broker.id != BrokerId::MASTER
            && registration.enable_acting_master.is_some()
            && smallest;
        if broker.id != BrokerId::MASTER && !prime_slave {
            return;
        }
        let strip_write = prime_slave && group.enable_acting_master;
        for topic in &registration.topics {
            let rows = self.topics.entry(topic.topic.clone()).or_default();
            if changed || !rows.contains_key(&broker.broker_name) {
                let row = row_of(&broker.broker_name, topic, strip_write);
                rows.insert(broker.broker_name.clone(), row);
            }
        }
        // A single topic is a change, not a table: its absence says nothing of the others.
        if delete_absent && registration.topics.len() > 1 {
            let kept: std::collections::BTreeSet<&Text> =
                registration.topics.iter().map(|topic| &topic.topic).collect();
            self.topics.retain(|topic, rows| {
                if !kept.contains(topic) {
                    rows.remove(&broker.broker_name);
                }
                !rows.is_empty()
            });
        }
    }

    pub(super) fn touch(&mut self, now: Mono, cluster: &Text, addr: &Text) {
        if let Some(live) = self.live.get_mut(&(cluster.clone(), addr.clone())) {
            live.last_seen = now;
        }
    }

    pub(super) fn query_version(
        &mut self,
        now: Mono,
        broker: &BrokerIdentity,
    ) -> Option<DataVersion> {
        let live = self.live.get_mut(&(broker.cluster.clone(), broker.addr.clone()))?;
        live.last_seen = now;
        Some(live.data_version)
    }

    /// Takes a broker out: by address, so that a late farewell of a former holder of an id never
    /// removes its successor; and not over a connection that a present holder has given up.
    pub(super) fn unregister(&mut self, broker: &BrokerIdentity, conn: ConnId) {
        if self.is_overtaken(broker, conn) {
            return;
        }
        self.remove(broker);
    }

    fn remove(&mut self, broker: &BrokerIdentity) {
        self.live.remove(&(broker.cluster.clone(), broker.addr.clone()));
        self.leave(&broker.cluster, &broker.addr);
    }

    pub(super) fn closed(&mut self, conn: ConnId) {
        self.remove_where(|live| live.conn == conn);
    }

    pub(super) fn expire(&mut self, now: Mono) {
        self.remove_where(|live| now.since(live.last_seen) > live.timeout);
    }

    fn remove_where(&mut self, gone: impl Fn(&Live) -> bool) {
        let dead: Vec<(Text, Text)> =
            self.live.iter().filter(|(_, live)| gone(live)).map(|(key, _)| key.clone()).collect();
        for (cluster, addr) in dead {
            self.live.remove(&(cluster.clone(), addr.clone()));
            self.leave(&cluster, &addr);
        }
    }

    fn leave(&mut self, cluster: &str, addr: &str) {
        let held = |group: &BrokerData| group.addrs.values().any(|held| held == addr);
        let groups = self.groups.iter().filter(|(_, g)| g.cluster == *cluster && held(g));
        let names: Vec<Text> = groups.map(|(name, _)| name.clone()).collect();
        for name in names {
            self.leave_group(&name, addr);
        }
    }

    fn leave_group(&mut self, name: &Text, addr: &str) {
        let Some(group) = self.groups.get_mut(name) else { return };
        let was_smallest = group.addrs.values().next().is_some_and(|held| held == addr);
        group.addrs.retain(|_, held| held != addr);
        if let Some(changes) = self.changes.as_mut().filter(|_| was_smallest) {
            note(changes, group, Some(addr.into()), None);
        }
        let emptied = group.addrs.is_empty();
        let master_lost =
            group.enable_acting_master && !emptied && !group.addrs.contains_key(&BrokerId::MASTER);
        if emptied {
            self.groups.remove(name);
            self.topics.retain(|_, rows| {
                rows.remove(name);
                !rows.is_empty()
            });
        } else if master_lost {
            for row in self.topics.values_mut().filter_map(|rows| rows.get_mut(name)) {
                row.perm &= !PERM_WRITE;
            }
        }
    }

    pub(super) fn route(&self, topic: &str, acting_master: bool) -> Option<Route> {
        let rows = self.topics.get(topic)?;
        let brokers: Vec<BrokerData> = rows
            .keys()
            .filter_map(|name| self.groups.get(name))
            .map(|group| {
                let mut shown = group.clone();
                let writable = rows[&group.broker_name].perm & PERM_WRITE != 0;
                if acting_master && !writable && !topic.starts_with(SYNC_MEMBER_PREFIX) {
                    show_acting_master(&mut shown);
                }
                shown
            })
            .collect();
        (!brokers.is_empty()).then(|| Route {
            order_conf: None,
            queues: rows.values().cloned().collect(),
            brokers,
        })
    }

    pub(super) fn clusters(&self) -> ClusterInfo {
        let mut info = ClusterInfo { brokers: self.groups.clone(), clusters: BTreeMap::new() };
        for group in self.groups.values() {
            let names: &mut Vec<Text> = info.clusters.entry(group.cluster.clone()).or_default();
            names.push(group.broker_name.clone());
        }
        info
    }

    pub(super) fn members(&self, cluster: &Text, name: &Text) -> BrokerData {
        let group = self.groups.get(name).filter(|group| group.cluster == *cluster);
        group.cloned().unwrap_or_else(|| BrokerData {
            cluster: cluster.clone(),
            broker_name: name.clone(),
            addrs: BTreeMap::new(),
            enable_acting_master: false,
        })
    }

    /// The live master of a slave's group: its address, and where it serves its log.
    pub(super) fn master_of(&self, slave: &BrokerIdentity) -> Option<(Text, Text)> {
        let addr = self.groups.get(&slave.broker_name)?.addrs.get(&BrokerId::MASTER)?;
        let live = self.live.get(&(slave.cluster.clone(), addr.clone()))?;
        Some((addr.clone(), live.ha_addr.clone()))
    }

    pub(super) fn set_write_perm(&mut self, name: &str, writable: bool) -> u32 {
        let mut touched = 0;
        for row in self.topics.values_mut().filter_map(|rows| rows.get_mut(name)) {
            row.perm = if writable { PERM_READ_WRITE } else { row.perm & !PERM_WRITE };
            touched += 1;
        }
        touched
    }

    pub(super) fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let Some(rows) = self.topics.get_mut(topic) else { return };
        match cluster {
            None => rows.clear(),
            Some(cluster) => rows.retain(|name, _| {
                self.groups.get(name).is_none_or(|group| group.cluster != *cluster)
            }),
        }
        if rows.is_empty() {
            self.topics.remove(topic);
        }
    }

    pub(super) fn topics(&self) -> Vec<Text> {
        self.topics.keys().cloned().collect()
    }

    pub(super) fn topics_of(&self, cluster: &str) -> Vec<Text> {
        let in_cluster =
            |name: &Text| self.groups.get(name).is_some_and(|group| group.cluster == *cluster);
        self.topics
            .iter()
            .filter(|(_, rows)| rows.keys().any(in_cluster))
            .map(|(topic, _)| topic.clone())
            .collect()
    }

    pub(super) fn knows(&self, broker: &BrokerIdentity) -> bool {
        self.live.contains_key(&(broker.cluster.clone(), broker.addr.clone()))
    }

    pub(super) fn has_brokers(&self) -> bool {
        !self.live.is_empty()
    }

    pub(super) fn broker_count(&self) -> usize {
        self.live.len()
    }

    pub(super) fn has_topic(&self, topic: &str) -> bool {
        self.topics.contains_key(topic)
    }

    pub(super) fn topic_count(&self) -> usize {
        self.topics.len()
    }

    pub(super) fn verify(&self) {
        for (name, group) in &self.groups {
            assert_eq!(*name, group.broker_name, "a group is filed under its name");
            assert!(!group.addrs.is_empty(), "an empty group is forgotten: {name}");
            for addr in group.addrs.values() {
                let key = (group.cluster.clone(), addr.clone());
                assert!(self.live.contains_key(&key), "a member is alive: {name} {addr}");
            }
        }
        for (cluster, addr) in self.live.keys() {
            let listed = self.groups.values().any(|group| {
                group.cluster == *cluster && group.addrs.values().any(|held| held == addr)
            });
            assert!(listed, "who is alive is in a group: {cluster} {addr}");
        }
        for (topic, rows) in &self.topics {
            assert!(!rows.is_empty(), "a topic without rows is forgotten: {topic}");
            for (name, row) in rows {
                assert_eq!(*name, row.broker_name, "a row is filed under its broker's name");
                assert!(self.groups.contains_key(name), "a row's broker is known: {topic} {name}");
            }
        }
    }

    pub(super) fn digest(&self, into: &mut Digest) {
        for group in self.groups.values() {
            into.bytes(group.broker_name.as_bytes());
            for (id, addr) in &group.addrs {
                into.number(id.0.cast_unsigned());
                into.bytes(addr.as_bytes());
            }
        }
        for (topic, rows) in &self.topics {
            into.bytes(topic.as_bytes());
            for row in rows.values() {
                into.bytes(row.broker_name.as_bytes());
                into.number(u64::from(row.read_queues) << 32 | u64::from(row.write_queues));
                into.number(u64::from(row.perm.cast_unsigned()));
            }
        }
        for ((_, addr), live) in &self.live {
            into.bytes(addr.as_bytes());
            into.number(live.last_seen.as_micros());
            into.number(live.conn.0);
        }
    }
}

/// Takes note that `group` has another smallest id. Who has just come knows it, and nobody is told
/// of a group whose members do not act for each other.
fn note(
    changes: &mut VecDeque<(Vec<Text>, MinIdChange)>,
    group: &BrokerData,
    offline: Option<Text>,
    ha_addr: Option<Text>,
) {
    let Some((id, addr)) = group.addrs.first_key_value() else { return };
    let told = group.addrs.iter().filter(|(other, _)| offline.is_some() || *other != id);
    let to: Vec<Text> = told.map(|(_, addr)| addr.clone()).collect();
    if group.enable_acting_master && !to.is_empty() {
        let (broker_name, id, addr) = (group.broker_name.clone(), *id, addr.clone());
        changes.push_back((to, MinIdChange { broker_name, id, addr, offline, ha_addr }));
    }
}

fn row_of(broker_name: &Text, topic: &RegisteredTopic, strip_write: bool) -> QueueData {
    QueueData {
        broker_name: broker_name.clone(),
        read_queues: topic.read_queues,
        write_queues: topic.write_queues,
        perm: if strip_write { topic.perm & !PERM_WRITE } else { topic.perm },
        sys_flag: topic.sys_flag,
    }
}

fn show_acting_master(group: &mut BrokerData) {
    if !group.enable_acting_master || group.addrs.contains_key(&BrokerId::MASTER) {
        return;
    }
    if let Some((_, addr)) = group.addrs.pop_first() {
        group.addrs.insert(BrokerId::MASTER, addr);
    }
}
