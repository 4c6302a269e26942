//! The connection over which changes are pushed: where it leads, when it is made anew, and what it brings.
//!
//! ```text
//!   the map names brokers:  each in turn, by its authorities or the machine's; user name: the host; password: derived from the channel
//!   it names none:          the WebSocket of each server in turn, by the token's trust; password: signed, for once
//! ```
//!
//! Not for pauses and not for what is in messages: the brain knows. It keeps true that no broker of somebody else's ever sees what
//! is for the server alone, and that each address is tried before the brain is told that there is none.

use std::sync::Arc;
use std::time::Duration;

use model::Keepalive;
use reconcile::AgentEvent;
use tokio::sync::mpsc;
use wire::{Down, ServerLinks};

use super::inbox::Taken;
use super::{Engine, Mode};
use crate::link::{
    Backoff, Clear, Link, LinkError, LinkEvent, LinkHandle, LinkOptions, PasswordProvider, Road, ServerTrust,
};
use crate::talk::now;

/// So many brokers are tried, at most.
const MOST: usize = 16;

/// The connection to the broker, from the first attempt to its end.
pub(super) struct Broker {
    pub(super) handle: LinkHandle,
    events: mpsc::Receiver<LinkEvent>,
    url: String,
    ways: Ways,
    stood: bool,
}

impl Broker {
    pub(super) async fn close(self) {
        self.handle.close().await;
    }
}

/// How pushes can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ways {
    urls: Vec<String>,
    trust: ServerTrust,
    clear: Clear,
    /// Whether they are brokers beside the servers, of whoever.
    external: bool,
    keepalive: Duration,
}

impl Ways {
    /// As the map says, of a host that knows the servers at these addresses.
    fn of(links: &ServerLinks, servers: &[String], trust: ServerTrust) -> Self {
        let keepalive = Duration::from_secs(links.keepalive.unwrap_or(Keepalive::DEFAULT).get().into());
        if links.brokers.is_empty() {
            let urls = servers.iter().map(|url| websocket_url(url)).collect();
            return Self { urls, trust, clear: Clear::Anywhere, external: false, keepalive };
        }
        let urls = links.brokers.iter().take(MOST).cloned().collect();
        let named = links.broker_ca.as_deref();
        let trust = named.map_or(ServerTrust::PublicRoots, |pem| ServerTrust::Authorities(pem.into()));
        Self { urls, trust, clear: Clear::Here, external: true, keepalive }
    }

    /// Whether a connection to this address that was made in other ways would be made the same in these. A server that proved who
    /// it is need not do so again when it gets another certificate.
    fn hold(&self, url: &String, others: &Self) -> bool {
        let Self { urls, trust, clear: _, external, keepalive } = self;
        urls.contains(url)
            && (external, keepalive) == (&others.external, &others.keepalive)
            && (!external || *trust == others.trust)
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

impl Engine {
    fn ways(&self) -> Ways {
        let none = ServerLinks::default();
        let links = self.agent.map().map_or(&none, |map| &map.server);
        Ways::of(links, &self.session.record.all_urls(), self.session.record.trust())
    }

    /// Connects to the one whose turn it is, or to the next for which that can be tried.
    pub(super) fn connect_broker(&mut self) {
        self.broker = None;
        if self.mode == Mode::Once {
            return;
        }
        let ways = self.ways();
        self.tried = Some(ways.clone());
        while let Some(url) = self.turns.of(&ways.urls).cloned() {
            match Link::connect(self.options_for(&url, &ways)) {
                Ok((handle, events)) => {
                    self.broker = Some(Broker { handle, events, url, ways, stood: false });
                    return;
                }
                Err(error) => {
                    self.note_push_error(&error, &url);
                    if !self.turns.failed(ways.urls.len()) {
                        break;
                    }
                }
            }
        }
        self.agent.handle(AgentEvent::BrokerDown, self.now());
    }

    fn options_for(&self, url: &str, ways: &Ways) -> LinkOptions {
        let host = self.session.record.host;
        let password: PasswordProvider = if ways.external {
            let channel = self.session.channels().current.clone();
            Arc::new(move || channel.broker_password())
        } else {
            let signing = self.session.identity.signing.clone();
            Arc::new(move || wire::mqtt_password(&signing, host, now()))
        };
        let mut options = LinkOptions::new(url.to_owned(), host.to_string(), password, ways.trust.clone());
        // A lost connection is made anew by the brain's own pauses, perhaps to another address.
        options.backoff = Backoff { first: Duration::from_secs(3600), longest: Duration::from_secs(3600) };
        options.keepalive = ways.keepalive;
        options.clear = ways.clear;
        options.dialer = self.session.dialer.clone();
        options.acknowledge = ways.external;
        options
    }

    /// What the map says of servers and brokers. A connection that would be made otherwise now is made anew.
    pub(super) fn follow_links(&mut self) {
        let Some(map) = self.agent.map() else { return };
        if self.session.learn_servers(&map.server) {
            self.keep_record();
        }
        let ways = self.ways();
        let holds = match &self.broker {
            Some(broker) => ways.hold(&broker.url, &broker.ways),
            None => self.tried.as_ref().is_none_or(|tried| *tried == ways),
        };
        if !holds {
            self.leave_broker();
        }
    }

    /// A broker beside the servers knows this host by another password now.
    pub(super) fn leave_external(&mut self) {
        if self.ways().external {
            self.leave_broker();
        }
    }

    /// Leaves the broker for others, or for the same with another password.
    fn leave_broker(&mut self) {
        self.broker = None;
        self.tried = None;
        self.turns.begin();
        self.agent.handle(AgentEvent::BrokersChanged, self.now());
    }

    /// A server that answers is the first to be looked at for pushes.
    pub(super) fn follow_answers(&mut self) {
        let url = self.session.client.url().to_owned();
        if self.contact.url.as_ref() == Some(&url) {
            return;
        }
        if self.broker.is_none() {
            let servers = self.session.record.all_urls();
            self.turns.begin_at(servers.iter().position(|server| *server == url).unwrap_or_default());
        }
        self.contact.url = Some(url);
        // The rendezvous may be at the same address.
        self.resolve();
    }

    /// The roll was called.
    pub(super) fn say_online(&mut self) {
        if let Some(broker) = &self.broker
            && let Err(error) = broker.handle.say_online()
        {
            tracing::debug!("not said that this host is there: {error}");
        }
    }

    pub(super) fn broker_said(&mut self, event: BrokerEvent) {
        match event {
            BrokerEvent::Link(LinkEvent::Connected) => self.broker_stands(),
            BrokerEvent::Link(LinkEvent::Disconnected { reason, retry_in: _ }) => self.broker_lost(&reason),
            BrokerEvent::Link(LinkEvent::Map(sealed)) => self.pushed(&sealed),
            BrokerEvent::Ended => self.broker_lost(&LinkError::Lost("it ended".to_owned())),
        }
    }

    fn broker_stands(&mut self) {
        let Some(broker) = &mut self.broker else { return };
        broker.stood = true;
        if !broker.ways.external {
            // Whoever takes connections leads the servers, and is asked first.
            let servers = self.session.record.all_urls();
            let server = servers.iter().find(|server| websocket_url(server) == broker.url);
            self.session.client.prefer(server.map_or("", String::as_str));
        }
        self.turns.had();
        self.contact.push_error = None;
        self.keep_addresses();
        self.agent.handle(AgentEvent::BrokerUp, self.now());
    }

    /// Another one is tried at once if there is one that was not; else the brain says when.
    fn broker_lost(&mut self, reason: &LinkError) {
        let Some(broker) = self.broker.take() else { return };
        self.note_push_error(reason, &broker.url);
        if broker.stood {
            self.turns.lost();
        } else if self.turns.failed(broker.ways.urls.len()) {
            return self.connect_broker();
        }
        self.agent.handle(AgentEvent::BrokerDown, self.now());
    }

    fn note_push_error(&mut self, error: &LinkError, url: &str) {
        let said = format!("{} ({url})", error.to_string().replace("the server", "the broker"));
        tracing::debug!("no pushes: {said}");
        self.contact.push_error = Some(said);
    }

    /// A message of the server's.
    fn pushed(&mut self, sealed: &[u8]) {
        let taken = self.inbox.take(self.session.channels(), sealed).map(|(taken, which)| {
            self.heard_by(which);
            taken
        });
        let event = match taken {
            Ok(Taken::Message(down)) => {
                if let Down::Delta(delta) = &*down {
                    self.unsaved.push(delta.clone());
                }
                AgentEvent::Pushed(*down)
            }
            Ok(Taken::Unreadable) => AgentEvent::PushedUnreadable,
            Ok(Taken::Again) => return tracing::debug!("a pushed message came again, or too late"),
            Err(error) => {
                tracing::warn!("a pushed message was not taken: {error}");
                AgentEvent::PushedUnreadable
            }
        };
        self.agent.handle(event, self.now());
    }

    /// Where changes come from; none while they do not.
    pub(super) fn pushing(&self) -> Option<&str> {
        let broker = self.broker.as_ref().filter(|broker| broker.stood && broker.ways.external)?;
        Some(&broker.url)
    }

    /// A connection that leaves this machine through a full tunnel has lost its way with it.
    pub(super) fn leave_usual_road(&mut self) {
        if self.broker.take_if(|broker| broker.handle.road() == Some(Road::Usual)).is_some() {
            self.agent.handle(AgentEvent::BrokerDown, self.now());
        }
    }
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

    fn ways(links: &ServerLinks) -> Ways {
        let servers = ["https://a:8443/".to_owned(), "https://b:8443".to_owned()];
        Ways::of(links, &servers, ServerTrust::Pin([7; 32]))
    }

    fn brokers(urls: &[&str]) -> ServerLinks {
        ServerLinks { brokers: urls.iter().map(|url| (*url).to_owned()).collect(), ..ServerLinks::default() }
    }

    #[test]
    fn the_broker_is_at_each_servers_own_address_by_the_tokens_trust() {
        assert_eq!(websocket_url("http://127.0.0.1:80"), "ws://127.0.0.1:80/mqtt");
        let ways = ways(&ServerLinks::default());
        assert_eq!(ways.urls, ["wss://a:8443/mqtt", "wss://b:8443/mqtt"]);
        assert_eq!((ways.trust, ways.external), (ServerTrust::Pin([7; 32]), false));
    }

    #[test]
    fn a_broker_that_the_map_names_is_never_taken_for_the_server() {
        let links = brokers(&["mqtts://c:8883", "mqtts://d:8883"]);
        let of_machine = ways(&links);
        assert_eq!(of_machine.urls, links.brokers);
        assert_eq!(
            (&of_machine.trust, of_machine.clear, of_machine.external),
            (&ServerTrust::PublicRoots, Clear::Here, true)
        );
        let named = ways(&ServerLinks { broker_ca: Some("PEM".to_owned()), ..links });
        assert_eq!(named.trust, ServerTrust::Authorities("PEM".into()));
    }

    #[test]
    fn a_connection_is_left_for_other_brokers_authorities_or_times_and_for_nothing_else() {
        let made = ways(&brokers(&["mqtts://c", "mqtts://d"]));
        let holds = |links: &ServerLinks| ways(links).hold(&"mqtts://d".to_owned(), &made);
        assert!(holds(&brokers(&["mqtts://d"])) && holds(&brokers(&["mqtts://e", "mqtts://d"])));
        let rendezvous = ServerLinks { servers: vec!["https://n".to_owned()], ..brokers(&["mqtts://d"]) };
        assert!(holds(&rendezvous));
        assert!(!holds(&brokers(&["mqtts://c"])) && !holds(&ServerLinks::default()));
        assert!(!holds(&ServerLinks { broker_ca: Some(String::new()), ..brokers(&["mqtts://d"]) }));
        let keepalive = Some(Keepalive::new(7).unwrap());
        assert!(!holds(&ServerLinks { keepalive, ..brokers(&["mqtts://d"]) }));
    }

    #[test]
    fn a_server_that_gets_another_certificate_is_not_left() {
        let (none, servers) = (ServerLinks::default(), ["https://a".to_owned()]);
        let made = Ways::of(&none, &servers, ServerTrust::Pin([7; 32]));
        let now = Ways::of(&none, &servers, ServerTrust::EitherPin([[7; 32], [8; 32]]));
        assert!(now != made && now.hold(&"wss://a/mqtt".to_owned(), &made));
    }
}
