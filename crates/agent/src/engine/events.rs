//! What the engine waits for, and to whom each event is told.
//!
//! Not for what follows from it. It keeps true that nothing which is due waits for anything but what is being done.

use std::pin::Pin;
use std::time::Duration;

use platform::{Notice, Watch};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::broker::{self, BrokerEvent};
use super::messages::Done;
use super::{End, Engine, FULL_LOOK, Mode, routers};
use crate::control::Call;
use crate::names::NameService;
use crate::probe::Echo;

/// Changes of the machine's network are looked at together when they come this close.
const SETTLE: Duration = Duration::from_millis(50);
/// And no more often than this.
const NO_MORE_OFTEN: Duration = Duration::from_millis(400);

/// What may happen.
pub(super) enum Event {
    Done(Done),
    Broker(BrokerEvent),
    Notice(Notice),
    /// Whom the machine's resolver asks without us may have changed.
    Resolver,
    /// A router answered.
    Echo(Echo),
    Deaf(anyhow::Error),
    Call(Call),
    Told,
    Wake,
}

impl Engine {
    pub(super) async fn next(
        &mut self,
        calls: &mut mpsc::Receiver<Call>,
        told: Pin<&mut (dyn Future<Output = ()> + Send)>,
    ) -> Event {
        let wake = self.wake_at();
        tokio::select! {
            Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => match done {
                Ok(done) => Event::Done(done),
                Err(error) => Event::Done(Done::Broken(error.to_string())),
            },
            event = broker::broker_event(&mut self.broker) => Event::Broker(event),
            notice = noticed(&mut self.watch) => match notice {
                Ok(notice) => Event::Notice(notice),
                Err(error) => Event::Deaf(error),
            },
            () = resolver_changed(&mut self.names) => Event::Resolver,
            echo = routers::heard(&mut self.prober) => Event::Echo(echo),
            Some(call) = calls.recv() => Event::Call(call),
            () = told => Event::Told,
            () = sleep_until(wake) => Event::Wake,
        }
    }

    fn wake_at(&self) -> Instant {
        let agent = self.agent.poll_deadline().map(|(at, _)| at);
        let paths = self.keeper.paths.poll_deadline().map(|(at, _)| at);
        // A run of `Mode::Once` looks every now and then whether it is finished.
        let once = (self.mode == Mode::Once).then(|| self.now() + Duration::from_millis(200));
        let names = self.names.as_ref().and_then(NameService::poll_deadline);
        let routers = self.routers.poll_deadline().filter(|_| self.prober.is_some());
        let brains = [agent, paths, names, routers, self.keeper.clients.poll_deadline()];
        let disk = [self.sync_at, self.forget_at];
        let own = [self.look_at, self.resolve_at, self.listen_at, self.key_at, Some(self.full_at)];
        let own = own.into_iter().chain(disk);
        let all = brains.into_iter().chain(own).chain([once]);
        self.started + all.flatten().min().unwrap_or(FULL_LOOK)
    }

    pub(super) async fn handle(&mut self, event: Event) -> Option<End> {
        match event {
            Event::Done(done) => self.done(done).await,
            Event::Broker(event) => self.broker_said(event),
            Event::Notice(notice) => {
                self.others_changed |= notice.others;
                let at = (self.now() + SETTLE).max(self.looked + NO_MORE_OFTEN);
                self.look_at.get_or_insert(at);
            }
            Event::Resolver => self.settle_names().await,
            Event::Echo(echo) => self.routers.handle_answer(echo.from, echo.nonce, self.now()),
            Event::Deaf(error) => {
                tracing::warn!("{error:#}");
                self.watch = None;
            }
            Event::Call(call) => return self.called(call).await,
            Event::Told => return Some(End::Told),
            Event::Wake => self.wake().await,
        }
        None
    }

    async fn wake(&mut self) {
        let now = self.now();
        self.agent.handle_deadline(now);
        self.keeper.paths.handle_deadline(now);
        self.routers.handle_deadline(now);
        if self.keeper.clients.poll_deadline().is_some_and(|at| at <= now) {
            self.look_for_clients().await;
        }
        if self.listen_at.take_if(|at| *at <= now).is_some() {
            self.listen_for_probes().await;
        }
        if self.key_at.take_if(|at| *at <= now).is_some() {
            self.settle_key().await;
        }
        if self.names.as_ref().and_then(NameService::poll_deadline).is_some_and(|at| at <= now) {
            self.settle_names().await;
        }
        if self.resolve_at.is_some_and(|at| at <= now) {
            self.resolve_at = None;
            self.resolve();
        }
        if self.sync_at.take_if(|at| *at <= now).is_some() {
            self.sync();
        }
        if self.forget_at.is_some_and(|at| at <= now) {
            self.forget();
            self.tell_outcome();
        }
        if self.full_at <= now {
            self.full_at = now + FULL_LOOK;
            self.look_at = Some(now);
            self.others_changed = true;
            self.look_wholly = true;
            self.resolve();
            if self.watch.is_none() && self.mode == Mode::Daemon {
                self.watch = self.keeper.hands().watch().await.ok();
            }
        }
        if self.look_at.is_some_and(|at| at <= now) {
            self.look_at = None;
            self.looked = now;
            self.look_around().await;
        }
    }
}

async fn resolver_changed(names: &mut Option<NameService>) {
    match names {
        Some(names) => names.changed().await,
        None => std::future::pending().await,
    }
}

async fn noticed(watch: &mut Option<Watch>) -> anyhow::Result<Notice> {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}
