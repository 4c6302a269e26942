//! What is kept of a server this machine has joined: where it is, who it is, and the keys of the sealed channel with it.
//!
//! Not for talking to it.

use model::{Digest, HostId, HostName, WgPublicKey};
use serde::{Deserialize, Serialize};
use wire::{Channel, HostSettings};

use super::secret::Stored;
use crate::link::KnownAddresses;

/// A server this machine has joined.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServerRecord {
    /// What it is called here: its own name, with a number behind it where two have the same.
    pub name: HostName,
    /// Addresses of its API, best first.
    pub urls: Vec<String>,
    /// The pin of its certificate; none where that is publicly trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Digest>,
    /// Its first WireGuard key: by this it is known again, whatever its address.
    pub key: WgPublicKey,
    /// Who this machine is there.
    pub host: HostId,
    /// What this machine is called there.
    pub host_name: HostName,
    /// What the server was last told of this machine's own settings.
    #[serde(default)]
    pub told: HostSettings,
    /// The server has removed this host.
    #[serde(default)]
    pub removed: bool,
    /// The WireGuard key of this machine that the server took last; none in records of versions that could not change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_key: Option<WgPublicKey>,
    /// Where its names led the last time, for when nobody can be asked.
    #[serde(default, skip_serializing_if = "KnownAddresses::is_empty")]
    pub addresses: KnownAddresses,
    down: Stored,
    up: Stored,
}

impl ServerRecord {
    /// A server just joined.
    #[expect(clippy::too_many_arguments, reason = "all that a record is made of, once")]
    pub fn new(
        name: HostName,
        urls: Vec<String>,
        pin: Option<Digest>,
        key: WgPublicKey,
        host_name: HostName,
        told: HostSettings,
        host: HostId,
        channel: &Channel,
    ) -> Self {
        let (down, up) = channel.expose();
        Self {
            name,
            urls,
            pin,
            key,
            host,
            host_name,
            told,
            removed: false,
            host_key: None,
            addresses: KnownAddresses::default(),
            down: Stored::new(down),
            up: Stored::new(up),
        }
    }

    /// Whether the server has this WireGuard key of this machine, as far as is known.
    pub fn knows(&self, key: &WgPublicKey) -> bool {
        self.host_key.is_none_or(|known| known == *key)
    }

    /// The sealed channel with it.
    pub fn channel(&self) -> Channel {
        Channel::restore(self.host, self.down.bytes(), self.up.bytes())
    }
}
