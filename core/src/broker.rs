//! The broker: one machine over one store.
//!
//! State: the [`Store`], the [`Flush`] machine over it, topics, groups and offsets (kept in
//! files), connected clients, queue locks, held pulls, waiting and parked sends (kept in memory).
//! Inputs: requests, closed connections, name servers' answers; completions of the disk are
//! polled from the store. Effects: answers, notices to clients, "register me".
//!
//! | room | what |
//! |---|---|
//! | `send`, `batch`, `unique`, `waiters` | checked, appended, answered when the promise is kept |
//! | `retry` | what a group failed to consume comes again, or is kept aside |
//! | `pull`, `hold`, `arrivals` | looked up, filtered, answered or held |
//! | `query` | looked up by key |
//! | `clients`, `locks` | who is connected, who may consume a queue in order |
//! | `ha` | its log goes out to slaves, or comes in from a master |
//! | `follow` | a slave takes over its master's tables |
//! | `acting` | a slave answers for a master that is gone |
//! | `hand_over` | what it was told comes back |
//! | `reset` | operators say where groups go on |
//! | `stats` | how groups get on |
//! | `deliver` | delayed messages wait, and are delivered when they are due |
//! | `contract` | what it is told, and what it asks for |
//! | `open` | it begins |
//! | `topics`, `groups`, `offsets`, `delays` | what is kept in `config/*.json` |
//! | `version`, `state`, `ready` | when it is read, saved, and durable |
//! | `requests` | everything else that is asked |
//! | `events` | what the disk has to say |
//! | `disk_use` | old files, and a disk that is full |

mod acting;
mod arrivals;
mod batch;
mod clients;
mod config;
mod contract;
mod delays;
mod deliver;
mod disk_use;
mod events;
mod follow;
mod groups;
mod ha;
mod hand_over;
mod hold;
mod locks;
mod names;
mod offsets;
mod open;
mod pull;
mod query;
mod ready;
mod requests;
mod reset;
mod retry;
mod send;
mod state;
mod stats;
mod topics;
mod unique;
mod version;
mod waiters;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use hotfire_storage::Store;
use hotfire_storage::documents::Document;
use hotfire_storage::position::{Confirmed, Physical, Span};
use hotfire_storage::seam::{Disk, Fault};
use hotfire_storage::text::Text;
use hotfire_storage::time::{Mono, Now};
use rand_pcg::Pcg64Mcg;

use crate::domain::{BrokerNotice, BrokerRequest, Code, NameResponse, Registration};
use crate::flush::Flush;
use crate::machine::{Digest, Machine};
use crate::retention::{Retention, Why};

pub use crate::flush::{FlushPolicy, Pace};
pub use crate::retention::{Hours, RetentionPolicy};
use acting::Acting;
pub use acting::{ActingPolicy, GroupEffect};
use arrivals::Arrivals;
use clients::Clients;
pub use config::{BrokerConfig, BrokerLimits};
pub use contract::{Effect, Input};
use delays::Delays;
use follow::Follow;
use groups::Groups;
use ha::Ha;
pub use ha::{HaInput, Role};
use hand_over::HandOver;
use hold::Holds;
use locks::Locks;
use offsets::Offsets;
use ready::{Answers, Readiness};
use send::Parked;
pub use state::OpenError;
use stats::Consumption;
use topics::Topics;
use unique::UniqueKeys;
use version::Version;
use waiters::Waiters;

/// How often silent clients and expired locks are looked for.
const SCAN_EVERY: Duration = Duration::from_secs(10);
/// How often queue files are made durable, and the checkpoint moved after them.
const SYNC_QUEUES_EVERY: Duration = Duration::from_secs(60);

/// When something is due although nothing happened.
#[derive(Debug)]
struct Timers {
    scan: Mono,
    register: Mono,
    save_offsets: Mono,
    sync_queues: Mono,
    /// No state file is saved before.
    save: Mono,
    /// The store asks again for a file that it did not get.
    room: Option<Mono>,
}

/// The machine.
pub struct Broker<D: Disk> {
    config: BrokerConfig,
    booted: Now,
    /// Where the log ended then.
    begun: Physical,
    store: Store<D>,
    flush: Flush,
    topics: Topics,
    groups: Groups,
    offsets: Offsets,
    delays: Delays,
    clients: Clients,
    locks: Locks,
    holds: Holds,
    waiters: Waiters,
    parked: Parked,
    /// Records whose queues wake when the position is confirmed, in log order.
    arrivals: Arrivals,
    /// Why sends are refused, if they are.
    closed_for_sends: Option<&'static str>,
    timers: Timers,
    register_now: bool,
    rng: Pcg64Mcg,
    unique_keys: UniqueKeys,
    /// Properties that every message gets, as encoded.
    stamp: Text,
    outbox: VecDeque<Effect>,
    woken: Vec<hold::Held>,
    readiness: Readiness,
    /// Who waits until a group is kept.
    group_answers: Answers,
    /// The same of the table of offsets.
    offset_answers: Answers,
    consumption: Consumption,
    /// Why the last sync failed, if it did.
    sync_fault: Option<Fault>,
    retention: Retention,
    measures: disk_use::Measures,
    /// Why the file of the log that is being deleted goes.
    retiring: Option<Why>,
    ha: Ha,
    follow: Follow,
    acting: Acting,
    hand_over: HandOver,
    /// Up to where consumers may see: it never goes back.
    confirmed: Confirmed,
}

impl<D: Disk> Broker<D> {
    /// What name servers are told.
    pub fn registration(&self) -> Registration {
        Registration {
            broker: self.config.identity.clone(),
            ha_addr: self.config.ha_addr.clone(),
            heartbeat_timeout_ms: self.acting.expiry_ms(),
            enable_acting_master: Some(self.acting.is_on()),
            data_version: self.topics.registered_version(),
            topics: self.topics.registered(self.config.permission),
        }
    }

    /// Its settings.
    pub fn config(&self) -> &BrokerConfig {
        &self.config
    }

    /// Its store.
    pub fn store(&self) -> &Store<D> {
        &self.store
    }

    /// Its store, once the broker is no more.
    pub fn into_store(self) -> Store<D> {
        self.store
    }

    /// Why sends are refused, if all of them are: something for an operator to act on.
    pub fn closed_for_sends(&self) -> Option<&'static str> {
        self.closed_for_sends
    }

    /// Up to where consumers may see.
    pub fn confirmed(&self) -> Confirmed {
        self.confirmed
    }

    /// The bytes of a span of an answer.
    pub fn lease(&self, span: Span) -> Bytes {
        self.store.lease(span)
    }

    /// Ends in order: state saved, everything flushed, the store marked as cleanly closed. Waiting
    /// sends are answered, held pulls released: poll once more afterwards. After a sync that
    /// failed the store stays marked as open, and the fault is what this returns.
    pub fn stop(&mut self, now: Now) -> Result<(), Fault> {
        self.closed_for_sends = Some("the broker is shutting down; send to another");
        self.refuse_parked(Code::ServiceNotAvailable, "the broker is shutting down");
        self.end_hand_over(now);
        self.forget_pieces();
        // Whatever the medium says: what was answered goes to its file, as without a pool.
        self.store.commit();
        // One fault does not keep the rest from being saved; the first one is reported.
        let Self { store, topics, groups, offsets, .. } = self;
        let saved = state::save_all(store.disk_mut(), topics, groups, offsets);
        let closed = match &self.sync_fault {
            Some(fault) => Err(fault.clone()),
            None => self.store.close(),
        };
        let saved = saved.and(self.save_deliveries(now, closed.is_ok()));
        if closed.is_ok() {
            self.drain_store(now);
            let replicated = self.replicated();
            while let Some((caller, reply)) = self.waiters.stopped(replicated) {
                self.answer(caller, reply.into_response());
            }
        } else {
            self.abandon_waiters();
        }
        self.release_holds();
        closed.and(saved)
    }

    /// Did the disk have anything to say?
    fn drain_store(&mut self, now: Now) -> bool {
        let mut any = false;
        while let Some(event) = self.store.poll() {
            self.store_event(now, event);
            any = true;
        }
        any
    }

    /// Everything that time or the disk brought.
    fn advance(&mut self, now: Now) {
        if self.outbox.is_empty() && self.retains() {
            self.retain(now);
        }
        self.drain_store(now);
        // What may append comes first: a one-way send is not answered, so nothing would come back
        // here to sync its record and to wake who waits for it.
        if self.readiness.give_up(now.mono) {
            tracing::warn!("a name server does not answer: new topics may lack a route");
            self.became_ready(now);
        }
        self.tell_late(now);
        if self.parked.deadline().is_some_and(|deadline| deadline <= now.mono) {
            self.retry_parked(now);
        }
        self.deliver(now);
        if self.flush.commits(now.mono, self.store.is_pressed()) {
            self.store.commit();
        }
        self.store.end_turn();
        self.flush.committed_upto(now.mono, self.store.committed());
        if let Some((from, upto)) = self.flush.start(now.mono) {
            self.store.sync(from, upto);
        }
        self.advance_ha(now);
        self.ask_master(now.mono);
        self.ask_slaves(now);
        self.store.tend_index();
        self.confirm(now.mono);
        self.settle_deliveries(self.flush.flushed().end());
        self.answer_waiters(now);
        self.wake_arrivals();
        self.expire_holds(now.mono);
        self.run_timers(now);
        if self.timers.save <= now.mono {
            self.save_changes();
        }
        while let Some((group, conns)) = self.clients.take_changed() {
            self.outbox.extend(conns.into_iter().map(|conn| Effect::Notify {
                conn,
                notice: BrokerNotice::ConsumerIdsChanged { group: group.clone() },
            }));
        }
    }

    fn run_timers(&mut self, now: Now) {
        if self.timers.scan <= now.mono {
            self.timers.scan = now.mono.after(SCAN_EVERY);
            self.clients.expire(now.mono);
            self.locks.expire(now.mono);
            self.consumption.sample();
        }
        if self.timers.save_offsets <= now.mono {
            self.timers.save_offsets = now.mono.after(self.config.save_offsets_every);
            if self.offsets.start_save(now.wall) {
                self.store.save(self.offsets.path(), &state::offsets_json(&self.offsets));
            }
            self.delays.mark(now.wall, self.store.written().end());
        }
        if self.timers.sync_queues <= now.mono {
            self.timers.sync_queues = now.mono.after(SYNC_QUEUES_EVERY);
            if !self.flush.failed() {
                self.store.sync_queues();
            }
        }
        if self.timers.room.take_if(|due| *due <= now.mono).is_some() {
            self.store.retry_room();
            self.take_pieces(now);
        }
        let is_due = self.register_now || self.timers.register <= now.mono;
        if is_due && self.hand_over.is_done() {
            self.register_now = false;
            self.timers.register = now.mono.after(self.config.register_every);
            self.readiness.registering(now.mono, self.topics.registered_version().counter);
            self.outbox.push_back(Effect::Register);
            self.acting.registering(now.mono);
        }
        while let Some(effect) = self.acting.poll(now.mono) {
            self.outbox.push_back(Effect::Group(effect));
        }
    }

    /// Is there a table to save?
    fn wants_save(&self) -> bool {
        let versions = [self.topics.version(), self.groups.version()];
        versions.into_iter().any(Version::wants_save) || self.delays.has_changed()
    }

    fn save_changes(&mut self) {
        if self.topics.start_save() {
            self.store.save(state::TOPICS, &state::topics_json(&self.topics));
        }
        if self.groups.version_mut().start_save() {
            self.store.save(state::GROUPS, &state::groups_json(&self.groups));
        }
        if self.delays.take_changed() {
            self.store.save(state::DELAY_OFFSETS, &self.delays.document().to_json());
        }
    }
}

impl<D: Disk> Machine for Broker<D> {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Closed { conn } => {
                self.clients.closed(conn);
                self.holds.closed(conn);
            }
            Input::Registered { version, response } => {
                if let Some(NameResponse::Refused { remark, .. }) = &response {
                    tracing::warn!(remark, "a name server refused this broker");
                }
                self.learn_master(now, response.as_ref());
                self.learn_master_of_state(response.as_ref());
                self.readiness.registered(version.counter);
                self.became_ready(now);
            }
            Input::Fetched { kind, json } => self.fetched(now, kind, json.as_ref()),
            Input::Ha(input) => self.replicate(now, input),
            Input::Members { name_server, response } => {
                self.watched(now.mono, name_server, response);
            }
            Input::Request { caller, request } => match request {
                BrokerRequest::Send(send) => self.send(now, caller, send),
                BrokerRequest::SendBack(back) => self.send_back(now, caller, &back),
                BrokerRequest::Pull(pull) => self.pull(now, caller, pull),
                other => self.serve(now, caller, other),
            },
        }
    }

    fn poll(&mut self, now: Now) -> Option<Effect> {
        if self.outbox.is_empty() {
            self.advance(now);
        }
        // What was just started may have ended at once, on a disk that is memory.
        while self.outbox.is_empty() && self.drain_store(now) {
            self.advance(now);
        }
        // An answer that was ready before waited for nobody, but a kill must not take its message.
        self.store.end_turn();
        self.outbox.pop_front()
    }

    fn deadline(&self) -> Option<Mono> {
        let timers = &self.timers;
        [
            Some(timers.scan.min(timers.save_offsets).min(timers.sync_queues)),
            self.hand_over.is_done().then_some(timers.register),
            self.acting.deadline(),
            self.delivery_deadline(),
            self.hand_over.deadline(&self.acting),
            timers.room,
            self.wants_save().then_some(timers.save),
            self.flush.deadline(),
            self.waiters.deadline(self.flush.flushed()),
            self.ha.deadline(),
            self.follow.deadline(),
            self.holds.deadline(),
            self.parked.deadline(),
            self.readiness.deadline(),
            self.group_answers.deadline(),
            self.offset_answers.deadline(),
            self.retention.deadline().filter(|_| self.retains()),
            (self.store.has_followers() && self.retains()).then_some(Mono::ZERO),
            self.store.is_catching_up().then_some(Mono::ZERO),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn verify(&self) {
        self.flush.verify();
        self.retention.verify();
        self.store.verify();
        self.holds.verify();
        self.clients.verify();
        self.ha.verify();
        self.delays.verify();
        assert!(
            self.confirmed.end() <= self.store.written().end(),
            "consumers see nothing that is not there"
        );
    }

    fn digest(&self, into: &mut Digest) {
        self.flush.digest(into);
        self.ha.digest(into);
        into.number(self.confirmed.end().get());
        self.retention.digest(into);
        self.topics.digest(into);
        self.groups.digest(into);
        self.offsets.digest(into);
        self.consumption.digest(into);
        self.delays.digest(into);
        self.clients.digest(into);
        self.locks.digest(into);
        self.acting.digest(into);
        self.hand_over.digest(into);
        self.holds.digest(into);
        into.number(self.waiters.len() as u64);
        into.number(self.parked.len() as u64);
        into.number(self.outbox.len() as u64);
        self.store.digest_state(&mut |number| into.number(number));
    }
}

#[cfg(test)]
mod tests;
