//! The replicas that follow a master, by the address that they come from.
//!
//! A slave whose connection broke comes back on a new one while the old one may still look alive:
//! counted by connection it would be two replicas. Counted by address it is one. Two slaves on one
//! machine are one replica, too: they fail together. (On one machine for a trial, let them connect
//! from different addresses of the loopback network.)

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use hotfire_storage::position::{Physical, Replicated, Written};
use hotfire_storage::time::Mono;

use super::MasterPolicy;
use crate::machine::Digest;

/// How long a member that went away is remembered.
const FORGET: Duration = Duration::from_secs(600);
/// Places at once that replicas may have passed by.
const PASSED: usize = 4;
/// Members at most; beyond, those without a connection are forgotten at once.
const MEMBERS_MAX: usize = 256;

/// What as many replicas hold as are wanted, or held.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    upto: Replicated,
    /// But for these: replicas went on behind them without having been sent them. One that was
    /// older than the log's first file begins there; one that is new may begin with the last.
    passed: [(Physical, Physical); PASSED],
}

impl Held {
    /// Is the record that ends here held by so many, or was?
    pub fn covers(self, end: Physical) -> bool {
        self.upto.covers(end) && !self.passed.iter().any(|(from, to)| *from < end && end <= *to)
    }

    /// So many hold what lies from one place to the other, and everything below `upto`.
    fn grow(&mut self, from: Physical, upto: Replicated) {
        let before = self.upto.end();
        if upto <= self.upto {
            return;
        }
        if from > before {
            // Who waits for the oldest has gone long ago.
            self.passed.rotate_left(1);
            self.passed[PASSED - 1] = (before, from);
        }
        self.upto = upto;
    }
}

/// A replica.
#[derive(Clone, Debug)]
struct Member {
    /// Connections of it that have said where they are.
    links: usize,
    /// Up to where it says that it holds the log, or is known to.
    position: Physical,
    /// Up to where it is known to: it was sent all that it acknowledged.
    acked: Option<Physical>,
    /// From here on it was sent all of it. What it has of before nobody knows.
    from: Physical,
    /// It lacks bytes below the first, and has since the second.
    behind: Option<(Physical, Mono)>,
    /// When its last connection ended.
    left: Option<Mono>,
}

/// All of them.
#[derive(Clone, Debug)]
pub struct Members {
    wanted: usize,
    all: bool,
    unproven: Duration,
    max_behind: Duration,
    max_gap: u64,
    written: Written,
    held: Held,
    known: BTreeMap<IpAddr, Member>,
}

impl Members {
    pub(super) fn new(policy: &MasterPolicy, written: Written) -> Self {
        Self {
            wanted: policy.wanted,
            all: policy.all,
            unproven: policy.timeout,
            max_behind: policy.max_behind,
            max_gap: policy.max_gap,
            written,
            held: Held::default(),
            known: BTreeMap::new(),
        }
    }

    /// The log grew.
    pub(super) fn wrote(&mut self, now: Mono, upto: Written) {
        self.written = upto;
        for member in self.known.values_mut() {
            member.behind.get_or_insert((upto.end(), now));
        }
    }

    /// A connection from `address` asks for the log from `position` on.
    pub(super) fn joined(&mut self, now: Mono, address: IpAddr, position: Physical) {
        let behind = (position < self.written.end()).then_some((self.written.end(), now));
        let member = self.known.entry(address).or_insert(Member {
            links: 0,
            position,
            acked: None,
            from: position,
            behind,
            left: None,
        });
        if member.acked.is_none_or(|acked| acked < position) {
            member.from = position;
        }
        // What it lacked it may still lack: coming back does not make up for it.
        member.behind = member.behind.or(behind);
        if member.links == 0 {
            member.position = position;
        }
        member.links += 1;
        member.left = None;
    }

    /// It holds everything below `upto`, on a connection on which it was sent up to there.
    pub(super) fn acked(&mut self, now: Mono, address: IpAddr, upto: Physical) {
        let end = self.written.end();
        let member = self.known.get_mut(&address).expect("who acknowledges has joined");
        member.acked = member.acked.max(Some(upto));
        member.position = member.position.max(upto);
        if member.behind.is_some_and(|(lacks, _)| lacks <= upto) {
            member.behind = (upto < end).then_some((end, now));
        }
        self.count(now);
    }

    /// A connection that had joined ended.
    pub(super) fn left(&mut self, now: Mono, address: IpAddr) {
        let member = self.known.get_mut(&address).expect("who leaves has joined");
        member.links -= 1;
        if member.links == 0 {
            member.left = Some(now);
        }
        let (many, forget) = (self.known.len() > MEMBERS_MAX, now);
        self.known.retain(|_, member| {
            let gone = member.left.is_some_and(|left| many || forget.since(left) > FORGET);
            !gone
        });
    }

    /// What is held by as many as are wanted. If that is all in sync, it changes with time, too.
    pub(super) fn count(&mut self, now: Mono) {
        let Some(mut least) = self.wanted.checked_sub(1) else { return };
        if self.all {
            let in_sync = |member: &&Member| member.links > 0 && self.keeps_up(now, member);
            let proven = self.known.values().filter(in_sync).filter(|of| of.acked.is_some());
            least = least.max(proven.count().saturating_sub(1));
        }
        let known = self.known.values().filter_map(|member| Some((member.acked?, member.from)));
        let mut held: Vec<_> = known.collect();
        held.sort_unstable_by(|a, b| b.cmp(a));
        if let Some((upto, _)) = held.get(least).copied() {
            // Of those that hold it, as many as are wanted were sent all from here on.
            let holders = held.iter().take_while(|(acked, _)| *acked >= upto);
            let mut since: Vec<Physical> = holders.map(|(_, from)| *from).collect();
            since.sort_unstable();
            self.held.grow(since[least], Replicated::upto(upto));
        }
    }

    /// Does a send wait for all that are in sync?
    pub(super) fn is_for_all(&self) -> bool {
        self.all
    }

    /// Everything below is, or was, held by as many replicas as are wanted, as they say: but see
    /// [`held`](Self::held).
    pub fn replicated(&self) -> Replicated {
        self.held.upto
    }

    /// The same, and what replicas have passed by.
    pub fn held(&self) -> Held {
        self.held
    }

    /// Replicas that can be waited for: connected, and not too far behind.
    pub fn reachable(&self, now: Mono) -> usize {
        self.known.values().filter(|member| member.links > 0 && self.keeps_up(now, member)).count()
    }

    /// Replicas whose lack holds back what may be seen: those that can be waited for, and those
    /// that were a moment ago.
    pub fn awaited(&self, now: Mono) -> usize {
        let is_here = |member: &Member| {
            member.left.is_none_or(|left| now.since(left) < self.patience(member))
        };
        let members = self.known.values();
        members.filter(|member| is_here(member) && self.keeps_up(now, member)).count()
    }

    /// How long a replica may be behind. A peer that has never acknowledged anything is given as
    /// long as a send waits, once: whoever merely says a position delays no second send.
    fn patience(&self, member: &Member) -> Duration {
        if member.acked.is_some() { self.max_behind } else { self.unproven }
    }

    fn keeps_up(&self, now: Mono, member: &Member) -> bool {
        let lacks = self.written.end().get().saturating_sub(member.position.get());
        let patience = self.patience(member);
        lacks < self.max_gap && member.behind.is_none_or(|(_, since)| now.since(since) < patience)
    }

    /// When a replica stops being waited for, if nothing else happens.
    pub(super) fn deadline(&self, now: Mono) -> Option<Mono> {
        let of = |member: &Member| {
            let behind = member.behind.map(|(_, since)| since);
            let due = behind.into_iter().chain(member.left);
            due.map(|since| since.after(self.patience(member))).filter(|due| *due > now).min()
        };
        self.known.values().filter_map(of).min()
    }

    /// For how long a replica has lacked something, and whether it can be waited for.
    pub(super) fn standing(&self, now: Mono, address: IpAddr) -> Option<(Duration, bool)> {
        let member = self.known.get(&address)?;
        let behind = member.behind.map_or(Duration::ZERO, |(_, since)| now.since(since));
        Some((behind, member.links > 0 && self.keeps_up(now, member)))
    }

    pub(super) fn verify(&self) {
        assert!(self.held.upto.end() <= self.written.end(), "replicated is never ahead of written");
        for member in self.known.values() {
            assert!(member.acked <= Some(self.written.end()), "nobody holds what is not written");
            assert_eq!(member.links == 0, member.left.is_some(), "who has no connection has left");
        }
    }

    pub(super) fn digest(&self, into: &mut Digest) {
        into.number(self.held.upto.end().get());
        for member in self.known.values() {
            into.number(member.links as u64);
            into.number(member.position.get());
            into.number(member.acked.map_or(0, |acked| acked.get() + 1));
            into.number(member.behind.map_or(0, |(_, since)| since.as_micros()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_replica_was_never_sent_it_does_not_hold() {
        let at = Physical::new;
        let (now, slave) = (Mono::ZERO, IpAddr::from([10, 0, 0, 2]));
        let policy = MasterPolicy { wanted: 1, ..MasterPolicy::default() };
        let mut members = Members::new(&policy, Written::upto(at(2000)));
        members.joined(now, slave, at(0));
        members.acked(now, slave, at(400));
        members.left(now, slave);
        // It comes back and goes on, with a little that it has.
        members.joined(now, slave, at(350));
        members.acked(now, slave, at(500));
        assert!([100, 400, 500].into_iter().all(|end| members.held().covers(at(end))));
        members.left(now, slave);
        // It was away for long, and begins anew.
        members.joined(now, slave, at(1000));
        assert!(!members.held().covers(at(600)));
        members.acked(now, slave, at(1200));
        let covers = |end| members.held().covers(at(end));
        assert!(covers(500) && covers(1001) && covers(1200));
        assert!(!covers(501) && !covers(1000) && !covers(1201));
    }
}
