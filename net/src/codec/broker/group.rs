//! What name servers tell members of a group: code 905 (requests.md D).

use hotfire_core::domain::{BrokerId, BrokerRequest, MinIdChange, Text};

use super::DecodeError;
use crate::head_writer::HeadWriter;
use crate::header::Fields;

/// The original leaves the group's name out: its members know which it is.
pub(super) fn decode(fields: &Fields) -> Result<BrokerRequest, DecodeError> {
    let text_if = |name| fields.text_if(name).filter(|text: &Text| !text.is_empty());
    Ok(BrokerRequest::MinIdChanged(Box::new(MinIdChange {
        broker_name: text_if("brokerName").unwrap_or_default(),
        id: BrokerId(fields.number("minBrokerId")?),
        addr: text_if("minBrokerAddr").unwrap_or_default(),
        offline: text_if("offlineBrokerAddr"),
        ha_addr: text_if("haBrokerAddr"),
    })))
}

pub(super) fn put(head: &mut HeadWriter<'_>, change: &MinIdChange) {
    head.show("minBrokerId", change.id.0)
        .field("brokerName", &change.broker_name)
        .field("minBrokerAddr", &change.addr)
        .field_if("offlineBrokerAddr", change.offline.as_ref())
        .field_if("haBrokerAddr", change.ha_addr.as_ref());
}
