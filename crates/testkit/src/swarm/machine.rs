//! One simulated machine: who it is, what it proves itself with, and how it becomes a host.
//!
//! Not its connection (`agent`). It keeps true that all keys are its own, and that no two of its requests have the same time.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, anyhow};
use model::{Endpoint, Generation, HostId, Timestamp};
use wire::{
    Agreement, Channel, Direction, Hello, Leave, Refusal, RegisterReply, RegisterRequest, Report,
    RequestSignature, SignedRequest, SigningSecret, Token, path,
};

use super::LOCAL_PORT;
use super::dial::{Door, Sessions};
use super::http::{Http, Request};
use super::map::Map;
use crate::fleet::{Keys, System, Wish, facts, now, random, registration};

const MOST_ANSWER: usize = 64 * 1024;

/// A registered machine.
pub struct Machine {
    /// Its number in the fleet.
    pub number: u32,
    /// Its host id.
    pub host: HostId,
    /// The group that it is of, by its place among the fleet's.
    pub group: usize,
    signing: SigningSecret,
    pub(super) channel: Channel,
    /// Of its connections to the broker, and of those for requests.
    pub(super) broker_sessions: Sessions,
    pub(super) request_sessions: Sessions,
    last: AtomicI64,
    pub(super) map: Mutex<Map>,
    local: Mutex<Vec<Endpoint>>,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Machine({}, {})", self.number, self.host)
    }
}

impl Machine {
    /// Its map.
    pub(super) fn map(&self) -> MutexGuard<'_, Map> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The endpoints that it reports.
    pub(super) fn local(&self) -> Vec<Endpoint> {
        self.local.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on it reports these.
    pub(super) fn move_to(&self, local: Vec<Endpoint>) {
        *self.local.lock().unwrap_or_else(PoisonError::into_inner) = local;
    }

    /// A time that no request or report of this machine had before.
    fn fresh_time(&self) -> Timestamp {
        let now = now().as_millis();
        let last =
            self.last.fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| Some(now.max(last + 1)));
        Timestamp::from_millis(now.max(last.unwrap_or_default() + 1))
    }

    /// The header that proves a request.
    pub(super) fn signature(&self, method: &str, target: &str, body: &[u8]) -> String {
        let request = SignedRequest { method, target, body };
        RequestSignature::sign(&self.signing, self.host, self.fresh_time(), &request).header()
    }

    /// A password for the broker.
    pub(super) fn password(&self) -> String {
        wire::mqtt_password(&self.signing, self.host, now())
    }

    /// Its report, sealed.
    pub(super) fn report(&self, generation: Generation) -> Vec<u8> {
        let report = Report { generation, facts: facts(), local: self.local(), ..Report::default() };
        self.seal(&wire::encode(&report))
    }

    /// Anything, sealed as if it were a report.
    pub(super) fn seal(&self, plaintext: &[u8]) -> Vec<u8> {
        let sequence = u64::try_from(self.fresh_time().as_millis()).unwrap_or(0);
        self.channel.seal(Direction::Up, sequence, random(), plaintext)
    }

    /// Opens what the server sealed, and decodes it.
    pub(super) fn open<T: for<'b> wire::Decode<'b>>(&self, sealed: &[u8]) -> Result<T> {
        let opened = self.channel.open(Direction::Down, sealed).context("a message of the server")?;
        wire::decode(&opened.plaintext).context("a message of the server")
    }

    /// Sends its report over HTTP, as a machine without a standing connection does.
    pub(super) async fn report_over(&self, http: &mut Http) -> Result<()> {
        let body = self.report(Generation::NONE);
        self.post(http, path::REPORT, &body).await
    }

    /// Leaves the server.
    pub(super) async fn leave(&self, door: &Door) -> Result<()> {
        let mut http = Http::new(door.open(self.number, &self.request_sessions).await?, &door.host);
        self.post(&mut http, path::LEAVE, &wire::encode(&Leave::Server)).await
    }

    async fn post(&self, http: &mut Http, target: &str, body: &[u8]) -> Result<()> {
        let authorization = self.signature("POST", target, body);
        let request = Request { method: "POST", target, authorization: Some(&authorization), body };
        success(http, &request).await.map(drop)
    }
}

/// The body of a good answer. A refusal is an error that says what the server said.
async fn success(http: &mut Http, request: &Request<'_>) -> Result<Vec<u8>> {
    let status = http.ask(request).await?;
    let body = http.read_all(MOST_ANSWER).await?;
    if (200..300).contains(&status) {
        return Ok(body);
    }
    let refusal =
        wire::decode::<Refusal>(&body).map_or_else(|_| "no reason".to_owned(), |refusal| refusal.message);
    Err(anyhow!("{} was refused with {status}: {refusal}", request.target))
}

/// The local address of the machine with this number.
pub(super) fn local_of(number: u32, port: u16) -> Result<Endpoint> {
    let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 128, 0, 1)) + (number & 0x003f_ffff));
    Endpoint::new((address, port).into()).context("a local endpoint")
}

/// A machine that is about to register: it knows the server's keys and has its proofs ready.
pub struct Applicant {
    number: u32,
    group: usize,
    keys: Keys,
    agreement: Agreement,
    request: Vec<u8>,
    http: Http,
    sessions: [Sessions; 2],
}

impl Applicant {
    /// Connects, asks the server who it is, and makes everything ready.
    pub(super) async fn prepare(door: &Door, token: &Token, group: usize, number: u32) -> Result<Self> {
        let sessions = door.sessions();
        let mut http = Http::new(door.open(number, &sessions).await?, &door.host);
        let hello = Request { method: "GET", target: path::HELLO, authorization: None, body: &[] };
        let hello: Hello = wire::decode(&success(&mut http, &hello).await?).context("the server's hello")?;
        let keys = Keys::generate();
        let agreement = Agreement::initiate(&keys.sealing, &hello.sealing_key, &mut System)?;
        let wish = Wish::of_token(token, &format!("fleet-{number}"));
        let registration = registration(&keys, &wish, agreement.encapsulated);
        let request =
            RegisterRequest::prove(&registration, &keys.signing, &keys.wireguard, &hello.wireguard_key);
        Ok(Self {
            number,
            group,
            keys,
            agreement,
            request: wire::encode(&request),
            http,
            sessions: [sessions, door.sessions()],
        })
    }

    /// The key by which others will know it.
    pub fn key(&self) -> model::WgPublicKey {
        self.keys.wireguard.public()
    }

    /// Registers. The connection may be used for more.
    pub(super) async fn register(self) -> Result<(Arc<Machine>, Http)> {
        let Self { number, group, keys, agreement, request, mut http, sessions } = self;
        let [request_sessions, broker_sessions] = sessions;
        let request = Request { method: "POST", target: path::REGISTER, authorization: None, body: &request };
        let body = success(&mut http, &request).await?;
        let RegisterReply { host, .. } = wire::decode(&body).context("the answer to a registration")?;
        let machine = Machine {
            number,
            host,
            group,
            signing: keys.signing,
            channel: agreement.into_channel(host),
            broker_sessions,
            request_sessions,
            last: AtomicI64::new(0),
            map: Mutex::default(),
            local: Mutex::new(vec![local_of(number, LOCAL_PORT)?]),
        };
        Ok((Arc::new(machine), http))
    }
}
