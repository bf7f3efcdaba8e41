//! What brokers acknowledged, in a file with a line for each message, written as the answers come.
//! At the end the file is read, and what a consumer gets and what lies in a log is held against it,
//! by the simulator's own oracle. If a test fails, file and stores stay: see [`Scene`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex};

use hotfire_sim::oracle::audit::{self, Entry};
use hotfire_sim::oracle::image::Log;
use hotfire_sim::workload::message::{Found, Id, Record, body, parse, properties};
use tempfile::TempDir;

use crate::process::PATIENCE;
use crate::wire::{Answer, Client};

/// A directory, which is removed in the end, but not if a test failed.
pub struct Scene(TempDir);

impl Scene {
    /// An empty one.
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(clippy::print_stderr, reason = "whoever runs a test that fails looks there")]
impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.disable_cleanup(true);
            eprintln!("what the test left is in {}", self.path().display());
        }
    }
}

/// What became of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// SEND_OK.
    Promised,
    /// It is stored, and what the policy asks for did not come true in time: this code.
    Stored(i64),
    /// It was refused, or the connection ended.
    Refused,
}

/// How many sends came to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// SEND_OK.
    pub promised: usize,
    /// Stored, and nothing promised.
    pub stored: usize,
    /// Neither.
    pub refused: usize,
}

/// The books, which any number of senders keep together.
pub struct Audit {
    topic: &'static str,
    path: PathBuf,
    books: Mutex<Books>,
    news: Condvar,
}

struct Books {
    file: File,
    asked: u32,
    counts: Counts,
}

impl Audit {
    /// Begins a file in this directory, of messages of a topic.
    pub fn begin(dir: &Path, topic: &'static str) -> Self {
        let path = dir.join("acknowledged");
        let mut file = File::create_new(&path).expect("a new file");
        writeln!(file, "{}", audit::HEAD).expect("written");
        let books = Books { file, asked: 0, counts: Counts::default() };
        Self { topic, path, books: Mutex::new(books), news: Condvar::new() }
    }

    /// Sends a message that is like no other, of so many bytes or a few more, and takes note of
    /// what was promised.
    pub fn send(&self, client: &mut Client, queue: i32, len: usize) -> Fate {
        let id = {
            let mut books = self.books.lock().expect("no panic");
            books.asked += 1;
            Id { producer: queue.unsigned_abs(), number: books.asked }
        };
        let body = body(id, len);
        let answer = client.try_send_with(self.topic, queue, &properties(id, true), &body);
        let mut books = self.books.lock().expect("no panic");
        let (fate, count) = match answer {
            Ok(answer) if answer.code == 0 => {
                let entry = entry(id, self.topic, &answer).with(&body);
                writeln!(books.file, "{entry}").expect("written");
                (Fate::Promised, &mut books.counts.promised)
            }
            Ok(Answer { code: code @ 10..=12, .. }) => {
                (Fate::Stored(code), &mut books.counts.stored)
            }
            _ => (Fate::Refused, &mut books.counts.refused),
        };
        *count += 1;
        self.news.notify_all();
        fate
    }

    /// How many sends came to what so far.
    pub fn counts(&self) -> Counts {
        self.books.lock().expect("no panic").counts
    }

    /// Waits until so many more sends came to this, from now on.
    pub fn wait_for(&self, more: usize, of: impl Fn(&Counts) -> usize) {
        self.wait_since(self.counts(), more, of);
    }

    /// The same since counts were `before`: for what may be over once it is waited for, as when a
    /// broker ended and each sender had its connection broken once.
    pub fn wait_since(&self, before: Counts, more: usize, of: impl Fn(&Counts) -> usize) {
        let books = self.books.lock().expect("no panic");
        let is_less = |books: &mut Books| of(&books.counts) < of(&before) + more;
        let (books, waited) =
            self.news.wait_timeout_while(books, PATIENCE * 2, is_less).expect("no panic");
        let now = books.counts;
        drop(books);
        assert!(!waited.timed_out(), "waited in vain for {more} more: {before:?}, then {now:?}");
    }

    /// Each promised message is where it was promised to be, and nowhere else, for who consumes
    /// from the broker at this port.
    pub fn check(&self, port: u16) {
        let audit = self.read();
        let queues: BTreeSet<i32> = audit.entries().map(|entry| entry.queue).collect();
        let mut client = Client::connect(port).expect("listening");
        let mut held = Vec::new();
        for queue in queues {
            for message in client.pull_all(self.topic, queue, 0).expect("readable") {
                let Found::Record(record) = parse(&message.bytes) else {
                    panic!("queue {queue}, message {}: no record", message.offset);
                };
                held.extend(found(&record));
            }
        }
        self.judge(&audit, &held, &format!("of the broker at {port}"));
    }

    /// The same of a log, by the names and bytes of its files.
    pub fn check_log(&self, files: BTreeMap<String, Vec<u8>>) {
        let files = files.into_iter().map(|(name, bytes)| (format!("commitlog/{name}"), bytes));
        let files = files.collect();
        let log = Log::read(&files);
        let held: Vec<Entry> = log.records.iter().filter_map(found).collect();
        self.judge(&self.read(), &held, &format!("in the log up to {}", log.end));
    }

    fn read(&self) -> audit::Audit {
        let text = fs::read_to_string(&self.path).expect("readable");
        let audit = audit::Audit::read(&text).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(audit.len(), self.counts().promised, "each promise has its line");
        audit
    }

    fn judge(&self, audit: &audit::Audit, held: &[Entry], whose: &str) {
        if let Err(wrong) = audit.judge(held) {
            panic!("{wrong}: {whose}, by {}", self.path.display());
        }
    }
}

/// What an answer promises.
fn entry(id: Id, topic: &str, answer: &Answer) -> Entry {
    let number = |field: &str| answer.fields[field].parse().expect("a number");
    // A message's id is in hexadecimal digits the broker's address and the position.
    let (_, position) = answer.fields["msgId"].split_at(16);
    let at = u64::from_str_radix(position, 16).expect("a position");
    let queue = answer.fields["queueId"].parse().expect("a queue");
    Entry { id, topic: topic.into(), queue, offset: number("queueOffset"), at, len: 0, digest: 0 }
}

/// Of a record a producer knows the body.
fn found(record: &Record<'_>) -> Option<Entry> {
    Entry::found(record, record.body)
}
