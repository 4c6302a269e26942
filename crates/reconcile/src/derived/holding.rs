//! Who holds each address and range at the moment: the peer it is sent to, its route, and the sets of the firewall it is in.
//!
//! Not for who claims it. It keeps true that all three follow the holder together, and that a change of the firewall is no
//! more than the members of its sets wherever that is enough.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;
use model::{MemberId, NetworkId, WgPublicKey};
use wire::{Class, HostMap};

use super::Derived;
use crate::access::{Shape, Standing, carries_always};
use crate::reach::{Reach, duties};
use crate::{AddressSet, Family, FirewallStep, SetChange, SetChanges, SetId};

/// A net that is sent to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    member: MemberId,
    key: WgPublicKey,
    network: NetworkId,
    reach: Reach,
    standing: Standing,
    sets: Box<[SetId]>,
}

/// A range that this host leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnRange {
    member: MemberId,
    sets: Box<[SetId]>,
}

/// What came of new holders.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// Peers to which something else is allowed now.
    pub(super) keys: BTreeSet<WgPublicKey>,
    changes: BTreeMap<SetId, (Vec<IpNet>, Vec<IpNet>)>,
    /// Whether there are other ranges behind members than before.
    ranges: bool,
}

impl Moved {
    fn moved(&mut self, net: IpNet, before: &[SetId], after: &[SetId]) {
        for set in after.iter().filter(|set| !before.contains(set)) {
            self.changes.entry(*set).or_default().0.push(net);
        }
        for set in before.iter().filter(|set| !after.contains(set)) {
            self.changes.entry(*set).or_default().1.push(net);
        }
    }

    fn steps(self) -> SetChanges {
        let change = |(set, (add, remove))| SetChange { set, add, remove };
        SetChanges(self.changes.into_iter().map(change).collect())
    }
}

impl Derived {
    /// All of them, for what `desired` has made already.
    pub(super) fn hold_all(&mut self, map: &HostMap, nets: &BTreeSet<IpNet>) {
        for net in nets {
            let held = self.holder(map, *net);
            if let Some(held) = held {
                self.count(&held, true);
                self.held.insert(*net, held);
            }
        }
        let own = duties(map).map(|(network, duty)| {
            ((network, duty.range.0.trunc()), OwnRange { member: duty.id, sets: Box::default() })
        });
        self.duties = own.collect();
        self.shape = self.new_shape(map);
        self.place_all(map);
    }

    /// Who holds a net now, not yet in any set.
    fn holder(&self, map: &HostMap, net: IpNet) -> Option<Held> {
        let (member, claim) = self.first_claim(net)?;
        let key = *self.hosts.get(&claim.carrier)?;
        if self.owner(&key) != Some(claim.carrier) {
            return None;
        }
        let network = claim.network;
        let peer = map.peers.get(&member)?;
        let node = peer.nodes.iter().find(|node| node.network == network)?;
        let standing = Standing::of(map.host.id, member, node, claim.carrier);
        Some(Held { member, key, network, reach: claim.reach, standing, sets: Box::default() })
    }

    /// Gives a net to whoever holds it now.
    pub(super) fn hold(&mut self, map: &HostMap, net: IpNet, moved: &mut Moved) {
        let before = self.held.remove(&net);
        let mut after = self.holder(map, net);
        if let Some(held) = &mut after {
            held.sets = self.sets_of(map, held);
        }
        let key = |held: &Option<Held>| held.as_ref().map(|held| held.key);
        let is_range = |held: &Option<Held>| held.as_ref().is_some_and(|held| held.reach == Reach::Range);
        moved
            .keys
            .extend(key(&before).into_iter().chain(key(&after)).filter(|_| key(&before) != key(&after)));
        moved.ranges |= is_range(&before) != is_range(&after);
        let sets = |held: &Option<Held>| held.as_ref().map(|held| held.sets.clone()).unwrap_or_default();
        moved.moved(net, &sets(&before), &sets(&after));
        self.allow(net, key(&before), key(&after));
        self.route(net, is_range(&before));
        if let Some(held) = &before {
            self.count(held, false);
        }
        if let Some(held) = after {
            self.count(&held, true);
            self.held.insert(net, held);
        }
    }

    fn allow(&mut self, net: IpNet, before: Option<WgPublicKey>, after: Option<WgPublicKey>) {
        let Some(interface) = self.desired.interface.as_mut() else { return };
        if let Some(peer) = before.and_then(|key| interface.peers.get_mut(&key)) {
            peer.allowed.remove(&net);
        }
        if let Some(peer) = after.and_then(|key| interface.peers.get_mut(&key)) {
            peer.allowed.insert(net);
        }
    }

    /// The route of a range, behind what became of its holder.
    fn route(&mut self, net: IpNet, was_range: bool) {
        let claim = self.first_claim(net).filter(|(_, claim)| claim.reach == Reach::Range);
        let held = claim.filter(|(_, claim)| {
            self.hosts.get(&claim.carrier).is_some_and(|key| self.owner(key) == Some(claim.carrier))
        });
        let Some(interface) = self.desired.interface.as_mut() else { return };
        match held.and_then(|(_, claim)| claim.source) {
            Some(source) => drop(interface.routes.insert(net, source)),
            None if was_range => drop(interface.routes.remove(&net)),
            None => {}
        }
    }

    fn count(&mut self, held: &Held, comes: bool) {
        if held.standing == Standing::Other {
            return;
        }
        let count = self.carried.entry(held.network).or_default();
        *count = if comes { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            self.carried.remove(&held.network);
        }
    }

    fn sets_of(&self, map: &HostMap, held: &Held) -> Box<[SetId]> {
        if held.reach == Reach::Everything {
            return Box::default();
        }
        let classes = classes(map, held.member, held.network);
        self.shape.sets_of(held.network, held.member, held.standing, classes)
    }

    /// The ranges that this host leads to are in sets by their own entry's classes.
    pub(super) fn hold_duties(&mut self, map: &HostMap, member: MemberId, moved: &mut Moved) {
        let of_member = self.duties.iter_mut().filter(|(_, own)| own.member == member);
        for ((network, net), OwnRange { sets, .. }) in of_member {
            let classes = classes(map, member, *network);
            let now = self.shape.sets_of(*network, member, Standing::Range, classes);
            moved.moved(*net, sets, &now);
            *sets = now;
        }
    }

    /// Makes the firewall what it should be now.
    pub(super) fn take_firewall(&mut self, map: &HostMap, moved: Moved) -> FirewallStep {
        let carrying: BTreeSet<NetworkId> = self.carrying(map);
        if carrying != self.shape.carrying || (moved.ranges && self.shape.leads_outside) {
            return self.new_firewall(map);
        }
        let changes = moved.steps();
        let access = self.desired.interface.as_mut().and_then(|interface| interface.firewall.as_mut());
        let Some(access) = access.filter(|_| !changes.0.is_empty()) else { return FirewallStep::Nothing };
        let firewall = Arc::make_mut(&mut access.firewall);
        // A prefix of a new length needs a rule that looks for it.
        let new_length = changes
            .0
            .iter()
            .any(|change| firewall.sets.get(&change.set).is_some_and(|set| has_new_length(set, &change.add)));
        firewall.change(&changes);
        access.digest = access.digest.after(&changes);
        if new_length { FirewallStep::Whole } else { FirewallStep::Sets(changes) }
    }

    fn carrying(&self, map: &HostMap) -> BTreeSet<NetworkId> {
        self.carried.keys().copied().chain(carries_always(map)).collect()
    }

    fn new_shape(&self, map: &HostMap) -> Shape {
        let ranges = self.held.iter().filter(|(_, held)| held.reach == Reach::Range).map(|(net, _)| *net);
        let tunnel = self.interface().and_then(|interface| interface.tunnel.as_ref());
        Shape::new(map, &self.carrying(map), ranges, tunnel)
    }

    fn new_firewall(&mut self, map: &HostMap) -> FirewallStep {
        self.shape = self.new_shape(map);
        self.place_all(map);
        let mut shape = self.shape.clone();
        let held = self.held.iter().map(|(net, held)| (*net, &held.sets));
        for (net, sets) in held.chain(self.duties.iter().map(|((_, net), own)| (*net, &own.sets))) {
            for id in sets {
                shape.firewall.sets.get_mut(id).map(|set| set.insert(net));
            }
        }
        if let Some(interface) = self.desired.interface.as_mut() {
            interface.set_access(shape);
        }
        FirewallStep::Whole
    }

    /// Notes in which sets everything is.
    fn place_all(&mut self, map: &HostMap) {
        let sets: Vec<Box<[SetId]>> = self.held.values().map(|held| self.sets_of(map, held)).collect();
        self.held.values_mut().zip(sets).for_each(|(held, sets)| held.sets = sets);
        for ((network, _), OwnRange { member, sets }) in &mut self.duties {
            let classes = classes(map, *member, *network);
            *sets = self.shape.sets_of(*network, *member, Standing::Range, classes);
        }
    }
}

fn classes(map: &HostMap, member: MemberId, network: NetworkId) -> &[Class] {
    let peer = map.peers.get(&member);
    let node = peer.and_then(|peer| peer.nodes.iter().find(|node| node.network == network));
    node.map_or(&[], |node| &node.classes)
}

/// Whether one of these is longer or shorter than all that is there.
fn has_new_length(set: &AddressSet, nets: &[IpNet]) -> bool {
    let length = |net: &IpNet| (Family::of(net.addr()), net.prefix_len());
    let prefixes = nets.iter().filter(|net| net.prefix_len() < Family::of(net.addr()).longest());
    let mut lengths = prefixes.map(length);
    lengths.any(|new| !set.iter().any(|net| length(&net) == new))
}
