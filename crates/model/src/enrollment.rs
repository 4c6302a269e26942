//! Enrollment keys: what lets hosts join.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{Digest, EnrollmentKeyId, NetworkId, Tag, Timestamp, Title};

/// How often a key may still be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Uses {
    /// As often as one likes.
    Unlimited,
    /// This many more times; 0 is a spent key.
    Left(u32),
}

/// A key that lets hosts join. Its secret is shown once and not kept: only its digest is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrollmentKey {
    /// Its identity.
    pub id: EnrollmentKeyId,
    /// What people call it, unique among keys.
    pub title: Title,
    /// SHA-256 of the secret.
    pub digest: Digest,
    /// The networks a host is put into. Empty: the host registers and is put into networks later.
    pub networks: Vec<NetworkId>,
    /// How often it may still be used.
    pub uses: Uses,
    /// Tags of the nodes it makes.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<Tag>,
    /// Whether its hosts are removed once they have been away for a while.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ephemeral: bool,
    /// From when on it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// When it was made.
    pub created: Timestamp,
}
