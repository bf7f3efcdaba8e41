//! The usual answer to a send: one message stored, asked for in the JSON form, on a broker with an
//! IPv4 address. There is one for each message, so it is written at once and not field by field;
//! the bytes are the same.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::BytesMut;
use hotfire_core::domain::{Caller, Code, Positions, Sent};
use hotfire_storage::position::Physical;

use crate::frame::PREFIX;
use crate::head_writer::{Outgoing, whole};
use crate::header::VERSION;
use crate::json_text::first_special;

/// The answer, if it is such a one.
pub(super) fn encode(
    caller: &Caller,
    code: Code,
    sent: &Sent,
    store_host: SocketAddr,
    into: &mut BytesMut,
) -> Option<Outgoing> {
    let (SocketAddr::V4(host), Positions::One(at)) = (store_host, &sent.at) else { return None };
    let transaction = sent.transaction_id.as_bytes();
    let is_plain =
        transaction.len() <= TRANSACTION_MAX && first_special(transaction, 0) == transaction.len();
    if !caller.json || sent.inner_batch || !is_plain {
        return None;
    }
    let mut line = Line { bytes: [0; LINE_MAX], len: PREFIX };
    line.text(b"{\"code\":").number(code.number());
    line.text(b",\"extFields\":{\"msgId\":\"").message_id(*host.ip(), host.port(), *at);
    line.text(b"\",\"queueId\":\"").number(sent.queue);
    line.text(b"\",\"queueOffset\":\"").number(sent.queue_offset.get());
    if !transaction.is_empty() {
        line.text(b"\",\"transactionId\":\"").bytes(transaction);
    }
    line.text(TO_OPAQUE).number(caller.opaque);
    line.text(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":").number(VERSION).text(b"}");
    Some(whole(into, line.framed()))
}

/// A usual unique key has 32.
const TRANSACTION_MAX: usize = 64;
/// What never varies, between the offset or the transaction's id and the request's number.
const TO_OPAQUE: &[u8; 86] = b"\",\"TRACE_ON\":\"true\",\"MSG_REGION\":\"DefaultRegion\"},\
    \"flag\":1,\"language\":\"RUST\",\"opaque\":";
/// All of the text above, and the most digits of each number.
const LINE_MAX: usize = 448;

/// A frame's head in the making.
struct Line {
    bytes: [u8; LINE_MAX],
    len: usize,
}

impl Line {
    fn text<const N: usize>(&mut self, text: &[u8; N]) -> &mut Self {
        self.bytes[self.len..self.len + N].copy_from_slice(text);
        self.len += N;
        self
    }

    fn number(&mut self, number: impl itoa::Integer) -> &mut Self {
        self.bytes(itoa::Buffer::new().format(number).as_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
        self
    }

    /// The offset message id (wire.md 10).
    fn message_id(&mut self, host: Ipv4Addr, port: u16, at: Physical) -> &mut Self {
        let at = at.get();
        self.text(&hex(host.to_bits().into())).text(&hex(port.into()));
        self.text(&hex(at >> 32)).text(&hex(at))
    }

    /// The length and the mark go in front.
    fn framed(&mut self) -> &[u8] {
        let header = u32::try_from(self.len - PREFIX).expect("a few hundred bytes");
        self.bytes[..4].copy_from_slice(&(4 + header).to_be_bytes());
        self.bytes[4..PREFIX].copy_from_slice(&header.to_be_bytes());
        &self.bytes[..self.len]
    }
}

/// The last eight digits, upper-case, all at once: each moves into a byte of its own.
fn hex(number: u64) -> [u8; 8] {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    let number = number & 0xFFFF_FFFF;
    let number = (number << 16 | number) & 0x0000_FFFF_0000_FFFF;
    let number = (number << 8 | number) & 0x00FF_00FF_00FF_00FF;
    let digits = (number << 4 | number) & 0x0F0F_0F0F_0F0F_0F0F;
    // Ten and more have the fifth bit when six is added.
    let letters = (digits + EACH * 6) >> 4 & EACH;
    let to_letter = u64::from(b'A' - 10 - b'0');
    (digits + EACH * u64::from(b'0') + letters * to_letter).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use hotfire_core::domain::{ConnId, Language, SendStatus};
    use hotfire_storage::position::QueueOffset;
    use proptest::prelude::*;

    use super::*;
    use crate::codec::broker::{Answering, send};

    proptest! {
        #[test]
        fn it_is_what_is_written_field_by_field(
            (opaque, queue, offset) in any::<(i32, i32, u64)>(),
            (ip, port, at) in any::<(u32, u16, u64)>(),
            status in prop::sample::select(vec![
                SendStatus::Ok,
                SendStatus::FlushDiskTimeout,
                SendStatus::SlaveNotAvailable,
                SendStatus::FlushSlaveTimeout,
            ]),
            small in 0..65_u32,
            transaction in "[0-9A-F]{0,32}|.{0,80}",
        ) {
            let caller = Caller {
                conn: ConnId(1),
                peer: ([127, 0, 0, 1], 1).into(),
                opaque,
                oneway: false,
                language: Language::JAVA,
                version: 1,
                json: true,
            };
            let sent = Sent {
                status,
                queue,
                queue_offset: QueueOffset::new(offset.checked_shr(small).unwrap_or(0)),
                at: Positions::One(Physical::new(at.checked_shr(small).unwrap_or(0))),
                transaction_id: transaction.as_str().into(),
                inner_batch: false,
            };
            let store_host = SocketAddr::from((Ipv4Addr::from(ip), port));
            let lease = &mut |_| unreachable!("no body");
            let with = Answering { store_host, lease };
            let (code, into) = (send::code(status), &mut BytesMut::new());
            let by_field = send::by_field(&caller, code, &sent, &with, into);
            let at_once = encode(&caller, code, &sent, store_host, into);
            let is_usual = transaction.len() <= TRANSACTION_MAX
                && transaction.chars().all(|c| c >= ' ' && c != '"' && c != '\\');
            prop_assert_eq!(at_once.is_some(), is_usual);
            if let Some(at_once) = at_once {
                prop_assert_eq!(at_once.to_vec(), by_field.to_vec());
            }
        }
    }
}
