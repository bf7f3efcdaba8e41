//! Old files go, and a disk fills.

use super::*;
use crate::retention::{Hours, RetentionPolicy};

const BODY: &[u8] = &[7; 1500];

fn deleting(reserved: Duration) -> BrokerConfig {
    let retention = RetentionPolicy { reserved, when: Hours::ALL, ..RetentionPolicy::default() };
    BrokerConfig { retention, ..config() }
}

/// Sends so many, two in a file of the log; time passes until the last is durable.
fn filled(config: BrokerConfig, messages: u64) -> Rig {
    let mut rig = Rig::open(PlainDisk::default(), config);
    for n in 0..messages {
        assert!(matches!(rig.one(n, send("t", BODY)), BrokerResponse::Sent(_)));
    }
    for ms in (1000..62_000).step_by(500) {
        rig.run(ms);
    }
    rig
}

/// Turns every 100 ms, as a driver would that was told so by `deadline`.
fn pass(rig: &mut Rig, ms: std::ops::Range<u64>) {
    for ms in ms.step_by(100) {
        rig.run(ms);
    }
}

#[test]
fn who_asks_for_what_was_deleted_is_told_where_the_queue_begins() {
    let mut rig = filled(deleting(Duration::from_secs(119)), 40);
    let pulled = rig.pulled(62_000, "t", 0);
    assert_eq!(pulled.status, PullStatus::Found);
    let held = rig.ask(62_000, pull("t", 40, Some(60_000)));
    rig.run(62_000);
    pass(&mut rig, 120_000..122_000);
    let start = rig.broker.store().start();
    assert!(start.get() >= 10 * 4096 && start.get() < 19 * 4096, "ten in a round: {start}");
    pass(&mut rig, 130_000..133_000);
    assert_eq!(rig.broker.store().start().get(), 19 * 4096, "all but the last with records");

    let pulled = rig.pulled(133_000, "t", 0);
    assert_eq!((pulled.status, pulled.code), (PullStatus::OffsetTooSmall, Code::PullOffsetMoved));
    assert_eq!((pulled.next.get(), pulled.min.get(), pulled.max.get()), (38, 38, 40));
    let pulled = rig.pulled(133_000, "t", 38);
    assert_eq!(pulled.status, PullStatus::Found);
    rig.broker.store().verify_all().expect("queues follow the log");
    // A pull that is held in front of the end is not disturbed.
    let more = rig.ask(133_000, send("t", BODY));
    let answers: Vec<i32> = rig.run(133_000).into_iter().map(|(opaque, _)| opaque).collect();
    assert!(answers.contains(&more) && !answers.contains(&held), "the hold is over by then");
}

#[test]
fn an_answer_that_is_on_its_way_out_keeps_what_it_names() {
    let mut rig = filled(deleting(Duration::from_secs(119)), 40);
    // Time has come for files to go, and a pull is in the same turn.
    rig.ask(120_000, pull("t", 0, None));
    let mut leased = 0;
    while let Some(effect) = rig.broker.poll(at(120_000)) {
        if let Effect::Answer { response: BrokerResponse::Pulled(pulled), .. } = effect {
            leased += pulled.spans.iter().map(|span| rig.broker.lease(*span).len()).sum::<usize>();
        }
    }
    assert!(leased > 0);
    assert!(rig.broker.store().start().get() > 0, "a file went right behind it");
}

#[test]
fn a_full_disk_takes_no_sends_says_what_to_do_and_frees_itself() {
    let mut rig = filled(deleting(Duration::from_secs(3600)), 40);
    let used = |rig: &Rig| -> u64 {
        let disk = rig.broker.store().disk();
        disk.paths().map(|path| disk.file(path).map_or(0, |bytes| bytes.len() as u64)).sum()
    };
    let total = used(&rig) * 100 / 91;
    rig.broker.store.disk_mut().set_total(total);
    // The next round sees it; the files that go make room at once, which the next look sees.
    let seen = (62_000..80_000).step_by(100).find(|ms| {
        rig.run(*ms);
        rig.broker.retention.full().is_some()
    });
    let seen = seen.expect("within one interval");
    let BrokerResponse::Refused { code, remark } = rig.one(seen, send("t", BODY)) else {
        panic!("taken");
    };
    assert_eq!(code, Code::ServiceNotAvailable);
    assert!(remark.contains("91 % full") && remark.contains("free space"), "{remark}");
    assert!(rig.broker.closed_for_sends().is_none(), "this is nothing to restart for");
    assert_eq!(rig.pulled(seen, "t", 39).status, PullStatus::Found);
    pass(&mut rig, seen..seen + 4000);
    assert!(used(&rig) * 100 <= total * 86, "freed by need");
    assert!(used(&rig) * 100 >= total * 78, "and not more");
    assert!(matches!(rig.one(seen + 4000, send("t", BODY)), BrokerResponse::Sent(_)));
}

#[test]
fn files_wait_for_the_units_that_point_into_them() {
    let config = deleting(Duration::from_secs(10));
    let mut rig = Rig::open(PlainDisk::default(), config);
    for n in 0..10 {
        rig.ask(n, send("t", BODY));
        rig.run(n);
    }
    for ms in (1000..25_000).step_by(100) {
        rig.run(ms);
    }
    assert!(rig.broker.store().start().get() > 0, "queues were synced for it, before their time");
}
