//! A record before it has its three holes filled: queue offset, position and store time.

use std::net::{IpAddr, SocketAddr};

use super::{
    CRC_MASK, FIXED_LEN, Known, MAGIC_V1, MAGIC_V2, PROPERTIES_MAX, PropCrc, SysFlag, TOPIC_MAX,
    TOPIC_V1_MAX, V6_EXTRA, prop_crc,
};
use crate::position::{Physical, QueueOffset};
use crate::record::properties::VALUE_END;
use crate::time::Wall;

/// What a record will say, as the caller knows it before the log has a place for it.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    /// The topic: 1 to 255 bytes of UTF-8.
    pub topic: &'a str,
    /// The queue within it; not negative.
    pub queue_id: i32,
    /// The user's own flag.
    pub flag: i32,
    /// The system flag; the two host bits are set by the hosts.
    pub sys_flag: SysFlag,
    /// The producer's clock.
    pub born: Wall,
    /// Where the producer is.
    pub born_host: SocketAddr,
    /// This broker.
    pub store_host: SocketAddr,
    /// How often a consumer sent it back.
    pub reconsume_times: i32,
    /// Of a committed message: where its half message lies; else [`Physical::ZERO`].
    pub prepared: Physical,
    /// The body, as it is to be stored.
    pub body: &'a [u8],
    /// Pieces of the properties string, written one after the other: a caller adds a property
    /// without copying the rest. No property may be cut in two by a piece's end. A `__CRC32#`
    /// among them is left out: it is the store's own.
    pub properties: &'a [&'a [u8]],
}

/// Why a draft cannot become a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DraftError {
    /// The properties are longer than [`PROPERTIES_MAX`].
    #[error("{0} bytes of properties, {PROPERTIES_MAX} at most")]
    Properties(usize),
    /// The queue id is negative.
    #[error("queue id {0} is negative")]
    QueueId(i32),
    /// The topic is empty, longer than [`TOPIC_MAX`], or not a name that a directory can have.
    #[error("a topic of {0} bytes, 1 to {TOPIC_MAX} without '/' allowed")]
    Topic(usize),
}

/// What a record will look like. Its draft computes it, and the draft alone may be written by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout<'a> {
    crc: PropCrc,
    /// Bytes of the record, the sum before anyone checked it against a limit.
    pub(crate) len: usize,
    /// Bytes of the properties in it.
    properties: usize,
    /// Does the draft's last property have its end?
    is_ended: bool,
    /// What is found among the draft's properties.
    pub(crate) known: Known<'a>,
}

impl Layout<'_> {
    /// Bytes of the record. Panics beyond 4 GiB: the caller did not check its body.
    #[allow(clippy::len_without_is_empty)] // no record is empty
    pub fn len(&self) -> u32 {
        u32::try_from(self.len).expect("a body is checked against the limit of its broker")
    }
}

impl<'a> Draft<'a> {
    /// Is every field something that the format and the file system can hold? Then this is what
    /// the record will look like.
    pub fn check(&self, crc: PropCrc) -> Result<Layout<'a>, DraftError> {
        let topic = self.topic;
        let is_path = topic.contains(['/', '\0']) || topic == "." || topic == "..";
        if topic.is_empty() || topic.len() > TOPIC_MAX || is_path {
            return Err(DraftError::Topic(topic.len()));
        }
        if self.queue_id < 0 {
            return Err(DraftError::QueueId(self.queue_id));
        }
        let layout = self.layout(crc);
        match layout.properties {
            len if len > PROPERTIES_MAX => Err(DraftError::Properties(len)),
            _ => Ok(layout),
        }
    }

    /// The same of a draft that was checked.
    pub fn layout(&self, crc: PropCrc) -> Layout<'a> {
        let pieces = self.properties.iter();
        let known = Known::of(self.properties);
        let (len, is_ended) = if known.has_crc {
            measure(pieces.flat_map(|piece| prop_crc::without(piece)))
        } else {
            measure(pieces.copied())
        };
        let properties = len + crc.extra(is_ended);
        let hosts = usize::from(self.born_host.is_ipv6()) + usize::from(self.store_host.is_ipv6());
        let text = self.body.len() + self.topic.len() + properties;
        let len = FIXED_LEN + usize::from(self.is_v2()) + hosts * V6_EXTRA + text;
        Layout { crc, len, properties, is_ended, known }
    }

    fn is_v2(&self) -> bool {
        self.topic.len() > TOPIC_V1_MAX
    }

    /// Writes the record. `slot` is exactly as long as the `layout` says, and that is what
    /// [`check`](Self::check) found for this very draft; else this panics.
    pub fn encode_into(
        &self,
        layout: Layout<'_>,
        slot: &mut [u8],
        queue_offset: QueueOffset,
        at: Physical,
        stored: Wall,
    ) {
        let body_crc = crc32fast::hash(self.body);
        let mut to = Cursor { slot, at: 0 };
        to.put(&layout.len().to_be_bytes());
        to.put(&if self.is_v2() { MAGIC_V2 } else { MAGIC_V1 }.to_be_bytes());
        to.put(&(body_crc & CRC_MASK).to_be_bytes());
        to.put(&self.queue_id.to_be_bytes());
        to.put(&self.flag.to_be_bytes());
        to.put(&queue_offset.get().to_be_bytes());
        to.put(&at.get().to_be_bytes());
        to.put(&self.host_flags().bits().to_be_bytes());
        to.put(&self.born.as_millis().to_be_bytes());
        to.put_host(self.born_host);
        to.put(&stored.as_millis().to_be_bytes());
        to.put_host(self.store_host);
        to.put(&self.reconsume_times.to_be_bytes());
        to.put(&self.prepared.get().to_be_bytes());
        let body = u32::try_from(self.body.len()).expect("shorter than the record");
        to.put(&body.to_be_bytes());
        let body = prop_crc::Body { at: to.at, len: self.body.len(), crc: body_crc };
        to.put(self.body);
        if self.is_v2() {
            to.put_short(self.topic.len());
        } else {
            to.put(&[u8::try_from(self.topic.len()).expect("version 1 holds at most 127")]);
        }
        to.put(self.topic.as_bytes());
        to.put_short(layout.properties);
        self.put_properties(layout, &mut to);
        assert_eq!(to.at, to.slot.len(), "the slot is as long as the record");
        if layout.crc == PropCrc::Append {
            prop_crc::write(to.slot, body);
        }
    }

    fn put_properties(&self, layout: Layout<'_>, to: &mut Cursor<'_>) {
        for piece in self.properties {
            if layout.known.has_crc {
                prop_crc::without(piece).for_each(|piece| to.put(piece));
            } else {
                to.put(piece);
            }
        }
        if layout.crc == PropCrc::Append {
            if !layout.is_ended {
                to.put(&[VALUE_END]);
            }
            to.at += prop_crc::LEN;
        }
    }

    fn host_flags(&self) -> SysFlag {
        let flag = |set, flag| if set { flag } else { SysFlag::NONE };
        self.sys_flag.without(SysFlag::BORN_V6 | SysFlag::STORE_V6)
            | flag(self.born_host.is_ipv6(), SysFlag::BORN_V6)
            | flag(self.store_host.is_ipv6(), SysFlag::STORE_V6)
    }
}

/// Bytes of the pieces, and does the last property have its end?
fn measure<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (usize, bool) {
    pieces.fold((0, true), |(len, is_ended), piece| {
        (len + piece.len(), piece.last().map_or(is_ended, |last| *last == VALUE_END))
    })
}

struct Cursor<'a> {
    slot: &'a mut [u8],
    at: usize,
}

impl Cursor<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.slot[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    fn put_short(&mut self, len: usize) {
        self.put(&u16::try_from(len).expect("checked with the draft").to_be_bytes());
    }

    fn put_host(&mut self, host: SocketAddr) {
        match host.ip() {
            IpAddr::V4(ip) => self.put(&ip.octets()),
            IpAddr::V6(ip) => self.put(&ip.octets()),
        }
        self.put(&u32::from(host.port()).to_be_bytes());
    }
}
