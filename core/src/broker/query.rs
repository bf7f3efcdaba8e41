//! Messages by key (requests.md A).

use hotfire_storage::Query;
use hotfire_storage::position::Span;
use hotfire_storage::seam::Disk;

use super::Broker;
use super::names::Refusal;
use crate::domain::{BrokerResponse, Code, Queried, QueryMessage};

/// Most messages of one answer (`maxMsgsNumBatch`).
const MESSAGES_MAX: usize = 64;
/// Most messages that are looked at for a unique id (`defaultQueryMaxNum`): one, and those that the
/// broker itself made of it.
const UNIQUE_MAX: usize = 32;
/// Most bytes of one answer; the newest message always goes. Clients take frames of 16 MiB.
const BYTES_MAX: u32 = 12 << 20;

impl<D: Disk> Broker<D> {
    /// The newest records with a key that consumers may see. The index knows hashes, so others may
    /// be among them: clients compare the key.
    pub(super) fn query(&self, query: &QueryMessage) -> Result<BrokerResponse, Refusal> {
        let most = usize::try_from(query.max_messages).unwrap_or(0).min(MESSAGES_MAX);
        let most = if query.is_unique { UNIQUE_MAX } else { most };
        let QueryMessage { topic, key, kind, begin, end, .. } = query;
        let asked = Query { topic, kind: *kind, key, begin: *begin, end: *end };
        let (mut spans, mut bytes) = (Vec::<Span>::new(), 0_u32);
        let confirmed = self.confirmed();
        if most > 0 {
            self.store.query(&asked, |at| {
                let record = self.store.record(at).map(|record| Span { at, len: record.size() });
                let seen = record.filter(|span| confirmed.covers(span.end()));
                // A message with the same key twice is one message.
                let Some(span) = seen.filter(|span| spans.last() != Some(span)) else {
                    return false;
                };
                bytes = bytes.saturating_add(span.len);
                if bytes > BYTES_MAX && !spans.is_empty() {
                    return true;
                }
                spans.push(span);
                spans.len() >= most
            });
        }
        if spans.is_empty() {
            let remark = "can not find message, maybe time range not correct".to_owned();
            return Err((Code::QueryNotFound, remark));
        }
        spans.reverse();
        let (indexed_time, indexed) = self.store.indexed();
        Ok(BrokerResponse::Queried(Box::new(Queried { indexed_time, indexed, spans })))
    }
}
