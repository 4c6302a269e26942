//! The host map: all that one host must know, and no more.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use minicbor::{Decode, Encode};
use model::{
    Addresses, Digest, DnsName, Endpoint, Generation, HostId, HostName, Keepalive, MemberId, Mtu, NetworkId,
    NetworkName, Ranges, SealingPublicKey, ToldRecord, WgPublicKey,
};
use serde::{Deserialize, Serialize};

use crate::grant::{Class, Grant};
use crate::nets::{self, Net};

/// What a host may set about itself, from its own settings. `None` means: as the server thinks best.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct HostSettings {
    /// Its name.
    #[n(0)]
    pub name: Option<HostName>,
    /// The MTU of its interface.
    #[n(1)]
    pub mtu: Option<Mtu>,
    /// An endpoint at which it can always be reached.
    #[n(2)]
    pub static_endpoint: Option<Endpoint>,
}

/// How the NAT in front of a host maps its port, as two views of the rendezvous tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Encode, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum NatMapping {
    /// Not seen at both ports yet.
    #[default]
    #[n(0)]
    Unknown,
    /// The same address and port for every destination: peers can be told to send there.
    #[n(1)]
    Endpoint,
    /// Another port for each destination: what the rendezvous sees helps no peer.
    #[n(2)]
    PerDestination,
}

// By hand: what `derive` makes of an unknown variant is an error, and one new kind would cost an old agent its whole map.
impl<'b, C> Decode<'b, C> for NatMapping {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        Ok(match d.u32()? {
            1 => Self::Endpoint,
            2 => Self::PerDestination,
            _ => Self::Unknown,
        })
    }
}

/// The host itself.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct OwnHost {
    /// Its identity.
    #[n(0)]
    pub id: HostId,
    /// Its name.
    #[n(1)]
    pub name: HostName,
    /// The MTU of its interface.
    #[n(2)]
    pub mtu: Mtu,
    /// Where the rendezvous sees it.
    #[n(3)]
    pub seen: Vec<Endpoint>,
    /// How its NAT maps.
    #[n(4)]
    pub nat: NatMapping,
    /// Whether it is to make itself a new WireGuard key and register it.
    #[cbor(n(5), default, skip_if = "is_false")]
    pub rotate: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "minicbor hands over a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// A network the host is in.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct Membership {
    /// The network's name.
    #[n(0)]
    pub name: NetworkName,
    /// The network's ranges, as text in CBOR: they are few and rarely change.
    #[cbor(n(1), with = "nets::ranges")]
    pub ranges: Ranges,
    /// The host's addresses in it.
    #[n(2)]
    pub addresses: Addresses,
    /// Whether the host takes part.
    #[n(3)]
    pub connected: bool,
    /// Keepalive to the peers in it.
    #[n(4)]
    pub keepalive: Keepalive,
    /// Whether somebody has yet to let the host in. Then it does not take part.
    #[cbor(n(5), default, skip_if = "is_false")]
    pub pending: bool,
    /// The host through which this one reaches everybody else in it; none: each as its entry says.
    #[n(6)]
    pub via: Option<HostId>,
    /// Whether what no grant speaks of is dropped.
    #[cbor(n(7), default, skip_if = "is_false")]
    pub guarded: bool,
    /// The classes of this host.
    #[cbor(n(8), default, skip_if = "Vec::is_empty")]
    pub classes: Vec<Class>,
    /// Who may open connections to this host and to what it leads to.
    #[cbor(n(9), default, skip_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
    /// The ranges outside of the network that this host leads to.
    #[cbor(n(10), default, skip_if = "Vec::is_empty")]
    pub egress: Vec<EgressDuty>,
    /// Whether this host is a way to everything for those whom a grant lets `Party::Outside`.
    #[cbor(n(11), default, skip_if = "is_false")]
    pub internet_gateway: bool,
    /// Through whom this host reaches everything outside.
    #[n(12)]
    pub internet: Option<InternetWay>,
    /// The domain of the network's names.
    #[n(13)]
    pub domain: Option<DnsName>,
    /// Records in that domain beside those of members, ordered, each once. None in what changes a map, nor in the head of one:
    /// there they travel apart ([`RecordsChange`](crate::RecordsChange), [`Part`](crate::Part)).
    #[cbor(n(14), default, skip_if = "Vec::is_empty")]
    pub records: Vec<ToldRecord>,
    /// Name servers for single domains.
    #[cbor(n(15), default, skip_if = "Vec::is_empty")]
    pub upstreams: Vec<ToldUpstream>,
}

impl Membership {
    /// A full mesh without policies, as a host that takes part is told of it before it has addresses.
    pub fn plain(name: NetworkName, ranges: Ranges) -> Self {
        Self {
            name,
            ranges,
            addresses: Addresses::default(),
            connected: true,
            keepalive: Keepalive::DEFAULT,
            pending: false,
            via: None,
            guarded: false,
            classes: Vec::new(),
            grants: Vec::new(),
            egress: Vec::new(),
            internet_gateway: false,
            internet: None,
            domain: None,
            records: Vec::new(),
            upstreams: Vec::new(),
        }
    }

    /// The same without its records.
    #[must_use]
    pub fn without_records(&self) -> Self {
        Self { records: Vec::new(), ..self.clone() }
    }

    /// Whether the host has peers in it.
    pub const fn takes_part(&self) -> bool {
        self.connected && !self.pending
    }

    /// How this host (`own`) reaches a member of the network by its node in it.
    ///
    /// A host that is reached through others, and one that reaches others through somebody, has no WireGuard session with them.
    pub fn way<'a>(&'a self, own: HostId, member: MemberId, node: &'a PeerNode) -> Way<'a> {
        match &self.via {
            Some(via) if member == *via => Way::Direct,
            Some(via) => Way::Via(std::slice::from_ref(via)),
            None if node.via.is_empty() || node.via.contains(&own) => Way::Direct,
            None => Way::Via(&node.via),
        }
    }
}

/// How one host reaches a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way<'a> {
    /// It is its own WireGuard peer; or, for a range that this host leads to, behind this host.
    Direct,
    /// Through one of these, best first.
    Via(&'a [HostId]),
}

/// A range outside of a network that a host leads to.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct EgressDuty {
    /// The egress range.
    #[n(0)]
    pub id: MemberId,
    /// The range as it is behind this host.
    #[n(1)]
    pub range: Net,
    /// The range under which members reach it, where it is another one.
    #[n(2)]
    pub mapped: Option<Net>,
    /// Whether machines there see this host's address in place of the member's.
    #[n(3)]
    pub nat: bool,
}

/// Through whom a host reaches everything outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct InternetWay {
    /// The internet gateway; none: there is none any more, and nothing goes out.
    #[n(0)]
    pub via: Option<HostId>,
    /// Whether the machine's own networks stay reachable directly.
    #[n(1)]
    pub lan: bool,
}

/// Name servers to ask about one domain.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct ToldUpstream {
    /// The domain.
    #[n(0)]
    pub domain: DnsName,
    /// Whom to ask, in order.
    #[n(1)]
    pub servers: Vec<SocketAddr>,
}

/// A peer's membership in a network that the host is in as well.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct PeerNode {
    /// The network.
    #[n(0)]
    pub network: NetworkId,
    /// The peer's addresses in it. An egress range has none.
    #[n(1)]
    pub addresses: Addresses,
    /// Ranges that are reached as well where the peer is: the egress range itself, or what is behind a client.
    #[cbor(n(2), default, skip_if = "Vec::is_empty")]
    pub ranges: Vec<Net>,
    /// Its classes, ordered.
    #[cbor(n(3), default, skip_if = "Vec::is_empty")]
    pub classes: Vec<Class>,
    /// The hosts through which it is reached, best first; none: it is a WireGuard peer itself.
    #[cbor(n(4), default, skip_if = "Vec::is_empty")]
    pub via: Vec<HostId>,
    /// Whether it is a node, though it is reached through others: one that judges itself what comes to it. Clients and ranges
    /// are judged by those who carry them.
    #[cbor(n(5), default, skip_if = "is_false")]
    pub relayed: bool,
}

impl PeerNode {
    /// A node with addresses and nothing else.
    pub const fn new(network: NetworkId, addresses: Addresses) -> Self {
        Self { network, addresses, ranges: Vec::new(), classes: Vec::new(), via: Vec::new(), relayed: false }
    }
}

/// Another member of this host's networks, as this host sees it: a host, a client, or an egress range.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct Peer {
    /// Its name.
    #[n(0)]
    pub name: HostName,
    /// Its WireGuard key; none where there is no session with it, because it is reached through others ([`Membership::way`]).
    #[n(1)]
    pub key: Option<WgPublicKey>,
    /// The networks both are in, by network id.
    #[n(2)]
    pub nodes: Vec<PeerNode>,
    /// Where the rendezvous sees it: at most one IPv4 and one IPv6 endpoint.
    #[n(3)]
    pub seen: Vec<Endpoint>,
    /// Its own addresses with its WireGuard port, as it reported them, ordered.
    #[n(4)]
    pub local: Vec<Endpoint>,
    /// An endpoint set by hand.
    #[n(5)]
    pub fixed: Option<Endpoint>,
    /// How its NAT maps.
    #[n(6)]
    pub nat: NatMapping,
}

impl Peer {
    /// What is seen of it by these nodes alone; `direct` if by one of them there is a session with it.
    #[must_use]
    pub fn by_nodes(&self, nodes: Vec<PeerNode>, direct: bool) -> Self {
        if direct {
            return Self { nodes, ..self.clone() };
        }
        let name = self.name.clone();
        Self {
            name,
            key: None,
            nodes,
            seen: Vec::new(),
            local: Vec::new(),
            fixed: None,
            nat: NatMapping::Unknown,
        }
    }
}

/// One identity of the rendezvous: a WireGuard peer without allowed addresses.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct Rendezvous {
    /// Its WireGuard key.
    #[n(0)]
    pub key: WgPublicKey,
    /// Its UDP port.
    #[n(1)]
    pub port: u16,
    /// Its host name or address; where none is given it is the API's.
    #[n(2)]
    pub host: Option<String>,
}

/// How to reach the server's other doors.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct ServerLinks {
    /// The identities of the rendezvous, two or none.
    #[n(0)]
    pub rendezvous: Vec<Rendezvous>,
    /// URLs of external brokers (`wss://`, `mqtts://` …), best first; empty: the WebSocket on each of the servers' own addresses.
    #[n(1)]
    pub brokers: Vec<String>,
    /// Seconds of the MQTT keepalive.
    #[n(2)]
    pub keepalive: Option<Keepalive>,
    /// The authorities that vouch for the brokers' certificates, in PEM; none: those of the machine. The server's own pin says
    /// nothing about `brokers`.
    #[n(3)]
    pub broker_ca: Option<String>,
    /// The addresses of all servers, best first; empty: those of the token that the host joined with.
    #[cbor(n(4), default, skip_if = "Vec::is_empty")]
    pub servers: Vec<String>,
    /// The keys that the servers are about to change to.
    #[n(5)]
    pub next: Option<NextKeys>,
    /// The pin of the certificate that counts. None says nothing: the one of the token goes on to count.
    #[n(6)]
    pub pin: Option<Digest>,
}

/// Keys that the servers are about to change to. They count as soon as every host knows them.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct NextKeys {
    /// With this one the host agrees a new channel ([`ChannelChange`](crate::ChannelChange)).
    #[n(0)]
    pub sealing: SealingPublicKey,
    /// The pin of the next certificate, believed beside the one that counts. None: the certificate stays, or is publicly
    /// trusted.
    #[n(1)]
    pub pin: Option<Digest>,
}

/// All that one host must know.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct HostMap {
    /// The number of this map.
    #[n(0)]
    pub generation: Generation,
    /// The host itself.
    #[n(1)]
    pub host: OwnHost,
    /// How to reach the server.
    #[n(2)]
    pub server: ServerLinks,
    /// The networks it is in.
    #[n(3)]
    pub networks: BTreeMap<NetworkId, Membership>,
    /// Whom it may talk to, and who carries what.
    #[n(4)]
    pub peers: BTreeMap<MemberId, Peer>,
}
