//! Messages with an identity, and records as the format's description has them.
//!
//! The parser here is written from the table of the format alone and shares no line with the
//! product: an oracle must not ask the code under test what the code under test did.

use std::fmt;

use bytes::Bytes;
use hotfire_storage::text::Text;

use crate::choose::mixed;

const MAGIC_V1: u32 = 0xDAA3_20A7;
const MAGIC_V2: u32 = 0xDAA3_20AB;
const MAGIC_BLANK: u32 = 0xCBD4_3194;

/// A message's identity, the same in each attempt to send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// Who sends it.
    pub producer: u32,
    /// Its number there, from 0.
    pub number: u32,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "P{}N{}", self.producer, self.number)
    }
}

impl Id {
    /// Reads what `Display` wrote.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?.strip_prefix('P')?;
        let (producer, number) = text.split_once('N')?;
        Some(Self { producer: producer.parse().ok()?, number: number.parse().ok()? })
    }
}

/// A queue of a topic on a broker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    /// The broker's name.
    pub broker: Text,
    /// Topic.
    pub topic: Text,
    /// Queue number.
    pub queue: i32,
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.broker, self.topic, self.queue)
    }
}

/// The body of a message: its identity, then bytes that no other message has.
pub fn body(id: Id, len: usize) -> Bytes {
    let mut body = format!("{id}:").into_bytes();
    let seed = u64::from(id.producer) << 32 | u64::from(id.number);
    let mut word = 0;
    while body.len() < len {
        let bytes = mixed(seed.wrapping_mul(1000).wrapping_add(word)).to_le_bytes();
        let take = bytes.len().min(len - body.len());
        body.extend_from_slice(&bytes[..take]);
        word += 1;
    }
    body.into()
}

/// The properties that carry a message's identity, and its wish not to wait.
pub fn properties(id: Id, wait: bool) -> String {
    let wait = if wait { "" } else { "WAIT\u{1}false\u{2}" };
    format!("UNIQ_KEY\u{1}{id}\u{2}{wait}")
}

/// The properties that name light queues, and say what is not for a client to say.
pub fn light_properties(names: &[Text]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    let names = names.join(",");
    format!("INNER_MULTI_QUEUE_OFFSET\u{1}99\u{2}INNER_MULTI_DISPATCH\u{1}%LMQ%a/b,{names}\u{2}")
}

/// The body of a batch (wire format: length, magic, CRC, flag, body, properties, each message).
pub fn batch(messages: &[(Id, Bytes, Vec<Text>)], wait: bool) -> Bytes {
    let mut all = Vec::new();
    for (id, body, light) in messages {
        let properties = properties(*id, wait) + &light_properties(light);
        let int = |number: usize| i32::try_from(number).expect("batches are small").to_be_bytes();
        all.extend_from_slice(&int(22 + body.len() + properties.len()));
        all.extend_from_slice(&[0; 12]);
        all.extend_from_slice(&int(body.len()));
        all.extend_from_slice(body);
        let len = i16::try_from(properties.len()).expect("properties are short");
        all.extend_from_slice(&len.to_be_bytes());
        all.extend_from_slice(properties.as_bytes());
    }
    all.into()
}

/// A record, as it lies in a log. All that the simulated brokers write end in a CRC over all of
/// their bytes; one that does not is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// All of it.
    pub bytes: &'a [u8],
    /// How many bytes that is.
    pub size: u32,
    /// Queue.
    pub queue: i32,
    /// Its number there.
    pub offset: u64,
    /// Its own position.
    pub at: u64,
    /// When it was stored, in milliseconds by the broker's clock.
    pub stored: i64,
    /// Topic.
    pub topic: &'a str,
    /// Body.
    pub body: &'a [u8],
    /// The message's identity, if it is one of ours.
    pub id: Option<Id>,
    /// Its body is a batch.
    pub is_batch: bool,
    /// How often it had failed to be consumed.
    pub times: i32,
    properties: &'a [u8],
}

impl<'a> Record<'a> {
    /// The messages in it: their identities and bodies.
    pub fn messages(&self) -> Vec<(Option<Id>, &'a [u8])> {
        if !self.is_batch {
            return vec![(self.id, self.body)];
        }
        let (mut messages, mut rest) = (Vec::new(), self.body);
        while let Some(message) = next_of_batch(&mut rest) {
            messages.push(message);
        }
        messages
    }

    /// Of a message that waits for its time: the queue to which it goes then.
    pub fn belongs(&self) -> Option<(&'a str, i32)> {
        let text = |key| std::str::from_utf8(property(self.properties, key)?).ok();
        Some((text("REAL_TOPIC")?, text("REAL_QID")?.parse().ok()?))
    }

    /// The light queues that it is in, and its offset in each; those with names that cannot be
    /// left out.
    pub fn light(&self) -> Vec<(&'a str, u64)> {
        let text = |key| std::str::from_utf8(property(self.properties, key)?).ok();
        let names = text("INNER_MULTI_DISPATCH").unwrap_or_default().split(',');
        let offsets = text("INNER_MULTI_QUEUE_OFFSET").unwrap_or_default().split(',');
        let pairs = names.zip(offsets).filter(|(name, _)| !name.contains('/'));
        pairs.filter_map(|(name, offset)| Some((name, offset.parse().ok()?))).collect()
    }
}

fn next_of_batch<'a>(rest: &mut &'a [u8]) -> Option<(Option<Id>, &'a [u8])> {
    let _size_magic_crc_flag = slice(rest, 16)?;
    let len = u32::from_be_bytes(take(rest)?) as usize;
    let body = slice(rest, len)?;
    let len = usize::from(u16::from_be_bytes(take(rest)?));
    let properties = slice(rest, len)?;
    Some((property(properties, "UNIQ_KEY").and_then(Id::parse), body))
}

/// The value of the first property of that name.
fn property<'a>(properties: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let mut pairs = properties.split(|byte| *byte == 2);
    pairs.find_map(|pair| pair.strip_prefix(key.as_bytes())?.strip_prefix(&[1]))
}

/// What lies somewhere in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// The rest of the file is not used.
    Blank,
    /// Not a record.
    Nothing,
    /// A record.
    Record(Record<'a>),
}

/// What the first bytes of `bytes` are.
pub fn parse(bytes: &[u8]) -> Found<'_> {
    if bytes.get(4..8) == Some(&MAGIC_BLANK.to_be_bytes()) {
        return Found::Blank;
    }
    record(bytes).map_or(Found::Nothing, Found::Record)
}

fn record(bytes: &[u8]) -> Option<Record<'_>> {
    let size = u32::from_be_bytes(*bytes.first_chunk()?);
    let mut rest = bytes.get(4..size as usize)?;
    let magic = u32::from_be_bytes(take(&mut rest)?);
    let crc = u32::from_be_bytes(take(&mut rest)?);
    let queue = i32::from_be_bytes(take(&mut rest)?);
    let _flag = take::<4>(&mut rest)?;
    let offset = u64::from_be_bytes(take(&mut rest)?);
    let at = u64::from_be_bytes(take(&mut rest)?);
    let sys_flag = u32::from_be_bytes(take(&mut rest)?);
    let (born_v6, store_v6) = (sys_flag & 0x10 != 0, sys_flag & 0x20 != 0);
    slice(&mut rest, 8 + if born_v6 { 20 } else { 8 })?;
    let stored = i64::from_be_bytes(take(&mut rest)?);
    slice(&mut rest, if store_v6 { 20 } else { 8 })?;
    let times = i32::from_be_bytes(take(&mut rest)?);
    slice(&mut rest, 8)?;
    let len = u32::from_be_bytes(take(&mut rest)?) as usize;
    let body = slice(&mut rest, len)?;
    let len = match magic {
        MAGIC_V1 => usize::from(u8::from_be_bytes(take(&mut rest)?)),
        MAGIC_V2 => usize::from(u16::from_be_bytes(take(&mut rest)?)),
        _ => return None,
    };
    let topic = std::str::from_utf8(slice(&mut rest, len)?).ok()?;
    let len = usize::from(u16::from_be_bytes(take(&mut rest)?));
    let properties = slice(&mut rest, len)?;
    let bytes = bytes.get(..size as usize)?;
    let is_whole = rest.is_empty() && crc == crc32(body) && is_sealed(bytes);
    let id = property(properties, "UNIQ_KEY").and_then(Id::parse);
    is_whole.then_some(Record {
        bytes,
        size,
        queue,
        offset,
        at,
        stored,
        topic,
        body,
        id,
        is_batch: sys_flag & 0x80 != 0,
        times,
        properties,
    })
}

/// Does a record end in the CRC over all that is before? The digits come the wrong way round.
fn is_sealed(record: &[u8]) -> bool {
    let Some((rest, seal)) = record.split_last_chunk::<20>() else { return false };
    let digits: String = format!("{:010}", crc32(rest)).chars().rev().collect();
    *seal == format!("__CRC32#\u{1}{digits}\u{2}").as_bytes()
}

fn slice<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    slice(rest, N)?.try_into().ok()
}

/// CRC-32 as in Ethernet, its highest bit dropped (the format stores a Java int that is never
/// negative).
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    let step = |crc: u32, byte: &u8| TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)] ^ (crc >> 8);
    !bytes.iter().fold(u32::MAX, step) & 0x7fff_ffff
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0_u32;
    while index < 256 {
        let mut value = index;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0xedb8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[index as usize] = value;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_its_text_and_bodies_differ() {
        let id = Id { producer: 3, number: 17 };
        assert_eq!(Id::parse(id.to_string().as_bytes()), Some(id));
        assert_eq!(body(id, 40).len(), 40);
        assert_ne!(body(id, 40), body(Id { number: 18, ..id }, 40));
        assert_eq!(&*body(id, 1), b"P3N17:", "the identity is never cut");
    }

    #[test]
    fn the_crc_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926 & 0x7fff_ffff);
    }

    #[test]
    fn what_is_no_record_is_nothing() {
        assert_eq!(parse(&[]), Found::Nothing);
        assert_eq!(parse(&[0; 200]), Found::Nothing);
        assert_eq!(parse(&[0xff; 200]), Found::Nothing);
        assert_eq!(parse(&[0, 0, 0, 8, 0xCB, 0xD4, 0x31, 0x94]), Found::Blank);
    }
}
