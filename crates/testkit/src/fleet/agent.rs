//! A registered simulated agent: signed requests, its map, its reports.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, anyhow};
use model::{Endpoint, Generation, HostId, HostName, NetworkName, Timestamp};
use reqwest::Method;
use wire::{
    Channel, Direction, Down, HostMap, HostSettings, Leave, MapReply, MapRequest, NodeSwitch, Opened, Part,
    Refusal, RegisterReply, Report, RequestSignature, SignedRequest, Token, assemble, path,
};

use super::application::facts;
use super::{Application, Keys, Reply, Site, Wish, now, random};

/// Why the server did not do what an agent asked.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// It refused, and said why.
    #[error("refused with {status}: {refusal}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        refusal: Refusal,
    },
    /// It did not answer as a server should.
    #[error(transparent)]
    Broken(#[from] anyhow::Error),
}

impl AgentError {
    /// What the server said.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal),
            Self::Broken(_) => None,
        }
    }
}

/// The body of a good answer; a bad one has to be a refusal that can be read.
pub(super) fn expect_success(reply: Reply) -> Result<Vec<u8>, AgentError> {
    let Reply { status, body, .. } = reply;
    if (200..300).contains(&status) {
        return Ok(body);
    }
    let text = String::from_utf8_lossy(&body).into_owned();
    let refusal = wire::decode(&body);
    let refusal = refusal.map_err(|_| anyhow!("status {status} without a refusal: {text}"))?;
    Err(AgentError::Refused { status, refusal })
}

/// A simulated agent that is registered.
#[derive(Debug)]
pub struct Agent {
    /// Its server.
    pub site: Site,
    /// Its keys.
    pub keys: Keys,
    /// Its host id.
    pub host: HostId,
    /// The name it got.
    pub name: HostName,
    /// The networks it was put into.
    pub networks: Vec<NetworkName>,
    channel: Channel,
    last: Mutex<Timestamp>,
}

impl Agent {
    pub(super) fn new(site: Site, keys: Keys, channel: Channel, reply: RegisterReply) -> Self {
        let RegisterReply { host, name, networks } = reply;
        let last = Mutex::new(Timestamp::default());
        Self { site, keys, host, name, networks, channel, last }
    }

    /// A new machine that joins by this token, over connections of its own.
    pub async fn join(token: &Token, hostname: &str) -> Result<Self, AgentError> {
        let wish = Wish::of_token(token, hostname);
        let site = Site::of_token(token)?;
        Application::prepare(&site, &Keys::generate(), &wish).await?.send().await
    }

    /// A time that no request of this agent had before.
    fn fresh_time(&self) -> Timestamp {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = now().max(Timestamp::from_millis(last.as_millis() + 1));
        *last
    }

    /// The header that proves a request.
    pub fn signature(&self, method: &Method, target: &str, body: &[u8]) -> String {
        let request = SignedRequest { method: method.as_str(), target, body };
        RequestSignature::sign(&self.keys.signing, self.host, self.fresh_time(), &request).header()
    }

    /// Sends a request with this proof.
    pub async fn send(
        &self,
        method: Method,
        target: &str,
        body: Vec<u8>,
        signature: &str,
    ) -> Result<Vec<u8>, AgentError> {
        let headers = [("authorization", signature), ("content-type", path::MEDIA_TYPE)];
        expect_success(self.site.send(method, target, &headers, body).await?)
    }

    /// Signs and sends a request.
    pub async fn ask(&self, method: Method, target: &str, body: Vec<u8>) -> Result<Vec<u8>, AgentError> {
        let signature = self.signature(&method, target, &body);
        self.send(method, target, body, &signature).await
    }

    /// Asks for its map.
    pub async fn ask_map(&self, request: &MapRequest) -> Result<(MapReply, Vec<Part>), AgentError> {
        let body = self.ask(Method::POST, path::MAP, wire::encode(request)).await?;
        let frames = wire::frames::split(&body).context("the answer")?;
        let (head, rest) = frames.split_first().context("an answer has a head")?;
        let mut parts = Vec::new();
        for frame in rest {
            parts.extend(self.open_frame::<Vec<Part>>(frame)?);
        }
        Ok((self.open_frame(head)?, parts))
    }

    fn open_frame<T: for<'b> wire::Decode<'b>>(&self, sealed: &[u8]) -> anyhow::Result<T> {
        let opened = self.channel.open(Direction::Down, sealed).context("a frame of the map")?;
        wire::decode(&opened.plaintext).context("a frame of the map")
    }

    /// The map as it is now, with what it holds.
    pub async fn renew(&self, held: Option<&HostMap>) -> Result<HostMap, AgentError> {
        let request = held.map(MapRequest::of).unwrap_or_default();
        let map = match (self.ask_map(&request).await?, held) {
            ((MapReply::Parts(head), parts), held) => assemble(held, head, &parts).context("the parts")?,
            ((MapReply::Current(_), _), Some(held)) => held.clone(),
            ((MapReply::Delta(delta), _), Some(held)) => {
                let mut map = held.clone();
                wire::patch(&mut map, delta).context("the delta")?;
                map
            }
            ((other @ (MapReply::Current(_) | MapReply::Delta(_)), _), None) => {
                return Err(anyhow!("it holds nothing and was told {other:?}").into());
            }
        };
        Ok(map)
    }

    /// Its whole map.
    pub async fn map(&self) -> Result<HostMap, AgentError> {
        self.renew(None).await
    }

    /// Opens a message that was pushed.
    pub fn open(&self, sealed: &[u8]) -> anyhow::Result<(Opened, Down)> {
        let opened = self.channel.open(Direction::Down, sealed).context("a pushed message")?;
        let down = wire::decode(&opened.plaintext).context("a pushed message")?;
        Ok((opened, down))
    }

    /// Its password at a broker that is not the server's own.
    pub fn broker_password(&self) -> String {
        self.channel.broker_password()
    }

    /// A report, sealed.
    pub fn seal(&self, report: &Report) -> Vec<u8> {
        let sequence = u64::try_from(self.fresh_time().as_millis()).unwrap_or(0);
        let plaintext = wire::encode(report);
        self.channel.seal(Direction::Up, sequence, random(), &plaintext)
    }

    /// A report of these local endpoints.
    pub fn report_of(generation: Generation, local: &[Endpoint]) -> Report {
        Report { generation, facts: facts(), local: local.to_vec(), ..Report::default() }
    }

    /// Reports over HTTP.
    pub async fn report(&self, report: &Report) -> Result<(), AgentError> {
        self.post(path::REPORT, self.seal(report)).await
    }

    /// Takes part in a network, or pauses.
    pub async fn switch(&self, network: &NetworkName, connected: bool) -> Result<(), AgentError> {
        let switch = NodeSwitch { network: network.clone(), connected };
        self.post(path::NODE, wire::encode(&switch)).await
    }

    /// Leaves a network, or everything.
    pub async fn leave(&self, leave: &Leave) -> Result<(), AgentError> {
        self.post(path::LEAVE, wire::encode(leave)).await
    }

    /// Says what its own settings are.
    pub async fn settings(&self, settings: &HostSettings) -> Result<(), AgentError> {
        self.post(path::SETTINGS, wire::encode(settings)).await
    }

    async fn post(&self, target: &str, body: Vec<u8>) -> Result<(), AgentError> {
        self.ask(Method::POST, target, body).await.map(drop)
    }

    /// A password for the broker.
    pub fn password(&self) -> String {
        wire::mqtt_password(&self.keys.signing, self.host, now())
    }
}
