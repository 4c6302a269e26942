//! Telling the machine's resolver, in a task of its own: a `resolvconf` that hangs, or a bus that does not answer, holds
//! nothing else up.
//!
//! Not for what is told. It keeps true that the newest wish wins, that what failed is tried again, and that the resolver has back
//! what it had when the task was ended.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use platform::{ResolverApplied, ResolverHands, ResolverOptions, ResolverWatch};
use reconcile::Resolver;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use wire::Outcome;

/// How long a resolver that cannot be told is left alone.
const AGAIN: Duration = Duration::from_secs(10);
/// How long giving back what it had may take.
const ENDING: Duration = Duration::from_secs(30);

/// What the resolver is to be told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Wish {
    /// Empty: it has back what it had.
    pub(super) resolver: Resolver,
    /// Our own addresses: nobody that we would ask.
    pub(super) own: Vec<IpAddr>,
    /// Whom our server asks in turn.
    pub(super) asked: Vec<SocketAddr>,
    ended: bool,
}

/// How it stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Standing {
    /// Whom the machine asks without us.
    pub(super) upstreams: Vec<SocketAddr>,
    /// What could not be done.
    pub(super) failures: Vec<Outcome>,
}

/// The task.
#[derive(Debug)]
pub(super) struct Telling {
    wish: watch::Sender<Wish>,
    standing: watch::Receiver<Standing>,
    task: JoinHandle<()>,
}

impl Telling {
    /// Starts with nothing to tell.
    pub(super) fn start(options: ResolverOptions) -> Self {
        let (wish, wishes) = watch::channel(Wish::default());
        let (tell, standing) = watch::channel(Standing::default());
        let teller = Teller {
            options,
            hands: None,
            watch: None,
            wishes,
            tell,
            standing: Standing::default(),
            again: None,
            told: false,
        };
        Self { wish, standing, task: tokio::spawn(teller.run()) }
    }

    /// Tells this from now on.
    pub(super) fn wish(&self, resolver: Resolver, own: Vec<IpAddr>, asked: Vec<SocketAddr>) {
        let wish = Wish { resolver, own, asked, ended: false };
        self.wish.send_if_modified(|before| std::mem::replace(before, wish.clone()) != wish);
    }

    /// How it stands now.
    pub(super) fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Waits until it stands otherwise.
    pub(super) async fn changed(&mut self) {
        if self.standing.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Ends it, and says what could not be given back.
    pub(super) async fn end(self) -> Vec<Outcome> {
        self.wish.send_modify(|wish| *wish = Wish { ended: true, ..Wish::default() });
        let Self { wish: _wish, standing, task } = self;
        match timeout(ENDING, task).await {
            Ok(_) => standing.borrow().failures.clone(),
            Err(_) => {
                let error = format!("it took longer than {} seconds", ENDING.as_secs());
                vec![Outcome { op: GIVE_BACK.to_owned(), error }]
            }
        }
    }
}

const GIVE_BACK: &str = "give the machine's resolver back what it had";

struct Teller {
    options: ResolverOptions,
    hands: Option<ResolverHands>,
    watch: Option<ResolverWatch>,
    wishes: watch::Receiver<Wish>,
    tell: watch::Sender<Standing>,
    standing: Standing,
    again: Option<Instant>,
    /// Whether the resolver was told of us by this run.
    told: bool,
}

impl Teller {
    async fn run(mut self) {
        loop {
            let wish = self.wishes.borrow_and_update().clone();
            if wish.ended {
                return self.end().await;
            }
            self.carry_out(&wish).await;
            let standing = self.standing.clone();
            self.tell.send_if_modified(|told| std::mem::replace(told, standing.clone()) != standing);
            if self.wait().await.is_err() {
                // Whoever wished has gone without ending this.
                return self.end().await;
            }
        }
    }

    async fn carry_out(&mut self, wish: &Wish) {
        self.again = None;
        self.standing.failures.clear();
        if let Err(error) = self.detect().await {
            self.fail("find this machine's resolver", &error);
            return;
        }
        if !self.told && self.must_wait(wish).await {
            return;
        }
        let Some(hands) = &mut self.hands else { return };
        match hands.apply(&wish.resolver).await {
            Ok(ResolverApplied::Already | ResolverApplied::Changed) => self.told = !wish.resolver.is_empty(),
            Ok(ResolverApplied::Postponed(time)) => self.again = Some(Instant::now() + time),
            Err(error) => self.fail("tell this machine's resolver of our names", &error),
        }
        let Some(hands) = &self.hands else { return };
        let (upstreams, watch) = (hands.upstreams(&wish.own).await, hands.watch());
        match upstreams {
            Ok(upstreams) => self.standing.upstreams = upstreams,
            Err(error) => self.fail("read whom this machine's resolver asks", &error),
        }
        // A new one: what we wrote ourselves is seen by a watch from before.
        match watch {
            Ok(watch) => self.watch = Some(watch),
            Err(error) => self.fail("watch this machine's resolver", &error),
        }
    }

    /// Whether our server must first hear whom to ask: it would refuse every foreign name that comes to it before.
    async fn must_wait(&mut self, wish: &Wish) -> bool {
        let Some(hands) = self.hands.as_ref().filter(|_| !wish.resolver.is_empty()) else { return false };
        let Ok(upstreams) = hands.upstreams(&wish.own).await else { return false };
        // The next wish says them.
        let waits = upstreams != wish.asked;
        self.standing.upstreams = upstreams;
        waits
    }

    async fn detect(&mut self) -> anyhow::Result<()> {
        match &mut self.hands {
            Some(hands) => hands.detect_again().await.map(drop),
            None => {
                self.hands = Some(ResolverHands::detect(self.options.clone()).await?);
                Ok(())
            }
        }
    }

    /// Until there is another wish, the resolver's files changed, or it is time to try again.
    async fn wait(&mut self) -> Result<(), watch::error::RecvError> {
        let again = self.again;
        tokio::select! {
            wished = self.wishes.changed() => wished,
            seen = noticed(&mut self.watch) => {
                if let Err(error) = seen {
                    tracing::warn!("{error:#}");
                    self.watch = None;
                }
                Ok(())
            }
            () = until(again) => Ok(()),
        }
    }

    async fn end(mut self) {
        self.standing.failures.clear();
        if let Some(hands) = &mut self.hands
            && let Err(error) = hands.restore().await
        {
            self.fail(GIVE_BACK, &error);
        }
        let _ = self.tell.send(self.standing);
    }

    fn fail(&mut self, op: &str, error: &anyhow::Error) {
        tracing::warn!("could not {op}: {error:#}");
        self.standing.failures.push(Outcome { op: op.to_owned(), error: format!("{error:#}") });
        self.again = Some(Instant::now() + AGAIN);
    }
}

async fn noticed(watch: &mut Option<ResolverWatch>) -> anyhow::Result<()> {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
