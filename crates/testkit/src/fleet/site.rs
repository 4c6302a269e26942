//! A server as clients see it: its address, and the pin by which it is recognised.
//!
//! Each agent has a site of its own, so that each has its own connections, as real machines do.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use model::Digest;
use reqwest::header::HeaderMap;
use reqwest::{Method, redirect};
use rustls::ClientConfig;
use rustls::client::Resumption;
use wire::Token;

const PATIENCE: Duration = Duration::from_secs(60);

/// An answer, read whole.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

/// One server, and one client's connections to it.
#[derive(Debug, Clone)]
pub struct Site {
    url: String,
    pin: Option<Digest>,
    tls: Arc<ClientConfig>,
    http: reqwest::Client,
}

impl Site {
    /// The server at `https://host:port` whose certificate has this pin, or at `http://…` without one.
    pub fn new(url: &str, pin: Option<Digest>) -> Result<Self> {
        // Without a pin there is no TLS, and this one is never looked at.
        let trust = tls::Trust::Pin(pin.unwrap_or(Digest::from_bytes([0; 32])));
        let mut config = tls::client_config(&trust)?;
        // Machines that come for the first time have nothing to resume.
        config.resumption = Resumption::disabled();
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(config.clone())
            .redirect(redirect::Policy::none())
            .no_proxy()
            .timeout(PATIENCE)
            .build()
            .context("no HTTP client can be made")?;
        Ok(Self { url: url.trim_end_matches('/').to_owned(), pin, tls: Arc::new(config), http })
    }

    /// The server that a token names.
    pub fn of_token(token: &Token) -> Result<Self> {
        let url = token.servers.first().context("the token names no server")?;
        Self::new(url, token.pin)
    }

    /// The same server for another client: nothing is shared.
    pub fn apart(&self) -> Result<Self> {
        Self::new(&self.url, self.pin)
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its pin.
    pub fn pin(&self) -> Option<Digest> {
        self.pin
    }

    /// The address of its broker.
    pub(super) fn broker(&self) -> String {
        let rest = self.url.trim_start_matches("http");
        format!("ws{rest}{}", wire::path::MQTT)
    }

    pub(super) fn tls(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.tls)
    }

    /// Sends a request with these headers.
    pub async fn send(
        &self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Reply> {
        let mut request = self.http.request(method, format!("{}{target}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response =
            request.body(body).send().await.with_context(|| format!("no answer to {target}"))?;
        let (status, headers) = (response.status().as_u16(), std::mem::take(response.headers_mut()));
        let body = response.bytes().await.with_context(|| format!("half an answer to {target}"))?;
        Ok(Reply { status, headers, body: body.to_vec() })
    }
}
