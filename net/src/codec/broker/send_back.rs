//! CONSUMER_SEND_MSG_BACK (requests.md A.2).

use hotfire_core::domain::{BrokerRequest, SendBack};
use hotfire_storage::position::Physical;

use super::DecodeError;
use crate::head_writer::HeadWriter;
use crate::header::Fields;

pub(super) fn decode(fields: &Fields) -> Result<BrokerRequest, DecodeError> {
    Ok(BrokerRequest::SendBack(Box::new(SendBack {
        group: fields.text("group")?,
        at: Physical::new(fields.number("offset")?),
        delay_level: fields.number("delayLevel")?,
        origin_id: fields.text_if("originMsgId"),
        max_reconsume_times: fields.number_if("maxReconsumeTimes"),
        unit_mode: fields.truth_if("unitMode").unwrap_or(false),
    })))
}

pub(super) fn put(head: &mut HeadWriter<'_>, back: &SendBack) {
    head.field("group", &back.group)
        .show("offset", back.at)
        .show("delayLevel", back.delay_level)
        .field_if("originMsgId", back.origin_id.as_ref())
        .show("unitMode", back.unit_mode);
    if let Some(times) = back.max_reconsume_times {
        head.show("maxReconsumeTimes", times);
    }
}
