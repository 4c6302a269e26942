//! Policies: who may open connections to whom; what a change of them would do; tests of them.

use std::collections::BTreeSet;

use model::{NetworkId, NetworkName, PolicyId, PolicyTestId, Service, Timestamp, Title};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{Access, Member, Problem, Subject, schema, yes};

/// A policy, named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyRef {
    /// Its id.
    #[schema(value_type = schema::Id)]
    pub id: PolicyId,
    /// Its name.
    #[schema(value_type = schema::Title)]
    pub name: Title,
}

impl From<&model::Policy> for PolicyRef {
    fn from(policy: &model::Policy) -> Self {
        Self { id: policy.id, name: policy.name.clone() }
    }
}

/// A policy: it allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Policy {
    /// Its id.
    #[schema(value_type = schema::Id)]
    pub id: PolicyId,
    /// The network.
    #[schema(value_type = schema::Id)]
    pub network: NetworkId,
    /// Its name, unique in the network.
    #[schema(value_type = schema::Title)]
    pub name: Title,
    /// Whether it counts.
    pub enabled: bool,
    /// Who may open connections.
    #[schema(value_type = Vec<schema::Subject>)]
    pub from: Vec<Subject>,
    /// To whom.
    #[schema(value_type = Vec<schema::Subject>)]
    pub to: Vec<Subject>,
    /// By what; none is everything.
    #[schema(value_type = Vec<schema::Service>)]
    pub services: BTreeSet<Service>,
    /// Whether the other way round too.
    pub both: bool,
    /// When it was made.
    #[schema(value_type = schema::Timestamp)]
    pub created: Timestamp,
}

impl Policy {
    /// A policy with its subjects named.
    pub fn of(policy: &model::Policy, from: Vec<Subject>, to: Vec<Subject>) -> Self {
        let model::Policy { id, network, name, enabled, from: _, to: _, services, both, created } = policy;
        Self {
            id: *id,
            network: *network,
            name: name.clone(),
            enabled: *enabled,
            from,
            to,
            services: services.clone(),
            both: *both,
            created: *created,
        }
    }
}

/// Makes a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePolicy {
    /// Its name; no other policy of the network may have it.
    #[schema(value_type = schema::Title)]
    pub name: Title,
    /// Whether it counts; true where nothing is said.
    #[serde(default = "yes")]
    #[schema(value_type = Option<bool>)]
    pub enabled: bool,
    /// Who may open connections.
    #[schema(value_type = Vec<schema::Subject>, min_items = 1, max_items = 64)]
    pub from: Vec<Subject>,
    /// To whom.
    #[schema(value_type = Vec<schema::Subject>, min_items = 1, max_items = 64)]
    pub to: Vec<Subject>,
    /// By what; none is everything.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schema(value_type = Option<Vec<schema::Service>>, max_items = 64)]
    pub services: BTreeSet<Service>,
    /// Whether the other way round too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schema(value_type = Option<bool>)]
    pub both: bool,
}

/// Changes a policy. What is missing stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchPolicy {
    /// Its new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Title>)]
    pub name: Option<Title>,
    /// Whether it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// All who may open connections, in place of those until now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<schema::Subject>>, min_items = 1, max_items = 64)]
    pub from: Option<Vec<Subject>>,
    /// Those of whom it speaks there beside those until then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<schema::Subject>>, max_items = 64)]
    pub add_from: Vec<Subject>,
    /// Those of whom it speaks there no longer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<schema::Subject>>, max_items = 64)]
    pub remove_from: Vec<Subject>,
    /// All to whom, in place of those until now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<schema::Subject>>, min_items = 1, max_items = 64)]
    pub to: Option<Vec<Subject>>,
    /// Those of whom it speaks there beside those until then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<schema::Subject>>, max_items = 64)]
    pub add_to: Vec<Subject>,
    /// Those of whom it speaks there no longer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<schema::Subject>>, max_items = 64)]
    pub remove_to: Vec<Subject>,
    /// All services, in place of those until now; none is everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<schema::Service>>, max_items = 64)]
    pub services: Option<BTreeSet<Service>>,
    /// Whether the other way round too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub both: Option<bool>,
}

/// Whether a change is only tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DryRun {
    /// `true`: nothing is changed, and the answer says who would gain and who would lose access (`AccessChange`).
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    pub dry_run: bool,
}

/// What a write is answered with: the thing as it is now, or, after a dry run, what would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Written<T> {
    /// After a dry run.
    Tried(AccessChange),
    /// After a change.
    Done(T),
}

/// Two members between whom access changes. Services, or `everything`; an empty list is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PairChange {
    /// The network's name.
    #[schema(value_type = schema::NetworkName)]
    pub network: NetworkName,
    /// Who opens connections.
    #[schema(value_type = schema::Member)]
    pub from: Member,
    /// To whom.
    #[schema(value_type = schema::Member)]
    pub to: Member,
    /// By what it has access before.
    #[schema(example = json!(["everything"]))]
    pub before: Vec<String>,
    /// By what it has access after.
    #[schema(example = json!(["tcp/443"]))]
    pub after: Vec<String>,
    /// By what it gains access. Where that is `everything`, all but what it had before.
    pub gained: Vec<String>,
    /// By what it loses access. Where that is `everything`, all but what it has after.
    #[schema(example = json!(["everything"]))]
    pub lost: Vec<String>,
}

/// What a change would do to who may open connections to whom.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct AccessChange {
    /// How many pairs change; each direction is a pair.
    pub changing: u64,
    /// How many pairs gain something.
    pub gaining: u64,
    /// How many pairs lose something. One that does both counts in both.
    pub losing: u64,
    /// The first hundred of the pairs that change.
    pub pairs: Vec<PairChange>,
    /// Why the change would be refused all the same: tests of policies that it would make wrong. Missing where it would be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Problem>)]
    pub refused: Option<Box<Problem>>,
}

/// Which access is to be explained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExplainQuery {
    /// Who opens the connection.
    #[param(value_type = schema::Member)]
    pub from: Member,
    /// To whom.
    #[param(value_type = schema::Member)]
    pub to: Member,
    /// By what: one protocol and at most one port.
    #[param(value_type = schema::Service)]
    pub service: Service,
}

/// What decides whether one member may open connections to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecidedBy {
    /// Policies let it through.
    Policies,
    /// Policies let only some of its ports through.
    Partly,
    /// The network's default: it allows everything, or it denies and no policy speaks of it.
    Default,
    /// Nothing: what a machine opens to itself, and what a router opens to its own range, passes and is never judged.
    Unjudged,
    /// One of the two takes no part in the network now.
    Absent,
    /// Nobody leads to one of the two now: it has no gateway or router that takes part, so nobody is told of it.
    Unreached,
}

/// Whether one member may open connections to another, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// Who opens the connection.
    #[schema(value_type = schema::Member)]
    pub from: Member,
    /// To whom.
    #[schema(value_type = schema::Member)]
    pub to: Member,
    /// By what.
    #[schema(value_type = schema::Service)]
    pub service: Service,
    /// Whether it may.
    pub allowed: bool,
    /// What decides.
    pub decided_by: DecidedBy,
    /// The policies that let it through, or some of it.
    pub policies: Vec<PolicyRef>,
    /// Disabled policies that would let all of it through.
    pub disabled: Vec<PolicyRef>,
    /// Whether the other may open such connections to this one. Replies need none of it.
    pub reverse_allowed: bool,
    /// The same in a sentence.
    pub reason: String,
}

/// A sentence about policies that must stay true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyTest {
    /// Its id.
    #[schema(value_type = schema::Id)]
    pub id: PolicyTestId,
    /// The network.
    #[schema(value_type = schema::Id)]
    pub network: NetworkId,
    /// Everybody in this …
    #[schema(value_type = schema::Subject)]
    pub from: Subject,
    /// … to everybody in this …
    #[schema(value_type = schema::Subject)]
    pub to: Subject,
    /// … by this …
    #[schema(value_type = schema::Service)]
    pub service: Service,
    /// … is allowed, or denied.
    pub expect: Access,
    /// Of how many pairs of members that is now. 0: of nobody, so that it is true and says nothing.
    pub pairs: u64,
    /// When it was made.
    #[schema(value_type = schema::Timestamp)]
    pub created: Timestamp,
}

/// Makes a test: a change of policies that makes it wrong is refused from then on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePolicyTest {
    /// Everybody in this …
    #[schema(value_type = schema::Subject)]
    pub from: Subject,
    /// … to everybody in this …
    #[schema(value_type = schema::Subject)]
    pub to: Subject,
    /// … by this: one protocol and at most one port …
    #[schema(value_type = schema::Service)]
    pub service: Service,
    /// … is allowed, or denied.
    pub expect: Access,
}

/// How a test went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyTestResult {
    /// The test.
    pub test: PolicyTest,
    /// Whether it is true.
    pub passed: bool,
    /// What is otherwise than it says, in a sentence; missing when it passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// How all tests of a network went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyTestRun {
    /// Whether all are true.
    pub passed: bool,
    /// Each of them.
    pub results: Vec<PolicyTestResult>,
}
