//! What lies behind the last unit of each queue: nothing, for those who read on until a unit is
//! zero.
//!
//! That is how Apache finds the end of a queue, and what a start of ours builds on after a crash
//! (`storage/src/queue/rest.rs`): it writes nothing where it reads zeros, so what it reads and what
//! is on the medium must agree there. Read from raw bytes, by a parser that knows nothing of the
//! product but where a queue ends.

use std::collections::BTreeMap;

use hotfire_storage::Store;

use crate::disk::SimDisk;
use crate::oracle::Verdict;
use crate::ring::Violation;

/// Where queues lie, and how long their units are, in bytes.
const ROOTS: [(&str, usize); 2] = [("consumequeue/", 20), ("batchconsumequeue/", 46)];
/// A unit of a batch queue: its first message's offset, and how many there are.
const FIRST: usize = 28;
const COUNT: usize = 36;

/// Files: every path and its bytes.
type Files = BTreeMap<String, Vec<u8>>;

/// Checks a store that was opened and not appended to: what its process sees, and the medium.
pub(super) fn check(store: &Store<SimDisk>) -> Verdict {
    let is_queue = |path: &str| queue_file(path).is_some();
    let seen = store.disk().seen_where(is_queue);
    let durable = store.disk().medium().durable_where(is_queue);
    let ends = |path: &str| {
        let (_, queue) = path.split_once('/')?;
        let (topic, id) = queue.rsplit_once('/')?;
        let range = store.queue(topic, id.parse().ok()?);
        Some(range.map_or(0, |range| range.max.get()))
    };
    let mut known = BTreeMap::new();
    for (files, whose) in [(&seen, "the process"), (&durable, "the medium")] {
        for (path, bytes) in files {
            let Some((dir, start, unit)) = queue_file(path) else { continue };
            let Some(next) = ends(dir) else { continue };
            let end = *known.entry(dir).or_insert_with(|| end(&seen, dir, unit, next));
            let behind = bytes.get(end.saturating_sub(start)..).unwrap_or_default();
            if let Some(at) = behind.iter().position(|byte| *byte != 0) {
                let what = format!("{path} ends at {end} with {next} messages; {whose} has more");
                let detail = format!("{what}, at {}", start + bytes.len() - behind.len() + at);
                return Err(Violation::new("nothing lies behind a queue", detail));
            }
        }
    }
    Ok(())
}

/// The directory of a queue's file, where it begins, and how long units are in it.
fn queue_file(path: &str) -> Option<(&str, usize, usize)> {
    let (_, unit) = ROOTS.into_iter().find(|(root, _)| path.starts_with(root))?;
    let (dir, name) = path.rsplit_once('/')?;
    Some((dir, name.parse().ok()?, unit))
}

/// Where the queue in `dir` ends, before message number `next`.
fn end(files: &Files, dir: &str, unit: usize, next: u64) -> usize {
    if unit == ROOTS[0].1 {
        return unit * usize::try_from(next).expect("a simulated queue is short");
    }
    let in_dir = files.iter().filter(|(path, _)| path.starts_with(dir));
    let filed = in_dir.filter_map(|(path, bytes)| Some((queue_file(path)?.1, bytes)));
    let units = filed.flat_map(|(start, bytes)| (start..).step_by(unit).zip(bytes.chunks(unit)));
    let known = units.take_while(|(_, bytes)| {
        let int = |at: usize, len: usize| {
            bytes[at..at + len].iter().fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte))
        };
        let count = int(COUNT, 2);
        count > 0 && int(FIRST, 8) + count <= next
    });
    known.last().map_or(0, |(start, _)| start + unit)
}
