//! How a machine becomes a host.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::response::Response;
use control::{Actor, Command, Register};
use wire::{Hello, RefusalCode, RegisterReply, RegisterRequest, TokenSecret};

use super::{Agents, Refused, cbor};
use crate::brain::{Notice, now};

/// What an agent must know before it can register.
pub(super) async fn hello(State(agents): State<Arc<Agents>>) -> Response {
    cbor(&Hello {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        name: agents.name.clone(),
        sealing_key: agents.identity.sealing.public(),
        wireguard_key: agents.identity.rendezvous[0].public(),
        time: now(),
    })
}

/// Registers a machine, or a known host again.
pub(super) async fn register(
    State(agents): State<Arc<Agents>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    body: Bytes,
) -> Result<Response, Refused> {
    agents.attempts.check(peer.ip(), Instant::now())?;
    let answer = admit(&agents, &body).await;
    let outcome = match &answer {
        Ok(_) => "admitted",
        Err(refused) if refused.code() == RefusalCode::Busy => "busy",
        Err(_) => "refused",
    };
    metrics::counter!("netloom_registrations_total", "outcome" => outcome).increment(1);
    if answer.as_ref().is_err_and(Refused::is_guess) {
        agents.attempts.failed(peer.ip(), Instant::now());
    }
    answer.map(|reply| cbor(&reply))
}

async fn admit(agents: &Agents, body: &[u8]) -> Result<RegisterReply, Refused> {
    let request: RegisterRequest =
        wire::decode(body).map_err(|error| Refused::guess(RefusalCode::Invalid, error.to_string()))?;
    let registration = request.verify(&agents.identity.rendezvous[0], now())?;
    // Before it is committed: a host with which no channel can be agreed would be one that never gets a map.
    let sealing = (&registration.sealing_key, &registration.encapsulated);
    agents.channels.check(sealing.0, sealing.1).map_err(|error| {
        let advice = "remove the agent's key file, so that new keys are made, and join again";
        Refused::guess(RefusalCode::Invalid, format!("the sealing key cannot be used ({error:#}); {advice}"))
    })?;
    let signing_key = registration.signing_key;
    let facts = registration.facts.clone();
    let enrollment = registration.enrollment.map(|secret| TokenSecret::from_random(secret).digest());
    let command = Command::Register(Register::of(registration, enrollment, agents.identity.sealing.public()));
    let committed = agents.brain.submit(Actor::Registrant, command).await?;
    let intent = committed.intent;
    let host = intent.host_by_signing_key(&signing_key).ok_or_else(Refused::unknown_host)?;
    agents.brain.notice(Notice::Registered { host: host.id, facts }).await;
    let networks = intent.nodes_of_host(host.id).filter_map(|node| intent.network(node.network));
    let networks = networks.map(|network| network.name.clone()).collect();
    tracing::info!(host = %host.name, id = %host.id, "host registered");
    Ok(RegisterReply { host: host.id, name: host.name.clone(), networks })
}
