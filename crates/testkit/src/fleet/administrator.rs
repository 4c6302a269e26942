//! An administrator: a client of the API that takes nothing for a problem but problem details with a code.

use anyhow::{Context as _, anyhow};
use api::{
    CreateKey, CreateNetwork, CreatedKey, Host, Login, Network, NetworkSelector, Page, Problem, Session,
    Setup, path,
};
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::Token;

use super::{Reply, Site};

/// The password of the first administrator in tests.
pub const PASSWORD: &str = "correct horse battery staple";

/// Why the API did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// A problem, as the API tells it.
    #[error("{} ({}): {}", .0.status, .0.code, .0.detail)]
    Problem(Box<Problem>),
    /// It did not answer as an API should.
    #[error(transparent)]
    Broken(#[from] anyhow::Error),
}

impl ApiError {
    /// The problem's code.
    pub fn code(&self) -> &str {
        match self {
            Self::Problem(problem) => &problem.code,
            Self::Broken(_) => "",
        }
    }

    /// The problem's status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Problem(problem) => problem.status,
            Self::Broken(_) => 0,
        }
    }
}

/// A good answer, or the problem.
fn judge(reply: Reply) -> Result<Reply, ApiError> {
    if (200..300).contains(&reply.status) {
        return Ok(reply);
    }
    let media_type = reply.headers.get("content-type").and_then(|value| value.to_str().ok());
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    if media_type != Some(Problem::MEDIA_TYPE) {
        return Err(anyhow!("status {} as {media_type:?}: {text}", reply.status).into());
    }
    let problem: Problem =
        serde_json::from_str(&text).with_context(|| format!("not problem details: {text}"))?;
    if problem.status != reply.status || problem.code.is_empty() {
        return Err(anyhow!("a problem that does not fit its status {}: {text}", reply.status).into());
    }
    Err(ApiError::Problem(Box::new(problem)))
}

/// Somebody who uses the API, logged in or not.
#[derive(Debug, Clone)]
pub struct Administrator {
    /// The server.
    pub site: Site,
    /// The bearer token.
    pub token: Option<String>,
}

impl Administrator {
    /// Somebody who is not logged in.
    pub fn stranger(site: &Site) -> Self {
        Self { site: site.clone(), token: None }
    }

    /// Somebody with this token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { site: self.site.clone(), token: Some(token.to_owned()) }
    }

    /// Makes the first administrator, `root`, with the set-up code.
    pub async fn set_up(site: &Site, code: &str) -> Result<Self, ApiError> {
        let setup = Setup {
            code: code.trim().to_owned().into(),
            name: "root".parse().context("a name")?,
            password: PASSWORD.parse().context("a password")?,
        };
        let session: Session = Self::stranger(site).post(path::SETUP, &setup).await?;
        Ok(Self::stranger(site).with_token(&session.token))
    }

    /// Logs in.
    pub async fn log_in(site: &Site, name: &str, password: &str) -> Result<Self, ApiError> {
        let login = Login { name: name.parse().context("a name")?, password: password.to_owned().into() };
        let session: Session = Self::stranger(site).post(path::LOGIN, &login).await?;
        Ok(Self::stranger(site).with_token(&session.token))
    }

    /// Sends a request as it is, with the token if there is one.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        media_type: &str,
        body: Vec<u8>,
    ) -> Result<Reply, ApiError> {
        let bearer = self.token.as_ref().map(|token| format!("Bearer {token}"));
        let mut headers = vec![("content-type", media_type)];
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        judge(self.site.send(method, path, &headers, body).await?)
    }

    /// Sends JSON.
    pub async fn json(&self, method: Method, path: &str, body: &impl Serialize) -> Result<Reply, ApiError> {
        let body = serde_json::to_vec(body).context("a body")?;
        self.send(method, path, "application/json", body).await
    }

    /// `GET`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        read(self.send(Method::GET, path, "text/plain", Vec::new()).await?)
    }

    /// `POST`.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ApiError> {
        read(self.json(Method::POST, path, body).await?)
    }

    /// `PATCH`.
    pub async fn patch<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ApiError> {
        read(self.json(Method::PATCH, path, body).await?)
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> Result<(), ApiError> {
        let reply = self.send(Method::DELETE, path, "text/plain", Vec::new()).await?;
        if !matches!((reply.status, reply.body.is_empty()), (204, true) | (200, false)) {
            return Err(anyhow!("{path} was deleted with status {}", reply.status).into());
        }
        Ok(())
    }

    /// All items of a list, in pages of this size.
    pub async fn list<T: DeserializeOwned>(&self, path: &str, limit: usize) -> Result<Vec<T>, ApiError> {
        let mark = if path.contains('?') { '&' } else { '?' };
        let (mut items, mut after) = (Vec::new(), String::new());
        loop {
            let page: Page<T> = self.get(&format!("{path}{mark}limit={limit}{after}")).await?;
            if page.items.len() > limit {
                return Err(anyhow!("a page of {} items", page.items.len()).into());
            }
            items.extend(page.items);
            let Some(next) = page.next else {
                return Ok(items);
            };
            after = format!("&after={}", next.as_str());
        }
    }

    /// Makes a network.
    pub async fn network(&self, name: &str, v4: &str) -> Result<Network, ApiError> {
        let create = CreateNetwork {
            v4: Some(v4.parse().context("a range")?),
            ..CreateNetwork::named(name.parse().context("a name")?)
        };
        self.post(path::NETWORKS, &create).await
    }

    /// Makes an enrollment key for these networks, and its token.
    pub async fn key(
        &self,
        title: &str,
        networks: &[&str],
        uses: Option<u32>,
    ) -> Result<(api::Key, Token), ApiError> {
        let networks: Result<Vec<NetworkSelector>, _> = networks.iter().map(|name| name.parse()).collect();
        let create = CreateKey {
            networks: networks.context("a network")?,
            uses,
            ..CreateKey::titled(title.parse().context("a title")?)
        };
        self.create_key(&create).await
    }

    /// Makes an enrollment key, and its token.
    pub async fn create_key(&self, create: &CreateKey) -> Result<(api::Key, Token), ApiError> {
        let created: CreatedKey = self.post(path::KEYS, create).await?;
        let token = created.token.parse().context("the token of a new key")?;
        Ok((created.key, token))
    }

    /// One host.
    pub async fn host(&self, host: &str) -> Result<Host, ApiError> {
        self.get(&path::fill(path::HOST, &[host])).await
    }
}

fn read<T: DeserializeOwned>(reply: Reply) -> Result<T, ApiError> {
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    Ok(serde_json::from_str(&text).with_context(|| format!("not the expected answer: {text}"))?)
}
