//! The storm: one after the other is killed at an instant that nobody chose, stays away for a while, and is started again.
//!
//! Not for what must be true afterwards (`judge`, `swarm::Truth`): this only asks, and measures how long it takes until it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use api::path;
use serde_json::Value;
use store::Database;
use tokio::task::block_in_place;

use super::conduct::Conduct;
use super::dice::Dice;
use super::plant::{Part, PartKind, Plant};
use crate::fleet::Administrator;
use crate::swarm::{Swarm, Truth};

/// Things in a page of a list.
const PAGE: usize = 1_000;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// When nobody believes any more that it gets right.
const HOPELESS: Duration = Duration::from_secs(90);
/// How long all is well, at least, before one is killed.
const WELL: Duration = Duration::from_millis(300);
/// How long it stays away.
const AWAY: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(2_500)];
/// Of a hundred deaths, so many come before all is right after the one before.
const HASTE: usize = 25;
/// Fields of answers that are of one server or of one moment.
const OF_A_MOMENT: [&str; 3] = ["last_seen", "wanted_generation", "session"];

/// How long it took until all was right, after each repair that was waited for.
pub(super) type Times = BTreeMap<String, Vec<Duration>>;

/// Everything the storm rages over.
pub(super) struct Storm {
    pub(super) plant: Plant,
    pub(super) swarm: Swarm,
    pub(super) conduct: Arc<Conduct>,
    pub(super) database: Arc<dyn Database>,
    pub(super) dice: Dice,
    /// How long it may take until all is right.
    pub(super) limit: Duration,
    /// How long all is well, at most, before one is killed.
    pub(super) well: Duration,
    pub(super) times: Times,
    /// Commits that had to be decided again because another server was faster; of those that were counted before a death.
    pub(super) conflicts: f64,
}

impl Storm {
    /// Each part of these kinds dies so often; of every kind where none is named.
    pub(super) async fn rage(&mut self, deaths: usize, kills: &[PartKind]) -> Result<()> {
        let mut parts = self.plant.parts();
        parts.retain(|part| kills.is_empty() || kills.contains(&part.kind()));
        for round in 0..deaths {
            for (number, part) in parts.iter().enumerate() {
                let is_last = round + 1 == deaths && number + 1 == parts.len();
                self.death(*part).await.with_context(|| format!("death {} of the {part}", round + 1))?;
                if is_last || !self.dice.percent(HASTE) {
                    self.right_again(*part).await?;
                }
            }
        }
        Ok(())
    }

    async fn death(&mut self, part: Part) -> Result<()> {
        tokio::time::sleep(self.dice.time(WELL, self.well)).await;
        if let Part::Server(number) = part {
            self.conflicts += conflicts(&self.conduct.administrators[number]).await;
        }
        self.conduct.set_calm(false);
        block_in_place(|| self.plant.kill(part))?;
        tokio::time::sleep(self.dice.time(AWAY[0], AWAY[1])).await;
        block_in_place(|| self.plant.start_again(part))?;
        self.plant.check()
    }

    /// Waits until all is right again, with nobody changing anything.
    async fn right_again(&mut self, part: Part) -> Result<()> {
        let start = Instant::now();
        let conduct = Arc::clone(&self.conduct);
        let _silence = conduct.silence().await;
        let right = self.right(start).await;
        let took = right.with_context(|| format!("after the {part} came back:\n{}", self.plant.logs()))?;
        if took > self.limit {
            conduct
                .ledger
                .complain(format!("after the {part} came back it took {took:?} until all was right"));
        }
        self.times.entry(part.to_string()).or_default().push(took);
        conduct.set_calm(true);
        Ok(())
    }

    /// How long after this instant all was right.
    pub(super) async fn right(&mut self, start: Instant) -> Result<Duration> {
        loop {
            let error = match self.look().await {
                Ok(()) => return Ok(start.elapsed()),
                Err(error) => error,
            };
            self.plant.check()?;
            if start.elapsed() > HOPELESS {
                return Err(error.context(self.evidence().await));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What may help to find out why it does not get right.
    async fn evidence(&self) -> String {
        let mut evidence = vec![format!("what agents met with last: {}", self.swarm.trouble())];
        if let Ok(truth) = Truth::read(&*self.database).await {
            let wrong: Vec<String> = truth.wrong(&self.swarm).map(|wrong| wrong.to_string()).collect();
            let count = wrong.len();
            evidence.push(format!("{count} agents have wrong maps, such as {:?}", &wrong[..count.min(3)]));
        }
        let mut said = Vec::new();
        for administrator in &self.conduct.administrators {
            match answers(administrator).await {
                Ok(answers) => said.push(answers),
                Err(error) => evidence.push(format!("{}: {error:#}", administrator.site.url())),
            }
        }
        if let [first, second] = &said[..] {
            let same =
                same(first, second).map_or_else(|error| format!("{error:#}"), |()| "the same".to_owned());
            evidence.push(format!("what the servers say: {same}"));
        }
        evidence.join("\n")
    }

    /// Fails unless every agent is connected and has the map that the database's intent makes, and all servers say the same.
    async fn look(&self) -> Result<()> {
        let (all, linked) = (self.swarm.members.len(), self.swarm.gauges().linked.count());
        if linked != all {
            return Err(anyhow!("{linked} of {all} agents are connected"));
        }
        let truth = Truth::read(&*self.database).await?;
        block_in_place(|| truth.check(&self.swarm))?;
        let mut first: Option<BTreeMap<String, Value>> = None;
        for administrator in &self.conduct.administrators {
            let said = answers(administrator).await?;
            match &first {
                None => first = Some(said),
                Some(first) => same(first, &said)?,
            }
        }
        Ok(())
    }

    /// Commits that had to be decided again, so far.
    pub(super) async fn all_conflicts(&self) -> f64 {
        let mut all = self.conflicts;
        for administrator in &self.conduct.administrators {
            all += conflicts(administrator).await;
        }
        all
    }
}

/// What a server counts since its start; nothing where it cannot be asked.
async fn conflicts(administrator: &Administrator) -> f64 {
    let Ok(reply) = administrator.site.send(reqwest::Method::GET, "/metrics", &[], Vec::new()).await else {
        return 0.0;
    };
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    let counted = text.lines().filter_map(|line| line.strip_prefix("netloom_commit_conflicts_total "));
    counted.filter_map(|number| number.trim().parse::<f64>().ok()).sum()
}

/// All that a server says of intent.
async fn answers(administrator: &Administrator) -> Result<BTreeMap<String, Value>> {
    let networks: Vec<Value> = administrator.list(path::NETWORKS, PAGE).await?;
    let mut said = BTreeMap::new();
    let ids: Vec<String> =
        networks.iter().filter_map(|network| Some(network["id"].as_str()?.to_owned())).collect();
    said.insert(path::NETWORKS.to_owned(), lasting(Value::from(networks)));
    let mut paths: Vec<String> = [path::HOSTS, path::KEYS, path::USERS].map(str::to_owned).into();
    for network in &ids {
        let lists = [path::NODES, path::CLIENTS, path::POLICIES, path::DNS_RECORDS];
        paths.extend(lists.map(|list| path::fill(list, &[network])));
    }
    for path in paths {
        let items: Vec<Value> = administrator.list(&path, PAGE).await?;
        said.insert(path, lasting(Value::from(items)));
    }
    Ok(said)
}

/// Without what is of one moment.
fn lasting(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            fields.retain(|name, _| !OF_A_MOMENT.contains(&name.as_str()));
            fields.values_mut().for_each(|field| *field = lasting(field.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = lasting(item.take())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    value
}

fn same(first: &BTreeMap<String, Value>, other: &BTreeMap<String, Value>) -> Result<()> {
    let keys = first.keys().chain(other.keys());
    for path in keys {
        let (one, two) = (first.get(path), other.get(path));
        if one == two {
            continue;
        }
        let items = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
        let (one, two) = (items(one), items(two));
        let odd = one.iter().find(|item| !two.contains(item));
        let even = two.iter().find(|item| !one.contains(item));
        return Err(anyhow!("the servers do not say the same of {path}: {odd:?} and {even:?}"));
    }
    Ok(())
}
