//! Acting for a master that is gone, for reads (broker-behaviour.md 12).
//!
//! In a group with acting masters every broker says to each name server, more often than it
//! registers, that it lives, and asks who else of its group does. While none of them knows an id 0,
//! the live slave with the smallest id acts: name servers that support it show it under id 0, and
//! consumers pull, commit offsets and lock queues there. It takes no messages.
//!
//! A slave serves all of that anyway, so acting changes little here: whom it sends consumers to,
//! whose tables it takes over, what it says. What a broker of Apache's does for its master besides
//! (delayed messages, checks of transactions) is to be done while [`Broker::acts`].
//!
//! A name server that cannot be reached has no say. Of those that can each must miss the master:
//! one that has lost it does not make two of it.

use std::collections::BTreeMap;
use std::time::Duration;

use hotfire_storage::seam::Disk;
use hotfire_storage::text::Text;
use hotfire_storage::time::Mono;

use super::{Broker, BrokerConfig};
use crate::domain::{BrokerId, BrokerResponse, NameResponse, StateKind};
use crate::machine::Digest;

/// For so long clients may go by a route that is no more: they ask for it every 30 s, and some are
/// late.
pub(super) const ROUTE_LIFE: Duration = Duration::from_secs(60);
/// A name server that does not list this broker is told again, this often at most.
const RETURN_EVERY: Duration = Duration::from_secs(3);

/// How brokers of a group watch each other.
#[derive(Clone, Copy, Debug)]
pub struct ActingPolicy {
    /// How often name servers are told that the broker lives (`brokerHeartbeatInterval`).
    pub beat_every: Duration,
    /// Silence after which they take it for dead (`brokerNotActiveTimeoutMillis`).
    pub expiry: Duration,
    /// How often they are asked who lives (`syncBrokerMemberGroupPeriod`).
    pub watch_every: Duration,
}

impl Default for ActingPolicy {
    fn default() -> Self {
        Self {
            beat_every: Duration::from_secs(1),
            expiry: Duration::from_secs(10),
            watch_every: Duration::from_secs(1),
        }
    }
}

/// What a broker has to say of its group, and to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupEffect {
    /// Say to every name server that the broker lives (904), one-way.
    Beat,
    /// Ask a member for a table: [`Input::Fetched`](super::Input::Fetched) ends it.
    Fetch {
        /// Where it answers, `host:port`.
        from: Text,
        /// Which.
        kind: StateKind,
    },
    /// Ask this name server who of the group does (901):
    /// [`Input::Members`](super::Input::Members) ends it.
    Watch {
        /// Which, in the order of the configuration.
        name_server: usize,
    },
}

/// A name server's members of the group.
#[derive(Debug)]
struct View {
    /// Those of its last answer; `None`: it gave none.
    members: Option<BTreeMap<BrokerId, Text>>,
    is_asked: bool,
    /// Has it been asked, and has that come to an end?
    is_tried: bool,
    /// When it is asked again.
    next: Mono,
}

/// Who lives.
#[derive(Debug)]
pub(super) struct Acting {
    policy: Option<ActingPolicy>,
    id: BrokerId,
    addr: Text,
    views: Vec<View>,
    beat: Mono,
    /// A name server that does not list this broker is not told before.
    return_after: Mono,
    /// Until then clients may know this broker under id 0, be it a slave.
    shown_until: Mono,
    is_shown: bool,
    acts: bool,
}

impl Acting {
    pub(super) fn new(config: &BrokerConfig, now: Mono) -> Self {
        let view = || View { members: None, is_asked: false, is_tried: false, next: now };
        let name_servers = config.acting.map_or(0, |_| config.name_servers);
        Self {
            policy: config.acting,
            id: config.identity.id,
            addr: config.identity.addr.clone(),
            views: (0..name_servers).map(|_| view()).collect(),
            beat: now,
            return_after: now,
            shown_until: now,
            is_shown: false,
            acts: false,
        }
    }

    /// Is the group one with acting masters?
    pub(super) fn is_on(&self) -> bool {
        self.policy.is_some()
    }

    /// Silence after which name servers take this broker for dead, if that is not up to them.
    pub(super) fn expiry_ms(&self) -> Option<u64> {
        let expiry = self.policy?.expiry.as_millis();
        Some(u64::try_from(expiry).unwrap_or(u64::MAX))
    }

    /// As a slave: may clients know this broker under id 0?
    pub(super) fn is_shown_as_master(&self) -> bool {
        self.is_shown
    }

    /// Name servers are told everything now: who does not list this broker yet soon will.
    pub(super) fn registering(&mut self, now: Mono) {
        self.return_after = now.after(RETURN_EVERY);
    }

    /// Name servers are asked now.
    fn look(&mut self, now: Mono) {
        self.views.iter_mut().for_each(|view| view.next = now);
    }

    pub(super) fn poll(&mut self, now: Mono) -> Option<GroupEffect> {
        let policy = self.policy.filter(|_| !self.views.is_empty())?;
        if self.beat <= now {
            self.beat = now.after(policy.beat_every);
            return Some(GroupEffect::Beat);
        }
        let name_server = self.views.iter().position(|view| !view.is_asked && view.next <= now)?;
        let view = &mut self.views[name_server];
        (view.is_asked, view.next) = (true, now.after(policy.watch_every));
        Some(GroupEffect::Watch { name_server })
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        let due = self.views.iter().filter(|view| !view.is_asked).map(|view| view.next);
        due.chain((!self.views.is_empty()).then_some(self.beat)).min()
    }

    /// A name server has answered, or has not. Does it, after it had not?
    fn viewed(&mut self, now: Mono, at: usize, members: Option<BTreeMap<BrokerId, Text>>) -> bool {
        let Some(view) = self.views.get_mut(at) else { return false };
        let is_back = view.is_tried && view.members.is_none() && members.is_some();
        (view.is_asked, view.is_tried, view.members) = (false, true, members);
        if self.heard().any(|members| self.leads(members)) {
            self.shown_until = now.after(ROUTE_LIFE);
        }
        self.is_shown = now < self.shown_until;
        is_back
    }

    /// The members that name servers know.
    fn heard(&self) -> impl Iterator<Item = &BTreeMap<BrokerId, Text>> {
        self.views.iter().filter_map(|view| view.members.as_ref())
    }

    /// Is this broker, a slave, the one that such a list has in its master's place?
    fn leads(&self, members: &BTreeMap<BrokerId, Text>) -> bool {
        self.id != BrokerId::MASTER && members.first_key_value() == Some((&self.id, &self.addr))
    }

    /// Was every name server asked, and has that come to an end?
    pub(super) fn has_looked(&self) -> bool {
        self.views.iter().all(|view| view.is_tried)
    }

    /// Is there a name server that answers and does not list this broker?
    pub(super) fn is_missing(&self) -> bool {
        self.heard().any(|members| members.get(&self.id) != Some(&self.addr))
    }

    /// Where the other members answer.
    pub(super) fn others(&self) -> Vec<Text> {
        let all: BTreeMap<&Text, BrokerId> =
            self.heard().flatten().map(|(id, addr)| (addr, *id)).collect();
        let others = all.into_iter().filter(|(addr, id)| *id != self.id && **addr != self.addr);
        others.map(|(addr, _)| addr.clone()).collect()
    }

    /// Does any name server answer?
    fn is_heard(&self) -> bool {
        self.heard().next().is_some()
    }

    /// Where the master answers, as far as name servers know.
    fn master(&self) -> Option<&Text> {
        self.heard().find_map(|members| members.get(&BrokerId::MASTER))
    }

    /// Is this broker the live one with the smallest id, and no master?
    fn is_first(&self) -> bool {
        self.heard().any(|members| self.leads(members))
            && self.heard().all(|members| members.keys().next().is_none_or(|id| *id >= self.id))
    }

    pub(super) fn digest(&self, into: &mut Digest) {
        for view in &self.views {
            into.number(u64::from(view.is_asked) << 1 | u64::from(view.is_tried));
            into.number(view.next.as_micros());
            for (id, addr) in view.members.iter().flatten() {
                into.number(id.0.cast_unsigned());
                into.bytes(addr.as_bytes());
            }
        }
        into.number(self.beat.as_micros());
        into.number(self.shown_until.as_micros());
        into.number(u64::from(self.acts));
    }
}

impl<D: Disk> Broker<D> {
    /// As a slave: does it act for its master? A master whose log comes in lives, whatever name
    /// servers say.
    pub fn acts(&self) -> bool {
        self.acting.acts
    }

    /// Somebody says that the group has changed. Who lives, name servers are asked.
    pub(super) fn group_changed(&mut self, now: Mono) -> BrokerResponse {
        self.acting.look(now);
        BrokerResponse::Done
    }

    /// A name server says who lives, or does not answer.
    pub(super) fn watched(&mut self, now: Mono, at: usize, response: Option<NameResponse>) {
        let members = match response {
            Some(NameResponse::MemberGroup(group)) => {
                let detached = |(id, addr): (BrokerId, Text)| (id, addr.detached());
                Some(group.addrs.into_iter().map(detached).collect())
            }
            _ => None,
        };
        // While it did not answer it may have shown another one in this broker's place, and have
        // been told of this broker again since.
        let is_back = self.acting.viewed(now, at, members);
        let is_missing = self.acting.is_missing();
        if is_back || is_missing {
            self.hand_over.expect(now);
        }
        self.register_now |= is_missing && self.acting.return_after <= now;
        if !self.ha.is_slave() {
            return;
        }
        if self.acting.is_heard() {
            self.follow_member(self.acting.master().cloned());
        }
        let acts = self.acting.is_first() && !self.has_master();
        if std::mem::replace(&mut self.acting.acts, acts) != acts {
            if acts {
                tracing::warn!("the master is gone: this slave acts for it, for reads");
            } else {
                tracing::info!("this slave does not act for its master any more");
            }
        }
    }
}
