//! A sync that never ends. Nobody may wait for it for ever, and who does not need it goes on.

use std::time::Duration;

use hotfire_core::broker::{Broker, BrokerConfig, Effect, FlushPolicy, Input};
use hotfire_core::domain::{
    BrokerId, BrokerIdentity, BrokerRequest, BrokerResponse, Code, ConnId, CreateTopic, Pull,
    PullStatus, QueueRef, Send, SendStatus,
};
use hotfire_core::machine::Machine;
use hotfire_storage::Settings;
use hotfire_storage::time::{Mono, Now, Wall};

use super::names::caller;
use crate::choose::{Chance, Concern};
use crate::disk::{Faults, Medium, SimDisk};
use crate::ledger::Ledger;
use crate::trace::Column;

struct Rig {
    medium: Medium,
    broker: Broker<SimDisk>,
    opaque: i32,
}

fn now(ms: u64) -> Now {
    Now { mono: Mono::from_micros(ms * 1000), wall: Wall::from_millis(1_700_000_000_000) }
}

impl Rig {
    fn new() -> Self {
        // The first question to the disk is whether it hangs altogether: it does.
        let tape = "disk 1/2 disk.sync.hangs\n".parse().expect("well formed");
        let dice = Chance::tape(&tape).of(Concern::Disk);
        let well = Faults { sync_early: 0, ..Faults::none() };
        let medium = Medium::new(well, dice, Ledger::default(), Column::default());
        let identity = BrokerIdentity {
            cluster: "c".into(),
            broker_name: "b".into(),
            addr: "10.0.0.1:10911".into(),
            id: BrokerId::MASTER,
        };
        let flush = FlushPolicy::Sync { timeout: Duration::from_secs(5) };
        let host = "10.0.0.1:10911".parse().expect("an address");
        let config =
            BrokerConfig { flush, ..BrokerConfig::new(identity, host, "10.0.0.1:10912".into()) };
        let settings = Settings {
            commit_log_file: 65_536,
            index_slots: 10,
            index_items: 100,
            ..Settings::default()
        };
        let opened = Broker::open(medium.mount(), settings, config, now(0));
        let (broker, _) = opened.unwrap_or_else(|error| panic!("{error}"));
        Self { medium, broker, opaque: 0 }
    }

    /// Asks, and says what is answered by `ms`: opaque numbers and answers.
    fn ask(&mut self, ms: u64, request: BrokerRequest) -> Vec<(i32, BrokerResponse)> {
        self.opaque += 1;
        let caller = caller(ConnId(1), self.opaque, false);
        self.broker.handle(now(ms), Input::Request { caller, request });
        self.wait(ms)
    }

    fn wait(&mut self, ms: u64) -> Vec<(i32, BrokerResponse)> {
        self.medium.advance(now(ms).mono);
        let mut answers = Vec::new();
        while let Some(effect) = self.broker.poll(now(ms)) {
            if let Effect::Answer { caller, response } = effect {
                answers.push((caller.opaque, response));
            }
        }
        self.broker.verify();
        answers
    }
}

fn create(topic: &str) -> BrokerRequest {
    BrokerRequest::CreateTopic(Box::new(CreateTopic::new(topic, 1)))
}

fn send() -> BrokerRequest {
    let to = QueueRef { topic: "t".into(), queue: 0 };
    BrokerRequest::Send(Box::new(Send { default_queues: 1, ..Send::new("p", to, "body") }))
}

fn pull() -> BrokerRequest {
    BrokerRequest::Pull(Box::new(Pull {
        group: "g".into(),
        from: QueueRef { topic: "t".into(), queue: 0 },
        offset: 0,
        max_messages: 32,
        max_bytes: None,
        commit: None,
        hold_ms: None,
        subscription: Some("*".into()),
        sub_version: 0,
        expression_type: None,
    }))
}

fn status(answers: &[(i32, BrokerResponse)]) -> Vec<(i32, SendStatus)> {
    let sent = answers.iter().map(|(opaque, answer)| match answer {
        BrokerResponse::Sent(sent) => (*opaque, sent.status),
        other => panic!("{opaque}: {other:?}"),
    });
    sent.collect()
}

#[test]
fn behind_a_sync_that_never_ends_everybody_is_answered_and_pulls_go_on() {
    let mut rig = Rig::new();
    rig.wait(0);
    assert_eq!(rig.ask(1, create("t")), [(1, BrokerResponse::Done)]);
    assert_eq!(status(&rig.ask(2, send())), [(2, SendStatus::Ok)]);
    rig.medium.set_faults(Faults { sync_stuck: 1000, sync_early: 0, ..Faults::none() });
    assert_eq!(rig.ask(3, send()), [], "its sync is stuck");
    assert_eq!(rig.ask(4, create("u")), [], "and the topic table behind it");
    match rig.ask(5, pull()).as_slice() {
        [(5, BrokerResponse::Pulled(pulled))] => {
            assert_eq!((pulled.status, pulled.max.get()), (PullStatus::Found, 1));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(status(&rig.wait(5_003)), [(3, SendStatus::FlushDiskTimeout)]);
    assert_eq!(status(&rig.ask(5_004, send())), [], "still taken, and waited for");
    match rig.wait(10_004).as_slice() {
        [(6, BrokerResponse::Sent(_)), (4, BrokerResponse::Refused { code, .. })]
        | [(4, BrokerResponse::Refused { code, .. }), (6, BrokerResponse::Sent(_))] => {
            assert_eq!(*code, Code::SystemBusy);
        }
        other => panic!("{other:?}"),
    }
    rig.medium.set_faults(Faults { sync_early: 0, ..Faults::none() });
    rig.wait(10_005);
    assert_eq!(status(&rig.ask(10_006, send())), [(7, SendStatus::Ok)]);
    assert_eq!(rig.ask(10_007, create("u")), [(8, BrokerResponse::Done)]);
}
