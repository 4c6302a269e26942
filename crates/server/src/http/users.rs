//! Accounts.

use api::{
    CreateUser, DryRun, Page, Paging, PatchUser, Removal, RemoveQuery, SetGroups, SetPassword, User,
    UserSelector, Written,
};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control::{Command, authorise_administration};

use super::body::{Body, Params, Segments};
use super::caller::{Caller, Reader};
use super::removal::remove;
use super::tried::tried_everywhere;
use super::{Answer, Failure, Problems, Shared, find};

/// All accounts
#[utoipa::path(get, path = "/api/v1/users", tag = "users", params(Paging),
    responses((status = 200, body = Page<User>), Problems))]
pub(super) async fn list(reader: Reader, Params(paging): Params<Paging>) -> Answer<Page<User>> {
    let users = reader.intent.users(paging.after("users")?);
    let page = Page::cut("users", users, &paging, |user| user.id.to_string())?;
    Ok(Json(page.map(User::from)))
}

/// Make an account
#[utoipa::path(post, path = "/api/v1/users", tag = "users", request_body = CreateUser,
    responses((status = 201, body = User), Problems))]
pub(super) async fn create(
    State(admin): State<Shared>,
    caller: Caller,
    Body(create): Body<CreateUser>,
) -> Result<(StatusCode, Json<User>), Failure> {
    // Asked before the password is hashed: that takes a core for a while.
    authorise_administration(&admin.parts.brain.intent(), &caller.actor, "create-user")?;
    let password = admin.passwords.hash(create.password.expose().to_owned()).await?;
    let command = Command::CreateUser { name: create.name.clone(), password, role: create.role.into() };
    let committed = admin.submit(caller.actor, command).await?;
    let selector = find::spelt(&create.name)?;
    Ok((StatusCode::CREATED, Json(find::user(&committed.intent, &selector)?.into())))
}

/// One account
#[utoipa::path(get, path = "/api/v1/users/{user}", tag = "users", params(("user" = api::schema::Selector, Path)),
    responses((status = 200, body = User), Problems))]
pub(super) async fn get(reader: Reader, Segments(user): Segments<UserSelector>) -> Answer<User> {
    Ok(Json(find::user(&reader.intent, &user)?.into()))
}

/// Change what somebody may do
#[utoipa::path(patch, path = "/api/v1/users/{user}", tag = "users", params(("user" = api::schema::Selector, Path)),
    request_body = PatchUser, responses((status = 200, body = User), Problems))]
pub(super) async fn patch(
    State(admin): State<Shared>,
    caller: Caller,
    Segments(user): Segments<UserSelector>,
    Body(patch): Body<PatchUser>,
) -> Answer<User> {
    let user = find::user(&admin.parts.brain.intent(), &user)?.id;
    let committed = admin.submit(caller.actor, Command::SetRole { user, role: patch.role.into() }).await?;
    let changed = committed.intent.user(user).ok_or(control::Rejection::NoSuchUser { user })?;
    Ok(Json(changed.into()))
}

/// Say which groups somebody is in, or look who would gain or lose access
#[utoipa::path(put, path = "/api/v1/users/{user}/groups", tag = "users",
    params(("user" = api::schema::Selector, Path), DryRun), request_body = SetGroups,
    responses((status = 200, body = Written<User>), Problems))]
pub(super) async fn set_groups(
    State(admin): State<Shared>,
    caller: Caller,
    Segments(user): Segments<UserSelector>,
    Params(DryRun { dry_run }): Params<DryRun>,
    Body(SetGroups { groups }): Body<SetGroups>,
) -> Answer<Written<User>> {
    let intent = admin.parts.brain.intent();
    let user = find::user(&intent, &user)?.id;
    let command = Command::SetGroups { user, groups };
    if dry_run {
        let tried = tried_everywhere(&admin, intent, caller.actor, command).await?;
        return Ok(Json(Written::Tried(tried.access)));
    }
    let committed = admin.submit(caller.actor, command).await?;
    let changed = committed.intent.user(user).ok_or(control::Rejection::NoSuchUser { user })?;
    Ok(Json(Written::Done(changed.into())))
}

/// Remove an account with its tokens
///
/// The answer names its clients, which are switched off, and the policies that went with it; a dry run says so before.
#[utoipa::path(delete, path = "/api/v1/users/{user}", tag = "users",
    params(("user" = api::schema::Selector, Path), RemoveQuery),
    responses((status = 200, body = Removal), Problems))]
pub(super) async fn delete(
    State(admin): State<Shared>,
    caller: Caller,
    Segments(user): Segments<UserSelector>,
    Params(RemoveQuery { dry_run }): Params<RemoveQuery>,
) -> Answer<Removal> {
    let user = find::user(&admin.parts.brain.intent(), &user)?.id;
    remove(&admin, &caller, Command::DeleteUser { user }, dry_run).await
}

/// Set somebody's password; all log-ins of the account end
#[utoipa::path(put, path = "/api/v1/users/{user}/password", tag = "users",
    params(("user" = api::schema::Selector, Path)), request_body = SetPassword,
    responses((status = 204, description = "Set"), Problems))]
pub(super) async fn set_password(
    State(admin): State<Shared>,
    caller: Caller,
    Segments(user): Segments<UserSelector>,
    Body(set): Body<SetPassword>,
) -> Result<StatusCode, Failure> {
    let intent = admin.parts.brain.intent();
    let user = find::user(&intent, &user)?.id;
    // One's own password needs the current one: a stolen token must not be enough.
    if user == caller.user.id {
        let detail = format!("change your own password at {}, with the current one", api::path::MY_PASSWORD);
        return Err(Failure::new(api::ProblemKind::Forbidden, detail));
    }
    authorise_administration(&intent, &caller.actor, "change-password")?;
    let password = admin.passwords.hash(set.password.expose().to_owned()).await?;
    admin.submit(caller.actor, Command::ChangePassword { user, password, keep: None }).await?;
    Ok(StatusCode::NO_CONTENT)
}
