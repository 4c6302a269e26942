//! A new WireGuard key: made here, on disk before the device has it, on the device before the server hears of it.
//!
//! ```text
//!  the map asks ─▶ the server answers ─▶ next key on disk ─▶ device has it ─▶ the server is told ─┬─ yes ─▶ it is the key
//!                        │ no                                                                     ├─ no ──▶ device back, forgotten
//!                        ▼                                       device back, still waiting ◀─────┴─ a second without an answer
//!                  nothing is done                                  └─ yes: device has it again; no: forgotten; never: asked again
//! ```
//!
//! Between the device's switch and the peers' all that this host sends waits (ADR 19): so the server is first told the key it
//! has, which shows that it takes keys at the moment and leaves a connection that stands.
//!
//! Not for when (`reconcile::Agent`). It keeps true that at every moment, a crash included, both keys that the server may have
//! are on disk, and that a next key is forgotten only when the server has said that it does not have it.

use std::time::Duration;

use reconcile::AgentEvent;
use tokio::time::timeout;
use wire::{KeyChange, Outcome, RefusalCode, WgSecret};

use super::messages::Done;
use super::{Engine, Session};
use crate::state::random;
use crate::talk::TalkError;

/// How long the device keeps a key that its peers may not know. WireGuard holds back 128 packets for a peer and not more.
const HOLD: Duration = Duration::from_secs(1);
/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// When it is told again which key the device has.
const AGAIN: Duration = Duration::from_secs(5);

/// Why the server is told a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It has this one: to see whether it answers.
    Probe,
    /// This one is to be the key, and the device has it for a while.
    Change,
    /// It may have another one than the device, and is to have the device's.
    Agree,
}

/// What came of telling the server a key.
#[derive(Debug)]
pub(super) struct KeyTold {
    key: WgSecret,
    purpose: Purpose,
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
    /// Makes a key and has device and server take it, if the server is there.
    pub(super) fn rotate(&mut self) {
        if self.telling_key.is_some() || is_open(&self.session) {
            return self.rotation_failed("an earlier change of keys is not over");
        }
        self.tell_key(self.session.identity.wireguard.clone(), Purpose::Probe);
    }

    /// The server is there.
    async fn change_key(&mut self) {
        let next = match self.make_key() {
            Ok(next) => next,
            Err(error) => return self.rotation_failed(&format!("{error:#}")),
        };
        self.switch_device(&next).await;
        if !self.keeper.has_its_key() && self.keeper.actual().link.is_some() {
            self.forget_next().await;
            return self.rotation_failed("the WireGuard device did not take the new key");
        }
        self.key_at = Some(self.now() + HOLD);
        self.tell_key(next, Purpose::Change);
    }

    /// The key that is to come: on disk from now on.
    fn make_key(&mut self) -> anyhow::Result<WgSecret> {
        let next = WgSecret::from_random(random()?);
        self.session.identity.next = Some(next.clone());
        self.state
            .save_identity(&self.session.identity)
            .inspect_err(|_| self.session.identity.next = None)?;
        Ok(next)
    }

    /// Whether the device had another key.
    async fn switch_device(&mut self, key: &WgSecret) -> bool {
        let switches = self.keeper.local().key != key.public();
        if switches {
            self.keeper.set_key(key.clone());
            self.settle().await;
        }
        switches
    }

    /// The device has the key that counts until it is known better. Nobody but this host knows that there is reason to shake
    /// hands.
    async fn switch_back(&mut self) {
        let key = self.session.identity.wireguard.clone();
        if self.switch_device(&key).await {
            self.keeper.poke_all().await;
        }
    }

    /// The server does not have the next key, and never will.
    async fn forget_next(&mut self) {
        self.switch_back().await;
        self.session.identity.next = None;
        self.keep_identity();
    }

    fn tell_key(&mut self, key: WgSecret, purpose: Purpose) {
        self.telling_key = Some(purpose);
        let client = self.session.client.clone();
        let change = KeyChange::prove(self.session.record.host, &key, &self.session.record.key);
        self.tasks.spawn(async move {
            let answer = match timeout(PATIENCE, client.change_key(&change)).await {
                Ok(said) => answer_of(said),
                Err(_) => Answer::None("the server did not answer in time".to_owned()),
            };
            Done::KeyTold(KeyTold { key, purpose, answer })
        });
    }

    /// It is time: a device that was lent a key has its own again, and a server that may have another one is told.
    pub(super) async fn settle_key(&mut self) {
        match self.telling_key {
            Some(Purpose::Change) => self.switch_back().await,
            Some(Purpose::Probe | Purpose::Agree) => {}
            None if is_open(&self.session) => {
                let identity = &self.session.identity;
                let next = identity.next.as_ref().filter(|next| next.public() == self.keeper.local().key);
                let key = next.unwrap_or(&identity.wireguard).clone();
                self.tell_key(key, Purpose::Agree);
            }
            None => {}
        }
    }

    pub(super) async fn key_told(&mut self, told: KeyTold) {
        self.telling_key = None;
        self.key_at = None;
        let KeyTold { key, purpose, answer } = told;
        let is_next = self.session.identity.next.as_ref() == Some(&key);
        match (purpose, answer) {
            (Purpose::Probe, Answer::Yes) => self.change_key().await,
            (Purpose::Probe, Answer::No(why) | Answer::None(why)) => self.rotation_failed(&why),
            (Purpose::Change | Purpose::Agree, Answer::Yes) => {
                self.take_key(key).await;
                if is_next {
                    tracing::info!("this machine has a new WireGuard key");
                    self.agent.handle(AgentEvent::Rotated, self.now());
                }
            }
            (Purpose::Change | Purpose::Agree, Answer::No(why)) if is_next => {
                self.forget_next().await;
                self.rotation_failed(&why);
            }
            (Purpose::Change | Purpose::Agree, Answer::No(why)) => {
                tracing::warn!("the server did not take this machine's key: {why}");
            }
            (Purpose::Change | Purpose::Agree, Answer::None(why)) => {
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
        if self.telling_key.take().is_some() {
            self.key_at = Some(self.now());
            self.rotation_failed("the change of keys was broken off");
        }
    }

    /// The loop ends: a device that was lent a key is not left with it.
    pub(super) async fn end_change(&mut self) {
        let until = tokio::time::Instant::now() + HOLD;
        while self.telling_key == Some(Purpose::Change) {
            match tokio::time::timeout_at(until, self.tasks.join_next()).await {
                Ok(Some(Ok(Done::KeyTold(told)))) => self.key_told(told).await,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return self.switch_back().await,
            }
        }
    }

    /// The server has this key: it is the one that counts. Peers shake hands as soon as they have it; where the device has
    /// it only now, they may have tried in vain.
    async fn take_key(&mut self, key: WgSecret) {
        let is_late = self.switch_device(&key).await;
        self.session.record.host_key = Some(key.public());
        if let Err(error) = self.note_servers() {
            tracing::warn!("{error:#}");
        }
        self.session.identity.wireguard = key;
        self.session.identity.next = None;
        self.keep_identity();
        if is_late {
            self.keeper.poke_all().await;
        }
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
