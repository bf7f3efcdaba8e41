//! A group that acts for its master: what a slave and its master make of what name servers and the
//! other one say.

use super::*;
use crate::domain::{BrokerData, Code, HaInfo, StateKind};
use crate::ha::SlavePolicy;

/// So many members: id and address.
type Members<'a> = &'a [(i64, &'a str)];

const MASTER: (i64, &str) = (0, "m:1");
const SLAVE: (i64, &str) = (1, "s:1");

fn member(of: (i64, &str), name_servers: usize) -> BrokerConfig {
    let (id, addr) = (BrokerId(of.0), of.1.into());
    let identity = BrokerIdentity { addr, id, ..config().identity };
    let role = match of.0 {
        0 => config().role,
        _ => Role::Slave { policy: SlavePolicy::default(), master: None },
    };
    let acting = Some(ActingPolicy::default());
    BrokerConfig { identity, role, acting, name_servers, ..config() }
}

/// A member, and what it asks of others: answers to clients are kept apart.
struct Node {
    rig: Rig,
    answers: Vec<(i32, BrokerResponse)>,
}

impl Node {
    fn open(disk: PlainDisk, config: BrokerConfig) -> Self {
        let (broker, _) = Broker::open(disk, settings(), config, at(0)).unwrap();
        Self { rig: Rig { broker, opaque: 0 }, answers: Vec::new() }
    }

    fn new(config: BrokerConfig) -> Self {
        Self::open(PlainDisk::default(), config)
    }

    /// What it does of its own accord.
    fn acts(&mut self, ms: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some(effect) = self.rig.broker.poll(at(ms)) {
            self.rig.broker.verify();
            match effect {
                Effect::Answer { caller, response } => {
                    self.answers.push((caller.opaque, response));
                }
                Effect::Master(_) => {}
                other => effects.push(other),
            }
        }
        effects
    }

    /// A name server says who lives; or does not answer.
    fn sees(&mut self, ms: u64, name_server: usize, members: Option<Members>) {
        let response = members.map(|members| {
            let addrs = members.iter().map(|(id, addr)| (BrokerId(*id), Text::from(*addr)));
            NameResponse::MemberGroup(BrokerData {
                cluster: "c".into(),
                broker_name: "b".into(),
                addrs: addrs.collect(),
                enable_acting_master: true,
            })
        });
        self.rig.broker.handle(at(ms), Input::Members { name_server, response });
    }

    fn told(&mut self, ms: u64, json: Option<Vec<u8>>) {
        let (kind, json) = (StateKind::Offsets, json.map(Bytes::from));
        self.rig.broker.handle(at(ms), Input::Fetched { kind, json });
    }

    fn commits(&mut self, ms: u64, topic: &str, offset: i64) {
        let of = QueueRef { topic: topic.into(), queue: 0 };
        let request = BrokerRequest::UpdateOffset { group: "g".into(), of, offset };
        assert_eq!(self.rig.one(ms, request), BrokerResponse::Done);
    }

    /// The offset of the group, or the answer's code.
    fn offset(&mut self, ms: u64, topic: &str) -> Result<i64, Code> {
        match self.rig.one(ms, query(topic)) {
            BrokerResponse::Offset(offset) => Ok(offset),
            BrokerResponse::Refused { code, .. } => Err(code),
            other => panic!("{other:?}"),
        }
    }
}

fn query(topic: &str) -> BrokerRequest {
    let of = QueueRef { topic: topic.into(), queue: 0 };
    BrokerRequest::QueryOffset { group: "g".into(), of, zero_if_absent: Some(false) }
}

fn offsets(of: &[(&str, i64)]) -> Vec<u8> {
    let table = of.iter().map(|(topic, next)| format!(r#""{topic}@g":{{0:{next}}}"#));
    let table = table.collect::<Vec<_>>().join(",");
    format!(r#"{{"offsetTable":{{{table}}}}}"#).into_bytes()
}

fn watch(name_server: usize) -> Effect {
    Effect::Group(GroupEffect::Watch { name_server })
}

const BEAT: Effect = Effect::Group(GroupEffect::Beat);

#[test]
fn a_member_says_that_it_lives_and_looks_who_else_does_every_second() {
    let mut slave = Node::new(member(SLAVE, 2));
    let first = slave.acts(0);
    // Once more when its topics are durable.
    assert_eq!(first, [Effect::Register, BEAT, watch(0), watch(1), Effect::Register]);
    let told = slave.rig.broker.registration();
    assert_eq!((told.enable_acting_master, told.heartbeat_timeout_ms), (Some(true), Some(10_000)));
    assert_eq!(slave.acts(999), []);
    slave.sees(999, 0, Some(&[SLAVE]));
    assert_eq!(slave.acts(1000), [BEAT, watch(0)], "one question at a time");
    slave.sees(1500, 1, None);
    assert_eq!(slave.acts(1500), [watch(1)]);
    // A name server says that something changed.
    slave.sees(1500, 0, Some(&[SLAVE]));
    slave.sees(1500, 1, Some(&[SLAVE]));
    let change = crate::domain::MinIdChange {
        broker_name: "b".into(),
        id: BrokerId(1),
        addr: "s:1".into(),
        offline: Some("m:1".into()),
        ha_addr: None,
    };
    slave.rig.tell(1600, BrokerRequest::MinIdChanged(Box::new(change)), true);
    assert_eq!(slave.acts(1600), [watch(0), watch(1)]);
}

#[test]
fn a_plain_broker_does_nothing_of_that() {
    let config = BrokerConfig { acting: None, ..member(SLAVE, 2) };
    let mut slave = Node::new(config);
    assert_eq!(slave.acts(0), [Effect::Register, Effect::Register]);
    let told = slave.rig.broker.registration();
    assert_eq!((told.enable_acting_master, told.heartbeat_timeout_ms), (Some(false), None));
}

#[test]
fn the_live_slave_with_the_smallest_id_acts_while_no_name_server_knows_a_master() {
    let mut slave = Node::new(member(SLAVE, 2));
    slave.acts(0);
    let mut acts = |views: [Option<Members>; 2]| {
        slave.sees(0, 0, views[0]);
        slave.sees(0, 1, views[1]);
        slave.rig.broker.acts()
    };
    assert!(!acts([Some(&[MASTER, SLAVE]), Some(&[MASTER, SLAVE])]));
    assert!(!acts([Some(&[SLAVE]), Some(&[MASTER, SLAVE])]), "one of them has lost the master");
    assert!(acts([Some(&[SLAVE, (2, "s:2")]), Some(&[SLAVE])]));
    assert!(acts([Some(&[SLAVE]), None]), "who does not answer has no say");
    assert!(acts([Some(&[SLAVE]), Some(&[])]), "nor has one that has just begun");
    let mut second = Node::new(member((2, "s:2"), 1));
    second.sees(0, 0, Some(&[SLAVE, (2, "s:2")]));
    assert!(!second.rig.broker.acts());
    second.sees(0, 0, Some(&[(2, "s:2")]));
    assert!(second.rig.broker.acts());
    second.sees(0, 0, Some(&[(0, "m:1"), (2, "s:2")]));
    assert!(!second.rig.broker.acts());
}

#[test]
fn who_is_not_listed_registers_again_and_not_in_a_loop() {
    let mut slave = Node::new(member(SLAVE, 1));
    slave.acts(0);
    slave.sees(100, 0, Some(&[(2, "s:2")]));
    assert_eq!(slave.acts(100), [], "it has just registered");
    slave.acts(4000);
    slave.sees(4000, 0, Some(&[(2, "s:2")]));
    assert!(slave.acts(4000).contains(&Effect::Register));
    slave.acts(5000);
    slave.sees(5000, 0, Some(&[(2, "s:2")]));
    assert!(!slave.acts(5000).contains(&Effect::Register));
}

#[test]
fn a_slave_asks_the_master_that_name_servers_list_and_none_while_they_list_none() {
    let mut slave = Node::new(member(SLAVE, 1));
    slave.acts(0);
    let asked = |effects: &[Effect]| {
        let is_one = |of: &&Effect| matches!(of, Effect::Group(GroupEffect::Fetch { .. }));
        effects.iter().filter(is_one).count()
    };
    slave.sees(100, 0, Some(&[MASTER, SLAVE]));
    let effects = slave.acts(100);
    assert_eq!(asked(&effects), StateKind::FOLLOWED.len());
    assert!(effects.contains(&Effect::Register), "its replication port may be another");
    slave.sees(1500, 0, Some(&[SLAVE]));
    assert_eq!(asked(&slave.acts(60_000)), 0);
}

#[test]
fn a_slave_takes_its_masters_word_and_keeps_what_it_was_told_itself() {
    let mut slave = Node::new(member(SLAVE, 1));
    slave.acts(0);
    slave.sees(0, 0, Some(&[MASTER, SLAVE]));
    slave.acts(0);
    let mut master = Rig::new();
    master.one(1, send("t", b"x"));
    let BrokerResponse::State { kind, json, .. } =
        master.one(1, BrokerRequest::State(StateKind::Topics))
    else {
        panic!("not a table")
    };
    let json = Some(json);
    slave.rig.broker.handle(at(0), Input::Fetched { kind, json });
    slave.told(1, Some(offsets(&[("t", 7)])));
    assert_eq!(slave.offset(1, "t"), Ok(7));
    slave.told(2, Some(offsets(&[("t", 5)])));
    assert_eq!(slave.offset(2, "t"), Ok(5), "it was taken back");
    slave.commits(3, "t", 9);
    slave.told(4, Some(offsets(&[("t", 6)])));
    assert_eq!(slave.offset(4, "t"), Ok(9), "the master does not know yet");
    slave.told(5, Some(offsets(&[("t", 9)])));
    slave.told(6, Some(offsets(&[("t", 2)])));
    assert_eq!(slave.offset(6, "t"), Ok(2));
}

/// Three messages, and a commit behind the first.
fn master_with_messages() -> PlainDisk {
    let mut rig = Rig::open(PlainDisk::default(), config());
    for _ in 0..3 {
        rig.one(0, send("t", b"x"));
    }
    let of = QueueRef { topic: "t".into(), queue: 0 };
    rig.one(0, BrokerRequest::UpdateOffset { group: "g".into(), of, offset: 1 });
    rig.broker.stop(at(0)).unwrap();
    rig.broker.into_store().into_disk().reopened()
}

fn fetch(from: &str) -> Effect {
    Effect::Group(GroupEffect::Fetch { from: from.into(), kind: StateKind::Offsets })
}

#[test]
fn a_master_takes_back_what_its_slaves_were_told_before_it_registers() {
    let mut master = Node::open(master_with_messages(), member(MASTER, 1));
    assert_eq!(master.acts(0), [BEAT, watch(0)]);
    master.sees(1, 0, Some(&[SLAVE, (2, "s:2")]));
    assert_eq!(master.acts(1), [fetch("s:1"), fetch("s:2")]);
    // Who asks meanwhile waits.
    let asks = master.rig.ask(2, query("t"));
    let other = BrokerRequest::State(StateKind::Offsets);
    let slave_asks = master.rig.ask(2, other);
    assert_eq!((master.acts(2), master.answers.len()), (vec![], 0));
    master.told(3, Some(offsets(&[("t", 2)])));
    assert_eq!((master.acts(3), master.answers.len()), (vec![], 0), "another is asked");
    // It has more than this log: what will be appended there is yet to be consumed.
    master.told(4, Some(offsets(&[("t", 8), ("unknown", 3)])));
    assert_eq!(master.acts(4), [Effect::Register]);
    assert_eq!(master.answers[0], (asks, BrokerResponse::Offset(3)));
    assert_eq!(master.answers[1].0, slave_asks);
    assert_eq!(master.offset(5, "unknown"), Err(Code::QueryNotFound));
}

#[test]
fn a_master_without_others_registers_as_soon_as_it_knows() {
    for view in [Some::<Members>(&[]), Some(&[MASTER]), None] {
        let mut master = Node::new(member(MASTER, 2));
        assert_eq!(master.acts(0), [BEAT, watch(0), watch(1)]);
        master.sees(1, 0, view);
        assert_eq!(master.acts(1), []);
        master.sees(2, 1, None);
        assert_eq!(master.acts(2), [Effect::Register]);
    }
}

#[test]
fn a_slave_that_does_not_answer_delays_its_master_and_does_not_stop_it() {
    let mut master = Node::new(member(MASTER, 1));
    master.acts(0);
    master.sees(1, 0, Some(&[SLAVE]));
    assert_eq!(master.acts(1), [fetch("s:1")]);
    master.told(10, None);
    assert_eq!(master.acts(10), []);
    assert!(master.acts(510).contains(&fetch("s:1")), "asked again");
    assert!(!master.acts(9_999).contains(&Effect::Register));
    assert!(master.acts(10_000).contains(&Effect::Register));
}

#[test]
fn a_master_listens_to_its_slaves_while_clients_may_still_be_there() {
    let mut master = Node::open(master_with_messages(), member(MASTER, 1));
    master.acts(0);
    master.sees(1, 0, Some(&[SLAVE]));
    master.acts(1);
    master.told(2, Some(offsets(&[("t", 2)])));
    master.acts(2);
    master.sees(1_000, 0, Some(&[MASTER, SLAVE]));
    assert!(master.acts(3_002).contains(&fetch("s:1")));
    master.told(3_003, Some(offsets(&[("t", 3)])));
    assert_eq!(master.offset(3_004, "t"), Ok(3));
    master.told(3_005, Some(offsets(&[("t", 1)])));
    assert_eq!(master.offset(3_006, "t"), Ok(3), "none goes back");
    master.acts(60_002);
    assert!(!master.acts(70_000).contains(&fetch("s:1")));
    // A name server has lost it for a while: clients may have gone to the slave.
    master.sees(80_000, 0, Some(&[SLAVE]));
    let effects = master.acts(80_000);
    assert!(effects.contains(&fetch("s:1")) && effects.contains(&Effect::Register), "{effects:?}");
}

/// A name server that hears nothing for a while shows a slave. When its link is back, a master can
/// be registered again before it is listed as missing.
#[test]
fn a_master_listens_to_its_slaves_after_a_name_server_was_not_heard() {
    let mut master = Node::open(master_with_messages(), member(MASTER, 1));
    master.acts(0);
    master.sees(1, 0, Some(&[SLAVE]));
    master.acts(1);
    master.told(2, Some(offsets(&[("t", 2)])));
    master.acts(2);
    master.acts(70_000);
    master.sees(80_000, 0, Some(&[MASTER, SLAVE]));
    assert!(!master.acts(80_000).contains(&fetch("s:1")), "nothing has happened");
    master.sees(90_000, 0, None);
    assert!(!master.acts(90_000).contains(&fetch("s:1")), "it is no news that it is not heard");
    master.sees(110_000, 0, Some(&[MASTER, SLAVE]));
    assert!(master.acts(110_000).contains(&fetch("s:1")));
    master.told(110_001, Some(offsets(&[("t", 3)])));
    assert_eq!(master.offset(110_002, "t"), Ok(3));
}

#[test]
fn members_of_apaches_ask_a_master_where_its_log_is_and_tell_a_slave_in_vain() {
    let mut master = Node::open(master_with_messages(), member(MASTER, 1));
    let begun = master.rig.broker.store().written().end();
    let info = HaInfo { ha_addr: "127.0.0.1:10912".into(), addr: "m:1".into(), begun };
    let answer = master.rig.one(0, BrokerRequest::HaInfo { told: None });
    assert_eq!(answer, BrokerResponse::HaInfo(Some(Box::new(info))));
    let mut slave = Node::new(member(SLAVE, 1));
    slave.acts(0);
    slave.sees(0, 0, Some(&[SLAVE]));
    slave.rig.ask(1, BrokerRequest::HaInfo { told: Some("m:2".into()) });
    assert_eq!(slave.acts(1), [watch(0)], "it asks whom it believes");
    assert!(matches!(slave.answers[..], [(_, BrokerResponse::HaInfo(None))]));
}

#[test]
fn every_deadline_that_is_due_is_met() {
    for config in [member(MASTER, 2), member(SLAVE, 2)] {
        let mut node = Node::new(config);
        for ms in (0..120_000).step_by(250) {
            node.acts(ms);
            let due = node.rig.broker.deadline().expect("it has timers");
            assert!(due > at(ms).mono, "a driver would turn for ever at {ms} ms");
            if ms % 1000 == 0 {
                node.sees(ms, 0, Some(&[MASTER, SLAVE]));
                node.sees(ms, 1, (ms % 5000 == 0).then_some(&[SLAVE]));
                node.told(ms, (ms % 3000 == 0).then(|| offsets(&[("t", 1)])));
            }
        }
    }
}
