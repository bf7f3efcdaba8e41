//! The message record: the unit of the CommitLog (store.md 4.1). All integers big-endian.
//!
//! ```text
//!  0        4        8         12        16      20            28              36       40
//!  | size   | magic  | bodyCRC | queueId | flag  | queueOffset | physicalOffset | sysFlag|
//!  40            48          +4/+16 +4
//!  | bornTime    | bornHost  | port | storeTime 8 | storeHost | port | reconsume 4 | prepared 8 |
//!  | bodyLen 4 | body | topicLen 1 (v1) or 2 (v2) | topic | propertiesLen 2 | properties |
//! ```
//!
//! [`Draft`] writes one, [`check`] judges bytes that claim to be one, [`Record`] reads one that
//! was found good. The body is covered by a CRC. The rest is covered by the size equation, by the
//! record's own position and, if the record ends in it, by a CRC over the whole ([`PropCrc`]):
//! without that a torn header or torn properties pass for good.

mod draft;
mod known;
mod message_id;
mod prop_crc;
pub mod properties;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::{BitOr, Range};

pub use draft::{Draft, DraftError, Layout};
pub(crate) use known::Known;
pub use message_id::{hex, offset_message_id, parse_offset_message_id};
pub use prop_crc::PropCrc;

use crate::position::{Physical, QueueOffset};
use crate::time::Wall;

/// Magic of a record whose topic length is one byte.
pub const MAGIC_V1: u32 = 0xDAA3_20A7;
/// Magic of a record whose topic length is two bytes.
pub const MAGIC_V2: u32 = 0xDAA3_20AB;
/// Magic of the blank record that closes a file.
pub const MAGIC_BLANK: u32 = 0xCBD4_3194;
/// Bytes of a blank record's header; the least that every file keeps free at its end.
pub const BLANK_HEADER: u32 = 8;
/// Topics up to this many bytes are written in version 1.
pub const TOPIC_V1_MAX: usize = 127;
/// The longest topic, in bytes.
pub const TOPIC_MAX: usize = 255;
/// The longest properties string, in bytes: its length is a signed short.
pub const PROPERTIES_MAX: usize = i16::MAX as usize;

/// Bytes of a v1 record with two IPv4 hosts and nothing in it.
pub(crate) const FIXED_LEN: usize = 91;
/// What an IPv6 host adds to an IPv4 one.
pub(crate) const V6_EXTRA: usize = 12;
const BORN_HOST: usize = 48;
/// CRCs are written without their highest bit.
const CRC_MASK: u32 = 0x7FFF_FFFF;

/// The system flag of a message (store.md 4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SysFlag(i32);

impl SysFlag {
    /// No bit set.
    pub const NONE: Self = Self(0);
    /// The body is compressed.
    pub const COMPRESSED: Self = Self(0x1);
    /// The message has several tags.
    pub const MULTI_TAGS: Self = Self(0x2);
    /// A half message, as sent.
    pub const PREPARED: Self = Self(0x4);
    /// A committed message.
    pub const COMMIT: Self = Self(0x8);
    /// A rolled-back message.
    pub const ROLLBACK: Self = Self(0xC);
    /// The born host is IPv6.
    pub const BORN_V6: Self = Self(0x10);
    /// The store host is IPv6.
    pub const STORE_V6: Self = Self(0x20);
    /// The consumer must unpack the body.
    pub const NEED_UNWRAP: Self = Self(0x40);
    /// One record holds several messages.
    pub const INNER_BATCH: Self = Self(0x80);
    const TRANSACTION: i32 = 0xC;

    /// The flag with these bits.
    pub const fn from_bits(bits: i32) -> Self {
        Self(bits)
    }

    /// The bits, for formats.
    pub const fn bits(self) -> i32 {
        self.0
    }

    /// Are all bits of `other` set?
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The two transaction bits: [`NONE`](Self::NONE), [`PREPARED`](Self::PREPARED),
    /// [`COMMIT`](Self::COMMIT) or [`ROLLBACK`](Self::ROLLBACK).
    #[must_use]
    pub const fn transaction(self) -> Self {
        Self(self.0 & Self::TRANSACTION)
    }

    /// The flag without the bits of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Does a record with this flag have a place in its queue? Prepared and rolled-back ones of
    /// old versions have not: their queue offset is 0 and no unit points at them.
    pub const fn is_queued(self) -> bool {
        let state = self.0 & Self::TRANSACTION;
        state == Self::NONE.0 || state == Self::COMMIT.0
    }
}

impl BitOr for SysFlag {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Which CRCs are to be computed and compared?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crc {
    /// None: the record was verified before.
    Skip,
    /// The body's. A CRC over the whole is just another property: a client can have sent it to
    /// a broker that took it for one.
    Verify,
    /// The body's, and that over the whole, which must be there.
    Whole,
    /// That over the whole, which must be there; it covers the body as well.
    Outer,
}

/// What bytes at a position of the log turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Not a record: the log ends here, or is damaged here.
    Bad(Damage),
    /// The rest of the file is unused: go on in the next one.
    Blank {
        /// Bytes to the file's end, this header included.
        len: u32,
    },
    /// A record.
    Good(Record<'a>),
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The body does not have the CRC that the header promises.
    #[error("the body's CRC does not match")]
    BodyCrc,
    /// A blank record that does not reach to the file's end.
    #[error("a blank record that does not fill its file")]
    BlankLength,
    /// The lengths inside do not add up to the size, or lead outside.
    #[error("the lengths inside do not add up to the record's size")]
    Lengths,
    /// Neither a record's magic nor a blank's.
    #[error("no magic")]
    Magic,
    /// The record says that it belongs elsewhere: stale bytes of another life.
    #[error("the record belongs to another position")]
    Position,
    /// The record does not end in the CRC over all of its bytes, or in a wrong one.
    #[error("the record does not end in the right CRC over all of it")]
    RecordCrc,
    /// Fewer bytes than a header needs.
    #[error("too few bytes for a header")]
    Short,
    /// The size is zero, negative or larger than the rest of the file.
    #[error("an impossible size")]
    Size,
    /// The topic is empty or not UTF-8.
    #[error("an impossible topic")]
    Topic,
}

/// Judges `bytes`, the rest of a file from position `at` on (store.md 6.3). Beyond Apache's
/// checks the record's own position is compared with `at`, so that stale bytes are never taken
/// for news; a blank record has no such field, and its length is compared instead.
pub fn check(bytes: &[u8], at: Physical, crc: Crc) -> Verdict<'_> {
    match judge(bytes, at, crc) {
        Ok(verdict) => verdict,
        Err(damage) => Verdict::Bad(damage),
    }
}

fn judge(bytes: &[u8], at: Physical, crc: Crc) -> Result<Verdict<'_>, Damage> {
    if bytes.len() < BLANK_HEADER as usize {
        return Err(Damage::Short);
    }
    let size = u32_at(bytes, 0);
    let len = size as usize;
    if i32::try_from(size).is_err() || size == 0 || len > bytes.len() {
        return Err(Damage::Size);
    }
    match u32_at(bytes, 4) {
        MAGIC_BLANK if len == bytes.len() => return Ok(Verdict::Blank { len: size }),
        MAGIC_BLANK => return Err(Damage::BlankLength),
        MAGIC_V1 | MAGIC_V2 => {}
        _ => return Err(Damage::Magic),
    }
    let record = Record::parse(&bytes[..len])?;
    if record.physical() != at {
        return Err(Damage::Position);
    }
    if crc == Crc::Outer {
        if !prop_crc::is_right_outside(record.bytes) {
            return Err(Damage::RecordCrc);
        }
    } else if crc != Crc::Skip {
        let body = record.measure_body();
        if body.crc & CRC_MASK != record.body_crc() {
            return Err(Damage::BodyCrc);
        }
        if crc == Crc::Whole && !prop_crc::is_right(record.bytes, body) {
            return Err(Damage::RecordCrc);
        }
    }
    Ok(Verdict::Good(record))
}

/// The CRC-32 (IEEE) of a body as records hold it: without its highest bit.
pub fn body_crc(body: &[u8]) -> u32 {
    crc32fast::hash(body) & CRC_MASK
}

/// A record whose lengths were checked: every accessor is a plain read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    bytes: &'a [u8],
    /// Where the store time lies; the store host follows it.
    store_time: usize,
    /// Where the reconsume count lies; the prepared offset and the body length follow it.
    reconsume: usize,
    body_end: usize,
    topic: (usize, usize),
}

impl<'a> Record<'a> {
    /// Takes exactly one record's bytes. Checks lengths and topic, neither position nor CRC.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Damage> {
        // The shortest record is longer than this, so every read below this line is inside.
        if bytes.len() < FIXED_LEN {
            return Err(Damage::Lengths);
        }
        if u32_at(bytes, 0) as usize != bytes.len() {
            return Err(Damage::Size);
        }
        let flag = SysFlag(i32_at(bytes, 36));
        let host = |v6| 8 + if v6 { V6_EXTRA } else { 0 };
        let store_time = BORN_HOST + host(flag.has(SysFlag::BORN_V6));
        let reconsume = store_time + 8 + host(flag.has(SysFlag::STORE_V6));
        let body_len = read::<4>(bytes, reconsume + 12).map(u32::from_be_bytes);
        let body_end = reconsume + 16 + body_len.ok_or(Damage::Lengths)? as usize;
        let (topic_len, topic_at) = match u32_at(bytes, 4) {
            MAGIC_V1 => (read::<1>(bytes, body_end).map(|b| usize::from(b[0])), body_end + 1),
            MAGIC_V2 => {
                let len = read::<2>(bytes, body_end).map(u16::from_be_bytes);
                (len.map(usize::from), body_end + 2)
            }
            _ => return Err(Damage::Magic),
        };
        let topic_end = topic_at + topic_len.ok_or(Damage::Lengths)?;
        let properties = read::<2>(bytes, topic_end).map(u16::from_be_bytes);
        let properties = usize::from(properties.ok_or(Damage::Lengths)?);
        if properties > PROPERTIES_MAX || topic_end + 2 + properties != bytes.len() {
            return Err(Damage::Lengths);
        }
        let topic = &bytes[topic_at..topic_end];
        if topic.is_empty() || std::str::from_utf8(topic).is_err() {
            return Err(Damage::Topic);
        }
        Ok(Self { bytes, store_time, reconsume, body_end, topic: (topic_at, topic_end) })
    }

    /// The record with which `bytes` begin, wherever it belongs; its body's CRC holds.
    pub(crate) fn parse_first(bytes: &'a [u8]) -> Option<Self> {
        let len = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
        let record = Self::parse(bytes.get(..len)?).ok()?;
        (body_crc(record.body()) == record.body_crc()).then_some(record)
    }

    /// Every byte.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes of the whole record.
    pub fn size(&self) -> u32 {
        u32_at(self.bytes, 0)
    }

    /// The CRC that the header promises for the body.
    pub fn body_crc(&self) -> u32 {
        u32_at(self.bytes, 8)
    }

    /// The queue within the topic.
    pub fn queue_id(&self) -> i32 {
        i32_at(self.bytes, 12)
    }

    /// The user's own flag.
    pub fn flag(&self) -> i32 {
        i32_at(self.bytes, 16)
    }

    /// The message's number in its queue; 0 if it [has none](SysFlag::is_queued).
    pub fn queue_offset(&self) -> QueueOffset {
        QueueOffset::new(u64_at(self.bytes, 20))
    }

    /// The record's own position.
    pub fn physical(&self) -> Physical {
        Physical::new(u64_at(self.bytes, 28))
    }

    /// The system flag.
    pub fn sys_flag(&self) -> SysFlag {
        SysFlag(i32_at(self.bytes, 36))
    }

    /// When the producer made the message, by its clock.
    pub fn born(&self) -> Wall {
        wall_at(self.bytes, 40)
    }

    /// Where the producer was.
    pub fn born_host(&self) -> SocketAddr {
        host_at(&self.bytes[BORN_HOST..self.store_time])
    }

    /// When the broker stored it, by its clock.
    pub fn store_time(&self) -> Wall {
        wall_at(self.bytes, self.store_time)
    }

    /// The broker that stored it first.
    pub fn store_host(&self) -> SocketAddr {
        host_at(&self.bytes[self.store_time + 8..self.reconsume])
    }

    /// The store host as it lies in the record: address, then 4 bytes of port.
    pub fn store_host_bytes(&self) -> &'a [u8] {
        &self.bytes[self.store_time + 8..self.reconsume]
    }

    /// How often a consumer sent it back.
    pub fn reconsume_times(&self) -> i32 {
        i32_at(self.bytes, self.reconsume)
    }

    /// Of a committed message: where its half message lies; else 0.
    pub fn prepared(&self) -> Physical {
        Physical::new(u64_at(self.bytes, self.reconsume + 4))
    }

    /// The body, as stored.
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[self.reconsume + 16..self.body_end]
    }

    /// Where the body lies within [`bytes`](Self::bytes).
    pub fn body_range(&self) -> Range<usize> {
        self.reconsume + 16..self.body_end
    }

    /// The topic.
    pub fn topic(&self) -> &'a str {
        let topic = &self.bytes[self.topic.0..self.topic.1];
        std::str::from_utf8(topic).expect("checked when the record was parsed")
    }

    /// The properties, as stored: `key 0x01 value 0x02` repeated.
    pub fn properties(&self) -> &'a [u8] {
        &self.bytes[self.topic.1 + 2..]
    }

    /// Does the record end in the right CRC over all of it? `None`: it does not end in one.
    pub fn whole_crc(&self) -> Option<bool> {
        let is_there = prop_crc::is_there(self.properties());
        is_there.then(|| prop_crc::is_right(self.bytes, self.measure_body()))
    }

    fn measure_body(&self) -> prop_crc::Body {
        let (at, body) = (self.reconsume + 16, self.body());
        prop_crc::Body { at, len: body.len(), crc: crc32fast::hash(body) }
    }

    /// The value of one property.
    pub fn property(&self, key: &str) -> Option<&'a [u8]> {
        properties::find(self.properties(), key)
    }
}

fn read<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

fn fixed<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    read(bytes, at).expect("the lengths were checked when the record was parsed")
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(fixed(bytes, at))
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(fixed(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(fixed(bytes, at))
}

fn wall_at(bytes: &[u8], at: usize) -> Wall {
    Wall::from_millis(i64::from_be_bytes(fixed(bytes, at)))
}

/// An address of 4 or 16 bytes and a port of 4; Java's ports are ints, their upper half is zero.
fn host_at(bytes: &[u8]) -> SocketAddr {
    let (ip, port) = bytes.split_at(bytes.len() - 4);
    let ip = match <[u8; 4]>::try_from(ip) {
        Ok(v4) => IpAddr::V4(Ipv4Addr::from(v4)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(fixed::<16>(ip, 0))),
    };
    SocketAddr::new(ip, u16::from_be_bytes([port[2], port[3]]))
}
