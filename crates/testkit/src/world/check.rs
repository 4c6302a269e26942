//! What must be true when the world has come to rest, and the reference model that says so.
//!
//! The model knows what was asked for and where machines are, and nothing of maps, deltas, ops or paths.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use model::WgPublicKey;

use super::net::Border;
use super::server::DOORS;
use super::{NETWORKS, World};

#[derive(Debug, Clone)]
struct Machine {
    member: bool,
    /// For each network: whether it is in it, and takes part.
    networks: [Option<bool>; NETWORKS],
    site: Option<usize>,
}

/// Who should be able to talk to whom.
#[derive(Debug, Clone)]
pub(super) struct Model {
    borders: Vec<Border>,
    machines: Vec<Machine>,
}

impl Model {
    pub(super) fn new(borders: &[Border]) -> Self {
        Self { borders: borders.to_vec(), machines: Vec::new() }
    }

    pub(super) fn join(&mut self, networks: [bool; NETWORKS]) {
        let networks = networks.map(|is_in| is_in.then_some(true));
        self.machines.push(Machine { member: true, networks, site: None });
    }

    pub(super) fn leave(&mut self, machine: usize) {
        self.machines[machine].member = false;
    }

    pub(super) fn switch(&mut self, machine: usize, network: usize, connected: bool) {
        self.machines[machine].networks[network] = Some(connected);
    }

    pub(super) fn move_to(&mut self, machine: usize, site: Option<usize>) {
        self.machines[machine].site = site;
    }

    fn takes_part(&self, machine: usize, network: usize) -> bool {
        let machine = &self.machines[machine];
        machine.member && machine.networks[network] == Some(true)
    }

    fn may_talk_in(&self, one: usize, other: usize, network: usize) -> bool {
        one != other && self.takes_part(one, network) && self.takes_part(other, network)
    }

    fn may_talk(&self, one: usize, other: usize) -> bool {
        (0..NETWORKS).any(|network| self.may_talk_in(one, other, network))
    }

    /// Whether what stands between two machines lets them reach each other without a relay.
    fn can_reach(&self, one: usize, other: usize) -> bool {
        let (Some(one), Some(other)) = (self.machines[one].site, self.machines[other].site) else {
            return false;
        };
        match (self.borders[one], self.borders[other]) {
            _ if one == other => true,
            (Border::Open, _) | (_, Border::Open) => true,
            (Border::OneMapping, Border::OneMapping) => true,
            (Border::PerDestination, Border::OneMapping | Border::PerDestination)
            | (Border::OneMapping, Border::PerDestination) => false,
        }
    }
}

impl World {
    /// Ends all trouble, and lets everything settle.
    pub fn settle(&mut self) {
        (self.loss, self.twice) = (0, 0);
        if !self.server.up {
            self.start_server(false);
        }
        for host in 0..self.hosts.len() {
            self.hosts[host].dies_after = None;
            if !self.hosts[host].runs() {
                self.start(host);
            }
        }
        // Longer than the longest pause before a peer that did not answer is tried again, and all its rounds.
        self.run(Duration::from_secs(400));
    }

    /// Checks everything that must be true at rest.
    pub fn check(&mut self) {
        for host in 0..self.hosts.len() {
            self.check_host(host);
        }
        self.check_pairs();
    }

    /// Checks that the machine has what it must have, and nothing else.
    fn check_host(&self, host: usize) {
        let machine = &self.hosts[host];
        let member = self.model.machines[host].member;
        let placed = machine.place.is_some();
        assert_eq!(self.server.intent.host(machine.id).is_some(), member, "host {host} exists");
        if !placed {
            return;
        }
        if !member {
            assert!(machine.removed, "host {host} knows that it was removed");
            assert_eq!(machine.kernel.actual.link, None, "host {host} has nothing of ours any more");
            assert_eq!(machine.disk, None);
            return;
        }
        let map = machine.map().unwrap_or_else(|| panic!("host {host} has a map"));
        let definition = self.server.definition(machine.id, map.generation);
        assert_eq!(Some(map), definition.as_ref(), "host {host} has the map that the definition says");
        assert_eq!(machine.disk.as_ref(), Some(map), "host {host} has it on disk");
        assert!(!machine.wants_broker(), "host {host} is connected");

        let device = machine.kernel.actual.link.as_ref().and_then(|link| link.device.as_ref());
        let peers: BTreeSet<WgPublicKey> = device.expect("the device").peers.keys().copied().collect();
        let others = (0..self.hosts.len()).filter(|other| self.model.may_talk(host, *other));
        let expected: BTreeSet<WgPublicKey> =
            others.map(|other| self.hosts[other].key).chain(DOORS.map(|(key, _, _)| key)).collect();
        assert_eq!(peers, expected, "host {host} has the peers it may talk to, and no others");
    }

    /// Probes every pair in every network.
    fn check_pairs(&mut self) {
        let mut expected = Vec::new();
        for one in 0..self.hosts.len() {
            for other in 0..self.hosts.len() {
                for network in 0..NETWORKS {
                    let Some(address) = self.address(other, network) else { continue };
                    let number = expected.len() as u64;
                    self.ping(one, address, number);
                    let may = self.model.may_talk_in(one, other, network);
                    expected.push((one, other, network, may && self.model.can_reach(one, other), may));
                }
            }
        }
        self.run(Duration::from_secs(10));
        let mut answered = BTreeSet::new();
        for host in &mut self.hosts {
            answered.extend(std::mem::take(&mut host.kernel.pongs));
        }
        for (number, (one, other, network, talks, may)) in expected.into_iter().enumerate() {
            let path = self.hosts[one].path(&self.hosts[other].key);
            assert_eq!(
                answered.contains(&(number as u64)),
                talks,
                "host {one} reaches host {other} in network {network} (it may: {may}); its path: {path}"
            );
            if talks {
                assert!(
                    !path.starts_with("unreachable") && !path.starts_with("trying"),
                    "{one} to {other}: {path}"
                );
            }
            if may && !talks && self.hosts[one].place.is_some() {
                assert!(path.starts_with("unreachable"), "{one} to {other}: {path}");
            }
        }
    }

    /// A host's address in a network.
    pub fn address(&self, host: usize, network: usize) -> Option<IpAddr> {
        let node = self.server.intent.node_of(self.hosts[host].id, self.networks[network])?;
        node.addresses.v4.map(IpAddr::from)
    }

    /// Sends a ping from a host; `pongs` tells which were answered.
    pub fn ping(&mut self, host: usize, to: IpAddr, number: u64) {
        self.hosts[host].kernel.ping(to, number, self.now);
        self.transmit(host);
    }

    /// The numbers of a host's pings that were answered since this was last asked.
    pub fn pongs(&mut self, host: usize) -> Vec<u64> {
        std::mem::take(&mut self.hosts[host].kernel.pongs)
    }

    /// How a host sees its path to another, in words.
    pub fn path(&self, host: usize, other: usize) -> String {
        self.hosts[host].path(&self.hosts[other].key)
    }
}
