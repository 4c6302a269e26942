//! The values behind the golden files, and those from which the robustness tests start. Never changed: only added to.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses the part it needs")]

use std::collections::BTreeMap;

use model::{
    Addresses, Digest, Endpoint, Epoch, Generation, HostId, HostName, Keepalive, MemberId, Mtu, NetworkId,
    Ranges, RecordData, SealingPublicKey, Timestamp, ToldRecord, WgPublicKey,
};
use wire::{
    BucketDigests, Channel, ChannelChange, Class, ClientSeen, Delta, EgressDuty, Facts, Grant, Hello,
    HostMap, HostSettings, InternetWay, KeyChange, Leave, MapRequest, Membership, NatMapping, Net, NextKeys,
    NodeSwitch, Outcome, OwnHost, Part, PartsHead, Party, Peer, PeerNode, RecordsChange, Refusal,
    RefusalCode, RegisterReply, RegisterRequest, Registration, Rendezvous, Report, ServerLinks,
    SignedRequest, SigningSecret, Token, TokenSecret, ToldUpstream, WgSecret, path,
};

pub const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
pub const HOST: HostId = HostId::from_bytes([0x01; 16]);
const OTHER: HostId = HostId::from_bytes([0x02; 16]);
const THIRD: HostId = HostId::from_bytes([0x03; 16]);
const CLIENT: MemberId = MemberId::from_bytes([0x04; 16]);
const EGRESS: MemberId = MemberId::from_bytes([0x05; 16]);
const OFFICE: NetworkId = NetworkId::from_bytes([0x11; 16]);
const LAB: NetworkId = NetworkId::from_bytes([0x12; 16]);

fn at(text: &str) -> Endpoint {
    text.parse().unwrap()
}

fn generation(counter: usize) -> Generation {
    std::iter::successors(Some(Generation::first_of(Epoch::new(3))), |last| Some(last.next()))
        .nth(counter)
        .unwrap()
}

fn addresses(v4: &str, v6: &str) -> Addresses {
    Addresses { v4: v4.parse().ok(), v6: v6.parse().ok() }
}

pub fn signing() -> SigningSecret {
    SigningSecret::from_random([0x41; 32])
}

pub fn server_wireguard() -> WgSecret {
    WgSecret::from_random([0x42; 32])
}

pub fn channel() -> Channel {
    Channel::restore(HOST, [0x51; 32], [0x52; 32])
}

pub fn token_pinned() -> Token {
    Token {
        servers: vec!["https://vpn.example.org:8443".to_owned(), "https://203.0.113.1:8443".to_owned()],
        secret: TokenSecret::from_random([0x61; 32]),
        pin: Some(Digest::from_bytes([0x62; 32])),
    }
}

pub fn token_trusted() -> Token {
    Token {
        servers: vec!["https://vpn.example.org".to_owned()],
        secret: TokenSecret::from_random([0x63; 32]),
        pin: None,
    }
}

pub fn hello() -> Hello {
    Hello {
        version: "0.1.0".to_owned(),
        name: "vpn.example.org".to_owned(),
        sealing_key: SealingPublicKey::from_bytes([0x21; 32]),
        wireguard_key: server_wireguard().public(),
        time: NOW,
    }
}

pub fn facts() -> Facts {
    Facts {
        os: "linux".to_owned(),
        release: "Debian GNU/Linux 12 (bookworm)".to_owned(),
        arch: "x86_64".to_owned(),
        kernel: "6.1.0-18-amd64".to_owned(),
        agent: "0.1.0".to_owned(),
        wireguard: "kernel".to_owned(),
    }
}

pub fn host_settings() -> HostSettings {
    HostSettings {
        name: Some("web-01".parse().unwrap()),
        mtu: Some(Mtu::new(1380).unwrap()),
        static_endpoint: Some(at("[2001:db8::7]:51820")),
    }
}

fn host_wireguard() -> WgSecret {
    WgSecret::from_random([0x43; 32])
}

pub fn registration() -> Registration {
    Registration {
        enrollment: Some([0x61; 32]),
        hostname: HostName::nearest("web-01"),
        wireguard_key: host_wireguard().public(),
        signing_key: signing().public(),
        sealing_key: SealingPublicKey::from_bytes([0x22; 32]),
        encapsulated: SealingPublicKey::from_bytes([0x23; 32]),
        settings: host_settings(),
        facts: facts(),
        time: NOW,
        addresses: vec!["10.20.0.1".parse().unwrap(), "fd00:20::1".parse().unwrap()],
    }
}

pub fn registration_renewed() -> Registration {
    Registration { enrollment: None, settings: HostSettings::default(), ..registration() }
}

pub fn request() -> RegisterRequest {
    RegisterRequest::prove(&registration(), &signing(), &host_wireguard(), &server_wireguard().public())
}

pub fn register_reply() -> RegisterReply {
    RegisterReply {
        host: HOST,
        name: "web-01".parse().unwrap(),
        networks: vec!["office".parse().unwrap(), "lab".parse().unwrap()],
    }
}

pub fn leave_network() -> Leave {
    Leave::Network("office".parse().unwrap())
}

pub fn key_change() -> KeyChange {
    KeyChange::prove(HOST, &host_wireguard(), &server_wireguard().public())
}

pub fn node_switch() -> NodeSwitch {
    NodeSwitch { network: "office".parse().unwrap(), connected: false }
}

pub fn own_host() -> OwnHost {
    OwnHost {
        id: HOST,
        name: "web-01".parse().unwrap(),
        mtu: Mtu::DEFAULT,
        seen: vec![at("203.0.113.7:51820"), at("[2001:db8::7]:51820")],
        nat: NatMapping::Endpoint,
        rotate: false,
    }
}

pub fn server_links() -> ServerLinks {
    let rendezvous = |key, port, host: Option<&str>| Rendezvous {
        key: WgPublicKey::from_bytes([key; 32]),
        port,
        host: host.map(str::to_owned),
    };
    ServerLinks {
        rendezvous: vec![rendezvous(0x31, 51_821, None), rendezvous(0x32, 51_822, Some("203.0.113.1"))],
        brokers: vec!["wss://vpn.example.org:8443/mqtt".to_owned()],
        keepalive: Some(Keepalive::new(60).unwrap()),
        ..ServerLinks::default()
    }
}

/// The links of several servers with brokers of their own authority.
pub fn server_links_of_several() -> ServerLinks {
    ServerLinks {
        brokers: vec!["mqtts://broker.example.org:8883".to_owned()],
        broker_ca: Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned()),
        servers: vec!["https://a.example.org:8443".to_owned(), "https://b.example.org:8443".to_owned()],
        ..server_links()
    }
}

/// The links while the servers change their keys.
pub fn server_links_of_next_keys() -> ServerLinks {
    let next = NextKeys {
        sealing: SealingPublicKey::from_bytes([0x24; 32]),
        pin: Some(Digest::from_bytes([0x64; 32])),
    };
    ServerLinks { next: Some(next), pin: Some(Digest::from_bytes([0x62; 32])), ..server_links() }
}

pub fn channel_change() -> ChannelChange {
    ChannelChange {
        server: SealingPublicKey::from_bytes([0x24; 32]),
        encapsulated: SealingPublicKey::from_bytes([0x25; 32]),
    }
}

fn membership(name: &str, v4: &str, v6: Option<&str>, host: Addresses) -> Membership {
    let ranges = Ranges::new(Some(v4.parse().unwrap()), v6.map(|text| text.parse().unwrap())).unwrap();
    Membership {
        name: name.parse().unwrap(),
        ranges,
        addresses: host,
        connected: true,
        keepalive: Keepalive::DEFAULT,
        ..Membership::plain(name.parse().unwrap(), ranges)
    }
}

fn office() -> Membership {
    membership("office", "10.20.0.0/16", Some("fd00:20::/64"), addresses("10.20.0.1", "fd00:20::1"))
}

/// A network in which this host does everything that there is to do.
fn lab() -> Membership {
    let class = Class::new(LAB, "tag", b"web");
    let upstream = ToldUpstream {
        domain: "corp.example".parse().unwrap(),
        servers: vec!["10.0.0.53:53".parse().unwrap()],
    };
    let net = |text: &str| Net(text.parse().unwrap());
    Membership {
        pending: true,
        via: Some(THIRD),
        guarded: true,
        classes: vec![class],
        grants: vec![Grant {
            from: vec![Party::Everything, Party::Class(class), Party::Member(CLIENT)],
            to: vec![Party::Member(EGRESS), Party::Outside],
            services: vec!["tcp/443".parse().unwrap(), "icmp".parse().unwrap()],
        }],
        egress: vec![EgressDuty {
            id: EGRESS,
            range: net("192.168.1.0/24"),
            mapped: Some(net("10.99.1.0/24")),
            nat: true,
        }],
        internet_gateway: true,
        internet: Some(InternetWay { via: Some(OTHER), lan: true }),
        domain: Some("lab.netloom.internal".parse().unwrap()),
        records: vec![
            told(None, RecordData::A { address: [10, 21, 0, 9].into() }),
            told(Some("six"), RecordData::Aaaa { address: "fd00:21::9".parse().unwrap() }),
            told(Some("www"), RecordData::Cname { target: "web.lab.netloom.internal".parse().unwrap() }),
            told(Some("note"), RecordData::Txt { text: "hello".to_owned() }),
            told(
                Some("_ldap._tcp"),
                RecordData::Srv { priority: 1, weight: 2, port: 389, target: "a.example".parse().unwrap() },
            ),
        ],
        upstreams: vec![upstream],
        ..membership("lab", "10.21.0.0/24", None, addresses("10.21.0.1", ""))
    }
}

fn told(name: Option<&str>, data: RecordData) -> ToldRecord {
    ToldRecord { name: name.map(|name| name.parse().unwrap()), ttl: 60, data }
}

/// A client with a range behind it, as those see it who reach it through its gateways.
fn client() -> Peer {
    let node = PeerNode {
        ranges: vec![Net("172.20.0.0/24".parse().unwrap())],
        classes: vec![Class::new(OFFICE, "user", b"anna")],
        via: vec![THIRD, OTHER],
        ..PeerNode::new(OFFICE, addresses("10.20.0.77", ""))
    };
    peer().by_nodes(vec![node], false)
}

/// A node that is reached through another one, as that one sees it before it has told anything of itself.
pub fn relayed() -> Peer {
    let node = PeerNode { via: vec![OTHER], relayed: true, ..peer().nodes.remove(0) };
    Peer { nodes: vec![node], seen: vec![], local: vec![], nat: NatMapping::Unknown, ..peer() }
}

/// A peer as most are: one network with an IPv4 range, behind a home router.
pub fn peer() -> Peer {
    Peer {
        name: "web-0042".parse().unwrap(),
        key: Some(WgPublicKey::from_bytes([0x33; 32])),
        nodes: vec![PeerNode::new(OFFICE, addresses("10.20.0.2", ""))],
        seen: vec![at("198.51.100.9:51820")],
        local: vec![at("192.168.1.20:51820")],
        fixed: None,
        nat: NatMapping::Endpoint,
    }
}

fn peer_with_everything() -> Peer {
    Peer {
        nodes: vec![
            PeerNode::new(OFFICE, addresses("10.20.0.3", "fd00:20::3")),
            PeerNode::new(LAB, addresses("10.21.0.3", "")),
        ],
        seen: vec![at("198.51.100.10:40000"), at("[2001:db8::10]:51820")],
        local: vec![],
        fixed: Some(at("198.51.100.11:443")),
        nat: NatMapping::PerDestination,
        name: "db-01".parse().unwrap(),
        key: Some(WgPublicKey::from_bytes([0x34; 32])),
    }
}

pub fn host_map() -> HostMap {
    HostMap {
        generation: generation(40),
        host: own_host(),
        server: server_links(),
        networks: BTreeMap::from([(OFFICE, office()), (LAB, lab())]),
        peers: BTreeMap::from([
            (OTHER.into(), peer()),
            (THIRD.into(), peer_with_everything()),
            (CLIENT, client()),
        ]),
    }
}

pub fn host_map_alone() -> HostMap {
    HostMap {
        generation: generation(0),
        host: OwnHost { seen: vec![], nat: NatMapping::Unknown, ..own_host() },
        server: ServerLinks::default(),
        networks: BTreeMap::new(),
        peers: BTreeMap::new(),
    }
}

/// What each other host is told when one host joins.
pub fn join_delta() -> Delta {
    Delta {
        base: generation(40),
        generation: generation(41),
        peers: BTreeMap::from([(OTHER.into(), peer())]),
        ..Delta::default()
    }
}

pub fn delta_nothing() -> Delta {
    Delta { base: generation(40), generation: generation(41), ..Delta::default() }
}

pub fn delta_everything() -> Delta {
    Delta {
        base: generation(41),
        generation: generation(42),
        host: Some(own_host()),
        server: Some(server_links()),
        networks: BTreeMap::from([(OFFICE, office())]),
        networks_gone: vec![LAB],
        peers: BTreeMap::from([(THIRD.into(), peer_with_everything())]),
        peers_gone: vec![OTHER.into()],
        ..Delta::default()
    }
}

/// One record in the place of another.
pub fn delta_records() -> Delta {
    let record = |last| told(Some("www"), RecordData::A { address: [10, 21, 0, last].into() });
    let change = RecordsChange { gone: vec![record(9)], come: vec![record(10)] };
    Delta { records: BTreeMap::from([(LAB, change)]), ..delta_nothing() }
}

pub fn parts_head() -> PartsHead {
    PartsHead {
        generation: generation(42),
        host: own_host(),
        server: server_links(),
        networks: BTreeMap::from([(OFFICE, office()), (LAB, lab())]),
        whole: vec![LAB],
        parts: 1,
        records: BTreeMap::new(),
    }
}

/// The same of a network that has records.
pub fn parts_head_with_records() -> PartsHead {
    PartsHead { parts: 2, records: BTreeMap::from([(LAB, 7)]), ..parts_head() }
}

/// How it is packed is not the message's affair.
pub fn part() -> Part {
    Part { network: OFFICE, bucket: Some(200), packed: [1, 2, 3].as_slice().into() }
}

pub fn part_of_records() -> Part {
    Part { network: LAB, bucket: None, packed: [1, 2, 3].as_slice().into() }
}

pub fn map_request() -> MapRequest {
    MapRequest {
        have: generation(41),
        digests: BTreeMap::from([(OFFICE, BucketDigests(BTreeMap::from([(2, 7), (200, u64::MAX)])))]),
        records: BTreeMap::new(),
    }
}

pub fn map_request_with_records() -> MapRequest {
    MapRequest { records: BTreeMap::from([(LAB, 7)]), ..map_request() }
}

pub fn report() -> Report {
    Report {
        generation: generation(41),
        facts: facts(),
        local: vec![at("192.168.1.20:51820"), at("[2001:db8::7]:51820")],
        failures: vec![Outcome {
            op: "add address 10.20.0.1/16".to_owned(),
            error: "no such device".to_owned(),
        }],
        clients: vec![ClientSeen {
            id: CLIENT,
            endpoint: Some(at("198.51.100.77:6000")),
            handshake: NOW,
            heard: None,
        }],
        at: None,
    }
}

/// A report that says when it was made, of a client that moved on and came back.
pub fn report_in_time() -> Report {
    let mut report = report();
    report.at = Some(NOW);
    report.clients[0].heard = Some(Timestamp::from_millis(NOW.as_millis() - 2_000));
    report
}

pub fn refusals() -> [(&'static str, Refusal); 10] {
    let refusal = |code, message: &str| Refusal {
        code,
        message: message.to_owned(),
        server_time: NOW,
        retry_after: None,
        elsewhere: false,
    };
    let busy = Refusal { retry_after: Some(5), ..refusal(RefusalCode::Busy, "too much at once") };
    let no_leader =
        Refusal { retry_after: Some(2), ..refusal(RefusalCode::Busy, "no server leads just now") };
    [
        ("unknown-key", refusal(RefusalCode::UnknownKey, "the key is not known")),
        ("expired-key", refusal(RefusalCode::ExpiredKey, "the key has expired")),
        ("spent-key", refusal(RefusalCode::SpentKey, "the key is spent")),
        ("clock-skew", refusal(RefusalCode::ClockSkew, "set the clock")),
        ("unknown-host", refusal(RefusalCode::UnknownHost, "the host was removed")),
        ("not-proved", refusal(RefusalCode::NotProved, "the signature is wrong")),
        ("invalid", refusal(RefusalCode::Invalid, "it cannot be read")),
        ("busy", busy),
        ("elsewhere", Refusal { elsewhere: true, ..no_leader }),
        ("internal", refusal(RefusalCode::Internal, "see the log")),
    ]
}

pub fn signed_request() -> SignedRequest<'static> {
    SignedRequest { method: "POST", target: path::LEAVE, body: b"\x82\x01\x80" }
}
