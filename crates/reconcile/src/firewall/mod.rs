//! What this machine lets in over our link, lets through, and translates: a small value that can be compared, and what it
//! means (`Firewall::verdict`), without a word about how a kernel is told.
//!
//! Not for who may talk to whom (the map says it) and not for nf_tables (`platform` knows it). It keeps true that only
//! what comes from or goes to our link is ever judged or changed, but for what comes over other links and pretends to be of
//! our networks, and for what may leave over no other; that replies always pass; and that a member that comes or goes is one
//! address in a set and never a new rule.
//!
//! ```text
//!  our link ──▶ translations (to real) ──▶ here?    ──▶ input grants
//!                                     └──▶ through? ──▶ forward grants ──▶ translations (to mapped, masquerade) ──▶ out
//!  this machine ──▶ output grants ──▶ our link
//!              └─▶ other links? where it is confined to ours: marked by us, to its LAN; else dropped
//!  other links ──▶ from our networks' own addresses? dropped
//!              ├─▶ to them? from what this machine leads to: input grants; else dropped
//!              └─▶ to our link? from whom it leads to, and from nowhere behind this machine: dropped
//! ```

mod addresses;
mod diff;
mod digest;
mod services;
mod translation;
mod verdict;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use serde::Serialize;

pub use addresses::{AddressSet, Family, SetId};
pub use diff::{FirewallStep, SetChange, SetChanges, diff};
pub use digest::{FirewallDigest, FirewallDigestError, StableHasher, element_digest};
pub use services::{PortRange, Ports, Service, Services};
pub use translation::{PrefixMap, PrefixMapError, Translation};
pub use verdict::{Packet, Verdict, Way};

/// Everything that is judged or changed of what crosses our link. The default judges nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Firewall {
    /// Addresses that grants name together. The only part that changes when members come and go.
    pub sets: BTreeMap<SetId, AddressSet>,
    /// What may come over our link to this machine.
    pub input: Filter,
    /// What may pass through this machine from our link, to it, or along it. Addresses are those behind the translations
    /// of `mapped` to `real` and before those of `real` to `mapped`: grants name the real ones.
    pub forward: Filter,
    /// What this machine itself may open over our link.
    pub output: Outward,
    /// The ranges of our networks: addresses that are only ever met on our link. What comes over another link from one of
    /// them is dropped, and what comes so to this machine by one of them.
    pub inside: BTreeSet<IpNet>,
    /// Ranges behind this machine, as they really are. What comes from there over another link is no pretence: to this
    /// machine, by an address inside, it is judged by `input`, and to our link by `forward`.
    pub behind: BTreeSet<IpNet>,
    /// Whom our link leads to. What comes from them over another link does not go on over ours, replies neither, unless it
    /// is from behind this machine.
    pub beyond: Vec<Side>,
    /// Whether TCP connections through this machine learn how large a packet our link carries (MSS clamping): gateways.
    pub clamp: bool,
    /// Addresses that are changed on the way.
    pub translations: Vec<Translation>,
    /// Where this machine itself may send over other links; all else that it sends there is dropped, replies too. None: it
    /// may send anywhere. Routes do not keep a program to our link: it may name another.
    pub confined: Option<AddressSet>,
}

/// What is let pass.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Filter {
    /// Everything: nothing is judged.
    #[default]
    Open,
    /// Everything but what is between these, and of that replies.
    AllBut(Vec<Ban>),
    /// What one of these grants, and replies; the rest is dropped, of connections that were let pass before too.
    Only(Vec<Grant>),
}

/// What this machine itself may open. The default judges nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Outward {
    /// Towards whom it is judged: all else passes.
    pub towards: Vec<Side>,
    /// What passes there, with replies; the rest is dropped, of connections that were let pass before too.
    pub grants: Vec<Grant>,
}

/// Who may open connections to whom, for what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Grant {
    /// Where connections come from.
    pub from: Side,
    /// Where they go.
    pub to: Side,
    /// What they are for.
    pub services: Services,
}

/// Who may open nothing to whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ban {
    /// Where connections come from.
    pub from: Side,
    /// Where they go.
    pub to: Side,
}

/// One end of a grant or of a ban.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Any address.
    Any,
    /// What is in this set of the firewall. A set that is not there is empty.
    Set(SetId),
    /// These few, which change seldom: to change them is to make the firewall anew.
    Nets(AddressSet),
}

/// What is there under our name, as far as it can be told without knowing what was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FirewallLook {
    /// Nothing.
    #[default]
    Absent,
    /// Exactly the firewall of this digest, as it was made.
    Intact(FirewallDigest),
    /// Something that another hand changed, or another version of ours made: make it anew.
    Changed,
}

impl Firewall {
    /// Whether nothing would be different without it.
    pub fn is_trivial(&self) -> bool {
        self.input == Filter::Open
            && self.forward == Filter::Open
            && self.output.towards.is_empty()
            && self.inside.is_empty()
            && self.beyond.is_empty()
            && !self.clamp
            && self.translations.is_empty()
            && self.confined.is_none()
    }
}
