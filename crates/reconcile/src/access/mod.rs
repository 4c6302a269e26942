//! From the map to the firewall: whose connections are let in to this machine, and whose pass through it.
//!
//! Not for what a firewall means (`firewall`) and not for who may talk to whom: grants say it. It keeps true that what no
//! grant of a guarded network speaks of is dropped, that only what this host carries is let through, and that a member that
//! comes or goes changes members of sets and no rule.
//!
//! The sets of one network, as far as rules name them:
//!
//! ```text
//!  Others    whoever is neither of the two below       Relayed   nodes that are reached through this one: they judge themselves
//!  Carried   clients of this gateway, ranges that this host leads to: judged here, on their behalf
//!  From(c)   all members of a class, or one member     To(c)     those of them that are carried
//! ```

mod outside;
mod services;

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use model::{HostId, MemberId, NetworkId};
use wire::{Class, HostMap, Membership, Party, Peer, PeerNode};

use crate::reach::{duties, taken_part};
use crate::{
    AddressSet, Filter, Firewall, Grant, Need, PROBE_PORT, PortRange, Ports, PrefixMap, Service, Services,
    SetId, Side, Translation,
};

const DNS_PORT: u16 = 53;

/// A set that rules may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum SetKey {
    Others(NetworkId),
    Relayed(NetworkId),
    Carried(NetworkId),
    From(NetworkId, Party),
    To(NetworkId, Party),
}

/// What a member is to this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Reached directly, or through somebody else.
    Other,
    /// A node that is reached through this one.
    Relayed,
    /// A client of this gateway, or a range that this host leads to.
    Carried,
}

impl Standing {
    /// Of a member by one of its nodes.
    pub(crate) fn of(own: HostId, peer: &Peer, node: &PeerNode) -> Self {
        // Nobody knows where a client will call from, and a node has told.
        let is_node = !peer.seen.is_empty() || !peer.local.is_empty() || peer.fixed.is_some();
        match (node.via.contains(&own), is_node) {
            (false, _) => Self::Other,
            (true, true) => Self::Relayed,
            (true, false) => Self::Carried,
        }
    }
}

/// Whether a peer is a client of this gateway: it calls, and is never called.
pub(crate) fn is_client(map: &HostMap, peer: &Peer) -> bool {
    peer.nodes.iter().any(|node| Standing::of(map.host.id, peer, node) == Standing::Carried)
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

/// Networks in which this host carries something whoever its members are.
pub(crate) fn carries_always(map: &HostMap) -> impl Iterator<Item = NetworkId> {
    let gateways = taken_part(map).filter(|(_, of)| of.internet_gateway).map(|(id, _)| id);
    gateways.chain(duties(map).map(|(id, _)| id))
}

impl Shape {
    /// For a host that carries something in these networks, and knows of these ranges behind members.
    pub(crate) fn new(
        map: &HostMap,
        carrying: &BTreeSet<NetworkId>,
        ranges: impl Iterator<Item = IpNet>,
    ) -> Self {
        let leads_outside = taken_part(map).any(|(_, membership)| membership.internet_gateway);
        let outside = if leads_outside { outside::outside(map, ranges) } else { AddressSet::default() };
        let guarded = taken_part(map).any(|(_, membership)| membership.guarded);
        let mut plan =
            Plan { map, carrying, outside: &outside, input: vec![], forward: vec![], keys: BTreeMap::new() };
        for (network, membership) in taken_part(map) {
            plan.network(network, membership, guarded);
        }
        let Plan { input, forward, mut keys, .. } = plan;
        // Numbers by the order of what they stand for, and not of what was met first.
        for (number, id) in (0..).zip(keys.values_mut()) {
            *id = SetId(number);
        }
        let ids = keys;
        let grants = |drafts: Vec<Draft>| drafts.into_iter().map(|draft| draft.grant(&ids)).collect();
        let firewall = Firewall {
            sets: ids.values().map(|id| (*id, AddressSet::default())).collect(),
            input: if guarded { Filter::Only(grants(input)) } else { Filter::Open },
            always: always(),
            forward: Filter::Only(grants(forward)),
            clamp: !carrying.is_empty(),
            translations: translations(map, &outside),
            inside: inside(map),
            ..Firewall::default()
        };
        let forwards = !carrying.is_empty();
        let need = if guarded || forwards { Need::Essential } else { Need::Wished };
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
        let own = match standing {
            Standing::Other => SetKey::Others(network),
            Standing::Relayed => SetKey::Relayed(network),
            Standing::Carried => SetKey::Carried(network),
        };
        let parties = classes.iter().copied().map(Party::Class).chain([Party::Member(member)]);
        let named = parties.flat_map(|party| {
            let to = (standing == Standing::Carried).then_some(SetKey::To(network, party));
            [Some(SetKey::From(network, party)), to].into_iter().flatten()
        });
        let keys = std::iter::once(own).chain(named);
        let ids: BTreeSet<SetId> = keys.filter_map(|key| self.ids.get(&key).copied()).collect();
        ids.into_iter().collect()
    }
}

/// What comes over our link whatever the rest says.
fn always() -> Vec<Service> {
    let ports = Ports::Only(vec![PortRange::one(DNS_PORT), PortRange::one(PROBE_PORT)]);
    vec![Service::Udp(ports), Service::Tcp(Ports::one(DNS_PORT))]
}

fn translations(map: &HostMap, outside: &AddressSet) -> Vec<Translation> {
    let maps = duties(map).filter_map(|(_, duty)| PrefixMap::new(duty.mapped?.0, duty.range.0).ok());
    let hidden: BTreeSet<IpNet> =
        duties(map).filter(|(_, duty)| duty.nat).map(|(_, duty)| duty.range.0).collect();
    let masquerade = |to: AddressSet| Translation::Masquerade { from: Side::Any, to };
    let mut all: Vec<Translation> = maps.map(Translation::Map).collect();
    if !hidden.is_empty() {
        all.push(masquerade(hidden.into_iter().collect()));
    }
    if !outside.is_empty() {
        all.push(masquerade(outside.clone()));
    }
    all
}

/// A grant whose sets have no numbers yet.
struct Draft {
    from: End,
    to: End,
    services: Services,
}

enum End {
    Set(SetKey),
    Nets(AddressSet),
}

impl End {
    fn side(self, ids: &BTreeMap<SetKey, SetId>) -> Side {
        match self {
            Self::Set(key) => Side::Set(*ids.get(&key).expect("each set that is named was noted")),
            Self::Nets(nets) => Side::Nets(nets),
        }
    }
}

impl Draft {
    fn grant(self, ids: &BTreeMap<SetKey, SetId>) -> Grant {
        Grant { from: self.from.side(ids), to: self.to.side(ids), services: self.services }
    }
}

/// What is gathered while the networks are gone through.
struct Plan<'a> {
    map: &'a HostMap,
    carrying: &'a BTreeSet<NetworkId>,
    outside: &'a AddressSet,
    input: Vec<Draft>,
    forward: Vec<Draft>,
    keys: BTreeMap<SetKey, SetId>,
}

impl Plan<'_> {
    /// `judged`: whether anything over our link to this machine is.
    fn network(&mut self, network: NetworkId, membership: &Membership, judged: bool) {
        let own = AddressSet::from_iter(membership.addresses.iter().map(IpNet::from));
        let everybody = self.everybody(network);
        if judged && !membership.guarded {
            for from in &everybody {
                self.let_in(*from, own.clone(), Services::All);
            }
        }
        if self.carrying.contains(&network) {
            let (others, relayed, carried) =
                (SetKey::Others(network), SetKey::Relayed(network), SetKey::Carried(network));
            // What is carried is judged here; who judges himself, and whom others judge, is not.
            for from in &everybody {
                self.let_through(*from, relayed, Services::All);
                if !membership.guarded {
                    self.let_through(*from, carried, Services::All);
                }
            }
            self.let_through(relayed, others, Services::All);
            self.let_through(carried, others, Services::All);
        }
        for grant in &membership.grants {
            self.grant(network, membership, grant, &own);
        }
    }

    fn grant(&mut self, network: NetworkId, membership: &Membership, grant: &wire::Grant, own: &AddressSet) {
        let services = services::of(&grant.services);
        let sources = grant.from.iter().flat_map(|party| self.sources(network, *party));
        for from in sources.collect::<BTreeSet<SetKey>>() {
            for to in &grant.to {
                match *to {
                    Party::Outside if membership.internet_gateway => self.let_outside(from, services.clone()),
                    // What no network guards needs no grant.
                    Party::Everything | Party::Class(_) | Party::Member(_) if membership.guarded => {
                        if self.is_us(membership, *to) {
                            self.let_in(from, own.clone(), services.clone());
                        }
                        self.let_to_carried(network, from, *to, services.clone());
                    }
                    Party::Outside | Party::Everything | Party::Class(_) | Party::Member(_) => {}
                }
            }
        }
    }

    fn let_to_carried(&mut self, network: NetworkId, from: SetKey, to: Party, services: Services) {
        if !self.carrying.contains(&network) {
            return;
        }
        let to = match to {
            Party::Everything => SetKey::Carried(network),
            Party::Class(_) | Party::Member(_) | Party::Outside => SetKey::To(network, to),
        };
        self.let_through(from, to, services);
    }

    fn is_us(&self, membership: &Membership, party: Party) -> bool {
        match party {
            Party::Everything => true,
            Party::Class(class) => membership.classes.contains(&class),
            Party::Member(member) => member == self.map.host.id,
            Party::Outside => false,
        }
    }

    /// All members of a network but this host.
    fn everybody(&self, network: NetworkId) -> Vec<SetKey> {
        let carried = [SetKey::Relayed(network), SetKey::Carried(network)];
        let carried = carried.into_iter().filter(|_| self.carrying.contains(&network));
        std::iter::once(SetKey::Others(network)).chain(carried).collect()
    }

    fn sources(&self, network: NetworkId, party: Party) -> Vec<SetKey> {
        match party {
            Party::Everything => self.everybody(network),
            Party::Class(_) => vec![SetKey::From(network, party)],
            Party::Member(member) if member == self.map.host.id => Vec::new(),
            Party::Member(_) => vec![SetKey::From(network, party)],
            // What is in no network opens no connections into one.
            Party::Outside => Vec::new(),
        }
    }

    fn let_in(&mut self, from: SetKey, own: AddressSet, services: Services) {
        let from = self.set(from);
        self.input.push(Draft { from, to: End::Nets(own), services });
    }

    fn let_through(&mut self, from: SetKey, to: SetKey, services: Services) {
        let (from, to) = (self.set(from), self.set(to));
        self.forward.push(Draft { from, to, services });
    }

    fn let_outside(&mut self, from: SetKey, services: Services) {
        let from = self.set(from);
        self.forward.push(Draft { from, to: End::Nets(self.outside.clone()), services });
    }

    fn set(&mut self, key: SetKey) -> End {
        self.keys.entry(key).or_insert(SetId(0));
        End::Set(key)
    }
}
