//! Policies: making and trying them, and explaining what they decide.

use api::{
    AccessChange, CreatePolicy, DecidedBy, DryRun, ExplainQuery, Explanation, NetworkSelector, Page, Paging,
    PatchPolicy, Policy, PolicyRef, PolicySelector, Written,
};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use control::policy::{Verdict, explain as look};
use control::{Command, Intent, NewPolicy, PolicyEdit};
use model::{Access, Network};

use super::body::{Body, Params, Segments};
use super::caller::{Caller, Reader};
use super::tried::tried;
use super::{Answer, Failure, Problems, Shared, find, name, subjects};

fn show(intent: &Intent, policy: &model::Policy) -> Policy {
    let subjects = |subjects: &std::collections::BTreeSet<model::Subject>| {
        subjects.iter().map(|subject| name::subject(intent, subject)).collect()
    };
    Policy::of(policy, subjects(&policy.from), subjects(&policy.to))
}

/// The policies of a network
#[utoipa::path(get, path = "/api/v1/networks/{network}/policies", tag = "policies",
    params(("network" = api::schema::Selector, Path), Paging),
    responses((status = 200, body = Page<Policy>), Problems))]
pub(super) async fn list(
    reader: Reader,
    Segments(network): Segments<NetworkSelector>,
    Params(paging): Params<Paging>,
) -> Answer<Page<Policy>> {
    let network = find::network(&reader.intent, &network)?.id;
    let list = format!("policies/{network}");
    let policies = reader.intent.policies_in_network(network);
    let page = Page::cut(&list, policies, &paging, |policy| policy.id.to_string())?;
    Ok(Json(page.map(|policy| show(&reader.intent, policy))))
}

/// Make a policy, or look who would gain or lose access
#[utoipa::path(post, path = "/api/v1/networks/{network}/policies", tag = "policies",
    params(("network" = api::schema::Selector, Path), DryRun), request_body = CreatePolicy,
    responses((status = 200, description = "After a dry run", body = AccessChange),
        (status = 201, body = Policy), Problems))]
pub(super) async fn create(
    State(admin): State<Shared>,
    caller: Caller,
    Segments(network): Segments<NetworkSelector>,
    Params(DryRun { dry_run }): Params<DryRun>,
    Body(create): Body<CreatePolicy>,
) -> Result<Response, Failure> {
    let intent = admin.parts.brain.intent();
    let found = find::network(&intent, &network)?;
    let network = found.id;
    let CreatePolicy { name, enabled, from, to, services, both } = create;
    let from = subjects::all(&intent, found, &from)?;
    let to = subjects::all(&intent, found, &to)?;
    let new = NewPolicy { network, name: name.clone(), enabled, from, to, services, both };
    let command = Command::CreatePolicy(new);
    if dry_run {
        return Ok(Json(tried(&admin, intent, caller.actor, command, network).await?).into_response());
    }
    let committed = admin.submit(caller.actor, command).await?;
    let made = committed.intent.policy_by_name(network, &name).ok_or_else(|| find::gone("policy"))?;
    Ok((StatusCode::CREATED, Json(show(&committed.intent, made))).into_response())
}

/// One policy
#[utoipa::path(get, path = "/api/v1/networks/{network}/policies/{policy}", tag = "policies",
    params(("network" = api::schema::Selector, Path), ("policy" = api::schema::Selector, Path)),
    responses((status = 200, body = Policy), Problems))]
pub(super) async fn get(
    reader: Reader,
    Segments((network, policy)): Segments<(NetworkSelector, PolicySelector)>,
) -> Answer<Policy> {
    let network = find::network(&reader.intent, &network)?;
    Ok(Json(show(&reader.intent, find::policy(&reader.intent, network, &policy)?)))
}

/// Change a policy, or look who would gain or lose access
#[utoipa::path(patch, path = "/api/v1/networks/{network}/policies/{policy}", tag = "policies",
    params(("network" = api::schema::Selector, Path), ("policy" = api::schema::Selector, Path), DryRun),
    request_body = PatchPolicy, responses((status = 200, body = Written<Policy>), Problems))]
pub(super) async fn patch(
    State(admin): State<Shared>,
    caller: Caller,
    Segments((network, policy)): Segments<(NetworkSelector, PolicySelector)>,
    Params(DryRun { dry_run }): Params<DryRun>,
    Body(patch): Body<PatchPolicy>,
) -> Answer<Written<Policy>> {
    let intent = admin.parts.brain.intent();
    let found = find::network(&intent, &network)?;
    let network = found.id;
    let policy = find::policy(&intent, found, &policy)?.id;
    let PatchPolicy { name, enabled, from, to, services, both } = patch;
    let from = from.map(|from| subjects::all(&intent, found, &from)).transpose()?;
    let to = to.map(|to| subjects::all(&intent, found, &to)).transpose()?;
    let edit = PolicyEdit { name, enabled, from, to, services, both };
    let command = Command::UpdatePolicy { policy, edit };
    if dry_run {
        return Ok(Json(Written::Tried(tried(&admin, intent, caller.actor, command, network).await?)));
    }
    let committed = admin.submit(caller.actor, command).await?;
    let changed = committed.intent.policy(policy).ok_or_else(|| find::gone("policy"))?;
    Ok(Json(Written::Done(show(&committed.intent, changed))))
}

/// Remove a policy, or look who would lose access
#[utoipa::path(delete, path = "/api/v1/networks/{network}/policies/{policy}", tag = "policies",
    params(("network" = api::schema::Selector, Path), ("policy" = api::schema::Selector, Path), DryRun),
    responses((status = 200, description = "After a dry run", body = AccessChange),
        (status = 204, description = "Removed"), Problems))]
pub(super) async fn delete(
    State(admin): State<Shared>,
    caller: Caller,
    Segments((network, policy)): Segments<(NetworkSelector, PolicySelector)>,
    Params(DryRun { dry_run }): Params<DryRun>,
) -> Result<Response, Failure> {
    let intent = admin.parts.brain.intent();
    let found = find::network(&intent, &network)?;
    let network = found.id;
    let command = Command::DeletePolicy { policy: find::policy(&intent, found, &policy)?.id };
    if dry_run {
        return Ok(Json(tried(&admin, intent, caller.actor, command, network).await?).into_response());
    }
    admin.submit(caller.actor, command).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Whether one member may open connections to another, and what decides it
#[utoipa::path(get, path = "/api/v1/networks/{network}/policies/explain", tag = "policies",
    params(("network" = api::schema::Selector, Path), ExplainQuery),
    responses((status = 200, body = Explanation), Problems))]
pub(super) async fn explain(
    reader: Reader,
    Segments(network): Segments<NetworkSelector>,
    Params(ExplainQuery { from, to, service }): Params<ExplainQuery>,
) -> Answer<Explanation> {
    let intent = &reader.intent;
    let network = find::network(intent, &network)?;
    let (from, to) = (subjects::member(intent, network, &from)?, subjects::member(intent, network, &to)?);
    let looked = look(intent, network.id, from, to, &service);
    let (decided_by, ids) = match &looked.verdict {
        Verdict::Policies(ids) => (DecidedBy::Policies, ids.as_slice()),
        Verdict::Partly(ids) => (DecidedBy::Partly, ids.as_slice()),
        Verdict::Default(_) => (DecidedBy::Default, [].as_slice()),
        Verdict::Absent(_) => (DecidedBy::Absent, [].as_slice()),
    };
    let (policies, disabled) = (name::policies(intent, ids), name::policies(intent, &looked.disabled));
    let reason = reason(intent, network, &looked.verdict, (&policies, &disabled));
    Ok(Json(Explanation {
        from: name::member(intent, from),
        to: name::member(intent, to),
        service,
        allowed: looked.verdict.allows(),
        decided_by,
        policies,
        disabled,
        reverse_allowed: looked.reverse.allows(),
        reason,
    }))
}

/// `a`, `b` and `c`.
fn names(policies: &[PolicyRef]) -> String {
    let quoted: Vec<String> = policies.iter().map(|policy| format!("`{}`", policy.name)).collect();
    match quoted.split_last() {
        Some((last, before)) if !before.is_empty() => format!("{} and {last}", before.join(", ")),
        Some(_) | None => quoted.concat(),
    }
}

fn reason(
    intent: &Intent,
    network: &Network,
    verdict: &Verdict,
    (policies, disabled): (&[PolicyRef], &[PolicyRef]),
) -> String {
    let said = match verdict {
        Verdict::Policies(_) if policies.len() == 1 => {
            return format!("allowed: the policy {} lets it through", names(policies));
        }
        Verdict::Policies(_) => {
            return format!("allowed: the policies {} let it through together", names(policies));
        }
        Verdict::Default(Access::Allow) => {
            return format!(
                "allowed: no policy speaks of it, and network `{}` allows what no policy speaks of",
                network.name
            );
        }
        Verdict::Partly(_) => format!(
            "not allowed: only some of its ports are let through, by {}, and network `{}` denies the rest",
            names(policies),
            network.name
        ),
        Verdict::Default(Access::Deny) => format!(
            "not allowed: no policy lets it through, and network `{}` denies what no policy lets through",
            network.name
        ),
        Verdict::Absent(member) => format!(
            "not allowed: {} takes no part in network `{}` now: it is paused, disabled, expired or waits to be let in",
            name::member(intent, *member),
            network.name
        ),
    };
    if disabled.is_empty() {
        return said;
    }
    format!("{said}; {} would let it through, but is disabled", names(disabled))
}
