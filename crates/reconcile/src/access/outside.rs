//! What is in no network: where an internet gateway leads to.
//!
//! Grants only allow, so what is inside has to be left out of the addresses: they are given as the prefixes in between.

use std::net::Ipv6Addr;

use ipnet::IpNet;
use wire::HostMap;

use crate::tunnel::private;
use crate::{AddressSet, Family};

/// What is nobody's in the internet beside private networks: this machine, groups, and what translators have for themselves
/// (RFC 1122, 4291, 5771, 8215).
const NOT_OUTSIDE: [&str; 6] =
    ["0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "::/127", "ff00::/8", "64:ff9b:1::/48"];

/// Where a translator between the families has the IPv4 addresses (RFC 6052): what of them is not outside is so here too.
const TRANSLATED: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);

/// All addresses but those of networks, of these ranges behind members, of those behind this host, and of private networks: an
/// internet gateway is no way into its own LAN, to its router's page or to its cloud's metadata. What of these is to be reached
/// is an egress range.
pub(super) fn outside(map: &HostMap, ranges: impl Iterator<Item = IpNet>) -> AddressSet {
    let networks = map.networks.values();
    let duties = networks.clone().flat_map(|membership| &membership.egress);
    let duties = duties.flat_map(|duty| [Some(duty.range.0), duty.mapped.map(|mapped| mapped.0)]).flatten();
    let others = NOT_OUTSIDE.map(|text| text.parse().expect("a prefix of this file"));
    let never = private().into_iter().chain(others);
    let never = never.clone().chain(never.filter_map(translated));
    let networks = networks.flat_map(|membership| membership.ranges.iter());
    let inside: Vec<IpNet> = networks.chain(duties).chain(ranges).chain(never).collect();
    let mut all = AddressSet::default();
    for family in Family::ALL {
        let inside: Vec<IpNet> =
            inside.iter().filter(|net| Family::of(net.addr()) == family).copied().collect();
        between(family.everything(), &inside, &mut all);
    }
    all
}

/// An IPv4 prefix as a translator has it.
fn translated(net: IpNet) -> Option<IpNet> {
    let IpNet::V4(net) = net else { return None };
    let ip = u128::from(TRANSLATED) | u128::from(u32::from(net.addr()));
    IpNet::new(Ipv6Addr::from(ip).into(), 96 + net.prefix_len()).ok()
}

/// Adds what of a prefix is in none of these. They hold no prefix of another family.
fn between(whole: IpNet, inside: &[IpNet], all: &mut AddressSet) {
    let within: Vec<IpNet> = inside.iter().filter(|net| whole.contains(*net)).copied().collect();
    if inside.iter().any(|net| net.contains(&whole)) {
        return;
    }
    if within.is_empty() {
        all.insert(whole);
        return;
    }
    let halves = whole.subnets(whole.prefix_len() + 1).into_iter().flatten();
    halves.for_each(|half| between(half, &within, all));
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn only_what_is_inside_is_left_out() {
        let inside = ["10.20.0.0/16", "10.20.7.0/24", "192.168.1.0/30"].map(|net| net.parse().unwrap());
        let mut all = AddressSet::default();
        between(Family::V4.everything(), &inside, &mut all);
        for (ip, outside) in [
            ("10.20.0.0", false),
            ("10.20.255.255", false),
            ("10.21.0.0", true),
            ("10.19.255.255", true),
            ("192.168.1.3", false),
            ("192.168.1.4", true),
            ("8.8.8.8", true),
            ("0.0.0.0", true),
            ("255.255.255.255", true),
        ] {
            assert_eq!(all.covers(ip.parse::<IpAddr>().unwrap()), outside, "{ip}");
        }
        assert!(all.len() < 64);
    }

    #[test]
    fn what_is_not_outside_is_not_outside_by_way_of_a_translator_either() {
        for (net, expected) in [("192.168.0.0/16", Some("64:ff9b::c0a8:0/112")), ("fc00::/7", None)] {
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(translated(net.parse().unwrap()), expected, "{net}");
        }
    }
}
