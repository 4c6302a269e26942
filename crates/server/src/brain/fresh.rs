//! Whether all that is committed is known here: for what must not be said by a server that lags behind the others.
//!
//! An agent that hears that its host is unknown takes everything down, and a person who has just logged in at another server is
//! not to be asked to do so again. It keeps true that one question is asked of the database at a time, and not without a rest,
//! however many wait for the answer or give up waiting.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use control::Intent;
use store::{CommitError, Database, Followed, StoreError};
use tokio::sync::{Mutex, oneshot, watch};
use tokio::time::timeout;

use super::{MOST_WAIT, Refused, Told, shown};

/// Between an answer and the next question: strangers may ask without end.
const REST: Duration = Duration::from_millis(5);

/// Knows when intent was last seen to be the newest.
pub(super) struct Fresh {
    database: Arc<dyn Database>,
    /// When the question was asked that was answered last, and the number that was told.
    asked: Arc<Mutex<Option<(Instant, u64)>>>,
}

impl Fresh {
    pub(super) fn new(database: Arc<dyn Database>) -> Self {
        Self { database, asked: Arc::default() }
    }

    /// Waits until everything is known here that was committed before this was asked.
    pub(super) async fn wait(
        &self,
        intent: &ArcSwap<Intent>,
        told: watch::Receiver<Arc<Told>>,
    ) -> Result<(), Refused> {
        if !self.database.is_shared() {
            return Ok(());
        }
        let waited = timeout(MOST_WAIT, async {
            let seq = self.newest(intent).await.map_err(Refused::Unavailable)?;
            shown(told, |told| told.intent.seq() >= seq).await.map(drop)
        });
        waited.await.map_err(|_| Refused::Overloaded)?
    }

    /// The number of the last commit, as it was now or later.
    async fn newest(&self, intent: &ArcSwap<Intent>) -> Result<u64, CommitError> {
        let now = Instant::now();
        let mut asked = Arc::clone(&self.asked).lock_owned().await;
        if let Some((at, seq)) = *asked
            && at >= now
        {
            return Ok(seq);
        }
        let (database, known) = (Arc::clone(&self.database), intent.load().seq());
        let (tell, told) = oneshot::channel();
        // On its own: whoever stops waiting does not break it off, and nobody asks beside it.
        tokio::spawn(async move {
            let begun = Instant::now();
            let answer = newest(&*database, known).await;
            if let Ok(seq) = &answer {
                *asked = Some((begun, *seq));
            }
            let _gone = tell.send(answer);
            tokio::time::sleep(REST).await;
        });
        Ok(told.await.map_err(|_| StoreError::Gone)??)
    }
}

/// The number of the last commit, read where nothing is older than it was when the question came.
async fn newest(database: &dyn Database, known: u64) -> Result<u64, StoreError> {
    match database.follow(known).await? {
        Followed::Changed { seq, .. } => Ok(seq),
        Followed::TooFar => Ok(database.load().await?.seq),
    }
}

#[cfg(test)]
mod tests {
    use model::DnsName;
    use store::{Access, Address};
    use testkit::engines::rqlite::StandIn;
    use wire::ServerLinks;

    use super::*;

    fn told_of(intent: &Arc<Intent>) -> Arc<Told> {
        let domain: DnsName = "x.test".parse().unwrap();
        let (inventory, generations) = (control::Inventory::default(), imbl::HashMap::new());
        let links = ServerLinks::default();
        Arc::new(Told::followed(Arc::clone(intent), inventory, links, domain, generations))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_lags_behind_waits_and_who_cannot_ask_says_so() {
        let cluster = StandIn::start(1).unwrap();
        let url = format!("rqlite://{}", cluster.nodes()[0]);
        let database = store::open(&Address::parse(&url, Access::default()).unwrap()).await.unwrap();
        let old = Arc::new(Intent::default());
        let change = control::Change {
            actor: control::ActorName::from_text("system".to_owned()),
            command: "x".into(),
            records: Vec::new(),
        };
        let commit = store::Commit { seq: 1, time: super::super::now(), change };
        database.commit(vec![commit]).await.unwrap();

        let (intent, (tell, told)) = (ArcSwap::new(Arc::clone(&old)), watch::channel(told_of(&old)));
        let fresh = Fresh::new(Arc::clone(&database));
        let lagging = fresh.wait(&intent, told.clone());
        assert!(timeout(Duration::from_millis(300), lagging).await.is_err(), "it has not followed yet");
        let new = Arc::new(Intent::from_records(1, Vec::new()).unwrap());
        intent.store(Arc::clone(&new));
        tell.send_replace(told_of(&new));
        fresh.wait(&intent, told.clone()).await.unwrap();

        cluster.be_gone(true);
        assert!(fresh.wait(&intent, told).await.is_err(), "what was known before is of no use now");
    }
}
