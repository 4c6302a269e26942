//! A new WireGuard key: made here, on disk before the device has it, on the device before the server hears of it.
//!
//! ```text
//!  the map asks ─▶ next key on disk ─▶ device has it ─▶ the server is told ─┬─ yes ─▶ it is the key; all peers are called
//!                                                                           ├─ no ──▶ device back, next key forgotten
//!                                        nobody knows: asked again later ◀──┴─ no answer ─▶ device back
//! ```
//!
//! Not for when (`reconcile::Agent`). It keeps true that at every moment, a crash included, both keys that the server may have
//! are on disk, and that a next key is forgotten only when the server has said that it does not have it (ADR 19).

use std::time::Duration;

use reconcile::AgentEvent;
use tokio::time::timeout;
use wire::{KeyChange, Outcome, RefusalCode, WgSecret};

use super::messages::Done;
use super::{Engine, Session};
use crate::state::random;
use crate::talk::TalkError;

/// How long the server may take while the device has a key that its peers do not know.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long it may take to say which of two keys it has.
const PATIENCE_LATER: Duration = Duration::from_secs(10);
/// When it is asked that again.
const AGAIN: Duration = Duration::from_secs(5);

/// What came of telling the server a key.
#[derive(Debug)]
pub(super) struct KeyTold {
    key: WgSecret,
    answer: Answer,
}

#[derive(Debug)]
enum Answer {
    Yes,
    No(String),
    /// It may have heard or not.
    None(String),
}

/// Whether the server in use may have another key of this machine than the one that counts here.
pub(super) fn is_open(session: &Session) -> bool {
    session.identity.next.is_some() || !session.record.knows(&session.identity.wireguard.public())
}

impl Engine {
    /// Makes a key, or takes the one that was made before, and has device and server take it.
    pub(super) async fn rotate(&mut self) {
        if self.changing_key {
            return self.rotation_failed("an earlier change of keys is not over");
        }
        match self.next_key() {
            Ok(key) => {
                self.switch_device(&key).await;
                if !self.keeper.has_its_key() && self.keeper.actual().link.is_some() {
                    self.switch_back().await;
                    return self.rotation_failed("the WireGuard device did not take the new key");
                }
                self.tell_key(key, PATIENCE);
            }
            Err(error) => self.rotation_failed(&format!("{error:#}")),
        }
    }

    /// The key that is to come: on disk from now on.
    fn next_key(&mut self) -> anyhow::Result<WgSecret> {
        if let Some(next) = &self.session.identity.next {
            return Ok(next.clone());
        }
        let next = WgSecret::from_random(random()?);
        self.session.identity.next = Some(next.clone());
        self.state
            .save_identity(&self.session.identity)
            .inspect_err(|_| self.session.identity.next = None)?;
        Ok(next)
    }

    async fn switch_device(&mut self, key: &WgSecret) {
        if self.keeper.local().key != key.public() {
            self.keeper.set_key(key.clone());
            self.settle().await;
        }
    }

    /// The device has the key that counts until it is known better.
    async fn switch_back(&mut self) {
        let key = self.session.identity.wireguard.clone();
        self.switch_device(&key).await;
    }

    fn tell_key(&mut self, key: WgSecret, patience: Duration) {
        self.changing_key = true;
        self.key_at = None;
        let client = self.session.client.clone();
        let change = KeyChange::prove(self.session.record.host, &key, &self.session.record.key);
        self.tasks.spawn(async move {
            let answer = match timeout(patience, client.change_key(&change)).await {
                Ok(said) => answer_of(said),
                Err(_) => Answer::None("the server did not answer in time".to_owned()),
            };
            Done::KeyTold(KeyTold { key, answer })
        });
    }

    /// Asks the server to take the key about which it is not known whether it has it, or the one that counts: it may have
    /// been changed with another server.
    pub(super) fn settle_key(&mut self) {
        if !self.changing_key && is_open(&self.session) {
            let identity = &self.session.identity;
            let key = identity.next.as_ref().unwrap_or(&identity.wireguard).clone();
            self.tell_key(key, PATIENCE_LATER);
        }
    }

    pub(super) async fn key_told(&mut self, told: KeyTold) {
        self.changing_key = false;
        let KeyTold { key, answer } = told;
        let is_next = self.session.identity.next.as_ref() == Some(&key);
        match answer {
            Answer::Yes => {
                self.take_key(key).await;
                if is_next {
                    tracing::info!("this machine has a new WireGuard key");
                    self.agent.handle(AgentEvent::Rotated, self.now());
                }
            }
            Answer::No(why) if is_next => {
                self.switch_back().await;
                self.session.identity.next = None;
                self.keep_identity();
                self.rotation_failed(&why);
            }
            Answer::No(why) => tracing::warn!("the server did not take this machine's key: {why}"),
            Answer::None(why) => {
                self.key_at = Some(self.now() + AGAIN);
                if is_next {
                    self.switch_back().await;
                    self.rotation_failed(&why);
                }
            }
        }
    }

    /// The task that told the server broke.
    pub(super) fn key_told_nothing(&mut self) {
        if std::mem::take(&mut self.changing_key) {
            self.key_at = Some(self.now() + AGAIN);
            self.rotation_failed("the change of keys was broken off");
        }
    }

    /// The server has this key: it is the one that counts.
    async fn take_key(&mut self, key: WgSecret) {
        self.switch_device(&key).await;
        self.session.record.host_key = Some(key.public());
        if let Err(error) = self.note_servers() {
            tracing::warn!("{error:#}");
        }
        self.session.identity.wireguard = key;
        self.session.identity.next = None;
        self.keep_identity();
        // Those who have the key by now shake hands; the others do when they have it.
        self.keeper.poke_all().await;
        self.tell_outcome();
    }

    /// The server in use has the new key, and the others one that they are told is no more when they are used.
    fn note_servers(&self) -> anyhow::Result<()> {
        self.state.save_server(&self.session.record)?;
        let before = self.session.identity.wireguard.public();
        for mut other in self.state.servers()? {
            if other.name != self.session.record.name && other.host_key.is_none() {
                other.host_key = Some(before);
                self.state.save_server(&other)?;
            }
        }
        Ok(())
    }

    /// What is on disk still has both keys where this fails, and the next start asks the server again.
    fn keep_identity(&mut self) {
        if let Err(error) = self.state.save_identity(&self.session.identity) {
            tracing::error!("{error:#}");
        }
    }

    fn rotation_failed(&mut self, why: &str) {
        let error = format!("{why}; this machine keeps the key it had, and tries again by itself");
        let failure = Outcome { op: "change the WireGuard key".to_owned(), error };
        self.agent.handle(AgentEvent::RotationFailed(failure), self.now());
        self.tell_outcome();
    }
}

fn answer_of(said: Result<(), TalkError>) -> Answer {
    match said {
        Ok(()) => Answer::Yes,
        Err(error) => match error.refusal() {
            // Said of the request and not of the key.
            None | Some(RefusalCode::Busy | RefusalCode::ClockSkew | RefusalCode::Internal) => {
                Answer::None(error.to_string())
            }
            Some(
                RefusalCode::UnknownKey
                | RefusalCode::ExpiredKey
                | RefusalCode::SpentKey
                | RefusalCode::UnknownHost
                | RefusalCode::NotProved
                | RefusalCode::Invalid
                | RefusalCode::Other,
            ) => Answer::No(error.to_string()),
        },
    }
}
