//! From what is to what should be: the laws of `reconcile`.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use model::WgPublicKey;
use proptest::prelude::*;
use reconcile::{
    Actual, Around, Desired, FIREWALL_MARK, Family, FirewallLook, FirewallStep, Followed, Gate, Interface,
    Link, LinkName, Need, Op, ROUTE_TABLE, Route, Rule, RuleMatch, conflict, reconcile, reconcile_followed,
    reconcile_link, shut, shut_early,
};

use crate::machines::{OURS, interface, machine, wanted};

pub(crate) fn after(actual: &Actual, ops: &[Op]) -> Actual {
    let mut machine = actual.clone();
    ops.iter().for_each(|op| machine.apply(op));
    machine
}

/// What there is to do; what a machine without nf_tables cannot do is tried again each time.
fn remaining(desired: &Desired, actual: &Actual) -> Vec<Op> {
    let impossible = |op: &Op| {
        actual.surroundings.firewall.is_none()
            && matches!(op, Op::Around(Around::SetFirewall(_, Need::Essential | Need::Forwarding)))
    };
    reconcile(desired, actual).into_iter().filter(|op| !impossible(op)).collect()
}

/// What is desired, once the shell has written down what it must before it carries these ops out.
fn keeping(desired: &Desired, ops: &[Op], actual: &Actual) -> Desired {
    let kept = desired.kept.before(&desired.link, ops, &actual.surroundings);
    Desired { kept, ..desired.clone() }
}

fn allowed(actual: &Actual) -> BTreeMap<WgPublicKey, BTreeSet<IpNet>> {
    let device = actual.link.iter().filter_map(|link| link.device.as_ref());
    device.flat_map(|device| &device.peers).map(|(key, peer)| (*key, peer.allowed.clone())).collect()
}

#[track_caller]
fn assert_is(desired: &Desired, actual: &Actual) {
    let around = &actual.surroundings;
    let Some(interface) = &desired.interface else {
        assert_eq!(actual.link, None);
        assert!(matches!(around.firewall, None | Some(FirewallLook::Absent)));
        assert!(around.rules.is_empty() && around.unreachable.is_empty());
        return;
    };
    if around.firewall.is_some() {
        let look =
            interface.firewall.as_ref().map_or(FirewallLook::Absent, |f| FirewallLook::Intact(f.digest));
        assert_eq!(around.firewall, Some(look));
    }
    assert_eq!(around.rules, Rule::of(interface).into_iter().collect());
    assert_eq!(around.unreachable.len(), if interface.tunnel.is_some() { 2 } else { 0 });
    for name in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        assert!(!interface.forwards || around.sysctls.get(name).is_none_or(|value| value == "1"), "{name}");
    }
    let link = actual.link.as_ref().expect("the link is there");
    let device = link.device.as_ref().expect("it is WireGuard");
    assert_eq!(
        (device.key, device.port, device.kind, device.mark),
        (Some(OURS), interface.port, interface.kind, FIREWALL_MARK)
    );
    assert_eq!((link.up, link.mtu), (true, u32::from(interface.mtu.get())));
    let addresses = link.addresses.iter().filter(|net| matches!(net, IpNet::V4(_))).copied();
    assert_eq!(
        addresses.collect::<Vec<_>>(),
        interface.addresses.iter().map(|ip| IpNet::from(*ip)).collect::<Vec<_>>()
    );
    let routes = link.routes.iter().filter(|route| route.is_ours()).copied();
    assert_eq!(routes.collect::<BTreeSet<_>>(), interface.all_routes().collect());
    assert!(device.peers.keys().eq(interface.peers.keys()));
    for (key, peer) in &interface.peers {
        assert_eq!(
            (&device.peers[key].allowed, device.peers[key].keepalive),
            (&peer.allowed, Some(peer.keepalive))
        );
    }
}

proptest! {
    #[test]
    fn reconcile_converges_and_then_there_is_nothing_to_do(desired in wanted(), actual in machine()) {
        let ops = reconcile(&desired, &actual);
        let desired = keeping(&desired, &ops, &actual);
        let end = after(&actual, &ops);
        prop_assert_eq!(remaining(&desired, &end), vec![]);
        if conflict(&desired, &actual).is_none() {
            assert_is(&desired, &end);
        }
    }

    #[test]
    fn any_part_of_the_ops_and_a_second_run_converge(desired in wanted(), actual in machine(), cut in 0.0..1.0f64) {
        let ops = reconcile(&desired, &actual);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index within the list")]
        let cut = (ops.len() as f64 * cut) as usize;
        let desired = keeping(&desired, &ops, &actual);
        let broken = after(&actual, &ops[..cut]);
        let ops = reconcile(&desired, &broken);
        let desired = keeping(&desired, &ops, &broken);
        let end = after(&broken, &ops);
        prop_assert_eq!(remaining(&desired, &end), vec![]);
        if conflict(&desired, &actual).is_none() {
            assert_is(&desired, &end);
        }
    }

    #[test]
    fn nothing_is_open_in_between_that_is_not_open_before_or_after(desired in wanted(), actual in machine()) {
        let ops = reconcile(&desired, &actual);
        let (before, end) = (allowed(&actual), allowed(&after(&actual, &ops)));
        for cut in 0..=ops.len() {
            let mut seen = BTreeSet::new();
            for (key, nets) in allowed(&after(&actual, &ops[..cut])) {
                let of = |map: &BTreeMap<WgPublicKey, BTreeSet<IpNet>>| map.get(&key).cloned().unwrap_or_default();
                let (before, end) = (of(&before), of(&end));
                prop_assert!(nets.iter().all(|net| before.contains(net) || end.contains(net)));
                prop_assert!(nets.iter().all(|net| seen.insert(*net)), "an address with two peers");
            }
        }
    }

    #[test]
    fn what_is_not_ours_stays(desired in wanted(), actual in machine()) {
        let ops = reconcile(&desired, &actual);
        if conflict(&desired, &actual).is_some() {
            prop_assert_eq!(ops, vec![]);
            return Ok(());
        }
        for op in &ops {
            if let Op::RemoveRoute(route) | Op::AddRoute(route) = op {
                prop_assert!(route.is_ours());
            }
        }
        if ops.contains(&Op::DeleteLink) {
            return Ok(());
        }
        let foreign = |actual: &Actual| -> Vec<Route> {
            actual.link.iter().flat_map(|link| &link.routes).filter(|route| !route.is_ours()).copied().collect()
        };
        prop_assert_eq!(foreign(&after(&actual, &ops)), foreign(&actual));
    }

    #[test]
    fn a_peer_that_stays_keeps_its_session_and_its_endpoint(desired in wanted(), actual in machine()) {
        let Some(Link { device: Some(device), .. }) = &actual.link else { return Ok(()) };
        let Some(interface) = &desired.interface else { return Ok(()) };
        if device.kind != interface.kind {
            return Ok(());
        }
        for op in reconcile(&desired, &actual) {
            match op {
                Op::DeleteLink | Op::CreateLink(_) => prop_assert!(false, "{op}"),
                Op::RemovePeer(key) => prop_assert!(!interface.peers.contains_key(&key)),
                Op::AddPeer(key, _) => prop_assert!(!device.peers.contains_key(&key)),
                Op::SetEndpoint(key, _) => prop_assert!(device.peers[&key].endpoint.is_none()),
                Op::Poke(..) => prop_assert!(false, "pokes are the paths' own"),
                Op::SetKey(_) | Op::SetPort(_) | Op::SetMtu(_) | Op::SetUp | Op::AddAddress(_) | Op::RemoveAddress(_)
                | Op::AddRoute(_) | Op::RemoveRoute(_) | Op::AllowMore(..) | Op::SetAllowed(..) | Op::SetKeepalive(..)
                | Op::SetMark(_) | Op::Around(_) => {}
            }
        }
    }

    #[test]
    fn the_peers_that_changed_alone_give_the_same_ops(before in interface(), more in interface()) {
        let desired = |interface: &Interface| {
            Desired { interface: Some(interface.clone()), ..Desired::absent(LinkName::default(), OURS) }
        };
        let actual = after(&Actual::default(), &reconcile(&desired(&before), &Actual::default()));
        let next = Interface { peers: more.peers, ..before.clone() };
        let keys: BTreeSet<_> = before.peers.keys().chain(next.peers.keys()).collect();
        let changed = keys.into_iter().filter(|key| before.peers.get(*key) != next.peers.get(*key));
        let followed = Followed { keys: changed.copied().collect(), firewall: FirewallStep::Nothing };
        prop_assert_eq!(reconcile_followed(&desired(&next), &actual, &followed), reconcile(&desired(&next), &actual));
    }
}

proptest! {
    #[test]
    fn no_op_of_a_plan_takes_anything_from_a_peer_it_does_not_name(desired in wanted(), actual in machine()) {
        let (mut exact, mut alone) = (actual.clone(), actual.clone());
        for op in reconcile(&desired, &actual) {
            exact.apply(&op);
            alone.apply_alone(&op);
            prop_assert_eq!(&exact, &alone, "{}", op);
        }
    }

    #[test]
    fn the_link_alone_gives_the_same_ops_but_for_the_peers(desired in wanted(), actual in machine()) {
        let all = reconcile(&desired, &actual);
        let alone = reconcile_link(&desired, &actual);
        if all.contains(&Op::DeleteLink) || actual.link.is_none() {
            prop_assert_eq!(alone, all);
        } else {
            prop_assert_eq!(alone, all.into_iter().filter(|op| !op.is_about_a_peer()).collect::<Vec<_>>());
        }
    }
}

/// Whether a packet to nowhere in particular could leave the machine another way than over our link, in one family.
fn leaks(actual: &Actual, family: Family) -> bool {
    let around = &actual.surroundings;
    let switched = around.rules.iter().any(|rule| rule.is_switch() && rule.family == family);
    !(switched && around.unreachable.contains(&family))
}

proptest! {
    #[test]
    fn a_full_tunnel_that_is_on_and_stays_on_never_leaks(desired in wanted(), actual in machine()) {
        let tunnel = desired.interface.as_ref().and_then(|interface| interface.tunnel.as_ref());
        if tunnel.is_none() || conflict(&desired, &actual).is_some() {
            return Ok(());
        }
        for family in Family::ALL.into_iter().filter(|family| !leaks(&actual, *family)) {
            let mut machine = actual.clone();
            for op in reconcile(&desired, &actual) {
                machine.apply(&op);
                prop_assert!(!leaks(&machine, family), "after {}", op);
            }
        }
    }

    #[test]
    fn a_full_tunnel_is_switched_on_behind_all_it_needs_and_off_before(desired in wanted(), actual in machine()) {
        let mut machine = actual.clone();
        for op in reconcile(&desired, &actual) {
            let switched = |machine: &Actual| machine.surroundings.rules.iter().filter(|rule| rule.is_switch()).count();
            let before = switched(&machine);
            machine.apply(&op);
            if switched(&machine) > before {
                let Op::Around(Around::AddRule(rule)) = op else { panic!("{op} switches") };
                prop_assert!(machine.surroundings.unreachable.contains(&rule.family));
                let interface = desired.interface.as_ref().unwrap();
                let exceptions = Rule::of(interface).into_iter().filter(|rule| !rule.is_switch());
                prop_assert!(exceptions.into_iter().all(|rule| machine.surroundings.rules.contains(&rule)));
            }
        }
    }

    #[test]
    fn a_full_tunnel_is_shut_before_its_link_is_there(desired in wanted(), actual in machine()) {
        let mut early = Actual { link: None, ..actual };
        let ops = shut_early(&desired, &early.surroundings);
        ops.iter().for_each(|op| early.apply(op));
        prop_assert_eq!(&early.link, &None);
        let tunnel = desired.interface.as_ref().filter(|interface| interface.tunnel.is_some());
        let Some(interface) = tunnel else {
            prop_assert_eq!(ops, vec![]);
            return Ok(());
        };
        prop_assert!(Family::ALL.into_iter().all(|family| !leaks(&early, family)));
        prop_assert!(Rule::of(interface).iter().all(|rule| early.surroundings.rules.contains(rule)));
    }

    #[test]
    fn nothing_looks_for_a_range_where_what_we_send_ourselves_would_look_too(desired in wanted(), next in wanted()) {
        let mut machine = Actual::default();
        for desired in [desired, next] {
            machine = after(&machine, &reconcile(&desired, &machine));
            let mut ours = machine.surroundings.rules.iter().filter(|rule| rule.table != ROUTE_TABLE);
            prop_assert!(ours.all(|rule| rule.which == RuleMatch::Unmarked));
            let ranges = desired.interface.iter().flat_map(Interface::ranges).collect::<BTreeSet<_>>();
            let routes = machine.link.iter().flat_map(|link| &link.routes);
            prop_assert!(routes.filter(|route| route.table == ROUTE_TABLE).all(|route| !ranges.contains(&route.destination)));
        }
    }

    #[test]
    fn without_the_firewall_that_it_needs_nothing_opens_and_what_is_open_is_shut(
        desired in wanted(), mut actual in machine(), stood in any::<bool>(),
    ) {
        if conflict(&desired, &actual).is_some() || actual.device().is_some_and(|device| device.key != Some(OURS)) {
            return Ok(());
        }
        if stood {
            // Everything was as it should be, until somebody removed the firewall.
            actual = after(&actual, &reconcile(&desired, &actual));
            actual.surroundings.firewall = actual.surroundings.firewall.map(|_| FirewallLook::Absent);
        }
        let ops = reconcile(&desired, &actual);
        let desired = keeping(&desired, &ops, &actual);
        let (mut gate, mut broken) = (Gate::default(), actual.clone());
        for op in &ops {
            let fails = matches!(op, Op::Around(Around::SetFirewall(..)));
            let carried_out = gate.ask(op).is_ok() && !fails;
            if carried_out {
                broken.apply(op);
            }
            gate.tell(op, carried_out);
        }
        let Some(need) = gate.lacks() else { return Ok(()) };
        let ops_to_shut = shut(need, &desired, &broken);
        let desired = keeping(&desired, &ops_to_shut, &broken);
        ops_to_shut.iter().for_each(|op| broken.apply(op));
        match need {
            Need::Essential => prop_assert!(allowed(&broken).values().all(BTreeSet::is_empty)),
            Need::Forwarding => {
                for name in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
                    let is_on = broken.surroundings.sysctls.get(name).is_some_and(|now| now == "1");
                    prop_assert!(!is_on || desired.kept.0.get(name).is_none_or(|before| before == "1"), "{name}");
                }
            }
            Need::Wished => prop_assert!(false, "nobody relies on it"),
        }
        // Sessions outlive it, and everything is as it should be once the firewall can be set.
        for (key, peer) in actual.device().into_iter().flat_map(|device| &device.peers) {
            let stays = ops.iter().all(|op| !matches!(op, Op::DeleteLink) && *op != Op::RemovePeer(*key));
            let there = broken.device().and_then(|device| device.peers.get(key));
            prop_assert!(!stays || there.is_some_and(|there| there.last_handshake == peer.last_handshake));
        }
        let end = after(&broken, &reconcile(&desired, &broken));
        prop_assert_eq!(remaining(&desired, &end), vec![]);
        assert_is(&desired, &end);
    }

    #[test]
    fn what_forwarding_changed_is_as_it_was_when_it_is_over(desired in wanted(), actual in machine()) {
        let mut actual = Actual { link: None, ..actual };
        let before = actual.surroundings.sysctls.clone();
        let ops = reconcile(&Desired { kept: Default::default(), ..desired.clone() }, &actual);
        let kept = reconcile::Kept::default().before(&desired.link, &ops, &actual.surroundings);
        // However far it came.
        for op in &ops {
            actual.apply(op);
            let absent = Desired { kept: kept.clone(), ..Desired::absent(LinkName::default(), OURS) };
            let end = after(&actual, &reconcile(&absent, &actual));
            prop_assert_eq!(&end.surroundings.sysctls, &before);
            prop_assert_eq!(kept.after(&absent), reconcile::Kept::default());
        }
    }
}

#[test]
fn each_link_forwards_as_it_did_unless_somebody_turned_it_meanwhile_wherever_it_breaks_off() {
    let (v4, v6) = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding");
    let links = [("default", "0"), ("lan", "1"), ("other", "1"), ("uplink", "0")];
    let of_links = ["net/ipv4/conf", "net/ipv6/conf"].into_iter().flat_map(|folder| {
        links.map(|(link, value)| (format!("{folder}/{link}/forwarding"), value.to_owned()))
    });
    let whole = [v4, v6].map(|name| (name.to_owned(), "0".to_owned()));
    let mut actual = Actual::default();
    actual.surroundings.sysctls = of_links.chain(whole).collect();
    let before = actual.surroundings.sysctls.clone();
    let router = Desired {
        interface: Some(Interface {
            kind: reconcile::LinkKind::Kernel,
            mtu: model::Mtu::DEFAULT,
            port: 1,
            addresses: BTreeSet::new(),
            routes: BTreeMap::new(),
            peers: BTreeMap::new(),
            firewall: None,
            forwards: true,
            tunnel: None,
        }),
        ..Desired::absent(LinkName::default(), OURS)
    };
    let ops = reconcile(&router, &actual);
    let kept = keeping(&router, &ops, &actual).kept;
    actual = after(&actual, &ops);
    assert!(actual.surroundings.sysctls.values().all(|value| value == "1"), "as the kernel does it");
    let turned = "net/ipv4/conf/other/forwarding";
    actual.surroundings.sysctls.insert(turned.to_owned(), "0".to_owned());
    let mut expected = before;
    expected.insert(turned.to_owned(), "0".to_owned());

    let absent = Desired { kept, ..Desired::absent(LinkName::default(), OURS) };
    let ops = reconcile(&absent, &actual);
    let absent = keeping(&absent, &ops, &actual);
    for cut in 0..=ops.len() {
        let broken = after(&actual, &ops[..cut]);
        let rest = reconcile(&absent, &broken);
        let end = after(&broken, &rest);
        assert_eq!(end.surroundings.sysctls, expected, "broken off after {cut}");
        assert_eq!(reconcile(&keeping(&absent, &rest, &broken), &end), []);
    }
}
