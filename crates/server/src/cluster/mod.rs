//! Several servers on one database: one of them leads (`docs/adr/0021-one-server-leads.md`).
//!
//! Not for what leading means (that is `brain`, which begins and ends it). It keeps true that a server which cannot reach its
//! database goes on with what it does, that one which hears of another leader stops to lead, whoever says so, and that one which
//! is badly placed leaves the lead to another.

mod holder;
mod keeper;
#[cfg(test)]
mod keeper_tests;
mod letters;
mod outlook;
mod role;
mod roll;
mod standing;
mod task;
mod voice;
mod way;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use store::Database;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

pub use holder::Holder;
pub use keeper::Claim;
pub(crate) use letters::{Letters, Purpose};
pub(crate) use outlook::Outside;
pub use role::Role;
pub(crate) use role::{leads, while_leading};
pub(crate) use voice::{Leading, Pulse, Voice, router};
pub(crate) use way::Way;

/// How long a server that ends waits for its lease to be given back.
const FAREWELL: Duration = Duration::from_secs(2);
/// What other servers said and was not heeded yet; what finds no room is said again.
const MOST_TOLD: usize = 16;

/// A server that runs now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Which.
    pub holder: Holder,
    /// Whether it holds the lease of the leader.
    pub leads: bool,
    /// The names of the servers that have not reached it for a while.
    pub unreached_by: Vec<String>,
    /// Whether it leads, or led, without reaching the message broker.
    pub has_lost_broker: bool,
}

impl Running {
    /// A server of which nothing else is said.
    pub const fn of(holder: Holder) -> Self {
        Self { holder, leads: false, unreached_by: Vec::new(), has_lost_broker: false }
    }
}

/// Fails while a server of this database runs, for what none of them may see happen.
pub async fn refuse_while_running(database: &dyn Database) -> Result<()> {
    let running = database.held(roll::SERVER, roll::SERVER_LIFETIME).await?.len();
    ensure!(
        running == 0,
        "{running} of this database's servers run; stop all of them first (one that died counts for {} seconds)",
        roll::SERVER_LIFETIME.as_secs()
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
    role: watch::Receiver<Role>,
    told: mpsc::Sender<voice::Told>,
    unreached: watch::Sender<BTreeSet<String>>,
}

impl Cluster {
    /// Joins the servers of this database. One that no other can use is led by its one server.
    pub(crate) fn join(
        database: &Arc<dyn Database>,
        me: Holder,
        outside: Outside,
        role: watch::Receiver<Role>,
    ) -> Self {
        let alone: Arc<[Running]> = Arc::new([Running { leads: true, ..Running::of(me.clone()) }]);
        if !database.is_shared() {
            let (_, claim) = watch::channel(Claim::Leads { term: 1, until: None });
            let (_, running) = watch::channel(alone);
            return Self { me, claim, running, keeps: None };
        }
        let (set, claim) = watch::channel(Claim::Follows { leader: None });
        let (list, running) = watch::channel(Arc::new([]) as Arc<[Running]>);
        let (resign, resigned) = mpsc::channel(1);
        let (told, heard) = mpsc::channel(MOST_TOLD);
        let (unreached, missing) = watch::channel(BTreeSet::new());
        let ways =
            task::Ways { claim: set, running: list, role: role.clone(), unreached: missing, told: heard };
        let task = task::Task::new(Arc::clone(database), me.clone(), outside, ways);
        let task = tokio::spawn(task.run(resigned));
        Self { me, claim, running, keeps: Some(Keeps { resign, task, role, told, unreached }) }
    }

    /// What this server says to the others, and what has it said; nothing where there are none.
    pub(crate) fn voice(&self, letters: &Arc<Letters>, leading: Leading) -> Option<(Arc<Voice>, Pulse)> {
        let Keeps { role, told, unreached, .. } = self.keeps.as_ref()?;
        let voice = Arc::new(Voice::new(self.me.clone(), Arc::clone(letters), leading, told.clone()));
        let pulse = Pulse::new(Arc::clone(&voice), self.running(), role.clone(), unreached.clone());
        Some((voice, pulse))
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
    pub async fn resign(self) {
        let Some(Keeps { resign, task, mut role, .. }) = self.keeps else { return };
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
