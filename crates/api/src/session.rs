//! Set-up of the first administrator, log-in, and who one is.

use model::{Timestamp, UserName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{ApiToken, Password, Secret, User, schema};

/// Whether the first administrator exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetupState {
    /// Whether it does. Until then nothing else can be done.
    pub done: bool,
}

/// Makes the first administrator; only while there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// The set-up code: the server keeps it in the file `setup-code` of its data folder until it is used.
    #[schema(value_type = schema::Secret)]
    pub code: Secret,
    /// The log-in name.
    #[schema(value_type = schema::UserName)]
    pub name: UserName,
    /// The password, 10 to 256 characters.
    #[schema(value_type = schema::NewPassword)]
    pub password: Password,
}

/// Logs in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The log-in name.
    #[schema(value_type = schema::UserName)]
    pub name: UserName,
    /// The password.
    #[schema(value_type = schema::Secret)]
    pub password: Secret,
}

/// A log-in: the answer to `Login` and to `Setup`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// For `Authorization: Bearer …`.
    pub token: String,
    /// From when on it is refused.
    #[schema(value_type = schema::Timestamp)]
    pub expires: Timestamp,
    /// Who it is.
    pub user: User,
}

/// Who one is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Me {
    /// The account.
    pub user: User,
    /// The token that was used.
    pub token: ApiToken,
}
