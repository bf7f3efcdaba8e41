//! A master and its connections.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hotfire_storage::position::{Physical, Written};
use hotfire_storage::time::Mono;

use super::master::{LinkEnd, Master, MasterEffect, Source};
use super::*;

const FILE: u64 = 100_000;

fn at(ms: u64) -> Mono {
    Mono::from_micros(ms * 1_000)
}

fn place(bytes: u64) -> Physical {
    Physical::new(bytes)
}

fn written(bytes: u64) -> Written {
    Written::upto(place(bytes))
}

fn from(last: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)), 5_000)
}

struct Rig(Master);

impl Rig {
    /// A master whose log has bytes `start..end`.
    fn new(policy: MasterPolicy, start: u64, end: u64) -> Self {
        let source = Source { start: place(start), written: written(end), file_len: FILE };
        Self(Master::new(policy, source, at(0)))
    }

    fn waiting(wanted: usize, end: u64) -> Self {
        Self::new(MasterPolicy { wanted, ..MasterPolicy::default() }, 0, end)
    }

    /// A slave connects and says what it wants.
    fn join(&mut self, ms: u64, link: u64, address: u8, offset: i64) {
        self.0.opened(at(ms), LinkId(link), from(address));
        self.0.reported(at(ms), LinkId(link), offset);
    }

    /// Everything that is due; sockets take all.
    fn run(&mut self, ms: u64) -> Vec<MasterEffect> {
        let mut effects = Vec::new();
        while let Some(effect) = self.0.poll(at(ms)) {
            self.0.verify();
            if let MasterEffect::Frame { link, len, .. } = effect {
                self.0.taken(link, u64::from(len) + 12);
            }
            effects.push(effect);
        }
        let due = self.0.deadline();
        assert!(due.is_none_or(|due| due > at(ms)), "nothing is left to do at {due:?}");
        effects
    }

    fn ack(&mut self, ms: u64, link: u64, offset: u64) -> u64 {
        self.0.reported(at(ms), LinkId(link), i64::try_from(offset).unwrap());
        self.0.verify();
        self.0.members().replicated().end().get()
    }
}

fn frame(link: u64, from: u64, len: u32) -> MasterEffect {
    MasterEffect::Frame { link: LinkId(link), at: place(from), len }
}

fn close(link: u64, why: LinkEnd) -> MasterEffect {
    MasterEffect::Close { link: LinkId(link), why }
}

#[test]
fn frames_are_as_long_as_allowed_and_end_with_files() {
    let mut rig = Rig::new(MasterPolicy::default(), 0, FILE + 50);
    rig.join(0, 1, 1, 40_000);
    let all = [frame(1, 40_000, 32_768), frame(1, 72_768, 27_232), frame(1, FILE, 50)];
    assert_eq!(rig.run(0), all);
    rig.0.wrote(at(1), written(FILE + 60));
    assert_eq!(rig.run(1), [frame(1, FILE + 50, 10)]);
}

#[test]
fn nothing_is_sent_before_it_is_asked_for_and_no_more_than_a_socket_takes() {
    let policy = MasterPolicy { window: 40_000, ..MasterPolicy::default() };
    let mut rig = Rig::new(policy, 0, FILE);
    rig.0.opened(at(0), LinkId(1), from(1));
    assert_eq!(rig.run(0), []);
    rig.0.reported(at(0), LinkId(1), 0);
    let frames = [rig.0.poll(at(0)), rig.0.poll(at(0)), rig.0.poll(at(0))];
    assert_eq!(frames, [Some(frame(1, 0, 32_768)), Some(frame(1, 32_768, 32_768)), None]);
    // It does not read: no heartbeat either, and nothing is due at once.
    assert_eq!(rig.0.poll(at(6_000)), None);
    assert!(rig.0.deadline().is_some_and(|due| due > at(6_000)));
    rig.0.taken(LinkId(1), 30_000);
    assert_eq!(rig.0.poll(at(6_000)), Some(frame(1, 65_536, 32_768)));
    assert_eq!(rig.0.poll(at(20_000)), Some(close(1, LinkEnd::Silent)));
}

#[test]
fn an_idle_connection_gets_heartbeats_and_a_silent_one_ends() {
    let mut rig = Rig::new(MasterPolicy::default(), 0, 10);
    rig.join(0, 1, 1, 10);
    assert_eq!(rig.run(4_999), []);
    assert_eq!(rig.run(5_000), [frame(1, 10, 0)]);
    assert_eq!(rig.ack(9_000, 1, 10), 0);
    assert_eq!(rig.run(10_000), [frame(1, 10, 0)]);
    assert_eq!(rig.run(28_999), [frame(1, 10, 0)]);
    assert_eq!(rig.run(29_000), [close(1, LinkEnd::Silent)]);
    assert_eq!(rig.0.links(), 0);
}

#[test]
fn a_report_acknowledges_what_was_sent_on_its_connection_and_nothing_else() {
    let mut rig = Rig::waiting(1, 1_000);
    rig.join(0, 1, 1, 500);
    assert_eq!(rig.0.members().replicated().end().get(), 0, "it only asked");
    assert_eq!(rig.run(0), [frame(1, 500, 500)]);
    assert_eq!(rig.ack(1, 1, 500), 0, "nor is that repeated more than asked");
    assert_eq!(rig.ack(1, 1, 700), 700);
    assert_eq!(rig.ack(1, 1, 600), 700, "what was held stays held");
    rig.0.wrote(at(2), written(2_000));
    assert_eq!(rig.ack(2, 1, 1_001), 700, "that was not sent");
    let lie = LinkEnd::Liar { reported: place(1_001), sent: place(1_000) };
    assert_eq!(rig.run(2), [close(1, lie)]);

    rig.join(3, 2, 1, -5);
    assert_eq!(rig.run(3), [close(2, LinkEnd::Negative(-5))]);
    // One that has more is told where the log ends: its own words say so, too.
    rig.join(4, 3, 1, 2_001);
    let ahead = LinkEnd::Ahead { theirs: place(2_001), ours: place(2_000) };
    assert_eq!(rig.run(4), [frame(3, 2_000, 0), close(3, ahead)]);
    assert_eq!(rig.0.members().replicated().end().get(), 700);
}

#[test]
fn connections_from_one_address_are_one_replica() {
    let mut rig = Rig::waiting(2, 100);
    rig.join(0, 1, 1, 0);
    rig.join(0, 2, 1, 0);
    rig.run(0);
    assert_eq!((rig.ack(0, 1, 100), rig.ack(0, 2, 100)), (0, 0));
    assert_eq!(rig.0.members().reachable(at(0)), 1);
    rig.join(0, 3, 2, 0);
    rig.run(0);
    assert_eq!(rig.0.members().reachable(at(0)), 2);
    assert_eq!(rig.ack(0, 3, 60), 60, "the second of two");
    rig.0.closed(at(1), LinkId(1));
    assert_eq!(rig.0.members().reachable(at(1)), 2, "its other connection is there");
}

#[test]
fn who_merely_says_a_position_is_waited_for_once_and_not_again() {
    let mut rig = Rig::waiting(1, 100);
    rig.join(0, 1, 9, 100);
    rig.run(0);
    let reachable = |rig: &Rig, ms| rig.0.members().reachable(at(ms));
    assert_eq!(reachable(&rig, 1_000), 1, "an idle slave is there");
    rig.0.wrote(at(1_000), written(200));
    rig.run(1_000);
    assert_eq!((reachable(&rig, 3_999), reachable(&rig, 4_000)), (1, 0));
    // Coming back makes up for nothing.
    rig.0.closed(at(4_500), LinkId(1));
    rig.join(5_000, 2, 9, 200);
    rig.run(5_000);
    assert_eq!(reachable(&rig, 5_000), 0);
    rig.0.wrote(at(5_000), written(300));
    rig.run(5_000);
    assert_eq!(rig.ack(5_001, 2, 300), 300, "what is sent and acknowledged does");
    assert_eq!(reachable(&rig, 5_001), 1);
}

#[test]
fn a_replica_that_went_away_holds_reads_back_for_a_while_and_sends_not_at_all() {
    let mut rig = Rig::waiting(1, 0);
    rig.join(0, 1, 1, 0);
    rig.0.wrote(at(1), written(100));
    rig.run(1);
    assert_eq!(rig.ack(2, 1, 100), 100);
    let counts = |rig: &Rig, ms| {
        let members = rig.0.members();
        (members.reachable(at(ms)), members.awaited(at(ms)))
    };
    assert_eq!(counts(&rig, 2), (1, 1));
    rig.0.closed(at(1_000), LinkId(1));
    assert_eq!(counts(&rig, 1_000), (0, 1));
    assert_eq!((counts(&rig, 15_999), counts(&rig, 16_000)), ((0, 1), (0, 0)));
    rig.join(20_000, 2, 1, 100);
    rig.run(20_000);
    assert_eq!(counts(&rig, 20_000), (1, 1));
    rig.0.wrote(at(20_000), written(200));
    assert_eq!((counts(&rig, 34_999), counts(&rig, 35_000)), ((1, 1), (0, 0)), "it is stuck");
}

#[test]
fn one_too_far_behind_is_not_waited_for() {
    let mut rig = Rig::waiting(1, 300 << 20);
    rig.join(0, 1, 1, 1);
    assert_eq!(rig.0.members().reachable(at(0)), 0);
    rig.join(0, 2, 2, 299 << 20);
    assert_eq!(rig.0.members().reachable(at(0)), 1);
}

#[test]
fn a_slave_with_nothing_begins_with_the_first_file_or_as_the_operator_says_the_last() {
    for (from_last_file, begins) in [(false, FILE), (true, 3 * FILE)] {
        let policy = MasterPolicy { from_last_file, ..MasterPolicy::default() };
        let mut rig = Rig::new(policy, FILE, 3 * FILE + 10);
        rig.join(0, 1, 1, 0);
        let first = rig.0.poll(at(0));
        assert!(
            matches!(first, Some(MasterEffect::Frame { at, .. }) if at == place(begins)),
            "{first:?}"
        );
    }
    let mut rig = Rig::new(MasterPolicy::default(), FILE, FILE + 10);
    rig.join(0, 1, 1, 7);
    assert_eq!(rig.run(0), [frame(1, FILE, 10)], "what it wants is deleted");
    rig.0.wrote(at(1), written(3 * FILE));
    rig.0.begins(place(2 * FILE));
    assert_eq!(rig.run(1), [close(1, LinkEnd::Outrun(place(2 * FILE)))]);
}

#[test]
fn a_crowd_does_not_keep_a_slave_out() {
    let policy = MasterPolicy { max_links: 3, ..MasterPolicy::default() };
    let mut rig = Rig::new(policy, 0, 10);
    rig.join(0, 1, 1, 10);
    for link in 2..100 {
        rig.0.opened(at(0), LinkId(link), from(9));
    }
    let ended = rig.run(0);
    let many = |effect: &MasterEffect| {
        matches!(effect, MasterEffect::Close { why: LinkEnd::TooMany(3), .. })
    };
    assert!(ended.len() == 96 && ended.iter().all(many), "{ended:?}");
    rig.join(1, 100, 2, 10);
    rig.run(1);
    assert_eq!(rig.0.members().reachable(at(1)), 2);
}

#[test]
fn one_address_does_not_take_all_places() {
    let policy = MasterPolicy { max_links: 3, ..MasterPolicy::default() };
    let mut rig = Rig::new(policy, 0, 10);
    for link in 1..=3 {
        rig.join(0, link, 9, 10);
    }
    rig.run(0);
    rig.join(1, 4, 1, 10);
    assert_eq!(rig.run(1).first(), Some(&close(1, LinkEnd::TooMany(3))), "its oldest goes");
    rig.join(2, 5, 2, 10);
    assert_eq!(rig.run(2).first(), Some(&close(2, LinkEnd::TooMany(3))));
    rig.join(3, 6, 3, 10);
    assert_eq!(rig.run(3).first(), Some(&close(6, LinkEnd::TooMany(3))), "each has one");
    rig.join(4, 7, 2, 10);
    assert_eq!(rig.run(4).first(), Some(&close(5, LinkEnd::TooMany(3))), "who comes back");
}

#[test]
fn all_that_are_in_sync_are_waited_for_and_none_that_is_gone() {
    let policy = MasterPolicy { wanted: 1, all: true, ..MasterPolicy::default() };
    let mut rig = Rig::new(policy, 0, 10);
    for slave in 1..=2 {
        rig.join(0, slave, u8::try_from(slave).expect("few"), 5);
    }
    rig.run(0);
    let ack = |rig: &mut Rig, ms, slave, upto| {
        rig.0.reported(at(ms), LinkId(slave), upto);
        rig.run(ms);
        rig.0.members().replicated().end().get()
    };
    assert_eq!(ack(&mut rig, 1, 1, 10), 10, "the other has proven nothing yet");
    ack(&mut rig, 1, 2, 10);
    rig.0.wrote(at(2), written(20));
    rig.run(2);
    assert_eq!(ack(&mut rig, 3, 1, 20), 10);
    rig.0.closed(at(4), LinkId(2));
    rig.run(4);
    assert_eq!(rig.0.members().replicated().end().get(), 20);
}

#[test]
fn who_is_not_on_the_list_stays_outside() {
    let allowed = vec!["10.0.0.1/32".parse().expect("an address")];
    let policy = MasterPolicy { wanted: 1, allowed, ..MasterPolicy::default() };
    let mut rig = Rig::new(policy, 0, 10);
    rig.join(0, 1, 7, 10);
    assert_eq!(rig.run(0), [close(1, LinkEnd::Uninvited)]);
    rig.0.opened(at(1), LinkId(2), "[::ffff:10.0.0.1]:99".parse().expect("an address"));
    rig.0.reported(at(1), LinkId(2), 10);
    rig.run(1);
    assert_eq!(rig.0.members().reachable(at(1)), 1, "an address may be written in two ways");
}

#[test]
fn a_rate_is_kept() {
    let policy = MasterPolicy { rate: Some(1_000), ..MasterPolicy::default() };
    let mut rig = Rig::new(policy, 0, 5_000);
    rig.join(0, 1, 1, 0);
    let bytes = |effects: &[MasterEffect]| -> u32 {
        let len = |effect: &MasterEffect| match effect {
            MasterEffect::Frame { len, .. } => *len,
            MasterEffect::Close { .. } => 0,
        };
        effects.iter().map(len).sum()
    };
    assert_eq!(bytes(&rig.run(0)), 1_000);
    let later: u32 = (1..=100).map(|step| bytes(&rig.run(step * 10))).sum();
    assert_eq!(later, 1_000);
}
