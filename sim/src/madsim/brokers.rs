//! Processes of brokers: what `hotfire broker` does, over a simulated disk.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hotfire_core::broker::{Broker, BrokerConfig, Role};
use hotfire_core::domain::{BrokerId, BrokerIdentity};
use hotfire_core::ha::{MasterPolicy, SlavePolicy};
use hotfire_core::machine::{Digest, Machine as _};
use hotfire_net::rt;
use hotfire_net::server::{self, Limits};
use hotfire_nodes::driver::{BrokerEdges, run_broker};
use hotfire_storage::position::Physical;
use hotfire_storage::text::Text;
use hotfire_storage::{OpenError, Parting, part};
use tokio::sync::Notify;

use super::disks::{Berth, NodeDisk};
use super::nodes::Host;
use super::world::World;
use crate::ledger::Strike;
use crate::oracle::image::Image;
use crate::oracle::{derived, timers};
use crate::pair::aside::Before;
use crate::ring::Violation;
use crate::trace::Mark;
use crate::workload::history::{Fact, History};
use crate::workload::message::Lane;

/// A broker's process. A slave whose log is not its master's starts anew with what is.
pub(super) async fn broker(world: Arc<World>, host: Arc<Host>) {
    host.berth().free().await;
    let life = host.began();
    let mut parting = None;
    if host.gives_up.swap(false, Ordering::Relaxed) {
        world.run.ledger.hit(Strike::SlaveGivenUp);
        parting = Some(Parting::Begin(Physical::ZERO));
    }
    loop {
        if parting.is_some_and(|parting| !part_log(&world, &host, parting)) {
            return host.exited();
        }
        parting = Box::pin(serve(&world, &host, life)).await;
        if parting.is_none() {
            return host.exited();
        }
    }
}

/// Takes out of a slave's log what is not its master's; did the disk let it?
fn part_log(world: &World, host: &Host, parting: Parting) -> bool {
    let berth = host.berth();
    world.judge().copies.before(host);
    world.judge().copies.ended(host, &Image::read(&berth.medium().seen()));
    let before = Before::of(berth.medium());
    let (mut disk, _) = berth.mount();
    let parted = part(&mut disk, &world.run.plan.store.settings(), parting);
    drop(disk);
    host.log.say(Mark::Note, format_args!("{parting:?}: {parted:?}"));
    let mut judge = world.judge();
    if let Parting::Begin(at) = parting {
        let start = berth.medium().log_start().unwrap_or_default().max(at.get());
        judge.oracles.retention.anew(&host.name, start);
    }
    match parted {
        Ok(_) => {
            world.run.ledger.hit(match parting {
                Parting::Begin(_) => Strike::SlaveBegan,
                Parting::Cut(_) => Strike::SlaveCutBack,
            });
            let disk = &world.run.plan.disk;
            // A disk that fails syncs keeps what it likes.
            if disk.sync_fails + disk.writeback_fails + disk.sync_stuck == 0 {
                judge.heard(before.check(berth.medium(), parting));
            }
            true
        }
        Err(OpenError::Disk(_)) => false,
        Err(why) => {
            judge.violated(Violation::new("a copy can be parted", why));
            false
        }
    }
}

/// Serves until it ends. A slave may have to part its log then, and to go on.
async fn serve(world: &World, host: &Host, life: u32) -> Option<Parting> {
    let free = "the port is free again after a kill";
    let listener = server::bind(&host.addr).await.expect(free);
    let ha = server::bind(&host.ha_addr()).await.expect(free);
    let boot = Boot::of(world, host);
    let (disk, pump) = host.berth().mount();
    let settings = world.run.plan.store.settings();
    let opened = Broker::open(disk, settings, config(world, host, life), rt::now());
    let (broker, opened) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            host.log.say(Mark::Note, format_args!("does not open: {error}"));
            boot.died(world, host);
            return None;
        }
    };
    host.log.say(Mark::Up, format_args!("life {life}: {opened:?}"));
    began(world, host, life, &broker);
    let wake = Arc::new(Notify::new());
    let pump = rt::spawn_local(pump.run(Arc::clone(&wake)));
    host.is_up.store(true, Ordering::Relaxed);
    let edges = BrokerEdges {
        listeners: vec![listener],
        name_servers: world.names.iter().map(|names| names.addr.to_string()).collect(),
        ha: Some(ha),
        limits: Limits::default(),
        wake,
    };
    let (broker, stopped) = run_broker(broker, edges, host.stopped(life)).await;
    host.is_up.store(false, Ordering::Relaxed);
    pump.abort();
    host.log.say(Mark::Note, format_args!("stopped: {stopped:?}"));
    let parting = broker.parting().filter(|_| !host.was_asked_to_stop(life));
    if stopped.is_err() {
        // The disk failed, or a fuse lit for the boot went off. What was promised is kept.
        drop(broker);
        boot.died(world, host);
        return None;
    }
    if parting.is_none() {
        last_words(world, host, &broker);
    }
    parting
}

/// What was true when a process began.
struct Boot {
    /// Of a master: how far its log was on the medium.
    durable: u64,
    losses: u64,
}

impl Boot {
    fn of(world: &World, host: &Host) -> Self {
        let losses = host.berth().medium().losses();
        if host.is_slave() {
            world.judge().copies.before(host);
            return Self { durable: 0, losses };
        }
        Self { durable: durable_end(host.berth(), &host.name, &world.judge().history), losses }
    }

    /// The process ended without a stop. Its disk says whether the power went with it; what had
    /// been durable when it began still is.
    fn died(self, world: &World, host: &Host) {
        if !host.is_slave() {
            let power = host.berth().medium().losses() > self.losses;
            let durable = power.then_some(self.durable);
            world.judge().add(world.now(), Fact::Died { broker: host.name.clone(), durable });
        }
    }
}

/// Was a slave's log parted from its master's? It keeps what it knew of deliveries for the seconds
/// until it is told anew.
fn was_parted(world: &World) -> bool {
    let strikes = [Strike::SlaveBegan, Strike::SlaveCutBack, Strike::SlaveGivenUp];
    strikes.into_iter().any(|strike| world.run.ledger.count(strike) > 0)
}

/// A broker has opened its store.
fn began(world: &World, host: &Host, life: u32, broker: &Broker<NodeDisk>) {
    let (now, seen) = (world.now(), broker.store().disk().seen());
    let mut judge = world.judge();
    let image = Image::read(&seen);
    judge.copies.disturbed(now);
    let kept = seen.get(timers::FILE).filter(|_| !was_parted(world));
    if let Some(table) = kept {
        let floor = judge.oracles.retention.passed_over(&host.name, image.end);
        let verdict = timers::check_kept(&host.name, table, &image, floor);
        judge.heard(verdict);
    }
    if host.is_slave() {
        judge.copies.slave_began(now, host, &image);
    } else {
        judge.copies.master_began(host, life, &seen);
        judge.began(now, &host.name, life, &image);
    }
}

/// All that can be asked of a broker that stopped.
fn last_words(world: &World, host: &Host, broker: &Broker<NodeDisk>) {
    broker.verify();
    let disk = broker.store().disk();
    disk.verify();
    let start = broker.store().start().get();
    let image = Image::read(&disk.seen()).from(start);
    let mut judge = world.judge();
    let _ = judge.so_far();
    let logs = judge.look_at_log(world.now(), host, start);
    judge.heard(logs);
    judge.heard(derived::check(broker.store(), &image));
    // A slave may have begun a moment ago, and have asked for nothing yet.
    if !host.is_slave() || judge.copies.are_at_rest() {
        let told = broker.registration().topics;
        let verdict = judge.oracles.metadata.check(&host.group, &told);
        judge.heard(verdict);
    }
    let mut digest = Digest::new();
    broker.digest(&mut digest);
    disk.digest(&mut digest);
    host.leave(digest, Some(image));
}

/// Below, all of the log is on the medium, and what lies there is what was sent.
pub(super) fn durable_end(berth: &Berth, broker: &Text, history: &History) -> u64 {
    let image = Image::read(&berth.medium().durable());
    let mut end = image.end;
    for (topic, queue, records) in image.queues() {
        let lane = Lane { broker: broker.clone(), topic: topic.clone(), queue };
        for placed in records.values() {
            let sent = placed.id.is_some_and(|id| {
                history.may_be_in(&lane, id) && history.messages()[&id].body == placed.body
            });
            end = if sent { end } else { end.min(placed.at) };
        }
    }
    end
}

/// Starts a broker once more when the power was cut after its orderly stop: everything is there.
pub(super) fn reopened(world: &World, host: &Host) -> Result<Image, Violation> {
    let berth = host.berth();
    berth.medium().power_fail();
    let (disk, _) = berth.mount();
    let settings = world.run.plan.store.settings();
    let opened = Broker::open(disk, settings, config(world, host, 0), rt::now());
    let failed = |error| Violation::new("a store that was closed opens", error);
    let (broker, _) = opened.map_err(failed)?;
    Ok(Image::read(&broker.store().disk().seen()))
}

fn config(world: &World, host: &Host, life: u32) -> BrokerConfig {
    let plan = &world.run.plan;
    let identity = BrokerIdentity {
        cluster: "cluster".into(),
        broker_name: host.group.clone(),
        addr: host.addr.clone(),
        id: BrokerId(i64::from(host.number)),
    };
    let store_host = host.addr.parse().expect("ours is an address");
    let mut config = BrokerConfig::new(identity, store_host, host.ha_addr().into());
    config.role = role(world, host);
    config.default_topic_queues = plan.cluster.queues;
    config.retention = plan.keep.policy();
    config.save_offsets_every = plan.store.save_every();
    config.name_servers = world.names.len();
    config.light_queues = plan.store.light_queues > 0;
    config.seed = u64::from(life);
    let mut store = plan.store.clone();
    if host.is_slave() {
        store.sync_flush = plan.wired.slaves_sync;
    }
    config.flush = store.flush(0);
    config
}

fn role(world: &World, host: &Host) -> Role {
    let wired = &world.run.plan.wired;
    if host.is_slave() {
        let policy = SlavePolicy { overlap: wired.overlap, ..SlavePolicy::default() };
        let master = world.brokers.iter().find(|master| master.name == host.group);
        let master = master.filter(|_| wired.told).map(|master| master.ha_addr().into());
        return Role::Slave { policy, master };
    }
    Role::Master(MasterPolicy {
        wanted: wired.wanted as usize,
        timeout: Duration::from_micros(wired.timeout_us),
        batch: wired.batch,
        window: wired.window,
        ..MasterPolicy::default()
    })
}
