//! Host maps on request, and reports when there is no broker.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use control::plan::Differing;
use model::{Generation, Host};
use wire::{Direction, MapReply, MapRequest, Part, RefusalCode, frames, path};

use super::signed::Signed;
use super::turns::Busy;
use super::{Agents, Refused};
use crate::brain::Notice;

/// Packed bytes from which on a frame is full. The largest part, all records of a network, has half a megabyte.
const FRAME: usize = 32 * 1024;

/// The longest answer that takes no turn: some hundred peers.
const SHORT: usize = 16 * 1024;

/// What a host lacks of its map, sealed.
pub(super) async fn map(State(agents): State<Arc<Agents>>, signed: Signed) -> Result<Response, Refused> {
    let request = agents.request(&signed)?;
    let host = signed.host;
    if let Some((kind, generation, reply)) = short_reply(&agents, &host, &request).await? {
        return Ok(answer(kind, agents.seal(&host, generation, &reply)?.into()));
    }
    let turn = agents.turns.take(host.id).await?;
    // What was told last by now: an older map would not fit the deltas that came meanwhile.
    let told = agents.brain.told();
    let maps = told.maps().ok_or_else(Refused::no_leader)?;
    let (head, buckets) = maps.parts(host.id, &request).ok_or_else(Refused::unknown_host)?;
    let generation = head.generation;
    let first = agents.seal(&host, generation, &wire::encode(&MapReply::Parts(head)))?;
    let frames = Frames {
        agents: Arc::clone(&agents),
        host,
        generation,
        first: Some(first),
        buckets: buckets.into_iter(),
    };
    Ok(answer("parts", turn.body(frames)))
}

/// An answer that takes no turn: the host holds what it should, or missed little. The snapshot is not kept for longer: who
/// waits for a turn holds nothing.
async fn short_reply(
    agents: &Agents,
    host: &Host,
    request: &MapRequest,
) -> Result<Option<(&'static str, Generation, Vec<u8>)>, Refused> {
    let told = agents.brain.told_now().await?;
    let maps = told.maps().ok_or_else(Refused::no_leader)?;
    let generation = maps.generation(host.id);
    let (head, differing) = maps.parts(host.id, request).ok_or_else(Refused::unknown_host)?;
    if differing.is_empty() {
        let current = request.have == generation;
        let (kind, reply) = if current {
            ("current", MapReply::Current(generation))
        } else {
            ("head", MapReply::Parts(head))
        };
        return Ok(Some((kind, generation, wire::encode(&reply))));
    }
    // A host that holds something else than the map of its generation gets what differs.
    let missed = maps.missed(host.id, request.have).filter(|_| request.have != generation);
    let delta = missed.map(|missed| missed.encode_reply(request.have, generation));
    Ok(delta.filter(|delta| delta.len() <= SHORT).map(|delta| ("delta", generation, delta)))
}

fn answer(kind: &'static str, body: Body) -> Response {
    metrics::counter!("netloom_maps_total", "kind" => kind).increment(1);
    ([(CONTENT_TYPE, path::MEDIA_TYPE)], body).into_response()
}

impl Agents {
    /// The request, without digests of networks that the host is not in.
    fn request(&self, signed: &Signed) -> Result<MapRequest, Refused> {
        let mut request: MapRequest = signed.message()?;
        let intent = self.brain.intent();
        request.digests.retain(|network, _| intent.node_of(signed.host.id, *network).is_some());
        Ok(request)
    }

    fn seal(&self, host: &Host, generation: Generation, message: &[u8]) -> Result<Vec<u8>, Refused> {
        let sealed = self.channels.seal(host, generation.number(), message);
        let sealed = sealed.map_err(|error| Refused::new(RefusalCode::Internal, format!("{error:#}")))?;
        Ok(frames::frame(&sealed))
    }
}

impl From<Busy> for Refused {
    fn from(busy: Busy) -> Self {
        Self::busy("many agents fetch their maps just now; try again later", busy.retry_after)
    }
}

/// The frames of a map in parts, made one after the other.
struct Frames {
    agents: Arc<Agents>,
    host: Host,
    generation: Generation,
    first: Option<Vec<u8>>,
    buckets: std::vec::IntoIter<Differing>,
}

impl Iterator for Frames {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let (mut parts, mut bytes): (Vec<Part>, usize) = (Vec::new(), 0);
        while bytes < FRAME
            && let Some(differing) = self.buckets.next()
        {
            let part = differing.to_part();
            bytes += part.packed.len();
            parts.push(part);
        }
        if parts.is_empty() {
            return None;
        }
        let sealed = self.agents.seal(&self.host, self.generation, &wire::encode(&parts));
        // The agent misses the rest by the number in the head, and asks again.
        sealed
            .inspect_err(|error| tracing::error!(host = %self.host.name, ?error, "a map was not sealed"))
            .ok()
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
