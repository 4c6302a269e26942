//! The way to the server that leads: HTTP to the address and by the pin in its lease.
//!
//! Not for what is sent. It keeps true that nothing is sent to a server that does not prove itself, and that whoever waits for
//! a leader's answer waits no longer than it leads.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::http::{HeaderMap, Method};
use reqwest::{Client, Response, redirect};
use tls::Trust;
use tokio::sync::watch;

use super::{Holder, Role};

/// Until a connection stands, TLS included.
const CONNECT: Duration = Duration::from_secs(2);
/// Until an answer begins. The leader has those who fetch large maps wait for their turns.
const ANSWER: Duration = Duration::from_secs(25);
/// Between two pieces of an answer.
const READ: Duration = Duration::from_secs(30);
/// A connection that was of no use for this long is closed.
const IDLE: Duration = Duration::from_secs(60);

/// No server that leads took it, as far as is known.
#[derive(Debug)]
pub(crate) struct NoAnswer;

/// The way to the server that leads.
pub(crate) struct Way {
    role: watch::Receiver<Role>,
    /// For the leader that was asked last.
    client: Mutex<Option<(Holder, Client)>>,
}

impl Way {
    pub(crate) const fn new(role: watch::Receiver<Role>) -> Self {
        Self { role, client: Mutex::new(None) }
    }

    /// What this server does now.
    pub(crate) fn role(&self) -> Role {
        self.role.borrow().clone()
    }

    /// Sends a request to the leader and waits for the beginning of its answer.
    pub(crate) async fn send(
        &self,
        method: Method,
        target: &str,
        headers: HeaderMap,
        body: bytes::Bytes,
    ) -> Result<Response, NoAnswer> {
        let mut role = self.role.clone();
        let Role::Follows { leader: Some(leader) } = role.borrow_and_update().clone() else {
            return Err(NoAnswer);
        };
        let client = self.client(&leader).map_err(|error| {
            tracing::error!(leader = leader.url, "the server that leads cannot be asked: {error:#}");
            NoAnswer
        })?;
        let request = client.request(method, format!("{}{target}", leader.url)).headers(headers).body(body);
        let other = async {
            let same = |role: &Role| matches!(role, Role::Follows { leader: Some(now) } if *now == leader);
            if role.wait_for(|role| !same(role)).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            answer = tokio::time::timeout(ANSWER, request.send()) => {
                let answer = answer.map_err(anyhow::Error::from).and_then(|answer| Ok(answer?));
                answer.map_err(|error| {
                    tracing::debug!(leader = leader.url, "the server that leads does not answer: {error:#}");
                    NoAnswer
                })
            }
            () = other => Err(NoAnswer),
        }
    }

    fn client(&self, leader: &Holder) -> Result<Client> {
        let mut known = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, client)) = &*known
            && of == leader
        {
            return Ok(client.clone());
        }
        let client = client(leader)?;
        *known = Some((leader.clone(), client.clone()));
        Ok(client)
    }
}

/// Speaks to this server, and to no other: by the pin in its lease.
pub(super) fn client(leader: &Holder) -> Result<Client> {
    let trust = leader.pin.map_or(Trust::System, Trust::Pin);
    let builder = Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT)
        .read_timeout(READ)
        .pool_idle_timeout(IDLE);
    let builder = if leader.url.starts_with("https://") {
        builder.tls_backend_preconfigured(tls::client_config(&trust)?)
    } else {
        builder
    };
    builder.build().context("a client cannot be made")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leader(url: &str, pin: Option<[u8; 32]>) -> Role {
        let text = String::new;
        let pin = pin.map(model::Digest::from_bytes);
        let holder =
            Holder { id: text(), run: text(), name: text(), url: url.to_owned(), pin, version: text() };
        Role::Follows { leader: Some(holder) }
    }

    async fn ask(way: &Way) -> Result<Response, NoAnswer> {
        way.send(Method::GET, "/", HeaderMap::new(), bytes::Bytes::new()).await
    }

    #[tokio::test]
    async fn without_a_leader_that_answers_nobody_waits() {
        crate::front::install_crypto_provider();
        let (set, role) = watch::channel(Role::Follows { leader: None });
        let way = Way::new(role);
        assert!(ask(&way).await.is_err());
        // Nothing listens there.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        set.send_replace(leader(&format!("https://{free}"), Some([1; 32])));
        assert!(ask(&way).await.is_err());
        // Somebody listens and never answers.
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        set.send_replace(leader(&format!("http://{}", silent.local_addr().unwrap()), None));
        let changes = async {
            let _connection = silent.accept().await.unwrap();
            set.send_replace(Role::Leads);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answer = ask(&way) => assert!(answer.is_err(), "another leads: nobody waits for the old one"),
            () = changes => {}
        }
    }
}
