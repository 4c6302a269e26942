//! API tokens: what programs and log-ins act with.

use model::{ApiTokenId, Timestamp, Title, TokenPurpose};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{ExpiryError, expiry, schema};

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Made by a log-in; ends with it.
    Login,
    /// Made by hand, for programs.
    Program,
}

/// A bearer token. Its secret is not here: it was shown once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiToken {
    /// Its id.
    #[schema(value_type = schema::Id)]
    pub id: ApiTokenId,
    /// Its title.
    #[schema(value_type = schema::Title)]
    pub title: Title,
    /// What it is for.
    pub purpose: Purpose,
    /// From when on it is refused; null: never.
    #[schema(value_type = Option<schema::Timestamp>)]
    pub expires: Option<Timestamp>,
    /// When it was made.
    #[schema(value_type = schema::Timestamp)]
    pub created: Timestamp,
}

impl From<&model::ApiToken> for ApiToken {
    fn from(token: &model::ApiToken) -> Self {
        let model::ApiToken { id, user: _, title, purpose, digest: _, expires, created } = token;
        let purpose = match purpose {
            TokenPurpose::Login => Purpose::Login,
            TokenPurpose::Program => Purpose::Program,
        };
        Self { id: *id, title: title.clone(), purpose, expires: *expires, created: *created }
    }
}

/// Makes a token for programs. It can do what its user can.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// Its title.
    #[schema(value_type = schema::Title)]
    pub title: Title,
    /// From when on it is refused; null: never. Not together with `expires_in`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Timestamp>)]
    pub expires: Option<Timestamp>,
    /// The same in seconds from now, at most ten years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 316_224_000)]
    pub expires_in: Option<u64>,
}

impl CreateToken {
    /// From when on it is refused.
    pub fn expiry(&self, now: Timestamp) -> Result<Option<Timestamp>, ExpiryError> {
        expiry(self.expires, self.expires_in, now)
    }
}

/// A token just made, with its secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    /// The token's record.
    pub token: ApiToken,
    /// For `Authorization: Bearer …`; shown this once.
    pub secret: String,
}
