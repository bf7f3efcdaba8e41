//! What lies where in a log, by its bytes.

use super::super::node::Node;
use super::Verdict;
use crate::oracle::image::Image;
use crate::ring::Violation;
use crate::workload::message::{Found, parse};

/// The record that begins at `at`, in a file that begins at `start`.
pub(super) fn record_at((start, file): (u64, Vec<u8>), at: u64) -> Option<Vec<u8>> {
    let within = usize::try_from(at - start).ok()?;
    match parse(file.get(within..)?) {
        Found::Record(record) if record.at == at => {
            Some(file[within..within + record.size as usize].to_vec())
        }
        _ => None,
    }
}

/// Is all of the log below `end` on the medium? Of what is not, recovery cuts what follows.
pub(super) fn is_durable_upto(node: &Node, end: u64, file_len: u64) -> bool {
    (0..end).step_by(usize::try_from(file_len).expect("a file is short")).all(|start| {
        let Some((_, mut file)) = node.log_file(start, file_len) else { return true };
        file.truncate(usize::try_from(end - start).unwrap_or(usize::MAX));
        node.is_durable(start, &file, file_len)
    })
}

/// Each queue of a log counts on, record by record.
pub(super) fn no_gaps(node: &Node, who: &str) -> Verdict {
    let image = Image::read(&node.log_files());
    for (topic, queue, messages) in image.queues() {
        let offsets: Vec<u64> = messages.keys().copied().collect();
        if let Some(gap) = offsets.windows(2).find(|pair| pair[0] + 1 != pair[1]) {
            let detail = format!("{who}: {topic}/{queue} counts {gap:?}");
            return Err(Violation::new("a queue counts its messages", detail));
        }
    }
    Ok(())
}
