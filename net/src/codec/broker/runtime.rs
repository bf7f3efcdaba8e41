//! How a broker is: code 28 (requests.md C.1). A table of texts; what the original calls by a name
//! has it here, what it has no name for has one of ours.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use hotfire_core::domain::{BrokerResponse, RuntimeInfo, Text};
use hotfire_core::flush::FlushFigures;
use hotfire_storage::position::{Confirmed, Flushed, Physical, Written};
use hotfire_storage::time::Wall;

use super::DecodeError;
use crate::codec::body::{self, KvTable};
use crate::head_writer::Body;

const VERSION: &str = concat!("Hotfire-", env!("CARGO_PKG_VERSION"));

pub(super) fn body(info: &RuntimeInfo) -> Body {
    let (end, flushed) = (info.written.end(), info.flushed.end());
    let mut table = BTreeMap::new();
    let mut put =
        |key: &str, value: &dyn Display| table.insert(key.into(), value.to_string().into());
    put("bootTimestamp", &info.booted.as_millis());
    put("brokerActive", &info.sends_refused.is_none());
    put("brokerVersionDesc", &VERSION);
    put("commitLogConfirmedOffset", &info.confirmed.end());
    put("commitLogFlushedOffset", &flushed);
    put("commitLogMaxOffset", &end);
    put("commitLogMinOffset", &info.start);
    // Queues and index are built with the append.
    put("dispatchBehindBytes", &0);
    let flushes = &info.flushes;
    put("flushCount", &flushes.syncs);
    put("flushMicrosMax", &flushes.micros_max);
    put("flushMicrosP50", &flushes.micros_p50);
    put("flushMicrosP99", &flushes.micros_p99);
    put("groupCommitMax", &flushes.shared_max);
    put("groupCommitP50", &flushes.shared_p50);
    put("heldPulls", &info.held_pulls);
    put("remainHowManyDataToFlush", &format_args!("{} B", end.get() - flushed.get()));
    put("runtime", &Words(info.uptime));
    put("uptimeSeconds", &info.uptime.as_secs());
    put("waitingSends", &info.waiting_sends);
    if let Some(why) = &info.sends_refused {
        put("sendsRefused", why);
    }
    body::write(&KvTable { table }).into()
}

/// `[ 1 days, 2 hours, 3 minutes, 4 seconds ]`.
struct Words(Duration);

impl Display for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.0.as_secs();
        let (minutes, hours) = (seconds / 60, seconds / 3600);
        let days = hours / 24;
        let (hours, minutes, seconds) = (hours % 24, minutes % 60, seconds % 60);
        write!(f, "[ {days} days, {hours} hours, {minutes} minutes, {seconds} seconds ]")
    }
}

/// To the second, as the table has it.
pub(super) fn decode(json: &Bytes) -> Result<BrokerResponse, DecodeError> {
    let table = body::parse::<KvTable>(json, "a KVTable")?.table;
    let position = |key| number(&table, key).map(Physical::new);
    Ok(BrokerResponse::RuntimeInfo(Box::new(RuntimeInfo {
        booted: Wall::from_millis(number(&table, "bootTimestamp")?),
        uptime: Duration::from_secs(number(&table, "uptimeSeconds")?),
        start: position("commitLogMinOffset")?,
        written: Written::upto(position("commitLogMaxOffset")?),
        flushed: Flushed::upto(position("commitLogFlushedOffset")?),
        confirmed: Confirmed::upto(position("commitLogConfirmedOffset")?),
        held_pulls: number(&table, "heldPulls")?,
        waiting_sends: number(&table, "waitingSends")?,
        flushes: FlushFigures {
            syncs: number(&table, "flushCount")?,
            micros_p50: number(&table, "flushMicrosP50")?,
            micros_p99: number(&table, "flushMicrosP99")?,
            micros_max: number(&table, "flushMicrosMax")?,
            shared_p50: number(&table, "groupCommitP50")?,
            shared_max: number(&table, "groupCommitMax")?,
        },
        sends_refused: table.get("sendsRefused").cloned(),
    })))
}

fn number<N: std::str::FromStr>(
    table: &BTreeMap<Text, Text>,
    key: &'static str,
) -> Result<N, DecodeError> {
    table.get(key).and_then(|text| text.parse().ok()).ok_or(DecodeError::Missing(key))
}
