//! What a rule consists of: expressions that load something of a packet, compare it and say what becomes of it.
//!
//! Not for which rules there are: `layout` says that. Register 1 is all that is used but by translations: what is loaded is
//! judged by the next expression.

use std::net::IpAddr;

use ipnet::IpNet;
use reconcile::{Family, LinkName};

use super::message::Attributes;
use super::number::attribute as is;

const REGISTER: u32 = 1;
const SECOND_REGISTER: u32 = 2;
const VERDICT_REGISTER: u32 = 0;
/// The longest name of a link, with its end.
const LINK_NAME: usize = 16;
const RELATED: u32 = 0b100;
const REPLY: u8 = 1;
/// The kind of link by which a machine reaches itself.
const LOOPBACK: u16 = 772;
const SYN: u8 = 0b10;

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Rule {
    expressions: Attributes,
    /// The kernel's modules that it needs.
    pub(super) needs: Vec<&'static str>,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// It passes this chain's hook.
    Accept,
    /// It is gone.
    Drop,
    /// The rule that jumped here is behind it.
    Return,
    /// The rules of this chain, and then the next rule of this one.
    Jump(&'a str),
}

/// Which end of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Source,
    Destination,
}

/// Something that the kernel knows about a packet besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meta {
    Mark = 3,
    FromLink = 6,
    ToLink = 7,
    FromKind = 8,
    ToKind = 9,
    Family = 15,
    Protocol = 16,
}

/// Something that the kernel knows about the connection of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connection {
    State = 0,
    Direction = 1,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    Equal = 0,
    Not = 1,
    AtMost = 3,
    AtLeast = 5,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Header {
    Network = 1,
    Transport = 2,
}

impl Rule {
    pub(super) fn expressions(&self) -> &[u8] {
        self.expressions.as_bytes()
    }

    /// Came over the link.
    pub(super) fn came_over(self, link: &LinkName) -> Self {
        self.meta(Meta::FromLink).compare(Is::Equal, &padded(link))
    }

    /// Did not come over the link.
    pub(super) fn came_otherwise(self, link: &LinkName) -> Self {
        self.meta(Meta::FromLink).compare(Is::Not, &padded(link))
    }

    /// Was sent by this machine to itself.
    pub(super) fn came_from_itself(self) -> Self {
        self.meta(Meta::FromKind).compare(Is::Equal, &LOOPBACK.to_ne_bytes())
    }

    /// Leaves over the link.
    pub(super) fn leaves_over(self, link: &LinkName) -> Self {
        self.meta(Meta::ToLink).compare(Is::Equal, &padded(link))
    }

    /// Does not leave over the link.
    pub(super) fn leaves_otherwise(self, link: &LinkName) -> Self {
        self.meta(Meta::ToLink).compare(Is::Not, &padded(link))
    }

    /// Goes to this machine itself.
    pub(super) fn stays_here(self) -> Self {
        self.meta(Meta::ToKind).compare(Is::Equal, &LOOPBACK.to_ne_bytes())
    }

    /// Has this firewall mark.
    pub(super) fn marked(self, mark: u32) -> Self {
        self.meta(Meta::Mark).compare(Is::Equal, &mark.to_ne_bytes())
    }

    /// Is IPv4, or IPv6.
    pub(super) fn family(self, family: Family) -> Self {
        self.meta(Meta::Family).compare(Is::Equal, &[number_of(family)])
    }

    /// Is of this protocol.
    pub(super) fn protocol(self, number: u8) -> Self {
        self.meta(Meta::Protocol).compare(Is::Equal, &[number])
    }

    /// Goes to a port within these. Behind a protocol that has ports.
    pub(super) fn ports(self, first: u16, last: u16) -> Self {
        let loaded = self.payload(Header::Transport, 2, 2);
        if first == last {
            return loaded.compare(Is::Equal, &first.to_be_bytes());
        }
        loaded.compare(Is::AtLeast, &first.to_be_bytes()).compare(Is::AtMost, &last.to_be_bytes())
    }

    /// Comes from this port. Behind a protocol that has ports.
    pub(super) fn sent_from(self, port: u16) -> Self {
        self.payload(Header::Transport, 0, 2).compare(Is::Equal, &port.to_be_bytes())
    }

    /// Is of a type within these. Behind ICMPv6.
    pub(super) fn types(self, first: u8, last: u8) -> Self {
        self.payload(Header::Transport, 0, 1).compare(Is::AtLeast, &[first]).compare(Is::AtMost, &[last])
    }

    /// Has an address of which so many bits are in a set. Behind `family`.
    pub(super) fn address_in(self, end: End, family: Family, length: u8, set: &str) -> Self {
        self.address(end, family, length).expression("lookup", |data| {
            data.text(1, set).number(2, REGISTER);
        })
    }

    /// Has an address within a prefix. Behind `family`.
    pub(super) fn address_within(self, end: End, net: IpNet) -> Self {
        let family = Family::of(net.addr());
        self.address(end, family, net.prefix_len()).compare(Is::Equal, &octets(net.network()))
    }

    /// Answers a connection that was let pass when it was opened.
    pub(super) fn reply(self) -> Self {
        self.connection(Connection::Direction).compare(Is::Equal, &[REPLY])
    }

    /// Is an error about a connection that was let pass when it was opened.
    pub(super) fn related(self) -> Self {
        self.connection(Connection::State).mask(&RELATED.to_ne_bytes()).compare(Is::Not, &[0; 4])
    }

    /// A packet that opens a TCP connection learns how large a packet its way carries.
    pub(super) fn clamp(self) -> Self {
        let syn = self.protocol(6).payload(Header::Transport, 13, 1).mask(&[SYN]).compare(Is::Not, &[0]);
        let size = syn.expression("rt", |data| {
            data.number(1, REGISTER).number(2, 3);
        });
        let ordered = size.expression("byteorder", |data| {
            data.number(1, REGISTER).number(2, REGISTER).number(3, 1).number(4, 2).number(5, 2);
        });
        ordered.expression("exthdr", |data| {
            // The option 2, "maximum segment size": two bytes at its offset 2.
            data.bytes(2, &[2]).number(3, 2).number(4, 2).number(6, 1).number(7, REGISTER);
        })
    }

    /// Counts.
    pub(super) fn counter(self) -> Self {
        self.expression("counter", |_| {})
    }

    /// Leaves with this machine's address of the link that it leaves over.
    pub(super) fn masquerade(self) -> Self {
        self.needing("nft_masq").expression("masq", |_| {})
    }

    /// Has one end moved to the same place of another prefix.
    pub(super) fn moved(self, end: End, to: IpNet) -> Self {
        let kind = match end {
            End::Source => 0,
            End::Destination => 1,
        };
        let family = number_of(Family::of(to.addr()));
        let bounds =
            self.load(REGISTER, &octets(to.network())).load(SECOND_REGISTER, &octets(to.broadcast()));
        bounds.needing("nft_nat").expression("nat", |data| {
            data.number(1, kind).number(2, family.into()).number(3, REGISTER).number(4, SECOND_REGISTER);
            // NF_NAT_RANGE_NETMAP: the bits in which the bounds differ stay.
            data.number(7, 1 << 6);
        })
    }

    /// What becomes of what came so far.
    pub(super) fn then(self, target: Target<'_>) -> Self {
        let (code, chain): (i32, _) = match target {
            Target::Drop => (0, None),
            Target::Accept => (1, None),
            Target::Jump(chain) => (-3, Some(chain)),
            Target::Return => (-5, None),
        };
        self.expression("immediate", |data| {
            data.number(1, VERDICT_REGISTER).nest(2, |value| {
                value.nest(is::DATA_VERDICT, |verdict| {
                    verdict.bytes(1, &code.to_be_bytes());
                    if let Some(chain) = chain {
                        verdict.text(2, chain);
                    }
                });
            });
        })
    }

    fn address(self, end: End, family: Family, length: u8) -> Self {
        let (offset, bytes) = match (family, end) {
            (Family::V4, End::Source) => (12, 4),
            (Family::V4, End::Destination) => (16, 4),
            (Family::V6, End::Source) => (8, 16),
            (Family::V6, End::Destination) => (24, 16),
        };
        let loaded = self.payload(Header::Network, offset, bytes);
        if length == family.longest() { loaded } else { loaded.mask(&mask(family, length)) }
    }

    fn meta(self, key: Meta) -> Self {
        self.expression("meta", |data| {
            data.number(1, REGISTER).number(2, key as u32);
        })
    }

    fn connection(self, key: Connection) -> Self {
        self.needing("nft_ct").expression("ct", |data| {
            data.number(1, REGISTER).number(2, key as u32);
        })
    }

    fn payload(self, header: Header, offset: u32, bytes: u32) -> Self {
        self.expression("payload", |data| {
            data.number(1, REGISTER).number(2, header as u32).number(3, offset).number(4, bytes);
        })
    }

    fn compare(self, operation: Is, value: &[u8]) -> Self {
        self.expression("cmp", |data| {
            data.number(1, REGISTER).number(2, operation as u32).nest(3, |data| {
                data.bytes(is::DATA_VALUE, value);
            });
        })
    }

    fn mask(self, mask: &[u8]) -> Self {
        let length = u32::try_from(mask.len()).expect("a mask is 16 bytes at most");
        self.expression("bitwise", |data| {
            data.number(1, REGISTER).number(2, REGISTER).number(3, length);
            data.nest(4, |data| {
                data.bytes(is::DATA_VALUE, mask);
            });
            data.nest(5, |data| {
                data.bytes(is::DATA_VALUE, &vec![0; mask.len()]);
            });
        })
    }

    fn load(self, register: u32, value: &[u8]) -> Self {
        self.expression("immediate", |data| {
            data.number(1, register).nest(2, |data| {
                data.bytes(is::DATA_VALUE, value);
            });
        })
    }

    fn expression(mut self, name: &str, data: impl FnOnce(&mut Attributes)) -> Self {
        self.expressions.nest(is::LIST_ELEMENT, |element| {
            element.text(is::EXPRESSION_NAME, name).nest(is::EXPRESSION_DATA, data);
        });
        self
    }

    fn needing(mut self, module: &'static str) -> Self {
        self.needs.push(module);
        self
    }
}

/// The kernel's number of a family.
const fn number_of(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

fn padded(link: &LinkName) -> [u8; LINK_NAME] {
    let mut name = [0; LINK_NAME];
    for (to, from) in name.iter_mut().zip(link.as_str().bytes()) {
        *to = from;
    }
    name
}

fn mask(family: Family, length: u8) -> Vec<u8> {
    let ones = |bits: u8| u128::MAX.checked_shl(bits.into()).unwrap_or(0);
    let bytes = ones(family.longest().saturating_sub(length)).to_be_bytes();
    bytes[16 - usize::from(family.longest() / 8)..].to_vec()
}

/// The bytes of an address, as they are in a packet.
pub(super) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_as_many_bits_as_the_prefix() {
        assert_eq!(mask(Family::V4, 20), [255, 255, 240, 0]);
        assert_eq!(mask(Family::V4, 0), [0; 4]);
        assert_eq!(mask(Family::V6, 64), [[255; 8], [0; 8]].concat());
        assert_eq!(mask(Family::V6, 0), [0; 16]);
    }
}
