//! How this server begins to lead, and stops.
//!
//! ```text
//!   may lead ─▶ take an epoch, read what was written down ─▶ still certain to be the only one? ─▶ tell, and call the roll
//!                      ▲                                              │ no
//!                      └──────────────────────────────────────────────┘
//! ```
//!
//! Not for finding out who may lead (`cluster`). It keeps true that all that is told in an epoch is told by one server, and that
//! its generations are greater than those of all who led before: agents refuse older ones, and the database takes nothing that is
//! said in an older epoch. So two who believe for a moment that they lead do no harm (`docs/adr/0021-one-server-leads.md`).

use std::sync::Arc;
use std::time::Duration;

use control::plan::Touched;
use model::Epoch;
use store::{Database, InventoryRow, StoreError};
use tokio::task::JoinHandle;

use super::followed::Followed;
use super::hub::{Hub, Stand};
use super::inventory;
use super::telling::Missed;
use crate::cluster::{Claim, Holder, Role};

/// How long is waited before the database is asked again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a server that stops to lead takes to write down what it knows.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What is taken from the database before this server leads.
pub(super) struct Beginning {
    term: u64,
    task: JoinHandle<Begun>,
}

/// What was taken.
pub(super) struct Begun {
    term: u64,
    epoch: Epoch,
    rows: Vec<InventoryRow>,
}

impl Beginning {
    fn start(database: Arc<dyn Database>, term: u64) -> Self {
        let task = tokio::spawn(async move {
            loop {
                match take(&*database).await {
                    Ok((epoch, rows)) => return Begun { term, epoch, rows },
                    Err(error) => {
                        tracing::warn!(%error, "this server cannot begin to lead yet; trying again");
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { term, task }
    }

    /// Waits for what is taken; for ever when nothing is. May be given up and called again.
    pub(super) async fn done(beginning: &mut Option<Self>) -> Option<Begun> {
        let Some(Self { task, .. }) = beginning else { return std::future::pending().await };
        let begun = task.await;
        *beginning = None;
        begun.inspect_err(|error| tracing::error!(%error, "beginning to lead broke")).ok()
    }
}

impl Drop for Beginning {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(database: &dyn Database) -> Result<(Epoch, Vec<InventoryRow>), StoreError> {
    let epoch = database.next_epoch().await?;
    let (_, rows) = database.inventory_since(0).await?;
    Ok((epoch, rows))
}

impl Hub {
    /// Begins to lead, or stops, as it may.
    pub(super) async fn heed_claim(&mut self) {
        let claim = self.claim.borrow_and_update().clone();
        match claim {
            Claim::Leads { term, .. } => {
                let leads = matches!(self.stand, Stand::Leads { term: of, .. } if of == term);
                let begins = self.beginning.as_ref().is_some_and(|beginning| beginning.term == term);
                if !leads && !begins {
                    self.beginning = Some(Beginning::start(Arc::clone(&self.database), term));
                }
            }
            Claim::Follows { leader } => self.follow(leader).await,
        }
    }

    /// The database takes nothing any more that is said in this epoch: somebody has taken a later one. Usually that one leads, and
    /// this server hears of it in a moment. Where it did not come to lead, being frozen or cut off just then, this one needs a
    /// new epoch.
    pub(super) fn deposed(&mut self, of: Epoch) {
        let Stand::Leads { term, epoch } = self.stand else { return };
        tracing::warn!(
            epoch = of.number(),
            "a later epoch than this server's has begun; what it did is not kept"
        );
        let certain = self.claim.borrow().is_certain(term, std::time::Instant::now());
        if epoch == of && certain && self.beginning.is_none() {
            self.beginning = Some(Beginning::start(Arc::clone(&self.database), term));
        }
    }

    /// Leads with what was taken from the database, if nobody else can have led since.
    pub(super) async fn begun(&mut self, begun: Option<Begun>) {
        let certain = |begun: &Begun| self.claim.borrow().is_certain(begun.term, std::time::Instant::now());
        let Some(Begun { term, epoch, rows }) = begun.filter(certain) else {
            tokio::time::sleep(PAUSE).await;
            return self.heed_claim().await;
        };
        // It led, and nobody did since: what it knows is newer than what it wrote down.
        let goes_on = match self.stand {
            Stand::Leads { term: led, epoch: before } => led == term || before.number() + 1 == epoch.number(),
            Stand::Follows(_) => false,
        };
        if !goes_on {
            self.inventory = inventory::of_rows(rows, &self.intent);
            self.ask_who_is_there();
        }
        let (links, domain) = {
            let told = self.told.borrow();
            (told.links.clone(), told.domain.clone())
        };
        let (intent, known) = (Arc::clone(&self.intent), self.inventory.clone());
        // In a large network that takes longer than others want to wait for this thread.
        let made = tokio::task::spawn_blocking(move || super::Told::new(intent, known, links, domain, epoch));
        let Ok(told) = made.await else {
            tracing::error!("the maps were not made; trying again");
            return self.heed_claim().await;
        };
        self.told.send_replace(Arc::new(told));
        self.stand = Stand::Leads { term, epoch };
        (self.touched, self.missed) = (Touched::default(), Missed::All);
        self.gone.clear();
        if self.database.is_shared() {
            let hosts: Vec<_> = self.intent.hosts(None).map(|host| host.id).collect();
            hosts.into_iter().for_each(|host| self.keeper.changed(host));
        }
        tracing::info!(epoch = epoch.number(), "this server leads");
        self.role.send_replace(Role::Leads);
        self.flush_soon();
    }

    /// Another server leads, or may.
    async fn follow(&mut self, leader: Option<Holder>) {
        self.beginning = None;
        if self.leads() {
            tracing::info!(leader = leader.as_ref().map(|leader| &*leader.url), "this server leads no more");
            if leader.is_none() {
                // Nobody else has written yet: what is known is for whoever comes next.
                let told = self.told.borrow().clone();
                let finish = self.keeper.finish(&self.inventory, &told);
                let _late = tokio::time::timeout(LAST_WORDS, finish).await;
            }
            self.keeper.drop_all();
            self.count_waiting();
            self.gone.clear();
            (self.touched, self.missed, self.flush_at) = (Touched::default(), Missed::default(), None);
            self.stand = Stand::Follows(Followed::new(Arc::clone(&self.database)));
            self.show();
        }
        let role = Role::Follows { leader };
        self.role.send_if_modified(|before| {
            let differs = *before != role;
            *before = role;
            differs
        });
    }
}
