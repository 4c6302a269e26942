//! A number over everything that our table holds but the members of its sets, by which it is noticed that another hand
//! changed something.
//!
//! Not for the members: the digest of the firewall has them. It keeps true that the number comes out the same of what was
//! sent and of what the kernel lists, in whatever order that is listed. A rule is known by a tag that it carries: the
//! kernel never changes a rule in place, so that one with our tag is the one that we made.

use std::hash::Hasher as _;

use reconcile::{FirewallDigest, StableHasher};

use super::layout::{Hook, Layout};
use super::set::{Owner, SetName};
use super::{expression, message};

/// The version of how a firewall is laid out. Another one is made anew.
const VERSION: &str = "4";
/// Kinds of what a rule carries besides its expressions: the first is the kernel tools' comment, the other is ours.
const COMMENT: u8 = 0;
const TAG: u8 = 0x4e;

/// The number, while it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Seal(pub(super) u64);

impl Seal {
    /// Of what is about to be sent.
    pub(super) fn of(layout: &Layout) -> Self {
        let mut seal = Self::default();
        for chain in &layout.chains {
            let hook = chain.hook.map(|Hook { number, priority, kind, .. }| (number, priority, kind, POLICY));
            seal.chain(&chain.name, hook);
            for (index, rule) in (0..).zip(&chain.rules) {
                seal.rule(&chain.name, index, tag_of(rule.expressions()));
            }
        }
        for (name, members) in &layout.sets {
            seal.set(&name.to_string(), 0, key_length(name));
            if matches!(name.owner, Owner::List(_)) {
                members
                    .iter()
                    .for_each(|member| seal.member(&name.to_string(), &expression::octets(member.network())));
            }
        }
        seal
    }

    /// A chain, with the number, rank, type and policy of its hook.
    pub(super) fn chain(&mut self, name: &str, hook: Option<(u32, i32, &str, u32)>) {
        match hook {
            Some((number, priority, kind, policy)) => {
                let place = [number.to_le_bytes(), priority.to_le_bytes(), policy.to_le_bytes()].concat();
                self.add(b"hook", &[name.as_bytes(), &place, kind.as_bytes()]);
            }
            None => self.add(b"chain", &[name.as_bytes()]),
        }
    }

    /// A rule, by its place in its chain and its tag.
    pub(super) fn rule(&mut self, chain: &str, index: u32, tag: u64) {
        self.add(b"rule", &[chain.as_bytes(), &index.to_le_bytes(), &tag.to_le_bytes()]);
    }

    /// A set, with its flags and the length of its keys.
    pub(super) fn set(&mut self, name: &str, flags: u32, key: u32) {
        self.add(b"set", &[name.as_bytes(), &flags.to_le_bytes(), &key.to_le_bytes()]);
    }

    /// A member of a set that is none of the firewall's.
    pub(super) fn member(&mut self, set: &str, key: &[u8]) {
        self.add(b"member", &[set.as_bytes(), key]);
    }

    /// Something that we never make.
    pub(super) fn stranger(&mut self) {
        self.add(b"stranger", &[]);
    }

    fn add(&mut self, kind: &[u8], parts: &[&[u8]]) {
        let mut hasher = StableHasher::default();
        for part in std::iter::once(&kind).chain(parts) {
            hasher.write(&part.len().to_le_bytes());
            hasher.write(part);
        }
        self.0 = self.0.wrapping_add(hasher.finish());
    }
}

/// The policy of all our chains with a hook: accept.
pub(super) const POLICY: u32 = 1;

/// The length of a set's keys in bytes.
pub(super) const fn key_length(name: &SetName) -> u32 {
    name.family.longest() as u32 / 8
}

/// The tag of a rule that has these expressions.
pub(super) fn tag_of(expressions: &[u8]) -> u64 {
    let mut hasher = StableHasher::default();
    hasher.write(expressions);
    hasher.finish()
}

/// What a rule carries to be known by.
pub(super) fn tagged(tag: u64) -> Vec<u8> {
    [&[TAG, 8][..], &tag.to_le_bytes()].concat()
}

/// The tag that a rule carries.
pub(super) fn tag_in(userdata: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(carried(userdata, TAG)?.try_into().ok()?))
}

/// What the rule carries that says which firewall this is, as a comment that people can read.
pub(super) fn inscription(digest: FirewallDigest, seal: Seal) -> Vec<u8> {
    let text = format!("netloom {VERSION} {digest} {:016x}\0", seal.0);
    let length = u8::try_from(text.len()).expect("a version and three numbers");
    [&[COMMENT, length][..], text.as_bytes()].concat()
}

/// The firewall that an inscription names, and its seal. None of another version.
pub(super) fn inscribed(userdata: &[u8]) -> Option<(FirewallDigest, Seal)> {
    let text = message::text(carried(userdata, COMMENT)?)?;
    let rest = text.strip_prefix("netloom ")?.strip_prefix(VERSION)?.strip_prefix(' ')?;
    let (digest, seal) = rest.split_once(' ')?;
    Some((digest.parse().ok()?, Seal(u64::from_str_radix(seal, 16).ok()?)))
}

fn carried(mut userdata: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        let (&[kind, length], rest) = userdata.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(length.into())?;
        if kind == wanted {
            return Some(value);
        }
        userdata = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_inscribed_is_read_again_and_nothing_else() {
        let digest = FirewallDigest { rules: 1, members: u64::MAX };
        let written = inscription(digest, Seal(7));
        assert_eq!(inscribed(&written), Some((digest, Seal(7))));
        assert_eq!(inscribed(&written[..written.len() - 3]), None);
        assert_eq!(inscribed(&tagged(9)), None);
        assert_eq!(inscribed(&[0, 4, b'a', b'b', b'c', 0]), None);
        let other: Vec<u8> =
            String::from_utf8(written).unwrap().replace(&format!("netloom {VERSION}"), "netloom 9").into();
        assert_eq!(inscribed(&other), None);
    }

    #[test]
    fn tags_are_found_behind_other_things() {
        let both = [&[0, 2, b'x', 0][..], &tagged(9)].concat();
        assert_eq!(tag_in(&both), Some(9));
        assert_eq!(tag_in(&both[..both.len() - 1]), None);
    }

    #[test]
    fn places_of_rules_count_and_the_order_of_listing_does_not() {
        let seal = |rules: &[(u32, u64)]| {
            let mut seal = Seal::default();
            rules.iter().for_each(|(index, tag)| seal.rule("input", *index, *tag));
            seal
        };
        assert_eq!(seal(&[(0, 5), (1, 6)]), seal(&[(1, 6), (0, 5)]));
        assert_ne!(seal(&[(0, 5), (1, 6)]), seal(&[(0, 6), (1, 5)]));
    }
}
