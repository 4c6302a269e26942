//! A domain name that we keep: checked, whole up to the root, lower case.
//!
//! Not for names in requests: those may hold any octets and stay in the message. It keeps true that a name needs no
//! quoting anywhere, in a zone file or a hosts file, because letters, digits, `-`, `_` and `/` are all it can hold.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use domain::base;
use ipnet::IpNet;

/// The most octets a name has on the wire.
pub(crate) const LONGEST: usize = 255;
/// The most octets of one label.
const LONGEST_LABEL: usize = 63;

/// A domain name, such as `web.office.netloom.internal`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(base::Name<Box<[u8]>>);

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing between two dots.
    #[error("{0:?} is no domain name: a part of it is empty; remove the double or leading dot")]
    EmptyLabel(String),
    /// A part is too long.
    #[error("{0:?} is no domain name: a part of it has more than {LONGEST_LABEL} characters; shorten it")]
    LongLabel(String),
    /// The whole is too long.
    #[error("{0:?} is no domain name: it has more than {LONGEST} characters; shorten it")]
    Long(String),
    /// A character that we do not take.
    #[error("{name:?} is no domain name: {character:?} is not allowed; use letters, digits, '-' and '_'")]
    Character {
        /// The text.
        name: String,
        /// The first character that is wrong.
        character: char,
    },
}

impl Name {
    /// The name above all.
    pub fn root() -> Self {
        Self::of_wire(vec![0])
    }

    /// Under which name reverse lookups ask for this address.
    pub fn reverse(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => reverse_v4(&address.octets()),
            IpAddr::V6(address) => reverse_v6(&nibbles(&address.octets())),
        }
    }

    /// The zones of the reverse lookups of a range: several where the range does not end between two labels.
    pub fn reverse_zones(range: IpNet) -> Vec<Self> {
        let step = if range.addr().is_ipv4() { 8 } else { 4 };
        let length = range.prefix_len().next_multiple_of(step).max(step);
        let parts = usize::from(length / step);
        let subnets = range.subnets(length).expect("a longer prefix of the same family");
        let zone = |subnet: IpNet| match subnet.network() {
            IpAddr::V4(address) => reverse_v4(&address.octets()[..parts]),
            IpAddr::V6(address) => reverse_v6(&nibbles(&address.octets())[..parts]),
        };
        subnets.map(zone).collect()
    }

    /// Whether this is the other name or lies below it.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.ends_with(&other.0)
    }

    /// The parts from the left, without the root.
    pub(crate) fn labels(&self) -> impl Iterator<Item = &base::name::Label> {
        self.0.iter().filter(|label| !label.is_root())
    }

    /// For the message library.
    pub(crate) fn as_base(&self) -> &base::Name<[u8]> {
        self.0.for_slice()
    }

    fn of_labels<'a>(labels: impl Iterator<Item = &'a str>) -> Self {
        let mut wire = Vec::new();
        labels.for_each(|label| push_label(&mut wire, label));
        wire.push(0);
        Self::of_wire(wire)
    }

    fn of_wire(wire: Vec<u8>) -> Self {
        let name = base::Name::from_octets(wire.into_boxed_slice());
        Self(name.expect("labels and the whole were measured before"))
    }
}

fn push_label(wire: &mut Vec<u8>, label: &str) {
    wire.push(u8::try_from(label.len()).expect("a label has at most 63 octets"));
    wire.extend(label.bytes().map(|octet| octet.to_ascii_lowercase()));
}

fn reverse_v4(octets: &[u8]) -> Name {
    let labels: Vec<String> = octets.iter().rev().map(ToString::to_string).collect();
    Name::of_labels(labels.iter().map(String::as_str).chain(["in-addr", "arpa"]))
}

fn reverse_v6(nibbles: &[u8]) -> Name {
    let labels: Vec<String> = nibbles.iter().rev().map(|nibble| format!("{nibble:x}")).collect();
    Name::of_labels(labels.iter().map(String::as_str).chain(["ip6", "arpa"]))
}

fn nibbles(octets: &[u8]) -> Vec<u8> {
    octets.iter().flat_map(|octet| [octet >> 4, octet & 15]).collect()
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == "." {
            return Ok(Self::root());
        }
        // Nothing of a text that is far too long is worth a look, nor to be repeated whole.
        if text.len() > LONGEST {
            return Err(NameError::Long(text.chars().take(LONGEST).collect()));
        }
        let allowed =
            |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '/' | '.');
        if let Some(character) = text.chars().find(|character| !allowed(*character)) {
            return Err(NameError::Character { name: text.to_owned(), character });
        }
        let mut wire = Vec::with_capacity(text.len() + 2);
        for label in text.strip_suffix('.').unwrap_or(text).split('.') {
            match label.len() {
                0 => return Err(NameError::EmptyLabel(text.to_owned())),
                1..=LONGEST_LABEL => push_label(&mut wire, label),
                _ => return Err(NameError::LongLabel(text.to_owned())),
            }
        }
        wire.push(0);
        if wire.len() > LONGEST {
            return Err(NameError::Long(text.to_owned()));
        }
        Ok(Self::of_wire(wire))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for label in self.labels() {
            let dot = if std::mem::take(&mut first) { "" } else { "." };
            write!(f, "{dot}{}", String::from_utf8_lossy(label.as_slice()))?;
        }
        if first { f.write_str(".") } else { Ok(()) }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn zones(range: &str) -> Vec<String> {
        Name::reverse_zones(range.parse().unwrap()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_name_is_the_same_however_it_is_written() {
        assert_eq!(name("Web.Office.Netloom.INTERNAL."), name("web.office.netloom.internal"));
        assert_eq!(name("_http._tcp.web").to_string(), "_http._tcp.web");
        assert_eq!((name(".").to_string().as_str(), name(".")), (".", Name::root()));
    }

    #[test]
    fn what_is_no_name_is_told_why() {
        let wrong = |text: &str| text.parse::<Name>().unwrap_err();
        assert!(matches!(wrong(""), NameError::EmptyLabel(_)));
        assert!(matches!(wrong("a..b"), NameError::EmptyLabel(_)));
        assert!(matches!(wrong(".a"), NameError::EmptyLabel(_)));
        assert!(matches!(wrong(&"a".repeat(64)), NameError::LongLabel(_)));
        assert!(matches!(wrong(&["a".repeat(49).as_str(); 6].join(".")), NameError::Long(_)));
        for (text, character) in [("*.a", '*'), ("a b", ' '), ("a\"b", '"'), ("ü", 'ü'), ("a\\.b", '\\')] {
            assert_eq!(wrong(text), NameError::Character { name: text.to_owned(), character });
        }
    }

    #[test]
    fn the_longest_name_is_one() {
        let longest = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
        assert_eq!(name(&longest).as_base().as_slice().len(), LONGEST);
    }

    #[test]
    fn reverse_names_are_the_usual_ones() {
        let reverse = |address: &str| Name::reverse(address.parse().unwrap()).to_string();
        assert_eq!(reverse("10.1.2.3"), "3.2.1.10.in-addr.arpa");
        let v6 = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        assert_eq!(reverse("2001:db8::1"), v6);
    }

    #[test]
    fn reverse_zones_cover_a_range_and_no_more() {
        assert_eq!(zones("10.1.0.0/16"), ["1.10.in-addr.arpa"]);
        assert_eq!(zones("10.1.4.0/23"), ["4.1.10.in-addr.arpa", "5.1.10.in-addr.arpa"]);
        assert_eq!(zones("10.1.2.3/32"), ["3.2.1.10.in-addr.arpa"]);
        assert_eq!(zones("fd00::/8"), ["d.f.ip6.arpa"]);
        assert_eq!(zones("fd00::/7"), ["c.f.ip6.arpa", "d.f.ip6.arpa"]);
        assert_eq!(zones("10.0.0.0/9").len(), 128);
        let half = zones("10.1.2.128/25");
        assert_eq!((half.len(), half[0].as_str()), (128, "128.2.1.10.in-addr.arpa"));
        assert_eq!(zones("0.0.0.0/0").len(), 256);
    }

    #[test]
    fn within_means_at_or_below() {
        assert!(name("a.b.c").is_within(&name("b.c")) && name("b.c").is_within(&name("B.C")));
        assert!(!name("ab.c").is_within(&name("b.c")) && !name("c").is_within(&name("b.c")));
        assert!(name("c").is_within(&Name::root()));
    }
}
