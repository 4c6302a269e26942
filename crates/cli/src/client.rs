//! Speaks the API: requests out, JSON or problems back. Follows pages. Answers have a size limit.

use std::time::Duration;

use api::{Page, Problem, Secret, path};
use reqwest::{Method, Response, StatusCode, Url, redirect};
use serde::Serialize;
use serde_json::Value;
use tls::Trust;

use crate::connection::{Connection, TokenSource, is_loopback};
use crate::failure::Failure;

const MOST_ANSWER: usize = 64 * 1024 * 1024;
const CONNECT: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(60);

/// A query's names and values.
pub(crate) type Query<'a> = [(&'a str, String)];

/// The query that makes a write a dry run, or does not.
pub(crate) fn trying(dry_run: bool) -> Vec<(&'static str, String)> {
    dry_run.then(|| ("dry_run", true.to_string())).into_iter().collect()
}

/// Talks to one server, or to another one of its database where that cannot be reached.
pub(crate) struct Client {
    http: reqwest::Client,
    server: String,
    others: Vec<(String, reqwest::Client)>,
    token: Option<(Secret, TokenSource)>,
    context: Option<String>,
}

impl Client {
    /// A client of this server, which is recognised as `trust` says.
    pub(crate) fn new(connection: &Connection, trust: &Trust) -> Result<Self, Failure> {
        let Connection { server, others, trust: _, token, context } = connection;
        let http = http_client(server, trust)?;
        let others = others.iter().map(|other| Ok((other.clone(), http_client(other, trust)?)));
        let others = others.collect::<Result<_, Failure>>()?;
        Ok(Self { http, server: server.clone(), others, token: token.clone(), context: context.clone() })
    }

    /// The server's address.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Whether there is a token to act with.
    pub(crate) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// `GET`.
    pub(crate) async fn get(&self, path: &str, query: &Query<'_>) -> Result<Value, Failure> {
        self.value(self.send(Method::GET, path, query, None::<&()>).await?).await
    }

    /// `POST`.
    pub(crate) async fn post(&self, path: &str, body: &impl Serialize) -> Result<Value, Failure> {
        self.post_query(path, &[], body).await
    }

    /// `POST`, or only a look at what it would do.
    pub(crate) async fn post_or_try(
        &self,
        path: &str,
        body: &impl Serialize,
        dry_run: bool,
    ) -> Result<Value, Failure> {
        self.post_query(path, &trying(dry_run), body).await
    }

    /// `POST` with a query.
    pub(crate) async fn post_query(
        &self,
        path: &str,
        query: &Query<'_>,
        body: &impl Serialize,
    ) -> Result<Value, Failure> {
        self.value(self.send(Method::POST, path, query, Some(body)).await?).await
    }

    /// `PUT`.
    pub(crate) async fn put(&self, path: &str, body: &impl Serialize) -> Result<Value, Failure> {
        self.put_or_try(path, body, false).await
    }

    /// `PUT`, or only a look at what it would do.
    pub(crate) async fn put_or_try(
        &self,
        path: &str,
        body: &impl Serialize,
        dry_run: bool,
    ) -> Result<Value, Failure> {
        self.value(self.send(Method::PUT, path, &trying(dry_run), Some(body)).await?).await
    }

    /// `PATCH`.
    pub(crate) async fn patch(&self, path: &str, body: &impl Serialize) -> Result<Value, Failure> {
        self.patch_or_try(path, body, false).await
    }

    /// `PATCH`, or only a look at what it would do.
    pub(crate) async fn patch_or_try(
        &self,
        path: &str,
        body: &impl Serialize,
        dry_run: bool,
    ) -> Result<Value, Failure> {
        self.value(self.send(Method::PATCH, path, &trying(dry_run), Some(body)).await?).await
    }

    /// `DELETE`.
    pub(crate) async fn delete(&self, path: &str, query: &Query<'_>) -> Result<Value, Failure> {
        self.value(self.send(Method::DELETE, path, query, None::<&()>).await?).await
    }

    /// All items of a list, or the first `most` of them, page after page.
    pub(crate) async fn list(
        &self,
        path: &str,
        query: &Query<'_>,
        most: Option<u64>,
    ) -> Result<Value, Failure> {
        let most = most.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        let (mut items, mut after) = (Vec::new(), None::<String>);
        loop {
            let limit = (most - items.len()).min(api::Limit::MOST.get());
            let mut query = query.to_vec();
            query.push(("limit", limit.to_string()));
            query.extend(after.take().map(|cursor| ("after", cursor)));
            let page = self.get(path, &query).await?;
            let page: Page<Value> =
                serde_json::from_value(page).map_err(|e| Failure::Answer(e.to_string()))?;
            items.extend(page.items);
            let Some(next) = page.next.filter(|_| items.len() < most) else {
                items.truncate(most);
                return Ok(Value::Array(items));
            };
            after = Some(next.as_str().to_owned());
        }
    }

    /// `GET` of a text.
    pub(crate) async fn text(&self, path: &str, query: &Query<'_>) -> Result<String, Failure> {
        let body = self.body(self.send(Method::GET, path, query, None::<&()>).await?).await?;
        String::from_utf8(body).map_err(|_| self.stranger("its answer is not text"))
    }

    /// `GET` of a file: the answer whose body is still to be read.
    pub(crate) async fn download(&self, path: &str) -> Result<Response, Failure> {
        self.send(Method::GET, path, &[], None::<&()>).await
    }

    /// What a broken transport means.
    pub(crate) fn broken(&self, error: &reqwest::Error) -> Failure {
        Failure::of_transport(&self.server, error)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        query: &Query<'_>,
        body: Option<&impl Serialize>,
    ) -> Result<Response, Failure> {
        let send = |server: &str, http: &reqwest::Client| {
            let mut request = http.request(method.clone(), url(server, path, query));
            if let Some((token, _)) = &self.token {
                request = request.bearer_auth(token.expose());
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            request.send()
        };
        let mut sent = send(&self.server, &self.http).await;
        for (other, http) in &self.others {
            if !sent.as_ref().is_err_and(is_unreached) {
                break;
            }
            if let Ok(answered) = send(other, http).await {
                sent = Ok(answered);
            }
        }
        let response = sent.map_err(|error| self.broken(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(response).await)
    }

    async fn value(&self, response: Response) -> Result<Value, Failure> {
        let body = self.body(response).await?;
        if body.is_empty() {
            return Ok(Value::Object(serde_json::Map::new()));
        }
        serde_json::from_slice(&body).map_err(|_| self.stranger("its answer is not JSON"))
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(&error))? {
            if body.len() + chunk.len() > MOST_ANSWER {
                return Err(Failure::Answer("it is larger than 64 MiB".to_owned()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    async fn refusal(&self, response: Response) -> Failure {
        let status = response.status();
        let body = match self.body(response).await {
            Ok(body) => body,
            Err(failure) => return failure,
        };
        let Ok(problem) = serde_json::from_slice::<Problem>(&body) else {
            return self.stranger(&format!("it answers with HTTP status {status}"));
        };
        if status == StatusCode::UNAUTHORIZED && problem.code.as_ref() != api::WRONG_PASSWORD {
            return self.unauthenticated(problem);
        }
        Failure::Refused(problem.into())
    }

    fn unauthenticated(&self, problem: Problem) -> Failure {
        let (server, context, detail) = (self.server.clone(), self.context.clone(), problem.detail);
        match &self.token {
            None => Failure::NotLoggedIn { server, context },
            Some((_, TokenSource::Context)) => Failure::LoggedOut { server, context, detail },
            Some((_, TokenSource::Environment)) => Failure::TokenRefused { server, detail },
        }
    }

    fn stranger(&self, found: &str) -> Failure {
        Failure::NotNetloom { server: self.server.clone(), found: found.to_owned() }
    }
}

/// Whether no connection came about, and nothing was sent. A certificate that is not the right one is something else.
fn is_unreached(error: &reqwest::Error) -> bool {
    error.is_connect() && tls::Failure::find(error).is_none()
}

fn url(server: &str, path: &str, query: &Query<'_>) -> String {
    let pairs: Vec<String> =
        query.iter().map(|(name, value)| format!("{name}={}", path::encode(value))).collect();
    let mark = if pairs.is_empty() { "" } else { "?" };
    format!("{server}{path}{mark}{}", pairs.join("&"))
}

/// An HTTP client that believes no other server than `trust` says.
pub(crate) fn http_client(server: &str, trust: &Trust) -> Result<reqwest::Client, Failure> {
    let url: Url =
        server.parse().map_err(|_| Failure::Usage(format!("`{server}` is not a server's address")))?;
    // Plain HTTP never comes to TLS; a machine without authorities must still be able to speak it.
    let nobody = Trust::Pin(model::Digest::from_bytes([0; 32]));
    let trust = if url.scheme() == "https" { trust } else { &nobody };
    let config = tls::client_config(trust).map_err(anyhow::Error::from)?;
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        .user_agent(concat!("netloom/", env!("CARGO_PKG_VERSION")));
    let builder = if is_loopback(&url) { builder.no_proxy() } else { builder };
    Ok(builder.build().map_err(anyhow::Error::from)?)
}
