//! Records: the six kinds that we serve, as values.
//!
//! Not for SOA and NS, which follow from a zone. It keeps true that every value can be put on the wire and into a zone
//! file as it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use domain::base::iana::Rtype;
use domain::base::name::{ToLabelIter as _, ToName as _};
use domain::base::rdata::{ComposeRecordData, RecordData};
use domain::base::wire::{Compose as _, Composer};

use crate::name::Name;

/// The most octets of one string of a text.
const LONGEST_STRING: usize = 255;
/// The most octets of a text, the lengths of its strings included.
const LONGEST_TEXT: usize = 4096;

/// One record of a zone of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The name that is asked for.
    pub name: Name,
    /// Seconds for which others may remember it.
    pub ttl: u32,
    /// What is answered.
    pub data: Data,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// Another name to look at instead.
    Cname(Name),
    /// Text for programs.
    Txt(Text),
    /// Where a service is.
    Srv(Service),
    /// The name of an address.
    Ptr(Name),
}

/// Where a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The lowest is tried first.
    pub priority: u16,
    /// A share among those of one priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The machine.
    pub target: Name,
}

/// The strings of a TXT record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(Box<[u8]>);

/// Why strings are no text of a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// No string at all.
    #[error("a TXT record needs a text; give at least one string")]
    Empty,
    /// A string is too long.
    #[error("a string of a TXT record has {0} octets; at most {LONGEST_STRING} fit, split it")]
    LongString(usize),
    /// All are too long.
    #[error("the strings of a TXT record have more than {LONGEST_TEXT} octets together; shorten them")]
    Long,
}

impl Text {
    /// A text of these strings.
    pub fn new<S: AsRef<[u8]>>(strings: impl IntoIterator<Item = S>) -> Result<Self, TextError> {
        let mut octets = Vec::new();
        for string in strings {
            let string = string.as_ref();
            let length = u8::try_from(string.len()).map_err(|_| TextError::LongString(string.len()))?;
            octets.push(length);
            octets.extend_from_slice(string);
            if octets.len() > LONGEST_TEXT {
                return Err(TextError::Long);
            }
        }
        if octets.is_empty() {
            return Err(TextError::Empty);
        }
        Ok(Self(octets.into_boxed_slice()))
    }

    /// A text of one value, which readers put together again from as many strings as it needs.
    pub fn of_value(value: &str) -> Result<Self, TextError> {
        if value.is_empty() {
            return Self::new([""]);
        }
        Self::new(value.as_bytes().chunks(LONGEST_STRING))
    }

    /// Its strings.
    pub fn strings(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first()?;
            let (string, after) = after.split_at(usize::from(*length));
            rest = after;
            Some(string)
        })
    }
}

impl From<IpAddr> for Data {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::A(address),
            IpAddr::V6(address) => Self::Aaaa(address),
        }
    }
}

impl RecordData for Data {
    fn rtype(&self) -> Rtype {
        match self {
            Self::A(_) => Rtype::A,
            Self::Aaaa(_) => Rtype::AAAA,
            Self::Cname(_) => Rtype::CNAME,
            Self::Txt(_) => Rtype::TXT,
            Self::Srv(_) => Rtype::SRV,
            Self::Ptr(_) => Rtype::PTR,
        }
    }
}

impl ComposeRecordData for Data {
    fn rdlen(&self, compress: bool) -> Option<u16> {
        match self {
            Self::A(_) => Some(4),
            Self::Aaaa(_) => Some(16),
            Self::Cname(name) | Self::Ptr(name) => (!compress).then(|| name.as_base().compose_len()),
            Self::Txt(text) => u16::try_from(text.0.len()).ok(),
            Self::Srv(service) => Some(6 + service.target.as_base().compose_len()),
        }
    }

    fn compose_rdata<Target: Composer + ?Sized>(
        &self,
        target: &mut Target,
    ) -> Result<(), Target::AppendError> {
        match self {
            Self::A(address) => target.append_slice(&address.octets()),
            Self::Aaaa(address) => target.append_slice(&address.octets()),
            Self::Cname(name) | Self::Ptr(name) => target.append_compressed_name(name.as_base()),
            Self::Txt(text) => target.append_slice(&text.0),
            Self::Srv(Service { priority, weight, port, target: machine }) => {
                priority.compose(target)?;
                weight.compose(target)?;
                port.compose(target)?;
                // RFC 2782: not compressed.
                machine.as_base().compose(target)
            }
        }
    }

    fn compose_canonical_rdata<Target: Composer + ?Sized>(
        &self,
        target: &mut Target,
    ) -> Result<(), Target::AppendError> {
        match self {
            Self::Cname(name) | Self::Ptr(name) => name.as_base().compose(target),
            Self::A(_) | Self::Aaaa(_) | Self::Txt(_) | Self::Srv(_) => self.compose_rdata(target),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_gives_back_its_strings() {
        let text = Text::new(["v=1", "", "ü \"x\""]).unwrap();
        assert_eq!(text.strings().collect::<Vec<_>>(), [&b"v=1"[..], b"", "ü \"x\"".as_bytes()]);
    }

    #[test]
    fn a_long_value_becomes_several_strings() {
        let lengths = |length| {
            let text = Text::of_value(&"x".repeat(length)).unwrap();
            text.strings().map(<[u8]>::len).collect::<Vec<_>>()
        };
        assert_eq!((lengths(0), lengths(255), lengths(600)), (vec![0], vec![255], vec![255, 255, 90]));
    }

    #[test]
    fn what_is_no_text_is_told_why() {
        assert_eq!(Text::new::<&str>([]), Err(TextError::Empty));
        assert_eq!(Text::new(["x".repeat(256)]), Err(TextError::LongString(256)));
        assert_eq!(Text::of_value(&"x".repeat(5000)), Err(TextError::Long));
    }
}
