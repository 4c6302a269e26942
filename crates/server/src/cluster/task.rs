//! Asks the database for the leases and tells what came of it.
//!
//! Decides nothing (that is `keeper`). It keeps true that a question which hangs keeps nobody from asking the next one, and
//! that few hang at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use store::{Database, Held};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::keeper::{Answer, Claim, EVERY, Keeper, LIFETIME};
use super::{Holder, Running};

/// Who has it leads.
const LEAD: &str = "lead";
/// Begins the names of the leases that say which servers run.
pub(super) const SERVER: &str = "server/";
/// How long a server counts as running after it was heard of last.
pub(super) const SERVER_LIFETIME: Duration = Duration::from_secs(15);
/// The list of servers is renewed with each of so many tries to lead.
const LIST_EVERY: u32 = 5;
/// Tries that may wait for their answers.
const MOST_TRIES: usize = 4;

/// The task that holds this server's leases.
pub(super) struct Task {
    database: Arc<dyn Database>,
    me: Holder,
    text: Arc<str>,
    keeper: Keeper<Holder>,
    claim: watch::Sender<Claim<Holder>>,
    running: watch::Sender<Arc<[Running]>>,
    tries: JoinSet<(Instant, Result<Answer<Holder>>)>,
    lists: JoinSet<Result<Vec<Running>>>,
    /// Whether the database did not answer last.
    is_away: bool,
    /// Whether another server is known by this one's address.
    is_mistaken: bool,
}

impl Task {
    pub(super) fn new(
        database: Arc<dyn Database>,
        me: Holder,
        claim: watch::Sender<Claim<Holder>>,
        running: watch::Sender<Arc<[Running]>>,
    ) -> Self {
        let text = me.text().into();
        let (tries, lists) = (JoinSet::new(), JoinSet::new());
        Self {
            database,
            me,
            text,
            keeper: Keeper::new(),
            claim,
            running,
            tries,
            lists,
            is_away: false,
            is_mistaken: false,
        }
    }

    /// Works until it is told to end: then nothing is held any more.
    pub(super) async fn run(mut self, mut resign: mpsc::Receiver<oneshot::Sender<()>>) {
        if let Ok(Err(error)) = timeout(LIFETIME, self.replace_former()).await {
            tracing::warn!("whether a former run of this server holds leases is not known: {error:#}");
        }
        let mut clock = interval(EVERY);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ticks = 0_u32;
        let ended = loop {
            tokio::select! {
                ended = resign.recv() => match ended {
                    Some(ended) => break ended,
                    // The server is gone without a word.
                    None => return,
                },
                _ = clock.tick() => {
                    self.ask(ticks.is_multiple_of(LIST_EVERY));
                    ticks = ticks.wrapping_add(1);
                }
                Some(tried) = self.tries.join_next() => match tried {
                    Ok((asked, answer)) => self.heed(asked, answer),
                    Err(error) => tracing::error!(%error, "asking for the lease broke"),
                },
                Some(listed) = self.lists.join_next() => self.list(listed),
            }
        };
        self.resign(ended).await;
    }

    /// The leases of the process that was this server before: it is gone, and nobody needs to wait for their end.
    async fn replace_former(&self) -> Result<()> {
        for Held { name, holder } in self.database.held("").await? {
            let ours = name == LEAD || name.starts_with(SERVER);
            if ours && Holder::read(&holder).is_some_and(|former| former.is_former_of(&self.me)) {
                self.database.release(&name, &holder).await?;
            }
        }
        Ok(())
    }

    fn ask(&mut self, lists: bool) {
        if self.tries.len() < MOST_TRIES {
            let (database, text) = (Arc::clone(&self.database), Arc::clone(&self.text));
            let asked = Instant::now();
            self.tries.spawn(async move {
                let answer = timeout(LIFETIME, ask_to_lead(&*database, &text)).await;
                (asked, answer.unwrap_or_else(|late| Err(late.into())))
            });
        }
        if lists && self.lists.is_empty() {
            let (database, me, text) = (Arc::clone(&self.database), self.me.clone(), Arc::clone(&self.text));
            self.lists.spawn(async move { timeout(SERVER_LIFETIME, list(&*database, &me, &text)).await? });
        }
    }

    fn heed(&mut self, asked: Instant, answer: Result<Answer<Holder>>) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                if !std::mem::replace(&mut self.is_away, true) {
                    tracing::warn!(
                        "the database does not say who leads: {error:#}; this server goes on as it is"
                    );
                }
                return;
            }
        };
        self.is_away = false;
        self.keeper.answered(asked, answer, Instant::now());
        self.tell();
    }

    fn tell(&mut self) {
        let claim = self.keeper.claim();
        let other = match (&*self.claim.borrow(), claim) {
            (Claim::Leads { .. }, Claim::Follows { leader }) => leader.as_ref(),
            (Claim::Leads { .. } | Claim::Follows { .. }, _) => None,
        };
        if let Some(other) = other.filter(|other| other.is_former_of(&self.me)) {
            tracing::error!(
                id = other.id,
                "another server has this server's id: its data folder was copied; remove the file `server-id` of one of \
                 the two and start that again"
            );
        }
        if *self.claim.borrow() != *claim {
            self.claim.send_replace(claim.clone());
        }
    }

    fn list(&mut self, listed: Result<Result<Vec<Running>>, tokio::task::JoinError>) {
        match listed {
            Ok(Ok(running)) => {
                self.look_at(&running);
                let running = Arc::from(running);
                self.running
                    .send_if_modified(|before| std::mem::replace(before, Arc::clone(&running)) != running);
            }
            Ok(Err(error)) => tracing::debug!("the list of servers is not known: {error:#}"),
            Err(error) => tracing::error!(%error, "asking for the list of servers broke"),
        }
    }

    /// Servers that cannot tell each other apart do not find the one that leads.
    fn look_at(&mut self, running: &[Running]) {
        let same =
            running.iter().find(|other| other.holder.id != self.me.id && other.holder.url == self.me.url);
        let Some(Running { holder: other, .. }) = same else {
            self.is_mistaken = false;
            return;
        };
        if !std::mem::replace(&mut self.is_mistaken, true) {
            tracing::error!(
                other = other.name,
                "{} is the address of this server and of another one: name with `advertise`, at each, the address at which \
                 the others reach it, and no load balancer",
                other.url
            );
        }
    }

    /// Leads no more; gives the leases back once whoever told so has ended its work as the leader.
    async fn resign(mut self, mut ended: oneshot::Sender<()>) {
        self.keeper.resign();
        self.tell();
        ended.closed().await;
        // A question that is on its way would take the lease again.
        self.tries.shutdown().await;
        self.lists.shutdown().await;
        for name in [LEAD.to_owned(), name_of(&self.me)] {
            if let Err(error) = self.database.release(&name, &self.text).await {
                tracing::warn!(%error, "a lease was not given back; it ends by itself in a few seconds");
            }
        }
    }
}

fn name_of(server: &Holder) -> String {
    format!("{SERVER}{}", server.id)
}

async fn ask_to_lead(database: &dyn Database, text: &str) -> Result<Answer<Holder>> {
    if let Some(lease) = database.lease(LEAD, text, LIFETIME).await? {
        return Ok(Answer::Granted { until: lease.until });
    }
    let held = database.held(LEAD).await?;
    let leader = held.iter().find(|held| held.name == LEAD).filter(|held| held.holder != text);
    Ok(Answer::Refused { leader: leader.and_then(|held| Holder::read(&held.holder)) })
}

/// Says that this server runs, and asks which others do.
async fn list(database: &dyn Database, me: &Holder, text: &str) -> Result<Vec<Running>> {
    if database.lease(&name_of(me), text, SERVER_LIFETIME).await?.is_none() {
        tracing::error!(id = me.id, "another server has this server's id: was its data folder copied?");
    }
    let held = database.held("").await?;
    let leader = held.iter().find(|held| held.name == LEAD).map(|held| held.holder.clone());
    let servers = held.iter().filter(|held| held.name.starts_with(SERVER));
    let running = |held: &Held| {
        let holder = Holder::read(&held.holder)?;
        Some(Running { holder, leads: leader.as_ref() == Some(&held.holder) })
    };
    Ok(servers.filter_map(running).collect())
}
