//! Host maps on request, and reports when there is no broker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use model::Host;
use wire::{
    Direction, Entry, HostMap, MapReply, MapRequest, Part, PartsHead, Peer, RefusalCode, bucket_of, digests,
    frames, pack, path,
};

use super::signed::Signed;
use super::{Agents, Refused};
use crate::brain::Notice;

/// How long an agent waits for its turn before it is told to come again.
const MOST_WAIT: Duration = Duration::from_secs(5);

/// The host's map, sealed: what differs from what it holds, or word that what it has is current.
pub(super) async fn map(State(agents): State<Arc<Agents>>, signed: Signed) -> Result<Response, Refused> {
    let request: MapRequest = signed.message()?;
    let busy = || Refused::busy("many agents fetch their maps just now; try again in a few seconds", 3);
    agents.brain.told_now().await?;
    let turn = tokio::time::timeout(MOST_WAIT, agents.maps.acquire()).await;
    let _turn = turn.map_err(|_| busy())?.map_err(|_| busy())?;
    // What was told last by now: an older map would not fit the deltas that came meanwhile.
    let told = agents.brain.told();
    let host = signed.host.id;
    told.intent.host(host).ok_or_else(Refused::unknown_host)?;
    let generation = told.generation(host);
    let (reply, parts) = if request.have == generation {
        (MapReply::Current(generation), Vec::new())
    } else {
        in_parts(told.host_map(host).ok_or_else(Refused::unknown_host)?, &request)
    };
    metrics::counter!("netloom_maps_total", "kind" => kind(&reply)).increment(1);
    let mut body = frames::frame(&seal(&agents, &signed.host, generation, &reply)?);
    for parts in parts.chunks(16) {
        body.extend(frames::frame(&seal(&agents, &signed.host, generation, &parts.to_vec())?));
    }
    // The turn is kept meanwhile: no further maps are made while those that were made are not read.
    let body = tokio::time::timeout(MOST_WAIT, agents.shelf.place(body)).await.map_err(|_| busy())?;
    Ok(([(CONTENT_TYPE, path::MEDIA_TYPE)], body).into_response())
}

fn seal(
    agents: &Agents,
    host: &Host,
    generation: model::Generation,
    message: &impl wire::Encode,
) -> Result<Vec<u8>, Refused> {
    let sealed = agents.channels.seal(host, generation.number(), &wire::encode(message));
    sealed.map_err(|error| Refused::new(RefusalCode::Internal, format!("{error:#}")))
}

/// The buckets of the map that differ from what is held.
fn in_parts(map: HostMap, request: &MapRequest) -> (MapReply, Vec<Part>) {
    let mut buckets: BTreeMap<_, Vec<Entry>> = BTreeMap::new();
    for (host, peer) in &map.peers {
        for node in &peer.nodes {
            let entry = Entry::new(*host, &Peer { nodes: vec![node.clone()], ..peer.clone() });
            buckets.entry((node.network, bucket_of(*host))).or_default().push(entry);
        }
    }
    let now = digests(&map);
    for (network, held) in &request.digests {
        for bucket in held.0.keys().filter(|_| map.networks.contains_key(network)) {
            buckets.entry((*network, *bucket)).or_default();
        }
    }
    let digest = |digests: &BTreeMap<_, wire::BucketDigests>, (network, bucket): &(_, u8)| {
        digests.get(network).and_then(|digests| digests.0.get(bucket)).copied()
    };
    buckets.retain(|at, _| digest(&now, at) != digest(&request.digests, at));
    let part = |((network, bucket), entries): ((_, u8), Vec<Entry>)| Part {
        network,
        bucket,
        packed: pack(entries.iter()),
    };
    let parts: Vec<Part> = buckets.into_iter().map(part).collect();
    let HostMap { generation, host, server, networks, peers: _ } = map;
    let whole = networks.keys().filter(|network| !request.digests.contains_key(network)).copied().collect();
    let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    (MapReply::Parts(PartsHead { generation, host, server, networks, whole, parts: count }), parts)
}

fn kind(reply: &MapReply) -> &'static str {
    match reply {
        MapReply::Current(_) => "current",
        MapReply::Delta(_) => "delta",
        MapReply::Parts(_) => "parts",
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
