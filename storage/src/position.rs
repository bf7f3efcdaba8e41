//! Positions: which ruler a number is measured on is part of its type.
//!
//! A byte of the CommitLog has a [`Physical`] position; a message of a queue has a
//! [`QueueOffset`]. What a physical position *promises* is a type of its own: bytes below
//! [`Written`] are in memory, below [`Committed`] in a file, below [`Flushed`] on the medium, below
//! [`Confirmed`] safe under the broker's policy. Mixing them up is a compile error, not a lost
//! message.

use std::fmt;

/// A byte position in the whole CommitLog, from the log's very first byte ever written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Physical(u64);

impl Physical {
    /// The first byte of a log.
    pub const ZERO: Self = Self(0);

    /// The position of byte number `bytes`.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The position as a number of bytes, for formats.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position `bytes` further on.
    #[must_use]
    pub const fn plus(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }

    /// Bytes from `earlier` to here.
    ///
    /// Panics if `earlier` lies beyond: the caller mixed up two positions.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        assert!(self.0 >= earlier.0, "a distance between positions is never negative");
        self.0 - earlier.0
    }
}

impl fmt::Display for Physical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A message's number within its queue. Dense: each queue counts 0, 1, 2, … without gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueOffset(u64);

impl QueueOffset {
    /// The first message of a queue.
    pub const ZERO: Self = Self(0);

    /// Message number `number`.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number, for formats.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The offset `messages` further on.
    #[must_use]
    pub const fn plus(self, messages: u64) -> Self {
        Self(self.0 + messages)
    }
}

impl fmt::Display for QueueOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! promise {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Physical);

        impl $name {
            /// The promise, made for every byte below `end`.
            pub const fn upto(end: Physical) -> Self {
                Self(end)
            }

            /// The first byte for which the promise is not made.
            pub const fn end(self) -> Physical {
                self.0
            }

            /// Is the promise made for every byte below `end`?
            pub fn covers(self, end: Physical) -> bool {
                end <= self.0
            }
        }
    };
}

promise! {
    /// Every byte below is in the log's memory.
    Written
}
promise! {
    /// Every byte below is in its file, though perhaps not on the medium. Survives the process, not
    /// the power. Without a transient store pool the same as [`Written`].
    Committed
}
promise! {
    /// Every byte below was on the medium when an fsync returned. Never beyond [`Written`].
    Flushed
}
promise! {
    /// Every byte below is, or was, in the logs of as many replicas as the policy asks for. Never
    /// beyond [`Written`].
    Replicated
}
promise! {
    /// Every byte below is as safe as the broker's policy asks: consumers may see it.
    Confirmed
}

/// A run of CommitLog bytes, within one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Its first byte.
    pub at: Physical,
    /// Its length in bytes.
    pub len: u32,
}

impl Span {
    /// The position just behind the last byte.
    pub const fn end(self) -> Physical {
        self.at.plus(self.len as u64)
    }
}
