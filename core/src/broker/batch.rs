//! Batches: split into their messages (wire.md 9), or, in a topic of inner batches, kept as one
//! record (store.md 4.5).

use hotfire_storage::position::Span;
use hotfire_storage::record::properties::INNER_NUM;
use hotfire_storage::record::{Draft, SysFlag};
use hotfire_storage::seam::Disk;
use hotfire_storage::text::Text;
use hotfire_storage::time::Wall;
use hotfire_storage::{Appended, light_queues};

use super::Broker;
use super::names::{self, Refusal};
use super::send::refusal_of;
use crate::domain::{Code, Send};

/// The most messages of an inner batch: their number is a signed short.
pub(super) const INNER_MAX: usize = i16::MAX.cast_unsigned() as usize;

impl<D: Disk> Broker<D> {
    /// The messages of a batch: its body, and what is common to all.
    fn messages<'a>(&self, batch: &Draft<'a>) -> Result<Vec<BatchMessage<'a>>, Option<Refusal>> {
        let illegal = |remark| Some((Code::MessageIllegal, remark));
        if batch.topic.starts_with(names::RETRY_PREFIX) {
            return Err(illegal("a batch cannot be sent to a retry topic".to_owned()));
        }
        split(batch.body, self.config.limits.batch_messages).map_err(illegal)
    }

    /// Stores a record for each message of a batch.
    pub(super) fn append_batch(
        &mut self,
        wall: Wall,
        batch: &Draft<'_>,
        spans: &mut Vec<Span>,
    ) -> Result<Appended, Option<Refusal>> {
        let messages = self.messages(batch)?;
        let properties: Vec<[&[u8]; 1]> =
            messages.iter().map(|message| [message.properties]).collect();
        let drafts = messages.iter().zip(&properties).map(|(message, properties)| Draft {
            flag: message.flag,
            body: message.body,
            properties,
            ..*batch
        });
        let drafts: Vec<Draft<'_>> = drafts.collect();
        self.store.append_batch(wall, &drafts, spans).map_err(refusal_of)
    }

    /// Stores a batch as one record, for its consumers to unpack.
    pub(super) fn append_inner_batch(
        &mut self,
        wall: Wall,
        batch: &Draft<'_>,
    ) -> Result<Appended, Option<Refusal>> {
        let number = self.messages(batch)?.len();
        if number > INNER_MAX {
            let remark = format!("{number} messages in one record; at most {INNER_MAX} fit");
            return Err(Some((Code::MessageIllegal, remark)));
        }
        let number = format!("{INNER_NUM}\u{1}{number}\u{2}");
        let mut pieces = batch.properties.to_vec();
        pieces.push(number.as_bytes());
        let sys_flag = batch.sys_flag | SysFlag::INNER_BATCH | SysFlag::NEED_UNWRAP;
        let draft = Draft { sys_flag, properties: &pieces, ..*batch };
        self.store.append(wall, &draft).map_err(refusal_of)
    }

    /// The light queues that a send, just stored, went to.
    pub(super) fn light_queues(&self, send: &Send) -> Vec<Text> {
        let topic = &send.to.topic;
        if !send.batch {
            return self.light_queues_of(topic, send.properties.as_bytes());
        }
        if !self.has_light_queues(topic) {
            return Vec::new();
        }
        let messages = split(&send.body, self.config.limits.batch_messages).unwrap_or_default();
        messages.iter().flat_map(|message| named(topic, message.properties)).collect()
    }

    /// The same of a message of this topic.
    pub(super) fn light_queues_of(&self, topic: &str, raw: &[u8]) -> Vec<Text> {
        if self.has_light_queues(topic) { named(topic, raw) } else { Vec::new() }
    }

    fn has_light_queues(&self, topic: &str) -> bool {
        self.store.settings().light_queues && !self.topics.is_batch(topic)
    }
}

fn named(topic: &str, raw: &[u8]) -> Vec<Text> {
    light_queues(topic, &[raw]).map(Text::from).collect()
}

/// One message of a batch, as slices of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchMessage<'a> {
    pub(super) flag: i32,
    pub(super) body: &'a [u8],
    pub(super) properties: &'a [u8],
}

/// Splits a batch. Nothing is allocated by a length that was not checked against the body.
pub(super) fn split(mut body: &[u8], max: usize) -> Result<Vec<BatchMessage<'_>>, String> {
    let mut messages = Vec::new();
    while !body.is_empty() {
        if messages.len() == max {
            return Err(format!("a batch holds at most {max} messages"));
        }
        let number = messages.len();
        let Some((message, rest)) = next(body) else {
            return Err(format!("message {number} of the batch does not add up"));
        };
        if std::str::from_utf8(message.properties).is_err() {
            return Err(format!("the properties of message {number} of the batch are not UTF-8"));
        }
        messages.push(message);
        body = rest;
    }
    if messages.is_empty() {
        return Err("a batch without messages".to_owned());
    }
    Ok(messages)
}

/// `[4 total][4 magic][4 crc][4 flag][4 n][body][2 n][properties]`; magic and CRC are ignored.
fn next(all: &[u8]) -> Option<(BatchMessage<'_>, &[u8])> {
    let total = usize::try_from(int(all, 0)?).ok()?;
    let (message, rest) = all.split_at_checked(total)?;
    let flag = int(message, 12)?;
    let body_len = usize::try_from(int(message, 16)?).ok()?;
    let (body, tail) = message.get(20..)?.split_at_checked(body_len)?;
    let (len, properties) = tail.split_first_chunk::<2>()?;
    let len = usize::try_from(i16::from_be_bytes(*len)).ok()?;
    (properties.len() == len).then_some((BatchMessage { flag, body, properties }, rest))
}

fn int(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of wire.md 9.
    const HELLO: [u8; 31] = *b"\0\0\0\x1f\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05hello\0\x04k\x01v\x02";

    #[test]
    fn a_batch_splits_into_its_messages() {
        let two = [HELLO, HELLO].concat();
        let messages = split(&two, 2).unwrap();
        assert_eq!(messages.len(), 2);
        assert_eq!((messages[1].body, messages[1].properties), (&b"hello"[..], &b"k\x01v\x02"[..]));
    }

    #[test]
    fn a_batch_that_does_not_add_up_is_refused_wherever_it_is_cut() {
        for cut in 1..HELLO.len() {
            assert!(split(&HELLO[..cut], 9).is_err(), "cut at {cut}");
        }
        for at in [0, 16, 25] {
            let mut bad = HELLO;
            bad[at] = 0x80;
            assert!(split(&bad, 9).is_err(), "a negative length at {at}");
        }
        assert!(split(&[], 9).is_err());
        assert!(split(&[HELLO, HELLO].concat(), 1).is_err());
    }
}
