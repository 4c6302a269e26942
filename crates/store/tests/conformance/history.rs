//! Histories of changes for tests, and the plain map of records that they lead to.

use std::collections::{BTreeMap, BTreeSet};

use control::{ActorName, Change, Kind, Record, RecordChange, RecordKey};
use model::{
    Access, Addresses, ApiToken, ApiTokenId, Digest, Duties, EnrollmentKey, EnrollmentKeyId, Host, HostId,
    Keepalive, Network, NetworkId, Node, NodeId, PasswordHash, Ranges, Role, SealingIdentity,
    SealingPublicKey, SigningPublicKey, Timestamp, TokenPurpose, User, UserId, Uses, WgPublicKey,
};
use proptest::prelude::*;
use store::Commit;

/// What the records are, kept in the plainest way.
pub type Records = BTreeMap<RecordKey, Record>;

/// Marks every secret: whatever holds this text has let one out.
pub const SECRET: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$";

/// One wish: this record becomes this version; version 0 means that it goes.
pub type Wish = (usize, u8, u8);

/// Changes of up to five records each.
pub fn wishes() -> impl Strategy<Value = Vec<Vec<Wish>>> {
    let wish = (0..Kind::ALL.len(), 0u8..4, 0u8..5);
    proptest::collection::vec(proptest::collection::vec(wish, 1..5), 1..30)
}

/// A record of this kind; each version differs.
pub fn record(kind: Kind, id: u8, version: u8) -> Record {
    let created = Timestamp::from_millis(1_700_000_000_000 + i64::from(version));
    let name = format!("name-{id}-{version}");
    let key = [id.wrapping_mul(16).wrapping_add(version); 32];
    match kind {
        Kind::Network => Network {
            id: NetworkId::from_bytes([id; 16]),
            name: name.parse().unwrap(),
            ranges: Ranges::new(Some(format!("10.{id}.0.0/16").parse().unwrap()), None).unwrap(),
            keepalive: Keepalive::DEFAULT,
            access: Access::Deny,
            approval: version.is_multiple_of(2),
            hub: None,
            domain: "office.example".parse().ok(),
            created,
        }
        .into(),
        Kind::Host => host(id, &name, key, created).into(),
        Kind::Node => Node {
            id: NodeId::from_bytes([id; 16]),
            host: HostId::from_bytes([id; 16]),
            network: NetworkId::from_bytes([version; 16]),
            addresses: Addresses { v4: format!("10.0.{id}.{version}").parse().ok(), v6: None },
            connected: version.is_multiple_of(2),
            pending: false,
            tags: ["web".parse().unwrap()].into(),
            duties: Duties { remote_access: true, internet: false },
            relay: Some(NodeId::from_bytes([version; 16])),
            internet: None,
            expires: Some(created),
            created,
        }
        .into(),
        Kind::EnrollmentKey => EnrollmentKey {
            id: EnrollmentKeyId::from_bytes([id; 16]),
            title: name.parse().unwrap(),
            digest: Digest::from_bytes(key),
            networks: vec![NetworkId::from_bytes([id; 16])],
            uses: Uses::Left(u32::from(version)),
            expires: None,
            tags: BTreeSet::new(),
            ephemeral: true,
            created,
        }
        .into(),
        Kind::User => user(id, &name, version, created).into(),
        Kind::ApiToken => ApiToken {
            id: ApiTokenId::from_bytes([id; 16]),
            user: UserId::from_bytes([id; 16]),
            title: name.parse().unwrap(),
            purpose: TokenPurpose::Program,
            digest: Digest::from_bytes(key),
            expires: Some(created),
            created,
        }
        .into(),
        Kind::Client | Kind::Egress | Kind::Policy | Kind::PolicyTest | Kind::DnsRecord | Kind::Upstream => {
            of_network(kind, id, version, created)
        }
    }
}

/// A record that belongs to a network and is neither host nor node.
fn of_network(kind: Kind, id: u8, version: u8, created: Timestamp) -> Record {
    let uuid = |byte: u8| NetworkId::from_bytes([byte; 16]).to_string();
    let everything = serde_json::json!(["everything"]);
    let fields = match kind {
        Kind::Client => serde_json::json!({
            "name": format!("name-{id}-{version}"), "key": WgPublicKey::from_bytes([id; 32]),
            "addresses": {"v4": format!("10.1.{id}.{version}")}, "gateways": [uuid(1)], "enabled": true,
            "tags": ["phone"], "full_tunnel": true,
        }),
        Kind::Egress => serde_json::json!({
            "name": format!("name-{id}-{version}"), "range": format!("172.16.{version}.0/24"),
            "routers": [{"priority": 1, "node": uuid(2)}], "nat": true, "enabled": true,
        }),
        Kind::Policy => serde_json::json!({
            "name": format!("name {id} {version}"), "enabled": true, "from": everything, "to": [{"tag": "web"}],
            "services": ["tcp/443"], "both": false,
        }),
        Kind::PolicyTest => serde_json::json!({
            "from": "everything", "to": {"node": uuid(3)}, "service": "udp/53", "expect": "deny",
        }),
        Kind::DnsRecord => serde_json::json!({
            "name": format!("www-{version}"), "ttl": 60, "data": {"kind": "a", "address": "10.0.0.1"},
        }),
        Kind::Upstream => serde_json::json!({"domain": "corp.example", "servers": ["10.0.0.53:53"]}),
        Kind::Network | Kind::Host | Kind::Node | Kind::EnrollmentKey | Kind::User | Kind::ApiToken => {
            panic!("made elsewhere")
        }
    };
    let serde_json::Value::Object(mut fields) = fields else { panic!("an object") };
    fields.insert("id".to_owned(), uuid(id).into());
    fields.insert("network".to_owned(), uuid(version).into());
    fields.insert("created".to_owned(), serde_json::to_value(created).unwrap());
    Record::deserialize_as(kind, serde_json::Value::Object(fields)).unwrap()
}

fn host(id: u8, name: &str, key: [u8; 32], created: Timestamp) -> Host {
    Host {
        id: HostId::from_bytes([id; 16]),
        name: name.parse().unwrap(),
        wireguard_key: WgPublicKey::from_bytes(key),
        signing_key: SigningPublicKey::from_bytes(key),
        sealing: SealingIdentity {
            server: None,
            key: SealingPublicKey::from_bytes(key),
            encapsulated: SealingPublicKey::from_bytes(key),
        },
        mtu: None,
        static_endpoint: "203.0.113.7:51820".parse().ok(),
        default: true,
        ephemeral: false,
        rotate: false,
        rotate_since: None,
        rekeyed: None,
        created,
    }
}

fn user(id: u8, name: &str, version: u8, created: Timestamp) -> User {
    User {
        id: UserId::from_bytes([id; 16]),
        name: name.parse().unwrap(),
        password: PasswordHash::from_phc(format!("{SECRET}{version}")),
        role: Role::Administrator,
        groups: BTreeSet::new(),
        created,
    }
}

/// The change that these wishes make of the records, and the records after it.
pub fn change(records: &mut Records, wishes: &[Wish]) -> Change {
    let mut changes: BTreeMap<RecordKey, RecordChange> = BTreeMap::new();
    for (kind, id, version) in wishes {
        let wanted = record(Kind::ALL[*kind], *id, *version);
        let key = wanted.key();
        let before = records.get(&key).cloned();
        let after = (*version > 0).then_some(wanted);
        if changes.contains_key(&key) || before == after {
            continue;
        }
        match &after {
            Some(after) => records.insert(key, after.clone()),
            None => records.remove(&key),
        };
        changes.insert(key, RecordChange { before, after });
    }
    Change {
        actor: ActorName::from_text("user anna".to_owned()),
        command: "test".into(),
        records: changes.into_values().collect(),
    }
}

/// When the commit with this number was decided.
pub fn time_of(seq: u64) -> Timestamp {
    Timestamp::from_millis(1_750_000_000_000 + i64::try_from(seq).unwrap() * 1_000)
}

/// The commits that these wishes make from the beginning, and the records after each; the first are none.
pub fn history(wishes: &[Vec<Wish>]) -> (Vec<Commit>, Vec<Records>) {
    let mut states = vec![Records::new()];
    let mut commits = Vec::new();
    for (seq, wishes) in (1..).zip(wishes) {
        let mut records = states.last().unwrap().clone();
        commits.push(Commit { seq, time: time_of(seq), change: change(&mut records, wishes) });
        states.push(records);
    }
    (commits, states)
}

/// A plain history of this many commits: each changes a network and a user to the same version.
pub fn plain(count: u64) -> Vec<Commit> {
    let wishes: Vec<Vec<Wish>> = (0..count).map(plain_wishes).collect();
    history(&wishes).0
}

/// What each commit of a plain history wants.
pub fn plain_wishes(index: u64) -> Vec<Wish> {
    let version = u8::try_from(1 + index % 200).unwrap();
    vec![(0, 1, version), (4, 1, version), (5, 1, version)]
}

/// The commit with this number of a plain history.
pub fn one(seq: u64) -> Vec<Commit> {
    let wishes: Vec<_> = (seq.saturating_sub(2)..seq).map(plain_wishes).collect();
    let commit = history(&wishes).0.pop().unwrap();
    vec![Commit { seq, time: time_of(seq), ..commit }]
}

/// The records after so many commits of a plain history.
pub fn expected(seq: u64) -> Records {
    let wishes: Vec<_> = (seq.saturating_sub(1)..seq).map(plain_wishes).collect();
    history(&wishes).1.pop().unwrap()
}
