//! One request to an rqlite cluster: to the node that answered last, to the others when it does not.
//!
//! Not for SQL. It keeps true that a request which may have been carried out is never sent a second time unless whoever asks
//! says that twice is no harm.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::header::LOCATION;
use reqwest::{Client, Response, StatusCode, Url, redirect};
use rustls::ClientConfig;
use serde::Deserialize;
use serde_json::Value;

use crate::address::Password;
use crate::{Place, StoreError};

const CONNECT: Duration = Duration::from_secs(2);
/// How long a node may work on an answer. It is told so, and gives up before we do.
const ANSWER: Duration = Duration::from_secs(6);
/// How long is tried to get an answer that may be asked for twice.
const PATIENCE: Duration = Duration::from_secs(8);
const PAUSE: Duration = Duration::from_millis(100);
const MOST_REDIRECTS: usize = 3;
const OLDEST: u32 = 8;
/// What a node says that knows no leader to ask.
const NO_LEADER: &str = "leader not found";

/// How sure an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// From the node that takes itself for the leader.
    Weak,
    /// From the leader, through the log.
    Strong,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Weak => "weak",
            Self::Strong => "strong",
        }
    }
}

/// Who asks.
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: Option<Password>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was not sent, or the node said before it did anything that it will not do it now.
    Unsent(StoreError),
    /// It was sent; nobody knows what became of it.
    Lost(StoreError),
    /// It was refused, and nothing was done.
    Refused(StoreError),
    /// A statement failed: what SQLite says. The whole transaction was undone.
    Statement(String),
}

impl Failure {
    /// The error, where the difference does not matter.
    pub(super) fn error(self, place: &Place) -> StoreError {
        match self {
            Self::Unsent(error) | Self::Lost(error) | Self::Refused(error) => error,
            Self::Statement(detail) => of_sqlite(place, detail),
        }
    }
}

fn of_sqlite(place: &Place, detail: String) -> StoreError {
    let place = place.clone();
    if detail.contains("disk is full") {
        return StoreError::Full(place);
    }
    if detail.contains("readonly") || detail.contains("read-only") {
        return StoreError::Standby(place);
    }
    if detail.contains("locked") || detail.contains("busy") {
        return StoreError::Overloaded { place, reason: detail };
    }
    if detail.contains("malformed") || detail.contains("not a database") {
        return StoreError::Damaged { place, detail };
    }
    if detail.contains("disk I/O") {
        return StoreError::Disk { place, detail };
    }
    StoreError::Other { place, detail }
}

/// What a statement answers.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Answered {
    #[serde(default)]
    pub(super) values: Vec<Vec<Value>>,
    #[serde(default)]
    pub(super) rows_affected: u64,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    results: Vec<Answered>,
    #[serde(default)]
    error: Option<String>,
}

/// A statement with its parameters.
pub(super) type Statement = Vec<Value>;

/// A statement with its parameters, as rqlite takes it.
pub(super) fn statement<const N: usize>(sql: &str, parameters: [Value; N]) -> Statement {
    std::iter::once(Value::from(sql)).chain(parameters).collect()
}

/// The nodes of a cluster.
pub(super) struct Http {
    pub(super) place: Place,
    client: Client,
    nodes: Vec<Url>,
    login: Option<Login>,
    /// The node that is asked first.
    first: AtomicUsize,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Http").field(&self.place).finish()
    }
}

impl Http {
    pub(super) fn new(
        place: Place,
        nodes: Vec<Url>,
        login: Option<Login>,
        tls: ClientConfig,
    ) -> Result<Self, StoreError> {
        let is_secure = nodes.iter().all(|node| node.scheme() == "https");
        let client = Client::builder()
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .tcp_keepalive(Duration::from_secs(10))
            .no_proxy()
            .redirect(redirect::Policy::none())
            .tls_backend_preconfigured(tls)
            .https_only(is_secure)
            .build();
        let client =
            client.map_err(|error| StoreError::Tls { place: place.clone(), reason: chain(&error) })?;
        Ok(Self { place, client, nodes, login, first: AtomicUsize::new(0) })
    }

    /// Reads, from whichever node answers.
    pub(super) async fn query(
        &self,
        level: Level,
        statements: &[Statement],
    ) -> Result<Vec<Answered>, StoreError> {
        let path = format!("db/query?level={}&timeout=5s", level.as_str());
        self.repeated(&path, statements).await
    }

    /// Carries out all or nothing of what may be done twice without harm. Reads among it see what was written before them.
    pub(super) async fn repeatable(&self, statements: &[Statement]) -> Result<Vec<Answered>, StoreError> {
        self.repeated("db/request?transaction&timeout=5s", statements).await
    }

    /// Carries out all or nothing, once.
    pub(super) async fn once(&self, statements: &[Statement]) -> Result<Vec<Answered>, Failure> {
        self.try_each("db/execute?transaction&timeout=5s", statements, false).await
    }

    /// Looks after a lost answer: all or nothing, and no second time by itself.
    pub(super) async fn look(&self, statements: &[Statement]) -> Result<Vec<Answered>, StoreError> {
        let answered =
            self.try_each("db/request?transaction&level=strong&timeout=5s", statements, true).await;
        answered.map_err(|failure| failure.error(&self.place))
    }

    async fn repeated(&self, path: &str, statements: &[Statement]) -> Result<Vec<Answered>, StoreError> {
        let end = Instant::now() + PATIENCE;
        loop {
            let failure = match self.try_each(path, statements, true).await {
                Ok(answered) => return Ok(answered),
                Err(failure) => failure,
            };
            let is_passing = matches!(failure, Failure::Unsent(_) | Failure::Lost(_));
            if !is_passing || Instant::now() + PAUSE > end {
                return Err(failure.error(&self.place));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Each node once, until one answers; also after a lost answer where twice is no harm.
    async fn try_each(
        &self,
        path: &str,
        statements: &[Statement],
        twice_is_no_harm: bool,
    ) -> Result<Vec<Answered>, Failure> {
        let first = self.first.load(Ordering::Relaxed);
        let mut last = None;
        for at in (0..self.nodes.len()).map(|offset| (first + offset) % self.nodes.len()) {
            let failure = match self.send(&self.nodes[at], path, statements).await {
                Ok(answered) => {
                    self.first.store(at, Ordering::Relaxed);
                    return Ok(answered);
                }
                Err(failure) => failure,
            };
            let goes_on = match failure {
                Failure::Unsent(_) => true,
                Failure::Lost(_) => twice_is_no_harm,
                Failure::Refused(_) | Failure::Statement(_) => false,
            };
            if !goes_on {
                return Err(failure);
            }
            last = Some(failure);
        }
        let nobody = || self.unreachable("no node is named".to_owned());
        Err(last.unwrap_or_else(|| Failure::Unsent(nobody())))
    }

    async fn send(&self, node: &Url, path: &str, statements: &[Statement]) -> Result<Vec<Answered>, Failure> {
        let mut url = node.join(path).expect("the paths are ours");
        for _ in 0..=MOST_REDIRECTS {
            let mut request = self.client.post(url.clone()).json(statements);
            if let Some(Login { user, password }) = &self.login {
                request = request.basic_auth(user, password.as_ref().map(Password::expose));
            }
            let response = request.send().await.map_err(|error| self.of_transport(&error))?;
            // A node that sends us to the leader has done nothing.
            let Some(leader) = leader(&response, &url) else {
                return self.read(response).await;
            };
            url = leader;
        }
        Err(Failure::Unsent(self.unreachable("its nodes send us from one to the other".to_owned())))
    }

    fn unreachable(&self, reason: String) -> StoreError {
        StoreError::Unreachable { place: self.place.clone(), reason }
    }

    fn of_transport(&self, error: &reqwest::Error) -> Failure {
        if let Some(failure) = tls::Failure::find(error) {
            let place = self.place.clone();
            return Failure::Refused(StoreError::Tls { place, reason: failure.to_string() });
        }
        if error.is_connect() || error.is_builder() {
            return Failure::Unsent(self.unreachable(chain(error)));
        }
        Failure::Lost(match error.is_timeout() {
            true => StoreError::NoAnswer(self.place.clone()),
            false => self.unreachable(chain(error)),
        })
    }

    async fn read(&self, response: Response) -> Result<Vec<Answered>, Failure> {
        let place = || self.place.clone();
        let (status, version) = (response.status(), version(&response));
        let bytes = response.bytes().await.map_err(|error| self.of_transport(&error))?;
        let said = || String::from_utf8_lossy(&bytes).trim().chars().take(200).collect::<String>();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let reason = format!("it answers {status}");
            return Err(Failure::Refused(StoreError::Credentials { place: place(), reason }));
        }
        if status.is_client_error() {
            let detail = format!("it answers {status}: {}", said());
            return Err(Failure::Refused(StoreError::Other { place: place(), detail }));
        }
        // Said before anything is done, and only in these words: a 503 of a proxy says nothing of that kind.
        if status == StatusCode::SERVICE_UNAVAILABLE && said() == NO_LEADER {
            return Err(Failure::Unsent(StoreError::NoLeader(place())));
        }
        if !status.is_success() {
            return Err(Failure::Lost(self.unreachable(format!("it answers {status}: {}", said()))));
        }
        if let Some(version) = version.filter(|version| *version < OLDEST) {
            let reason = format!("it is rqlite {version}; {OLDEST} or newer is needed");
            return Err(Failure::Refused(StoreError::Unsuitable { place: place(), reason }));
        }
        let unreadable = |error: serde_json::Error| {
            Failure::Lost(self.unreachable(format!("its answer is not rqlite's: {error}")))
        };
        let Body { results, error } = serde_json::from_slice(&bytes).map_err(unreadable)?;
        if let Some(error) = error {
            // Also "leadership lost while committing log": it may be carried out all the same.
            return Err(Failure::Lost(self.unreachable(error)));
        }
        match results.iter().find_map(|answered| answered.error.clone()) {
            Some(error) => Err(Failure::Statement(error)),
            None => Ok(results),
        }
    }
}

/// Where the leader is, when this node says that it is not.
fn leader(response: &Response, asked: &Url) -> Option<Url> {
    if !response.status().is_redirection() {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let leader = asked.join(location).ok()?;
    // Credentials never go from an encrypted connection to one that is not.
    (leader.scheme() == asked.scheme()).then_some(leader)
}

/// The first part of the version, where the node tells it.
fn version(response: &Response) -> Option<u32> {
    let text = response.headers().get("X-RQLITE-VERSION")?.to_str().ok()?;
    text.trim_start_matches('v').split('.').next()?.parse().ok()
}

/// What happened, without the address: there may be a password in it.
fn chain(error: &reqwest::Error) -> String {
    let mut next: Option<&dyn std::error::Error> = std::error::Error::source(error);
    let mut words = if error.is_timeout() { "no answer in time".to_owned() } else { "no answer".to_owned() };
    while let Some(error) = next {
        words = format!("{words}: {error}");
        next = error.source();
    }
    words
}
