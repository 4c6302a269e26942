//! Hosts: what people set, and what was seen.

use api::{
    Facts, Failure as HostFailure, Host, HostFilter, HostNetwork, HostSelector, Inventory, Nat, Page,
    PatchHost,
};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control::{Command, Intent, Rejection};
use model::{Generation, HostId};
use wire::NatMapping;

use super::body::{Body, Params, Segments};
use super::caller::{Caller, Reader};
use super::{Answer, Failure, Problems, Shared, find};
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

/// Ask a host for a new WireGuard key; no packet is lost when it comes
#[utoipa::path(post, path = "/api/v1/hosts/{host}/rotate-key", tag = "hosts",
    params(("host" = api::schema::Selector, Path)), responses((status = 200, body = Host), Problems))]
pub(super) async fn rotate_key(
    State(admin): State<Shared>,
    caller: Caller,
    Segments(host): Segments<HostSelector>,
) -> Answer<Host> {
    let host = find::host(&admin.parts.brain.intent(), &host)?.id;
    let committed = admin.submit(caller.actor, Command::RotateKeys { host: Some(host) }).await?;
    let asked = committed.intent.host(host).ok_or(Rejection::NoSuchHost { host })?;
    Ok(Json(show(&committed.intent, &admin.parts.brain.told(), asked)))
}

/// Ask every host for a new WireGuard key
#[utoipa::path(post, path = "/api/v1/hosts/rotate-keys", tag = "hosts",
    responses((status = 204, description = "All are asked"), Problems))]
pub(super) async fn rotate_keys(State(admin): State<Shared>, caller: Caller) -> Result<StatusCode, Failure> {
    admin.submit(caller.actor, Command::RotateKeys { host: None }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Remove a host from everything; its agent takes its tunnels down
#[utoipa::path(delete, path = "/api/v1/hosts/{host}", tag = "hosts", params(("host" = api::schema::Selector, Path)),
    responses((status = 204, description = "Removed"), Problems))]
pub(super) async fn delete(
    State(admin): State<Shared>,
    caller: Caller,
    Segments(host): Segments<HostSelector>,
) -> Result<StatusCode, Failure> {
    let host = find::host(&admin.parts.brain.intent(), &host)?.id;
    admin.submit(caller.actor, Command::RemoveHost { host }).await?;
    Ok(StatusCode::NO_CONTENT)
}
