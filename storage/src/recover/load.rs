//! What lies on the disk, before anything is changed.

use crate::chain::{Chain, ChainError};
use crate::checkpoint::{self, Checkpoint, Durable, Unreadable};
use crate::queue::{Kind, Queue};
use crate::queue_ext;
use crate::queues::Queues;
use crate::recover::{ABORT, ABORT_OURS, OpenError};
use crate::seam::{Disk, Fault};
use crate::settings::Settings;

/// Every file of the store, open.
pub(super) struct Loaded {
    pub(super) log: Chain,
    pub(super) queues: Queues,
    /// Leftovers, to be removed.
    pub(super) stale: Vec<String>,
    /// A queue lost files in its middle: all units are to be computed anew.
    pub(super) rebuild: bool,
}

/// The checkpoint, or its backup. A backup that stands in for a damaged file is older than that
/// was, and what it says of queues, index and records may have been taken back in between: of
/// its positions only that of the log is believed.
pub(super) fn checkpoint<D: Disk>(disk: &mut D) -> Result<Checkpoint, OpenError> {
    let present = disk.read(checkpoint::PATH)?.filter(|bytes| !bytes.is_empty());
    let is_damaged = match present.as_deref().map(Checkpoint::decode) {
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

pub(super) fn files<D: Disk>(
    disk: &mut D,
    settings: &Settings,
    is_batch: &dyn Fn(&str) -> bool,
) -> Result<Loaded, OpenError> {
    let file_len = u64::from(settings.commit_log_file);
    if file_len == 0 || settings.consume_queue_file == 0 || settings.batch_queue_file == 0 {
        return Err(OpenError::Settings("a file size of zero"));
    }
    if settings.queue_ext && settings.queue_ext_file < queue_ext::FILE_MIN {
        return Err(OpenError::Settings("a file of an extension holds no unit"));
    }
    let mut stale = Vec::new();
    let dir = settings.commit_log_dir.clone();
    let log =
        Chain::load(disk, dir, file_len, &mut stale).map_err(|error| refusal(error, file_len))?;
    let mut loaded = Loaded { log, queues: Queues::default(), stale, rebuild: false };
    for kind in [Kind::Batch, Kind::Simple] {
        loaded.load_kind(disk, settings, kind, is_batch)?;
    }
    if settings.queue_ext {
        loaded.forsake_orphans(disk, &settings.queue_ext_dir)?;
    }
    Ok(loaded)
}

impl Loaded {
    fn load_kind<D: Disk>(
        &mut self,
        disk: &mut D,
        settings: &Settings,
        kind: Kind,
        is_batch: &dyn Fn(&str) -> bool,
    ) -> Result<(), OpenError> {
        let root = Queues::root(settings, kind);
        let file_len = Queues::file_len(settings, kind);
        for (topic, id) in queues_in(disk, root)? {
            let chain = self.chain(disk, format!("{root}/{topic}/{id}"), file_len)?;
            if chain.is_empty() {
                continue;
            }
            if is_batch(&topic) != (kind == Kind::Batch) {
                return Err(OpenError::QueueKind { topic, found: kind });
            }
            let ext = match Queues::ext_dir(settings, &topic, id, kind) {
                Some(dir) => Some(self.chain(disk, dir, u64::from(settings.queue_ext_file))?),
                None => None,
            };
            self.queues.adopt(&topic, id, |life| Queue::found(kind, life, chain, ext));
        }
        Ok(())
    }

    /// A queue's files; none if some are missing in between: the log still has what they said.
    fn chain<D: Disk>(
        &mut self,
        disk: &mut D,
        dir: String,
        file_len: u64,
    ) -> Result<Chain, OpenError> {
        match Chain::load(disk, dir.clone(), file_len, &mut self.stale) {
            Err(ChainError::Gap { .. }) => {
                self.forsake(disk, &dir)?;
                self.rebuild = true;
                Ok(Chain::new(dir, file_len, 0))
            }
            other => other.map_err(|error| refusal(error, file_len)),
        }
    }

    fn forsake<D: Disk>(&mut self, disk: &mut D, dir: &str) -> Result<(), Fault> {
        let files = disk.list(dir)?.into_iter().filter(|entry| !entry.is_dir);
        self.stale.extend(files.map(|entry| format!("{dir}/{}", entry.name)));
        Ok(())
    }

    /// Extensions of queues that are not there any more: a new queue of the name starts anew.
    fn forsake_orphans<D: Disk>(&mut self, disk: &mut D, root: &str) -> Result<(), Fault> {
        for (topic, id) in queues_in(disk, root)? {
            if self.queues.get(&topic, id).is_none() {
                self.forsake(disk, &format!("{root}/{topic}/{id}"))?;
            }
        }
        Ok(())
    }
}

/// Directories `topic/id` below `root`.
fn queues_in<D: Disk>(disk: &mut D, root: &str) -> Result<Vec<(String, i32)>, Fault> {
    let mut found = Vec::new();
    for topic in disk.list(root)?.into_iter().filter(|entry| entry.is_dir) {
        for entry in disk.list(&format!("{root}/{}", topic.name))? {
            if let Ok(id) = entry.name.parse::<i32>() {
                found.push((topic.name.clone(), id));
            }
        }
    }
    Ok(found)
}

fn refusal(error: ChainError, expected: u64) -> OpenError {
    match error {
        ChainError::Disk(fault) => OpenError::Disk(fault),
        ChainError::Gap { path } => OpenError::Gap { path },
        ChainError::Length { path, len } => OpenError::Length { path, len, expected },
    }
}
