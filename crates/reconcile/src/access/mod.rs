//! From the map to the firewall: whose connections are let in to this machine, whose pass through it, and which ones it opens
//! itself to those who cannot judge.
//!
//! Not for what a firewall means (`firewall`) and not for who may talk to whom: grants say it. It keeps true that what no
//! grant of a guarded network speaks of is dropped, that only what this host carries is let through, and that a member that
//! comes or goes changes members of sets and no rule.
//!
//! The sets of one network, as far as rules name them:
//!
//! ```text
//!  Others    whoever is neither of the two below       Relayed   nodes that are reached through this one: they judge themselves
//!  Carried   clients that come in here, ranges that this host leads to: judged here, on their behalf
//!  Clients   the clients among them: what this host itself opens to them is judged here too
//!  From(c)   all members of a class, or one member     To(c)     those of them that are carried
//! ```

mod outside;
mod plan;
mod services;
mod standing;

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use model::{MemberId, NetworkId};
use wire::{Class, EgressDuty, HostMap, Membership, Party};

use crate::reach::{duties, taken_part};
use crate::{AddressSet, Ban, Filter, Firewall, Need, Outward, PrefixMap, SetId, Side, Translation, Tunnel};
use plan::{Plan, Rules};
pub(crate) use standing::{Standing, is_client, is_own_client};

/// To all in a LAN, or to some of them.
const TO_ALL: [&str; 3] = ["224.0.0.0/4", "255.255.255.255/32", "ff00::/8"];

/// A set that rules may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum SetKey {
    Others(NetworkId),
    Relayed(NetworkId),
    Carried(NetworkId),
    Clients(NetworkId),
    From(NetworkId, Party),
    To(NetworkId, Party),
}

/// A firewall without the members of its sets.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    /// Its sets are there, and empty.
    pub(crate) firewall: Firewall,
    pub(crate) need: Need,
    /// Whether the machine passes on packets of others.
    pub(crate) forwards: bool,
    /// Whether it matters which ranges there are.
    pub(crate) leads_outside: bool,
    /// The networks in which this host carries something.
    pub(crate) carrying: BTreeSet<NetworkId>,
    ids: BTreeMap<SetKey, SetId>,
}

/// The ranges of networks that policy guards: their members are believed on our link alone. Where everybody may talk to
/// everybody anyway, containers and neighbours may go on speaking to this machine's address in the network.
fn inside(map: &HostMap) -> BTreeSet<IpNet> {
    taken_part(map).filter(|(_, of)| of.guarded).flat_map(|(_, of)| of.ranges.iter()).collect()
}

/// The ranges that this host leads to: what comes from there is who it says, and judged as what comes over our link.
pub(crate) fn behind(map: &HostMap) -> BTreeSet<IpNet> {
    duties(map).map(|(_, duty)| duty.range.0.trunc()).collect()
}

/// Where this machine may send over other links while everything else goes through a tunnel.
fn confined(tunnel: &Tunnel) -> AddressSet {
    let to_all = TO_ALL.iter().filter(|_| !tunnel.lan.is_empty());
    let to_all = to_all.map(|text| text.parse().expect("a prefix of this file"));
    tunnel.lan.iter().chain(&tunnel.leads_to).copied().chain(to_all).collect()
}

/// What keeps networks apart where no policy guards any: a full tunnel brings all that a member sends, and what it sends to
/// this host's address in another network is not for it to open.
fn apart(map: &HostMap) -> Filter {
    let ban = |(network, of): (NetworkId, &Membership)| {
        let others = taken_part(map).filter(|(other, _)| *other != network);
        let to: AddressSet = others.flat_map(|(_, of)| of.addresses.iter()).map(IpNet::from).collect();
        let from = of.ranges.iter().collect();
        (!to.is_empty()).then_some(Ban { from: Side::Nets(from), to: Side::Nets(to) })
    };
    let bans: Vec<Ban> = taken_part(map).filter_map(ban).collect();
    if bans.is_empty() { Filter::Open } else { Filter::AllBut(bans) }
}

/// Networks in which this host carries something whoever its members are.
pub(crate) fn carries_always(map: &HostMap) -> impl Iterator<Item = NetworkId> {
    let gateways = taken_part(map).filter(|(_, of)| of.internet_gateway).map(|(id, _)| id);
    gateways.chain(duties(map).map(|(id, _)| id))
}

impl Shape {
    /// For a host that carries something in these networks, knows of these ranges behind members, and sends everything
    /// through this tunnel.
    pub(crate) fn new(
        map: &HostMap,
        carrying: &BTreeSet<NetworkId>,
        ranges: impl Iterator<Item = IpNet>,
        tunnel: Option<&Tunnel>,
    ) -> Self {
        let leads_outside = taken_part(map).any(|(_, membership)| membership.internet_gateway);
        let outside = if leads_outside { outside::outside(map, ranges) } else { AddressSet::default() };
        let guarded = taken_part(map).any(|(_, membership)| membership.guarded);
        let (rules, ids) = Plan::new(map, carrying, &outside).rules(guarded);
        let Rules { input, forward, towards, output } = rules;
        let firewall = Firewall {
            sets: ids.values().map(|id| (*id, AddressSet::default())).collect(),
            input: if guarded { Filter::Only(input) } else { apart(map) },
            forward: Filter::Only(forward),
            output: Outward { towards, grants: output },
            inside: inside(map),
            behind: behind(map),
            beyond: carrying.iter().flat_map(|network| members(*network, &ids)).collect(),
            clamp: !carrying.is_empty(),
            translations: translations(map, &outside, &ids),
            confined: tunnel.map(confined),
        };
        let forwards = !carrying.is_empty();
        let need = match (guarded || tunnel.is_some(), forwards) {
            (true, _) => Need::Essential,
            (false, true) => Need::Forwarding,
            (false, false) => Need::Wished,
        };
        Self { firewall, need, forwards, leads_outside, carrying: carrying.clone(), ids }
    }

    /// The sets that something of a member of these classes is in.
    pub(crate) fn sets_of(
        &self,
        network: NetworkId,
        member: MemberId,
        standing: Standing,
        classes: &[Class],
    ) -> Box<[SetId]> {
        let own: &[SetKey] = match standing {
            Standing::Other | Standing::Away => &[SetKey::Others(network)],
            Standing::Relayed => &[SetKey::Relayed(network)],
            Standing::Client => &[SetKey::Carried(network), SetKey::Clients(network)],
            Standing::Range => &[SetKey::Carried(network)],
        };
        let parties = classes.iter().copied().map(Party::Class).chain([Party::Member(member)]);
        let named = parties.flat_map(|party| {
            let to = standing.is_judged_here().then_some(SetKey::To(network, party));
            [Some(SetKey::From(network, party)), to].into_iter().flatten()
        });
        let keys = own.iter().copied().chain(named);
        let ids: BTreeSet<SetId> = keys.filter_map(|key| self.ids.get(&key).copied()).collect();
        ids.into_iter().collect()
    }
}

/// All members of a network in which this host carries something, but itself.
fn members(network: NetworkId, ids: &BTreeMap<SetKey, SetId>) -> impl Iterator<Item = Side> {
    let keys = [SetKey::Others(network), SetKey::Relayed(network), SetKey::Carried(network)];
    keys.into_iter().filter_map(|key| ids.get(&key).copied()).map(Side::Set)
}

/// A range has its other name, and its router stands before it, in the network that it was given to alone.
fn translations(map: &HostMap, outside: &AddressSet, ids: &BTreeMap<SetKey, SetId>) -> Vec<Translation> {
    let mapped = |(network, duty): (NetworkId, &EgressDuty)| {
        let map = PrefixMap::new(duty.mapped?.0, duty.range.0).ok()?;
        Some(Translation::Map { map, known_to: members(network, ids).collect() })
    };
    let mut all: Vec<Translation> = duties(map).filter_map(mapped).collect();
    for (network, _) in taken_part(map) {
        let hidden = duties(map).filter(|(of, duty)| *of == network && duty.nat);
        let to: AddressSet = hidden.map(|(_, duty)| duty.range.0).collect();
        if !to.is_empty() {
            all.extend(members(network, ids).map(|from| Translation::Masquerade { from, to: to.clone() }));
        }
    }
    if !outside.is_empty() {
        all.push(Translation::Masquerade { from: Side::Any, to: outside.clone() });
    }
    all
}
