//! Address ranges of a network: one IPv4, one IPv6, or both.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Deserializer, Serialize};

/// Why ranges cannot be a network's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Neither family was given.
    #[error("a network needs an IPv4 range, an IPv6 range, or both")]
    None,
    /// The address has bits set behind the prefix.
    #[error("{given} is an address within a range; the range itself is {range}")]
    NotARange {
        /// What was given.
        given: IpNet,
        /// The range it lies in.
        range: IpNet,
    },
    /// Too small or too large.
    #[error("{0} has a prefix of /{len}; allowed are /8 to /30 for IPv4 and /32 to /126 for IPv6", len = .0.prefix_len())]
    Size(IpNet),
    /// Addresses with a meaning of their own.
    #[error("{0} holds addresses that are not for hosts (loopback, link-local, multicast or reserved)")]
    Reserved(IpNet),
}

/// The ranges of a network. At least one is there; each is canonical and of a size that can be handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Ranges {
    #[serde(skip_serializing_if = "Option::is_none")]
    v4: Option<Ipv4Net>,
    #[serde(skip_serializing_if = "Option::is_none")]
    v6: Option<Ipv6Net>,
}

impl Ranges {
    /// Checks both ranges.
    pub fn new(v4: Option<Ipv4Net>, v6: Option<Ipv6Net>) -> Result<Self, RangeError> {
        if v4.is_none() && v6.is_none() {
            return Err(RangeError::None);
        }
        for range in v4.map(IpNet::from).into_iter().chain(v6.map(IpNet::from)) {
            check(range)?;
        }
        Ok(Self { v4, v6 })
    }

    /// The IPv4 range.
    pub const fn v4(&self) -> Option<Ipv4Net> {
        self.v4
    }

    /// The IPv6 range.
    pub const fn v6(&self) -> Option<Ipv6Net> {
        self.v6
    }

    /// Both, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> + use<> {
        self.v4.map(IpNet::from).into_iter().chain(self.v6.map(IpNet::from))
    }

    /// Whether any address is in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.iter().any(|a| other.iter().any(|b| overlap(&a, &b)))
    }

    /// Whether the address is in one of them.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.iter().any(|range| range.contains(&ip))
    }
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

fn check(range: IpNet) -> Result<(), RangeError> {
    if range.trunc() != range {
        return Err(RangeError::NotARange { given: range, range: range.trunc() });
    }
    let sizes = if matches!(range, IpNet::V4(_)) { 8..=30 } else { 32..=126 };
    if !sizes.contains(&range.prefix_len()) {
        return Err(RangeError::Size(range));
    }
    const RESERVED: [&str; 9] = [
        "0.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "224.0.0.0/3",
        "::/32",
        "fe80::/10",
        "ff00::/8",
        "64:ff9b::/96",
        "2002::/16",
    ];
    let reserved = RESERVED.iter().filter_map(|text| text.parse::<IpNet>().ok());
    if reserved.into_iter().any(|other| overlap(&range, &other)) {
        return Err(RangeError::Reserved(range));
    }
    Ok(())
}

impl<'de> Deserialize<'de> for Ranges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Raw {
            v4: Option<Ipv4Net>,
            v6: Option<Ipv6Net>,
        }
        let raw = Raw::deserialize(deserializer)?;
        Self::new(raw.v4, raw.v6).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(text: &str) -> Result<Ranges, RangeError> {
        Ranges::new(Some(text.parse().unwrap()), None)
    }

    #[test]
    fn each_mistake_has_its_own_sentence() {
        assert_eq!(Ranges::new(None, None), Err(RangeError::None));
        assert!(matches!(v4("10.0.0.5/24"), Err(RangeError::NotARange { .. })));
        assert!(matches!(v4("10.0.0.0/31"), Err(RangeError::Size(_))));
        assert!(matches!(v4("10.0.0.0/7"), Err(RangeError::NotARange { .. } | RangeError::Size(_))));
        assert!(matches!(v4("127.0.0.0/24"), Err(RangeError::Reserved(_))));
        assert!(matches!(
            Ranges::new(None, Some("fe80::/64".parse().unwrap())),
            Err(RangeError::Reserved(_))
        ));
    }

    #[test]
    fn overlap_is_found_in_either_family() {
        let both =
            Ranges::new(Some("10.1.0.0/16".parse().unwrap()), Some("fd00:1::/64".parse().unwrap())).unwrap();
        assert!(both.overlaps(&v4("10.1.2.0/24").unwrap()));
        assert!(both.overlaps(&Ranges::new(None, Some("fd00:1::/48".parse().unwrap())).unwrap()));
        assert!(!both.overlaps(&v4("10.2.0.0/16").unwrap()));
    }
}
