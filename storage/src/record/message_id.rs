//! Message ids that say where a message lies (store.md 4.1).

use std::net::{IpAddr, SocketAddr};

use super::{host_at, u64_at};
use crate::position::Physical;

/// The offset message id (store.md 4.1): store host and position as upper-case hex.
pub fn offset_message_id(store_host: SocketAddr, at: Physical) -> String {
    use std::fmt::Write;
    let mut raw = Vec::with_capacity(28);
    match store_host.ip() {
        IpAddr::V4(ip) => raw.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => raw.extend_from_slice(&ip.octets()),
    }
    raw.extend_from_slice(&u32::from(store_host.port()).to_be_bytes());
    raw.extend_from_slice(&at.get().to_be_bytes());
    let mut id = String::with_capacity(raw.len() * 2);
    for byte in raw {
        write!(id, "{byte:02X}").expect("writing into a String cannot fail");
    }
    id
}

/// Reads an offset message id back; `None` if it is not one.
pub fn parse_offset_message_id(id: &str) -> Option<(SocketAddr, Physical)> {
    if !id.is_ascii() || !matches!(id.len(), 32 | 56) {
        return None;
    }
    let mut raw = [0; 28];
    let raw = &mut raw[..id.len() / 2];
    for (byte, hex) in raw.iter_mut().zip(id.as_bytes().chunks_exact(2)) {
        let hex = std::str::from_utf8(hex).ok()?;
        *byte = u8::from_str_radix(hex, 16).ok().filter(|_| !hex.starts_with('+'))?;
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
            let id = offset_message_id(host, Physical::new(0xF_E4AC));
            assert_eq!(parse_offset_message_id(&id), Some((host, Physical::new(0xF_E4AC))));
        }
        let host = "127.0.0.1:19880".parse().expect("an address");
        let id = offset_message_id(host, Physical::new(0xF_E4AC));
        assert_eq!(id, "7F00000100004DA800000000000FE4AC");
        assert_eq!(parse_offset_message_id("7F0000010000"), None);
    }
}
