//! Prefixes on the wire: CIDR texts. They are few and rarely change.

use minicbor::decode::{Decoder, Error};
use minicbor::encode::{self, Encoder, Write};
use serde::{Deserialize, Serialize};

/// A prefix: `192.168.1.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Net(pub ipnet::IpNet);

impl<C> minicbor::Encode<C> for Net {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.str(&self.0.to_string())?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Net {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, Error> {
        d.str()?.parse().map(Self).map_err(Error::custom)
    }
}

pub(crate) mod ranges {
    //! Ranges of a network: a list.

    use minicbor::decode::{Decoder, Error};
    use minicbor::encode::{self, Encoder, Write};
    use model::Ranges;

    use super::Net;

    pub(crate) fn encode<C, W: Write>(
        ranges: &Ranges,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.array(ranges.iter().count() as u64)?;
        for range in ranges.iter() {
            e.encode(Net(range))?;
        }
        Ok(())
    }

    pub(crate) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Ranges, Error> {
        let (mut v4, mut v6) = (None, None);
        for net in d.array_iter::<Net>()? {
            match net?.0 {
                ipnet::IpNet::V4(net) => v4 = Some(net),
                ipnet::IpNet::V6(net) => v6 = Some(net),
            }
        }
        Ranges::new(v4, v6).map_err(Error::custom)
    }
}
