//! Host maps on request, and reports when there is no broker.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use model::Generation;
use serde::Deserialize;
use wire::{Direction, MapReply, RefusalCode, path};

use super::signed::Signed;
use super::{Agents, Refused};
use crate::brain::Notice;

/// How long an agent waits for its turn before it is told to come again.
const MOST_WAIT: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
pub(super) struct Have {
    have: Option<u64>,
}

/// The host's map, sealed: whole, or word that what it has is current.
pub(super) async fn map(
    State(agents): State<Arc<Agents>>,
    Query(Have { have }): Query<Have>,
    signed: Signed,
) -> Result<Response, Refused> {
    let busy = || Refused::busy("many agents fetch their maps just now; try again in a few seconds", 3);
    agents.brain.told_now().await?;
    let turn = tokio::time::timeout(MOST_WAIT, agents.maps.acquire()).await;
    let _turn = turn.map_err(|_| busy())?.map_err(|_| busy())?;
    // What was told last by now: an older map would not fit the deltas that came meanwhile.
    let told = agents.brain.told();
    let host = signed.host.id;
    told.intent.host(host).ok_or_else(Refused::unknown_host)?;
    let generation = told.generation(host);
    let reply = if have.map(Generation::from_number) == Some(generation) {
        MapReply::Current(generation)
    } else {
        MapReply::Full(told.host_map(host).ok_or_else(Refused::unknown_host)?)
    };
    metrics::counter!("netloom_maps_total", "kind" => kind(&reply)).increment(1);
    let sealed = agents.channels.seal(&signed.host, generation.number(), &wire::encode(&reply));
    let sealed = sealed.map_err(|error| Refused::new(RefusalCode::Internal, format!("{error:#}")))?;
    // The turn is kept meanwhile: no further maps are made while those that were made are not read.
    let body = tokio::time::timeout(MOST_WAIT, agents.shelf.place(sealed)).await.map_err(|_| busy())?;
    Ok(([(CONTENT_TYPE, path::MEDIA_TYPE)], body).into_response())
}

fn kind(reply: &MapReply) -> &'static str {
    match reply {
        MapReply::Current(_) => "current",
        MapReply::Full(_) => "full",
        MapReply::Deltas(_) => "deltas",
    }
}

/// A sealed report.
pub(super) async fn report(State(agents): State<Arc<Agents>>, signed: Signed) -> Result<StatusCode, Refused> {
    // Opened here already, so that an agent with a wrong channel hears of it.
    agents
        .channels
        .open(&signed.host, Direction::Up, &signed.body)
        .map_err(|error| Refused::new(RefusalCode::NotProved, format!("{error:#}")))?;
    agents.brain.notice(Notice::Report { host: signed.host.id, sealed: signed.body }).await;
    Ok(StatusCode::NO_CONTENT)
}
