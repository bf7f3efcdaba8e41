//! I2: when a broker says `Ok` under SYNC_FLUSH to a sender who waits, the record is on the medium
//! at that moment. The medium's durable image is asked, not the broker.

use super::Verdict;
use crate::ring::Violation;
use crate::workload::message::{Found, parse};

/// Judges one acknowledged record: `durable` is what the medium holds from its position to the
/// end of its file.
pub fn check(at: u64, durable: Option<&[u8]>) -> Verdict {
    let found = durable.map_or(Found::Nothing, parse);
    match found {
        Found::Record(record) if record.at == at => Ok(()),
        _ => {
            let detail = format!("the record at {at} was acknowledged, the medium has {found:?}");
            Err(Violation::new("an acknowledgement is honest", detail))
        }
    }
}
