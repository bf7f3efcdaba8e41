//! Images in which something has rotted that was on the medium.
//!
//! A store does not read everything when it starts: what lies below where its scan begins it takes
//! for good, so rot there is not noticed, neither at the start nor when a record is served. (A pull
//! hands bytes on without looking at them, as Apache's does; the record's checksum travels with it.
//! `store verify` reads everything.) What is promised is this: rot that the scan meets below the
//! durable mark is a refusal and never a reason to cut; above the mark it cannot be told from a
//! torn tail; and whatever has not rotted itself is served as it was written.

use hotfire_storage::checkpoint::Checkpoint;
use hotfire_storage::position::QueueOffset;
use hotfire_storage::{OpenError, Settings, Store};

use super::judge::Image;
use super::model::{Appended, Known, Place};
use super::workload::is_batch;
use crate::disk::SimDisk;
use crate::oracle::Verdict;
use crate::ring::Violation;

/// Bytes of the log, or a file, that have rotted.
struct Rotten {
    log: Vec<(u64, u64)>,
    paths: Vec<String>,
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
        let mut rotten = Rotten { log: Vec::new(), paths: Vec::new() };
        for (path, range) in self.medium.rotten() {
            let start = path.strip_prefix("commitlog/").and_then(|name| name.parse::<u64>().ok());
            rotten.log.extend(start.map(|start| (start + range.start, start + range.end)));
            rotten.paths.push(path);
        }
        let mark = self.mark(&rotten);
        match self.open_once(self.medium.mount(), self.court.settings.clone()) {
            Ok(store) => check(&store, known, &rotten, mark),
            Err(OpenError::Rot { at, durable }) => {
                self.judged.refused = Some("rot");
                if rotten.log.is_empty() {
                    let detail = format!("at {at}, {durable} durable, {:?} rotted", rotten.paths);
                    return Err(Violation::new("rot is found where it is", detail));
                }
                // The operator's word opens it, and loses what lies behind.
                let settings = Settings { accept_rot: true, ..self.court.settings.clone() };
                let opened = self.open_once(self.medium.mount(), settings);
                let store = opened.map_err(|e| Violation::new("an accepted loss opens", e))?;
                check(&store, known, &rotten, 0)
            }
            Err(error) => Err(Violation::new("rot is refused as rot", error)),
        }
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

fn check(store: &Store<SimDisk>, known: &Known, rotten: &Rotten, mark: u64) -> Verdict {
    let end = store.written().end().get();
    // Above the mark rot is a torn tail; so is all that follows it.
    let torn = rotten.log.iter().filter_map(|(from, _)| {
        let behind = known.records().partition_point(|record| record.end() <= *from);
        let start = behind.checked_sub(1).map_or(0, |last| known.records()[last].end());
        (start >= mark).then_some(start)
    });
    let least = torn.min().unwrap_or(u64::MAX).min(known.flushed);
    if end < least {
        let detail = format!("cut at {end}, {least} was good; rotten: {:?}", rotten.log);
        return Err(Violation::new("rot is no reason to cut", detail));
    }
    for record in known.records().iter().filter(|record| record.end() <= end) {
        let whole = !rotten.has(record);
        if whole && store.view(record.span) != record.bytes {
            let detail = format!("{:?}", record.span);
            return Err(Violation::new("what has not rotted is served as it was", detail));
        }
        for place in &record.places {
            check_unit(store, record, place, whole && is_sound(rotten, place))?;
        }
    }
    Ok(())
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
