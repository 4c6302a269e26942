//! One registration with one server: who we are there, and the sealed channel with it.
//!
//! Not for deciding what is said. It keeps true that sequences upwards only grow.

use anyhow::{Context as _, ensure};
use model::{Generation, HostId, SealingPublicKey};
use reconcile::Answer;
use wire::{
    Agreement, ChannelChange, Direction, HostMap, MapReply, MapRequest, Part, Report, ServerLinks, assemble,
};

use crate::link::Dialer;
use crate::state::{Channels, Identity, ServerRecord, Which, random};
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
    channels: Channels,
    said: u64,
}

impl Session {
    /// Of what is on disk.
    pub fn new(record: ServerRecord, identity: Identity) -> anyhow::Result<Self> {
        let dialer = Dialer::new(record.addresses.clone());
        let client = client(&dialer, &record, &identity)?;
        let channels = record.channels();
        Ok(Self { record, identity, client, dialer, gateway: None, channels, said: 0 })
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

    /// Takes over where all servers are and how they prove who they are; says whether that is new.
    pub fn learn_servers(&mut self, links: &ServerLinks) -> bool {
        let is_new =
            [self.record.learn_servers(&links.servers), self.record.learn_pins(links)].contains(&true);
        if is_new {
            self.reconnect();
        }
        self.record.learn_key(links) || is_new
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

    /// The sealed channels.
    pub fn channels(&self) -> &Channels {
        &self.channels
    }

    /// A channel that was agreed with this key of the server's is the next one.
    pub fn agree(&mut self, server: SealingPublicKey, agreement: Agreement) -> ChannelChange {
        let change = self.record.agree(server, agreement);
        self.channels = self.record.channels();
        change
    }

    /// The next channel is the one that counts; says with which key it was agreed.
    pub fn take_next(&mut self) -> Option<SealingPublicKey> {
        let server = self.record.take_next();
        self.channels = self.record.channels();
        server
    }

    /// Nothing comes by the former channel any more; says whether there was one.
    pub fn forget_former(&mut self) -> bool {
        self.channels.former = None;
        self.record.forget_former()
    }

    /// A report with the time that it is now, sealed.
    pub fn seal(&mut self, report: Report) -> anyhow::Result<Vec<u8>> {
        let now = now();
        self.said = u64::try_from(now.as_millis()).unwrap_or(0).max(self.said + 1);
        let report = Report { at: Some(now), ..report };
        Ok(self.channels.current.seal(Direction::Up, self.said, random()?, &wire::encode(&report)))
    }
}

/// The way to a server as this host, for a single errand.
pub fn client_of(record: &ServerRecord, identity: &Identity) -> anyhow::Result<HostClient> {
    client(&Dialer::new(record.addresses.clone()), record, identity)
}

fn client(dialer: &Dialer, record: &ServerRecord, identity: &Identity) -> anyhow::Result<HostClient> {
    let server = ServerClient::by(dialer.clone(), &record.all_urls(), &record.trust())?;
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
    channels: &Channels,
    have: Generation,
    held: Option<HostMap>,
) -> Result<(Answer, Which), NoMap> {
    let request = MapRequest { have, ..held.as_ref().map(MapRequest::of).unwrap_or_default() };
    for _ in 0..client.addresses().max(1) {
        let body = client.map(&request).await?;
        let (answer, which) = read(channels, have, held.as_ref(), &body).map_err(NoMap::Unreadable)?;
        if !is_older(&answer, held.as_ref()) {
            return Ok((answer, which));
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

fn read(
    channels: &Channels,
    have: Generation,
    held: Option<&HostMap>,
    body: &[u8],
) -> anyhow::Result<(Answer, Which)> {
    let frames = wire::frames::split(body)?;
    let (head, rest) = frames.split_first().context("the server's answer is empty")?;
    let (_, reply, which) = open(channels, head)?;
    let parts = match reply {
        MapReply::Current(generation) => {
            ensure!(generation == have, "the server confirms another map than the one we have");
            return Ok((Answer::Current, which));
        }
        MapReply::Delta(delta) => return Ok((Answer::Delta(delta), which)),
        MapReply::Parts(parts) => parts,
    };
    let mut came: Vec<Part> = Vec::with_capacity(rest.len());
    for frame in rest {
        let (sequence, parts_of_frame, _) = open::<Vec<Part>>(channels, frame)?;
        // Whoever carries the answer must not put a part of an older one in its place.
        ensure!(sequence == parts.generation.number(), "a part of the map is of another generation");
        came.extend(parts_of_frame);
    }
    Ok((Answer::Whole(assemble(held, parts, &came)?), which))
}

/// A frame's sequence, what is in it, and the channel it came by.
fn open<T: for<'b> wire::Decode<'b>>(channels: &Channels, sealed: &[u8]) -> anyhow::Result<(u64, T, Which)> {
    let (opened, which) = channels.open(sealed).context(
        "the server's answer is not for this machine as it is registered now; join again with a token",
    )?;
    Ok((opened.sequence, wire::decode(&opened.plaintext)?, which))
}
