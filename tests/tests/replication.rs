//! A master and its slave, two processes, and what happens to processes and wires. Whatever
//! happens: each message that was answered SEND_OK is there at the end, byte for byte, on the
//! master while it lives, and on the slave when it is gone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hotfire_tests::group::{Audit, Fate, Group, TOPIC};
use hotfire_tests::process::PATIENCE;
use hotfire_tests::wire::Client;

const SENDERS: i32 = 4;
/// A SYNC_MASTER that gives up soon, so that faults need not last.
const SYNC: &str = "brokerRole=SYNC_MASTER\nslaveTimeout=500\nhaHousekeepingInterval=1500\n\
                    haSendHeartbeatInterval=300\nflushConsumerOffsetInterval=500";
const SLAVE: &str = "haHousekeepingInterval=1500\nhaSendHeartbeatInterval=300";

/// What senders saw.
#[derive(Debug, Default)]
struct Seen {
    audit: Audit,
    stored: usize,
    refused: usize,
}

/// Sends to its own queue until it is told to stop; connects again when the connection breaks.
fn send(port: u16, queue: i32, stop: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let mut client = None;
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let Some(connected) = client.as_mut() else {
            client = Client::connect(port).ok();
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        let body = format!("{queue} {number} {}", "x".repeat(number * 37 % 2000));
        match seen.audit.send(connected, queue, body.as_bytes()) {
            Fate::Promised(_) => {}
            Fate::Stored(_) => seen.stored += 1,
            Fate::Refused => {
                seen.refused += 1;
                client = None;
            }
        }
    }
    seen
}

/// Runs `faults` while senders send; what they saw.
fn under_load(group: &mut Group, faults: impl FnOnce(&mut Group)) -> Seen {
    let (port, stop) = (group.master.port, AtomicBool::new(false));
    await_promise(port);
    thread::scope(|scope| {
        let stop = &stop;
        let senders: Vec<_> =
            (0..SENDERS).map(|queue| scope.spawn(move || send(port, queue, stop))).collect();
        thread::sleep(Duration::from_millis(300));
        faults(group);
        thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        for sender in senders {
            let seen = sender.join().expect("no panic");
            all.audit.join(seen.audit);
            all.stored += seen.stored;
            all.refused += seen.refused;
        }
        all
    })
}

/// Waits until a send is answered SEND_OK: the slave follows.
fn await_promise(port: u16) {
    let deadline = Instant::now() + PATIENCE;
    let mut client = Client::connect(port).expect("listening");
    while client.send(TOPIC, 3, b"is anybody there?").is_err() {
        assert!(Instant::now() < deadline, "no send is answered SEND_OK");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The logs become one, and the slave alone has all that was promised.
fn settle(group: &mut Group, seen: &Seen) {
    await_promise(group.master.port);
    group.wait_until_same();
    seen.audit.check(group.master.port);
    // The slave asks for the topic every 3 s.
    await_topic(group.slave.port);
    group.master.kill();
    seen.audit.check(group.slave.port);
}

fn await_topic(port: u16) {
    let deadline = Instant::now() + PATIENCE;
    let mut client = Client::connect(port).expect("listening");
    while let Err(why) = client.pull_all(TOPIC, 0, 0) {
        // 17: no such topic yet; 20: ask the master, at the end.
        if why.to_string().starts_with("20 ") {
            return;
        }
        assert!(Instant::now() < deadline, "{why}");
        thread::sleep(Duration::from_millis(100));
    }
}

fn wait(millis: u64) {
    thread::sleep(Duration::from_millis(millis));
}

#[test]
fn a_wire_that_is_slow_cut_and_deaf() {
    let mut group = Group::start(SYNC, SLAVE);
    let seen = under_load(&mut group, |group| {
        for _ in 0..3 {
            group.wire.reset();
            wait(400);
        }
        group.wire.slow(20_000);
        wait(1500);
        group.wire.slow(0);
        for (said, told) in [(true, false), (false, true), (true, true)] {
            group.wire.swallow(said, told);
            wait(2500);
            group.wire.swallow(false, false);
            wait(700);
        }
    });
    assert!(
        seen.audit.len() > 100 && seen.stored > 0,
        "{} promised, {}",
        seen.audit.len(),
        seen.stored
    );
    assert_eq!(seen.refused, 0, "a master without its slave takes messages");
    settle(&mut group, &seen);
}

#[test]
fn processes_that_are_killed() {
    let mut group = Group::start(SYNC, SLAVE);
    let seen = under_load(&mut group, |group| {
        for _ in 0..2 {
            group.slave.kill();
            wait(300);
            group.slave.start();
            wait(700);
            group.master.kill();
            wait(300);
            group.master.start();
            wait(700);
        }
    });
    assert!(seen.audit.len() > 100 && seen.refused > 0, "{} promised", seen.audit.len());
    settle(&mut group, &seen);
}

#[test]
fn a_slave_that_stands_still_for_40_seconds() {
    stand_still(|group| &mut group.slave);
}

#[test]
fn a_master_that_stands_still_for_40_seconds() {
    stand_still(|group| &mut group.master);
}

/// With the settings that an operator has who set none.
fn stand_still(whom: impl Fn(&mut Group) -> &mut hotfire_tests::group::Node) {
    let mut group = Group::start("brokerRole=SYNC_MASTER", "");
    let seen = under_load(&mut group, |group| {
        whom(group).process().signal("STOP");
        wait(40_000);
        whom(group).process().signal("CONT");
        wait(1000);
    });
    assert!(seen.audit.len() > 100, "{} promised", seen.audit.len());
    settle(&mut group, &seen);
}
