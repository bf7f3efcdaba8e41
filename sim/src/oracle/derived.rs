//! I7: what is derived from the log is what the log says: the store's own recomputation agrees,
//! and so does one from the raw bytes by a parser that knows nothing of the product.

use hotfire_storage::Store;
use hotfire_storage::position::QueueOffset;
use hotfire_storage::seam::Disk;
use hotfire_storage::text::Text;

use super::Verdict;
use super::image::Image;
use crate::ring::Violation;

const ORACLE: &str = "queues are what the log says";

/// Checks a store against the image of its own log.
pub fn check<D: Disk>(store: &Store<D>, image: &Image) -> Verdict {
    let differs = |detail: String| Err(Violation::new(ORACLE, detail));
    if let Err(divergence) = store.verify_all() {
        return differs(divergence.to_string());
    }
    if image.end != store.written().end().get() {
        let (ours, theirs) = (image.end, store.written().end());
        return differs(format!("the log's bytes end at {ours}, the store says {theirs}"));
    }
    if let Some((topic, queue, offset)) = image.twice.first() {
        return differs(format!("{topic}/{queue} offset {offset} lies twice in the log"));
    }
    let lights = image.lights().map(|(name, messages)| (name, 0, messages));
    for (topic, queue, messages) in image.queues().chain(lights) {
        let range = store.queue(topic, queue);
        let (min, max) = range.map_or((0, 0), |range| (range.min.get(), range.max.get()));
        if !messages.keys().copied().eq(min..max) {
            return differs(format!("{topic}/{queue} has {min}..{max}, its records differ"));
        }
        for (offset, placed) in messages {
            let unit = store.unit(topic, queue, QueueOffset::new(*offset));
            let span = unit.map(|unit| (unit.span.at.get(), unit.span.len));
            if span != Some((placed.at, placed.size)) {
                let record = (placed.at, placed.size);
                let what = format!("{topic}/{queue} offset {offset}: {span:?} for {record:?}");
                return differs(what);
            }
        }
    }
    for (topic, queue, range) in store.queues() {
        let topic = &Text::from(topic);
        let known = image.queue(topic, queue).or(image.light(topic));
        let known = known.map_or(0, std::collections::BTreeMap::len);
        if range.max.get() - range.min.get() > known as u64 {
            return differs(format!("{topic}/{queue} has {range:?}, and {known} records"));
        }
    }
    Ok(())
}
