//! A broker whose records wait in the transient store pool.

use super::*;

fn open(disk: PlainDisk, bytes: usize) -> Broker<PlainDisk> {
    let flush = FlushPolicy::Async { flush: Pace::FLUSH, commit: Some(Pace::COMMIT) };
    let settings = Settings { staged: Some(bytes), ..settings() };
    let config = BrokerConfig { flush, ..config() };
    Broker::open(disk, settings, config, at(0)).expect("it opens").0
}

fn rig(bytes: usize) -> Rig {
    let mut rig = Rig { broker: open(PlainDisk::default(), bytes), opaque: 0 };
    rig.run(0);
    // A topic takes a turn of the disk to be made.
    rig.sent(1, "t", b"zero");
    rig.run(500);
    rig
}

#[test]
fn a_send_is_answered_at_once_and_seen_once_it_is_committed() {
    let mut rig = rig(100_000);
    assert_eq!(rig.sent(1_000, "t", b"one").status, SendStatus::Ok);
    assert_eq!(rig.pulled(1_000, "t", 1).status, PullStatus::OffsetOverflowOne);
    let held = rig.ask(1_001, pull("t", 1, Some(9_000)));
    assert!(rig.run(1_199).is_empty());
    assert_eq!(rig.broker.deadline(), Some(at(1_200).mono));
    let woken = rig.run(1_200);
    assert!(matches!(&woken[..], [(opaque, BrokerResponse::Pulled(_))] if *opaque == held));
    assert_eq!(rig.broker.confirmed().end(), rig.broker.store().written().end());
}

#[test]
fn a_full_pool_holds_sends_back_and_loses_none() {
    let mut rig = rig(1_000);
    let asked: Vec<_> = (0..20).map(|_| rig.ask(1_000, send("t", &[7; 300]))).collect();
    let answers = rig.run(1_000);
    let answered: Vec<_> = answers.iter().map(|(opaque, _)| *opaque).collect();
    assert_eq!(answered, asked, "in order, and within the turn: a commit is a copy");
    for (_, answer) in &answers {
        assert!(matches!(answer, BrokerResponse::Sent(sent) if sent.status == SendStatus::Ok));
    }
    rig.run(1_200);
    assert_eq!(rig.pulled(1_201, "t", 0).max.get(), 21);
}

#[test]
fn an_orderly_stop_commits_whatever_the_disk_says() {
    let mut rig = rig(100_000);
    rig.sent(1_000, "t", b"one");
    rig.broker.sync_fault = Some(Fault::Full { path: "x".into() });
    assert!(rig.broker.stop(at(1_001)).is_err());
    let again = open(rig.broker.into_store().into_disk().reopened(), 100_000);
    assert_eq!(again.store().queue("t", 0).expect("a queue").max.get(), 2);
}
