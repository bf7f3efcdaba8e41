//! A broker begins: what lies on its disk, and what it is told to be.

use std::collections::VecDeque;

use hotfire_storage::position::Confirmed;
use hotfire_storage::record::properties::SCHEDULE_TOPIC;
use hotfire_storage::seam::Disk;
use hotfire_storage::text::Text;
use hotfire_storage::time::Now;
use hotfire_storage::{Opened, Settings, Store, Watch};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::acting::Acting;
use super::arrivals::Arrivals;
use super::clients::{ClientLimits, Clients};
use super::config::BrokerConfig;
use super::follow::Follow;
use super::ha::Ha;
use super::hand_over::HandOver;
use super::hold::Holds;
use super::locks::Locks;
use super::ready::{Answers, Readiness};
use super::send::Parked;
use super::stats::Consumption;
use super::unique::UniqueKeys;
use super::waiters::Waiters;
use super::{Broker, OpenError, Role, SCAN_EVERY, SYNC_QUEUES_EVERY, Timers, disk_use, state};
use crate::flush::Flush;
use crate::ha::master::Source;
use crate::retention::{LogAtStart, Retention};

impl<D: Disk> Broker<D> {
    /// Opens what lies on `disk`: the state files first (a damaged one falls back to its previous
    /// version, and never silently starts empty), then the store. `Opened` says what was found.
    pub fn open(
        disk: D,
        settings: Settings,
        config: BrokerConfig,
        now: Now,
    ) -> Result<(Self, Opened), OpenError> {
        Self::open_watched(disk, settings, config, now, &mut ())
    }

    /// The same, telling `watch` how far the store has come.
    pub fn open_watched(
        mut disk: D,
        settings: Settings,
        config: BrokerConfig,
        now: Now,
        watch: &mut dyn Watch,
    ) -> Result<(Self, Opened), OpenError> {
        let state::State { mut topics, groups, mut offsets, mut delays } =
            state::load(&mut disk, &config, now)?;
        let is_batch = |topic: &str| topics.is_batch(topic);
        let (mut store, opened) = Store::open_watched(disk, settings, is_batch, watch)?;
        topics.adopt(now.wall, store.queues().map(|(topic, queue, _)| (topic, queue)));
        for (name, topic) in topics.iter() {
            store.declare_batch(name, topic.is_batch());
        }
        offsets.clamp(|of| store.queue(&of.topic, of.queue).map(|range| range.max));
        if let Role::Master(_) = config.role {
            let waiting = store.queues().filter(|(topic, ..)| *topic == SCHEDULE_TOPIC);
            let waiting = waiting.map(|(_, queue, range)| (queue, range));
            if delays.begin(waiting, store.written().end(), now.wall) {
                state::save_delays(store.disk_mut(), &delays)
                    .map_err(hotfire_storage::OpenError::from)?;
            }
        }
        let machines = Machines::new(&config, &store, now);
        let mut rng = Pcg64Mcg::seed_from_u64(config.seed);
        let broker = Self {
            booted: now,
            begun: store.written().end(),
            flush: machines.flush,
            clients: Clients::new(ClientLimits {
                groups: config.limits.groups,
                clients_per_group: config.limits.clients_per_group,
                expiry: config.client_expiry,
            }),
            locks: Locks::new(config.lock_life),
            timers: Timers::new(&config, now),
            holds: Holds::default(),
            waiters: Waiters::default(),
            parked: Parked::default(),
            arrivals: Arrivals::new(config.limits.waiting_sends),
            closed_for_sends: None,
            register_now: true,
            unique_keys: UniqueKeys::new(config.store_host, rng.random()),
            rng,
            stamp: stamp(&config.identity.cluster),
            outbox: VecDeque::new(),
            woken: Vec::new(),
            sync_fault: None,
            retention: machines.retention,
            measures: disk_use::Measures::default(),
            retiring: None,
            ha: machines.ha,
            follow: Follow::new(now.mono, &config),
            acting: Acting::new(&config, now.mono),
            hand_over: HandOver::new(&config, now.mono),
            confirmed: Confirmed::upto(store.written().end()),
            group_answers: Answers::default(),
            offset_answers: Answers::default(),
            consumption: Consumption::default(),
            readiness: Readiness::new(config.name_servers, topics.registered_version().counter),
            topics,
            groups,
            offsets,
            delays,
            store,
            config,
        };
        Ok((broker, opened))
    }
}

/// What begins where the log ends.
struct Machines {
    flush: Flush,
    ha: Ha,
    retention: Retention,
}

impl Machines {
    fn new<D: Disk>(config: &BrokerConfig, store: &Store<D>, now: Now) -> Self {
        let (start, written) = (store.start(), store.written());
        let file_len = u64::from(store.settings().commit_log_file);
        let log = LogAtStart { start, end: written.end(), file_len, newest: store.newest() };
        Self {
            flush: Flush::new(config.flush, written.end(), now.mono),
            ha: Ha::new(&config.role, Source { start, written, file_len }, now.mono),
            retention: Retention::new(config.retention.clone(), now, log),
        }
    }
}

impl Timers {
    fn new(config: &BrokerConfig, now: Now) -> Self {
        Self {
            scan: now.mono.after(SCAN_EVERY),
            register: now.mono,
            save_offsets: now.mono.after(config.save_offsets_every),
            sync_queues: now.mono.after(SYNC_QUEUES_EVERY),
            save: now.mono,
            room: None,
        }
    }
}

/// Properties that every message gets, as encoded.
fn stamp(cluster: &Text) -> Text {
    format!("MSG_REGION\u{1}DefaultRegion\u{2}TRACE_ON\u{1}true\u{2}CLUSTER\u{1}{cluster}\u{2}")
        .into()
}
