//! Enrollment keys: making, renaming and removing them. `register` spends them.

use std::collections::BTreeSet;

use model::{Digest, EnrollmentKey, EnrollmentKeyId, NetworkId, Tag, Timestamp, Title, Uses};

use super::{Decision, bounds, changed, network, token};
use crate::{Env, Intent, RecordChange, Rejection};

const MOST_NETWORKS: usize = 64;

/// A key to make.
pub(super) struct New {
    pub(super) title: Title,
    pub(super) digest: Digest,
    pub(super) networks: Vec<NetworkId>,
    pub(super) uses: Uses,
    pub(super) expires: Option<Timestamp>,
    pub(super) tags: BTreeSet<Tag>,
    pub(super) ephemeral: bool,
}

fn check_title(intent: &Intent, title: &Title, own: Option<EnrollmentKeyId>) -> Result<(), Rejection> {
    match intent.enrollment_key_by_title(title) {
        Some(key) if Some(key.id) != own => Err(Rejection::TitleTaken { title: title.clone() }),
        Some(_) | None => Ok(()),
    }
}

pub(super) fn create(intent: &Intent, new: New, env: &mut Env<'_>) -> Decision {
    let New { title, digest, mut networks, uses, expires, tags, ephemeral } = new;
    check(&networks, &tags)?;
    for id in &networks {
        network::find(intent, *id)?;
    }
    networks.sort_unstable();
    networks.dedup();
    check_title(intent, &title, None)?;
    if intent.enrollment_key_by_digest(&digest).is_some() {
        return Err(Rejection::SecretTaken);
    }
    if uses == Uses::Left(0) {
        return Err(Rejection::NoUses);
    }
    token::check_expiry(expires, env.now)?;
    let id = EnrollmentKeyId::new(env.now, env.bytes());
    let created = env.now;
    let key = EnrollmentKey { id, title, digest, networks, uses, tags, ephemeral, expires, created };
    Ok(vec![RecordChange::made(key)])
}

/// Whether a key can be of so many.
pub(super) fn check(networks: &[NetworkId], tags: &BTreeSet<Tag>) -> Result<(), Rejection> {
    if networks.len() > MOST_NETWORKS {
        return Err(Rejection::TooManyNetworks { given: networks.len(), most: MOST_NETWORKS });
    }
    bounds::tags(tags)
}

fn find(intent: &Intent, key: EnrollmentKeyId) -> Result<&EnrollmentKey, Rejection> {
    intent.enrollment_key(key).ok_or(Rejection::NoSuchEnrollmentKey { key })
}

pub(super) fn update(intent: &Intent, key: EnrollmentKeyId, title: Title) -> Decision {
    let before = find(intent, key)?;
    check_title(intent, &title, Some(key))?;
    Ok(changed(before, EnrollmentKey { title, ..before.clone() }))
}

pub(super) fn delete(intent: &Intent, key: EnrollmentKeyId) -> Decision {
    Ok(vec![RecordChange::removed(find(intent, key)?.clone())])
}
