//! Where a machine sends a packet: its rules in their order, the longest prefix in each table, the lowest metric.
//!
//! Not for what becomes of it there. It keeps true that nothing counts but what ops have made and what the machine had before.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use reconcile::{FIREWALL_MARK, Family, ROUTE_TABLE, Rule, RuleMatch, TUNNEL_TABLE, UNREACHABLE_METRIC};

use super::kernel::Kernel;

/// The machine's own links, which are nobody's business.
#[derive(Debug, Clone, Default)]
pub(super) struct Wires {
    /// Its address towards the internet, and its LAN there.
    pub(super) uplink: Option<(Ipv4Addr, Ipv4Net)>,
    /// Its addresses at ranges that it leads to, each with the range, by the annex.
    pub(super) annexes: BTreeMap<usize, Vec<IpNet>>,
}

impl Wires {
    fn is_own(&self, ip: IpAddr) -> bool {
        let annexes = self.annexes.values().flatten().any(|net| net.addr() == ip);
        annexes || self.uplink.is_some_and(|(own, _)| IpAddr::V4(own) == ip)
    }
}

/// Where a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// To this machine.
    Here,
    /// Over our link, from this address if the machine may choose.
    Link(Option<IpAddr>),
    /// Towards the internet.
    Uplink(Ipv4Addr),
    /// To a range that this machine leads to.
    Annex(usize, IpAddr),
    /// Nowhere.
    Nowhere,
}

/// What is looked at to find a way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) to: IpAddr,
    pub(super) mark: u32,
    pub(super) udp: Option<(u16, u16)>,
}

impl Look {
    fn is_of(&self, rule: &Rule) -> bool {
        rule.family == Family::of(self.to)
            && match rule.which {
                RuleMatch::Unmarked => self.mark != FIREWALL_MARK,
                RuleMatch::To(net) => net.contains(&self.to),
                RuleMatch::Udp { from, to } => self.udp == Some((from, to)),
            }
    }
}

impl Kernel {
    /// Whether an address is this machine's.
    pub(super) fn has(&self, ip: IpAddr) -> bool {
        let link = self.actual.link.as_ref();
        let on_link = link.is_some_and(|link| link.addresses.contains(&IpNet::from(ip)));
        on_link || self.wires.is_own(ip)
    }

    /// Where a packet goes.
    pub(super) fn way(&self, look: Look) -> Way {
        if self.has(look.to) {
            return Way::Here;
        }
        let mut rules = self.actual.surroundings.rules.iter().filter(|rule| look.is_of(rule));
        let by_rule = rules.find_map(|rule| self.in_table(rule.table, rule.longer_than, look.to));
        // After all of ours, everything looks in the main table.
        by_rule.or_else(|| self.in_table(ROUTE_TABLE, None, look.to)).unwrap_or(Way::Nowhere)
    }

    fn in_table(&self, table: u32, longer_than: Option<u8>, to: IpAddr) -> Option<Way> {
        let ours = self.actual.link.as_ref().filter(|link| link.up).into_iter().flat_map(|link| &link.routes);
        let ours = ours.filter(|route| route.table == table);
        let ours = ours.map(|route| (route.destination, route.metric, Way::Link(route.source)));
        let main = self.machines().into_iter().filter(|_| table == ROUTE_TABLE);
        let unreachable = self.actual.surroundings.unreachable.iter().filter(|_| table == TUNNEL_TABLE);
        let unreachable = unreachable.map(|family| (family.everything(), UNREACHABLE_METRIC, Way::Nowhere));
        let all = ours.chain(main).chain(unreachable);
        let counts = |net: &IpNet| longer_than.is_none_or(|length| net.prefix_len() > length);
        let fits = all.filter(|(net, _, _)| net.contains(&to) && counts(net));
        fits.min_by_key(|(net, metric, _)| (std::cmp::Reverse(net.prefix_len()), *metric))
            .map(|(_, _, way)| way)
    }

    /// The routes that the machine has of itself.
    fn machines(&self) -> Vec<(IpNet, u32, Way)> {
        let mut routes = Vec::new();
        for (annex, nets) in &self.wires.annexes {
            routes.extend(nets.iter().map(|net| (net.trunc(), 0, Way::Annex(*annex, net.addr()))));
        }
        if let Some((own, lan)) = self.wires.uplink {
            let way = Way::Uplink(own);
            routes.push((IpNet::V4(lan.trunc()), 0, way));
            routes.push((Family::V4.everything(), 100, way));
        }
        routes
    }

    /// Whether the machine takes what comes from there over its uplink (RFC 3704): by a strict machine only what it would
    /// answer the same way.
    pub(super) fn believes_uplink(&self, from: IpAddr) -> bool {
        let look = Look { to: from, mark: 0, udp: None };
        match self.reverse_filter("eth0") {
            1 => matches!(self.way(look), Way::Uplink(_)),
            2 => self.way(look) != Way::Nowhere,
            _ => true,
        }
    }

    /// The same of what comes over our link.
    pub(super) fn believes_link(&self, from: IpAddr) -> bool {
        let look = Look { to: from, mark: 0, udp: None };
        match self.reverse_filter("netloom0") {
            _ if from.is_ipv6() => true,
            1 => matches!(self.way(look), Way::Link(_)),
            2 => self.way(look) != Way::Nowhere,
            _ => true,
        }
    }

    fn reverse_filter(&self, link: &str) -> u8 {
        let of = |name: &str| {
            let value = self.actual.surroundings.sysctls.get(&format!("net/ipv4/conf/{name}/rp_filter"));
            value.and_then(|value| value.parse().ok()).unwrap_or(0)
        };
        of("all").max(of(link))
    }

    /// Whether the machine passes packets on.
    pub(super) fn forwards(&self, family: Family) -> bool {
        let name = match family {
            Family::V4 => "net/ipv4/ip_forward",
            Family::V6 => "net/ipv6/conf/all/forwarding",
        };
        self.actual.surroundings.sysctls.get(name).is_some_and(|value| value == "1")
    }
}
