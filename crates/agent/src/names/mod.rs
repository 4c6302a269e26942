//! Names: the agent answers DNS on its own addresses in its networks, from its map, and tells the machine's resolver so.
//!
//! Not for what is answered: `table` follows the map, `wanted` says where and for whom, crate `dns` answers, `platform` tells the
//! resolver. It keeps true that the resolver is told of us only while we answer, and has back what it had before when we end.

mod table;
mod wanted;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use model::MemberId;
use platform::{ResolverApplied, ResolverHands, ResolverOptions, ResolverWatch};
use reconcile::{LinkName, Resolver, ResolverChoice};
use wire::{HostMap, Outcome};

use table::Table;
use wanted::Wanted;

/// How long a resolver that cannot be told is left alone.
const AGAIN: Duration = Duration::from_secs(10);

/// The names of this machine's networks. See the module.
#[derive(Debug)]
pub struct NameService {
    table: Table,
    server: Option<dns::Server>,
    options: ResolverOptions,
    hands: Option<ResolverHands>,
    watch: Option<ResolverWatch>,
    upstreams: Vec<SocketAddr>,
    wanted: Wanted,
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
            hands: None,
            watch: None,
            upstreams: Vec::new(),
            wanted: Wanted::default(),
            failures: Vec::new(),
            again: None,
        }
    }

    /// What could not be done.
    pub fn failures(&self) -> &[Outcome] {
        &self.failures
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

    /// Takes over what the map says of these members.
    pub async fn follow(&mut self, map: &HostMap, members: &BTreeSet<MemberId>, now: Duration) {
        self.table.follow(map, members);
        if Wanted::of(map, &self.upstreams) != self.wanted {
            self.settle(map, now).await;
        }
    }

    /// Waits until what the resolver asks without us may have changed.
    pub async fn changed(&mut self) {
        let Some(watch) = &mut self.watch else { return std::future::pending().await };
        if let Err(error) = watch.changed().await {
            tracing::warn!("{error:#}");
            self.watch = None;
        }
    }

    /// Makes it so: first the answers, then the resolver; the other way round where nothing is wanted any more.
    pub async fn settle(&mut self, map: &HostMap, now: Duration) {
        self.failures.clear();
        self.again = None;
        self.learn_upstreams(map).await;
        self.wanted = Wanted::of(map, &self.upstreams);
        if self.wanted.listen.is_empty() {
            self.end().await;
            return;
        }
        let answers = self.listen().await;
        let resolver = if answers { self.wanted.resolver.clone() } else { Resolver::default() };
        self.tell(&resolver, now).await;
        if !answers {
            self.again = Some(now + AGAIN);
        }
    }

    /// Ends: the resolver has back what it had, then nothing is answered any more.
    pub async fn end(&mut self) {
        if let Some(hands) = &mut self.hands
            && let Err(error) = hands.restore().await
        {
            self.fail("give the machine's resolver back what it had", &error);
        }
        if let Some(server) = self.server.take() {
            server.shutdown().await;
        }
        self.wanted = Wanted::default();
    }

    async fn learn_upstreams(&mut self, map: &HostMap) {
        let found = match &mut self.hands {
            Some(hands) => hands.detect_again().await.map(drop),
            None => ResolverHands::detect(self.options.clone()).await.map(|hands| self.hands = Some(hands)),
        };
        if let Err(error) = found {
            self.fail("find this machine's resolver", &error);
        }
        let Some(hands) = &self.hands else { return };
        let own: Vec<IpAddr> = map.networks.values().flat_map(|told| told.addresses.iter()).collect();
        match hands.upstreams(&own).await {
            Ok(upstreams) => self.upstreams = upstreams,
            Err(error) => self.fail("read whom this machine's resolver asks", &error),
        }
    }

    /// Whether every address answers.
    async fn listen(&mut self) -> bool {
        let Wanted { listen, forwarding, allowed, resolver: _ } = self.wanted.clone();
        let refused = match &self.server {
            Some(server) => {
                server.set_forwarding(forwarding);
                server.set_allow_forward(allowed);
                server.set_listen(&listen).await
            }
            None => {
                let names = self.table.names().clone();
                let options = dns::Options { listen, names, allow: None, forwarding, allow_forward: allowed };
                let (server, refused) = dns::Server::start(options).await;
                self.server = Some(server);
                refused
            }
        };
        refused.iter().for_each(|error| {
            self.failures.push(Outcome { op: "answer names".to_owned(), error: error.to_string() });
        });
        refused.is_empty()
    }

    async fn tell(&mut self, resolver: &Resolver, now: Duration) {
        let Some(hands) = &mut self.hands else { return };
        match hands.apply(resolver).await {
            Ok(ResolverApplied::Already | ResolverApplied::Changed) => {}
            Ok(ResolverApplied::Postponed(time)) => self.again = Some(now + time),
            Err(error) => {
                self.again = Some(now + AGAIN);
                self.fail("tell this machine's resolver of our names", &error);
            }
        }
        // What we wrote ourselves is seen by a watch from before.
        self.watch = self.hands.as_ref().and_then(|hands| hands.watch().ok());
    }

    fn fail(&mut self, op: &str, error: &anyhow::Error) {
        tracing::warn!("could not {op}: {error:#}");
        self.failures.push(Outcome { op: op.to_owned(), error: format!("{error:#}") });
    }
}

/// Gives the machine's resolver back what it had, where an agent that has ended could not.
pub async fn restore_resolver(link: LinkName, state: PathBuf) -> anyhow::Result<bool> {
    let choice = ResolverChoice::Auto;
    ResolverHands::detect(ResolverOptions { link, state, choice }).await?.restore().await
}

#[cfg(test)]
mod tests {
    use model::{Addresses, Generation, HostId, HostName, Mtu, NetworkId, Ranges, WgPublicKey};
    use wire::{Membership, NatMapping, OwnHost, Peer, PeerNode, ServerLinks};

    use super::*;

    pub(super) const NETWORK: NetworkId = NetworkId::from_bytes([7; 16]);

    pub(super) fn addresses(last: u8) -> Addresses {
        Addresses { v4: Some([10, 7, 0, last].into()), v6: None }
    }

    pub(super) fn peer(number: u8) -> Peer {
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
    pub(super) fn map(peers: u8) -> HostMap {
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
