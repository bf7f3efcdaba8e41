//! A store, open for reading: its lock, the sizes of its files, its topics.

use std::collections::BTreeMap;
use std::path::Path;

use hotfire_storage::audit::{self, Audit, Depth};
use hotfire_storage::documents::{self, Document as _, TopicConfig, TopicTable};
use hotfire_storage::mapped::Rehearsal;
use hotfire_storage::seam::{Disk as _, Entry, Fault};
use hotfire_storage::text::Text;
use hotfire_storage::{Loaded, Settings};

use crate::cli::StoreArgs;
use crate::config::{self, BrokerConf};
use crate::opening::Opening;
use crate::{Failure, refusal};

/// Queue directories that are looked at for the sizes of their files.
const SAMPLE: usize = 100;

pub(super) struct Opened {
    pub(super) disk: Rehearsal,
    pub(super) settings: Settings,
    pub(super) topics: Topics,
    /// Where the sizes come from, in words.
    pub(super) sizes: String,
}

impl Opened {
    pub(super) fn open(args: &StoreArgs, no_lock: bool) -> Result<Self, Failure> {
        let dir = args.dir.as_path();
        if !dir.is_dir() {
            let dir = dir.display();
            return Err(Failure::new(format!("there is no store {dir}: it is not a directory")));
        }
        let mut disk = if no_lock {
            Rehearsal::unlocked(dir)
        } else {
            Rehearsal::open(dir).map_err(|why| refusal::of_lock(&why))?
        };
        let (settings, sizes) = match &args.config {
            Some(file) => (configured(file, dir)?, format!("as {} says", file.display())),
            None => detect(&mut disk).map_err(|fault| unreadable(dir, &fault))?,
        };
        let topics = Topics::load(&mut disk);
        Ok(Self { disk, settings, topics, sizes })
    }

    /// Looks at everything, showing how far it is.
    pub(super) fn audit(&mut self, depth: Depth) -> Result<Audit, Failure> {
        let mut opening = Opening::begin();
        let root = self.disk.root().to_owned();
        audit::audit(&mut self.disk, &self.settings, &self.topics, depth, &mut opening)
            .map_err(|fault| unreadable(&root, &fault))
    }
}

pub(super) fn unreadable(root: &Path, fault: &Fault) -> Failure {
    Failure::new(format!(
        "cannot read the store {}: {fault}; it must be readable for the user who runs this, on a \
         sound device",
        root.display()
    ))
}

fn configured(file: &Path, root: &Path) -> Result<Settings, Failure> {
    let mut conf = BrokerConf::default();
    for warning in config::load(file, &mut conf).map_err(Failure::new)? {
        tracing::debug!("{warning}");
    }
    let mut settings = conf.store();
    // Elsewhere than in the root a log is reached by a link of the default name.
    let inside = conf.commit_log.0.strip_prefix(root).ok().and_then(Path::to_str);
    if let Some(inside) = inside.filter(|inside| !inside.is_empty()) {
        inside.clone_into(&mut settings.commit_log_dir);
    }
    Ok(settings)
}

/// The sizes that most files of a kind have.
fn detect(disk: &mut Rehearsal) -> Result<(Settings, String), Fault> {
    let mut settings = Settings::default();
    let log = disk.list(&settings.commit_log_dir)?;
    let mut words = Vec::new();
    let mut take = |name: &str, lens: Vec<u64>, into: &mut u32| {
        if let Some(len) = most(lens).and_then(|len| u32::try_from(len).ok()) {
            *into = len;
            words.push(format!("{name} = {len}"));
        }
    };
    take("mappedFileSizeCommitLog", lens(&log), &mut settings.commit_log_file);
    let simple = queue_lens(disk, &settings.consume_queue_dir)?;
    take("mappedFileSizeConsumeQueue", simple, &mut settings.consume_queue_file);
    let batch = queue_lens(disk, &settings.batch_queue_dir)?;
    take("mapperFileSizeBatchConsumeQueue", batch, &mut settings.batch_queue_file);
    let ext = queue_lens(disk, &settings.queue_ext_dir)?;
    settings.queue_ext = !ext.is_empty();
    take("mappedFileSizeConsumeQueueExt", ext, &mut settings.queue_ext_file);
    if let Some((slots, items)) = audit::index_shape(disk, &settings.index_dir.clone())? {
        (settings.index_slots, settings.index_items) = (slots, items);
        words.push(format!("maxHashSlotNum = {slots}, maxIndexNum = {items}"));
    }
    let queues = disk.list(&settings.consume_queue_dir)?;
    settings.light_queues = queues.iter().any(|entry| entry.name.starts_with("%LMQ%"));
    let words = if words.is_empty() { "defaults".to_owned() } else { words.join(", ") };
    Ok((settings, format!("as most files are ({words})")))
}

fn queue_lens(disk: &mut Rehearsal, root: &str) -> Result<Vec<u64>, Fault> {
    let mut found = Vec::new();
    for topic in disk.list(root)?.into_iter().filter(|entry| entry.is_dir).take(SAMPLE) {
        let topic = format!("{root}/{}", topic.name);
        for queue in disk.list(&topic)?.into_iter().filter(|entry| entry.is_dir) {
            found.extend(lens(&disk.list(&format!("{topic}/{}", queue.name))?));
        }
    }
    Ok(found)
}

fn lens(entries: &[Entry]) -> Vec<u64> {
    let is_part = |entry: &&Entry| {
        let digits = entry.name.len() == 20 && entry.name.bytes().all(|b| b.is_ascii_digit());
        !entry.is_dir && entry.len > 0 && digits
    };
    entries.iter().filter(is_part).map(|entry| entry.len).collect()
}

fn most(lens: Vec<u64>) -> Option<u64> {
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    for len in lens {
        *counts.entry(len).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(len, count)| (*count, *len)).map(|(len, _)| len)
}

/// What `config/topics.json` says, if it can be read.
#[derive(Default)]
pub(super) struct Topics(Option<BTreeMap<Text, TopicConfig>>);

impl Topics {
    /// A file that cannot be read is a finding of an audit, not an obstacle to one.
    fn load(disk: &mut Rehearsal) -> Self {
        let is_valid = |bytes: &[u8]| TopicTable::parse(bytes).is_ok();
        let loaded = hotfire_storage::load(disk, documents::TOPICS, is_valid);
        let Ok(Loaded::Fresh(bytes) | Loaded::FromBackup(bytes)) = loaded else {
            return Self(None);
        };
        Self(TopicTable::parse(&bytes).ok().map(|table| table.topic_config_table))
    }
}

impl audit::Topics for Topics {
    fn is_batch(&self, topic: &str) -> bool {
        let known = self.0.as_ref().and_then(|topics| topics.get(topic));
        known.is_some_and(TopicConfig::is_batch)
    }

    fn is_known(&self, topic: &str) -> bool {
        self.0.as_ref().is_some_and(|topics| topics.contains_key(topic))
    }
}
