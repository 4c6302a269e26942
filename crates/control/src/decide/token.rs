//! API tokens and log-ins.

use model::{ApiToken, ApiTokenId, Digest, Timestamp, Title, TokenPurpose, UserId};

use super::Decision;
use crate::{Env, Intent, RecordChange, Rejection};

/// A token to make.
pub(super) struct New {
    pub(super) user: UserId,
    pub(super) title: Title,
    pub(super) purpose: TokenPurpose,
    pub(super) digest: Digest,
    pub(super) expires: Option<Timestamp>,
}

/// Refuses an end that has passed.
pub(super) fn check_expiry(expires: Option<Timestamp>, now: Timestamp) -> Result<(), Rejection> {
    match expires {
        Some(expires) if expires <= now => Err(Rejection::ExpiryPassed { expires, now }),
        Some(_) | None => Ok(()),
    }
}

pub(super) fn create(intent: &Intent, new: New, env: &mut Env<'_>) -> Decision {
    let New { user, title, purpose, digest, expires } = new;
    if intent.user(user).is_none() {
        return Err(Rejection::NoSuchUser { user });
    }
    if intent.api_token_by_digest(&digest).is_some() {
        return Err(Rejection::SecretTaken);
    }
    check_expiry(expires, env.now)?;
    let id = ApiTokenId::new(env.now, env.bytes());
    let made = RecordChange::made(ApiToken { id, user, title, purpose, digest, expires, created: env.now });
    // Those that ended go now, so that log-ins do not pile up and nothing has to sweep.
    let ended = intent.api_tokens_of_user(user).filter(|token| token.expires.is_some_and(|at| at <= env.now));
    Ok(ended.map(|token| RecordChange::removed(token.clone())).chain([made]).collect())
}

pub(super) fn delete(intent: &Intent, token: ApiTokenId) -> Decision {
    let before = intent.api_token(token).ok_or(Rejection::NoSuchToken { token })?;
    Ok(vec![RecordChange::removed(before.clone())])
}
