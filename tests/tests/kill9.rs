//! kill -9 in the middle of traffic: after a restart, every acknowledged message is readable.

use std::path::Path;
use std::thread;

use hotfire_tests::audit::{Audit, Fate, Scene};
use hotfire_tests::process::{Hotfire, free_port};
use hotfire_tests::wire::Client;

const TOPIC: &str = "KillNine";
const SENDERS: i32 = 4;
const ROUNDS: usize = 3;
/// Acknowledged messages after which the process is killed, while more are on their way.
const ACKNOWLEDGED: usize = 500;

/// Sends to its own queue until the connection breaks.
fn send_until_it_dies(audit: &Audit, port: u16, queue: i32) {
    let mut client = Client::connect(port).expect("listening");
    for number in 0.. {
        // Lengths that differ, so that a tail torn at any byte is a tail within a record.
        if audit.send(&mut client, queue, number * 37 % 2000) != Fate::Promised {
            return;
        }
    }
}

#[test]
fn every_acknowledged_message_survives_kill_9() {
    let scene = Scene::new();
    let (data, audit) = (scene.path().join("data"), Audit::begin(scene.path(), TOPIC));
    for _ in 0..ROUNDS {
        let (node, port) = start(&data);
        check(port, &audit);
        thread::scope(|scope| {
            let send = |queue| {
                let audit = &audit;
                scope.spawn(move || send_until_it_dies(audit, port, queue))
            };
            let _senders: Vec<_> = (0..SENDERS).map(send).collect();
            audit.wait_for(ACKNOWLEDGED, |counts| counts.promised);
            node.kill();
        });
    }
    let (_node, port) = start(&data);
    check(port, &audit);
}

fn start(data: &Path) -> (Hotfire, u16) {
    let port = free_port();
    (Hotfire::standalone(data, free_port(), port), port)
}

fn check(port: u16, audit: &Audit) {
    if audit.counts().promised == 0 {
        return;
    }
    audit.check(port);
    let mut client = Client::connect(port).expect("listening");
    for queue in 0..SENDERS {
        let found = client.pull_all(TOPIC, queue, 0).expect("readable");
        for (number, message) in (0..).zip(&found) {
            assert_eq!(message.offset, number, "queue {queue} counts without gaps");
        }
    }
}
