//! What is kept of a server this machine has joined: where it is, who it is, and the keys of the sealed channel with it.
//!
//! Not for talking to it.

use model::{Digest, HostId, HostName, SealingPublicKey, WgPublicKey};
use serde::{Deserialize, Serialize};
use url::Url;
use wire::{Agreement, Channel, ChannelChange, HostSettings, ServerLinks};

use super::channels::Channels;
use super::secret::Stored;
use crate::link::{KnownAddresses, ServerTrust};

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
    /// The pin of the certificate that it is about to change to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_pin: Option<Digest>,
    /// The key of its that the channel was agreed with; none in records of versions that could not change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealing: Option<SealingPublicKey>,
    down: Stored,
    up: Stored,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<NextChannel>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    former: Option<FormerChannel>,
}

/// A channel that was agreed and that the server may have taken.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct NextChannel {
    server: SealingPublicKey,
    encapsulated: SealingPublicKey,
    down: Stored,
    up: Stored,
}

/// A channel that the server may have sealed something with that is still on its way.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct FormerChannel {
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
            next_pin: None,
            sealing: None,
            down: Stored::new(down),
            up: Stored::new(up),
            next: None,
            former: None,
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

    /// How it proves who it is.
    pub fn trust(&self) -> ServerTrust {
        match (self.pin, self.next_pin) {
            (None, _) => ServerTrust::PublicRoots,
            (Some(pin), None) => ServerTrust::Pin(*pin.as_bytes()),
            (Some(pin), Some(next)) => ServerTrust::EitherPin([pin, next].map(|pin| *pin.as_bytes())),
        }
    }

    /// Takes over which certificate counts and which is to come; says whether that is new. Where the token trusted authorities there
    /// are no pins.
    pub fn learn_pins(&mut self, links: &ServerLinks) -> bool {
        let pin = self.pin.map(|pin| links.pin.unwrap_or(pin));
        let next_pin =
            links.next.as_ref().and_then(|next| next.pin).filter(|next| pin.is_some_and(|pin| pin != *next));
        let is_new = (pin, next_pin) != (self.pin, self.next_pin);
        (self.pin, self.next_pin) = (pin, next_pin);
        is_new
    }

    /// Takes over by which key it is known again; says whether that is new.
    pub fn learn_key(&mut self, links: &ServerLinks) -> bool {
        let Some(first) = links.rendezvous.first() else { return false };
        std::mem::replace(&mut self.key, first.key) != first.key
    }

    /// The sealed channels with it.
    pub fn channels(&self) -> Channels {
        let of = |down: &Stored, up: &Stored| Channel::restore(self.host, down.bytes(), up.bytes());
        Channels {
            current: of(&self.down, &self.up),
            next: self.next.as_ref().map(|next| of(&next.down, &next.up)),
            former: self.former.as_ref().map(|former| of(&former.down, &former.up)),
        }
    }

    /// Whether the channel that counts was agreed with this key of the server's.
    pub fn is_agreed_with(&self, server: &SealingPublicKey) -> bool {
        self.sealing.as_ref() == Some(server)
    }

    /// A channel that was agreed with this key of the server's is the next one.
    pub fn agree(&mut self, server: SealingPublicKey, agreement: Agreement) -> ChannelChange {
        let encapsulated = agreement.encapsulated;
        let channel = agreement.into_channel(self.host);
        let (down, up) = channel.expose();
        let (down, up) = (Stored::new(down), Stored::new(up));
        self.next = Some(NextChannel { server, encapsulated, down, up });
        ChannelChange { server, encapsulated }
    }

    /// What the server is told of the next channel.
    pub fn pending(&self) -> Option<ChannelChange> {
        let NextChannel { server, encapsulated, .. } = self.next.as_ref()?;
        Some(ChannelChange { server: *server, encapsulated: *encapsulated })
    }

    /// The next channel is the one that counts; says with which key it was agreed.
    pub fn take_next(&mut self) -> Option<SealingPublicKey> {
        let NextChannel { server, encapsulated: _, down, up } = self.next.take()?;
        let [down, up] = [std::mem::replace(&mut self.down, down), std::mem::replace(&mut self.up, up)];
        self.former = Some(FormerChannel { down, up });
        self.sealing = Some(server);
        Some(server)
    }

    /// Nothing comes by the former channel any more; says whether there was one.
    pub fn forget_former(&mut self) -> bool {
        self.former.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use wire::{NextKeys, SealingSecret};

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
    fn a_channel_that_was_agreed_is_on_disk_before_it_counts_and_the_one_before_until_nothing_comes_by_it() {
        let server = SealingSecret::from_random([5; 32]);
        let mut random = getrandom::rand_core::UnwrapErr(getrandom::SysRng);
        let agreement =
            Agreement::initiate(&SealingSecret::from_random([6; 32]), &server.public(), &mut random).unwrap();
        let kept = |record: &ServerRecord| -> ServerRecord {
            serde_json::from_value(serde_json::to_value(record).unwrap()).unwrap()
        };
        let password = |channel: Option<Channel>| channel.map(|channel| channel.broker_password());
        let mut record = record(&["https://a:1"], None);
        let before = record.channels().current.broker_password();
        let change = record.agree(server.public(), agreement);
        record = kept(&record);
        let client = SealingSecret::from_random([6; 32]).public();
        let accepted = Channel::accept(&server, record.host, &client, &change.encapsulated).unwrap();
        let next = accepted.broker_password();
        assert_eq!(record.pending(), Some(change));
        assert!(!record.is_agreed_with(&server.public()));
        assert_eq!(record.channels().current.broker_password(), before);
        assert_eq!(password(record.channels().next), Some(next.clone()));

        assert_eq!(record.take_next(), Some(server.public()));
        record = kept(&record);
        assert!(record.is_agreed_with(&server.public()) && record.pending().is_none());
        assert_eq!(record.channels().current.broker_password(), next);
        assert_eq!(password(record.channels().former), Some(before));
        assert!(record.forget_former() && !record.forget_former() && record.take_next().is_none());
    }

    #[test]
    fn either_certificate_is_believed_until_the_map_says_which_counts() {
        let pin = |number| Digest::from_bytes([number; 32]);
        let links = |counts: Option<u8>, next: Option<u8>| {
            let sealing = SealingPublicKey::from_bytes([9; 32]);
            let next = next.map(|next| NextKeys { sealing, pin: Some(pin(next)) });
            ServerLinks { pin: counts.map(pin), next, ..ServerLinks::default() }
        };
        let mut pinned = record(&["https://a:1"], Some(pin(1)));
        assert!(!pinned.learn_pins(&links(None, None)) && !pinned.learn_pins(&links(Some(1), None)));
        assert!(pinned.learn_pins(&links(Some(1), Some(2))) && !pinned.learn_pins(&links(Some(1), Some(2))));
        assert_eq!(pinned.trust(), ServerTrust::EitherPin([[1; 32], [2; 32]]));
        assert!(pinned.clone().learn_pins(&links(Some(1), None)), "taken back");
        assert!(pinned.learn_pins(&links(Some(2), None)));
        assert_eq!(pinned.trust(), ServerTrust::Pin([2; 32]));

        let mut public = record(&["https://a:1"], None);
        assert!(!public.learn_pins(&links(Some(1), Some(2))));
        assert_eq!(public.trust(), ServerTrust::PublicRoots);
    }

    #[test]
    fn a_record_of_an_earlier_version_is_read() {
        let text = serde_json::to_value(record(&["https://a:1"], None)).unwrap();
        assert!(
            ["servers", "next_pin", "sealing", "next", "former"].iter().all(|name| text.get(name).is_none())
        );
        let read: ServerRecord = serde_json::from_value(text).unwrap();
        assert_eq!(read.all_urls(), ["https://a:1"]);
    }
}
