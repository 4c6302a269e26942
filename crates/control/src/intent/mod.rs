//! Intent: all that people want, as one value. Cheap to clone: clones share what they have in common.
//!
//! Not for deciding and not for what hosts report (`inventory`). It keeps true that the indexes say what the records say;
//! that the records go together is `decide`'s work, and `check` tells where they do not.

mod check;
mod diff;
mod follow;
mod index;
mod read;
mod read_members;
mod runs;

use std::sync::Arc;

use model::{
    ApiToken, ApiTokenId, Client, ClientId, DnsRecord, DnsRecordId, Egress, EgressId, EnrollmentKey,
    EnrollmentKeyId, Host, HostId, Network, NetworkId, Node, NodeId, Policy, PolicyId, PolicyTest,
    PolicyTestId, Upstream, UpstreamId, User, UserId,
};

pub use check::Violation;
pub use diff::Differences;
use index::Indexes;

use crate::{Change, Kind, Record, RecordKey};

type Table<I, T> = imbl::OrdMap<I, Arc<T>>;

/// All that people want.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Intent {
    seq: u64,
    networks: Table<NetworkId, Network>,
    hosts: Table<HostId, Host>,
    nodes: Table<NodeId, Node>,
    keys: Table<EnrollmentKeyId, EnrollmentKey>,
    users: Table<UserId, User>,
    tokens: Table<ApiTokenId, ApiToken>,
    clients: Table<ClientId, Client>,
    egresses: Table<EgressId, Egress>,
    policies: Table<PolicyId, Policy>,
    policy_tests: Table<PolicyTestId, PolicyTest>,
    dns_records: Table<DnsRecordId, DnsRecord>,
    upstreams: Table<UpstreamId, Upstream>,
    indexes: Indexes,
}

/// Records that do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the records do not go together: {}{}; restore a backup", .0[0], more(.0))]
pub struct Damaged(Vec<Violation>);

impl Damaged {
    /// What is wrong; at least one thing.
    pub fn violations(&self) -> &[Violation] {
        &self.0
    }
}

/// Every record of a table.
fn all<I: Ord, T: Clone + Into<Record>>(table: &Table<I, T>) -> impl Iterator<Item = Record> + '_ {
    table.values().map(|value| T::clone(value).into())
}

/// Takes a value out of its table.
fn take<I: Ord + Clone, T: Clone + Into<Record>>(table: &mut Table<I, T>, id: I) -> Option<Record> {
    table.remove(&id).map(|value| T::clone(&value).into())
}

fn more(violations: &[Violation]) -> String {
    match violations.len() {
        0 | 1 => String::new(),
        many => format!(" (and {} more)", many - 1),
    }
}

impl Intent {
    /// The intent that these records make, after the change with this number.
    pub fn from_records(seq: u64, records: impl IntoIterator<Item = Record>) -> Result<Self, Damaged> {
        let mut intent = Self { seq, ..Self::default() };
        for record in records {
            let key = record.key();
            if intent.remove(key).is_some() {
                return Err(Damaged(vec![Violation::Twice(key)]));
            }
            intent.insert(record);
        }
        match intent.check() {
            violations if violations.is_empty() => Ok(intent),
            violations => Err(Damaged(violations)),
        }
    }

    /// Every record, for a backup or a comparison.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        all(&self.networks)
            .chain(all(&self.hosts))
            .chain(all(&self.nodes))
            .chain(all(&self.keys))
            .chain(all(&self.users))
            .chain(all(&self.tokens))
            .chain(all(&self.clients))
            .chain(all(&self.egresses))
            .chain(all(&self.policies))
            .chain(all(&self.policy_tests))
            .chain(all(&self.dns_records))
            .chain(all(&self.upstreams))
    }

    /// A record, whatever its kind.
    pub fn record(&self, key: RecordKey) -> Option<Record> {
        self.clone().remove(key)
    }

    pub(crate) fn insert(&mut self, record: Record) {
        self.indexes.insert(&record);
        match record {
            Record::Network(value) => drop(self.networks.insert(value.id, Arc::new(value))),
            Record::Host(value) => drop(self.hosts.insert(value.id, Arc::new(value))),
            Record::Node(value) => drop(self.nodes.insert(value.id, Arc::new(value))),
            Record::EnrollmentKey(value) => drop(self.keys.insert(value.id, Arc::new(value))),
            Record::User(value) => drop(self.users.insert(value.id, Arc::new(value))),
            Record::ApiToken(value) => drop(self.tokens.insert(value.id, Arc::new(value))),
            Record::Client(value) => drop(self.clients.insert(value.id, Arc::new(value))),
            Record::Egress(value) => drop(self.egresses.insert(value.id, Arc::new(value))),
            Record::Policy(value) => drop(self.policies.insert(value.id, Arc::new(value))),
            Record::PolicyTest(value) => drop(self.policy_tests.insert(value.id, Arc::new(value))),
            Record::DnsRecord(value) => drop(self.dns_records.insert(value.id, Arc::new(value))),
            Record::Upstream(value) => drop(self.upstreams.insert(value.id, Arc::new(value))),
        }
    }

    pub(crate) fn remove(&mut self, key: RecordKey) -> Option<Record> {
        let removed = match key.kind {
            Kind::Network => take(&mut self.networks, NetworkId::from_bytes(key.id)),
            Kind::Host => take(&mut self.hosts, HostId::from_bytes(key.id)),
            Kind::Node => take(&mut self.nodes, NodeId::from_bytes(key.id)),
            Kind::EnrollmentKey => take(&mut self.keys, EnrollmentKeyId::from_bytes(key.id)),
            Kind::User => take(&mut self.users, UserId::from_bytes(key.id)),
            Kind::ApiToken => take(&mut self.tokens, ApiTokenId::from_bytes(key.id)),
            Kind::Client => take(&mut self.clients, ClientId::from_bytes(key.id)),
            Kind::Egress => take(&mut self.egresses, EgressId::from_bytes(key.id)),
            Kind::Policy => take(&mut self.policies, PolicyId::from_bytes(key.id)),
            Kind::PolicyTest => take(&mut self.policy_tests, PolicyTestId::from_bytes(key.id)),
            Kind::DnsRecord => take(&mut self.dns_records, DnsRecordId::from_bytes(key.id)),
            Kind::Upstream => take(&mut self.upstreams, UpstreamId::from_bytes(key.id)),
        }?;
        self.indexes.remove(&removed);
        Some(removed)
    }
}

/// Makes a change so, and counts it. Total: what the change says is what is.
pub fn apply(intent: &mut Intent, change: &Change) {
    // All out, then all in: two records may swap a name in one change.
    for key in change.records.iter().filter_map(crate::RecordChange::key) {
        intent.remove(key);
    }
    for record in change.records.iter().filter_map(|change| change.after.as_ref()) {
        intent.insert(record.clone());
    }
    intent.seq += 1;
}
