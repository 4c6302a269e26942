//! What goes with something that is removed, or goes on without it.
//!
//! Not for what is removed itself. It keeps true that all of it is counted, however much is named.

use model::NetworkName;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::schema;

/// Whether removing is only tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RemoveQuery {
    /// `true`: nothing is removed, and the answer says what would go with it.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    pub dry_run: bool,
}

/// What becomes of something that named what is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// A policy that is removed, for it would speak of nobody.
    PolicyRemoved,
    /// A policy that speaks of fewer.
    PolicyNarrowed,
    /// A test of policies that is removed.
    PolicyTestRemoved,
    /// A client that cannot come in until it gets another gateway.
    ClientWithoutGateway,
    /// A client that goes on by its other gateways, with another configuration.
    ClientLosesGateway,
    /// A client that is nobody's, and switched off.
    ClientWithoutOwner,
    /// An egress range that cannot be reached until it gets another router.
    EgressWithoutRouter,
    /// An egress range that goes on by its other routers.
    EgressLosesRouter,
    /// A node of which nothing goes out until it gets another internet gateway, or is to use none.
    NodeWithoutInternet,
    /// A node that is reached through nobody any more.
    NodeWithoutRelay,
    /// A network that goes on without a hub.
    NetworkWithoutHub,
}

/// Something that named what is removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Affected {
    /// What becomes of it.
    pub fate: Fate,
    /// The network that it is in.
    #[schema(value_type = schema::NetworkName)]
    pub network: NetworkName,
    /// What people call it: a node by its host, a test by what it says.
    pub name: String,
}

/// What a removal does to others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Removal {
    /// Whether nothing was removed.
    pub dry_run: bool,
    /// Whatever named it, by what becomes of it; at most 1,000 of them.
    pub affected: Vec<Affected>,
    /// How many these are in all.
    pub affected_count: usize,
}

impl Removal {
    /// How many are named.
    pub const MOST_NAMED: usize = 1_000;

    /// Counts them all, and names the first.
    pub fn of(dry_run: bool, affected: impl Iterator<Item = Affected>) -> Self {
        let mut affected: Vec<Affected> = affected.collect();
        affected.sort_by_key(|one| one.fate);
        let affected_count = affected.len();
        affected.truncate(Self::MOST_NAMED);
        Self { dry_run, affected, affected_count }
    }
}
