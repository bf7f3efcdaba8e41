use std::net::{Ipv4Addr, SocketAddr};

use super::*;
use crate::domain::{
    BrokerId, BrokerIdentity, DataVersion, Language, RegisteredTopic, Registration,
};

fn at(secs: u64) -> Now {
    Now { mono: Mono::from_micros(secs * 1_000_000), ..Now::default() }
}

fn caller(conn: u64) -> Caller {
    Caller {
        conn: ConnId(conn),
        peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
        opaque: 1,
        oneway: false,
        language: Language::JAVA,
        version: 493,
        json: true,
    }
}

fn topics(names: &[&str]) -> Vec<RegisteredTopic> {
    let topic = |name: &&str| RegisteredTopic {
        topic: Text::from(*name),
        read_queues: 4,
        write_queues: 4,
        perm: 6,
        sys_flag: 0,
        order: false,
    };
    names.iter().map(topic).collect()
}

fn registration(id: i64, addr: &str, names: &[&str], counter: i64) -> Registration {
    Registration {
        broker: BrokerIdentity {
            cluster: "c".into(),
            broker_name: "b".into(),
            addr: addr.into(),
            id: BrokerId(id),
        },
        ha_addr: format!("{addr}2").into(),
        heartbeat_timeout_ms: None,
        enable_acting_master: Some(false),
        data_version: DataVersion { counter, ..DataVersion::default() },
        topics: topics(names),
    }
}

struct Rig(NameServer);

impl Rig {
    fn new() -> Self {
        Self(NameServer::new(NameServerConfig::default(), KvConfig::default(), at(0)))
    }

    fn ask(&mut self, secs: u64, conn: u64, request: NameRequest) -> NameResponse {
        self.0.handle(at(secs), Input::Request { caller: caller(conn), request });
        loop {
            self.0.verify();
            match self.0.poll(at(secs)) {
                Some(Effect::Answer { response, .. }) => return response,
                Some(Effect::Notify { .. } | Effect::SaveKv) => {}
                None => panic!("every request is answered"),
            }
        }
    }

    fn register(&mut self, secs: u64, conn: u64, what: Registration) -> NameResponse {
        self.ask(secs, conn, NameRequest::Register(Box::new(what)))
    }

    fn has_route(&mut self, secs: u64, topic: &str) -> bool {
        matches!(
            self.ask(secs, 99, NameRequest::Route { topic: topic.into() }),
            NameResponse::Route(_)
        )
    }
}

#[test]
fn a_registered_topic_has_a_route_until_its_brokers_connection_closes() {
    let mut rig = Rig::new();
    rig.register(0, 1, registration(0, "h:1", &["t", "u"], 1));
    assert!(rig.has_route(1, "t"));
    assert!(!rig.has_route(1, "other"));
    rig.0.handle(at(2), Input::Closed { conn: ConnId(1) });
    assert!(!rig.has_route(2, "t"));
}

#[test]
fn a_broker_that_is_silent_for_longer_than_120_s_is_forgotten_and_not_before() {
    let mut rig = Rig::new();
    rig.register(0, 1, registration(0, "h:1", &["t", "u"], 1));
    assert!(rig.has_route(120, "t"));
    assert!(!rig.has_route(126, "t"));
}

#[test]
fn a_heartbeat_or_a_version_query_keeps_a_broker_alive() {
    let mut rig = Rig::new();
    rig.register(0, 1, registration(0, "h:1", &["t", "u"], 1));
    let beat = NameRequest::BrokerHeartbeat { addr: "h:1".into(), cluster: "c".into() };
    rig.ask(100, 1, beat);
    assert!(rig.has_route(200, "t"));
    let broker = registration(0, "h:1", &[], 1).broker;
    let version = DataVersion { counter: 1, ..DataVersion::default() };
    let answer = rig.ask(210, 1, NameRequest::QueryDataVersion { broker, version });
    assert_eq!(answer, NameResponse::DataVersion { changed: false, stored: Some(version) });
    assert!(rig.has_route(320, "t"));
}

#[test]
fn an_unknown_broker_with_a_single_topic_must_register_in_full_first() {
    let mut rig = Rig::new();
    let answer = rig.register(0, 1, registration(0, "h:1", &["t"], 1));
    assert!(matches!(answer, NameResponse::Refused { code: Code::SystemError, .. }));
    assert!(!rig.has_route(0, "t"));
    rig.register(0, 1, registration(0, "h:1", &["t", "u"], 1));
    rig.register(0, 1, registration(0, "h:1", &["v"], 2));
    assert!(rig.has_route(0, "t") && rig.has_route(0, "v"));
}

#[test]
fn a_slave_learns_its_master_and_brings_no_topics() {
    let mut rig = Rig::new();
    rig.register(0, 1, registration(0, "m:1", &["t", "u"], 1));
    let answer = rig.register(0, 2, registration(1, "s:1", &["x", "y"], 1));
    let NameResponse::Registered { ha_addr, master_addr, .. } = answer else { panic!() };
    assert_eq!(master_addr.as_deref(), Some("m:1"));
    assert_eq!(ha_addr.as_deref(), Some("m:12"));
    assert!(!rig.has_route(0, "x"));
}

/// apache/rocketmq 5374: a farewell names the id that its sender once had.
#[test]
fn a_late_farewell_of_a_former_master_does_not_remove_its_successor() {
    let mut rig = Rig::new();
    rig.register(0, 1, registration(0, "old:1", &["t", "u"], 1));
    rig.register(1, 2, registration(0, "new:1", &["t", "u"], 2));
    rig.ask(2, 1, NameRequest::Unregister(registration(0, "old:1", &[], 1).broker));
    assert!(rig.has_route(2, "t"));
    rig.0.handle(at(3), Input::Closed { conn: ConnId(1) });
    assert!(rig.has_route(3, "t"));
}

#[test]
fn wiped_write_permission_lasts_until_the_broker_registers_a_new_version() {
    let mut rig = Rig::new();
    rig.register(0, 1, registration(0, "h:1", &["t", "u"], 1));
    let wipe = NameRequest::SetWritePerm { broker_name: "b".into(), writable: false };
    assert_eq!(rig.ask(0, 9, wipe), NameResponse::WritePerm { writable: false, topics: 2 });
    let perm = |rig: &mut Rig| match rig.ask(1, 9, NameRequest::Route { topic: "t".into() }) {
        NameResponse::Route(route) => route.queues[0].perm,
        other => panic!("{other:?}"),
    };
    rig.register(1, 1, registration(0, "h:1", &["t", "u"], 1));
    assert_eq!(perm(&mut rig), 4);
    rig.register(1, 1, registration(0, "h:1", &["t", "u"], 2));
    assert_eq!(perm(&mut rig), 6);
}

#[test]
fn kv_changes_are_saved_before_they_are_acknowledged_and_only_changes_are() {
    let mut rig = Rig::new();
    let put = || NameRequest::PutKv { namespace: "n".into(), key: "k".into(), value: "v".into() };
    rig.0.handle(at(0), Input::Request { caller: caller(1), request: put() });
    assert_eq!(rig.0.poll(at(0)), Some(Effect::SaveKv));
    assert!(matches!(rig.0.poll(at(0)), Some(Effect::Answer { .. })));
    rig.0.handle(at(0), Input::Request { caller: caller(1), request: put() });
    assert!(matches!(rig.0.poll(at(0)), Some(Effect::Answer { .. })));
}

#[test]
fn an_outranked_newcomer_leaves_no_ghost_of_its_former_id() {
    let mut rig = Rig::new();
    let mut ranked = registration(0, "new:1", &["t", "u"], 1);
    ranked.data_version.state_version = 9;
    rig.register(0, 1, registration(1, "old:1", &["t", "u"], 1));
    rig.register(0, 2, ranked);
    rig.register(1, 1, registration(0, "old:1", &["t", "u"], 1));
    let members = NameRequest::MemberGroup { cluster: "c".into(), broker_name: "b".into() };
    let NameResponse::MemberGroup(group) = rig.ask(1, 9, members) else { panic!() };
    assert_eq!(group.addrs.values().collect::<Vec<_>>(), ["new:1"]);
}

#[test]
fn a_name_server_at_its_limit_of_topics_goes_on_registering_who_is_known() {
    let config = NameServerConfig { max_topics: 2, ..NameServerConfig::default() };
    let mut rig = Rig(NameServer::new(config, KvConfig::default(), at(0)));
    rig.register(0, 1, registration(0, "h:1", &["t", "u"], 1));
    let again = rig.register(100, 1, registration(0, "h:1", &["t", "u"], 2));
    assert!(matches!(again, NameResponse::Registered { .. }));
    let more = rig.register(100, 1, registration(0, "h:1", &["t", "u", "v"], 3));
    assert!(matches!(more, NameResponse::Refused { .. }));
}

#[test]
fn what_arrives_late_on_a_connection_given_up_changes_nothing() {
    let mut rig = Rig::new();
    rig.register(0, 1, registration(0, "h:1", &["t", "u"], 1));
    // The link stalls, the broker connects anew, and then the link lets go of what it had.
    rig.register(1, 2, registration(0, "h:1", &["t", "v"], 2));
    rig.register(2, 1, registration(0, "h:1", &["t", "u"], 1));
    rig.ask(2, 1, NameRequest::Unregister(registration(0, "h:1", &[], 1).broker));
    rig.0.handle(at(2), Input::Closed { conn: ConnId(1) });
    assert!(rig.has_route(3, "t"));
    assert!(rig.has_route(3, "v"));
    rig.ask(4, 2, NameRequest::Unregister(registration(0, "h:1", &[], 1).broker));
    assert!(!rig.has_route(4, "t"));
}

/// A group whose slaves act for their master, on a name server that supports it.
fn acting_rig() -> Rig {
    let config =
        NameServerConfig { acting_master: true, notify_min_id: true, ..Default::default() };
    Rig(NameServer::new(config, KvConfig::default(), at(0)))
}

fn acting(id: i64, addr: &str, counter: i64) -> Registration {
    Registration {
        enable_acting_master: Some(true),
        heartbeat_timeout_ms: Some(10_000),
        ..registration(id, addr, &["t", "rmq_sys_SYNC_BROKER_MEMBER_b"], counter)
    }
}

fn unregister(rig: &mut Rig, secs: u64, conn: u64, id: i64, addr: &str) {
    rig.ask(secs, conn, NameRequest::Unregister(acting(id, addr, 1).broker));
}

/// What a route says: ids and addresses, and the permission.
fn shown(rig: &mut Rig, secs: u64, topic: &str) -> (Vec<(i64, String)>, i32) {
    let answer = rig.ask(secs, 99, NameRequest::Route { topic: topic.into() });
    let NameResponse::Route(route) = answer else { panic!("{answer:?}") };
    let addrs = route.brokers[0].addrs.iter().map(|(id, addr)| (id.0, addr.to_string()));
    (addrs.collect(), route.queues[0].perm)
}

fn members(list: &[(i64, &str)]) -> Vec<(i64, String)> {
    list.iter().map(|(id, addr)| (*id, (*addr).to_owned())).collect()
}

#[test]
fn the_smallest_slave_is_shown_in_its_lost_masters_place_and_cannot_be_written() {
    let mut rig = acting_rig();
    for (id, addr) in [(0_i64, "m:1"), (2, "s:2"), (1, "s:1")] {
        rig.register(0, id.unsigned_abs() + 1, acting(id, addr, 1));
    }
    assert_eq!(shown(&mut rig, 1, "t").1, 6);
    rig.0.handle(at(2), Input::Closed { conn: ConnId(1) });
    assert_eq!(shown(&mut rig, 2, "t"), (members(&[(0, "s:1"), (2, "s:2")]), 4));
    // Members look at this one to see who lives.
    let watched = shown(&mut rig, 2, "rmq_sys_SYNC_BROKER_MEMBER_b").0;
    assert_eq!(watched, members(&[(1, "s:1"), (2, "s:2")]));
    unregister(&mut rig, 3, 2, 1, "s:1");
    assert_eq!(shown(&mut rig, 3, "t"), (members(&[(0, "s:2")]), 4));
    // A registration of a slave gives nothing back, its master's does.
    rig.register(4, 5, acting(1, "s:1", 9));
    assert_eq!(shown(&mut rig, 4, "t"), (members(&[(0, "s:1"), (2, "s:2")]), 4));
    rig.register(5, 6, acting(0, "m:1", 1));
    let all = members(&[(0, "m:1"), (1, "s:1"), (2, "s:2")]);
    assert_eq!(shown(&mut rig, 5, "t"), (all, 6));
}

#[test]
fn a_name_server_that_begins_without_a_master_takes_topics_of_the_prime_slave() {
    let mut rig = acting_rig();
    rig.register(0, 1, acting(1, "s:1", 1));
    assert_eq!(shown(&mut rig, 0, "t"), (members(&[(0, "s:1")]), 4));
}

#[test]
fn no_slave_is_shown_in_a_masters_place_unless_both_sides_want_it() {
    let mut rig = acting_rig();
    rig.register(0, 1, registration(0, "m:1", &["t", "u"], 1));
    rig.register(0, 2, registration(1, "s:1", &["t", "u"], 1));
    rig.0.handle(at(1), Input::Closed { conn: ConnId(1) });
    assert_eq!(shown(&mut rig, 1, "t"), (members(&[(1, "s:1")]), 6));
    let mut rig = Rig::new();
    rig.register(0, 1, acting(0, "m:1", 1));
    rig.register(0, 2, acting(1, "s:1", 1));
    rig.0.handle(at(1), Input::Closed { conn: ConnId(1) });
    assert_eq!(shown(&mut rig, 1, "t"), (members(&[(1, "s:1")]), 4));
}

#[test]
fn a_broker_that_asked_for_it_is_dead_after_10_s_of_silence() {
    let mut rig = acting_rig();
    rig.register(0, 1, acting(0, "m:1", 1));
    rig.register(0, 2, acting(1, "s:1", 1));
    let beat = |addr: &str| NameRequest::BrokerHeartbeat { addr: addr.into(), cluster: "c".into() };
    for secs in [4, 8] {
        rig.ask(secs, 1, beat("m:1"));
        rig.ask(secs, 2, beat("s:1"));
    }
    rig.ask(16, 2, beat("s:1"));
    assert_eq!(shown(&mut rig, 16, "t").0.len(), 2);
    assert_eq!(shown(&mut rig, 22, "t"), (members(&[(0, "s:1")]), 4));
}

#[test]
fn members_are_told_when_the_smallest_id_of_their_group_changes() {
    let mut rig = acting_rig();
    let mut told = |secs: u64, input: Input| {
        rig.0.handle(at(secs), input);
        let effects = std::iter::from_fn(|| rig.0.poll(at(secs)));
        let told = effects.filter_map(|effect| match effect {
            Effect::Notify { to, change } => Some((to, change)),
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    let register = |conn: u64, what: Registration| Input::Request {
        caller: caller(conn),
        request: NameRequest::Register(Box::new(what)),
    };
    assert_eq!(told(0, register(2, acting(1, "s:1", 1))), []);
    assert_eq!(told(0, register(3, acting(2, "s:2", 1))), []);
    let mut change = MinIdChange {
        broker_name: "b".into(),
        id: BrokerId(0),
        addr: "m:1".into(),
        offline: None,
        ha_addr: Some("m:12".into()),
    };
    let all = vec![Text::from("s:1"), Text::from("s:2")];
    assert_eq!(told(1, register(1, acting(0, "m:1", 1))), [(all.clone(), change.clone())]);
    assert_eq!(told(2, register(1, acting(0, "m:1", 2))), []);
    change = MinIdChange {
        id: BrokerId(1),
        addr: "s:1".into(),
        offline: Some("m:1".into()),
        ha_addr: None,
        ..change
    };
    assert_eq!(told(3, Input::Closed { conn: ConnId(1) }), [(all, change)]);
    assert_eq!(told(3, Input::Closed { conn: ConnId(3) }), []);
}
