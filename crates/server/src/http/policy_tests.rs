//! Tests of policies: sentences that must stay true. `control` refuses what would make them wrong.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use api::{CreatePolicyTest, NetworkSelector, Page, Paging, PolicyTest, PolicyTestResult, PolicyTestRun};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control::policy::{pairs_of_tests, run_tests};
use control::{Command, Intent};
use model::{Access, PolicyTestId};

use super::body::{Body, Params, Segments};
use super::caller::{Caller, Reader};
use super::{Answer, Failure, Problems, Shared, find, name, subjects};

/// A test, and of how many pairs it speaks.
fn show(intent: &Intent, pairs: &BTreeMap<PolicyTestId, u64>, test: &model::PolicyTest) -> PolicyTest {
    let model::PolicyTest { id, network, from, to, service, expect, created } = test;
    PolicyTest {
        id: *id,
        network: *network,
        from: name::subject(intent, from),
        to: name::subject(intent, to),
        service: service.clone(),
        expect: (*expect).into(),
        pairs: pairs.get(id).copied().unwrap_or_default(),
        created: *created,
    }
}

/// The tests of a network's policies
#[utoipa::path(get, path = "/api/v1/networks/{network}/policy-tests", tag = "policies",
    params(("network" = api::schema::Selector, Path), Paging),
    responses((status = 200, body = Page<PolicyTest>), Problems))]
pub(super) async fn list(
    reader: Reader,
    Segments(network): Segments<NetworkSelector>,
    Params(paging): Params<Paging>,
) -> Answer<Page<PolicyTest>> {
    let network = find::network(&reader.intent, &network)?.id;
    let list = format!("policy-tests/{network}");
    let tests = reader.intent.policy_tests_in_network(network);
    let page = Page::cut(&list, tests, &paging, |test| test.id.to_string())?;
    let pairs = pairs_of_tests(&reader.intent, network);
    Ok(Json(page.map(|test| show(&reader.intent, &pairs, test))))
}

/// Make a test; it has to be true, and stays so
#[utoipa::path(post, path = "/api/v1/networks/{network}/policy-tests", tag = "policies",
    params(("network" = api::schema::Selector, Path)), request_body = CreatePolicyTest,
    responses((status = 201, body = PolicyTest), Problems))]
pub(super) async fn create(
    State(admin): State<Shared>,
    caller: Caller,
    Segments(network): Segments<NetworkSelector>,
    Body(CreatePolicyTest { from, to, service, expect }): Body<CreatePolicyTest>,
) -> Result<(StatusCode, Json<PolicyTest>), Failure> {
    let intent = admin.parts.brain.intent();
    let found = find::network(&intent, &network)?;
    let from = subjects::subject(&intent, found, &from)?;
    let to = subjects::subject(&intent, found, &to)?;
    let network = found.id;
    let command = Command::CreatePolicyTest { network, from, to, service, expect: expect.into() };
    let committed = admin.submit(caller.actor, command).await?;
    let test = committed.change.made::<model::PolicyTest>().ok_or_else(|| find::gone("policy test"))?;
    let pairs = pairs_of_tests(&committed.intent, network);
    Ok((StatusCode::CREATED, Json(show(&committed.intent, &pairs, test))))
}

/// Remove a test
#[utoipa::path(delete, path = "/api/v1/networks/{network}/policy-tests/{test}", tag = "policies",
    params(("network" = api::schema::Selector, Path), ("test" = api::schema::Id, Path)),
    responses((status = 204, description = "Removed"), Problems))]
pub(super) async fn delete(
    State(admin): State<Shared>,
    caller: Caller,
    Segments((network, test)): Segments<(NetworkSelector, PolicyTestId)>,
) -> Result<StatusCode, Failure> {
    let intent = admin.parts.brain.intent();
    let test = find::policy_test(&intent, find::network(&intent, &network)?, test)?.id;
    admin.submit(caller.actor, Command::DeletePolicyTest { test }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Run all tests of a network against its policies as they are
#[utoipa::path(post, path = "/api/v1/networks/{network}/policy-tests/run", tag = "policies",
    params(("network" = api::schema::Selector, Path)),
    responses((status = 200, body = PolicyTestRun), Problems))]
pub(super) async fn run(
    reader: Reader,
    Segments(network): Segments<NetworkSelector>,
) -> Answer<PolicyTestRun> {
    let intent = &reader.intent;
    let network = find::network(intent, &network)?;
    let (at, id) = (Arc::clone(intent), network.id);
    // In a large network this takes a core for a while.
    let ran = tokio::task::spawn_blocking(move || (run_tests(&at, id), pairs_of_tests(&at, id))).await;
    let (failures, pairs) = ran.context("running the tests broke off")?;
    let result = |test: &model::PolicyTest| {
        let failure = failures.iter().find(|failure| failure.test == test.id);
        let detail = failure.map(|failure| {
            let (from, to) = failure.example;
            let verb = match test.expect {
                Access::Allow => "may not reach",
                Access::Deny => "may reach",
            };
            let (from, to) = (name::member(intent, from), name::member(intent, to));
            format!("{from} {verb} {to} by {}", test.service)
        });
        PolicyTestResult { test: show(intent, &pairs, test), passed: detail.is_none(), detail }
    };
    let results = intent.policy_tests_in_network(network.id).map(result).collect();
    Ok(Json(PolicyTestRun { passed: failures.is_empty(), results }))
}
