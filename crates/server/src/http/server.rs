//! The server's state, the journal, and backups.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use api::{
    BrokerState, BrokerStatus, Counts, Cursor, DatabaseStatus, JournalEntry, Page, Paging, RecordChange,
    Server, ServerStatus,
};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use control::authorise_administration;
use futures_util::stream;
use tokio::io::AsyncReadExt as _;

use super::body::Params;
use super::caller::{Caller, Reader};
use super::{AdminParts, Answer, Failure, Problems, Shared};
use crate::brain::now;
use crate::broker::settings::BrokerSettings;
use crate::cluster::{Holder, Role, Running};
use crate::identity::random;
use crate::rekey::Course;

/// How the names of copies of the database begin, while they are downloaded; and how they end, one that is being made too.
const COPY_BEGIN: &str = "backup-";
const COPY_END: &str = ".tmp";
const UNFINISHED: [&str; 3] = [COPY_END, ".tmp.part", ".tmp.part-journal"];

/// The server's state
#[utoipa::path(get, path = "/api/v1/server", tag = "server", responses((status = 200, body = ServerStatus), Problems))]
pub(super) async fn status(State(admin): State<Shared>, reader: Reader) -> Json<ServerStatus> {
    let parts = &admin.parts;
    let checked = parts.check_database().await;
    let place = parts.database.place().to_string();
    let kind = place.split_once("://").map_or("sqlite", |(scheme, _)| scheme);
    let agents = connected(parts) as u64;
    let intent = &reader.intent;
    Json(ServerStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started: admin.started,
        now: now(),
        addresses: parts.settings.urls.clone(),
        pin: (parts.pin)(),
        rendezvous: parts.rendezvous.clone(),
        seq: intent.seq(),
        database: DatabaseStatus {
            kind: kind.to_owned(),
            ok: checked.is_ok(),
            detail: checked.err().map(|error| error.to_string()),
            bytes: std::fs::metadata(&place).ok().map(|file| file.len()),
        },
        broker: broker_status(parts, agents),
        rekey: parts.rekey.map(|change| api::RekeyStatus {
            hosts_left: change.hosts_left(intent) as u64,
            taken_back: change.course == Course::Back,
        }),
        counts: Counts {
            networks: intent.networks(None).count() as u64,
            hosts: intent.host_count() as u64,
            hosts_online: agents,
            nodes: intent.nodes(None).count() as u64,
            keys: intent.enrollment_keys(None).count() as u64,
            users: intent.users(None).count() as u64,
        },
    })
}

/// The agents that are connected: here, or as the server that leads wrote down.
fn connected(parts: &AdminParts) -> usize {
    if parts.brain.role().borrow().leads() {
        return parts.broker.connected();
    }
    parts.brain.told().inventory.hosts().filter(|(_, entry)| entry.online).count()
}

/// The servers of this database that run now
#[utoipa::path(get, path = "/api/v1/servers", tag = "server", responses((status = 200, body = Vec<Server>), Problems))]
pub(super) async fn list(State(admin): State<Shared>, _reader: Reader) -> Json<Vec<Server>> {
    let parts = &admin.parts;
    let role = parts.brain.role().borrow().clone();
    let show = |running: &Running| {
        let Running { holder, leads, .. } = running;
        let Holder { id, run, name, url, pin: _, version } = holder;
        let this = *id == parts.me.id && *run == parts.me.run;
        // What this server does itself it knows better than what it heard last.
        let leads = match &role {
            Role::Leads => this,
            Role::Follows { leader: Some(leader) } => *id == leader.id,
            Role::Follows { leader: None } => *leads && !this,
        };
        let (id, name, address, version) = (id.clone(), name.clone(), url.clone(), version.clone());
        Server { id, name, address, version, leads, this, trouble: trouble(running) }
    };
    let mut servers: Vec<Server> = parts.servers.borrow().iter().map(show).collect();
    if !servers.iter().any(|server| server.this) {
        servers.push(show(&Running::of(parts.me.clone())));
    }
    servers.sort_unstable_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    Json(servers)
}

/// What is wrong with a server's place among the others.
fn trouble(Running { holder, unreached_by, has_lost_broker, .. }: &Running) -> Option<String> {
    let unreached = || format!("not reached by {} at {}", unreached_by.join(", "), holder.url);
    let unreached = (!unreached_by.is_empty()).then(unreached);
    let broker = has_lost_broker.then(|| "does not reach the message broker".to_owned());
    let parts: Vec<String> = unreached.into_iter().chain(broker).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn broker_status(parts: &AdminParts, agents: u64) -> BrokerStatus {
    let kind = match &parts.settings.broker {
        BrokerSettings::Embedded => "embedded",
        BrokerSettings::External(_) => "external",
    };
    let role = parts.brain.role().borrow().clone();
    let (state, detail) = broker_state(&role, parts.broker.trouble(), &parts.servers.borrow());
    BrokerStatus { kind: kind.to_owned(), state, detail, agents }
}

/// How a server in this role stands to the broker, and what there is to say of that. Only the server that leads is connected.
fn broker_state(role: &Role, trouble: Option<String>, servers: &[Running]) -> (BrokerState, Option<String>) {
    match (role, trouble) {
        (Role::Leads, None) => (BrokerState::Working, None),
        (Role::Leads, Some(trouble)) => (BrokerState::Failing, Some(trouble)),
        (Role::Follows { leader: Some(leader) }, _) => {
            let is_it = |server: &&Running| server.holder.id == leader.id;
            let has_lost = servers.iter().find(is_it).is_some_and(|server| server.has_lost_broker);
            let more = if has_lost { " and does not reach it" } else { "" };
            (BrokerState::Elsewhere, Some(format!("{} leads{more}", leader.name)))
        }
        (Role::Follows { leader: None }, _) => {
            (BrokerState::Elsewhere, Some("no server leads, as far as this one hears".to_owned()))
        }
    }
}

/// Who changed what and when, newest first
#[utoipa::path(get, path = "/api/v1/journal", tag = "server", params(Paging),
    responses((status = 200, body = Page<JournalEntry>), Problems))]
pub(super) async fn journal(
    State(admin): State<Shared>,
    _reader: Reader,
    Params(paging): Params<Paging>,
) -> Answer<Page<JournalEntry>> {
    let before = paging.after("journal")?;
    let most = paging.limit.get();
    // One more than the page has, to know whether there is another page.
    let entries = admin.parts.database.journal(before, u32::try_from(most + 1).unwrap_or(u32::MAX)).await?;
    let more = entries.len() > most;
    let items: Vec<JournalEntry> = entries.into_iter().take(most).map(show).collect();
    let last = items.last().filter(|_| more);
    let next = last.map(|entry| Cursor::after("journal", &entry.seq.to_string()));
    Ok(Json(Page { items, next }))
}

fn show(entry: store::JournalEntry) -> JournalEntry {
    let store::JournalEntry { seq, time, actor, command, records } = entry;
    let change = |record: store::JournalRecord| {
        let store::JournalRecord { kind, id, before, after } = record;
        RecordChange { kind, id, before, after }
    };
    let changes = records.into_iter().map(change).collect();
    JournalEntry { seq, time, actor: actor.to_string(), command, changes }
}

/// The database as a file: everything but the server's own keys. Administrators only: it holds the hashes of secrets
#[utoipa::path(get, path = "/api/v1/backup", tag = "server",
    responses((status = 200, body = Vec<u8>, content_type = "application/vnd.sqlite3"), Problems))]
pub(super) async fn backup(State(admin): State<Shared>, caller: Caller) -> Result<Response, Failure> {
    authorise_administration(&admin.parts.brain.intent(), &caller.actor, "backup")?;
    let name = data_encoding::HEXLOWER.encode(&random::<8>()?);
    let copy = Copy(admin.parts.settings.data.join(format!("{COPY_BEGIN}{name}{COPY_END}")));
    let database = Arc::clone(&admin.parts.database);
    // Whoever asked may hang up meanwhile: the copy is made to its end, and removed then.
    let made = tokio::spawn(async move { database.backup(&copy.0).await.map(|()| copy) });
    let copy = made.await.context("making the copy broke")??;
    let file = tokio::fs::File::open(&copy.0).await.context("the copy cannot be read")?;
    let length = file.metadata().await.context("the copy cannot be read")?.len();
    let headers = [
        (CONTENT_TYPE, "application/vnd.sqlite3".to_owned()),
        (axum::http::header::CONTENT_LENGTH, length.to_string()),
        (CONTENT_DISPOSITION, "attachment; filename=\"netloom-backup.db\"".to_owned()),
    ];
    Ok((headers, Body::from_stream(chunks(file, copy))).into_response())
}

/// Removes copies that were being downloaded when the server last ended without a chance to remove them: they hold all that
/// the database holds.
pub fn remove_leftovers(data: &Path) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(data).context("the data folder cannot be read")?;
    for entry in entries {
        let entry = entry.context("the data folder cannot be read")?;
        let is_copy = entry.file_name().to_str().is_some_and(|name| {
            name.starts_with(COPY_BEGIN) && UNFINISHED.iter().any(|end| name.ends_with(end))
        });
        if is_copy {
            let file = entry.path();
            let context = || format!("the left copy of the database {} cannot be removed", file.display());
            std::fs::remove_file(&file).with_context(context)?;
            tracing::info!(file = %file.display(), "a copy of the database was left by a download; it was removed");
        }
    }
    Ok(())
}

/// A file that is removed when nobody needs it any more, also when the download is broken off.
struct Copy(PathBuf);

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(file = %self.0.display(), %error, "a copy of the database was not removed");
        }
    }
}

fn chunks(file: tokio::fs::File, copy: Copy) -> impl futures_util::Stream<Item = std::io::Result<Vec<u8>>> {
    stream::try_unfold((file, copy), |(mut file, copy)| async move {
        let mut chunk = vec![0; 64 * 1024];
        let read = file.read(&mut chunk).await?;
        chunk.truncate(read);
        Ok((read > 0).then_some((chunk, (file, copy))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broker_of_a_server_that_follows_is_the_leaders_and_nothing_is_wrong_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let leader =
            Holder::new(folder.path(), "one".to_owned(), "https://one.example".to_owned(), None).unwrap();
        let not_connected = || Some("it was not connected to yet".to_owned());
        let follows = Role::Follows { leader: Some(leader.clone()) };
        let mut servers = [Running::of(leader)];
        assert_eq!(broker_state(&Role::Leads, None, &servers), (BrokerState::Working, None));
        assert_eq!(
            broker_state(&Role::Leads, not_connected(), &servers),
            (BrokerState::Failing, not_connected())
        );
        let said = |servers: &[Running]| {
            let (state, detail) = broker_state(&follows, not_connected(), servers);
            assert_eq!(state, BrokerState::Elsewhere);
            detail.unwrap()
        };
        assert_eq!(said(&servers), "one leads");
        servers[0].has_lost_broker = true;
        assert_eq!(said(&servers), "one leads and does not reach it");
        let (state, detail) = broker_state(&Role::Follows { leader: None }, not_connected(), &servers);
        assert!(state == BrokerState::Elsewhere && detail.unwrap().contains("no server leads"));
    }

    #[test]
    fn copies_that_a_crash_left_are_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let left = ["backup-0011.tmp", "backup-0012.tmp.part", "backup-0012.tmp.part-journal"];
        for name in left.into_iter().chain(["backup-2026.db", "netloom.db"]) {
            std::fs::write(folder.path().join(name), b"x").unwrap();
        }
        remove_leftovers(folder.path()).unwrap();
        let left = std::fs::read_dir(folder.path()).unwrap();
        let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["backup-2026.db", "netloom.db"]);
    }
}
