//! What rules mean together: a packet's way through them, as the kernel goes it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use proptest::collection::btree_set;
use proptest::prelude::*;

use super::*;

fn nets(texts: &[&str]) -> BTreeSet<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn tunnel(lan: bool) -> Tunnel {
    let lan = if lan { nets(&["192.168.0.0/16", "fe80::/10"]) } else { BTreeSet::new() };
    Tunnel { lan, leads_to: nets(&["192.168.7.0/24", "fd07::/64"]), sources: BTreeMap::new() }
}

type Tables = BTreeMap<u32, BTreeSet<IpNet>>;

/// The longest of these that holds an address.
fn longest(nets: &BTreeSet<IpNet>, to: IpAddr) -> Option<IpNet> {
    nets.iter().filter(|net| net.contains(&to)).max_by_key(|net| net.prefix_len()).copied()
}

/// The table and the prefix that a packet goes by, as the kernel does it: rule by rule, and the main table last.
fn taken(rules: &[Rule], tables: &Tables, to: IpAddr, mark: u32) -> Option<(u32, IpNet)> {
    let mut rules: Vec<Rule> = rules.iter().filter(|rule| rule.family == Family::of(to)).copied().collect();
    rules.sort();
    let is_of = |rule: &&Rule| match rule.which {
        RuleMatch::Unmarked => mark != FIREWALL_MARK,
        RuleMatch::To(net) => net.contains(&to),
        RuleMatch::Udp { .. } => false,
    };
    let in_table = |table: u32| Some((table, longest(&tables[&table], to)?));
    let taken = rules.iter().filter(is_of).find_map(|rule| {
        let counts = |net: &IpNet| rule.longer_than.is_none_or(|length| net.prefix_len() > length);
        in_table(rule.table).filter(|(_, net)| counts(net))
    });
    taken.or_else(|| in_table(ROUTE_TABLE))
}

fn net() -> impl Strategy<Value = IpNet> {
    (0u8..8, 1u8..=32).prop_map(|(bits, length)| {
        // Few addresses, so that prefixes hold one another.
        let ip = Ipv4Addr::new(198, 51, if bits < 4 { 100 } else { 101 }, bits);
        IpNet::new(ip.into(), length).unwrap().trunc()
    })
}

proptest! {
    #[test]
    fn the_longest_prefix_counts_among_ranges_and_the_machines_own_routes_and_nothing_marked_takes_a_range(
        main in btree_set(net(), 0..5), ours in btree_set(net(), 0..5), default in any::<bool>(), bits in 0u8..8,
    ) {
        let main: BTreeSet<IpNet> = main.into_iter().chain(default.then(|| Family::V4.everything())).collect();
        let to: IpAddr = Ipv4Addr::new(198, 51, if bits < 4 { 100 } else { 101 }, bits).into();
        let rules = Rule::of_ranges(ours.iter().copied());
        let of = |table, net: Option<IpNet>| net.map(|net| (table, net));
        let (own, range) = (of(ROUTE_TABLE, longest(&main, to)), of(RANGE_TABLE, longest(&ours, to)));
        let tables = Tables::from([(ROUTE_TABLE, main), (RANGE_TABLE, ours)]);
        let length = |found: Option<(u32, IpNet)>| found.map(|(_, net)| net.prefix_len());
        let expected = if length(own) >= length(range) { own } else { range };
        prop_assert_eq!(taken(&rules, &tables, to, 0), expected);
        prop_assert_eq!(taken(&rules, &tables, to, FIREWALL_MARK), own);
    }
}

#[test]
fn what_this_host_leads_to_never_goes_into_the_tunnel() {
    for (lan, range) in [(true, "192.168.7.0/24"), (false, "192.168.7.0/24"), (false, "fd07::/64")] {
        let range: IpNet = range.parse().unwrap();
        let rules = Rule::of_tunnel(&tunnel(lan));
        let of_range = |rule: &&Rule| rule.which == RuleMatch::To(range) && rule.longer_than.is_none();
        let exception = rules.iter().find(of_range).unwrap();
        let of_family = |rule: &&Rule| rule.is_switch() && rule.family == exception.family;
        assert!(exception.priority < rules.iter().find(of_family).unwrap().priority);
        assert_eq!(exception.table, ROUTE_TABLE, "its own way is any way");
    }
}

#[test]
fn no_route_of_the_machine_leads_past_the_tunnel_but_those_to_its_lan() {
    // What DHCP's option 121 may say, and the machine's own LAN.
    let main = ["0.0.0.0/1", "128.0.0.0/1", "8.8.8.8/32", "10.20.0.0/24", "192.168.9.0/24", "192.168.8.0/24"];
    let ranges = ["10.20.0.0/16", "192.168.9.0/28"];
    let tables = Tables::from([
        (ROUTE_TABLE, nets(&main)),
        (RANGE_TABLE, nets(&ranges)),
        (TUNNEL_TABLE, nets(&["0.0.0.0/0"])),
    ]);
    for lan in [true, false] {
        let mut rules = Rule::of_tunnel(&Tunnel { leads_to: BTreeSet::new(), ..tunnel(lan) });
        rules.extend(Rule::of_ranges(nets(&["192.168.9.0/28"]).into_iter()));
        let table = |to: &str| taken(&rules, &tables, to.parse().unwrap(), 0).map(|(table, _)| table);
        for (to, expected) in [
            ("1.1.1.1", TUNNEL_TABLE),
            ("8.8.8.8", TUNNEL_TABLE),
            ("203.0.113.7", TUNNEL_TABLE),
            ("10.20.0.7", RANGE_TABLE),
            ("192.168.9.1", RANGE_TABLE),
            ("192.168.8.1", if lan { ROUTE_TABLE } else { TUNNEL_TABLE }),
        ] {
            assert_eq!(table(to), Some(expected), "{to}, LAN: {lan}");
        }
    }
}

#[test]
fn the_switches_come_last_and_nothing_of_ours_looks_in_our_tables() {
    for lan in [true, false] {
        let rules = Rule::of_tunnel(&tunnel(lan));
        let first_switch = rules.iter().position(Rule::is_switch).unwrap();
        assert!(rules[first_switch..].iter().all(Rule::is_switch) && rules.len() - first_switch == 2);
        let ours = rules.iter().filter(|rule| rule.table != ROUTE_TABLE);
        assert!(ours.map(|rule| rule.which).all(|which| which == RuleMatch::Unmarked));
    }
}

#[test]
fn all_priorities_are_ours_and_the_rules_of_a_thousand_ranges_are_few() {
    let longest = ["10.0.0.0/1", "10.0.0.1/32", "fd00::/1", "fd00::1/128"];
    let ranges = Rule::of_ranges(nets(&longest).into_iter());
    let rules = ranges.iter().chain(&Rule::of_tunnel(&tunnel(true))).copied().collect::<Vec<_>>();
    assert!(rules.iter().all(|rule| RULE_PRIORITIES.contains(&rule.priority)), "{rules:?}");
    let many = (0..=255u8).map(|number| IpNet::new(Ipv4Addr::new(10, 9, number, 0).into(), 24).unwrap());
    assert_eq!(Rule::of_ranges(many).len(), 2);
}

#[test]
fn a_rule_is_one_clear_line() {
    let all =
        Rule::of_tunnel(&tunnel(true)).into_iter().chain(Rule::of_ranges(nets(&["10.9.0.0/16"]).into_iter()));
    let lines: Vec<String> = all.map(|rule| rule.to_string()).collect();
    for line in [
        "IPv4 rule 20041: what is not marked 0x4e4c looks in table 20043",
        "IPv4 rule 20042: to 192.168.0.0/16 looks in table 254, but for default routes",
        "IPv6 rule 20043: UDP from port 546 to 547 looks in table 254",
        "IPv4 rule 20043: to 192.168.7.0/24 looks in table 254",
        "IPv4 rule 20044: what is not marked 0x4e4c looks in table 20044",
        "IPv4 rule 20077: what is not marked 0x4e4c looks in table 254, for prefixes longer than /15",
        "IPv4 rule 20078: what is not marked 0x4e4c looks in table 20043, for prefixes longer than /15",
    ] {
        assert!(lines.iter().any(|found| found == line), "{line} is missing in {lines:#?}");
    }
}
