//! Who takes part, and what everybody knows: the nodes, the history, the oracles.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use hotfire_net::rt;
use hotfire_storage::text::Text;
use hotfire_storage::time::Mono;
use madsim::plugin::simulator;
use madsim::runtime::Handle;
use madsim::task::NodeId;

use super::brokers;
use super::client::{self, Guest};
use super::copies::Copies;
use super::disks::{Berth, SimDisks};
use super::nodes::{self, Host, PORT};
use crate::choose::{Choose, Concern, pick};
use crate::disk::{Faults, Medium};
use crate::oracle::image::Image;
use crate::oracle::{Oracles, Verdict};
use crate::ring::{Run, Violation};
use crate::trace::{Column, Mark};
use crate::workload::consumer::Consumer;
use crate::workload::history::{Fact, History};
use crate::workload::producer::{BATCH_TOPIC, Order, Producer};
use crate::workload::{Client, Peer};

/// What clients saw, and who judges it.
pub(super) struct Judge {
    pub(super) history: History,
    pub(super) oracles: Oracles,
    pub(super) copies: Copies,
    verdict: Verdict,
}

impl Judge {
    /// Takes a verdict in; the first one that is bad stays.
    pub(super) fn heard(&mut self, verdict: Verdict) {
        if self.verdict.is_ok() {
            self.verdict = verdict;
        }
    }

    pub(super) fn violated(&mut self, violation: Violation) {
        self.heard(Err(violation));
    }

    pub(super) fn add(&mut self, now: Mono, fact: Fact) {
        self.history.add(now, fact);
    }

    /// A broker started over this store.
    pub(super) fn began(&mut self, now: Mono, broker: &Text, life: u32, image: &Image) {
        // What was said before is judged by what was promised before.
        let before = self.oracles.follow(&self.history);
        self.heard(before);
        self.add(now, Fact::Began { broker: broker.clone(), life });
        let after = self.oracles.follow(&self.history);
        self.heard(after);
        let logs = self.look_at(now, (broker, broker), image.start);
        self.heard(logs);
        let us = now.as_micros();
        let logs = self.oracles.retention.began(broker, us, image.start, image.end);
        self.heard(logs);
        let found = self.oracles.began(broker, life, image, &self.history);
        self.heard(found);
    }

    /// A broker's log begins here.
    pub(super) fn look_at_log(&mut self, now: Mono, host: &Host, start: u64) -> Verdict {
        self.look_at(now, (&host.name, &host.group), start)
    }

    fn look_at(&mut self, now: Mono, of: (&Text, &Text), start: u64) -> Verdict {
        self.oracles.follow(&self.history)?;
        let Oracles { retention, promises, .. } = &mut self.oracles;
        let (name, group) = of;
        let holds = |at, id| name == group || self.copies.has_held(name, at, id);
        retention.sampled(of, now, start, (promises, &self.history), holds)
    }

    /// Topics that must exist on a broker.
    pub(super) fn topics(&self, broker: &Text) -> Vec<Text> {
        self.oracles.metadata.topics(broker).cloned().collect()
    }

    /// Judges what clients have just seen.
    pub(super) fn follow(&mut self) {
        let verdict = self.copies.follow(&self.history);
        self.heard(verdict);
    }

    /// Has anything been wrong so far?
    pub(super) fn so_far(&mut self) -> Verdict {
        let verdict = self.oracles.follow(&self.history);
        self.heard(verdict);
        self.verdict.clone()
    }
}

/// The world of one run.
pub(super) struct World {
    pub(super) run: Run,
    /// Masters.
    pub(super) brokers: Vec<Arc<Host>>,
    pub(super) names: Vec<Arc<Host>>,
    pub(super) slaves: Vec<Arc<Host>>,
    pub(super) producers: Vec<Arc<Guest>>,
    pub(super) consumers: Vec<Arc<Guest>>,
    /// In the order of `brokers`, `names`, `slaves`, `producers`, `consumers`.
    pub(super) nodes: OnceLock<Vec<NodeId>>,
    pub(super) topics: Vec<Text>,
    pub(super) log: Column,
    judge: Mutex<Judge>,
    calm: AtomicBool,
}

impl World {
    /// Draws who takes part, in the same proportions as ring 1.
    pub(super) fn new(run: &Run) -> Self {
        let cluster = &run.plan.cluster;
        let brokers = (0..cluster.brokers).map(|number| {
            let name = format!("broker-{number}");
            let log = run.trace.column(&name);
            let berth = berth(run, run.plan.disk.restored(), &log);
            let addr = format!("10.1.0.{}:{PORT}", number + 1);
            Arc::new(Host::new(name, addr, log, Some(berth)))
        });
        let brokers: Vec<Arc<Host>> = brokers.collect();
        let names = (0..cluster.name_servers).map(|number| {
            let name = format!("names-{number}");
            let log = run.trace.column(&name);
            Arc::new(Host::new(name, format!("10.2.0.{}:9876", number + 1), log, None))
        });
        let names = names.collect();
        let slaves: Vec<Arc<Host>> = brokers.iter().flat_map(|host| slaves(run, host)).collect();
        let file_len = run.plan.store.commit_log_file;
        let mut judge = Judge {
            history: History::default(),
            copies: Copies::new(run.plan.wired.clone(), file_len, &brokers, &slaves),
            oracles: Oracles::new(
                run.plan.store.sync_flush,
                run.plan.keep.clone(),
                file_len,
                run.ledger.clone(),
            ),
            verdict: Ok(()),
        };
        let (topics, producers, consumers) = guests(run, &mut judge);
        Self {
            run: run.clone(),
            brokers,
            names,
            slaves,
            producers,
            consumers,
            nodes: OnceLock::new(),
            topics,
            log: run.trace.column("world"),
            judge: Mutex::new(judge),
            calm: AtomicBool::new(false),
        }
    }

    /// Makes the nodes, and starts a process on each.
    pub(super) fn start(self: &Arc<Self>) {
        let handle = Handle::current();
        let disks = simulator::<SimDisks>();
        let mut nodes = Vec::new();
        for host in self.hosts() {
            let (world, of) = (Arc::clone(self), Arc::clone(host));
            let node = handle.create_node().name(&*host.name).ip(ip(&host.addr));
            let Some(berth) = &host.berth else {
                let init = move || nodes::name_server(Arc::clone(&of));
                nodes.push(node.init(init).build().id());
                continue;
            };
            let init = move || brokers::broker(Arc::clone(&world), Arc::clone(&of));
            let node = node.init(init).build();
            disks.give(node.id(), berth.medium().clone());
            nodes.push(node.id());
        }
        for (number, guest) in self.guests().enumerate() {
            let (world, of) = (Arc::clone(self), Arc::clone(guest));
            let init = move || client::run(Arc::clone(&world), Arc::clone(&of));
            let addr = format!("10.3.0.{}:0", number + 1);
            let name = format!("client-{number}");
            nodes.push(handle.create_node().name(name).ip(ip(&addr)).init(init).build().id());
        }
        self.nodes.set(nodes).expect("a world starts once");
    }

    pub(super) fn guests(&self) -> impl Iterator<Item = &Arc<Guest>> {
        self.producers.iter().chain(&self.consumers)
    }

    /// All servers, in the order of their nodes.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &Arc<Host>> {
        self.brokers.iter().chain(&self.names).chain(&self.slaves)
    }

    /// Masters and slaves.
    pub(super) fn with_logs(&self) -> impl Iterator<Item = &Arc<Host>> {
        self.brokers.iter().chain(&self.slaves)
    }

    pub(super) fn node(&self, at: usize) -> NodeId {
        self.nodes.get().expect("the world has started")[at]
    }

    /// Now; the log's time column follows.
    pub(super) fn now(&self) -> Mono {
        let now = rt::now().mono;
        self.run.trace.advance(now);
        now
    }

    pub(super) fn judge(&self) -> MutexGuard<'_, Judge> {
        self.judge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing is to fail any more.
    pub(super) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    pub(super) fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    /// Where a peer listens.
    pub(super) fn addr(&self, peer: &Peer) -> String {
        match peer {
            Peer::Broker(addr) => addr.to_string(),
            Peer::NameServer(number) => self.names[*number as usize].addr.to_string(),
        }
    }

    /// The present process of a peer.
    pub(super) fn life_at(&self, peer: &Peer) -> u32 {
        let addr = self.addr(peer);
        let host = self.hosts().find(|host| *host.addr == addr);
        host.expect("an address that was told is a server's").life.load(Ordering::Relaxed)
    }

    /// Looks at where the logs of brokers begin, and what their disks said.
    pub(super) fn look_at_logs(&self) {
        let now = self.now();
        self.judge().copies.look(now);
        for host in self.with_logs() {
            let medium = host.berth().medium();
            let mut judge = self.judge();
            for found in medium.take_measures() {
                judge.oracles.retention.measured(&host.name, now.as_micros(), found);
            }
            let start = medium.log_start().unwrap_or_default();
            let verdict = judge.look_at_log(now, host, start);
            judge.heard(verdict);
        }
    }

    pub(super) fn say(&self, mark: Mark, what: std::fmt::Arguments<'_>) {
        self.now();
        self.log.say(mark, what);
    }
}

fn berth(run: &Run, faults: Faults, log: &Column) -> Berth {
    let dice = run.chance.of(Concern::Disk);
    Berth::new(Medium::new(faults, dice, run.ledger.clone(), log.clone()))
}

/// The slaves of a master. What a slave gives up is kept for its operator, who has room for it.
fn slaves(run: &Run, master: &Host) -> Vec<Arc<Host>> {
    let slave = |number: u32| {
        let name = format!("{}-slave-{number}", master.name);
        let log = run.trace.column(&name);
        let faults = Faults { capacity: u64::MAX, ..run.plan.disk.restored() };
        let berth = berth(run, faults, &log);
        let number = u8::try_from(number).expect("few");
        Arc::new(Host::slave(name, &master.name, number, log, berth))
    };
    (1..=run.plan.wired.slaves).map(slave).collect()
}

fn ip(addr: &str) -> std::net::IpAddr {
    let addr: std::net::SocketAddr = addr.parse().expect("ours is an address");
    addr.ip()
}

type Guests = (Vec<Text>, Vec<Arc<Guest>>, Vec<Arc<Guest>>);

fn guests(run: &Run, judge: &mut Judge) -> Guests {
    let (plan, mut dice) = (&run.plan, run.chance.of(Concern::Work));
    let work = &plan.work;
    let count = dice.range(1, 3, "work.topics");
    let mut topics: Vec<Text> = (0..count).map(|n| Text::from(format!("topic-{n}"))).collect();
    let mut creates = dice.chance(300, "work.creates").then(|| topics[0].clone());
    if work.inner_batches {
        topics.push(BATCH_TOPIC.into());
        creates = topics.last().cloned();
    }
    let window = *pick(&mut dice, &[1, 4], "work.window");
    let name_servers = plan.cluster.name_servers;
    let mut guest = |name: String, model: Box<dyn Client + Send>| {
        // Every client reads both forms of a header, and writes one.
        let json = !dice.chance(500, "work.binary");
        Arc::new(Guest::new(model, json, run.trace.column(&name)))
    };
    let producers = (0..work.producers).map(|number| {
        let order = Order {
            number,
            topics: topics.clone(),
            creates: creates.clone().filter(|_| number == 0),
            lights: plan.store.lights(),
            delayed: work.delayed,
            queues: plan.cluster.queues,
            messages: work.sends / work.producers,
            body_max: work.body_max,
            record_max: plan.store.commit_log_file - 8,
            think_max: Duration::from_micros(work.think_max_us),
            window,
            name_servers,
        };
        guest(format!("producer-{number}"), Box::new(Producer::new(order)))
    });
    let producers = producers.collect();
    // Up to three members a group; the last group may be one that consumes in order.
    let mut dice = run.chance.of(Concern::Work);
    let ordered = dice.chance(500, "work.ordered");
    let last = u32::from(work.consumers > 3);
    let consumers = (0..work.consumers).map(|number| {
        let of = u32::from(number >= 3);
        let group = format!("group-{of}");
        judge.oracles.delivery.expect(&Text::from(group.clone()));
        let ordered = ordered && of == last;
        let topics = topics.clone();
        let model = Consumer::new(number, &group, ordered, topics, work, name_servers);
        guest(format!("consumer-{number}"), Box::new(model))
    });
    let consumers = consumers.collect();
    (topics, producers, consumers)
}
