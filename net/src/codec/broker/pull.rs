//! PULL_MESSAGE and LITE_PULL_MESSAGE (requests.md A and A.3).

use bytes::BytesMut;
use hotfire_core::domain::{
    BrokerRequest, BrokerResponse, Caller, Code, Pull, PullStatus, Pulled, QueueRef, Text,
};
use hotfire_storage::position::QueueOffset;

use super::{Answering, DecodeError, answer};
use crate::head_writer::{Body, HeadWriter, Outgoing};
use crate::header::{Fields, Header};

// Bits of a pull's sysFlag (wire.md 7).
const COMMIT_OFFSET: i32 = 1;
const SUSPEND: i32 = 2;
const SUBSCRIPTION: i32 = 4;

pub(super) fn decode(fields: &Fields) -> Result<BrokerRequest, DecodeError> {
    let sys_flag: i32 = fields.number("sysFlag")?;
    let commit = fields.number("commitOffset")?;
    let suspend: i64 = fields.number("suspendTimeoutMillis")?;
    let subscription = fields.text_if("subscription").filter(|text| !text.is_empty());
    Ok(BrokerRequest::Pull(Box::new(Pull {
        group: fields.text("consumerGroup")?,
        from: QueueRef { topic: fields.text("topic")?, queue: fields.number("queueId")? },
        offset: fields.number("queueOffset")?,
        max_messages: fields.number("maxMsgNums")?,
        max_bytes: fields.number_if("maxMsgBytes"),
        commit: (sys_flag & COMMIT_OFFSET != 0).then_some(commit),
        hold_ms: (sys_flag & SUSPEND != 0).then_some(u64::try_from(suspend).unwrap_or(0)),
        // Announced and left out means everything, as an empty expression does.
        subscription: (sys_flag & SUBSCRIPTION != 0)
            .then(|| subscription.unwrap_or(Text::from_static("*"))),
        sub_version: fields.number("subVersion")?,
        expression_type: fields.text_if("expressionType"),
    })))
}

pub(super) fn put(head: &mut HeadWriter<'_>, pull: &Pull) -> Body {
    let mut sys_flag = 0;
    for (bit, set) in [
        (COMMIT_OFFSET, pull.commit.is_some()),
        (SUSPEND, pull.hold_ms.is_some()),
        (SUBSCRIPTION, pull.subscription.is_some()),
    ] {
        sys_flag |= if set { bit } else { 0 };
    }
    head.field("consumerGroup", &pull.group)
        .field("topic", &pull.from.topic)
        .show("queueId", pull.from.queue)
        .show("queueOffset", pull.offset)
        .show("maxMsgNums", pull.max_messages)
        .show("sysFlag", sys_flag)
        .show("commitOffset", pull.commit.unwrap_or(0))
        .show("suspendTimeoutMillis", pull.hold_ms.unwrap_or(0))
        .field_if("subscription", pull.subscription.as_ref())
        .show("subVersion", pull.sub_version)
        .field_if("expressionType", pull.expression_type.as_ref())
        .field_if("maxMsgBytes", pull.max_bytes);
    Body::None
}

pub(super) fn encode_response(
    caller: &Caller,
    pulled: &Pulled,
    with: &mut Answering<'_>,
    into: &mut BytesMut,
) -> Outgoing {
    let mut head = answer(caller, pulled.code, Some(name(pulled.status)), into);
    head.number("suggestWhichBrokerId", pulled.suggest)
        .number("nextBeginOffset", pulled.next.get())
        .number("minOffset", pulled.min.get())
        .number("maxOffset", pulled.max.get());
    head.finish(match pulled.spans[..] {
        [] => Body::None,
        [span] => Body::One((with.lease)(span)),
        _ => Body::Many(pulled.spans.iter().map(|span| (with.lease)(*span)).collect()),
    })
}

/// The answer that a header carries, or `None` if it refuses.
pub(super) fn decode_response(header: &Header) -> Result<Option<BrokerResponse>, DecodeError> {
    let (code, fallback) = match Code::from_number(header.code) {
        Some(code @ Code::Success) => (code, PullStatus::Found),
        Some(code @ Code::PullNotFound) => (code, PullStatus::OffsetOverflowOne),
        Some(code @ Code::PullRetryImmediately) => (code, PullStatus::NoMatchedMessage),
        Some(code @ Code::PullOffsetMoved) => (code, PullStatus::OffsetTooSmall),
        _ => return Ok(None),
    };
    let fields = &header.fields;
    let offset = |key| fields.number(key).map(QueueOffset::new);
    // Newer brokers may know statuses that we do not; the code says what to do in any case.
    let remark = header.remark.as_deref().unwrap_or_default();
    let status = STATUSES.into_iter().find(|status| name(*status) == remark).unwrap_or(fallback);
    Ok(Some(BrokerResponse::Pulled(Box::new(Pulled {
        status,
        code,
        next: offset("nextBeginOffset")?,
        min: offset("minOffset")?,
        max: offset("maxOffset")?,
        suggest: fields.number("suggestWhichBrokerId")?,
        spans: Vec::new(),
    }))))
}

const STATUSES: [PullStatus; 8] = [
    PullStatus::Found,
    PullStatus::NoMatchedMessage,
    PullStatus::NoMessageInQueue,
    PullStatus::MessageWasRemoving,
    PullStatus::OffsetOverflowOne,
    PullStatus::OffsetOverflowBadly,
    PullStatus::OffsetTooSmall,
    PullStatus::OffsetReset,
];

const fn name(status: PullStatus) -> &'static str {
    match status {
        PullStatus::Found => "FOUND",
        PullStatus::NoMatchedMessage => "NO_MATCHED_MESSAGE",
        PullStatus::NoMessageInQueue => "NO_MESSAGE_IN_QUEUE",
        PullStatus::MessageWasRemoving => "MESSAGE_WAS_REMOVING",
        PullStatus::OffsetOverflowOne => "OFFSET_OVERFLOW_ONE",
        PullStatus::OffsetOverflowBadly => "OFFSET_OVERFLOW_BADLY",
        PullStatus::OffsetTooSmall => "OFFSET_TOO_SMALL",
        PullStatus::OffsetReset => "OFFSET_RESET",
    }
}
