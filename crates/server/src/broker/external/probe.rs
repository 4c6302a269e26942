//! One try at a broker that somebody else runs, for checks: whether the server could work with it.
//!
//! Not for keeping accounts, and it changes none. It keeps true that what only a first start of the server makes is not told as
//! something that is wrong.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::accounts::files::Files;
use super::accounts::{dynsec, heard};
use super::connection::{no_answer, own_name};
use super::talk::{Letter, PATIENCE, Talk, Trouble, send};
use super::{Target, target};
use crate::broker::Limits;
use crate::broker::settings::{AccountSettings, ExternalSettings};

/// How far a broker can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Usable {
    /// As it is.
    Now,
    /// Once the server runs: why not before.
    Later(String),
}

/// Tries once to connect, to be answered about accounts, and to hear hosts, as the server would.
pub async fn probe(settings: ExternalSettings) -> Result<()> {
    let (address, accounts) = (settings.address.text.clone(), settings.accounts.clone());
    let tried = attempt(&target(settings, &Limits::default())?, &accounts).await;
    tried.with_context(|| format!("the message broker at {address}"))
}

/// The same for a server that may never have run. `is_up`: whether it runs now.
pub async fn examine(settings: ExternalSettings, is_up: bool) -> Result<Usable> {
    let address = settings.address.text.clone();
    let (accounts, files) = (settings.accounts.clone(), Files::of(&settings));
    let tried = attempt(&target(settings, &Limits::default())?, &accounts).await;
    let is_refused = matches!(tried, Err(Trouble::NotAuthorised | Trouble::NoRights(_)));
    if let Some(files) = &files {
        let path = files.path();
        if is_refused && !files.knows_us() {
            return Ok(Usable::Later(format!(
                "it does not let us in yet, and our account does not stand in {}: the server writes it when it leads",
                path.display()
            )));
        }
        if is_refused {
            return tried.map(|()| Usable::Now).with_context(|| {
                format!(
                    "the message broker at {address} does not go by {}, in which our account stands; see that it reads this \
                     file, and reads it again when it changes (`broker_reload`)",
                    path.display()
                )
            });
        }
        ensure!(
            tried.is_err() || files.have_a_reader()?,
            "the message broker at {address} answers, but there is no process by `broker_reload`: nobody would have it read new \
             accounts"
        );
    }
    if is_refused && !is_up && matches!(accounts, AccountSettings::Http(_)) {
        let why = "it asks this server who may come, which does not run: check again when it does";
        return Ok(Usable::Later(why.to_owned()));
    }
    tried.map(|()| Usable::Now).with_context(|| format!("the message broker at {address}"))
}

async fn attempt(target: &Target, accounts: &AccountSettings) -> Result<(), Trouble> {
    let mut talk = Talk::open(target).await?;
    let heard = match accounts {
        // The right to hear hosts is given when a server first runs.
        AccountSettings::Dynsec => ask_plugin(&mut talk, &target.user).await,
        AccountSettings::MosquittoFiles(_)
        | AccountSettings::NatsFile(_)
        | AccountSettings::Http(_)
        | AccountSettings::None => talk.subscribe(&heard()).await,
    };
    talk.close().await;
    heard
}

/// A broker without the plugin takes the question like any other message, and nobody answers.
async fn ask_plugin(talk: &mut Talk, user: &str) -> Result<(), Trouble> {
    talk.subscribe(&[dynsec::ANSWERS.to_owned()]).await?;
    let name = own_name()?;
    let question = dynsec::marked(json!({ "command": "getClient", "username": user }), &name);
    let question = json!({ "commands": [question] });
    let payload = Bytes::from(question.to_string().into_bytes());
    send(&talk.sender(), Letter { topic: dynsec::CONTROL.to_owned(), payload }).await;
    let answer = async {
        loop {
            let message = talk.message().await?;
            // All who listen hear what others are answered.
            if message.topic == dynsec::ANSWERS && bears(&message.payload, &name) {
                return Ok(message.payload);
            }
        }
    };
    let answer = timeout(PATIENCE, answer).await;
    let answer = answer.map_err(|_late| no_answer())??;
    match refusal(&answer) {
        None => Ok(()),
        Some(why) => Err(Trouble::Accounts(format!(
            "Mosquitto's dynamic security plugin does not let us keep accounts ({why}); give the user `{user}` the role `admin` there"
        ))),
    }
}

/// Whether this is the answer to what bore this name.
fn bears(answer: &[u8], name: &str) -> bool {
    let answer = serde_json::from_slice::<Value>(answer).unwrap_or_default();
    answer.pointer("/responses/0/correlationData").and_then(Value::as_str) == Some(name)
}

/// Why the plugin does not do what it was asked, if it does not.
fn refusal(answer: &[u8]) -> Option<String> {
    let Ok(answer) = serde_json::from_slice::<Value>(answer) else {
        return Some("its answer cannot be read".to_owned());
    };
    let first = answer.pointer("/responses/0");
    match first.map(|first| first.get("error")) {
        None => Some("its answer is empty".to_owned()),
        Some(None) => None,
        Some(Some(error)) => Some(error.as_str().unwrap_or("it does not say why").to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_ours_that_bears_our_name() {
        let answer = br#"{"responses":[{"command":"getClient","data":{},"correlationData":"a"}]}"#;
        assert!(bears(answer, "a") && !bears(answer, "b"));
        assert!(!bears(br#"{"responses":[{"command":"getClient"}]}"#, "a") && !bears(b"x", "a"));
    }

    #[test]
    fn an_answer_of_the_plugin_is_a_refusal_or_none() {
        let refusal = |answer: &str| refusal(answer.as_bytes());
        assert_eq!(refusal(r#"{"responses":[{"command":"getClient","data":{}}]}"#), None);
        let why = refusal(r#"{"responses":[{"command":"getClient","error":"Client not found"}]}"#);
        assert_eq!(why.as_deref(), Some("Client not found"));
        assert!(refusal(r#"{"responses":[]}"#).unwrap().contains("empty"));
        assert!(refusal("x").unwrap().contains("cannot be read"));
    }
}
