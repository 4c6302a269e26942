//! Steps about what networks hold besides machines: who does what for others, clients, egress ranges, policies, names.
//!
//! Most name what is there and can be, or too few would succeed; some name anything.

use std::collections::BTreeSet;
use std::net::IpAddr;

use control::{
    Actor, ClientEdit, Command, Edit, EgressEdit, NetworkEdit, NewClient, NewEgress, NewPolicy, NodeEdit,
    PolicyEdit, SetEdit,
};
use ipnet::IpNet;
use model::{
    Access, Addresses, ClientId, DnsName, DnsRecordId, EgressId, HostId, HostName, InternetUse, NetworkId,
    Node, NodeId, PasswordHash, PolicyId, PolicyTestId, RecordData, Role, Router, Service, Subject, Tag,
    Timestamp, UpstreamId, WgPublicKey,
};
use wire::HostSettings;

use super::{Brain, Domains, Hosts, Members, Policies, Step, Ways, What, pick};
use crate::pools::{host_name, ranges};

const NOWHERE: [u8; 16] = [0xee; 16];

fn tag(number: u8) -> Tag {
    ["web", "db", "edge"][usize::from(number % 3)].parse().unwrap()
}

pub(super) fn tags(number: u8) -> BTreeSet<Tag> {
    (0..number % 3).map(|more| tag(number.wrapping_add(more))).collect()
}

/// These in place of what is in a set, or put into it, or taken out of it.
fn set<T: Ord>(these: BTreeSet<T>, number: u8) -> SetEdit<T> {
    match number % 3 {
        0 => Some(these).into(),
        1 => SetEdit { add: these, ..SetEdit::default() },
        _ => SetEdit { remove: these, ..SetEdit::default() },
    }
}

fn member_name(number: u8) -> HostName {
    match number % 9 {
        0 => host_name(number / 9),
        other => format!("phone-{other}").parse().unwrap(),
    }
}

fn outside(number: u8) -> IpNet {
    let text = [
        "192.168.50.0/24",
        "192.168.50.128/25",
        "192.168.60.0/24",
        "172.20.0.0/16",
        "10.9.0.0/25",
        "fd77::/64",
        "fd78::/64",
        "0.0.0.0/0",
        "192.168.50.1/24",
        "172.21.0.0/24",
        "172.22.0.0/24",
        "fd79::/64",
    ];
    text[usize::from(number) % text.len()].parse().unwrap()
}

fn service(number: u8) -> Service {
    ["tcp/443", "tcp", "udp/53", "icmp", "tcp/80-90"][usize::from(number % 5)].parse().unwrap()
}

fn dns_name(number: u8) -> Option<DnsName> {
    let text = ["web", "www", "mail", "a.b", "_ldap._tcp", "db", "phone-1"];
    text.get(usize::from(number % 8)).map(|text| text.parse().unwrap())
}

fn domain(number: u8) -> DnsName {
    let domains =
        ["office.test", "lab.test", "x.office.test", "test", "lab.netloom.internal", "netloom.internal"];
    domains[usize::from(number % 6)].parse().unwrap()
}

fn data(number: u8) -> RecordData {
    match number % 5 {
        0 => RecordData::A { address: [10, 0, 0, number].into() },
        1 => RecordData::Aaaa { address: "fd00::9".parse().unwrap() },
        2 => RecordData::Cname { target: domain(number) },
        3 => RecordData::Txt { text: "hello".repeat(usize::from(number) * 4) },
        _ => RecordData::Srv { priority: 1, weight: 1, port: 80, target: domain(number / 5) },
    }
}

/// Set, cleared or kept.
fn edit<T>(number: u8, value: T) -> Edit<T> {
    match number % 4 {
        0 => Edit::Clear,
        1 => Edit::Keep,
        _ => Edit::Set(value),
    }
}

impl Brain {
    /// A server with machines in two networks, and something of everything that those can hold.
    pub(crate) fn settled() -> Self {
        let mut brain = Self::new();
        for machine in 0..6 {
            let step = Step { what: What::Hosts(Hosts::Register), a: machine, b: 1, c: 2 };
            let registration = brain.registration(&step, HostSettings::default());
            brain.give_as(Actor::Registrant, Command::Register(registration));
        }
        let (name, ranges) = ("home".parse().unwrap(), ranges(2));
        let (keepalive, access, domain) = (None, Some(Access::Deny), None);
        brain.give(Command::CreateNetwork { name, ranges, keepalive, access, approval: false, domain });
        let home = brain.intent.network_by_name(&"home".parse().unwrap()).unwrap().id;
        let hosts: Vec<HostId> = brain.intent.hosts(None).map(|host| host.id).collect();
        for host in hosts {
            brain.give(Command::AddNode { host, network: home, addresses: None, tags: tags(0) });
        }
        let password = PasswordHash::from_phc("$argon2id$".to_owned());
        let [ben, cleo] = ["ben", "cleo"].map(|name| name.parse().unwrap());
        brain.give(Command::CreateUser { name: ben, password: password.clone(), role: Role::Administrator });
        brain.give(Command::CreateUser { name: cleo, password, role: Role::Auditor });
        let office = brain.intent.network_by_name(&"office".parse().unwrap()).unwrap().id;
        brain.settle(0, office);
        brain.settle(1, home);
        brain
    }

    fn settle(&mut self, number: u8, network: NetworkId) {
        // By host: a host has one way to the internet over all networks, so not the same one uses it in both.
        let mut hosts: Vec<(HostId, NodeId)> =
            self.nodes_in(network).map(|node| (node.host, node.id)).collect();
        hosts.sort_unstable();
        let nodes: Vec<NodeId> = hosts.into_iter().map(|(_, node)| node).collect();
        let none = NodeEdit::default;
        let internet = Edit::Set(InternetUse { gateway: Some(nodes[0]), lan: true });
        for (node, edit) in [
            (nodes[0], NodeEdit { remote_access: Some(true), internet_gateway: Some(true), ..none() }),
            (nodes[1], NodeEdit { remote_access: Some(true), ..none() }),
            (nodes[2], NodeEdit { relay: Edit::Set(nodes[0]), ..none() }),
            (nodes[3 + usize::from(number)], NodeEdit { internet, ..none() }),
        ] {
            self.give(Command::UpdateNode { node, edit });
        }
        for (name, owner, gateways) in [("pad", 0, vec![nodes[0]]), ("van", 1, vec![nodes[1], nodes[0]])] {
            let step = Step { what: What::Members(Members::CreateClient), a: number, b: 1, c: 1 };
            self.give(Command::CreateClient(NewClient {
                name: name.parse().unwrap(),
                key: WgPublicKey::from_bytes([200 + 2 * number + owner; 32]),
                addresses: None,
                gateways,
                owner: Some(self.user(owner)),
                ..self.new_client(&step)
            }));
        }
        self.give(Command::CreateEgress(NewEgress {
            network,
            name: "shop".parse().unwrap(),
            range: outside(9 + number),
            mapped: None,
            routers: [nodes[0], nodes[1]].map(|node| Router { priority: 1, node }).into(),
            nat: true,
            enabled: true,
        }));
        self.settle_policies(network, &nodes);
    }

    fn settle_policies(&mut self, network: NetworkId, nodes: &[NodeId]) {
        let client = self.intent.clients_in_network(network).next().unwrap().id;
        let egress = self.intent.egresses_in_network(network).next().unwrap().id;
        let subjects = [
            Subject::Client(client),
            Subject::Egress(egress),
            Subject::User(self.user(0)),
            Subject::Node(nodes[0]),
        ];
        for (node, subject) in nodes.iter().zip(subjects) {
            let from = BTreeSet::from([Subject::Node(*node), Subject::Tag(tag(0))]);
            self.give(Command::CreatePolicy(NewPolicy {
                network,
                name: format!("{subject:?}").chars().take(60).collect::<String>().parse().unwrap(),
                enabled: true,
                from,
                to: [subject.clone()].into(),
                services: BTreeSet::new(),
                both: false,
            }));
            let (from, service, expect) = (Subject::Node(*node), service(0), Access::Allow);
            self.give(Command::CreatePolicyTest { network, from, to: subject, service, expect });
        }
    }

    fn nodes_in(&self, network: NetworkId) -> impl Iterator<Item = &Node> {
        self.intent.nodes_in_network(network, None)
    }

    /// A node of the network, or now and then of another.
    fn mate(&self, network: NetworkId, number: u8) -> NodeId {
        match number % 16 {
            0 => self.node(number / 16),
            _ => pick(self.nodes_in(network).map(|node| node.id), number / 16, NodeId::from_bytes(NOWHERE)),
        }
    }

    fn client(&self, number: u8) -> ClientId {
        pick(self.intent.clients().map(|client| client.id), number, ClientId::from_bytes(NOWHERE))
    }

    fn egress(&self, number: u8) -> EgressId {
        pick(self.intent.egresses().map(|egress| egress.id), number, EgressId::from_bytes(NOWHERE))
    }

    fn policy(&self, number: u8) -> PolicyId {
        let networks = self.intent.networks(None);
        let ids = networks.flat_map(|network| self.intent.policies_in_network(network.id));
        pick(ids.map(|policy| policy.id), number, PolicyId::from_bytes(NOWHERE))
    }

    fn soon(&self, number: u8) -> Timestamp {
        self.now + std::time::Duration::from_secs(u64::from(number))
    }

    /// Addresses that a machine asks for: mostly none.
    pub(super) fn asked(&self, number: u8) -> Vec<IpAddr> {
        let ranges = self.intent.networks(None).filter_map(|network| network.ranges.v4());
        let address = |range: ipnet::Ipv4Net| {
            std::net::Ipv4Addr::from_bits(range.network().to_bits() + u32::from(number / 16 + 1)).into()
        };
        if number % 16 == 3 {
            ranges.take(usize::from(number / 100)).map(address).collect()
        } else {
            Vec::new()
        }
    }

    pub(super) fn ways(&self, what: Ways, step: &Step) -> Command {
        let Step { a, b, c, .. } = *step;
        let id = self.node(a);
        let network = self.intent.node(id).map_or(self.network(a), |node| node.network);
        let none = NodeEdit::default();
        let change = match what {
            Ways::Hub => {
                let hub = edit(c, self.mate(network, b));
                return Command::UpdateNetwork {
                    network,
                    edit: NetworkEdit { hub, ..NetworkEdit::default() },
                };
            }
            Ways::Duties => NodeEdit {
                remote_access: (b % 4 != 3).then_some(b % 4 != 0),
                internet_gateway: (c % 4 > 1).then_some(c % 4 == 2),
                approve: c.is_multiple_of(3),
                ..none
            },
            Ways::Relay => NodeEdit { relay: edit(c, self.mate(network, b)), ..none },
            Ways::Internet => {
                let gateways = self.nodes_in(network).filter(|node| node.duties.internet);
                let gateway = pick(gateways.map(|node| node.id), b, self.mate(network, b));
                let internet = edit(c, InternetUse { gateway: Some(gateway), lan: b.is_multiple_of(2) });
                NodeEdit { internet, ..none }
            }
            Ways::Expiry => NodeEdit { expires: edit(c, self.soon(b)), ..none },
            Ways::Renumber => NodeEdit { addresses: self.addresses(network, c), ..none },
            Ways::Tags => NodeEdit { tags: set(tags(b), c / 2), approve: c.is_multiple_of(2), ..none },
        };
        Command::UpdateNode { node: id, edit: change }
    }

    fn gateways(&self, network: NetworkId, number: u8) -> Vec<NodeId> {
        if number.is_multiple_of(16) {
            return (0..number / 64).map(|more| self.mate(network, number.wrapping_mul(7 + more))).collect();
        }
        let gateways = self.nodes_in(network).filter(|node| node.duties.remote_access);
        gateways.map(|node| node.id).take(usize::from(number % 3) + 1).collect()
    }

    fn client_key(&self, number: u8) -> WgPublicKey {
        // A host's key, or one of few of its own.
        WgPublicKey::from_bytes([if number.is_multiple_of(13) { number % 20 } else { 100 + number % 40 }; 32])
    }

    pub(super) fn members(&self, what: Members, step: &Step) -> Command {
        let Step { a, b, c, .. } = *step;
        match what {
            Members::CreateClient => Command::CreateClient(self.new_client(step)),
            Members::UpdateClient => {
                let client = self.client(a);
                let network = self.intent.client(client).map_or(self.network(a), |client| client.network);
                let ranges = || (0..c % 3).map(|more| outside(b.wrapping_add(more))).collect();
                let edit = ClientEdit {
                    name: (b % 4 == 0).then(|| member_name(c)),
                    key: (b % 4 == 1).then(|| self.client_key(c)),
                    addresses: self.addresses(network, c).filter(|_| b % 7 == 0),
                    gateways: (c % 3 == 0).then(|| self.gateways(network, b)),
                    owner: edit(b, self.user(c)),
                    enabled: (c % 3 != 1).then_some(c % 3 == 0),
                    expires: edit(b / 4, self.soon(c)),
                    ranges: (b % 5 == 0).then(ranges),
                    full_tunnel: (c % 6 < 2).then_some(c.is_multiple_of(6)),
                    ..ClientEdit::default()
                };
                Command::UpdateClient { client, edit }
            }
            Members::DeleteClient => Command::DeleteClient { client: self.client(a) },
            Members::CreateEgress => {
                let network = self.network(a);
                Command::CreateEgress(NewEgress {
                    network,
                    name: format!("site-{}", b % 6).parse().unwrap(),
                    range: outside(b),
                    mapped: c.is_multiple_of(4).then(|| outside(c / 4)),
                    routers: self.routers(network, c),
                    nat: b.is_multiple_of(2),
                    enabled: !c.is_multiple_of(7),
                })
            }
            Members::UpdateEgress => {
                let egress = self.egress(a);
                let network = self.intent.egress(egress).map_or(self.network(a), |egress| egress.network);
                let edit = EgressEdit {
                    name: (b % 5 == 0).then(|| format!("site-{}", c % 6).parse().unwrap()),
                    mapped: edit(c, outside(b)),
                    routers: (b % 3 == 0).then(|| self.routers(network, c)),
                    enabled: (c % 5 < 2).then_some(c.is_multiple_of(5)),
                    ..EgressEdit::default()
                };
                Command::UpdateEgress { egress, edit }
            }
            Members::DeleteEgress => Command::DeleteEgress { egress: self.egress(a) },
            Members::Sweep => {
                Command::Sweep { away: b.is_multiple_of(2).then(|| self.host(a)).into_iter().collect() }
            }
            Members::Default => Command::UpdateHost {
                host: self.host(a),
                name: None,
                mtu: Edit::Keep,
                static_endpoint: Edit::Keep,
                default: Some(b.is_multiple_of(3)),
                ephemeral: Some(c.is_multiple_of(2)),
            },
            Members::OwnKey => Command::OwnKey(self.client_key(b)),
            Members::Rotate => Command::RotateKeys { host: (!b.is_multiple_of(3)).then(|| self.host(a)) },
        }
    }

    fn new_client(&self, step: &Step) -> NewClient {
        let Step { a, b, c, .. } = *step;
        let network = self.network(a);
        let addresses = self.addresses(network, c).unwrap_or_default();
        NewClient {
            network,
            name: member_name(b),
            key: self.client_key(c),
            addresses: Some(addresses).filter(|addresses| c % 4 == 1 && *addresses != Addresses::default()),
            gateways: self.gateways(network, b),
            owner: c.is_multiple_of(2).then(|| self.user(a)).filter(|user| self.intent.user(*user).is_some()),
            tags: tags(c),
            expires: c.is_multiple_of(5).then(|| self.soon(b)),
            ranges: (b.is_multiple_of(6)).then(|| outside(c)).into_iter().collect(),
            full_tunnel: c.is_multiple_of(7),
            enabled: !c.is_multiple_of(9),
            dns: None,
            mtu: None,
            keepalive: None,
        }
    }

    fn routers(&self, network: NetworkId, number: u8) -> BTreeSet<Router> {
        let router = |more: u8| Router {
            priority: u16::from(more),
            node: self.mate(network, number.wrapping_mul(5 + more)),
        };
        (0..=number % 2).map(router).collect()
    }

    fn subject(&self, network: NetworkId, number: u8) -> Subject {
        let nowhere = (ClientId::from_bytes(NOWHERE), EgressId::from_bytes(NOWHERE));
        let clients = self.intent.clients_in_network(network).map(|client| client.id);
        let egresses = self.intent.egresses_in_network(network).map(|egress| egress.id);
        let which = number / 8;
        match number % 8 {
            0 => Subject::Everything,
            1 | 2 => Subject::Node(self.mate(network, number)),
            3 => Subject::Client(pick(clients, which, nowhere.0)),
            4 => Subject::Egress(pick(egresses, which, nowhere.1)),
            5 => Subject::User(self.user(which)),
            6 => Subject::Group("staff".parse().unwrap()),
            _ => Subject::Tag(tag(which)),
        }
    }

    fn side(&self, network: NetworkId, number: u8) -> BTreeSet<Subject> {
        (0..=number % 2).map(|more| self.subject(network, number.wrapping_mul(3 + more))).collect()
    }

    pub(super) fn policies(&self, what: Policies, step: &Step) -> Command {
        let Step { a, b, c, .. } = *step;
        let network = self.network(a);
        let name = || format!("rule {}", c % 8).parse().unwrap();
        let services = || (0..c % 3).map(|more| service(c.wrapping_add(more))).collect();
        match what {
            Policies::Create => Command::CreatePolicy(NewPolicy {
                network,
                name: name(),
                enabled: !b.is_multiple_of(5),
                from: self.side(network, b),
                to: self.side(network, c),
                services: services(),
                both: c.is_multiple_of(4),
            }),
            Policies::Update => {
                let policy = self.policy(a);
                let network = self.intent.policy(policy).map_or(network, |policy| policy.network);
                let edit = PolicyEdit {
                    name: b.is_multiple_of(4).then(name),
                    enabled: (c % 3 < 2).then_some(c.is_multiple_of(3)),
                    from: b.is_multiple_of(3).then(|| self.side(network, c)).into(),
                    to: match b.is_multiple_of(5) {
                        true => set(self.side(network, c / 2), a),
                        false => SetEdit::default(),
                    },
                    services: (b % 3 == 1).then(services),
                    both: (c % 5 == 0).then_some(b.is_multiple_of(2)),
                };
                Command::UpdatePolicy { policy, edit }
            }
            Policies::Delete => Command::DeletePolicy { policy: self.policy(a) },
            Policies::CreateTest => Command::CreatePolicyTest {
                network,
                from: self.subject(network, b),
                to: self.subject(network, c),
                service: service(a / 4),
                expect: if b.is_multiple_of(2) { Access::Allow } else { Access::Deny },
            },
            Policies::DeleteTest => {
                let ids = self.intent.policy_tests_in_network(network).map(|test| test.id);
                Command::DeletePolicyTest { test: pick(ids, b, PolicyTestId::from_bytes(NOWHERE)) }
            }
            Policies::SetGroups => {
                let groups = (0..b % 2).map(|_| "staff".parse().unwrap()).collect();
                Command::SetGroups { user: self.user(a), groups }
            }
            Policies::Access => {
                let access = Some(if b.is_multiple_of(2) { Access::Allow } else { Access::Deny });
                let approval = Some(c.is_multiple_of(3));
                Command::UpdateNetwork {
                    network,
                    edit: NetworkEdit { access, approval, ..NetworkEdit::default() },
                }
            }
        }
    }

    pub(super) fn domains(&self, what: Domains, step: &Step) -> Command {
        let Step { a, b, c, .. } = *step;
        let network = self.network(a);
        let record = || {
            let ids = self.intent.dns_records_in_network(network).map(|record| record.id);
            pick(ids, b, DnsRecordId::from_bytes(NOWHERE))
        };
        let upstream = || {
            let ids = self.intent.upstreams_in_network(network).map(|upstream| upstream.id);
            pick(ids, b, UpstreamId::from_bytes(NOWHERE))
        };
        let ttl = if c.is_multiple_of(9) { u32::MAX } else { u32::from(c) };
        let servers = || (0..b % 6).map(|last| ([192, 0, 2, last], 53).into()).collect();
        match what {
            Domains::CreateRecord => {
                Command::CreateDnsRecord { network, name: dns_name(b), ttl, data: data(c) }
            }
            Domains::UpdateRecord => Command::UpdateDnsRecord {
                record: record(),
                ttl: b.is_multiple_of(2).then_some(ttl),
                data: c.is_multiple_of(2).then(|| data(c / 2)),
            },
            Domains::DeleteRecord => Command::DeleteDnsRecord { record: record() },
            Domains::CreateUpstream => {
                Command::CreateUpstream { network, domain: domain(c), servers: servers() }
            }
            Domains::UpdateUpstream => Command::UpdateUpstream { upstream: upstream(), servers: servers() },
            Domains::DeleteUpstream => Command::DeleteUpstream { upstream: upstream() },
            Domains::Domain => {
                let domain = edit(c, domain(b));
                Command::UpdateNetwork { network, edit: NetworkEdit { domain, ..NetworkEdit::default() } }
            }
        }
    }
}
