//! Messages by key.

use super::*;
use crate::domain::{KeyKind, Positions, Queried, QueryMessage};

fn keyed(keys: &str) -> BrokerRequest {
    match send("t", b"hello") {
        BrokerRequest::Send(send) => {
            BrokerRequest::Send(Box::new(Send { properties: keys.into(), ..*send }))
        }
        other => other,
    }
}

fn ask(rig: &mut Rig, ms: u64, key: &str, most: i32) -> Option<Queried> {
    let query = QueryMessage {
        topic: "t".into(),
        key: key.into(),
        kind: KeyKind::Key,
        is_unique: most == 0,
        max_messages: most,
        begin: Wall::from_millis(0),
        end: Wall::from_millis(i64::MAX),
    };
    match rig.one(ms, BrokerRequest::QueryMessage(Box::new(query))) {
        BrokerResponse::Queried(queried) => Some(*queried),
        BrokerResponse::Refused { code: Code::QueryNotFound, .. } => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_is_found_by_each_of_its_keys_and_the_newest_count() {
    let mut rig = Rig::new();
    let mut at = Vec::new();
    for n in 0..70 {
        let keys = format!("UNIQ_KEY\u{1}U{n}\u{2}KEYS\u{1}all all\u{2}");
        match rig.one(1 + n, keyed(&keys)) {
            BrokerResponse::Sent(sent) => at.push(sent.at),
            other => panic!("{other:?}"),
        }
    }
    let places = |queried: Option<Queried>| -> Vec<Positions> {
        let spans = queried.map_or_else(Vec::new, |queried| queried.spans);
        spans.iter().map(|span| Positions::One(span.at)).collect()
    };
    assert_eq!(places(ask(&mut rig, 99, "U7", 0)), at[7..8]);
    assert_eq!(places(ask(&mut rig, 99, "all", 3)), at[67..], "the oldest of them first");
    assert_eq!(places(ask(&mut rig, 99, "all", i32::MAX)), at[6..], "64 at most");
    assert_eq!(ask(&mut rig, 99, "all", -1), None);
    assert_eq!(ask(&mut rig, 99, "none", 9), None);
    let newest = ask(&mut rig, 99, "U69", 0).expect("found").indexed;
    assert_eq!(Positions::One(newest), at[69]);
}

#[test]
fn what_may_not_be_seen_yet_is_not_found() {
    let flush = FlushPolicy::Sync { timeout: Duration::from_secs(5) };
    let mut rig = Rig::open(PlainDisk::default(), BrokerConfig { flush, ..config() });
    assert!(matches!(rig.one(1, keyed("KEYS\u{1}a\u{2}")), BrokerResponse::Sent(_)));
    assert_eq!(ask(&mut rig, 2, "a", 9).map_or(0, |queried| queried.spans.len()), 1);
    rig.broker.store.disk_mut().hold_completions(true);
    rig.ask(3, keyed("KEYS\u{1}b\u{2}"));
    assert!(rig.run(3).is_empty());
    assert_eq!(ask(&mut rig, 3, "b", 9), None);
    rig.broker.store.disk_mut().hold_completions(false);
    assert_eq!(rig.run(4).len(), 1);
    assert!(ask(&mut rig, 4, "b", 9).is_some());
}
