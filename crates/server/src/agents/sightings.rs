//! What the rendezvous of a server sees and hears that follows: carried to the one that leads, which owns inventory.
//!
//! Not for looking at it. It keeps true that the newest sighting of each host at each door arrives when there is a leader again,
//! and that a copy of an older letter moves nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use control::Door;
use model::{Endpoint, HostId, WgPublicKey};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::{interval, timeout};
use wire::RefusalCode;

use super::{Agents, Refused};
use crate::brain::{Brain, Hearsay, Notice, Sighting, now};
use crate::cluster::{Letters, Purpose, Role, Way};

/// Where servers tell each other.
pub(super) const PATH: &str = "/server/v1/seen";

/// Sightings, and hosts that are heard, in one letter; it stays well below what a request may have.
const MOST: usize = 256;
/// Hosts times doors for which sightings wait while nobody leads. Beyond, they come again with the next handshake.
const MOST_WAITING: usize = 65_536;
/// Servers of which it is remembered what was heard last; beyond, all are forgotten, and letters' age alone counts.
const MOST_SERVERS: usize = 256;
/// How often what waits is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long the leader may take.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug, Serialize, Deserialize)]
struct Letter {
    /// The run of the server that writes.
    from: String,
    /// Grows from letter to letter.
    number: u64,
    seen: Vec<(WgPublicKey, Door, Endpoint)>,
    /// Hosts that are still where they were.
    #[serde(default)]
    heard: Vec<HostId>,
}

/// What waits to be carried.
#[derive(Debug, Default)]
struct Waiting {
    seen: BTreeMap<(WgPublicKey, Door), Endpoint>,
    heard: BTreeSet<HostId>,
}

/// As much of it as fits a letter.
#[derive(Debug, Clone)]
struct Load {
    seen: Vec<(WgPublicKey, Door, Endpoint)>,
    heard: Vec<HostId>,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.seen.is_empty() && self.heard.is_empty()
    }

    fn put(&mut self, said: Hearsay) {
        match said {
            Hearsay::Seen(Sighting { key, door, endpoint }) => {
                if self.seen.len() < MOST_WAITING || self.seen.contains_key(&(key, door)) {
                    self.seen.insert((key, door), endpoint);
                }
            }
            Hearsay::Heard(host) => {
                if self.heard.len() < MOST_WAITING {
                    self.heard.insert(host);
                }
            }
        }
    }

    fn load(&self) -> Load {
        let seen = self.seen.iter().take(MOST).map(|((key, door), at)| (*key, *door, *at));
        Load { seen: seen.collect(), heard: self.heard.iter().take(MOST).copied().collect() }
    }

    fn unload(&mut self, carried: &Load) {
        carried.seen.iter().for_each(|(key, door, _)| {
            self.seen.remove(&(*key, *door));
        });
        carried.heard.iter().for_each(|host| {
            self.heard.remove(host);
        });
    }
}

async fn tell(brain: &Brain, Load { seen, heard }: Load) {
    for (key, door, endpoint) in seen {
        brain.notice(Notice::Seen(Sighting { key, door, endpoint })).await;
    }
    for host in heard {
        brain.notice(Notice::Heard { host }).await;
    }
}

/// What was heard last of each server.
#[derive(Debug, Default)]
pub(super) struct Heard(Mutex<HashMap<String, u64>>);

impl Heard {
    /// Takes a letter, unless it was taken before.
    fn take(&self, from: &str, number: u64) -> bool {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() >= MOST_SERVERS && !heard.contains_key(from) {
            heard.clear();
        }
        let last = heard.entry(from.to_owned()).or_default();
        let newer = number > *last;
        *last = number.max(*last);
        newer
    }
}

/// Another server's rendezvous saw hosts.
pub(super) async fn seen(State(agents): State<Arc<Agents>>, body: Bytes) -> Result<StatusCode, Refused> {
    let letter = agents.letters.open(Purpose::Seen, &body, now());
    let letter = letter.and_then(|letter| serde_json::from_slice::<Letter>(&letter).ok());
    let Some(Letter { from, number, seen, heard }) = letter else {
        return Err(Refused::new(RefusalCode::NotProved, "no server of this database wrote this letter"));
    };
    if !agents.way.role().leads() {
        return Err(Refused::no_leader());
    }
    if agents.heard.take(&from, number) {
        tell(&agents.brain, Load { seen, heard }).await;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Carries what this server's rendezvous sees, for as long as it runs.
pub(crate) struct Carrier {
    /// What is seen and heard while another server leads.
    pub(crate) hearsay: mpsc::Receiver<Hearsay>,
    /// The way to that server.
    pub(crate) way: Arc<Way>,
    /// Seals what is said.
    pub(crate) letters: Arc<Letters>,
    /// This server's run.
    pub(crate) run: String,
    /// For what this server sees when it leads itself.
    pub(crate) brain: Brain,
}

impl Carrier {
    pub(crate) async fn run(mut self) {
        let mut waiting = Waiting::default();
        let (mut clock, mut number) = (interval(AGAIN), 0);
        loop {
            tokio::select! {
                said = self.hearsay.recv() => match said {
                    Some(said) => self.gather(said, &mut waiting),
                    None => return,
                },
                _ = clock.tick(), if !waiting.is_empty() => {}
            }
            while !waiting.is_empty() {
                number += 1;
                let load = waiting.load();
                if !self.carry(number, &load).await {
                    break;
                }
                waiting.unload(&load);
            }
        }
    }

    fn gather(&mut self, first: Hearsay, waiting: &mut Waiting) {
        let mut next = Some(first);
        while let Some(said) = next {
            waiting.put(said);
            next = self.hearsay.try_recv().ok();
        }
    }

    async fn carry(&self, number: u64, load: &Load) -> bool {
        if self.way.role() == Role::Leads {
            tell(&self.brain, load.clone()).await;
            return true;
        }
        let Load { seen, heard } = load.clone();
        let letter = Letter { from: self.run.clone(), number, seen, heard };
        let Ok(letter) = serde_json::to_vec(&letter) else { return false };
        let Ok(sealed) = self.letters.seal(Purpose::Seen, &letter, now()) else { return false };
        let kind = HeaderValue::from_static("application/octet-stream");
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, kind)]);
        let sent = timeout(PATIENCE, self.way.send(Method::POST, PATH, headers, sealed.into())).await;
        matches!(sent, Ok(Ok(answer)) if answer.status().is_success())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_without_hosts_that_are_heard_are_read_and_all_that_waits_is_carried() {
        let old = r#"{"from":"a","number":1,"seen":[]}"#;
        assert!(serde_json::from_str::<Letter>(old).unwrap().heard.is_empty());
        let mut waiting = Waiting::default();
        for number in 0..600_u16 {
            let mut bytes = [7; 16];
            bytes[14..].copy_from_slice(&number.to_be_bytes());
            waiting.put(Hearsay::Heard(HostId::from_bytes(bytes)));
        }
        let mut letters = 0;
        while !waiting.is_empty() {
            let load = waiting.load();
            waiting.unload(&load);
            letters += 1;
        }
        assert_eq!(letters, 3);
    }

    #[test]
    fn a_letter_counts_once_and_older_ones_not_at_all() {
        let heard = Heard::default();
        assert!(heard.take("a", 1) && heard.take("a", 3) && heard.take("b", 1));
        assert!(!heard.take("a", 3) && !heard.take("a", 2));
    }
}
