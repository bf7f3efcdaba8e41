//! Whoever answers where a slave's master should: another service, another group's master, or
//! somebody who means harm. It can say anything but a record that belongs where it says.

use bytes::Bytes;
use hotfire_storage::position::Physical;
use hotfire_storage::record::{MAGIC_BLANK, MAGIC_V1, body_crc};

use crate::choose::{Choose as _, Stream};

/// Bytes of the body of its records.
const BODY: usize = 40;

/// What it answers one who asks for the log from `asked` on: frames, one behind the other or
/// anywhere.
pub(super) fn answers(luck: &mut Stream, asked: i64, file_len: u64) -> Vec<(Physical, Bytes)> {
    let asked = u64::try_from(asked).unwrap_or_default();
    let mut frames = Vec::new();
    for _ in 0..=luck.index(3, "impostor.frames") {
        let at = place(luck, asked, file_len);
        let bytes = bytes(luck, at, file_len);
        let cut = luck.chance(300, "impostor.cut").then(|| luck.index(bytes.len() + 1, "at"));
        let mut bytes = Bytes::from(bytes);
        let rest = cut.map(|cut| bytes.split_off(cut)).unwrap_or_default();
        let next = at.plus(bytes.len() as u64);
        frames.push((at, bytes));
        // The rest of a record in a frame of its own, or never.
        if !rest.is_empty() && luck.chance(500, "impostor.rest") {
            frames.push((next, rest));
        }
    }
    frames
}

/// A file beyond the end of any log here, most of the time; or where the slave asked, or anywhere.
/// A slave that has nothing takes what lies where it asked.
fn place(luck: &mut Stream, asked: u64, file_len: u64) -> Physical {
    if asked == 0 && luck.chance(500, "impostor.first") {
        return Physical::ZERO;
    }
    let boundary = (asked / file_len + 1) * file_len;
    let far = luck.below(40, "impostor.far") * file_len;
    Physical::new(match luck.below(6, "impostor.place") {
        0..=2 => boundary + far,
        3 => asked,
        4 => asked / file_len * file_len,
        _ => asked + luck.below(file_len, "impostor.within"),
    })
}

fn bytes(luck: &mut Stream, at: Physical, file_len: u64) -> Vec<u8> {
    match luck.below(6, "impostor.bytes") {
        // A heartbeat.
        0 => Vec::new(),
        1 => b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n".to_vec(),
        2 => vec![0; 300],
        3 => {
            let len = u32::try_from(file_len).expect("a file is short");
            [len.to_be_bytes(), MAGIC_BLANK.to_be_bytes()].concat()
        }
        4 => record(at, body_crc(&[7; BODY]) ^ 1),
        _ => record(at.plus(file_len), body_crc(&[7; BODY])),
    }
}

/// A record, well formed.
fn record(at: Physical, crc: u32) -> Vec<u8> {
    let mut record = vec![0; 91 + BODY + 1];
    let mut put = |from: usize, bytes: &[u8]| {
        record[from..from + bytes.len()].copy_from_slice(bytes);
    };
    put(0, &(91 + 40 + 1_u32).to_be_bytes());
    put(4, &MAGIC_V1.to_be_bytes());
    put(8, &crc.to_be_bytes());
    put(28, &at.get().to_be_bytes());
    put(84, &40_u32.to_be_bytes());
    put(88, &[7; BODY]);
    put(88 + BODY, &[1, b't']);
    record
}

#[cfg(test)]
mod tests {
    use hotfire_storage::opening;

    use super::*;

    #[test]
    fn its_records_are_wrong_in_one_thing_only() {
        let at = Physical::new(4096);
        let right = record(at, body_crc(&[7; BODY]));
        assert_eq!(opening(&right, at, 4096), Some(Ok(())));
        for wrong in [record(at, 5), record(at.plus(4096), body_crc(&[7; BODY]))] {
            assert!(matches!(opening(&wrong, at, 4096), Some(Err(_))));
        }
    }
}
