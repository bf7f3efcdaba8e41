//! What lies on the disk, before anything is changed.

use crate::chain::{self, Chain, ChainError, UNNAMED};
use crate::checkpoint::{self, Checkpoint, Durable, Unreadable};
use crate::index::{Index, IndexFile, Name};
use crate::position::Physical;
use crate::queue::{Kind, Queue};
use crate::queue_ext;
use crate::queues::Queues;
use crate::recover::repair::Broken;
use crate::recover::{ABORT, ABORT_OURS, OpenError, Teller, damaged};
use crate::seam::{Disk, Fault, Op};
use crate::settings::Settings;

/// What Apache calls the sizes of files.
const LOG_SETTING: &str = "mappedFileSizeCommitLog";
const fn queue_setting(kind: Kind) -> &'static str {
    match kind {
        Kind::Batch => "mapperFileSizeBatchConsumeQueue",
        Kind::Simple => "mappedFileSizeConsumeQueue",
    }
}

const EXT_SETTING: &str = "mappedFileSizeConsumeQueueExt";

/// A queue on the disk.
struct Place<'a> {
    topic: &'a str,
    id: i32,
    kind: Kind,
    dir: &'a str,
}

/// Every file of the store, open.
pub(super) struct Loaded {
    pub(super) log: Chain,
    pub(super) queues: Queues,
    /// The index, with the files that were found, none of them judged.
    pub(super) index: Index,
    /// Index files of a wrong length, and those behind the first of them; newest first.
    pub(super) unfit: Vec<String>,
    /// Leftovers, to be removed.
    pub(super) stale: Vec<String>,
    /// Queues whose files are damaged, to be computed from the log.
    pub(super) broken: Broken,
}

/// The checkpoint, or its backup. A backup that stands in for a damaged file is older than that
/// was, and what it says of queues, index and records may have been taken back in between: of
/// its positions only that of the log is believed.
pub(super) fn checkpoint<D: Disk>(disk: &mut D, before: Before) -> Result<Checkpoint, OpenError> {
    let decode = |bytes: &[u8]| match before {
        Before::Died => Checkpoint::decode_own(bytes),
        Before::DiedForeign | Before::Stopped => Checkpoint::decode(bytes),
    };
    let present = disk.read(checkpoint::PATH)?.filter(|bytes| !bytes.is_empty());
    let is_damaged = match present.as_deref().map(decode) {
        Some(Ok(sound)) => return Ok(sound),
        Some(Err(Unreadable::Newer { version })) => return Err(OpenError::Newer { version }),
        Some(Err(Unreadable::Damaged)) => true,
        None => false,
    };
    let backup = disk.read(checkpoint::BACKUP)?;
    let mut older = match backup.as_deref().map(Checkpoint::decode) {
        Some(Ok(sound)) => sound,
        Some(Err(Unreadable::Newer { version })) => return Err(OpenError::Newer { version }),
        Some(Err(Unreadable::Damaged)) | None => Checkpoint::default(),
    };
    if is_damaged && let Some(durable) = &mut older.durable {
        *durable = Durable { flushed: durable.flushed, ..Durable::default() };
    }
    Ok(older)
}

/// Who used the store before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// A process that stopped in order.
    Stopped,
    /// A process of ours that died.
    Died,
    /// Somebody else's process that died: Apache's, which leaves a bare process id.
    DiedForeign,
}

/// Reads the `abort` file.
pub(super) fn before<D: Disk>(disk: &mut D) -> Result<Before, Fault> {
    Ok(match disk.read(ABORT)? {
        None => Before::Stopped,
        Some(bytes) if bytes.ends_with(ABORT_OURS.as_bytes()) => Before::Died,
        Some(_) => Before::DiedForeign,
    })
}

/// How the files of queues are to be taken.
pub(super) struct Wanted<'a> {
    pub(super) is_batch: &'a dyn Fn(&str) -> bool,
    /// The process before stopped in order.
    pub(super) clean: bool,
    /// Each queue ends behind its last unit below, as far as is known; it is looked into while its
    /// file is at hand.
    pub(super) covered: Option<Physical>,
}

/// The files of the log, open.
pub(super) fn log<D: Disk>(
    disk: &mut D,
    settings: &Settings,
    stale: &mut Vec<String>,
) -> Result<Chain, OpenError> {
    let (dir, file_len) = (settings.commit_log_dir.clone(), u64::from(settings.commit_log_file));
    let log = Chain::load(disk, dir, file_len, stale);
    log.map_err(|error| refusal(error, file_len, LOG_SETTING))
}

pub(super) fn files<D: Disk>(
    disk: &mut D,
    settings: &Settings,
    wanted: &Wanted<'_>,
    teller: &mut Teller<'_>,
) -> Result<Loaded, OpenError> {
    let file_len = u64::from(settings.commit_log_file);
    if file_len == 0 || settings.consume_queue_file == 0 || settings.batch_queue_file == 0 {
        return Err(OpenError::Settings("a file size of zero"));
    }
    if settings.queue_ext && settings.queue_ext_file < queue_ext::FILE_MIN {
        return Err(OpenError::Settings("a file of an extension holds no unit"));
    }
    let mut stale = Vec::new();
    let log = log(disk, settings, &mut stale)?;
    let index = Index::new(settings).map_err(OpenError::Settings)?;
    let (queues, unfit, broken) = (Queues::default(), Vec::new(), Broken::new());
    let mut loaded = Loaded { log, queues, index, unfit, stale, broken };
    for kind in [Kind::Batch, Kind::Simple] {
        loaded.load_kind(disk, settings, kind, wanted, teller)?;
    }
    if settings.queue_ext {
        loaded.forsake_orphans(disk, &settings.queue_ext_dir)?;
    }
    loaded.load_index(disk)?;
    Ok(loaded)
}

impl Loaded {
    /// A checkpoint without positions, after an orderly stop: Apache's. It stops only when all
    /// queues have what the log has, and both are on the medium, so the queues say what is
    /// durable. From now on that is said in our words, which outlive a start that fails.
    pub(super) fn believe_queues<D: Disk>(
        &mut self,
        disk: &D,
        clean: bool,
        checkpoint: &mut Checkpoint,
    ) -> bool {
        if !clean || checkpoint.durable.is_some() {
            return false;
        }
        let known = self.queues.trim_all(disk, Physical::new(u64::MAX));
        let durable = |known| Durable { flushed: known, queued: known, ..Durable::default() };
        checkpoint.durable = known.map(durable);
        known.is_some()
    }

    fn load_kind<D: Disk>(
        &mut self,
        disk: &mut D,
        settings: &Settings,
        kind: Kind,
        wanted: &Wanted<'_>,
        teller: &mut Teller<'_>,
    ) -> Result<(), OpenError> {
        let root = Queues::root(settings, kind);
        for topic in disk.list(root)?.into_iter().filter(|entry| entry.is_dir) {
            let is_right = (wanted.is_batch)(&topic.name) == (kind == Kind::Batch);
            for id in ids_in(disk, root, &topic.name)? {
                let dir = format!("{root}/{}/{id}", topic.name);
                let place = Place { topic: &topic.name, id, kind, dir: &dir };
                let Some(mut queue) = self.queue(disk, settings, &place, wanted.clean)? else {
                    continue;
                };
                if !is_right {
                    return Err(OpenError::QueueKind { topic: topic.name, found: kind });
                }
                if let Some(covered) = wanted.covered {
                    // Units of records that are gone were on the medium before those went.
                    let log_start = Physical::new(self.log.start());
                    queue.trim(disk, covered.max(log_start));
                    queue.survey(disk, log_start);
                }
                self.queues.adopt(&topic.name, id, queue);
                teller.done(self.queues.given(), 0);
            }
        }
        Ok(())
    }

    /// A queue and its extension, if it has files.
    fn queue<D: Disk>(
        &mut self,
        disk: &mut D,
        settings: &Settings,
        place: &Place<'_>,
        clean: bool,
    ) -> Result<Option<Queue>, OpenError> {
        let Place { topic, id, kind, dir } = *place;
        let before = self.stale.len();
        let files = (dir.to_owned(), Queues::file_len(settings, kind), queue_setting(kind));
        let Some(chain) = self.chain(disk, place, files)? else { return Ok(None) };
        if chain.is_empty() {
            // A stop in order leaves no file without bytes: it held units.
            if clean && self.stale.len() > before {
                self.broken.insert((topic.to_owned(), id));
            }
            return Ok(None);
        }
        let ext = match Queues::ext_dir(settings, topic, id, kind) {
            Some(dir) => {
                let len = u64::from(settings.queue_ext_file);
                let chain = self.chain(disk, place, (dir.clone(), len, EXT_SETTING))?;
                Some(chain.unwrap_or_else(|| Chain::new(dir, len, 0)))
            }
            None => None,
        };
        Ok(Some(Queue::found(kind, self.queues.life(), chain, ext)))
    }

    /// Files of a queue. None if they do not follow one another, or have a wrong length, and the
    /// log still has what they said: the queue is computed from it again. A length that no file
    /// of its kind has is no damage, but the wrong setting.
    fn chain<D: Disk>(
        &mut self,
        disk: &mut D,
        queue: &Place<'_>,
        (dir, file_len, setting): (String, u64, &'static str),
    ) -> Result<Option<Chain>, OpenError> {
        let error = match Chain::load(disk, dir.clone(), file_len, &mut self.stale) {
            Ok(chain) => return Ok(Some(chain)),
            Err(error) => error,
        };
        let root = dir.rsplitn(3, '/').last().expect("a queue lies below a root");
        let is_wrong = match &error {
            ChainError::Disk(_) => true,
            ChainError::Gap { .. } => false,
            ChainError::Length { .. } => !damaged::any_of_length(disk, root, file_len)?,
        };
        if is_wrong || !damaged::log_reaches(disk, &self.log, queue.dir, queue.kind)? {
            return Err(match refusal(error, file_len, setting) {
                OpenError::Length { path, len, expected, .. } => {
                    let setting = is_wrong.then_some(setting);
                    OpenError::Length { path, len, expected, setting }
                }
                other => other,
            });
        }
        tracing::warn!(dir, "the files are damaged: what they say is computed from the log again");
        self.broken.insert((queue.topic.to_owned(), queue.id));
        self.forsake(disk, &dir)?;
        Ok(None)
    }

    fn forsake<D: Disk>(&mut self, disk: &mut D, dir: &str) -> Result<(), Fault> {
        let files = disk.list(dir)?.into_iter().filter(|entry| !entry.is_dir);
        self.stale.extend(files.map(|entry| format!("{dir}/{}", entry.name)));
        Ok(())
    }

    /// Extensions of queues that are not there any more: a new queue of the name starts anew.
    fn forsake_orphans<D: Disk>(&mut self, disk: &mut D, root: &str) -> Result<(), Fault> {
        for topic in disk.list(root)?.into_iter().filter(|entry| entry.is_dir) {
            for id in ids_in(disk, root, &topic.name)? {
                if self.queues.get(&topic.name, id).is_none() {
                    self.forsake(disk, &format!("{root}/{}/{id}", topic.name))?;
                }
            }
        }
        Ok(())
    }

    /// Index files, as far as they have the right length. What they say can be computed from the
    /// log, so nothing about them is a reason not to start.
    fn load_index<D: Disk>(&mut self, disk: &mut D) -> Result<(), Fault> {
        let dir = self.index.dir().to_owned();
        // Without an index its files are left alone.
        let Some(shape) = self.index.shape() else { return Ok(()) };
        for entry in disk.list(&dir)?.into_iter().filter(|entry| !entry.is_dir) {
            let path = format!("{dir}/{}", entry.name);
            match (Name::parse(&entry.name), entry.name.strip_suffix(UNNAMED)) {
                (Some(name), _) if entry.len == shape.file_len() && self.unfit.is_empty() => {
                    let file = chain::open(disk, Op::Open { path: &path })?;
                    self.index.adopt(IndexFile::found(disk, name, file));
                }
                (Some(name), _) => {
                    self.index.avoid(name);
                    self.unfit.insert(0, path);
                }
                (None, Some(name)) if Name::parse(name).is_some() => self.stale.push(path),
                (None, _) => {}
            }
        }
        Ok(())
    }
}

/// The numbers of a topic's queues that have a directory.
fn ids_in<D: Disk>(disk: &mut D, root: &str, topic: &str) -> Result<Vec<i32>, Fault> {
    let entries = disk.list(&format!("{root}/{topic}"))?;
    Ok(entries.iter().filter_map(|entry| entry.name.parse().ok()).collect())
}

fn refusal(error: ChainError, expected: u64, setting: &'static str) -> OpenError {
    match error {
        ChainError::Disk(fault) => OpenError::Disk(fault),
        ChainError::Gap { path, missing } => OpenError::Gap { path, missing },
        ChainError::Length { path, len, is_alone } => {
            OpenError::Length { path, len, expected, setting: (!is_alone).then_some(setting) }
        }
    }
}
