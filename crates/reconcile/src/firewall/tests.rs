//! Laws of firewalls: steps lead where they should, digests follow, and verdicts are what the words say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;

fn ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0u8..3, 1u8..6).prop_map(|(net, host)| IpAddr::V4(Ipv4Addr::new(10, net, 0, host))),
        (0u16..3, 1u16..6)
            .prop_map(|(net, host)| IpAddr::V6(Ipv6Addr::new(0xfd00, net, 0, 0, 0, 0, 0, host))),
    ]
}

fn net() -> impl Strategy<Value = IpNet> {
    (ip(), 0u8..4).prop_map(|(ip, wide)| {
        let length = match (Family::of(ip), wide) {
            (family, 0 | 1) => family.longest(),
            (Family::V4, 2) => 16,
            (Family::V6, 2) => 32,
            (Family::V4 | Family::V6, _) => 0,
        };
        IpNet::new(ip, length).unwrap()
    })
}

fn addresses() -> impl Strategy<Value = AddressSet> {
    vec(net(), 0..6).prop_map(|nets| nets.into_iter().collect())
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![
        Just(Side::Any),
        (0u32..4).prop_map(|id| Side::Set(SetId(id))),
        addresses().prop_map(Side::Nets)
    ]
}

fn ports() -> impl Strategy<Value = Ports> {
    let range = (0u16..5, 0u16..5).prop_map(|(first, last)| PortRange { first, last });
    prop_oneof![Just(Ports::Any), vec(range, 0..3).prop_map(Ports::Only)]
}

fn service() -> impl Strategy<Value = Service> {
    prop_oneof![
        ports().prop_map(Service::Tcp),
        ports().prop_map(Service::Udp),
        Just(Service::Icmp),
        (0u8..60).prop_map(Service::Other)
    ]
}

fn grants() -> impl Strategy<Value = Vec<Grant>> {
    let services = prop_oneof![Just(Services::All), vec(service(), 0..3).prop_map(Services::Only)];
    let grant = (side(), side(), services).prop_map(|(from, to, services)| Grant { from, to, services });
    vec(grant, 0..4)
}

fn filter() -> impl Strategy<Value = Filter> {
    let ban = (side(), side()).prop_map(|(from, to)| Ban { from, to });
    let all_but = vec(ban, 0..3).prop_map(Filter::AllBut);
    prop_oneof![1 => Just(Filter::Open), 1 => all_but, 4 => grants().prop_map(Filter::Only)]
}

fn outward() -> impl Strategy<Value = Outward> {
    (vec(side(), 0..3), grants()).prop_map(|(towards, grants)| Outward { towards, grants })
}

fn translation() -> impl Strategy<Value = Translation> {
    let map = (0u8..3, 0u8..3, vec(side(), 0..2)).prop_map(|(mapped, real, known_to)| {
        let prefix = |net| IpNet::new([10, net, 0, 0].into(), 24).unwrap();
        Translation::Map { map: PrefixMap::new(prefix(mapped), prefix(real)).unwrap(), known_to }
    });
    prop_oneof![(side(), addresses()).prop_map(|(from, to)| Translation::Masquerade { from, to }), map]
}

fn firewall() -> impl Strategy<Value = Firewall> {
    let sets = btree_map((0u32..4).prop_map(SetId), addresses(), 0..4);
    let filters = (filter(), filter(), outward());
    let nets = (btree_set(net(), 0..2), btree_set(net(), 0..2), vec(side(), 0..2));
    let rest = (nets, any::<bool>(), vec(translation(), 0..2), option::weighted(0.3, addresses()));
    (sets, filters, rest).prop_map(
        |(sets, (input, forward, output), ((inside, behind, beyond), clamp, translations, confined))| {
            Firewall { sets, input, forward, output, inside, behind, beyond, clamp, translations, confined }
        },
    )
}

/// A firewall, and another one that differs in its sets alone in half of the cases.
fn two() -> impl Strategy<Value = (Firewall, Firewall)> {
    (firewall(), firewall(), any::<bool>(), vec(addresses(), 4)).prop_map(|(had, other, alike, members)| {
        if !alike {
            return (had, other);
        }
        let mut wanted = had.clone();
        for (set, members) in wanted.sets.values_mut().zip(members) {
            *set = members;
        }
        (had, wanted)
    })
}

fn packet() -> impl Strategy<Value = Packet> {
    let way = prop_oneof![
        any::<bool>().prop_map(|from_link| Way::Here { from_link }),
        any::<(bool, bool)>().prop_map(|(from_link, to_link)| Way::Through { from_link, to_link }),
        any::<bool>().prop_map(|to_link| Way::Out { to_link }),
        Just(Way::Itself),
    ];
    let protocol = prop_oneof![Just(1u8), Just(6), Just(17), Just(47), Just(58)];
    let ends = (ip(), ip()).prop_filter("one family", |(a, b)| a.is_ipv4() == b.is_ipv4());
    let rest = (0u16..6, any::<bool>(), any::<bool>());
    (way, ends, protocol, rest).prop_map(|(way, ends, protocol, (port, reply, exempt))| Packet {
        way,
        source: ends.0,
        destination: ends.1,
        protocol,
        port: matches!(protocol, 6 | 17).then_some(port),
        reply,
        exempt,
    })
}

proptest! {
    #[test]
    fn a_step_leads_where_it_should((had, wanted) in two()) {
        let mut reached = had.clone();
        match diff(&wanted, &had) {
            FirewallStep::Nothing => {}
            FirewallStep::Sets(changes) => {
                prop_assert!(changes.0.iter().all(|change| !change.add.is_empty() || !change.remove.is_empty()));
                prop_assert_eq!(had.digest().after(&changes), wanted.digest());
                reached.change(&changes);
            }
            FirewallStep::Whole => reached = wanted.clone(),
        }
        prop_assert_eq!(&reached, &wanted);
        prop_assert_eq!(diff(&wanted, &wanted), FirewallStep::Nothing);
    }

    #[test]
    fn members_that_come_and_go_never_need_the_whole((had, wanted) in two()) {
        let single = |set: &AddressSet| set.prefix_lengths().is_empty();
        let same_sets = wanted.sets.keys().eq(had.sets.keys());
        let same_rules = wanted.digest().rules == had.digest().rules;
        if same_sets && same_rules && wanted.sets.values().all(single) {
            prop_assert_ne!(diff(&wanted, &had), FirewallStep::Whole);
        }
    }

    #[test]
    fn firewalls_are_equal_where_their_digests_are((a, b) in two()) {
        prop_assert_eq!(a == b, a.digest() == b.digest());
        prop_assert_eq!(a.digest().to_string().parse(), Ok(a.digest()));
    }

    #[test]
    fn only_our_link_is_judged_and_who_strays_from_it_and_replies_always_pass(firewall in firewall(), packet in packet()) {
        let ours = match packet.way {
            Way::Here { from_link } => from_link,
            Way::Through { from_link, to_link } => from_link || to_link,
            Way::Out { to_link } => to_link,
            Way::Itself => false,
        };
        let foreign = matches!(packet.way, Way::Here { from_link: false } | Way::Through { from_link: false, .. });
        let inside = |ip| firewall.inside.iter().any(|net| net.contains(&ip));
        let beyond = firewall.beyond.iter().any(|side| firewall.covers(side, packet.source));
        let pretends = foreign && (inside(packet.source) || inside(packet.destination) || beyond);
        let to = firewall.confined.as_ref().filter(|_| packet.way == Way::Out { to_link: false } && !packet.exempt);
        let strays = to.is_some_and(|to| !to.covers(packet.destination));
        if strays {
            prop_assert_eq!(firewall.verdict(&packet), Verdict::Drop);
        } else if firewall.is_trivial() || !pretends && (!ours || packet.reply) {
            prop_assert_eq!(firewall.verdict(&packet), Verdict::Accept);
        }
    }

    #[test]
    fn a_grant_only_ever_opens(firewall in firewall(), packet in packet(), more in grants()) {
        let mut wider = firewall.clone();
        for filter in [&mut wider.input, &mut wider.forward] {
            if let Filter::Only(grants) = filter {
                grants.extend(more.iter().cloned());
            }
        }
        wider.output.grants.extend(more.iter().cloned());
        if firewall.verdict(&packet) == Verdict::Accept {
            prop_assert_eq!(wider.verdict(&packet), Verdict::Accept);
        }
    }
}

#[test]
fn exchanged_members_change_the_digest() {
    let member = |text: &str| IpNet::from(text.parse::<IpAddr>().unwrap());
    let sum = |pairs: [(u32, &str); 2]| {
        pairs.into_iter().map(|(set, net)| element_digest(SetId(set), member(net))).fold(0, u64::wrapping_add)
    };
    for (a, b) in [("10.0.0.1", "10.0.0.2"), ("10.1.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
        assert_ne!(sum([(1, a), (2, b)]), sum([(1, b), (2, a)]));
    }
}

#[test]
fn what_goes_elsewhere_is_not_judged() {
    let phones = Side::Set(SetId(1));
    let to_web = Grant {
        from: Side::Any,
        to: Side::Any,
        services: Services::Only(vec![Service::Tcp(Ports::one(80))]),
    };
    let firewall = Firewall {
        sets: [(SetId(1), ["10.0.0.7/32".parse().unwrap()].into_iter().collect())].into(),
        output: Outward { towards: vec![phones], grants: vec![to_web] },
        ..Firewall::default()
    };
    let packet = |destination: &str, port, reply| Packet {
        way: Way::Out { to_link: true },
        source: "10.0.0.1".parse().unwrap(),
        destination: destination.parse().unwrap(),
        protocol: 6,
        port: Some(port),
        reply,
        exempt: false,
    };
    assert_eq!(firewall.verdict(&packet("10.0.0.7", 80, false)), Verdict::Accept);
    assert_eq!(firewall.verdict(&packet("10.0.0.7", 22, false)), Verdict::Drop);
    assert_eq!(firewall.verdict(&packet("10.0.0.7", 22, true)), Verdict::Accept);
    assert_eq!(firewall.verdict(&packet("10.0.0.8", 22, false)), Verdict::Accept);
}

#[test]
fn what_is_behind_this_machine_reaches_it_as_granted_and_never_as_somebody_inside() {
    let lan: AddressSet = ["192.168.7.0/24".parse().unwrap()].into_iter().collect();
    let firewall = Firewall {
        input: Filter::Only(vec![Grant {
            from: Side::Nets(lan),
            to: Side::Any,
            services: Services::Only(vec![Service::Tcp(Ports::one(80))]),
        }]),
        inside: ["10.0.0.0/16".parse().unwrap()].into(),
        behind: ["192.168.7.0/24".parse().unwrap()].into(),
        ..Firewall::default()
    };
    for (source, destination, port, verdict) in [
        ("192.168.7.9", "10.0.0.1", 80, Verdict::Accept),
        ("192.168.7.9", "10.0.0.1", 22, Verdict::Drop),
        ("192.168.8.9", "10.0.0.1", 80, Verdict::Drop),
        ("10.0.0.9", "10.0.0.1", 80, Verdict::Drop),
        ("192.168.7.9", "192.168.7.1", 22, Verdict::Accept),
    ] {
        let packet = Packet {
            way: Way::Here { from_link: false },
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol: 6,
            port: Some(port),
            reply: false,
            exempt: false,
        };
        assert_eq!(firewall.verdict(&packet), verdict, "{packet:?}");
    }
}

#[test]
fn what_our_link_leads_to_comes_over_no_other_on_its_way_to_our_link() {
    let firewall = Firewall {
        sets: [(
            SetId(1),
            ["10.0.0.9/32", "192.168.0.0/16"].map(|net| net.parse().unwrap()).into_iter().collect(),
        )]
        .into(),
        beyond: vec![Side::Set(SetId(1))],
        behind: ["192.168.7.0/24".parse().unwrap()].into(),
        ..Firewall::default()
    };
    let to_link = Way::Through { from_link: false, to_link: true };
    let elsewhere = Way::Through { from_link: false, to_link: false };
    let along = Way::Through { from_link: true, to_link: true };
    for (way, source, verdict) in [
        (to_link, "10.0.0.9", Verdict::Drop),
        (to_link, "192.168.8.5", Verdict::Drop),
        (to_link, "192.168.7.5", Verdict::Accept),
        (to_link, "203.0.113.9", Verdict::Accept),
        (elsewhere, "192.168.8.5", Verdict::Accept),
        (Way::Here { from_link: false }, "192.168.8.5", Verdict::Accept),
        (along, "192.168.8.5", Verdict::Accept),
    ] {
        for reply in [false, true] {
            let (source, destination) = (source.parse().unwrap(), "10.0.0.7".parse().unwrap());
            let packet =
                Packet { way, source, destination, protocol: 6, port: Some(22), reply, exempt: false };
            assert_eq!(firewall.verdict(&packet), verdict, "{packet:?}");
        }
    }
}

#[test]
fn a_ban_keeps_two_apart_and_no_one_else() {
    let nets = |text: &str| Side::Nets([text.parse().unwrap()].into_iter().collect());
    let ban = Ban { from: nets("10.1.0.0/16"), to: nets("10.2.0.1/32") };
    let firewall = Firewall { input: Filter::AllBut(vec![ban]), ..Firewall::default() };
    for (source, destination, reply, verdict) in [
        ("10.1.0.9", "10.2.0.1", false, Verdict::Drop),
        ("10.1.0.9", "10.2.0.1", true, Verdict::Accept),
        ("10.1.0.9", "10.1.0.1", false, Verdict::Accept),
        ("10.2.0.9", "10.2.0.1", false, Verdict::Accept),
    ] {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        let way = Way::Here { from_link: true };
        let packet = Packet { way, source, destination, protocol: 6, port: Some(22), reply, exempt: false };
        assert_eq!(firewall.verdict(&packet), verdict, "{packet:?}");
    }
}

#[test]
fn what_pretends_to_be_of_our_networks_is_dropped_and_nothing_else_of_other_links() {
    let inside = ["10.0.0.0/16", "fd00::/32"].map(|net| net.parse().unwrap()).into();
    let firewall = Firewall { inside, ..Firewall::default() };
    let here = Way::Here { from_link: false };
    let to_link = Way::Through { from_link: false, to_link: true };
    for (way, source, destination, verdict) in [
        (here, "10.0.0.1", "192.0.2.1", Verdict::Drop),
        (here, "192.0.2.9", "10.0.0.1", Verdict::Drop),
        (here, "fd00::1", "2001:db8::1", Verdict::Drop),
        (here, "192.0.2.9", "192.0.2.1", Verdict::Accept),
        (to_link, "10.0.0.1", "10.0.0.2", Verdict::Drop),
        (to_link, "192.0.2.9", "10.0.0.2", Verdict::Accept),
        (Way::Here { from_link: true }, "10.0.0.1", "10.0.0.2", Verdict::Accept),
        (Way::Itself, "10.0.0.1", "10.0.0.1", Verdict::Accept),
        (Way::Out { to_link: false }, "10.0.0.1", "192.0.2.1", Verdict::Accept),
    ] {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        for reply in [false, true] {
            let packet =
                Packet { way, source, destination, protocol: 6, port: Some(22), reply, exempt: false };
            assert_eq!(firewall.verdict(&packet), verdict, "{packet:?}");
        }
    }
}
