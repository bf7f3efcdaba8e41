//! Images in which something has rotted that was on the medium.
//!
//! A store does not read everything when it starts: what lies below where its scan begins it takes
//! for good, so rot there is not noticed, neither at the start nor when a record is served. (A pull
//! hands bytes on without looking at them, as Apache's does; the record's checksum travels with it.
//! `store verify` reads everything.) What is promised is this: rot that the scan meets below the
//! durable mark is a refusal and never a reason to cut; above the mark it cannot be told from a
//! torn tail; and whatever has not rotted itself is served as it was written.

use std::ops::Range;
use std::sync::Arc;

use hotfire_storage::checkpoint::Checkpoint;
use hotfire_storage::position::QueueOffset;
use hotfire_storage::{OpenError, Settings, Store};

use super::judge::Image;
use super::model::{Appended, Known, Place, Print};
use super::workload::is_batch;
use crate::disk::SimDisk;
use crate::oracle::Verdict;
use crate::ring::Violation;

/// Bytes of a checkpoint that Apache wrote, or could have.
const TIMES: u64 = 40;

/// Bytes of the log, or a file, that have rotted.
struct Rotten {
    log: Vec<(u64, u64)>,
    paths: Vec<String>,
    /// Nobody knows any more from where on records have a checksum over all their bytes.
    is_unchecked: bool,
}

impl Rotten {
    fn has(&self, record: &Appended) -> bool {
        let (start, end) = (record.span.at.get(), record.end());
        self.log.iter().any(|(from, to)| *from < end && start < *to)
    }

    fn has_dir(&self, dir: &str) -> bool {
        self.paths.iter().any(|path| path.starts_with(dir))
    }
}

impl Image<'_> {
    pub(super) fn judge_rotten(&mut self, known: &Known) -> Verdict {
        let is_unchecked = self.is_unchecked();
        let mut rotten = Rotten { log: Vec::new(), paths: Vec::new(), is_unchecked };
        for (path, range) in self.medium.rotten() {
            let start = path.strip_prefix("commitlog/").and_then(|name| name.parse::<u64>().ok());
            rotten.log.extend(start.map(|start| (start + range.start, start + range.end)));
            rotten.paths.push(path);
        }
        let (mark, file_len) = (self.mark(&rotten), self.court.file_len());
        let plain = || self.court.settings.clone();
        let (opened, mark) = match self.open_once(self.medium.mount(), plain()) {
            Err(OpenError::Rot { at, durable }) => {
                self.judged.refused = Some("rot");
                if rotten.log.is_empty() {
                    let detail = format!("at {at}, {durable} durable, {:?} rotted", rotten.paths);
                    return Err(Violation::new("rot is found where it is", detail));
                }
                // The operator's word opens it, and loses what lies behind.
                let settings = Settings { accept_rot: true, ..plain() };
                (self.open_once(self.medium.mount(), settings), 0)
            }
            opened => (opened, mark),
        };
        let mut store = opened.map_err(|e| Violation::new("rot is refused as rot", e))?;
        check(&mut store, known, &rotten, mark, file_len)?;
        let print = Print::of(&store);
        drop(store);
        // Of what a queue lacks without showing it, a start after a death finds more.
        let may_find = ["consumequeue/", "batchconsumequeue/"].map(|root| rotten.has_dir(root));
        match self.open_once(self.medium.mount(), plain()) {
            Ok(store) if may_find.contains(&true) || Print::of(&store) == print => Ok(()),
            // It reads more of the log, too.
            Err(OpenError::Rot { .. }) if !rotten.log.is_empty() => Ok(()),
            other => {
                let detail = format!("{print:?}, then {:?}", other.map(|store| Print::of(&store)));
                Err(Violation::new("recovering twice gives the same", detail))
            }
        }
    }

    /// A known limit: that records have a checksum over all their bytes is what the checkpoint
    /// says, in its own part, of a process that `abort` calls one of ours. Where either has rotted,
    /// a record that a power failure tore in its header or its properties passes for good.
    fn is_unchecked(&self) -> bool {
        let is_lost = |(path, range): &(String, Range<u64>)| match path.as_str() {
            "abort" => true,
            "checkpoint" => range.end > TIMES,
            // It is read where a replacement stopped half-way.
            "checkpoint.bak" => self.medium.durable_part("checkpoint", 0, 1).is_none(),
            _ => false,
        };
        self.medium.rotten().iter().any(is_lost)
    }

    /// Up to where the store knows that its log was durable; 0 where that has rotted.
    fn mark(&self, rotten: &Rotten) -> u64 {
        if rotten.has_dir("checkpoint") {
            return 0;
        }
        let bytes = self.medium.durable_part("checkpoint", 0, 4096).unwrap_or_default();
        let durable = Checkpoint::decode(&bytes).ok().and_then(|checkpoint| checkpoint.durable);
        durable.map_or(0, |durable| durable.flushed.get())
    }
}

fn check(
    store: &mut Store<SimDisk>,
    known: &Known,
    rotten: &Rotten,
    mark: u64,
    file_len: u64,
) -> Verdict {
    let end = store.written().end().get();
    // Above the mark rot is a torn tail; so is all that follows it. Of what has rotted on both
    // sides of the mark, a start need not look at what lies below.
    let above = rotten.log.iter().filter(|(_, to)| *to > mark).map(|(from, _)| mark.max(*from));
    let torn = above.map(|from| {
        let behind = known.records().partition_point(|record| record.end() <= from);
        let struck = known.records().get(behind).map(|record| record.span.at.get());
        // Between two records lies a blank one.
        let before = behind.checked_sub(1).map_or(0, |last| known.records()[last].end());
        struck.filter(|at| *at <= from).unwrap_or(before)
    });
    let least = torn.min().unwrap_or(u64::MAX).min(known.flushed);
    if end < least {
        let detail = format!("cut at {end}, {least} was good; rotten: {:?}", rotten.log);
        return Err(Violation::new("rot is no reason to cut", detail));
    }
    let records = || known.records().iter().filter(|record| record.end() <= end);
    let is_as_it_was = |record: &Arc<Appended>| store.view(record.span) == record.bytes;
    let is_doubtful = |record: &&Arc<Appended>| record.end() > known.flushed;
    // What a torn record did to the queues that it names is not to be told from what it should do.
    let has_torn = rotten.is_unchecked && !records().filter(is_doubtful).all(is_as_it_was);
    for record in records().filter(|record| !has_torn || !is_doubtful(record)) {
        let whole = !rotten.has(record);
        if whole && !is_as_it_was(record) {
            let detail = format!("{:?}", record.span);
            return Err(Violation::new("what has not rotted is served as it was", detail));
        }
        for place in record.places.iter().filter(|_| !has_torn) {
            check_unit(store, record, place, whole && is_sound(rotten, place))?;
        }
    }
    if has_torn || !rotten.paths.iter().all(|path| is_guide(path)) {
        return Ok(());
    }
    // Nothing that is served has rotted.
    known.check(store, file_len).map(drop)
}

/// Does the file only say what a start has to do?
fn is_guide(path: &str) -> bool {
    path == "abort" || path.starts_with("checkpoint")
}

/// Has the queue's directory no rot in it?
fn is_sound(rotten: &Rotten, Place { topic, queue, .. }: &Place) -> bool {
    let root = if is_batch(topic) { "batchconsumequeue" } else { "consumequeue" };
    !rotten.has_dir(&format!("{root}/{topic}/{queue}/"))
}

fn check_unit(store: &Store<SimDisk>, record: &Appended, place: &Place, is_sound: bool) -> Verdict {
    let Place { topic, queue, first, .. } = place;
    let unit = store.unit(topic, *queue, QueueOffset::new(*first));
    // Whatever a unit has become, asking whether it can be read is safe.
    let readable = unit.is_some_and(|unit| store.readable(&unit));
    if is_sound && (unit.map(|unit| unit.span) != Some(record.span) || !readable) {
        let detail = format!("{topic}/{queue} {first}: {unit:?}, not {:?}", record.span);
        return Err(Violation::new("what has not rotted is found in its queue", detail));
    }
    Ok(())
}
