//! How an agent asks for its map over HTTP: what it holds by digests up, sealed frames down, each opened as it comes.
//!
//! Not for taking the answer (`map`), not for when to ask again (`agent`), and not for DNS records, which it passes over.

use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail, ensure};
use bytes::{Buf as _, Bytes, BytesMut};
use model::Generation;
use tokio::sync::OwnedSemaphorePermit;
use wire::{Delta, MapReply, MapRequest, Part, PartsHead, Refusal, RefusalCode, frames, path};

use super::Shared;
use super::counters::add;
use super::http::{Http, Request};
use super::machine::Machine;
use super::map::Bucket;

const MOST_REFUSAL: usize = 64 * 1024;

/// What the server answered.
#[derive(Debug)]
pub(super) enum Answer {
    Current(Generation),
    Delta(Delta),
    Parts(PartsHead, Vec<Bucket>),
}

impl Answer {
    /// The generation that it leads to.
    pub(super) const fn generation(&self) -> Generation {
        match self {
            Self::Current(generation) => *generation,
            Self::Delta(delta) => delta.generation,
            Self::Parts(head, _) => head.generation,
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// It has too much to do; it may say for how many seconds.
    Busy(Option<u32>),
    /// Another server may answer now; else it is to come again after so many seconds.
    Elsewhere(Option<u32>),
    /// It does not know this host any more.
    Removed,
    /// Anything else.
    Broken(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Broken(error)
    }
}

/// A connection for requests, with its place among those that may be open.
pub(super) struct Kept {
    http: Http,
    _place: OwnedSemaphorePermit,
}

/// What came of asking.
pub(super) struct Fetched {
    /// The connection, if another request can be made on it.
    pub(super) kept: Option<Kept>,
    /// The generation with which was asked.
    pub(super) have: Generation,
    pub(super) answer: Result<Answer, Failure>,
}

/// Asks the server whose turn it is for the machine's map; `whole`: as one that holds nothing.
pub(super) async fn fetch(
    shared: Arc<Shared>,
    machine: Arc<Machine>,
    server: usize,
    kept: Option<Kept>,
    whole: bool,
) -> Fetched {
    let mut kept = match connection(&shared, &machine, server, kept).await {
        Ok(kept) => kept,
        Err(error) => return Fetched { kept: None, have: Generation::NONE, answer: Err(error.into()) },
    };
    let request = if whole { MapRequest::default() } else { machine.map().request() };
    let have = machine.map().generation;
    add(&shared.counters.requests, 1);
    let answer = ask(&shared, &machine, &mut kept.http, &request).await;
    add(&shared.counters.http_wire, kept.http.take_received());
    Fetched { kept: Some(kept).filter(|kept| kept.http.is_usable()), have, answer }
}

async fn connection(
    shared: &Shared,
    machine: &Machine,
    server: usize,
    kept: Option<Kept>,
) -> anyhow::Result<Kept> {
    if let Some(kept) = kept {
        return Ok(kept);
    }
    let place = Arc::clone(&shared.places).acquire_owned().await.context("the fleet ends")?;
    let door = shared.doors.server(server);
    let stream = door.open(machine.number, &machine.request_sessions).await?;
    Ok(Kept { http: Http::new(stream, &door.host), _place: place })
}

async fn ask(
    shared: &Shared,
    machine: &Machine,
    http: &mut Http,
    request: &MapRequest,
) -> Result<Answer, Failure> {
    let body = wire::encode(request);
    let authorization = machine.signature("POST", path::MAP, &body);
    let request =
        Request { method: "POST", target: path::MAP, authorization: Some(&authorization), body: &body };
    let status = http.ask(&request).await?;
    if status != 200 {
        let body = http.read_all(MOST_REFUSAL).await?;
        return Err(failure(status, &body));
    }
    let mut frames = Frames { http, input: BytesMut::new() };
    let head = frames.next().await?.context("an answer without a head")?;
    let answer = match machine.open(&head)? {
        MapReply::Current(generation) => Answer::Current(generation),
        MapReply::Delta(delta) => Answer::Delta(delta),
        MapReply::Parts(head) => {
            let (buckets, came) = buckets(shared, machine, &mut frames).await?;
            if came != head.parts as usize {
                return Err(anyhow!("{} buckets were announced, {came} came", head.parts).into());
            }
            Answer::Parts(head, buckets)
        }
    };
    if frames.next().await?.is_some() {
        return Err(anyhow!("the answer goes on after its end").into());
    }
    Ok(answer)
}

/// The buckets that came, and how many parts there were in all.
async fn buckets(
    shared: &Shared,
    machine: &Machine,
    frames: &mut Frames<'_>,
) -> anyhow::Result<(Vec<Bucket>, usize)> {
    let (mut buckets, mut came) = (Vec::new(), 0);
    while let Some(frame) = frames.next().await? {
        for part in machine.open::<Vec<Part>>(&frame)? {
            came += 1;
            let Some(bucket) = part.bucket else { continue };
            let numbers = shared.book.numbers(&part, &shared.tracker)?;
            buckets.push(Bucket { network: part.network, bucket, numbers });
        }
    }
    Ok((buckets, came))
}

fn failure(status: u16, body: &[u8]) -> Failure {
    match wire::decode::<Refusal>(body) {
        Ok(refusal) if refusal.elsewhere => Failure::Elsewhere(refusal.retry_after),
        Ok(refusal) if refusal.code == RefusalCode::Busy => Failure::Busy(refusal.retry_after),
        Ok(refusal) if refusal.code == RefusalCode::UnknownHost => Failure::Removed,
        Ok(refusal) => anyhow!("the map was refused with {status}: {refusal}").into(),
        Err(_) if status == 503 => Failure::Busy(None),
        Err(_) => anyhow!("the map was refused with {status} and without a reason").into(),
    }
}

/// The frames of an answer that is still coming.
struct Frames<'a> {
    http: &'a mut Http,
    input: BytesMut,
}

impl Frames<'_> {
    /// The next one; none at the end.
    async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        loop {
            if let Some(frame) = take_frame(&mut self.input)? {
                return Ok(Some(frame));
            }
            if self.http.read(&mut self.input).await? == 0 {
                ensure!(self.input.is_empty(), "the answer is cut short");
                return Ok(None);
            }
        }
    }
}

fn take_frame(input: &mut BytesMut) -> anyhow::Result<Option<Bytes>> {
    let Some(mut length) = input.get(..4) else {
        return Ok(None);
    };
    let length = length.get_u32() as usize;
    if length > frames::MOST_FRAME {
        bail!("a frame of {length} bytes");
    }
    if input.len() < 4 + length {
        return Ok(None);
    }
    input.advance(4);
    Ok(Some(input.split_to(length).freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_as_the_wire_makes_them() {
        let mut whole = frames::frame(b"first");
        whole.extend(frames::frame(b""));
        let (mut input, mut taken) = (BytesMut::new(), Vec::new());
        for byte in whole {
            input.extend_from_slice(&[byte]);
            taken.extend(take_frame(&mut input).unwrap());
        }
        assert_eq!(taken, [&b"first"[..], b""]);
        assert!(take_frame(&mut BytesMut::from(&[0xff; 4][..])).is_err());
    }
}
