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
/// How long the server works on a statement before it gives up, and how long it waits for others' locks.
const SETTINGS: &str = "
    SET client_encoding = 'UTF8'; SET default_transaction_isolation = 'read committed';
    SET statement_timeout = '5s'; SET lock_timeout = '4s'; SET idle_in_transaction_session_timeout = '60s';
    SET client_min_messages = 'warning'; SET synchronous_commit = 'on'";
/// How long we wait for an answer: longer than the server works.
pub(super) const ANSWER: Duration = Duration::from_secs(6);
/// The same for all of intent, or a page of a backup.
pub(super) const LONG_ANSWER: Duration = Duration::from_secs(60);

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
        session.run(target, SETTINGS).await?;
        Ok(session)
    }

    /// Whether it is known to have ended.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Carries out statements without parameters.
    pub(super) async fn run(&self, target: &Target, sql: &str) -> Result<(), Failure> {
        let done = timeout(ANSWER, self.client.batch_execute(sql)).await;
        done.map_err(|_| no_answer(&target.place))?.map_err(|error| failure(&target.place, &error))
    }

    /// Asks; the rows that come back.
    pub(super) async fn ask(
        &self,
        target: &Target,
        sql: &str,
        parameters: &[Parameter<'_>],
        within: Duration,
    ) -> Result<Vec<Row>, Failure> {
        let answer = timeout(within, self.client.query(sql, parameters)).await;
        answer.map_err(|_| no_answer(&target.place))?.map_err(|error| failure(&target.place, &error))
    }

    /// Changes; how many rows.
    pub(super) async fn change(
        &self,
        target: &Target,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<u64, Failure> {
        let answer = timeout(ANSWER, self.client.execute(sql, parameters)).await;
        answer.map_err(|_| no_answer(&target.place))?.map_err(|error| failure(&target.place, &error))
    }
}
