//! `netloom-server check`: looks at everything that a server needs before it is started, or while it runs, and says what is
//! wrong and what to do.
//!
//! Not for mending: nothing is changed, made or migrated. It keeps true that one thing that is wrong hides no other.

mod broker;
mod certificate;
mod database;
mod files;
mod names;
mod ports;
mod urls;

use std::fmt;

use serde::Serialize;

use crate::settings::Settings;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should be.
    Good,
    /// It works, but hardly as it is meant.
    Doubtful,
    /// The server cannot work like this.
    Wrong,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Good => "good",
            Self::Doubtful => "doubtful",
            Self::Wrong => "wrong",
        })
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub subject: &'static str,
    /// How it is.
    pub state: State,
    /// What was found and, where it is not good, what to do.
    pub detail: String,
}

impl Finding {
    fn good(subject: &'static str, detail: impl Into<String>) -> Self {
        Self { subject, state: State::Good, detail: detail.into() }
    }

    fn doubtful(subject: &'static str, detail: impl Into<String>) -> Self {
        Self { subject, state: State::Doubtful, detail: detail.into() }
    }

    fn wrong(subject: &'static str, detail: impl Into<String>) -> Self {
        Self { subject, state: State::Wrong, detail: detail.into() }
    }

    /// Good, or wrong for this reason.
    fn of(subject: &'static str, result: anyhow::Result<String>) -> Self {
        match result {
            Ok(detail) => Self::good(subject, detail),
            Err(error) => Self::wrong(subject, format!("{error:#}")),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<9} {:<12} {}", self.state, self.subject, self.detail)
    }
}

/// Looks at everything that the settings name.
pub async fn check(settings: &Settings) -> Vec<Finding> {
    let is_up = ports::is_taken(settings.listen);
    let mut findings = files::check(settings);
    findings.extend(certificate::check(settings).await);
    findings.extend(ports::check(settings));
    findings.extend(database::check(settings).await);
    findings.extend(broker::check(settings, is_up).await);
    findings.extend(urls::check(settings, is_up).await);
    findings.extend(names::check(settings).await);
    findings
}
