//! Sets of addresses and prefixes.
//!
//! Not for who they belong to. It keeps true that a prefix has no bits behind its length, so that what means the same is
//! the same.

use std::collections::{BTreeSet, btree_set};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Serialize;

/// The number of a set of a firewall. Whoever derives the firewall chooses it, and keeps it while the set lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId(pub u32);

impl fmt::Display for SetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// Of an address.
    pub const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The prefix that holds all addresses.
    pub const fn everything(self) -> IpNet {
        match self {
            Self::V4 => IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)),
            Self::V6 => IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)),
        }
    }

    /// The length of a prefix that holds one address.
    pub const fn longest(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

/// Addresses and prefixes of both families. They may overlap: it is what they cover together that counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AddressSet(BTreeSet<IpNet>);

impl AddressSet {
    /// Adds; says whether it is new.
    pub fn insert(&mut self, net: IpNet) -> bool {
        self.0.insert(net.trunc())
    }

    /// Removes exactly this; says whether it was there.
    pub fn remove(&mut self, net: IpNet) -> bool {
        self.0.remove(&net.trunc())
    }

    /// Whether exactly this is a member.
    pub fn has(&self, net: IpNet) -> bool {
        self.0.contains(&net.trunc())
    }

    /// Whether an address is covered. Costs the same however many members there are, but for a logarithm.
    pub fn covers(&self, ip: IpAddr) -> bool {
        let mut lengths = 0..=Family::of(ip).longest();
        lengths.any(|length| IpNet::new(ip, length).is_ok_and(|net| self.0.contains(&net.trunc())))
    }

    /// The members, in order.
    pub fn iter(&self) -> std::iter::Copied<btree_set::Iter<'_, IpNet>> {
        self.0.iter().copied()
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The lengths of its prefixes, each with its family; those of single addresses are not among them.
    pub fn prefix_lengths(&self) -> BTreeSet<(Family, u8)> {
        let lengths = self.iter().map(|net| (Family::of(net.addr()), net.prefix_len()));
        lengths.filter(|(family, length)| *length < family.longest()).collect()
    }
}

impl FromIterator<IpNet> for AddressSet {
    fn from_iter<I: IntoIterator<Item = IpNet>>(nets: I) -> Self {
        Self(nets.into_iter().map(|net| net.trunc()).collect())
    }
}

impl Extend<IpNet> for AddressSet {
    fn extend<I: IntoIterator<Item = IpNet>>(&mut self, nets: I) {
        self.0.extend(nets.into_iter().map(|net| net.trunc()));
    }
}

impl<'a> IntoIterator for &'a AddressSet {
    type Item = IpNet;
    type IntoIter = std::iter::Copied<btree_set::Iter<'a, IpNet>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(nets: &[&str]) -> AddressSet {
        nets.iter().map(|net| net.parse::<IpNet>().unwrap()).collect()
    }

    #[test]
    fn what_means_the_same_is_the_same() {
        assert_eq!(set(&["10.0.0.7/24", "10.0.0.9/24"]), set(&["10.0.0.0/24"]));
        assert!(set(&["10.0.0.0/24"]).has("10.0.0.1/24".parse().unwrap()));
    }

    #[test]
    fn an_address_is_covered_by_itself_or_by_a_prefix_of_its_family() {
        let set = set(&["10.0.0.5/32", "10.1.0.0/16", "fd00::/64", "::/0"]);
        for (ip, covered) in
            [("10.0.0.5", true), ("10.0.0.6", false), ("10.1.9.9", true), ("2001:db8::1", true)]
        {
            assert_eq!(set.covers(ip.parse().unwrap()), covered, "{ip}");
        }
        assert!(!self::set(&["::/0"]).covers("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn single_addresses_are_no_prefixes() {
        let lengths = set(&["10.0.0.5/32", "10.1.0.0/16", "fd00::1/128", "::/0"]).prefix_lengths();
        assert_eq!(lengths, BTreeSet::from([(Family::V4, 16), (Family::V6, 0)]));
    }
}
