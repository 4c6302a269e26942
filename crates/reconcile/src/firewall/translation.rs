//! Addresses that are changed on their way through this machine.
//!
//! Not for whether a packet passes: translations change what grants see, never whether they are asked. It keeps true that
//! a mapping is one to one: both of its prefixes have the same family and length.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{AddressSet, Side};

/// A change of addresses. Replies are changed back. Of several that fit a connection, the first counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Translation {
    /// What comes over our link from these sources and leaves over another link to these destinations leaves with this
    /// machine's own address there.
    Masquerade {
        /// The sources.
        from: Side,
        /// The destinations; `0.0.0.0/0` and `::/0` for the internet.
        to: AddressSet,
    },
    /// What comes over our link from these to the mapped prefix goes to the real one; what leaves over our link from the
    /// real prefix towards these comes from the mapped one.
    Map {
        /// The prefix, as it is and as it is known.
        map: PrefixMap,
        /// Who knows it so.
        known_to: Vec<Side>,
    },
}

/// A prefix under another name, address by address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PrefixMap {
    mapped: IpNet,
    real: IpNet,
}

/// The two prefixes cannot be mapped one to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{mapped} and {real} do not hold the same number of addresses of the same family")]
pub struct PrefixMapError {
    /// What was to be the mapped prefix.
    pub mapped: IpNet,
    /// What was to be the real prefix.
    pub real: IpNet,
}

impl PrefixMap {
    /// Maps `real` as `mapped`.
    pub fn new(mapped: IpNet, real: IpNet) -> Result<Self, PrefixMapError> {
        let fits =
            mapped.addr().is_ipv4() == real.addr().is_ipv4() && mapped.prefix_len() == real.prefix_len();
        if !fits {
            return Err(PrefixMapError { mapped, real });
        }
        Ok(Self { mapped: mapped.trunc(), real: real.trunc() })
    }

    /// The prefix as the network knows it.
    pub const fn mapped(&self) -> IpNet {
        self.mapped
    }

    /// The prefix as it is behind this machine.
    pub const fn real(&self) -> IpNet {
        self.real
    }

    /// The real address of a mapped one.
    pub fn to_real(&self, ip: IpAddr) -> Option<IpAddr> {
        moved(ip, self.mapped, self.real)
    }

    /// The mapped address of a real one.
    pub fn to_mapped(&self, ip: IpAddr) -> Option<IpAddr> {
        moved(ip, self.real, self.mapped)
    }
}

/// The address at the same place of another prefix.
fn moved(ip: IpAddr, from: IpNet, to: IpNet) -> Option<IpAddr> {
    if !from.contains(&ip) {
        return None;
    }
    match (ip, to) {
        (IpAddr::V4(ip), IpNet::V4(to)) => {
            let host = ip.to_bits() & to.hostmask().to_bits();
            Some(Ipv4Addr::from_bits(to.network().to_bits() | host).into())
        }
        (IpAddr::V6(ip), IpNet::V6(to)) => {
            let host = ip.to_bits() & to.hostmask().to_bits();
            Some(Ipv6Addr::from_bits(to.network().to_bits() | host).into())
        }
        (IpAddr::V4(_), IpNet::V6(_)) | (IpAddr::V6(_), IpNet::V4(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(mapped: &str, real: &str) -> Result<PrefixMap, PrefixMapError> {
        PrefixMap::new(mapped.parse().unwrap(), real.parse().unwrap())
    }

    #[test]
    fn each_address_keeps_its_place() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let v4 = map("10.77.4.0/22", "192.168.0.0/22").unwrap();
        assert_eq!(v4.to_real(ip("10.77.6.9")), Some(ip("192.168.2.9")));
        assert_eq!(v4.to_mapped(ip("192.168.2.9")), Some(ip("10.77.6.9")));
        assert_eq!(v4.to_real(ip("10.77.8.1")), None);
        let v6 = map("fd77::/64", "fd01:2::/64").unwrap();
        assert_eq!(v6.to_real(ip("fd77::1:5")), Some(ip("fd01:2::1:5")));
    }

    #[test]
    fn prefixes_that_do_not_fit_are_refused() {
        assert!(map("10.0.0.0/24", "10.1.0.0/25").is_err());
        assert!(map("10.0.0.0/24", "fd00::/24").is_err());
    }
}
