//! Handing out: addresses of a network's ranges, and ranges for networks that were given none.
//!
//! Not for checking what people chose beyond whether it can be used. It keeps true that what it hands out is nobody's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::{Addresses, Client, Egress, Network, Ranges};

use crate::{Env, Intent, RecordKey, Rejection};

/// The first and the last address of a range that a node can have: an IPv4 range's first and last stand for the range and
/// for everybody in it, an IPv6 range's first is its routers' anycast address (RFC 4291, 2.6.1).
fn usable(range: IpNet) -> (IpAddr, IpAddr) {
    match range {
        IpNet::V4(v4) => {
            let first = Ipv4Addr::from_bits(v4.network().to_bits() + 1);
            (first.into(), Ipv4Addr::from_bits(v4.broadcast().to_bits() - 1).into())
        }
        IpNet::V6(v6) => (Ipv6Addr::from_bits(v6.network().to_bits() + 1).into(), v6.broadcast().into()),
    }
}

/// Whether a node in these ranges can have the address.
pub(crate) fn is_usable(ranges: &Ranges, address: IpAddr) -> bool {
    ranges.iter().any(|range| {
        let (first, last) = usable(range);
        range.contains(&address) && first <= address && address <= last
    })
}

fn free(intent: &Intent, network: &Network, range: IpNet) -> Result<IpAddr, Rejection> {
    let (first, last) = usable(range);
    let left = || Rejection::NoAddressLeft { network: network.name.clone(), range };
    intent.first_free_address(first, last).ok_or_else(left)
}

/// Whether the address chosen by hand can be a node's or a client's.
fn chosen(intent: &Intent, network: &Network, address: IpAddr) -> Result<(), Rejection> {
    if !network.ranges.contains(address) {
        return Err(Rejection::AddressOutside { address, network: network.name.clone() });
    }
    if !is_usable(&network.ranges, address) {
        return Err(Rejection::AddressReserved { address, network: network.name.clone() });
    }
    if let Some(host) = intent.host_by_address(address) {
        return Err(Rejection::AddressTaken { address, host: host.name.clone() });
    }
    match intent.client_by_address(network.id, address) {
        None => Ok(()),
        Some(client) => Err(Rejection::AddressOfClient { address, client: client.name.clone() }),
    }
}

/// Other addresses for a node or a client: those chosen, checked, in place of those of the same family.
pub(crate) fn renumber(
    intent: &Intent,
    network: &Network,
    had: Addresses,
    wanted: Addresses,
) -> Result<Addresses, Rejection> {
    for address in wanted.iter().filter(|wanted| had.iter().all(|ip| ip != *wanted)) {
        chosen(intent, network, address)?;
    }
    Ok(Addresses { v4: wanted.v4.or(had.v4), v6: wanted.v6.or(had.v6) })
}

/// Addresses for a new node or client: those chosen, checked, and free ones for the ranges for which none was chosen.
pub(crate) fn addresses(
    intent: &Intent,
    network: &Network,
    wanted: Addresses,
) -> Result<Addresses, Rejection> {
    for address in wanted.iter() {
        chosen(intent, network, address)?;
    }
    let mut addresses = wanted;
    for range in network.ranges.iter() {
        let given = if range.addr().is_ipv4() { wanted.v4.is_some() } else { wanted.v6.is_some() };
        if given {
            continue;
        }
        match free(intent, network, range)? {
            IpAddr::V4(v4) => addresses.v4 = Some(v4),
            IpAddr::V6(v6) => addresses.v6 = Some(v6),
        }
    }
    Ok(addresses)
}

/// Whose a range is.
#[derive(Clone, Copy)]
enum Holder<'a> {
    Network(&'a Network),
    Egress(&'a Egress),
    Client(&'a Client),
}

impl Holder<'_> {
    fn key(&self) -> RecordKey {
        match self {
            Self::Network(network) => network.id.into(),
            Self::Egress(egress) => egress.id.into(),
            Self::Client(client) => client.id.into(),
        }
    }

    fn refusal(&self, intent: &Intent, range: IpNet, other: IpNet) -> Rejection {
        let named = |id| intent.network(id).expect("what is in a network goes with it").name.clone();
        match self {
            Self::Network(Network { name, .. }) => {
                Rejection::RangesOverlap { range, other, network: name.clone() }
            }
            Self::Egress(Egress { name, network, .. }) => {
                let (egress, network) = (name.clone(), named(*network));
                Rejection::RangeOverlapsEgress { range, other, egress, network }
            }
            Self::Client(Client { name, network, .. }) => {
                let (client, network) = (name.clone(), named(*network));
                Rejection::RangeOverlapsClient { range, other, client, network }
            }
        }
    }
}

/// Every range that leads somewhere: networks' own, egress ranges as they are reached, what is behind clients.
fn held(intent: &Intent) -> impl Iterator<Item = (IpNet, Holder<'_>)> {
    let networks = intent.networks(None);
    let networks = networks.flat_map(|one| one.ranges.iter().map(|range| (range, Holder::Network(one))));
    let egresses = intent.egresses().map(|egress| (egress.reached_as(), Holder::Egress(egress)));
    let clients = intent.clients();
    let clients = clients.flat_map(|one| one.ranges.iter().map(|range| (*range, Holder::Client(one))));
    networks.chain(egresses).chain(clients)
}

pub(crate) fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b) || b.contains(&a)
}

/// Refuses ranges that share addresses with any that lead somewhere already, other than to `own`.
pub(crate) fn free_of_overlap(
    intent: &Intent,
    ranges: impl Iterator<Item = IpNet>,
    own: Option<RecordKey>,
) -> Result<(), Rejection> {
    let ranges: Vec<IpNet> = ranges.collect();
    if ranges.is_empty() {
        return Ok(());
    }
    for (other, holder) in held(intent).filter(|(_, holder)| Some(holder.key()) != own) {
        if let Some(range) = ranges.iter().find(|range| overlap(**range, other)) {
            return Err(holder.refusal(intent, *range, other));
        }
    }
    Ok(())
}

fn sixteen_of_ten(second: u8) -> Option<Ipv4Net> {
    Ipv4Net::new(Ipv4Addr::new(10, second, 0, 0), 16).ok()
}

/// A unique local /64 (RFC 4193): `fd`, 40 random bits, subnet 0.
fn unique_local(random: [u8; 5]) -> Option<Ipv6Net> {
    let [a, b, c, d, e] = random;
    let mut octets = [0; 16];
    octets[..6].copy_from_slice(&[0xfd, a, b, c, d, e]);
    Ipv6Net::new(octets.into(), 64).ok()
}

/// Free ranges for a network: a /16 of 10.0.0.0/8 and a unique local /64. Where to begin is random, so that the
/// networks of two servers rarely collide.
pub(crate) fn ranges(intent: &Intent, env: &mut Env<'_>) -> Result<Ranges, Rejection> {
    let [start] = env.bytes();
    // Whoever leads to a range under another one could not be in a network of the same.
    let led_to = intent.egresses().map(|egress| egress.range);
    let held: Vec<IpNet> = held(intent).map(|(range, _)| range).chain(led_to).collect();
    let is_free =
        |ranges: &Ranges| ranges.iter().all(|range| held.iter().all(|other| !overlap(range, *other)));
    let v4 = (0..=u8::MAX)
        .filter_map(|step| Ranges::new(sixteen_of_ten(start.wrapping_add(step)), None).ok())
        .find(is_free)
        .ok_or(Rejection::NoRangeLeft)?;
    // Forty random bits collide once in a million networks; sixteen times in a row only where all is taken.
    let v6 = (0..16)
        .filter_map(|_| Ranges::new(None, unique_local(env.bytes())).ok())
        .find(is_free)
        .ok_or(Rejection::NoRangeLeft)?;
    Ranges::new(v4.v4(), v6.v6()).map_err(|_| Rejection::NoRangeLeft)
}
