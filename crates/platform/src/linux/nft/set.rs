//! Sets as the kernel has them: addresses of one family, or prefixes of one length.
//!
//! Not for which addresses. One set for each length of prefix, in which the kernel looks up so many bits of an address:
//! that costs one hash a length, prefixes may overlap, and each member comes and goes without a look at the others. The
//! kernel's sets of intervals allow none of that.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use reconcile::{AddressSet, Family, SetId};

/// Whose members a set holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    /// A set of the firewall.
    Set(SetId),
    /// A short list within a grant or a translation, by number.
    List(u32),
}

/// The name of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SetName {
    pub(super) owner: Owner,
    pub(super) family: Family,
    pub(super) length: u8,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set(id) => write!(f, "s{id}"),
            Self::List(number) => write!(f, "l{number}"),
        }
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}_{}", self.owner, word(self.family), self.length)
    }
}

/// The family in names.
pub(super) const fn word(family: Family) -> &'static str {
    match family {
        Family::V4 => "v4",
        Family::V6 => "v6",
    }
}

/// The text is no name of a set of ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotOurs;

impl FromStr for SetName {
    type Err = NotOurs;

    fn from_str(text: &str) -> Result<Self, NotOurs> {
        let mut parts = text.split('_');
        let (Some(owner), Some(family), Some(length), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NotOurs);
        };
        let number = |text: &str| text.parse().map_err(|_| NotOurs);
        let owner = match owner.split_at_checked(1) {
            Some(("s", id)) => Owner::Set(SetId(number(id)?)),
            Some(("l", id)) => Owner::List(number(id)?),
            _ => return Err(NotOurs),
        };
        let family = if family == "v4" { Family::V4 } else { Family::V6 };
        let name = Self { owner, family, length: length.parse().map_err(|_| NotOurs)? };
        // Numbers and words have one spelling.
        if name.to_string() == text { Ok(name) } else { Err(NotOurs) }
    }
}

impl SetName {
    /// Where a member of this owner is.
    pub(super) fn of(owner: Owner, member: IpNet) -> Self {
        Self { owner, family: Family::of(member.addr()), length: member.prefix_len() }
    }

    /// The member whose key this is.
    pub(super) fn member(&self, key: &[u8]) -> Option<IpNet> {
        let ip: IpAddr = match self.family {
            Family::V4 => <[u8; 4]>::try_from(key).ok()?.into(),
            Family::V6 => <[u8; 16]>::try_from(key).ok()?.into(),
        };
        IpNet::new(ip, self.length).ok()
    }

    /// The names of the sets that hold what an owner has of a family. Single addresses have one always, so that the first
    /// one can come without a new rule.
    pub(super) fn of_set(id: SetId, members: &AddressSet, family: Family) -> impl Iterator<Item = Self> {
        let prefixes = lengths(members, family);
        std::iter::once(family.longest()).chain(prefixes).map(move |length| Self {
            owner: Owner::Set(id),
            family,
            length,
        })
    }

    /// The names of the sets that hold what a list has of a family.
    pub(super) fn of_list(number: u32, members: &AddressSet, family: Family) -> impl Iterator<Item = Self> {
        let single = |net: &IpNet| Family::of(net.addr()) == family && net.prefix_len() == family.longest();
        let single = members.iter().any(|net| single(&net)).then_some(family.longest());
        single.into_iter().chain(lengths(members, family)).map(move |length| Self {
            owner: Owner::List(number),
            family,
            length,
        })
    }
}

fn lengths(members: &AddressSet, family: Family) -> impl Iterator<Item = u8> + use<> {
    let lengths = members.prefix_lengths().into_iter();
    lengths.filter(move |(of, _)| *of == family).map(|(_, length)| length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for (owner, family, length) in [
            (Owner::Set(SetId(7)), Family::V4, 32),
            (Owner::List(0), Family::V6, 64),
            (Owner::Set(SetId(0)), Family::V6, 0),
        ] {
            let name = SetName { owner, family, length };
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        for other in ["s1", "x1_v4_32", "s1_v4_32_", "s01_v4_32", "s1_v5_32", "s1_v4_+32", "", "s_v4_32"] {
            assert_eq!(other.parse::<SetName>(), Err(NotOurs), "{other}");
        }
    }

    #[test]
    fn a_set_has_room_for_single_addresses_always_and_a_list_for_what_it_has() {
        let members: AddressSet =
            ["10.0.0.0/24", "fd00::1/128"].map(|net| net.parse().unwrap()).into_iter().collect();
        let of_set = |family| {
            SetName::of_set(SetId(1), &members, family).map(|name| name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(of_set(Family::V4), ["s1_v4_32", "s1_v4_24"]);
        assert_eq!(of_set(Family::V6), ["s1_v6_128"]);
        let of_list =
            |family| SetName::of_list(2, &members, family).map(|name| name.to_string()).collect::<Vec<_>>();
        assert_eq!(of_list(Family::V4), ["l2_v4_24"]);
        assert_eq!(of_list(Family::V6), ["l2_v6_128"]);
    }
}
