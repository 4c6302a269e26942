//! People, and the tokens they act with.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ApiTokenId, Digest, GroupName, Timestamp, Title, UserId, UserName};

/// A password's hash in PHC string form (argon2id). Its `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Wraps a PHC string that a password hasher made.
    pub fn from_phc(phc: String) -> Self {
        Self(phc)
    }

    /// The PHC string, for the password hasher.
    pub fn as_phc(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Administrator,
    /// Look at everything, change only the own password and tokens.
    Auditor,
}

/// A person with an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its identity.
    pub id: UserId,
    /// The log-in name, unique among users.
    pub name: UserName,
    /// The password's hash.
    pub password: PasswordHash,
    /// What this person may do.
    pub role: Role,
    /// The groups this person is in.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<GroupName>,
    /// When the account was made.
    pub created: Timestamp,
}

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenPurpose {
    /// Made by a log-in; ends with it.
    Login,
    /// Made by hand, for programs.
    Program,
}

/// A bearer token of the API. Its secret is shown once and not kept: only its digest is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiToken {
    /// Its identity.
    pub id: ApiTokenId,
    /// Whose it is; it can do what this user can.
    pub user: UserId,
    /// What people call it.
    pub title: Title,
    /// What it is for.
    pub purpose: TokenPurpose,
    /// SHA-256 of the secret.
    pub digest: Digest,
    /// From when on it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// When it was made.
    pub created: Timestamp,
}
