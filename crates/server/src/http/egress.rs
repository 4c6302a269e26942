//! Egress: ways to ranges outside of a network.

use std::collections::BTreeSet;

use api::{
    CreateEgress, Edit, Egress, EgressSelector, NetworkSelector, Page, Paging, PatchEgress, Problem,
    ProblemKind, Removal, RemoveQuery, Router, SetRouter,
};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control::{Command, EgressEdit, Intent, Inventory, NewEgress};
use ipnet::IpNet;
use model::Network;

use super::body::{Body, Params, Segments};
use super::caller::{Caller, Reader};
use super::removal::remove;
use super::{Admin, Answer, Failure, Problems, Shared, find, name};

fn show(intent: &Intent, inventory: &Inventory, egress: &model::Egress) -> Result<Egress, Failure> {
    let network = intent.network(egress.network).ok_or_else(|| find::gone("network"))?;
    let router = |router: &model::Router| {
        let node = name::node(intent, router.node)?;
        let online = inventory.host(node.host).is_some_and(|seen| seen.online);
        Some(Router { node, priority: router.priority, online })
    };
    let routers = egress.routers.iter().filter_map(router).collect();
    Ok(Egress::of(egress, network, routers, notes(intent, inventory, egress)))
}

/// Routers that are only seen within the range. They may be seen elsewhere in a moment, and their peers reach them beside the
/// range's route; whatever else speaks to that address goes to the range.
fn notes(intent: &Intent, inventory: &Inventory, egress: &model::Egress) -> Vec<String> {
    let range = egress.reached_as();
    let routers = egress.routers.iter().filter_map(|router| intent.host(intent.node(router.node)?.host));
    let seen = routers.filter(|host| host.static_endpoint.is_none()).filter_map(|host| {
        let seen = inventory.host(host.id)?.seen();
        Some((&host.name, seen.into_iter().find(|endpoint| range.contains(&endpoint.ip()))?))
    });
    let note = |(name, endpoint)| {
        format!(
            "router `{name}` is seen at {endpoint}, which lies in {range}: machines that reach it there and nowhere else may \
             lose it; choose a smaller range or a mapped one, or give it an endpoint of its own \
             (`netloom host update {name} --static-endpoint ADDRESS:PORT`)"
        )
    };
    seen.map(note).collect()
}

/// Refuses a range that holds an address by which agents know the server: they would look for it behind a router.
fn refuse_server(admin: &Admin, range: IpNet) -> Result<(), Failure> {
    let settings = &admin.parts.settings;
    match settings.server_addresses().into_iter().find(|ip| range.contains(ip)) {
        None => Ok(()),
        Some(ip) => {
            let detail = format!(
                "{range} holds {ip}, at which agents reach the server: they would look for it behind a router; choose smaller \
                 ranges, or a `mapped` one"
            );
            Err(Problem::coded(ProblemKind::Conflict, "range-holds-server", detail).into())
        }
    }
}

/// The routers in order; each node at most once.
fn routers(
    intent: &Intent,
    network: &Network,
    wanted: &[SetRouter],
) -> Result<BTreeSet<model::Router>, Failure> {
    if wanted.iter().any(|one| one.priority.is_some()) && wanted.iter().any(|one| one.priority.is_none()) {
        let message = "give each router a priority, or none of them: then their places in the list are";
        return Err(Problem::of_field("routers", message).into());
    }
    let mut routers: BTreeSet<model::Router> = BTreeSet::new();
    for (place, SetRouter { node, priority }) in wanted.iter().enumerate() {
        let found = find::node_in(intent, network, node)?.id;
        if routers.iter().any(|router| router.node == found) {
            return Err(Problem::of_field("routers", format!("`{node}` is there twice")).into());
        }
        let priority = priority.unwrap_or_else(|| u16::try_from(place).unwrap_or(u16::MAX));
        routers.insert(model::Router { priority, node: found });
    }
    Ok(routers)
}

/// The egress ranges of a network
#[utoipa::path(get, path = "/api/v1/networks/{network}/egress", tag = "egress",
    params(("network" = api::schema::Selector, Path), Paging),
    responses((status = 200, body = Page<Egress>), Problems))]
pub(super) async fn list(
    State(admin): State<Shared>,
    reader: Reader,
    Segments(network): Segments<NetworkSelector>,
    Params(paging): Params<Paging>,
) -> Answer<Page<Egress>> {
    let network = find::network(&reader.intent, &network)?.id;
    let list = format!("egress/{network}");
    let egresses = reader.intent.egresses_in_network(network);
    let Page { items, next } = Page::cut(&list, egresses, &paging, |egress| egress.id.to_string())?;
    let inventory = &admin.parts.brain.told().inventory;
    let items = items.into_iter().map(|egress| show(&reader.intent, inventory, egress));
    Ok(Json(Page { items: items.collect::<Result<_, _>>()?, next }))
}

/// Make a way to a range
#[utoipa::path(post, path = "/api/v1/networks/{network}/egress", tag = "egress",
    params(("network" = api::schema::Selector, Path)), request_body = CreateEgress,
    responses((status = 201, body = Egress), Problems))]
pub(super) async fn create(
    State(admin): State<Shared>,
    caller: Caller,
    Segments(network): Segments<NetworkSelector>,
    Body(create): Body<CreateEgress>,
) -> Result<(StatusCode, Json<Egress>), Failure> {
    let intent = admin.parts.brain.intent();
    let found = find::network(&intent, &network)?;
    let network = found.id;
    let CreateEgress { name, range, mapped, routers: wanted, nat, enabled } = create;
    let routers = routers(&intent, found, &wanted)?;
    refuse_server(&admin, mapped.unwrap_or(range))?;
    let new = NewEgress { network, name: name.clone(), range, mapped, routers, nat, enabled };
    let committed = admin.submit(caller.actor, Command::CreateEgress(new)).await?;
    let made = committed.intent.egress_by_name(network, &name).ok_or_else(|| find::gone("egress range"))?;
    let inventory = &admin.parts.brain.told().inventory;
    Ok((StatusCode::CREATED, Json(show(&committed.intent, inventory, made)?)))
}

/// One egress range
#[utoipa::path(get, path = "/api/v1/networks/{network}/egress/{egress}", tag = "egress",
    params(("network" = api::schema::Selector, Path), ("egress" = api::schema::Selector, Path)),
    responses((status = 200, body = Egress), Problems))]
pub(super) async fn get(
    State(admin): State<Shared>,
    reader: Reader,
    Segments((network, egress)): Segments<(NetworkSelector, EgressSelector)>,
) -> Answer<Egress> {
    let network = find::network(&reader.intent, &network)?;
    let egress = find::egress(&reader.intent, network, &egress)?;
    Ok(Json(show(&reader.intent, &admin.parts.brain.told().inventory, egress)?))
}

/// Change a way to a range
#[utoipa::path(patch, path = "/api/v1/networks/{network}/egress/{egress}", tag = "egress",
    params(("network" = api::schema::Selector, Path), ("egress" = api::schema::Selector, Path)),
    request_body = PatchEgress, responses((status = 200, body = Egress), Problems))]
pub(super) async fn patch(
    State(admin): State<Shared>,
    caller: Caller,
    Segments((network, egress)): Segments<(NetworkSelector, EgressSelector)>,
    Body(patch): Body<PatchEgress>,
) -> Answer<Egress> {
    let intent = admin.parts.brain.intent();
    let network = find::network(&intent, &network)?;
    let before = find::egress(&intent, network, &egress)?;
    let egress = before.id;
    let PatchEgress { name, mapped, routers: wanted, nat, enabled } = patch;
    match mapped {
        Edit::Keep => {}
        Edit::Set(mapped) => refuse_server(&admin, mapped)?,
        Edit::Clear => refuse_server(&admin, before.range)?,
    }
    let routers = wanted.map(|wanted| routers(&intent, network, &wanted)).transpose()?;
    let edit = EgressEdit { name, mapped: mapped.into_change().into(), routers, nat, enabled };
    let committed = admin.submit(caller.actor, Command::UpdateEgress { egress, edit }).await?;
    let changed = committed.intent.egress(egress).ok_or_else(|| find::gone("egress range"))?;
    Ok(Json(show(&committed.intent, &admin.parts.brain.told().inventory, changed)?))
}

/// Remove a way to a range
///
/// The answer names the policies and tests that went with it, or speak of fewer; a dry run says so before.
#[utoipa::path(delete, path = "/api/v1/networks/{network}/egress/{egress}", tag = "egress",
    params(("network" = api::schema::Selector, Path), ("egress" = api::schema::Selector, Path), RemoveQuery),
    responses((status = 200, body = Removal), Problems))]
pub(super) async fn delete(
    State(admin): State<Shared>,
    caller: Caller,
    Segments((network, egress)): Segments<(NetworkSelector, EgressSelector)>,
    Params(RemoveQuery { dry_run }): Params<RemoveQuery>,
) -> Answer<Removal> {
    let intent = admin.parts.brain.intent();
    let egress = find::egress(&intent, find::network(&intent, &network)?, &egress)?.id;
    remove(&admin, &caller, Command::DeleteEgress { egress }, dry_run).await
}
