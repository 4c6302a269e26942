//! Where this machine can be reached: its own addresses, for reports. And what is inside it.
//!
//! Not for endpoints seen from outside (the rendezvous sees those). It keeps true that no address is told that only leads
//! back into this machine or into a tunnel.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::addresses::Address;
use super::machine::Machine;
use super::netlink::{Kind, Link};
use crate::words;

/// Bridges of container engines and virtual machines: inside the machine, unless the way out leads over one.
const INSIDE: [&str; 9] = ["docker", "br-", "virbr", "lxcbr", "lxdbr", "incusbr", "podman", "cni", "vnet"];

impl Machine {
    /// The machine's own addresses with their prefixes, ordered: valid beyond their link, lasting, and neither of our
    /// link nor of other tunnels, loopback or containers.
    pub async fn local_addresses(&self) -> anyhow::Result<BTreeSet<IpNet>> {
        let looking = |error| words::could_not("list this machine's addresses", error);
        let links = self.netlink.links().await.map_err(looking)?;
        let addresses = self.netlink.addresses(None).await.map_err(looking)?;
        let inside: Vec<u32> = links.iter().filter(|link| is_inside(link)).map(|link| link.index).collect();
        // A router may have a million routes: they are read only where they matter.
        let ways_out = if addresses.iter().any(|address| inside.contains(&address.link)) {
            self.netlink.default_route_links().await.map_err(looking)?
        } else {
            BTreeSet::new()
        };
        Ok(reachable(&links, &addresses, &ways_out, self.link.as_str()))
    }

    /// The networks of container engines and virtual machines inside this machine, ordered: none over which a way out leads.
    pub async fn inside_networks(&self) -> anyhow::Result<BTreeSet<IpNet>> {
        let looking = |error| words::could_not("list this machine's bridges", error);
        let mut links = self.netlink.links().await.map_err(looking)?;
        links.retain(is_of_containers);
        if links.is_empty() {
            return Ok(BTreeSet::new());
        }
        let addresses = self.netlink.addresses(None).await.map_err(looking)?;
        let ways_out = self.netlink.default_route_links().await.map_err(looking)?;
        Ok(inside(&links, &addresses, &ways_out))
    }
}

/// Networks of these links, unless they lead out.
fn inside(links: &[Link], addresses: &[Address], ways_out: &BTreeSet<u32>) -> BTreeSet<IpNet> {
    let of_one = |address: &&Address| {
        address.global
            && links.iter().any(|link| link.index == address.link)
            && !ways_out.contains(&address.link)
    };
    addresses.iter().filter(of_one).map(|address| address.net.trunc()).collect()
}

/// A bridge whose name its engine made: what people call `br-lan` may be a LAN.
fn is_of_containers(link: &Link) -> bool {
    let of_docker = |rest: &str| rest.len() == 12 && rest.chars().all(|c| c.is_ascii_hexdigit());
    is_inside(link) && link.name.strip_prefix("br-").is_none_or(of_docker)
}

fn is_inside(link: &Link) -> bool {
    link.kind == Kind::Bridge && INSIDE.iter().any(|prefix| link.name.starts_with(prefix))
}

fn reachable(links: &[Link], addresses: &[Address], ways_out: &BTreeSet<u32>, ours: &str) -> BTreeSet<IpNet> {
    let leads_out = |link: &&Link| {
        let tunnel = matches!(link.kind, Kind::Wireguard | Kind::Tun);
        let kept = !is_inside(link) || ways_out.contains(&link.index);
        link.up && !link.loopback && !tunnel && link.name != ours && kept
    };
    let links: BTreeSet<u32> = links.iter().filter(leads_out).map(|link| link.index).collect();
    let told = |address: &&Address| address.global && address.lasting && links.contains(&address.link);
    addresses.iter().filter(told).map(|address| address.net).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, kind: Kind) -> Link {
        Link { index, name: name.to_owned(), kind, mtu: 1500, up: true, loopback: name == "lo" }
    }

    fn address(link: u32, net: &str) -> Address {
        Address { link, net: net.parse().unwrap(), global: true, lasting: true }
    }

    fn told(ways_out: &[u32]) -> Vec<String> {
        let links = [
            link(1, "lo", Kind::Other),
            link(2, "eth0", Kind::Other),
            link(3, "docker0", Kind::Bridge),
            link(4, "br-lan", Kind::Bridge),
            link(5, "wg7", Kind::Wireguard),
            link(6, "netloom0", Kind::Tun),
            Link { up: false, ..link(7, "eth1", Kind::Other) },
            link(8, "br0", Kind::Bridge),
        ];
        let mut addresses: Vec<Address> =
            (1..=8).map(|index| address(index, &format!("10.0.{index}.1/24"))).collect();
        addresses.push(Address { lasting: false, ..address(2, "2001:db8::1/64") });
        addresses.push(Address { global: false, ..address(2, "fe80::1/64") });
        addresses.push(address(2, "2001:db8::2/64"));
        let ways_out = ways_out.iter().copied().collect();
        reachable(&links, &addresses, &ways_out, "netloom0").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_what_leads_to_this_machine_from_outside_is_told() {
        assert_eq!(told(&[2]), ["10.0.2.1/24", "10.0.8.1/24", "2001:db8::2/64"]);
    }

    #[test]
    fn networks_of_containers_are_inside_and_lans_are_not() {
        let links = [
            link(2, "eth0", Kind::Other),
            link(3, "docker0", Kind::Bridge),
            link(4, "br-lan", Kind::Bridge),
            link(5, "br-0123456789ab", Kind::Bridge),
            link(6, "virbr0", Kind::Bridge),
        ];
        let mut bridges = links.to_vec();
        bridges.retain(is_of_containers);
        let mut addresses: Vec<Address> =
            (2..=6).map(|index| address(index, &format!("10.0.{index}.1/24"))).collect();
        addresses.push(Address { global: false, ..address(3, "fe80::1/64") });
        let inside = inside(&bridges, &addresses, &[6].into());
        let inside: Vec<String> = inside.iter().map(ToString::to_string).collect();
        assert_eq!(inside, ["10.0.3.0/24", "10.0.5.0/24"]);
    }

    #[test]
    fn a_bridge_that_is_the_way_out_is_kept() {
        assert_eq!(told(&[4]), ["10.0.2.1/24", "10.0.4.1/24", "10.0.8.1/24", "2001:db8::2/64"]);
    }
}
