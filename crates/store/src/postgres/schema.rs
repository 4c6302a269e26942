//! The tables in PostgreSQL, and the way from each older version of them to the newest.
//!
//! A step that was released is never changed: a new one is added behind it. Steps are done in one transaction, under a lock,
//! so that of many servers that start at once one does them.

use super::connect::{Patience, Session};
use super::failure::Failure;
use super::target::Target;
use crate::version::Told;
use crate::{Inspected, StoreError};

const V1: &str = r#"
    CREATE TABLE meta (key text COLLATE "C" PRIMARY KEY, value text NOT NULL);
    CREATE TABLE records (
        kind text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL, json text NOT NULL, PRIMARY KEY (kind, id)
    );
    CREATE TABLE journal (
        seq bigint PRIMARY KEY, time bigint NOT NULL, actor text NOT NULL, command text NOT NULL,
        records text NOT NULL, mark text
    );
    CREATE TABLE inventory (host text COLLATE "C" PRIMARY KEY, json text NOT NULL);
    CREATE TABLE leases (name text COLLATE "C" PRIMARY KEY, holder text NOT NULL, until bigint NOT NULL);
    INSERT INTO meta VALUES
        ('epoch', '0'), ('server', replace(gen_random_uuid()::text, '-', '')), ('fence', gen_random_uuid()::text);
"#;

/// In the inventory, the version that wrote each row last.
const V2: &str = "
    ALTER TABLE inventory ADD COLUMN version bigint NOT NULL DEFAULT 1;
    CREATE INDEX inventory_by_version ON inventory (version);
    INSERT INTO meta VALUES ('inventory', '1');
";

/// From each version to the next; the first makes version 1 of an empty schema.
const STEPS: &[&str] = &[V1, V2];
/// The oldest version whose servers can use tables of the newest one.
const COMPATIBLE: &str = "2";
/// The lock for whoever changes tables: the bytes of "netloom" as a number.
const TRY_LOCK: &str = "SELECT pg_try_advisory_xact_lock(31073798148026221)";
/// Waited for as long as whoever has it may take.
const LOCK: &str = "
    SET LOCAL lock_timeout = 0; SELECT pg_advisory_xact_lock(31073798148026221); SET LOCAL lock_timeout = '4s'";
const OLDEST: i32 = 150_000;

/// Sees that the server fits, and brings the tables to the newest version.
pub(super) async fn prepare(target: &Target) -> Result<(), StoreError> {
    let session = Session::connect(target).await.map_err(|failed| failed.error)?;
    let prepared = async {
        suits(&session, target).await?;
        session.begin(target, Patience::Longest).await?;
        migrate(&session, target).await?;
        session.run(target, "COMMIT", Patience::Longest).await
    };
    prepared.await.map_err(|failed: Failure| failed.error)
}

/// Looks at the tables, and changes nothing.
pub(super) async fn inspect(target: &Target) -> Result<Option<Inspected>, StoreError> {
    let session = Session::connect(target).await.map_err(|failed| failed.error)?;
    let inspected = async {
        suits(&session, target).await?;
        let known = u32::try_from(STEPS.len()).expect("there are few steps");
        let schema = version(&session, target, known).await?;
        if schema == 0 {
            return Ok(None);
        }
        let sql = "
            SELECT (SELECT coalesce(max(seq), 0) FROM journal), (SELECT value FROM meta WHERE key = 'identity'),
                pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean";
        let found = session.ask(target, sql, &[], Patience::Short).await?;
        let row = found.first();
        let seq = row.map_or(0, |row| row.get::<_, i64>(0)).unsigned_abs();
        let identity = row.and_then(|row| row.get(1));
        let read_only = row.is_some_and(|row| row.get(2));
        Ok(Some(Inspected { schema, known, seq, identity, read_only }))
    };
    inspected.await.map_err(|failed: Failure| failed.error)
}

/// Inside a transaction that has the time for it: takes the lock, and brings the tables to the newest version. It was this version before.
pub(super) async fn migrate(session: &Session, target: &Target) -> Result<u32, Failure> {
    lock(session, target).await?;
    let known = u32::try_from(STEPS.len()).expect("there are few steps");
    let found = version(session, target, known).await?;
    if found < known {
        for step in STEPS.iter().skip(found as usize) {
            session.run(target, step, Patience::Longest).await?;
        }
        let keep = "
            INSERT INTO meta VALUES ('schema', $1), ('compatible', $2)
            ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        session.change(target, keep, &[&known.to_string(), &COMPATIBLE], Patience::Short).await?;
    }
    Ok(found)
}

/// Sees that nobody else changes tables at the same time.
async fn lock(session: &Session, target: &Target) -> Result<(), Failure> {
    let tried = session.ask(target, TRY_LOCK, &[], Patience::Short).await?;
    if tried.first().is_some_and(|row| row.get(0)) {
        return Ok(());
    }
    tracing::info!(place = %target.place, "another server changes the tables, or a backup is restored; waiting for it");
    session.run(target, LOCK, Patience::Longest).await
}

fn certain(error: StoreError) -> Failure {
    Failure { error, is_lost: false }
}

/// The version of the tables; 0 where there are none.
async fn version(session: &Session, target: &Target, known: u32) -> Result<u32, Failure> {
    let tables = "
        SELECT count(*), count(*) FILTER (WHERE table_name IN ('meta', 'records'))
        FROM information_schema.tables WHERE table_schema = current_schema()";
    let found = session.ask(target, tables, &[], Patience::Short).await?;
    let count = |at| found.first().map_or(0, |row| row.get::<_, i64>(at));
    match (count(0), count(1)) {
        (0, _) => return Ok(0),
        (_, 2) => {}
        _ => return Err(certain(StoreError::Foreign(target.place.clone()))),
    }
    let kept = "
        SELECT (SELECT value FROM meta WHERE key = 'schema'), (SELECT value FROM meta WHERE key = 'compatible')";
    let kept = session.ask(target, kept, &[], Patience::Short).await?;
    let text = |at| kept.first().and_then(|row| row.get(at));
    Told { schema: text(0), compatible: text(1) }.judge(&target.place, known).map_err(certain)
}

/// Refuses a server that is too old, or a database that cannot keep every text.
async fn suits(session: &Session, target: &Target) -> Result<(), Failure> {
    let sql = "
        SELECT current_setting('server_version_num')::int, current_setting('server_encoding'),
            current_setting('server_version'), current_schema()";
    let found = session.ask(target, sql, &[], Patience::Short).await?;
    let unsuitable = |reason| certain(StoreError::Unsuitable { place: target.place.clone(), reason });
    let row = found.first().ok_or_else(|| unsuitable("it does not say what it is".to_owned()))?;
    if row.get::<_, i32>(0) < OLDEST {
        let version: &str = row.get(2);
        return Err(unsuitable(format!("it is PostgreSQL {version}; 15 or newer is needed")));
    }
    let encoding: &str = row.get(1);
    if encoding != "UTF8" {
        return Err(unsuitable(format!(
            "its encoding is {encoding}; make the database with ENCODING 'UTF8'"
        )));
    }
    if row.get::<_, Option<&str>>(3).is_none() {
        return Err(unsuitable("none of the schemas in its search_path exists".to_owned()));
    }
    Ok(())
}
