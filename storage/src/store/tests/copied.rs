//! A copy of a log, whatever the pieces are in which it comes.

use super::*;

/// Files of 1 MiB, so that a record may be longer than what is staged at once.
fn settings() -> Settings {
    Settings { commit_log_file: 1 << 20, max_message_size: 1 << 19, ..super::settings() }
}

fn open(disk: PlainDisk) -> Store<PlainDisk> {
    let mut store = Store::open(disk, settings(), |_| false).expect("a sound store").0;
    drop(events(&mut store));
    store
}

/// Records of many lengths, in two files.
fn written() -> Store<PlainDisk> {
    let mut store = open(PlainDisk::default());
    for len in [0, 10, 400_000, 1, 5_000, 300_000, 70, 450_000, 33] {
        let body = vec![7; len];
        while store.append(NOW, &draft("t", &body, &[])).is_err() {
            drop(events(&mut store));
        }
        store.end_turn();
        drop(events(&mut store));
    }
    store
}

fn receive(copy: &mut Store<PlainDisk>, mut bytes: &[u8]) {
    loop {
        let (taken, outcome) = copy.receive(bytes, &mut Anybody);
        bytes = &bytes[taken..];
        match outcome {
            Ok(()) => return assert!(bytes.is_empty(), "all of it is taken"),
            Err(ReceiveError::NotReady) => drop(events(copy)),
            Err(why) => panic!("{why}"),
        }
    }
}

fn log(store: &Store<PlainDisk>) -> Vec<u8> {
    let file = |at: u64| store.disk().file(&format!("commitlog/{at:020}")).map(<[u8]>::to_vec);
    (0..).map_while(|number| file(number << 20)).flatten().collect()
}

#[test]
fn a_log_is_copied_byte_for_byte_whatever_the_pieces_and_turns() {
    let mut writer = written();
    let (end, all) = (writer.written().end(), log(&writer));
    let all = &all[..usize::try_from(end.get()).expect("short")];
    assert!(end.get() > 1 << 20, "it rolls");
    for (piece, turn) in [(7, 1), (100, 3), (32_768, 2), (32_768, 1000), (1 << 21, 1)] {
        let mut copy = open(PlainDisk::default());
        for (number, piece) in all.chunks(piece).enumerate() {
            receive(&mut copy, piece);
            copy.log.verify();
            if number % turn == 0 {
                copy.end_turn();
                assert_eq!(copy.committed().end(), copy.written().end(), "what is whole");
            }
        }
        copy.end_turn();
        assert_eq!((copy.written().end(), copy.received()), (end, end));
        assert_eq!(bodies(&copy, "t"), bodies(&writer, "t"));
        copy.verify_all().expect("queues follow the log");
        copy.close().expect("a clean stop");
        assert!(log(&copy)[..all.len()] == *all, "pieces of {piece}, {turn} a turn");
    }
    writer.close().expect("a clean stop");
}

#[test]
fn what_came_of_a_record_is_in_no_file_and_is_forgotten_at_once() {
    let writer = written();
    let all = log(&writer);
    let mut copy = open(PlainDisk::default());
    let first = usize::try_from(copy_one(&mut copy, &all)).expect("short");
    // Little of the next one, then more than is staged: that goes to its file.
    for len in [5, 200_000, 399_000] {
        for piece in all[first..first + len].chunks(30_000) {
            receive(&mut copy, piece);
            copy.end_turn();
        }
        assert_eq!(copy.received().get(), (first + len) as u64);
        assert_eq!(copy.committed().end().get(), first as u64, "it is no record yet");
        copy.forget_unfinished();
        copy.log.verify();
        assert_eq!(copy.received().get(), first as u64);
        assert!(log(&copy)[first..].iter().all(|byte| *byte == 0), "behind the end lie zeros");
    }
    let lease = copy.lease(Span { at: Physical::ZERO, len: u32::try_from(first).expect("short") });
    assert_eq!(lease, all[..first]);
    receive(&mut copy, &all[first..usize::try_from(writer.written().end().get()).expect("short")]);
    copy.end_turn();
    assert_eq!(copy.written(), writer.written());
}

/// Copies the first two records; where they end.
fn copy_one(copy: &mut Store<PlainDisk>, all: &[u8]) -> u64 {
    let mut end = 0;
    for _ in 0..2 {
        let size = u32::from_be_bytes(*all[end..].first_chunk().expect("a record"));
        end += size as usize;
    }
    receive(copy, &all[..end]);
    copy.end_turn();
    end as u64
}

/// Nothing is known of any topic.
struct Nobody;

impl Owner for Nobody {
    fn settles(&mut self, _: &str) -> bool {
        false
    }

    fn arrived(&mut self, topic: &str, _: i32, _: Physical) {
        panic!("{topic} is in a queue");
    }
}

#[test]
fn a_record_that_waits_for_its_topic_is_not_in_its_file() {
    let mut writer = open(PlainDisk::default());
    let body = vec![7; 450_000];
    while writer.append(NOW, &draft("t", &body, &[])).is_err() {
        drop(events(&mut writer));
    }
    writer.end_turn();
    let size = usize::try_from(writer.written().end().get()).expect("short");
    let bytes = log(&writer)[..size].to_vec();
    let mut copy = open(PlainDisk::default());
    let mut last = Ok(());
    for piece in bytes.chunks(100_000) {
        let mut rest = piece;
        while !rest.is_empty() {
            let (taken, outcome) = copy.receive(rest, &mut Nobody);
            (rest, last) = (&rest[taken..], outcome);
            copy.end_turn();
            drop(events(&mut copy));
        }
    }
    assert_eq!(last, Err(ReceiveError::Unsettled { topic: "t".to_owned() }));
    let killed = open(copy.into_disk().reopened());
    assert_eq!(killed.written().end(), Physical::ZERO, "of which kind is its queue?");
}
