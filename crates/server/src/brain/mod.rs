//! The brain's shell: one writer that decides and commits, one hub that tells agents what changed, and snapshots that
//! anybody reads without waiting.
//!
//! Not for deciding (that is `control`) and not for HTTP. It keeps true that what was answered is committed, that intent
//! is written by one task only, and that the hub's deltas and the maps that are fetched come from the same snapshot.

mod followed;
mod fresh;
mod hub;
mod inventory;
mod keys;
mod lead;
mod observe;
mod outbox;
mod reports;
mod row;
mod telling;
mod told;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use control::{Actor, Change, Command, Door, Intent, Inventory, Rejection};
use dataplane::rendezvous::Peers;
use model::{DnsName, Endpoint, Epoch, HostId, Timestamp, WgPublicKey};
use store::Database;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use wire::ServerLinks;

use crate::broker::Broker;
use crate::channels::Channels;
use crate::cluster::{Claim, Holder, Role};
use fresh::Fresh;
use hub::{Hub, HubParts};
use writer::Writer;

pub use hub::Notice;
pub use told::Told;

/// Commands that may wait for the writer. When it is full the askers wait, up to `MOST_WAIT`.
const MOST_WAITING: usize = 1024;
/// Notices that may wait for the hub. When it is full the writer and the brokers' connections wait.
const MOST_NOTICES: usize = 4096;
const MOST_WAIT: Duration = Duration::from_secs(10);
/// How long somebody who is about to be refused waits for what other servers committed.
const MOST_DOUBT: Duration = Duration::from_secs(2);

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Refused by the rules.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The database could not take it. Nothing was changed, unless it says itself that this is not known.
    #[error("{}", unavailable(.0))]
    Unavailable(store::CommitError),
    /// Too much is waiting already. Nothing was changed.
    #[error("the server has too much to do; nothing was changed, try again in a few seconds")]
    Overloaded,
}

fn unavailable(error: &store::CommitError) -> String {
    match error {
        store::CommitError::Unknown { .. } => error.to_string(),
        store::CommitError::Conflict { .. } | store::CommitError::Store(_) => {
            format!("the change was not saved, nothing was changed: {error}")
        }
    }
}

/// A command that was carried out.
#[derive(Debug, Clone)]
pub struct Committed {
    /// What it did; empty when everything was as wanted.
    pub change: Arc<Change>,
    /// Intent right after it.
    pub intent: Intent,
}

/// A command on its way to the writer.
#[derive(Debug)]
pub struct Job {
    actor: Actor,
    command: Command,
    /// The epoch in which the server that leads wants it; none: somebody does, whoever leads.
    epoch: Option<Epoch>,
    answer: oneshot::Sender<Result<Committed, Refused>>,
}

/// The way to the brain, for every handler.
#[derive(Clone)]
pub struct Brain {
    intent: Arc<ArcSwap<Intent>>,
    jobs: mpsc::Sender<Job>,
    notices: mpsc::Sender<Notice>,
    told: watch::Receiver<Arc<Told>>,
    role: watch::Receiver<Role>,
    fresh: Arc<Fresh>,
    /// Whether other servers commit, too.
    is_shared: bool,
}

/// What a rendezvous saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// Whose WireGuard socket.
    pub key: WgPublicKey,
    /// At which door.
    pub door: Door,
    /// Where.
    pub endpoint: Endpoint,
}

/// What a server that follows hears of hosts, for the one that leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hearsay {
    /// Its rendezvous saw a host somewhere new.
    Seen(Sighting),
    /// It still hears a host.
    Heard(HostId),
}

/// What waits to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queues {
    /// Commands that wait for the writer.
    pub commands: usize,
    /// Notices that wait for the hub.
    pub notices: usize,
}

/// Sees intent, and keeps nothing alive.
#[derive(Clone)]
pub struct Onlooker(Arc<ArcSwap<Intent>>);

impl Onlooker {
    /// Intent as it was committed last.
    pub fn intent(&self) -> Arc<Intent> {
        self.0.load_full()
    }
}

/// What a brain is started with.
pub struct Parts {
    /// Where intent and inventory are kept.
    pub database: Arc<dyn Database>,
    /// The broker that carries changes to agents.
    pub broker: Arc<dyn Broker>,
    /// The sealed channels to hosts.
    pub channels: Arc<Channels>,
    /// The peers of both doors of the rendezvous.
    pub doors: [Peers; 2],
    /// The server's doors, for the maps.
    pub links: ServerLinks,
    /// The server's domain, for the maps.
    pub domain: DnsName,
    /// How long changes are gathered before they are sent.
    pub coalesce: Duration,
    /// Whether this server may lead.
    pub claim: watch::Receiver<Claim<Holder>>,
    /// Where the brain says whether it does.
    pub role: watch::Sender<Role>,
    /// Takes what is heard of hosts while another server leads.
    pub hearsay: mpsc::Sender<Hearsay>,
}

impl Brain {
    /// Loads everything and starts the writer and the hub. They end when the last `Brain` is dropped. Where no other server can
    /// use the database, this one leads from the beginning.
    pub async fn start(parts: Parts) -> Result<(Self, JoinHandle<()>)> {
        let Parts { database, broker, channels, doors, links, domain, coalesce, claim, role, hearsay } =
            parts;
        let loaded = database.load().await.context("the database cannot be read")?;
        let intent = Intent::from_records(loaded.seq, loaded.records)
            .context("the database does not hold together")?;
        let intent = Arc::new(intent);
        let (first, epoch) = if database.is_shared() {
            let (inventory, generations) = (Inventory::default(), imbl::HashMap::new());
            let shown = Told::followed(Arc::clone(&intent), inventory, links, domain.clone(), generations);
            (shown, None)
        } else {
            let inventory = inventory::load(&*database, &intent).await?;
            let epoch = database.next_epoch().await.context("the database cannot be written")?;
            role.send_replace(Role::Leads);
            (Hub::first_told(Arc::clone(&intent), inventory, links, domain.clone(), epoch), Some(epoch))
        };
        let (jobs, waiting) = mpsc::channel(MOST_WAITING);
        let (notices, noticed) = mpsc::channel(MOST_NOTICES);
        let (tell, told) = watch::channel(Arc::new(first));
        let intent = Arc::new(ArcSwap::new(intent));
        let roles = role.subscribe();
        let hub = HubParts {
            notices: noticed,
            told: tell,
            broker,
            channels,
            doors,
            database: Arc::clone(&database),
            coalesce,
            claim,
            role,
            hearsay,
        };
        let (hub, is_shared) = (Hub::new(hub, epoch), database.is_shared());
        let fresh = Arc::new(Fresh::new(Arc::clone(&database)));
        let (decided_on, hears) = (Arc::clone(&intent), notices.clone());
        let writer = Writer {
            database,
            intent: decided_on,
            jobs: waiting,
            hub: hears,
            domain,
            must_look: false,
            measured: None,
        };
        let tasks = tokio::spawn(async move {
            tokio::join!(writer.run(), hub.run());
        });
        Ok((Self { intent, jobs, notices, told, role: roles, fresh, is_shared }, tasks))
    }

    /// Whether this server leads.
    pub fn role(&self) -> watch::Receiver<Role> {
        self.role.clone()
    }

    /// What waits to be done.
    pub fn queues(&self) -> Queues {
        Queues {
            commands: self.jobs.max_capacity() - self.jobs.capacity(),
            notices: self.notices.max_capacity() - self.notices.capacity(),
        }
    }

    /// Intent as it was committed last.
    pub fn intent(&self) -> Arc<Intent> {
        self.intent.load_full()
    }

    /// The same for those who only look, and must not keep the writer and the hub from ending.
    pub fn onlooker(&self) -> Onlooker {
        Onlooker(Arc::clone(&self.intent))
    }

    /// Whether commands are still carried out and agents told.
    pub fn is_running(&self) -> bool {
        !self.jobs.is_closed() && !self.notices.is_closed()
    }

    /// What agents were told last, with the inventory it was made of.
    pub fn told(&self) -> Arc<Told> {
        self.told.borrow().clone()
    }

    /// The same, for those who follow it.
    pub fn told_from_now_on(&self) -> watch::Receiver<Arc<Told>> {
        self.told.clone()
    }

    /// What agents were told, as soon as it includes everything that is committed now.
    pub async fn told_now(&self) -> Result<Arc<Told>, Refused> {
        let seq = self.intent().seq();
        shown(self.told.clone(), |told| told.intent.seq() >= seq).await
    }

    /// Waits until everything is known here that any server has committed by now.
    pub async fn caught_up(&self) -> Result<(), Refused> {
        self.fresh.wait(&self.intent, self.told.clone()).await
    }

    /// Learns what other servers committed, if that can be learned soon.
    pub async fn look_around(&self) {
        if let Ok(Err(error)) = tokio::time::timeout(MOST_DOUBT, self.caught_up()).await {
            tracing::debug!(%error, "what others committed is not known; what is known here counts");
        }
    }

    /// The same, and whether more is known then than this number. For whoever is about to be refused: what is not known here may
    /// have been made at another server a moment ago.
    pub async fn learns_more_than(&self, seq: u64) -> bool {
        self.look_around().await;
        self.intent.load().seq() > seq
    }

    /// Has a command decided and committed. Nobody is refused for what only this server does not know yet.
    pub async fn submit(&self, actor: Actor, command: Command) -> Result<Committed, Refused> {
        if !self.is_shared {
            return self.ask(actor, command, None).await;
        }
        let seq = self.intent.load().seq();
        match self.ask(actor, command.clone(), None).await {
            Err(Refused::Rejected(_)) if self.learns_more_than(seq).await => {
                self.ask(actor, command, None).await
            }
            answer => answer,
        }
    }

    /// The same as the server that leads in this epoch, of its own accord. Refused once another one has begun to lead.
    pub async fn submit_leading(&self, epoch: Epoch, command: Command) -> Result<Committed, Refused> {
        self.ask(Actor::System, command, Some(epoch)).await
    }

    async fn ask(&self, actor: Actor, command: Command, epoch: Option<Epoch>) -> Result<Committed, Refused> {
        let (answer, answered) = oneshot::channel();
        let job = Job { actor, command, epoch, answer };
        let sent = tokio::time::timeout(MOST_WAIT, self.jobs.send(job)).await;
        sent.map_err(|_| Refused::Overloaded)?.map_err(|_| Refused::Overloaded)?;
        answered.await.map_err(|_| Refused::Overloaded)?
    }

    /// A host proved that it is there. One that the hub has no room for is heard of again.
    pub fn heard(&self, host: HostId) {
        let _full = self.notices.try_send(Notice::Heard { host });
    }

    /// Tells the hub what an agent or the rendezvous saw. Waits while the hub has too much to do.
    pub async fn notice(&self, notice: Notice) {
        if self.notices.send(notice).await.is_err() {
            tracing::warn!("the hub has ended; what agents report is lost until the server restarts");
        }
    }
}

/// What is shown, as soon as it is what it is to be: whoever was answered that something is committed finds it there.
pub(crate) async fn shown<T: Clone>(
    mut shown: watch::Receiver<T>,
    wanted: impl FnMut(&T) -> bool,
) -> Result<T, Refused> {
    let there = tokio::time::timeout(MOST_WAIT, shown.wait_for(wanted)).await;
    Ok(there.map_err(|_| Refused::Overloaded)?.map_err(|_| Refused::Overloaded)?.clone())
}

/// The time now.
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
