//! Enrollment keys: what lets hosts join.

use std::collections::BTreeSet;

use model::{EnrollmentKeyId, Tag, Timestamp, Title, Uses};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{ExpiryError, NetworkRef, NetworkSelector, expiry, schema};

/// Whether a key lets hosts join just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// It does.
    Usable,
    /// It was used as often as it may be.
    Spent,
    /// Its time is over.
    Expired,
}

/// An enrollment key. Its secret is not here: it was shown once, in the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Key {
    /// Its id.
    #[schema(value_type = schema::Id)]
    pub id: EnrollmentKeyId,
    /// Its title, unique among keys.
    #[schema(value_type = schema::Title)]
    pub title: Title,
    /// The networks a host is put into; none: it only registers.
    pub networks: Vec<NetworkRef>,
    /// How often it may still be used; null: as often as one likes.
    pub uses: Option<u32>,
    /// From when on it is refused; null: never.
    #[schema(value_type = Option<schema::Timestamp>)]
    pub expires: Option<Timestamp>,
    /// The tags that nodes get who join with it.
    #[serde(default)]
    #[schema(value_type = Vec<schema::Tag>)]
    pub tags: BTreeSet<Tag>,
    /// Whether hosts who join with it are removed when they have been offline for a while.
    #[serde(default)]
    pub ephemeral: bool,
    /// Whether it lets hosts join just now.
    pub state: KeyState,
    /// When it was made.
    #[schema(value_type = schema::Timestamp)]
    pub created: Timestamp,
}

impl Key {
    /// A key as it is now, with the networks it names.
    pub fn of(key: &model::EnrollmentKey, networks: Vec<NetworkRef>, now: Timestamp) -> Self {
        let model::EnrollmentKey {
            id,
            title,
            digest: _,
            networks: _,
            uses,
            expires,
            tags,
            ephemeral,
            created,
        } = key;
        let state = match (uses, expires) {
            (Uses::Left(0), _) => KeyState::Spent,
            (Uses::Left(_) | Uses::Unlimited, Some(expires)) if *expires <= now => KeyState::Expired,
            (Uses::Left(_) | Uses::Unlimited, Some(_) | None) => KeyState::Usable,
        };
        let uses = match uses {
            Uses::Unlimited => None,
            Uses::Left(left) => Some(*left),
        };
        Self {
            id: *id,
            title: title.clone(),
            networks,
            uses,
            expires: *expires,
            tags: tags.clone(),
            ephemeral: *ephemeral,
            state,
            created: *created,
        }
    }
}

/// Makes an enrollment key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateKey {
    /// Its title; no other key may have it.
    #[schema(value_type = schema::Title)]
    pub title: Title,
    /// The networks a host is put into, by id or name; none: it only registers.
    #[serde(default)]
    #[schema(value_type = Vec<schema::Selector>, max_items = 64)]
    pub networks: Vec<NetworkSelector>,
    /// How often it may be used, at least once; null: as often as one likes.
    #[serde(default)]
    #[schema(minimum = 1)]
    pub uses: Option<u32>,
    /// From when on it is refused; null: never. Not together with `expires_in`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Timestamp>)]
    pub expires: Option<Timestamp>,
    /// The same in seconds from now, at most ten years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 316_224_000)]
    pub expires_in: Option<u64>,
    /// The tags that nodes get who join with it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schema(value_type = Option<Vec<schema::Tag>>)]
    pub tags: BTreeSet<Tag>,
    /// Whether hosts who join with it are removed when they have been offline for a while.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    pub ephemeral: bool,
}

impl CreateKey {
    /// A key of this title that leads nowhere and never ends.
    pub fn titled(title: Title) -> Self {
        Self {
            title,
            networks: Vec::new(),
            uses: None,
            expires: None,
            expires_in: None,
            tags: BTreeSet::new(),
            ephemeral: false,
        }
    }

    /// How often it may be used.
    pub fn uses(&self) -> Uses {
        self.uses.map_or(Uses::Unlimited, Uses::Left)
    }

    /// From when on it is refused.
    pub fn expiry(&self, now: Timestamp) -> Result<Option<Timestamp>, ExpiryError> {
        expiry(self.expires, self.expires_in, now)
    }
}

/// A key just made, with the token that holds its secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedKey {
    /// The key.
    pub key: Key,
    /// For `netclient join -t`; shown this once.
    pub token: String,
}

/// Changes an enrollment key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchKey {
    /// Its new title.
    #[schema(value_type = schema::Title)]
    pub title: Title,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_whether_it_can_be_used() {
        let now = Timestamp::from_millis(10_000);
        let state = |uses, expires: Option<i64>| {
            let key = model::EnrollmentKey {
                id: EnrollmentKeyId::from_bytes([1; 16]),
                title: "office".parse().unwrap(),
                digest: model::Digest::from_bytes([7; 32]),
                networks: Vec::new(),
                uses,
                expires: expires.map(Timestamp::from_millis),
                tags: Default::default(),
                ephemeral: false,
                created: now,
            };
            let json = serde_json::to_string(&Key::of(&key, Vec::new(), now)).unwrap();
            assert!(!json.contains(&key.digest.to_string()), "the digest of a secret is nobody's business");
            Key::of(&key, Vec::new(), now).state
        };
        assert_eq!(state(Uses::Unlimited, None), KeyState::Usable);
        assert_eq!(state(Uses::Left(1), Some(10_001)), KeyState::Usable);
        assert_eq!(state(Uses::Left(0), Some(10_001)), KeyState::Spent);
        assert_eq!(state(Uses::Unlimited, Some(10_000)), KeyState::Expired);
    }
}
