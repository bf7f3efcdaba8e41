//! The two streams, without IO.

use bytes::{Buf, Bytes, BytesMut};
use hotfire_storage::position::Physical;

/// Bytes of a report.
pub const REPORT: usize = 8;
/// Bytes of a frame's head.
pub const HEAD: usize = 12;

/// The head of a frame.
pub fn head(at: Physical, len: u32) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(&at.get().to_be_bytes());
    head[8..].copy_from_slice(&len.to_be_bytes());
    head
}

/// A report.
pub fn report(position: Physical) -> [u8; REPORT] {
    position.get().to_be_bytes()
}

/// Takes whole reports out of what was read; of several the last one counts, as in the original.
pub fn last_report(read: &mut BytesMut) -> Option<i64> {
    let whole = read.len() / REPORT * REPORT;
    let reports = read.split_to(whole);
    Some(i64::from_be_bytes(*reports.last_chunk()?))
}

/// A run of the log's bytes; empty for a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where the first of them lies.
    pub at: Physical,
    /// The bytes.
    pub bytes: Bytes,
}

/// Why a stream is none of a master's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// A length below zero.
    #[error("a frame of {0} bytes")]
    Length(i32),
    /// A position below zero, or one that the length passes the end of all positions with.
    #[error("a frame at {0}")]
    Position(i64),
}

/// Reads frames out of a stream of bytes.
#[derive(Debug, Default)]
pub struct Frames {
    /// Of the frame at hand: where the next byte lies, and how many are to come.
    at: Physical,
    left: u32,
}

impl Frames {
    /// The next piece of what was read, if there is one.
    pub fn next(&mut self, read: &mut BytesMut) -> Result<Option<Piece>, BadFrame> {
        if self.left == 0 {
            if read.len() < HEAD {
                return Ok(None);
            }
            let (at, len) = (read.get_i64(), read.get_i32());
            self.left = u32::try_from(len).map_err(|_| BadFrame::Length(len))?;
            let end = at.checked_add(i64::from(len)).filter(|_| at >= 0);
            end.ok_or(BadFrame::Position(at))?;
            self.at = Physical::new(at.cast_unsigned());
            if self.left == 0 {
                return Ok(Some(Piece { at: self.at, bytes: Bytes::new() }));
            }
        }
        let len = read.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if len == 0 {
            return Ok(None);
        }
        let piece = Piece { at: self.at, bytes: read.split_to(len).freeze() };
        let taken = u32::try_from(len).expect("no more than is left");
        (self.at, self.left) = (self.at.plus(u64::from(taken)), self.left - taken);
        Ok(Some(piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(frames: &mut Frames, read: &mut BytesMut) -> Vec<(u64, Vec<u8>)> {
        let mut pieces = Vec::new();
        while let Some(piece) = frames.next(read).expect("sound") {
            pieces.push((piece.at.get(), piece.bytes.to_vec()));
        }
        pieces
    }

    #[test]
    fn frames_are_read_however_they_are_cut() {
        let mut stream = Vec::new();
        for (at, bytes) in [(0, &b""[..]), (7, b"abcdef"), (13, b""), (13, b"g")] {
            let len = u32::try_from(bytes.len()).expect("short");
            stream.extend(head(Physical::new(at), len));
            stream.extend(bytes);
        }
        for step in 1..=stream.len() {
            let (mut frames, mut read) = (Frames::default(), BytesMut::new());
            let mut log = [0; 14];
            let mut beats = Vec::new();
            for chunk in stream.chunks(step) {
                read.extend_from_slice(chunk);
                for (at, bytes) in all(&mut frames, &mut read) {
                    let at = usize::try_from(at).expect("small");
                    log[at..at + bytes.len()].copy_from_slice(&bytes);
                    beats.extend(bytes.is_empty().then_some(at));
                }
            }
            assert_eq!((&log[7..], &*beats), (&b"abcdefg"[..], &[0, 13][..]), "step {step}");
        }
    }

    #[test]
    fn a_stream_of_something_else_is_refused() {
        let frame = |at: i64, len: i32| {
            let mut read = BytesMut::new();
            read.extend_from_slice(&at.to_be_bytes());
            read.extend_from_slice(&len.to_be_bytes());
            Frames::default().next(&mut read)
        };
        assert_eq!(frame(0, -1), Err(BadFrame::Length(-1)));
        assert_eq!(frame(-5, 1), Err(BadFrame::Position(-5)));
        assert_eq!(frame(i64::MAX, 1), Err(BadFrame::Position(i64::MAX)));
        assert_eq!(frame(i64::MAX, 0).map(|piece| piece.is_some()), Ok(true));
    }

    #[test]
    fn of_several_reports_the_last_whole_one_counts() {
        let mut read = BytesMut::new();
        assert_eq!(last_report(&mut read), None);
        for position in [1, 2, 3] {
            read.extend_from_slice(&report(Physical::new(position)));
        }
        read.extend_from_slice(&[0xFF; 3]);
        assert_eq!((last_report(&mut read), read.len()), (Some(3), 3));
        assert_eq!(last_report(&mut read), None);
        read.extend_from_slice(&[0xFF; 5]);
        assert_eq!((last_report(&mut read), read.len()), (Some(-1), 0));
    }
}
