//! One question to a server's API, and what can be known afterwards.
//!
//! It keeps true that a change counts as refused only where the server said so or never heard of it.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use crate::fleet::{Administrator, ApiError};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(15);
/// How the one refusal is told from others that does not say that nothing was done.
pub(super) const UNSURE: &str = "it is not known whether";

/// What a server said to a change.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    /// It is done, and this is the answer.
    Done(Value),
    /// It is not done.
    Refused {
        /// The status; 0 if it never heard of it.
        status: u16,
        /// What it said.
        why: String,
    },
    /// Nobody knows.
    Unknown(String),
}

/// A change, as the API is asked for it.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Value,
}

impl Request {
    /// Asks.
    pub(super) async fn send(&self, administrator: &Administrator) -> Outcome {
        let asked = async {
            match self.method {
                Method::DELETE => {
                    administrator.send(Method::DELETE, &self.path, "text/plain", Vec::new()).await
                }
                _ => administrator.json(self.method.clone(), &self.path, &self.body).await,
            }
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(reply)) => Outcome::Done(serde_json::from_slice(&reply.body).unwrap_or_default()),
            Ok(Err(error)) => outcome_of(&error),
            Err(_) => Outcome::Unknown(format!("no answer within {PATIENCE:?}")),
        }
    }
}

fn outcome_of(error: &ApiError) -> Outcome {
    match error {
        ApiError::Problem(problem) if problem.detail.contains(UNSURE) || problem.status == 500 => {
            Outcome::Unknown(problem.detail.clone())
        }
        ApiError::Problem(problem) => {
            Outcome::Refused { status: problem.status, why: format!("{}: {}", problem.code, problem.detail) }
        }
        ApiError::Broken(broken) => {
            let unsent = broken.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_connect);
            let why = format!("{broken:#}");
            if unsent { Outcome::Refused { status: 0, why } } else { Outcome::Unknown(why) }
        }
    }
}
