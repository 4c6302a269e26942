//! One registration with one server: who we are there, and the sealed channel with it.
//!
//! Not for deciding what is said. It keeps true that sequences upwards only grow.

use anyhow::{Context as _, ensure};
use model::{Generation, HostId};
use reconcile::Answer;
use wire::{Channel, Direction, HostMap, MapReply, MapRequest, Part, Report, assemble};

use crate::link::Dialer;
use crate::state::{Identity, ServerRecord, random};
use crate::talk::{HostClient, ServerClient, TalkError, now};

/// A registration, ready to be used.
pub struct Session {
    /// What is kept of the server.
    pub record: ServerRecord,
    /// This machine's keys.
    pub identity: Identity,
    /// The way to the server.
    pub client: HostClient,
    /// Makes the connections to it and to its brokers.
    pub dialer: Dialer,
    /// The internet gateway through which all of this machine goes.
    gateway: Option<HostId>,
    channel: Channel,
    said: u64,
}

impl Session {
    /// Of what is on disk.
    pub fn new(record: ServerRecord, identity: Identity) -> anyhow::Result<Self> {
        let dialer = Dialer::new(record.addresses.clone());
        let client = client(&dialer, &record, &identity)?;
        let channel = record.channel();
        Ok(Self { record, identity, client, dialer, gateway: None, channel, said: 0 })
    }

    /// Leaves connections behind that may hang on an address this machine no longer has.
    pub fn reconnect(&mut self) {
        match client(&self.dialer, &self.record, &self.identity) {
            Ok(client) => {
                client.prefer(self.client.url());
                self.client = client;
            }
            Err(error) => tracing::warn!("{error:#}"),
        }
    }

    /// Takes over where all servers are; says whether that is new.
    pub fn learn_servers(&mut self, told: &[String]) -> bool {
        let is_new = self.record.learn_servers(told);
        if is_new {
            self.reconnect();
        }
        is_new
    }

    /// Takes over through which gateway all of this machine goes; says whether that is new.
    pub fn goes_through(&mut self, gateway: Option<HostId>) -> bool {
        std::mem::replace(&mut self.gateway, gateway) != gateway
    }

    /// Takes over where the server's names led; says whether that is new.
    pub fn learn_addresses(&mut self) -> bool {
        let known = self.dialer.book().known();
        let new = known != self.record.addresses;
        self.record.addresses = known;
        new
    }

    /// The sealed channel.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// A report with the time that it is now, sealed.
    pub fn seal(&mut self, report: Report) -> anyhow::Result<Vec<u8>> {
        let now = now();
        self.said = u64::try_from(now.as_millis()).unwrap_or(0).max(self.said + 1);
        let report = Report { at: Some(now), ..report };
        Ok(self.channel.seal(Direction::Up, self.said, random()?, &wire::encode(&report)))
    }
}

/// The way to a server as this host, for a single errand.
pub fn client_of(record: &ServerRecord, identity: &Identity) -> anyhow::Result<HostClient> {
    client(&Dialer::new(record.addresses.clone()), record, identity)
}

fn client(dialer: &Dialer, record: &ServerRecord, identity: &Identity) -> anyhow::Result<HostClient> {
    let server = ServerClient::by(dialer.clone(), &record.all_urls(), record.pin)?;
    Ok(server.as_host(record.host, identity.signing.clone()))
}

/// Why there is no map.
#[derive(Debug, thiserror::Error)]
pub enum NoMap {
    /// The server was not reached, or refused.
    #[error(transparent)]
    Talk(#[from] TalkError),
    /// Its answer cannot be read.
    #[error("{0:#}")]
    Unreadable(anyhow::Error),
    /// It does not lead any more.
    #[error(
        "the newest map of the server is older than the one that this machine has: it does not lead the servers any more, or \
         was restored from an old backup"
    )]
    Older,
}

/// Asks for the map and opens the answer. Of what is held only what differs is fetched. Whoever answers with less than is held is
/// passed over.
pub async fn fetch_map(
    client: &HostClient,
    channel: &Channel,
    have: Generation,
    held: Option<HostMap>,
) -> Result<Answer, NoMap> {
    let request = MapRequest { have, ..held.as_ref().map(MapRequest::of).unwrap_or_default() };
    for _ in 0..client.addresses().max(1) {
        let body = client.map(&request).await?;
        let answer = read(channel, have, held.as_ref(), &body).map_err(NoMap::Unreadable)?;
        if !is_older(&answer, held.as_ref()) {
            return Ok(answer);
        }
        tracing::info!(url = client.url(), "the server answers with an older map; another address is asked");
        client.pass_over();
    }
    Err(NoMap::Older)
}

fn is_older(answer: &Answer, held: Option<&HostMap>) -> bool {
    let answered = match answer {
        Answer::Current => return false,
        Answer::Delta(delta) => delta.generation,
        Answer::Whole(map) => map.generation,
    };
    held.is_some_and(|held| answered < held.generation)
}

fn read(channel: &Channel, have: Generation, held: Option<&HostMap>, body: &[u8]) -> anyhow::Result<Answer> {
    let frames = wire::frames::split(body)?;
    let (head, rest) = frames.split_first().context("the server's answer is empty")?;
    let (_, reply) = open(channel, head)?;
    let parts = match reply {
        MapReply::Current(generation) => {
            ensure!(generation == have, "the server confirms another map than the one we have");
            return Ok(Answer::Current);
        }
        MapReply::Delta(delta) => return Ok(Answer::Delta(delta)),
        MapReply::Parts(parts) => parts,
    };
    let mut came: Vec<Part> = Vec::with_capacity(rest.len());
    for frame in rest {
        let (sequence, parts_of_frame) = open::<Vec<Part>>(channel, frame)?;
        // Whoever carries the answer must not put a part of an older one in its place.
        ensure!(sequence == parts.generation.number(), "a part of the map is of another generation");
        came.extend(parts_of_frame);
    }
    Ok(Answer::Whole(assemble(held, parts, &came)?))
}

/// A frame's sequence, and what is in it.
fn open<T: for<'b> wire::Decode<'b>>(channel: &Channel, sealed: &[u8]) -> anyhow::Result<(u64, T)> {
    let opened = channel.open(Direction::Down, sealed).context(
        "the server's answer is not for this machine as it is registered now; join again with a token",
    )?;
    Ok((opened.sequence, wire::decode(&opened.plaintext)?))
}
