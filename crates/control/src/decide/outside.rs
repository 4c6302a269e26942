//! Ranges outside of networks: behind egress routers and behind clients.
//!
//! Not for networks' own ranges (`model::Ranges`). It keeps true that no such range is a way to everything, or to what no
//! router may carry.

use ipnet::IpNet;
use model::Network;

use crate::{Rejection, allocate};

/// What no range may hold any of: this host, loopback, link-local, multicast and what is reserved (RFC 6890).
const RESERVED: [&str; 7] =
    ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/32", "fe80::/10", "ff00::/8"];

/// Refuses what is no range, is too large, or holds what is reserved.
pub(super) fn check(range: IpNet) -> Result<(), Rejection> {
    if range.trunc() != range {
        return Err(Rejection::NotARange { given: range, range: range.trunc() });
    }
    let shortest = if range.addr().is_ipv4() { 8 } else { 16 };
    if range.prefix_len() < shortest {
        return Err(Rejection::RangeTooLarge { range });
    }
    let reserved = RESERVED.iter().filter_map(|text| text.parse::<IpNet>().ok());
    match reserved.into_iter().find(|reserved| allocate::overlap(range, *reserved)) {
        Some(reserved) => Err(Rejection::RangeReserved { range, reserved }),
        None => Ok(()),
    }
}

/// Refuses a range whose family the network's members have no addresses of.
pub(super) fn check_family(range: IpNet, network: &Network) -> Result<(), Rejection> {
    let same = |own: IpNet| own.addr().is_ipv4() == range.addr().is_ipv4();
    if network.ranges.iter().any(same) {
        return Ok(());
    }
    Err(Rejection::RangeFamily { range, network: network.name.clone() })
}
