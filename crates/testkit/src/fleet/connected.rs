//! A simulated agent with its connection to the broker: it follows its map by deltas, and asks when one does not fit.
//!
//! Each connection starts clean with a fresh password: subscribe, say that it is there, fetch the map, then follow.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use model::Generation;
use rumqttc::{
    AsyncClient, Event, EventLoop, LastWill, MqttOptions, NetworkOptions, Packet, QoS, TlsConfiguration,
    Transport,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use wire::{Down, HostMap, HostTopic, RefusalCode, Report, TopicKind};

use super::{Agent, AgentError, random};

/// Everything that is waited for happens within this, or not at all.
const DEADLINE: Duration = Duration::from_secs(30);
const LARGEST: usize = 2 * 1024 * 1024;

/// How an agent keeps its connection.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    /// The MQTT keepalive.
    pub keepalive: Duration,
    /// Whether it comes back after the connection broke, after at most this long.
    pub come_back: Option<Duration>,
}

impl Default for Habits {
    fn default() -> Self {
        Self { keepalive: Duration::from_secs(60), come_back: Some(Duration::from_millis(500)) }
    }
}

/// What an agent knows and has seen.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Its map; none before the first one came.
    pub map: Option<HostMap>,
    /// When the map last changed.
    pub changed: Option<Instant>,
    /// Messages that were pushed to it.
    pub pushed: u64,
    /// Bytes of those.
    pub pushed_bytes: u64,
    /// Deltas that fitted.
    pub deltas: u64,
    /// Times it fetched its map.
    pub fetches: u64,
    /// It was told that it was removed.
    pub removed: bool,
    /// Why its last connection ended.
    pub trouble: Option<String>,
    /// It does not try again.
    pub gave_up: bool,
}

impl View {
    /// The generation of its map.
    pub fn generation(&self) -> Generation {
        self.map.as_ref().map_or(Generation::NONE, |map| map.generation)
    }
}

/// What its owner wants of the connection.
enum Wanted {
    Report(Vec<u8>),
    Freeze,
    Farewell,
}

/// A connected agent. Dropping it cuts the connection.
#[derive(Debug)]
pub struct Connected {
    /// The agent.
    pub agent: Arc<Agent>,
    view: watch::Receiver<View>,
    wanted: mpsc::Sender<Wanted>,
    task: JoinHandle<()>,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connected {
    /// Connects, and returns when the first map is there.
    pub async fn start(agent: Agent, habits: Habits) -> Result<Self> {
        let agent = Arc::new(agent);
        let (tell, view) = watch::channel(View::default());
        let (wanted, wishes) = mpsc::channel(16);
        let link = Link { agent: Arc::clone(&agent), habits, tell, wishes };
        let task = tokio::spawn(link.run());
        let connected = Self { agent, view, wanted, task };
        let ready = |view: &View| view.map.is_some() || view.gave_up;
        let view = connected.until("its first map", ready).await?;
        if view.gave_up {
            let reason = view.trouble.unwrap_or_default();
            return Err(anyhow!("{} could not connect: {reason}", connected.agent.name));
        }
        Ok(connected)
    }

    /// What it knows now.
    pub fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// Looks at what it knows without a copy.
    pub fn look<T>(&self, look: impl FnOnce(&View) -> T) -> T {
        look(&self.view.borrow())
    }

    /// Waits until its view is so, and takes a copy.
    pub async fn until(&self, what: &str, so: impl FnMut(&View) -> bool) -> Result<View> {
        self.wait(what, so).await?;
        Ok(self.view())
    }

    /// Waits until its view is so.
    pub async fn wait(&self, what: &str, so: impl FnMut(&View) -> bool) -> Result<()> {
        let mut view = self.view.clone();
        let waited = timeout(DEADLINE, view.wait_for(so)).await;
        let name = &self.agent.name;
        waited
            .map_err(|_| anyhow!("{name} waited for {what} in vain; it has {:?}", self.view.borrow()))?
            .with_context(|| format!("{name} ended while it waited for {what}"))?;
        Ok(())
    }

    /// Waits until its map is so.
    pub async fn until_map(&self, what: &str, mut so: impl FnMut(&HostMap) -> bool) -> Result<HostMap> {
        let view = self.until(what, |view| view.map.as_ref().is_some_and(&mut so)).await?;
        view.map.context("a map was there a moment ago")
    }

    /// Reports over MQTT.
    pub async fn report(&self, report: &Report) -> Result<()> {
        self.want(Wanted::Report(self.agent.seal(report))).await
    }

    /// From now on it neither reads nor writes, and its socket stays open: a machine without power.
    pub async fn freeze(&self) -> Result<()> {
        self.want(Wanted::Freeze).await
    }

    /// Says farewell and ends.
    pub async fn farewell(mut self) -> Result<()> {
        self.want(Wanted::Farewell).await?;
        let ended = timeout(DEADLINE, &mut self.task).await;
        ended.context("the farewell took too long")?.context("the connection broke")
    }

    async fn want(&self, wanted: Wanted) -> Result<()> {
        self.wanted.send(wanted).await.map_err(|_| anyhow!("{} has no connection any more", self.agent.name))
    }
}

struct Link {
    agent: Arc<Agent>,
    habits: Habits,
    tell: watch::Sender<View>,
    wishes: mpsc::Receiver<Wanted>,
}

/// How a connection ended.
enum Ended {
    Broken(anyhow::Error),
    Over,
}

impl From<anyhow::Error> for Ended {
    fn from(error: anyhow::Error) -> Self {
        Self::Broken(error)
    }
}

impl Link {
    async fn run(mut self) {
        loop {
            let reason = match self.connection().await {
                Ended::Over => return,
                Ended::Broken(reason) => reason,
            };
            let come_back = self.habits.come_back;
            self.tell.send_modify(|view| {
                view.trouble = Some(format!("{reason:#}"));
                view.gave_up = come_back.is_none();
            });
            let Some(longest) = come_back else {
                return;
            };
            let [pause] = random::<1>();
            tokio::time::sleep(longest.mul_f64(f64::from(pause) / 255.0)).await;
        }
    }

    async fn connection(&mut self) -> Ended {
        let (client, mut events) = self.prepare();
        loop {
            let done = tokio::select! {
                event = events.poll() => match event.context("the connection to the broker") {
                    Ok(event) => self.handle(event, &client).await,
                    Err(error) => Err(error.into()),
                },
                wanted = self.wishes.recv() => fulfil(&self.agent, wanted, &client, &mut events).await,
            };
            if let Err(ended) = done {
                return ended;
            }
        }
    }

    fn topic(&self, kind: TopicKind) -> String {
        topic(&self.agent, kind)
    }

    fn prepare(&self) -> (AsyncClient, EventLoop) {
        let agent = &self.agent;
        let host = agent.host.to_string();
        let (url, port) = (agent.site.broker(), 0);
        let secure = url.starts_with("wss");
        let mut options = MqttOptions::new(&host, url, port);
        let will = LastWill::new(self.topic(TopicKind::Presence), "offline", QoS::AtLeastOnce, false);
        options
            .set_transport(if secure {
                Transport::Wss(TlsConfiguration::Rustls(agent.site.tls()))
            } else {
                Transport::Ws
            })
            .set_credentials(&host, agent.password())
            .set_last_will(will)
            .set_keep_alive(self.habits.keepalive)
            .set_clean_session(true)
            .set_inflight(8)
            .set_max_packet_size(LARGEST, LARGEST);
        let (client, mut events) = AsyncClient::new(options, 16);
        let mut network = NetworkOptions::new();
        // Hundreds that connect at once on one machine take each other's time.
        network.set_connection_timeout(DEADLINE.as_secs());
        network.set_tcp_nodelay(true);
        events.set_network_options(network);
        (client, events)
    }

    async fn handle(&self, event: Event, client: &AsyncClient) -> Result<(), Ended> {
        match event {
            Event::Incoming(Packet::ConnAck(_)) => {
                let topic = self.topic(TopicKind::Map);
                client.try_subscribe(topic, QoS::AtLeastOnce).context("no room to subscribe")?;
            }
            Event::Incoming(Packet::SubAck(_)) => {
                let topic = self.topic(TopicKind::Presence);
                let said = client.try_publish(topic, QoS::AtLeastOnce, false, "online");
                said.context("no room to say that it is there")?;
                self.fetch().await?;
            }
            Event::Incoming(Packet::Publish(message)) => self.pushed(&message.payload).await?,
            Event::Incoming(_) | Event::Outgoing(_) => {}
        }
        Ok(())
    }

    async fn fetch(&self) -> Result<()> {
        let held = self.tell.borrow().map.clone();
        let map = loop {
            match self.agent.renew(held.as_ref()).await {
                Ok(map) => break map,
                Err(AgentError::Refused { refusal, .. }) if refusal.code == RefusalCode::Busy => {
                    tokio::time::sleep(turn(refusal.retry_after)).await;
                }
                Err(error) => return Err(error.into()),
            }
        };
        self.tell.send_modify(|view| {
            view.fetches += 1;
            if map.generation > view.generation() {
                view.map = Some(map);
                view.changed = Some(Instant::now());
            }
        });
        Ok(())
    }

    async fn pushed(&self, sealed: &[u8]) -> Result<(), Ended> {
        let (_, down) = self.agent.open(sealed)?;
        let mut ask = false;
        self.tell.send_modify(|view| {
            view.pushed += 1;
            view.pushed_bytes += sealed.len() as u64;
            ask = take(view, down);
        });
        if self.tell.borrow().removed {
            return Err(Ended::Over);
        }
        if ask {
            self.fetch().await?;
        }
        Ok(())
    }
}

/// When to come again: not before the server said, and not with all the others.
fn turn(retry_after: Option<u32>) -> Duration {
    let [jitter] = random::<1>();
    let least = Duration::from_secs(retry_after.unwrap_or(1).into());
    least.mul_f64(1.0 + f64::from(jitter) / 255.0)
}

/// Takes a message; true if the map has to be fetched.
fn take(view: &mut View, down: Down) -> bool {
    match down {
        Down::Removed => {
            view.removed = true;
            false
        }
        Down::Fetch(generation) => generation > view.generation(),
        Down::Delta(delta) if delta.generation <= view.generation() => false,
        Down::Delta(delta) => {
            let Some(map) = &mut view.map else {
                return true;
            };
            if wire::patch(map, delta).is_err() {
                return true;
            }
            view.deltas += 1;
            view.changed = Some(Instant::now());
            false
        }
    }
}

fn topic(agent: &Agent, kind: TopicKind) -> String {
    HostTopic { host: agent.host, kind }.to_string()
}

async fn fulfil(
    agent: &Agent,
    wanted: Option<Wanted>,
    client: &AsyncClient,
    events: &mut EventLoop,
) -> Result<(), Ended> {
    match wanted {
        None => Err(Ended::Over),
        Some(Wanted::Report(payload)) => {
            let topic = topic(agent, TopicKind::Report);
            let sent = client.try_publish(topic, QoS::AtLeastOnce, false, payload);
            Ok(sent.context("no room for a report")?)
        }
        Some(Wanted::Freeze) => std::future::pending().await,
        Some(Wanted::Farewell) => {
            let topic = topic(agent, TopicKind::Presence);
            let said = client
                .try_publish(topic, QoS::AtLeastOnce, false, "offline")
                .and_then(|()| client.try_disconnect());
            said.context("no room for a farewell")?;
            while events.poll().await.is_ok() {}
            Err(Ended::Over)
        }
    }
}
