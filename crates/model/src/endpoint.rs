//! Endpoints: where WireGuard datagrams for a host can be sent.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::cbor::{decode_ip_from, encode_ip};

/// Why something is not an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Not `address:port`.
    #[error("`{0}` is not an endpoint; write 203.0.113.7:51820 or [2001:db8::7]:51820")]
    Syntax(String),
    /// An address or port that nothing can be sent to.
    #[error("nothing can be sent to {0}: an endpoint needs a unicast address and a port other than 0")]
    Unusable(SocketAddr),
}

/// A unicast address and a port other than 0. IPv4-mapped IPv6 addresses are held as IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Endpoint(SocketAddr);

impl Endpoint {
    /// Checks the address.
    pub fn new(address: SocketAddr) -> Result<Self, EndpointError> {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let ip = address.ip();
        let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
        if ip.is_unspecified() || ip.is_multicast() || broadcast || address.port() == 0 {
            return Err(EndpointError::Unusable(address));
        }
        Ok(Self(address))
    }

    /// Address and port.
    pub const fn socket_addr(self) -> SocketAddr {
        self.0
    }

    /// The address.
    pub const fn ip(self) -> IpAddr {
        self.0.ip()
    }

    /// The port.
    pub const fn port(self) -> u16 {
        self.0.port()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let address = text.parse().map_err(|_| EndpointError::Syntax(text.chars().take(80).collect()))?;
        Self::new(address)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let address = SocketAddr::deserialize(deserializer)?;
        Self::new(address).map_err(serde::de::Error::custom)
    }
}

impl<C> minicbor::Encode<C> for Endpoint {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.array(2)?;
        encode_ip(e, self.ip())?;
        e.u16(self.port())?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Endpoint {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        if d.array()? != Some(2) {
            return Err(minicbor::decode::Error::message("an endpoint has two parts"));
        }
        let ip = decode_ip_from(d)?;
        Self::new(SocketAddr::new(ip, d.u16()?)).map_err(minicbor::decode::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nothing_can_be_sent_to_is_refused() {
        for text in ["0.0.0.0:1", "10.0.0.1:0", "224.0.0.1:9", "255.255.255.255:9", "[::]:1", "[ff02::1]:1"] {
            assert!(matches!(text.parse::<Endpoint>(), Err(EndpointError::Unusable(_))), "{text}");
        }
        assert!(matches!("web".parse::<Endpoint>(), Err(EndpointError::Syntax(_))));
    }

    #[test]
    fn mapped_addresses_become_ipv4_and_the_wire_is_short() {
        let endpoint: Endpoint = "[::ffff:203.0.113.7]:51820".parse().unwrap();
        assert_eq!(endpoint.to_string(), "203.0.113.7:51820");
        let bytes = minicbor::to_vec(endpoint).unwrap();
        assert_eq!(bytes.len(), 9);
        assert_eq!(minicbor::decode::<Endpoint>(&bytes).unwrap(), endpoint);
    }
}
