//! Who is speaking, and where an answer goes.

use std::net::SocketAddr;

/// A connection, as a machine knows it: unique within a process's life, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// The language a client is written in (wire.md 2): its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Language(pub u8);

impl Language {
    /// The C++ clients.
    pub const CPP: Self = Self(1);
    /// The Java clients, and the original's servers.
    pub const JAVA: Self = Self(0);
    /// Anything without a number of its own.
    pub const OTHER: Self = Self(7);
    /// Ourselves.
    pub const RUST: Self = Self(12);
}

/// Where a request came from, and all that is needed to answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The connection it came in on.
    pub conn: ConnId,
    /// The other end's address.
    pub peer: SocketAddr,
    /// The caller's number for the request; an answer repeats it.
    pub opaque: i32,
    /// A one-way request is never answered, not even on error.
    pub oneway: bool,
    /// The client's language.
    pub language: Language,
    /// The client's version number (wire.md 3).
    pub version: i32,
    /// The request's header was JSON (`false`: the ROCKETMQ binary form); answers follow it.
    pub json: bool,
}
