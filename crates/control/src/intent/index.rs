//! The ways to find records besides their ids. All follow from the records; nothing is kept here alone.

use std::net::IpAddr;
use std::sync::Arc;

use imbl::OrdMap;
use model::{
    ApiToken, ApiTokenId, Digest, EnrollmentKey, EnrollmentKeyId, Host, HostId, HostName, Network, NetworkId,
    NetworkName, Node, SigningPublicKey, Title, User, UserId, UserName, WgPublicKey,
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
        }
    }

    fn insert_node(&mut self, node: &Node) {
        let Node { host, network, addresses, .. } = *node;
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
        self.nodes_of_host.remove(&(*host, *network));
        self.nodes_in_network.remove(&(*network, *host));
        for ip in addresses.iter() {
            self.host_by_address.remove(&ip);
            self.used.remove(ip);
        }
    }
}
