//! The agents' part of the HTTP API (`wire::path`): registration, maps, reports, and what a host may do to itself.
//!
//! Not for deciding: each handler proves who speaks, hands a command to the brain, and encodes the answer. A host can speak
//! of itself only: no request names a host but the one that signed it.

mod forward;
mod map;
mod own;
mod refuse;
mod register;
mod replay;
mod sightings;
mod signed;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use wire::{ServerLinks, path};

use crate::attempts::Attempts;
use crate::brain::Brain;
use crate::channels::Channels;
use crate::cluster::{Letters, Way};
use crate::identity::Identity;
pub(crate) use refuse::Refused;
pub(crate) use replay::Replays;
pub(crate) use sightings::Carrier;
use turns::{Bounds, Turns};

/// The largest request of an agent, in bytes; reports of many local addresses and failures fit.
const MOST_BODY: usize = 64 * 1024;
/// Maps on their way out. Each holds a frame of some 32 KiB and what waits in the kernel: some 50 MiB for all. Buckets are
/// shared; those that change while a slow reader still has to get them are kept for it. Who waits holds a connection and its
/// request.
const MAPS: Bounds = Bounds {
    turns: 64,
    waiting: 2_048,
    wait: Duration::from_secs(15),
    turn: Duration::from_secs(2),
    slow: 1_024,
    patience: Duration::from_secs(120),
};

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
    /// The way to the server that leads.
    way: Arc<Way>,
    /// What servers say to each other.
    letters: Arc<Letters>,
    replays: Replays,
    heard: sightings::Heard,
    turns: Turns,
}

impl Agents {
    /// With nothing remembered yet.
    pub(crate) fn new(
        brain: Brain,
        identity: Arc<Identity>,
        channels: Arc<Channels>,
        name: String,
        attempts: Arc<Attempts>,
        (way, letters): (Arc<Way>, Arc<Letters>),
    ) -> Self {
        Self {
            brain,
            identity,
            channels,
            name,
            attempts,
            way,
            letters,
            replays: Replays::default(),
            heard: sightings::Heard::default(),
            turns: Turns::new(MAPS),
        }
    }
}

/// The routes.
pub fn router(agents: Arc<Agents>) -> Router {
    Router::new()
        .route(path::REGISTER, post(register::register))
        .route(path::MAP, post(map::map))
        .route(path::REPORT, post(map::report))
        .route(path::SETTINGS, post(own::settings))
        .route(path::NODE, post(own::node))
        .route(path::KEY, post(own::key))
        .route(path::CHANNEL, post(own::channel))
        .route(path::LEAVE, post(own::leave))
        .route_layer(from_fn_with_state(Arc::clone(&agents), forward::to_leader))
        // Every server can say who it is.
        .route(path::HELLO, get(register::hello))
        .route(sightings::PATH, post(sightings::seen))
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
    ServerLinks { rendezvous: rendezvous.collect(), keepalive: Some(keepalive), ..ServerLinks::default() }
}
