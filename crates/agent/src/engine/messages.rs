//! What goes to and comes from server and broker: asking, reporting, and what is pushed.

use std::time::Duration;

use model::{Generation, HostId, Keepalive};
use reconcile::{AgentEvent, Answer, AskFailure};
use tokio::sync::mpsc;
use wire::{Direction, Down, HostMap, Report};

use super::{Engine, Mode, NoMap, fetch_map};
use crate::engine::doors::Resolved;
use crate::engine::rotate::KeyTold;
use crate::link::{Backoff, Link, LinkError, LinkEvent, LinkHandle, LinkOptions, Road};
use crate::names::NameService;
use crate::talk::{TalkError, now, trust};

/// The connection to the broker, from the first attempt to its end.
pub(super) struct Broker {
    handle: LinkHandle,
    events: mpsc::Receiver<LinkEvent>,
    keepalive: Duration,
}

impl Broker {
    pub(super) async fn close(self) {
        self.handle.close().await;
    }
}

/// What the broker's connection brings.
pub(super) enum BrokerEvent {
    Link(LinkEvent),
    Ended,
}

pub(super) async fn broker_event(broker: &mut Option<Broker>) -> BrokerEvent {
    let Some(broker) = broker else { return std::future::pending().await };
    broker.events.recv().await.map_or(BrokerEvent::Ended, BrokerEvent::Link)
}

/// What was done in the background.
pub(super) enum Done {
    Asked(Result<Answer, NoMap>),
    Reported(Result<(), TalkError>),
    Told(wire::HostSettings, Result<(), TalkError>),
    Resolved(Resolved),
    KeyTold(KeyTold),
    Synced(std::io::Result<()>),
    Broken(String),
}

impl Engine {
    pub(super) fn ask(&mut self, have: Generation) {
        self.asking = true;
        let (client, channel) = (self.session.client.clone(), self.session.channel().clone());
        let held = self.agent.map().cloned();
        self.tasks.spawn(async move { Done::Asked(fetch_map(&client, &channel, have, held).await) });
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

    pub(super) fn connect_broker(&mut self) {
        if self.mode == Mode::Once {
            return;
        }
        let url = self.broker_url();
        let (signing, host) = (self.session.identity.signing.clone(), self.session.record.host);
        let password = std::sync::Arc::new(move || wire::mqtt_password(&signing, host, now()));
        let mut options = LinkOptions::new(url, host.to_string(), password, trust(self.session.record.pin));
        // A lost connection is made anew by the brain's own pauses, perhaps to another address.
        options.backoff = Backoff { first: Duration::from_secs(3600), longest: Duration::from_secs(3600) };
        let keepalive = self.keepalive();
        options.keepalive = keepalive;
        options.dialer = self.session.dialer.clone();
        options.acknowledge = self.agent.map().is_some_and(|map| !map.server.brokers.is_empty());
        match Link::connect(options) {
            Ok((handle, events)) => self.broker = Some(Broker { handle, events, keepalive }),
            Err(error) => self.broker_lost(error.to_string()),
        }
    }

    fn keepalive(&self) -> Duration {
        let said = self.agent.map().and_then(|map| map.server.keepalive);
        Duration::from_secs(said.unwrap_or(Keepalive::DEFAULT).get().into())
    }

    /// A connection with another keepalive than the map says is made anew: by it a dead host is noticed.
    pub(super) fn follow_keepalive(&mut self) {
        if self.broker.as_ref().is_some_and(|broker| broker.keepalive != self.keepalive()) {
            self.broker = None;
            self.connect_broker();
        }
    }

    /// One of the map's brokers, in turn; else the WebSocket at the server's own address.
    fn broker_url(&self) -> String {
        let brokers = self.agent.map().map(|map| map.server.brokers.as_slice()).unwrap_or_default();
        let url = brokers.get(self.broker_tries % brokers.len().max(1));
        url.cloned().unwrap_or_else(|| websocket_url(self.session.client.url()))
    }

    fn broker_lost(&mut self, reason: String) {
        tracing::debug!(reason, "no pushes");
        self.broker = None;
        self.broker_tries += 1;
        self.contact.push_error = Some(reason);
        self.agent.handle(AgentEvent::BrokerDown, self.now());
    }

    pub(super) fn broker_said(&mut self, event: BrokerEvent) {
        match event {
            BrokerEvent::Link(LinkEvent::Connected) => {
                self.contact.push_error = None;
                self.keep_addresses();
                self.agent.handle(AgentEvent::BrokerUp, self.now());
            }
            BrokerEvent::Link(LinkEvent::Disconnected { reason, retry_in: _ }) => {
                self.broker_lost(said_of_broker(&reason));
            }
            BrokerEvent::Link(LinkEvent::Map(sealed)) => self.pushed(&sealed),
            BrokerEvent::Ended => self.broker_lost("the connection ended".to_owned()),
        }
    }

    /// A message of the server's. What was sealed before what was already taken is a repetition.
    fn pushed(&mut self, sealed: &[u8]) {
        let opened = match self.session.channel().open(Direction::Down, sealed) {
            Ok(opened) => opened,
            Err(error) => {
                tracing::warn!("a pushed message was not taken: {error}");
                return self.agent.handle(AgentEvent::PushedUnreadable, self.now());
            }
        };
        if opened.sequence <= self.pushed {
            return tracing::debug!(sequence = opened.sequence, "a pushed message came again");
        }
        self.pushed = opened.sequence;
        let event = match wire::decode::<Down>(&opened.plaintext) {
            Ok(down) => {
                if let Down::Delta(delta) = &down {
                    self.unsaved.push(delta.clone());
                }
                AgentEvent::Pushed(down)
            }
            Err(_) => AgentEvent::PushedUnreadable,
        };
        self.agent.handle(event, self.now());
    }

    pub(super) async fn done(&mut self, done: Done) {
        match done {
            Done::Asked(Ok(answer)) => {
                self.asking = false;
                self.asked = Some(Ok(()));
                self.contact.answered = Some(now());
                self.keep_addresses();
                self.contact.error = None;
                if let Answer::Delta(delta) = &answer {
                    self.unsaved.push(delta.clone());
                }
                self.agent.handle(AgentEvent::Answered(answer), self.now());
                self.tell_settings();
            }
            Done::Asked(Err(error)) => {
                self.asking = false;
                let text = error.to_string();
                tracing::info!("no map: {text}");
                self.asked = Some(Err(text.clone()));
                self.contact.error = Some(text);
                self.agent.handle(AgentEvent::AskFailed(failure_of(&error)), self.now());
            }
            Done::Reported(result) => self.report_done(result),
            Done::Told(settings, Ok(())) => {
                self.session.record.told = settings;
                if let Err(error) = self.state.save_server(&self.session.record) {
                    tracing::warn!("{error:#}");
                }
            }
            Done::Told(_, Err(error)) => {
                tracing::warn!("the server did not take this machine's settings: {error}");
            }
            Done::Resolved(resolved) => self.resolved(resolved).await,
            Done::KeyTold(told) => self.key_told(told).await,
            Done::Synced(result) => self.synced(result),
            Done::Broken(error) => self.task_broke(&error),
        }
    }

    /// Where the server's names led is kept for when nobody can be asked.
    fn keep_addresses(&mut self) {
        if self.session.learn_addresses()
            && let Err(error) = self.state.save_server(&self.session.record)
        {
            tracing::warn!("{error:#}");
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
        if self.broker.take_if(|broker| broker.handle.road() == Some(Road::Usual)).is_some() {
            self.agent.handle(AgentEvent::BrokerDown, self.now());
        }
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
    map.networks.values().filter(|told| told.takes_part()).find_map(|told| Some(told.internet?.via))
}

fn failure_of(error: &NoMap) -> AskFailure {
    match error {
        NoMap::Talk(TalkError::Refused(refusal)) => refusal.into(),
        NoMap::Talk(TalkError::Link { .. } | TalkError::Nonsense { .. }) | NoMap::Unreadable(_) => {
            AskFailure::Unreachable
        }
    }
}

fn said_of_broker(error: &LinkError) -> String {
    error.to_string().replace("the server", "the broker")
}

/// The WebSocket of MQTT at the API's address.
fn websocket_url(api: &str) -> String {
    let base = api.trim_end_matches('/');
    let base = base.strip_prefix("http").map_or_else(|| base.to_owned(), |rest| format!("ws{rest}"));
    format!("{base}{}", wire::path::MQTT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broker_is_at_the_apis_own_address() {
        assert_eq!(websocket_url("https://vpn.example.org:8443/"), "wss://vpn.example.org:8443/mqtt");
        assert_eq!(websocket_url("http://127.0.0.1:80"), "ws://127.0.0.1:80/mqtt");
    }
}
