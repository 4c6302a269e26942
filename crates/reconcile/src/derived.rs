//! What this machine should have, kept up to date when single peers change, at the cost of those peers.
//!
//! Not for deciding what that is: `desired` is the definition, and this is the same at every moment (a property test).
//! What makes one peer depend on another is remembered: an address that several hosts claim belongs to the first of them,
//! and so does a key. When the first one goes, the next has it.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use model::{Endpoint, MemberId, WgPublicKey};
use wire::{HostMap, Peer};

use crate::desired::{desired_door, desired_peer};
use crate::{Circumstances, Desired, DesiredPeer, FirewallStep, Interface, LocalSettings, desired};

/// Before all other hosts.
const FIRST: MemberId = MemberId::from_bytes([0; 16]);

/// What a host would have if it were alone.
#[derive(Debug, Clone)]
struct Claim {
    key: WgPublicKey,
    addresses: Box<[IpNet]>,
}

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
    claims: BTreeMap<MemberId, Claim>,
    /// Who claims an address; the first of them has it.
    addresses: BTreeSet<(IpNet, MemberId)>,
    /// Who has a key; the first of them counts.
    keys: BTreeSet<(WgPublicKey, MemberId)>,
}

impl Derived {
    /// From the whole map.
    pub fn new(map: &HostMap, settings: &LocalSettings, circumstances: &Circumstances) -> Self {
        let mut derived = Self {
            desired: desired(map, settings, circumstances),
            claims: BTreeMap::new(),
            addresses: BTreeSet::new(),
            keys: BTreeSet::new(),
        };
        for (host, peer) in &map.peers {
            derived.claim(*host, peer, &desired_peer(map, peer, None));
        }
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

    /// Takes over what the map says of these hosts; in all else it must be the map that this was made of. `endpoint` is
    /// `Paths::endpoint`. Returns what may have become other than it was.
    pub fn follow(
        &mut self,
        map: &HostMap,
        hosts: &BTreeSet<MemberId>,
        endpoint: impl Fn(&WgPublicKey) -> Option<Endpoint>,
    ) -> Followed {
        let mut changed = BTreeSet::new();
        for host in hosts {
            self.release(*host, &mut changed);
            if let Some(peer) = map.peers.get(host) {
                self.claim(*host, peer, &desired_peer(map, peer, None));
            }
            // Once more: whoever had an address that is this host's now has it no longer.
            changed.extend(self.rivals(*host));
        }
        for key in &changed {
            let wanted = self.wanted(map, key, &endpoint);
            let Some(interface) = self.desired.interface.as_mut() else { break };
            match wanted {
                Some(peer) => drop(interface.peers.insert(*key, peer)),
                None => drop(interface.peers.remove(key)),
            }
        }
        Followed { keys: changed, firewall: FirewallStep::Nothing }
    }

    fn claim(&mut self, host: MemberId, peer: &Peer, alone: &DesiredPeer) {
        let Some(key) = peer.key.filter(|key| *key != self.desired.key) else { return };
        self.keys.insert((key, host));
        self.addresses.extend(alone.allowed.iter().map(|net| (*net, host)));
        let addresses = alone.allowed.iter().copied().collect();
        self.claims.insert(host, Claim { key, addresses });
    }

    fn release(&mut self, host: MemberId, changed: &mut BTreeSet<WgPublicKey>) {
        changed.extend(self.rivals(host));
        let Some(claim) = self.claims.remove(&host) else { return };
        self.keys.remove(&(claim.key, host));
        for net in claim.addresses {
            self.addresses.remove(&(net, host));
        }
    }

    /// The keys of this host and of all that claim one of its addresses.
    fn rivals(&self, host: MemberId) -> impl Iterator<Item = WgPublicKey> {
        let claim = self.claims.get(&host);
        let nets = claim.into_iter().flat_map(|claim| &claim.addresses);
        let hosts = nets.flat_map(|net| self.claimants(*net));
        let rivals = hosts.filter_map(|rival| self.claims.get(&rival)).map(|claim| claim.key);
        claim.map(|claim| claim.key).into_iter().chain(rivals)
    }

    fn claimants(&self, net: IpNet) -> impl Iterator<Item = MemberId> {
        self.addresses
            .range((net, FIRST)..)
            .take_while(move |(other, _)| *other == net)
            .map(|(_, host)| *host)
    }

    /// The peer with this key as it should be; none if there should be none.
    fn wanted(
        &self,
        map: &HostMap,
        key: &WgPublicKey,
        endpoint: impl Fn(&WgPublicKey) -> Option<Endpoint>,
    ) -> Option<DesiredPeer> {
        let first = self.keys.range((*key, FIRST)..).next().filter(|(other, _)| other == key);
        let Some((_, host)) = first else {
            let is_door = map.server.rendezvous.iter().any(|rendezvous| rendezvous.key == *key);
            return (is_door && *key != self.desired.key).then(|| desired_door(endpoint(key)));
        };
        let mut peer = desired_peer(map, map.peers.get(host)?, endpoint(key));
        peer.allowed.retain(|net| self.claimants(*net).next() == Some(*host));
        Some(peer)
    }
}
