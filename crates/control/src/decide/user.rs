//! Accounts. Once there is one, there is always an administrator among them.

use std::collections::BTreeSet;

use model::{ApiTokenId, GroupName, PasswordHash, Role, TokenPurpose, User, UserId, UserName};

use super::{Decision, bounds, changed, draft::Draft, removal};
use crate::{Env, Intent, RecordChange, Rejection};

pub(super) fn set_up(intent: &Intent, name: UserName, password: PasswordHash, env: &mut Env<'_>) -> Decision {
    if intent.is_set_up() {
        return Err(Rejection::AlreadySetUp);
    }
    create(intent, name, password, Role::Administrator, env)
}

pub(super) fn create(
    intent: &Intent,
    name: UserName,
    password: PasswordHash,
    role: Role,
    env: &mut Env<'_>,
) -> Decision {
    if intent.user_by_name(&name).is_some() {
        return Err(Rejection::UserNameTaken { name });
    }
    // The first account is an administrator's, whoever makes it: else nobody could make another.
    let role = if intent.is_set_up() { role } else { Role::Administrator };
    let id = UserId::new(env.now, env.bytes());
    Ok(vec![RecordChange::made(User { id, name, password, role, groups: BTreeSet::new(), created: env.now })])
}

fn find(intent: &Intent, user: UserId) -> Result<&User, Rejection> {
    intent.user(user).ok_or(Rejection::NoSuchUser { user })
}

pub(super) fn change_password(
    intent: &Intent,
    user: UserId,
    password: PasswordHash,
    keep: Option<ApiTokenId>,
) -> Decision {
    let before = find(intent, user)?;
    let mut records = changed(before, User { password, ..before.clone() });
    let log_ins = intent.api_tokens_of_user(user).filter(|token| token.purpose == TokenPurpose::Login);
    let ended = log_ins.filter(|token| Some(token.id) != keep);
    records.extend(ended.map(|token| RecordChange::removed(token.clone())));
    Ok(records)
}

fn refuse_last_administrator(intent: &Intent, user: &User) -> Result<(), Rejection> {
    if user.role == Role::Administrator && !intent.has_other_administrator(user.id) {
        return Err(Rejection::LastAdministrator { name: user.name.clone() });
    }
    Ok(())
}

pub(super) fn set_role(intent: &Intent, user: UserId, role: Role) -> Decision {
    let before = find(intent, user)?;
    if role != Role::Administrator {
        refuse_last_administrator(intent, before)?;
    }
    Ok(changed(before, User { role, ..before.clone() }))
}

pub(super) fn set_groups(intent: &Intent, user: UserId, groups: BTreeSet<GroupName>) -> Decision {
    let before = find(intent, user)?;
    check_groups(&groups)?;
    Ok(changed(before, User { groups, ..before.clone() }))
}

/// Refuses more groups than one user may be in.
pub(super) fn check_groups(groups: &BTreeSet<GroupName>) -> Result<(), Rejection> {
    bounds::at_most("groups of one user", groups.len(), bounds::MOST_GROUPS)
}

pub(super) fn delete(intent: &Intent, user: UserId) -> Decision {
    let before = find(intent, user)?;
    refuse_last_administrator(intent, before)?;
    let mut draft = Draft::of(intent);
    intent.api_tokens_of_user(user).for_each(|token| draft.remove(token.id));
    removal::user(&mut draft, user);
    Ok(draft.finish())
}
