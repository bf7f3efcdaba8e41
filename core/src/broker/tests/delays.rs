//! How far delayed messages are delivered: a table that is kept, followed, and said to slaves.

use hotfire_storage::LoadError;
use hotfire_storage::documents::{DELAY_OFFSETS, DelayOffsetTable, Document};

use super::*;
use crate::domain::StateKind;
use crate::ha::SlavePolicy;

/// As Apache's broker writes it into its file, and says it to slaves.
const FILE: &str = "{\n\t\"dataVersion\":{\n\t\t\"counter\":27,\n\t\t\"stateVersion\":0,\n\t\t\
                    \"timestamp\":9\n\t},\n\t\"offsetTable\":{\n\t\t1:0,\n\t\t18:0\n\t}\n}";
const SAID: &str = concat!(
    r#"{"dataVersion":{"counter":27,"stateVersion":0,"timestamp":9},"#,
    r#""offsetTable":{1:6,18:0}}"#
);

fn slave_config() -> BrokerConfig {
    let role = Role::Slave { policy: SlavePolicy::default(), master: Some("m:2".into()) };
    let identity = BrokerIdentity { id: BrokerId(1), ..config().identity };
    BrokerConfig { identity, role, name_servers: 1, ..config() }
}

/// A slave whose log continues its master's, as far as it goes.
fn follower(disk: PlainDisk) -> Rig {
    let mut slave = Rig::open(disk, slave_config());
    slave.broker.handle(at(0), Input::Ha(HaInput::Connected));
    assert!(slave.broker.has_master());
    slave
}

fn holding(path: &str, text: &str) -> PlainDisk {
    let mut disk = PlainDisk::default();
    disk.put_file(path, text.into());
    disk
}

fn parsed(text: &[u8]) -> DelayOffsetTable {
    DelayOffsetTable::parse(text).expect("a table")
}

/// What a slave of it is told, besides the end of the log.
fn told(rig: &mut Rig, ms: u64) -> DelayOffsetTable {
    match rig.one(ms, BrokerRequest::State(StateKind::DelayOffsets)) {
        BrokerResponse::State { json, .. } => DelayOffsetTable { log_end: None, ..parsed(&json) },
        other => panic!("{other:?}"),
    }
}

/// Its master says this.
fn hears(rig: &mut Rig, ms: u64, json: &'static str) {
    let input = Input::Fetched { kind: StateKind::DelayOffsets, json: Some(json.into()) };
    rig.broker.handle(at(ms), input);
    rig.run(ms);
}

/// What another process finds in the file.
fn kept(rig: &Rig) -> Option<DelayOffsetTable> {
    rig.broker.store().disk().file(DELAY_OFFSETS).map(parsed)
}

#[test]
fn a_table_of_apaches_is_told_to_slaves_and_is_there_after_a_stop() {
    let mut rig = Rig::open(holding(DELAY_OFFSETS, FILE), config());
    assert_eq!(told(&mut rig, 1), parsed(FILE.as_bytes()));
    rig.broker.stop(at(2)).unwrap();
    assert_eq!(kept(&rig), Some(parsed(FILE.as_bytes())));
    let mut rig = Rig::open(rig.broker.into_store().into_disk().reopened(), config());
    assert_eq!(told(&mut rig, 3), parsed(FILE.as_bytes()));
}

/// A power loss took what lay there. What comes in its place must be delivered, whatever crashes.
#[test]
fn an_offset_beyond_its_queue_is_taken_back_before_anything_comes() {
    let mut rig = Rig::open(holding(DELAY_OFFSETS, SAID), config());
    let table = BTreeMap::from([(1, 0), (18, 0)]);
    assert_eq!(kept(&rig).map(|kept| kept.offset_table), Some(table.clone()));
    let told = told(&mut rig, 1);
    assert_eq!((told.offset_table, told.data_version.counter), (table, 28));
}

/// A table speaks of what lies in the master's log; here it is not yet.
#[test]
fn a_slave_takes_no_table_over_that_its_log_is_behind() {
    let mut slave = follower(PlainDisk::default());
    let ahead = SAID.replacen('{', r#"{"logEnd":1000,"#, 1).leak();
    hears(&mut slave, 1, ahead);
    assert_eq!(told(&mut slave, 1), DelayOffsetTable::default());
    slave.run(20_000);
    slave.broker.stop(at(20_001)).unwrap();
    assert_eq!(kept(&slave), None);
}

/// The master lost the end of its log, and that table with it.
#[test]
fn a_table_that_waits_is_forgotten_when_the_master_comes_back() {
    let mut slave = follower(PlainDisk::default());
    hears(&mut slave, 1, SAID.replacen('{', r#"{"logEnd":1000,"#, 1).leak());
    hears(&mut slave, 2, SAID);
    assert_eq!(told(&mut slave, 2), DelayOffsetTable::default(), "one at a time");
    slave.broker.handle(at(3), Input::Ha(HaInput::Ended { why: String::new() }));
    slave.run(1_000);
    slave.broker.handle(at(1_000), Input::Ha(HaInput::Connected));
    hears(&mut slave, 1_001, SAID);
    assert_eq!(told(&mut slave, 1_001), parsed(SAID.as_bytes()));
}

/// Its log may be of another past, and have something else where its master delivered.
#[test]
fn a_slave_takes_no_table_over_before_its_log_is_compared() {
    let mut slave = Rig::open(PlainDisk::default(), slave_config());
    hears(&mut slave, 1, SAID);
    assert_eq!(told(&mut slave, 1), DelayOffsetTable::default());
    slave.broker.stop(at(2)).unwrap();
    assert_eq!(kept(&slave), None);
}

#[test]
fn a_damaged_table_falls_back_to_its_backup_or_keeps_the_broker_from_starting() {
    let backup = format!("{DELAY_OFFSETS}.bak");
    let mut disk = holding(&backup, FILE);
    let mut rig = Rig::open(disk.clone(), config());
    assert_eq!(told(&mut rig, 1), parsed(FILE.as_bytes()), "the file itself is lost");
    for damaged in ["", "{\"offsetTable\":{1:", r#"{"offsetTable":{1:"six"}}"#] {
        disk.put_file(DELAY_OFFSETS, damaged.into());
        let mut rig = Rig::open(disk.clone(), config());
        assert_eq!(told(&mut rig, 1), parsed(FILE.as_bytes()));
        let opened = Broker::open(holding(DELAY_OFFSETS, damaged), settings(), config(), at(0));
        let lost = LoadError::Damaged { path: DELAY_OFFSETS.to_owned() };
        assert_eq!(opened.err(), Some(OpenError::State(lost)), "{damaged:?}");
    }
}

#[test]
fn who_has_never_heard_of_delayed_messages_keeps_no_table() {
    let mut rig = Rig::new();
    assert_eq!(told(&mut rig, 1), DelayOffsetTable::default());
    rig.run(60_000);
    rig.broker.stop(at(60_001)).unwrap();
    assert_eq!(kept(&rig), None);
}

#[test]
fn a_slave_asks_its_master_for_the_table() {
    let mut slave = follower(PlainDisk::default());
    learns_master(&mut slave.broker, 1);
    let effects = std::iter::from_fn(|| slave.broker.poll(at(1)));
    let asked = effects.filter_map(|effect| match effect {
        Effect::Group(GroupEffect::Fetch { kind, .. }) => Some(kind),
        _ => None,
    });
    assert!(asked.collect::<Vec<_>>().contains(&StateKind::DelayOffsets));
}

#[test]
fn a_slave_has_its_masters_table_and_nothing_else() {
    let mut slave = follower(holding(DELAY_OFFSETS, r#"{"offsetTable":{2:3}}"#));
    hears(&mut slave, 1, SAID);
    assert_eq!(told(&mut slave, 1), parsed(SAID.as_bytes()));
    // Apache's changes its table many times before it changes its version.
    let later = SAID.replace("1:6", "1:7").leak();
    hears(&mut slave, 2, later);
    assert_eq!(told(&mut slave, 2), parsed(later.as_bytes()));
    for unreadable in ["", "no table", r#"{"offsetTable":{1:"six"}}"#] {
        hears(&mut slave, 3, unreadable);
        assert_eq!(told(&mut slave, 3), parsed(later.as_bytes()), "{unreadable:?}");
    }
    hears(&mut slave, 4, r#"{"offsetTable":{-1:4,0:4,3:-4,4:4}}"#);
    assert_eq!(told(&mut slave, 4), parsed(br#"{"offsetTable":{4:4}}"#), "no broker wrote these");
}

#[test]
fn what_a_slave_was_told_is_saved_and_again_if_that_failed() {
    let mut slave = follower(PlainDisk::default());
    hears(&mut slave, 1, SAID);
    assert_eq!(kept(&slave), Some(parsed(SAID.as_bytes())));
    slave.broker.store.disk_mut().take_file(DELAY_OFFSETS);
    hears(&mut slave, 6_000, SAID);
    slave.run(10_000);
    assert_eq!(kept(&slave), None, "nothing is new");
    let path = DELAY_OFFSETS;
    let why = "it is full".to_owned();
    let outcome = Err(Fault::Io { op: "replace", path: path.to_owned(), why });
    slave.broker.store_event(at(10_000), hotfire_storage::StoreEvent::Saved { path, outcome });
    slave.run(10_999);
    assert_eq!(kept(&slave), None);
    slave.run(11_000);
    assert_eq!(kept(&slave), Some(parsed(SAID.as_bytes())));
    // A master without a table takes it away; a stop saves that, too.
    hears(&mut slave, 16_000, "{}");
    slave.broker.stop(at(16_001)).unwrap();
    assert_eq!(kept(&slave), Some(DelayOffsetTable::default()));
}
