//! Keeps the connection to a broker that is not ours: connects, sees to accounts, carries, and begins anew when it breaks.
//!
//! Not for the state that others look at. It keeps true that only a server that leads is connected, that pauses between attempts
//! grow and differ between servers, and that hosts are announced in the order in which the broker told of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use model::HostId;
use rumqttc::{AsyncClient, Publish};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use wire::{HostTopic, PRESENCE_OFFLINE, PRESENCE_ONLINE, TopicKind};

use super::accounts::dynsec::{self, Dynsec, Progress};
use super::accounts::{UNCERTAIN, heard};
use super::talk::{Letter, Talk, Trouble, send};
use super::{Guests, NOT_YET, Shared};
use crate::broker::{BrokerEvent, Ended};
use crate::identity::random;

/// How long the dynamic security plugin may take for an answer. It writes its whole file for each command.
const ANSWER: Duration = Duration::from_secs(60);
/// A connection that stood this long counts as a success, and pauses start small again.
const STABLE: Duration = Duration::from_secs(10);

/// What the task works with.
pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) guests: Arc<dyn Guests>,
    pub(super) events: mpsc::Sender<BrokerEvent>,
    pub(super) leads: watch::Receiver<bool>,
}

/// The parts of one connection.
struct Standing {
    talk: Talk,
    dynsec: Option<Dynsec>,
    /// To the plugin, ahead of what waits for hosts.
    orders: mpsc::Sender<Letter>,
    _sending: JoinSet<()>,
    answer_by: Option<Instant>,
    /// When all accounts are looked at again.
    look_at: Instant,
}

impl Connection {
    /// Works for as long as somebody may make this server lead.
    pub(super) async fn run(mut self) {
        self.shared.lose(NOT_YET);
        let mut failures = 0_u32;
        let mut known_trouble = None;
        while self.leads.wait_for(|leads| *leads).await.is_ok() {
            let began = Instant::now();
            let mut leads = self.leads.clone();
            let stopped = async move {
                if leads.wait_for(|leads| !*leads).await.is_err() {
                    // Nobody can make it follow any more.
                    std::future::pending::<()>().await;
                }
            };
            let trouble = tokio::select! {
                trouble = self.connect() => trouble,
                () = stopped => {
                    self.shared.stop();
                    continue;
                }
            };
            self.shared.lose(&trouble.to_string());
            failures = if began.elapsed() >= STABLE { 0 } else { failures.saturating_add(1) };
            if known_trouble.as_ref() != Some(&trouble) {
                tracing::warn!("no connection to the message broker, which is tried again: {trouble}");
            }
            known_trouble = Some(trouble);
            self.pause(failures).await;
        }
    }

    /// Grows to a longest, and is never the same for two servers.
    async fn pause(&self, failures: u32) {
        let [first, longest] = [self.shared.pauses.first, self.shared.pauses.longest];
        let whole = first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(longest);
        sleep(spread(whole)).await;
    }

    /// One connection from its beginning to its end.
    async fn connect(&self) -> Trouble {
        match self.try_connect().await {
            Ok(()) => Trouble::Lost("it was closed".to_owned()),
            Err(trouble) => trouble,
        }
    }

    async fn try_connect(&self) -> Result<(), Trouble> {
        metrics::counter!("netloom_broker_connects_total").increment(1);
        let mut talk = Talk::open(&self.shared.target).await?;
        let (orders, ordered) = mpsc::channel(1);
        let mut sending = JoinSet::new();
        sending.spawn(carry(talk.sender(), ordered, Arc::clone(&self.shared)));
        let dynsec = match self.shared.keeps_dynsec {
            true => {
                talk.subscribe(&[dynsec::ANSWERS.to_owned()]).await?;
                Some(Dynsec::new(&self.shared.target.user, &own_name()?))
            }
            false => None,
        };
        let look_at = self.next_look();
        let mut standing = Standing { talk, dynsec, orders, _sending: sending, answer_by: None, look_at };
        self.gain_rights(&mut standing).await?;
        standing.talk.subscribe(&heard()).await?;
        tracing::info!(address = %self.shared.target.address.text, "connected to the message broker");
        self.shared.gain();
        self.tell(BrokerEvent::Restored).await?;
        self.serve(&mut standing).await
    }

    /// Waits until the plugin has given us what we need. Mosquitto ends the connection over that; the next one finds it given.
    async fn gain_rights(&self, standing: &mut Standing) -> Result<(), Trouble> {
        if standing.dynsec.is_none() {
            return Ok(());
        }
        loop {
            self.order(standing);
            let by = standing.answer_by.unwrap_or_else(Instant::now);
            let message = tokio::select! {
                message = standing.talk.message() => message?,
                () = sleep_until(by) => return Err(no_answer()),
            };
            if self.answered(standing, &message)? == Some(Progress::Entitled) {
                return Ok(());
            }
        }
    }

    async fn serve(&self, standing: &mut Standing) -> Result<(), Trouble> {
        let settle = self.shared.pauses.settle;
        let (ask_at, settle_at) = (Instant::now() + settle / 2, Instant::now() + settle);
        let (mut asked, mut settled, mut learning) = (false, false, None);
        loop {
            self.order(standing);
            if standing.dynsec.as_ref().is_some_and(Dynsec::has_seen_all) {
                learning.get_or_insert_with(|| self.learn());
            }
            let answer_by = standing.answer_by;
            tokio::select! {
                message = standing.talk.message() => self.heard(standing, message?).await?,
                () = sleep_until(ask_at), if !asked => {
                    asked = true;
                    self.ask_the_silent().await?;
                }
                () = sleep_until(settle_at), if !settled => {
                    settled = true;
                    let gone = self.shared.presence().settle();
                    for host in gone {
                        self.tell(BrokerEvent::Offline { host, reason: Ended::Absent }).await?;
                    }
                }
                () = self.shared.doubted.notified(), if standing.dynsec.is_some() => {
                    let (doubtful, kicked) = self.shared.take_doubts();
                    if let Some(dynsec) = &mut standing.dynsec {
                        dynsec.look_at(doubtful);
                        kicked.into_iter().for_each(|host| dynsec.kick(host));
                    }
                }
                () = sleep_until(answer_by.unwrap_or(settle_at)), if answer_by.is_some() => {
                    return Err(no_answer());
                }
                () = sleep_until(standing.look_at), if standing.dynsec.is_some() => {
                    standing.look_at = self.next_look();
                    standing.dynsec.iter_mut().for_each(Dynsec::look_at_all);
                }
                learned = learned(&mut learning) => {
                    if let Some(dynsec) = standing.dynsec.as_mut().filter(|_| learned) {
                        dynsec.compare(&*self.guests);
                    }
                }
            }
        }
    }

    /// Hosts whose word was not heard are asked once more, before that means anything: a broker that has just started, or reads
    /// its accounts anew, loses words that it has taken.
    async fn ask_the_silent(&self) -> Result<(), Trouble> {
        let mut silent = self.guests.hosts();
        silent.retain(|host| !self.shared.presence().is_heard(*host));
        for host in silent {
            self.tell(BrokerEvent::Missed { host }).await?;
        }
        Ok(())
    }

    fn next_look(&self) -> Instant {
        Instant::now() + spread(self.shared.pauses.look)
    }

    /// Learns which hosts there are: whoever only begins to lead may not know yet all that the one before let in. Whether it is
    /// certain; where it is not, this is not answered at once.
    fn learn(&self) -> BoxFuture<'_, bool> {
        async {
            let is_certain = self.guests.learn().await;
            if !is_certain {
                sleep(UNCERTAIN).await;
            }
            is_certain
        }
        .boxed()
    }

    /// Tells the plugin what there is to tell.
    fn order(&self, standing: &mut Standing) {
        let Some(dynsec) = &mut standing.dynsec else {
            return;
        };
        if let Some(payload) = dynsec.next(&*self.guests) {
            standing.answer_by = Some(Instant::now() + ANSWER);
            let letter = Letter { topic: dynsec::CONTROL.to_owned(), payload: Bytes::from(payload) };
            // One is on its way at a time, so that there is room. Never waited for: what carries it may itself wait until we have
            // read what the broker says. Its task ends with the connection only, which is noticed elsewhere.
            let _sent = standing.orders.try_send(letter);
        }
    }

    /// What the plugin's answer led to, if it is one.
    fn answered(&self, standing: &mut Standing, message: &Publish) -> Result<Option<Progress>, Trouble> {
        let Some(dynsec) = standing.dynsec.as_mut().filter(|_| message.topic == dynsec::ANSWERS) else {
            return Ok(None);
        };
        if !dynsec.waits() {
            return Ok(None);
        }
        let progress = dynsec.take(&message.payload);
        if !dynsec.waits() {
            standing.answer_by = None;
        }
        progress.map(Some).map_err(|error| Trouble::Accounts(error.to_string()))
    }

    async fn heard(&self, standing: &mut Standing, message: Publish) -> Result<(), Trouble> {
        if self.answered(standing, &message)?.is_some() {
            return Ok(());
        }
        let Ok(HostTopic { host, kind }) = message.topic.parse() else {
            return Ok(());
        };
        // Whoever could speak for hosts that do not exist would have us remember them.
        if !self.guests.is_known(host) {
            return Ok(());
        }
        match kind {
            TopicKind::Map => Ok(()),
            TopicKind::Report => self.reported(host, message.payload).await,
            TopicKind::Presence => self.said(host, &message.payload).await,
        }
    }

    async fn reported(&self, host: HostId, payload: Bytes) -> Result<(), Trouble> {
        if payload.len() > self.shared.limits.up_bytes {
            tracing::warn!(%host, bytes = payload.len(), "a report is too large and was not read");
            return Ok(());
        }
        let is_news = self.shared.presence().reported(host);
        if is_news {
            self.tell(BrokerEvent::Online { host }).await?;
        }
        self.tell(BrokerEvent::Report { host, payload }).await
    }

    async fn said(&self, host: HostId, word: &[u8]) -> Result<(), Trouble> {
        if word == PRESENCE_ONLINE {
            let missed = {
                let mut presence = self.shared.presence();
                let missed = !presence.may_hear(host);
                presence.online(host);
                missed
            };
            self.tell(BrokerEvent::Online { host }).await?;
            // Its word took a while, in which nothing was sent to it.
            return if missed { self.tell(BrokerEvent::Missed { host }).await } else { Ok(()) };
        }
        if word == PRESENCE_OFFLINE && self.shared.presence().offline(host) {
            return self.tell(BrokerEvent::Offline { host, reason: Ended::Absent }).await;
        }
        Ok(())
    }

    /// Waits while the server is busy: the broker keeps the rest meanwhile.
    async fn tell(&self, event: BrokerEvent) -> Result<(), Trouble> {
        self.events.send(event).await.map_err(|_| Trouble::Lost("the server is shutting down".to_owned()))
    }
}

/// Waits for what is being learnt; for ever where nothing is. May be given up and called again.
async fn learned(learning: &mut Option<BoxFuture<'_, bool>>) -> bool {
    let Some(future) = learning else { return std::future::pending().await };
    let is_certain = future.await;
    *learning = None;
    is_certain
}

/// Somewhat shorter, and never the same for two servers.
fn spread(whole: Duration) -> Duration {
    let part = f64::from(u32::from_le_bytes(random::<4>().unwrap_or_default())) / f64::from(u32::MAX);
    whole.mul_f64(0.5 + part / 2.0)
}

/// Under which nobody else asks the plugin.
pub(super) fn own_name() -> Result<String, Trouble> {
    let name =
        random::<8>().map_err(|error| Trouble::Accounts(format!("there is no randomness: {error}")))?;
    Ok(format!("netloom-{}", HEXLOWER.encode(&name)))
}

/// The plugin said nothing in time.
pub(super) fn no_answer() -> Trouble {
    let what = "Mosquitto's dynamic security plugin does not answer: is it loaded, may our user keep accounts (its role `admin`), \
                and is `broker_accounts` right?";
    Trouble::Accounts(what.to_owned())
}

/// Sends orders and what waits for hosts.
async fn carry(client: AsyncClient, mut orders: mpsc::Receiver<Letter>, shared: Arc<Shared>) {
    loop {
        let letter = tokio::select! {
            biased;
            Some(letter) = orders.recv() => letter,
            (host, payload) = shared.queue.next() => Letter {
                topic: HostTopic { host, kind: TopicKind::Map }.to_string(),
                payload,
            },
        };
        if !send(&client, letter).await {
            return;
        }
    }
}

/// Hosts whose accounts are to be looked at, and those among them whose connection is to end.
pub(super) type Doubts = (BTreeSet<HostId>, BTreeSet<HostId>);
