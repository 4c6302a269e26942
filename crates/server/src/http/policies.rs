//! Policies: making and trying them, and explaining what they decide.

use api::{
    AccessChange, CreatePolicy, DecidedBy, DryRun, ExplainQuery, Explanation, NetworkSelector, Page, Paging,
    PatchPolicy, Policy, PolicyRef, PolicySelector, Problem, Written,
};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use control::policy::{Member, Verdict, explain as look, is_of_one_port};
use control::{Command, Intent, NewPolicy, PolicyEdit, SetEdit};
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
    let PatchPolicy { name, enabled, from, add_from, remove_from, to, add_to, remove_to, services, both } =
        patch;
    let all = |subjects: &[api::Subject]| subjects::all(&intent, found, subjects);
    let side = |whole: Option<Vec<api::Subject>>, add: &[api::Subject], remove: &[api::Subject]| {
        let whole = whole.map(|whole| all(&whole)).transpose()?;
        Ok::<_, Failure>(SetEdit { all: whole, add: all(add)?, remove: all(remove)? })
    };
    let from = side(from, &add_from, &remove_from)?;
    let to = side(to, &add_to, &remove_to)?;
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
    if !is_of_one_port(&service) {
        let told = format!("`{service}` has several ports, and one answer is about one: ask for each");
        return Err(Problem::of_field("service", told).into());
    }
    let (from, to) = (subjects::member(intent, network, &from)?, subjects::member(intent, network, &to)?);
    let looked = look(intent, network.id, from, to, &service);
    let (decided_by, ids) = match &looked.verdict {
        Verdict::Policies(ids) => (DecidedBy::Policies, ids.as_slice()),
        Verdict::Partly(ids) => (DecidedBy::Partly, ids.as_slice()),
        Verdict::Default(_) => (DecidedBy::Default, [].as_slice()),
        Verdict::Unjudged => (DecidedBy::Unjudged, [].as_slice()),
        Verdict::Absent(_) => (DecidedBy::Absent, [].as_slice()),
        Verdict::Unreached(_) => (DecidedBy::Unreached, [].as_slice()),
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
                "allowed: network `{}` allows everything, whatever its policies say",
                network.name
            );
        }
        Verdict::Unjudged => {
            return "allowed: it never passes Netloom, neither what a machine opens to itself nor what a router opens to its own range".to_owned();
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
        Verdict::Unreached(member) => {
            let carriers = match member {
                Member::Egress(_) => "router",
                Member::Client(_) | Member::Node(_) => "gateway",
            };
            format!(
                "not allowed: nobody leads to {} now, and so nobody is told of it: it has no {carriers} that takes part in network `{}`",
                name::member(intent, *member),
                network.name
            )
        }
    };
    if disabled.is_empty() {
        return said;
    }
    format!("{said}; {} would let it through, but is disabled", names(disabled))
}
