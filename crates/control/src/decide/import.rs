//! Intent brought to what a document says: one change, however much it is, or none.
//!
//! Not for reading documents. It keeps true that what hosts made themselves, their keys, stays theirs; that a use of an
//! enrollment key that was spent stays spent; and that whoever imports is an administrator afterwards as well.

use std::collections::BTreeSet;

use model::{EnrollmentKey, Host, Role, Uses};

use super::{Decision, names, network, policy};
use crate::{Actor, Env, Intent, Record, Rejection};

pub(super) fn import(
    intent: &Intent,
    actor: &Actor,
    records: Vec<Record>,
    prune: bool,
    env: &Env<'_>,
) -> Decision {
    let wanted = wanted(intent, records, prune)?;
    let after = Intent::from_records(intent.seq(), wanted.iter().cloned())
        .map_err(|damaged| Rejection::ImportBroken { reason: damaged.violations()[0].to_string() })?;
    check_names(intent, &after, env)?;
    if let Actor::User(user) = actor
        && after.user(*user).is_none_or(|user| user.role != Role::Administrator)
    {
        return Err(Rejection::ImportLocksOut);
    }
    for network in after.networks(None) {
        policy::check_tests(intent, &after, network.id)?;
    }
    Ok(intent.clone().follow_all(intent.seq(), wanted).records)
}

/// All records as they are to be.
fn wanted(intent: &Intent, records: Vec<Record>, prune: bool) -> Result<Vec<Record>, Rejection> {
    let mut keys = BTreeSet::new();
    let mut wanted = Vec::with_capacity(records.len());
    for record in records {
        let key = record.key();
        if !keys.insert(key) {
            return Err(Rejection::ImportBroken { reason: format!("record {key} is in it twice") });
        }
        wanted.push(as_it_may_be(intent, record));
    }
    // Log-ins are in no document; they end with their account.
    let is_of_somebody =
        |record: &Record| matches!(record, Record::ApiToken(token) if keys.contains(&token.user.into()));
    let stays = |record: &Record| !prune || is_of_somebody(record);
    wanted.extend(intent.records().filter(|record| !keys.contains(&record.key()) && stays(record)));
    Ok(wanted)
}

/// A record of the document, beside the one that is there.
fn as_it_may_be(intent: &Intent, record: Record) -> Record {
    if let Record::Host(new) = &record
        && let Some(there) = intent.host(new.id)
    {
        return with_own_keys(there, new.clone()).into();
    }
    if let Record::EnrollmentKey(new) = &record
        && let Some(there) = intent.enrollment_key(new.id)
    {
        return EnrollmentKey { uses: fewer(there.uses, new.uses), ..new.clone() }.into();
    }
    record
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

/// Names and domains that nobody may have, or that are somebody's below the server's domain. What was there already may stay.
fn check_names(intent: &Intent, after: &Intent, env: &Env<'_>) -> Result<(), Rejection> {
    for host in after.hosts(None).filter(|host| intent.host_by_name(&host.name).is_none()) {
        names::check_reserved(&host.name)?;
    }
    for client in after.clients() {
        if intent.client_by_name(client.network, &client.name).is_none() {
            names::check_reserved(&client.name)?;
        }
    }
    for network in after.networks(None) {
        let before = intent.network(network.id).and_then(|before| before.domain_below(env.domain));
        if before != network.domain_below(env.domain) {
            network::check_domain(after, network, env.domain)?;
        }
    }
    Ok(())
}
