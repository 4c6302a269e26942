//! The laws of deltas, over random host maps of the same host.

#![allow(clippy::unwrap_used, reason = "tests")]

mod maps;

use std::collections::BTreeMap;

use maps::map;
use model::{Generation, MemberId, NetworkId};
use proptest::prelude::*;
use wire::{Delta, HostMap, Membership, RecordsChange, WrongBase, delta, patch};

fn patched(map: &HostMap, delta: Delta) -> Result<HostMap, WrongBase> {
    let mut map = map.clone();
    patch(&mut map, delta).map(|()| map)
}

proptest! {
    #[test]
    fn a_map_patched_with_the_delta_to_another_is_the_other(from in map(), to in map()) {
        let change = delta(&from, &to);
        prop_assert_eq!(patched(&from, change.clone()), Ok(to.clone()));
        let received: Delta = wire::decode(&wire::encode(&change)).unwrap();
        prop_assert_eq!(patched(&from, received), Ok(to));
    }

    #[test]
    fn deltas_follow_each_other(one in map(), two in map(), three in map()) {
        let at_two = patched(&one, delta(&one, &two)).unwrap();
        prop_assert_eq!(patched(&at_two, delta(&two, &three)), Ok(three));
    }

    #[test]
    fn a_delta_is_empty_exactly_where_nothing_but_the_generation_differs(from in map(), to in map()) {
        let renumbered = HostMap { generation: to.generation, ..from.clone() };
        prop_assert!(delta(&from, &renumbered).is_empty());
        prop_assert_eq!(delta(&from, &to).is_empty(), renumbered == to);
    }

    #[test]
    fn a_delta_names_only_what_differs(from in map(), to in map()) {
        let change = delta(&from, &to);
        let differs = |id: &MemberId| from.peers.get(id) != to.peers.get(id);
        prop_assert!(change.peers.keys().chain(&change.peers_gone).all(differs));
        let told = |map: &HostMap, id: &NetworkId| map.networks.get(id).map(Membership::without_records);
        let differs = |id: &NetworkId| told(&from, id) != told(&to, id);
        prop_assert!(change.networks.values().all(|membership| membership.records.is_empty()));
        let holds = |map: &HostMap, id: &NetworkId| map.networks.get(id).map(|told| told.records.clone()).unwrap_or_default();
        for (id, RecordsChange { gone, come }) in &change.records {
            let (was, is) = (holds(&from, id), holds(&to, id));
            prop_assert!(gone.iter().all(|record| was.contains(record) && !is.contains(record)));
            prop_assert!(come.iter().all(|record| is.contains(record)));
        }
        prop_assert!(change.networks.keys().chain(&change.networks_gone).all(differs));
        let twice: BTreeMap<_, _> = change.peers_gone.iter().map(|id| (id, ())).collect();
        prop_assert!(twice.len() == change.peers_gone.len() && !twice.keys().any(|id| change.peers.contains_key(*id)));
    }

    #[test]
    fn a_wrong_base_changes_nothing(from in map(), to in map(), other: u64) {
        let base = Generation::from_number(other);
        prop_assume!(base != from.generation);
        let mut map = from.clone();
        let refused = patch(&mut map, Delta { base, ..delta(&from, &to) });
        prop_assert_eq!(refused, Err(WrongBase { base, have: from.generation }));
        prop_assert_eq!(map, from);
    }
}
