//! The administrators' API as any program speaks it: `curl` with a token, JSON in and out.
//!
//! Not for our own types: what is sent and read here is what the documents promise. Keeps true that a request which is
//! refused is told apart from one that failed.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::administrator::Administrator;
use super::server::Server;
use crate::oracle::Answers;

const HEADER: &str = "/run/desk-header";

/// A program's access to the API, on the server's machine.
#[derive(Debug, Clone, Copy)]
pub struct Desk<'a> {
    server: &'a Server,
    network: &'a str,
}

impl<'a> Desk<'a> {
    pub(super) fn open(
        administrator: &Administrator<'_>,
        server: &'a Server,
        network: &'a str,
    ) -> Result<Self> {
        if !server.machine().exists(HEADER)? {
            let token: api::CreatedToken = administrator.json(&["token", "create", "desk"])?;
            server.machine().write(HEADER, &format!("Authorization: Bearer {}\n", token.secret))?;
        }
        Ok(Self { server, network })
    }

    /// The same about another network.
    #[must_use]
    pub const fn about(self, network: &'a str) -> Self {
        Self { network, ..self }
    }

    /// What is at this place below the network; empty: the network itself.
    pub fn get(&self, place: &str) -> Result<Value> {
        self.send("GET", place, &Value::Null)
    }

    /// All items of a list below the network.
    pub fn list(&self, place: &str) -> Result<Value> {
        items(&self.get(&format!("{place}?limit=1000"))?)
    }

    /// Makes something below the network.
    pub fn post(&self, place: &str, body: &Value) -> Result<Value> {
        self.send("POST", place, body)
    }

    /// Changes something below the network.
    pub fn patch(&self, place: &str, body: &Value) -> Result<Value> {
        self.send("PATCH", place, body)
    }

    /// Deletes something below the network.
    pub fn delete(&self, place: &str) -> Result<Value> {
        self.send("DELETE", place, &Value::Null)
    }

    /// Asks for something that must be refused; why it was.
    pub fn refused(&self, method: &str, place: &str, body: &Value) -> Result<String> {
        let (status, answer) = self.ask(method, &self.below(place), body)?;
        ensure!((400..500).contains(&status), "{method} {place} was answered with {status}: {answer}");
        Ok(answer["detail"].as_str().with_context(|| format!("no reason was given: {answer}"))?.to_owned())
    }

    /// Any request, with the whole path.
    pub fn request(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let (status, answer) = self.ask(method, path, body)?;
        ensure!(
            (200..300).contains(&status),
            "{method} {path} with {body} was answered with {status}: {answer}"
        );
        Ok(answer)
    }

    /// What an evaluator of policies needs to know.
    pub fn answers(&self) -> Result<Answers> {
        Ok(Answers {
            network: self.get("")?,
            nodes: self.list("nodes")?,
            clients: self.list("clients")?,
            egress: self.list("egress")?,
            policies: self.list("policies")?,
            users: items(&self.request("GET", "/api/v1/users?limit=1000", &Value::Null)?)?,
        })
    }

    /// A node's duties and choices.
    pub fn node(&self, host: &str, change: &Value) -> Result<Value> {
        self.patch(&format!("nodes/{host}"), change)
    }

    fn send(&self, method: &str, place: &str, body: &Value) -> Result<Value> {
        self.request(method, &self.below(place), body)
    }

    fn below(&self, place: &str) -> String {
        let slash = if place.is_empty() || place.starts_with('?') { "" } else { "/" };
        format!("/api/v1/networks/{}{slash}{place}", self.network)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<(u16, Value)> {
        let machine = self.server.machine();
        let mut command = machine.command("curl")?;
        command.args(["-sS", "--insecure", "--max-time", "30", "-X", method, "-w", "\n%{http_code}"]);
        command.args(["-H", &format!("@{HEADER}"), "-H", "Content-Type: application/json"]);
        if !body.is_null() {
            command.args(["--data-raw", &body.to_string()]);
        }
        command.arg(format!("{}{}", self.server.url(), path.replace(' ', "%20")));
        let said = machine.finish(&mut command, std::time::Duration::from_secs(40))?.success()?.stdout;
        let Some((answer, status)) = said.trim_end().rsplit_once('\n') else {
            bail!("curl told no status: {said}");
        };
        let status = status.parse().context("curl's status")?;
        let answer = if answer.trim().is_empty() {
            json!(null)
        } else {
            serde_json::from_str(answer).unwrap_or_else(|_| json!(answer))
        };
        Ok((status, answer))
    }
}

fn items(page: &Value) -> Result<Value> {
    ensure!(page["next"].is_null(), "the list has more pages");
    let items = page.get("items").unwrap_or(page);
    ensure!(items.is_array(), "this is no list: {page}");
    Ok(items.clone())
}
