//! The addresses of a node: one of each family its network has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::cbor::{decode_ip, encode_ip};

/// At most one IPv4 and one IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Addresses {
    /// The IPv4 address, if the network has an IPv4 range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v4: Option<Ipv4Addr>,
    /// The IPv6 address, if the network has an IPv6 range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub v6: Option<Ipv6Addr>,
}

impl Addresses {
    /// Both, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.v4.map(IpAddr::from).into_iter().chain(self.v6.map(IpAddr::from))
    }
}

impl<C> minicbor::Encode<C> for Addresses {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        let count = self.iter().count();
        e.array(count as u64)?;
        for ip in self.iter() {
            encode_ip(e, ip)?;
        }
        Ok(())
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Addresses {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let mut addresses = Self::default();
        for bytes in d.array_iter::<&minicbor::bytes::ByteSlice>()? {
            match decode_ip(bytes?)? {
                IpAddr::V4(v4) => addresses.v4 = Some(v4),
                IpAddr::V6(v6) => addresses.v6 = Some(v6),
            }
        }
        Ok(addresses)
    }
}
