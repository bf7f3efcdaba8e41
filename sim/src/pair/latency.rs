//! Replication adds to a send at most one round trip and the follower's write.
//!
//! Links and disks take a time of their own here, always the same, and machines take none. So what
//! a send takes tells how often it crossed a link and how many writes it waited for.
//!
//! ```text
//!  master   send ─┬─ its own write ────────────┬─► SEND_OK     the longer of the two ways
//!                 └─► link ─► write ─► link ───┘
//! ```

use hotfire_core::domain::SendStatus;

use super::*;
use crate::choose::{Chance, Tape};
use crate::disk::Faults;
use crate::ledger::Ledger;
use crate::plan::{NetFaults, Plan};
use crate::trace::Trace;

/// One way, in microseconds.
const LINK: u64 = 10_000;
/// An operation of a disk.
const DISK: u64 = 3_000;
/// Less than any of the two: what is said on a wire at once arrives a microsecond apart.
const SLACK: u64 = 50;
/// Between two sends: the pair is idle.
const IDLE: u64 = 1_370_000;
/// Simulated time for anything at most.
const PATIENCE: u64 = 60_000_000;

/// A group without a fault and with none of the draws that its plan leaves open.
fn run_of(sync_flush: bool) -> Run {
    let chance = Chance::tape(&Tape::default());
    let mut plan = Plan::draw(&mut chance.of(Concern::Plan));
    plan.store.sync_flush = sync_flush;
    plan.disk = Faults { latency_min_us: DISK, latency_max_us: DISK, ..Faults::none() };
    plan.net = NetFaults { latency_min_us: LINK, latency_max_us: LINK, ..plan.net };
    (plan.net.cut, plan.net.stall) = (0, 0);
    Run { chance, plan, trace: Trace::default(), ledger: Ledger::default() }
}

/// Sends a message; its answer, and after how long.
fn send(world: &mut World<'_>) -> (Option<SendStatus>, u64) {
    let (number, asked) = (world.judge.next(), world.now);
    world.send_one().expect("nothing is wrong");
    while !world.judge.is_answered(number) {
        assert!(world.now < asked + PATIENCE, "no answer");
        world.step().expect("nothing is wrong");
    }
    (world.judge.status(number), world.now - asked)
}

fn idle(world: &mut World<'_>) {
    let until = world.now + IDLE;
    while world.now < until {
        world.step().expect("nothing is wrong");
    }
}

/// What a send takes at least and at most, of those that an idle group is sent.
fn latency(shape: &Shape, run: &Run, slaves: usize) -> (u64, u64) {
    let mut world = World::of(run, shape, slaves, run.chance.of(Concern::Work));
    (world.sends, world.strikes) = (0, 0);
    for at in 0..=slaves {
        world.boot(at).expect("it opens");
    }
    // With the first the topic is made, and perhaps no slave is there yet.
    while send(&mut world).0 != Some(SendStatus::Ok) {
        idle(&mut world);
    }
    let mut took = Vec::new();
    for _ in 0..8 {
        idle(&mut world);
        let (status, time) = send(&mut world);
        assert_eq!(status, Some(SendStatus::Ok));
        took.push(time);
    }
    (*took.iter().min().expect("some"), *took.iter().max().expect("some"))
}

#[test]
fn a_send_waits_for_one_round_trip_and_one_write_of_a_slave() {
    for sync_flush in [false, true] {
        let run = run_of(sync_flush);
        let mut shape = Shape::draw(&mut run.chance.of(Concern::Work), &run.plan, 1);
        shape.wanted = 0;
        let own = if sync_flush { DISK } else { 0 };
        assert_eq!(latency(&shape, &run, 1), (own, own), "what the master takes alone");
        // A record in one frame; and one in several, of which none waits for the other.
        for (slaves_sync, slaves, batch) in [
            (false, 1, 32 << 10),
            (true, 1, 32 << 10),
            (false, 1, 50),
            (true, 1, 50),
            (false, 2, 32 << 10),
            (true, 2, 32 << 10),
        ] {
            (shape.wanted, shape.slaves_sync, shape.batch) = (slaves, slaves_sync, batch);
            let write = if slaves_sync { DISK } else { 0 };
            let (least, most) = latency(&shape, &run, slaves);
            let told = format!("{least} to {most} us, {shape:?}");
            assert!(most <= own + 2 * LINK + write + SLACK, "a round or a write too many: {told}");
            // The master sends what is not on its medium yet: neither waits for the other.
            let longer = own.max(2 * LINK + write);
            assert!((longer..=longer + SLACK).contains(&least), "{told}");
            assert!((longer..=longer + SLACK).contains(&most), "{told}");
        }
    }
}
