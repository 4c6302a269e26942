//! Nodes: hosts in a network.

use api::{
    AddNode, DryRun, FieldError, HostSelector, NetworkSelector, Node, NodeRelations, Page, Paging, PatchNode,
    Problem, Removal, RemoveQuery, UseInternet, Written,
};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control::{Command, Intent, Inventory, NodeEdit, Rejection, SetEdit};
use model::{InternetUse, Network, NodeId};

use super::body::{Body, Params, Segments};
use super::caller::{Caller, Reader};
use super::removal::remove;
use super::tried::tried;
use super::{Admin, Answer, Failure, Problems, Shared, find, name};
use crate::brain::now;

fn show(intent: &Intent, inventory: &Inventory, node: &model::Node) -> Option<Node> {
    let named = |id: NodeId| name::node(intent, id);
    let relations = NodeRelations {
        relay: node.relay.and_then(named),
        relayed_by: intent.relay_of(node).and_then(|relay| named(relay.id)),
        internet: node.internet.and_then(|used| named(used.gateway?)),
        online: inventory.host(node.host).is_some_and(|seen| seen.online),
    };
    Some(Node::of(node, intent.network(node.network)?, intent.host(node.host)?, relations))
}

/// The nodes of a network
#[utoipa::path(get, path = "/api/v1/networks/{network}/nodes", tag = "networks",
    params(("network" = api::schema::Selector, Path), Paging),
    responses((status = 200, body = Page<Node>), Problems))]
pub(super) async fn list(
    State(admin): State<Shared>,
    reader: Reader,
    Segments(network): Segments<NetworkSelector>,
    Params(paging): Params<Paging>,
) -> Answer<Page<Node>> {
    let network = find::network(&reader.intent, &network)?.id;
    // Each network has a list of its own.
    let list = format!("nodes/{network}");
    let after = paging.after(&list)?;
    let told = admin.parts.brain.told();
    let nodes = reader.intent.nodes_in_network(network, after);
    let nodes = nodes.filter_map(|node| show(&reader.intent, &told.inventory, node));
    Ok(Json(Page::cut(&list, nodes, &paging, |node| node.host.to_string())?))
}

/// Put a host into a network
#[utoipa::path(post, path = "/api/v1/networks/{network}/nodes", tag = "networks",
    params(("network" = api::schema::Selector, Path)), request_body = AddNode,
    responses((status = 201, body = Node), Problems))]
pub(super) async fn add(
    State(admin): State<Shared>,
    caller: Caller,
    Segments(network): Segments<NetworkSelector>,
    Body(add): Body<AddNode>,
) -> Result<(StatusCode, Json<Node>), Failure> {
    let intent = admin.parts.brain.intent();
    let network = find::network(&intent, &network)?.id;
    let host = find::host(&intent, &add.host)?.id;
    let command = Command::AddNode { host, network, addresses: add.addresses(), tags: add.tags };
    let committed = admin.submit(caller.actor, command).await?;
    let node = committed.intent.node_of(host, network);
    let inventory = &admin.parts.brain.told().inventory;
    let shown = node.and_then(|node| show(&committed.intent, inventory, node));
    Ok((StatusCode::CREATED, Json(shown.ok_or(Rejection::NoSuchHost { host })?)))
}

/// One node
#[utoipa::path(get, path = "/api/v1/networks/{network}/nodes/{node}", tag = "networks",
    params(("network" = api::schema::Selector, Path), ("node" = api::schema::Selector, Path)),
    responses((status = 200, body = Node), Problems))]
pub(super) async fn get(
    State(admin): State<Shared>,
    reader: Reader,
    Segments((network, node)): Segments<(NetworkSelector, HostSelector)>,
) -> Answer<Node> {
    let (node, _) = find::node(&reader.intent, &network, &node)?;
    let shown = show(&reader.intent, &admin.parts.brain.told().inventory, node);
    Ok(Json(shown.ok_or(Rejection::NoSuchNode { node: node.id })?))
}

/// Change a node: pause it, give it tags and duties, other ways to others, an end; or look who would gain or lose access
#[utoipa::path(patch, path = "/api/v1/networks/{network}/nodes/{node}", tag = "networks",
    params(("network" = api::schema::Selector, Path), ("node" = api::schema::Selector, Path), DryRun),
    request_body = PatchNode, responses((status = 200, body = Written<Node>), Problems))]
pub(super) async fn patch(
    State(admin): State<Shared>,
    caller: Caller,
    Segments((network, node)): Segments<(NetworkSelector, HostSelector)>,
    Params(DryRun { dry_run }): Params<DryRun>,
    Body(patch): Body<PatchNode>,
) -> Answer<Written<Node>> {
    let intent = admin.parts.brain.intent();
    let (node, network) = find::node(&intent, &network, &node)?;
    let expires = patch.expiry(now()).map_err(|error| Problem::of_fields(vec![FieldError::from(error)]))?;
    let addresses = patch.addresses(node.addresses);
    let PatchNode { connected, tags, add_tags, remove_tags, .. } = patch;
    let PatchNode { remote_access, internet_gateway, relay, internet, .. } = patch;
    let tags = SetEdit { all: tags, add: add_tags, remove: remove_tags };
    let relay = relay.try_map(|relay| find::node_in(&intent, network, &relay).map(|node| node.id))?;
    let internet = internet.try_map(|wanted| way_out(&intent, node, network, wanted))?;
    let edit = NodeEdit {
        connected,
        approve: false,
        addresses,
        tags,
        remote_access,
        internet_gateway,
        relay: relay.into_change().into(),
        internet: internet.into_change().into(),
        expires: expires.into_change().into(),
    };
    let (node, network) = (node.id, network.id);
    if dry_run {
        let command = Command::UpdateNode { node, edit };
        return Ok(Json(Written::Tried(tried(&admin, intent, caller.actor, command, network).await?)));
    }
    Ok(Json(Written::Done(update(&admin, &caller, node, edit).await?)))
}

/// The way to the internet of a node: what is left open stays as it is.
fn way_out(
    intent: &Intent,
    node: &model::Node,
    network: &Network,
    UseInternet { gateway, lan }: UseInternet,
) -> Result<InternetUse, Failure> {
    let gateway = gateway.map(|gateway| find::node_in(intent, network, &gateway)).transpose()?;
    let Some(used) = node.internet else {
        let unnamed =
            || Problem::of_field("internet", "it uses no internet gateway yet: name one (`gateway`)");
        let gateway = gateway.ok_or_else(unnamed)?;
        return Ok(InternetUse { gateway: Some(gateway.id), lan: lan.unwrap_or(true) });
    };
    let gateway = gateway.map(|gateway| gateway.id).or(used.gateway);
    Ok(InternetUse { gateway, lan: lan.unwrap_or(used.lan) })
}

async fn update(admin: &Admin, caller: &Caller, node: NodeId, edit: NodeEdit) -> Result<Node, Failure> {
    let committed = admin.submit(caller.actor, Command::UpdateNode { node, edit }).await?;
    let inventory = &admin.parts.brain.told().inventory;
    let changed = committed.intent.node(node).and_then(|node| show(&committed.intent, inventory, node));
    Ok(changed.ok_or(Rejection::NoSuchNode { node })?)
}

/// Let a node in that waits for it
#[utoipa::path(post, path = "/api/v1/networks/{network}/nodes/{node}/approve", tag = "networks",
    params(("network" = api::schema::Selector, Path), ("node" = api::schema::Selector, Path)),
    responses((status = 200, body = Node), Problems))]
pub(super) async fn approve(
    State(admin): State<Shared>,
    caller: Caller,
    Segments((network, node)): Segments<(NetworkSelector, HostSelector)>,
) -> Answer<Node> {
    let node = find::node(&admin.parts.brain.intent(), &network, &node)?.0.id;
    Ok(Json(update(&admin, &caller, node, NodeEdit { approve: true, ..NodeEdit::default() }).await?))
}

/// Take a host out of a network
///
/// The answer names what went with it, and what goes on without it; a dry run says so before.
#[utoipa::path(delete, path = "/api/v1/networks/{network}/nodes/{node}", tag = "networks",
    params(("network" = api::schema::Selector, Path), ("node" = api::schema::Selector, Path), RemoveQuery),
    responses((status = 200, body = Removal), Problems))]
pub(super) async fn delete(
    State(admin): State<Shared>,
    caller: Caller,
    Segments((network, node)): Segments<(NetworkSelector, HostSelector)>,
    Params(RemoveQuery { dry_run }): Params<RemoveQuery>,
) -> Answer<Removal> {
    let node = find::node(&admin.parts.brain.intent(), &network, &node)?.0.id;
    remove(&admin, &caller, Command::RemoveNode { node }, dry_run).await
}
