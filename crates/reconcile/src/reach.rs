//! What is sent to which WireGuard peer: what each member has, and through whom it is reached.
//!
//! Not for who of several members has an address that all of them claim (`desired`: the first), nor for endpoints. It keeps
//! true that nothing is claimed that the map does not give: addresses only within a range of a network that this host takes
//! part in, ranges only outside of all of them, never what is this machine's own, what it is directly attached to or what it
//! leads to; that everything is claimed for a host with which there is a session; and that a client which several gateways let
//! in is sent to one of them: to this one while it is here (`Clients::here`), else to the first in the map's order.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use model::{HostId, MemberId, NetworkId, WgPublicKey};
use wire::{EgressDuty, HostMap, Membership, Peer, PeerNode, Way};

use crate::access::is_own_client;
use crate::{Circumstances, Family, LeftOutWhy, LocalSettings};

/// What is no range that could be behind somebody.
const RESERVED: [&str; 6] =
    ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "fe80::/10", "ff00::/8"];

/// What is the same for all members: of this host and its machine.
#[derive(Debug, Clone)]
pub(crate) struct Ground {
    own: HostId,
    key: WgPublicKey,
    addresses: BTreeSet<IpAddr>,
    /// The ranges of all networks, and what nobody can have behind itself.
    never: Vec<IpNet>,
    /// The ranges that this host leads to.
    duties: BTreeSet<IpNet>,
    /// Those that it was to lead to and does not, by egress range.
    undone: BTreeMap<MemberId, (IpNet, LeftOutWhy)>,
    local: Vec<IpNet>,
    routers: BTreeMap<MemberId, HostId>,
    /// Clients that are here although the map leads to another gateway first.
    here: BTreeSet<MemberId>,
    /// The network and the host through which everything else goes, where there is one.
    internet: Option<(NetworkId, HostId)>,
}

/// How much a claim is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// An address within the network.
    Address,
    /// A range outside of it.
    Range,
    /// All addresses of a family.
    Everything,
}

/// What a member has, and the host to which it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) net: IpNet,
    pub(crate) reach: Reach,
    pub(crate) network: NetworkId,
    pub(crate) carrier: MemberId,
    /// The address to speak from.
    pub(crate) source: Option<IpAddr>,
}

/// What a member has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Claims {
    /// Each net once.
    pub(crate) claims: Vec<Claim>,
    pub(crate) left_out: Vec<(IpNet, LeftOutWhy)>,
}

/// The networks that the host takes part in.
pub(crate) fn taken_part(map: &HostMap) -> impl Iterator<Item = (NetworkId, &Membership)> {
    map.networks.iter().filter(|(_, membership)| membership.takes_part()).map(|(id, of)| (*id, of))
}

/// The ranges that this host leads to: none of a network's own, and each once in a network.
pub(crate) fn duties(map: &HostMap) -> impl Iterator<Item = (NetworkId, &EgressDuty)> {
    weighed_duties(map).filter(|(_, _, why)| why.is_none()).map(|(id, duty, _)| (id, duty))
}

/// All that this host is to lead to, and why it does not.
fn weighed_duties(map: &HostMap) -> impl Iterator<Item = (NetworkId, &EgressDuty, Option<LeftOutWhy>)> {
    let all =
        taken_part(map).flat_map(|(id, membership)| membership.egress.iter().map(move |duty| (id, duty)));
    let mut seen = BTreeSet::new();
    all.filter(|(_, duty)| duty.range.0.prefix_len() > 0).map(move |(id, duty)| {
        let range = duty.range.0.trunc();
        let mut own = map.networks.values().flat_map(|of| of.ranges.iter());
        let why = match own.find(|own| overlap(own, &range)) {
            Some(own) => Some(LeftOutWhy::OwnNetwork(own)),
            None => (!seen.insert((id, range))).then_some(LeftOutWhy::Twice),
        };
        (id, duty, why)
    })
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

impl Ground {
    pub(crate) fn new(map: &HostMap, settings: &LocalSettings, circumstances: &Circumstances) -> Self {
        let reserved = RESERVED.iter().filter_map(|text| text.parse().ok());
        let way = taken_part(map).find_map(|(id, membership)| Some((id, membership.internet?)));
        let internet = way.and_then(|(id, way)| Some((id, way.via?)));
        Self {
            own: map.host.id,
            key: settings.key,
            addresses: taken_part(map).flat_map(|(_, membership)| membership.addresses.iter()).collect(),
            never: map.networks.values().flat_map(|of| of.ranges.iter()).chain(reserved).collect(),
            duties: duties(map)
                .flat_map(|(_, duty)| [Some(duty.range), duty.mapped])
                .flatten()
                .map(|net| net.0.trunc())
                .collect(),
            undone: weighed_duties(map)
                .filter_map(|(_, duty, why)| Some((duty.id, (duty.range.0.trunc(), why?))))
                .collect(),
            local: circumstances.local.iter().map(IpNet::trunc).collect(),
            routers: circumstances.routers.clone(),
            here: circumstances.here.clone(),
            internet,
        }
    }

    /// This host is used of those that lead to a member.
    pub(crate) fn choose(&mut self, member: MemberId, host: HostId) {
        self.routers.insert(member, host);
    }

    /// These clients are here from now on, and of the others as many as the map says. Returns those that come or go by it.
    pub(crate) fn set_here(&mut self, here: &BTreeSet<MemberId>) -> BTreeSet<MemberId> {
        let changed = self.here.symmetric_difference(here).copied().collect();
        self.here.clone_from(here);
        changed
    }

    /// The key of a peer that there is a session with.
    pub(crate) fn key_of(&self, peer: &Peer) -> Option<WgPublicKey> {
        peer.key.filter(|key| *key != self.key)
    }

    /// What a member has.
    pub(crate) fn claims(&self, map: &HostMap, member: MemberId, peer: &Peer) -> Claims {
        let mut all =
            Claims { left_out: self.undone.get(&member).copied().into_iter().collect(), ..Claims::default() };
        for node in &peer.nodes {
            let membership = map.networks.get(&node.network).filter(|membership| membership.takes_part());
            let Some(membership) = membership else { continue };
            let direct = self.key_of(peer).map(|_| member);
            let carrier = match membership.way(self.own, member, node) {
                Way::Direct if is_own_client(self.own, node) => self.gateway(map, member, &node.via, direct),
                Way::Direct => direct,
                Way::Via(hosts) => self.carrier(map, member, hosts),
            };
            if let Some(carrier) = carrier {
                self.claim_node(&mut all, membership, node, carrier);
            }
            if self.internet.is_some_and(|(network, via)| network == node.network && member == via) {
                let direct = carrier.filter(|carrier| *carrier == member);
                claim_everything(&mut all, membership, node.network, direct);
            }
        }
        all
    }

    /// The one that is used of those hosts that lead to a member.
    fn carrier(&self, map: &HostMap, member: MemberId, hosts: &[HostId]) -> Option<MemberId> {
        let chosen = self.routers.get(&member).filter(|host| hosts.contains(host));
        chosen.into_iter().chain(hosts).find_map(|host| self.with_session(map, *host))
    }

    fn with_session(&self, map: &HostMap, host: HostId) -> Option<MemberId> {
        let host = MemberId::from(host);
        map.peers.get(&host).is_some_and(|peer| self.key_of(peer).is_some()).then_some(host)
    }

    /// Where a client of this gateway and of others is: itself (`direct`), or the gateway that it is looked for at first.
    fn gateway(
        &self,
        map: &HostMap,
        member: MemberId,
        gateways: &[HostId],
        direct: Option<MemberId>,
    ) -> Option<MemberId> {
        if self.here.contains(&member) {
            return direct;
        }
        for host in gateways {
            if *host == self.own {
                // Never past itself: another one that looks for the client here would send it back.
                return direct;
            }
            if let Some(other) = self.with_session(map, *host) {
                return Some(other);
            }
        }
        None
    }

    fn claim_node(&self, all: &mut Claims, membership: &Membership, node: &PeerNode, carrier: MemberId) {
        let network = node.network;
        let mut claim = |net: IpNet, reach, source| {
            if !all.claims.iter().any(|other| other.net == net) {
                all.claims.push(Claim { net, reach, network, carrier, source });
            }
        };
        for ip in node.addresses.iter() {
            if membership.ranges.contains(ip) && !self.addresses.contains(&ip) {
                claim(IpNet::from(ip), Reach::Address, None);
            }
        }
        let mut left_out = Vec::new();
        for range in node.ranges.iter().map(|net| net.0.trunc()) {
            let source = source(membership, Family::of(range.addr()));
            if source.is_none() || !self.may_be_behind_others(range) {
                continue;
            }
            let lan = self.local.iter().find(|lan| lan.contains(&range));
            match lan.map(|lan| LeftOutWhy::Lan(*lan)).or_else(|| self.shared_with(range)) {
                Some(why) => left_out.push((range, why)),
                None => claim(range, Reach::Range, source),
            }
        }
        all.left_out.extend(left_out);
    }

    fn may_be_behind_others(&self, range: IpNet) -> bool {
        let ours = self.addresses.iter().any(|ip| range.contains(ip));
        range.prefix_len() > 0
            && !ours
            && !self.duties.contains(&range)
            && !self.never.iter().any(|other| overlap(other, &range))
    }

    /// A part of a site would be taken from it; so would all of one which the machine reaches by a wider route of its own.
    fn shared_with(&self, range: IpNet) -> Option<LeftOutWhy> {
        self.duties.iter().find(|duty| overlap(duty, &range)).map(|duty| LeftOutWhy::Duty(*duty))
    }
}

/// Claims all addresses for the internet gateway, where there is a session with it.
fn claim_everything(all: &mut Claims, membership: &Membership, network: NetworkId, direct: Option<MemberId>) {
    for family in Family::ALL {
        let Some(source) = source(membership, family) else { continue };
        let net = family.everything();
        match direct {
            Some(carrier) => {
                let (reach, source) = (Reach::Everything, Some(source));
                all.claims.push(Claim { net, reach, network, carrier, source });
            }
            None => all.left_out.push((net, LeftOutWhy::NotDirect)),
        }
    }
}

/// The host's own address in a network.
pub(crate) fn source(membership: &Membership, family: Family) -> Option<IpAddr> {
    membership.addresses.iter().find(|ip| Family::of(*ip) == family)
}
