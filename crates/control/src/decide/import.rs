//! Intent brought to what a document says: one change, however much it is, or none.
//!
//! Not for reading documents. It keeps true that what hosts made themselves, their keys, stays theirs; that no secret comes out
//! of a document, so that a password that was changed meanwhile stays changed; that a use of an enrollment key that was spent
//! stays spent; that commands could have made what is made (`imported`); and that whoever imports is an administrator
//! afterwards as well.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    Client, EnrollmentKey, Host, PasswordHash, Policy, PolicyTest, Role, Subject, User, UserId, Uses,
};

use super::{Decision, imported, policy};
use crate::{Actor, Env, Intent, Record, Rejection};

/// A hash that no password has: for accounts that a document brings anew.
const NO_PASSWORD: &str = "none";

/// What is imported.
pub(super) struct Document {
    pub(super) records: Vec<Record>,
    pub(super) prune: bool,
    pub(super) seen: Option<u64>,
}

pub(super) fn import(intent: &Intent, actor: &Actor, document: Document, env: &Env<'_>) -> Decision {
    let Document { records, prune, seen } = document;
    if let Some(seen) = seen.filter(|seen| *seen != intent.seq()) {
        return Err(Rejection::ImportStale { seen, now: intent.seq() });
    }
    let wanted = wanted(intent, records, prune)?;
    let after = Intent::from_records(intent.seq(), wanted.iter().cloned())
        .map_err(|damaged| Rejection::ImportBroken { reason: damaged.violations()[0].to_string() })?;
    let changes = intent.clone().follow_all(intent.seq(), wanted).records;
    imported::check(intent, &after, &changes, env.domain)?;
    if let Actor::User(user) = actor
        && after.user(*user).is_none_or(|user| user.role != Role::Administrator)
    {
        return Err(Rejection::ImportLocksOut);
    }
    for network in after.networks(None) {
        policy::check_tests(intent, &after, network.id)?;
    }
    Ok(changes)
}

/// All records as they are to be.
fn wanted(intent: &Intent, records: Vec<Record>, prune: bool) -> Result<Vec<Record>, Rejection> {
    let accounts = Accounts::of(intent, &records);
    let mut keys = BTreeSet::new();
    let mut wanted = Vec::with_capacity(records.len());
    for record in records {
        let record = accounts.in_record(record);
        let key = record.key();
        if !keys.insert(key) {
            return Err(Rejection::ImportBroken { reason: format!("record {key} is in it twice") });
        }
        wanted.extend(as_it_may_be(intent, record));
    }
    // Log-ins are in no document; they end with their account.
    let is_of_somebody =
        |record: &Record| matches!(record, Record::ApiToken(token) if keys.contains(&token.user.into()));
    let stays = |record: &Record| !prune || is_of_somebody(record);
    wanted.extend(intent.records().filter(|record| !keys.contains(&record.key()) && stays(record)));
    Ok(wanted)
}

/// The document's accounts that are here under other ids, and the ids they have here: each server gives its first account an id
/// of its own, and who has the same name logs in as the same.
struct Accounts(BTreeMap<UserId, UserId>);

impl Accounts {
    fn of(intent: &Intent, records: &[Record]) -> Self {
        let users: Vec<&User> = records.iter().filter_map(Record::noun).collect();
        let named: BTreeSet<UserId> = users.iter().map(|user| user.id).collect();
        let other = |user: &User| {
            let here = intent.user_by_name(&user.name)?.id;
            (intent.user(user.id).is_none() && !named.contains(&here)).then_some((user.id, here))
        };
        Self(users.into_iter().filter_map(other).collect())
    }

    fn here(&self, id: UserId) -> UserId {
        self.0.get(&id).copied().unwrap_or(id)
    }

    fn in_subject(&self, subject: Subject) -> Subject {
        match subject {
            Subject::User(id) => Subject::User(self.here(id)),
            Subject::Everything
            | Subject::Node(_)
            | Subject::Client(_)
            | Subject::Egress(_)
            | Subject::Tag(_)
            | Subject::Group(_) => subject,
        }
    }

    fn in_record(&self, record: Record) -> Record {
        let side = |side: BTreeSet<Subject>| side.into_iter().map(|one| self.in_subject(one)).collect();
        match record {
            Record::User(user) => User { id: self.here(user.id), ..user }.into(),
            Record::Client(client) => {
                Client { owner: client.owner.map(|owner| self.here(owner)), ..client }.into()
            }
            Record::Policy(Policy { from, to, id, network, name, enabled, services, both, created }) => {
                let (from, to) = (side(from), side(to));
                Policy { from, to, id, network, name, enabled, services, both, created }.into()
            }
            Record::PolicyTest(PolicyTest { from, to, id, network, service, expect, created }) => {
                let (from, to) = (self.in_subject(from), self.in_subject(to));
                PolicyTest { from, to, id, network, service, expect, created }.into()
            }
            Record::Network(_)
            | Record::Host(_)
            | Record::Node(_)
            | Record::EnrollmentKey(_)
            | Record::ApiToken(_)
            | Record::Egress(_)
            | Record::DnsRecord(_)
            | Record::Upstream(_) => record,
        }
    }
}

/// A record of the document, beside the one that is there; none where it stays out.
fn as_it_may_be(intent: &Intent, record: Record) -> Option<Record> {
    match record {
        Record::Host(new) => Some(match intent.host(new.id) {
            Some(there) => with_own_keys(there, new).into(),
            None => new.into(),
        }),
        Record::User(new) => {
            let there = intent.user(new.id).map(|there| there.password.clone());
            let password = there.unwrap_or_else(|| PasswordHash::from_phc(NO_PASSWORD.to_owned()));
            Some(User { password, ..new }.into())
        }
        // Without its secret it lets nobody in: it is made anew, or not at all.
        Record::EnrollmentKey(new) => {
            let there = intent.enrollment_key(new.id)?;
            Some(EnrollmentKey { digest: there.digest, uses: fewer(there.uses, new.uses), ..new }.into())
        }
        // That its time has come is the clock's, as long as it ends then.
        Record::Client(new) => {
            let expired = intent.client(new.id).map_or(new.expired, |there| there.expired);
            Some(Client { expired, ..new }.into())
        }
        Record::ApiToken(token) => intent.api_token(token.id).cloned().map(Record::from),
        Record::Network(_)
        | Record::Node(_)
        | Record::Egress(_)
        | Record::Policy(_)
        | Record::PolicyTest(_)
        | Record::DnsRecord(_)
        | Record::Upstream(_) => Some(record),
    }
}

/// What people set of the new one, and all else of the one that is there.
fn with_own_keys(there: &Host, new: Host) -> Host {
    let Host { name, mtu, static_endpoint, default, ephemeral, .. } = new;
    Host { name, mtu, static_endpoint, default, ephemeral, ..there.clone() }
}

fn fewer(there: Uses, new: Uses) -> Uses {
    match (there, new) {
        (Uses::Left(there), Uses::Left(new)) => Uses::Left(there.min(new)),
        (Uses::Left(left), Uses::Unlimited) | (Uses::Unlimited, Uses::Left(left)) => Uses::Left(left),
        (Uses::Unlimited, Uses::Unlimited) => Uses::Unlimited,
    }
}
