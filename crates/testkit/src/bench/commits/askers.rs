//! Many who each wait for an answer before they ask again, before one writer that takes whatever waits, as the server's does.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use store::{Commit, Database};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::super::figure::float;
use super::commit;

/// The most that the server's writer takes at once.
const MOST: usize = 256;

/// What was reached.
pub(super) struct Reached {
    pub(super) per_second: f64,
    /// How many commits shared a transaction, in the mean.
    pub(super) group: f64,
}

type Answer = oneshot::Sender<()>;

/// So many askers ask so often in all.
pub(super) async fn run(database: &Arc<dyn Database>, askers: usize, count: u64) -> Result<Reached> {
    let (ask, asked) = mpsc::channel::<Answer>(askers);
    let writer = tokio::spawn(write(Arc::clone(database), asked));
    let each = count / askers as u64;
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..askers {
        let ask = ask.clone();
        tasks.spawn(async move {
            for _ in 0..each {
                let (answer, answered) = oneshot::channel();
                ask.send(answer).await.context("the writer has ended")?;
                answered.await.context("a commit failed")?;
            }
            anyhow::Ok(())
        });
    }
    drop(ask);
    for done in tasks.join_all().await {
        done?;
    }
    let time = start.elapsed();
    let groups = writer.await??;
    let count = float(each * askers as u64);
    Ok(Reached { per_second: count / time.as_secs_f64(), group: count / float(groups) })
}

/// How many groups there were.
async fn write(database: Arc<dyn Database>, mut asked: mpsc::Receiver<Answer>) -> Result<u64> {
    let mut last = database.check().await?;
    let (mut waiting, mut groups) = (Vec::with_capacity(MOST), 0);
    while asked.recv_many(&mut waiting, MOST).await > 0 {
        let numbers = last + 1..=last + waiting.len() as u64;
        let group: Vec<Commit> = numbers.map(commit).collect::<Result<_>>()?;
        last += waiting.len() as u64;
        database.commit(group).await?;
        groups += 1;
        for answer in waiting.drain(..) {
            // An asker that has failed has said so itself.
            let _gone = answer.send(());
        }
    }
    Ok(groups)
}
