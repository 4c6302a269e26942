//! What must be true when the world has come to rest: each machine has what the definition and the model say, and each pair
//! of ends reaches each other exactly for what the model says.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use model::WgPublicKey;
use reconcile::FirewallLook;

use super::ask::End;
use super::model::{Member, Model};
use super::packet::Service;
use super::server::DOORS;
use super::{NETWORKS, World};

/// What is asked for: rules of random histories name some of it.
pub(super) const SERVICES: [Service; 3] = [Service::Ping, Service::Tcp(80), Service::Udp(500)];

/// What is expected of a question.
struct Expected {
    number: u64,
    from: End,
    to: End,
    address: IpAddr,
    service: Service,
    answered: bool,
}

impl World {
    /// Ends all trouble, has every client import what it is to have, and lets everything settle.
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
        // Every other one comes in by its second gateway, if it has two.
        for client in 0..self.clients.len() {
            self.import_by(client, client % 2);
        }
        if !self.clients.is_empty() {
            self.run(Duration::from_secs(60));
        }
    }

    /// Checks everything that must be true at rest.
    pub fn check(&mut self) {
        for host in 0..self.hosts.len() {
            self.check_host(host);
        }
        self.check_names_at_rest();
        self.check_paths();
        self.check_questions();
    }

    /// Checks that the machine has what it must have, and nothing else.
    fn check_host(&self, host: usize) {
        let machine = &self.hosts[host];
        let member = self.server.intent.host(machine.id);
        if machine.place.is_none() {
            return;
        }
        let Some(member) = member else {
            assert!(machine.removed, "host {host} knows that it was removed");
            assert!(
                machine.kernel.is_untouched(),
                "host {host} is as it was before us: {:?}",
                machine.kernel.actual
            );
            assert!(machine.disk.map.is_none() && machine.disk.kept.0.is_empty());
            return;
        };
        let map = machine.map().unwrap_or_else(|| panic!("host {host} has a map"));
        let definition = self.server.definition(machine.id, map.generation);
        assert_eq!(Some(map), definition.as_ref(), "host {host} has the map that the definition says");
        assert_eq!(machine.disk.map.as_ref(), Some(map), "host {host} has it on disk");
        assert!(!machine.wants_broker(), "host {host} is connected");
        assert_eq!(machine.left_to_do(self.now), [], "host {host} has nothing left to do");
        let look = machine
            .kernel
            .firewall
            .as_ref()
            .map_or(FirewallLook::Absent, |it| FirewallLook::Intact(it.digest()));
        assert_eq!(
            machine.kernel.actual.surroundings.firewall,
            Some(look),
            "host {host}'s firewall is what it shows"
        );

        assert_eq!(
            machine.kernel.key(),
            Some(member.wireguard_key),
            "host {host} has the key that others know"
        );
        assert!(!member.rotate && machine.keys.next.is_none(), "host {host} has the key it was to make");
        let peers: BTreeSet<WgPublicKey> =
            machine.kernel.peers().expect("the device").keys().copied().collect();
        let mut expected = Model::new(self, &self.server.intent).keys_of(host);
        expected.extend(DOORS.map(|(key, _, _)| key));
        assert_eq!(peers, expected, "host {host} has sessions with those it is to have, and no others");
    }

    /// Checks that each host says of its paths what is so.
    fn check_paths(&self) {
        let model = Model::new(self, &self.server.intent);
        for one in (0..self.hosts.len()).filter(|host| self.hosts[*host].place.is_some()) {
            let keys = model.keys_of(one);
            for other in 0..self.hosts.len() {
                let known = self.server.intent.host(self.hosts[other].id);
                if known.is_none_or(|known| !keys.contains(&known.wireguard_key)) {
                    continue;
                }
                let path = self.path(one, other);
                let talks = model.can_reach(one, other);
                let live = !path.starts_with("unreachable") && !path.starts_with("trying");
                assert_eq!(live, talks, "the path from {one} to {other}: {path}");
                assert!(talks || path.starts_with("unreachable"), "the path from {one} to {other}: {path}");
            }
        }
    }

    pub(super) fn ends(&self) -> Vec<End> {
        let hosts =
            (0..self.hosts.len()).filter(|host| self.server.intent.host(self.hosts[*host].id).is_some());
        let clients = (0..self.clients.len()).map(End::Client);
        hosts.map(End::Host).chain(clients).chain((0..self.annexes.len()).map(End::Annex)).collect()
    }

    /// By what an end is asked in a network.
    pub(super) fn addresses(&self, model: &Model<'_>, end: End, network: usize) -> Vec<IpAddr> {
        match model.member(end, network) {
            Some(Member::Node(node)) => node.addresses.iter().collect(),
            Some(Member::Client(client)) => client.addresses.iter().collect(),
            Some(Member::Egress(egress)) => {
                let End::Annex(annex) = end else { return Vec::new() };
                let real = self.annexes[annex].machine();
                let mapped =
                    egress.mapped.and_then(|mapped| reconcile::PrefixMap::new(mapped, egress.range).ok());
                vec![mapped.and_then(|map| map.to_mapped(real)).unwrap_or(real)]
            }
            None => Vec::new(),
        }
    }

    /// Asks everybody for everything, by every address.
    fn check_questions(&mut self) {
        let intent = self.server.intent.clone();
        let mut wanted = Vec::new();
        let model = Model::new(self, &intent);
        let mut ends = self.ends();
        ends.retain(|end| !model.hangs_by_a_thread(*end));
        for (from, to) in ends.iter().flat_map(|from| ends.iter().map(move |to| (*from, *to))) {
            if from == to || model.is_near(from, to) {
                continue;
            }
            let shared =
                |network| model.member(from, network).is_some() && model.member(to, network).is_some();
            let tunnels = (0..NETWORKS).any(|network| model.uses_gateway(from, network));
            for network in 0..NETWORKS {
                // A tunnel brings each of a range's names to the gateway, which may itself lead there.
                let is_range = matches!(to, End::Annex(_));
                if is_range && tunnels && (0..NETWORKS).any(|other| other != network && shared(other)) {
                    continue;
                }
                for address in self.addresses(&model, to, network) {
                    // Ranges are of IPv4.
                    if address.is_ipv6() && matches!(from, End::Annex(_)) {
                        continue;
                    }
                    for service in SERVICES {
                        let may = model.reaches(from, to, network, service);
                        wanted.push((from, to, address, service, may));
                    }
                }
            }
        }
        for from in ends.iter().copied().filter(|end| !matches!(end, End::Annex(_))) {
            let leaves = model.leaves_by(from).is_some();
            wanted.push((from, End::Outside, self.outside(), Service::Tcp(443), leaves));
        }
        drop(model);
        self.ask_all(wanted);
    }

    fn ask_all(&mut self, wanted: Vec<(End, End, IpAddr, Service, bool)>) {
        self.forget_questions();
        let mut expected = Vec::new();
        for (from, to, address, service, answered) in wanted {
            let number = self.ask(from, address, service);
            expected.push(Expected { number, from, to, address, service, answered });
        }
        self.run(Duration::from_secs(8));
        for question in expected {
            let Expected { number, from, to, address, service, answered } = question;
            assert_eq!(
                self.is_answered_by(number, to),
                answered,
                "{from:?} asks {to:?} at {address} for {service:?}, and should be answered: {answered}"
            );
        }
    }
}
