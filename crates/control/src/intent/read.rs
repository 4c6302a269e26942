//! Reading intent: by id, by what else finds a record, and in pages. Everything borrows; nothing here decides.

use std::net::IpAddr;
use std::ops::{Bound, RangeInclusive};
use std::sync::Arc;

use model::{
    ApiToken, ApiTokenId, Digest, EnrollmentKey, EnrollmentKeyId, Host, HostId, HostName, Network, NetworkId,
    NetworkName, Node, NodeId, Role, SigningPublicKey, Title, User, UserId, UserName, WgPublicKey,
};

use super::{Intent, Table};

/// Everything behind `after`, or from the start: ids grow with time, so that a list read in pages misses nothing that stays.
fn behind<'a, I: Ord + Copy, T>(
    table: &'a Table<I, T>,
    after: Option<I>,
) -> impl Iterator<Item = &'a T> + use<'a, I, T> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    table.range((from, Bound::Unbounded)).map(|(_, value)| &**value)
}

/// The keys that begin with `first`.
fn all_of<A: Copy, B>(first: A, low: B, high: B) -> RangeInclusive<(A, B)> {
    (first, low)..=(first, high)
}

impl Intent {
    /// The number of the last change.
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// Whether there is an account.
    pub fn is_set_up(&self) -> bool {
        !self.users.is_empty()
    }

    /// A network.
    pub fn network(&self, id: NetworkId) -> Option<&Network> {
        self.networks.get(&id).map(Arc::as_ref)
    }

    /// The network of this name.
    pub fn network_by_name(&self, name: &NetworkName) -> Option<&Network> {
        self.indexes.network_by_name.get(name).and_then(|id| self.network(*id))
    }

    /// Networks by id, those behind `after`.
    pub fn networks(&self, after: Option<NetworkId>) -> impl Iterator<Item = &Network> {
        behind(&self.networks, after)
    }

    /// A host.
    pub fn host(&self, id: HostId) -> Option<&Host> {
        self.hosts.get(&id).map(Arc::as_ref)
    }

    /// The host of this name.
    pub fn host_by_name(&self, name: &HostName) -> Option<&Host> {
        self.indexes.host_by_name.get(name).and_then(|id| self.host(*id))
    }

    /// The host that signs with this key.
    pub fn host_by_signing_key(&self, key: &SigningPublicKey) -> Option<&Host> {
        self.indexes.host_by_signing_key.get(key).and_then(|id| self.host(*id))
    }

    /// The host with this WireGuard key.
    pub fn host_by_wireguard_key(&self, key: &WgPublicKey) -> Option<&Host> {
        self.indexes.host_by_wireguard_key.get(key).and_then(|id| self.host(*id))
    }

    /// The host with this address.
    pub fn host_by_address(&self, address: IpAddr) -> Option<&Host> {
        self.indexes.host_by_address.get(&address).and_then(|id| self.host(*id))
    }

    /// Hosts by id, those behind `after`.
    pub fn hosts(&self, after: Option<HostId>) -> impl Iterator<Item = &Host> {
        behind(&self.hosts, after)
    }

    /// How many hosts there are.
    pub fn host_count(&self) -> usize {
        self.hosts.len()
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id).map(Arc::as_ref)
    }

    /// The node of a host in a network.
    pub fn node_of(&self, host: HostId, network: NetworkId) -> Option<&Node> {
        self.indexes.nodes_of_host.get(&(host, network)).map(Arc::as_ref)
    }

    /// Nodes by id, those behind `after`.
    pub fn nodes(&self, after: Option<NodeId>) -> impl Iterator<Item = &Node> {
        behind(&self.nodes, after)
    }

    /// The nodes of a host, by network id.
    pub fn nodes_of_host(&self, host: HostId) -> impl Iterator<Item = &Node> {
        let ids = all_of(host, NetworkId::from_bytes([0; 16]), NetworkId::from_bytes([0xff; 16]));
        self.indexes.nodes_of_host.range(ids).map(|(_, node)| &**node)
    }

    /// The nodes in a network, by host id, those behind `after`.
    pub fn nodes_in_network(&self, network: NetworkId, after: Option<HostId>) -> impl Iterator<Item = &Node> {
        let (first, last) = (HostId::from_bytes([0; 16]), HostId::from_bytes([0xff; 16]));
        let from = after.map_or(Bound::Included((network, first)), |after| Bound::Excluded((network, after)));
        self.indexes.nodes_in_network.range((from, Bound::Included((network, last)))).map(|(_, node)| &**node)
    }

    /// The lowest address from `first` to `last` that no node has.
    pub(crate) fn first_free_address(&self, first: IpAddr, last: IpAddr) -> Option<IpAddr> {
        self.indexes.used.first_free(first, last)
    }

    /// An enrollment key.
    pub fn enrollment_key(&self, id: EnrollmentKeyId) -> Option<&EnrollmentKey> {
        self.keys.get(&id).map(Arc::as_ref)
    }

    /// The enrollment key whose secret has this digest.
    pub fn enrollment_key_by_digest(&self, digest: &Digest) -> Option<&EnrollmentKey> {
        self.indexes.key_by_digest.get(digest).and_then(|id| self.enrollment_key(*id))
    }

    /// The enrollment key with this title.
    pub fn enrollment_key_by_title(&self, title: &Title) -> Option<&EnrollmentKey> {
        self.indexes.key_by_title.get(title).and_then(|id| self.enrollment_key(*id))
    }

    /// Enrollment keys by id, those behind `after`.
    pub fn enrollment_keys(&self, after: Option<EnrollmentKeyId>) -> impl Iterator<Item = &EnrollmentKey> {
        behind(&self.keys, after)
    }

    /// An account.
    pub fn user(&self, id: UserId) -> Option<&User> {
        self.users.get(&id).map(Arc::as_ref)
    }

    /// The account of this name.
    pub fn user_by_name(&self, name: &UserName) -> Option<&User> {
        self.indexes.user_by_name.get(name).and_then(|id| self.user(*id))
    }

    /// Accounts by id, those behind `after`.
    pub fn users(&self, after: Option<UserId>) -> impl Iterator<Item = &User> {
        behind(&self.users, after)
    }

    /// Whether somebody besides this user may administer.
    pub(crate) fn has_other_administrator(&self, than: UserId) -> bool {
        self.users.values().any(|user| user.id != than && user.role == Role::Administrator)
    }

    /// A token.
    pub fn api_token(&self, id: ApiTokenId) -> Option<&ApiToken> {
        self.tokens.get(&id).map(Arc::as_ref)
    }

    /// The token whose secret has this digest.
    pub fn api_token_by_digest(&self, digest: &Digest) -> Option<&ApiToken> {
        self.indexes.token_by_digest.get(digest).and_then(|id| self.api_token(*id))
    }

    /// Tokens by id, those behind `after`.
    pub fn api_tokens(&self, after: Option<ApiTokenId>) -> impl Iterator<Item = &ApiToken> {
        behind(&self.tokens, after)
    }

    /// The tokens of a user.
    pub fn api_tokens_of_user(&self, user: UserId) -> impl Iterator<Item = &ApiToken> {
        let ids = all_of(user, ApiTokenId::from_bytes([0; 16]), ApiTokenId::from_bytes([0xff; 16]));
        self.indexes.tokens_of_user.range(ids).filter_map(|((_, token), ())| self.api_token(*token))
    }
}
