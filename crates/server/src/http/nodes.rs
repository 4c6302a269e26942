//! Nodes: hosts in a network.

use api::{AddNode, HostSelector, NetworkSelector, Node, NodeRelations, Page, Paging, PatchNode};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control::{Command, Intent, Inventory, NodeEdit, Rejection};

use super::body::{Body, Params, Segments};
use super::caller::{Caller, Reader};
use super::{Answer, Failure, Problems, Shared, find};

fn show(intent: &Intent, inventory: &Inventory, node: &model::Node) -> Option<Node> {
    let online = inventory.host(node.host).is_some_and(|seen| seen.online);
    Some(Node::of(
        node,
        intent.network(node.network)?,
        intent.host(node.host)?,
        NodeRelations { online, ..NodeRelations::default() },
    ))
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
    let command = Command::AddNode { host, network, addresses: add.addresses(), tags: Default::default() };
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

/// Let a node take part, or pause
#[utoipa::path(patch, path = "/api/v1/networks/{network}/nodes/{node}", tag = "networks",
    params(("network" = api::schema::Selector, Path), ("node" = api::schema::Selector, Path)),
    request_body = PatchNode, responses((status = 200, body = Node), Problems))]
pub(super) async fn patch(
    State(admin): State<Shared>,
    caller: Caller,
    Segments((network, node)): Segments<(NetworkSelector, HostSelector)>,
    Body(PatchNode { connected, .. }): Body<PatchNode>,
) -> Answer<Node> {
    let node = find::node(&admin.parts.brain.intent(), &network, &node)?.0.id;
    let edit = NodeEdit { connected, ..NodeEdit::default() };
    let committed = admin.submit(caller.actor, Command::UpdateNode { node, edit }).await?;
    let inventory = &admin.parts.brain.told().inventory;
    let changed = committed.intent.node(node).and_then(|node| show(&committed.intent, inventory, node));
    Ok(Json(changed.ok_or(Rejection::NoSuchNode { node })?))
}

/// Take a host out of a network
#[utoipa::path(delete, path = "/api/v1/networks/{network}/nodes/{node}", tag = "networks",
    params(("network" = api::schema::Selector, Path), ("node" = api::schema::Selector, Path)),
    responses((status = 204, description = "Removed"), Problems))]
pub(super) async fn delete(
    State(admin): State<Shared>,
    caller: Caller,
    Segments((network, node)): Segments<(NetworkSelector, HostSelector)>,
) -> Result<StatusCode, Failure> {
    let node = find::node(&admin.parts.brain.intent(), &network, &node)?.0.id;
    admin.submit(caller.actor, Command::RemoveNode { node }).await?;
    Ok(StatusCode::NO_CONTENT)
}
