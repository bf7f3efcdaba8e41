//! Frames: where they begin and end in a stream of bytes (wire.md 1).
//!
//! ```text
//! ┌────────┬──────┬────────────┬────────┬──────┐
//! │ length │ kind │ header len │ header │ body │   length counts everything behind itself
//! └─4──────┴─1────┴─3──────────┴────────┴──────┘
//! ```
//!
//! Promises: header and body are slices of the read buffer, never copied; no byte is reserved
//! for a length that was not checked first. It does not look into headers.

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

/// What a frame may be at most.
#[derive(Clone, Copy, Debug)]
pub struct FrameLimits {
    /// A whole frame, its length field included. Default 16 MiB, the original's own limit.
    pub max_frame: usize,
    /// A header. Default 1 MiB: 32 KiB of properties may swell sixfold in JSON escapes, and
    /// nothing else in a header comes near.
    pub max_header: usize,
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self { max_frame: 16 << 20, max_header: 1 << 20 }
    }
}

/// Why a stream is not frames. The connection has to be closed: there is no way back in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The header is longer than its frame.
    #[error("a header of {header} bytes in a frame of {length}")]
    HeaderBeyondFrame {
        /// Claimed length of the header.
        header: usize,
        /// Claimed length of the frame.
        length: usize,
    },
    /// The header is longer than allowed.
    #[error("a header of {header} bytes, limit {limit}")]
    HeaderTooLong {
        /// Claimed length of the header.
        header: usize,
        /// The limit.
        limit: usize,
    },
    /// The frame is longer than allowed.
    #[error("a frame of {length} bytes, limit {limit}")]
    TooLong {
        /// Claimed length of the frame.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// The length is negative or does not even hold the mark.
    #[error("a frame length of {0}")]
    TooShort(i32),
    /// A TLS handshake, on a port that speaks plain text.
    #[error("TLS is not supported yet; connect without TLS")]
    Tls,
    /// Neither JSON nor ROCKETMQ.
    #[error("unknown serialization type {0}")]
    UnknownKind(u8),
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The header is JSON (`false`: the ROCKETMQ binary form).
    pub json: bool,
    /// The header's bytes.
    pub header: Bytes,
    /// The body's bytes; empty if there is none.
    pub body: Bytes,
}

impl Frame {
    /// Its size on the wire.
    pub fn wire_len(&self) -> usize {
        PREFIX + self.header.len() + self.body.len()
    }
}

/// Length field and mark.
pub(crate) const PREFIX: usize = 8;
/// Room offered to a first read. Thousands of connections say little, and each keeps its buffer.
const READ_FIRST: usize = 8 << 10;
/// Room offered to a read of a connection that fills what it is offered: many frames a read.
const READ_CHUNK: usize = 64 << 10;
/// Below this a read would be too small to be worth its system call.
const READ_LEAST: usize = 4 << 10;
/// First byte of a TLS record that carries a handshake; no valid length begins with it.
const TLS_HANDSHAKE: u8 = 0x16;

/// Cuts a stream into frames, however it is chunked.
#[derive(Debug)]
pub struct FrameDecoder {
    buffer: BytesMut,
    chunk: usize,
    limits: FrameLimits,
}

/// What the first bytes of the buffer say.
struct Prefix {
    total: usize,
    header: usize,
    json: bool,
}

impl FrameDecoder {
    /// A decoder at the start of a stream.
    pub fn new(limits: FrameLimits) -> Self {
        Self { buffer: BytesMut::new(), chunk: READ_FIRST, limits }
    }

    /// The buffer to read into, with room for what is to come: the rest of the frame that has
    /// begun, exactly, so that a large body is never moved; else a chunk.
    ///
    /// Call it when [`next_frame`](Self::next_frame) gave `Ok(None)`, so that a length is checked
    /// before anything is reserved for it.
    pub fn read_into(&mut self) -> &mut BytesMut {
        let missing = match self.prefix() {
            Ok(Some(prefix)) => prefix.total.saturating_sub(self.buffer.len()),
            Ok(None) | Err(_) => 0,
        };
        let spare = self.buffer.capacity() - self.buffer.len();
        if spare == 0 && !self.buffer.is_empty() {
            self.chunk = READ_CHUNK.min(self.chunk * 2);
        }
        if spare < missing.max(READ_LEAST) {
            // A frame that outgrows a chunk gets all it needs, exactly and at once.
            self.buffer.reserve(missing.max(self.chunk));
        }
        &mut self.buffer
    }

    /// The next whole frame; `None` until more bytes come.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(prefix) = self.prefix()? else {
            return Ok(None);
        };
        if self.buffer.len() < prefix.total {
            return Ok(None);
        }
        let mut body = self.buffer.split_to(prefix.total).freeze();
        body.advance(PREFIX);
        let header = body.split_to(prefix.header);
        Ok(Some(Frame { json: prefix.json, header, body }))
    }

    /// Passes over the next frame if it is whole and `known` says something of it, of whether its
    /// header is JSON and of the header: nothing is cut out of the buffer then, or kept. Else the
    /// frame is the next one still.
    pub fn pass_over<T>(
        &mut self,
        known: impl FnOnce(bool, &[u8]) -> Option<T>,
    ) -> Result<Option<T>, FrameError> {
        let Some(prefix) = self.prefix()?.filter(|prefix| self.buffer.len() >= prefix.total) else {
            return Ok(None);
        };
        let said = known(prefix.json, &self.buffer[PREFIX..PREFIX + prefix.header]);
        if said.is_some() {
            self.buffer.advance(prefix.total);
        }
        Ok(said)
    }

    /// Bytes of a frame that has begun and not ended.
    pub fn unfinished(&self) -> usize {
        self.buffer.len()
    }

    fn prefix(&self) -> Result<Option<Prefix>, FrameError> {
        if self.buffer.first() == Some(&TLS_HANDSHAKE) {
            return Err(FrameError::Tls);
        }
        let Some(length) = self.buffer.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = i32::from_be_bytes(*length);
        let behind = usize::try_from(length).map_err(|_| FrameError::TooShort(length))?;
        if behind < 4 {
            return Err(FrameError::TooShort(length));
        }
        let total = behind + 4;
        if total > self.limits.max_frame {
            return Err(FrameError::TooLong { length: total, limit: self.limits.max_frame });
        }
        let Some(&[_, _, _, _, kind, a, b, c]) = self.buffer.first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let header = u32::from_be_bytes([0, a, b, c]) as usize;
        if header > behind - 4 {
            return Err(FrameError::HeaderBeyondFrame { header, length: total });
        }
        if header > self.limits.max_header {
            return Err(FrameError::HeaderTooLong { header, limit: self.limits.max_header });
        }
        match kind {
            0 | 1 => Ok(Some(Prefix { total, header, json: kind == 0 })),
            _ => Err(FrameError::UnknownKind(kind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes_of(frame: &Frame) -> Vec<u8> {
        let mut bytes = Vec::new();
        let behind = u32::try_from(frame.wire_len() - 4).expect("small");
        bytes.extend(behind.to_be_bytes());
        let mark = u32::try_from(frame.header.len()).expect("small");
        bytes.extend((mark | u32::from(!frame.json) << 24).to_be_bytes());
        bytes.extend(&frame.header);
        bytes.extend(&frame.body);
        bytes
    }

    fn feed(bytes: &[u8], limits: FrameLimits) -> Result<Option<Frame>, FrameError> {
        let mut decoder = FrameDecoder::new(limits);
        decoder.read_into().extend_from_slice(bytes);
        decoder.next_frame()
    }

    #[test]
    fn lengths_are_refused_before_anything_is_reserved_for_them() {
        let limits = FrameLimits { max_frame: 1 << 20, max_header: 100 };
        for (bytes, error) in [
            (&[0xff, 0xff, 0xff, 0xff][..], FrameError::TooShort(-1)),
            (&[0, 0, 0, 0], FrameError::TooShort(0)),
            (&[0, 0, 0, 3], FrameError::TooShort(3)),
            (
                &[0x7f, 0xff, 0xff, 0xff],
                FrameError::TooLong { length: (1 << 31) + 3, limit: 1 << 20 },
            ),
            (&[0, 16, 0, 0], FrameError::TooLong { length: (1 << 20) + 4, limit: 1 << 20 }),
            (&[0, 0, 0, 9, 0, 0, 0, 6], FrameError::HeaderBeyondFrame { header: 6, length: 13 }),
            (&[0, 0, 9, 9, 0, 0, 0, 101], FrameError::HeaderTooLong { header: 101, limit: 100 }),
            (&[0, 0, 0, 9, 2, 0, 0, 1], FrameError::UnknownKind(2)),
            (&[0x16, 3, 1], FrameError::Tls),
        ] {
            let mut decoder = FrameDecoder::new(limits);
            decoder.read_into().extend_from_slice(bytes);
            assert_eq!(decoder.next_frame(), Err(error));
            assert!(decoder.read_into().capacity() <= 2 * READ_CHUNK);
        }
        assert_eq!(feed(&[0, 0, 0], limits), Ok(None));
    }

    #[test]
    fn a_large_body_stays_where_it_was_read() {
        let frame = Frame {
            json: true,
            header: Bytes::from_static(b"{}"),
            body: Bytes::from(vec![7; 5 << 20]),
        };
        let bytes = bytes_of(&frame);
        let mut decoder = FrameDecoder::new(FrameLimits::default());
        decoder.read_into().extend_from_slice(&bytes[..1000]);
        assert_eq!(decoder.next_frame(), Ok(None));
        let place = decoder.read_into().as_ptr();
        for chunk in bytes[1000..].chunks(100_000) {
            decoder.read_into().extend_from_slice(chunk);
        }
        assert_eq!(decoder.buffer.as_ptr(), place);
        assert_eq!(decoder.next_frame(), Ok(Some(frame)));
        assert_eq!(decoder.unfinished(), 0);
    }

    #[test]
    fn what_is_known_is_passed_over_and_all_else_is_next() {
        let frame = |header: &'static [u8]| Frame {
            json: header[0] == b'{',
            header: Bytes::from_static(header),
            body: Bytes::from_static(b"body"),
        };
        let (known, other) = (frame(b"{1}"), frame(b"2"));
        let mut decoder = FrameDecoder::new(FrameLimits::default());
        for frame in [&known, &other, &known] {
            decoder.read_into().extend_from_slice(&bytes_of(frame));
        }
        decoder.buffer.truncate(decoder.buffer.len() - 1);
        let pass = |decoder: &mut FrameDecoder| {
            decoder.pass_over(|json, header| json.then(|| header.to_vec())).expect("well formed")
        };
        assert_eq!(pass(&mut decoder).as_deref(), Some(&b"{1}"[..]));
        assert_eq!(pass(&mut decoder), None, "not known");
        assert_eq!(decoder.next_frame(), Ok(Some(other)));
        assert_eq!(pass(&mut decoder), None, "not whole");
        decoder.read_into().extend_from_slice(b"y");
        assert_eq!(pass(&mut decoder).as_deref(), Some(&b"{1}"[..]));
        assert_eq!(decoder.unfinished(), 0);
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_frames(
            frames in prop::collection::vec(
                (any::<bool>(), prop::collection::vec(any::<u8>(), 0..40),
                 prop::collection::vec(any::<u8>(), 0..300)), 1..8),
            cuts in prop::collection::vec(1..60_usize, 1..200),
        ) {
            let frames: Vec<_> = frames.into_iter().map(|(json, header, body)| Frame {
                json, header: header.into(), body: body.into(),
            }).collect();
            let mut bytes = &frames.iter().flat_map(bytes_of).collect::<Vec<_>>()[..];
            let mut decoder = FrameDecoder::new(FrameLimits::default());
            let mut cuts = cuts.iter().cycle();
            let mut seen = Vec::new();
            while !bytes.is_empty() {
                let (chunk, rest) = bytes.split_at(bytes.len().min(*cuts.next().expect("cycle")));
                decoder.read_into().extend_from_slice(chunk);
                bytes = rest;
                while let Some(frame) = decoder.next_frame().expect("well formed") {
                    seen.push(frame);
                }
            }
            prop_assert_eq!(seen, frames);
        }

        #[test]
        fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = FrameDecoder::new(FrameLimits::default());
            decoder.read_into().extend_from_slice(&noise);
            while let Ok(Some(_)) = decoder.next_frame() {}
            prop_assert!(decoder.read_into().capacity() <= 17 << 20);
        }
    }
}
