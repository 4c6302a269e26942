//! One lane of changes: somebody at one server who makes things, changes them and removes them, one after the other, and acts
//! upon nothing that anybody else acts upon.
//!
//! Not for what must be true (`ledger`). It keeps true that a thing about which nobody knows is left alone from then on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use api::path;
use data_encoding::BASE64;
use model::{HostId, NetworkId};
use reqwest::Method;
use serde_json::{Value, json};

use super::conduct::Conduct;
use super::dice::Dice;
use super::judge;
use super::ledger::{Act, State};
use super::speak::{Outcome, Request};
use crate::fleet::random;

/// Things that a lane has at a time.
const MOST_THINGS: usize = 6;
/// A thing that was acknowledged so long ago is known at every server that is well.
const SETTLED: Duration = Duration::from_secs(1);
/// Of a hundred acts, so many are asked of the other server.
const ELSEWHERE: usize = 15;

/// A network of the fleet.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) id: NetworkId,
    /// The name of the host that lets clients in, and that policies speak of.
    pub(super) gateway: String,
}

/// A host that this lane alone acts upon.
#[derive(Debug, Clone)]
pub(super) struct Tenant {
    pub(super) id: HostId,
    pub(super) name: String,
    /// Its network, by its place in the list.
    pub(super) home: usize,
}

/// What kind of thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Client,
    Record,
    Policy,
    Network,
    /// A host's node in its own network: it is there from the beginning to the end, and changes its tag.
    Home,
    /// A host's name.
    Name,
    /// A host's node in another network.
    Guest,
}

/// More of what costs little.
const KINDS: [Kind; 15] = [
    Kind::Client,
    Kind::Client,
    Kind::Client,
    Kind::Client,
    Kind::Record,
    Kind::Record,
    Kind::Record,
    Kind::Policy,
    Kind::Policy,
    Kind::Network,
    Kind::Home,
    Kind::Home,
    Kind::Name,
    Kind::Guest,
    Kind::Guest,
];

/// A thing that is there, or that can be.
#[derive(Debug, Clone)]
struct Thing {
    kind: Kind,
    key: String,
    state: State,
    /// The path below which it is made, and its own.
    made_at: String,
    path: String,
    /// Its name, or the host's id.
    name: String,
    since: Instant,
}

/// A lane.
pub(super) struct Lane {
    conduct: Arc<Conduct>,
    dice: Dice,
    server: usize,
    places: Arc<Vec<Place>>,
    things: Vec<Thing>,
    /// Hosts and what is acted upon of them; each at most once.
    free: Vec<(Kind, Tenant)>,
}

impl Lane {
    /// A lane at this server with these hosts.
    pub(super) fn new(
        conduct: Arc<Conduct>,
        dice: Dice,
        server: usize,
        places: Arc<Vec<Place>>,
        tenants: Vec<Tenant>,
    ) -> Self {
        let parts = |tenant: Tenant| [Kind::Home, Kind::Name, Kind::Guest].map(|kind| (kind, tenant.clone()));
        let free = tenants.into_iter().flat_map(parts).collect();
        Self { conduct, dice, server, places, things: Vec::new(), free }
    }

    /// Changes something every so often, until it is told to end.
    pub(super) async fn run(mut self, pause: Duration) {
        let mut ticks = tokio::time::interval(pause);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.conduct.is_over() {
            ticks.tick().await;
            self.step().await;
        }
    }

    async fn step(&mut self) {
        let make = self.things.len() < MOST_THINGS && (self.things.len() < 2 || self.dice.percent(40));
        let Some(mut thing) = (if make { self.choose() } else { self.take() }) else {
            return;
        };
        let (act, request) = self.plan(&thing);
        let server = self.server_for(&thing);
        let start = Instant::now();
        let outcome = request.send(&self.conduct.administrators[server]).await;
        let Conduct { ledger, commits, .. } = &*self.conduct;
        ledger.note(server, &act, &outcome);
        match outcome {
            Outcome::Done(answer) => {
                commits.add(start.elapsed());
                thing.done(act.to, &answer);
            }
            Outcome::Refused { status, why } => {
                if !matches!(status, 0 | 429 | 503) {
                    ledger.complain(format!("server {server} refused {act:?} with {status}: {why}"));
                    return;
                }
            }
            // Nobody touches it any more: it is one or the other in the end.
            Outcome::Unknown(_) => return,
        }
        self.keep(thing);
    }

    /// What is gone is forgotten, unless it is a host.
    fn keep(&mut self, thing: Thing) {
        let is_host = matches!(thing.kind, Kind::Home | Kind::Name | Kind::Guest);
        if thing.state.is_some() || is_host {
            self.things.push(thing);
        }
    }

    /// The server of this lane, or at times the other one, where what was acknowledged must be known by now.
    fn server_for(&mut self, thing: &Thing) -> usize {
        let known = thing.since.elapsed() > SETTLED && self.conduct.calm_for(SETTLED);
        if known && self.dice.percent(ELSEWHERE) {
            return (self.server + 1) % self.conduct.administrators.len();
        }
        self.server
    }

    fn take(&mut self) -> Option<Thing> {
        let at = self.dice.below(self.things.len());
        (at < self.things.len()).then(|| self.things.swap_remove(at))
    }

    /// A thing that is to be made, or a host that is to be changed.
    fn choose(&mut self) -> Option<Thing> {
        let kind = *self.dice.pick(&KINDS)?;
        if matches!(kind, Kind::Home | Kind::Name | Kind::Guest) {
            let at = self.free.iter().position(|(free, _)| *free == kind)?;
            let (_, tenant) = self.free.swap_remove(at);
            return self.tenant(kind, &tenant);
        }
        let number = self.conduct.number();
        let place = self.dice.pick(&self.places)?;
        let (id, network) = (place.id, place.id.to_string());
        let (template, word, name) = match kind {
            Kind::Client => (path::CLIENTS, "client", format!("c{number}")),
            Kind::Record => (path::DNS_RECORDS, "record", format!("r{number}")),
            Kind::Policy => (path::POLICIES, "policy", format!("p{number}")),
            Kind::Network => (path::NETWORKS, "network", format!("n{number}")),
            Kind::Home | Kind::Name | Kind::Guest => return None,
        };
        let key = if kind == Kind::Network { judge::network(&name) } else { judge::below(word, id, &name) };
        let made_at = path::fill(template, &[&network]);
        let path = format!("{made_at}/{name}");
        Some(Thing { kind, key, state: None, made_at, path, name, since: Instant::now() })
    }

    fn tenant(&mut self, kind: Kind, tenant: &Tenant) -> Option<Thing> {
        let host = tenant.id.to_string();
        let place = if kind == Kind::Guest { tenant.home + 1 } else { tenant.home } % self.places.len();
        if kind == Kind::Guest && place == tenant.home {
            return None;
        }
        let network = self.places.get(place)?.id;
        let made_at = path::fill(path::NODES, &[&network.to_string()]);
        let node = judge::below("node", network, &host);
        let own = (path::fill(path::HOST, &[&host]), format!("{made_at}/{host}"));
        let (key, path, state) = match kind {
            Kind::Name => (format!("host {host}"), own.0, Some(tenant.name.clone())),
            Kind::Home => (node, own.1, Some(String::new())),
            _ => (node, own.1, None),
        };
        self.conduct.ledger.begin(&key, state.clone());
        Some(Thing { kind, key, state, made_at, path, name: host, since: Instant::now() })
    }

    /// What is done to a thing next.
    fn plan(&mut self, thing: &Thing) -> (Act, Request) {
        let mark = format!("{}{}", judge::MARK, self.conduct.number());
        let stays = matches!(thing.kind, Kind::Home | Kind::Name);
        let removes = thing.state.is_some() && !stays && self.dice.percent(35);
        let to = (!removes).then(|| mark.clone());
        let act = Act { thing: thing.key.clone(), from: thing.state.clone(), to };
        let (method, path) = match (&thing.state, removes) {
            (None, _) => (Method::POST, &thing.made_at),
            (Some(_), true) => (Method::DELETE, &thing.path),
            (Some(_), false) => (Method::PATCH, &thing.path),
        };
        let body = if method == Method::POST { self.made(thing, &mark) } else { changed(thing, &mark) };
        (act, Request { method, path: path.clone(), body })
    }

    fn made(&mut self, thing: &Thing, mark: &str) -> Value {
        let name = &thing.name;
        match thing.kind {
            Kind::Client => {
                json!({"name": name, "tags": [mark], "public_key": BASE64.encode(&random::<32>())})
            }
            Kind::Record => json!({"name": name, "data": {"type": "txt", "text": mark}}),
            Kind::Policy => {
                let at = self.places.iter().find(|place| thing.key.contains(&place.id.to_string()));
                let gateway = at.map(|place| place.gateway.clone()).unwrap_or_default();
                json!({"name": name, "from": [format!("tag:{mark}")], "to": [format!("node:{gateway}")]})
            }
            Kind::Network => json!({"name": name, "domain": format!("{mark}.example")}),
            Kind::Home | Kind::Name | Kind::Guest => json!({"host": name, "tags": [mark]}),
        }
    }
}

fn changed(thing: &Thing, mark: &str) -> Value {
    match thing.kind {
        Kind::Client | Kind::Home | Kind::Guest => json!({"tags": [mark]}),
        Kind::Record => json!({"data": {"type": "txt", "text": mark}}),
        Kind::Policy => json!({"from": [format!("tag:{mark}")]}),
        Kind::Network => json!({"domain": format!("{mark}.example")}),
        Kind::Name => json!({"name": mark}),
    }
}

impl Thing {
    /// It is in this state now.
    fn done(&mut self, state: State, answer: &Value) {
        // Records have no names of their own.
        if let (Kind::Record, None, Some(id)) = (self.kind, &self.state, answer["id"].as_str()) {
            self.path = format!("{}/{id}", self.made_at);
        }
        (self.state, self.since) = (state, Instant::now());
    }
}
