//! Records that are here before their topic is.

use super::*;

const WITH_BATCHES: &str = "batchconsumequeue/inner/0/";
const ORDINARY: &str = "consumequeue/inner/0/";

/// A slave that was told where its master answers, and has been asked nothing yet.
fn told() -> Pair {
    let config = BrokerConfig { name_servers: 1, ..slave_config() };
    let master = Rig::open(PlainDisk::default(), master_config(0));
    let mut pair = Pair::with(master, &PlainDisk::default(), config);
    learns_master(&mut pair.slave, 1);
    pair
}

/// The same, and it was answered; with what.
fn answered() -> (Pair, String) {
    let mut pair = told();
    pair.run(2);
    let none = pair.table();
    pair.answer(2, &none);
    assert_eq!(pair.times_asked(), 1);
    (pair, none)
}

impl Pair {
    fn create_batch(&mut self, ms: u64) {
        self.master.ask(ms, create("inner", Some(BATCHES)));
    }

    /// How often the slave has asked for topics since.
    fn times_asked(&mut self) -> usize {
        let asked = std::mem::take(&mut self.asked);
        asked.into_iter().filter(|kind| *kind == StateKind::Topics).count()
    }

    /// The slave is answered all that it asks for at once.
    fn answer(&mut self, ms: u64, topics: &str) {
        for kind in StateKind::FOLLOWED {
            let json = (kind == StateKind::Topics).then(|| Bytes::from(topics.to_owned()));
            self.slave.handle(at(ms), Input::Fetched { kind, json });
        }
    }

    fn table(&self) -> String {
        String::from_utf8(state::topics_json(&self.master.broker.topics)).unwrap()
    }

    fn has(&self, dir: &str) -> bool {
        self.slave.store().disk().paths().any(|path| path.starts_with(dir))
    }
}

#[test]
fn a_record_waits_until_its_topic_is_known_and_kept() {
    let mut pair = told();
    pair.run(2);
    assert_eq!(pair.times_asked(), 1);
    let before = pair.table();
    pair.create_batch(3);
    pair.send(3, "inner", b"one");
    pair.run(3);
    pair.send(4, "inner", b"two");
    pair.run(4);
    let from = pair.slave.store().start();
    assert_eq!(pair.slave.store().written().end(), from, "of which kind is it?");
    assert_eq!(pair.times_asked(), 0, "the question before is not answered");
    pair.run(5_000);
    assert_eq!(pair.times_asked(), 0, "nor is it late");
    pair.answer(5_001, &before);
    pair.run(5_001);
    assert_eq!(pair.times_asked(), 1, "it was answered before the topic was made, maybe");
    assert_eq!(pair.slave.store().written().end(), from);
    let table = pair.table();
    pair.answer(5_002, &table);
    assert_eq!(pair.slave.store().written().end(), from, "a power loss takes the topic");
    pair.run(5_002);
    pair.check_same();
    assert!(pair.has(WITH_BATCHES) && !pair.has(ORDINARY));
    let mut pair = pair.restart_slave(|_| {});
    pair.send(7, "inner", b"three");
    pair.run(8);
    pair.check_same();
}

#[test]
fn a_record_of_a_topic_that_is_no_more_goes_into_an_ordinary_queue() {
    let (mut pair, none) = answered();
    pair.send(3, "inner", b"one");
    pair.run(3);
    assert_eq!((pair.times_asked(), pair.has(ORDINARY)), (1, false), "asked at once");
    pair.slave.handle(at(4), Input::Fetched { kind: StateKind::Topics, json: None });
    pair.run(4);
    assert!(!pair.has(ORDINARY), "no answer");
    pair.answer(5, &none);
    pair.run(5);
    pair.check_same();
    assert!(pair.has(ORDINARY));
}

#[test]
fn queues_of_another_kind_than_the_masters_stay_what_they_are() {
    let (mut pair, none) = answered();
    pair.create_batch(3);
    pair.send(3, "inner", b"one");
    pair.run(3);
    pair.answer(4, &none);
    pair.run(4);
    let table = pair.table();
    pair.answer(5, &table);
    pair.send(6, "inner", b"two");
    pair.run(6);
    let (own, master) = (pair.slave.store(), pair.master.broker.store());
    assert_eq!(own.written().end(), master.written().end(), "its log is its master's");
    assert!(pair.has(ORDINARY) && !pair.has(WITH_BATCHES));
}
