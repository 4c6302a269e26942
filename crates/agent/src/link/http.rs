//! HTTP requests to the server: no redirects, no proxies, bounded in time and size.
//!
//! Builds and sends requests and reads answers whole; which requests there are is the caller's business.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, Response, redirect};
pub use reqwest::{Method, RequestBuilder, StatusCode};

use super::LinkError;
use super::error::{root_cause, tls_cause};
use super::tls::{ServerTrust, client_config};

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
#[derive(Clone, Debug)]
pub struct HttpClient {
    client: Client,
    body_bytes: usize,
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

impl HttpClient {
    /// A client that talks to a server so trusted, or in the clear to an `http:` address.
    pub fn new(trust: &ServerTrust, limits: &HttpLimits) -> Result<Self, LinkError> {
        let tls = client_config(trust)?;
        let client = Client::builder()
            .tls_backend_preconfigured((*tls).clone())
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(limits.connect_timeout)
            .read_timeout(limits.read_timeout)
            .timeout(limits.total_timeout)
            .user_agent(concat!("netclient/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| LinkError::Tls(root_cause(&error)))?;
        Ok(Self { client, body_bytes: limits.body_bytes })
    }

    /// Starts a request.
    pub fn request(&self, method: Method, url: &str) -> RequestBuilder {
        self.client.request(method, url)
    }

    /// Sends a request. Any status is an answer; an error says that there is none.
    pub async fn send(&self, request: RequestBuilder) -> Result<Answer, LinkError> {
        let mut response = request.send().await.map_err(error_of)?;
        let body = self.read_body(&mut response).await?;
        Ok(Answer { status: response.status(), headers: std::mem::take(response.headers_mut()), body })
    }

    async fn read_body(&self, response: &mut Response) -> Result<Vec<u8>, LinkError> {
        let limit = self.body_bytes;
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(error_of)? {
            if body.len() + piece.len() > limit {
                return Err(LinkError::TooLarge { limit });
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}

fn error_of(error: reqwest::Error) -> LinkError {
    if let Some(error) = tls_cause(&error) {
        return error;
    }
    let error = error.without_url();
    if error.is_builder() {
        return LinkError::BadUrl(root_cause(&error));
    }
    let text = if error.is_timeout() { "it did not answer in time".to_owned() } else { root_cause(&error) };
    if error.is_body() || error.is_decode() { LinkError::Lost(text) } else { LinkError::Unreachable(text) }
}
