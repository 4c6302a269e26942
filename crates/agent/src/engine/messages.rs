//! What goes to the server and what it answers: asking, reporting, telling.

use model::{Generation, HostId};
use reconcile::{AgentEvent, Answer, AskFailure};
use wire::{HostMap, Report};

use super::{Engine, NoMap, fetch_map};
use crate::engine::agree::Agreed;
use crate::engine::doors::Resolved;
use crate::engine::rotate::KeyTold;
use crate::names::NameService;
use crate::state::Which;
use crate::talk::{TalkError, now};

/// What was done in the background.
pub(super) enum Done {
    Asked(Box<Result<(Answer, Which), NoMap>>),
    Reported(Result<(), TalkError>),
    Told(wire::HostSettings, Result<(), TalkError>),
    Resolved(Resolved),
    KeyTold(KeyTold),
    Agreed(Agreed),
    Synced(std::io::Result<()>),
    Broken(String),
}

impl Engine {
    pub(super) fn ask(&mut self, have: Generation) {
        self.asking = true;
        let (client, channels) = (self.session.client.clone(), self.session.channels().clone());
        let held = self.agent.map().cloned();
        self.tasks.spawn(async move {
            let answered = fetch_map(&client, &channels, have, held).await;
            Done::Asked(Box::new(answered))
        });
    }

    /// Over the broker if it is up, else over HTTP.
    pub(super) fn report(&mut self, report: Report) {
        let sealed = match self.session.seal(report) {
            Ok(sealed) => sealed,
            Err(error) => {
                tracing::warn!("{error:#}");
                return self.agent.handle(AgentEvent::ReportFailed, self.now());
            }
        };
        let published = self.broker.as_ref().filter(|_| self.agent.broker_is_up());
        if let Some(broker) = published
            && broker.handle.publish_report(sealed.clone()).is_ok()
        {
            self.reported = true;
            return self.agent.handle(AgentEvent::Reported, self.now());
        }
        self.reporting = true;
        let client = self.session.client.clone();
        self.tasks.spawn(async move { Done::Reported(client.report(sealed).await) });
    }

    fn answered(&mut self, answered: Result<(Answer, Which), NoMap>) {
        self.asking = false;
        match answered {
            Ok((answer, which)) => {
                self.heard_by(which);
                self.asked = Some(Ok(()));
                self.contact.answered = Some(now());
                self.keep_addresses();
                self.contact.error = None;
                self.contact.unreadable = false;
                self.follow_answers();
                if let Answer::Delta(delta) = &answer {
                    self.unsaved.push(delta.clone());
                }
                self.agent.handle(AgentEvent::Answered(answer), self.now());
                self.tell_settings();
            }
            Err(error) => {
                let text = error.to_string();
                tracing::info!("no map: {text}");
                self.asked = Some(Err(text.clone()));
                self.contact.error = Some(text);
                self.contact.unreadable = matches!(error, NoMap::Unreadable(_));
                self.agent.handle(AgentEvent::AskFailed(failure_of(&error)), self.now());
            }
        }
    }

    pub(super) async fn done(&mut self, done: Done) {
        match done {
            Done::Asked(answered) => self.answered(*answered),
            Done::Reported(result) => self.report_done(result),
            Done::Told(settings, Ok(())) => {
                self.session.record.told = settings;
                self.keep_record();
            }
            Done::Told(_, Err(error)) => {
                tracing::warn!("the server did not take this machine's settings: {error}");
            }
            Done::Resolved(resolved) => self.resolved(resolved).await,
            Done::KeyTold(told) => self.key_told(told).await,
            Done::Agreed(agreed) => self.agreed(agreed),
            Done::Synced(result) => self.synced(result),
            Done::Broken(error) => self.task_broke(&error),
        }
    }

    /// Where the server's names led is kept for when nobody can be asked.
    pub(super) fn keep_addresses(&mut self) {
        if self.session.learn_addresses() {
            self.keep_record();
        }
    }

    /// What is on disk does what it did before where this fails, and the next start finds out again.
    pub(super) fn keep_record(&self) {
        if let Err(error) = self.state.save_server(&self.session.record) {
            tracing::error!("{error:#}");
        }
    }

    /// Follows a full tunnel that was switched on or off. What the agent says leaves beside it; what did not, because the server
    /// was reached no other way, has lost its way now.
    pub(super) fn follow_tunnel(&mut self) {
        let Some(map) = self.agent.map() else { return };
        let gateway = gateway(map);
        let outside = gateway.and(self.names.as_ref()).map(NameService::upstreams);
        self.session.dialer.book().set_resolvers(outside.unwrap_or_default());
        if !self.session.goes_through(gateway) {
            return;
        }
        self.session.reconnect();
        self.leave_usual_road();
    }

    /// Which one is not known, so all that could be are begun anew.
    fn task_broke(&mut self, error: &str) {
        tracing::error!("a task of the daemon broke: {error}");
        let now = self.now();
        if std::mem::take(&mut self.asking) {
            self.agent.handle(AgentEvent::AskFailed(AskFailure::Unreachable), now);
        }
        if std::mem::take(&mut self.reporting) {
            self.agent.handle(AgentEvent::ReportFailed, now);
        }
        self.resolving = false;
        self.key_told_nothing();
        self.agreed_nothing();
    }

    fn report_done(&mut self, result: Result<(), TalkError>) {
        self.reporting = false;
        self.reported = true;
        let event = match result {
            Ok(()) => AgentEvent::Reported,
            Err(error) => {
                tracing::info!("the report did not arrive: {error}");
                AgentEvent::ReportFailed
            }
        };
        self.agent.handle(event, self.now());
    }

    /// The settings of this machine may have been changed while the daemon was not running.
    fn tell_settings(&mut self) {
        let settings = self.options.for_server();
        if settings == self.session.record.told {
            return;
        }
        let client = self.session.client.clone();
        self.tasks.spawn(async move {
            let told = client.settings(&settings).await;
            Done::Told(settings, told)
        });
    }
}

/// The internet gateway through which all of this machine goes.
fn gateway(map: &HostMap) -> Option<HostId> {
    map.networks.values().filter(|told| told.takes_part()).find_map(|told| told.internet)?.via
}

fn failure_of(error: &NoMap) -> AskFailure {
    match error {
        NoMap::Talk(TalkError::Refused(refusal)) => refusal.into(),
        NoMap::Talk(TalkError::Link { .. } | TalkError::Nonsense { .. })
        | NoMap::Unreadable(_)
        | NoMap::Older => AskFailure::Unreachable,
    }
}
