//! Remote access clients. A private key is made here, shown once, and neither kept nor logged.

use std::time::Duration;

use anyhow::Context as _;
use api::{
    Client, ClientSelector, ClientSession, ConfigFormat, ConfigQuery, CreateClient, CreatedClient, DryRun,
    FieldError, HostSelector, NetworkSelector, Page, Paging, PatchClient, Problem, ProblemKind, QrCode,
    QrCodeError, Removal, RemoveQuery, Written,
};
use axum::Json;
use axum::extract::State;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use control::{ClientEdit, Command, Intent, Inventory, NewClient, SetEdit};
use model::{ClientId, HostId, Network, Node, NodeId, WgPublicKey};
use x25519_dalek::{PublicKey, StaticSecret};

use super::body::{Body, Params, Segments};
use super::caller::{Caller, Reader};
use super::removal::remove;
use super::tried::tried;
use super::{Admin, Answer, Failure, Problems, Shared, client_config, find, name};
use crate::brain::now;
use crate::identity::random;

/// Nobody keeps an answer with a private key in it.
const NOT_KEPT: [(axum::http::HeaderName, &str); 1] = [(CACHE_CONTROL, "no-store")];

fn show(intent: &Intent, inventory: &Inventory, client: &model::Client) -> Result<Client, Failure> {
    let network = intent.network(client.network).ok_or_else(|| find::gone("network"))?;
    let gateways = client.gateways.iter().filter_map(|gateway| name::node(intent, *gateway)).collect();
    let owner = client.owner.and_then(|owner| name::user(intent, owner));
    Ok(Client::of(client, network, (gateways, owner), session(intent, inventory, client)))
}

/// A session that goes on is told every ten minutes, and is over three minutes after its last handshake.
const SESSION_TOLD: Duration = Duration::from_secs(780);

fn session(intent: &Intent, inventory: &Inventory, client: &model::Client) -> ClientSession {
    let gateways = client.gateways.iter().filter_map(|gateway| intent.node(*gateway));
    let gateways: Vec<HostId> = gateways.map(|node| node.host).collect();
    let Some((host, seen)) = inventory.client_at(client.id, &gateways) else {
        return ClientSession::default();
    };
    let told = inventory.host(host).is_some_and(|gateway| gateway.online);
    let gateway = intent.node_of(host, client.network).and_then(|node| name::node(intent, node.id));
    ClientSession {
        online: told && client.is_let_in() && now().since(seen.handshake) < SESSION_TOLD,
        last_handshake: Some(seen.handshake),
        endpoint: seen.endpoint(),
        gateway,
    }
}

/// A new pair of keys.
struct Pair(StaticSecret);

impl Pair {
    fn new() -> anyhow::Result<Self> {
        Ok(Self(StaticSecret::from(random::<32>()?)))
    }

    fn public(&self) -> WgPublicKey {
        WgPublicKey::from_bytes(PublicKey::from(&self.0).to_bytes())
    }
}

/// The answer that shows a private key once: with the configuration for the client's first gateway.
fn shown_once(
    admin: &Admin,
    intent: &Intent,
    client: &model::Client,
    pair: Option<&Pair>,
) -> Result<CreatedClient, Failure> {
    let inventory = &admin.parts.brain.told().inventory;
    let domain = &admin.parts.settings.domain;
    let private_key = pair.map(|Pair(secret)| secret.to_bytes());
    let mut created = CreatedClient {
        client: show(intent, inventory, client)?,
        private_key: private_key.map(|key| data_encoding::BASE64.encode(&key)),
        config: None,
        qr_svg: None,
        qr_png: None,
        note: None,
        notes: Vec::new(),
    };
    let config = first_gateway(intent, client)
        .and_then(|gateway| client_config::of((intent, inventory), domain, client, gateway, private_key));
    let config = match config {
        Ok(config) => {
            created.notes.clone_from(&config.notes);
            config.to_string()
        }
        Err(problem) => {
            created.note = Some(problem.detail);
            return Ok(created);
        }
    };
    match (pair, QrCode::of(&config)) {
        (None, _) => {
            let note =
                "the private key is the client's own: put it into the configuration in place of the comment";
            created.note = Some(note.to_owned());
        }
        (Some(_), Err(error)) => created.note = Some(error.to_string()),
        (Some(_), Ok(code)) => {
            created.qr_svg = Some(code.to_svg());
            created.qr_png = Some(data_encoding::BASE64.encode(&code.to_png()));
        }
    }
    created.config = Some(config);
    Ok(created)
}

/// The clients of a network
#[utoipa::path(get, path = "/api/v1/networks/{network}/clients", tag = "clients",
    params(("network" = api::schema::Selector, Path), Paging),
    responses((status = 200, body = Page<Client>), Problems))]
pub(super) async fn list(
    State(admin): State<Shared>,
    reader: Reader,
    Segments(network): Segments<NetworkSelector>,
    Params(paging): Params<Paging>,
) -> Answer<Page<Client>> {
    let network = find::network(&reader.intent, &network)?.id;
    let list = format!("clients/{network}");
    let clients = reader.intent.clients_in_network(network);
    let Page { items, next } = Page::cut(&list, clients, &paging, |client| client.id.to_string())?;
    let inventory = &admin.parts.brain.told().inventory;
    let items = items.into_iter().map(|client| show(&reader.intent, inventory, client));
    Ok(Json(Page { items: items.collect::<Result<_, _>>()?, next }))
}

/// Make a client; without a public key a pair is made, and the private one is shown this once
#[utoipa::path(post, path = "/api/v1/networks/{network}/clients", tag = "clients",
    params(("network" = api::schema::Selector, Path)), request_body = CreateClient,
    responses((status = 201, body = CreatedClient), Problems))]
pub(super) async fn create(
    State(admin): State<Shared>,
    caller: Caller,
    Segments(network): Segments<NetworkSelector>,
    Body(create): Body<CreateClient>,
) -> Result<Response, Failure> {
    let intent = admin.parts.brain.intent();
    let network = find::network(&intent, &network)?;
    let expires = create.expiry(now()).map_err(|error| Problem::of_fields(vec![FieldError::from(error)]))?;
    let addresses = create.addresses();
    let gateways = match create.gateways.is_empty() {
        true => usual_gateways(&intent, network, create.full_tunnel)?,
        false => gateways(&intent, network, &create.gateways)?,
    };
    let owner = create.owner.as_ref().map(|owner| find::user(&intent, owner)).transpose()?;
    let owner = owner.map(|owner| owner.id);
    let pair = create.public_key.is_none().then(Pair::new).transpose()?;
    let key = pair.as_ref().map(Pair::public).or(create.public_key).context("one of the two is there")?;
    let CreateClient { name, enabled, tags, ranges, full_tunnel, dns, mtu, keepalive, .. } = create;
    let command = Command::CreateClient(NewClient {
        network: network.id,
        name,
        key,
        addresses,
        gateways,
        owner,
        enabled,
        tags,
        expires,
        ranges,
        full_tunnel,
        dns,
        mtu,
        keepalive,
    });
    let committed = admin.submit(caller.actor, command).await?;
    let client = committed.intent.client_by_key(&key).ok_or_else(|| find::gone("client"))?;
    let created = shown_once(&admin, &committed.intent, client, pair.as_ref())?;
    Ok((StatusCode::CREATED, NOT_KEPT, Json(created)).into_response())
}

fn gateways(intent: &Intent, network: &Network, wanted: &[HostSelector]) -> Result<Vec<NodeId>, Failure> {
    wanted.iter().map(|gateway| find::node_in(intent, network, gateway).map(|node| node.id)).collect()
}

/// The gateways of a client that names none.
fn usual_gateways(intent: &Intent, network: &Network, full_tunnel: bool) -> Result<Vec<NodeId>, Failure> {
    let gateways = control::usual_gateways(intent, network.id, full_tunnel);
    if gateways.is_empty() {
        let (besides, more) = match full_tunnel {
            true => (" and is a way to the internet", " and `internet_gateway`"),
            false => ("", ""),
        };
        let detail = format!(
            "network `{}` has no node that lets clients in{besides}; make one a gateway first (`remote_access`{more})",
            network.name
        );
        return Err(Problem::coded(ProblemKind::Conflict, "no-gateway", detail).into());
    }
    Ok(gateways)
}

/// One client
#[utoipa::path(get, path = "/api/v1/networks/{network}/clients/{client}", tag = "clients",
    params(("network" = api::schema::Selector, Path), ("client" = api::schema::Selector, Path)),
    responses((status = 200, body = Client), Problems))]
pub(super) async fn get(
    State(admin): State<Shared>,
    reader: Reader,
    Segments((network, client)): Segments<(NetworkSelector, ClientSelector)>,
) -> Answer<Client> {
    let network = find::network(&reader.intent, &network)?;
    let client = find::client(&reader.intent, network, &client)?;
    Ok(Json(show(&reader.intent, &admin.parts.brain.told().inventory, client)?))
}

/// Change a client, whereby a disabled one is cut off at once; or look who would gain or lose access
#[utoipa::path(patch, path = "/api/v1/networks/{network}/clients/{client}", tag = "clients",
    params(("network" = api::schema::Selector, Path), ("client" = api::schema::Selector, Path), DryRun),
    request_body = PatchClient, responses((status = 200, body = Written<Client>), Problems))]
pub(super) async fn patch(
    State(admin): State<Shared>,
    caller: Caller,
    Segments((network, client)): Segments<(NetworkSelector, ClientSelector)>,
    Params(DryRun { dry_run }): Params<DryRun>,
    Body(patch): Body<PatchClient>,
) -> Answer<Written<Client>> {
    let intent = admin.parts.brain.intent();
    let network = find::network(&intent, &network)?;
    let client = find::client(&intent, network, &client)?.id;
    let expires = patch.expiry(now()).map_err(|error| Problem::of_fields(vec![FieldError::from(error)]))?;
    let gateways = patch.gateways.as_ref().map(|wanted| gateways(&intent, network, wanted)).transpose()?;
    let addresses = patch.addresses();
    let PatchClient { name, public_key, owner, enabled, tags, add_tags, remove_tags, .. } = patch;
    let PatchClient { ranges, full_tunnel, dns, mtu, keepalive, .. } = patch;
    let tags = SetEdit { all: tags, add: add_tags, remove: remove_tags };
    let owner = owner.try_map(|owner| find::user(&intent, &owner).map(|user| user.id))?;
    let edit = ClientEdit {
        name,
        key: public_key,
        addresses,
        gateways,
        owner: owner.into_change().into(),
        enabled,
        tags,
        expires: expires.into_change().into(),
        ranges,
        full_tunnel,
        dns: dns.into_change().into(),
        mtu: mtu.into_change().into(),
        keepalive: keepalive.into_change().into(),
    };
    let command = Command::UpdateClient { client, edit };
    if dry_run {
        let network = network.id;
        return Ok(Json(Written::Tried(tried(&admin, intent, caller.actor, command, network).await?)));
    }
    let committed = admin.submit(caller.actor, command).await?;
    let changed = committed.intent.client(client).ok_or_else(|| find::gone("client"))?;
    Ok(Json(Written::Done(show(&committed.intent, &admin.parts.brain.told().inventory, changed)?)))
}

/// Remove a client
///
/// The answer names the policies and tests that went with it, or speak of fewer; a dry run says so before.
#[utoipa::path(delete, path = "/api/v1/networks/{network}/clients/{client}", tag = "clients",
    params(("network" = api::schema::Selector, Path), ("client" = api::schema::Selector, Path), RemoveQuery),
    responses((status = 200, body = Removal), Problems))]
pub(super) async fn delete(
    State(admin): State<Shared>,
    caller: Caller,
    Segments((network, client)): Segments<(NetworkSelector, ClientSelector)>,
    Params(RemoveQuery { dry_run }): Params<RemoveQuery>,
) -> Answer<Removal> {
    let client = found(&admin.parts.brain.intent(), &network, &client)?;
    remove(&admin, &caller, Command::DeleteClient { client }, dry_run).await
}

fn found(intent: &Intent, network: &NetworkSelector, client: &ClientSelector) -> Result<ClientId, Failure> {
    Ok(find::client(intent, find::network(intent, network)?, client)?.id)
}

/// Make a new pair of keys for a client; the private one is shown this once, and the old one is worth nothing at once
#[utoipa::path(post, path = "/api/v1/networks/{network}/clients/{client}/new-key", tag = "clients",
    params(("network" = api::schema::Selector, Path), ("client" = api::schema::Selector, Path)),
    responses((status = 200, body = CreatedClient), Problems))]
pub(super) async fn new_key(
    State(admin): State<Shared>,
    caller: Caller,
    Segments((network, client)): Segments<(NetworkSelector, ClientSelector)>,
) -> Result<Response, Failure> {
    let client = found(&admin.parts.brain.intent(), &network, &client)?;
    let pair = Pair::new()?;
    let edit = ClientEdit { key: Some(pair.public()), ..ClientEdit::default() };
    let committed = admin.submit(caller.actor, Command::UpdateClient { client, edit }).await?;
    let changed = committed.intent.client(client).ok_or_else(|| find::gone("client"))?;
    let shown = shown_once(&admin, &committed.intent, changed, Some(&pair))?;
    Ok((NOT_KEPT, Json(shown)).into_response())
}

/// A client's configuration, without the private key, which only the client has
///
/// As text for `wg-quick` and every WireGuard app, or as a QR code (`format`, else `Accept`). Where the private key belongs
/// stands a comment.
#[utoipa::path(get, path = "/api/v1/networks/{network}/clients/{client}/config", tag = "clients",
    params(("network" = api::schema::Selector, Path), ("client" = api::schema::Selector, Path), ConfigQuery),
    responses((status = 200, content((String = "text/plain"), (Vec<u8> = "image/png"), (String = "image/svg+xml"))),
        Problems))]
pub(super) async fn config(
    State(admin): State<Shared>,
    reader: Reader,
    Segments((network, client)): Segments<(NetworkSelector, ClientSelector)>,
    Params(query): Params<ConfigQuery>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let intent = &reader.intent;
    let network = find::network(intent, &network)?;
    let client = find::client(intent, network, &client)?;
    let gateway = chosen(intent, network, client, query.gateway.as_ref())?;
    let inventory = &admin.parts.brain.told().inventory;
    let domain = &admin.parts.settings.domain;
    let config = client_config::of((intent, inventory), domain, client, gateway, None)?.to_string();
    let code = || {
        let problem = |error: QrCodeError| {
            Problem::coded(ProblemKind::Conflict, "too-long-for-a-qr-code", error.to_string())
        };
        QrCode::of(&config).map_err(problem)
    };
    Ok(match query.format.unwrap_or_else(|| accepted(&headers)) {
        ConfigFormat::Conf => {
            let file = format!("attachment; filename=\"{}.conf\"", file_name(network, client));
            let plain = "text/plain; charset=utf-8".to_owned();
            ([(CONTENT_TYPE, plain), (CONTENT_DISPOSITION, file)], config).into_response()
        }
        ConfigFormat::Png => ([(CONTENT_TYPE, "image/png")], code()?.to_png()).into_response(),
        ConfigFormat::Svg => ([(CONTENT_TYPE, "image/svg+xml")], code()?.to_svg()).into_response(),
    })
}

/// The name of an interface has 15 characters at most, and `wg-quick` takes it from the file's.
fn file_name(network: &Network, client: &model::Client) -> String {
    let name = if network.name.as_str().len() <= 15 { network.name.as_str() } else { client.name.as_str() };
    name.chars().take(15).collect()
}

/// A client may have lost all of its gateways.
fn first_gateway<'a>(intent: &'a Intent, client: &model::Client) -> Result<&'a Node, Problem> {
    let first = client.gateways.first().and_then(|gateway| intent.node(*gateway));
    first.ok_or_else(|| {
        let name = &client.name;
        let detail = format!(
            "client `{name}` has no gateway any more: the last one was removed; add one \
             (`netloom client update NETWORK {name} --gateway HOST`), and ask again"
        );
        Problem::coded(ProblemKind::Conflict, "client-without-gateway", detail)
    })
}

/// The gateway that was asked for, one of the client's; else its first.
fn chosen<'a>(
    intent: &'a Intent,
    network: &Network,
    client: &model::Client,
    wanted: Option<&HostSelector>,
) -> Result<&'a Node, Failure> {
    let Some(wanted) = wanted else {
        return Ok(first_gateway(intent, client)?);
    };
    let node = find::node_in(intent, network, wanted)?;
    if !client.gateways.contains(&node.id) {
        let message = format!("`{wanted}` is no gateway of client `{}`", client.name);
        return Err(Problem::of_field("gateway", message).into());
    }
    Ok(node)
}

fn accepted(headers: &HeaderMap) -> ConfigFormat {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let wants = |media_type: &str| accept.split(',').any(|one| one.trim().starts_with(media_type));
    match (wants("text/plain"), wants("image/png"), wants("image/svg+xml")) {
        (false, true, _) => ConfigFormat::Png,
        (false, false, true) => ConfigFormat::Svg,
        (true, _, _) | (false, false, false) => ConfigFormat::Conf,
    }
}
