//! Puts the server together: data folder, keys, database, rendezvous, broker, brain, and the front before all of them.
//!
//! Not for any of their work. It keeps one order: everything that can fail at the start fails before a port answers, and a
//! shutdown lets what was acknowledged be written.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::http::StatusCode;
use control::Door;
use dataplane::rendezvous::Rendezvous;
use model::{Digest, Endpoint, WgPublicKey};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use store::Database;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tower_http::timeout::TimeoutLayer;

use crate::agents::{self, Agents, Carrier, Replays};
use crate::attempts::Attempts;
use crate::brain::{self, Brain, Notice, Onlooker, Parts, Sighting, now};
use crate::broker::settings::BrokerSettings;
use crate::broker::{Authenticate, Broker, BrokerEvent, Chosen, Events, Guests, HostsOfIntent};
use crate::channels::Channels;
use crate::clock;
use crate::cluster::{
    self, Cluster, Holder, Leading, Letters, Outside, Pulse, Role, Voice, Way, while_leading,
};
use crate::front::{Certificates, Running};
use crate::ground::Ground;
use crate::http::{self, Admin};
use crate::names::ServerNames;
use crate::rekey;
use crate::settings::Settings;
use crate::setup::SetupCode;
use crate::telemetry::Telemetry;

/// How often certificate files are looked at.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(60);
/// How long a request may take until it is answered: who sends a body byte by byte must not keep its connection for ever.
/// MQTT over WebSocket is answered by its upgrade.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a server that starts waits until it is known who leads.
const FIRST_LEADER: Duration = Duration::from_secs(3);
/// What the rendezvous saw that waits to be carried to the server that leads.
const MOST_SIGHTINGS: usize = 4_096;
/// How often the journal is pruned.
const PRUNE_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// A running server.
pub struct Server {
    front: Running,
    cluster: Cluster,
    broker: Chosen,
    tasks: Vec<JoinHandle<()>>,
    brain: JoinHandle<()>,
    /// The way to its brain.
    pub handle: Brain,
    /// The pin of its certificate; none without TLS.
    pub pin: Option<Digest>,
    /// The addresses that tokens name.
    pub urls: Vec<String>,
    /// The UDP ports of the rendezvous.
    pub rendezvous: [u16; 2],
    /// Where names are answered.
    pub names: Vec<SocketAddr>,
}

impl Server {
    /// Starts everything the settings ask for.
    pub async fn start(mut settings: Settings, telemetry: Telemetry) -> Result<Self> {
        let ground = Ground::lay(&mut settings).await?;
        let links = ground.links(&settings)?;
        let Ground { identity, certificates, pin, pinned, front, doors, database, next } = ground;
        let (urls, rendezvous) =
            (settings.urls.clone(), doors.each_ref().map(|door| door.local_addr().port()));

        let gate = Arc::new(OnceLock::new());
        let (broker, events) = Chosen::new(&settings.broker, authenticate(Arc::clone(&gate)))?;
        let rekey = next.as_ref().map(rekey::Next::change);
        let channels = Arc::new(Channels::new(identity.sealing.clone(), next));
        let (play, role) = watch::channel(Role::Follows { leader: None });
        let outside = outside(&broker, &settings.broker);
        let cluster = Cluster::join(&database, holder(&settings, pinned())?, outside, role.clone());
        let (hearsay, heard) = mpsc::channel(MOST_SIGHTINGS);
        let parts = Parts {
            database: Arc::clone(&database),
            broker: broker.shared(),
            channels: Arc::clone(&channels),
            doors: doors.each_ref().map(Rendezvous::peers),
            links: links.clone(),
            domain: settings.domain.clone(),
            coalesce: settings.coalesce,
            claim: cluster.claim(),
            role: play,
            hearsay,
        };
        let (handle, brain) = Brain::start(parts).await?;
        // Nobody can have set it: it was made above.
        let _set = gate.set(handle.onlooker());
        let names =
            ServerNames::start(&settings.dns, settings.domain.clone(), &handle.intent(), now()).await?;
        let setup = Arc::new(SetupCode::prepare(&settings.data, &handle.intent())?);
        let guests = guests(&handle, &channels, &cluster);
        let brokers_routes = broker.router(&settings.broker, Arc::clone(&guests));
        let (way, letters) = (Arc::new(Way::new(role.clone())), Arc::new(Letters::new(&identity.sealing)));
        let voice = cluster.voice(&letters, leading(&handle));
        let attempts = Arc::new(Attempts::default());
        let agents = Agents::new(
            handle.clone(),
            identity,
            channels,
            settings.name.to_string(),
            Arc::clone(&attempts),
            (Arc::clone(&way), Arc::clone(&letters)),
        );
        let (run, carried_for) = (cluster.me.run.clone(), handle.clone());
        let carrier = Carrier { hearsay: heard, way, letters, run, brain: carried_for };
        let (answering, known) = (names.listening(), http::Names::of(&names));
        let shared = broker.shared();
        let tasks = Tasks { events, doors, certificates, database: Arc::clone(&database), broker: shared };
        let mut tasks = tasks.spawn(&handle, &settings);
        tasks.extend(broker.run(&guests, &cluster::leads(role.clone())));
        tasks.push(tokio::spawn(carrier.run()));
        tasks.push(tokio::spawn(names.follow(handle.told_from_now_on())));
        tasks.push(tokio::spawn(follow_setup(Arc::clone(&setup), handle.told_from_now_on())));
        let door = |door: &wire::Rendezvous| api::Rendezvous { port: door.port, key: door.key };
        let admin = Admin::new(http::AdminParts {
            brain: handle.clone(),
            database,
            broker: broker.shared(),
            pin: pinned,
            settings,
            attempts,
            setup,
            telemetry,
            names: known,
            rendezvous: links.rendezvous.iter().map(door).collect(),
            servers: cluster.running(),
            me: cluster.me.clone(),
            rekey,
        });
        let router = Router::new()
            .merge(agents::router(Arc::new(agents)))
            .merge(http::router(Arc::new(admin))?)
            .merge(brokers_routes)
            .merge(speak(voice, &mut tasks))
            .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_TIMEOUT));
        until_somebody_leads(role).await;
        let front = front.serve(router);
        Ok(Self { front, cluster, broker, tasks, brain, handle, pin, urls, rendezvous, names: answering })
    }

    /// Where HTTPS is served.
    pub fn address(&self) -> SocketAddr {
        self.front.address()
    }

    /// Waits for the brain to end, which it does before a shutdown only when something in it broke.
    pub async fn brain_ended(&mut self) {
        let _ended = (&mut self.brain).await;
    }

    /// Has another server lead, lets open requests finish, writes what is to be written, and ends.
    pub async fn shutdown(self) {
        let Self { front, cluster, broker, tasks, brain, handle, .. } = self;
        cluster.resign().await;
        front.shutdown().await;
        broker.shutdown();
        for task in tasks {
            task.abort();
            let _aborted = task.await;
        }
        drop(handle);
        if tokio::time::timeout(Duration::from_secs(10), brain).await.is_err() {
            tracing::warn!(
                "the brain did not end in time; inventory that was not written will be reported again"
            );
        }
    }
}

/// Raises the limit of open files as far as this process may: each agent that is connected takes one.
pub fn raise_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => tracing::debug!(?current, ?maximum, "the limit of open files was raised"),
        Err(error) => tracing::warn!(?current, %error, "the limit of open files was not raised"),
    }
}

/// What works beside the brain for as long as the server runs.
struct Tasks {
    events: Events,
    doors: [Rendezvous; 2],
    certificates: Option<Arc<Certificates>>,
    database: Arc<dyn Database>,
    broker: Arc<dyn Broker>,
}

impl Tasks {
    fn spawn(self, brain: &Brain, settings: &Settings) -> Vec<JoinHandle<()>> {
        let Self { events, doors, certificates, database, broker } = self;
        let (lifetime, ephemeral_after) = (settings.journal_lifetime, settings.ephemeral_after);
        let ticking = brain.clone();
        let mut tasks = vec![
            tokio::spawn(follow_broker(events, brain.clone())),
            // What must be done once is done by the one that leads.
            tokio::spawn(while_leading(brain.role(), move || {
                clock::run(ticking.clone(), Arc::clone(&broker), ephemeral_after)
            })),
        ];
        tasks.extend(lifetime.map(|lifetime| {
            tokio::spawn(while_leading(brain.role(), move || prune(Arc::clone(&database), lifetime)))
        }));
        let doors = [Door::First, Door::Second].into_iter().zip(doors);
        tasks.extend(doors.map(|(name, door)| tokio::spawn(follow_door(name, door, brain.clone()))));
        tasks.extend(certificates.map(|files| tokio::spawn(files.follow_files(CERTIFICATE_INTERVAL))));
        tasks
    }
}

/// What the other servers are told of this one.
fn holder(settings: &Settings, pin: Option<Digest>) -> Result<Holder> {
    let url = settings.advertise.as_ref().or(settings.urls.first()).cloned().unwrap_or_default();
    // Plain HTTP proves nobody.
    let pin = pin.filter(|_| url.starts_with("https://"));
    Holder::new(&settings.data, settings.name.to_string(), url, pin)
}

/// What of the broker matters for who leads.
fn outside(broker: &Chosen, settings: &BrokerSettings) -> Outside {
    let settings = match settings {
        BrokerSettings::Embedded => None,
        BrokerSettings::External(settings) => Some(settings.clone()),
    };
    Outside { broker: broker.shared(), settings }
}

/// Who may come to the broker.
fn guests(brain: &Brain, channels: &Arc<Channels>, cluster: &Cluster) -> Arc<dyn Guests> {
    Arc::new(HostsOfIntent::new(brain.clone(), Arc::clone(channels), cluster.claim()))
}

/// Has this server speak to the others, where there are any; the routes by which it hears them.
fn speak(voice: Option<(Arc<Voice>, Pulse)>, tasks: &mut Vec<JoinHandle<()>>) -> Router {
    let Some((voice, pulse)) = voice else { return Router::new() };
    tasks.push(tokio::spawn(pulse.run()));
    cluster::router(voice)
}

/// The epoch in which this server leads.
fn leading(brain: &Brain) -> Leading {
    let (role, told) = (brain.role(), brain.told_from_now_on());
    Box::new(move || {
        let leads = role.borrow().leads();
        leads.then(|| told.borrow().epoch()).flatten().map(|epoch| u64::from(epoch.number()))
    })
}

/// Who comes first finds somebody who leads, if there is anybody.
async fn until_somebody_leads(mut role: watch::Receiver<Role>) {
    let somebody = |role: &Role| match role {
        Role::Leads => true,
        Role::Follows { leader } => leader.is_some(),
    };
    if tokio::time::timeout(FIRST_LEADER, role.wait_for(somebody)).await.is_err() {
        tracing::warn!("no server leads yet: people are answered, and agents are asked to come again");
    }
}

/// The code is worth nothing any more once there is an account, whichever server it was made at.
async fn follow_setup(setup: Arc<SetupCode>, mut told: watch::Receiver<Arc<brain::Told>>) {
    if told.wait_for(|told| told.intent.is_set_up()).await.is_ok() {
        setup.used();
    }
}

/// The host of `https://host:port`, without the brackets of an IPv6 address.
pub(crate) fn host_of(url: &str) -> Option<String> {
    let authority = url.split_once("://")?.1;
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None => authority.split([':', '/']).next()?,
    };
    Some(host.to_owned())
}

/// A host logs in to the broker by a signature over its id and the time. The broker gets no `Brain`: the hub holds the
/// broker, and each would wait for the other to end.
fn authenticate(gate: Arc<OnceLock<Onlooker>>) -> Authenticate {
    let taken = Replays::default();
    Arc::new(move |host, password| {
        let (Some(onlooker), Ok(password)) = (gate.get(), std::str::from_utf8(password)) else {
            return false;
        };
        let intent = onlooker.intent();
        let Some(known) = intent.host(host) else {
            taken.forget(host);
            return false;
        };
        let refused = match wire::verify_mqtt_password(&known.signing_key, host, password, now()) {
            Ok(time) if taken.take(host, time) => return true,
            Ok(_) => "this password was used before".to_owned(),
            Err(error) => error.to_string(),
        };
        tracing::info!(host = %known.name, "broker log-in refused: {refused}");
        false
    })
}

async fn follow_broker(mut events: Events, brain: Brain) {
    while let Some(event) = events.recv().await {
        let notice = match event {
            BrokerEvent::Online { host } => Notice::Presence { host, online: true },
            BrokerEvent::Offline { host, .. } => Notice::Presence { host, online: false },
            BrokerEvent::Report { host, payload } => Notice::Report { host, sealed: payload },
            BrokerEvent::Missed { host } => Notice::Missed { host: Some(host) },
            BrokerEvent::Restored => Notice::Missed { host: None },
        };
        brain.notice(notice).await;
    }
}

async fn follow_door(name: Door, mut door: Rendezvous, brain: Brain) {
    loop {
        let seen = door.next_seen().await;
        if let Ok(endpoint) = Endpoint::new(seen.endpoint) {
            let key = WgPublicKey::from_bytes(seen.public_key);
            brain.notice(Notice::Seen(Sighting { key, door: name, endpoint })).await;
        }
    }
}

async fn prune(database: Arc<dyn Database>, lifetime: Duration) {
    loop {
        let lifetime = i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX);
        let older_than = model::Timestamp::from_millis(brain::now().as_millis().saturating_sub(lifetime));
        match database.prune(older_than).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "old entries of the journal were removed"),
            Err(error) => tracing::warn!(%error, "the journal was not pruned"),
        }
        tokio::time::sleep(PRUNE_INTERVAL).await;
    }
}
