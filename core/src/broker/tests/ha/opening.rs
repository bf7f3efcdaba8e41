//! A slave whose master's log begins beyond its own, as some peer says.

use hotfire_storage::position::{Flushed, Written};

use super::*;
use crate::ha::slave::{GivenUp, Own, Slave, Step};

/// A slave with a log, connected to a peer that has said nothing yet; where its log ends.
fn asking() -> (Pair, u64) {
    let mut pair = Pair::new(0);
    for n in 0..10 {
        pair.send(n, "t", &[5; 200]);
    }
    pair.run(10);
    pair.cut_link(11);
    while let Some(effect) = pair.slave.poll(at(500)) {
        if let Effect::Master(SlaveEffect::Connect { .. }) = effect {
            pair.slave.handle(at(500), Input::Ha(HaInput::Connected));
        }
    }
    let end = pair.slave.store().written().end().get();
    (pair, end)
}

impl Pair {
    /// The slave is sent this by whoever is at the other end.
    fn told(&mut self, ms: u64, place: u64, bytes: &[u8]) {
        let (at_byte, bytes) = (Physical::new(place), Bytes::copy_from_slice(bytes));
        self.slave.handle(at(ms), Input::Ha(HaInput::Piece { at: at_byte, bytes }));
        self.slave.verify();
    }
}

#[test]
fn a_frame_behind_its_end_does_not_make_a_slave_give_up_its_log() {
    let file = u64::from(settings().commit_log_file);
    let word = |number: u32| number.to_be_bytes();
    let well_formed = [word(200), word(0xDAA3_20A7), [7; 4], [0; 4]].concat();
    let blank = [word(u32::try_from(file).unwrap()), word(0xCBD4_3194)].concat();
    let rubbish: [&[u8]; 4] = [b"HTTP/1.1 400 Bad Request", &[0; 300], &well_formed, &blank];
    for bytes in rubbish {
        let (mut pair, end) = asking();
        let begin = (end / file + 1) * file;
        pair.told(501, begin, b"");
        assert_eq!(pair.slave.given_up(), None, "a heartbeat shows nothing");
        let mut sent = 0;
        for piece in bytes.chunks(5).chain([[9; 400].as_slice()]) {
            pair.told(502, begin + sent, piece);
            sent += piece.len() as u64;
        }
        while pair.slave.poll(at(503)).is_some() {}
        let why = pair.slave.given_up();
        assert!(matches!(why, Some(GivenUp::Unproven { .. })), "{why:?} of {bytes:?}");
        assert_eq!((pair.slave.parting(), pair.slave.store().written().end().get()), (None, end));
        pair.run(5_000);
        pair.check_same();
    }
}

#[test]
fn what_may_be_a_record_is_held_and_given_up_with_its_connection() {
    let file = u64::from(settings().commit_log_file);
    let (mut pair, end) = asking();
    let begin = (end / file + 1) * file;
    let head = [300_u32.to_be_bytes(), 0xDAA3_20A7_u32.to_be_bytes(), [0; 4]].concat();
    pair.told(501, begin, &head);
    pair.told(502, begin + 12, b"");
    while pair.slave.poll(at(502)).is_some() {}
    assert_eq!((pair.slave.given_up(), pair.slave.parting()), (None, None), "more may come");
    pair.told(503, begin + 13, &[0; 20]);
    while pair.slave.poll(at(503)).is_some() {}
    let why = pair.slave.given_up();
    assert!(matches!(why, Some(GivenUp::OutOfPlace { .. })), "{why:?}");
    pair.run(5_000);
    assert_eq!(pair.slave.parting(), None);
    pair.check_same();
}

/// A slave that knows its master, and its log: all of it is on the medium.
fn slave_of(end: Physical) -> (Slave, Own) {
    let mut slave = Slave::new(SlavePolicy::default(), at(0).mono);
    slave.follow(at(0).mono, Some("10.0.0.1:10912".into()));
    let (start, written, flushed) = (Physical::ZERO, Written::upto(end), Flushed::upto(end));
    (slave, Own { start, written, flushed, safe: end, file_len: 4096 })
}

#[test]
fn a_log_that_begins_where_a_slaves_ends_is_not_taken_for_its_continuation() {
    let end = Physical::new(2 * 4096);
    let (mut slave, own) = slave_of(end);
    assert!(matches!(slave.poll(at(0).mono, own), Some(SlaveEffect::Connect { .. })));
    slave.connected(at(0).mono, own);
    assert_eq!(slave.frame(at(1).mono, end, 10, own), Step::Prove { at: end });
    slave.proved(at(1).mono, Some(Ok(())));
    assert_eq!(slave.parting(), Some(Parting::Begin(end)));
}

#[test]
fn a_log_that_differs_from_where_the_masters_begins_has_nothing_in_common_with_it() {
    let begins = Physical::new(4096);
    let (mut slave, own) = slave_of(Physical::new(6000));
    for ms in 0..20 {
        let now = at(ms * 1000).mono;
        while let Some(effect) = slave.poll(now, own) {
            match effect {
                SlaveEffect::Connect { .. } => slave.connected(now, own),
                SlaveEffect::Report(asked) => {
                    // What the master has of what is asked for, and none of it is the same.
                    let step = slave.frame(now, asked.max(begins), 10, own);
                    assert_eq!(step, Step::Compare { len: 10 });
                    let located = slave.compared(0, false, own);
                    assert!(matches!(located, Step::Locate { .. }));
                    assert!(!slave.located(now, None, own));
                }
                SlaveEffect::Disconnect => {}
            }
        }
        if let Some(GivenUp::Stranger { start, .. }) = slave.take_given_up() {
            return assert_eq!((start, slave.parting()), (Physical::ZERO, None));
        }
    }
    panic!("it asks for all of it over and over");
}

/// All that its master has may be within what it asks for next.
#[test]
fn a_slave_that_is_far_ahead_of_its_master_asks_again_before_it_gives_up() {
    let theirs = Physical::new(269);
    let (_, own) = slave_of(Physical::new(674));
    let policy = SlavePolicy { overlap: 300, ..SlavePolicy::default() };
    let mut slave = Slave::new(policy, at(0).mono);
    slave.follow(at(0).mono, Some("10.0.0.1:10912".into()));
    for ms in 0..20 {
        let now = at(ms * 1000).mono;
        while let Some(effect) = slave.poll(now, own) {
            match effect {
                SlaveEffect::Connect { .. } => slave.connected(now, own),
                SlaveEffect::Report(asked) if asked > theirs => {
                    assert_eq!(slave.frame(now, theirs, 0, own), Step::Skip);
                }
                SlaveEffect::Report(asked) => {
                    let len = theirs.since(asked);
                    assert_eq!(slave.frame(now, asked, len, own), Step::Compare { len });
                    assert_eq!(slave.compared(len, true, own), Step::Skip);
                    let ended = slave.frame(now, theirs, 0, own);
                    assert!(matches!(ended, Step::Locate { .. }));
                    slave.located(now, Some(theirs), own);
                    return assert_eq!(slave.parting(), Some(Parting::Cut(theirs)));
                }
                SlaveEffect::Disconnect => {}
            }
        }
        assert_eq!(slave.take_given_up(), None);
    }
    panic!("it never asks for what its master has");
}
