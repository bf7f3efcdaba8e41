//! A master and its slave, two processes, and what happens to processes and wires. Whatever
//! happens: each message that was answered SEND_OK is there at the end, byte for byte, on the
//! master while it lives, and on the slave when it is gone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hotfire_tests::audit::{Audit, Fate};
use hotfire_tests::group::{Group, Node, TOPIC};
use hotfire_tests::process::PATIENCE;
use hotfire_tests::wire::Client;

const SENDERS: i32 = 4;
/// A SYNC_MASTER that gives up soon, so that faults need not last.
const SYNC: &str = "brokerRole=SYNC_MASTER\nslaveTimeout=500\nhaHousekeepingInterval=1500\n\
                    haSendHeartbeatInterval=300\nflushConsumerOffsetInterval=500";
const SLAVE: &str = "haHousekeepingInterval=1500\nhaSendHeartbeatInterval=300";
/// So many messages between two faults: what is struck is busy.
const BUSY: usize = 40;

/// Sends to its own queue until it is told to stop; connects again when the connection breaks.
fn send(audit: &Audit, port: u16, queue: i32, stop: &AtomicBool) {
    let mut client = None;
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let Some(connected) = client.as_mut() else {
            client = Client::connect(port).ok();
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        if audit.send(connected, queue, number * 37 % 2000) == Fate::Refused {
            client = None;
        }
    }
}

/// Stops senders when it goes, also by a panic: nobody waits for them for ever.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `faults` while senders send, and messages are promised before and behind them.
fn under_load(group: &mut Group, audit: &Audit, faults: impl FnOnce(&mut Group)) {
    let port = group.master.port;
    await_promise(port);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stop = &stop;
        let _stop = StopAtEnd(stop);
        for queue in 0..SENDERS {
            scope.spawn(move || send(audit, port, queue, stop));
        }
        audit.wait_for(BUSY, |counts| counts.promised);
        faults(group);
        audit.wait_for(BUSY, |counts| counts.promised);
    });
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
fn settle(group: &mut Group, audit: &Audit) {
    await_promise(group.master.port);
    group.wait_until_same();
    audit.check(group.master.port);
    // The slave asks for the topic every 3 s.
    await_topic(group.slave.port);
    group.master.kill();
    audit.check(group.slave.port);
    for node in [&group.master, &group.slave] {
        audit.check_log(node.log());
    }
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

/// Waits until the slave connected anew: an end of the wire had given up.
fn await_connection(group: &Group, before: u64) {
    let deadline = Instant::now() + PATIENCE;
    while group.wire.connections() == before {
        assert!(Instant::now() < deadline, "the slave does not connect again");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_wire_that_is_slow_cut_and_deaf() {
    let mut group = Group::start(SYNC, SLAVE);
    let audit = group.audit();
    under_load(&mut group, &audit, |group| {
        for _ in 0..3 {
            let before = group.wire.connections();
            group.wire.reset();
            await_connection(group, before);
            audit.wait_for(BUSY, |counts| counts.promised);
        }
        group.wire.slow(20_000);
        audit.wait_for(BUSY, |counts| counts.promised);
        group.wire.slow(0);
        for (said, told) in [(true, false), (false, true), (true, true)] {
            let before = group.wire.connections();
            group.wire.swallow(said, told);
            audit.wait_for(1, |counts| counts.stored);
            await_connection(group, before);
            group.wire.swallow(false, false);
            audit.wait_for(BUSY, |counts| counts.promised);
        }
    });
    assert_eq!(audit.counts().refused, 0, "a master without its slave takes messages");
    settle(&mut group, &audit);
}

#[test]
fn processes_that_are_killed() {
    let mut group = Group::start(SYNC, SLAVE);
    let audit = group.audit();
    under_load(&mut group, &audit, |group| {
        for _ in 0..2 {
            group.slave.kill();
            audit.wait_for(BUSY, |counts| counts.stored);
            group.slave.start();
            audit.wait_for(BUSY, |counts| counts.promised);
            let before = audit.counts();
            group.master.kill();
            audit.wait_since(before, 1, |counts| counts.refused);
            group.master.start();
            audit.wait_for(BUSY, |counts| counts.promised);
        }
    });
    settle(&mut group, &audit);
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
fn stand_still(whom: impl Fn(&mut Group) -> &mut Node) {
    let mut group = Group::start("brokerRole=SYNC_MASTER", "");
    let audit = group.audit();
    under_load(&mut group, &audit, |group| {
        whom(group).process().signal("STOP");
        // Longer than either end waits for the other: that is what happens here.
        thread::sleep(Duration::from_secs(40));
        whom(group).process().signal("CONT");
    });
    settle(&mut group, &audit);
}
