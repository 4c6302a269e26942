//! Policy rules: which packets look in which routing table.
//!
//! Not for the routes themselves. It keeps true that what we send ourselves, marked, never goes into our own link by a range
//! or a full tunnel, whatever these hold; that among our ranges and the machine's own routes the longest prefix counts, the
//! machine's own where both are as long; and that a full tunnel is on when the last of its rules is there.
//!
//! ```text
//!  20041   not marked by us                  ─▶ 20043              networks and ranges             ┐
//!  20042   to the LAN, where it stays        ─▶ main, no default   the machine's own ways to it    │ a full
//!  20043   DHCP; to what this host leads to  ─▶ main                                               │ tunnel
//!  20044   not marked by us                  ─▶ 20044              over our link, else unreachable ┘
//!  20045…  not marked by us                  ─▶ main, then 20043; of both only prefixes of n bits or more: two rules for
//!                                               each length n that ranges have, the longest first
//! ```
//!
//! Marked are WireGuard's datagrams and the agent's connections to its server. The kernel knows no way to look in two tables at
//! once. What the last pairs do is the same but for one thing: a route of the machine's own that says `unreachable` or
//! `blackhole` counts before a range within it.

use std::collections::BTreeSet;
use std::fmt;

use ipnet::IpNet;

use crate::{FIREWALL_MARK, Family, Interface, RANGE_TABLE, ROUTE_TABLE, TUNNEL_TABLE, Tunnel};

/// A rule of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// Lower is asked first.
    pub priority: u32,
    /// Whose packets.
    pub family: Family,
    /// Which of them.
    pub which: RuleMatch,
    /// Where they look.
    pub table: u32,
    /// Prefixes there of so many bits or fewer do not count: 0 leaves out default routes.
    pub longer_than: Option<u8>,
}

/// Which packets a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleMatch {
    /// Those without our firewall mark (`FIREWALL_MARK`).
    Unmarked,
    /// Those that go there.
    To(IpNet),
    /// UDP from one port to another.
    Udp {
        /// Its source port.
        from: u16,
        /// Its destination port.
        to: u16,
    },
}

/// The priorities of our rules.
pub const RULE_PRIORITIES: std::ops::RangeInclusive<u32> = 20_040..=20_300;

const REACHED: u32 = 20_041;
const LAN: u32 = 20_042;
const EXCEPTIONS: u32 = 20_043;
const SWITCH: u32 = 20_044;
const RANGES: u32 = 20_045;

impl Rule {
    /// The rules that an interface needs, in the order in which they are to be made: each behind what it relies on.
    pub fn of(interface: &Interface) -> Vec<Self> {
        let tunnel = interface.tunnel.iter().flat_map(Self::of_tunnel);
        let all: BTreeSet<Self> = tunnel.chain(Self::of_ranges(interface.ranges())).collect();
        let mut all: Vec<Self> = all.into_iter().collect();
        all.sort_by_key(Self::is_switch);
        all
    }

    /// The rules of a full tunnel, in the order in which they are to be made.
    pub fn of_tunnel(tunnel: &Tunnel) -> Vec<Self> {
        let mut rules = Vec::new();
        for family in Family::ALL {
            rules.push(Self { table: RANGE_TABLE, ..Self::to_main(family, REACHED, RuleMatch::Unmarked) });
            rules.push(Self::to_main(family, EXCEPTIONS, dhcp(family)));
        }
        let to = |priority| {
            move |net: &IpNet| Self::to_main(Family::of(net.addr()), priority, RuleMatch::To(*net))
        };
        let lan = tunnel.lan.iter().map(to(LAN));
        rules.extend(lan.map(|rule| Self { longer_than: Some(0), ..rule }));
        rules.extend(tunnel.leads_to.iter().map(to(EXCEPTIONS)));
        let switch = |family| Self::to_main(family, SWITCH, RuleMatch::Unmarked);
        rules.extend(Family::ALL.map(|family| Self { table: TUNNEL_TABLE, ..switch(family) }));
        rules
    }

    /// The rules by which ranges are reached, in the order in which they are to be made. Their number grows with the lengths
    /// that ranges have, not with the ranges.
    pub fn of_ranges(ranges: impl Iterator<Item = IpNet>) -> Vec<Self> {
        let lengths: BTreeSet<(Family, u8)> =
            ranges.map(|net| (Family::of(net.addr()), net.prefix_len())).collect();
        let mut rules = Vec::new();
        for (family, length) in lengths.into_iter().rev() {
            let place = RANGES + 2 * u32::from(family.longest() - length);
            let longer_than = length.checked_sub(1);
            let main = Self { longer_than, ..Self::to_main(family, place, RuleMatch::Unmarked) };
            rules.extend([main, Self { priority: place + 1, table: RANGE_TABLE, ..main }]);
        }
        rules
    }

    /// Whether it sends packets into the tunnel: the last to be made, and the first to go.
    pub const fn is_switch(&self) -> bool {
        self.table == TUNNEL_TABLE
    }

    const fn to_main(family: Family, priority: u32, which: RuleMatch) -> Self {
        Self { priority, family, which, table: ROUTE_TABLE, longer_than: None }
    }
}

/// By which a machine keeps its address. Multicast is in the kernel's own table, before all of these.
const fn dhcp(family: Family) -> RuleMatch {
    match family {
        Family::V4 => RuleMatch::Udp { from: 68, to: 67 },
        Family::V6 => RuleMatch::Udp { from: 546, to: 547 },
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        };
        write!(f, "{family} rule {}: ", self.priority)?;
        match self.which {
            RuleMatch::Unmarked => write!(f, "what is not marked {FIREWALL_MARK:#x}")?,
            RuleMatch::To(net) => write!(f, "to {net}")?,
            RuleMatch::Udp { from, to } => write!(f, "UDP from port {from} to {to}")?,
        }
        write!(f, " looks in table {}", self.table)?;
        match self.longer_than {
            None => Ok(()),
            Some(0) => f.write_str(", but for default routes"),
            Some(length) => write!(f, ", for prefixes longer than /{length}"),
        }
    }
}

#[cfg(test)]
mod tests;
