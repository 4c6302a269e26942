//! Whether every agent has exactly the map that it is to have, worked out from the administrators' API and nothing else: no
//! code of the server's planner is used here, and none of what the agents were sent.
//!
//! The entries are compared once with what is expected, then each agent by numbers alone. It keeps true that a mismatch names
//! agent, peer, what was expected and what was found.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use api::path;
use model::{Addresses, HostId, MemberId, Mtu, NetworkId, Ranges};
use wire::{Membership, NatMapping, OwnHost, Peer, PeerNode};

use super::Swarm;
use super::book::{Number, Pages};
use super::map::Map;
use crate::fleet::Administrator;

/// Hosts in a page of the list.
const PAGE: usize = 1_000;
/// Between two looks at maps that are not right yet.
const PAUSE: Duration = Duration::from_millis(300);
/// The server's domain: these servers are started with no other.
const SERVER_DOMAIN: &str = "netloom.internal";
/// Stands for an entry that nobody holds.
const NOWHERE: Number = Number::MAX;

/// A map that is not as it is to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{agent} has a wrong map: {what}; expected {expected}, found {found}")]
pub struct Mismatch {
    agent: String,
    what: String,
    expected: String,
    found: String,
}

/// What every host must know, by the administrators' API.
#[derive(Debug)]
pub struct Definition {
    hosts: HashMap<HostId, api::Host>,
    networks: BTreeMap<NetworkId, Whole>,
}

/// A network and who takes part in it.
#[derive(Debug)]
struct Whole {
    network: api::Network,
    peers: Vec<(MemberId, Peer)>,
}

/// What is expected in one network, by the book's places.
struct Expected {
    numbers: Vec<Number>,
    /// Those that stand in nobody's map.
    missing: Vec<MemberId>,
}

impl Definition {
    /// Reads it.
    pub async fn read(administrator: &Administrator) -> Result<Self> {
        let networks = administrator.list(path::NETWORKS, PAGE).await?;
        Self::of(networks, administrator.list(path::HOSTS, PAGE).await?)
    }

    fn of(networks: Vec<api::Network>, hosts: Vec<api::Host>) -> Result<Self> {
        let whole = |network: api::Network| (network.id, Whole { network, peers: Vec::new() });
        let mut networks: BTreeMap<NetworkId, Whole> = networks.into_iter().map(whole).collect();
        for host in &hosts {
            for node in host.networks.iter().filter(|node| node.connected) {
                let whole =
                    networks.get_mut(&node.network.id).context("a host is in a network that is not there")?;
                whole.peers.push((host.id.into(), peer_of(host, node)));
            }
        }
        let hosts = hosts.into_iter().map(|host| (host.id, host)).collect();
        Ok(Self { hosts, networks })
    }

    /// Compares every agent's map with it.
    pub fn check(&self, swarm: &Swarm) -> Result<(), Mismatch> {
        let pages = swarm.shared.book.open();
        let expected = |(id, whole): (&NetworkId, &Whole)| (*id, whole.expected(*id, &pages));
        let expected: HashMap<NetworkId, Expected> = self.networks.iter().map(expected).collect();
        let server = swarm.members.first().map(|member| member.machine.map().server.clone());
        for member in &swarm.members {
            let map = member.machine.map();
            let agent = self.name(member.machine.host);
            if Some(&map.server) != server.as_ref() {
                return Err(mismatch(&agent, "the server's doors", &server, &Some(&map.server)));
            }
            self.own(member.machine.host, &map, &agent)?;
            self.all_peers(&expected, &map, &pages, &agent)?;
        }
        Ok(())
    }

    fn all_peers(
        &self,
        expected: &HashMap<NetworkId, Expected>,
        map: &Map,
        pages: &Pages,
        agent: &str,
    ) -> Result<(), Mismatch> {
        for (network, membership) in &map.networks {
            if let Some(expected) = expected.get(network).filter(|_| membership.connected) {
                self.peers(*network, expected, map, pages, agent)?;
            }
        }
        Ok(())
    }

    fn name(&self, host: HostId) -> String {
        let name = self.hosts.get(&host).map(|host| host.name.to_string());
        format!("{} ({host})", name.unwrap_or_else(|| "a host that is not there".to_owned()))
    }

    fn own(&self, host: HostId, map: &Map, agent: &str) -> Result<(), Mismatch> {
        let host = self.hosts.get(&host);
        let own = host.map(|host| OwnHost {
            id: host.id,
            name: host.name.clone(),
            mtu: host.mtu.unwrap_or(Mtu::DEFAULT),
            seen: host.inventory.endpoints.clone(),
            nat: nat_of(host.inventory.nat),
            rotate: false,
        });
        if own != map.own {
            return Err(mismatch(agent, "the host itself", &own, &map.own));
        }
        let networks: BTreeMap<NetworkId, Membership> = host
            .iter()
            .flat_map(|host| &host.networks)
            .filter_map(|node| {
                Some((node.network.id, membership(&self.networks.get(&node.network.id)?.network, node)?))
            })
            .collect();
        if networks != map.networks {
            return Err(mismatch(agent, "its networks", &networks, &map.networks));
        }
        let strange = map.held.iter().find(|held| {
            let takes_part = networks.get(&held.network).is_some_and(|membership| membership.connected);
            !takes_part && held.numbers.iter().any(|number| *number != 0)
        });
        match strange {
            Some(held) => {
                Err(mismatch(agent, "peers of a network it takes no part in", &None::<()>, &held.network))
            }
            None => Ok(()),
        }
    }

    fn peers(
        &self,
        network: NetworkId,
        expected: &Expected,
        map: &Map,
        pages: &Pages,
        agent: &str,
    ) -> Result<(), Mismatch> {
        let own: Option<MemberId> = map.own.as_ref().map(|own| own.id.into());
        let held = map.held(network).map_or(&[][..], |held| &held.numbers);
        let own_place = own.and_then(|own| pages.places(network)?.of(own)).map(|place| place as usize);
        let length = held.len().max(expected.numbers.len());
        for place in 0..length {
            let at = |numbers: &[Number]| numbers.get(place).copied().unwrap_or(0);
            let wanted = if Some(place) == own_place { 0 } else { at(&expected.numbers) };
            if at(held) != wanted {
                let host = pages.places(network).and_then(|places| places.host(place));
                let wanted = host.filter(|_| Some(place) != own_place);
                let wanted = wanted.and_then(|host| self.networks.get(&network)?.peer(host));
                let found = pages.known(at(held)).map(|known| &known.peer);
                return Err(mismatch(agent, &format!("peer {host:?} in {network:?}"), &wanted, &found));
            }
        }
        let missing = expected.missing.iter().find(|host| Some(**host) != own);
        match missing {
            Some(host) => Err(mismatch(agent, &format!("peer {host:?} in {network:?}"), host, &None::<()>)),
            None => Ok(()),
        }
    }
}

impl Whole {
    fn peer(&self, host: MemberId) -> Option<&Peer> {
        self.peers.iter().find(|(id, _)| *id == host).map(|(_, peer)| peer)
    }

    fn expected(&self, id: NetworkId, pages: &Pages) -> Expected {
        let all = pages.places(id).map_or(0, super::book::Places::len);
        let mut expected = Expected { numbers: vec![0; all], missing: Vec::new() };
        for (host, peer) in &self.peers {
            match pages.places(id).and_then(|places| places.of(*host)) {
                None => expected.missing.push(*host),
                Some(place) => {
                    expected.numbers[place as usize] = pages.number_of(id, *host, peer).unwrap_or(NOWHERE);
                }
            }
        }
        expected
    }
}

pub(super) fn mismatch(
    agent: &str,
    what: &str,
    expected: &impl std::fmt::Debug,
    found: &impl std::fmt::Debug,
) -> Mismatch {
    Mismatch {
        agent: agent.to_owned(),
        what: what.to_owned(),
        expected: format!("{expected:?}"),
        found: format!("{found:?}"),
    }
}

fn addresses(node: &api::HostNetwork) -> Addresses {
    Addresses { v4: node.v4, v6: node.v6 }
}

fn membership(network: &api::Network, node: &api::HostNetwork) -> Option<Membership> {
    let ranges = Ranges::new(network.v4, network.v6).ok()?;
    let below = || format!("{}.{SERVER_DOMAIN}", network.name).parse().ok();
    Some(Membership {
        addresses: addresses(node),
        connected: node.connected,
        keepalive: network.keepalive,
        // Who does not take part is told no names.
        domain: node.connected.then(|| network.domain.clone().or_else(below)).flatten(),
        ..Membership::plain(network.name.clone(), ranges)
    })
}

fn peer_of(host: &api::Host, node: &api::HostNetwork) -> Peer {
    Peer {
        name: host.name.clone(),
        key: Some(host.wireguard_key),
        nodes: vec![PeerNode::new(node.network.id, addresses(node))],
        seen: host.inventory.endpoints.clone(),
        local: host.inventory.local.clone(),
        fixed: host.static_endpoint,
        nat: nat_of(host.inventory.nat),
    }
}

fn nat_of(nat: api::Nat) -> NatMapping {
    match nat {
        api::Nat::Unknown => NatMapping::Unknown,
        api::Nat::Endpoint => NatMapping::Endpoint,
        api::Nat::PerDestination => NatMapping::PerDestination,
    }
}

impl Swarm {
    /// Looks until every map is right, and fails with the first that is not when the time is over. That something takes long
    /// is no failure: the time is long.
    pub async fn verify(&self, administrator: &Administrator, limit: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            let definition = Definition::read(administrator).await?;
            match definition.check(self) {
                Ok(()) => return Ok(()),
                Err(mismatch) if start.elapsed() > limit => return Err(mismatch.into()),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{Generation, NodeId, Timestamp, WgPublicKey};
    use wire::{PartsHead, ServerLinks, bucket_of};

    use super::*;
    use crate::swarm::book::Book;
    use crate::swarm::map::{Bucket, Marks};
    use crate::swarm::tracker::Tracker;

    const NETWORK: NetworkId = NetworkId::from_bytes([7; 16]);

    fn id(number: u8) -> HostId {
        HostId::from_bytes([number; 16])
    }

    fn host(number: u8) -> api::Host {
        let node = api::HostNetwork {
            network: api::NetworkRef { id: NETWORK, name: "home".parse().unwrap() },
            node: NodeId::from_bytes([number; 16]),
            v4: Some([10, 0, 0, number].into()),
            v6: None,
            connected: true,
            pending: false,
        };
        api::Host {
            id: id(number),
            name: format!("host-{number}").parse().unwrap(),
            wireguard_key: WgPublicKey::from_bytes([number; 32]),
            mtu: None,
            static_endpoint: None,
            default: false,
            ephemeral: false,
            rotating: false,
            networks: vec![node],
            inventory: api::Inventory::default(),
            created: Timestamp::default(),
        }
    }

    fn definition(hosts: impl Iterator<Item = u8>) -> Definition {
        let network = api::Network {
            id: NETWORK,
            name: "home".parse().unwrap(),
            v4: Some("10.0.0.0/24".parse().unwrap()),
            v6: None,
            keepalive: model::Keepalive::DEFAULT,
            access: api::Access::Allow,
            approval: false,
            hub: None,
            domain: None,
            nodes: 0,
            created: Timestamp::default(),
        };
        Definition::of(vec![network], hosts.map(host).collect()).unwrap()
    }

    /// The map that the host with number 1 was told, in a fleet of these.
    fn map(hosts: impl Iterator<Item = u8>, book: &Book) -> Map {
        let (tracker, mut map) = (Tracker::default(), Map::default());
        let own = host(1);
        let definition = definition(std::iter::once(1));
        let whole = &definition.networks[&NETWORK];
        let membership = membership(&whole.network, &own.networks[0]).unwrap();
        let head = PartsHead {
            generation: Generation::from_number(1),
            host: OwnHost {
                id: own.id,
                name: own.name,
                mtu: Mtu::DEFAULT,
                seen: vec![],
                nat: NatMapping::Unknown,
                rotate: false,
            },
            server: ServerLinks::default(),
            networks: [(NETWORK, membership)].into(),
            whole: vec![NETWORK],
            parts: 0,
            records: std::collections::BTreeMap::new(),
        };
        let bucket = |number: u8| {
            let peer = peer_of(&host(number), &host(number).networks[0]);
            let numbers = Arc::from([book.number(NETWORK, id(number).into(), &peer, &tracker)]);
            Bucket { network: NETWORK, bucket: bucket_of(id(number)), numbers }
        };
        let buckets: Vec<Bucket> = hosts.map(bucket).collect();
        map.adopt(head, &buckets, book, &tracker, &mut Marks::default());
        map
    }

    fn check(definition: &Definition, map: &Map, book: &Book) -> Result<(), Mismatch> {
        let pages = book.open();
        let whole = definition.networks[&NETWORK].expected(NETWORK, &pages);
        definition.own(id(1), map, "agent")?;
        definition.all_peers(&HashMap::from([(NETWORK, whole)]), map, &pages, "agent")
    }

    #[test]
    fn a_map_that_is_right_passes_without_the_host_itself() {
        let book = Book::default();
        let told = map(1..=5, &book);
        assert_eq!(check(&definition(1..=5), &told, &book), Ok(()));
        assert_eq!(told.held(NETWORK).unwrap().numbers.iter().filter(|number| **number != 0).count(), 4);
    }

    #[test]
    fn whatever_is_wrong_is_named() {
        let book = Book::default();
        let (told, five) = (map(1..=5, &book), definition(1..=5));
        let wrong = |definition: &Definition| check(definition, &told, &book).unwrap_err().to_string();
        assert!(wrong(&definition(1..=4)).contains("found Some(Peer"), "one too many");
        assert!(
            wrong(&definition(1..=6)).contains(&format!("{:?}", MemberId::from(id(6)))),
            "one that nobody has"
        );
        let lacks = map(1..=4, &book);
        let error = check(&five, &lacks, &book).unwrap_err().to_string();
        assert!(error.contains("host-5") && error.ends_with("found None"), "{error}");

        let changed = |change: fn(&mut api::Host)| {
            let mut hosts: Vec<api::Host> = (1..=5).map(host).collect();
            hosts.iter_mut().for_each(change);
            let networks = definition(1..=5).networks.into_values().map(|whole| whole.network).collect();
            wrong(&Definition::of(networks, hosts).unwrap())
        };
        let moved = changed(|host| {
            if host.id == id(3) {
                host.inventory.local = vec!["10.9.9.9:1".parse().unwrap()];
            }
        });
        assert!(moved.contains("10.9.9.9:1") && moved.contains("host-3"), "{moved}");
        let renamed = changed(|host| {
            if host.id == id(1) {
                host.name = "other".parse().unwrap();
            }
        });
        assert!(renamed.contains("the host itself") && renamed.contains("other"), "{renamed}");
        assert!(changed(|host| host.networks[0].connected = false).contains("its networks"));
    }
}
