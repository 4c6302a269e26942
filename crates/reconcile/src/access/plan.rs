//! The grants of all networks as grants of one firewall.
//!
//! Not for who is in the sets that they name. It keeps true that each set that is named has a number, by the order of what
//! it stands for and not of what was met first.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use model::NetworkId;
use wire::{HostMap, Membership, Party};

use super::{SetKey, services};
use crate::reach::{duties, taken_part};
use crate::{AddressSet, Grant, PROBE_PORT, Ports, Service, Services, SetId, Side};

const DNS_PORT: u16 = 53;

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

/// What the filters of a firewall consist of.
pub(super) struct Rules {
    pub(super) input: Vec<Grant>,
    pub(super) forward: Vec<Grant>,
    /// Those to whom this host itself opens what `output` grants, and nothing else.
    pub(super) towards: Vec<Side>,
    pub(super) output: Vec<Grant>,
}

/// What is gathered while the networks are gone through.
pub(super) struct Plan<'a> {
    map: &'a HostMap,
    carrying: &'a BTreeSet<NetworkId>,
    outside: &'a AddressSet,
    input: Vec<Draft>,
    forward: Vec<Draft>,
    towards: Vec<End>,
    output: Vec<Draft>,
    keys: BTreeSet<SetKey>,
}

impl<'a> Plan<'a> {
    /// For a host that carries something in these networks, and is a way to this outside.
    pub(super) const fn new(
        map: &'a HostMap,
        carrying: &'a BTreeSet<NetworkId>,
        outside: &'a AddressSet,
    ) -> Self {
        Self {
            map,
            carrying,
            outside,
            input: Vec::new(),
            forward: Vec::new(),
            towards: Vec::new(),
            output: Vec::new(),
            keys: BTreeSet::new(),
        }
    }

    /// All of it, and the numbers of the sets. `judged`: whether anything over our link to this machine is.
    pub(super) fn rules(mut self, judged: bool) -> (Rules, BTreeMap<SetKey, SetId>) {
        for (network, membership) in taken_part(self.map) {
            self.network(network, membership, judged);
        }
        let Self { input, forward, towards, output, keys, .. } = self;
        let ids: BTreeMap<SetKey, SetId> =
            keys.into_iter().zip(0..).map(|(key, number)| (key, SetId(number))).collect();
        let grants = |drafts: Vec<Draft>| drafts.into_iter().map(|draft| draft.grant(&ids)).collect();
        let rules = Rules {
            input: grants(input),
            forward: grants(forward),
            towards: towards.into_iter().map(|end| end.side(&ids)).collect(),
            output: grants(output),
        };
        (rules, ids)
    }

    fn network(&mut self, network: NetworkId, membership: &Membership, judged: bool) {
        let own = AddressSet::from_iter(membership.addresses.iter().map(IpNet::from));
        let everybody = self.everybody(network);
        if judged && !membership.guarded {
            for from in &everybody {
                self.let_in(*from, &own, Services::All);
            }
        }
        if self.carrying.contains(&network) {
            self.carry(network, membership.guarded, &everybody);
        }
        if membership.guarded {
            self.serve(network, &own);
        }
        for grant in &membership.grants {
            self.grant(network, membership, grant, &own);
        }
    }

    /// What is carried is judged here; who judges himself, and whom others judge, is not.
    fn carry(&mut self, network: NetworkId, guarded: bool, everybody: &[SetKey]) {
        let (others, relayed, carried) =
            (SetKey::Others(network), SetKey::Relayed(network), SetKey::Carried(network));
        for from in everybody {
            self.let_through(*from, relayed, Services::All);
            if !guarded {
                self.let_through(*from, carried, Services::All);
            }
        }
        self.let_through(relayed, others, Services::All);
        self.let_through(carried, others, Services::All);
        if guarded {
            let clients = self.set(SetKey::Clients(network));
            self.towards.push(clients);
        }
    }

    /// What this host does for members of a guarded network whatever people grant: clients are told to ask it for names, and
    /// whoever is told of a range asks whether its routers live.
    fn serve(&mut self, network: NetworkId, own: &AddressSet) {
        if self.carrying.contains(&network) {
            self.let_in(SetKey::Clients(network), own, names());
        }
        if duties(self.map).any(|(of, _)| of == network) {
            let probes = Services::Only(vec![Service::Udp(Ports::one(PROBE_PORT))]);
            for from in [SetKey::Others(network), SetKey::Relayed(network)] {
                self.let_in(from, own, probes.clone());
            }
        }
    }

    fn grant(&mut self, network: NetworkId, membership: &Membership, grant: &wire::Grant, own: &AddressSet) {
        let services = services::of(&grant.services);
        let sources = grant.from.iter().flat_map(|party| self.sources(network, *party));
        let sources: BTreeSet<SetKey> = sources.collect();
        let is_ours = grant.from.iter().any(|party| self.is_us(membership, *party));
        for to in &grant.to {
            match *to {
                Party::Outside if membership.internet_gateway => {
                    for from in &sources {
                        self.let_outside(*from, services.clone());
                        if membership.guarded {
                            // Whose way out this is asks here for names.
                            self.let_in(*from, own, names());
                        }
                    }
                }
                // What no network guards needs no grant.
                Party::Everything | Party::Class(_) | Party::Member(_) if membership.guarded => {
                    for from in &sources {
                        if self.is_us(membership, *to) {
                            self.let_in(*from, own, services.clone());
                        }
                        self.let_to_carried(network, *from, *to, services.clone());
                    }
                    if is_ours {
                        self.let_out(network, own, *to, services.clone());
                    }
                }
                Party::Outside | Party::Everything | Party::Class(_) | Party::Member(_) => {}
            }
        }
    }

    fn let_to_carried(&mut self, network: NetworkId, from: SetKey, to: Party, services: Services) {
        if self.carrying.contains(&network) {
            self.let_through(from, carried(network, to), services);
        }
    }

    /// This host itself may open that.
    fn let_out(&mut self, network: NetworkId, own: &AddressSet, to: Party, services: Services) {
        if self.carrying.contains(&network) {
            let to = self.set(carried(network, to));
            self.output.push(Draft { from: End::Nets(own.clone()), to, services });
        }
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

    fn let_in(&mut self, from: SetKey, own: &AddressSet, services: Services) {
        let from = self.set(from);
        self.input.push(Draft { from, to: End::Nets(own.clone()), services });
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
        self.keys.insert(key);
        End::Set(key)
    }
}

/// Those of a party that this host carries.
fn carried(network: NetworkId, party: Party) -> SetKey {
    match party {
        Party::Everything => SetKey::Carried(network),
        Party::Class(_) | Party::Member(_) | Party::Outside => SetKey::To(network, party),
    }
}

/// Asking for names.
fn names() -> Services {
    Services::Only(vec![Service::Udp(Ports::one(DNS_PORT)), Service::Tcp(Ports::one(DNS_PORT))])
}
