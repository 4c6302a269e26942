//! Asks the database for the leases and tells what came of it.
//!
//! Decides nothing (that is `keeper`, and `standing` for who leaves the lead to others). It keeps true that a question which hangs
//! keeps nobody from asking the next one, that few hang at a time, and that an answer counts however late it comes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use store::{Database, Held, Leased};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::keeper::{Answer, Claim, EVERY, Keeper, LIFETIME};
use super::outlook::{Outlook, Outside};
use super::roll::{self, LEAD, Roll, SERVER_LIFETIME, name_of};
use super::standing::{Stance, Why};
use super::voice::Told;
use super::{Holder, Role, Running};

/// The roll is called with each of so many tries to lead.
const ROLL_EVERY: u32 = 5;
/// Tries that may wait for their answers.
const MOST_TRIES: usize = 6;
/// How long one may wait: longer than a database takes to say that it does not answer.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long is waited for questions on their way before a lease is given back.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// What the task is told, and tells.
pub(super) struct Ways {
    /// What this server may do.
    pub(super) claim: watch::Sender<Claim<Holder>>,
    /// The servers that run.
    pub(super) running: watch::Sender<Arc<[Running]>>,
    /// What this server does.
    pub(super) role: watch::Receiver<Role>,
    /// Which others it does not reach.
    pub(super) unreached: watch::Receiver<BTreeSet<String>>,
    /// Others that say that they lead.
    pub(super) told: mpsc::Receiver<Told>,
}

/// The task that holds this server's leases.
pub(super) struct Task {
    database: Arc<dyn Database>,
    me: Holder,
    text: Arc<str>,
    ways: Ways,
    keeper: Keeper<Holder>,
    stance: Stance,
    outlook: Outlook,
    /// What the servers said last, and when that was asked.
    roll: Option<(Instant, Roll)>,
    /// What this server says beside that it runs.
    said: BTreeSet<String>,
    tries: JoinSet<(Instant, Result<Answer<Holder>>)>,
    rolls: JoinSet<(Instant, BTreeSet<String>, Result<Roll>)>,
    /// Whether the lease is to be given back as soon as the work of the leader has ended.
    is_leaving: bool,
    /// Why it stood back last.
    why: Option<Why>,
    /// Whether the database did not answer last.
    is_away: bool,
    /// Whether another server is known by this one's address.
    is_mistaken: bool,
}

impl Task {
    pub(super) fn new(database: Arc<dyn Database>, me: Holder, outside: Outside, ways: Ways) -> Self {
        Self {
            database,
            text: me.text().into(),
            me,
            ways,
            keeper: Keeper::new(),
            stance: Stance::default(),
            outlook: Outlook::new(outside),
            roll: None,
            said: BTreeSet::new(),
            tries: JoinSet::new(),
            rolls: JoinSet::new(),
            is_leaving: false,
            why: None,
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
                    self.tick(ticks.is_multiple_of(ROLL_EVERY));
                    ticks = ticks.wrapping_add(1);
                }
                Some(tried) = self.tries.join_next() => match tried {
                    Ok((asked, answer)) => self.heed(asked, answer),
                    Err(error) => tracing::error!(%error, "asking for the lease broke"),
                },
                Some(called) = self.rolls.join_next() => self.hear(called),
                Some(Told { epoch, own, leader }) = self.ways.told.recv() => {
                    self.keeper.told(epoch, own, leader, Instant::now());
                    self.tell();
                }
                () = leads_no_more(&mut self.ways.role), if self.is_leaving => self.leave_to_others().await,
            }
        };
        self.resign(ended).await;
    }

    /// The leases of the process that was this server before: it is gone, and nobody needs to wait for their end.
    async fn replace_former(&self) -> Result<()> {
        for Held { name, holder } in self.database.held("", SERVER_LIFETIME).await? {
            if Holder::read(&holder).is_some_and(|former| former.is_former_of(&self.me)) {
                self.database.release(&name, &holder).await?;
            }
        }
        Ok(())
    }

    fn tick(&mut self, calls: bool) {
        let now = Instant::now();
        self.keeper.passed(now);
        let leads = self.ways.role.borrow().leads();
        self.outlook.look(leads, now);
        let why = self.stands_back(now);
        if why.is_some() && matches!(self.keeper.claim(), Claim::Leads { .. }) {
            self.keeper.resign(now);
            self.is_leaving = true;
        }
        self.tell();
        self.ask(why.is_some() || self.is_leaving || (self.stance.is_slow() && !leads));
        let words = self.words(leads, now);
        // What is new is said at once.
        if (calls || words != self.said) && self.rolls.is_empty() {
            self.call(words, now);
        }
    }

    /// Why this server leaves the lead to others now, if it does.
    fn stands_back(&mut self, now: Instant) -> Option<Why> {
        // What the servers said counts as long as their leases last.
        let roll = self.roll.as_ref().filter(|(asked, _)| now < *asked + SERVER_LIFETIME);
        let why = roll.and_then(|(_, roll)| roll.facts.stands_back(&self.me.id));
        let why = self.stance.now(why, now);
        metrics::gauge!("netloom_stands_back").set(if why.is_some() { 1.0 } else { 0.0 });
        if why != std::mem::replace(&mut self.why, why) {
            match why {
                Some(Why::Unreached) => tracing::error!(
                    "most other servers do not reach this one at {}, so it leaves the lead to them; look at `advertise`, \
                     certificates and firewalls",
                    self.me.url
                ),
                Some(Why::Broker) => tracing::error!(
                    "this server does not reach the message broker, and another one does: it leaves the lead to that"
                ),
                None => tracing::info!("this server leaves the lead to nobody any more"),
            }
        }
        why
    }

    fn ask(&mut self, only_looks: bool) {
        if self.tries.len() >= MOST_TRIES {
            return;
        }
        let (database, text) = (Arc::clone(&self.database), Arc::clone(&self.text));
        let asked = Instant::now();
        self.tries.spawn(async move {
            let answer = async {
                match only_looks {
                    true => look(&*database, &text).await,
                    false => ask_to_lead(&*database, &text).await,
                }
            };
            (asked, timeout(PATIENCE, answer).await.unwrap_or_else(|late| Err(late.into())))
        });
    }

    /// What this server has to say now.
    fn words(&mut self, leads: bool, now: Instant) -> BTreeSet<String> {
        let is_lost = self.roll.as_ref().is_some_and(|(_, roll)| !roll.facts.broker_lost.is_empty());
        let broker = self.outlook.say(leads, is_lost, now);
        roll::words(&self.me, &self.ways.unreached.borrow(), broker)
    }

    fn call(&mut self, words: BTreeSet<String>, now: Instant) {
        let taken_back: Vec<String> = self.said.difference(&words).cloned().collect();
        // Until it is known that it was taken back it may be held.
        self.said.extend(words.iter().cloned());
        let (database, me, text) = (Arc::clone(&self.database), self.me.clone(), Arc::clone(&self.text));
        self.rolls.spawn(async move {
            let called = roll::call(&*database, (&me, &text), &words, &taken_back);
            let called = timeout(SERVER_LIFETIME, called).await;
            (now, words, called.unwrap_or_else(|late| Err(late.into())))
        });
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
        let now = Instant::now();
        self.stance.heard(matches!(answer, Answer::Refused { leader: None }), asked, now);
        self.keeper.answered(asked, answer, now);
        self.tell();
    }

    fn tell(&mut self) {
        let claim = self.keeper.claim();
        let other = match (&*self.ways.claim.borrow(), claim) {
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
        if *self.ways.claim.borrow() != *claim {
            self.ways.claim.send_replace(claim.clone());
        }
    }

    fn hear(&mut self, called: Result<(Instant, BTreeSet<String>, Result<Roll>), JoinError>) {
        match called {
            Ok((asked, words, Ok(roll))) => {
                self.said = words;
                self.look_at(&roll.running);
                let running: Arc<[Running]> = Arc::from(roll.running.clone());
                self.ways
                    .running
                    .send_if_modified(|before| std::mem::replace(before, Arc::clone(&running)) != running);
                self.roll = Some((asked, roll));
            }
            Ok((_, _, Err(error))) => tracing::debug!("the list of servers is not known: {error:#}"),
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

    /// Waits for the questions that are on their way: one that is carried out later would take the lease again.
    async fn last_answers(&mut self) {
        let answers = async { while self.tries.join_next().await.is_some() {} };
        let _late = timeout(LAST_ANSWERS, answers).await;
        self.tries.shutdown().await;
    }

    /// The work of the leader has ended, and another server may begin it.
    async fn leave_to_others(&mut self) {
        self.last_answers().await;
        self.is_leaving = false;
        self.give_back(LEAD).await;
    }

    async fn give_back(&self, name: &str) {
        let given = timeout(LIFETIME, self.database.release(name, &self.text)).await;
        if !matches!(given, Ok(Ok(()))) {
            tracing::warn!(name, "a lease was not given back; it ends by itself in a few seconds");
        }
    }

    /// Leads no more; gives the leases back once whoever told so has ended its work as the leader.
    async fn resign(mut self, mut ended: oneshot::Sender<()>) {
        self.keeper.resign(Instant::now());
        self.tell();
        ended.closed().await;
        self.last_answers().await;
        self.rolls.shutdown().await;
        let server = name_of(&self.me);
        for name in [LEAD, &server].into_iter().chain(self.said.iter().map(String::as_str)) {
            self.give_back(name).await;
        }
    }
}

async fn leads_no_more(role: &mut watch::Receiver<Role>) {
    drop(role.wait_for(|role| !role.leads()).await);
}

async fn ask_to_lead(database: &dyn Database, text: &str) -> Result<Answer<Holder>> {
    Ok(match database.lease(LEAD, text, LIFETIME).await? {
        Leased::Granted(lease) => Answer::Granted { until: lease.until },
        Leased::HeldBy { holder } => Answer::Refused { leader: Holder::read(&holder) },
    })
}

/// Looks who leads, and does not ask for it.
async fn look(database: &dyn Database, text: &str) -> Result<Answer<Holder>> {
    let held = database.held(LEAD, LIFETIME).await?;
    let leader = held.iter().find(|held| held.name == LEAD && held.holder != text);
    Ok(Answer::Refused { leader: leader.and_then(|held| Holder::read(&held.holder)) })
}
