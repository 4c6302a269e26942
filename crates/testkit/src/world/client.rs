//! A plain WireGuard client: a kernel that somebody set up by the configuration that the server gives out, and no agent.
//!
//! Not for what is in the configuration: the server's own code says it (`control::plan`). It keeps true that a client knows
//! nothing that was not in its configuration, and goes on with an old one until somebody imports a new one.

use std::collections::{BTreeMap, BTreeSet};

use control::plan::{client_endpoint, client_ranges};
use ipnet::IpNet;
use model::{Client as Intended, ClientId, Endpoint, Keepalive, WgPublicKey};
use reconcile::{
    ActualPeer, Device, FIREWALL_MARK, Family, Link, LinkKind, ROUTE_TABLE, Route, Rule, RuleMatch,
    TUNNEL_TABLE,
};

use super::kernel::Kernel;
use super::net::Place;
use super::wireguard::Payload;
use super::{PORT, World};

/// What number a client's machine has in its site, beside those of hosts.
const FIRST: usize = 12;
/// The byte that keys of clients are made of.
const FIRST_KEY: usize = 100;

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: ClientId,
    pub(super) key: WgPublicKey,
    pub(super) kernel: Kernel,
    pub(super) place: Option<Place>,
    /// The host by which its configuration has it come in.
    pub(super) gateway: Option<usize>,
}

impl World {
    /// A machine in this site that is to be a client with this key; its number. `import` sets it up.
    pub fn foreign(&mut self, site: usize) -> (usize, WgPublicKey) {
        let number = self.clients.len();
        let key = WgPublicKey::from_bytes([u8::try_from(FIRST_KEY + number).expect("few clients"); 32]);
        let place = self.net.place(site, FIRST + number);
        let mut kernel = Kernel::new(500 + 2 * number as u64);
        if let IpNet::V4(lan) = self.net.local(place) {
            kernel.wires.uplink = Some((lan.addr(), lan));
        }
        let id = ClientId::from_bytes([0; 16]);
        self.clients.push(Client { id, key, kernel, place: Some(place), gateway: None });
        (number, key)
    }

    /// The host by which its configuration has it come in.
    pub fn client_gateway(&self, client: usize) -> Option<usize> {
        self.clients[client].gateway
    }

    /// Sets the client up by the configuration that it gets now, for the first of its gateways for which there is one.
    pub fn import(&mut self, client: usize) {
        self.import_by(client, 0);
    }

    /// The same for the gateway with this number of those that there is a configuration for.
    pub fn import_by(&mut self, client: usize, choice: usize) {
        let key = self.clients[client].key;
        let Some(intended) = self.server.intent.client_by_key(&key).cloned() else { return };
        let gateways = intended.gateways.iter().filter_map(|gateway| {
            let node = self.server.intent.node(*gateway).filter(|node| node.takes_part())?;
            let host = self.server.intent.host(node.host)?;
            let seen = self.server.inventory.host(host.id);
            let endpoint = client_endpoint(host.static_endpoint, seen).ok()?.endpoint;
            Some((self.by_id.get(&host.id).copied()?, host.wireguard_key, endpoint))
        });
        let found = gateways.clone().nth(choice).or_else(|| gateways.clone().next());
        let Some((gateway, gateway_key, endpoint)) = found else { return };
        let network = self.server.intent.network(intended.network).expect("a client's network");
        let ranges = client_ranges(&self.server.intent, &intended, network, endpoint.ip()).ranges;
        let allowed: BTreeSet<IpNet> = ranges.into_iter().collect();
        let keepalive = intended.keepalive.unwrap_or(network.keepalive);
        let (now, client_number) = (self.now, client);
        let client = &mut self.clients[client];
        client.id = intended.id;
        client.gateway = Some(gateway);
        client.set_up(&intended, (gateway_key, endpoint), allowed, keepalive);
        client.kernel.send(gateway_key, Payload::Keepalive, now);
        self.transmit_client(client_number);
    }
}

impl Client {
    /// Whether its configuration sends everything to its gateway.
    pub(super) fn is_full(&self) -> bool {
        !self.kernel.actual.surroundings.rules.is_empty()
    }

    /// What `wg-quick up` does: addresses, the peer, routes to what is allowed, and for everything a table of its own.
    fn set_up(
        &mut self,
        intended: &Intended,
        (gateway, endpoint): (WgPublicKey, Endpoint),
        allowed: BTreeSet<IpNet>,
        keepalive: Keepalive,
    ) {
        let source = |net: &IpNet| intended.addresses.iter().find(|ip| ip.is_ipv4() == net.addr().is_ipv4());
        let route = |net: &IpNet| {
            let table = if net.prefix_len() == 0 { TUNNEL_TABLE } else { ROUTE_TABLE };
            Route { destination: *net, source: source(net), metric: 0, protocol: 3, table }
        };
        let routes: BTreeSet<Route> = allowed.iter().map(route).collect();
        let full = routes.iter().any(|route| route.table == TUNNEL_TABLE);
        let peer = ActualPeer {
            endpoint: Some(endpoint),
            allowed,
            keepalive: Some(keepalive),
            ..ActualPeer::default()
        };
        let device = Device {
            kind: LinkKind::Kernel,
            at: Default::default(),
            key: Some(self.key),
            port: PORT,
            mark: if full { FIREWALL_MARK } else { 0 },
            peers: BTreeMap::from([(gateway, peer)]),
        };
        let addresses = intended.addresses.iter().map(IpNet::from).collect();
        self.kernel.actual.link =
            Some(Link { index: 9, up: true, mtu: 1420, addresses, routes, device: Some(device) });
        self.kernel.actual.surroundings.rules = if full { rules() } else { BTreeSet::new() };
        self.kernel.sims = BTreeMap::from([(gateway, Default::default())]);
    }
}

/// What is marked goes as before, what has a way of its own as well, and all else into the tunnel.
fn rules() -> BTreeSet<Rule> {
    let rule =
        |family, priority, which, table, longer_than| Rule { priority, family, which, table, longer_than };
    let of = |family| {
        [
            rule(family, 1, RuleMatch::Unmarked, ROUTE_TABLE, Some(0)),
            rule(family, 2, RuleMatch::Unmarked, TUNNEL_TABLE, None),
        ]
    };
    Family::ALL.into_iter().flat_map(of).collect()
}
