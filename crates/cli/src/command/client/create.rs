//! `netloom client create`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use api::{CreateClient, HostSelector, UserSelector, path};
use clap::Args;
use ipnet::IpNet;
use model::{HostName, Keepalive, Mtu, Tag, WgPublicKey};

use super::hand_over::{Destination, HandOver};
use crate::client::Client;
use crate::console::{Console, meaning};
use crate::failure::Failure;
use crate::private_key::PrivateKey;
use crate::span::Span;
use crate::value::{Ending, OrNone, replaced};

/// Where a client's key comes from.
#[derive(Debug, Args)]
pub(crate) struct KeySource {
    /// The client's own WireGuard public key; without it a pair is made on this machine, and the server never sees its private
    /// key
    #[arg(long, value_name = "KEY", conflicts_with_all = ["qr", "png", "svg"])]
    public_key: Option<WgPublicKey>,
    /// Let the server make the pair; it shows the private key once and does not keep it
    #[arg(long, conflicts_with = "public_key")]
    server_key: bool,
}

/// A client's key, as it was chosen.
pub(super) enum Key {
    Own(WgPublicKey),
    Here(PrivateKey),
    Server,
}

impl KeySource {
    /// The key, made if need be.
    pub(super) fn key(&self) -> Result<Key, Failure> {
        match (self.public_key, self.server_key) {
            (Some(key), _) => Ok(Key::Own(key)),
            (None, true) => Ok(Key::Server),
            (None, false) => PrivateKey::generate().map(Key::Here),
        }
    }
}

impl Key {
    /// The public key that the server is told; none when it makes the pair.
    pub(super) fn public(&self) -> Option<WgPublicKey> {
        match self {
            Self::Own(key) => Some(*key),
            Self::Here(pair) => Some(pair.public()),
            Self::Server => None,
        }
    }
}

/// What is made.
#[derive(Debug, Args)]
pub struct Create {
    /// The network's name or id
    network: String,
    /// Its name
    name: HostName,
    #[command(flatten)]
    source: KeySource,
    /// Its IPv4 address; without it one is handed out
    #[arg(long, value_name = "ADDRESS")]
    v4: Option<Ipv4Addr>,
    /// Its IPv6 address; without it one is handed out
    #[arg(long, value_name = "ADDRESS")]
    v6: Option<Ipv6Addr>,
    /// A host that lets it in, the best first; may be given several times; without it: those that do what it needs
    #[arg(long = "gateway", value_name = "HOST", value_delimiter = ',')]
    gateways: Vec<HostSelector>,
    /// Do not let it in yet
    #[arg(long)]
    disabled: bool,
    /// The user whose it is
    #[arg(long, value_name = "USER")]
    owner: Option<UserSelector>,
    /// A tag; may be given several times
    #[arg(long = "tag", value_name = "TAG", value_delimiter = ',')]
    tags: Vec<Tag>,
    #[command(flatten)]
    ending: Ending,
    /// A range behind it, which others reach through it; may be given several times
    #[arg(long = "range", value_name = "RANGE", value_delimiter = ',')]
    ranges: Vec<IpNet>,
    /// Send everything through the gateway
    #[arg(long)]
    full_tunnel: bool,
    /// Whom it asks for names, or none: its own choice stays; may be given several times; without it: its gateway
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    dns: Vec<OrNone<IpAddr>>,
    /// The MTU of its interface; without it its app chooses
    #[arg(long, value_name = "BYTES")]
    mtu: Option<Mtu>,
    /// Seconds between its keepalives; without it the network's
    #[arg(long, value_name = "SECONDS")]
    keepalive: Option<Keepalive>,
    #[command(flatten)]
    destination: Destination,
}

impl Create {
    pub(super) async fn run(self, client: &Client, console: &mut Console) -> Result<(), Failure> {
        let Self { network, name, source, destination, .. } = self;
        let key = source.key()?;
        let body = CreateClient {
            name,
            public_key: key.public(),
            v4: self.v4,
            v6: self.v6,
            gateways: self.gateways,
            owner: self.owner,
            enabled: !self.disabled,
            tags: self.tags.into_iter().collect(),
            expires: self.ending.expires,
            expires_in: self.ending.expires_in.map(Span::seconds),
            ranges: self.ranges.into_iter().collect(),
            full_tunnel: self.full_tunnel,
            dns: replaced(self.dns)?,
            mtu: self.mtu,
            keepalive: self.keepalive,
        };
        // Before anything is made: afterwards the private key has nowhere to go when a file cannot be written.
        let open = destination.open(console)?;
        let answer = client.post(&path::fill(path::CLIENTS, &[&network]), &body).await?;
        HandOver::new(meaning(&answer)?, key)?.to(open, console)
    }
}
