//! What each op means: the state of the machine after it. `platform` does this to the kernel; here it is done to a value,
//! for the laws' tests and for the simulated World.
//!
//! It models what the kernel does besides: an address that another peer had moves, a route goes with its source address.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use model::{Timestamp, WgPublicKey};

use crate::{
    Actual, ActualPeer, Around, DesiredPeer, Device, FirewallLook, Link, LinkKind, Op, Surroundings,
};

/// The MTU a new link has until it is set.
const FIRST_MTU: u32 = 1420;

impl Actual {
    /// Carries out an op on this value. An op on a link that is not there changes nothing.
    pub fn apply(&mut self, op: &Op) {
        self.apply_alone(op);
        if let Op::AddPeer(key, DesiredPeer { allowed, .. })
        | Op::AllowMore(key, allowed)
        | Op::SetAllowed(key, allowed) = op
        {
            self.device_mut(|device| take_from_others(device, *key, allowed));
        }
    }

    /// As `apply`, but without looking at other peers than the op's own, however many there are. It is the same for the
    /// ops of `reconcile`: they take an address from one peer before they give it to another (a property test).
    pub fn apply_alone(&mut self, op: &Op) {
        match op {
            Op::CreateLink(kind) => self.create(*kind),
            Op::DeleteLink => self.link = None,
            Op::SetKey(key) => self.device_mut(|device| device.key = Some(*key)),
            Op::SetPort(port) => self.device_mut(|device| device.port = *port),
            Op::SetMark(mark) => self.device_mut(|device| device.mark = *mark),
            Op::SetMtu(mtu) => self.link(|link| link.mtu = u32::from(mtu.get())),
            Op::SetUp => self.link(|link| link.up = true),
            Op::AddAddress(ip) => self.link(|link| link.addresses.extend([IpNet::from(*ip)])),
            Op::RemoveAddress(net) => self.link(|link| remove_address(link, net)),
            Op::AddRoute(route) => self.link(|link| link.routes.extend([*route])),
            Op::RemoveRoute(route) => self.link(|link| link.routes.retain(|other| other != route)),
            Op::AddPeer(key, peer) => self.device_mut(|device| {
                let there = device.peers.entry(*key).or_default();
                there.keepalive = Some(peer.keepalive);
                there.endpoint = peer.endpoint.or(there.endpoint);
                there.allowed.clone_from(&peer.allowed);
            }),
            Op::RemovePeer(key) => self.device_mut(|device| drop(device.peers.remove(key))),
            Op::AllowMore(key, more) => self.peer(key, |peer| peer.allowed.extend(more)),
            Op::SetAllowed(key, allowed) => self.peer(key, |peer| peer.allowed.clone_from(allowed)),
            Op::SetKeepalive(key, keepalive) | Op::Poke(key, keepalive) => {
                self.peer(key, |peer| peer.keepalive = Some(*keepalive));
            }
            Op::SetEndpoint(key, endpoint) => self.peer(key, |peer| peer.endpoint = Some(*endpoint)),
            Op::Around(around) => self.surroundings.apply(around),
        }
    }

    fn create(&mut self, kind: LinkKind) {
        self.link.get_or_insert_with(|| Link {
            index: 7,
            up: false,
            mtu: FIRST_MTU,
            addresses: BTreeSet::new(),
            routes: BTreeSet::new(),
            device: Some(Device {
                kind,
                at: Timestamp::default(),
                key: None,
                port: 0,
                mark: 0,
                peers: BTreeMap::new(),
            }),
        });
    }

    fn link(&mut self, change: impl FnOnce(&mut Link)) {
        self.link.as_mut().map(change);
    }

    fn device_mut(&mut self, change: impl FnOnce(&mut Device)) {
        self.link.as_mut().and_then(|link| link.device.as_mut()).map(change);
    }

    fn peer(&mut self, key: &WgPublicKey, change: impl FnOnce(&mut ActualPeer)) {
        self.device_mut(|device| {
            device.peers.get_mut(key).map(change);
        });
    }
}

impl Surroundings {
    /// A machine without nf_tables stays without.
    fn apply(&mut self, step: &Around) {
        match step {
            Around::SetFirewall(firewall, _) => {
                self.firewall = self.firewall.map(|_| FirewallLook::Intact(firewall.digest()));
            }
            Around::ChangeFirewall(had, changes, _) => {
                if self.firewall == Some(FirewallLook::Intact(*had)) {
                    self.firewall = Some(FirewallLook::Intact(had.after(changes)));
                }
            }
            Around::RemoveFirewall => self.firewall = self.firewall.map(|_| FirewallLook::Absent),
            Around::AddUnreachable(family) => self.unreachable.extend([*family]),
            Around::RemoveUnreachable(family) => drop(self.unreachable.remove(family)),
            Around::AddRule(rule) => self.rules.extend([*rule]),
            Around::RemoveRule(rule) => drop(self.rules.remove(rule)),
            Around::SetSysctl(sysctl) => crate::sysctl::apply(self, sysctl),
        }
    }
}

fn remove_address(link: &mut Link, net: &IpNet) {
    link.addresses.remove(net);
    let still_there = link.addresses.iter().any(|other| other.addr() == net.addr());
    link.routes.retain(|route| still_there || route.source != Some(net.addr()));
}

/// What the kernel does besides: an address belongs to one peer.
fn take_from_others(device: &mut Device, key: WgPublicKey, nets: &BTreeSet<IpNet>) {
    if !device.peers.contains_key(&key) {
        return;
    }
    for (_, peer) in device.peers.iter_mut().filter(|(other, _)| **other != key) {
        peer.allowed.retain(|net| !nets.contains(net));
    }
}
