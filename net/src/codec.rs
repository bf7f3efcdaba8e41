//! Wire ↔ domain, in both directions for both ends: servers read requests and write answers;
//! clients (the broker towards name servers, bench, the simulator) do the opposite.
//!
//! Spellings of the wire live here and nowhere else.

mod body;
pub mod broker;
mod fields;
pub mod namesrv;

use std::net::SocketAddr;

use bytes::BytesMut;
use hotfire_core::domain::{Caller, Code, ConnId, Language};
use thiserror::Error;

use crate::head_writer::{HeadWriter, Prelude};
use crate::header::{Header, ONEWAY, RESPONSE, VERSION};

/// Why a frame of a known code does not say what that code needs.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A required field that is absent or does not parse (wire.md 5).
    #[error("the custom field <{0}> is null")]
    Missing(&'static str),
    /// A body that is not what it should be.
    #[error("a body that is not {what}: {why}")]
    Body {
        /// What it should be.
        what: &'static str,
        /// What the parser says.
        why: String,
    },
    /// A body that does not match its checksum (requests.md B.1).
    #[error("crc32 not match")]
    Checksum,
    /// A compressed body that grows beyond the limit.
    #[error("a body of more than {0} bytes when decompressed")]
    TooLarge(usize),
}

/// Who sent the request with this header.
pub fn caller(conn: ConnId, peer: SocketAddr, header: &Header) -> Caller {
    Caller {
        conn,
        peer,
        opaque: header.opaque,
        oneway: header.is_oneway(),
        language: header.language,
        version: header.version,
        json: header.json,
    }
}

/// How a client writes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The request's number, by which the answer is known.
    pub opaque: i32,
    /// JSON header (`false`: binary).
    pub json: bool,
    /// Nobody waits for an answer.
    pub oneway: bool,
}

impl Ask {
    /// A request in the JSON form that wants an answer.
    pub const fn json(opaque: i32) -> Self {
        Self { opaque, json: true, oneway: false }
    }

    /// A request in the binary form that wants an answer.
    pub const fn binary(opaque: i32) -> Self {
        Self { opaque, json: false, oneway: false }
    }

    pub(crate) fn begin(self, code: i32, into: &mut BytesMut) -> HeadWriter<'_> {
        let prelude = Prelude {
            code,
            language: Language::RUST,
            version: VERSION,
            opaque: self.opaque,
            flag: if self.oneway { ONEWAY } else { 0 },
            remark: None,
            json: self.json,
        };
        HeadWriter::begin(into, prelude)
    }
}

/// Begins an answer, in the form that the request had: every client reads both, and one that
/// wrote a form certainly reads it (wire.md 1).
pub(crate) fn answer<'a>(
    caller: &Caller,
    code: Code,
    remark: Option<&'a str>,
    into: &'a mut BytesMut,
) -> HeadWriter<'a> {
    let prelude = Prelude {
        code: code.number(),
        language: Language::RUST,
        version: VERSION,
        opaque: caller.opaque,
        flag: RESPONSE,
        remark,
        json: caller.json,
    };
    HeadWriter::begin(into, prelude)
}

/// The code and remark of an answer that refuses. A code that we do not know becomes
/// [`Code::SystemError`]; the remark keeps its number.
pub(crate) fn refusal(header: &Header) -> (Code, String) {
    let remark = header.remark.as_deref().unwrap_or_default();
    match Code::from_number(header.code) {
        Some(code) => (code, remark.to_owned()),
        None => (Code::SystemError, format!("[response code {}] {remark}", header.code)),
    }
}
