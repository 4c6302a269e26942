//! Reading intent: what networks hold besides nodes, and what nodes do for others.

use std::net::IpAddr;
use std::sync::Arc;

use imbl::OrdSet;
use model::{
    Client, ClientId, DnsName, DnsRecord, DnsRecordId, Egress, EgressId, HostName, NetworkId, Node, NodeId,
    Policy, PolicyId, PolicyTest, PolicyTestId, Title, Upstream, UpstreamId, UserId, WgPublicKey,
};

use super::{Intent, Table};

/// The seconds of the pairs that begin with this.
fn seconds<'a, A: Ord + Copy, B: Ord + Copy>(
    pairs: &'a OrdSet<(A, B)>,
    first: A,
    (low, high): (B, B),
) -> impl DoubleEndedIterator<Item = B> + use<'a, A, B> {
    pairs.range((first, low)..=(first, high)).map(|(_, second)| *second)
}

fn get<I: Ord, T>(table: &Table<I, T>, id: I) -> Option<&T> {
    table.get(&id).map(Arc::as_ref)
}

const LOW: [u8; 16] = [0; 16];
const HIGH: [u8; 16] = [0xff; 16];

macro_rules! in_network {
    ($($(#[$one:meta])* $get:ident, $(#[$many:meta])* $list:ident: $type:ident, $id:ident from $table:ident, $index:ident;)*) => {
        impl Intent {
            $(
                $(#[$one])*
                pub fn $get(&self, id: $id) -> Option<&$type> {
                    get(&self.$table, id)
                }

                $(#[$many])*
                pub fn $list(&self, network: NetworkId) -> impl Iterator<Item = &$type> {
                    let ids = seconds(&self.indexes.$index, network, ($id::from_bytes(LOW), $id::from_bytes(HIGH)));
                    ids.filter_map(|id| self.$get(id))
                }
            )*
        }
    };
}

in_network! {
    /// A client.
    client,
    /// The clients of a network, by id.
    clients_in_network: Client, ClientId from clients, clients_in_network;
    /// A way to a range outside of a network.
    egress,
    /// The egress ranges of a network, by id.
    egresses_in_network: Egress, EgressId from egresses, egresses_in_network;
    /// A policy.
    policy,
    /// The policies of a network, by id.
    policies_in_network: Policy, PolicyId from policies, policies_in_network;
    /// A test of policies.
    policy_test,
    /// The tests of a network's policies, by id.
    policy_tests_in_network: PolicyTest, PolicyTestId from policy_tests, policy_tests_in_network;
    /// A record that people made.
    dns_record,
    /// The records of a network, by id.
    dns_records_in_network: DnsRecord, DnsRecordId from dns_records, dns_records_in_network;
    /// Name servers for a domain.
    upstream,
    /// The name servers for single domains of a network, by id.
    upstreams_in_network: Upstream, UpstreamId from upstreams, upstreams_in_network;
}

impl Intent {
    /// The client with this WireGuard key.
    pub fn client_by_key(&self, key: &WgPublicKey) -> Option<&Client> {
        self.indexes.client_by_key.get(key).and_then(|id| self.client(*id))
    }

    /// The client of this name in a network.
    pub fn client_by_name(&self, network: NetworkId, name: &HostName) -> Option<&Client> {
        self.indexes.client_by_name.get(&(network, name.clone())).and_then(|id| self.client(*id))
    }

    /// All clients, by id.
    pub fn clients(&self) -> impl Iterator<Item = &Client> {
        self.clients.values().map(Arc::as_ref)
    }

    /// The clients that name this node among their gateways, by id.
    pub fn clients_of_gateway(&self, gateway: NodeId) -> impl Iterator<Item = &Client> {
        let ids = seconds(
            &self.indexes.clients_of_gateway,
            gateway,
            (ClientId::from_bytes(LOW), ClientId::from_bytes(HIGH)),
        );
        ids.filter_map(|id| self.client(id))
    }

    /// The clients that belong to this user, by id.
    pub fn clients_of_user(&self, user: UserId) -> impl Iterator<Item = &Client> {
        let ids = seconds(
            &self.indexes.clients_of_user,
            user,
            (ClientId::from_bytes(LOW), ClientId::from_bytes(HIGH)),
        );
        ids.filter_map(|id| self.client(id))
    }

    /// The egress range of this name in a network.
    pub fn egress_by_name(&self, network: NetworkId, name: &HostName) -> Option<&Egress> {
        self.indexes.egress_by_name.get(&(network, name.clone())).and_then(|id| self.egress(*id))
    }

    /// All egress ranges, by id.
    pub fn egresses(&self) -> impl Iterator<Item = &Egress> {
        self.egresses.values().map(Arc::as_ref)
    }

    /// The egress ranges that this node leads to, by id.
    pub fn egresses_of_router(&self, router: NodeId) -> impl Iterator<Item = &Egress> {
        let ids = seconds(
            &self.indexes.egresses_of_router,
            router,
            (EgressId::from_bytes(LOW), EgressId::from_bytes(HIGH)),
        );
        ids.filter_map(|id| self.egress(id))
    }

    /// The policy of this name in a network.
    pub fn policy_by_name(&self, network: NetworkId, name: &Title) -> Option<&Policy> {
        self.indexes.policy_by_name.get(&(network, name.clone())).and_then(|id| self.policy(*id))
    }

    /// The records of a network at this name, by id; none is the domain itself.
    pub fn dns_records_at(
        &self,
        network: NetworkId,
        name: Option<&DnsName>,
    ) -> impl Iterator<Item = &DnsRecord> + use<'_> {
        let (low, high) = (DnsRecordId::from_bytes(LOW), DnsRecordId::from_bytes(HIGH));
        let ids = (network, name.cloned(), low)..=(network, name.cloned(), high);
        self.indexes.dns_records_at.range(ids).filter_map(|(_, _, id)| self.dns_record(*id))
    }

    /// The client of a network with this address.
    pub fn client_by_address(&self, network: NetworkId, address: IpAddr) -> Option<&Client> {
        // Most addresses are nobody's: then there is no need to look at every client.
        if self.first_free_address(address, address).is_some() {
            return None;
        }
        self.clients_in_network(network).find(|client| client.addresses.iter().any(|ip| ip == address))
    }

    /// The node through which this one is reached: the relay it names, else its network's hub; none: directly. That the relay
    /// pauses opens no way around it.
    pub fn relay_of(&self, node: &Node) -> Option<&Node> {
        let hub = || self.network(node.network).and_then(|network| network.hub);
        let relay = node.relay.or_else(hub).filter(|relay| *relay != node.id)?;
        self.node(relay)
    }

    /// The nodes that name this one as their relay, by id; not those that it serves as its network's hub.
    pub fn nodes_of_relay(&self, relay: NodeId) -> impl Iterator<Item = &Node> {
        let ids =
            seconds(&self.indexes.nodes_of_relay, relay, (NodeId::from_bytes(LOW), NodeId::from_bytes(HIGH)));
        ids.filter_map(|id| self.node(id))
    }

    /// The nodes that use this one as their internet gateway, by id.
    pub fn nodes_of_internet(&self, gateway: NodeId) -> impl Iterator<Item = &Node> {
        let ids = seconds(
            &self.indexes.nodes_of_internet,
            gateway,
            (NodeId::from_bytes(LOW), NodeId::from_bytes(HIGH)),
        );
        ids.filter_map(|id| self.node(id))
    }
}
