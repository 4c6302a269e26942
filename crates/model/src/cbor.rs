//! CBOR (RFC 8949) shapes shared by the types of this crate: short byte strings for keys and addresses.
//!
//! Not a codec: `minicbor` is. The shapes here are part of the wire format and only ever grow.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use minicbor::decode::{Decoder, Error};
use minicbor::encode::{self, Encoder, Write};

/// Implements the byte-string encoding of a fixed-size array newtype.
macro_rules! byte_string {
    ($type:ident, $size:literal) => {
        impl<C> minicbor::Encode<C> for $type {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(self.as_bytes())?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $type {
            fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                let bytes = d.bytes()?;
                let array = <[u8; $size]>::try_from(bytes)
                    .map_err(|_| minicbor::decode::Error::message(concat!("expected ", $size, " bytes")))?;
                Ok(Self::from_bytes(array))
            }
        }
    };
}
pub(crate) use byte_string;

/// Writes an address as its 4 or 16 bytes.
pub(crate) fn encode_ip<W: Write>(e: &mut Encoder<W>, ip: IpAddr) -> Result<(), encode::Error<W::Error>> {
    match ip {
        IpAddr::V4(v4) => e.bytes(&v4.octets())?.ok(),
        IpAddr::V6(v6) => e.bytes(&v6.octets())?.ok(),
    }
}

/// Reads an address from its 4 or 16 bytes.
pub(crate) fn decode_ip(bytes: &[u8]) -> Result<IpAddr, Error> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::V4(Ipv4Addr::from(v4)));
    }
    let v6 = <[u8; 16]>::try_from(bytes).map_err(|_| Error::message("an address has 4 or 16 bytes"))?;
    Ok(IpAddr::V6(Ipv6Addr::from(v6)))
}

/// Reads a byte string and hands it to `decode_ip`.
pub(crate) fn decode_ip_from(d: &mut Decoder<'_>) -> Result<IpAddr, Error> {
    decode_ip(d.bytes()?)
}

/// Implements the text encoding of a type that is written and parsed as text.
macro_rules! text {
    ($type:ty) => {
        impl<C> minicbor::Encode<C> for $type {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.str(&self.to_string())?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $type {
            fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                d.str()?.parse().map_err(minicbor::decode::Error::custom)
            }
        }
    };
}
pub(crate) use text;
