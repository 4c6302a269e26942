//! One connection: made, set up, asked with a bound on how long, and given up when it fails.
//!
//! Not for what is asked. It keeps true that a question is either answered in time or its connection is dropped.

use std::future::poll_fn;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Row};

use super::failure::{Failure, failure, no_answer};
use super::target::Target;
use super::tls::Tls;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// How long the server works on a statement before it gives up, and how long it waits for others' locks: whatever the role, the
/// database or the server have as their own limits. One of the newer ones is not known to every version.
const SETTINGS: &str = "
    SET client_encoding = 'UTF8'; SET default_transaction_isolation = 'read committed';
    SET statement_timeout = '5s'; SET lock_timeout = '4s'; SET idle_in_transaction_session_timeout = '60s';
    SET client_min_messages = 'warning'; SET synchronous_commit = 'on';
    SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout'";
/// A transaction that sees one instant and changes nothing.
const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// How long something may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// What is asked all the time: a commit, a lease. Every connection begins with it.
    Short,
    /// Whatever grows with what is kept: all of intent, of the inventory, a page of the journal or of a backup.
    Long,
    /// A step that moves tables forward, or one of a restore: it may rewrite everything.
    Longest,
}

impl Patience {
    /// How long the server works on a statement before it gives up.
    const fn at_server(self) -> &'static str {
        match self {
            Self::Short => "5s",
            Self::Long => "2min",
            Self::Longest => "30min",
        }
    }

    /// How long we wait for an answer: longer than the server works.
    pub(super) const fn answer(self) -> Duration {
        match self {
            Self::Short => Duration::from_secs(6),
            Self::Long => Duration::from_secs(2 * 60 + 5),
            Self::Longest => Duration::from_secs(30 * 60 + 5),
        }
    }
}

/// A parameter.
pub(super) type Parameter<'a> = &'a (dyn ToSql + Sync);

/// An open connection.
pub(super) struct Session {
    pub(super) client: Client,
    driver: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    /// Connects.
    pub(super) async fn connect(target: &Target) -> Result<Self, Failure> {
        Self::connect_and(target, |_| ()).await
    }

    /// Connects, and hands on what the server says unasked.
    pub(super) async fn connect_and(
        target: &Target,
        mut notified: impl FnMut(&str) + Send + 'static,
    ) -> Result<Self, Failure> {
        let failed = |error: tokio_postgres::Error| failure(&target.place, &error);
        let hosts = u32::try_from(target.config.get_hosts().len()).unwrap_or(1);
        let connecting = timeout(CONNECT * hosts, target.config.connect(Tls(target.tls.clone())));
        let (client, mut connection) =
            connecting.await.map_err(|_| no_answer(&target.place))?.map_err(failed)?;
        let driver = tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notification(notice) = message {
                    notified(notice.payload());
                }
            }
        });
        let session = Self { client, driver };
        session.run(target, SETTINGS, Patience::Short).await?;
        Ok(session)
    }

    /// Whether it is known to have ended.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Begins a transaction whose statements may each take so long. It ends with `COMMIT`, or with the connection.
    pub(super) async fn begin(&self, target: &Target, patience: Patience) -> Result<(), Failure> {
        self.begin_as(target, "BEGIN", patience).await
    }

    /// The same for one that sees one instant, and changes nothing.
    pub(super) async fn begin_snapshot(&self, target: &Target, patience: Patience) -> Result<(), Failure> {
        self.begin_as(target, SNAPSHOT, patience).await
    }

    async fn begin_as(&self, target: &Target, begin: &str, patience: Patience) -> Result<(), Failure> {
        let sql = format!("{begin}; SET LOCAL statement_timeout = '{}'", patience.at_server());
        self.run(target, &sql, Patience::Short).await.map_err(Failure::half_done)
    }

    /// From now on much may pass between two statements of a transaction: what is read goes to a disk, or comes from one.
    pub(super) async fn allow_pauses(&self, target: &Target) -> Result<(), Failure> {
        self.run(target, "SET idle_in_transaction_session_timeout = '10min'", Patience::Short).await
    }

    /// Reads in a snapshot with this patience, and has the usual limit again.
    pub(super) async fn read<T>(
        &self,
        target: &Target,
        patience: Patience,
        reading: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        self.begin_snapshot(target, patience).await?;
        let done = reading.await;
        // With the connection its transaction is gone, too.
        if !done.as_ref().is_err_and(|failed| failed.is_lost) {
            self.run(target, "COMMIT", Patience::Short).await.map_err(Failure::half_done)?;
        }
        done
    }

    /// Carries out statements without parameters.
    pub(super) async fn run(&self, target: &Target, sql: &str, patience: Patience) -> Result<(), Failure> {
        let done = timeout(patience.answer(), self.client.batch_execute(sql)).await;
        done.map_err(|_| no_answer(&target.place))?.map_err(|error| failure(&target.place, &error))
    }

    /// Asks; the rows that come back.
    pub(super) async fn ask(
        &self,
        target: &Target,
        sql: &str,
        parameters: &[Parameter<'_>],
        patience: Patience,
    ) -> Result<Vec<Row>, Failure> {
        let answer = timeout(patience.answer(), self.client.query(sql, parameters)).await;
        answer.map_err(|_| no_answer(&target.place))?.map_err(|error| failure(&target.place, &error))
    }

    /// Changes; how many rows.
    pub(super) async fn change(
        &self,
        target: &Target,
        sql: &str,
        parameters: &[Parameter<'_>],
        patience: Patience,
    ) -> Result<u64, Failure> {
        let answer = timeout(patience.answer(), self.client.execute(sql, parameters)).await;
        answer.map_err(|_| no_answer(&target.place))?.map_err(|error| failure(&target.place, &error))
    }
}
