//! Name servers beside a master and its slaves, and a group of consumers that goes by their routes.
//!
//! ```text
//!  brokers ══ registrations, heartbeats, "who lives?" ══► name servers   the real machines; links
//!     ▲  ╚═ tables ═► each other                              ▲          are late, held back,
//!     ╚══ pulls, commits, locks ══ consumers ══ routes ═══════╝          held one way, or end
//! ```
//!
//! When a broker registers is decided by the machine of the product, as in its driver; what
//! `nodes/src/driver/fetcher.rs` does is done here. The oracles are in [`heard`], [`committed`] and
//! [`delivered`], and here:
//!
//! - **Who acts knows of no master**: by the last answer of each name server that answers. In peace
//!   a slave acts 30 s after its master is gone.
//! - **A slave takes no message, and moves no consumer.** While its master is gone it serves
//!   what it holds, 20 s after it has it.
//! - **A slave has its master's delay offsets** at the end ([`delays`]).

mod ask;
mod committed;
mod consumer;
pub(super) mod delays;
mod delivered;
mod faults;
mod heard;
mod net;
mod peace;
mod settle;
mod turn;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use hotfire_core::broker::{ActingPolicy, BrokerConfig, Input};
use hotfire_core::domain::{DataVersion, NameRequest, NameResponse, Registration, StateKind};
use hotfire_core::namesrv::{KvConfig, NameServer, NameServerConfig};
use hotfire_core::registrar::{Next, Registrar, Round};
use hotfire_storage::time::{Mono, Now, Wall};

use super::work::TOPICS;
use crate::choose::{Concern, Stream};
use crate::ledger::Ledger;
use crate::plan;
use crate::ring::Run;
use crate::trace::{Column, Mark};
use committed::Committed;
use consumer::{Consumer, LOCK_LIFE, Question};
use delivered::{Delivered, Holders};
use heard::Heard;
use net::{Net, Packet, Party, Word};
use peace::Peace;

/// Connections of the ring itself have smaller numbers.
pub(super) const CONNS: u64 = 1000;
/// Silence after which a name server takes a broker for dead that asks for no other bound.
const EXPIRY: Duration = Duration::from_secs(40);
/// How long an answer is waited for.
const ANSWER: u64 = 6_000_000;
/// Between two moves of a consumer.
const TICK: u64 = 200_000;

/// What happens next.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    Arrives(Packet),
    /// A question has waited long enough.
    Late(i32),
    /// A registrar looks again.
    Looks(usize, usize),
    /// A broker is told something, in this life.
    Told(usize, u32, Box<Input>),
    /// A name server has something to do.
    Serves(usize),
    /// One starts.
    Starts(usize),
    Strikes,
    Ticks(usize),
}

/// Why somebody asks.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    Fetch(StateKind),
    Leave,
    Members(usize),
    /// In which round, and which version.
    Register(usize, Round, DataVersion),
    Route(usize),
    /// About which topic, when, and in which epoch.
    Queue(usize, Question, u64, u64),
}

/// A question on its way.
#[derive(Clone, Debug)]
struct Asked {
    by: Party,
    life: u32,
    to: Party,
    conn: u64,
    why: Purpose,
}

/// A name server.
struct Server {
    machine: Option<NameServer>,
    planned: Option<u64>,
    log: Column,
}

/// All of it.
pub(super) struct Names {
    plan: plan::Names,
    ledger: Ledger,
    net: Net,
    luck: Stream,
    servers: Vec<Server>,
    /// Of each broker, for each name server.
    registrars: Vec<Vec<Registrar<Rc<Registration>>>>,
    /// What name servers last said to each broker of its group; `None`: nothing.
    views: Vec<Vec<Option<BTreeSet<i64>>>>,
    /// Lives of brokers.
    lives: Vec<u32>,
    up: Vec<bool>,
    consumers: Vec<Consumer>,
    asked: BTreeMap<i32, Asked>,
    /// Questions that a broker has, and has not answered.
    open: BTreeMap<(usize, i32), (Party, u32, Purpose)>,
    next: i32,
    out: Vec<(u64, Happening)>,
    strikes: Vec<faults::Kind>,
    /// When the last broker that was away comes back.
    back: u64,
    peace: Peace,
    heard: Heard,
    committed: Committed,
    delivered: Delivered,
    holders: Holders,
    /// What a slave holds and does not serve, and since when.
    unserved: BTreeMap<(usize, usize, u64), u64>,
    master_began: u64,
    /// What the master said last of how far the group is.
    said: [Option<u64>; TOPICS.len()],
    log: Column,
}

impl Names {
    pub(super) fn new(run: &Run, brokers: usize) -> Option<Self> {
        let plan = run.plan.pair_names.clone();
        if plan.servers == 0 {
            return None;
        }
        let many = usize::try_from(plan.servers).expect("few");
        let mut luck = run.chance.of(Concern::Schedule);
        let strikes = faults::Kind::draw(&plan, &mut luck);
        let server = |at: usize| Server {
            machine: None,
            planned: None,
            log: run.trace.column(&format!("name-{at}")),
        };
        let expiry = u64::try_from(EXPIRY.as_micros()).expect("short");
        let shows = plan.acting && plan.shown;
        Some(Self {
            ledger: run.ledger.clone(),
            net: Net::new(run.plan.net.clone(), run.chance.of(Concern::Net), run.ledger.clone()),
            servers: (0..many).map(server).collect(),
            registrars: (0..brokers).map(|_| fresh(many)).collect(),
            views: vec![vec![None; many]; brokers],
            lives: vec![0; brokers],
            up: vec![false; brokers],
            consumers: (0..if plan.ordered { 2 } else { 1 })
                .map(|at| Consumer::new(at, 0, &plan))
                .collect(),
            asked: BTreeMap::new(),
            open: BTreeMap::new(),
            next: 0,
            out: Vec::new(),
            strikes,
            back: 0,
            peace: Peace::new(brokers),
            heard: Heard::new(many, brokers, expiry, shows),
            committed: Committed::new(brokers, plan.acting),
            delivered: Delivered::default(),
            holders: Holders::default(),
            unserved: BTreeMap::new(),
            master_began: 0,
            said: [None; TOPICS.len()],
            log: run.trace.column("consumers"),
            luck,
            plan,
        })
    }

    /// How brokers of the group are set.
    pub(super) fn set(plan: &plan::Names, config: &mut BrokerConfig) {
        config.name_servers = usize::try_from(plan.servers).expect("few");
        config.acting = Self::acting(plan);
        if plan.servers > 0 {
            config.lock_life = Duration::from_micros(LOCK_LIFE);
        }
    }

    /// How brokers of the group act for their master, if they do.
    fn acting(plan: &plan::Names) -> Option<ActingPolicy> {
        (plan.servers > 0 && plan.acting).then(ActingPolicy::default)
    }

    /// Everything begins.
    pub(super) fn start(&mut self, now: u64) {
        for server in 0..self.servers.len() {
            self.server_starts(now, server);
        }
        for at in 0..self.consumers.len() {
            self.net.began(Party::Consumer(at));
            self.out.push((now + 10_000, Happening::Ticks(at)));
        }
        self.out.push((now + 10_000, Happening::Strikes));
    }

    /// What is to happen, and when.
    pub(super) fn take_out(&mut self) -> Vec<(u64, Happening)> {
        std::mem::take(&mut self.out)
    }

    /// Is every fault that was to come over?
    pub(super) fn is_over(&self) -> bool {
        self.strikes.is_empty()
    }

    fn server_starts(&mut self, now: u64, at: usize) {
        let config = NameServerConfig {
            broker_expiry: EXPIRY,
            acting_master: self.plan.shown,
            notify_min_id: self.plan.notify,
            ..NameServerConfig::default()
        };
        let server = &mut self.servers[at];
        if server.machine.is_some() {
            return;
        }
        server.machine = Some(NameServer::new(config, KvConfig::default(), time(now)));
        server.planned = None;
        server.log.say(Mark::Up, format_args!("knows nobody"));
        self.heard.anew(at);
        self.net.began(Party::Server(at));
    }

    fn carry(&mut self, packets: impl IntoIterator<Item = (u64, Packet)>) {
        let arrives = |(when, packet)| (when, Happening::Arrives(packet));
        self.out.extend(packets.into_iter().map(arrives));
    }

    fn life_of(&self, who: Party) -> u32 {
        match who {
            Party::Broker(at) => self.lives[at],
            Party::Consumer(at) => self.consumers[at].life,
            Party::Server(_) => 0,
        }
    }

    /// Somebody asks another one.
    fn ask(&mut self, now: u64, by: Party, to: Party, why: Purpose, word: impl Fn(i32) -> Word) {
        let (conn, life) = (self.net.connected(now, by, to), self.life_of(by));
        self.next += 1;
        let opaque = self.next;
        self.asked.insert(opaque, Asked { by, life, to, conn, why });
        let packet = self.net.send(now, conn, by, word(opaque));
        self.carry([packet]);
        self.out.push((now + ANSWER, Happening::Late(opaque)));
    }

    /// A broker registers with every name server.
    fn register(&mut self, now: u64, at: usize, what: Registration) {
        let what = Rc::new(what);
        for server in 0..self.servers.len() {
            let next = self.registrars[at][server].register(Rc::clone(&what));
            self.go_on(now, at, server, next);
        }
    }

    fn go_on(&mut self, now: u64, at: usize, server: usize, next: Next<Rc<Registration>>) {
        match next {
            Next::Say(round, what) => {
                let why = Purpose::Register(server, round, what.data_version);
                let request = NameRequest::Register(Box::new(what.as_ref().clone()));
                let word = |opaque| Word::AskServer(opaque, request.clone());
                self.ask(now, Party::Broker(at), Party::Server(server), why, word);
            }
            Next::Wait(until) => {
                self.out.push((until.as_micros(), Happening::Looks(at, server)));
            }
            Next::Rest => {}
        }
    }

    /// A broker is told something, a moment later.
    fn tell(&mut self, now: u64, at: usize, input: Input) {
        let told = Happening::Told(at, self.lives[at], Box::new(input));
        self.out.push((now + 1, told));
    }

    /// What came of a question.
    fn ended(&mut self, now: u64, asked: Asked, response: Option<NameResponse>) {
        let Asked { by, life, why, .. } = asked;
        if self.life_of(by) != life {
            return;
        }
        match (by, why) {
            (Party::Broker(at), Purpose::Register(server, round, version)) => {
                let registrar = &mut self.registrars[at][server];
                let (is_news, next) = registrar.ended(mono(now), round, response.is_none());
                if is_news {
                    self.tell(now, at, Input::Registered { version, response });
                }
                self.go_on(now, at, server, next);
            }
            (Party::Broker(at), Purpose::Members(name_server)) => {
                if response.is_none() {
                    let next = self.registrars[at][name_server].lost(mono(now));
                    self.go_on(now, at, name_server, next);
                }
                self.tell(now, at, Input::Members { name_server, response });
            }
            (Party::Broker(at), Purpose::Fetch(kind)) => {
                self.tell(now, at, Input::Fetched { kind, json: None });
            }
            (Party::Consumer(at), Purpose::Route(of))
                if self.consumers[at].routed(now, of, response.as_ref()) =>
            {
                self.ask_route(now, at, of + 1);
            }
            (Party::Consumer(at), Purpose::Queue(of, question, when, epoch)) => {
                self.consumers[at].answered(now, (of, question, when, epoch), None);
            }
            _ => {}
        }
    }

    fn ask_route(&mut self, now: u64, at: usize, of: usize) {
        let server = self.consumers[at].server;
        let request = NameRequest::Route { topic: TOPICS[of].into() };
        let word = |opaque| Word::AskServer(opaque, request.clone());
        let (by, to) = (Party::Consumer(at), Party::Server(server));
        self.ask(now, by, to, Purpose::Route(of), word);
    }

    /// A question is not waited for any more, nor its connection trusted.
    fn late(&mut self, now: u64, opaque: i32) {
        let Some(asked) = self.asked.remove(&opaque) else { return };
        if self.life_of(asked.by) == asked.life {
            let closed = self.net.close(now, asked.conn, asked.by);
            self.carry(closed);
            self.lost(now, asked.conn, asked.by);
        }
        self.ended(now, asked, None);
    }

    /// A connection that somebody opened is gone: nothing that was asked on it is answered.
    fn lost(&mut self, now: u64, conn: u64, by: Party) {
        let on_it = |asked: &Asked| asked.conn == conn && asked.by == by;
        let gone: Vec<i32> =
            self.asked.iter().filter(|(_, asked)| on_it(asked)).map(|(id, _)| *id).collect();
        for opaque in gone {
            let asked = self.asked.remove(&opaque).expect("it was just listed");
            self.ended(now, asked, None);
        }
    }
}

fn fresh(servers: usize) -> Vec<Registrar<Rc<Registration>>> {
    (0..servers).map(|_| Registrar::default()).collect()
}

/// Name servers look at no wall clock.
fn time(now: u64) -> Now {
    Now { mono: mono(now), wall: Wall::from_millis(0) }
}

fn mono(now: u64) -> Mono {
    Mono::from_micros(now)
}
