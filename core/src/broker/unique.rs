//! Unique keys for messages whose client made none (wire.md 10).

use std::net::{IpAddr, SocketAddr};

use hotfire_storage::record::hex;
use hotfire_storage::record::properties::{NAME_END, UNIQ_KEY, VALUE_END};
use hotfire_storage::text::Text;
use hotfire_storage::time::Wall;

/// A key's own digits: 8 of the time, 4 of the counter.
const OWN_DIGITS: usize = 12;

/// Makes keys: address, a number of this process, time, counter.
#[derive(Debug)]
pub(super) struct UniqueKeys {
    /// The property up to where keys differ.
    before: String,
    made: u16,
}

/// A key, and the property that says it, whole. They share their bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UniqueKey {
    pub(super) key: Text,
    pub(super) property: Text,
}

impl UniqueKeys {
    pub(super) fn new(host: SocketAddr, process: u32) -> Self {
        let address = match host.ip() {
            IpAddr::V4(ip) => format!("{:08X}", ip.to_bits()),
            IpAddr::V6(ip) => format!("{:032X}", ip.to_bits()),
        };
        let separator = char::from(NAME_END);
        let port = host.port();
        let before = format!("{UNIQ_KEY}{separator}{address}{port:04X}{process:08X}");
        Self { before, made: 0 }
    }

    pub(super) fn next(&mut self, wall: Wall) -> UniqueKey {
        self.made = self.made.wrapping_add(1);
        let mut digits = [0; OWN_DIGITS];
        let (time, counter) = digits.split_at_mut(8);
        hex(time, u128::from(wall.as_millis().cast_unsigned() & 0xffff_ffff));
        hex(counter, self.made.into());
        let mut property = String::with_capacity(self.before.len() + OWN_DIGITS + 1);
        property.push_str(&self.before);
        property.push_str(str::from_utf8(&digits).expect("digits"));
        let key = UNIQ_KEY.len() + 1..property.len();
        property.push(char::from(VALUE_END));
        let property = Text::from(property);
        UniqueKey { key: property.share(&property[key]), property }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_where_and_when_and_is_never_the_same() {
        let mut keys = UniqueKeys::new("127.0.0.1:10911".parse().expect("address"), 0xAB);
        let mut next = || keys.next(Wall::from_millis(0x12_3456_789A));
        let UniqueKey { key, property } = next();
        assert_eq!(key, "7F0000012A9F000000AB3456789A0001");
        assert_eq!(property, format!("UNIQ_KEY\u{1}{key}\u{2}").as_str());
        assert_ne!(next().key, key);
        let keys = UniqueKeys::new("[2001:db8::1]:10911".parse().expect("address"), 1).before;
        assert_eq!(keys, "UNIQ_KEY\u{1}20010DB80000000000000000000000012A9F00000001");
    }
}
