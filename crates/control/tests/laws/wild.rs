//! Random intents with everything that networks can hold, made of records without asking `decide`: laws of policies and plans
//! hold for whatever goes together.
//!
//! It keeps true what `decide` promises planners: that a node which is reached through another carries nothing.

use std::collections::BTreeSet;

use control::{ActorName, Change, Intent, Record, RecordChange, apply};
use model::{
    Access, Addresses, Client, ClientId, DnsRecord, DnsRecordId, Duties, Egress, EgressId, Host, HostId,
    InternetUse, Keepalive, Network, NetworkId, Node, NodeId, PasswordHash, Policy, PolicyId, PolicyTest,
    PolicyTestId, Ranges, RecordData, Role, Router, SealingIdentity, SealingPublicKey, Service,
    SigningPublicKey, Subject, Tag, Timestamp, Upstream, UpstreamId, User, UserId, WgPublicKey,
};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
/// How many there may be of what.
pub(crate) const NETWORKS: u8 = 2;
pub(crate) const HOSTS: u8 = 9;
const CLIENTS: u8 = 6;
const EGRESSES: u8 = 4;
const POLICIES: u8 = 7;
const USERS: u8 = 3;

/// One step: what, and numbers that say which.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    what: What,
    a: u8,
    b: u8,
    c: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Node,
    NodeSwitch,
    NodeTags,
    NodeDuties,
    NodeRelay,
    NodeInternet,
    Host,
    Access,
    Hub,
    NetworkRest,
    Client,
    ClientRest,
    Egress,
    Policy,
    PolicySwitch,
    Test,
    Groups,
    Names,
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        6 => Just(What::Node),
        3 => Just(What::NodeSwitch),
        4 => Just(What::NodeTags),
        2 => Just(What::NodeDuties),
        3 => Just(What::NodeRelay),
        2 => Just(What::NodeInternet),
        2 => Just(What::Host),
        1 => Just(What::Access),
        1 => Just(What::Hub),
        1 => Just(What::NetworkRest),
        4 => Just(What::Client),
        3 => Just(What::ClientRest),
        4 => Just(What::Egress),
        6 => Just(What::Policy),
        3 => Just(What::PolicySwitch),
        2 => Just(What::Test),
        1 => Just(What::Groups),
        1 => Just(What::Names),
    ]
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    (what(), any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(what, a, b, c)| Step { what, a, b, c })
}

pub(crate) fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 0..most)
}

/// Bytes of an id: of few kinds of last byte, so that buckets are shared.
fn id(kind: u8, number: u8) -> [u8; 16] {
    let mut bytes = [kind; 16];
    (bytes[0], bytes[15]) = (number.wrapping_mul(57), number % 5);
    bytes[1] = number;
    bytes
}

pub(crate) fn network_id(number: u8) -> NetworkId {
    NetworkId::from_bytes(id(1, number % NETWORKS))
}

pub(crate) fn host_id(number: u8) -> HostId {
    HostId::from_bytes(id(2, number % HOSTS))
}

pub(crate) fn client_id(number: u8) -> ClientId {
    ClientId::from_bytes(id(5, number % CLIENTS))
}

fn node_id(host: u8, network: u8) -> NodeId {
    NodeId::from_bytes(id(3, (host % HOSTS) * NETWORKS + network % NETWORKS))
}

fn tag(number: u8) -> Tag {
    ["db", "web", "dev"][usize::from(number % 3)].parse().unwrap()
}

fn tags(bits: u8) -> BTreeSet<Tag> {
    (0..3).filter(|bit| bits >> bit & 1 == 1).map(tag).collect()
}

fn user_id(number: u8) -> UserId {
    UserId::from_bytes(id(4, number % USERS))
}

fn host(number: u8) -> Host {
    let number = number % HOSTS;
    let key = SealingPublicKey::from_bytes([number; 32]);
    Host {
        id: host_id(number),
        name: format!("host-{number}").parse().unwrap(),
        wireguard_key: WgPublicKey::from_bytes([number + 1; 32]),
        signing_key: SigningPublicKey::from_bytes([number; 32]),
        sealing: SealingIdentity { key, encapsulated: key, server: None },
        mtu: None,
        static_endpoint: None,
        default: false,
        ephemeral: false,
        rotate: false,
        rotate_since: None,
        rekeyed: None,
        created: NOW,
    }
}

fn network(number: u8) -> Network {
    let number = number % NETWORKS;
    Network {
        id: network_id(number),
        name: format!("net-{number}").parse().unwrap(),
        ranges: Ranges::new(Some(format!("10.{number}.0.0/16").parse().unwrap()), None).unwrap(),
        keepalive: Keepalive::DEFAULT,
        access: if number == 0 { Access::Deny } else { Access::Allow },
        approval: false,
        hub: None,
        domain: None,
        created: NOW,
    }
}

fn addresses(network: u8, kind: u8, number: u8) -> Addresses {
    let v4 = format!("10.{}.{kind}.{}", network % NETWORKS, number + 1);
    Addresses { v4: v4.parse().ok(), v6: None }
}

fn node(number: u8, network: u8) -> Node {
    let number = number % HOSTS;
    Node {
        id: node_id(number, network),
        host: host_id(number),
        network: network_id(network),
        addresses: addresses(network, 1, number),
        connected: true,
        pending: false,
        tags: BTreeSet::new(),
        duties: Duties::default(),
        relay: None,
        internet: None,
        expires: None,
        created: NOW,
    }
}

fn user(number: u8) -> User {
    let number = number % USERS;
    User {
        id: user_id(number),
        name: format!("user-{number}").parse().unwrap(),
        password: PasswordHash::from_phc("$argon2id$".to_owned()),
        role: Role::Administrator,
        groups: BTreeSet::new(),
        created: NOW,
    }
}

/// Two networks, one of which denies, with all hosts and half of their nodes.
pub(crate) fn start() -> Intent {
    let records = (0..NETWORKS).map(|number| Record::from(network(number)));
    let records = records.chain((0..HOSTS).map(|number| host(number).into()));
    let records = records.chain((0..USERS).map(|number| user(number).into()));
    let nodes = (0..HOSTS).flat_map(|host| (0..NETWORKS).map(move |network| (host, network)));
    let nodes = nodes.filter(|(host, network)| (host + network) % 3 != 0);
    let records = records.chain(nodes.map(|(host, network)| node(host, network).into()));
    Intent::from_records(1, records).unwrap()
}

fn change(records: Vec<RecordChange>) -> Change {
    let actor = ActorName::from_text("system".to_owned());
    Change { actor, command: "wild".into(), records }
}

fn put<T: Clone + Into<Record>>(old: Option<&T>, new: Option<T>) -> RecordChange {
    RecordChange { before: old.cloned().map(Into::into), after: new.map(Into::into) }
}

/// The same intent, made in another order.
pub(crate) fn again(intent: &Intent) -> Intent {
    let mut records: Vec<RecordChange> = intent.records().map(RecordChange::made).collect();
    records.reverse();
    let mut again = Intent::default();
    apply(&mut again, &change(records));
    again
}

/// What the step changes; none where it would change nothing, or make what does not go together.
pub(crate) fn take(intent: &Intent, step: &Step) -> Option<Change> {
    let change = change(vec![records(intent, step)?]);
    let record = &change.records[0];
    if record.before == record.after {
        return None;
    }
    let mut after = intent.clone();
    apply(&mut after, &change);
    goes_together(&after).then_some(change)
}

fn records(intent: &Intent, step: &Step) -> Option<RecordChange> {
    let Step { what, a, b, c } = *step;
    match what {
        What::Node
        | What::NodeSwitch
        | What::NodeTags
        | What::NodeDuties
        | What::NodeRelay
        | What::NodeInternet => node_step(intent, step),
        What::Host => {
            let old = intent.host(host_id(a))?;
            let name = format!("host-{}{}", a % HOSTS, ["", "-b"][usize::from(b % 2)]).parse().ok()?;
            let key = WgPublicKey::from_bytes([a % HOSTS + 1 + 100 * (c % 2); 32]);
            Some(put(Some(old), Some(Host { name, wireguard_key: key, ..old.clone() })))
        }
        What::Access | What::Hub | What::NetworkRest => network_step(intent, step),
        What::Client | What::ClientRest => client_step(intent, step),
        What::Egress => egress_step(intent, step),
        What::Policy | What::PolicySwitch | What::Test => policy_step(intent, step),
        What::Groups => {
            let old = intent.user(user_id(a))?;
            let groups = (0..2u8).filter(|bit| b >> bit & 1 == 1).map(group).collect();
            Some(put(Some(old), Some(User { groups, ..old.clone() })))
        }
        What::Names => names_step(intent, step),
    }
}

fn group(number: u8) -> model::GroupName {
    ["ops", "staff"][usize::from(number % 2)].parse().unwrap()
}

fn node_step(intent: &Intent, step: &Step) -> Option<RecordChange> {
    let Step { what, a, b, c } = *step;
    let old = intent.node(node_id(a, b));
    if what == What::Node {
        return match old {
            None => Some(put(None, Some(node(a, b)))),
            Some(old) if c.is_multiple_of(3) => Some(put(Some(old), None)),
            Some(_) => None,
        };
    }
    let old = old?;
    let other = intent.node(node_id(c / 2, b)).map(|node| node.id).filter(|_| c.is_multiple_of(2));
    let mut new = old.clone();
    match what {
        What::NodeSwitch => (new.connected, new.pending) = (c % 4 != 0, c % 8 == 1),
        What::NodeTags => new.tags = tags(c),
        What::NodeDuties => {
            new.duties = Duties { remote_access: c % 4 != 0, internet: c.is_multiple_of(2) };
        }
        What::NodeRelay => new.relay = other.filter(|other| *other != old.id),
        What::NodeInternet => {
            let gateway = other.filter(|other| *other != old.id);
            new.internet =
                (gateway.is_some() || c % 8 == 2).then_some(InternetUse { gateway, lan: c % 4 == 0 });
        }
        other => unreachable!("{other:?} is no step of a node"),
    }
    Some(put(Some(old), Some(new)))
}

fn network_step(intent: &Intent, step: &Step) -> Option<RecordChange> {
    let Step { what, a, b, c } = *step;
    let old = intent.network(network_id(a))?;
    let mut new = old.clone();
    match what {
        What::Access => new.access = if c.is_multiple_of(2) { Access::Allow } else { Access::Deny },
        What::Hub => {
            new.hub = intent.node(node_id(b, a)).map(|node| node.id).filter(|_| c.is_multiple_of(2));
        }
        What::NetworkRest => {
            new.keepalive = Keepalive::new(u16::from(b % 3) + 20).unwrap();
            new.domain = c.is_multiple_of(2).then(|| "corp.example".parse().unwrap());
        }
        other => unreachable!("{other:?} is no step of a network"),
    }
    Some(put(Some(old), Some(new)))
}

/// Up to two gateways of a network.
fn gateways(intent: &Intent, network: u8, b: u8, c: u8) -> Vec<NodeId> {
    let mut gateways: Vec<NodeId> = [b, c].map(|host| node_id(host, network)).to_vec();
    gateways.dedup();
    gateways.retain(|node| intent.node(*node).is_some());
    gateways
}

fn client_step(intent: &Intent, step: &Step) -> Option<RecordChange> {
    let Step { what, a, b, c } = *step;
    let number = a % CLIENTS;
    let network = number;
    let id = ClientId::from_bytes(id(5, number));
    let old = intent.client(id);
    let gateways = gateways(intent, network, b, c);
    if what == What::Client {
        if let (Some(old), true) = (old, c.is_multiple_of(4)) {
            return Some(put(Some(old), None));
        }
        let client = Client {
            id,
            network: network_id(network),
            name: format!("phone-{number}").parse().unwrap(),
            key: WgPublicKey::from_bytes([200 + number; 32]),
            addresses: addresses(network, 2, number),
            gateways: gateways.clone(),
            owner: (b % 3 != 0).then(|| user_id(b)),
            enabled: true,
            tags: BTreeSet::new(),
            expires: None,
            expired: None,
            ranges: BTreeSet::new(),
            full_tunnel: false,
            dns: None,
            mtu: None,
            keepalive: None,
            created: NOW,
        };
        return (!gateways.is_empty()).then(|| put(old, Some(client)));
    }
    let old = old?;
    let mut new = old.clone();
    new.enabled = b % 4 != 0;
    new.expires = (b % 3 == 0).then_some(NOW);
    new.expired = (b % 6 == 0).then_some(NOW);
    new.tags = tags(c);
    new.full_tunnel = b % 8 == 1;
    new.ranges = (b % 8 == 2).then(|| format!("172.16.{number}.0/24").parse().unwrap()).into_iter().collect();
    Some(put(Some(old), Some(new)))
}

fn egress_step(intent: &Intent, step: &Step) -> Option<RecordChange> {
    let Step { a, b, c, .. } = *step;
    let number = a % EGRESSES;
    let id = EgressId::from_bytes(id(6, number));
    let old = intent.egress(id);
    if let (Some(old), true) = (old, c.is_multiple_of(8)) {
        return Some(put(Some(old), None));
    }
    let routers: BTreeSet<Router> = gateways(intent, number, b, c)
        .into_iter()
        .zip(0u16..)
        .map(|(node, at)| Router { priority: u16::from(c % 2) * at, node })
        .collect();
    let range = format!("192.168.{number}.0/24").parse().unwrap();
    let egress = Egress {
        id,
        network: network_id(number),
        name: format!("site-{number}").parse().unwrap(),
        range,
        mapped: (b % 3 == 0).then(|| format!("100.64.{number}.0/24").parse().unwrap()),
        routers: routers.clone(),
        nat: b.is_multiple_of(2),
        enabled: c % 4 != 1,
        created: NOW,
    };
    (!routers.is_empty()).then(|| put(old, Some(egress)))
}

fn subject(network: u8, number: u8) -> Subject {
    let of = number / 9;
    match number % 9 {
        0 => Subject::Everything,
        1 | 2 => Subject::Node(node_id(of, network)),
        // Clients and egress ranges are in the network of their own parity.
        3 => Subject::Client(ClientId::from_bytes(id(5, (of % CLIENTS) / 2 * 2 + network % 2))),
        4 => Subject::Egress(EgressId::from_bytes(id(6, (of % EGRESSES) / 2 * 2 + network % 2))),
        5 | 6 => Subject::Tag(tag(of)),
        7 => Subject::User(user_id(of)),
        _ => Subject::Group(group(of)),
    }
}

fn there(intent: &Intent, subject: &Subject) -> bool {
    match subject {
        Subject::Node(id) => intent.node(*id).is_some(),
        Subject::Client(id) => intent.client(*id).is_some(),
        Subject::Egress(id) => intent.egress(*id).is_some(),
        Subject::Everything | Subject::Tag(_) | Subject::User(_) | Subject::Group(_) => true,
    }
}

fn services(number: u8) -> BTreeSet<Service> {
    let texts: &[&str] = match number % 6 {
        0 => &["tcp/80,443"],
        1 => &["tcp/22", "icmp"],
        2 => &["udp"],
        3 => &["tcp/1-100", "udp/53"],
        _ => &[],
    };
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn policy_step(intent: &Intent, step: &Step) -> Option<RecordChange> {
    let Step { what, a, b, c } = *step;
    let number = a % POLICIES;
    // Mostly in the network that denies.
    let network = u8::from(number == 0);
    if what == What::Test {
        let id = PolicyTestId::from_bytes(id(8, number));
        let test = PolicyTest {
            id,
            network: network_id(network),
            from: subject(network, b),
            to: subject(network, c),
            service: ["tcp/80", "udp/53", "icmp", "tcp", "tcp/22,443"][usize::from(b % 5)].parse().unwrap(),
            expect: if c.is_multiple_of(2) { Access::Allow } else { Access::Deny },
            created: NOW,
        };
        return Some(put(intent.policy_test(id), Some(test)));
    }
    let id = PolicyId::from_bytes(id(7, number));
    let old = intent.policy(id);
    if what == What::PolicySwitch {
        let old = old?;
        let new = (c % 4 != 0).then(|| Policy { enabled: !old.enabled, ..old.clone() });
        return Some(put(Some(old), new));
    }
    let side = |number: u8| {
        let more = (number.is_multiple_of(4)).then(|| subject(network, number.wrapping_mul(31)));
        let side = std::iter::once(subject(network, number)).chain(more);
        side.filter(|subject| there(intent, subject)).collect::<BTreeSet<_>>()
    };
    let policy = Policy {
        id,
        network: network_id(network),
        name: format!("policy {number}").parse().unwrap(),
        enabled: true,
        from: side(b),
        to: side(c),
        services: services(b ^ c),
        both: (b ^ c) & 16 != 0,
        created: NOW,
    };
    (!policy.from.is_empty() && !policy.to.is_empty()).then(|| put(old, Some(policy)))
}

fn names_step(intent: &Intent, step: &Step) -> Option<RecordChange> {
    let Step { a, b, c, .. } = *step;
    if c.is_multiple_of(2) {
        let id = DnsRecordId::from_bytes(id(9, a % 3));
        let address = std::net::Ipv4Addr::new(10, 0, 0, b);
        let record = DnsRecord {
            id,
            network: network_id(a % 3),
            name: Some("printer".parse().unwrap()),
            ttl: 60,
            data: RecordData::A { address },
            created: NOW,
        };
        return Some(put(intent.dns_record(id), (b % 4 != 0).then_some(record)));
    }
    let id = UpstreamId::from_bytes(id(10, a % 2));
    let upstream = Upstream {
        id,
        network: network_id(a % 2),
        domain: "corp.example".parse().unwrap(),
        servers: vec![format!("10.0.0.{b}:53").parse().unwrap()],
        created: NOW,
    };
    Some(put(intent.upstream(id), (b % 4 != 0).then_some(upstream)))
}

/// Whether what is named is there, and who is reached through another carries nothing.
fn goes_together(intent: &Intent) -> bool {
    let node = |id: &NodeId| intent.node(*id).is_some();
    let nodes = intent.nodes(None).all(|it| {
        it.relay.iter().all(node)
            && it.internet.and_then(|used| used.gateway).iter().all(node)
            && (intent.relay_of(it).is_none() || !carries(intent, it))
    });
    let policies = (0..NETWORKS).flat_map(|network| intent.policies_in_network(network_id(network)));
    nodes
        && intent.networks(None).all(|network| network.hub.iter().all(node))
        && intent.clients().all(|client| client.gateways.iter().all(node))
        && intent.egresses().all(|egress| egress.routers.iter().all(|router| node(&router.node)))
        && policies.flat_map(|policy| policy.from.iter().chain(&policy.to)).all(|it| there(intent, it))
}

fn carries(intent: &Intent, node: &Node) -> bool {
    node.duties != Duties::default()
        || intent.nodes_of_relay(node.id).next().is_some()
        || intent.nodes_of_internet(node.id).next().is_some()
        || intent.clients_of_gateway(node.id).next().is_some()
        || intent.egresses_of_router(node.id).next().is_some()
}
