//! What is asked of PostgreSQL beside commits, one function for each function of the trait.
//!
//! Not for commits. All of it may be done twice without harm, so what fails with its connection is tried again on a new one.

use std::sync::Arc;
use std::time::Duration;

use model::{Epoch, Timestamp};
use tokio_postgres::Row;

use super::connect::{Parameter, Patience, Session};
use super::failure::Failure;
use super::target::Target;
use crate::journal::PRUNED_AT_ONCE;
use crate::rows::{self, JournalRow, MOST_FOLLOWED, RecordRow, number};
use crate::{Followed, InventoryRow, JournalEntry, Loaded, Place, StoreError};

/// How often something is tried when connections are lost.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);

const LAST_SEQ: &str = "SELECT coalesce(max(seq), 0) FROM journal";
/// One statement, so that all of it is of one instant. The first rows have no kind.
const LOAD: &str = "
    SELECT '', '', coalesce(max(seq), 0)::text FROM journal
    UNION ALL SELECT '', key, value FROM meta WHERE key = 'server'
    UNION ALL SELECT kind, id, json FROM records";
const JOURNAL: &str = "
    SELECT seq, time, actor, command, records FROM journal WHERE seq < $1 ORDER BY seq DESC LIMIT $2";
const PRUNE: &str = "
    DELETE FROM journal WHERE seq < least(
        coalesce((SELECT min(seq) FROM journal WHERE time >= $1), (SELECT max(seq) FROM journal)),
        (SELECT min(seq) FROM journal) + $2
    )";
const NEXT_EPOCH: &str = "
    UPDATE meta SET value = (value::bigint + 1)::text
    WHERE key = 'epoch' AND value::bigint < 16777215 RETURNING value::bigint";
/// `$1` and `$2` what is put, `$3` what goes, `$4` epoch, as in a commit. Writers queue up at the version's row, so that versions
/// are seen in their order. Says whether it was done.
const PUT_INVENTORY: &str = "
    WITH led AS MATERIALIZED (
        SELECT 1 FROM meta WHERE key = 'epoch' AND value = $4 FOR SHARE
    ), next AS (
        UPDATE meta SET value = (value::bigint + 1)::text
        WHERE key = 'inventory' AND ($4::text IS NULL OR EXISTS (SELECT FROM led))
        RETURNING value::bigint AS version
    ), gone AS (
        DELETE FROM inventory USING next WHERE host = ANY ($3::text[])
    ), put AS (
        INSERT INTO inventory (host, json, version)
        SELECT host, json, version FROM unnest($1::text[], $2::text[]) AS new (host, json), next
        ON CONFLICT (host) DO UPDATE SET json = excluded.json, version = excluded.version
    )
    SELECT EXISTS (SELECT FROM next)";
/// One statement, so that rows and version are of one instant. The first row has no host: the newest version.
const INVENTORY: &str = "
    SELECT '', value FROM meta WHERE key = 'inventory'
    UNION ALL SELECT host, json FROM inventory WHERE version > $1";
const IDENTITY: &str = "SELECT value FROM meta WHERE key = 'identity'";
/// Waits for whoever keeps one at the same time, and gives what is kept then.
const KEEP_IDENTITY: &str = "
    INSERT INTO meta (key, value) VALUES ('identity', $1)
    ON CONFLICT (key) DO UPDATE SET value = meta.value RETURNING value";
pub(super) const REPLACE_IDENTITY: &str = "
    INSERT INTO meta (key, value) VALUES ('identity', $1) ON CONFLICT (key) DO UPDATE SET value = excluded.value";

/// A connection for what is neither a commit nor a lease, for one question at a time. There are two of them: who asks for what
/// is answered soon does not wait behind a long read.
pub(super) struct Side {
    target: Arc<Target>,
    session: Option<Session>,
}

impl Side {
    pub(super) fn new(target: Arc<Target>) -> Self {
        Self { target, session: None }
    }

    /// The connection that is there, or a new one. Whoever stops waiting in the middle takes it along: what is half done on
    /// it ends with it.
    async fn session(&mut self) -> Result<Session, Failure> {
        match self.session.take().filter(|session| !session.is_closed()) {
            Some(session) => Ok(session),
            None => Session::connect(&self.target).await,
        }
    }

    /// Keeps the connection, unless it was lost.
    fn keep<T>(&mut self, session: Session, done: &Result<T, Failure>) {
        if !done.as_ref().is_err_and(|failed| failed.is_lost) {
            self.session = Some(session);
        }
    }

    /// The answer; nothing when it is to be tried again on another connection.
    async fn or_again<T>(done: Result<T, Failure>, tries: &mut u32) -> Result<Option<T>, StoreError> {
        match done {
            Ok(value) => Ok(Some(value)),
            Err(Failure { is_lost: true, .. }) if *tries < TRIES => {
                tokio::time::sleep(PAUSE * *tries).await;
                *tries += 1;
                Ok(None)
            }
            Err(failed) => Err(failed.error),
        }
    }

    async fn try_ask(
        &mut self,
        sql: &str,
        parameters: &[Parameter<'_>],
        patience: Patience,
    ) -> Result<Vec<Row>, Failure> {
        let session = self.session().await?;
        let asking = session.ask(&self.target, sql, parameters, patience);
        let done = match patience {
            Patience::Short => asking.await,
            Patience::Long | Patience::Longest => session.read(&self.target, patience, asking).await,
        };
        self.keep(session, &done);
        done
    }

    async fn ask(
        &mut self,
        sql: &str,
        parameters: &[Parameter<'_>],
        patience: Patience,
    ) -> Result<Vec<Row>, StoreError> {
        let mut tries = 1;
        loop {
            let done = self.try_ask(sql, parameters, patience).await;
            if let Some(rows) = Self::or_again(done, &mut tries).await? {
                return Ok(rows);
            }
        }
    }

    async fn try_change(&mut self, sql: &str, parameters: &[Parameter<'_>]) -> Result<u64, Failure> {
        let session = self.session().await?;
        let done = session.change(&self.target, sql, parameters, Patience::Short).await;
        self.keep(session, &done);
        done
    }

    async fn change(&mut self, sql: &str, parameters: &[Parameter<'_>]) -> Result<u64, StoreError> {
        let mut tries = 1;
        loop {
            let done = self.try_change(sql, parameters).await;
            if let Some(count) = Self::or_again(done, &mut tries).await? {
                return Ok(count);
            }
        }
    }

    pub(super) async fn load(&mut self) -> Result<Loaded, StoreError> {
        let found = self.ask(LOAD, &[], Patience::Long).await?;
        let (mut seq, mut server, mut records) = (None, None, Vec::with_capacity(found.len()));
        for row in found {
            let (kind, id, value): (String, String, String) = (row.get(0), row.get(1), row.get(2));
            match (kind.as_str(), id.as_str()) {
                ("", "") => seq = value.parse().ok(),
                ("", _) => server = Some(value),
                _ => records.push((kind, id, value)),
            }
        }
        let place = &self.target.place;
        let detail = "it does not say whose it is".to_owned();
        let (Some(seq), Some(server)) = (seq, server) else {
            return Err(StoreError::Damaged { place: place.clone(), detail });
        };
        rows::loaded(place, seq, server, records)
    }

    pub(super) async fn follow(&mut self, after: u64) -> Result<Followed, StoreError> {
        let mut tries = 1;
        loop {
            let done = self.try_follow(after).await;
            if let Some(followed) = Self::or_again(done, &mut tries).await? {
                return followed;
            }
        }
    }

    async fn try_follow(&mut self, after: u64) -> Result<Result<Followed, StoreError>, Failure> {
        let (session, target) = (self.session().await?, Arc::clone(&self.target));
        let done = session.read(&target, Patience::Long, follow(&session, &target, after)).await;
        self.keep(session, &done);
        done
    }

    pub(super) async fn journal(
        &mut self,
        before: Option<u64>,
        most: u32,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        let (before, most) = (number(before.unwrap_or(u64::MAX)), i64::from(most));
        let found = self.ask(JOURNAL, &[&before, &most], Patience::Long).await?;
        found.iter().map(|row| entry(row).read(&self.target.place)).collect()
    }

    /// Removes the oldest entries, no more than fit one short transaction.
    pub(super) async fn prune(&mut self, older_than: Timestamp) -> Result<u64, StoreError> {
        self.change(PRUNE, &[&older_than.as_millis(), &number(PRUNED_AT_ONCE)]).await
    }

    pub(super) async fn next_epoch(&mut self) -> Result<Epoch, StoreError> {
        let found = self.ask(NEXT_EPOCH, &[], Patience::Short).await?;
        let number = found.first().and_then(|row| u32::try_from(row.get::<_, i64>(0)).ok());
        let detail = || "no epoch is left".to_owned();
        let used_up = || StoreError::Damaged { place: self.target.place.clone(), detail: detail() };
        Ok(Epoch::new(number.ok_or_else(used_up)?))
    }

    pub(super) async fn put_inventory(
        &mut self,
        put: &[(String, String)],
        gone: &[String],
        epoch: Option<Epoch>,
    ) -> Result<(), StoreError> {
        let (hosts, values): (Vec<&str>, Vec<&str>) =
            put.iter().map(|(host, json)| (host.as_str(), json.as_str())).unzip();
        let done = self
            .ask(PUT_INVENTORY, &[&hosts, &values, &gone, &rows::epoch_text(epoch)], Patience::Short)
            .await?;
        match done.first().is_some_and(|row| row.get(0)) {
            true => Ok(()),
            false => Err(StoreError::Deposed(self.target.place.clone())),
        }
    }

    pub(super) async fn inventory_since(
        &mut self,
        version: u64,
    ) -> Result<(u64, Vec<InventoryRow>), StoreError> {
        let found = self.ask(INVENTORY, &[&number(version)], Patience::Long).await?;
        rows::inventory_since(&self.target.place, found.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// What is kept; ours where nothing was. Asked first, so that it is answered also where nothing can be written.
    pub(super) async fn identity(&mut self, ours: &str) -> Result<String, StoreError> {
        let mut found = self.ask(IDENTITY, &[], Patience::Short).await?;
        if found.is_empty() {
            found = self.ask(KEEP_IDENTITY, &[&ours], Patience::Short).await?;
        }
        let detail = || "it does not keep who its servers are".to_owned();
        let damaged = || StoreError::Damaged { place: self.target.place.clone(), detail: detail() };
        found.first().map(|row| row.get(0)).ok_or_else(damaged)
    }

    pub(super) async fn replace_identity(&mut self, ours: &str) -> Result<(), StoreError> {
        self.change(REPLACE_IDENTITY, &[&ours]).await.map(drop)
    }

    pub(super) async fn check(&mut self) -> Result<u64, StoreError> {
        let found = self.ask(LAST_SEQ, &[], Patience::Short).await?;
        Ok(found.first().map_or(0, |row| row.get::<_, i64>(0).unsigned_abs()))
    }
}

/// A row of the journal.
pub(super) fn entry(row: &Row) -> JournalRow {
    JournalRow {
        seq: row.get(0),
        time: row.get(1),
        actor: row.get(2),
        command: row.get(3),
        records: row.get(4),
    }
}

/// Within one snapshot: which records changed, and what they are now.
async fn follow(
    session: &Session,
    target: &Target,
    after: u64,
) -> Result<Result<Followed, StoreError>, Failure> {
    let bounds = "SELECT coalesce(max(seq), 0), coalesce(min(seq), 1) FROM journal";
    let bounds = session.ask(target, bounds, &[], Patience::Long).await?;
    let bound = |at| bounds.first().map_or(0, |row| row.get::<_, i64>(at).unsigned_abs());
    let (last, oldest) = (bound(0), bound(1));
    if after > last || after + 1 < oldest || last - after > MOST_FOLLOWED {
        return Ok(Ok(Followed::TooFar));
    }
    let entries = "SELECT seq, records FROM journal WHERE seq > $1";
    let entries = session.ask(target, entries, &[&number(after)], Patience::Long).await?;
    let keys = rows::touched(&target.place, entries.iter().map(|row| (row.get(0), row.get(1))));
    let keys = match keys {
        Ok(keys) => keys,
        Err(error) => return Ok(Err(error)),
    };
    let kinds: Vec<&str> = keys.iter().map(|key| key.kind.as_str()).collect();
    let ids: Vec<String> = keys.iter().map(control::RecordKey::id_text).collect();
    let now = "
        SELECT kind, id, records.json FROM unnest($1::text[], $2::text[]) AS touched (kind, id)
        LEFT JOIN records USING (kind, id)";
    let now = session.ask(target, now, &[&kinds, &ids], Patience::Long).await?;
    Ok(current(&target.place, &now).map(|records| Followed::Changed { seq: last, records }))
}

fn current(place: &Place, found: &[Row]) -> Result<Vec<crate::Current>, StoreError> {
    let row = |row: &Row| RecordRow { kind: row.get(0), id: row.get(1), json: row.get(2) };
    found.iter().map(|found| rows::current(place, &row(found))).collect()
}
