//! Message ids that say where a message lies (store.md 4.1).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::{host_at, u64_at};
use crate::position::Physical;

/// Prints as the offset message id (store.md 4.1): store host and position as upper-case hex.
pub fn offset_message_id(store_host: SocketAddr, at: Physical) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        // Every acknowledgement has one: by hand it takes a tenth of the time.
        let mut id = [0; 56];
        let host = match store_host.ip() {
            IpAddr::V4(ip) => hex(&mut id[..8], ip.to_bits().into()),
            IpAddr::V6(ip) => hex(&mut id[..32], ip.to_bits()),
        };
        let port = host + hex(&mut id[host..host + 8], store_host.port().into());
        let len = port + hex(&mut id[port..port + 16], at.get().into());
        f.write_str(str::from_utf8(&id[..len]).expect("digits"))
    })
}

/// Fills `to` with the last digits of `number`, upper-case, and says how many they are.
pub fn hex(to: &mut [u8], mut number: u128) -> usize {
    for digit in to.iter_mut().rev() {
        *digit = b"0123456789ABCDEF"[(number & 15) as usize];
        number >>= 4;
    }
    to.len()
}

/// Reads an offset message id back; `None` if it is not one.
pub fn parse_offset_message_id(id: &str) -> Option<(SocketAddr, Physical)> {
    if !id.is_ascii() || !matches!(id.len(), 32 | 56) {
        return None;
    }
    let mut raw = [0; 28];
    let raw = &mut raw[..id.len() / 2];
    for (byte, hex) in raw.iter_mut().zip(id.as_bytes().chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(hex[0])? << 4 | digit(hex[1])?).ok()?;
    }
    let (host, at) = raw.split_at(raw.len() - 8);
    Some((host_at(host), Physical::new(u64_at(at, 0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_id_names_host_and_position_both_ways() {
        for host in ["127.0.0.1:19880", "[2001:db8::1]:10911"] {
            let host: SocketAddr = host.parse().expect("an address");
            let id = offset_message_id(host, Physical::new(0xF_E4AC)).to_string();
            assert_eq!(parse_offset_message_id(&id), Some((host, Physical::new(0xF_E4AC))));
        }
        let host = "127.0.0.1:19880".parse().expect("an address");
        let id = offset_message_id(host, Physical::new(0xF_E4AC)).to_string();
        assert_eq!(id, "7F00000100004DA800000000000FE4AC");
        assert_eq!(parse_offset_message_id("7F0000010000"), None);
    }
}
