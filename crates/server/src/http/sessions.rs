//! Set-up, log-in, and the own account.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use api::{ChangePassword, Login, Me, Problem, ProblemKind, Session, Setup, SetupState};
use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use control::{Actor, Command, Rejection};
use model::{PasswordHash, Title, TokenPurpose, UserId};

use super::body::Body;
use super::caller::{Caller, digest, new_secret};
use super::{Admin, Answer, Failure, Problems, Shared};
use crate::brain::now;

/// Whether the first administrator exists
#[utoipa::path(get, path = "/api/v1/setup", tag = "session", security(()),
    responses((status = 200, body = SetupState), Problems))]
pub(super) async fn setup_state(State(admin): State<Shared>) -> Json<SetupState> {
    Json(SetupState { done: admin.parts.brain.intent().is_set_up() })
}

/// Make the first administrator, with the one-time set-up code
#[utoipa::path(post, path = "/api/v1/setup", tag = "session", security(()), request_body = Setup,
    responses((status = 200, body = Session), Problems))]
pub(super) async fn setup(
    State(admin): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Body(setup): Body<Setup>,
) -> Answer<Session> {
    admin.parts.attempts.check(peer.ip(), Instant::now())?;
    // Nothing is hashed for whoever has no code: that takes a core for a while.
    let right = admin.parts.setup.matches(setup.code.expose()).ok_or(Rejection::AlreadySetUp)?;
    if !right {
        admin.parts.attempts.failed(peer.ip(), Instant::now());
        let file = admin.parts.setup.file().display();
        let detail = format!("the set-up code is wrong; it is in the file {file} on the server");
        return Err(Problem::coded(ProblemKind::Forbidden, api::WRONG_CODE, detail).into());
    }
    let password = admin.passwords.hash(setup.password.expose().to_owned()).await?;
    let command = Command::SetUpFirstAdministrator { name: setup.name.clone(), password };
    let committed = admin.submit(Actor::Setup, command).await?;
    admin.parts.setup.used();
    let user = committed.intent.user_by_name(&setup.name).map(|user| user.id);
    let user = user.ok_or_else(|| Failure::new(ProblemKind::Busy, "the account was removed just now"))?;
    start_session(&admin, user).await
}

/// Log in
#[utoipa::path(post, path = "/api/v1/login", tag = "session", security(()), request_body = Login,
    responses((status = 200, body = Session), Problems))]
pub(super) async fn login(
    State(admin): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Body(login): Body<Login>,
) -> Answer<Session> {
    // The account, or its password, may have been made at another server a moment ago.
    admin.parts.brain.look_around().await;
    let known = admin.parts.brain.intent().user_by_name(&login.name).cloned();
    let hash = known.as_ref().map(|user| user.password.clone());
    let right = check_password(&admin, peer.ip(), login.password.expose(), hash).await?;
    match known {
        Some(user) if right => start_session(&admin, user.id).await,
        Some(_) | None => {
            tracing::info!(name = %login.name, peer = %peer.ip(), "log-in refused");
            Err(wrong_password())
        }
    }
}

/// Whether this is the password, unless too many wrong ones came from there.
async fn check_password(
    admin: &Admin,
    from: IpAddr,
    given: &str,
    hash: Option<PasswordHash>,
) -> Result<bool, Failure> {
    let attempts = &admin.parts.attempts;
    attempts.begin(from, Instant::now())?;
    let right = admin.passwords.check(given.to_owned(), hash).await;
    if !matches!(right, Ok(false)) {
        attempts.succeeded(from);
    }
    right
}

fn wrong_password() -> Failure {
    let detail = "name or password is wrong";
    Problem::coded(ProblemKind::Unauthenticated, api::WRONG_PASSWORD, detail).into()
}

async fn start_session(admin: &Admin, user: UserId) -> Answer<Session> {
    let secret = new_secret()?;
    let expires = now() + admin.parts.settings.login_lifetime;
    let command = Command::CreateToken {
        user,
        title: title("log-in"),
        purpose: TokenPurpose::Login,
        digest: digest(&secret),
        expires: Some(expires),
    };
    let committed = admin.submit(Actor::User(user), command).await?;
    let user = committed.intent.user(user).ok_or(Rejection::NotLoggedIn)?;
    Ok(Json(Session { token: secret, expires, user: user.into() }))
}

fn title(text: &'static str) -> Title {
    text.parse().expect("it is written here, and short")
}

/// End this log-in or token
#[utoipa::path(post, path = "/api/v1/logout", tag = "session",
    responses((status = 204, description = "The token is worth nothing any more"), Problems))]
pub(super) async fn logout(State(admin): State<Shared>, caller: Caller) -> Result<StatusCode, Failure> {
    admin.submit(caller.actor, Command::DeleteToken { token: caller.token.id }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who this token is
#[utoipa::path(get, path = "/api/v1/me", tag = "session", responses((status = 200, body = Me), Problems))]
pub(super) async fn me(caller: Caller) -> Json<Me> {
    Json(Me { user: (&caller.user).into(), token: (&caller.token).into() })
}

/// Change the own password; all other log-ins end
#[utoipa::path(put, path = "/api/v1/me/password", tag = "session", request_body = ChangePassword,
    responses((status = 204, description = "Changed"), Problems))]
pub(super) async fn change_password(
    State(admin): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    caller: Caller,
    Body(change): Body<ChangePassword>,
) -> Result<StatusCode, Failure> {
    let hash = caller.user.password.clone();
    if !check_password(&admin, peer.ip(), change.current.expose(), Some(hash)).await? {
        return Err(wrong_current());
    }
    let password = admin.passwords.hash(change.new.expose().to_owned()).await?;
    let command = Command::ChangePassword { user: caller.user.id, password, keep: Some(caller.token.id) };
    admin.submit(caller.actor, command).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn wrong_current() -> Failure {
    Problem::coded(ProblemKind::Forbidden, api::WRONG_PASSWORD, "the current password is wrong").into()
}
