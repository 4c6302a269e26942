//! What may happen to a world from outside: machines come, move, break and go; so do connections, NATs and the server.

use std::time::Duration;

use control::{Actor, Command, Edit, NodeEdit, Register};
use model::{Digest, HostId, HostName, SealingPublicKey, SigningPublicKey, WgPublicKey};
use reconcile::{AgentEvent, AskFailure};
use wire::{HostSettings, Leave};

use super::host::Host;
use super::kernel::wall;
use super::names::Followed;
use super::{NETWORKS, World};

/// What all keys of a machine are made of.
fn byte(number: usize) -> u8 {
    u8::try_from(number + 1).expect("few machines")
}

impl World {
    /// A machine at this site joins these networks; its number. The server must be up.
    pub fn join(&mut self, site: usize, networks: [bool; NETWORKS]) -> usize {
        let number = self.hosts.len();
        let key = WgPublicKey::from_bytes([byte(number); 32]);
        let id = self.register(number, networks, key);
        self.hosts.push(Host::new(id, key, number as u64 + 1));
        self.by_id.insert(id, number);
        self.move_to(number, Some(site));
        self.start(number);
        number
    }

    /// A machine that was removed, and knows it, joins these networks anew; whether it did. The server must be up.
    pub fn rejoin(&mut self, host: usize, networks: [bool; NETWORKS]) -> bool {
        if !self.hosts[host].removed {
            return false;
        }
        let id = self.register(host, networks, self.hosts[host].keys.counts);
        self.by_id.insert(id, host);
        self.hosts[host].begin_anew(id);
        self.start(host);
        true
    }

    /// Whether the server knows the machine.
    pub fn is_member(&self, host: usize) -> bool {
        self.server.intent.host(self.hosts[host].id).is_some()
    }

    /// Whether the machine is removed when it has been away for a while. The server must be up.
    pub fn make_ephemeral(&mut self, host: usize, ephemeral: bool) {
        let command = Command::UpdateHost {
            host: self.hosts[host].id,
            name: None,
            mtu: Edit::Keep,
            static_endpoint: Edit::Keep,
            default: None,
            ephemeral: Some(ephemeral),
        };
        self.command(command);
    }

    fn register(&mut self, number: usize, networks: [bool; NETWORKS], key: WgPublicKey) -> HostId {
        let byte = byte(number);
        let bits = networks.iter().enumerate().map(|(at, is_in)| u8::from(*is_in) << at);
        let enrollment: u8 = bits.sum();
        let registration = Register {
            enrollment: Some(Digest::from_bytes([enrollment; 32])),
            hostname: HostName::nearest(&format!("host{number}")),
            wireguard_key: key,
            signing_key: SigningPublicKey::from_bytes([byte; 32]),
            sealing_key: SealingPublicKey::from_bytes([byte; 32]),
            encapsulated: SealingPublicKey::from_bytes([byte; 32]),
            server: None,
            settings: HostSettings::default(),
            addresses: Vec::new(),
        };
        let signing = registration.signing_key;
        let said = self.give(Actor::Registrant, Command::Register(registration));
        said.unwrap_or_else(|refused| panic!("a machine is let in: {refused}"));
        self.server.intent.host_by_signing_key(&signing).expect("it has just registered").id
    }

    /// The machine leaves everything, of its own will. The server must be up.
    pub fn leave(&mut self, host: usize) {
        let id = self.hosts[host].id;
        let said = self.give(Actor::Host(id), Command::OwnLeave(Leave::Server));
        said.unwrap_or_else(|refused| panic!("a machine may leave: {refused}"));
        self.hosts[host].hear(AgentEvent::AskFailed(AskFailure::Removed), self.now);
    }

    /// An administrator removes the machine. The server must be up.
    pub fn remove(&mut self, host: usize) {
        let host_id = self.hosts[host].id;
        self.command(Command::RemoveHost { host: host_id });
    }

    /// A node takes part, or pauses. The server must be up.
    pub fn switch(&mut self, host: usize, network: usize, connected: bool) {
        let node =
            self.server.intent.node_of(self.hosts[host].id, self.networks[network]).map(|node| node.id);
        if let Some(node) = node {
            let edit = NodeEdit { connected: Some(connected), ..NodeEdit::default() };
            self.command(Command::UpdateNode { node, edit });
        }
    }

    /// The machine moves to another site, or off the net.
    pub fn move_to(&mut self, host: usize, site: Option<usize>) {
        self.break_link(host);
        let place = site.map(|site| self.net.place(site, host));
        let local = place.map(|place| self.net.local(place));
        self.hosts[host].moved(place, local, self.now);
    }

    /// The NAT of a site forgets its mappings.
    pub fn restart_nat(&mut self, site: usize) {
        self.net.restart(site);
    }

    /// The agent dies at once, or after so many further ops.
    pub fn crash(&mut self, host: usize, after: Option<usize>) {
        match after {
            Some(ops) => self.hosts[host].dies_after = Some(ops),
            None => self.hosts[host].stop(),
        }
        self.act(host);
    }

    /// The connection is no more, and the broker says so; whether there was one.
    pub(super) fn unlink(&mut self, host: usize) -> bool {
        let was_there = self.links.remove(&host).is_some();
        if was_there && self.is_member(host) {
            let (id, now) = (self.hosts[host].id, wall(self.now));
            self.server.inventory.observe_presence(id, false, now);
        }
        was_there
    }

    /// The agent starts, or starts anew.
    pub fn start(&mut self, host: usize) {
        self.unlink(host);
        if self.hosts[host].removed {
            return;
        }
        self.hosts[host].dies_after = None;
        let seed = self.random.next();
        let names = self.names.map(|make| Followed::new(make()));
        self.hosts[host].start(seed, names, self.now);
    }

    /// The machine is switched off and on: what is in the kernel is gone, what is on disk stays.
    pub fn reboot(&mut self, host: usize) {
        let machine = &mut self.hosts[host];
        machine.kernel.reboot(1_000 * (machine.run + 1) + host as u64);
        machine.keys.rebooted();
        machine.forget_applied();
        self.start(host);
    }

    /// The connection between agent and broker breaks; what is under way in it is lost.
    pub fn break_link(&mut self, host: usize) {
        if self.unlink(host) {
            let delay = self.random.about(Duration::from_millis(500));
            self.down(host, delay, self.hosts[host].attempts);
        }
    }

    /// The server goes away.
    pub fn stop_server(&mut self) {
        self.server.up = false;
        for host in self.links.keys().copied().collect::<Vec<_>>() {
            self.break_link(host);
        }
    }

    /// The server starts anew, with or without what it had observed.
    pub fn start_server(&mut self, forgets: bool) {
        self.stop_server();
        self.server.restart(forgets, self.now, &mut self.history);
    }
}
