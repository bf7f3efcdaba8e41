//! Links: connections that carry messages both ways, in order each way, and what becomes of them.
//!
//! A message takes a drawn time. A connection can be *cut* (what is under way arrives up to some
//! point, then both ends learn of the end), can *stall*, and can become a *black hole* in one
//! direction: nobody learns of that but by waiting too long. A partition holds back what passes
//! between two sides, one way or both, until it heals. The end of a connection travels behind what
//! was said on it, like a TCP FIN.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use hotfire_core::domain::{BrokerNotice, BrokerResponse, NameResponse};

use super::Actor;
use crate::choose::{Choose, Stream};
use crate::ledger::{Ledger, Strike};
use crate::plan::NetFaults;
use crate::workload::Ask;

/// What passes a link.
#[derive(Clone, Debug)]
pub(super) enum Parcel {
    Ask {
        opaque: i32,
        ask: Ask,
        oneway: bool,
    },
    BrokerReply {
        opaque: i32,
        life: u32,
        response: BrokerResponse,
        records: Vec<Bytes>,
    },
    NameReply {
        opaque: i32,
        response: NameResponse,
    },
    Notice(BrokerNotice),
    /// The other end has closed.
    Fin,
}

#[derive(Debug, Default)]
struct Way {
    parcels: VecDeque<Parcel>,
    /// When the last one arrives.
    last: u64,
    black: bool,
    /// The receiver closed, or is dead: nothing arrives any more.
    deaf: bool,
}

/// A connection. Way 0 goes from the dialler to the other end, way 1 back.
#[derive(Debug)]
struct Conn {
    ends: [Actor; 2],
    /// Which process of the other end it is connected to.
    life: u32,
    ways: [Way; 2],
}

/// What a message is held up by.
#[derive(Debug)]
struct Partition {
    from: BTreeSet<Actor>,
    to: BTreeSet<Actor>,
    both: bool,
    until: u64,
}

/// All links.
#[derive(Debug)]
pub(super) struct Net {
    faults: NetFaults,
    dice: Stream,
    ledger: Ledger,
    conns: BTreeMap<u64, Conn>,
    last: u64,
    partitions: Vec<Partition>,
    /// What has to be scheduled: when, which connection, which way.
    pub(super) due: Vec<(u64, u64, usize)>,
}

/// What comes out of a link.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) at: Actor,
    pub(super) from: Actor,
    pub(super) conn: u64,
    /// Which process of the server the connection belongs to.
    pub(super) life: u32,
    pub(super) parcel: Parcel,
}

impl Net {
    pub(super) fn new(faults: NetFaults, dice: Stream, ledger: Ledger) -> Self {
        let (conns, partitions, due) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { faults, dice, ledger, conns, last: 0, partitions, due }
    }

    /// No more faults. What is held up is set free; a black hole stays one until it is closed.
    pub(super) fn heal(&mut self) {
        (self.faults.cut, self.faults.stall, self.faults.black_hole) = (0, 0, 0);
        self.partitions.clear();
    }

    pub(super) fn dial(&mut self, from: Actor, to: Actor, life: u32) -> u64 {
        self.last += 1;
        let conn = Conn { ends: [from, to], life, ways: Default::default() };
        self.conns.insert(self.last, conn);
        self.last
    }

    pub(super) fn len(&self) -> usize {
        self.conns.len()
    }

    pub(super) fn latency(&mut self) -> u64 {
        let NetFaults { latency_min_us: min, latency_max_us: max, .. } = self.faults;
        self.dice.range(min, max + 1, "net.latency")
    }

    /// Says something. `false`: there is no such connection any more, and nobody hears it.
    pub(super) fn send(&mut self, now: u64, conn: u64, from: Actor, parcel: Parcel) -> bool {
        let Some(way) = self.way(conn, from) else { return false };
        let mut delay = self.latency();
        if self.dice.chance(self.faults.stall, "net.stall") {
            if self.dice.chance(self.faults.black_hole, "net.black_hole") {
                self.ledger.hit(Strike::NetBlackHole);
                self.conns.get_mut(&conn).expect("it was just found").ways[way].black = true;
            } else {
                self.ledger.hit(Strike::NetStalled);
                delay += self.dice.below(self.faults.stall_max_us, "net.stall.us");
            }
        }
        let cut = self.dice.chance(self.faults.cut, "net.cut");
        self.push(now, conn, way, delay, parcel);
        if cut {
            self.ledger.hit(Strike::NetCut);
            self.cut(now, conn);
        }
        true
    }

    fn way(&self, conn: u64, from: Actor) -> Option<usize> {
        let found = self.conns.get(&conn)?;
        found.ends.iter().position(|end| *end == from)
    }

    fn push(&mut self, now: u64, conn: u64, way: usize, delay: u64, parcel: Parcel) {
        let found = self.conns.get_mut(&conn).expect("the caller found it");
        let to = &mut found.ways[way];
        if to.black || to.deaf {
            return;
        }
        let at = to.last.max(now + delay);
        to.last = at;
        to.parcels.push_back(parcel);
        self.due.push((at, conn, way));
    }

    /// The connection is cut: both directions lose what is under way from some point on.
    fn cut(&mut self, now: u64, conn: u64) {
        if !self.conns.contains_key(&conn) {
            return;
        }
        for way in [0, 1] {
            self.lose(conn, way);
            let delay = self.latency();
            self.push(now, conn, way, delay, Parcel::Fin);
        }
    }

    fn lose(&mut self, conn: u64, way: usize) {
        let parcels =
            &mut self.conns.get_mut(&conn).expect("the caller found it").ways[way].parcels;
        let kept = self.dice.index(parcels.len() + 1, "net.cut.lost");
        let kept = parcels.len() - kept;
        parcels.truncate(kept);
    }

    /// One end closes: what it said arrives, and then the end; it hears nothing more.
    pub(super) fn close(&mut self, now: u64, conn: u64, from: Actor) {
        let Some(way) = self.way(conn, from) else { return };
        let delay = self.latency();
        self.push(now, conn, way, delay, Parcel::Fin);
        self.deafen(conn, 1 - way);
    }

    fn deafen(&mut self, conn: u64, way: usize) {
        let found = self.conns.get_mut(&conn).expect("the caller found it");
        found.ways[way].deaf = true;
        found.ways[way].parcels.clear();
        self.forget(conn);
    }

    fn forget(&mut self, conn: u64) {
        let over = |way: &Way| way.deaf || (way.black && way.parcels.is_empty());
        if self.conns.get(&conn).is_some_and(|found| found.ways.iter().all(over)) {
            self.conns.remove(&conn);
        }
    }

    /// A process dies. If its machine lives, its peers learn of it; without power they do not.
    pub(super) fn died(&mut self, now: u64, who: Actor, silent: bool) {
        let its: Vec<(u64, usize)> = self
            .conns
            .iter()
            .filter_map(|(id, conn)| {
                conn.ends.iter().position(|end| *end == who).map(|way| (*id, way))
            })
            .collect();
        for (conn, way) in its {
            self.lose(conn, way);
            if silent {
                self.conns.get_mut(&conn).expect("it was listed").ways[way].black = true;
            } else {
                let delay = self.latency();
                self.push(now, conn, way, delay, Parcel::Fin);
            }
            self.deafen(conn, 1 - way);
        }
    }

    pub(super) fn part(
        &mut self,
        from: BTreeSet<Actor>,
        to: BTreeSet<Actor>,
        both: bool,
        until: u64,
    ) {
        self.ledger.hit(Strike::NetPartition);
        self.partitions.push(Partition { from, to, both, until });
    }

    /// A parcel's time has come: it arrives, or is held back, or was lost on its way.
    pub(super) fn arrive(&mut self, now: u64, conn: u64, way: usize) -> Option<Arrival> {
        let found = self.conns.get_mut(&conn)?;
        let (from, at, life) = (found.ends[way], found.ends[1 - way], found.life);
        self.partitions.retain(|partition| partition.until > now);
        let holds = |p: &&Partition| {
            (p.from.contains(&from) && p.to.contains(&at))
                || (p.both && p.from.contains(&at) && p.to.contains(&from))
        };
        let held = self.partitions.iter().filter(holds).map(|p| p.until).max();
        let found = self.conns.get_mut(&conn)?;
        if let Some(until) = held {
            found.ways[way].last = found.ways[way].last.max(until);
            self.due.push((until, conn, way));
            return None;
        }
        let parcel = found.ways[way].parcels.pop_front()?;
        if matches!(parcel, Parcel::Fin) {
            found.ways[way].deaf = true;
            found.ways[way].parcels.clear();
        }
        self.forget(conn);
        Some(Arrival { at, from, conn, life, parcel })
    }
}
