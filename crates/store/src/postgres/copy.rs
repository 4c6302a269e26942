//! Backups of PostgreSQL, and back: all of it as it is at one instant, on a connection of its own.
//!
//! Not for other formats: `crate::neutral` is the one there is. It keeps true that a restore is one transaction.

use std::path::{Path, PathBuf};

use tokio_postgres::Row;

use super::connect::{Patience, Session};
use super::failure::Failure;
use super::schema;
use super::statements::{REPLACE_IDENTITY, entry};
use super::target::Target;
use crate::neutral::{AT_ONCE, Carried, Identity, Rows, Writing};
use crate::rows::unguessable;
use crate::{Existing, StoreError};

/// Writes a backup into a new file.
pub(super) async fn backup(target: &Target, to: PathBuf) -> Result<(), StoreError> {
    let new = Writing::create(to).await?;
    let certain = |failed: Failure| failed.error;
    let session = connect(target).await.map_err(certain)?;
    session.begin_snapshot(target, Patience::Long).await.map_err(certain)?;
    let mut new = new.identify(identity(&session, target).await?).await?;
    let mut page =
        Page { session: &session, target, seq: -1, record: Default::default(), host: String::new() };
    loop {
        let rows = page.next().await.map_err(certain)?;
        if rows.is_empty() {
            break;
        }
        new = new.put(rows).await?;
    }
    new.publish().await
}

/// A connection of its own, which may wait for our disk.
async fn connect(target: &Target) -> Result<Session, Failure> {
    let session = Session::connect(target).await?;
    session.allow_pauses(target).await?;
    Ok(session)
}

async fn identity(session: &Session, target: &Target) -> Result<Identity, StoreError> {
    let sql = "
        SELECT (SELECT value FROM meta WHERE key = 'server'), (SELECT value FROM meta WHERE key = 'epoch'),
            (SELECT value FROM meta WHERE key = 'identity')";
    let found = session.ask(target, sql, &[], Patience::Long).await.map_err(|failed| failed.error)?;
    let text = |at| found.first().and_then(|row| row.get::<_, Option<String>>(at));
    let detail = "it does not say whose it is".to_owned();
    match (text(0), text(1).and_then(|epoch| epoch.parse().ok())) {
        (Some(server), Some(epoch)) => Ok(Identity { server, epoch, servers: text(2) }),
        _ => Err(StoreError::Damaged { place: target.place.clone(), detail }),
    }
}

/// Where reading is in each table.
struct Page<'a> {
    session: &'a Session,
    target: &'a Target,
    seq: i64,
    record: (String, String),
    host: String,
}

impl Page<'_> {
    async fn next(&mut self) -> Result<Rows, Failure> {
        let most = i64::from(AT_ONCE);
        let (kind, id) = &self.record;
        let records = "
            SELECT kind, id, json FROM records WHERE (kind, id) > ($1, $2) ORDER BY kind, id LIMIT $3";
        let records = self.session.ask(self.target, records, &[kind, id, &most], Patience::Long).await?;
        let journal = "
            SELECT seq, time, actor, command, records FROM journal WHERE seq > $1 ORDER BY seq LIMIT $2";
        let journal = self.session.ask(self.target, journal, &[&self.seq, &most], Patience::Long).await?;
        let inventory = "SELECT host, json FROM inventory WHERE host > $1 ORDER BY host LIMIT $2";
        let inventory =
            self.session.ask(self.target, inventory, &[&self.host, &most], Patience::Long).await?;
        let three = |row: &Row| (row.get(0), row.get(1), row.get(2));
        let rows = Rows {
            records: records.iter().map(three).collect(),
            journal: journal.iter().map(entry).collect(),
            inventory: inventory.iter().map(|row| (row.get(0), row.get(1))).collect(),
        };
        if let Some((kind, id, _)) = rows.records.last() {
            self.record = (kind.clone(), id.clone());
        }
        self.seq = rows.journal.last().map_or(self.seq, |row| row.seq);
        if let Some((host, _)) = rows.inventory.last() {
            self.host.clone_from(host);
        }
        Ok(rows)
    }
}

/// Fills the database from a backup, in one transaction.
pub(super) async fn restore(target: &Target, backup: &Path, existing: Existing) -> Result<(), StoreError> {
    let (mut carried, identity) = Carried::open(backup).await?;
    schema::prepare(target).await?;
    let certain = |failed: Failure| failed.error;
    let session = connect(target).await.map_err(certain)?;
    session.begin(target, Patience::Longest).await.map_err(certain)?;
    schema::migrate(&session, target).await.map_err(certain)?;
    if existing == Existing::Keep && holds_something(&session, target).await.map_err(certain)? {
        return Err(StoreError::NotEmpty(target.place.clone()));
    }
    // In the order in which a commit holds them. The fence before all else: a commit that is on its way ends before it, or does
    // nothing.
    session
        .run(target, "SELECT FROM meta WHERE key = 'epoch' FOR UPDATE", Patience::Longest)
        .await
        .map_err(certain)?;
    let fence = "UPDATE meta SET value = $1 WHERE key = 'fence'";
    session.change(target, fence, &[&unguessable()], Patience::Longest).await.map_err(certain)?;
    let empty = "
        DELETE FROM records; DELETE FROM journal; DELETE FROM inventory; DELETE FROM leases;
        DELETE FROM meta WHERE key = 'identity';
        UPDATE meta SET value = (value::bigint + 1)::text WHERE key = 'inventory'";
    session.run(target, empty, Patience::Longest).await.map_err(certain)?;
    while let Some(rows) = carried.next().await? {
        fill(&session, target, &rows).await.map_err(certain)?;
    }
    let Identity { server, epoch, servers } = identity;
    let meta = "UPDATE meta SET value = $2 WHERE key = $1";
    session.change(target, meta, &[&"server", &server], Patience::Longest).await.map_err(certain)?;
    session
        .change(target, meta, &[&"epoch", &epoch.to_string()], Patience::Longest)
        .await
        .map_err(certain)?;
    if let Some(servers) = servers {
        session.change(target, REPLACE_IDENTITY, &[&servers], Patience::Longest).await.map_err(certain)?;
    }
    session.run(target, "NOTIFY netloom; COMMIT", Patience::Longest).await.map_err(certain)
}

async fn holds_something(session: &Session, target: &Target) -> Result<bool, Failure> {
    let sql = "SELECT EXISTS (SELECT FROM records) OR EXISTS (SELECT FROM journal)";
    let found = session.ask(target, sql, &[], Patience::Longest).await?;
    Ok(found.first().is_some_and(|row| row.get(0)))
}

async fn fill(session: &Session, target: &Target, rows: &Rows) -> Result<(), Failure> {
    let [mut kinds, mut ids, mut values] = [const { Vec::<&str>::new() }; 3];
    for (kind, id, json) in &rows.records {
        kinds.push(kind);
        ids.push(id);
        values.push(json);
    }
    let sql = "INSERT INTO records (kind, id, json) SELECT * FROM unnest($1::text[], $2::text[], $3::text[])";
    session.ask(target, sql, &[&kinds, &ids, &values], Patience::Longest).await?;

    let numbers: [Vec<i64>; 2] =
        [rows.journal.iter().map(|row| row.seq).collect(), rows.journal.iter().map(|row| row.time).collect()];
    let texts: [Vec<&str>; 3] = [
        rows.journal.iter().map(|row| row.actor.as_str()).collect(),
        rows.journal.iter().map(|row| row.command.as_str()).collect(),
        rows.journal.iter().map(|row| row.records.as_str()).collect(),
    ];
    let sql = "
        INSERT INTO journal (seq, time, actor, command, records)
        SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[])";
    let columns: [super::connect::Parameter<'_>; 5] =
        [&numbers[0], &numbers[1], &texts[0], &texts[1], &texts[2]];
    session.ask(target, sql, &columns, Patience::Longest).await?;

    let (hosts, values): (Vec<&str>, Vec<&str>) =
        rows.inventory.iter().map(|(host, json)| (host.as_str(), json.as_str())).unzip();
    let sql = "
        INSERT INTO inventory (host, json, version)
        SELECT host, json, (SELECT value::bigint FROM meta WHERE key = 'inventory')
        FROM unnest($1::text[], $2::text[]) AS new (host, json)";
    session.ask(target, sql, &[&hosts, &values], Patience::Longest).await.map(drop)
}
