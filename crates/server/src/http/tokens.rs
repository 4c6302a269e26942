//! API tokens of the own account.

use api::{ApiToken, CreateToken, CreatedToken, FieldError, Page, Paging, Problem};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control::{Command, Rejection};
use model::{ApiTokenId, TokenPurpose};

use super::body::{Body, Params, Segments};
use super::caller::{Caller, digest, new_secret};
use super::{Answer, Failure, Problems, Shared};
use crate::brain::now;

/// The own tokens and log-ins
#[utoipa::path(get, path = "/api/v1/tokens", tag = "tokens", params(Paging),
    responses((status = 200, body = Page<ApiToken>), Problems))]
pub(super) async fn list(
    State(admin): State<Shared>,
    caller: Caller,
    Params(paging): Params<Paging>,
) -> Answer<Page<ApiToken>> {
    let intent = admin.parts.brain.intent();
    let mut tokens: Vec<_> = intent.api_tokens_of_user(caller.user.id).collect();
    tokens.sort_unstable_by_key(|token| token.id);
    let page = Page::cut("tokens", tokens, &paging, |token| token.id.to_string())?;
    Ok(Json(page.map(ApiToken::from)))
}

/// Make a token for a program; its secret is shown this once
#[utoipa::path(post, path = "/api/v1/tokens", tag = "tokens", request_body = CreateToken,
    responses((status = 201, body = CreatedToken), Problems))]
pub(super) async fn create(
    State(admin): State<Shared>,
    caller: Caller,
    Body(create): Body<CreateToken>,
) -> Result<(StatusCode, Json<CreatedToken>), Failure> {
    let expires = create.expiry(now()).map_err(|error| Problem::of_fields(vec![FieldError::from(error)]))?;
    let secret = new_secret()?;
    let digest = digest(&secret);
    let command = Command::CreateToken {
        user: caller.user.id,
        title: create.title,
        purpose: TokenPurpose::Program,
        digest,
        expires,
    };
    let committed = admin.submit(caller.actor, command).await?;
    let token = committed.intent.api_token_by_digest(&digest).ok_or(Rejection::NotLoggedIn)?;
    Ok((StatusCode::CREATED, Json(CreatedToken { token: token.into(), secret })))
}

/// End a token or a log-in
#[utoipa::path(delete, path = "/api/v1/tokens/{token}", tag = "tokens",
    params(("token" = api::schema::Id, Path)),
    responses((status = 204, description = "Ended"), Problems))]
pub(super) async fn delete(
    State(admin): State<Shared>,
    caller: Caller,
    Segments(token): Segments<ApiTokenId>,
) -> Result<StatusCode, Failure> {
    admin.submit(caller.actor, Command::DeleteToken { token }).await?;
    Ok(StatusCode::NO_CONTENT)
}
