//! The host map: all that one host must know, and no more.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use model::{
    Addresses, Endpoint, Generation, HostId, HostName, Keepalive, Mtu, NetworkId, NetworkName, Ranges,
    WgPublicKey,
};
use serde::{Deserialize, Serialize};

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
}

/// A network the host is in.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct Membership {
    /// The network's name.
    #[n(0)]
    pub name: NetworkName,
    /// The network's ranges, as text in CBOR: they are few and rarely change.
    #[cbor(n(1), with = "ranges")]
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
}

/// A peer's membership in a network that the host is in as well.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct PeerNode {
    /// The network.
    #[n(0)]
    pub network: NetworkId,
    /// The peer's addresses in it.
    #[n(1)]
    pub addresses: Addresses,
}

/// Another host, as this one sees it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
pub struct Peer {
    /// Its name.
    #[n(0)]
    pub name: HostName,
    /// Its WireGuard key.
    #[n(1)]
    pub key: WgPublicKey,
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
    /// URLs of the broker (`wss://`, `mqtts://` …), best first; empty: the WebSocket on the API's own address.
    #[n(1)]
    pub brokers: Vec<String>,
    /// Seconds of the MQTT keepalive.
    #[n(2)]
    pub keepalive: Option<Keepalive>,
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
    /// Whom it may talk to.
    #[n(4)]
    pub peers: BTreeMap<HostId, Peer>,
}

mod ranges {
    //! Ranges on the wire: a list of CIDR texts.

    use minicbor::decode::{Decoder, Error};
    use minicbor::encode::{self, Encoder, Write};
    use model::Ranges;

    pub(super) fn encode<C, W: Write>(
        ranges: &Ranges,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.array(ranges.iter().count() as u64)?;
        for range in ranges.iter() {
            e.str(&range.to_string())?;
        }
        Ok(())
    }

    pub(super) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Ranges, Error> {
        let (mut v4, mut v6) = (None, None);
        for text in d.array_iter::<&str>()? {
            match text?.parse().map_err(Error::custom)? {
                ipnet::IpNet::V4(net) => v4 = Some(net),
                ipnet::IpNet::V6(net) => v6 = Some(net),
            }
        }
        Ranges::new(v4, v6).map_err(Error::custom)
    }
}
