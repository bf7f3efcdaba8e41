//! Files of queues that are not what they should be. They are derived: what they said is in the
//! log as well, unless the log no longer reaches back that far.

use crate::chain::{Chain, is_name};
use crate::consume_queue::Unit;
use crate::position::{Physical, QueueOffset};
use crate::queue::Kind;
use crate::record::{Crc, Verdict, check};
use crate::seam::{Disk, Fault};
use crate::{batch_queue, consume_queue};

/// Has any file below `root` the length that the settings say? If none has, it is the settings
/// that are wrong, not the files.
pub(super) fn any_of_length<D: Disk>(disk: &mut D, root: &str, len: u64) -> Result<bool, Fault> {
    for topic in disk.list(root)?.into_iter().filter(|entry| entry.is_dir) {
        for queue in disk.list(&format!("{root}/{}", topic.name))? {
            let files = disk.list(&format!("{root}/{}/{}", topic.name, queue.name))?;
            let is_right = |file: &_| -> bool {
                let file: &crate::seam::Entry = file;
                !file.is_dir && is_name(&file.name) && file.len == len
            };
            if files.iter().any(is_right) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Can the queue whose files lie in `dir` be computed from the log alone, its maximum included?
/// Yes if the log has everything since the beginning, or at least the record of the last unit
/// that the files still show.
pub(super) fn log_reaches<D: Disk>(
    disk: &mut D,
    log: &Chain,
    dir: &str,
    kind: Kind,
) -> Result<bool, Fault> {
    if log.start() == 0 {
        return Ok(true);
    }
    let files = disk.list(dir)?.into_iter().filter(|entry| !entry.is_dir && is_name(&entry.name));
    let names: Vec<_> = files.map(|entry| entry.name).collect();
    for name in names.iter().rev() {
        let bytes = disk.read(&format!("{dir}/{name}"))?.unwrap_or_default();
        let len = usize::try_from(kind.unit_len()).expect("a unit is small");
        for unit in bytes.chunks_exact(len).rev().filter_map(|bytes| decode(kind, bytes)) {
            if unit.span.at.get() < log.start() {
                return Ok(false);
            }
            if is_record(disk, log, &unit) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn decode(kind: Kind, bytes: &[u8]) -> Option<Unit> {
    match kind {
        Kind::Batch => batch_queue::decode(bytes),
        Kind::Simple => consume_queue::decode(bytes, QueueOffset::ZERO),
    }
}

/// Random bytes point somewhere too, but hardly at a record of the length that they say.
fn is_record<D: Disk>(disk: &D, log: &Chain, unit: &Unit) -> bool {
    let Some((file, at)) = log.locate(unit.span.at.get()) else { return false };
    let len = usize::try_from(log.file_len() - at).expect("a file can be mapped");
    let verdict = check(disk.bytes(file, at, len), Physical::new(unit.span.at.get()), Crc::Skip);
    matches!(verdict, Verdict::Good(record) if record.size() == unit.span.len)
}
