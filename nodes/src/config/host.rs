//! What the machine says of itself.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// The machine's name, as far as it may name a broker.
pub fn name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    super::value::name(name.trim()).unwrap_or_else(|_| "DEFAULT_BROKER".into())
}

/// The machine's first IPv4 address that other machines may reach; 127.0.0.1 if it has none.
pub fn ipv4() -> Ipv4Addr {
    outgoing().or_else(assigned).unwrap_or(Ipv4Addr::LOCALHOST)
}

/// By how much the machine's clock is ahead of UTC now, in milliseconds; 0 if that is not known.
pub fn zone_ms() -> i64 {
    let zone = tz::TimeZone::local().ok();
    let seconds = zone.and_then(|zone| Some(zone.find_current_local_time_type().ok()?.ut_offset()));
    i64::from(seconds.unwrap_or(0)) * 1000
}

/// The source address of a packet to the world. Connecting UDP sends none; 192.0.2.1 is an
/// address of documentation.
fn outgoing() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(("192.0.2.1", 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(ip) if !ip.is_loopback() && !ip.is_unspecified() => Some(ip),
        _ => None,
    }
}

/// Without a route to the world: the kernel's own list of local addresses.
fn assigned() -> Option<Ipv4Addr> {
    first_local(&std::fs::read_to_string("/proc/net/fib_trie").ok()?)
}

/// In the trie, an address's line (`|-- 10.0.0.7`) is followed by `/32 host LOCAL`.
fn first_local(trie: &str) -> Option<Ipv4Addr> {
    let mut last = None;
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL" && last.is_some_and(|ip| !ip.is_loopback()) {
            return last;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_local_address_is_neither_loopback_nor_a_network() {
        let trie = "Main:\n  +-- 0.0.0.0/0\n     |-- 10.1.0.0\n        /16 link UNICAST\n     \
            |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 10.1.2.3\n        /32 host LOCAL\n";
        assert_eq!(first_local(trie), Some(Ipv4Addr::new(10, 1, 2, 3)));
        assert_eq!(first_local(""), None);
    }
}
