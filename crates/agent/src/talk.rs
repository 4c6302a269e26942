//! What the agent asks of its server over HTTP (`wire::path`), and what it understands of the answers.
//!
//! Not for when to ask (`reconcile::Agent`) and not for carrying bytes (`link`). It keeps true that every request of a host
//! is signed anew, each with a later time than the one before.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::{Digest, HostId, Timestamp};
use wire::{
    ChannelChange, Hello, HostSettings, KeyChange, Leave, MapRequest, NodeSwitch, Refusal, RefusalCode,
    RegisterReply, RegisterRequest,
};
use wire::{RequestSignature, SignedRequest, SigningSecret, path};

use crate::link::{Answer, Dialer, HttpClient, HttpLimits, LinkError, Method, ServerTrust};

/// How often a request that the server is too busy for is made again, at most.
const PATIENCE: u32 = 8;

/// Milliseconds by which signatures may run ahead of the clock, to be different.
const CLOCK_SET_BACK: i64 = 1000;
/// For how long a registration without an answer is made again: the server may have taken it, and it costs nothing then.
const INSIST: Duration = Duration::from_secs(15);

/// Why the server did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TalkError {
    /// There was no answer.
    #[error("{error} ({urls})")]
    Link {
        /// What happened.
        error: LinkError,
        /// Where the server was looked for.
        urls: String,
    },
    /// It said no.
    #[error(transparent)]
    Refused(Refusal),
    /// What answered is no Netloom server, or a much newer one.
    #[error(
        "what answers at {url} does not speak as a Netloom server does ({why}); check the address in the token"
    )]
    Nonsense {
        /// Where.
        url: String,
        /// What was strange.
        why: String,
    },
}

impl TalkError {
    /// The kind of the refusal, if it is one.
    pub fn refusal(&self) -> Option<RefusalCode> {
        match self {
            Self::Refused(refusal) => Some(refusal.code),
            Self::Link { .. } | Self::Nonsense { .. } => None,
        }
    }

    /// Whether another server may say something else.
    fn is_of_this_server_alone(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.elsewhere,
            Self::Link { .. } | Self::Nonsense { .. } => true,
        }
    }
}

/// The time now.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// How a server with this pin is believed.
pub fn trust(pin: Option<Digest>) -> ServerTrust {
    pin.map_or(ServerTrust::PublicRoots, |pin| ServerTrust::Pin(*pin.as_bytes()))
}

/// The way to a server. Clones share connections.
#[derive(Debug, Clone)]
pub struct ServerClient {
    http: HttpClient,
    urls: Arc<[String]>,
    /// The address that answered last.
    best: Arc<AtomicUsize>,
}

impl ServerClient {
    /// The server at these addresses.
    pub fn new(urls: &[String], pin: Option<Digest>) -> anyhow::Result<Self> {
        Self::by(Dialer::default(), urls, &trust(pin))
    }

    /// The same, whose connections are made by this dialer.
    pub fn by(dialer: Dialer, urls: &[String], trust: &ServerTrust) -> anyhow::Result<Self> {
        if let Some(url) = urls.iter().find(|url| trust.is_pinned() && !url.starts_with("https://")) {
            anyhow::bail!(
                "the token pins a certificate, but its address {url} is not https; make a new one with `netloom key create`"
            );
        }
        let http = HttpClient::by(dialer, trust, &HttpLimits::default())?;
        Ok(Self { http, urls: urls.into(), best: Arc::default() })
    }

    /// Asks at this address first, if it is one.
    fn prefer(&self, url: &str) {
        if let Some(index) = self.urls.iter().position(|one| one == url) {
            self.best.store(index, Ordering::Relaxed);
        }
    }

    /// The address that answered last, or the first.
    pub fn url(&self) -> &str {
        self.urls.get(self.best.load(Ordering::Relaxed)).map_or("", String::as_str)
    }

    /// Sends a request to the address that answered last, and to the others while there is no answer, or one that another server
    /// may have a better one. Each time the request is signed anew: the server takes none twice.
    async fn send(
        &self,
        method: Method,
        target: &str,
        body: &[u8],
        sign: impl Fn() -> Option<String>,
    ) -> Result<Vec<u8>, TalkError> {
        let count = self.urls.len();
        let first = self.best.load(Ordering::Relaxed);
        let mut failure = LinkError::BadUrl("there is none".to_owned());
        let mut answered = None;
        for index in (0..count).map(|turn| (first + turn) % count) {
            let url = &self.urls[index];
            let mut request =
                self.http.request(method.clone(), &format!("{}{target}", url.trim_end_matches('/')));
            if !body.is_empty() {
                request = request.header("content-type", path::MEDIA_TYPE).body(body.to_vec());
            }
            if let Some(header) = sign() {
                request = request.header("authorization", header);
            }
            match self.http.send(request).await.map(|answer| understood(answer, url)) {
                Ok(Err(error)) if error.is_of_this_server_alone() => answered = Some(error),
                Ok(understood) => {
                    self.best.store(index, Ordering::Relaxed);
                    return understood;
                }
                Err(error) => failure = error,
            }
        }
        Err(answered.unwrap_or_else(|| TalkError::Link { error: failure, urls: self.urls.join(", ") }))
    }

    /// What must be known of a server before registering.
    pub async fn hello(&self) -> Result<Hello, TalkError> {
        let body = self.send(Method::GET, path::HELLO, &[], || None).await?;
        self.decoded(&body)
    }

    /// Registers; waits its turn when the server is busy, and asks again when no answer comes.
    pub async fn register(&self, request: &RegisterRequest) -> Result<RegisterReply, TalkError> {
        let deadline = Instant::now() + INSIST;
        let body = wire::encode(request);
        loop {
            let sent = self.patiently(|| self.send(Method::POST, path::REGISTER, &body, || None));
            match sent.await {
                Err(TalkError::Link { error, .. })
                    if !error.needs_a_person() && Instant::now() < deadline =>
                {
                    tokio::time::sleep(pause(None)).await;
                }
                sent => return self.decoded(&sent?),
            }
        }
    }

    async fn patiently<F: Future<Output = Result<Vec<u8>, TalkError>>>(
        &self,
        send: impl Fn() -> F,
    ) -> Result<Vec<u8>, TalkError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match send().await {
                Err(TalkError::Refused(refusal)) if refusal.code == RefusalCode::Busy && tries < PATIENCE => {
                    tokio::time::sleep(pause(refusal.retry_after)).await;
                }
                other => return other,
            }
        }
    }

    fn decoded<T: for<'b> wire::Decode<'b>>(&self, body: &[u8]) -> Result<T, TalkError> {
        wire::decode(body)
            .map_err(|error| TalkError::Nonsense { url: self.url().to_owned(), why: error.to_string() })
    }

    /// The same server, spoken to as this host.
    pub fn as_host(&self, host: HostId, signing: SigningSecret) -> HostClient {
        HostClient { server: self.clone(), host, signing, last: Arc::default() }
    }
}

/// What the server asks for and half as much again, so that not all come back at the same moment.
fn pause(retry_after: Option<u32>) -> Duration {
    let least = Duration::from_secs(u64::from(retry_after.unwrap_or(1).clamp(1, 30)));
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    least + least.mul_f64(f64::from(random) / f64::from(u32::MAX) / 2.0)
}

fn understood(answer: Answer, url: &str) -> Result<Vec<u8>, TalkError> {
    if answer.status.is_success() {
        return Ok(answer.body);
    }
    match wire::decode::<Refusal>(&answer.body) {
        Ok(refusal) => Err(TalkError::Refused(refusal)),
        Err(_) => {
            Err(TalkError::Nonsense { url: url.to_owned(), why: format!("it answers {}", answer.status) })
        }
    }
}

/// The way to a server as one of its hosts.
#[derive(Debug, Clone)]
pub struct HostClient {
    server: ServerClient,
    host: HostId,
    signing: SigningSecret,
    last: Arc<AtomicI64>,
}

impl HostClient {
    /// The address that answered last.
    pub fn url(&self) -> &str {
        self.server.url()
    }

    /// Asks at this address first, if it is one.
    pub fn prefer(&self, url: &str) {
        self.server.prefer(url);
    }

    /// Asks at the next address first.
    pub fn pass_over(&self) {
        let next = (self.server.best.load(Ordering::Relaxed) + 1) % self.addresses().max(1);
        self.server.best.store(next, Ordering::Relaxed);
    }

    /// How many addresses there are.
    pub fn addresses(&self) -> usize {
        self.server.urls.len()
    }

    fn signature(&self, method: &str, target: &str, body: &[u8]) -> String {
        let now = now().as_millis();
        let later = |before: i64| match before - now {
            // A clock that was set back further than this was wrong before, and its times are not gone on with.
            0..CLOCK_SET_BACK => before + 1,
            _ => now,
        };
        let before =
            self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |before| Some(later(before)));
        let time = later(before.unwrap_or_else(|before| before));
        let request = SignedRequest { method, target, body };
        RequestSignature::sign(&self.signing, self.host, Timestamp::from_millis(time), &request).header()
    }

    async fn post(&self, target: &str, body: Vec<u8>) -> Result<(), TalkError> {
        self.server.patiently(|| self.send(target, &body)).await.map(drop)
    }

    async fn send(&self, target: &str, body: &[u8]) -> Result<Vec<u8>, TalkError> {
        self.server.send(Method::POST, target, body, || Some(self.signature("POST", target, body))).await
    }

    /// The answer to the request for a map: sealed frames. Whether to ask again, and when, is the caller's to say.
    pub async fn map(&self, request: &MapRequest) -> Result<Vec<u8>, TalkError> {
        self.send(path::MAP, &wire::encode(request)).await
    }

    /// Hands over a sealed report.
    pub async fn report(&self, sealed: Vec<u8>) -> Result<(), TalkError> {
        self.post(path::REPORT, sealed).await
    }

    /// Tells what this machine's own settings say.
    pub async fn settings(&self, settings: &HostSettings) -> Result<(), TalkError> {
        self.post(path::SETTINGS, wire::encode(settings)).await
    }

    /// Takes part in a network, or pauses.
    pub async fn switch(&self, switch: &NodeSwitch) -> Result<(), TalkError> {
        self.post(path::NODE, wire::encode(switch)).await
    }

    /// Has the server take another WireGuard key, which is proved.
    pub async fn change_key(&self, change: &KeyChange) -> Result<(), TalkError> {
        self.post(path::KEY, wire::encode(change)).await
    }

    /// Has the server take a channel that was agreed with its next key.
    pub async fn change_channel(&self, change: &ChannelChange) -> Result<(), TalkError> {
        self.post(path::CHANNEL, wire::encode(change)).await
    }

    /// Leaves a network or the server.
    pub async fn leave(&self, leave: &Leave) -> Result<(), TalkError> {
        self.post(path::LEAVE, wire::encode(leave)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_signature_names_a_later_time() {
        let server = ServerClient::new(&["http://127.0.0.1:1".to_owned()], None).unwrap();
        let client = server.as_host(HostId::from_bytes([1; 16]), SigningSecret::from_random([2; 32]));
        let times: Vec<_> = (0..50)
            .map(|_| RequestSignature::parse(&client.signature("GET", "/", &[])).unwrap().time)
            .collect();
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
    }

    #[test]
    fn a_pin_without_tls_is_refused() {
        let text = ServerClient::new(&["http://127.0.0.1:1".to_owned()], Some(Digest::from_bytes([1; 32])))
            .unwrap_err();
        assert!(text.to_string().contains("not https"), "{text}");
    }
}
