//! Names: records beside those that members have by themselves, and name servers for single domains.

use api::{
    CreateDnsRecord, CreateUpstream, DnsRecord, NameServer, NetworkSelector, Page, Paging, PatchDnsRecord,
    PatchUpstream, ProblemKind, Upstream, UpstreamSelector, ZoneFormat, ZoneQuery,
};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use control::Command;
use dns::{Data, Name, Record, coredns};
use model::DnsRecordId;

use super::body::{Body, Params, Segments};
use super::caller::{Caller, Reader};
use super::{Answer, Failure, Names, Problems, Shared, find};
use crate::brain::shown;

/// The records of a network
#[utoipa::path(get, path = "/api/v1/networks/{network}/dns/records", tag = "dns",
    params(("network" = api::schema::Selector, Path), Paging),
    responses((status = 200, body = Page<DnsRecord>), Problems))]
pub(super) async fn list(
    reader: Reader,
    Segments(network): Segments<NetworkSelector>,
    Params(paging): Params<Paging>,
) -> Answer<Page<DnsRecord>> {
    let network = find::network(&reader.intent, &network)?.id;
    let list = format!("dns-records/{network}");
    let records = reader.intent.dns_records_in_network(network);
    let page = Page::cut(&list, records, &paging, |record| record.id.to_string())?;
    Ok(Json(page.map(DnsRecord::from)))
}

/// Make a record
#[utoipa::path(post, path = "/api/v1/networks/{network}/dns/records", tag = "dns",
    params(("network" = api::schema::Selector, Path)), request_body = CreateDnsRecord,
    responses((status = 201, body = DnsRecord), Problems))]
pub(super) async fn create(
    State(admin): State<Shared>,
    caller: Caller,
    Segments(network): Segments<NetworkSelector>,
    Body(CreateDnsRecord { name, ttl, data }): Body<CreateDnsRecord>,
) -> Result<(StatusCode, Json<DnsRecord>), Failure> {
    let network = find::network(&admin.parts.brain.intent(), &network)?.id;
    let ttl = ttl.unwrap_or(model::DnsRecord::DEFAULT_TTL);
    let command = Command::CreateDnsRecord { network, name, ttl, data: data.into() };
    let committed = admin.submit(caller.actor, command).await?;
    let made = committed.change.made::<model::DnsRecord>().ok_or_else(|| find::gone("record"))?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// One record
#[utoipa::path(get, path = "/api/v1/networks/{network}/dns/records/{record}", tag = "dns",
    params(("network" = api::schema::Selector, Path), ("record" = api::schema::Id, Path)),
    responses((status = 200, body = DnsRecord), Problems))]
pub(super) async fn get(
    reader: Reader,
    Segments((network, record)): Segments<(NetworkSelector, DnsRecordId)>,
) -> Answer<DnsRecord> {
    let network = find::network(&reader.intent, &network)?;
    Ok(Json(find::dns_record(&reader.intent, network, record)?.into()))
}

/// Change a record
#[utoipa::path(patch, path = "/api/v1/networks/{network}/dns/records/{record}", tag = "dns",
    params(("network" = api::schema::Selector, Path), ("record" = api::schema::Id, Path)),
    request_body = PatchDnsRecord, responses((status = 200, body = DnsRecord), Problems))]
pub(super) async fn patch(
    State(admin): State<Shared>,
    caller: Caller,
    Segments((network, record)): Segments<(NetworkSelector, DnsRecordId)>,
    Body(PatchDnsRecord { ttl, data }): Body<PatchDnsRecord>,
) -> Answer<DnsRecord> {
    let intent = admin.parts.brain.intent();
    let record = find::dns_record(&intent, find::network(&intent, &network)?, record)?.id;
    let command = Command::UpdateDnsRecord { record, ttl, data: data.map(Into::into) };
    let committed = admin.submit(caller.actor, command).await?;
    Ok(Json(committed.intent.dns_record(record).ok_or_else(|| find::gone("record"))?.into()))
}

/// Remove a record
#[utoipa::path(delete, path = "/api/v1/networks/{network}/dns/records/{record}", tag = "dns",
    params(("network" = api::schema::Selector, Path), ("record" = api::schema::Id, Path)),
    responses((status = 204, description = "Removed"), Problems))]
pub(super) async fn delete(
    State(admin): State<Shared>,
    caller: Caller,
    Segments((network, record)): Segments<(NetworkSelector, DnsRecordId)>,
) -> Result<StatusCode, Failure> {
    let intent = admin.parts.brain.intent();
    let record = find::dns_record(&intent, find::network(&intent, &network)?, record)?.id;
    admin.submit(caller.actor, Command::DeleteDnsRecord { record }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The names of a network as text, for name servers of others
#[utoipa::path(get, path = "/api/v1/networks/{network}/dns/zone", tag = "dns",
    params(("network" = api::schema::Selector, Path), ZoneQuery),
    responses((status = 200, body = String, content_type = "text/plain"), Problems))]
pub(super) async fn zone(
    State(admin): State<Shared>,
    reader: Reader,
    Segments(network): Segments<NetworkSelector>,
    Params(ZoneQuery { format }): Params<ZoneQuery>,
) -> Result<Response, Failure> {
    let network = find::network(&reader.intent, &network)?;
    let no_names = || {
        let detail = format!("network `{}` has no names: its domain is too long", network.name);
        Failure::new(ProblemKind::NotFound, detail)
    };
    let domain = network.domain_below(&admin.parts.settings.domain).ok_or_else(no_names)?;
    let origin: Name = domain.as_str().parse().map_err(|_| no_names())?;
    let Names { names, followed } = &admin.parts.names;
    // What this network has, it has by a commit that the names are to have followed.
    shown(followed.clone(), |seq| *seq >= reader.intent.seq()).await?;
    let names = names.snapshot();
    let text = match format {
        ZoneFormat::Zone => coredns::zone_file(&names, &origin),
        ZoneFormat::Hosts => {
            names.zone(&origin).map(|_| names.records_of(&origin).filter_map(line).collect())
        }
    };
    // It was removed meanwhile.
    let text = text.ok_or_else(|| find::gone("network"))?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

fn line(Record { name, ttl: _, data }: Record) -> Option<String> {
    match data {
        Data::A(address) => Some(format!("{address} {name}\n")),
        Data::Aaaa(address) => Some(format!("{address} {name}\n")),
        Data::Cname(_) | Data::Txt(_) | Data::Srv(_) | Data::Ptr(_) => None,
    }
}

fn addresses(servers: Vec<NameServer>) -> Vec<std::net::SocketAddr> {
    servers.into_iter().map(|NameServer(address)| address).collect()
}

/// The name servers for single domains of a network
#[utoipa::path(get, path = "/api/v1/networks/{network}/dns/upstreams", tag = "dns",
    params(("network" = api::schema::Selector, Path), Paging),
    responses((status = 200, body = Page<Upstream>), Problems))]
pub(super) async fn list_upstreams(
    reader: Reader,
    Segments(network): Segments<NetworkSelector>,
    Params(paging): Params<Paging>,
) -> Answer<Page<Upstream>> {
    let network = find::network(&reader.intent, &network)?.id;
    let list = format!("dns-upstreams/{network}");
    let upstreams = reader.intent.upstreams_in_network(network);
    let page = Page::cut(&list, upstreams, &paging, |upstream| upstream.id.to_string())?;
    Ok(Json(page.map(Upstream::from)))
}

/// Name the servers to ask about a domain
#[utoipa::path(post, path = "/api/v1/networks/{network}/dns/upstreams", tag = "dns",
    params(("network" = api::schema::Selector, Path)), request_body = CreateUpstream,
    responses((status = 201, body = Upstream), Problems))]
pub(super) async fn create_upstream(
    State(admin): State<Shared>,
    caller: Caller,
    Segments(network): Segments<NetworkSelector>,
    Body(CreateUpstream { domain, servers }): Body<CreateUpstream>,
) -> Result<(StatusCode, Json<Upstream>), Failure> {
    let network = find::network(&admin.parts.brain.intent(), &network)?.id;
    let command = Command::CreateUpstream { network, domain, servers: addresses(servers) };
    let committed = admin.submit(caller.actor, command).await?;
    let made = committed.change.made::<model::Upstream>().ok_or_else(|| find::gone("name servers"))?;
    Ok((StatusCode::CREATED, Json(made.into())))
}

/// The name servers for one domain
#[utoipa::path(get, path = "/api/v1/networks/{network}/dns/upstreams/{upstream}", tag = "dns",
    params(("network" = api::schema::Selector, Path), ("upstream" = api::schema::Selector, Path)),
    responses((status = 200, body = Upstream), Problems))]
pub(super) async fn get_upstream(
    reader: Reader,
    Segments((network, upstream)): Segments<(NetworkSelector, UpstreamSelector)>,
) -> Answer<Upstream> {
    let network = find::network(&reader.intent, &network)?;
    Ok(Json(find::upstream(&reader.intent, network, &upstream)?.into()))
}

/// Name other servers to ask about a domain
#[utoipa::path(patch, path = "/api/v1/networks/{network}/dns/upstreams/{upstream}", tag = "dns",
    params(("network" = api::schema::Selector, Path), ("upstream" = api::schema::Selector, Path)),
    request_body = PatchUpstream, responses((status = 200, body = Upstream), Problems))]
pub(super) async fn patch_upstream(
    State(admin): State<Shared>,
    caller: Caller,
    Segments((network, upstream)): Segments<(NetworkSelector, UpstreamSelector)>,
    Body(PatchUpstream { servers }): Body<PatchUpstream>,
) -> Answer<Upstream> {
    let intent = admin.parts.brain.intent();
    let upstream = find::upstream(&intent, find::network(&intent, &network)?, &upstream)?.id;
    let command = Command::UpdateUpstream { upstream, servers: addresses(servers) };
    let committed = admin.submit(caller.actor, command).await?;
    Ok(Json(committed.intent.upstream(upstream).ok_or_else(|| find::gone("name servers"))?.into()))
}

/// Leave a domain to the usual name servers again
#[utoipa::path(delete, path = "/api/v1/networks/{network}/dns/upstreams/{upstream}", tag = "dns",
    params(("network" = api::schema::Selector, Path), ("upstream" = api::schema::Selector, Path)),
    responses((status = 204, description = "Removed"), Problems))]
pub(super) async fn delete_upstream(
    State(admin): State<Shared>,
    caller: Caller,
    Segments((network, upstream)): Segments<(NetworkSelector, UpstreamSelector)>,
) -> Result<StatusCode, Failure> {
    let intent = admin.parts.brain.intent();
    let upstream = find::upstream(&intent, find::network(&intent, &network)?, &upstream)?.id;
    admin.submit(caller.actor, Command::DeleteUpstream { upstream }).await?;
    Ok(StatusCode::NO_CONTENT)
}
