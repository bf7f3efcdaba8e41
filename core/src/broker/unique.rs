//! Unique keys for messages whose client made none (wire.md 10).

use std::net::{IpAddr, SocketAddr};

use hotfire_storage::record::hex;
use hotfire_storage::record::properties::{NAME_END, UNIQ_KEY, VALUE_END};
use hotfire_storage::time::Wall;

/// A key's own digits: 8 of the time, 4 of the counter.
const OWN_DIGITS: usize = 12;

/// Bytes of the longest property: its name, two separators, and a key with an IPv6 address.
const PROPERTY_MAX: usize = UNIQ_KEY.len() + 2 + 32 + 4 + 8 + OWN_DIGITS;

/// Makes keys: address, a number of this process, time, counter.
#[derive(Debug)]
pub(super) struct UniqueKeys {
    /// The last one: the next differs in its own digits.
    last: UniqueKey,
    made: u16,
}

/// A key, as the property that says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UniqueKey {
    bytes: [u8; PROPERTY_MAX],
    len: usize,
}

impl UniqueKey {
    /// The property, whole.
    pub(super) fn property(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub(super) fn key(&self) -> &str {
        let key = &self.bytes[UNIQ_KEY.len() + 1..self.len - 1];
        str::from_utf8(key).expect("digits")
    }
}

impl UniqueKeys {
    pub(super) fn new(host: SocketAddr, process: u32) -> Self {
        let address = match host.ip() {
            IpAddr::V4(ip) => format!("{:08X}", ip.to_bits()),
            IpAddr::V6(ip) => format!("{:032X}", ip.to_bits()),
        };
        let (separator, end) = (char::from(NAME_END), char::from(VALUE_END));
        let (port, own) = (host.port(), "0".repeat(OWN_DIGITS));
        let property = format!("{UNIQ_KEY}{separator}{address}{port:04X}{process:08X}{own}{end}");
        let mut last = UniqueKey { bytes: [0; PROPERTY_MAX], len: property.len() };
        last.bytes[..property.len()].copy_from_slice(property.as_bytes());
        Self { last, made: 0 }
    }

    pub(super) fn next(&mut self, wall: Wall) -> UniqueKey {
        self.made = self.made.wrapping_add(1);
        let end = self.last.len - 1;
        let (time, counter) = self.last.bytes[end - OWN_DIGITS..end].split_at_mut(8);
        hex(time, u128::from(wall.as_millis().cast_unsigned() & 0xffff_ffff));
        hex(counter, self.made.into());
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_where_and_when_and_is_never_the_same() {
        let mut keys = UniqueKeys::new("127.0.0.1:10911".parse().expect("address"), 0xAB);
        let wall = Wall::from_millis(0x12_3456_789A);
        let made = keys.next(wall);
        assert_eq!(made.key(), "7F0000012A9F000000AB3456789A0001");
        assert_eq!(made.property(), format!("UNIQ_KEY\u{1}{}\u{2}", made.key()).as_bytes());
        assert_ne!(keys.next(wall), made);
        let mut keys = UniqueKeys::new("[2001:db8::1]:10911".parse().expect("address"), 1);
        let longest = "20010DB80000000000000000000000012A9F000000013456789A0001";
        assert_eq!(keys.next(wall).key(), longest);
    }
}
