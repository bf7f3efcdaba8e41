//! The master's side: what is sent to whom, and what that makes true.
//!
//! ```text
//!  connection:  asked for ── acknowledged ── sent ── written
//!                    │             │           │
//!                    │             │           '- a report beyond is a lie, and ends it
//!                    '- acknowledges nothing: it was not sent here
//! ```

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hotfire_storage::position::{Physical, Written};
use hotfire_storage::time::Mono;

use super::members::Members;
use super::{LinkId, MasterPolicy};
use crate::domain::HaLink;
use crate::machine::Digest;

/// How often bytes are sent that a rate had held back.
const REFILL: Duration = Duration::from_millis(10);

/// What a master asks of its driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MasterEffect {
    /// Send a frame: bytes `at..at + len` of the log. Nothing of the log if `len` is 0.
    Frame {
        /// To whom.
        link: LinkId,
        /// From where on.
        at: Physical,
        /// How many bytes; they lie in one file.
        len: u32,
    },
    /// Write what was handed over, and close.
    Close {
        /// Which.
        link: LinkId,
        /// Why.
        why: LinkEnd,
    },
}

/// Why a master ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkEnd {
    /// The slave's log goes on where the master's ends.
    #[error("it asks for the log from {theirs} on, and this master's ends at {ours}")]
    Ahead {
        /// What the slave asks for.
        theirs: Physical,
        /// Where the master's does.
        ours: Physical,
    },
    /// It comes from where no slave is expected.
    #[error("it is none of haAllowedPeers")]
    Uninvited,
    /// More was acknowledged than sent.
    #[error("it acknowledges {reported}, and was sent no more than {sent}")]
    Liar {
        /// What it says.
        reported: Physical,
        /// What was sent.
        sent: Physical,
    },
    /// A position below zero.
    #[error("it reports the position {0}")]
    Negative(i64),
    /// The bytes that were to be sent next are deleted.
    #[error("what it lacks is deleted: the log begins at {0} now")]
    Outrun(Physical),
    /// Nothing came for too long.
    #[error("it was silent for too long")]
    Silent,
    /// More connections than allowed.
    #[error("there are {0} connections of slaves, as many as may be")]
    TooMany(usize),
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It has not said what it wants.
    Asked,
    /// It is sent the log.
    Following {
        /// From where on: what it says up to here acknowledges nothing.
        from: Physical,
        /// Up to where.
        sent: Physical,
        /// What it has acknowledged.
        acked: Physical,
    },
    /// It is told where the log ends, and closed.
    Told(LinkEnd),
}

#[derive(Clone, Debug)]
struct Link {
    peer: IpAddr,
    addr: SocketAddr,
    state: State,
    /// Bytes handed over that its socket has not taken.
    queued: u64,
    heard: Mono,
    told: Mono,
    /// To be closed, and why.
    end: Option<LinkEnd>,
}

/// The log that is sent.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Its first byte.
    pub start: Physical,
    /// Behind its last byte.
    pub written: Written,
    /// Bytes of a file: no frame crosses its end.
    pub file_len: u64,
}

/// The machine.
#[derive(Clone, Debug)]
pub struct Master {
    policy: MasterPolicy,
    source: Source,
    links: BTreeMap<LinkId, Link>,
    members: Members,
    /// Bytes that may be sent at once, and since when.
    allowance: (u64, Mono),
    /// When it was polled last.
    polled: Mono,
}

impl Master {
    /// A master without slaves.
    pub fn new(policy: MasterPolicy, source: Source, now: Mono) -> Self {
        let members = Members::new(&policy, source.written);
        let allowance = (policy.rate.unwrap_or_default(), now);
        Self { policy, source, links: BTreeMap::new(), members, allowance, polled: now }
    }

    /// The replicas.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// How it treats its slaves.
    pub fn policy(&self) -> &MasterPolicy {
        &self.policy
    }

    /// The log grew.
    pub fn wrote(&mut self, now: Mono, upto: Written) {
        assert!(upto >= self.source.written, "a log only grows");
        if upto > self.source.written {
            self.source.written = upto;
            self.members.wrote(now, upto);
        }
    }

    /// Old files were deleted: the log begins here now.
    pub fn begins(&mut self, start: Physical) {
        self.source.start = start;
    }

    /// Somebody connected. If there are too many, one goes that has said nothing, or one of the
    /// address that has most: nobody keeps the others out.
    pub fn opened(&mut self, now: Mono, link: LinkId, addr: SocketAddr) {
        let peer = addr.ip().to_canonical();
        let allowed = &self.policy.allowed;
        let mut end = None;
        if !allowed.is_empty() && !allowed.iter().any(|net| net.contains(&peer)) {
            end = Some(LinkEnd::Uninvited);
        } else if self.open().count() >= self.policy.max_links {
            let too_many = Some(LinkEnd::TooMany(self.policy.max_links));
            match self.expendable(peer).and_then(|id| self.links.get_mut(&id)) {
                Some(other) => other.end = too_many,
                None => end = too_many,
            }
        }
        let new = Link { peer, addr, state: State::Asked, queued: 0, heard: now, told: now, end };
        self.links.insert(link, new);
    }

    fn open(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.links.iter().filter(|(_, link)| link.end.is_none()).map(|(id, link)| (*id, link))
    }

    /// The connection that makes room for one from `peer`, if one has to.
    fn expendable(&self, peer: IpAddr) -> Option<LinkId> {
        if let Some((silent, _)) = self.open().find(|(_, link)| link.state == State::Asked) {
            return Some(silent);
        }
        let mut of = BTreeMap::<IpAddr, (usize, LinkId)>::new();
        for (id, link) in self.open() {
            of.entry(link.peer).or_insert((0, id)).0 += 1;
        }
        let own = of.get(&peer).copied();
        let (most, oldest) = of.into_values().max_by_key(|(many, _)| *many)?;
        let is_unfair = most > own.map_or(0, |(many, _)| many) + 1;
        if is_unfair { Some(oldest) } else { own.map(|(_, oldest)| oldest) }
    }

    /// A connection ended. Connections that this machine closed are unknown to it.
    pub fn closed(&mut self, now: Mono, link: LinkId) {
        if let Some(link) = self.links.remove(&link) {
            self.leave(now, &link);
        }
    }

    fn leave(&mut self, now: Mono, link: &Link) {
        if matches!(link.state, State::Following { .. }) {
            self.members.left(now, link.peer);
        }
    }

    /// Its socket took so many bytes of frames.
    pub fn taken(&mut self, link: LinkId, bytes: u64) {
        if let Some(link) = self.links.get_mut(&link) {
            link.queued = link.queued.saturating_sub(bytes);
        }
    }

    /// A slave says which byte it wants next.
    pub fn reported(&mut self, now: Mono, id: LinkId, offset: i64) {
        let source = self.source;
        let Some(link) = self.links.get_mut(&id).filter(|link| link.end.is_none()) else { return };
        link.heard = now;
        let Ok(position) = u64::try_from(offset).map(Physical::new) else {
            link.end = Some(LinkEnd::Negative(offset));
            return;
        };
        match link.state {
            State::Asked if position > source.written.end() => {
                let end = LinkEnd::Ahead { theirs: position, ours: source.written.end() };
                link.state = State::Told(end);
            }
            State::Asked => {
                let from = first(&self.policy, source, position);
                link.state = State::Following { from, sent: from, acked: from };
                link.told = now;
                self.members.joined(now, link.peer, from);
            }
            State::Following { sent, .. } if position > sent => {
                link.end = Some(LinkEnd::Liar { reported: position, sent });
            }
            State::Following { from, sent, acked } if position > from => {
                link.state = State::Following { from, sent, acked: acked.max(position) };
                self.members.acked(now, link.peer, position);
            }
            State::Following { .. } | State::Told(_) => {}
        }
    }

    /// The next thing to do, if there is any.
    #[must_use]
    pub fn poll(&mut self, now: Mono) -> Option<MasterEffect> {
        self.polled = now;
        self.refill(now);
        if self.members.is_for_all() {
            self.members.count(now);
        }
        let (policy, source, allowed) = (&self.policy, self.source, self.allowance.0);
        let due = self.links.iter_mut().find_map(|(id, link)| {
            let due = link.due(policy, source, allowed, now)?;
            Some((*id, due))
        });
        let (link, due) = due?;
        match due {
            Due::Frame { at, len } => {
                if self.policy.rate.is_some() {
                    self.allowance.0 -= u64::from(len);
                }
                Some(MasterEffect::Frame { link, at, len })
            }
            Due::Close(why) => {
                self.closed(now, link);
                Some(MasterEffect::Close { link, why })
            }
        }
    }

    fn refill(&mut self, now: Mono) {
        let Some(rate) = self.policy.rate else {
            self.allowance.0 = u64::MAX;
            return;
        };
        let since = now.since(self.allowance.1).as_micros();
        let more = u128::from(rate) * since / 1_000_000;
        if more > 0 {
            let more = u64::try_from(more).unwrap_or(u64::MAX);
            self.allowance = (self.allowance.0.saturating_add(more).min(rate), now);
        }
    }

    /// When something is due although nothing happened.
    pub fn deadline(&self) -> Option<Mono> {
        let links = self.links.values();
        let due = links.flat_map(|link| {
            let is_told =
                matches!(link.state, State::Following { .. }) && link.queued < self.policy.window;
            let heartbeat = is_told.then(|| link.told.after(self.policy.heartbeat));
            [Some(link.heard.after(self.policy.silence)), heartbeat]
        });
        let waits = |link: &Link| {
            matches!(link.state, State::Following { sent, .. }
            if sent < self.source.written.end() && link.queued < self.policy.window)
        };
        let refill = (self.policy.rate.is_some() && self.links.values().any(waits))
            .then(|| self.polled.after(REFILL));
        due.flatten().chain(refill).chain(self.members.deadline(self.polled)).min()
    }

    /// Who follows.
    pub fn followers(&self, now: Mono) -> impl Iterator<Item = HaLink> {
        self.links.values().filter_map(move |link| {
            let State::Following { from, acked, .. } = link.state else { return None };
            let (behind, in_sync) = self.members.standing(now, link.peer)?;
            let lacks = self.source.written.end().since(acked);
            Some(HaLink { peer: link.addr, from, acked, lacks, behind, in_sync })
        })
    }

    /// Connections now.
    pub fn links(&self) -> usize {
        self.links.len()
    }

    /// What always holds.
    pub fn verify(&self) {
        self.members.verify();
        for link in self.links.values() {
            if let State::Following { from, sent, acked } = link.state {
                assert!(from <= acked && acked <= sent, "what is acknowledged was sent");
                assert!(sent <= self.source.written.end(), "sent is written");
            }
        }
    }

    /// Folds the state in.
    pub fn digest(&self, into: &mut Digest) {
        self.members.digest(into);
        for (id, link) in &self.links {
            into.number(id.0);
            into.number(link.queued);
            if let State::Following { from, sent, acked } = link.state {
                into.number(from.get());
                into.number(sent.get());
                into.number(acked.get());
            }
        }
    }
}

/// Where a slave that wants the byte at `position` begins. One that has nothing begins with a
/// file, and so does one that wants what is deleted: positions of files are the same everywhere.
fn first(policy: &MasterPolicy, source: Source, position: Physical) -> Physical {
    if position == Physical::ZERO && policy.from_last_file {
        let end = source.written.end().get();
        return Physical::new(end - end % source.file_len).max(source.start);
    }
    position.max(source.start)
}

/// What is due on a connection.
enum Due {
    Frame { at: Physical, len: u32 },
    Close(LinkEnd),
}

impl Link {
    /// Takes note of it, too.
    fn due(
        &mut self,
        policy: &MasterPolicy,
        source: Source,
        allowed: u64,
        now: Mono,
    ) -> Option<Due> {
        if let Some(end) = self.end {
            return Some(Due::Close(end));
        }
        match self.state {
            State::Told(end) => {
                // The frame's position is what tells it; then it is closed.
                self.end = Some(end);
                return Some(Due::Frame { at: source.written.end(), len: 0 });
            }
            State::Following { from, sent, acked } => {
                if sent < source.start {
                    return Some(Due::Close(LinkEnd::Outrun(source.start)));
                }
                let in_file = source.file_len - sent.get() % source.file_len;
                let most = u64::from(policy.batch).min(in_file).min(allowed);
                let len = source.written.end().since(sent).min(most);
                if self.queued < policy.window
                    && (len > 0 || self.told.after(policy.heartbeat) <= now)
                {
                    let len = u32::try_from(len).expect("no longer than a batch");
                    let sent = sent.plus(u64::from(len));
                    let at = Physical::new(sent.get() - u64::from(len));
                    (self.state, self.told) = (State::Following { from, sent, acked }, now);
                    self.queued += u64::from(len) + 12;
                    return Some(Due::Frame { at, len });
                }
            }
            State::Asked => {}
        }
        (self.heard.after(policy.silence) <= now).then_some(Due::Close(LinkEnd::Silent))
    }
}
