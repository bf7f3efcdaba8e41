//! Ring 2: the product's drivers, sockets and codecs, as they are, on madsim's network and runtime.
//!
//! ```text
//!  client nodes                    server nodes
//!  models of ring 1                run_broker · run_namesrv, unchanged
//!  hotfire_net::client             hotfire_net::server
//!        └──────── frames over simulated streams ────────┘         disk: the medium of ring 1
//!
//!  madsim-main: the fault plan, the oracles of ring 1, the end
//! ```
//!
//! | room | what |
//! |---|---|
//! | `world` | who takes part: drawn from the plan as in ring 1 |
//! | `nodes`, `brokers` | processes of servers; masters, and slaves that copy their logs |
//! | `client`, `links` | turn a client model over the product's client |
//! | `disks`, `view` | the plug-in that hears of deaths, a disk that follows the clock |
//! | `copies` | what may be said of masters and slaves, by the bytes of their logs |
//! | `faults` | deaths, stops, pauses, clogged links; restarts |
//! | `settle`, `peace` | heals, waits for rest, asks around, stops, judges |
//!
//! Plan, faults, work and disks draw from the run's own chance. Scheduling and latencies draw from
//! madsim's generator, whose seed is one draw of the run: a tape replays all of it.

mod brokers;
mod client;
mod copies;
mod disks;
mod faults;
mod links;
mod nodes;
mod peace;
mod settle;
mod view;
mod world;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hotfire_core::machine::Digest;
use hotfire_net::rt;
use hotfire_storage::time::Mono;
use madsim::net::NetSim;
use madsim::plugin::node;
use madsim::runtime::Runtime;

use crate::choose::{Choose, Concern};
use crate::ledger::Strike;
use crate::ring::{Outcome, Passed, Run, Violation};
use disks::SimDisks;
use faults::Faults;
use world::World;

/// Between two looks at the world while faults strike.
const LOOK: Duration = Duration::from_millis(5);
/// Faults end at the latest here, however slow the work is.
const FAULTS_END: Duration = Duration::from_secs(120);
/// No run takes so long, unless it hangs.
const RUN_MAX: Duration = Duration::from_secs(1200);

/// Runs a seed. Wants a thread of its own: the standard library seeds its maps once a thread, and
/// madsim can determine that seed only before.
pub fn run(run: &Run) -> Outcome {
    let mut dice = run.chance.of(Concern::Schedule);
    let seed = dice.below(u64::MAX, "schedule.madsim");
    let mut config = madsim::Config::default();
    let net = &run.plan.net;
    let latency = Duration::from_micros(net.latency_min_us)
        ..Duration::from_micros(net.latency_max_us.max(net.latency_min_us) + 1);
    config.net.send_latency = latency;
    config.net.packet_loss_rate = f64::from(net.stall) / 1000.0;
    let mut runtime = Runtime::with_seed_and_config(seed, config);
    runtime.set_time_limit(RUN_MAX);
    runtime.add_simulator::<SimDisks>();
    rt::move_in_pieces(run.plan.wired.pieces);
    let world = Arc::new(World::new(run));
    let outcome = runtime.block_on(live(world));
    run.ledger.add(Strike::NetPiece, rt::pieces_moved());
    outcome
}

async fn live(world: Arc<World>) -> Outcome {
    // This node asks around in the end.
    NetSim::current().set_ip(node(), IpAddr::from([10, 4, 0, 1]));
    world.start();
    let mut faults = Faults::new(&world);
    let outcome = busy(&world, &mut faults).await;
    let outcome = match outcome {
        Ok(()) => end(&world, &mut faults).await,
        Err(violation) => Err(violation),
    };
    // What still runs holds the clock that holds what runs: ended, it can be freed.
    faults.end();
    rt::sleep(LOOK).await;
    outcome
}

/// Producers send and faults strike.
async fn busy(world: &World, faults: &mut Faults) -> Result<(), Violation> {
    loop {
        rt::sleep(LOOK).await;
        world.look_at_logs();
        world.judge().so_far()?;
        let sent = world.producers.iter().all(|guest| guest.model().is_done());
        faults.tick(sent);
        let late = world.now().since(Mono::ZERO) > FAULTS_END;
        if late || (sent && faults.are_over()) {
            return Ok(());
        }
    }
}

async fn end(world: &Arc<World>, faults: &mut Faults) -> Outcome {
    settle::rest(world, faults).await?;
    settle::ask_around(world).await?;
    let mut digest = Digest::new();
    settle::stop(world, faults, &mut digest).await?;
    let judge = world.judge();
    for (now, fact) in judge.history.since(0) {
        digest.number(now.as_micros());
        digest.bytes(format!("{fact:?}").as_bytes());
    }
    let steps = NetSim::current().stat().msg_count;
    digest.number(steps);
    let simulated = world.now().since(Mono::ZERO);
    digest.number(u64::try_from(simulated.as_micros()).expect("runs are short"));
    Ok(Passed { digest: digest.value(), simulated, steps })
}
