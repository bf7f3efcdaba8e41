//! Sends that wait, and those that must not.

use super::*;

fn said(properties: &str, body: &'static [u8]) -> BrokerRequest {
    let BrokerRequest::Send(send) = send("t", body) else { unreachable!("a send was made") };
    BrokerRequest::Send(Box::new(Send { properties: properties.into(), ..*send }))
}

/// One whose topic is there, and whose disk says nothing any more.
fn stuck(config: BrokerConfig) -> Rig {
    let mut rig = Rig::open(PlainDisk::default(), config);
    rig.sent(1, "t", b"first");
    rig.broker.store.disk_mut().hold_completions(true);
    rig
}

fn sync_flush() -> BrokerConfig {
    let flush = FlushPolicy::Sync { timeout: Duration::from_secs(5) };
    BrokerConfig { flush, ..config() }
}

#[test]
fn who_does_not_want_to_wait_for_the_flush_is_answered_at_once() {
    let mut rig = stuck(sync_flush());
    rig.ask(2, said("WAIT\u{1}true\u{2}", b"x"));
    rig.ask(2, send("t", b"y"));
    assert_eq!(rig.run(2), []);
    let BrokerResponse::Sent(sent) = rig.one(3, said("WAIT\u{1}false\u{2}", b"z")) else {
        panic!("it is stored");
    };
    assert_eq!((sent.status, sent.queue_offset.get()), (SendStatus::Ok, 3));
}

/// The large one needs the next file, and the small one does not.
#[test]
fn a_send_for_which_there_is_room_does_not_overtake_one_that_waits_for_it() {
    let mut rig = stuck(config());
    let mut sent = 1;
    let large = loop {
        let large = rig.ask(2, send("t", &[7; 1_000]));
        if rig.run(2).is_empty() {
            break large;
        }
        sent += 1;
        assert!(sent < 20, "files of 4 KiB are made in vain");
    };
    let small = rig.ask(3, send("t", b"x"));
    assert_eq!(rig.run(3), []);
    rig.broker.store.disk_mut().hold_completions(false);
    let offsets = rig.run(4).into_iter().map(|(opaque, response)| match response {
        BrokerResponse::Sent(sent) => (opaque, sent.queue_offset.get()),
        other => panic!("{other:?}"),
    });
    assert_eq!(offsets.collect::<Vec<_>>(), [(large, sent), (small, sent + 1)]);
}

/// One-way sends are nobody's who waits, and count.
#[test]
fn a_broker_whose_disk_hangs_takes_no_more_than_so_many() {
    let mut config = sync_flush();
    config.limits.waiting_sends = 3;
    let mut rig = stuck(config);
    for _ in 0..3 {
        rig.tell(2, send("t", b"x"), true);
    }
    let BrokerResponse::Refused { code, remark } = rig.one(3, send("t", b"y")) else {
        panic!("it is one too many");
    };
    assert_eq!(code, Code::SystemBusy);
    assert!(remark.contains("3 sends wait for the disk"), "{remark}");
    rig.broker.store.disk_mut().hold_completions(false);
    rig.run(4);
    assert_eq!(rig.sent(5, "t", b"y").queue_offset.get(), 4);
}
