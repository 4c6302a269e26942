//! Policy rules of a full tunnel: which packets look in which routing table.
//!
//! Not for the routes themselves. It keeps true that the rules are the switch: as long as the last of them is missing, the
//! machine's traffic goes as it went before; and that what WireGuard itself sends is never sent into the tunnel.
//!
//! ```text
//!  20040  marked by our device            ─▶ main                            the tunnel's own datagrams
//!  20041  everything                      ─▶ main, but no default route      only if the LAN stays reachable
//!  20042  DHCP; to fe80::/10              ─▶ main                            otherwise
//!  20043  to what this host leads to      ─▶ main                            whatever else goes into the tunnel
//!  20044  everything                      ─▶ table 20044: default over our link, else unreachable
//! ```

use std::fmt;

use ipnet::IpNet;

use crate::{FIREWALL_MARK, Family, ROUTE_TABLE, TUNNEL_TABLE, Tunnel};

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
    /// Whether default routes there do not count.
    pub no_default: bool,
}

/// Which packets a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleMatch {
    /// All.
    All,
    /// Those with this firewall mark.
    Mark(u32),
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
pub const RULE_PRIORITIES: std::ops::RangeInclusive<u32> = 20_040..=20_044;

const MARKED: u32 = 20_040;
const LAN: u32 = 20_041;
const EXCEPTIONS: u32 = 20_042;
const LED_TO: u32 = 20_043;
const SWITCH: u32 = 20_044;

impl Rule {
    /// The rules of a full tunnel, in the order in which they are to be made.
    pub fn of_tunnel(tunnel: &Tunnel) -> Vec<Self> {
        let mut rules = Vec::new();
        for family in Family::ALL {
            rules.push(Self::to_main(family, MARKED, RuleMatch::Mark(FIREWALL_MARK)));
            if tunnel.lan {
                rules.push(Self { no_default: true, ..Self::to_main(family, LAN, RuleMatch::All) });
            } else {
                let which = Self::exceptions(family);
                rules.extend(which.into_iter().map(|which| Self::to_main(family, EXCEPTIONS, which)));
            }
        }
        let led_to = |range: &IpNet| Self::to_main(Family::of(range.addr()), LED_TO, RuleMatch::To(*range));
        rules.extend(tunnel.leads_to.iter().map(led_to));
        let switch = |family| Self { table: TUNNEL_TABLE, ..Self::to_main(family, SWITCH, RuleMatch::All) };
        rules.extend(Family::ALL.map(switch));
        rules
    }

    /// Whether it sends packets into the tunnel: the last to be made, and the first to go.
    pub const fn is_switch(&self) -> bool {
        self.table == TUNNEL_TABLE
    }

    const fn to_main(family: Family, priority: u32, which: RuleMatch) -> Self {
        Self { priority, family, which, table: ROUTE_TABLE, no_default: false }
    }

    /// What a machine needs to stay on its link: multicast is in the kernel's own table, before all of these.
    fn exceptions(family: Family) -> Vec<RuleMatch> {
        match family {
            Family::V4 => vec![RuleMatch::Udp { from: 68, to: 67 }],
            Family::V6 => {
                let link_local = "fe80::/10".parse().expect("it is a prefix");
                vec![RuleMatch::Udp { from: 546, to: 547 }, RuleMatch::To(link_local)]
            }
        }
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
            RuleMatch::All => f.write_str("everything")?,
            RuleMatch::Mark(mark) => write!(f, "what is marked {mark:#x}")?,
            RuleMatch::To(net) => write!(f, "to {net}")?,
            RuleMatch::Udp { from, to } => write!(f, "UDP from port {from} to {to}")?,
        }
        write!(f, " looks in table {}", self.table)?;
        if self.no_default { f.write_str(", but for default routes") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn tunnel(lan: bool) -> Tunnel {
        let leads_to = ["192.168.7.0/24", "fd07::/64"].map(|range| range.parse().unwrap()).into();
        Tunnel { lan, leads_to, sources: BTreeMap::new() }
    }

    #[test]
    fn what_this_host_leads_to_never_goes_into_the_tunnel() {
        for (lan, range) in [(true, "192.168.7.0/24"), (false, "192.168.7.0/24"), (false, "fd07::/64")] {
            let range: IpNet = range.parse().unwrap();
            let rules = Rule::of_tunnel(&tunnel(lan));
            let exception = rules.iter().find(|rule| rule.which == RuleMatch::To(range)).unwrap();
            let of_family = |rule: &&Rule| rule.is_switch() && rule.family == exception.family;
            assert!(exception.priority < rules.iter().find(of_family).unwrap().priority);
            assert_eq!(
                (exception.table, exception.no_default),
                (ROUTE_TABLE, false),
                "its own way is any way"
            );
        }
    }

    #[test]
    fn the_switches_come_last_and_the_tunnels_own_datagrams_first() {
        for lan in [true, false] {
            let rules = Rule::of_tunnel(&tunnel(lan));
            let first_switch = rules.iter().position(Rule::is_switch).unwrap();
            assert!(rules[first_switch..].iter().all(Rule::is_switch) && rules.len() - first_switch == 2);
            assert!(rules.iter().all(|rule| RULE_PRIORITIES.contains(&rule.priority)));
            for family in Family::ALL {
                let first =
                    rules.iter().filter(|rule| rule.family == family).min_by_key(|rule| rule.priority);
                assert_eq!(first.unwrap().which, RuleMatch::Mark(FIREWALL_MARK));
            }
        }
    }

    #[test]
    fn a_rule_is_one_clear_line() {
        let lines: Vec<String> = Rule::of_tunnel(&tunnel(true)).iter().map(ToString::to_string).collect();
        assert_eq!(lines[0], "IPv4 rule 20040: what is marked 0x4e4c looks in table 254");
        assert_eq!(lines[1], "IPv4 rule 20041: everything looks in table 254, but for default routes");
        assert_eq!(lines[4], "IPv4 rule 20043: to 192.168.7.0/24 looks in table 254");
        assert_eq!(lines[6], "IPv4 rule 20044: everything looks in table 20044");
    }
}
