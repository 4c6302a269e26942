//! The administrators' API (`api::path`), its OpenAPI document, `/healthz` and `/metrics`.
//!
//! Not for deciding: handlers prove who asks, turn the request into a command, and show the result. What somebody may do is
//! decided in `control`, per command; reading needs a role that may look.

mod again;
mod body;
mod caller;
mod client_config;
mod clients;
mod dns;
mod egress;
mod export;
mod failure;
mod find;
mod hosts;
mod keys;
mod name;
mod networks;
mod nodes;
mod passwords;
mod policies;
mod policy_tests;
mod probes;
mod removal;
mod server;
mod sessions;
mod subjects;
mod tokens;
mod tried;
mod users;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::get;
use control::{Actor, Command};
use model::{Digest, Timestamp};
use store::{Database, StoreError};
use tokio::sync::watch;
use tokio::time::timeout;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::attempts::Attempts;
use crate::brain::{Brain, Committed, now};
use crate::broker::Broker;
use crate::cluster::Holder;
use crate::names::ServerNames;
use crate::settings::Settings;
use crate::setup::SetupCode;
use crate::telemetry::Telemetry;
use failure::{Failure, Problems};
use passwords::Passwords;

pub use server::remove_leftovers;

/// Says what tokens pin at the moment.
pub type Pin = Box<dyn Fn() -> Option<Digest> + Send + Sync>;

/// What the handlers are made of.
pub struct AdminParts {
    /// The way to the brain.
    pub brain: Brain,
    /// For the journal, backups and checks.
    pub database: Arc<dyn Database>,
    /// For its state.
    pub broker: Arc<dyn Broker>,
    /// The server's settings.
    pub settings: Settings,
    /// Failed log-ins by source.
    pub attempts: Arc<Attempts>,
    /// The one-time code of the first administrator.
    pub setup: Arc<SetupCode>,
    /// What tokens pin: asked each time, because certificate files may change.
    pub pin: Pin,
    /// The names that the server answers for.
    pub names: Names,
    /// Metrics.
    pub telemetry: Telemetry,
    /// The identities of the rendezvous.
    pub rendezvous: Vec<api::Rendezvous>,
    /// The servers that run now.
    pub servers: watch::Receiver<Arc<[crate::cluster::Running]>>,
    /// This one of them.
    pub me: Holder,
    /// The change of the server's keys that is under way.
    pub rekey: Option<crate::rekey::Change>,
}

/// How long the database has to say that it is there. Whoever asks for the state of things wants to know it now.
const LIFE: Duration = Duration::from_secs(2);

impl AdminParts {
    /// Whether the database answers, and soon: commit numbers, or what is wrong.
    pub(super) async fn check_database(&self) -> Result<u64, StoreError> {
        let late = |_| Err(StoreError::NoAnswer(self.database.place().clone()));
        timeout(LIFE, self.database.check()).await.unwrap_or_else(late)
    }
}

/// The names that the server answers for.
pub struct Names {
    /// The names.
    pub names: ::dns::Names,
    /// Up to which commit they have followed.
    pub followed: watch::Receiver<u64>,
}

impl Names {
    pub(crate) fn of(names: &ServerNames) -> Self {
        Self { names: names.names().clone(), followed: names.followed() }
    }
}

/// What the handlers need.
pub struct Admin {
    parts: AdminParts,
    passwords: Passwords,
    started: Timestamp,
}

type Shared = Arc<Admin>;
type Answer<T> = Result<axum::Json<T>, Failure>;

impl Admin {
    /// Starts its clock now.
    pub fn new(parts: AdminParts) -> Self {
        Self { parts, passwords: Passwords::default(), started: now() }
    }

    async fn submit(&self, actor: Actor, command: Command) -> Result<Committed, Failure> {
        Ok(self.parts.brain.submit(actor, command).await?)
    }
}

/// Where somebody gives a password or a code.
fn doors() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(sessions::setup_state, sessions::setup))
        .routes(routes!(sessions::login))
        .routes(routes!(sessions::change_password))
}

/// All that needs a token.
fn rooms() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(sessions::logout))
        .routes(routes!(sessions::me))
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::get, users::patch, users::delete))
        .routes(routes!(users::set_password))
        .routes(routes!(users::set_groups))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::delete))
        .routes(routes!(networks::list, networks::create))
        .routes(routes!(networks::get, networks::patch, networks::delete))
        .routes(routes!(nodes::list, nodes::add))
        .routes(routes!(nodes::get, nodes::patch, nodes::delete))
        .routes(routes!(nodes::approve))
        .merge(members())
        .merge(rules())
        .routes(routes!(hosts::list))
        .routes(routes!(hosts::rotate_keys))
        .routes(routes!(hosts::get, hosts::patch, hosts::delete))
        .routes(routes!(hosts::rotate_key))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::get, keys::patch, keys::delete))
        .routes(routes!(server::status))
        .routes(routes!(server::list))
        .routes(routes!(server::journal))
        .routes(routes!(server::backup))
        .routes(routes!(export::export))
        .merge(large())
}

/// What may be larger than other requests.
fn large() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(export::import)).layer(DefaultBodyLimit::max(api::MOST_IMPORT))
}

/// What networks hold beside nodes.
fn members() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(clients::list, clients::create))
        .routes(routes!(clients::get, clients::patch, clients::delete))
        .routes(routes!(clients::config))
        .routes(routes!(clients::new_key))
        .routes(routes!(egress::list, egress::create))
        .routes(routes!(egress::get, egress::patch, egress::delete))
}

/// Who may talk to whom in a network, and by which names.
fn rules() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(policies::list, policies::create))
        .routes(routes!(policies::explain))
        .routes(routes!(policies::get, policies::patch, policies::delete))
        .routes(routes!(policy_tests::list, policy_tests::create))
        .routes(routes!(policy_tests::run))
        .routes(routes!(policy_tests::delete))
        .routes(routes!(dns::list, dns::create))
        .routes(routes!(dns::get, dns::patch, dns::delete))
        .routes(routes!(dns::list_upstreams, dns::create_upstream))
        .routes(routes!(dns::zone))
        .routes(routes!(dns::get_upstream, dns::patch_upstream, dns::delete_upstream))
}

/// The routes.
pub fn router(admin: Shared) -> Result<Router> {
    // Whoever gives a password or a code is asked once: each try counts.
    let again = from_fn_with_state(Arc::clone(&admin), again::once_more);
    let routes =
        OpenApiRouter::with_openapi(api::document()).merge(doors()).merge(rooms().route_layer(again));
    let (router, document) = routes.split_for_parts();
    let document = print(&document)?;
    let serve = move || {
        let document = document.clone();
        async move { ([(CONTENT_TYPE, "application/json")], document).into_response() }
    };
    Ok(router
        .route(api::path::DOCUMENT, get(serve))
        .route("/healthz", get(probes::healthz))
        .route("/readyz", get(probes::readyz))
        .route("/readyz/leader", get(probes::leads))
        .route("/metrics", get(probes::metrics))
        .fallback(failure::no_such_path)
        .method_not_allowed_fallback(failure::no_such_method)
        .layer(DefaultBodyLimit::max(api::MOST_BODY))
        .with_state(admin))
}

/// The OpenAPI document, as it is served and checked in.
pub fn document() -> Result<String> {
    print(&OpenApiRouter::with_openapi(api::document()).merge(doors()).merge(rooms()).into_openapi())
}

fn print(document: &utoipa::openapi::OpenApi) -> Result<String> {
    let text = document.to_pretty_json().context("the OpenAPI document cannot be written")?;
    Ok(text + "\n")
}
