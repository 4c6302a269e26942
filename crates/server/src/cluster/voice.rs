//! Servers of a database speak to each other: every other second each tells each other who it is, and in which epoch it leads.
//!
//! ```text
//!   pulse ── word ─▶ the other ─▶ keeper: a later epoch than its own?
//!     │ ◀── word ──────┘
//!     └──▶ standing: is it reached?        └──▶ keeper, the same
//! ```
//!
//! So whoever begins to lead tells the others at once, and whoever leads without knowing better is told as soon as one of the two
//! reaches the other, with or without a database. Not for deciding what follows. It keeps true that only servers with the common
//! keys are heard, and that a server counts as reached only when it answered itself, at its own address.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::post;
use reqwest::{Client, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::letters::{Letters, Purpose};
use super::standing::Sights;
use super::{Holder, Role, Running, way};
use crate::brain::now;

/// Where servers hear each other.
const PATH: &str = "/server/v1/word";
/// How often each speaks to each other.
const EVERY: Duration = Duration::from_secs(2);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// A server that is not said to run any more is spoken to for so long: it may lead, and be cut off from the database.
const FORMER: Duration = Duration::from_secs(600);
/// Servers that are spoken to.
const MOST_SERVERS: usize = 64;
/// The longest word, in bytes.
const MOST_WORD: usize = 8 * 1024;

/// Says in which epoch this server leads, if it does.
pub(crate) type Leading = Box<dyn Fn() -> Option<u64> + Send + Sync>;

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Word {
    from: Holder,
    /// The epoch in which it leads.
    epoch: Option<u64>,
}

/// Another server said that it leads.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) epoch: u64,
    /// The epoch in which this server leads.
    pub(super) own: Option<u64>,
    pub(super) leader: Holder,
}

/// What this server says to others, and hears of them.
pub(crate) struct Voice {
    me: Holder,
    letters: Arc<Letters>,
    leading: Leading,
    told: mpsc::Sender<Told>,
}

impl Voice {
    pub(super) fn new(me: Holder, letters: Arc<Letters>, leading: Leading, told: mpsc::Sender<Told>) -> Self {
        Self { me, letters, leading, told }
    }

    /// What this server has to say now, sealed.
    pub(crate) fn speak(&self) -> Result<Vec<u8>> {
        let word = Word { from: self.me.clone(), epoch: (self.leading)() };
        self.letters.seal(Purpose::Word, &serde_json::to_vec(&word)?, now())
    }

    /// Hears what another server says; the id of that server, where it was one of this database.
    pub(crate) fn hear(&self, sealed: &[u8]) -> Option<String> {
        let opened = self.letters.open(Purpose::Word, sealed, now())?;
        let Word { from: leader, epoch } = serde_json::from_slice(&opened).ok()?;
        let id = leader.id.clone();
        if let Some(epoch) = epoch.filter(|_| id != self.me.id) {
            // What finds no room is said again.
            let _full = self.told.try_send(Told { epoch, own: (self.leading)(), leader });
        }
        Some(id)
    }
}

/// A server that is spoken to.
struct Known {
    holder: Holder,
    client: Client,
    /// When it was said last that it runs.
    listed: Instant,
    is_called: bool,
}

/// Speaks to all others, again and again.
pub(crate) struct Pulse {
    voice: Arc<Voice>,
    running: watch::Receiver<Arc<[Running]>>,
    role: watch::Receiver<Role>,
    unreached: watch::Sender<BTreeSet<String>>,
    known: BTreeMap<String, Known>,
    sights: Sights<String>,
    calls: JoinSet<(String, Instant, Result<()>)>,
}

impl Pulse {
    pub(super) fn new(
        voice: Arc<Voice>,
        running: watch::Receiver<Arc<[Running]>>,
        role: watch::Receiver<Role>,
        unreached: watch::Sender<BTreeSet<String>>,
    ) -> Self {
        let (known, sights, calls) = (BTreeMap::new(), Sights::default(), JoinSet::new());
        Self { voice, running, role, unreached, known, sights, calls }
    }

    /// Works for as long as the server runs.
    pub(crate) async fn run(mut self) {
        let mut clock = interval(EVERY);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = clock.tick() => self.call_all(),
                // Who begins to lead says so at once.
                changed = self.role.changed() => match changed {
                    Ok(()) => self.call_all(),
                    Err(_) => return,
                },
                changed = self.running.changed() => match changed {
                    Ok(()) => self.meet(),
                    Err(_) => return,
                },
                Some(called) = self.calls.join_next() => match called {
                    Ok((id, asked, outcome)) => self.called(id, asked, outcome),
                    Err(error) => tracing::error!(%error, "speaking to another server broke"),
                },
            }
        }
    }

    /// Gets to know who runs now.
    fn meet(&mut self) {
        let running = Arc::clone(&self.running.borrow_and_update());
        let now = Instant::now();
        for Running { holder, .. } in running.iter().filter(|running| running.holder.id != self.voice.me.id) {
            if let Some(known) = self.known.get_mut(&holder.id).filter(|known| known.holder == *holder) {
                known.listed = now;
                continue;
            }
            match way::client(holder) {
                Ok(client) => {
                    let known = Known { holder: holder.clone(), client, listed: now, is_called: false };
                    self.known.insert(holder.id.clone(), known);
                }
                Err(error) => tracing::error!(server = holder.url, "it cannot be spoken to: {error:#}"),
            }
        }
        let runs = |id: &String| running.iter().any(|running| running.holder.id == *id);
        self.known.retain(|id, known| runs(id) || known.listed + FORMER > now);
        self.sights.keep(runs);
    }

    fn call_all(&mut self) {
        for (id, known) in self.known.iter_mut().filter(|(_, known)| !known.is_called).take(MOST_SERVERS) {
            known.is_called = true;
            let (id, client, url) = (id.clone(), known.client.clone(), known.holder.url.clone());
            let (voice, asked) = (Arc::clone(&self.voice), Instant::now());
            self.calls.spawn(async move {
                let outcome = timeout(PATIENCE, call(&voice, &client, &url, &id)).await;
                (id, asked, outcome.unwrap_or_else(|late| Err(late.into())))
            });
        }
        let unreached = self.sights.unreached(Instant::now());
        let count = u32::try_from(unreached.len()).unwrap_or(u32::MAX);
        metrics::gauge!("netloom_servers_unreached").set(f64::from(count));
        self.unreached.send_if_modified(|before| {
            let differs = *before != unreached;
            *before = unreached;
            differs
        });
    }

    fn called(&mut self, id: String, asked: Instant, outcome: Result<()>) {
        let Some(known) = self.known.get_mut(&id) else { return };
        known.is_called = false;
        if let Err(error) = &outcome {
            tracing::debug!(server = known.holder.url, "it is not reached: {error:#}");
        }
        if self.running.borrow().iter().any(|running| running.holder.id == id) {
            self.sights.tried(&id, outcome.is_ok(), asked);
        }
    }
}

async fn call(voice: &Voice, client: &Client, url: &str, id: &str) -> Result<()> {
    let answer = client.post(format!("{url}{PATH}")).body(voice.speak()?).send().await?;
    ensure!(answer.status().is_success(), "it answers {}", answer.status());
    let from = voice.hear(&bounded(answer).await?).context("no server of this database answers there")?;
    ensure!(from == id, "another server answers there");
    Ok(())
}

async fn bounded(mut answer: Response) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(piece) = answer.chunk().await? {
        ensure!(bytes.len() + piece.len() <= MOST_WORD, "its answer is too long");
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// Where this server is spoken to.
pub(crate) fn router(voice: Arc<Voice>) -> Router {
    Router::new().route(PATH, post(hear)).layer(DefaultBodyLimit::max(MOST_WORD)).with_state(voice)
}

/// Answers those who may speak here, and nobody else.
async fn hear(State(voice): State<Arc<Voice>>, body: Bytes) -> Result<Vec<u8>, StatusCode> {
    voice.hear(&body).ok_or(StatusCode::UNAUTHORIZED)?;
    voice.speak().map_err(|error| {
        tracing::error!("another server is not answered: {error:#}");
        StatusCode::INTERNAL_SERVER_ERROR
    })
}

#[cfg(test)]
mod tests {
    use wire::SealingSecret;

    use super::*;

    fn voice(id: &str, key: u8, epoch: Option<u64>) -> (Voice, mpsc::Receiver<Told>) {
        let text = String::new;
        let me =
            Holder { id: id.to_owned(), run: text(), name: text(), url: text(), pin: None, version: text() };
        let letters = Arc::new(Letters::new(&SealingSecret::from_random([key; 32])));
        let (told, heard) = mpsc::channel(1);
        (Voice::new(me, letters, Box::new(move || epoch), told), heard)
    }

    #[test]
    fn what_a_leader_says_is_heard_by_servers_with_the_same_keys_and_not_by_itself() {
        let (one, mut to_one) = voice("1", 7, Some(4));
        let (two, mut to_two) = voice("2", 7, Some(3));
        let (stranger, mut to_stranger) = voice("3", 8, None);
        let word = one.speak().unwrap();
        assert_eq!(two.hear(&word).as_deref(), Some("1"));
        let Told { epoch, own, leader } = to_two.try_recv().unwrap();
        assert_eq!((epoch, own, leader.id.as_str()), (4, Some(3), "1"));
        assert_eq!(stranger.hear(&word), None);
        assert_eq!(one.hear(&word).as_deref(), Some("1"));
        assert!(to_stranger.try_recv().is_err() && to_one.try_recv().is_err());
    }
}
