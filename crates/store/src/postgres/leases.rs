//! Leases in PostgreSQL, over a connection of their own.
//!
//! Not for waiting in turn: questions share the connection, and each is one statement, so that on a slow path none waits for the
//! answer to another. All of it may be done twice without harm, so what fails with its connection is tried again on a new one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio_postgres::Row;

use super::connect::{Parameter, Patience, Session};
use super::failure::Failure;
use super::target::Target;
use crate::lease::{self, Held, Leased};
use crate::{Place, StoreError};

const TRIES: u32 = 2;

/// By the server's clock, in milliseconds since 1970, as it was before anybody was waited for: what was given less than this
/// lifetime before ends at most two of them later, unless the clock was ahead then. The row is always written, so that what
/// comes back is who has it now, and not who had it when the statement began.
const LEASE: &str = "
    INSERT INTO leases AS held (name, holder, until)
    VALUES ($1, $2, (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $3)
    ON CONFLICT (name) DO UPDATE SET (holder, until) = (
        SELECT CASE WHEN free THEN excluded.holder ELSE held.holder END,
            CASE WHEN free THEN excluded.until ELSE held.until END
        FROM (SELECT held.holder = excluded.holder OR held.until <= excluded.until - $3
            OR held.until > excluded.until + $3 AS free) AS judged
    )
    RETURNING holder";
const HELD: &str = "
    SELECT name, holder FROM leases, (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now) AS clock
    WHERE until > now AND until <= now + 2 * $2::bigint AND starts_with(name, $1)";
const RELEASE: &str = "DELETE FROM leases WHERE name = $1 AND holder = $2 RETURNING name";

/// The connection for leases.
pub(super) struct Leases {
    target: Arc<Target>,
    session: Mutex<Option<Arc<Session>>>,
}

impl Leases {
    pub(super) fn new(target: Arc<Target>) -> Self {
        Self { target, session: Mutex::new(None) }
    }

    /// Takes or renews a lease, or says who has it.
    pub(super) async fn lease(
        &self,
        name: &str,
        holder: &str,
        lifetime: Duration,
    ) -> Result<Leased, StoreError> {
        let millis = lease::millis(lifetime);
        let (asked, found) = self.ask(LEASE, &[&name, &holder, &millis]).await?;
        let detail = || "it does not say who holds a lease".to_owned();
        let row = found.first();
        let row = row.ok_or_else(|| StoreError::Damaged { place: self.place(), detail: detail() })?;
        Ok(Leased::of(row.get(0), holder, asked, lifetime))
    }

    /// Gives one back.
    pub(super) async fn release(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        self.ask(RELEASE, &[&name, &holder]).await.map(drop)
    }

    /// Those that are held.
    pub(super) async fn held(&self, prefix: &str, lifetime: Duration) -> Result<Vec<Held>, StoreError> {
        let (_, found) = self.ask(HELD, &[&prefix, &lease::millis(lifetime)]).await?;
        Ok(lease::held(found.iter().map(|row| (row.get(0), row.get(1))).collect()))
    }

    fn place(&self) -> Place {
        self.target.place.clone()
    }

    /// When it was asked for the last time, and the answer.
    async fn ask(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<(Instant, Vec<Row>), StoreError> {
        let mut tries = 1;
        loop {
            let failed = match self.try_ask(sql, parameters).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            if !failed.is_lost || tries >= TRIES {
                return Err(failed.error);
            }
            tries += 1;
        }
    }

    async fn try_ask(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<(Instant, Vec<Row>), Failure> {
        let session = self.session().await?;
        let asked = Instant::now();
        let done = session.ask(&self.target, sql, parameters, Patience::Short).await;
        if done.as_ref().is_err_and(|failed| failed.is_lost) {
            let mut kept = self.session.lock().await;
            if kept.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, &session)) {
                *kept = None;
            }
        }
        Ok((asked, done?))
    }

    /// The connection that is there, or a new one.
    async fn session(&self) -> Result<Arc<Session>, Failure> {
        let mut kept = self.session.lock().await;
        if let Some(session) = kept.as_ref().filter(|session| !session.is_closed()) {
            return Ok(Arc::clone(session));
        }
        let session = Arc::new(Session::connect(&self.target).await?);
        *kept = Some(Arc::clone(&session));
        Ok(session)
    }
}
