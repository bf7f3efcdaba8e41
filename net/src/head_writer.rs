//! Frames on their way out: a head written field by field, and a body that nobody copies.
//!
//! The head goes straight into one growing buffer and is split off when done, so a burst of
//! answers shares one allocation, and a number never becomes a string of its own.

use std::fmt::{self, Write};

use bytes::{BufMut, Bytes, BytesMut};
use hotfire_core::domain::Language;

use crate::frame::PREFIX;
use crate::header::{language_name, narrow};
use crate::json_text::first_special;

/// The part of a header that is known before its fields.
#[derive(Clone, Copy, Debug)]
pub struct Prelude<'a> {
    /// Request or response code.
    pub code: i32,
    /// The sender's language.
    pub language: Language,
    /// The sender's version.
    pub version: i32,
    /// The request's number.
    pub opaque: i32,
    /// Response and one-way bits.
    pub flag: i32,
    /// Text for people.
    pub remark: Option<&'a str>,
    /// Write the JSON form (`false`: binary).
    pub json: bool,
}

/// A body: nothing, one piece, or several that are written one behind the other.
#[derive(Clone, Debug, Default)]
pub enum Body {
    /// No body.
    #[default]
    None,
    /// One run of bytes.
    One(Bytes),
    /// Several runs, for instance leases of a store.
    Many(Vec<Bytes>),
}

impl Body {
    /// Its pieces in order, none of them empty.
    pub fn into_pieces(self) -> impl Iterator<Item = Bytes> {
        let (one, many) = match self {
            Self::None => (None, Vec::new()),
            Self::One(bytes) => (Some(bytes), Vec::new()),
            Self::Many(pieces) => (None, pieces),
        };
        one.into_iter().chain(many).filter(|piece| !piece.is_empty())
    }

    fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(bytes) => bytes.len(),
            Self::Many(pieces) => pieces.iter().map(Bytes::len).sum(),
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::One(bytes)
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::One(bytes.into())
    }
}

/// A whole frame, ready to be written.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Length, mark and header.
    pub head: Bytes,
    /// What follows it.
    pub body: Body,
}

impl Outgoing {
    /// Bytes on the wire.
    pub fn wire_len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// All of it in one piece: for tests and tools, since it copies.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = self.head.to_vec();
        self.body.clone().into_pieces().for_each(|piece| bytes.extend_from_slice(&piece));
        bytes
    }
}

/// Writes one frame's head.
#[derive(Debug)]
pub struct HeadWriter<'a> {
    into: &'a mut BytesMut,
    prelude: Prelude<'a>,
    start: usize,
    fields_at: usize,
    fields: usize,
}

impl<'a> HeadWriter<'a> {
    /// Begins a frame behind whatever `into` holds.
    pub fn begin(into: &'a mut BytesMut, prelude: Prelude<'a>) -> Self {
        make_room(into);
        let start = into.len();
        into.put_bytes(0, PREFIX);
        if prelude.json {
            into.put_slice(b"{\"code\":");
            digits(into, prelude.code);
        } else {
            into.put_i16(narrow(prelude.code));
            into.put_u8(prelude.language.0);
            into.put_i16(narrow(prelude.version));
            into.put_i32(prelude.opaque);
            into.put_i32(prelude.flag);
            let remark = prelude.remark.unwrap_or_default();
            into.put_u32(length(remark.len()));
            into.put_slice(remark.as_bytes());
            into.put_u32(0);
        }
        let fields_at = into.len();
        Self { into, prelude, start, fields_at, fields: 0 }
    }

    /// Adds a field of text.
    pub fn field(&mut self, key: &str, value: &str) -> &mut Self {
        self.put(
            key,
            |into, json| {
                if json { escape(into, value) } else { into.put_slice(value.as_bytes()) }
            },
        )
    }

    /// Adds a field of a number.
    pub fn number(&mut self, key: &str, value: impl itoa::Integer) -> &mut Self {
        self.put(key, |into, _| digits(into, value))
    }

    /// Adds a field of text, if there is any.
    pub fn field_if(&mut self, key: &str, value: Option<impl fmt::Display>) -> &mut Self {
        match value {
            Some(value) => self.show(key, value),
            None => self,
        }
    }

    /// Adds a field of whatever `value` shows itself as.
    pub fn show(&mut self, key: &str, value: impl fmt::Display) -> &mut Self {
        self.put(key, |into, json| {
            if json {
                write!(Escaping(into), "{value}").expect(BUFFERS_GROW);
            } else {
                shown(into, format_args!("{value}"));
            }
        })
    }

    /// Adds a field whose value `write` writes, told whether it is the inside of a JSON string.
    fn put(&mut self, key: &str, write: impl FnOnce(&mut BytesMut, bool)) -> &mut Self {
        if self.prelude.json {
            let opening = if self.fields == 0 { ",\"extFields\":{\"" } else { ",\"" };
            self.into.put_slice(opening.as_bytes());
            escape(self.into, key);
            self.into.put_slice(b"\":\"");
            write(self.into, true);
            self.into.put_u8(b'"');
        } else {
            self.into.put_u16(u16::try_from(key.len()).expect("field names are ours, and short"));
            self.into.put_slice(key.as_bytes());
            let at = self.into.len();
            self.into.put_u32(0);
            write(self.into, false);
            patch(self.into, at, at + 4);
        }
        self.fields += 1;
        self
    }

    /// Ends the head, and joins it with its body.
    pub fn finish(self, body: impl Into<Body>) -> Outgoing {
        let body = body.into();
        let Self { into, prelude, start, fields_at, fields } = self;
        if prelude.json {
            if fields > 0 {
                into.put_u8(b'}');
            }
            let Prelude { flag, opaque, version, .. } = prelude;
            let language = language_name(prelude.language);
            into.put_slice(b",\"flag\":");
            digits(into, flag);
            into.put_slice(b",\"language\":\"");
            into.put_slice(language.as_bytes());
            into.put_slice(b"\",\"opaque\":");
            digits(into, opaque);
            if let Some(remark) = prelude.remark {
                into.put_slice(b",\"remark\":\"");
                escape(into, remark);
                into.put_u8(b'"');
            }
            into.put_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
            digits(into, version);
            into.put_u8(b'}');
        } else {
            patch(into, fields_at - 4, fields_at);
        }
        let header = into.len() - start - PREFIX;
        assert!(header < 1 << 24, "a header length has 24 bits");
        let behind = length(4 + header + body.len());
        into[start..start + 4].copy_from_slice(&behind.to_be_bytes());
        let mark = length(header) | u32::from(!prelude.json) << 24;
        into[start + 4..start + PREFIX].copy_from_slice(&mark.to_be_bytes());
        let head = into.split().freeze();
        Outgoing { head, body }
    }
}

/// A frame without a body whose head is written already.
pub(crate) fn whole(into: &mut BytesMut, head: &[u8]) -> Outgoing {
    make_room(into);
    into.put_slice(head);
    Outgoing { head: into.split().freeze(), body: Body::None }
}

/// Many heads an allocation, of which what is on its way keeps all.
fn make_room(into: &mut BytesMut) {
    if into.capacity() - into.len() < HEAD_EXPECTED {
        into.reserve(HEADS_AT_ONCE);
    }
}

/// Enough for any answer to a send or a pull.
const HEAD_EXPECTED: usize = 512;
const HEADS_AT_ONCE: usize = 16 << 10;
const BUFFERS_GROW: &str = "a buffer grows, and what we show does not fail";

/// The length of what was written behind `from`, into the four bytes at `at`.
fn patch(into: &mut BytesMut, at: usize, from: usize) {
    let written = length(into.len() - from);
    into[at..at + 4].copy_from_slice(&written.to_be_bytes());
}

fn length(len: usize) -> u32 {
    let len = u32::try_from(len).ok().filter(|len| *len <= i32::MAX.cast_unsigned());
    len.expect("what we send is bounded long before 2 GiB")
}

fn digits(into: &mut BytesMut, number: impl itoa::Integer) {
    into.put_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn shown(into: &mut BytesMut, what: fmt::Arguments<'_>) {
    into.write_fmt(what).expect(BUFFERS_GROW);
}

/// Writes text as the inside of a JSON string.
struct Escaping<'a>(&'a mut BytesMut);

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(self.0, text);
        Ok(())
    }
}

fn escape(into: &mut BytesMut, text: &str) {
    let (bytes, mut start) = (text.as_bytes(), 0);
    loop {
        let at = first_special(bytes, start);
        into.put_slice(&bytes[start..at]);
        let Some(byte) = bytes.get(at) else { return };
        match byte {
            b'"' | b'\\' => into.put_slice(&[b'\\', *byte]),
            b'\n' => into.put_slice(b"\\n"),
            b'\r' => into.put_slice(b"\\r"),
            b'\t' => into.put_slice(b"\\t"),
            _ => shown(into, format_args!("\\u{byte:04x}")),
        }
        start = at + 1;
    }
}
