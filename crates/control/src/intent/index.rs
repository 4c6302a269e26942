//! The ways to find records besides their ids. All follow from the records; nothing is kept here alone.

use std::net::IpAddr;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use model::{
    ApiToken, ApiTokenId, Client, ClientId, Digest, DnsName, DnsRecord, DnsRecordId, Egress, EgressId,
    EnrollmentKey, EnrollmentKeyId, Host, HostId, HostName, Network, NetworkId, NetworkName, Node, NodeId,
    Policy, PolicyId, PolicyTest, PolicyTestId, SigningPublicKey, Title, Upstream, UpstreamId, User, UserId,
    UserName, WgPublicKey,
};

use super::runs::Runs;
use crate::Record;

/// The ways to find records besides their ids.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Indexes {
    pub(super) network_by_name: OrdMap<NetworkName, NetworkId>,
    pub(super) host_by_name: OrdMap<HostName, HostId>,
    pub(super) host_by_signing_key: OrdMap<SigningPublicKey, HostId>,
    pub(super) host_by_wireguard_key: OrdMap<WgPublicKey, HostId>,
    pub(super) nodes_of_host: OrdMap<(HostId, NetworkId), Arc<Node>>,
    pub(super) nodes_in_network: OrdMap<(NetworkId, HostId), Arc<Node>>,
    pub(super) host_by_address: OrdMap<IpAddr, HostId>,
    pub(super) used: Runs,
    pub(super) key_by_digest: OrdMap<Digest, EnrollmentKeyId>,
    pub(super) key_by_title: OrdMap<Title, EnrollmentKeyId>,
    pub(super) user_by_name: OrdMap<UserName, UserId>,
    pub(super) token_by_digest: OrdMap<Digest, ApiTokenId>,
    pub(super) tokens_of_user: OrdMap<(UserId, ApiTokenId), ()>,
    /// Nodes by the relay that they name themselves, not those that their network's hub serves.
    pub(super) nodes_of_relay: OrdSet<(NodeId, NodeId)>,
    pub(super) nodes_of_internet: OrdSet<(NodeId, NodeId)>,
    pub(super) client_by_key: OrdMap<WgPublicKey, ClientId>,
    pub(super) client_by_name: OrdMap<(NetworkId, HostName), ClientId>,
    pub(super) clients_in_network: OrdSet<(NetworkId, ClientId)>,
    pub(super) clients_of_gateway: OrdSet<(NodeId, ClientId)>,
    pub(super) clients_of_user: OrdSet<(UserId, ClientId)>,
    pub(super) egress_by_name: OrdMap<(NetworkId, HostName), EgressId>,
    pub(super) egresses_in_network: OrdSet<(NetworkId, EgressId)>,
    pub(super) egresses_of_router: OrdSet<(NodeId, EgressId)>,
    pub(super) policy_by_name: OrdMap<(NetworkId, Title), PolicyId>,
    pub(super) policies_in_network: OrdSet<(NetworkId, PolicyId)>,
    pub(super) policy_tests_in_network: OrdSet<(NetworkId, PolicyTestId)>,
    pub(super) dns_records_in_network: OrdSet<(NetworkId, DnsRecordId)>,
    pub(super) dns_records_at: OrdSet<(NetworkId, Option<DnsName>, DnsRecordId)>,
    pub(super) upstreams_in_network: OrdSet<(NetworkId, UpstreamId)>,
}

/// Puts a pair in, or takes it out.
fn set<T: Ord + Clone>(set: &mut OrdSet<T>, pair: T, present: bool) {
    match present {
        true => drop(set.insert(pair)),
        false => drop(set.remove(&pair)),
    }
}

impl Indexes {
    pub(super) fn insert(&mut self, record: &Record) {
        match record {
            Record::Network(Network { id, name, .. }) => {
                self.network_by_name.insert(name.clone(), *id);
            }
            Record::Host(Host { id, name, signing_key, wireguard_key, .. }) => {
                self.host_by_name.insert(name.clone(), *id);
                self.host_by_signing_key.insert(*signing_key, *id);
                self.host_by_wireguard_key.insert(*wireguard_key, *id);
            }
            Record::Node(node) => self.insert_node(node),
            Record::EnrollmentKey(EnrollmentKey { id, digest, title, .. }) => {
                self.key_by_digest.insert(*digest, *id);
                self.key_by_title.insert(title.clone(), *id);
            }
            Record::User(User { id, name, .. }) => {
                self.user_by_name.insert(name.clone(), *id);
            }
            Record::ApiToken(ApiToken { id, digest, user, .. }) => {
                self.token_by_digest.insert(*digest, *id);
                self.tokens_of_user.insert((*user, *id), ());
            }
            Record::Client(client) => self.insert_client(client),
            Record::Egress(egress) => {
                self.egress_by_name.insert((egress.network, egress.name.clone()), egress.id);
                self.egress(egress, true);
            }
            Record::Policy(Policy { id, network, name, .. }) => {
                self.policy_by_name.insert((*network, name.clone()), *id);
                self.policies_in_network.insert((*network, *id));
            }
            Record::PolicyTest(test) => self.policy_test(test, true),
            Record::DnsRecord(record) => self.dns_record(record, true),
            Record::Upstream(upstream) => self.upstream(upstream, true),
        }
    }

    pub(super) fn remove(&mut self, record: &Record) {
        match record {
            Record::Network(Network { name, .. }) => {
                self.network_by_name.remove(name);
            }
            Record::Host(Host { name, signing_key, wireguard_key, .. }) => {
                self.host_by_name.remove(name);
                self.host_by_signing_key.remove(signing_key);
                self.host_by_wireguard_key.remove(wireguard_key);
            }
            Record::Node(node) => self.remove_node(node),
            Record::EnrollmentKey(EnrollmentKey { digest, title, .. }) => {
                self.key_by_digest.remove(digest);
                self.key_by_title.remove(title);
            }
            Record::User(User { name, .. }) => {
                self.user_by_name.remove(name);
            }
            Record::ApiToken(ApiToken { id, digest, user, .. }) => {
                self.token_by_digest.remove(digest);
                self.tokens_of_user.remove(&(*user, *id));
            }
            Record::Client(client) => self.remove_client(client),
            Record::Egress(egress) => {
                self.egress_by_name.remove(&(egress.network, egress.name.clone()));
                self.egress(egress, false);
            }
            Record::Policy(Policy { id, network, name, .. }) => {
                self.policy_by_name.remove(&(*network, name.clone()));
                self.policies_in_network.remove(&(*network, *id));
            }
            Record::PolicyTest(test) => self.policy_test(test, false),
            Record::DnsRecord(record) => self.dns_record(record, false),
            Record::Upstream(upstream) => self.upstream(upstream, false),
        }
    }

    fn policy_test(&mut self, PolicyTest { id, network, .. }: &PolicyTest, present: bool) {
        set(&mut self.policy_tests_in_network, (*network, *id), present);
    }

    fn dns_record(&mut self, DnsRecord { id, network, name, .. }: &DnsRecord, present: bool) {
        set(&mut self.dns_records_in_network, (*network, *id), present);
        set(&mut self.dns_records_at, (*network, name.clone(), *id), present);
    }

    fn upstream(&mut self, Upstream { id, network, .. }: &Upstream, present: bool) {
        set(&mut self.upstreams_in_network, (*network, *id), present);
    }

    fn insert_client(&mut self, client: &Client) {
        self.client_by_key.insert(client.key, client.id);
        self.client_by_name.insert((client.network, client.name.clone()), client.id);
        client.addresses.iter().for_each(|ip| self.used.insert(ip));
        self.client(client, true);
    }

    fn remove_client(&mut self, client: &Client) {
        self.client_by_key.remove(&client.key);
        self.client_by_name.remove(&(client.network, client.name.clone()));
        client.addresses.iter().for_each(|ip| self.used.remove(ip));
        self.client(client, false);
    }

    fn client(&mut self, client: &Client, present: bool) {
        let Client { id, network, gateways, owner, .. } = client;
        set(&mut self.clients_in_network, (*network, *id), present);
        gateways.iter().for_each(|node| set(&mut self.clients_of_gateway, (*node, *id), present));
        owner.iter().for_each(|user| set(&mut self.clients_of_user, (*user, *id), present));
    }

    fn egress(&mut self, egress: &Egress, present: bool) {
        let Egress { id, network, routers, .. } = egress;
        set(&mut self.egresses_in_network, (*network, *id), present);
        routers.iter().for_each(|router| set(&mut self.egresses_of_router, (router.node, *id), present));
    }

    fn insert_node(&mut self, node: &Node) {
        let Node { host, network, addresses, .. } = *node;
        self.duties(node, true);
        let node = Arc::new(node.clone());
        self.nodes_of_host.insert((host, network), Arc::clone(&node));
        self.nodes_in_network.insert((network, host), node);
        for ip in addresses.iter() {
            self.host_by_address.insert(ip, host);
            self.used.insert(ip);
        }
    }

    fn remove_node(&mut self, node: &Node) {
        let Node { host, network, addresses, .. } = node;
        self.duties(node, false);
        self.nodes_of_host.remove(&(*host, *network));
        self.nodes_in_network.remove(&(*network, *host));
        for ip in addresses.iter() {
            self.host_by_address.remove(&ip);
            self.used.remove(ip);
        }
    }

    fn duties(&mut self, node: &Node, present: bool) {
        node.relay.iter().for_each(|relay| set(&mut self.nodes_of_relay, (*relay, node.id), present));
        let used = node.internet.and_then(|used| used.gateway);
        used.iter().for_each(|gateway| set(&mut self.nodes_of_internet, (*gateway, node.id), present));
    }
}
