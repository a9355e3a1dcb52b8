//! Blocks of addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use kiops_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// A block of IP addresses, as `10.0.0.0/8` or `fd00::/8`; a single address is `10.0.0.7/32`, or short `10.0.0.7`.
///
/// Only what newer API servers take, too: no bit is set behind the prefix, and an IPv4 address is not written as an IPv6 one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Every IPv4 address.
    pub const ALL_V4: Self = Self::v4([0, 0, 0, 0], 0);
    /// Every IPv6 address.
    pub const ALL_V6: Self = Self::v6([0, 0, 0, 0, 0, 0, 0, 0], 0);

    /// Reads a block.
    ///
    /// # Errors
    /// [`Invalid`](kiops_core::ErrorKind::Invalid) for anything else, with what would be right where that can be told.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |why: String| {
            let shown: String = text.chars().take(60).collect();
            Error::invalid("read address block", format!("`{}` {why}", shown.escape_debug()))
        };
        let no_block = || invalid("is no block of addresses such as 10.0.0.0/8".to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address = IpAddr::from_str(address).map_err(|_| no_block())?;
        if let IpAddr::V6(v6) = address
            && let Some(v4) = v6.to_ipv4_mapped()
        {
            return Err(invalid(format!("is an IPv4 address in IPv6: write {v4}")));
        }
        let longest = Self::of(address).prefix;
        let prefix = match prefix {
            None => longest,
            Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|prefix| *prefix <= longest).ok_or_else(no_block)?
            }
            Some(_) => return Err(no_block()),
        };
        let block = Self { address: masked(address, prefix), prefix };
        if block.address != address {
            return Err(invalid(format!("has bits behind its prefix: write {block}")));
        }
        Ok(block)
    }

    /// One address.
    pub const fn of(address: IpAddr) -> Self {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        Self { address, prefix }
    }

    pub(super) const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Self {
        Self { address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix }
    }

    pub(super) const fn v6(p: [u16; 8], prefix: u8) -> Self {
        let address = Ipv6Addr::new(p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]);
        Self { address: IpAddr::V6(address), prefix }
    }

    /// Whether every address of the other block is in this one.
    pub fn contains(&self, other: &Self) -> bool {
        self.address.is_ipv4() == other.address.is_ipv4()
            && self.prefix <= other.prefix
            && masked(other.address, self.prefix) == self.address
    }
}

/// An address without the bits behind the prefix.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32u32.saturating_sub(prefix)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128u32.saturating_sub(prefix)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Cidr {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Cidr {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<Cidr> for String {
    fn from(block: Cidr) -> Self {
        block.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(text: &str) -> Cidr {
        Cidr::parse(text).unwrap()
    }

    #[test]
    fn a_block_is_read_as_it_is_written_and_an_address_is_a_block_of_one() {
        for text in ["0.0.0.0/0", "10.0.0.0/8", "10.1.2.3/32", "::/0", "fd00:ec2::254/128", "fe80::/10"] {
            assert_eq!(block(text).to_string(), text);
        }
        assert_eq!(block("10.1.2.3").to_string(), "10.1.2.3/32");
        assert_eq!(block("::1").to_string(), "::1/128");
    }

    #[test]
    fn what_an_api_server_would_not_take_is_refused_with_what_would_be_right() {
        for text in
            ["", "/", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/+8", "::/129", "010.0.0.1", "10.0.0/8", "a/8"]
        {
            assert!(Cidr::parse(text).is_err(), "{text}");
        }
        for (text, right) in [("10.0.0.1/8", "write 10.0.0.0/8"), ("::ffff:10.0.0.1", "write 10.0.0.1")] {
            let error = Cidr::parse(text).unwrap_err();
            assert!(error.message().ends_with(right), "{error}");
        }
    }

    #[test]
    fn a_block_contains_itself_and_smaller_ones_of_its_family_only() {
        let contains = |one: &str, other: &str| block(one).contains(&block(other));
        assert!(contains("10.0.0.0/8", "10.0.0.0/8") && contains("10.0.0.0/8", "10.255.0.0/16"));
        assert!(contains("0.0.0.0/0", "255.255.255.255") && contains("::/0", "ffff::1"));
        assert!(!contains("10.0.0.0/8", "11.0.0.0/8") && !contains("10.0.0.0/16", "10.0.0.0/8"));
        assert!(!contains("::/0", "10.0.0.0/8") && !contains("0.0.0.0/0", "::1"));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_reads_back(text in "[0-9a-f:./]{0,24}|\\PC{0,12}") {
            if let Ok(read) = Cidr::parse(&text) {
                prop_assert_eq!(Cidr::parse(&read.to_string()).unwrap(), read);
            }
        }
    }
}
