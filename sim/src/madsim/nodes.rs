//! Processes of servers: what `hotfire broker` and `hotfire namesrv` do, over a simulated disk.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use hotfire_core::broker::{Broker, BrokerConfig};
use hotfire_core::domain::{BrokerId, BrokerIdentity};
use hotfire_core::machine::{Digest, Machine};
use hotfire_core::namesrv::{KvConfig, NameServer, NameServerConfig};
use hotfire_net::rt;
use hotfire_net::server::{self, Limits};
use hotfire_nodes::driver::{BrokerEdges, NamesrvEdges, run_broker, run_namesrv};
use hotfire_storage::text::Text;
use tokio::sync::{Notify, watch};

use super::disks::{Berth, NodeDisk};
use super::world::World;
use crate::ledger::Strike;
use crate::oracle::derived;
use crate::oracle::image::Image;
use crate::ring::Violation;
use crate::trace::{Column, Mark};
use crate::workload::history::{Fact, History};
use crate::workload::message::Lane;

/// A server's node, whichever process runs on it.
pub(super) struct Host {
    /// Its name; a broker's is also its broker name.
    pub(super) name: Text,
    /// `host:port`.
    pub(super) addr: Text,
    pub(super) log: Column,
    /// A broker's place for its disk.
    pub(super) berth: Option<Berth>,
    /// The present process's number.
    pub(super) life: AtomicU32,
    /// The process serves.
    pub(super) is_up: AtomicBool,
    /// The process ended by itself.
    pub(super) has_exited: AtomicBool,
    /// The last process that was asked to stop in order.
    stop: watch::Sender<u32>,
    last: Mutex<Option<Last>>,
}

/// What a process that stopped in order left.
pub(super) struct Last {
    pub(super) digest: u64,
    /// A broker's store.
    pub(super) image: Option<Image>,
}

impl Host {
    pub(super) fn new(name: String, addr: String, log: Column, berth: Option<Berth>) -> Self {
        Self {
            name: name.into(),
            addr: addr.into(),
            log,
            berth,
            life: AtomicU32::new(0),
            is_up: AtomicBool::new(false),
            has_exited: AtomicBool::new(false),
            stop: watch::channel(0).0,
            last: Mutex::new(None),
        }
    }

    /// Asks the present process to stop in order.
    pub(super) fn ask_to_stop(&self) {
        self.stop.send_replace(self.life.load(Ordering::Relaxed));
    }

    async fn stopped(&self, life: u32) {
        // Its sender is this host.
        let _ = self.stop.subscribe().wait_for(|asked| *asked >= life).await;
    }

    /// What the last process left, if it stopped in order.
    pub(super) fn take_last(&self) -> Option<Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn leave(&self, digest: Digest, image: Option<Image>) {
        let last = Last { digest: digest.value(), image };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
    }

    fn began(&self) -> u32 {
        let life = self.life.fetch_add(1, Ordering::Relaxed) + 1;
        self.has_exited.store(false, Ordering::Relaxed);
        self.take_last();
        life
    }

    fn exited(&self) {
        self.is_up.store(false, Ordering::Relaxed);
        self.has_exited.store(true, Ordering::Relaxed);
    }
}

/// A name server's process. It keeps nothing: each starts empty.
pub(super) async fn name_server(host: Arc<Host>) {
    let life = host.began();
    let listener = server::bind(&host.addr).await.expect("the port is free again after a kill");
    host.is_up.store(true, Ordering::Relaxed);
    host.log.say(Mark::Up, format_args!("empty"));
    let machine = NameServer::new(NameServerConfig::default(), KvConfig::default(), rt::now());
    let edges = NamesrvEdges {
        listeners: vec![listener],
        limits: Limits::default(),
        save_kv: |_: &KvConfig| {},
    };
    let machine = run_namesrv(machine, edges, host.stopped(life)).await;
    machine.verify();
    let mut digest = Digest::new();
    machine.digest(&mut digest);
    host.leave(digest, None);
    host.log.say(Mark::Note, format_args!("stopped"));
    host.exited();
}

/// A broker's process.
pub(super) async fn broker(world: Arc<World>, host: Arc<Host>) {
    let berth = host.berth.as_ref().expect("a broker has a disk");
    berth.free().await;
    let life = host.began();
    let listener = server::bind(&host.addr).await.expect("the port is free again after a kill");
    let durable = durable_end(berth, &host.name, &world.judge().history);
    let losses = world.run.ledger.count(Strike::DiskPowerFailed);
    let (disk, pump) = berth.mount();
    let plan = &world.run.plan;
    let opened = Broker::open(disk, plan.store.settings(), config(&world, &host, life), rt::now());
    let (broker, opened) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            host.log.say(Mark::Note, format_args!("does not open: {error}"));
            return died(&world, &host, durable, losses);
        }
    };
    host.log.say(Mark::Up, format_args!("life {life}: {opened:?}"));
    let image = Image::read(&broker.store().disk().seen());
    world.judge().began(world.now(), &host.name, life, &image);
    let wake = Arc::new(Notify::new());
    rt::spawn_local(pump.run(Arc::clone(&wake)));
    host.is_up.store(true, Ordering::Relaxed);
    let edges = BrokerEdges {
        listeners: vec![listener],
        name_servers: world.names.iter().map(|names| names.addr.to_string()).collect(),
        ha: None,
        limits: Limits::default(),
        wake,
    };
    let (broker, stopped) = run_broker(broker, edges, host.stopped(life)).await;
    host.log.say(Mark::Note, format_args!("stopped: {stopped:?}"));
    if stopped.is_err() {
        // The disk failed, or a fuse lit for the boot went off. What was promised is kept.
        drop(broker);
        return died(&world, &host, durable, losses);
    }
    last_words(&world, &host, &broker);
    drop(broker);
    host.exited();
}

/// A process that ended without a stop. Its disk says whether the power went with it; what had been
/// durable when it began still is.
fn died(world: &World, host: &Host, durable: u64, losses: u64) {
    let power = world.run.ledger.count(Strike::DiskPowerFailed) > losses;
    let fact = Fact::Died { broker: host.name.clone(), durable: power.then_some(durable) };
    world.judge().add(world.now(), fact);
    host.exited();
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
    let logs = judge.look_at_log(world.now(), &host.name, start);
    judge.heard(logs);
    judge.heard(derived::check(broker.store(), &image));
    let told = broker.registration().topics;
    let verdict = judge.oracles.metadata.check(&host.name, &told);
    judge.heard(verdict);
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
        for placed in records.values() {
            let sent = placed.id.and_then(|id| history.messages().get(&id)).is_some_and(|made| {
                let Lane { broker: at, topic: to, queue: of } = &made.lane;
                (at, to, *of) == (broker, topic, queue) && made.body == placed.body
            });
            end = if sent { end } else { end.min(placed.at) };
        }
    }
    end
}

/// Starts a broker once more when the power was cut after its orderly stop: everything is there.
pub(super) fn reopened(world: &World, host: &Host) -> Result<Image, Violation> {
    let berth = host.berth.as_ref().expect("a broker has a disk");
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
        broker_name: host.name.clone(),
        addr: host.addr.clone(),
        id: BrokerId::MASTER,
    };
    let store_host = host.addr.parse().expect("ours is an address");
    let mut config = BrokerConfig::new(identity, store_host, host.addr.clone());
    config.default_topic_queues = plan.cluster.queues;
    config.retention = plan.keep.policy();
    config.name_servers = world.names.len();
    config.light_queues = plan.store.light_queues > 0;
    config.seed = u64::from(life);
    config.flush = plan.store.flush(0);
    config
}
