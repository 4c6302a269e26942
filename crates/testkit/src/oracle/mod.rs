//! Who may open connections to whom, worked out the slow and plain way from what the server's API tells.
//!
//! It shares no code with the planner, the policy compiler or the firewall, and none of their types: it is what they
//! are held against. Not for what hosts are told. Keeps true that each question is answered by looking at every rule.

mod change;
mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

pub use change::{Change, Luck};
pub use read::Answers;

/// What kind of member it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A machine with an agent.
    Node,
    /// A plain WireGuard app.
    Client,
    /// A range behind routers.
    Egress,
}

/// A member of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What it is.
    pub kind: Kind,
    /// Its addresses; those of machines behind an egress range are the test's to know.
    pub addresses: Vec<IpAddr>,
    /// Its tags.
    pub tags: BTreeSet<String>,
    /// Whose it is.
    pub owner: Option<String>,
    /// Whether it takes part.
    pub active: bool,
}

/// Whom a rule names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// All members.
    Everything,
    /// The member of this kind and name.
    Member(Kind, String),
    /// Nodes and clients with this tag.
    Tag(String),
    /// This user's clients.
    User(String),
    /// The clients of this group's users.
    Group(String),
}

/// Ports of a protocol; without any, all of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ports {
    /// `tcp`, `udp`, `icmp`.
    pub protocol: String,
    /// From the first to the last.
    pub ranges: Vec<(u16, u16)>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whether it counts.
    pub enabled: bool,
    /// From whom.
    pub from: BTreeSet<Party>,
    /// To whom.
    pub to: BTreeSet<Party>,
    /// By what; nothing is everything.
    pub services: BTreeSet<Ports>,
    /// Whether the other way round too.
    pub both: bool,
}

/// A network as policy sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Picture {
    /// Whether only what a rule allows passes.
    pub guarded: bool,
    /// The members by name.
    pub members: BTreeMap<String, Member>,
    /// The rules by name.
    pub rules: BTreeMap<String, Rule>,
    /// Each user's groups.
    pub groups: BTreeMap<String, BTreeSet<String>>,
}

impl Picture {
    /// Whether one member may open a connection to another.
    pub fn allows(&self, from: &str, to: &str, protocol: &str, port: u16) -> bool {
        let (Some(source), Some(target)) = (self.members.get(from), self.members.get(to)) else {
            return false;
        };
        if !source.active || !target.active || from == to {
            return false;
        }
        if !self.guarded {
            return true;
        }
        for rule in self.rules.values() {
            if !rule.enabled || !rule.passes(protocol, port) {
                continue;
            }
            let (from_a, from_b) = (self.names(&rule.from, from), self.names(&rule.to, from));
            let (to_a, to_b) = (self.names(&rule.from, to), self.names(&rule.to, to));
            if (from_a && to_b) || (rule.both && from_b && to_a) {
                return true;
            }
        }
        false
    }

    /// Whether either may open any connection to the other.
    pub fn may_know(&self, a: &str, b: &str) -> bool {
        let Some((a_member, b_member)) = self.members.get(a).zip(self.members.get(b)) else {
            return false;
        };
        if !a_member.active || !b_member.active {
            return false;
        }
        let rules = || self.rules.values().filter(|rule| rule.enabled);
        let way = |a: &str, b: &str| rules().any(|rule| self.names(&rule.from, a) && self.names(&rule.to, b));
        !self.guarded || way(a, b) || way(b, a)
    }

    fn names(&self, parties: &BTreeSet<Party>, name: &str) -> bool {
        let Some(member) = self.members.get(name) else {
            return false;
        };
        for party in parties {
            let meant = match party {
                Party::Everything => true,
                Party::Member(kind, of) => *kind == member.kind && of == name,
                Party::Tag(tag) => member.kind != Kind::Egress && member.tags.contains(tag),
                Party::User(user) => member.kind == Kind::Client && member.owner.as_ref() == Some(user),
                Party::Group(group) => {
                    let owner = member.owner.as_ref().filter(|_| member.kind == Kind::Client);
                    let groups = owner.and_then(|owner| self.groups.get(owner));
                    groups.is_some_and(|groups| groups.contains(group))
                }
            };
            if meant {
                return true;
            }
        }
        false
    }
}

impl Rule {
    fn passes(&self, protocol: &str, port: u16) -> bool {
        if self.services.is_empty() {
            return true;
        }
        for service in &self.services {
            if service.protocol != protocol {
                continue;
            }
            if service.ranges.is_empty() || service.ranges.iter().any(|(a, b)| *a <= port && port <= *b) {
                return true;
            }
        }
        false
    }
}

impl std::fmt::Display for Party {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Everything => f.write_str("everything"),
            Self::Member(Kind::Node, name) => write!(f, "node:{name}"),
            Self::Member(Kind::Client, name) => write!(f, "client:{name}"),
            Self::Member(Kind::Egress, name) => write!(f, "egress:{name}"),
            Self::Tag(tag) => write!(f, "tag:{tag}"),
            Self::User(user) => write!(f, "user:{user}"),
            Self::Group(group) => write!(f, "group:{group}"),
        }
    }
}

impl Ports {
    /// What `tcp/80,443-450` means.
    pub fn parse(text: &str) -> Option<Self> {
        let (protocol, ports) = text.split_once('/').unwrap_or((text, ""));
        let mut ranges = Vec::new();
        for part in ports.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            ranges.push((first.parse().ok()?, last.parse().ok()?));
        }
        Some(Self { protocol: protocol.to_owned(), ranges })
    }
}

impl std::fmt::Display for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.protocol)?;
        for (index, (first, last)) in self.ranges.iter().enumerate() {
            let before = if index == 0 { '/' } else { ',' };
            if first == last { write!(f, "{before}{first}")? } else { write!(f, "{before}{first}-{last}")? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
