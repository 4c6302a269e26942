//! Hears of what is committed, by whomever: PostgreSQL says so at once, and every few seconds we ask, should a word be lost.
//!
//! Not for what was committed (`follow`). It keeps true that the number that others wait for is at most a few seconds old
//! while the database can be reached, and that it only grows.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::connect::{Patience, Session};
use super::failure::Failure;
use super::target::Target;
use crate::last::Last;

/// How often is asked without being told.
const ASK: Duration = Duration::from_secs(3);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Listens until it is aborted.
pub(super) async fn run(target: Arc<Target>, last: Last) {
    let mut pause = FIRST_PAUSE;
    loop {
        if let Err(Failure { error, .. }) = listen(&target, &last, &mut pause).await {
            tracing::debug!(%error, "not hearing of others' commits; connecting again");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn listen(target: &Target, last: &Last, pause: &mut Duration) -> Result<(), Failure> {
    let (heard, mut hear) = watch::channel(());
    let known = last.clone();
    // A word may be of another schema of the same database: then we ask in vain. What we know already needs no question.
    let notified = move |word: &str| {
        let seq = word.rsplit(' ').next().and_then(|seq| seq.parse::<u64>().ok());
        if seq.is_none_or(|seq| seq > known.now()) {
            heard.send_replace(());
        }
    };
    let session = Session::connect_and(target, notified).await?;
    session.run(target, "LISTEN netloom", Patience::Short).await?;
    loop {
        // Seen before asking: a word that comes while we ask is not lost.
        hear.mark_unchanged();
        let sql = "SELECT coalesce(max(seq), 0) FROM journal";
        let found = session.ask(target, sql, &[], Patience::Short).await?;
        last.tell(found.first().map_or(0, |row| row.get::<_, i64>(0).unsigned_abs()));
        *pause = FIRST_PAUSE;
        match tokio::time::timeout(ASK, hear.changed()).await {
            Ok(Ok(())) | Err(_) => {}
            // The connection has ended.
            Ok(Err(_)) => return Ok(()),
        }
    }
}
