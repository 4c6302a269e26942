//! Names: the agent answers DNS on its own addresses in its networks, from its map, and tells the machine's resolver so.
//!
//! Not for what is answered: `table` follows the map, `wanted` says where and for whom, crate `dns` answers, `platform` tells the
//! resolver. It keeps true that the resolver is told of us only while we answer, and has back what it had before when we end.

mod table;
mod telling;
mod wanted;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use model::{MemberId, NetworkId};
use platform::{ResolverHands, ResolverOptions};
use reconcile::{LinkName, Resolver, ResolverChoice};
use wire::{HostMap, Outcome};

use crate::view::DnsView;
pub use table::Table;
pub use wanted::Wanted;

use telling::Telling;

/// After this time is tried again to answer where that could not be had.
const AGAIN: Duration = Duration::from_secs(10);

/// The names of this machine's networks. See the module.
#[derive(Debug)]
pub struct NameService {
    table: Table,
    server: Option<dns::Server>,
    options: ResolverOptions,
    telling: Option<Telling>,
    wanted: Wanted,
    /// The networks of containers inside this machine: their resolvers are copies of ours.
    inside: BTreeSet<IpNet>,
    failures: Vec<Outcome>,
    again: Option<Duration>,
}

impl NameService {
    /// Nothing is answered and nobody told before the first map. `serial` is a number that grows over restarts.
    pub fn new(link: LinkName, state: PathBuf, choice: ResolverChoice, serial: u32) -> Self {
        Self {
            table: Table::new(serial),
            server: None,
            options: ResolverOptions { link, state, choice },
            telling: None,
            wanted: Wanted::default(),
            inside: BTreeSet::new(),
            failures: Vec::new(),
            again: None,
        }
    }

    /// What could not be done.
    pub fn failures(&self) -> Vec<Outcome> {
        let told = self.telling.iter().flat_map(|telling| telling.standing().failures);
        self.failures.iter().cloned().chain(told).collect()
    }

    /// Where questions are answered, and whom foreign names are asked of, for people.
    pub fn view(&self) -> DnsView {
        let listening = self.server.as_ref().map(dns::Server::listening).unwrap_or_default();
        DnsView { listening, upstreams: self.wanted.forwarding.default.clone() }
    }

    /// Takes over which networks are inside this machine; says whether that is new.
    pub fn set_inside(&mut self, inside: BTreeSet<IpNet>) -> bool {
        std::mem::replace(&mut self.inside, inside.clone()) != inside
    }

    /// Whom this machine asks without us, as far as is known.
    pub fn upstreams(&self) -> Vec<SocketAddr> {
        self.telling.as_ref().map(Telling::standing).unwrap_or_default().upstreams
    }

    /// When `settle` should be called again, on the clock of its `now`.
    pub const fn poll_deadline(&self) -> Option<Duration> {
        self.again
    }

    /// Takes over a whole map. Addresses must be on the link already.
    pub async fn follow_all(&mut self, map: &HostMap, now: Duration) {
        self.table.follow_all(map);
        self.settle(map, now).await;
    }

    /// Takes over what the map says of these members, and the records of these networks.
    pub async fn follow(
        &mut self,
        map: &HostMap,
        members: &BTreeSet<MemberId>,
        records: &BTreeSet<NetworkId>,
        now: Duration,
    ) {
        self.table.follow(map, members, records);
        let forwards = |map: &HostMap| map.networks.values().any(|told| told.internet_gateway);
        // For whom we ask in turn follows from members where some come in or go out through us, and only there.
        if forwards(map) || members.iter().any(|member| self.wanted.depends_on(map, *member)) {
            self.settle(map, now).await;
        }
    }

    /// Waits until it stands otherwise with the machine's resolver.
    pub async fn changed(&mut self) {
        match &mut self.telling {
            Some(telling) => telling.changed().await,
            None => std::future::pending().await,
        }
    }

    /// Makes it so: first the answers, then the resolver; the other way round where nothing is wanted any more.
    pub async fn settle(&mut self, map: &HostMap, now: Duration) {
        self.failures.clear();
        self.again = None;
        let upstreams = self.upstreams();
        self.wanted = Wanted::of(map, &upstreams);
        if self.wanted.listen.is_empty() {
            self.end().await;
            return;
        }
        let silent = self.listen().await;
        if !silent.is_empty() {
            self.again = Some(now + AGAIN);
        }
        // The resolver is told of those that answer.
        let mut resolver = self.wanted.resolver.clone();
        resolver.servers.retain(|server| !silent.contains(server));
        let resolver = if resolver.is_empty() { Resolver::default() } else { resolver };
        let own = map.networks.values().flat_map(|told| told.addresses.iter()).collect();
        let options = &self.options;
        self.telling.get_or_insert_with(|| Telling::start(options.clone())).wish(resolver, own, upstreams);
    }

    /// Ends: the resolver has back what it had, then nothing is answered any more.
    pub async fn end(&mut self) {
        if let Some(telling) = self.telling.take() {
            self.failures.extend(telling.end().await);
        }
        if let Some(server) = self.server.take() {
            server.shutdown().await;
        }
        self.wanted = Wanted::default();
    }

    /// The addresses that cannot be answered on.
    async fn listen(&mut self) -> Vec<IpAddr> {
        let Wanted { listen, forwarding, mut allowed, resolver: _ } = self.wanted.clone();
        allowed.extend(&self.inside);
        let refused = match &self.server {
            Some(server) => {
                server.set_forwarding(forwarding);
                server.set_allow(Some(allowed.clone()));
                server.set_allow_forward(allowed);
                server.set_listen(&listen).await
            }
            None => {
                let names = self.table.names().clone();
                let allow = Some(allowed.clone());
                let options = dns::Options { listen, names, allow, forwarding, allow_forward: allowed };
                let (server, refused) = dns::Server::start(options).await;
                self.server = Some(server);
                refused
            }
        };
        self.failures.extend(
            refused.iter().map(|error| Outcome { op: "answer names".to_owned(), error: error.to_string() }),
        );
        refused.iter().map(|error| error.address.ip()).collect()
    }
}

/// Gives the machine's resolver back what it had, where an agent that has ended could not.
pub async fn restore_resolver(link: LinkName, state: PathBuf) -> anyhow::Result<bool> {
    let choice = ResolverChoice::Auto;
    ResolverHands::detect(ResolverOptions { link, state, choice }).await?.restore().await
}

#[cfg(test)]
pub(crate) mod tests {
    use model::{Addresses, Generation, HostId, HostName, Mtu, Ranges, WgPublicKey};
    use wire::{Membership, NatMapping, OwnHost, Peer, PeerNode, ServerLinks};

    use super::*;

    pub(crate) const NETWORK: NetworkId = NetworkId::from_bytes([7; 16]);

    pub(crate) fn addresses(last: u8) -> Addresses {
        Addresses { v4: Some([10, 7, 0, last].into()), v6: None }
    }

    pub(crate) fn peer(number: u8) -> Peer {
        Peer {
            name: HostName::nearest("peer").numbered(number.into()),
            key: Some(WgPublicKey::from_bytes([number; 32])),
            nodes: vec![PeerNode::new(NETWORK, addresses(number))],
            seen: Vec::new(),
            local: Vec::new(),
            fixed: None,
            nat: NatMapping::Unknown,
        }
    }

    /// A map of a host with a network in which there are this many others.
    pub(crate) fn map(peers: u8) -> HostMap {
        let ranges = Ranges::new(Some("10.7.0.0/16".parse().unwrap()), None).unwrap();
        let membership = Membership {
            addresses: addresses(200),
            domain: Some("office.netloom.internal".parse().unwrap()),
            ..Membership::plain("office".parse().unwrap(), ranges)
        };
        HostMap {
            generation: Generation::from_number(1),
            host: OwnHost {
                id: HostId::from_bytes([200; 16]),
                name: HostName::nearest("own"),
                mtu: Mtu::DEFAULT,
                seen: Vec::new(),
                nat: NatMapping::Unknown,
                rotate: false,
            },
            server: ServerLinks::default(),
            networks: [(NETWORK, membership)].into(),
            peers: (1..=peers).map(|number| (MemberId::from_bytes([number; 16]), peer(number))).collect(),
        }
    }
}
