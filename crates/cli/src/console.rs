//! What a command works with: the terminal, the environment, what holds for every command, and the way to a server.

use anyhow::Context as _;
use api::{AccessChange, Secret};
use model::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tls::Trust;

use crate::arguments::Global;
use crate::client::Client;
use crate::connection::Connection;
use crate::contexts::Contexts;
use crate::environment::Environment;
use crate::failure::Failure;
use crate::render::View;
use crate::terminal::Terminal;
use crate::trust::{Acceptance, meet};

const MOST_SECRET: usize = 4096;

/// What a command works with.
pub struct Console {
    /// Where it writes and whom it asks.
    pub(crate) terminal: Terminal,
    /// What the process was given from outside.
    pub(crate) environment: Environment,
    /// What holds for every command.
    pub(crate) global: Global,
}

/// What an answer means.
pub(crate) fn meaning<T: DeserializeOwned>(answer: &Value) -> Result<T, Failure> {
    T::deserialize(answer).map_err(|error| Failure::Answer(error.to_string()))
}

/// A dry run whose change would be refused fails as the change would.
pub(crate) fn refuse(tried: AccessChange) -> Result<(), Failure> {
    tried.refused.map_or(Ok(()), |problem| Err(Failure::Refused(problem)))
}

/// A server that was met, and what is known of it.
pub(crate) struct Met {
    pub(crate) connection: Connection,
    pub(crate) trust: Trust,
    pub(crate) client: Client,
}

impl Console {
    /// A console of these.
    pub fn new(terminal: Terminal, environment: Environment, global: Global) -> Self {
        Self { terminal, environment, global }
    }

    /// The moment.
    pub(crate) fn now(&self) -> Timestamp {
        self.environment.now()
    }

    /// From when, and for what, answers are rendered.
    pub(crate) fn view(&self) -> View {
        View { now: self.now(), width: self.terminal.width() }
    }

    /// The contexts file.
    pub(crate) fn contexts(&self) -> Result<Contexts, Failure> {
        Contexts::load(self.environment.contexts.as_deref())
    }

    /// What arguments, environment and contexts file say.
    pub(crate) fn connection(&self) -> Result<Connection, Failure> {
        Connection::choose(&self.global, &self.environment, &self.contexts()?)
    }

    /// A client of the chosen server, logged in.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let connection = self.connection()?;
        let client = Client::new(&connection, connection.trust.as_ref().unwrap_or(&Trust::System))?;
        if !client.has_token() {
            let Connection { server, context, .. } = connection;
            return Err(Failure::NotLoggedIn { server, context });
        }
        Ok(client)
    }

    /// A client of the chosen server, which may be new, without a log-in.
    pub(crate) async fn meet(&mut self, acceptance: Acceptance) -> Result<Met, Failure> {
        let mut connection = self.connection()?;
        connection.token = None;
        let trust = match connection.trust.clone() {
            Some(trust) => trust,
            None => meet(&connection.server, acceptance, &mut self.terminal).await?,
        };
        let client = Client::new(&connection, &trust)?;
        Ok(Met { connection, trust, client })
    }

    /// Prints an answer: as it came with `--json`, else as `text` makes it of what it means.
    pub(crate) fn show<T: DeserializeOwned>(
        &mut self,
        answer: &Value,
        text: impl FnOnce(&T, &View) -> String,
    ) -> Result<(), Failure> {
        if self.global.json {
            return self.show_json(answer);
        }
        let meaning: T = meaning(answer)?;
        let view = self.view();
        self.terminal.print(&text(&meaning, &view))
    }

    /// Prints what a dry run answered, or the thing that was changed.
    pub(crate) fn show_written<T: DeserializeOwned>(
        &mut self,
        answer: &Value,
        dry_run: bool,
        text: impl FnOnce(&T, &View) -> String,
    ) -> Result<(), Failure> {
        if dry_run { self.show_tried(answer) } else { self.show(answer, text) }
    }

    /// Prints what a dry run answered. One whose change would be refused fails as the change would.
    pub(crate) fn show_tried(&mut self, answer: &Value) -> Result<(), Failure> {
        self.show(answer, crate::command::policy::changes)?;
        refuse(meaning::<AccessChange>(answer)?)
    }

    /// Prints JSON.
    pub(crate) fn show_json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).context("the answer could not be written as JSON")?;
        self.terminal.print(&text)
    }

    /// Says that something was done: with `--json` by the answer, else in words.
    pub(crate) fn done(&mut self, answer: &Value, words: &str) -> Result<(), Failure> {
        if self.global.json {
            return self.show_json(answer);
        }
        self.terminal.print(&crate::render::printable(words))
    }

    /// Makes sure that something is meant: `what` is an order, such as ``delete network `home` ``.
    pub(crate) fn confirm(&mut self, what: &str) -> Result<(), Failure> {
        if self.global.yes {
            return Ok(());
        }
        if !self.terminal.interactive() {
            return Err(Failure::Usage(format!("to {what}, give --yes: nobody can be asked here")));
        }
        if !self.terminal.confirmed(&format!("Really {what}?"))? {
            return Err(Failure::Local(anyhow::anyhow!("nothing was changed")));
        }
        Ok(())
    }

    /// A password that exists: from a file, from standard input (`-`), or asked for.
    pub(crate) fn password(&mut self, file: Option<&str>, question: &str) -> Result<Secret, Failure> {
        if let Some(file) = file {
            return self.secret_file(file);
        }
        if !self.terminal.interactive() {
            return Err(Failure::Usage(
                "nobody can be asked for the password; give it with --password-file FILE, or - for standard input".to_owned(),
            ));
        }
        self.terminal.secret(&format!("{question}: "))
    }

    /// A new password, asked for twice where it is asked for.
    pub(crate) fn new_password(
        &mut self,
        file: Option<&str>,
        question: &str,
    ) -> Result<api::Password, Failure> {
        let secret = self.password(file, question)?;
        let password =
            secret.expose().parse().map_err(|e: api::PasswordError| Failure::Usage(e.to_string()))?;
        if file.is_none() && self.terminal.secret("Once more: ")? != secret {
            return Err(Failure::Usage("the two passwords differ; nothing was changed".to_owned()));
        }
        Ok(password)
    }

    /// The first line of a file, or of standard input (`-`).
    pub(crate) fn secret_file(&mut self, file: &str) -> Result<Secret, Failure> {
        let text = self.file(file)?;
        let line = text.lines().next().unwrap_or_default();
        if line.is_empty() || line.len() > MOST_SECRET {
            return Err(Failure::Usage(format!(
                "the first line of {file} is empty or too long for a secret"
            )));
        }
        Ok(line.to_owned().into())
    }

    /// A small file, or standard input (`-`).
    pub(crate) fn file(&mut self, file: &str) -> Result<String, Failure> {
        if file == "-" {
            return self.terminal.rest();
        }
        Ok(std::fs::read_to_string(file).with_context(|| format!("the file {file} cannot be read"))?)
    }
}
