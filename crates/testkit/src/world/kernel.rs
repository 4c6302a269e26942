//! A simulated kernel, as far as packets see it: ops change it, packets and time drive it.
//!
//! Its WireGuard is in `wireguard`, its routes in `routing`, a packet's way through it in `passage`. It keeps true that it is
//! what ops have made of it, and nothing that they do not say: also of its firewall, of which the agent sees a digest only.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{Endpoint, Timestamp, WgPublicKey};
use reconcile::{Actual, Around, Firewall, FirewallLook, Op};

use super::connections::Connections;
use super::packet::Packet;
use super::routing::Wires;
use super::wireguard::{Datagram, Payload, Sim};

/// How strict our own link is.
const OWN_REVERSE_FILTER: &str = "net/ipv4/conf/netloom0/rp_filter";

/// What a machine sends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Out {
    /// A datagram of WireGuard.
    Sealed(Endpoint, Datagram),
    /// The same, to a range that the machine is attached to.
    Near(usize, Endpoint, Datagram),
    /// A packet towards the internet that nobody has sealed.
    Plain(Packet),
    /// A packet to a range that the machine leads to.
    Annex(usize, Packet),
}

/// One machine's kernel, as far as it is ours.
#[derive(Debug, Clone)]
pub(super) struct Kernel {
    pub(super) actual: Actual,
    pub(super) firewall: Option<Firewall>,
    pub(super) wires: Wires,
    pub(super) connections: Connections,
    pub(super) sims: BTreeMap<WgPublicKey, Sim>,
    /// What is to be sent.
    pub(super) out: Vec<Out>,
    /// What came to programs.
    pub(super) heard: Vec<Packet>,
    /// What came to the agent's prober.
    pub(super) probes: Vec<Packet>,
    pub(super) ids: u64,
    pub(super) next_port: u16,
}

/// The wall clock of every machine.
pub(super) fn wall(now: Duration) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000) + now
}

fn is_strict(sysctls: &BTreeMap<String, String>) -> bool {
    sysctls.get("net/ipv4/conf/eth0/rp_filter").is_some_and(|value| value == "1")
}

/// What machines have set before anybody came. Every second one is strict about where packets come from, and
/// has a link that passes packets on although the machine as a whole does not.
fn settings(strict: bool) -> BTreeMap<String, String> {
    let strict = if strict { "1" } else { "0" };
    let all = [
        ("net/ipv4/ip_forward", "0"),
        ("net/ipv4/conf/default/forwarding", "0"),
        ("net/ipv4/conf/eth0/forwarding", strict),
        ("net/ipv4/conf/all/accept_redirects", "1"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", strict),
        ("net/ipv4/conf/eth0/rp_filter", strict),
        ("net/ipv6/conf/all/forwarding", "0"),
        ("net/ipv6/conf/eth0/forwarding", strict),
        ("net/ipv6/conf/eth0/accept_ra", "1"),
    ];
    all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

impl Kernel {
    /// A machine that has just started. `number` makes its sessions' numbers its own.
    pub(super) fn new(number: u64) -> Self {
        let mut actual = Actual::default();
        actual.surroundings.sysctls = settings(number % 2 == 1);
        Self {
            actual,
            firewall: None,
            wires: Wires::default(),
            connections: Connections::default(),
            sims: BTreeMap::new(),
            out: Vec::new(),
            heard: Vec::new(),
            probes: Vec::new(),
            ids: number << 32,
            next_port: 30_000,
        }
    }

    /// Switched off and on again: the machine's own links and settings are as they were at first.
    pub(super) fn reboot(&mut self, number: u64) {
        let wires = std::mem::take(&mut self.wires);
        let strict = is_strict(&self.actual.surroundings.sysctls);
        *self = Self { wires, ..Self::new(number) };
        self.actual.surroundings.sysctls = settings(strict);
    }

    pub(super) fn observe(&self, now: Duration) -> Actual {
        let mut actual = self.actual.clone();
        if let Some(device) = actual.link.as_mut().and_then(|link| link.device.as_mut()) {
            device.at = wall(now);
        }
        actual
    }

    /// Whether nothing on the machine is other than when it started.
    pub(super) fn is_untouched(&self) -> bool {
        let around = &self.actual.surroundings;
        self.actual.link.is_none()
            && self.firewall.is_none()
            && around.firewall == Some(FirewallLook::Absent)
            && around.rules.is_empty()
            && around.unreachable.is_empty()
            && around.sysctls == settings(is_strict(&around.sysctls))
    }

    pub(super) fn execute(&mut self, op: &Op, now: Duration) {
        let was_up = self.is_up();
        let key = self.key();
        let before = self.actual.surroundings.firewall;
        self.actual.apply(op);
        self.change_firewall(op, before);
        self.change_settings();
        let peers: BTreeSet<WgPublicKey> =
            self.peers().map(|peers| peers.keys().copied().collect()).unwrap_or_default();
        self.sims.retain(|key, _| peers.contains(key));
        for key in peers {
            self.sims.entry(key).or_default();
        }
        if key.is_some() && self.key() != key {
            self.expire();
        }
        if let Op::AddPeer(key, _) | Op::Poke(key, _) = op {
            self.send(*key, Payload::Keepalive, now);
        }
        if *op == Op::SetUp && !was_up {
            for key in self.sims.keys().copied().collect::<Vec<_>>() {
                self.send(key, Payload::Keepalive, now);
            }
        }
    }

    /// The firewall itself, of which `Actual` has the digest.
    fn change_firewall(&mut self, op: &Op, before: Option<FirewallLook>) {
        let Op::Around(around) = op else { return };
        match around {
            Around::SetFirewall(firewall, _) => self.firewall = Some((**firewall).clone()),
            Around::ChangeFirewall(had, changes, _) => {
                if let Some(firewall) = self.firewall.as_mut()
                    && before == Some(FirewallLook::Intact(*had))
                {
                    firewall.change(changes);
                }
            }
            Around::RemoveFirewall => self.firewall = None,
            Around::AddUnreachable(_)
            | Around::RemoveUnreachable(_)
            | Around::AddRule(_)
            | Around::RemoveRule(_)
            | Around::SetSysctl(_) => {}
        }
    }

    /// A link has settings of its own, which come and go with it.
    fn change_settings(&mut self) {
        let sysctls = &mut self.actual.surroundings.sysctls;
        match (self.actual.link.is_some(), sysctls.contains_key(OWN_REVERSE_FILTER)) {
            (true, false) => {
                let value = sysctls.get("net/ipv4/conf/default/rp_filter").cloned().unwrap_or_default();
                sysctls.insert(OWN_REVERSE_FILTER.to_owned(), value);
            }
            (false, true) => drop(sysctls.remove(OWN_REVERSE_FILTER)),
            (true, true) | (false, false) => {}
        }
    }
}
