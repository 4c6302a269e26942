//! HTTP requests to the server: no redirects, no proxies, bounded in time and size.
//!
//! Builds and sends requests and reads answers whole; which requests there are is the caller's business, and how the server
//! is reached is `dial`'s.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, USER_AGENT};
pub use hyper::{Method, StatusCode};
use hyper::{Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use tokio::time::timeout;
use tower::Service;
use url::Url;

use super::dial::{Dialer, Stream};
use super::error::{root_cause, tls_cause};
use super::tls::{ServerTrust, client_config};
use super::{LinkError, late};

/// A connection that was of no use for this long is closed.
const IDLE: Duration = Duration::from_secs(60);

/// Bounds of requests.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// Until the connection stands, TLS included.
    pub connect_timeout: Duration,
    /// Between two pieces of an answer.
    pub read_timeout: Duration,
    /// For the whole request.
    pub total_timeout: Duration,
    /// Largest answer. A whole map of ten thousand peers is about two million bytes.
    pub body_bytes: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(20),
            total_timeout: Duration::from_secs(150),
            body_bytes: 32 * 1024 * 1024,
        }
    }
}

/// A client for one server. Clones share connections.
#[derive(Clone)]
pub struct HttpClient {
    client: Client<Connector, Full<Bytes>>,
    limits: HttpLimits,
}

/// A request under construction.
#[derive(Clone)]
pub struct Request {
    method: Method,
    url: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

/// An answer, read whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What the server said of the request.
    pub status: StatusCode,
    /// The answer's headers.
    pub headers: HeaderMap,
    /// The answer's body.
    pub body: Vec<u8>,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl fmt::Debug for Request {
    // Headers carry credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("method", &self.method).finish_non_exhaustive()
    }
}

impl Request {
    /// With one header more.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// With this body.
    #[must_use]
    pub fn body(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }

    fn build(self) -> Result<hyper::Request<Full<Bytes>>, LinkError> {
        let bad = |why: String| LinkError::BadUrl(why);
        let url = Url::parse(&self.url).map_err(|error| bad(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("a server's address starts with https: or http:".to_owned()));
        }
        let uri: Uri =
            url.as_str().parse().map_err(|error: hyper::http::uri::InvalidUri| bad(error.to_string()))?;
        let mut request = hyper::Request::builder().method(self.method).uri(uri);
        request = request.header(USER_AGENT, concat!("netclient/", env!("CARGO_PKG_VERSION")));
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        request.body(Full::from(self.body)).map_err(|error| bad(error.to_string()))
    }
}

impl HttpClient {
    /// A client that talks to a server so trusted, or in the clear to an `http:` address.
    pub fn new(trust: &ServerTrust, limits: &HttpLimits) -> Result<Self, LinkError> {
        Self::by(Dialer::default(), trust, limits)
    }

    /// The same, whose connections are made by this dialer.
    pub fn by(dialer: Dialer, trust: &ServerTrust, limits: &HttpLimits) -> Result<Self, LinkError> {
        let connector =
            Connector { dialer, tls: client_config(trust)?, connect_timeout: limits.connect_timeout };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Ok(Self { client, limits: *limits })
    }

    /// Starts a request.
    pub fn request(&self, method: Method, url: &str) -> Request {
        Request { method, url: url.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    /// Sends a request. Any status is an answer; an error says that there is none.
    pub async fn send(&self, request: Request) -> Result<Answer, LinkError> {
        let request = request.build()?;
        timeout(self.limits.total_timeout, self.exchange(request)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn exchange(&self, request: hyper::Request<Full<Bytes>>) -> Result<Answer, LinkError> {
        // Connecting has its own limit.
        let patience = self.limits.connect_timeout + self.limits.read_timeout;
        let answered = timeout(patience, self.client.request(request)).await.map_err(|_| late())?;
        let mut response = answered.map_err(|error| error_of(&error))?;
        let body = self.read_body(&mut response).await?;
        Ok(Answer { status: response.status(), headers: std::mem::take(response.headers_mut()), body })
    }

    async fn read_body(&self, response: &mut Response<Incoming>) -> Result<Vec<u8>, LinkError> {
        let limit = self.limits.body_bytes;
        let mut body = Vec::new();
        loop {
            let frame = timeout(self.limits.read_timeout, response.frame()).await.map_err(|_| late())?;
            let Some(frame) = frame else { return Ok(body) };
            let frame = frame.map_err(|error| LinkError::Lost(root_cause(&error)))?;
            let Ok(piece) = frame.into_data() else { continue };
            if body.len() + piece.len() > limit {
                return Err(LinkError::TooLarge { limit });
            }
            body.extend_from_slice(&piece);
        }
    }
}

/// What the connector found, if it was that; else what the library says.
fn error_of(error: &(dyn Error + 'static)) -> LinkError {
    let mut cause = Some(error);
    while let Some(current) = cause {
        if let Some(error) = current.downcast_ref::<LinkError>() {
            return error.clone();
        }
        cause = current.source();
    }
    tls_cause(error).unwrap_or_else(|| LinkError::Unreachable(root_cause(error)))
}

/// Makes the client's connections.
#[derive(Clone)]
struct Connector {
    dialer: Dialer,
    tls: Arc<ClientConfig>,
    connect_timeout: Duration,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = LinkError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, LinkError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { dialer, tls, connect_timeout } = self.clone();
        Box::pin(async move {
            let secure = uri.scheme_str() == Some("https");
            let host = uri.host().ok_or_else(|| LinkError::BadUrl("it names no host".to_owned()))?;
            let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
            let connected = dialer.connect(host, port, secure.then_some(&tls));
            timeout(connect_timeout, connected).await.map_err(|_| late())?.map(TokioIo::new)
        })
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
