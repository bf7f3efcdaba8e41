//! Replication within the broker: its log goes out to slaves, or comes in from a master.

mod pieces;

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::{Buf, Bytes};
use hotfire_storage::position::{Confirmed, Physical, Span, Written};
use hotfire_storage::seam::Disk;
use hotfire_storage::text::Text;
use hotfire_storage::time::{Mono, Now, Wall};
use hotfire_storage::{Parting, Store, opening};

use super::{Broker, Effect};
use crate::domain::{BrokerResponse, HaInfo, HaStatus, NameResponse, SendStatus};
use crate::flush::Flush;
use crate::ha::master::{Master, MasterEffect, Source};
use crate::ha::members::Held;
use crate::ha::slave::{GivenUp, Own, Slave, SlaveEffect};
use crate::ha::{LinkId, MasterPolicy, SlavePolicy};
use crate::machine::Digest;

/// Bytes of a record that are held at most, with which a log begins that is to be begun anew with.
/// Brokers take messages of 4 MiB unless they are told otherwise.
const OPENING_MAX: u64 = 64 << 20;

/// What a broker is to others of its name.
#[derive(Clone, Debug)]
pub enum Role {
    /// Takes sends, and lets slaves copy its log.
    Master(MasterPolicy),
    /// Copies a master's log, and takes no sends.
    Slave {
        /// How.
        policy: SlavePolicy,
        /// Where the master's replication port is, if that is not learnt from name servers
        /// (`haMasterAddress`).
        master: Option<Text>,
    },
}

/// What happened on the replication port, or on the connection to a master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HaInput {
    /// A slave connected.
    Opened {
        /// As it is called from now on.
        link: LinkId,
        /// From where.
        peer: SocketAddr,
    },
    /// A slave reports.
    Reported {
        /// Which.
        link: LinkId,
        /// The next byte that it wants, as it says.
        offset: i64,
    },
    /// A slave's socket took bytes of frames.
    Taken {
        /// Which.
        link: LinkId,
        /// How many.
        bytes: u64,
    },
    /// A slave's connection ended.
    Closed {
        /// Which.
        link: LinkId,
    },
    /// The connection to the master is there.
    Connected,
    /// Bytes of the master's log; none: a heartbeat.
    Piece {
        /// Where the first lies.
        at: Physical,
        /// The bytes.
        bytes: Bytes,
    },
    /// There is no connection to the master, or no more.
    Ended {
        /// Why, for people.
        why: String,
    },
}

/// Either side's machine.
#[derive(Debug)]
pub(super) enum Ha {
    Master(Box<Master>),
    Slave(Box<Following>),
}

/// A slave, and what came while there was no room.
#[derive(Debug)]
pub(super) struct Following {
    slave: Slave,
    waiting: VecDeque<(Physical, Bytes)>,
    /// What a log begins with that begins beyond this one, until its first record is whole.
    held: Vec<u8>,
    /// Was it told that there is no connection?
    told: bool,
    /// Why one was given up the last time.
    given_up: Option<GivenUp>,
}

impl Ha {
    pub(super) fn new(role: &Role, source: Source, now: Mono) -> Self {
        match role {
            Role::Master(policy) => {
                Self::Master(Box::new(Master::new(policy.clone(), source, now)))
            }
            Role::Slave { policy, master } => {
                let mut slave = Slave::new(*policy, now);
                slave.follow(now, master.clone());
                let (waiting, held) = (VecDeque::new(), Vec::new());
                let (told, given_up) = (false, None);
                Self::Slave(Box::new(Following { slave, waiting, held, told, given_up }))
            }
        }
    }

    pub(super) fn is_slave(&self) -> bool {
        matches!(self, Self::Slave(_))
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        match self {
            Self::Master(master) => master.deadline(),
            Self::Slave(following) => following.slave.deadline(),
        }
    }

    pub(super) fn verify(&self) {
        match self {
            Self::Master(master) => master.verify(),
            Self::Slave(following) => following.slave.verify(),
        }
    }

    pub(super) fn digest(&self, into: &mut Digest) {
        match self {
            Self::Master(master) => master.digest(into),
            Self::Slave(following) => {
                following.slave.digest(into);
                into.number(following.waiting.len() as u64);
            }
        }
    }
}

impl Following {
    /// So many bytes of the first piece are done with.
    fn passed(&mut self, bytes: u64) {
        let Some((at, piece)) = self.waiting.front_mut() else { return };
        let bytes = usize::try_from(bytes).expect("no more than the piece has");
        piece.advance(bytes);
        *at = at.plus(bytes as u64);
        if piece.is_empty() {
            self.waiting.pop_front();
        }
    }

    /// What came on a connection that is over is of no use.
    fn forget(&mut self) {
        self.waiting.clear();
        self.held = Vec::new();
    }

    /// Holds the first piece, and sees whether all that is held begins with a record that belongs
    /// at `at`.
    fn hold(&mut self, now: Mono, at: Physical, file_len: u64) {
        let Some((_, piece)) = self.waiting.pop_front() else { return };
        self.held.extend_from_slice(&piece);
        let verdict = opening(&self.held, at, file_len.min(OPENING_MAX));
        let is_over = verdict.is_some();
        self.slave.proved(now, verdict);
        if is_over {
            self.forget();
        }
    }

    /// What came is no log: the connection is given up.
    fn refuse(&mut self, now: Mono, why: String) {
        self.forget();
        self.slave.refuse(now, why);
    }

    /// There is no connection. People hear of it when that is new.
    fn ended(&mut self, now: Mono, why: &str) {
        self.forget();
        self.slave.ended(now);
        if !std::mem::replace(&mut self.told, true) {
            let master = self.slave.master().map_or("", |master| master.as_str());
            tracing::warn!(master, why, "not connected to the master, trying again");
        }
    }

    /// Says why a connection was given up, unless that was the reason the last time.
    fn say(&mut self, is_stuck: bool) {
        let Some(why) = self.slave.take_given_up() else { return };
        if self.given_up.as_ref() != Some(&why) {
            let master = self.slave.master().map_or("", |master| master.as_str());
            if is_stuck && why == GivenUp::Silent {
                let why = "there is no room for it, or a topic of it is not known here";
                tracing::error!(master, why, "what the master sends cannot be taken");
            } else {
                tracing::error!(master, %why, "the master cannot be followed");
            }
            self.given_up = Some(why);
        }
    }
}

impl<D: Disk> Broker<D> {
    /// Something happened on the replication port, or to the master.
    pub(super) fn replicate(&mut self, now: Now, input: HaInput) {
        match (&mut self.ha, input) {
            (Ha::Master(master), HaInput::Opened { link, peer }) => {
                master.opened(now.mono, link, peer);
            }
            (Ha::Master(master), HaInput::Reported { link, offset }) => {
                master.reported(now.mono, link, offset);
            }
            (Ha::Master(master), HaInput::Taken { link, bytes }) => master.taken(link, bytes),
            (Ha::Master(master), HaInput::Closed { link }) => master.closed(now.mono, link),
            (Ha::Slave(following), HaInput::Connected) => {
                self.store.forget_unfinished();
                self.follow.misses_nothing();
                self.delays.forget_pending();
                following.slave.connected(now.mono, own(&self.store, &self.flush));
            }
            (Ha::Slave(following), HaInput::Piece { at, bytes }) => {
                following.waiting.push_back((at, bytes));
                self.take_pieces(now);
            }
            (Ha::Slave(following), HaInput::Ended { why }) => {
                following.ended(now.mono, &why);
                self.store.forget_unfinished();
            }
            // A port that is not served, or a connection that was not asked for.
            (Ha::Master(_) | Ha::Slave(_), _) => {}
        }
    }

    /// Can more of the master's log be taken? What came waits for room otherwise.
    pub fn takes_pieces(&self) -> bool {
        match &self.ha {
            Ha::Master(_) => true,
            Ha::Slave(following) => following.waiting.is_empty(),
        }
    }

    /// As a slave: is the master there, and does this log continue its?
    pub(super) fn has_master(&self) -> bool {
        match &self.ha {
            Ha::Master(_) => false,
            Ha::Slave(following) => following.slave.follows(own(&self.store, &self.flush)),
        }
    }

    /// What a member of the group wants to know of a master; or where one is, as somebody says. Of
    /// that name servers are asked: a slave follows nobody else's word.
    pub(super) fn ha_info(&mut self, now: Mono, is_told: bool) -> BrokerResponse {
        if is_told {
            self.group_changed(now);
        }
        let is_asked = !is_told && !self.ha.is_slave();
        BrokerResponse::HaInfo(is_asked.then(|| {
            let (ha_addr, addr) = (self.config.ha_addr.clone(), self.config.identity.addr.clone());
            Box::new(HaInfo { ha_addr, addr, begun: self.begun })
        }))
    }

    /// How replication stands.
    pub(super) fn ha_status(&self, now: Now) -> HaStatus {
        let written = self.store.written();
        let ago = |when: Mono| i64::try_from(now.mono.since(when).as_millis()).unwrap_or(i64::MAX);
        match &self.ha {
            Ha::Master(master) => HaStatus::Master {
                written,
                in_sync: master.members().reachable(now.mono),
                links: master.followers(now.mono).collect(),
            },
            Ha::Slave(following) => HaStatus::Slave {
                master: following.slave.master().cloned(),
                follows: self.has_master(),
                written,
                flushed: self.flush.flushed(),
                heard: Wall::from_millis(now.wall.as_millis() - ago(following.slave.heard())),
            },
        }
    }

    /// A name server may have said where the master is.
    pub(super) fn learn_master(&mut self, now: Now, response: Option<&NameResponse>) {
        let Ha::Slave(following) = &mut self.ha else { return };
        let is_told = matches!(self.config.role, Role::Slave { master: Some(_), .. });
        if let Some(NameResponse::Registered { ha_addr: Some(master), .. }) = response
            && !is_told
            && !master.is_empty()
        {
            following.slave.follow(now.mono, Some(master.detached()));
        }
    }

    /// As a slave: what has to become of the log before it can go on. Stop the broker, do that
    /// ([`hotfire_storage::part`]), and open it again.
    pub fn parting(&self) -> Option<Parting> {
        match &self.ha {
            Ha::Master(_) => None,
            Ha::Slave(following) => following.slave.parting(),
        }
    }

    /// As a slave: why the master cannot be followed, until it can. An operator has to act on some.
    pub fn given_up(&self) -> Option<&GivenUp> {
        match &self.ha {
            Ha::Master(_) => None,
            Ha::Slave(following) => following.given_up.as_ref(),
        }
    }

    /// What replication has to say and to do.
    pub(super) fn advance_ha(&mut self, now: Now) {
        match &mut self.ha {
            Ha::Master(master) => {
                // What is staged is not sent: a kill would take it from the master alone.
                master.wrote(now.mono, Written::upto(self.store.committed().end()));
                master.begins(self.store.start());
                while let Some(effect) = master.poll(now.mono) {
                    self.outbox.push_back(match effect {
                        MasterEffect::Frame { link, at, len } => {
                            Effect::HaFrame { link, span: Span { at, len } }
                        }
                        MasterEffect::Close { link, why } => Effect::HaClose { link, why },
                    });
                }
            }
            Ha::Slave(following) => {
                let own = own(&self.store, &self.flush);
                // Nothing is read meanwhile: silence is its own.
                let is_stuck = !following.waiting.is_empty();
                while let Some(effect) = following.slave.poll(now.mono, own) {
                    if effect == SlaveEffect::Disconnect {
                        following.forget();
                        self.store.forget_unfinished();
                    }
                    self.outbox.push_back(Effect::Master(effect));
                }
                following.say(is_stuck);
            }
        }
    }

    /// Moves the position below which consumers may see: what the policy holds safe. Replicas that
    /// went away hold it back for a while, not for ever.
    pub(super) fn confirm(&mut self, now: Mono) {
        let local = self.flush.confirmed();
        let upto = match &self.ha {
            Ha::Master(master) => {
                let (members, wanted) = (master.members(), master.policy().wanted);
                let is_held = wanted > 0 && members.awaited(now) >= wanted;
                if is_held { local.end().min(members.replicated().end()) } else { local.end() }
            }
            Ha::Slave(_) => local.end(),
        };
        self.confirmed = self.confirmed.max(Confirmed::upto(upto));
    }

    /// What is held by as many replicas as sends wait for.
    pub(super) fn replicated(&self) -> Held {
        match &self.ha {
            Ha::Master(master) => master.members().held(),
            Ha::Slave(_) => Held::default(),
        }
    }

    /// Why a send that waits for replicas is refused, if too few are in sync.
    pub(super) fn too_few_replicas(&self, now: Mono) -> Option<String> {
        let Ha::Master(master) = &self.ha else { return None };
        let least = master.policy().least;
        if least == 0 {
            return None;
        }
        let found = master.members().reachable(now);
        (found < least).then(|| {
            format!(
                "IN_SYNC_REPLICAS_NOT_ENOUGH: {} replicas are in sync, this broker counted, and \
                 minInSyncReplicas is {}",
                found + 1,
                least + 1
            )
        })
    }

    /// How a send's answer waits for replicas: until when, or what it is told because it does not.
    pub(super) fn replicas_for(&self, now: Mono) -> (Option<Mono>, SendStatus) {
        let Ha::Master(master) = &self.ha else { return (None, SendStatus::Ok) };
        let policy = master.policy();
        match policy.wanted {
            0 => (None, SendStatus::Ok),
            wanted if master.members().reachable(now) < wanted => {
                (None, SendStatus::SlaveNotAvailable)
            }
            _ => (Some(now.after(policy.timeout)), SendStatus::Ok),
        }
    }
}

fn own<D: Disk>(store: &Store<D>, flush: &Flush) -> Own {
    let safe =
        if flush.patience().is_some() { flush.flushed().end() } else { store.committed().end() };
    Own {
        start: store.start(),
        written: store.written(),
        flushed: flush.flushed(),
        safe,
        file_len: u64::from(store.settings().commit_log_file),
    }
}
