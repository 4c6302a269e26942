//! A number for a firewall, kept beside it in the kernel, by which an agent that starts again knows what is there.
//!
//! Not for proving anything to somebody who is not trusted. It keeps true that the part of the sets is a sum over their
//! members: it follows a change at the cost of the change, and can be had again by counting what the kernel holds.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::Serialize;

use super::{Firewall, SetChanges, SetId};

/// Tells firewalls apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct FirewallDigest {
    /// Of everything but the sets' members.
    pub rules: u64,
    /// Of the sets' members: the wrapping sum of `element_digest`.
    pub members: u64,
}

/// What one member of a set adds to the digest.
pub fn element_digest(set: SetId, member: IpNet) -> u64 {
    let mut hasher = StableHasher::default();
    hasher.write(&set.0.to_le_bytes());
    match member.network() {
        IpAddr::V4(ip) => hasher.write(&ip.octets()),
        IpAddr::V6(ip) => hasher.write(&ip.octets()),
    }
    hasher.write(&[member.prefix_len()]);
    hasher.finish()
}

impl Firewall {
    /// Its digest. Reads all members; `FirewallDigest::after` follows a change without.
    pub fn digest(&self) -> FirewallDigest {
        let Self { sets, input, forward, output, inside, behind, beyond, clamp, translations, confined } =
            self;
        let mut hasher = StableHasher::default();
        input.hash(&mut hasher);
        forward.hash(&mut hasher);
        output.hash(&mut hasher);
        inside.hash(&mut hasher);
        behind.hash(&mut hasher);
        beyond.hash(&mut hasher);
        clamp.hash(&mut hasher);
        translations.hash(&mut hasher);
        confined.hash(&mut hasher);
        for set in sets.keys() {
            set.hash(&mut hasher);
        }
        let members = sets.iter().flat_map(|(id, set)| set.iter().map(|net| element_digest(*id, net)));
        FirewallDigest { rules: hasher.finish(), members: members.fold(0, u64::wrapping_add) }
    }
}

impl FirewallDigest {
    /// The digest after changes to sets.
    #[must_use]
    pub fn after(self, changes: &SetChanges) -> Self {
        let mut members = self.members;
        for change in &changes.0 {
            let sum = |nets: &[IpNet]| {
                nets.iter().map(|net| element_digest(change.set, *net)).fold(0, u64::wrapping_add)
            };
            members = members.wrapping_add(sum(&change.add)).wrapping_sub(sum(&change.remove));
        }
        Self { members, ..self }
    }
}

impl fmt::Display for FirewallDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}", self.rules, self.members)
    }
}

/// The text is no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no digest of a firewall: two numbers of 16 hexadecimal digits, with `-` between them")]
pub struct FirewallDigestError;

impl FromStr for FirewallDigest {
    type Err = FirewallDigestError;

    fn from_str(text: &str) -> Result<Self, FirewallDigestError> {
        let number = |text: &str| match text.len() {
            16 => u64::from_str_radix(text, 16).map_err(|_| FirewallDigestError),
            _ => Err(FirewallDigestError),
        };
        let (rules, members) = text.split_once('-').ok_or(FirewallDigestError)?;
        Ok(Self { rules: number(rules)?, members: number(members)? })
    }
}

/// FNV-1a with a last stir. The standard library's hasher may be another one in its next release, and a digest that is
/// another one has the whole firewall made again.
///
/// The stir matters: without it the sum over {a.1, b.2} is often that over {a.2, b.1}.
#[derive(Debug, Clone)]
pub struct StableHasher(u64);

impl Default for StableHasher {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for StableHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        // The finalizer of SplitMix64.
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
