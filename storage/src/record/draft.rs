//! A record before it has its three holes filled: queue offset, position and store time.

use std::net::{IpAddr, SocketAddr};

use super::{
    FIXED_LEN, MAGIC_V1, MAGIC_V2, PROPERTIES_MAX, SysFlag, TOPIC_MAX, TOPIC_V1_MAX, V6_EXTRA,
    body_crc,
};
use crate::position::{Physical, QueueOffset};
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
    /// without copying the rest. No property may be cut in two by a piece's end.
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

impl Draft<'_> {
    /// Is every field something that the format and the file system can hold?
    pub fn check(&self) -> Result<(), DraftError> {
        let topic = self.topic;
        let is_path = topic.contains(['/', '\0']) || topic == "." || topic == "..";
        if topic.is_empty() || topic.len() > TOPIC_MAX || is_path {
            return Err(DraftError::Topic(topic.len()));
        }
        if self.queue_id < 0 {
            return Err(DraftError::QueueId(self.queue_id));
        }
        match self.properties_len() {
            len if len > PROPERTIES_MAX => Err(DraftError::Properties(len)),
            _ => Ok(()),
        }
    }

    fn properties_len(&self) -> usize {
        self.properties.iter().map(|piece| piece.len()).sum()
    }

    fn is_v2(&self) -> bool {
        self.topic.len() > TOPIC_V1_MAX
    }

    /// Bytes of the record, as `usize`: the sum before anyone checked it against a limit.
    pub(crate) fn len(&self) -> usize {
        let hosts = usize::from(self.born_host.is_ipv6()) + usize::from(self.store_host.is_ipv6());
        let text = self.body.len() + self.topic.len() + self.properties_len();
        FIXED_LEN + usize::from(self.is_v2()) + hosts * V6_EXTRA + text
    }

    /// Bytes of the record. Panics beyond 4 GiB: the caller did not check its body.
    pub fn encoded_len(&self) -> u32 {
        u32::try_from(self.len()).expect("a body is checked against the limit of its broker")
    }

    /// Writes the record. `slot` is exactly [`encoded_len`](Self::encoded_len) bytes long, and
    /// the draft passed [`check`](Self::check); else this panics.
    pub fn encode_into(
        &self,
        slot: &mut [u8],
        queue_offset: QueueOffset,
        at: Physical,
        stored: Wall,
    ) {
        let mut to = Cursor { slot, at: 0 };
        to.put(&self.encoded_len().to_be_bytes());
        to.put(&if self.is_v2() { MAGIC_V2 } else { MAGIC_V1 }.to_be_bytes());
        to.put(&body_crc(self.body).to_be_bytes());
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
        to.put(self.body);
        if self.is_v2() {
            to.put_short(self.topic.len());
        } else {
            to.put(&[u8::try_from(self.topic.len()).expect("version 1 holds at most 127")]);
        }
        to.put(self.topic.as_bytes());
        to.put_short(self.properties_len());
        for piece in self.properties {
            to.put(piece);
        }
        assert_eq!(to.at, to.slot.len(), "the slot is as long as the record");
    }

    fn host_flags(&self) -> SysFlag {
        let flag = |set, flag| if set { flag } else { SysFlag::NONE };
        self.sys_flag.without(SysFlag::BORN_V6 | SysFlag::STORE_V6)
            | flag(self.born_host.is_ipv6(), SysFlag::BORN_V6)
            | flag(self.store_host.is_ipv6(), SysFlag::STORE_V6)
    }
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
