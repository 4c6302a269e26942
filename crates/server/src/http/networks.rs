//! Networks.

use api::{
    CreateNetwork, DryRun, Force, Network, NetworkSelector, Page, Paging, PatchNetwork, Problem, Written,
};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control::{Command, Intent, NetworkEdit, Rejection};

use super::body::{Body, Params, Segments};
use super::caller::{Caller, Reader};
use super::tried::tried;
use super::{Answer, Failure, Problems, Shared, find, name};

fn show(intent: &Intent, network: &model::Network) -> Network {
    let hub = network.hub.and_then(|hub| name::node(intent, hub));
    Network::of(network, hub, intent.nodes_in_network(network.id, None).count() as u64)
}

/// All networks
#[utoipa::path(get, path = "/api/v1/networks", tag = "networks", params(Paging),
    responses((status = 200, body = Page<Network>), Problems))]
pub(super) async fn list(reader: Reader, Params(paging): Params<Paging>) -> Answer<Page<Network>> {
    let networks = reader.intent.networks(paging.after("networks")?);
    let page = Page::cut("networks", networks, &paging, |network| network.id.to_string())?;
    Ok(Json(page.map(|network| show(&reader.intent, network))))
}

/// Make a network
#[utoipa::path(post, path = "/api/v1/networks", tag = "networks", request_body = CreateNetwork,
    responses((status = 201, body = Network), Problems))]
pub(super) async fn create(
    State(admin): State<Shared>,
    caller: Caller,
    Body(create): Body<CreateNetwork>,
) -> Result<(StatusCode, Json<Network>), Failure> {
    let ranges = create.ranges().map_err(|error| Problem::of_fields(vec![error]))?;
    let CreateNetwork { name, v4: _, v6: _, keepalive, access, approval, domain } = create;
    let access = access.map(Into::into);
    let command = Command::CreateNetwork { name: name.clone(), ranges, keepalive, access, approval, domain };
    let committed = admin.submit(caller.actor, command).await?;
    let network =
        committed.intent.network_by_name(&name).ok_or(Rejection::NoNetworkNamed { network: name })?;
    Ok((StatusCode::CREATED, Json(show(&committed.intent, network))))
}

/// One network
#[utoipa::path(get, path = "/api/v1/networks/{network}", tag = "networks",
    params(("network" = api::schema::Selector, Path)), responses((status = 200, body = Network), Problems))]
pub(super) async fn get(reader: Reader, Segments(network): Segments<NetworkSelector>) -> Answer<Network> {
    let network = find::network(&reader.intent, &network)?;
    Ok(Json(show(&reader.intent, network)))
}

/// Change a network, or look who would gain or lose access
#[utoipa::path(patch, path = "/api/v1/networks/{network}", tag = "networks",
    params(("network" = api::schema::Selector, Path), DryRun), request_body = PatchNetwork,
    responses((status = 200, body = Written<Network>), Problems))]
pub(super) async fn patch(
    State(admin): State<Shared>,
    caller: Caller,
    Segments(network): Segments<NetworkSelector>,
    Params(DryRun { dry_run }): Params<DryRun>,
    Body(patch): Body<PatchNetwork>,
) -> Answer<Written<Network>> {
    let intent = admin.parts.brain.intent();
    let found = find::network(&intent, &network)?;
    let network = found.id;
    let PatchNetwork { name, keepalive, access, approval, hub, domain } = patch;
    let hub = hub.try_map(|hub| find::node_in(&intent, found, &hub).map(|node| node.id))?;
    let edit = NetworkEdit {
        name,
        keepalive,
        access: access.map(Into::into),
        approval,
        hub: hub.into_change().into(),
        domain: domain.into_change().into(),
    };
    let command = Command::UpdateNetwork { network, edit };
    if dry_run {
        return Ok(Json(Written::Tried(tried(&admin, intent, caller.actor, command, network).await?)));
    }
    let committed = admin.submit(caller.actor, command).await?;
    let changed = committed.intent.network(network).ok_or(Rejection::NoSuchNetwork { network })?;
    Ok(Json(Written::Done(show(&committed.intent, changed))))
}

/// Remove a network
#[utoipa::path(delete, path = "/api/v1/networks/{network}", tag = "networks",
    params(("network" = api::schema::Selector, Path), Force),
    responses((status = 204, description = "Removed"), Problems))]
pub(super) async fn delete(
    State(admin): State<Shared>,
    caller: Caller,
    Segments(network): Segments<NetworkSelector>,
    Params(Force { force }): Params<Force>,
) -> Result<StatusCode, Failure> {
    let network = find::network(&admin.parts.brain.intent(), &network)?.id;
    admin.submit(caller.actor, Command::DeleteNetwork { network, force }).await?;
    Ok(StatusCode::NO_CONTENT)
}
