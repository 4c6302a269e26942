//! What becomes of settings: kept, cleared or set; and the edits of nouns that have many.
//!
//! Not for deciding whether an edit is possible. It keeps true that what an edit does not name stays as it is.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use model::{
    Access, Addresses, DnsName, HostName, InternetUse, Keepalive, Mtu, NetworkName, NodeId, Router, Service,
    Subject, Tag, Timestamp, Title, UserId, WgPublicKey,
};

/// What becomes of a setting that may be absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Edit<T> {
    /// It stays as it is.
    #[default]
    Keep,
    /// It goes back to the default.
    Clear,
    /// It is set.
    Set(T),
}

impl<T: Clone> Edit<T> {
    pub(crate) fn apply(&self, to: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Clear => *to = None,
            Self::Set(value) => *to = Some(value.clone()),
        }
    }
}

impl<T> From<Option<Option<T>>> for Edit<T> {
    fn from(edit: Option<Option<T>>) -> Self {
        match edit {
            None => Self::Keep,
            Some(None) => Self::Clear,
            Some(Some(value)) => Self::Set(value),
        }
    }
}

/// What becomes of a set: another in its place, then what is put in, then what is taken out. What is put in and taken out meets
/// the set as it is when that is decided, so that two who change it at once both have their way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetEdit<T> {
    /// All of it, in place of what was in it.
    pub all: Option<BTreeSet<T>>,
    /// What is put in.
    pub add: BTreeSet<T>,
    /// What is taken out.
    pub remove: BTreeSet<T>,
}

impl<T> Default for SetEdit<T> {
    fn default() -> Self {
        Self { all: None, add: BTreeSet::new(), remove: BTreeSet::new() }
    }
}

impl<T> From<Option<BTreeSet<T>>> for SetEdit<T> {
    fn from(all: Option<BTreeSet<T>>) -> Self {
        Self { all, ..Self::default() }
    }
}

impl<T: Ord> SetEdit<T> {
    pub(crate) fn apply(self, to: &mut BTreeSet<T>) {
        let Self { all, add, remove } = self;
        if let Some(all) = all {
            *to = all;
        }
        to.extend(add);
        to.retain(|one| !remove.contains(one));
    }
}

/// What becomes of a network. Its ranges are fixed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkEdit {
    /// Its new name.
    pub name: Option<NetworkName>,
    /// Its new keepalive.
    pub keepalive: Option<Keepalive>,
    /// What happens to what no policy speaks of.
    pub access: Option<Access>,
    /// Whether new nodes wait until somebody lets them in. Those that wait already go on waiting.
    pub approval: Option<bool>,
    /// The node through which all nodes without a relay of their own reach one another.
    pub hub: Edit<NodeId>,
    /// The domain of its names.
    pub domain: Edit<DnsName>,
}

/// What becomes of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeEdit {
    /// Whether it takes part.
    pub connected: Option<bool>,
    /// Lets a node in that waits.
    pub approve: bool,
    /// Other addresses; a family that is not given stays.
    pub addresses: Option<Addresses>,
    /// Its tags.
    pub tags: SetEdit<Tag>,
    /// Whether it lets clients in.
    pub remote_access: Option<bool>,
    /// Whether it is a way to everything.
    pub internet_gateway: Option<bool>,
    /// The node through which it is reached.
    pub relay: Edit<NodeId>,
    /// Through whom it reaches everything outside.
    pub internet: Edit<InternetUse>,
    /// When it is removed.
    pub expires: Edit<Timestamp>,
}

/// What becomes of a client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientEdit {
    /// Its new name.
    pub name: Option<HostName>,
    /// Its new WireGuard key.
    pub key: Option<WgPublicKey>,
    /// Other addresses; a family that is not given stays.
    pub addresses: Option<Addresses>,
    /// Its gateways, all of them, best first.
    pub gateways: Option<Vec<NodeId>>,
    /// Whose it is.
    pub owner: Edit<UserId>,
    /// Whether it is let in. One that expired needs a new expiry as well.
    pub enabled: Option<bool>,
    /// Its tags.
    pub tags: SetEdit<Tag>,
    /// From when on it is let in no longer.
    pub expires: Edit<Timestamp>,
    /// The ranges behind it, all of them.
    pub ranges: Option<BTreeSet<IpNet>>,
    /// Whether everything it sends goes through the gateway.
    pub full_tunnel: Option<bool>,
    /// Whom it asks for names.
    pub dns: Edit<Vec<IpAddr>>,
    /// The MTU of its interface.
    pub mtu: Edit<Mtu>,
    /// Its keepalive.
    pub keepalive: Edit<Keepalive>,
}

/// What becomes of a way to a range outside. The range is fixed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EgressEdit {
    /// Its new name.
    pub name: Option<HostName>,
    /// The range under which members reach it.
    pub mapped: Edit<IpNet>,
    /// Its routers, all of them.
    pub routers: Option<BTreeSet<Router>>,
    /// Whether machines there see the router's address.
    pub nat: Option<bool>,
    /// Whether it is in use.
    pub enabled: Option<bool>,
}

/// What becomes of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PolicyEdit {
    /// Its new name.
    pub name: Option<Title>,
    /// Whether it counts.
    pub enabled: Option<bool>,
    /// Who may open connections.
    pub from: SetEdit<Subject>,
    /// To whom.
    pub to: SetEdit<Subject>,
    /// By what; empty is everything.
    pub services: Option<BTreeSet<Service>>,
    /// Whether the other way round too.
    pub both: Option<bool>,
}
