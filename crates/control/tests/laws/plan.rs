//! Laws of the plan: least knowledge, symmetry, and that the fast way is the slow way.

use std::collections::{BTreeMap, BTreeSet};

use control::plan::{MOST_TOLD, Picture, Roster, Touched, deltas_within, host_map, may_talk};
use control::{Effect, Intent};
use model::{Generation, HostId, NetworkId};
use proptest::prelude::*;
use wire::{Delta, HostMap};

use crate::history::{Brain, Did, Step, history};

const BASE: Generation = Generation::from_number(7);
const NEXT: Generation = Generation::from_number(8);

fn picture(brain: &Brain) -> Picture<'_> {
    Picture { intent: &brain.intent, inventory: &brain.inventory, links: &brain.links }
}

fn maps(brain: &Brain, generation: Generation) -> BTreeMap<HostId, HostMap> {
    let Picture { intent, inventory, links } = picture(brain);
    let map = |host| Some((host, host_map(intent, inventory, links, host, generation)?));
    intent.hosts(None).filter_map(|host| map(host.id)).collect()
}

/// Who takes part where, from the records alone.
fn taking_part(intent: &Intent) -> BTreeMap<HostId, BTreeSet<NetworkId>> {
    let mut networks: BTreeMap<HostId, BTreeSet<NetworkId>> = BTreeMap::new();
    for node in intent.nodes(None).filter(|node| node.connected) {
        networks.entry(node.host).or_default().insert(node.network);
    }
    networks
}

/// Does the step and says what it may touch.
fn touch(brain: &mut Brain, step: &Step) -> Touched {
    let before = brain.intent.clone();
    match brain.step(step) {
        Did::Decided(Ok(change)) => Touched::by_change(&before, &brain.intent, &change),
        Did::Observed(host, Effect::Maps) => Touched::by_inventory(&brain.intent, host),
        Did::Decided(Err(_)) | Did::Observed(_, Effect::None) | Did::Waited => Touched::default(),
    }
}

/// How many peers a delta names at most: few, so that it matters, or as many as there are.
fn most() -> impl Strategy<Value = usize> {
    prop_oneof![0usize..4, Just(MOST_TOLD)]
}

/// Fails unless the deltas of what was touched, of at most so many peers each, are those of all maps.
fn fast_is_slow(most: usize, before: &Brain, after: &Brain, touched: &Touched) -> Result<(), TestCaseError> {
    let rosters = (Roster::of(&picture(before)), Roster::of(&picture(after)));
    let pictures = (&picture(before), &picture(after));
    let fast = deltas_within(most, pictures, (&rosters.0, &rosters.1), touched);
    let (old, new) = (maps(before, BASE), maps(after, NEXT));
    let mut slow: BTreeMap<HostId, Delta> = BTreeMap::new();
    let mut fetch: BTreeSet<HostId> = new.keys().filter(|host| !old.contains_key(host)).copied().collect();
    for (host, to) in &new {
        let Some(from) = old.get(host) else { continue };
        let delta = wire::delta(from, to);
        let mut patched = from.clone();
        wire::patch(&mut patched, delta.clone()).unwrap();
        prop_assert_eq!(&patched, to);
        if delta.peers.len() + delta.peers_gone.len() > most {
            fetch.insert(*host);
        } else if !delta.is_empty() {
            slow.insert(*host, delta);
        }
    }
    prop_assert!(fast.changed.is_sorted_by_key(|(host, _)| *host));
    let sent: BTreeMap<_, _> =
        fast.changed.iter().map(|(host, delta)| (*host, delta.to_wire(BASE, NEXT))).collect();
    prop_assert_eq!(sent, slow);
    let went: Vec<_> = old.keys().filter(|host| !new.contains_key(*host)).copied().collect();
    prop_assert_eq!((fast.new, fast.removed), (Vec::from_iter(fetch), went));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn the_fast_way_is_the_slow_way_and_the_rest_is_untouched(steps in history(80), most in most()) {
        let mut brain = Brain::new();
        for step in &steps {
            let before = brain.clone();
            let touched = touch(&mut brain, step);
            fast_is_slow(most, &before, &brain, &touched)?;
        }
    }

    #[test]
    fn changes_that_go_out_together_are_one_delta(steps in history(80), window in 2usize..20, most in most()) {
        let mut brain = Brain::new();
        for window in steps.chunks(window) {
            let before = brain.clone();
            let touched = window.iter().fold(Touched::default(), |all, step| all.and(touch(&mut brain, step)));
            fast_is_slow(most, &before, &brain, &touched)?;
        }
    }

    #[test]
    fn a_host_learns_of_those_it_may_talk_to_and_of_no_more(steps in history(80)) {
        let mut brain = Brain::new();
        for step in &steps {
            brain.step(step);
        }
        let part = taking_part(&brain.intent);
        let networks = |host: &HostId| part.get(host).cloned().unwrap_or_default();
        let maps = maps(&brain, BASE);
        for (host, map) in &maps {
            for other in maps.keys().filter(|other| *other != host) {
                let both: Vec<NetworkId> = networks(host).intersection(&networks(other)).copied().collect();
                let told = map.peers.get(other).map(|peer| &peer.nodes).into_iter().flatten();
                prop_assert_eq!(told.map(|node| node.network).collect::<Vec<_>>(), both.clone());
                prop_assert_eq!(map.peers.contains_key(other), !both.is_empty());
                prop_assert_eq!(may_talk(&brain.intent, *host, *other), !both.is_empty());
                prop_assert_eq!(may_talk(&brain.intent, *other, *host), !both.is_empty());
            }
            prop_assert!(!map.peers.contains_key(host));
            let own: Vec<_> = brain.intent.nodes_of_host(*host).map(|node| node.network).collect();
            prop_assert_eq!(map.networks.keys().copied().collect::<Vec<_>>(), own);
        }
    }

    #[test]
    fn the_same_input_gives_the_same_bytes(steps in history(80)) {
        let mut brain = Brain::new();
        for step in &steps {
            brain.step(step);
        }
        let loaded = Intent::from_records(brain.intent.seq(), brain.intent.records()).unwrap();
        let mut again = brain.clone();
        again.intent = loaded;
        let bytes = |brain: &Brain| maps(brain, BASE).values().map(wire::encode).collect::<Vec<_>>();
        prop_assert_eq!(bytes(&again), bytes(&brain));
    }
}
