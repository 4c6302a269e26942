//! Many agents at once, a bounded number of them at the same time.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use wire::Token;

use super::{Agent, Connected, Habits};

/// Does the work for each item, at most `at_once` at the same time; results are in the items' order.
pub async fn each<I, T, F>(
    items: impl IntoIterator<Item = I>,
    at_once: usize,
    work: impl Fn(I) -> F,
) -> Result<Vec<T>>
where
    F: Future<Output = Result<T>> + Send + 'static,
    T: Send + 'static,
{
    let turns = Arc::new(Semaphore::new(at_once));
    let mut tasks = JoinSet::new();
    for (place, item) in items.into_iter().enumerate() {
        let (turns, work) = (Arc::clone(&turns), work(item));
        tasks.spawn(async move {
            let _turn = turns.acquire().await.context("the turns are over")?;
            anyhow::Ok((place, work.await?))
        });
    }
    let mut done = Vec::new();
    while let Some(result) = tasks.join_next().await {
        done.push(result.context("a simulated agent broke")??);
    }
    done.sort_by_key(|(place, _)| *place);
    Ok(done.into_iter().map(|(_, value)| value).collect())
}

/// Lets this many machines join by one token.
pub async fn join_all(token: &Token, count: usize, at_once: usize) -> Result<Vec<Agent>> {
    each(0..count, at_once, |number| {
        let token = token.clone();
        async move { Ok(Agent::join(&token, &format!("host-{number}")).await?) }
    })
    .await
}

/// Connects all of them, and returns when each has its map.
pub async fn connect_all(agents: Vec<Agent>, habits: Habits, at_once: usize) -> Result<Vec<Connected>> {
    each(agents, at_once, |agent| Connected::start(agent, habits)).await
}
