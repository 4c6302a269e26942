//! The agents' part of the HTTP API (`wire::path`): registration, maps, reports, and what a host may do to itself.
//!
//! Not for deciding: each handler proves who speaks, hands a command to the brain, and encodes the answer. A host can speak
//! of itself only: no request names a host but the one that signed it.

mod map;
mod own;
mod parcel;
mod refuse;
mod register;
mod replay;
mod signed;

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::Semaphore;
use wire::{ServerLinks, path};

use crate::attempts::Attempts;
use crate::brain::Brain;
use crate::channels::Channels;
use crate::identity::Identity;
use parcel::Shelf;
pub(crate) use refuse::Refused;
pub(crate) use replay::Replays;

/// The largest request of an agent, in bytes; reports of many local addresses and failures fit.
const MOST_BODY: usize = 64 * 1024;
/// Maps that are made at the same time where the number of cores is not known. Whoever comes when all turns are taken waits,
/// or is told to come later.
const MOST_MAPS: usize = 2;

/// Bytes of maps that were made and are not read yet.
const MOST_UNREAD: usize = 64 * 1024 * 1024;
/// How long reading a map may take.
const READ_TIMEOUT: Duration = Duration::from_secs(120);

/// What the handlers need.
pub struct Agents {
    /// The way to the brain.
    pub brain: Brain,
    /// The server's keys.
    pub identity: Arc<Identity>,
    /// The sealed channels of hosts.
    pub channels: Arc<Channels>,
    /// What the server calls itself.
    pub name: String,
    /// Failed registrations by source.
    pub attempts: Arc<Attempts>,
    replays: Replays,
    maps: Semaphore,
    shelf: Shelf,
}

impl Agents {
    /// With nothing remembered yet.
    pub fn new(
        brain: Brain,
        identity: Arc<Identity>,
        channels: Arc<Channels>,
        name: String,
        attempts: Arc<Attempts>,
    ) -> Self {
        Self {
            brain,
            identity,
            channels,
            name,
            attempts,
            replays: Replays::default(),
            // Making a large map is nothing but work: more at once would only keep the hub and the broker waiting.
            maps: Semaphore::new(std::thread::available_parallelism().map_or(MOST_MAPS, NonZero::get)),
            shelf: Shelf::new(MOST_UNREAD, READ_TIMEOUT),
        }
    }
}

/// The routes.
pub fn router(agents: Arc<Agents>) -> Router {
    Router::new()
        .route(path::HELLO, get(register::hello))
        .route(path::REGISTER, post(register::register))
        .route(path::MAP, post(map::map))
        .route(path::REPORT, post(map::report))
        .route(path::SETTINGS, post(own::settings))
        .route(path::NODE, post(own::node))
        .route(path::LEAVE, post(own::leave))
        .layer(DefaultBodyLimit::max(MOST_BODY))
        .with_state(agents)
}

/// A CBOR body.
fn cbor<T: wire::Encode>(value: &T) -> Response {
    ([(CONTENT_TYPE, path::MEDIA_TYPE)], wire::encode(value)).into_response()
}

/// The server's doors, as its settings say and its ports came out.
pub fn links(
    identity: &Identity,
    ports: [u16; 2],
    host: Option<String>,
    keepalive: model::Keepalive,
) -> ServerLinks {
    let keys = identity.rendezvous.iter().map(wire::WgSecret::public);
    let rendezvous = keys.zip(ports).map(|(key, port)| wire::Rendezvous { key, port, host: host.clone() });
    ServerLinks { rendezvous: rendezvous.collect(), brokers: Vec::new(), keepalive: Some(keepalive) }
}
