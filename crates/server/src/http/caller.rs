//! Who asks: proved by a bearer token, before any handler sees the request.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use control::{Actor, Intent, Rejection, authenticate, authorise_reading};
use data_encoding::BASE64URL_NOPAD;
use model::{ApiToken, Digest, User};
use sha2::{Digest as _, Sha256};

use super::{Failure, Shared};
use crate::brain::now;
use crate::identity::random;

/// Before a token's secret, so that people and scanners know what it is.
const PREFIX: &str = "nlt_";

/// Somebody with a token.
pub(super) struct Caller {
    /// Who.
    pub(super) actor: Actor,
    /// The account.
    pub(super) user: User,
    /// The token that was used.
    pub(super) token: ApiToken,
}

impl FromRequestParts<Shared> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, admin: &Shared) -> Result<Self, Failure> {
        let intent = admin.parts.brain.intent();
        Ok(identify(&intent, &parts.headers)?)
    }
}

pub(super) fn identify(intent: &Intent, headers: &HeaderMap) -> Result<Caller, Rejection> {
    let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let secret = header.and_then(|text| text.strip_prefix("Bearer ")).ok_or(Rejection::NotLoggedIn)?;
    let digest = digest(secret.trim());
    let actor = authenticate(intent, &digest, now())?;
    let token = intent.api_token_by_digest(&digest).ok_or(Rejection::NotLoggedIn)?;
    let user = intent.user(token.user).ok_or(Rejection::NotLoggedIn)?;
    Ok(Caller { actor, user: user.clone(), token: token.clone() })
}

/// Somebody who may look at everything, and intent as it was then.
pub(super) struct Reader {
    /// Intent.
    pub(super) intent: Arc<Intent>,
}

impl FromRequestParts<Shared> for Reader {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, admin: &Shared) -> Result<Self, Failure> {
        let intent = admin.parts.brain.intent();
        let caller = identify(&intent, &parts.headers)?;
        authorise_reading(&intent, &caller.actor)?;
        Ok(Self { intent })
    }
}

/// A new secret for a token.
pub(super) fn new_secret() -> anyhow::Result<String> {
    Ok(format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&random::<32>()?)))
}

/// What is kept of a secret.
pub(super) fn digest(secret: &str) -> Digest {
    Digest::from_bytes(Sha256::digest(secret.as_bytes()).into())
}
