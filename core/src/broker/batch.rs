//! The body of a batch send, message by message (wire.md 9).

/// One message of a batch, as slices of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchMessage<'a> {
    pub(super) flag: i32,
    pub(super) body: &'a [u8],
    pub(super) properties: &'a [u8],
}

/// Splits a batch. Nothing is allocated by a length that was not checked against the body.
pub(super) fn split(mut body: &[u8], max: usize) -> Result<Vec<BatchMessage<'_>>, String> {
    let mut messages = Vec::new();
    while !body.is_empty() {
        if messages.len() == max {
            return Err(format!("a batch holds at most {max} messages"));
        }
        let number = messages.len();
        let Some((message, rest)) = next(body) else {
            return Err(format!("message {number} of the batch does not add up"));
        };
        if std::str::from_utf8(message.properties).is_err() {
            return Err(format!("the properties of message {number} of the batch are not UTF-8"));
        }
        messages.push(message);
        body = rest;
    }
    if messages.is_empty() {
        return Err("a batch without messages".to_owned());
    }
    Ok(messages)
}

/// `[4 total][4 magic][4 crc][4 flag][4 n][body][2 n][properties]`; magic and CRC are ignored.
fn next(all: &[u8]) -> Option<(BatchMessage<'_>, &[u8])> {
    let total = usize::try_from(int(all, 0)?).ok()?;
    let (message, rest) = all.split_at_checked(total)?;
    let flag = int(message, 12)?;
    let body_len = usize::try_from(int(message, 16)?).ok()?;
    let (body, tail) = message.get(20..)?.split_at_checked(body_len)?;
    let (len, properties) = tail.split_first_chunk::<2>()?;
    let len = usize::try_from(i16::from_be_bytes(*len)).ok()?;
    (properties.len() == len).then_some((BatchMessage { flag, body, properties }, rest))
}

fn int(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of wire.md 9.
    const HELLO: [u8; 31] = *b"\0\0\0\x1f\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05hello\0\x04k\x01v\x02";

    #[test]
    fn a_batch_splits_into_its_messages() {
        let two = [HELLO, HELLO].concat();
        let messages = split(&two, 2).unwrap();
        assert_eq!(messages.len(), 2);
        assert_eq!((messages[1].body, messages[1].properties), (&b"hello"[..], &b"k\x01v\x02"[..]));
    }

    #[test]
    fn a_batch_that_does_not_add_up_is_refused_wherever_it_is_cut() {
        for cut in 1..HELLO.len() {
            assert!(split(&HELLO[..cut], 9).is_err(), "cut at {cut}");
        }
        for at in [0, 16, 25] {
            let mut bad = HELLO;
            bad[at] = 0x80;
            assert!(split(&bad, 9).is_err(), "a negative length at {at}");
        }
        assert!(split(&[], 9).is_err());
        assert!(split(&[HELLO, HELLO].concat(), 1).is_err());
    }
}
