//! The rules on what this machine sends over other links while everything is to leave over ours.
//!
//! Not for routes, which send there whatever names no link: programs may name one. It keeps true that what we mark passes, and
//! what keeps the machine on its links, which takes rights that programs do not have: low ports, raw sockets.

use reconcile::{AddressSet, FIREWALL_MARK};

use super::{End, Family, Plan, Rule, Target};

const UDP: u8 = 17;
const IGMP: u8 = 2;
const ICMP_V6: u8 = 58;

/// What keeps a machine on its links: DHCP asks for its address, IGMP and MLD tell of its groups, and neighbour discovery
/// finds who is there.
fn upkeep() -> [Rule; 5] {
    let v4 = || Rule::default().family(Family::V4);
    let icmp = || Rule::default().family(Family::V6).protocol(ICMP_V6);
    [
        v4().protocol(UDP).sent_from(68).ports(67, 67),
        Rule::default().family(Family::V6).protocol(UDP).sent_from(546).ports(547, 547),
        v4().protocol(IGMP),
        // MLD is 130 to 132, neighbour discovery 133 to 137.
        icmp().types(130, 137),
        // MLDv2.
        icmp().types(143, 143),
    ]
}

impl<'a> Plan<'a> {
    /// The rules of the chain that what leaves over other links goes through.
    pub(super) fn confined(&mut self, to: &'a AddressSet) -> Vec<Rule> {
        let start = Rule::default();
        let mut rules = vec![start.clone().stays_here(), start.clone().marked(FIREWALL_MARK)];
        rules.extend(upkeep());
        for family in Family::ALL {
            let names = self.list(to, family).into_iter();
            rules.extend(names.map(|name| {
                let rule = start.clone().family(family);
                rule.address_in(End::Destination, family, name.length, &name.to_string())
            }));
        }
        let mut rules: Vec<Rule> = rules.into_iter().map(|rule| rule.then(Target::Accept)).collect();
        rules.push(start.counter().then(Target::Drop));
        rules
    }
}
