//! From the map to what should be: the laws of `desired` and `Derived`.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use model::{HostId, MemberId};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use reconcile::{
    Actual, Circumstances, Derived, FirewallStep, Kept, Op, desired, firewall_diff, reconcile,
    reconcile_followed,
};
use wire::{HostMap, Way};

use crate::maps::{circumstances, host_map, member, peer, settings};
use crate::reconcile::after;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn following_changes_of_single_members_is_deriving_everything_anew(
        map in host_map(),
        settings in settings(),
        mut circumstances in circumstances(),
        history in vec((
            btree_map(member(), proptest::option::of(peer()), 0..3),
            proptest::option::of((member(), 0u8..6)),
            proptest::option::of(btree_set(member(), 0..3)),
            any::<bool>(),
        ), 0..12),
    ) {
        let mut map = map;
        let mut derived = Derived::new(&map, &settings, &circumstances);
        prop_assert_eq!(derived.desired(), &desired(&map, &settings, &circumstances));
        let mut actual = after(&Actual::default(), &reconcile(derived.desired(), &Actual::default()));
        for (change, choice, here, together) in history {
            let mut members: BTreeSet<MemberId> = change.keys().copied().collect();
            for (member, peer) in change {
                match peer {
                    Some(peer) => drop(map.peers.insert(member, peer)),
                    None => drop(map.peers.remove(&member)),
                }
            }
            let before = derived.desired().interface.clone().unwrap();
            let (with_map, later) = if together { (here, None) } else { (None, here) };
            if let Some(here) = with_map {
                members.extend(derived.set_here(&here));
                circumstances.here = here;
            }
            let endpoints = circumstances.endpoints.clone();
            let mut followed = vec![derived.follow(&map, &members, |key| endpoints.get(key).copied())];
            check_step(&before, derived.interface().unwrap(), &followed[0].firewall)?;
            let mut steps = vec![derived.desired().clone()];
            if let Some((member, host)) = choice {
                let host = HostId::from_bytes([host; 16]);
                circumstances.routers.insert(member, host);
                followed.push(derived.choose(&map, member, host, |key| endpoints.get(key).copied()));
                steps.push(derived.desired().clone());
            }
            if let Some(here) = later {
                let moved = derived.set_here(&here);
                prop_assert_eq!(&moved, &here.symmetric_difference(&circumstances.here).copied().collect());
                circumstances.here = here;
                followed.push(derived.follow(&map, &moved, |key| endpoints.get(key).copied()));
                steps.push(derived.desired().clone());
            }
            let anew = desired(&map, &settings, &circumstances);
            prop_assert_eq!(derived.desired(), &anew);
            for (followed, step) in followed.iter().zip(&steps) {
                let ops = reconcile_followed(step, &actual, followed);
                let exact = after(&actual, &ops);
                ops.iter().for_each(|op| actual.apply_alone(op));
                prop_assert_eq!(&actual, &exact);
                prop_assert_eq!(reconcile(step, &actual), vec![]);
            }
        }
    }
}

/// The firewall's own way to compare two comes to the same.
fn check_step(
    before: &reconcile::Interface,
    now: &reconcile::Interface,
    step: &FirewallStep,
) -> Result<(), TestCaseError> {
    let (before, now) = (before.firewall.as_ref().unwrap(), now.firewall.as_ref().unwrap());
    prop_assert_eq!(now.digest, now.firewall.digest());
    let exact = firewall_diff(&now.firewall, &before.firewall);
    match step {
        FirewallStep::Nothing => prop_assert_eq!(exact, FirewallStep::Nothing),
        FirewallStep::Sets(changes) => {
            prop_assert!(matches!(exact, FirewallStep::Sets(_)), "{exact:?}");
            let mut reached = (*before.firewall).clone();
            reached.change(changes);
            prop_assert_eq!(&reached, &*now.firewall);
        }
        FirewallStep::Whole => {}
    }
    Ok(())
}

/// The ranges that this host leads to, and those as which they are known.
fn led_to(map: &HostMap) -> Vec<IpNet> {
    let networks = map.networks.values();
    let ranges: Vec<IpNet> = networks.clone().flat_map(|membership| membership.ranges.iter()).collect();
    let duties =
        networks.filter(|membership| membership.takes_part()).flat_map(|membership| &membership.egress);
    let possible = duties.filter(|duty| {
        let range = duty.range.0;
        range.prefix_len() > 0 && ranges.iter().all(|own| !own.contains(&range) && !range.contains(own))
    });
    possible.flat_map(|duty| [Some(duty.range.0), duty.mapped.map(|mapped| mapped.0)]).flatten().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn settings_and_odd_maps_never_widen_access(map in host_map(), settings in settings(), circumstances in circumstances()) {
        let interface = desired(&map, &settings, &circumstances).interface.unwrap();
        let networks: Vec<IpNet> = map.networks.values().flat_map(|membership| membership.ranges.iter()).collect();
        let sites = led_to(&map);
        let mut seen = BTreeSet::new();
        for peer in interface.peers.values() {
            prop_assert!(peer.allowed.iter().all(|net| seen.insert(*net)), "a net with two peers");
        }
        for net in seen {
            prop_assert!(interface.addresses.iter().all(|own| net.prefix_len() == 0 || !net.contains(own)), "our own");
            if net.prefix_len() == 0 {
                prop_assert!(interface.tunnel.is_some());
            } else if net.prefix_len() == 32 && networks.iter().any(|range| range.contains(&net)) {
                let of_member = |member: &MemberId| map.peers[member].nodes.iter().any(|node| {
                    let membership = map.networks.get(&node.network).filter(|membership| membership.takes_part());
                    node.addresses.iter().any(|ip| IpNet::from(ip) == net) && membership.is_some_and(|m| m.ranges.contains(net.addr()))
                });
                prop_assert!(map.peers.keys().any(of_member), "{net} is given by nobody");
            } else {
                prop_assert!(networks.iter().all(|range| !range.contains(&net) && !net.contains(range)), "{net} overlaps");
                prop_assert!(circumstances.local.iter().all(|lan| !lan.trunc().contains(&net)), "{net} is our LAN");
                prop_assert!(sites.iter().all(|site| !site.contains(&net) && !net.contains(site)), "{net} is behind us");
                prop_assert!(interface.routes.contains_key(&net), "{net} has no route");
            }
        }
        prop_assert!(!interface.peers.contains_key(&settings.key));
    }

    #[test]
    fn whatever_is_sent_to_a_peer_is_its_own_or_what_it_leads_to(
        map in host_map(), settings in settings(), circumstances in circumstances(),
    ) {
        let interface = desired(&map, &settings, &circumstances).interface.unwrap();
        for (key, peer) in &interface.peers {
            for net in peer.allowed.iter().filter(|net| net.prefix_len() > 0) {
                let leads = map.peers.iter().any(|(member, of)| of.nodes.iter().any(|node| {
                    let has = node.addresses.iter().any(|ip| IpNet::from(ip) == *net) || node.ranges.iter().any(|range| range.0 == *net);
                    let Some(membership) = map.networks.get(&node.network).filter(|_| has) else { return false };
                    let leads = |hosts: &[HostId]| hosts.iter().any(|host| {
                        map.peers.get(&MemberId::from(*host)).is_some_and(|peer| peer.key == Some(*key))
                    });
                    let is_here = circumstances.here.contains(member) || node.via.first() == Some(&map.host.id);
                    match membership.way(map.host.id, *member, node) {
                        // A client that may come in by other gateways too.
                        Way::Direct if !is_here && !node.relayed => of.key == Some(*key) || leads(&node.via),
                        Way::Direct => of.key == Some(*key),
                        Way::Via(hosts) => leads(hosts),
                    }
                }));
                prop_assert!(leads, "{net}");
            }
        }
    }

    #[test]
    fn an_incremental_change_is_made_where_it_can_be(map in host_map(), settings in settings(), circumstances in circumstances()) {
        // What was derived and is left as it is needs nothing.
        let mut derived = Derived::new(&map, &settings, &circumstances);
        let members: BTreeSet<MemberId> = map.peers.keys().copied().collect();
        let endpoints: BTreeMap<_, _> = circumstances.endpoints.clone();
        let followed = derived.follow(&map, &members, |key| endpoints.get(key).copied());
        prop_assert_eq!(followed.firewall, FirewallStep::Nothing);
        derived.keep(Kept::default());
        let actual = after(&Actual::default(), &reconcile(derived.desired(), &Actual::default()));
        prop_assert_eq!(reconcile(derived.desired(), &actual), Vec::<Op>::new());
        prop_assert_eq!(derived.desired(), &desired(&map, &settings, &Circumstances { kept: Kept::default(), ..circumstances }));
    }
}
