//! What is kept of a server this machine has joined: where it is, who it is, and the keys of the sealed channel with it.
//!
//! Not for talking to it.

use model::{Digest, HostId, HostName, WgPublicKey};
use serde::{Deserialize, Serialize};
use url::Url;
use wire::{Channel, HostSettings};

use super::secret::Stored;
use crate::link::KnownAddresses;

/// So many servers are remembered, at most.
const MOST_SERVERS: usize = 16;

/// A server this machine has joined.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServerRecord {
    /// What it is called here: its own name, with a number behind it where two have the same.
    pub name: HostName,
    /// Addresses of its API in the token, best first.
    pub urls: Vec<String>,
    /// The addresses of all servers that the map last told, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<String>,
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
            servers: Vec::new(),
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

    /// Where it may be found, best first: as the map says, then as the token said.
    pub fn all_urls(&self) -> Vec<String> {
        let more = self.urls.iter().filter(|url| !self.servers.contains(url));
        self.servers.iter().chain(more).cloned().collect()
    }

    /// Takes over the addresses of all servers; says whether that is new. One that would be spoken to less safely than those of
    /// the token is none.
    pub fn learn_servers(&mut self, told: &[String]) -> bool {
        let in_the_clear = self.pin.is_none() && self.urls.iter().all(|url| url.starts_with("http://"));
        let is_good = |url: &&String| {
            Url::parse(url).is_ok_and(|url| {
                let is_safe = url.scheme() == "https" || (url.scheme() == "http" && in_the_clear);
                is_safe && url.has_host() && url.username().is_empty() && url.password().is_none()
            })
        };
        let servers: Vec<String> = told.iter().filter(is_good).take(MOST_SERVERS).cloned().collect();
        let is_new = servers != self.servers;
        self.servers = servers;
        is_new
    }

    /// The sealed channel with it.
    pub fn channel(&self) -> Channel {
        Channel::restore(self.host, self.down.bytes(), self.up.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(urls: &[&str], pin: Option<Digest>) -> ServerRecord {
        let host = HostId::from_bytes([1; 16]);
        ServerRecord::new(
            HostName::nearest("s"),
            urls.iter().map(|url| (*url).to_owned()).collect(),
            pin,
            WgPublicKey::from_bytes([4; 32]),
            HostName::nearest("web"),
            HostSettings::default(),
            host,
            &Channel::restore(host, [2; 32], [3; 32]),
        )
    }

    fn told(urls: &[&str]) -> Vec<String> {
        urls.iter().map(|url| (*url).to_owned()).collect()
    }

    #[test]
    fn the_addresses_of_the_map_come_first_and_those_of_the_token_stay() {
        let mut record = record(&["https://a:1", "https://b:1"], None);
        assert_eq!(record.all_urls(), ["https://a:1", "https://b:1"]);
        assert!(record.learn_servers(&told(&["https://c:1", "https://b:1"])));
        assert!(!record.learn_servers(&told(&["https://c:1", "https://b:1"])));
        assert_eq!(record.all_urls(), ["https://c:1", "https://b:1", "https://a:1"]);
        assert!(record.learn_servers(&[]));
        assert_eq!(record.all_urls(), ["https://a:1", "https://b:1"]);
    }

    #[test]
    fn no_map_makes_this_machine_speak_in_the_clear() {
        let told = told(&["http://c:1", "https://u:p@d", "ftp://e", "junk", "https://f:1"]);
        let pin = Some(Digest::from_bytes([1; 32]));
        for mut safe in [record(&["https://a:1"], None), record(&["https://a:1"], pin)] {
            safe.learn_servers(&told);
            assert_eq!(safe.servers, ["https://f:1"]);
        }
        let mut open = record(&["http://127.0.0.1:1"], None);
        open.learn_servers(&told);
        assert_eq!(open.servers, ["http://c:1", "https://f:1"]);
    }

    #[test]
    fn a_record_of_an_earlier_version_is_read() {
        let text = serde_json::to_value(record(&["https://a:1"], None)).unwrap();
        assert!(text.get("servers").is_none());
        let read: ServerRecord = serde_json::from_value(text).unwrap();
        assert_eq!(read.all_urls(), ["https://a:1"]);
    }
}
