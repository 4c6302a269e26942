//! Accounts.

use std::collections::BTreeSet;

use model::{GroupName, Timestamp, UserId, UserName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Password, Secret, schema};

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Administrator,
    /// Look at everything, change only the own password and tokens.
    Auditor,
}

impl From<model::Role> for Role {
    fn from(role: model::Role) -> Self {
        match role {
            model::Role::Administrator => Self::Administrator,
            model::Role::Auditor => Self::Auditor,
        }
    }
}

impl From<Role> for model::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Administrator => Self::Administrator,
            Role::Auditor => Self::Auditor,
        }
    }
}

/// A person, named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserRef {
    /// The id.
    #[schema(value_type = schema::Id)]
    pub id: UserId,
    /// The log-in name.
    #[schema(value_type = schema::UserName)]
    pub name: UserName,
}

impl From<&model::User> for UserRef {
    fn from(user: &model::User) -> Self {
        Self { id: user.id, name: user.name.clone() }
    }
}

/// A person with an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// Its id.
    #[schema(value_type = schema::Id)]
    pub id: UserId,
    /// The log-in name.
    #[schema(value_type = schema::UserName)]
    pub name: UserName,
    /// What this person may do.
    pub role: Role,
    /// The groups that this person is in; policies may speak of the clients of those in a group.
    #[serde(default)]
    #[schema(value_type = Vec<schema::GroupName>)]
    pub groups: BTreeSet<GroupName>,
    /// When the account was made.
    #[schema(value_type = schema::Timestamp)]
    pub created: Timestamp,
}

impl From<&model::User> for User {
    fn from(user: &model::User) -> Self {
        let model::User { id, name, password: _, role, groups, created } = user;
        Self { id: *id, name: name.clone(), role: (*role).into(), groups: groups.clone(), created: *created }
    }
}

/// Makes an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// The log-in name; no other account may have it.
    #[schema(value_type = schema::UserName)]
    pub name: UserName,
    /// What this person may do.
    pub role: Role,
    /// The password, 10 to 256 characters.
    #[schema(value_type = schema::NewPassword)]
    pub password: Password,
}

/// Changes an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchUser {
    /// What this person may do.
    pub role: Role,
}

/// Says which groups somebody is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetGroups {
    /// All of them, in place of those until now.
    #[schema(value_type = Vec<schema::GroupName>, max_items = 64)]
    pub groups: BTreeSet<GroupName>,
}

/// Sets somebody's password, by an administrator; ends all that person's log-ins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPassword {
    /// The new password, 10 to 256 characters.
    #[schema(value_type = schema::NewPassword)]
    pub password: Password,
}

/// Changes the own password; ends all other log-ins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    /// The password until now.
    #[schema(value_type = schema::Secret)]
    pub current: Secret,
    /// The new password, 10 to 256 characters.
    #[schema(value_type = schema::NewPassword)]
    pub new: Password,
}
