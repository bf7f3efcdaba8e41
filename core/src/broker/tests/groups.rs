//! How groups are configured.

use hotfire_storage::documents::GROUPS;

use super::*;
use crate::domain::{GroupConfig, StateKind};
use crate::ha::SlavePolicy;

fn configure(configs: &[GroupConfig]) -> BrokerRequest {
    BrokerRequest::ConfigureGroups(configs.to_vec())
}

fn described(rig: &mut Rig, ms: u64, group: &str) -> GroupConfig {
    match rig.one(ms, BrokerRequest::GroupConfig { group: group.into() }) {
        BrokerResponse::GroupConfig(config) => *config,
        other => panic!("{other:?}"),
    }
}

fn refusal(response: BrokerResponse) -> Code {
    match response {
        BrokerResponse::Refused { code, .. } => code,
        other => panic!("{other:?}"),
    }
}

fn attributes(all: &[(&str, &str)]) -> BTreeMap<Text, Text> {
    all.iter().map(|(key, value)| (Text::from(*key), Text::from(*value))).collect()
}

#[test]
fn a_group_is_what_it_was_configured_to_be_after_a_power_loss() {
    let mut rig = Rig::new();
    let wanted = GroupConfig {
        retry_max_times: 3,
        retry_queue_nums: 2,
        consume_broadcast_enable: false,
        attributes: attributes(&[("+a", "1"), ("+b", "2")]),
        ..GroupConfig::new("g")
    };
    assert_eq!(rig.one(1, configure(std::slice::from_ref(&wanted))), BrokerResponse::Done);
    let kept = GroupConfig { attributes: attributes(&[("a", "1"), ("b", "2")]), ..wanted };
    let mut rig = Rig::open(rig.broker.into_store().into_disk().reopened(), config());
    assert_eq!(described(&mut rig, 2, "g"), kept);
    // A change says what becomes of attributes, and all of the rest.
    let changed = attributes(&[("-a", ""), ("+b", "3"), ("-nothing", "")]);
    let wanted = GroupConfig { attributes: changed, ..GroupConfig::new("g") };
    assert_eq!(rig.one(3, configure(&[wanted])), BrokerResponse::Done);
    let kept = GroupConfig { attributes: attributes(&[("b", "3")]), ..GroupConfig::new("g") };
    assert_eq!(described(&mut rig, 4, "g"), kept);
}

/// Else the operator goes, the power fails, and the group is what it was.
#[test]
fn it_is_answered_once_it_is_kept() {
    let mut rig = Rig::new();
    rig.broker.store.disk_mut().hold_completions(true);
    let asked = rig.ask(1, configure(&[GroupConfig::new("g")]));
    assert_eq!(rig.run(1), []);
    rig.broker.store.disk_mut().hold_completions(false);
    assert_eq!(rig.run(2), [(asked, BrokerResponse::Done)]);
    assert!(rig.broker.store().disk().file(GROUPS).is_some());
    // What is so already is kept already.
    assert_eq!(rig.one(3, configure(&[GroupConfig::new("g")])), BrokerResponse::Done);
    rig.broker.store.disk_mut().hold_completions(true);
    let asked = rig.ask(4, configure(&[GroupConfig::new("h")]));
    assert_eq!(rig.run(10_003), [], "a disk that hangs");
    let answers = rig.run(10_004);
    let [(opaque, BrokerResponse::Refused { code, .. })] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!((*opaque, *code), (asked, Code::SystemBusy));
}

#[test]
fn several_groups_are_made_or_none() {
    let mut rig = Rig::new();
    let many = [GroupConfig::new("a"), GroupConfig::new("../b")];
    assert_eq!(refusal(rig.one(1, configure(&many))), Code::InvalidParameter);
    assert!(!rig.broker.groups.table().contains_key("a"));
    let many = [GroupConfig::new("a"), GroupConfig::new("b")];
    assert_eq!(rig.one(2, configure(&many)), BrokerResponse::Done);
    assert!(rig.broker.groups.table().contains_key("b"));
    let mut code = |change: &dyn Fn(&mut GroupConfig)| {
        let mut group = GroupConfig::new("c");
        change(&mut group);
        refusal(rig.one(3, configure(&[group])))
    };
    assert_eq!(code(&|group| group.retry_queue_nums = -1), Code::InvalidParameter);
    assert_eq!(code(&|group| group.retry_queue_nums = i32::MAX), Code::InvalidParameter);
    assert_eq!(code(&|group| group.group_name = Text::EMPTY), Code::InvalidParameter);
    let neither = attributes(&[("a", "1")]);
    assert_eq!(code(&|group| group.attributes.clone_from(&neither)), Code::InvalidParameter);
}

#[test]
fn a_group_that_is_disabled_pulls_nothing() {
    let mut rig = Rig::new();
    rig.sent(0, "t", b"x");
    let disabled = GroupConfig { consume_enable: false, ..GroupConfig::new("g") };
    assert_eq!(rig.one(1, configure(&[disabled])), BrokerResponse::Done);
    assert_eq!(refusal(rig.one(2, pull("t", 0, None))), Code::NoPermission);
    assert_eq!(rig.one(3, configure(&[GroupConfig::new("g")])), BrokerResponse::Done);
    assert_eq!(rig.pulled(4, "t", 0).status, PullStatus::Found);
}

#[test]
fn a_group_is_deleted_with_what_it_has_consumed_if_that_is_wanted() {
    let strict = BrokerConfig { auto_create_group: false, ..config() };
    for clean_offset in [false, true] {
        let mut rig = Rig::open(PlainDisk::default(), strict.clone());
        rig.sent(0, "t", b"x");
        let both = [GroupConfig::new("g"), GroupConfig::new("other")];
        assert_eq!(rig.one(1, configure(&both)), BrokerResponse::Done);
        let of = QueueRef { topic: "t".into(), queue: 0 };
        for group in ["g", "other"] {
            let (group, of) = (group.into(), of.clone());
            rig.one(2, BrokerRequest::UpdateOffset { group, of, offset: 1 });
        }
        let delete = BrokerRequest::DeleteGroup { group: "g".into(), clean_offset };
        assert_eq!(rig.one(3, delete.clone()), BrokerResponse::Done);
        assert_eq!(rig.one(4, delete), BrokerResponse::Done, "it is gone");
        let unknown = rig.one(5, BrokerRequest::GroupConfig { group: "g".into() });
        assert_eq!(refusal(unknown), Code::SubscriptionGroupNotExist);
        let offset =
            |group: &str| rig.broker.offsets.committed(&group.into(), &of).map(QueueOffset::get);
        assert_eq!((offset("g"), offset("other")), ((!clean_offset).then_some(1), Some(1)));
    }
}

#[test]
fn a_slave_takes_its_groups_from_its_master() {
    let role = Role::Slave { policy: SlavePolicy::default(), master: None };
    let identity = BrokerIdentity { id: BrokerId(1), ..config().identity };
    let mut slave = Rig::open(PlainDisk::default(), BrokerConfig { identity, role, ..config() });
    let refused = slave.one(1, configure(&[GroupConfig::new("g")]));
    assert_eq!(refusal(refused), Code::SystemError);
    let delete = BrokerRequest::DeleteGroup { group: "g".into(), clean_offset: false };
    assert_eq!(refusal(slave.one(2, delete)), Code::SystemError);
    let mut master = Rig::new();
    let wanted = GroupConfig { retry_max_times: 5, ..GroupConfig::new("g") };
    master.one(1, configure(std::slice::from_ref(&wanted)));
    let BrokerResponse::State { json, .. } = master.one(2, BrokerRequest::State(StateKind::Groups))
    else {
        panic!()
    };
    slave.broker.handle(at(3), Input::Fetched { kind: StateKind::Groups, json: Some(json) });
    slave.run(3);
    assert_eq!(described(&mut slave, 4, "g"), wanted);
}
