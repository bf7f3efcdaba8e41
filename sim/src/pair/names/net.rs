//! Connections between brokers, name servers and consumers: what is said on one arrives in order,
//! late, when two can reach each other again, or never.
//!
//! Streams keep what they are given while there is no way, as real ones do. So what a broker said
//! long ago can arrive when it has said something else since, on another connection.

use std::collections::{BTreeMap, BTreeSet};

use hotfire_core::domain::{BrokerRequest, BrokerResponse, NameRequest, NameResponse};

use super::Purpose;
use crate::choose::{Choose as _, Stream};
use crate::ledger::{Ledger, Strike};
use crate::oracle::audit::Entry;
use crate::plan::NetFaults;

/// Later than that is a fault, in microseconds.
const LATE: u64 = 1_000_000;

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Party {
    Broker(usize),
    Consumer(usize),
    Server(usize),
}

/// What is said.
#[derive(Clone, Debug)]
pub(in super::super) enum Word {
    /// For what, in which life of who asks.
    AskBroker(i32, BrokerRequest, Purpose, u32),
    AskServer(i32, NameRequest),
    /// Messages of the answer to a pull, as they came.
    BrokerSays(i32, BrokerResponse, Vec<Entry>),
    ServerSays(i32, NameResponse),
    /// Nobody answers.
    Tells(NameRequest),
    Notifies(BrokerRequest),
    Ends,
}

/// ... on its way.
#[derive(Clone, Debug)]
pub(in super::super) struct Packet {
    pub(super) conn: u64,
    pub(super) from: Party,
    pub(super) to: Party,
    pub(super) word: Word,
}

#[derive(Debug)]
struct Conn {
    opener: Party,
    other: Party,
    opener_has: bool,
    /// `None`: it has not heard of it.
    other_has: Option<bool>,
    /// When the last packet arrives, each way.
    last: [u64; 2],
}

/// All of it.
#[derive(Debug)]
pub(super) struct Net {
    plan: NetFaults,
    luck: Stream,
    ledger: Ledger,
    conns: BTreeMap<u64, Conn>,
    next: u64,
    /// Until when one does not reach another.
    held: BTreeMap<(Party, Party), u64>,
    up: BTreeSet<Party>,
    /// They are without power, and nothing says so.
    silent: BTreeSet<Party>,
    pub(super) calm: bool,
    /// Up to when something is wrong.
    trouble: u64,
}

/// What comes of a packet.
pub(super) enum Arrival {
    Heard(Packet),
    /// Nobody hears it any more; its sender may be told.
    Lost(Option<(u64, Packet)>),
}

impl Net {
    pub(super) fn new(plan: NetFaults, luck: Stream, ledger: Ledger) -> Self {
        Self {
            plan,
            luck,
            ledger,
            conns: BTreeMap::new(),
            next: 0,
            held: BTreeMap::new(),
            up: BTreeSet::new(),
            silent: BTreeSet::new(),
            calm: false,
            trouble: 0,
        }
    }

    /// Up to when something is, or was, wrong with links.
    pub(super) fn trouble(&self) -> u64 {
        self.trouble
    }

    pub(super) fn began(&mut self, who: Party) {
        self.up.insert(who);
        self.silent.remove(&who);
    }

    /// One does not reach the other until then.
    pub(super) fn hold(&mut self, from: Party, to: Party, until: u64) {
        let held = self.held.entry((from, to)).or_default();
        *held = until.max(*held);
        self.trouble = self.trouble.max(until);
    }

    /// The connection that `from` has to another.
    pub(super) fn known(&self, from: Party, to: Party) -> Option<u64> {
        let mut conns = self.conns.iter().rev();
        let is_it = |conn: &Conn| conn.opener == from && conn.other == to && conn.opener_has;
        conns.find(|(_, conn)| is_it(conn)).map(|(id, _)| *id)
    }

    /// The same; a new one if there is none.
    pub(super) fn connected(&mut self, now: u64, from: Party, to: Party) -> u64 {
        if let Some(known) = self.known(from, to) {
            return known;
        }
        self.next += 1;
        let (opener, other, last) = (from, to, [now, now]);
        let conn = Conn { opener, other, opener_has: true, other_has: None, last };
        self.conns.insert(self.next, conn);
        self.next
    }

    fn latency(&mut self) -> u64 {
        let (least, most) = (self.plan.latency_min_us, self.plan.latency_max_us);
        // A stall now and then: there are many packets.
        let stalls = !self.calm && self.plan.stall > 0 && self.luck.chance(2, "names.stall");
        let most = if stalls { self.plan.stall_max_us.max(most) } else { most };
        self.luck.range(least, most.max(least) + 1, "names.latency")
    }

    /// Sends on a connection that the sender has.
    pub(super) fn send(&mut self, now: u64, conn: u64, by: Party, word: Word) -> (u64, Packet) {
        let latency = self.latency();
        let known = self.conns.get_mut(&conn).expect("who has it sends on it");
        let way = usize::from(known.opener == by);
        let to = if known.opener == by { known.other } else { known.opener };
        let held = self.held.get(&(by, to)).copied().unwrap_or_default();
        let when = (now.max(held) + latency).max(known.last[way] + 1);
        known.last[way] = when;
        if latency > LATE {
            self.ledger.hit(Strike::NamesLate);
            self.trouble = self.trouble.max(when);
        }
        (when, Packet { conn, from: by, to, word })
    }

    /// Is this end of a connection there?
    pub(super) fn has(&self, conn: u64, who: Party) -> bool {
        self.conns.get(&conn).is_some_and(|conn| {
            if conn.opener == who { conn.opener_has } else { conn.other_has == Some(true) }
        })
    }

    /// A packet is there.
    pub(super) fn arrive(&mut self, now: u64, packet: Packet) -> Arrival {
        let is_up = self.up.contains(&packet.to);
        let is_end = matches!(packet.word, Word::Ends);
        let Some(conn) = self.conns.get_mut(&packet.conn) else { return Arrival::Lost(None) };
        let is_opener = conn.opener == packet.to;
        if !is_opener && conn.other_has.is_none() && is_up {
            conn.other_has = Some(true);
        }
        let has = if is_opener { conn.opener_has } else { conn.other_has == Some(true) };
        if has {
            if is_end {
                self.forget(packet.conn, packet.to);
            }
            return Arrival::Heard(packet);
        }
        let asker_has = if is_opener { conn.other_has == Some(true) } else { conn.opener_has };
        if is_end || !asker_has || self.silent.contains(&packet.to) {
            return Arrival::Lost(None);
        }
        Arrival::Lost(Some(self.send(now, packet.conn, packet.to, Word::Ends)))
    }

    /// Somebody gives a connection up: the other end hears of it.
    pub(super) fn close(&mut self, now: u64, conn: u64, by: Party) -> Option<(u64, Packet)> {
        if !self.has(conn, by) {
            return None;
        }
        let sent = self.send(now, conn, by, Word::Ends);
        self.forget(conn, by);
        Some(sent)
    }

    fn forget(&mut self, id: u64, who: Party) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.opener == who {
            conn.opener_has = false;
        } else {
            conn.other_has = Some(false);
        }
        if !conn.opener_has && conn.other_has == Some(false) {
            self.conns.remove(&id);
        }
    }

    /// A process ended. Its kernel says so, unless the power is gone.
    pub(super) fn died(&mut self, now: u64, who: Party, power: bool) -> Vec<(u64, Packet)> {
        self.up.remove(&who);
        if power {
            self.silent.insert(who);
        }
        let ids: Vec<u64> = self.conns.keys().copied().collect();
        let mut sent = Vec::new();
        for id in ids.into_iter().filter(|id| self.has(*id, who)).collect::<Vec<_>>() {
            if power {
                self.forget(id, who);
            } else {
                sent.extend(self.close(now, id, who));
            }
        }
        sent
    }

    /// A connection ends: both ends hear of it, or one, and the other when it says something.
    pub(super) fn cut(&mut self, now: u64) -> Vec<(u64, Packet)> {
        let both = |conn: &Conn| conn.opener_has && conn.other_has == Some(true);
        let ids: Vec<u64> =
            self.conns.iter().filter(|(_, conn)| both(conn)).map(|(id, _)| *id).collect();
        if ids.is_empty() {
            return Vec::new();
        }
        let id = ids[self.luck.index(ids.len(), "names.which")];
        let (opener, other) = (self.conns[&id].opener, self.conns[&id].other);
        self.trouble = self.trouble.max(now + LATE);
        self.ledger.hit(Strike::NamesEnded);
        let ends = [opener, other];
        let whose = self.luck.index(3, "names.whose");
        let hears = |at: usize| whose == 0 || whose == at + 1;
        let sayers = (0..2).filter(|at| hears(*at));
        sayers.map(|at| self.send(now, id, ends[at], Word::Ends)).collect()
    }
}
