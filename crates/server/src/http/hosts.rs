//! Hosts: what people set, and what was seen.

use api::{
    CutOff, Facts, Failure as HostFailure, Host, HostFilter, HostNetwork, HostSelector, Inventory,
    KeyRotation, Nat, Page, PatchHost, Removal, RemoveQuery, RotateQuery,
};
use axum::Json;
use axum::extract::State;
use control::{Command, Intent, Rejection, authorise_administration};
use model::{Generation, HostId};
use wire::NatMapping;

use super::body::{Body, Params, Segments};
use super::caller::{Caller, Reader};
use super::removal::remove;
use super::{Answer, Problems, Shared, find};
use crate::brain::Told;

fn show(intent: &Intent, told: &Told, host: &model::Host) -> Host {
    let nodes = intent.nodes_of_host(host.id);
    let networks = nodes.filter_map(|node| Some(HostNetwork::of(node, intent.network(node.network)?)));
    Host::of(host, networks.collect(), inventory(told, host.id))
}

fn inventory(told: &Told, host: HostId) -> Inventory {
    let wanted_generation = told.wanted(host).map(|wanted| wanted.to_string());
    let Some(seen) = told.inventory.host(host) else {
        return Inventory { wanted_generation, ..Inventory::default() };
    };
    let nat = match seen.nat() {
        NatMapping::Unknown => Nat::Unknown,
        NatMapping::Endpoint => Nat::Endpoint,
        NatMapping::PerDestination => Nat::PerDestination,
    };
    let wire::Facts { os, release, arch, kernel, agent, wireguard } = seen.facts.clone();
    let facts = Facts { os, release, arch, kernel, agent, wireguard };
    let failure =
        |outcome: &wire::Outcome| HostFailure { op: outcome.op.clone(), error: outcome.error.clone() };
    Inventory {
        online: seen.online,
        last_seen: seen.last_seen,
        endpoints: seen.seen(),
        local: seen.local.clone(),
        nat,
        wanted_generation,
        applied_generation: (seen.applied != Generation::NONE).then(|| seen.applied.to_string()),
        facts: (facts != Facts::default()).then_some(facts),
        failures: seen.failures.iter().map(failure).collect(),
    }
}

/// All hosts, or those one looks for
#[utoipa::path(get, path = "/api/v1/hosts", tag = "hosts", params(HostFilter),
    responses((status = 200, body = Page<Host>), Problems))]
pub(super) async fn list(
    State(admin): State<Shared>,
    reader: Reader,
    Params(filter): Params<HostFilter>,
) -> Answer<Page<Host>> {
    let paging = filter.paging();
    let network =
        filter.network.as_ref().map(|network| find::network(&reader.intent, network)).transpose()?;
    let network = network.map(|network| network.id);
    let after = paging.after("hosts")?;
    let told = admin.parts.brain.told();
    let within =
        |host: &&model::Host| network.is_none_or(|network| reader.intent.node_of(host.id, network).is_some());
    let hosts = reader.intent.hosts(after).filter(within).map(|host| show(&reader.intent, &told, host));
    let hosts = hosts.filter(|host| filter.admits(host));
    Ok(Json(Page::cut("hosts", hosts, &paging, |host| host.id.to_string())?))
}

/// One host
#[utoipa::path(get, path = "/api/v1/hosts/{host}", tag = "hosts", params(("host" = api::schema::Selector, Path)),
    responses((status = 200, body = Host), Problems))]
pub(super) async fn get(
    State(admin): State<Shared>,
    reader: Reader,
    Segments(host): Segments<HostSelector>,
) -> Answer<Host> {
    let host = find::host(&reader.intent, &host)?;
    Ok(Json(show(&reader.intent, &admin.parts.brain.told(), host)))
}

/// Change a host
#[utoipa::path(patch, path = "/api/v1/hosts/{host}", tag = "hosts", params(("host" = api::schema::Selector, Path)),
    request_body = PatchHost, responses((status = 200, body = Host), Problems))]
pub(super) async fn patch(
    State(admin): State<Shared>,
    caller: Caller,
    Segments(host): Segments<HostSelector>,
    Body(PatchHost { name, mtu, static_endpoint, default, ephemeral }): Body<PatchHost>,
) -> Answer<Host> {
    let host = find::host(&admin.parts.brain.intent(), &host)?.id;
    let command = Command::UpdateHost {
        host,
        name,
        mtu: mtu.into_change().into(),
        static_endpoint: static_endpoint.into_change().into(),
        default,
        ephemeral,
    };
    let committed = admin.submit(caller.actor, command).await?;
    let changed = committed.intent.host(host).ok_or(Rejection::NoSuchHost { host })?;
    Ok(Json(show(&committed.intent, &admin.parts.brain.told(), changed)))
}

/// Clients that know a host, or any, by its WireGuard key.
fn cut_off(intent: &Intent, host: Option<HostId>) -> impl Iterator<Item = CutOff> {
    let gateways = intent.nodes(None).filter(move |node| host.is_none_or(|host| node.host == host));
    let gateways = gateways.filter(|node| node.duties.remote_access);
    gateways.flat_map(|node| {
        let clients = intent.clients_of_gateway(node.id).filter(|client| client.is_let_in());
        clients.filter_map(|client| {
            Some(CutOff {
                client: client.name.clone(),
                network: intent.network(client.network)?.name.clone(),
                gateway: intent.host(node.host)?.name.clone(),
            })
        })
    })
}

async fn rotate(admin: &Shared, caller: Caller, host: Option<HostId>, dry_run: bool) -> Answer<KeyRotation> {
    let command = Command::RotateKeys { host };
    let intent = if dry_run {
        let intent = admin.parts.brain.intent();
        authorise_administration(&intent, &caller.actor, command.name())?;
        Intent::clone(&intent)
    } else {
        admin.submit(caller.actor, command).await?.intent
    };
    Ok(Json(KeyRotation::of(dry_run, cut_off(&intent, host))))
}

/// Ask a host for a new WireGuard key
///
/// Its peers' agents follow it, and no packet is lost. Plain WireGuard clients do not: the answer names those that are cut off.
#[utoipa::path(post, path = "/api/v1/hosts/{host}/rotate-key", tag = "hosts",
    params(("host" = api::schema::Selector, Path), RotateQuery), responses((status = 200, body = KeyRotation), Problems))]
pub(super) async fn rotate_key(
    State(admin): State<Shared>,
    caller: Caller,
    Segments(host): Segments<HostSelector>,
    Params(RotateQuery { dry_run }): Params<RotateQuery>,
) -> Answer<KeyRotation> {
    let host = find::host(&admin.parts.brain.intent(), &host)?.id;
    rotate(&admin, caller, Some(host), dry_run).await
}

/// Ask every host for a new WireGuard key, those that share a network one after another
#[utoipa::path(post, path = "/api/v1/hosts/rotate-keys", tag = "hosts", params(RotateQuery),
    responses((status = 200, body = KeyRotation), Problems))]
pub(super) async fn rotate_keys(
    State(admin): State<Shared>,
    caller: Caller,
    Params(RotateQuery { dry_run }): Params<RotateQuery>,
) -> Answer<KeyRotation> {
    rotate(&admin, caller, None, dry_run).await
}

/// Remove a host from everything; its agent takes its tunnels down
///
/// The answer names what went with it, and what goes on without it; a dry run says so before.
#[utoipa::path(delete, path = "/api/v1/hosts/{host}", tag = "hosts",
    params(("host" = api::schema::Selector, Path), RemoveQuery),
    responses((status = 200, body = Removal), Problems))]
pub(super) async fn delete(
    State(admin): State<Shared>,
    caller: Caller,
    Segments(host): Segments<HostSelector>,
    Params(RemoveQuery { dry_run }): Params<RemoveQuery>,
) -> Answer<Removal> {
    let host = find::host(&admin.parts.brain.intent(), &host)?.id;
    remove(&admin, &caller, Command::RemoveHost { host }, dry_run).await
}
