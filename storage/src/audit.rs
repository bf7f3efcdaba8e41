//! Every invariant of the formats, looked for on a disk as it lies, before any recovery
//! (store.md 2 to 7). Changes nothing.
//!
//! | room | what |
//! |---|---|
//! | `index` | item by item, likewise |
//! | `log` | record by record; behind damage it goes on at the next good record |
//! | `queues` | unit by unit, against the records that the walk meets |
//! | `small` | checkpoint, state files |
//! | `view` | the log as it lies, for reading from anywhere |
//!
//! What a crash may leave and a start mends in passing is a [`Weight::Note`]: a torn tail above
//! the durable mark, queues behind the log. What no crash leaves is [`Weight::Damage`].

mod index;
mod log;
mod queues;
mod small;
mod view;

use std::fmt;

use crate::chain::{Chain, ChainError};
use crate::checkpoint::Checkpoint;
use crate::position::{Physical, QueueOffset};
use crate::queue::{Kind, QueueRange};
use crate::record::Damage;
use crate::recover::{ABORT, Stage, Teller, Watch};
use crate::seam::{Disk, Fault};
use crate::settings::Settings;
use crate::time::Wall;

pub use index::index_shape;
pub use view::LogView;

/// Findings that are kept; more are only counted.
const FINDINGS_MAX: usize = 1000;

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Everything.
    All,
    /// What tells where log and queues begin and end.
    Ends,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Nothing that a crash leaves, and no format allows it.
    Damage,
    /// Worth knowing; a start copes with it.
    Note,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The checkpoint contradicts the log, or cannot be read.
    Checkpoint(String),
    /// The files of a directory are not a sequence of equal files.
    Files(String),
    /// The items of a record are not those of its keys.
    ItemsDiffer {
        /// The record.
        at: Physical,
    },
    /// An item points at no record.
    ItemStray {
        /// Where it points.
        at: Physical,
    },
    /// Records with keys have no items: nobody finds them by key.
    KeysMissing {
        /// The first of the records.
        at: Physical,
        /// How many there are.
        records: u64,
    },
    /// Records have no queue: it is lost, or its topic was deleted.
    NoQueue {
        /// How many.
        records: u64,
    },
    /// Between two good records lie bytes that are none.
    Record {
        /// Why not.
        damage: Damage,
        /// Bytes to the next good record.
        len: u64,
    },
    /// A state file cannot be read.
    State(String),
    /// Behind the last good record lie bytes that are not zero.
    Tail {
        /// Why they are no record.
        damage: Damage,
    },
    /// A unit contradicts the record at which it points.
    UnitDiffers {
        /// The record.
        at: Physical,
    },
    /// Bytes between units are no unit.
    UnitInvalid,
    /// The units of records are missing.
    UnitsMissing {
        /// The first of the records.
        at: Physical,
        /// Its number in the queue.
        offset: QueueOffset,
        /// How many there are.
        records: u64,
    },
    /// A unit points at no record of its queue.
    UnitStray {
        /// Where it points.
        at: Physical,
    },
    /// Behind the last unit lie bytes that are not zero.
    UnitTail,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkpoint(why) | Self::Files(why) | Self::State(why) => f.write_str(why),
            Self::ItemsDiffer { at } => {
                write!(f, "the items contradict the keys of the record at {at}")
            }
            Self::ItemStray { at } => write!(f, "the item points at {at}, where no record lies"),
            Self::KeysMissing { at, records } => write!(
                f,
                "the keys of {records} records are not in the index, the first of them at {at} in \
                 the log"
            ),
            Self::NoQueue { records } => {
                write!(f, "{records} records have no queue: it is lost, or its topic was deleted")
            }
            Self::Record { damage, len } => {
                write!(f, "no record ({damage}); the next good one follows after {len} bytes")
            }
            Self::Tail { damage } => {
                write!(f, "behind the last record, neither a record nor unused ({damage})")
            }
            Self::UnitDiffers { at } => write!(f, "the unit contradicts its record at {at}"),
            Self::UnitInvalid => f.write_str("no unit, between units"),
            Self::UnitsMissing { at, offset, records } => write!(
                f,
                "the units of {records} records are missing, from message {offset} on, at {at} in \
                 the log"
            ),
            Self::UnitStray { at } => {
                write!(f, "the unit points at {at}, where no record of this queue lies")
            }
            Self::UnitTail => f.write_str("bytes that are not zero behind the last unit"),
        }
    }
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, or directory.
    pub path: String,
    /// Where in it, in bytes.
    pub at: u64,
    /// How bad.
    pub weight: Weight,
    /// What.
    pub what: What,
}

/// A file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Where it lies.
    pub path: String,
    /// Its first byte's position.
    pub start: Physical,
    /// Store time of its first record, if it begins with a good one.
    pub first_stored: Option<Wall>,
}

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueFacts {
    /// Its topic.
    pub topic: String,
    /// Its number there.
    pub id: i32,
    /// How it numbers its units.
    pub kind: Kind,
    /// The offsets that it holds.
    pub range: QueueRange,
    /// Units that point into the log.
    pub units: u64,
    /// Its files.
    pub files: usize,
    /// Store time of the first message that can be read.
    pub first_stored: Option<Wall>,
    /// Store time of the last one.
    pub last_stored: Option<Wall>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// The broker before stopped in order: there is no `abort` file.
    pub clean: bool,
    /// What `abort` holds: the process id of the broker that runs, or died.
    pub abort: Option<String>,
    /// The checkpoint, if it can be read.
    pub checkpoint: Option<Checkpoint>,
    /// Where the log begins.
    pub start: Physical,
    /// Behind the last good record.
    pub end: Physical,
    /// Bytes of each file of the log.
    pub log_file_len: u64,
    /// Files of the log.
    pub log_files: Vec<LogFile>,
    /// Good records; of the last part of the log only, at [`Depth::Ends`].
    pub records: u64,
    /// Store time of the last of them.
    pub last_stored: Option<Wall>,
    /// Queues, by topic and id.
    pub queues: Vec<QueueFacts>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Findings beyond those.
    pub more: u64,
}

impl Audit {
    /// Is anything damaged?
    pub fn is_damaged(&self) -> bool {
        self.findings.iter().any(|finding| finding.weight == Weight::Damage)
    }

    fn find(&mut self, path: &str, at: u64, weight: Weight, what: What) {
        if self.findings.len() >= FINDINGS_MAX {
            self.more += 1;
            return;
        }
        self.findings.push(Finding { path: path.to_owned(), at, weight, what });
    }

    /// What the checkpoint promises of the log.
    fn durable(&self) -> Option<Physical> {
        Some(self.checkpoint?.durable?.flushed)
    }
}

/// Looks at everything on `disk`. `is_batch` says which topics have queues of inner batches,
/// `is_known` which exist.
pub fn audit<D: Disk>(
    disk: &mut D,
    settings: &Settings,
    topics: &dyn Topics,
    depth: Depth,
    watch: &mut dyn Watch,
) -> Result<Audit, Fault> {
    let abort = disk.read(ABORT)?.map(|text| String::from_utf8_lossy(&text).trim().to_owned());
    let mut audit = Audit { clean: abort.is_none(), abort, ..Audit::default() };
    small::checkpoint(disk, &mut audit)?;
    small::state_files(disk, &mut audit)?;
    let mut stale = Vec::new();
    let (dir, len) = (settings.commit_log_dir.clone(), u64::from(settings.commit_log_file));
    audit.log_file_len = len;
    let chain = match Chain::load(disk, dir.clone(), len, &mut stale) {
        Ok(chain) => chain,
        Err(error) => {
            let (path, why) = explain(error)?;
            audit.find(&path, 0, Weight::Damage, What::Files(why));
            Chain::new(dir, len, 0)
        }
    };
    audit.note_stale(&stale);
    let mut teller = Teller::new(watch);
    let mut derived = Derived {
        queues: queues::Queues::load(disk, settings, topics, &mut audit, &mut teller)?,
        items: match depth {
            Depth::All => Some(index::Items::load(disk, settings, &mut audit)?),
            Depth::Ends => None,
        },
    };
    let total = chain.room_end() - chain.start();
    teller.begin(Stage::Check, total, 0);
    log::walk(disk, &chain, depth, &mut audit, &mut derived, &mut teller);
    derived.queues.finish(disk, &chain, topics, depth, &mut audit);
    if let Some(items) = derived.items {
        items.finish(disk, &mut audit);
    }
    small::check_checkpoint(&mut audit);
    Ok(audit)
}

/// What is a function of the log, and compared with it.
struct Derived {
    queues: queues::Queues,
    /// `None`: nobody asked.
    items: Option<index::Items>,
}

/// What the topics' table says.
pub trait Topics {
    /// Does the topic have queues of inner batches?
    fn is_batch(&self, topic: &str) -> bool;
    /// Does the topic exist?
    fn is_known(&self, topic: &str) -> bool;
}

impl Audit {
    fn note_stale(&mut self, stale: &[String]) {
        for path in stale {
            // Creating a file is not one step, and a crash may fall between.
            let weight = if self.clean { Weight::Damage } else { Weight::Note };
            let why = "a file whose creation was not finished".to_owned();
            self.find(path, 0, weight, What::Files(why));
        }
    }
}

/// Which file, and what about it; a disk that fails is no finding.
fn explain(error: ChainError) -> Result<(String, String), Fault> {
    match error {
        ChainError::Disk(Fault::Io { path, why, .. }) => Ok((path, why)),
        ChainError::Disk(fault) => Err(fault),
        ChainError::Gap { path, missing } => {
            Ok((path, format!("it does not follow the file before it: {missing} is missing")))
        }
        ChainError::Length { path, len, .. } => {
            Ok((path, format!("it is {len} bytes long, which is not the length of its kind")))
        }
    }
}
