//! The shell around the agent's two brains: their actions are carried out here, in order, and what happens is told to them.
//!
//! ```text
//!   broker ─┐                ┌─ Agent ─► store, carry out, ask, report, connect
//!   HTTP ───┤                │
//!   netlink ┼─► one loop ────┤
//!   clock ──┤                └─ Paths ─► look, point, poke
//!   socket ─┘
//! ```
//!
//! Not for deciding: `reconcile` does. One thing is done at a time, so that there is never more than one reconcile; what
//! happens meanwhile waits in bounded queues. It keeps true that ending the loop leaves every tunnel as it is.

mod agree;
mod broker;
mod calls;
mod carry;
mod doors;
mod events;
mod forget;
mod inbox;
mod keeper;
mod messages;
mod prepare;
mod rotate;
mod routers;
mod session;
mod show;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::time::Duration;

use ipnet::IpNet;
use model::{Endpoint, Generation, Timestamp, WgPublicKey};
use platform::{Machine, Watch};
use reconcile::{Agent, AgentAction, AgentEvent, PROBE_PORT, Routers};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use wire::{Delta, Facts};

use crate::control::{Call, Reply};
use crate::hands;
use crate::names::NameService;
use crate::options::Options;
use crate::places::Places;
use crate::probe::Prober;
use crate::state::{InterfaceRecord, MapFile, State, random};
use crate::talk::now;
use crate::view::View;

pub use keeper::{Followed, Keeper};
pub use session::{NoMap, Session, client_of, fetch_map};

use broker::{Broker, Ways};
use inbox::Inbox;
use messages::Done;
use turns::Turns;

/// How often everything is looked at, whatever was or was not noticed.
const FULL_LOOK: Duration = Duration::from_secs(300);
/// How the engine is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As a daemon: changes are pushed, the machine is watched.
    Daemon,
    /// Once, for `--daemon=off`: the server is asked, and that is all.
    Once,
}

/// Why the engine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The process was told to end.
    Told,
    /// The state on disk changed.
    Reload,
    /// The server has removed this host; everything was taken down.
    Removed,
    /// What it was started for is done (`Mode::Once`).
    Finished,
}

/// How it went with the server.
#[derive(Debug, Default)]
struct Contact {
    answered: Option<Timestamp>,
    error: Option<String>,
    /// Whether its answer could not be read.
    unreadable: bool,
    /// Where the server answered last.
    url: Option<String>,
    push_error: Option<String>,
}

/// The loop's state. See the module.
pub struct Engine {
    mode: Mode,
    started: Instant,
    since: Timestamp,
    state: State,
    options: Options,
    session: Session,
    facts: Facts,
    agent: Agent,
    keeper: Keeper<Machine>,
    /// None where nothing is left running to answer.
    names: Option<NameService>,
    routers: Routers,
    /// None where nothing is left running to answer.
    prober: Option<Prober>,
    /// When addresses that could not be had are tried again.
    listen_at: Option<Duration>,
    /// When there is something to be settled about keys.
    key_at: Option<Duration>,
    telling_key: Option<rotate::Purpose>,
    /// The machine's own addresses.
    addresses: BTreeSet<IpNet>,
    rendezvous: BTreeMap<WgPublicKey, Endpoint>,
    map_file: MapFile,
    /// Deltas that came since the map was last written down; the agent's brain says which of them it took.
    unsaved: Vec<Delta>,
    sync_at: Option<Duration>,
    /// When the map is written without what was taken away.
    forget_at: Option<Duration>,
    store_error: Option<String>,
    carried: Option<Generation>,
    contact: Contact,
    broker: Option<Broker>,
    /// Whose turn it is among those by which pushes can be had.
    turns: Turns,
    /// How the last attempt was made.
    tried: Option<Ways>,
    inbox: Inbox,
    agreeing: bool,
    asking: bool,
    asked: Option<Result<(), String>>,
    reporting: bool,
    reported: bool,
    tasks: JoinSet<Done>,
    watch: Option<Watch>,
    look_at: Option<Duration>,
    others_changed: bool,
    look_wholly: bool,
    looked: Duration,
    full_at: Duration,
    resolve_at: Option<Duration>,
    resolving: bool,
    pulls: Vec<oneshot::Sender<Reply>>,
}

impl Engine {
    /// Looks at the machine and takes up what is there. Fails where nothing can be done before a person did something.
    pub async fn new(
        mode: Mode,
        places: &Places,
        state: State,
        options: Options,
        session: Session,
    ) -> anyhow::Result<Self> {
        let link = options.interface.clone();
        prepare::remove_former(places, &state, &options, &session).await?;
        let machine = hands::machine(places, &link)?;
        let watch = if mode == Mode::Daemon { Some(machine.watch().await?) } else { None };
        let actual = machine.observe().await?;
        let local = prepare::local_settings(&machine, &actual, &state, &options, &session).await?;
        prepare::keep_interface(&state, &InterfaceRecord { link, port: local.port })?;
        let addresses = machine.local_addresses().await?;
        let mut map_file = state.map_file(&session.record.name);
        let map = map_file.open()?;
        // Nobody knows what is in the log of an earlier run.
        let forget_at = (map.is_some() && !map_file.is_folded()).then_some(forget::FORGET_WITHIN);
        let inbox = Inbox::after(map.as_ref().map_or(0, |map| map.generation.number()));
        let facts = Facts {
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            wireguard: local.kind.to_string(),
            ..platform::facts()
        };
        let seed = u64::from_le_bytes(random()?);
        let started = Instant::now();
        let next = session.identity.next.as_ref().filter(|next| next.public() == local.key);
        let secret = next.unwrap_or(&session.identity.wireguard).clone();
        let kept = state.kept()?;
        // A key that was being changed when an earlier run ended is settled first.
        let key_at = rotate::is_open(&session).then_some(Duration::ZERO);
        let serial = u32::try_from(now().as_millis() / 1000).unwrap_or_default();
        let names = (mode == Mode::Daemon)
            .then(|| NameService::new(options.interface.clone(), state.resolver(), options.dns, serial));
        let mut engine = Self {
            mode,
            started,
            since: now(),
            agent: Agent::new(map, seed, Duration::ZERO),
            keeper: Keeper::new(machine, local, secret, kept, actual, started),
            names,
            routers: Routers::new(seed.rotate_left(32)),
            prober: (mode == Mode::Daemon).then(|| Prober::new(PROBE_PORT)),
            listen_at: None,
            key_at,
            telling_key: None,
            state,
            options,
            session,
            facts,
            addresses,
            rendezvous: BTreeMap::new(),
            map_file,
            unsaved: Vec::new(),
            sync_at: None,
            forget_at,
            store_error: None,
            carried: None,
            contact: Contact::default(),
            broker: None,
            turns: Turns::default(),
            tried: None,
            inbox,
            agreeing: false,
            asking: false,
            asked: None,
            reporting: false,
            reported: false,
            tasks: JoinSet::new(),
            watch,
            look_at: None,
            others_changed: false,
            look_wholly: false,
            looked: Duration::ZERO,
            full_at: FULL_LOOK,
            resolve_at: None,
            resolving: false,
            pulls: Vec::new(),
        };
        engine.agent.handle(AgentEvent::Facts(engine.facts.clone()), Duration::ZERO);
        engine.keeper.set_addresses(engine.addresses.clone());
        engine.tell_local();
        engine.look_inside().await;
        Ok(engine)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Runs until told otherwise. `ready` is called once the first map was carried out, or it is clear that none comes soon.
    pub async fn run(
        &mut self,
        calls: &mut mpsc::Receiver<Call>,
        told: Pin<&mut (dyn Future<Output = ()> + Send)>,
        ready: impl FnOnce(),
    ) -> End {
        let end = self.run_on(calls, told, ready).await;
        self.forget();
        end
    }

    async fn run_on(
        &mut self,
        calls: &mut mpsc::Receiver<Call>,
        mut told: Pin<&mut (dyn Future<Output = ()> + Send)>,
        ready: impl FnOnce(),
    ) -> End {
        let mut ready = Some(ready);
        loop {
            self.drain().await;
            if (self.carried.is_some() || self.asked.is_some())
                && let Some(ready) = ready.take()
            {
                ready();
            }
            if self.agent.is_removed() {
                return End::Removed;
            }
            if self.mode == Mode::Once && self.is_finished() {
                return End::Finished;
            }
            let event = self.next(calls, told.as_mut()).await;
            if let Some(end) = self.handle(event).await {
                return end;
            }
        }
    }

    /// Says farewell to the broker. Tunnels stay; names are answered by nobody any more, and the resolver is told.
    pub async fn close(mut self) {
        self.end_change().await;
        if let Some(names) = &mut self.names {
            names.end().await;
        }
        if let Some(broker) = self.broker {
            broker.close().await;
        }
    }

    /// The first answer of the server has been carried out, reported, and the paths have had a moment.
    fn is_finished(&self) -> bool {
        match &self.asked {
            None => false,
            Some(Err(_)) => true,
            Some(Ok(())) if self.asking || self.reporting || self.agreeing || self.telling_key.is_some() => {
                false
            }
            Some(Ok(())) if self.agent.has_news() => false,
            Some(Ok(())) => self.reported && (!self.is_trying() || self.now() > Duration::from_secs(4)),
        }
    }

    fn is_trying(&self) -> bool {
        self.agent.map().is_some_and(|map| self.keeper.is_trying(map))
    }

    /// How asking the server went; `Mode::Once`.
    pub fn outcome(&self) -> Result<(), String> {
        self.asked.clone().unwrap_or(Ok(()))
    }

    async fn drain(&mut self) {
        loop {
            while let Some(action) = self.agent.poll_action() {
                self.act(action).await;
            }
            match self.keeper.follow_paths().await {
                Some(Followed::Look) => self.tell_outcome(),
                Some(Followed::Changes) => {}
                None if self.follow_routers().await => {}
                None => break,
            }
        }
        self.follow_clients().await;
        // What the brain did not take is nothing to be written down.
        self.unsaved.clear();
        if !self.asking {
            self.answer_pulls();
        }
    }

    async fn act(&mut self, action: AgentAction) {
        match action {
            AgentAction::Store => self.store(),
            AgentAction::CarryOut(changed) => self.carry_out(changed).await,
            AgentAction::TakeDown => self.take_down().await,
            AgentAction::ConnectBroker => self.connect_broker(),
            AgentAction::SayOnline => self.say_online(),
            AgentAction::Agree { server } => self.agree(server),
            AgentAction::ServerBack => {
                self.keeper.paths.handle_server_back(self.now());
                self.resolve();
            }
            AgentAction::Rotate => self.rotate(),
            AgentAction::Ask { have } => self.ask(have),
            AgentAction::Report(report) => self.report(report),
        }
    }

    /// The view of an engine that is about to be shown.
    pub async fn show(&mut self) -> View {
        self.view().await
    }
}
