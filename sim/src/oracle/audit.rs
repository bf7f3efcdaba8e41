//! What was acknowledged, written down as the acknowledgements came, and what a log or a consumer
//! really holds, held against it. The ring of replication and the tests of real processes judge by
//! it, the latter from a file that they write line by line.
//!
//! Each send has an identity of its own here and is made once. So an acknowledged message is at its
//! place, as it was, and nowhere else.
//!
//! It does not know what may be excused: whoever asks forgets what a power failure could take.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use hotfire_core::machine::Digest;
use hotfire_storage::text::Text;

use crate::workload::message::{Id, Record};

/// What the columns of a written audit are.
pub const HEAD: &str = "# id topic queue offset position length digest";

/// A message at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub id: Id,
    /// Its queue's topic.
    pub topic: Text,
    /// Its queue.
    pub queue: i32,
    /// Its number there.
    pub offset: u64,
    /// Where it lies in the log.
    pub at: u64,
    /// How many bytes of it are known.
    pub len: usize,
    /// What they are.
    pub digest: u64,
}

impl Entry {
    /// A message of which these bytes are known.
    #[must_use]
    pub fn with(mut self, bytes: &[u8]) -> Self {
        let mut digest = Digest::new();
        digest.bytes(bytes);
        (self.len, self.digest) = (bytes.len(), digest.value());
        self
    }

    /// What lies in a log, if it is one of our messages; `bytes` are those that are compared.
    pub fn found(record: &Record<'_>, bytes: &[u8]) -> Option<Self> {
        let Record { queue, offset, at, .. } = *record;
        let topic = Text::from(record.topic);
        Some(Self { id: record.id?, topic, queue, offset, at, len: 0, digest: 0 }.with(bytes))
    }

    fn place(&self) -> Place {
        (self.topic.clone(), self.queue, self.offset)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, topic, queue, offset, at, len, digest } = self;
        write!(f, "{id} {topic} {queue} {offset} {at} {len} {digest:016x}")
    }
}

impl FromStr for Entry {
    type Err = Garbled;

    fn from_str(line: &str) -> Result<Self, Garbled> {
        let read = || {
            let mut words = line.split(' ');
            let entry = Self {
                id: Id::parse(words.next()?.as_bytes())?,
                topic: words.next()?.into(),
                queue: words.next()?.parse().ok()?,
                offset: words.next()?.parse().ok()?,
                at: words.next()?.parse().ok()?,
                len: words.next()?.parse().ok()?,
                digest: u64::from_str_radix(words.next()?, 16).ok()?,
            };
            words.next().is_none().then_some(entry)
        };
        read().ok_or_else(|| Garbled(line.to_owned()))
    }
}

/// A line that is none of an audit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no line of an audit")]
pub struct Garbled(String);

/// What is not as it was said to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Something else lies at its place.
    #[error("acknowledged was {said}, and there lies {found}")]
    Changed {
        /// What was acknowledged.
        said: Box<Entry>,
        /// What is there.
        found: Box<Entry>,
    },
    /// It lies elsewhere, or there as well.
    #[error("acknowledged was {said}, and it lies at {found} as well")]
    Doubled {
        /// What was acknowledged.
        said: Box<Entry>,
        /// What is there.
        found: Box<Entry>,
    },
    /// It is gone.
    #[error("acknowledged was {0}, and it is gone")]
    Missing(Box<Entry>),
    /// Its place was said to be another's.
    #[error("acknowledged was {was}, and then {is}")]
    Reused {
        /// What was acknowledged first.
        was: Box<Entry>,
        /// And then.
        is: Box<Entry>,
    },
}

/// Topic, queue, offset.
type Place = (Text, i32, u64);

/// What was acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    said: BTreeMap<Place, Entry>,
}

impl Audit {
    /// Reads what was written: an [`Entry`] a line, in the order of the acknowledgements.
    pub fn read(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let mut audit = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            audit.note(line.parse()?)?;
        }
        Ok(audit)
    }

    /// A message was acknowledged. To hear the same again is no news.
    pub fn note(&mut self, entry: Entry) -> Result<(), Wrong> {
        let was = self.said.entry(entry.place()).or_insert_with(|| entry.clone());
        if *was == entry {
            return Ok(());
        }
        Err(Wrong::Reused { was: Box::new(was.clone()), is: Box::new(entry) })
    }

    /// Judges all that is held somewhere: first what is there and should not be, then what is not.
    pub fn judge(&self, held: &[Entry]) -> Result<(), Wrong> {
        self.judge_but(held, |_| false)
    }

    /// The same, but what `may_lack` names may be missing.
    pub fn judge_but(
        &self,
        held: &[Entry],
        may_lack: impl Fn(&Entry) -> bool,
    ) -> Result<(), Wrong> {
        let of_id: BTreeMap<Id, &Entry> = self.said.values().map(|said| (said.id, said)).collect();
        let mut gone: BTreeMap<Place, &Entry> =
            self.said.iter().map(|(place, said)| (place.clone(), said)).collect();
        for found in held {
            let place = found.place();
            let doubled = |said: &Entry| Wrong::Doubled {
                said: Box::new(said.clone()),
                found: Box::new(found.clone()),
            };
            match self.said.get(&place) {
                Some(said) if said == found => {
                    if gone.remove(&place).is_none() {
                        return Err(doubled(said));
                    }
                }
                Some(said) => {
                    let (said, found) = (Box::new(said.clone()), Box::new(found.clone()));
                    return Err(Wrong::Changed { said, found });
                }
                None => {
                    if let Some(said) = of_id.get(&found.id) {
                        return Err(doubled(said));
                    }
                }
            }
        }
        let missing = gone.into_values().find(|said| !may_lack(said));
        missing.map_or(Ok(()), |said| Err(Wrong::Missing(Box::new(said.clone()))))
    }

    /// Forgets what is not among these: it is lost, and may be.
    pub fn keep<'a>(&mut self, held: impl IntoIterator<Item = &'a Entry>) {
        let held = held.into_iter().map(|found| (found.place(), found));
        let held: BTreeMap<Place, &Entry> = held.collect();
        self.said.retain(|place, said| held.get(place) == Some(&&*said));
    }

    /// All of it, by place.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.said.values()
    }

    /// How many messages it is.
    pub fn len(&self) -> usize {
        self.said.len()
    }

    /// Was nothing acknowledged?
    pub fn is_empty(&self) -> bool {
        self.said.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Message so and so, behind as many.
    fn entry(number: u32) -> Entry {
        let id = Id { producer: 7, number };
        let offset = u64::from(number);
        let entry =
            Entry { id, topic: "T".into(), queue: 2, offset, at: offset * 100, len: 0, digest: 0 };
        entry.with(format!("body {number}").as_bytes())
    }

    /// One of five.
    fn audit() -> (Audit, Vec<Entry>) {
        let mut audit = Audit::default();
        let held: Vec<Entry> = (0..5).map(entry).collect();
        for entry in &held {
            audit.note(entry.clone()).expect("all are new");
        }
        (audit, held)
    }

    fn boxed(entry: &Entry) -> Box<Entry> {
        Box::new(entry.clone())
    }

    #[test]
    fn what_is_there_is_there_whatever_else_is() {
        let (audit, mut held) = audit();
        assert_eq!(audit.judge(&held), Ok(()));
        // Stored, and never acknowledged.
        held.extend((5..9).map(entry));
        held.reverse();
        assert_eq!(audit.judge(&held), Ok(()));
    }

    #[test]
    fn a_missing_message_is_noticed() {
        for lost in 0..5 {
            let (audit, mut held) = audit();
            let said = boxed(&held.remove(lost));
            assert_eq!(audit.judge(&held), Err(Wrong::Missing(said)));
        }
    }

    #[test]
    fn a_changed_message_is_noticed() {
        let changes: [fn(&mut Entry); 4] = [
            |found| *found = found.clone().with(b"body 4"),
            |found| *found = found.clone().with(b"body 3 "),
            |found| found.id.number = 77,
            |found| found.at += 1,
        ];
        for change in changes {
            let (audit, mut held) = audit();
            change(&mut held[3]);
            let (said, found) = (boxed(&entry(3)), boxed(&held[3]));
            assert_eq!(audit.judge(&held), Err(Wrong::Changed { said, found }));
        }
    }

    #[test]
    fn a_doubled_message_is_noticed() {
        let (audit, held) = audit();
        let elsewhere: [fn(&mut Entry); 4] = [
            |_| {},
            |found| found.offset = 9,
            |found| found.queue = 0,
            |found| found.topic = "U".into(),
        ];
        for change in elsewhere {
            let mut twice = held.clone();
            let mut second = entry(1);
            change(&mut second);
            twice.push(second.clone());
            let (said, found) = (boxed(&entry(1)), boxed(&second));
            assert_eq!(audit.judge(&twice), Err(Wrong::Doubled { said, found }));
        }
    }

    #[test]
    fn a_place_is_promised_to_one_message() {
        let (mut audit, held) = audit();
        assert_eq!(audit.note(entry(2)), Ok(()), "it is said once more");
        let mut other = entry(2);
        other.id.number = 50;
        let wrong = Wrong::Reused { was: boxed(&entry(2)), is: boxed(&other) };
        assert_eq!(audit.note(other), Err(wrong));
        assert_eq!(audit.judge(&held), Ok(()), "the first word counts");
    }

    #[test]
    fn what_may_be_lost_is_forgotten_and_its_place_is_free() {
        let (mut audit, held) = audit();
        let mut other = entry(4);
        other.id.number = 50;
        audit.keep(&[held[0].clone(), held[3].clone(), other.clone()]);
        assert_eq!(audit.entries().cloned().collect::<Vec<_>>(), [entry(0), entry(3)]);
        assert_eq!(audit.note(other), Ok(()));
    }

    #[test]
    fn what_was_written_is_read() {
        let (audit, held) = audit();
        let mut lines = vec![HEAD.to_owned()];
        lines.extend(held.iter().map(Entry::to_string));
        assert_eq!(Audit::read(&lines.join("\n")).expect("readable"), audit);
        assert_eq!(lines[2], "P7N1 T 2 1 100 6 0407a3d8235b5bf4");
        for garbled in ["P7N1 T 2 1 100 6", "P7N1 T 2 1 100 6 0 0", "N1 T 2 1 100 6 0"] {
            assert!(Audit::read(garbled).is_err(), "{garbled:?}");
        }
        let again = format!("{}\n{}", lines[1], lines[1].replace("P7N0", "P7N9"));
        assert!(Audit::read(&again).is_err(), "a place was promised twice");
    }
}
