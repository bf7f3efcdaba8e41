//! kill -9 in the middle of traffic: after a restart, every acknowledged message is readable.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hotfire_tests::process::{Hotfire, PATIENCE, free_port};
use hotfire_tests::wire::Client;

const TOPIC: &str = "KillNine";
const SENDERS: i32 = 4;
const ROUNDS: usize = 3;
/// Acknowledged messages after which the process is killed, while more are on their way.
const ACKNOWLEDGED: usize = 500;

/// Sends to its own queue until the connection breaks. Acknowledged: offset → body.
fn send_until_it_dies(port: u16, queue: i32, round: usize, total: &AtomicUsize) -> Acknowledged {
    let mut acknowledged = Acknowledged::new();
    let mut client = Client::connect(port).expect("listening");
    for number in 0.. {
        // Lengths that differ, so that a tail torn at any byte is a tail within a record.
        let body = format!("{queue} {round} {number} {}", "x".repeat(number * 37 % 2000));
        let Ok(offset) = client.send(TOPIC, queue, body.as_bytes()) else { break };
        let before = acknowledged.insert(offset, body.into_bytes());
        assert_eq!(before, None, "one offset was given to two messages");
        total.fetch_add(1, Ordering::Relaxed);
    }
    acknowledged
}

type Acknowledged = BTreeMap<i64, Vec<u8>>;

#[test]
fn every_acknowledged_message_survives_kill_9() {
    let data = tempfile::tempdir().expect("a directory");
    let mut acknowledged: Vec<Acknowledged> = vec![Acknowledged::new(); 4];
    for round in 0..ROUNDS {
        let port = free_port();
        let node = Hotfire::standalone(data.path(), free_port(), port);
        check(port, &acknowledged);
        let total = AtomicUsize::new(0);
        let sent: Vec<Acknowledged> = thread::scope(|scope| {
            let total = &total;
            let send = |queue| scope.spawn(move || send_until_it_dies(port, queue, round, total));
            let senders: Vec<_> = (0..SENDERS).map(send).collect();
            let deadline = Instant::now() + PATIENCE;
            while total.load(Ordering::Relaxed) < ACKNOWLEDGED {
                assert!(Instant::now() < deadline, "too few acknowledgements");
                thread::sleep(Duration::from_millis(1));
            }
            node.kill();
            senders.into_iter().map(|sender| sender.join().expect("no panic")).collect()
        });
        for (all, new) in acknowledged.iter_mut().zip(sent) {
            for (offset, body) in new {
                assert_eq!(all.insert(offset, body), None, "an offset was given out again");
            }
        }
    }
    let port = free_port();
    let _node = Hotfire::standalone(data.path(), free_port(), port);
    check(port, &acknowledged);
}

fn check(port: u16, acknowledged: &[Acknowledged]) {
    let mut client = Client::connect(port).expect("listening");
    for (queue, expected) in (0..).zip(acknowledged) {
        if expected.is_empty() {
            continue;
        }
        let found = client.pull_all(TOPIC, queue, 0).expect("readable");
        for (number, message) in (0..).zip(&found) {
            assert_eq!(message.offset, number, "queue {queue} counts without gaps");
        }
        for (offset, body) in expected {
            let at = usize::try_from(*offset).expect("offsets are not negative");
            let message = found.get(at).map(|message| message.body.as_slice());
            let lost = format!("queue {queue}: message {offset} was acknowledged and is lost");
            assert_eq!(message, Some(body.as_slice()), "{lost}");
        }
    }
}
