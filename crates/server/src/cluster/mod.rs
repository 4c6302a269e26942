//! Several servers on one database: one of them leads (`docs/adr/0021-one-server-leads.md`).
//!
//! Not for what leading means (that is `brain`, which begins and ends it). It keeps true that a server which cannot reach its
//! database goes on with what it does, and that one which hears of another leader stops to lead.

mod holder;
mod keeper;
#[cfg(test)]
mod keeper_tests;
mod letters;
mod role;
mod task;
mod way;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use store::Database;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

pub use holder::Holder;
pub use keeper::Claim;
pub(crate) use letters::{Letters, Purpose};
pub use role::Role;
pub(crate) use role::{leads, while_leading};
pub(crate) use way::Way;

/// How long a server that ends waits for its lease to be given back.
const FAREWELL: Duration = Duration::from_secs(2);

/// A server that runs now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Which.
    pub holder: Holder,
    /// Whether it holds the lease of the leader.
    pub leads: bool,
}

/// Fails while a server of this database runs, for what none of them may see happen.
pub async fn refuse_while_running(database: &dyn Database) -> Result<()> {
    let running = database.held(task::SERVER).await?.len();
    ensure!(
        running == 0,
        "{running} of this database's servers run; stop all of them first (one that died counts for {} seconds)",
        task::SERVER_LIFETIME.as_secs()
    );
    Ok(())
}

/// This server among the others.
pub struct Cluster {
    /// This server.
    pub me: Holder,
    claim: watch::Receiver<Claim<Holder>>,
    running: watch::Receiver<Arc<[Running]>>,
    /// None where there is one server only.
    keeps: Option<Keeps>,
}

struct Keeps {
    resign: mpsc::Sender<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Cluster {
    /// Joins the servers of this database. One that no other can use is led by its one server.
    pub fn join(database: &Arc<dyn Database>, me: Holder) -> Self {
        let alone: Arc<[Running]> = Arc::new([Running { holder: me.clone(), leads: true }]);
        if !database.is_shared() {
            let (_, claim) = watch::channel(Claim::Leads { term: 1, until: None });
            let (_, running) = watch::channel(alone);
            return Self { me, claim, running, keeps: None };
        }
        let (set, claim) = watch::channel(Claim::Follows { leader: None });
        let (list, running) = watch::channel(Arc::new([]) as Arc<[Running]>);
        let (resign, resigned) = mpsc::channel(1);
        let task = task::Task::new(Arc::clone(database), me.clone(), set, list);
        Self { me, claim, running, keeps: Some(Keeps { resign, task: tokio::spawn(task.run(resigned)) }) }
    }

    /// What this server may do.
    pub fn claim(&self) -> watch::Receiver<Claim<Holder>> {
        self.claim.clone()
    }

    /// The servers that run now, as far as was heard last.
    pub fn running(&self) -> watch::Receiver<Arc<[Running]>> {
        self.running.clone()
    }

    /// Stops to lead, and has another one lead as soon as this one has ended its work.
    pub async fn resign(self, mut role: watch::Receiver<Role>) {
        let Some(Keeps { resign, task }) = self.keeps else { return };
        let (ended, end) = oneshot::channel();
        let farewell = async {
            // The task ends only when it is told to.
            let _told = resign.send(ended).await;
            // What it owns is written before anybody else reads it.
            drop(role.wait_for(|role| !role.leads()).await);
            drop(end);
            let _ended = task.await;
        };
        if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
            tracing::warn!("the lease was not given back in time; another server leads in a few seconds");
        }
    }
}
