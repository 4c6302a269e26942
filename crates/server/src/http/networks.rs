//! Networks.

use api::{CreateNetwork, Force, Network, NetworkSelector, Page, Paging, PatchNetwork, Problem};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control::{Command, Intent, NetworkEdit, Rejection};

use super::body::{Body, Params, Segments};
use super::caller::{Caller, Reader};
use super::{Answer, Failure, Problems, Shared, find};

fn show(intent: &Intent, network: &model::Network) -> Network {
    Network::of(network, None, intent.nodes_in_network(network.id, None).count() as u64)
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
    let CreateNetwork { name, keepalive, .. } = create;
    let command = Command::CreateNetwork {
        name: name.clone(),
        ranges,
        keepalive,
        access: None,
        approval: false,
        domain: None,
    };
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

/// Change a network
#[utoipa::path(patch, path = "/api/v1/networks/{network}", tag = "networks",
    params(("network" = api::schema::Selector, Path)), request_body = PatchNetwork,
    responses((status = 200, body = Network), Problems))]
pub(super) async fn patch(
    State(admin): State<Shared>,
    caller: Caller,
    Segments(network): Segments<NetworkSelector>,
    Body(PatchNetwork { name, keepalive, .. }): Body<PatchNetwork>,
) -> Answer<Network> {
    let network = find::network(&admin.parts.brain.intent(), &network)?.id;
    let edit = NetworkEdit { name, keepalive, ..NetworkEdit::default() };
    let committed = admin.submit(caller.actor, Command::UpdateNetwork { network, edit }).await?;
    let changed = committed.intent.network(network).ok_or(Rejection::NoSuchNetwork { network })?;
    Ok(Json(show(&committed.intent, changed)))
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
