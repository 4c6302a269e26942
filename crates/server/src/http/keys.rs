//! Enrollment keys, and the tokens that hold their secrets.

use api::{CreateKey, CreatedKey, FieldError, Key, KeySelector, NetworkRef, Page, Paging, PatchKey, Problem};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control::{Command, Intent, Rejection};
use model::EnrollmentKey;
use wire::{Token, TokenSecret};

use super::body::{Body, Params, Segments};
use super::caller::{Caller, Reader};
use super::{Answer, Failure, Problems, Shared, find};
use crate::brain::now;
use crate::identity::random;

fn show(intent: &Intent, key: &EnrollmentKey) -> Key {
    let networks = key.networks.iter().filter_map(|id| intent.network(*id));
    Key::of(key, networks.map(NetworkRef::from).collect(), now())
}

/// All enrollment keys
#[utoipa::path(get, path = "/api/v1/keys", tag = "keys", params(Paging),
    responses((status = 200, body = Page<Key>), Problems))]
pub(super) async fn list(reader: Reader, Params(paging): Params<Paging>) -> Answer<Page<Key>> {
    let keys = reader.intent.enrollment_keys(paging.after("keys")?);
    let page = Page::cut("keys", keys, &paging, |key| key.id.to_string())?;
    Ok(Json(page.map(|key| show(&reader.intent, key))))
}

/// Make an enrollment key; its token is shown this once
#[utoipa::path(post, path = "/api/v1/keys", tag = "keys", request_body = CreateKey,
    responses((status = 201, body = CreatedKey), Problems))]
pub(super) async fn create(
    State(admin): State<Shared>,
    caller: Caller,
    Body(create): Body<CreateKey>,
) -> Result<(StatusCode, Json<CreatedKey>), Failure> {
    let intent = admin.parts.brain.intent();
    let expires = create.expiry(now()).map_err(|error| Problem::of_fields(vec![FieldError::from(error)]))?;
    let networks =
        create.networks.iter().map(|network| find::network(&intent, network).map(|network| network.id));
    let secret = TokenSecret::from_random(random()?);
    let digest = secret.digest();
    let command = Command::CreateEnrollmentKey {
        title: create.title.clone(),
        digest,
        networks: networks.collect::<Result<_, _>>()?,
        uses: create.uses(),
        expires,
        tags: create.tags,
        ephemeral: create.ephemeral,
    };
    let committed = admin.submit(caller.actor, command).await?;
    let key = committed.intent.enrollment_key_by_digest(&digest).ok_or(Rejection::UnknownKey)?;
    let token = Token { servers: admin.parts.settings.urls.clone(), secret, pin: (admin.parts.pin)() };
    let created = CreatedKey { key: show(&committed.intent, key), token: token.to_string() };
    Ok((StatusCode::CREATED, Json(created)))
}

/// One enrollment key
#[utoipa::path(get, path = "/api/v1/keys/{key}", tag = "keys", params(("key" = api::schema::Selector, Path)),
    responses((status = 200, body = Key), Problems))]
pub(super) async fn get(reader: Reader, Segments(key): Segments<KeySelector>) -> Answer<Key> {
    Ok(Json(show(&reader.intent, find::key(&reader.intent, &key)?)))
}

/// Give an enrollment key another title
#[utoipa::path(patch, path = "/api/v1/keys/{key}", tag = "keys", params(("key" = api::schema::Selector, Path)),
    request_body = PatchKey, responses((status = 200, body = Key), Problems))]
pub(super) async fn patch(
    State(admin): State<Shared>,
    caller: Caller,
    Segments(key): Segments<KeySelector>,
    Body(PatchKey { title }): Body<PatchKey>,
) -> Answer<Key> {
    let key = find::key(&admin.parts.brain.intent(), &key)?.id;
    let committed = admin.submit(caller.actor, Command::UpdateEnrollmentKey { key, title }).await?;
    let changed = committed.intent.enrollment_key(key).ok_or(Rejection::NoSuchEnrollmentKey { key })?;
    Ok(Json(show(&committed.intent, changed)))
}

/// Remove an enrollment key; hosts that used it stay
#[utoipa::path(delete, path = "/api/v1/keys/{key}", tag = "keys", params(("key" = api::schema::Selector, Path)),
    responses((status = 204, description = "Removed"), Problems))]
pub(super) async fn delete(
    State(admin): State<Shared>,
    caller: Caller,
    Segments(key): Segments<KeySelector>,
) -> Result<StatusCode, Failure> {
    let key = find::key(&admin.parts.brain.intent(), &key)?.id;
    admin.submit(caller.actor, Command::DeleteEnrollmentKey { key }).await?;
    Ok(StatusCode::NO_CONTENT)
}
