//! A store's log, read from its bytes by nobody's code but ours.

use std::collections::BTreeMap;

use bytes::Bytes;
use hotfire_storage::record::properties::SCHEDULE_TOPIC;
use hotfire_storage::text::Text;

use crate::workload::message::{Found, Id, Record, parse};

/// Where logs lie.
const DIR: &str = "commitlog/";

/// A record of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its position.
    pub at: u64,
    /// Its bytes.
    pub size: u32,
    /// When it was stored, in milliseconds by the broker's clock.
    pub stored: i64,
    /// Which message, if it is one of ours.
    pub id: Option<Id>,
    /// Its body.
    pub body: Bytes,
    /// How often it had failed to be consumed.
    pub times: i32,
    /// If it waits for its time: the queue to which it goes then.
    pub belongs: Option<(Text, i32)>,
}

/// The records of a log, by queue and offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Where the log begins: the first byte of its first file.
    pub start: u64,
    /// Where the log ends: the first byte that is not part of a good record.
    pub end: u64,
    queues: BTreeMap<(Text, i32), BTreeMap<u64, Placed>>,
    lights: BTreeMap<Text, BTreeMap<u64, Placed>>,
    /// Offsets that a queue counts twice, if there are any.
    pub twice: Vec<(Text, i32, u64)>,
}

/// The records of a log, one behind the other, up to the first bytes that are none.
#[derive(Clone, Debug, Default)]
pub struct Log<'a> {
    /// Where it begins: the first byte of its first file.
    pub start: u64,
    /// Where it ends: the first byte that is not part of a good record.
    pub end: u64,
    /// All of them.
    pub records: Vec<Record<'a>>,
}

impl<'a> Log<'a> {
    /// Reads the log among these files.
    pub fn read(files: &'a BTreeMap<String, Vec<u8>>) -> Self {
        let mut log = Self::default();
        let logs = files.range(DIR.to_owned()..).take_while(|(path, _)| path.starts_with(DIR));
        let mut expected = None;
        for (path, bytes) in logs {
            let Ok(start) = path[DIR.len()..].parse::<u64>() else { continue };
            if expected.is_some_and(|expected| expected != start) {
                break;
            }
            log.start = if expected.is_none() { start } else { log.start };
            if !log.read_file(start, bytes) {
                break;
            }
            expected = Some(start + bytes.len() as u64);
        }
        log
    }

    /// Reads one file; is it full?
    fn read_file(&mut self, start: u64, bytes: &'a [u8]) -> bool {
        let mut at = 0;
        self.end = start;
        loop {
            match parse(&bytes[at..]) {
                Found::Blank => {
                    self.end = start + bytes.len() as u64;
                    return true;
                }
                Found::Record(record) if record.at == start + at as u64 => {
                    self.records.push(record);
                    at += record.size as usize;
                    self.end = start + at as u64;
                }
                Found::Nothing | Found::Record(_) => return at == bytes.len(),
            }
        }
    }
}

impl Image {
    /// Reads the log among these files.
    pub fn read(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let log = Log::read(files);
        let mut image = Self { start: log.start, end: log.end, ..Self::default() };
        log.records.iter().for_each(|record| image.place(record));
        image
    }

    /// Up to where a log is on the medium: how far whole records of `durable` are what processes
    /// see.
    pub fn durable_end(
        durable: &BTreeMap<String, Vec<u8>>,
        seen: &BTreeMap<String, Vec<u8>>,
    ) -> u64 {
        let (image, live) = (Self::read(durable), Self::read(seen));
        let start = live.start;
        let records = |image: &Self| {
            let all = image.queues.iter().flat_map(|(queue, placed)| {
                placed
                    .iter()
                    .map(|(offset, placed)| (placed.at, (queue.clone(), *offset, placed.clone())))
            });
            all.collect::<BTreeMap<_, _>>()
        };
        let (records, live) = (records(&image), records(&live));
        // A file whose deletion is not durable yet is still there.
        let known = records.range(start..);
        let torn = known.into_iter().find(|(at, record)| live.get(at) != Some(record));
        torn.map_or(image.end, |(at, _)| *at)
    }

    /// The same log from a file on: what lies before is there, but no part of it any more.
    #[must_use]
    pub fn from(mut self, start: u64) -> Self {
        self.start = self.start.max(start);
        self.queues.retain(|_, placed| {
            placed.retain(|_, placed| placed.at >= start);
            !placed.is_empty()
        });
        self
    }

    fn place(&mut self, record: &Record<'_>) {
        let waits = record.topic == SCHEDULE_TOPIC;
        let placed = |id, body| Placed {
            at: record.at,
            size: record.size,
            stored: record.stored,
            id,
            body: Bytes::copy_from_slice(body),
            times: record.times,
            belongs: record.belongs().filter(|_| waits).map(|(topic, queue)| (topic.into(), queue)),
        };
        let key = (Text::from(record.topic), record.queue);
        for ((id, body), offset) in record.messages().into_iter().zip(record.offset..) {
            let queue = self.queues.entry(key.clone()).or_default();
            if queue.insert(offset, placed(id, body)).is_some() {
                self.twice.push((key.0.clone(), key.1, offset));
            }
        }
        for (name, offset) in record.light() {
            let queue = self.lights.entry(name.into()).or_default();
            if queue.insert(offset, placed(record.id, record.body)).is_some() {
                self.twice.push((name.into(), 0, offset));
            }
        }
    }

    /// The message at an offset of a queue.
    pub fn get(&self, topic: &Text, queue: i32, offset: u64) -> Option<&Placed> {
        self.queues.get(&(topic.clone(), queue))?.get(&offset)
    }

    /// The messages of a queue, by offset.
    pub fn queue(&self, topic: &Text, queue: i32) -> Option<&BTreeMap<u64, Placed>> {
        self.queues.get(&(topic.clone(), queue))
    }

    /// Every light queue that has a message.
    pub fn lights(&self) -> impl Iterator<Item = (&Text, &BTreeMap<u64, Placed>)> {
        self.lights.iter()
    }

    /// The messages of a light queue, by offset.
    pub fn light(&self, name: &Text) -> Option<&BTreeMap<u64, Placed>> {
        self.lights.get(name)
    }

    /// Every queue that has a message, light ones not counted.
    pub fn queues(&self) -> impl Iterator<Item = (&Text, i32, &BTreeMap<u64, Placed>)> {
        self.queues.iter().map(|((topic, queue), messages)| (topic, *queue, messages))
    }
}
