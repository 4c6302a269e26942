//! Remote access clients: plain WireGuard apps that come in through gateways.
//!
//! It keeps true that a private key is in one type only, the answer that shows it once, which cannot be printed by accident.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use model::{
    Addresses, ClientId, Endpoint, HostName, Keepalive, Mtu, NetworkId, NetworkName, Tag, Timestamp,
    WgPublicKey,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    Edit, ExpiryError, HostSelector, NodeRef, UserRef, UserSelector, expiry, expiry_edit, schema, yes,
};

/// What gateways saw of a client: lost without harm.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct ClientSession {
    /// Whether it has a session, as far as its gateway told: that a session is over shows up to thirteen minutes late.
    pub online: bool,
    /// When its last session known began; missing when none was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Timestamp>)]
    pub last_handshake: Option<Timestamp>,
    /// Where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Endpoint>)]
    pub endpoint: Option<Endpoint>,
    /// The gateway that it came to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<NodeRef>,
}

/// A remote access client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Client {
    /// Its id.
    #[schema(value_type = schema::Id)]
    pub id: ClientId,
    /// The network.
    #[schema(value_type = schema::Id)]
    pub network: NetworkId,
    /// The network's name.
    #[schema(value_type = schema::NetworkName)]
    pub network_name: NetworkName,
    /// Its name.
    #[schema(value_type = schema::HostName)]
    pub name: HostName,
    /// Its WireGuard public key.
    #[schema(value_type = schema::WireguardKey)]
    pub public_key: WgPublicKey,
    /// Its IPv4 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Ipv4>)]
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Ipv6>)]
    pub v6: Option<Ipv6Addr>,
    /// The gateways that let it in, best first.
    pub gateways: Vec<NodeRef>,
    /// Whose it is; null: nobody's.
    pub owner: Option<UserRef>,
    /// Whether people want it let in. It is let in then, unless it `expires` in the past.
    pub enabled: bool,
    /// Its tags.
    #[schema(value_type = Vec<schema::Tag>)]
    pub tags: BTreeSet<Tag>,
    /// From when on it is let in no longer; null: never.
    #[schema(value_type = Option<schema::Timestamp>)]
    pub expires: Option<Timestamp>,
    /// Ranges behind it, which others reach through it.
    #[schema(value_type = Vec<schema::Range>)]
    pub ranges: BTreeSet<IpNet>,
    /// Whether everything it sends goes through the gateway.
    pub full_tunnel: bool,
    /// Whom it asks for names; null: its gateway. Empty: its own choice stays.
    #[schema(value_type = Option<Vec<schema::Ip>>)]
    pub dns: Option<Vec<IpAddr>>,
    /// The MTU of its interface; null: its app chooses.
    #[schema(value_type = Option<schema::Mtu>)]
    pub mtu: Option<Mtu>,
    /// Seconds between its keepalives; null: the network's.
    #[schema(value_type = Option<schema::Keepalive>)]
    pub keepalive: Option<Keepalive>,
    /// What gateways saw of it.
    pub session: ClientSession,
    /// When it was made.
    #[schema(value_type = schema::Timestamp)]
    pub created: Timestamp,
}

impl Client {
    /// A client with its network, its gateways, its owner and what was seen of it.
    pub fn of(
        client: &model::Client,
        network: &model::Network,
        (gateways, owner): (Vec<NodeRef>, Option<UserRef>),
        session: ClientSession,
    ) -> Self {
        let model::Client {
            id,
            network: _,
            name,
            key,
            addresses: Addresses { v4, v6 },
            gateways: _,
            owner: _,
            enabled,
            tags,
            expires,
            expired: _,
            ranges,
            full_tunnel,
            dns,
            mtu,
            keepalive,
            created,
        } = client;
        Self {
            id: *id,
            network: network.id,
            network_name: network.name.clone(),
            name: name.clone(),
            public_key: *key,
            v4: *v4,
            v6: *v6,
            gateways,
            owner,
            enabled: *enabled,
            tags: tags.clone(),
            expires: *expires,
            ranges: ranges.clone(),
            full_tunnel: *full_tunnel,
            dns: dns.clone(),
            mtu: *mtu,
            keepalive: *keepalive,
            session,
            created: *created,
        }
    }
}

/// Makes a client. Without `public_key` a pair of keys is made, and the answer shows the private one, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateClient {
    /// Its name; no other client or host of the network may have it.
    #[schema(value_type = schema::HostName)]
    pub name: HostName,
    /// Its WireGuard public key; none: a pair is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::WireguardKey>)]
    pub public_key: Option<WgPublicKey>,
    /// Its IPv4 address; none: one is handed out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Ipv4>)]
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 address; none: one is handed out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Ipv6>)]
    pub v6: Option<Ipv6Addr>,
    /// The gateways that let it in, best first, by id or host; none: those of the network that would do, at most 16,
    /// who take part before who pauses, then by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<schema::Selector>>, max_items = 16)]
    pub gateways: Vec<HostSelector>,
    /// Whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Selector>)]
    pub owner: Option<UserSelector>,
    /// Whether it is let in; true where nothing is said.
    #[serde(default = "yes")]
    #[schema(value_type = Option<bool>)]
    pub enabled: bool,
    /// Its tags.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schema(value_type = Option<Vec<schema::Tag>>)]
    pub tags: BTreeSet<Tag>,
    /// From when on it is let in no longer; none: never. Not together with `expires_in`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Timestamp>)]
    pub expires: Option<Timestamp>,
    /// The same in seconds from now, at most ten years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 316_224_000)]
    pub expires_in: Option<u64>,
    /// Ranges behind it, which others reach through it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schema(value_type = Option<Vec<schema::Range>>)]
    pub ranges: BTreeSet<IpNet>,
    /// Whether everything it sends goes through the gateway.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    pub full_tunnel: bool,
    /// Whom it asks for names; none: its gateway. Empty: its own choice stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<schema::Ip>>)]
    pub dns: Option<Vec<IpAddr>>,
    /// The MTU of its interface; none: its app chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Mtu>)]
    pub mtu: Option<Mtu>,
    /// Seconds between its keepalives; none: the network's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Keepalive>)]
    pub keepalive: Option<Keepalive>,
}

impl CreateClient {
    /// A client of this name, all else as it comes.
    pub fn named(name: HostName) -> Self {
        Self {
            name,
            public_key: None,
            v4: None,
            v6: None,
            gateways: Vec::new(),
            owner: None,
            enabled: true,
            tags: BTreeSet::new(),
            expires: None,
            expires_in: None,
            ranges: BTreeSet::new(),
            full_tunnel: false,
            dns: None,
            mtu: None,
            keepalive: None,
        }
    }

    /// The addresses asked for; none when all are to be handed out.
    pub fn addresses(&self) -> Option<Addresses> {
        (self.v4.is_some() || self.v6.is_some()).then_some(Addresses { v4: self.v4, v6: self.v6 })
    }

    /// From when on it is let in no longer.
    pub fn expiry(&self, now: Timestamp) -> Result<Option<Timestamp>, ExpiryError> {
        expiry(self.expires, self.expires_in, now)
    }
}

/// Changes a client. What is missing stays; `null` takes away.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchClient {
    /// Its new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::HostName>)]
    pub name: Option<HostName>,
    /// Its new WireGuard public key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::WireguardKey>)]
    pub public_key: Option<WgPublicKey>,
    /// Its new IPv4 address; its configuration changes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Ipv4>)]
    pub v4: Option<Ipv4Addr>,
    /// Its new IPv6 address; its configuration changes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Ipv6>)]
    pub v6: Option<Ipv6Addr>,
    /// The gateways that let it in, best first, by id or host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<schema::Selector>>, min_items = 1, max_items = 16)]
    pub gateways: Option<Vec<HostSelector>>,
    /// Whose it is; null: nobody's.
    #[serde(default, skip_serializing_if = "Edit::is_keep")]
    #[schema(value_type = Option<schema::Selector>)]
    pub owner: Edit<UserSelector>,
    /// Whether it is let in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// All its tags, in place of those until now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<schema::Tag>>)]
    pub tags: Option<BTreeSet<Tag>>,
    /// Tags it gets beside those that it has then.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schema(value_type = Option<Vec<schema::Tag>>)]
    pub add_tags: BTreeSet<Tag>,
    /// Tags it loses.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schema(value_type = Option<Vec<schema::Tag>>)]
    pub remove_tags: BTreeSet<Tag>,
    /// From when on it is let in no longer; null: never. Not together with `expires_in`.
    #[serde(default, skip_serializing_if = "Edit::is_keep")]
    #[schema(value_type = Option<schema::Timestamp>)]
    pub expires: Edit<Timestamp>,
    /// The same in seconds from now, at most ten years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 316_224_000)]
    pub expires_in: Option<u64>,
    /// All ranges behind it, in place of those until now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<schema::Range>>)]
    pub ranges: Option<BTreeSet<IpNet>>,
    /// Whether everything it sends goes through the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_tunnel: Option<bool>,
    /// Whom it asks for names; null: its gateway. Empty: its own choice stays.
    #[serde(default, skip_serializing_if = "Edit::is_keep")]
    #[schema(value_type = Option<Vec<schema::Ip>>)]
    pub dns: Edit<Vec<IpAddr>>,
    /// The MTU of its interface; null: its app chooses.
    #[serde(default, skip_serializing_if = "Edit::is_keep")]
    #[schema(value_type = Option<schema::Mtu>)]
    pub mtu: Edit<Mtu>,
    /// Seconds between its keepalives; null: the network's.
    #[serde(default, skip_serializing_if = "Edit::is_keep")]
    #[schema(value_type = Option<schema::Keepalive>)]
    pub keepalive: Edit<Keepalive>,
}

impl PatchClient {
    /// Its new addresses, where one is given; a family that is left open stays as it is.
    pub fn addresses(&self) -> Option<Addresses> {
        (self.v4.is_some() || self.v6.is_some()).then_some(Addresses { v4: self.v4, v6: self.v6 })
    }

    /// The change of when it is let in no longer.
    pub fn expiry(&self, now: Timestamp) -> Result<Edit<Timestamp>, ExpiryError> {
        expiry_edit(self.expires, self.expires_in, now)
    }
}

/// A client just made or with a new pair of keys. What is in here and secret is shown this once and kept nowhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedClient {
    /// The client.
    pub client: Client,
    /// Its private key, base64; missing when it brought its own public key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<String>,
    /// Its configuration, for `wg-quick` and every WireGuard app; missing when it cannot be made yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// The configuration as a QR code, SVG; missing without the private key, or when it is too long for a QR code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qr_svg: Option<String>,
    /// The same as PNG, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qr_png: Option<String>,
    /// Why something is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What is to be known of the configuration, or done, so that it works; the same stands at its top.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl fmt::Debug for CreatedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedClient")
            .field("client", &self.client)
            .field("note", &self.note)
            .finish_non_exhaustive()
    }
}

/// In which form a configuration is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConfigFormat {
    /// Text, for `wg-quick` and every WireGuard app.
    #[default]
    Conf,
    /// A QR code as PNG.
    Png,
    /// A QR code as SVG.
    Svg,
}

/// Which configuration of a client.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ConfigQuery {
    /// One of its gateways, by id or host; the first where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::Selector>)]
    pub gateway: Option<HostSelector>,
    /// In which form; else as `Accept` says, else text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<ConfigFormat>,
}
