//! Logs that begin anew, or end earlier: what makes a copy do so, and what becomes of the rest.

use super::*;
use crate::opening::{NoOpening, opening};
use crate::record::{Damage, MAGIC_BLANK, MAGIC_V1};
use crate::{Parting, part};

const AT: Physical = Physical::new(3 * 1024);

/// A log that begins at `AT`, with one record.
fn log() -> Vec<u8> {
    let mut disk = PlainDisk::default();
    part(&mut disk, &settings(), Parting::Begin(AT)).expect("a log that begins there");
    let (mut store, _) = open(disk.reopened());
    append(&mut store, &draft("t", b"a body", &[]));
    store.disk().file(&format!("commitlog/{:020}", AT.get())).expect("its file").to_vec()
}

#[test]
fn nothing_is_known_before_the_record_is_whole() {
    let log = log();
    let len = u32::from_be_bytes(*log.first_chunk().expect("a header")) as usize;
    for known in 0..len {
        assert_eq!(opening(&log[..known], AT, 1024), None, "{known} bytes");
    }
    for known in len..log.len() {
        assert_eq!(opening(&log[..known], AT, 1024), Some(Ok(())), "{known} bytes");
    }
    assert_eq!(opening(&log, AT, len as u64 - 1), Some(Err(NoOpening::TooLong(len as u32))));
}

#[test]
fn what_is_no_record_or_belongs_elsewhere_is_told_apart() {
    let log = log();
    let with = |at: usize, byte: u8| {
        let mut bytes = log.clone();
        bytes[at] ^= byte;
        opening(&bytes, AT, 1024)
    };
    let damaged = |damage| Some(Err(NoOpening::Damaged(damage)));
    assert_eq!(with(5, 1), damaged(Damage::Magic));
    assert_eq!(with(3, 1), damaged(Damage::Lengths), "the size");
    assert_eq!(with(11, 1), damaged(Damage::BodyCrc));
    assert_eq!(opening(&log, AT.plus(1024), 1024), damaged(Damage::Position));
    assert_eq!(opening(&[7; 8], AT, 1024), damaged(Damage::Magic));
    let blank = [1024_u32.to_be_bytes(), MAGIC_BLANK.to_be_bytes()].concat();
    assert_eq!(opening(&blank, AT, 1024), Some(Err(NoOpening::Blank)));
    let zero = [0_u32.to_be_bytes(), MAGIC_V1.to_be_bytes()].concat();
    assert!(matches!(opening(&zero, AT, 1024), Some(Err(NoOpening::Damaged(_)))));
}
