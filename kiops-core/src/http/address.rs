//! Which addresses belong to everybody's internet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where an address lies, after IANA's special-purpose registries: what keeps a call from being turned to where it must not go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressKind {
    /// On the public internet.
    Public,
    /// This machine, or a network of somebody's own: loopback, RFC 1918, unique local, shared (RFC 6598).
    Private,
    /// Neither: link-local (where clouds keep their metadata), multicast, reserved, documentation, unspecified.
    Special,
}

impl AddressKind {
    /// The kind of an address. An IPv4 address inside an IPv6 one counts as itself.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => of_v4(v4),
            IpAddr::V6(v6) => match embedded(v6) {
                Some(v4) => of_v4(v4),
                None => of_v6(v6),
            },
        }
    }
}

const fn of_v4(address: Ipv4Addr) -> AddressKind {
    match address.octets() {
        [10 | 127, ..] | [192, 168, ..] | [172, 16..=31, ..] | [100, 64..=127, ..] => AddressKind::Private,
        [0, ..]
        | [169, 254, ..]
        | [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 18 | 19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [224..=255, ..] => AddressKind::Special,
        _ => AddressKind::Public,
    }
}

fn of_v6(address: Ipv6Addr) -> AddressKind {
    if address == Ipv6Addr::LOCALHOST {
        return AddressKind::Private;
    }
    match address.segments() {
        [0xfc00..=0xfdff, ..] => AddressKind::Private,
        // Teredo, benchmarks, ORCHID and the like; documentation.
        [0x2001, 0..=0x01ff | 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => AddressKind::Special,
        [0x2000..=0x3fff, ..] => AddressKind::Public,
        _ => AddressKind::Special,
    }
}

/// The IPv4 address that an IPv6 one stands for: mapped, compatible, NAT64, 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart_in_every_spelling() {
        for (address, expected) in [
            ("93.184.216.34", AddressKind::Public),
            ("2606:2800:220:1::1", AddressKind::Public),
            ("64:ff9b::5db8:d822", AddressKind::Public),
            ("127.0.0.1", AddressKind::Private),
            ("127.9.9.9", AddressKind::Private),
            ("10.0.0.1", AddressKind::Private),
            ("172.16.0.1", AddressKind::Private),
            ("172.32.0.1", AddressKind::Public),
            ("192.168.1.1", AddressKind::Private),
            ("100.64.0.1", AddressKind::Private),
            ("100.128.0.1", AddressKind::Public),
            ("::1", AddressKind::Private),
            ("fd00::1", AddressKind::Private),
            ("::ffff:127.0.0.1", AddressKind::Private),
            ("::127.0.0.1", AddressKind::Private),
            ("64:ff9b::7f00:1", AddressKind::Private),
            ("2002:7f00:1::", AddressKind::Private),
            ("169.254.169.254", AddressKind::Special),
            ("::ffff:169.254.169.254", AddressKind::Special),
            ("fe80::1", AddressKind::Special),
            ("fec0::1", AddressKind::Special),
            ("0.0.0.0", AddressKind::Special),
            ("::", AddressKind::Special),
            ("224.0.0.1", AddressKind::Special),
            ("255.255.255.255", AddressKind::Special),
            ("ff02::1", AddressKind::Special),
            ("192.0.2.1", AddressKind::Special),
            ("2001:db8::1", AddressKind::Special),
            ("2001::1", AddressKind::Special),
            ("64:ff9b:1::1", AddressKind::Special),
        ] {
            assert_eq!(AddressKind::of(address.parse().unwrap()), expected, "{address}");
        }
    }
}
