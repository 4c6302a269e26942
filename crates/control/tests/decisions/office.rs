//! A network with five hosts, `ada` to `eve`, to give commands about. `ada` is a remote access and internet gateway, `bob` a
//! remote access gateway.

use std::collections::BTreeSet;

use control::{Change, Command, Edit, NewClient, NewEgress, NewPolicy, NodeEdit, Rejection};
use model::{
    Client, ClientId, Egress, EgressId, HostId, InternetUse, NetworkId, Node, NodeId, PolicyId, Router,
    Subject, Uses, WgPublicKey,
};

use crate::server::{Server, machine};

/// What the server's clock says.
pub(crate) const SWEEP: Command = Command::Sweep { away: BTreeSet::new() };

pub(crate) struct Office {
    pub(crate) server: Server,
    pub(crate) network: NetworkId,
}

/// The code of a refusal, whose sentence says all of this.
pub(crate) fn refused(result: Result<Change, Rejection>, parts: &[&str]) -> &'static str {
    let rejection = result.unwrap_err();
    let sentence = rejection.to_string();
    assert!(parts.iter().all(|part| sentence.contains(part)), "{sentence}");
    rejection.code()
}

impl Office {
    pub(crate) fn new() -> Self {
        let mut server = Server::new();
        let network = server.network("office", "10.7.0.0/24");
        server.key(1, &[network], Uses::Unlimited, None);
        for (number, name) in (1..).zip(["ada", "bob", "cleo", "dan", "eve"]) {
            let mut machine = machine(number, Some(1));
            machine.hostname = name.parse().unwrap();
            server.register(machine).unwrap();
        }
        let mut office = Self { server, network };
        let both =
            NodeEdit { remote_access: Some(true), internet_gateway: Some(true), ..NodeEdit::default() };
        office.edit("ada", both).unwrap();
        office.edit("bob", NodeEdit { remote_access: Some(true), ..NodeEdit::default() }).unwrap();
        office
    }

    pub(crate) fn give(&mut self, command: Command) -> Result<Change, Rejection> {
        self.server.system(command)
    }

    pub(crate) fn host(&self, name: &str) -> HostId {
        self.server.intent.host_by_name(&name.parse().unwrap()).unwrap().id
    }

    pub(crate) fn node(&self, name: &str) -> &Node {
        self.server.intent.node_of(self.host(name), self.network).unwrap()
    }

    pub(crate) fn id(&self, name: &str) -> NodeId {
        self.node(name).id
    }

    pub(crate) fn edit(&mut self, name: &str, edit: NodeEdit) -> Result<Change, Rejection> {
        let node = self.id(name);
        self.give(Command::UpdateNode { node, edit })
    }

    pub(crate) fn relay(&mut self, name: &str, relay: &str) -> Result<Change, Rejection> {
        let relay = Edit::Set(self.id(relay));
        self.edit(name, NodeEdit { relay, ..NodeEdit::default() })
    }

    pub(crate) fn through(&mut self, name: &str, gateway: &str) -> Result<Change, Rejection> {
        let internet = Edit::Set(InternetUse { gateway: Some(self.id(gateway)), lan: false });
        self.edit(name, NodeEdit { internet, ..NodeEdit::default() })
    }

    /// A client to make, that comes in through these.
    pub(crate) fn new_client(&self, name: &str, gateways: &[&str]) -> NewClient {
        let key = name.bytes().fold(7, |sum: u8, byte| sum.wrapping_mul(31).wrapping_add(byte)) | 128;
        NewClient {
            network: self.network,
            name: name.parse().unwrap(),
            key: WgPublicKey::from_bytes([key; 32]),
            addresses: None,
            gateways: gateways.iter().map(|name| self.id(name)).collect(),
            owner: None,
            enabled: true,
            tags: BTreeSet::new(),
            expires: None,
            ranges: BTreeSet::new(),
            full_tunnel: false,
            dns: None,
            mtu: None,
            keepalive: None,
        }
    }

    pub(crate) fn make_client(&mut self, new: NewClient) -> ClientId {
        let change = self.give(Command::CreateClient(new)).unwrap();
        change.made::<Client>().unwrap().id
    }

    pub(crate) fn client(&mut self, name: &str, gateways: &[&str]) -> ClientId {
        let new = self.new_client(name, gateways);
        self.make_client(new)
    }

    /// An egress range to make, behind these.
    pub(crate) fn new_egress(&self, name: &str, range: &str, routers: &[&str]) -> NewEgress {
        let routers = routers.iter().map(|name| Router { priority: 1, node: self.id(name) });
        NewEgress {
            network: self.network,
            name: name.parse().unwrap(),
            range: range.parse().unwrap(),
            mapped: None,
            routers: routers.collect(),
            nat: true,
            enabled: true,
        }
    }

    pub(crate) fn egress(&mut self, name: &str, range: &str, routers: &[&str]) -> EgressId {
        let new = self.new_egress(name, range, routers);
        let change = self.give(Command::CreateEgress(new)).unwrap();
        change.made::<Egress>().unwrap().id
    }

    /// A policy to make.
    pub(crate) fn new_policy(&self, name: &str, from: &[Subject], to: &[Subject]) -> NewPolicy {
        NewPolicy {
            network: self.network,
            name: name.parse().unwrap(),
            enabled: true,
            from: from.iter().cloned().collect(),
            to: to.iter().cloned().collect(),
            services: BTreeSet::new(),
            both: false,
        }
    }

    pub(crate) fn policy(&mut self, name: &str, from: &[Subject], to: &[Subject]) -> PolicyId {
        let new = self.new_policy(name, from, to);
        self.give(Command::CreatePolicy(new)).unwrap();
        self.server.intent.policy_by_name(self.network, &name.parse().unwrap()).unwrap().id
    }
}
