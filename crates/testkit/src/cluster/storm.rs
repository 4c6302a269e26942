//! The storm: one after the other is killed at an instant that nobody chose, stays away for a while, and is started again.
//!
//! Not for what must be true afterwards (`judge`, `look`): this only asks, and measures how long it takes until it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use store::Database;
use tokio::task::block_in_place;

use super::conduct::Conduct;
use super::dice::Dice;
use super::look::Look;
use super::plant::{Part, PartKind, Plant};
use super::show::say;
use crate::bench::figure::float;
use crate::fleet::Administrator;
use crate::swarm::Swarm;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// What is wrong still is said so often.
const TELL: Duration = Duration::from_secs(5);
/// Characters of it.
const MOST_TOLD: usize = 400;
/// When nobody believes any more that it gets right.
const HOPELESS: Duration = Duration::from_secs(90);
/// How long all is well, at least, before one is killed.
const WELL: Duration = Duration::from_millis(300);
/// How long it stays away: shorter than a leader's lease lasts, or longer.
const AWAY: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(2_500)];
const LONG_AWAY: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(8)];
/// Of a hundred deaths, so many are long.
const LONG: usize = 40;
/// Of a hundred deaths, so many come before all is right after the one before.
const HASTE: usize = 25;

/// How long it took until all was right, after each repair that was waited for.
pub(super) type Times = BTreeMap<String, Vec<Duration>>;

/// The times in which all was right.
#[derive(Debug, Default)]
pub(super) struct Calm {
    pub(super) took: Duration,
    /// Changes that were acknowledged meanwhile.
    pub(super) done: u64,
    /// When the last of them began, and how many changes had been acknowledged by then.
    since: Option<(Instant, u64)>,
}

impl Calm {
    /// All is right, and so many changes were acknowledged so far.
    fn begin(&mut self, done: u64) {
        self.since = Some((Instant::now(), done));
    }

    /// Somebody is killed.
    fn end(&mut self, done: u64) {
        if let Some((since, before)) = self.since.take() {
            self.took += since.elapsed();
            self.done += done - before;
        }
    }

    /// Changes acknowledged in a second.
    pub(super) fn rate(&self) -> f64 {
        float(self.done) / self.took.as_secs_f64().max(f64::EPSILON)
    }
}

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
    /// While all was right.
    pub(super) calm: Calm,
    /// Commits that had to be decided again because another server was faster; of those that were counted before a death.
    pub(super) conflicts: f64,
}

impl Storm {
    /// Each part of these kinds dies so often; of every kind where none is named.
    pub(super) async fn rage(&mut self, deaths: usize, kills: &[PartKind]) -> Result<()> {
        self.calm.begin(self.done());
        let mut parts = self.plant.parts();
        parts.retain(|part| kills.is_empty() || kills.contains(&part.kind()));
        for round in 0..deaths {
            for (number, part) in parts.iter().enumerate() {
                let is_last = round + 1 == deaths && number + 1 == parts.len();
                self.death(*part).await.with_context(|| format!("death {} of the {part}", round + 1))?;
                if is_last || !self.dice.percent(HASTE) {
                    let took = self.right_again(*part).await?;
                    say(&format!("death {} of the {part}: all is right after {took:.1?}", round + 1));
                } else {
                    say(&format!("death {} of the {part}: another one is next", round + 1));
                }
            }
        }
        self.calm.end(self.done());
        Ok(())
    }

    async fn death(&mut self, part: Part) -> Result<()> {
        tokio::time::sleep(self.dice.time(WELL, self.well)).await;
        if let Part::Server(number) = part {
            self.conflicts += conflicts(&self.conduct.administrators[number]).await;
        }
        self.conduct.set_calm(false);
        self.calm.end(self.done());
        block_in_place(|| self.plant.kill(part))?;
        let [least, most] = if self.dice.percent(LONG) { LONG_AWAY } else { AWAY };
        tokio::time::sleep(self.dice.time(least, most)).await;
        block_in_place(|| self.plant.start_again(part))?;
        self.plant.check()
    }

    /// Changes that were acknowledged so far.
    fn done(&self) -> u64 {
        self.conduct.ledger.tally().iter().map(|tally| tally.done).sum()
    }

    /// Waits until all is right again, while changes go on.
    async fn right_again(&mut self, part: Part) -> Result<Duration> {
        let right = self.right(Instant::now()).await;
        let took = right.with_context(|| format!("after the {part} came back:\n{}", self.plant.logs()))?;
        if took > self.limit {
            let ledger = &self.conduct.ledger;
            ledger.complain(format!("after the {part} came back it took {took:?} until all was right"));
        }
        self.times.entry(part.to_string()).or_default().push(took);
        self.conduct.set_calm(true);
        self.calm.begin(self.done());
        Ok(took)
    }

    /// How long after this instant all was right.
    pub(super) async fn right(&mut self, start: Instant) -> Result<Duration> {
        let (mut look, mut tell) = (None, TELL);
        loop {
            let error = match self.look(&mut look).await {
                Ok(true) => return Ok(start.elapsed()),
                Ok(false) => anyhow!(look.as_ref().map_or_else(String::new, Look::wrong)),
                Err(error) => error,
            };
            self.plant.check()?;
            if start.elapsed() > tell {
                let wrong: String = format!("{error:#}").chars().take(MOST_TOLD).collect();
                say(&format!("after {:.1?}: {wrong}", start.elapsed()));
                tell = start.elapsed() + TELL;
            }
            if start.elapsed() > HOPELESS {
                return Err(error.context(format!("what agents met with last: {}", self.swarm.trouble())));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn look(&self, look: &mut Option<Look>) -> Result<bool> {
        let administrators = &self.conduct.administrators;
        let look = match look {
            Some(look) => look,
            None => look.insert(Look::new(&self.swarm, &administrators[0]).await?),
        };
        look.again(&self.swarm, &*self.database, administrators).await
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
