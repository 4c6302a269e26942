//! Who is there, and that nobody reaches another host's topics.

use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS, SubscribeReasonCode, Transport};
use testkit::fleet::{Agent, Connected, Habits, View};
use wire::{HostTopic, TopicKind};

use crate::running::{DEADLINE, start, start_with};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_is_online_until_it_says_farewell_or_its_socket_is_gone() {
    let ready = start().await;
    let token = ready.network("home", "10.1.0.0/16").await;
    let web = ready.connected(&token, "web").await;
    ready.until_online("web", true).await;
    web.farewell().await.unwrap();
    ready.until_online("web", false).await;

    let db = ready.connected(&token, "db").await;
    ready.until_online("db", true).await;
    drop(db);
    ready.until_online("db", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_without_power_is_offline_within_one_and_a_half_keepalives() {
    let ready = start().await;
    let token = ready.network("home", "10.1.0.0/16").await;
    let habits = Habits { keepalive: Duration::from_secs(2), come_back: None };
    let agent = Agent::join(&token, "web").await.unwrap();
    let web = Connected::start(agent, habits).await.unwrap();
    ready.until_online("web", true).await;
    web.freeze().await.unwrap();
    let took = ready.until_online("web", false).await;
    assert!(took < Duration::from_millis(4500), "{took:?}");
}

/// A client that does as it is told, with the credentials of one host.
struct Client {
    mqtt: AsyncClient,
    events: EventLoop,
}

impl Client {
    fn of(agent: &Agent, password: String) -> Self {
        let host = agent.host.to_string();
        let url = format!("{}{}", agent.site.url().replace("http", "ws"), wire::path::MQTT);
        let mut options = MqttOptions::new(&host, url, 0);
        options.set_transport(Transport::Ws).set_credentials(&host, password);
        let (mqtt, events) = AsyncClient::new(options, 10);
        Self { mqtt, events }
    }

    /// The next packet; none when the connection ended.
    async fn next(&mut self) -> Option<Packet> {
        loop {
            match tokio::time::timeout(DEADLINE, self.events.poll()).await.expect("in time") {
                Ok(Event::Incoming(packet)) => return Some(packet),
                Ok(Event::Outgoing(_)) => {}
                Err(_) => return None,
            }
        }
    }

    async fn connected(mut self) -> Option<Self> {
        matches!(self.next().await?, Packet::ConnAck(_)).then_some(self)
    }

    async fn may_subscribe(&mut self, topic: &str) -> bool {
        self.mqtt.try_subscribe(topic, QoS::AtLeastOnce).unwrap();
        loop {
            match self.next().await {
                Some(Packet::SubAck(answer)) => {
                    return !answer.return_codes.contains(&SubscribeReasonCode::Failure);
                }
                Some(_) => {}
                None => return false,
            }
        }
    }

    async fn may_publish(&mut self, topic: &str, payload: Vec<u8>) -> bool {
        self.mqtt.try_publish(topic, QoS::AtLeastOnce, false, payload).unwrap();
        loop {
            match self.next().await {
                Some(Packet::PubAck(_)) => return true,
                Some(_) => {}
                None => return false,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_tries_another_hosts_topics_gets_nothing() {
    let ready = start_with("tls = \"off\"").await;
    let token = ready.network("home", "10.1.0.0/16").await;
    let victim = ready.connected(&token, "victim").await;
    ready.until_online("victim", true).await;
    let thief = Agent::join(&token, "thief").await.unwrap();
    let knows = |view: &View| view.map.as_ref().is_some_and(|map| map.peers.contains_key(&thief.host.into()));
    victim.wait("the thief's joining", knows).await.unwrap();
    let before = victim.view().pushed;
    let topic = |host, kind| HostTopic { host, kind }.to_string();
    let of_victim = |kind| topic(victim.agent.host, kind);

    let mut client = Client::of(&thief, thief.password()).connected().await.unwrap();
    assert!(client.may_subscribe(&topic(thief.host, TopicKind::Map)).await);
    let filters = ["#", "+/+/+/+/+", "netloom/v1/host/+/map", "$SYS/#"].map(str::to_owned);
    let kinds = [TopicKind::Map, TopicKind::Report, TopicKind::Presence].map(of_victim);
    for filter in filters.iter().chain(&kinds) {
        assert!(!client.may_subscribe(filter).await, "{filter}");
    }
    for (kind, payload) in [
        (TopicKind::Presence, b"offline".to_vec()),
        (TopicKind::Map, b"junk".to_vec()),
        (TopicKind::Report, thief.seal(&wire::Report::default())),
    ] {
        let mut client = Client::of(&thief, thief.password()).connected().await.unwrap();
        assert!(!client.may_publish(&of_victim(kind), payload).await, "{kind:?}");
    }
    assert!(ready.admin.host("victim").await.unwrap().inventory.online);
    assert!(Client::of(&victim.agent, thief.password()).connected().await.is_none(), "another's password");
    assert!(Client::of(&thief, "1.x".to_owned()).connected().await.is_none());
    assert_eq!(victim.view().pushed, before, "nothing of it was told to the victim");
}
