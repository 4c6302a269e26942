//! The hub: gathers what changed for a moment, works out what that means for whom, and tells exactly those hosts (`telling`).
//!
//! It owns inventory, where this server leads. Intent comes from the writer. Deltas are made of two snapshots, the one told last
//! and the one now, so that what changes back within the moment sends nothing, and no map is kept for any host. Where this
//! server follows, the hub shows people what is committed and what the leader wrote down, and tells no host anything; how the
//! one becomes the other is in `lead`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use control::plan::Touched;
use control::{Change, Intent, Inventory};
use dataplane::rendezvous::Peers;
use model::{DnsName, Epoch, Host, HostId};
use store::{Database, InventoryRow};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use wire::{Facts, ServerLinks};

use super::followed::Followed;
use super::inventory::{Due, Keeper};
use super::lead::Beginning;
use super::observe::ASKED;
use super::outbox::Outbox;
use super::reports::Reports;
use super::telling::Missed;
use super::{Hearsay, Sighting, Told, now};
use crate::broker::Broker;
use crate::channels::Channels;
use crate::cluster::{Claim, Holder, Role};

/// What the hub is told.
#[derive(Debug)]
pub enum Notice {
    /// Intent changed.
    Intent {
        /// Intent after all of the changes.
        intent: Arc<Intent>,
        /// The changes, in order.
        changes: Vec<Arc<Change>>,
    },
    /// A machine registered and said what it is.
    Registered {
        /// The host it became.
        host: HostId,
        /// What it is.
        facts: Facts,
    },
    /// The rendezvous saw a host's WireGuard socket.
    Seen(Sighting),
    /// A host was heard of in a way that tells nothing else: it asked for something, or another server's rendezvous hears it.
    Heard {
        /// The host.
        host: HostId,
    },
    /// A host connected to the broker or is gone from it.
    Presence {
        /// The host.
        host: HostId,
        /// Whether it is there.
        online: bool,
    },
    /// This host, or any, may have missed what it was told: it is asked whether its map is the newest.
    Missed {
        /// Which; none: any.
        host: Option<HostId>,
    },
    /// A host reported.
    Report {
        /// The host.
        host: HostId,
        /// The sealed report.
        sealed: Bytes,
    },
    /// The database took nothing that this server said in this epoch: a later one has begun.
    Deposed {
        /// The epoch that is over.
        epoch: Epoch,
    },
}

/// What the hub works with.
pub(super) struct HubParts {
    /// Notices to it.
    pub(super) notices: mpsc::Receiver<Notice>,
    /// Where it shows what was told.
    pub(super) told: watch::Sender<Arc<Told>>,
    /// The broker.
    pub(super) broker: Arc<dyn Broker>,
    /// The sealed channels.
    pub(super) channels: Arc<Channels>,
    /// The peers of both doors of the rendezvous.
    pub(super) doors: [Peers; 2],
    /// Where inventory is kept.
    pub(super) database: Arc<dyn Database>,
    /// How long changes are gathered.
    pub(super) coalesce: Duration,
    /// Whether this server may lead.
    pub(super) claim: watch::Receiver<Claim<Holder>>,
    /// Where it says whether it does.
    pub(super) role: watch::Sender<Role>,
    /// Takes what a server that follows hears of hosts.
    pub(super) hearsay: mpsc::Sender<Hearsay>,
}

/// The one task that tells agents what changed.
pub(super) struct Hub {
    notices: mpsc::Receiver<Notice>,
    pub(super) claim: watch::Receiver<Claim<Holder>>,
    pub(super) role: watch::Sender<Role>,
    pub(super) hearsay: mpsc::Sender<Hearsay>,
    pub(super) told: watch::Sender<Arc<Told>>,
    pub(super) outbox: Outbox,
    pub(super) reports: Reports,
    pub(super) doors: [Peers; 2],
    /// When the doors are asked next whom they hear.
    pub(super) listen_at: Instant,
    pub(super) database: Arc<dyn Database>,
    pub(super) keeper: Keeper,
    pub(super) coalesce: Duration,
    pub(super) intent: Arc<Intent>,
    pub(super) inventory: Inventory,
    pub(super) stand: Stand,
    pub(super) beginning: Option<Beginning>,
    pub(super) touched: Touched,
    pub(super) flush_at: Option<Instant>,
    /// Since when telling is put off.
    pub(super) held_since: Option<Instant>,
    /// Not before then is told again: as long as telling took, at most `MOST_REST`. Whoever makes many changes in a large
    /// network, by mistake or not, makes deltas larger, not the server busy with nothing else.
    pub(super) rested: Instant,
    /// Hosts that were removed and are to hear of it.
    pub(super) gone: Vec<Host>,
    /// Hosts that may have missed something.
    pub(super) missed: Missed,
}

/// What this server does.
pub(super) enum Stand {
    /// It tells agents, in this epoch.
    Leads {
        /// The term of its lead.
        term: u64,
        /// What its generations begin with.
        epoch: Epoch,
    },
    /// Another one does.
    Follows(Followed),
}

impl Stand {
    /// Waits for what the leader wrote down; for ever where this server leads.
    async fn rows(&mut self) -> Vec<InventoryRow> {
        match self {
            Self::Leads { .. } => std::future::pending().await,
            Self::Follows(followed) => followed.rows().await,
        }
    }
}

impl Hub {
    /// The hub as it is right after the server's start: it leads in this epoch, or follows.
    pub(super) fn new(parts: HubParts, leads: Option<Epoch>) -> Self {
        let HubParts { notices, told, broker, channels, doors, database, coalesce, claim, role, hearsay } =
            parts;
        let (intent, inventory) = {
            let told = told.borrow();
            (Arc::clone(&told.intent), told.inventory.clone())
        };
        let stand = match leads {
            Some(epoch) => Stand::Leads { term: 1, epoch },
            None => Stand::Follows(Followed::new(Arc::clone(&database))),
        };
        let hub = Self {
            notices,
            claim,
            role,
            hearsay,
            told,
            outbox: Outbox::new(broker, Arc::clone(&channels)),
            reports: Reports::new(channels),
            doors,
            listen_at: Instant::now(),
            keeper: Keeper::new(Arc::clone(&database)),
            database,
            coalesce,
            intent,
            inventory,
            stand,
            beginning: None,
            touched: Touched::default(),
            flush_at: None,
            held_since: None,
            rested: Instant::now(),
            gone: Vec::new(),
            missed: Missed::default(),
        };
        hub.intent.hosts(None).for_each(|host| hub.welcome(&host.wireguard_key));
        hub
    }

    /// The first snapshot of an epoch: nothing was told yet in it.
    pub(super) fn first_told(
        intent: Arc<Intent>,
        mut inventory: Inventory,
        links: ServerLinks,
        domain: DnsName,
        epoch: Epoch,
    ) -> Told {
        inventory.forget_presence();
        Told::new(intent, inventory, links, domain, epoch)
    }

    /// Works until nobody can tell it anything any more.
    pub(super) async fn run(mut self) {
        self.heed_claim().await;
        loop {
            let flush_at = self.flush_at.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            tokio::select! {
                biased;
                Ok(()) = self.claim.changed() => self.heed_claim().await,
                begun = Beginning::done(&mut self.beginning) => self.begun(begun).await,
                () = tokio::time::sleep_until(flush_at), if self.flush_at.is_some() => self.flush_or_hold().await,
                due = self.keeper.due() => match due {
                    Due::Save => self.save(),
                    Due::Deposed(epoch) => self.deposed(epoch),
                },
                () = tokio::time::sleep_until(self.listen_at) => self.listen(),
                rows = self.stand.rows() => self.take_rows(rows),
                notice = self.notices.recv() => match notice {
                    Some(notice) => self.handle(notice),
                    None => break,
                },
            }
        }
        self.flush().await;
        let told = self.told.borrow().clone();
        self.keeper.finish(&self.inventory, &told).await;
    }

    fn save(&mut self) {
        self.keeper.save(&self.inventory, &self.told.borrow());
        self.count_waiting();
    }

    /// Rows of inventory that the database has not got yet: they grow while it is away.
    pub(super) fn count_waiting(&self) {
        #[expect(clippy::cast_precision_loss, reason = "counts of hosts are far below 2^53")]
        metrics::gauge!("netloom_inventory_waiting").set(self.keeper.waiting() as f64);
    }

    pub(super) const fn leads(&self) -> bool {
        match self.stand {
            Stand::Leads { .. } => true,
            Stand::Follows(_) => false,
        }
    }

    /// What the leader wrote down is shown.
    fn take_rows(&mut self, rows: Vec<InventoryRow>) {
        if let Stand::Follows(followed) = &mut self.stand {
            followed.take(rows, &mut self.inventory);
            self.show();
        }
    }

    /// Shows what a server that follows knows.
    pub(super) fn show(&self) {
        if let Stand::Follows(Followed { generations, .. }) = &self.stand {
            let (links, domain) = {
                let told = self.told.borrow();
                (told.links.clone(), told.domain.clone())
            };
            let (intent, inventory) = (Arc::clone(&self.intent), self.inventory.clone());
            let told = Told::followed(intent, inventory, links, domain, generations.clone());
            self.told.send_replace(Arc::new(told));
        }
    }

    fn handle(&mut self, notice: Notice) {
        match (notice, self.leads()) {
            (Notice::Intent { intent, changes }, _) => self.intent_changed(intent, &changes),
            (Notice::Registered { host, facts }, true) => self.registered(host, &facts),
            (Notice::Seen(sighting), true) => self.seen(sighting),
            (Notice::Heard { host }, true) => self.heard(host, now(), ASKED),
            (Notice::Presence { host, online }, true) => self.presence(host, online),
            (Notice::Missed { host }, true) => self.may_have_missed(host),
            (Notice::Report { host, sealed }, true) => self.report(host, &sealed),
            (Notice::Deposed { epoch }, true) => self.deposed(epoch),
            (Notice::Seen(sighting), false) => {
                // Who is not heard now is seen again in two minutes.
                let _full = self.hearsay.try_send(Hearsay::Seen(sighting));
            }
            // Of a time when this server led. Hosts are asked by the one that leads now.
            (
                Notice::Registered { .. }
                | Notice::Heard { .. }
                | Notice::Presence { .. }
                | Notice::Missed { .. }
                | Notice::Report { .. }
                | Notice::Deposed { .. },
                false,
            ) => {}
        }
    }

    fn intent_changed(&mut self, intent: Arc<Intent>, changes: &[Arc<Change>]) {
        for change in changes {
            if self.leads() {
                // Each change is looked at from both ends of the whole batch: what it touches is there at one of them, and
                // a record that came and went in between touches nobody.
                self.touch(Touched::by_change(&self.intent, &intent, change));
            }
            self.follow_keys(change);
        }
        self.intent = intent;
        self.show();
    }
}
