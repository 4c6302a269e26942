//! What the host map asks of the machine's DNS: where we answer, what its resolver is told, whom we ask in turn.
//!
//! Not for doing any of it. It keeps true that foreign names are asked for nobody but this machine and those that come in
//! or go out through it, and that behind a full tunnel they are asked through the tunnel.

use std::net::{IpAddr, SocketAddr};

use dns::{DomainRule, Forwarding};
use ipnet::IpNet;
use model::{DnsName, MemberId};
use reconcile::Resolver;
use wire::{HostMap, Membership, Party, PeerNode, Way};

use super::table::network;

/// The port that resolvers ask at.
pub(super) const PORT: u16 = 53;

/// What the map asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Where questions are answered.
    pub listen: Vec<SocketAddr>,
    /// What the machine's resolver is told.
    pub resolver: Resolver,
    /// Who is asked about foreign names.
    pub forwarding: Forwarding,
    /// For whom.
    pub allowed: Vec<IpNet>,
}

impl Wanted {
    /// What this map asks for, on a machine that asks these without us. Only networks with a domain have names.
    pub fn of(map: &HostMap, upstreams: &[SocketAddr]) -> Self {
        let named = || map.networks.values().filter(|told| told.takes_part() && told.domain.is_some());
        let servers: Vec<IpAddr> = named().flat_map(|told| told.addresses.iter()).collect();
        let through = gateway(map);
        let search: Vec<DnsName> = named().filter_map(|told| told.domain.clone()).collect();
        let rules = named().flat_map(|told| &told.upstreams);
        let domains = rules.clone().filter_map(|rule| {
            let domain = rule.domain.as_str().parse().ok()?;
            Some(DomainRule { domain, upstreams: rule.servers.clone() })
        });
        let route = rules.clone().map(|rule| rule.domain.clone()).chain(named().flat_map(reverse_domains));
        let default = through.clone().unwrap_or_else(|| upstreams.to_vec());
        Self {
            listen: servers.iter().map(|address| (*address, PORT).into()).collect(),
            resolver: Resolver { search, route: route.collect(), all: through.is_some(), servers },
            forwarding: Forwarding { default, domains: domains.collect() },
            allowed: allowed(map),
        }
    }
}

impl Wanted {
    /// Whether it may be another one because the map says something new of this member.
    pub(super) fn depends_on(&self, map: &HostMap, member: MemberId) -> bool {
        let now = map.peers.get(&member).into_iter().flat_map(|peer| &peer.nodes);
        let comes = now.clone().any(|node| comes_through(map, member, node));
        let allowed =
            |node: &PeerNode| node.addresses.iter().any(|ip| self.allowed.contains(&IpNet::from(ip)));
        let gateway = map.networks.values().filter_map(|told| told.internet?.via).any(|via| member == via);
        // One that is gone may have been allowed: that is looked up where anybody is.
        comes || gateway || now.clone().any(allowed) || (now.count() == 0 && self.allows_others(map))
    }

    /// Whether anybody but this machine is asked for.
    fn allows_others(&self, map: &HostMap) -> bool {
        let own = |net: &IpNet| {
            net.addr().is_loopback()
                || map.networks.values().any(|told| told.addresses.iter().any(|ip| IpNet::from(ip) == *net))
        };
        !self.allowed.iter().all(own)
    }
}

/// The name servers of the internet gateway that is in use; none if none is. Nobody, where the gateway is gone.
fn gateway(map: &HostMap) -> Option<Vec<SocketAddr>> {
    let way = |told: &Membership| told.internet.filter(|_| told.takes_part());
    let (network, way) = map.networks.iter().find_map(|(id, told)| Some((*id, way(told)?)))?;
    let gateway = way.via.and_then(|via| map.peers.get(&via.into()));
    let nodes = gateway.into_iter().flat_map(|peer| &peer.nodes);
    let addresses = nodes.filter(|node| node.network == network).flat_map(|node| node.addresses.iter());
    Some(addresses.map(|address| (address, PORT).into()).collect())
}

fn reverse_domains(told: &Membership) -> Vec<DnsName> {
    let Some(network) = network(told) else { return Vec::new() };
    network.origins().filter_map(|origin| origin.to_string().parse().ok()).skip(1).collect()
}

/// This machine itself, the clients that come in through it, and those to whom it is the way out.
fn allowed(map: &HostMap) -> Vec<IpNet> {
    let own = map.networks.values().filter(|told| told.takes_part());
    let own = own.flat_map(|told| told.addresses.iter().map(IpNet::from));
    let loopback = [IpAddr::from([127, 0, 0, 1]), std::net::Ipv6Addr::LOCALHOST.into()].map(IpNet::from);
    let ways = map.peers.iter().flat_map(|(member, peer)| {
        let nodes = peer.nodes.iter().filter(|node| comes_through(map, *member, node));
        nodes.flat_map(|node| node.addresses.iter().map(IpNet::from))
    });
    loopback.into_iter().chain(own).chain(ways).collect()
}

/// Whether the member comes in through this host, or has it as its way out.
fn comes_through(map: &HostMap, member: MemberId, node: &PeerNode) -> bool {
    let Some(told) = map.networks.get(&node.network).filter(|told| told.takes_part()) else { return false };
    let comes_in = node.via.contains(&map.host.id) && told.way(map.host.id, member, node) == Way::Direct;
    let outward = told.grants.iter().filter(|grant| grant.to.contains(&Party::Outside));
    let named = |party: &Party| match party {
        Party::Everything => true,
        Party::Class(class) => node.classes.contains(class),
        Party::Member(named) => *named == member,
        Party::Outside => false,
    };
    comes_in || (told.internet_gateway && outward.flat_map(|grant| &grant.from).any(named))
}

#[cfg(test)]
mod tests {
    use model::HostId;
    use wire::{InternetWay, ToldUpstream};

    use super::super::tests::{NETWORK, map};
    use super::*;

    const UPSTREAM: &str = "192.0.2.53:53";

    fn wanted(map: &HostMap) -> Wanted {
        Wanted::of(map, &[UPSTREAM.parse().unwrap()])
    }

    #[test]
    fn the_network_s_names_come_to_us_and_the_rest_is_asked_as_before() {
        let wanted = wanted(&map(1));
        assert_eq!(wanted.listen, ["10.7.0.200:53".parse().unwrap()]);
        let domains: Vec<String> =
            wanted.resolver.domains().into_iter().map(|(domain, _)| domain.to_string()).collect();
        assert_eq!(domains, ["office.netloom.internal", "7.10.in-addr.arpa"]);
        assert!(!wanted.resolver.all);
        assert_eq!(wanted.forwarding.default, [UPSTREAM.parse().unwrap()]);
        assert!(!wanted.allowed.contains(&"10.7.0.1/32".parse().unwrap()), "{:?}", wanted.allowed);
    }

    #[test]
    fn a_domain_with_name_servers_of_its_own_comes_to_us_and_goes_there() {
        let mut map = map(0);
        let rule = ToldUpstream {
            domain: "corp.example".parse().unwrap(),
            servers: vec!["10.0.0.53:53".parse().unwrap()],
        };
        map.networks.get_mut(&NETWORK).unwrap().upstreams.push(rule);
        let wanted = wanted(&map);
        assert!(wanted.resolver.route.iter().any(|domain| domain.as_str() == "corp.example"));
        assert_eq!(wanted.forwarding.domains[0].upstreams, ["10.0.0.53:53".parse().unwrap()]);
    }

    #[test]
    fn behind_a_full_tunnel_everything_is_asked_through_the_gateway() {
        let mut map = map(1);
        let via = HostId::from_bytes([1; 16]);
        let internet = |via| Some(InternetWay { via, lan: true });
        map.networks.get_mut(&NETWORK).unwrap().internet = internet(Some(via));
        let through = wanted(&map);
        assert!(through.resolver.all);
        assert_eq!(through.forwarding.default, ["10.7.0.1:53".parse().unwrap()]);
        map.networks.get_mut(&NETWORK).unwrap().internet = internet(None);
        let shut = wanted(&map);
        assert!(shut.resolver.all && shut.forwarding.default.is_empty(), "nobody is asked beside the tunnel");
    }

    #[test]
    fn foreign_names_are_asked_for_those_who_come_in_or_go_out_through_us() {
        let mut map = map(2);
        let own = map.host.id;
        map.peers.get_mut(&HostId::from_bytes([2; 16]).into()).unwrap().nodes[0].via = vec![own];
        let allowed = wanted(&map).allowed;
        assert!(
            allowed.contains(&"10.7.0.2/32".parse().unwrap())
                && !allowed.contains(&"10.7.0.1/32".parse().unwrap())
        );
        let users = wire::Class::new(NETWORK, "internet", own.as_bytes());
        let told = map.networks.get_mut(&NETWORK).unwrap();
        told.internet_gateway = true;
        told.grants =
            vec![wire::Grant { from: vec![Party::Class(users)], to: vec![Party::Outside], services: vec![] }];
        assert!(!wanted(&map).allowed.contains(&"10.7.0.1/32".parse().unwrap()));
        map.peers.get_mut(&HostId::from_bytes([1; 16]).into()).unwrap().nodes[0].classes = vec![users];
        assert!(wanted(&map).allowed.contains(&"10.7.0.1/32".parse().unwrap()));
    }
}
