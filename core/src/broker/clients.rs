//! Who is connected: producer groups and consumer groups (broker-behaviour.md 6.1).
//!
//! A member is a connection, not a client id: what a connection said is forgotten when it closes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hotfire_storage::text::Text;
use hotfire_storage::time::Mono;

use crate::domain::{
    Caller, Code, ConnId, ConsumeFrom, ConsumeType, ConsumerData, Heartbeat, Language,
    MessageModel, Subscription,
};
use crate::machine::Digest;

/// Bounds of what is kept of clients.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientLimits {
    pub(super) groups: usize,
    pub(super) clients_per_group: usize,
    pub(super) expiry: Duration,
}

#[derive(Debug)]
struct Member {
    client_id: Text,
    language: Language,
    last_seen: Mono,
}

impl Member {
    fn new(now: Mono, caller: &Caller, client_id: &Text) -> Self {
        Self { client_id: client_id.clone(), language: caller.language, last_seen: now }
    }
}

/// A consumer group with at least one member.
#[derive(Debug)]
pub(super) struct ConsumerGroup {
    members: BTreeMap<ConnId, Member>,
    subscriptions: BTreeMap<Text, Subscription>,
    fingerprint: i32,
    pub(super) consume_type: ConsumeType,
    pub(super) model: MessageModel,
    pub(super) from: ConsumeFrom,
}

impl ConsumerGroup {
    fn new(data: &ConsumerData) -> Self {
        Self {
            members: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            fingerprint: 0,
            consume_type: data.consume_type,
            model: data.model,
            from: data.from,
        }
    }

    /// Its members' connections, and in which language each is written.
    pub(super) fn languages(&self) -> impl Iterator<Item = (ConnId, Language)> {
        self.members.iter().map(|(conn, member)| (*conn, member.language))
    }

    pub(super) fn subscription(&self, topic: &str) -> Option<&Subscription> {
        self.subscriptions.get(topic)
    }

    /// Does it consume a topic? Of whom nothing is known, all may be.
    pub(super) fn takes(&self, topic: &str) -> bool {
        self.subscriptions.is_empty() || self.subscriptions.contains_key(topic)
    }

    /// Takes over what a heartbeat says; was a topic added or removed?
    fn subscribe(&mut self, data: ConsumerData) -> bool {
        self.consume_type = data.consume_type;
        self.model = data.model;
        self.from = data.from;
        let wanted: BTreeMap<Text, Subscription> =
            data.subscriptions.into_iter().map(|sub| (sub.topic.clone(), sub)).collect();
        let changed = !self.subscriptions.keys().eq(wanted.keys());
        self.subscriptions.retain(|topic, _| wanted.contains_key(topic));
        for (topic, sub) in wanted {
            // An older heartbeat, overtaken by a newer one, does not turn the expression back.
            if self.subscriptions.get(&topic).is_none_or(|held| held.version < sub.version) {
                self.subscriptions.insert(topic, sub);
            }
        }
        changed
    }
}

/// All connected clients.
#[derive(Debug)]
pub(super) struct Clients {
    limits: ClientLimits,
    consumers: BTreeMap<Text, ConsumerGroup>,
    producers: BTreeMap<Text, BTreeMap<ConnId, Member>>,
    /// Which groups a connection is in: so that its end costs what it did, not what exists.
    consumes: BTreeSet<(ConnId, Text)>,
    produces: BTreeSet<(ConnId, Text)>,
    /// Groups whose members must rebalance.
    changed: BTreeSet<Text>,
}

impl Clients {
    pub(super) fn new(limits: ClientLimits) -> Self {
        Self {
            limits,
            consumers: BTreeMap::new(),
            producers: BTreeMap::new(),
            consumes: BTreeSet::new(),
            produces: BTreeSet::new(),
            changed: BTreeSet::new(),
        }
    }

    pub(super) fn consumer_group(&self, group: &str) -> Option<&ConsumerGroup> {
        self.consumers.get(group)
    }

    /// The ids of a group's members, sorted and without repetition: one client may hold several
    /// connections.
    pub(super) fn client_ids(&self, group: &str) -> Vec<Text> {
        let members = self.consumers.get(group).into_iter().flat_map(|g| g.members.values());
        let ids: BTreeSet<Text> = members.map(|member| member.client_id.clone()).collect();
        ids.into_iter().collect()
    }

    /// A client says what it is. Answers whether it should send its subscriptions in full.
    pub(super) fn heartbeat(
        &mut self,
        now: Mono,
        caller: &Caller,
        beat: Heartbeat,
    ) -> Result<bool, (Code, String)> {
        for group in beat.producers {
            self.check_room(caller.conn, &group, self.producers.len(), self.producers.get(&group))?;
            let member = Member::new(now, caller, &beat.client_id);
            self.producers.entry(group.clone()).or_default().insert(caller.conn, member);
            self.produces.insert((caller.conn, group));
        }
        let mut sub_changed = beat.fingerprint == 0;
        for data in beat.consumers {
            let known = self.consumers.get(&data.group);
            sub_changed |= known.is_none_or(|group| group.fingerprint != beat.fingerprint);
            if beat.without_sub {
                self.refresh(now, caller, &beat.client_id, &data.group);
            } else {
                self.consume(now, caller, &beat.client_id, beat.fingerprint, data)?;
            }
        }
        Ok(sub_changed)
    }

    fn consume(
        &mut self,
        now: Mono,
        caller: &Caller,
        client_id: &Text,
        fingerprint: i32,
        data: ConsumerData,
    ) -> Result<(), (Code, String)> {
        let (name, conn) = (data.group.clone(), caller.conn);
        let members = self.consumers.get(&name).map(|group| &group.members);
        self.check_room(conn, &name, self.consumers.len(), members)?;
        let group = self.consumers.entry(name.clone()).or_insert_with(|| ConsumerGroup::new(&data));
        let member = Member::new(now, caller, client_id);
        let joined = group.members.insert(conn, member).is_none();
        let resubscribed = group.subscribe(data);
        group.fingerprint = fingerprint;
        self.consumes.insert((conn, name.clone()));
        if joined || resubscribed {
            self.changed.insert(name);
        }
        Ok(())
    }

    /// A member that leaves its subscriptions out, since they did not change. On a connection that
    /// is new to the group it joins: its client will not say more by itself.
    fn refresh(&mut self, now: Mono, caller: &Caller, client_id: &Text, name: &Text) {
        let Some(group) = self.consumers.get_mut(name) else { return };
        let conn = caller.conn;
        let member = Member::new(now, caller, client_id);
        if group.members.insert(conn, member).is_none() {
            self.consumes.insert((conn, name.clone()));
            self.changed.insert(name.clone());
        }
    }

    /// Who is in stays in: a full group refuses newcomers only.
    fn check_room(
        &self,
        conn: ConnId,
        group: &Text,
        groups: usize,
        members: Option<&BTreeMap<ConnId, Member>>,
    ) -> Result<(), (Code, String)> {
        let limits = &self.limits;
        match members {
            None if groups >= limits.groups => Err((
                Code::SystemError,
                format!("this broker keeps {groups} groups, its limit: {group} was not added"),
            )),
            Some(members)
                if members.len() >= limits.clients_per_group && !members.contains_key(&conn) =>
            {
                Err((
                    Code::SystemError,
                    format!("the group {group} has {} clients, its limit", members.len()),
                ))
            }
            _ => Ok(()),
        }
    }

    /// UNREGISTER_CLIENT: this connection leaves these groups.
    pub(super) fn unregister(
        &mut self,
        conn: ConnId,
        producer_group: Option<&Text>,
        consumer_group: Option<&Text>,
    ) {
        if let Some(group) = producer_group {
            self.leave_producers(conn, group);
        }
        if let Some(group) = consumer_group {
            self.leave_consumers(conn, group);
        }
    }

    /// The connection is gone, and with it what it said.
    pub(super) fn closed(&mut self, conn: ConnId) {
        for group in groups_of(&self.produces, conn) {
            self.leave_producers(conn, &group);
        }
        for group in groups_of(&self.consumes, conn) {
            self.leave_consumers(conn, &group);
        }
    }

    /// Forgets who was silent for too long.
    pub(super) fn expire(&mut self, now: Mono) {
        let late = |member: &Member| now.since(member.last_seen) > self.limits.expiry;
        let gone = |members: &BTreeMap<ConnId, Member>| -> Vec<ConnId> {
            members.iter().filter(|(_, member)| late(member)).map(|(conn, _)| *conn).collect()
        };
        let consumers: Vec<(Text, Vec<ConnId>)> =
            self.consumers.iter().map(|(name, g)| (name.clone(), gone(&g.members))).collect();
        let producers: Vec<(Text, Vec<ConnId>)> =
            self.producers.iter().map(|(name, members)| (name.clone(), gone(members))).collect();
        for (group, conns) in consumers {
            for conn in conns {
                self.leave_consumers(conn, &group);
            }
        }
        for (group, conns) in producers {
            for conn in conns {
                self.leave_producers(conn, &group);
            }
        }
    }

    fn leave_producers(&mut self, conn: ConnId, group: &Text) {
        self.produces.remove(&(conn, group.clone()));
        if let Some(members) = self.producers.get_mut(group) {
            members.remove(&conn);
            if members.is_empty() {
                self.producers.remove(group);
            }
        }
    }

    fn leave_consumers(&mut self, conn: ConnId, name: &Text) {
        self.consumes.remove(&(conn, name.clone()));
        let Some(group) = self.consumers.get_mut(name) else { return };
        if group.members.remove(&conn).is_none() {
            return;
        }
        if group.members.is_empty() {
            self.consumers.remove(name);
            self.changed.remove(name);
        } else {
            self.changed.insert(name.clone());
        }
    }

    /// The next group whose members must rebalance, and their connections. Members of a
    /// broadcast group have nothing to divide.
    pub(super) fn take_changed(&mut self) -> Option<(Text, Vec<ConnId>)> {
        while let Some(name) = self.changed.pop_first() {
            if let Some(group) = self.consumers.get(&name)
                && group.model == MessageModel::Clustering
            {
                return Some((name, group.members.keys().copied().collect()));
            }
        }
        None
    }

    pub(super) fn verify(&self) {
        let consumers: usize = self.consumers.values().map(|group| group.members.len()).sum();
        let producers: usize = self.producers.values().map(BTreeMap::len).sum();
        assert_eq!(consumers, self.consumes.len(), "who is in a consumer group is indexed so");
        assert_eq!(producers, self.produces.len(), "who is in a producer group is indexed so");
        assert!(self.consumers.values().all(|group| !group.members.is_empty()), "no empty group");
    }

    pub(super) fn digest(&self, into: &mut Digest) {
        for (name, group) in &self.consumers {
            into.bytes(name.as_bytes());
            for (conn, member) in &group.members {
                into.number(conn.0);
                into.bytes(member.client_id.as_bytes());
                into.number(member.last_seen.as_micros());
            }
            for (topic, sub) in &group.subscriptions {
                into.bytes(topic.as_bytes());
                into.bytes(sub.expression.as_bytes());
            }
        }
        for (conn, group) in &self.produces {
            into.number(conn.0);
            into.bytes(group.as_bytes());
        }
    }
}

fn groups_of(index: &BTreeSet<(ConnId, Text)>, conn: ConnId) -> Vec<Text> {
    let mine = index.range((conn, Text::EMPTY)..).take_while(|(of, _)| *of == conn);
    mine.map(|(_, group)| group.clone()).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;
    use crate::domain::Language;

    fn clients() -> Clients {
        let expiry = Duration::from_secs(120);
        Clients::new(ClientLimits { groups: 10, clients_per_group: 10, expiry })
    }

    fn caller(conn: u64) -> Caller {
        Caller {
            conn: ConnId(conn),
            peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            opaque: 0,
            oneway: false,
            language: Language::JAVA,
            version: 493,
            json: true,
        }
    }

    fn consumer(client: &str, topics: &[&str], fingerprint: i32, without_sub: bool) -> Heartbeat {
        let sub = |topic: &&str| Subscription {
            topic: Text::from(*topic),
            expression: "*".into(),
            tags: vec![],
            codes: vec![],
            version: 1,
            expression_type: "TAG".into(),
        };
        Heartbeat {
            client_id: client.into(),
            producers: vec!["p".into()],
            consumers: vec![ConsumerData {
                group: "g".into(),
                consume_type: ConsumeType::Passively,
                model: MessageModel::Clustering,
                from: ConsumeFrom::LastOffset,
                subscriptions: topics.iter().map(sub).collect(),
            }],
            fingerprint,
            without_sub,
        }
    }

    fn beat(clients: &mut Clients, secs: u64, conn: u64, beat: Heartbeat) -> bool {
        let now = Mono::from_micros(secs * 1_000_000);
        let changed = clients.heartbeat(now, &caller(conn), beat).unwrap();
        clients.verify();
        changed
    }

    #[test]
    fn joining_leaving_and_resubscribing_make_a_group_rebalance_and_nothing_else_does() {
        let mut c = clients();
        let conns = |changed: Option<(Text, Vec<ConnId>)>| changed.map(|(_, conns)| conns.len());
        beat(&mut c, 0, 1, consumer("a", &["t"], 0, false));
        assert_eq!(conns(c.take_changed()), Some(1));
        beat(&mut c, 1, 1, consumer("a", &["t"], 0, false));
        assert_eq!(conns(c.take_changed()), None, "a repetition");
        beat(&mut c, 1, 2, consumer("b", &["t"], 0, false));
        assert_eq!(conns(c.take_changed()), Some(2));
        beat(&mut c, 2, 2, consumer("b", &["t", "u"], 0, false));
        assert_eq!(conns(c.take_changed()), Some(2));
        c.closed(ConnId(1));
        c.verify();
        assert_eq!(conns(c.take_changed()), Some(1));
        assert_eq!(c.client_ids("g"), ["b"]);
        c.expire(Mono::from_micros(123_000_000));
        c.verify();
        assert!(c.consumer_group("g").is_none() && c.take_changed().is_none());
    }

    #[test]
    fn a_heartbeat_without_subscriptions_asks_for_them_where_the_broker_has_none() {
        let mut c = clients();
        assert!(beat(&mut c, 0, 1, consumer("a", &[], 7, true)), "unknown here: send in full");
        assert!(c.consumer_group("g").is_none());
        beat(&mut c, 0, 1, consumer("a", &["t"], 7, false));
        assert!(!beat(&mut c, 9, 1, consumer("a", &[], 7, true)), "known: nothing to send");
        assert!(beat(&mut c, 9, 1, consumer("a", &["t"], 8, false)), "another fingerprint");
        assert!(!beat(&mut c, 10, 2, consumer("b", &[], 8, true)), "a reconnected client");
        assert_eq!(c.client_ids("g"), ["a", "b"]);
    }
}
