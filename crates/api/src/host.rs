//! Hosts: what people set (intent) and, kept apart, what agents and rendezvous saw (inventory).

use model::{Addresses, Endpoint, HostId, HostName, Mtu, NetworkName, NodeId, Timestamp, WgPublicKey};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{Cursor, Edit, Limit, NetworkRef, NetworkSelector, Paging, schema};

/// How the NAT in front of a host maps its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Nat {
    /// Not seen at both ports of the rendezvous yet.
    #[default]
    Unknown,
    /// The same address and port for every destination.
    Endpoint,
    /// Another port for each destination: peers cannot use what the rendezvous sees.
    PerDestination,
}

/// What a machine says it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Facts {
    /// `linux`, `macos` …
    #[schema(example = "linux")]
    pub os: String,
    /// The release's name.
    #[schema(example = "Debian GNU/Linux 12 (bookworm)")]
    pub release: String,
    /// The processor.
    #[schema(example = "x86_64")]
    pub arch: String,
    /// The kernel's version.
    #[schema(example = "6.1.0-28-amd64")]
    pub kernel: String,
    /// The agent's version.
    #[schema(example = "0.1.0")]
    pub agent: String,
    /// Whose WireGuard it is: `kernel` or `userspace`.
    #[schema(example = "kernel")]
    pub wireguard: String,
}

/// Something that a machine could not do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// What was tried.
    pub op: String,
    /// What went wrong.
    pub error: String,
}

/// What is known of a host without anybody having set it: replaceable, and lost without harm.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Inventory {
    /// Whether its agent is connected.
    pub online: bool,
    /// When its agent was last heard; missing when never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Timestamp>)]
    pub last_seen: Option<Timestamp>,
    /// Where the rendezvous sees it: at most one IPv4 and one IPv6 endpoint.
    #[schema(value_type = Vec<schema::Endpoint>)]
    pub endpoints: Vec<Endpoint>,
    /// Its own addresses, as it reported them.
    #[schema(value_type = Vec<schema::Endpoint>)]
    pub local: Vec<Endpoint>,
    /// How its NAT maps.
    pub nat: Nat,
    /// The host map it should have; missing when none was made for it since the server started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Generation>)]
    pub wanted_generation: Option<String>,
    /// The host map it says it has carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Generation>)]
    pub applied_generation: Option<String>,
    /// What the machine is; missing until it reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Facts>,
    /// What it could not do; empty when all is as wanted.
    pub failures: Vec<Failure>,
}

/// A network that a host is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostNetwork {
    /// The network.
    pub network: NetworkRef,
    /// The host's node there.
    #[schema(value_type = schema::Id)]
    pub node: NodeId,
    /// The host's IPv4 address there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Ipv4>)]
    pub v4: Option<std::net::Ipv4Addr>,
    /// The host's IPv6 address there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Ipv6>)]
    pub v6: Option<std::net::Ipv6Addr>,
    /// Whether it takes part.
    pub connected: bool,
    /// Whether it waits for somebody to let it in.
    #[serde(default)]
    pub pending: bool,
}

impl HostNetwork {
    /// A node as its host sees it.
    pub fn of(node: &model::Node, network: &model::Network) -> Self {
        let Addresses { v4, v6 } = node.addresses;
        Self {
            network: network.into(),
            node: node.id,
            v4,
            v6,
            connected: node.connected,
            pending: node.pending,
        }
    }
}

/// A host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Host {
    /// Its id.
    #[schema(value_type = schema::Id)]
    pub id: HostId,
    /// Its name.
    #[schema(value_type = schema::HostName)]
    pub name: HostName,
    /// Its WireGuard public key.
    #[schema(value_type = schema::WireguardKey)]
    pub wireguard_key: WgPublicKey,
    /// The MTU of its interface; null: the default, 1420.
    #[schema(value_type = Option<schema::Mtu>)]
    pub mtu: Option<Mtu>,
    /// An endpoint set by hand.
    #[schema(value_type = Option<schema::Endpoint>)]
    pub static_endpoint: Option<Endpoint>,
    /// Whether it joins every new network.
    #[serde(default)]
    pub default: bool,
    /// Whether it is removed when it has been offline for a while.
    #[serde(default)]
    pub ephemeral: bool,
    /// Whether it was asked for a new WireGuard key and has not brought it yet.
    #[serde(default)]
    pub rotating: bool,
    /// The networks it is in.
    pub networks: Vec<HostNetwork>,
    /// What was seen of it.
    pub inventory: Inventory,
    /// When it first registered.
    #[schema(value_type = schema::Timestamp)]
    pub created: Timestamp,
}

impl Host {
    /// A host with its networks and what was seen of it.
    pub fn of(host: &model::Host, networks: Vec<HostNetwork>, inventory: Inventory) -> Self {
        let model::Host {
            id,
            name,
            wireguard_key,
            signing_key: _,
            sealing: _,
            mtu,
            static_endpoint,
            default,
            ephemeral,
            rotate,
            rotate_since,
            rekeyed: _,
            created,
        } = host;
        Self {
            id: *id,
            name: name.clone(),
            wireguard_key: *wireguard_key,
            mtu: *mtu,
            static_endpoint: *static_endpoint,
            default: *default,
            ephemeral: *ephemeral,
            rotating: *rotate || rotate_since.is_some(),
            networks,
            inventory,
            created: *created,
        }
    }
}

/// Changes a host. `null` goes back to the default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchHost {
    /// Its new name; no other host may have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::HostName>)]
    pub name: Option<HostName>,
    /// The MTU of its interface; null: the default.
    #[serde(default, skip_serializing_if = "Edit::is_keep")]
    #[schema(value_type = Option<schema::Mtu>)]
    pub mtu: Edit<Mtu>,
    /// An endpoint at which it can always be reached; null: none.
    #[serde(default, skip_serializing_if = "Edit::is_keep")]
    #[schema(value_type = Option<schema::Endpoint>)]
    pub static_endpoint: Edit<Endpoint>,
    /// Whether it joins every new network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<bool>,
    /// Whether it is removed when it has been offline for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ephemeral: Option<bool>,
}

/// Whether asking for new keys is only tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RotateQuery {
    /// `true`: nobody is asked, and the answer says who would be cut off.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    pub dry_run: bool,
}

/// A plain WireGuard client that knows its gateway by the key that is to change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CutOff {
    /// The client's name.
    #[schema(value_type = schema::HostName)]
    pub client: HostName,
    /// The network's name.
    #[schema(value_type = schema::NetworkName)]
    pub network: NetworkName,
    /// The gateway whose key changes.
    #[schema(value_type = schema::HostName)]
    pub gateway: HostName,
}

/// What new WireGuard keys cost: agents follow them, and plain WireGuard clients do not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyRotation {
    /// Whether nobody was asked.
    pub dry_run: bool,
    /// Clients that are cut off from a gateway from the moment on when it has its new key, until they get their configuration
    /// anew; at most 1,000 of them.
    pub cut_off: Vec<CutOff>,
    /// How many these are in all.
    pub cut_off_count: usize,
}

impl KeyRotation {
    /// How many clients are named.
    pub const MOST_NAMED: usize = 1_000;

    /// Counts them all, and names the first.
    pub fn of(dry_run: bool, clients: impl Iterator<Item = CutOff>) -> Self {
        let mut cut_off: Vec<CutOff> = clients.collect();
        let cut_off_count = cut_off.len();
        cut_off.truncate(Self::MOST_NAMED);
        Self { dry_run, cut_off, cut_off_count }
    }
}

/// Which hosts, and which page of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HostFilter {
    /// Only those in this network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::Selector>)]
    pub network: Option<NetworkSelector>,
    /// Only those that are online (or are not).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online: Option<bool>,
    /// Only those with this in their name, an address or the WireGuard key; at most 64 characters count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(max_length = 64)]
    pub search: Option<String>,
    /// How many items the page may have.
    #[serde(default)]
    #[param(value_type = Option<schema::Limit>)]
    pub limit: Limit,
    /// The `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::Cursor>)]
    pub after: Option<Cursor>,
}

impl HostFilter {
    /// Which page.
    pub fn paging(&self) -> Paging {
        Paging { limit: self.limit, after: self.after.clone() }
    }

    /// Whether the host is one of those wanted, as far as `online` and `search` say; `network` is the caller's to resolve.
    pub fn admits(&self, host: &Host) -> bool {
        self.online.is_none_or(|online| online == host.inventory.online) && self.finds(host)
    }

    fn finds(&self, host: &Host) -> bool {
        let Some(search) = &self.search else {
            return true;
        };
        let search = search.chars().take(64).collect::<String>();
        let addresses = host.networks.iter().flat_map(|node| {
            let v4 = node.v4.map(|ip| ip.to_string());
            v4.into_iter().chain(node.v6.map(|ip| ip.to_string()))
        });
        host.name.as_str().contains(&search.to_ascii_lowercase())
            || host.wireguard_key.to_string().contains(&search)
            || addresses.into_iter().any(|address| address.contains(&search))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Problem, read};

    #[test]
    fn an_update_keeps_clears_or_sets() {
        let patch: PatchHost = read(br#"{"mtu": null, "static_endpoint": "203.0.113.7:1"}"#).unwrap();
        assert_eq!((patch.name, patch.mtu), (None, Edit::Clear));
        assert_eq!(patch.static_endpoint, Edit::Set("203.0.113.7:1".parse().unwrap()));
        assert_eq!(serde_json::to_string(&PatchHost::default()).unwrap(), "{}");
        let clear = PatchHost { mtu: Edit::Clear, ..PatchHost::default() };
        assert_eq!(serde_json::to_string(&clear).unwrap(), r#"{"mtu":null}"#);
    }

    #[test]
    fn what_may_not_change_cannot_be_named() {
        let refused: Result<PatchHost, Problem> = read(br#"{"wireguard_key": "x"}"#);
        assert!(refused.unwrap_err().detail.contains("wireguard_key"));
    }
}
