//! What this machine should have, kept up to date when single members change, at the cost of those members.
//!
//! Not for deciding what that is: `desired` is the definition, and this is the same at every moment (a property test).
//! What makes one peer depend on another is remembered: an address that several members claim belongs to the first of them,
//! and so does a key; and what a host carries comes and goes with it. When the first one goes, the next has it.
//!
//! ```text
//!  members that changed ─▶ those that they carry ─▶ claims ─▶ nets ─▶ who holds each now ─▶ peers, routes, sets
//! ```

mod holding;

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use model::{Endpoint, HostId, MemberId, NetworkId, WgPublicKey};
use wire::HostMap;

use crate::access::Shape;
use crate::desired::{desired_door, keepalive};
use crate::reach::{Claim, Claims, Ground};
use crate::{
    Circumstances, Desired, DesiredPeer, FirewallStep, Interface, Kept, LeftOut, LocalSettings, desired,
};
use holding::{Held, Moved, OwnRange};

/// Before all other members.
const FIRST: MemberId = MemberId::from_bytes([0; 16]);

/// What came of following a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// The keys of the peers that may have become other than they were.
    pub keys: BTreeSet<WgPublicKey>,
    /// What happened to the firewall.
    pub firewall: FirewallStep,
}

/// A `Desired` that follows its host map. See the module.
#[derive(Debug, Clone)]
pub struct Derived {
    desired: Desired,
    ground: Ground,
    shape: Shape,
    /// The members with which there is a session.
    hosts: BTreeMap<MemberId, WgPublicKey>,
    /// The same by key; the first member of a key counts.
    keys: BTreeSet<(WgPublicKey, MemberId)>,
    claims: BTreeMap<MemberId, Box<[Claim]>>,
    /// Who claims a net; the first of them has it.
    claimants: BTreeSet<(IpNet, MemberId)>,
    /// Who leads to whom, used or not; and the other way round.
    leads: BTreeSet<(MemberId, MemberId)>,
    led: BTreeMap<MemberId, Box<[MemberId]>>,
    held: BTreeMap<IpNet, Held>,
    /// The ranges that this host leads to, and the sets they are in.
    duties: BTreeMap<(NetworkId, IpNet), OwnRange>,
    /// How many nets of carried members there are in each network.
    carried: BTreeMap<NetworkId, usize>,
}

impl Derived {
    /// From the whole map.
    pub fn new(map: &HostMap, settings: &LocalSettings, circumstances: &Circumstances) -> Self {
        let mut derived = Self {
            desired: desired(map, settings, circumstances),
            ground: Ground::new(map, settings, circumstances),
            shape: Shape::new(map, &BTreeSet::new(), std::iter::empty(), None),
            hosts: BTreeMap::new(),
            keys: BTreeSet::new(),
            claims: BTreeMap::new(),
            claimants: BTreeSet::new(),
            leads: BTreeSet::new(),
            led: BTreeMap::new(),
            held: BTreeMap::new(),
            duties: BTreeMap::new(),
            carried: BTreeMap::new(),
        };
        let members: BTreeSet<MemberId> = map.peers.keys().copied().collect();
        members.iter().for_each(|member| derived.note_key(map, *member));
        members.iter().for_each(|member| drop(derived.note_claims(map, *member)));
        let nets: BTreeSet<IpNet> = derived.claimants.iter().map(|(net, _)| *net).collect();
        derived.hold_all(map, &nets);
        derived
    }

    /// What should exist.
    pub const fn desired(&self) -> &Desired {
        &self.desired
    }

    /// The interface as it should be.
    pub const fn interface(&self) -> Option<&Interface> {
        self.desired.interface.as_ref()
    }

    /// These settings of the kernel are kept, and get back what they were.
    pub fn keep(&mut self, kept: Kept) {
        self.desired.kept = kept;
    }

    /// This host is used from now on of those that lead to a member (`RouterAction::Use`).
    pub fn choose(
        &mut self,
        map: &HostMap,
        member: MemberId,
        host: HostId,
        endpoint: impl Fn(&WgPublicKey) -> Option<Endpoint>,
    ) -> Followed {
        self.ground.choose(member, host);
        self.follow(map, &BTreeSet::from([member]), endpoint)
    }

    /// These clients are here from now on (`Clients::here`). Returns those that are to be followed for it.
    pub fn set_here(&mut self, here: &BTreeSet<MemberId>) -> BTreeSet<MemberId> {
        self.ground.set_here(here)
    }

    /// Takes over what the map says of these members; in all else it must be the map that this was made of. `endpoint` is
    /// `Paths::endpoint`. Returns what may have become other than it was.
    pub fn follow(
        &mut self,
        map: &HostMap,
        members: &BTreeSet<MemberId>,
        endpoint: impl Fn(&WgPublicKey) -> Option<Endpoint>,
    ) -> Followed {
        let (mut keys, affected) = self.take_keys(map, members);
        for key in &keys {
            self.take_peer(map, key, &endpoint);
        }
        let mut nets = BTreeSet::new();
        for member in &affected {
            nets.extend(self.note_claims(map, *member));
        }
        let mut moved = Moved::default();
        for net in nets {
            self.hold(map, net, &mut moved);
        }
        for member in members {
            self.hold_duties(map, *member, &mut moved);
        }
        keys.append(&mut moved.keys);
        Followed { keys, firewall: self.take_firewall(map, moved) }
    }

    /// Takes over the keys of these members: the keys they had and have, and all members that depend on them.
    fn take_keys(
        &mut self,
        map: &HostMap,
        members: &BTreeSet<MemberId>,
    ) -> (BTreeSet<WgPublicKey>, BTreeSet<MemberId>) {
        let had = members.iter().filter_map(|member| self.hosts.get(member).copied());
        let have = members.iter().filter_map(|member| self.ground.key_of(map.peers.get(member)?));
        let keys: BTreeSet<WgPublicKey> = had.chain(have).collect();
        let owners: Vec<Option<MemberId>> = keys.iter().map(|key| self.owner(key)).collect();
        let mut hosts = BTreeSet::new();
        for member in members {
            let before = self.hosts.get(member).copied();
            self.note_key(map, *member);
            if self.hosts.get(member) != before.as_ref() {
                hosts.insert(*member);
            }
        }
        for (key, before) in keys.iter().zip(owners) {
            let after = self.owner(key);
            if before != after {
                hosts.extend(before.into_iter().chain(after));
            }
        }
        let mut affected = members.clone();
        for host in hosts {
            affected.insert(host);
            affected.extend(self.led_by(host));
        }
        (keys, affected)
    }

    /// The first member of a key.
    fn owner(&self, key: &WgPublicKey) -> Option<MemberId> {
        let mut members = self.keys.range((*key, FIRST)..).take_while(|(other, _)| other == key);
        members.next().map(|(_, member)| *member)
    }

    fn led_by(&self, host: MemberId) -> impl Iterator<Item = MemberId> {
        let of_host = self.leads.range((host, FIRST)..).take_while(move |(other, _)| *other == host);
        of_host.map(|(_, member)| *member)
    }

    fn note_key(&mut self, map: &HostMap, member: MemberId) {
        if let Some(key) = self.hosts.remove(&member) {
            self.keys.remove(&(key, member));
        }
        if let Some(key) = map.peers.get(&member).and_then(|peer| self.ground.key_of(peer)) {
            self.hosts.insert(member, key);
            self.keys.insert((key, member));
        }
    }

    /// The peer of a key, but for what is allowed to it.
    fn take_peer(
        &mut self,
        map: &HostMap,
        key: &WgPublicKey,
        endpoint: impl Fn(&WgPublicKey) -> Option<Endpoint>,
    ) {
        let owner = self.owner(key).and_then(|owner| map.peers.get(&owner));
        let is_door = map.server.rendezvous.iter().any(|rendezvous| rendezvous.key == *key);
        let Some(interface) = self.desired.interface.as_mut() else { return };
        let there = interface.peers.remove(key);
        let wanted = match owner {
            Some(peer) => {
                let allowed = there.map(|there| there.allowed).unwrap_or_default();
                Some(DesiredPeer { allowed, keepalive: keepalive(map, peer), endpoint: endpoint(key) })
            }
            None if is_door && *key != self.desired.key => Some(desired_door(endpoint(key))),
            None => None,
        };
        interface.peers.extend(wanted.map(|wanted| (*key, wanted)));
    }

    /// Takes over what a member has: all nets that it claimed or claims.
    fn note_claims(&mut self, map: &HostMap, member: MemberId) -> BTreeSet<IpNet> {
        let before = self.claims.remove(&member).unwrap_or_default();
        let mut nets: BTreeSet<IpNet> = before.iter().map(|claim| claim.net).collect();
        for net in &nets {
            self.claimants.remove(&(*net, member));
        }
        for host in self.led.remove(&member).unwrap_or_default() {
            self.leads.remove(&(host, member));
        }
        let left_out = &mut self.desired.left_out;
        let old: Vec<_> = left_out.range((member, ZERO)..).take_while(|((of, _), _)| *of == member).collect();
        let old: Vec<(MemberId, IpNet)> = old.into_iter().map(|(key, _)| *key).collect();
        old.iter().for_each(|key| drop(left_out.remove(key)));
        let Some(peer) = map.peers.get(&member) else { return nets };

        let Claims { claims, left_out: now } = self.ground.claims(map, member, peer);
        let named = |(net, why)| ((member, net), LeftOut::of(peer, why));
        left_out.extend(now.into_iter().map(named));
        self.claimants.extend(claims.iter().map(|claim| (claim.net, member)));
        nets.extend(claims.iter().map(|claim| claim.net));
        if !claims.is_empty() {
            self.claims.insert(member, claims.into());
        }
        let via = peer.nodes.iter().flat_map(|node| &node.via).map(|host| MemberId::from(*host));
        let relays = map.networks.values().filter_map(|of| of.via).map(MemberId::from);
        let hosts: BTreeSet<MemberId> = via.chain(relays).filter(|host| *host != member).collect();
        if !hosts.is_empty() {
            self.leads.extend(hosts.iter().map(|host| (*host, member)));
            self.led.insert(member, hosts.into_iter().collect());
        }
        nets
    }

    /// Who has a net, and the claim.
    fn first_claim(&self, net: IpNet) -> Option<(MemberId, Claim)> {
        let mut members = self.claimants.range((net, FIRST)..).take_while(|(other, _)| *other == net);
        let member = members.next()?.1;
        let claim = self.claims.get(&member)?.iter().find(|claim| claim.net == net)?;
        Some((member, *claim))
    }
}

/// Before all other nets.
const ZERO: IpNet = crate::Family::V4.everything();
