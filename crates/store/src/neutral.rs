//! Backups: one kind of file whichever database it is from, so that any backup goes into any database. The file is a
//! SQLite database as our own SQLite backend keeps it.
//!
//! Not for asking databases. It keeps true that a file which was not finished never has the name that was asked for, and
//! that nothing is overwritten.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use crate::rows::JournalRow;
use crate::sqlite::failure::{Failed, of_file};
use crate::sqlite::file::{beside, create_private};
use crate::sqlite::schema;
use crate::sqlite::sql::{IDENTITY, REPLACE_IDENTITY};
use crate::sqlite::statements::entry;
use crate::{Place, StoreError};

/// What a restored database's epoch is counted up by. The server may have been started that often since the backup was made:
/// the generations of host maps must be higher than all that agents have seen, or they would refuse them.
pub(crate) const EPOCHS_SINCE: u32 = 4_096;
/// The last epoch that leaves room for one more.
pub(crate) const LAST_EPOCH: u32 = 16_777_214;
/// How many rows are carried at once.
pub(crate) const AT_ONCE: u32 = 2_000;

/// Rows on their way from one database to another.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// Kind, id and JSON.
    pub(crate) records: Vec<(String, String, String)>,
    pub(crate) journal: Vec<JournalRow>,
    /// Host and JSON.
    pub(crate) inventory: Vec<(String, String)>,
}

/// What a database is beside its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) server: String,
    pub(crate) epoch: u32,
    /// Who its servers are, where they have said so.
    pub(crate) servers: Option<String>,
}

/// Does this on a thread that may wait for the disk.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Gone)?
}

/// A backup that is being written, on threads that may wait for the disk. Without `publish` nothing of it stays.
#[derive(Debug)]
pub(crate) struct Writing(NewBackup);

impl Writing {
    /// Reserves the name and makes an empty database beside it.
    pub(crate) async fn create(to: PathBuf) -> Result<Self, StoreError> {
        blocking(move || NewBackup::create(&to).map(Self)).await
    }

    async fn with(
        mut self,
        work: impl FnOnce(&mut NewBackup) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<Self, StoreError> {
        blocking(move || work(&mut self.0).map(|()| self)).await
    }

    /// Says whose rows these are.
    pub(crate) async fn identify(self, identity: Identity) -> Result<Self, StoreError> {
        self.with(move |new| new.identify(&identity)).await
    }

    /// Adds rows.
    pub(crate) async fn put(self, rows: Rows) -> Result<Self, StoreError> {
        self.with(move |new| new.put(&rows)).await
    }

    /// Gives the finished file its name, when the disk has it.
    pub(crate) async fn publish(self) -> Result<(), StoreError> {
        blocking(move || self.0.publish()).await
    }
}

#[derive(Debug)]
struct NewBackup {
    connection: Option<Connection>,
    part: PathBuf,
    to: PathBuf,
    published: bool,
}

impl NewBackup {
    fn create(to: &Path) -> Result<Self, StoreError> {
        create_private(to).map_err(|error| of_file(to, &error))?;
        let part = beside(to, ".part");
        let mut new = Self { connection: None, part, to: to.to_owned(), published: false };
        create_private(&new.part).map_err(|error| of_file(&new.part, &error))?;
        let place = Place::from(new.part.as_path());
        let opened = Connection::open(&new.part).map_err(Failed::from).and_then(|mut connection| {
            schema::migrate(&mut connection, &place)?;
            Ok(connection)
        });
        new.connection = Some(opened.map_err(|failed| failed.at(&place))?);
        Ok(new)
    }

    fn with<T>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let connection = self.connection.as_mut().ok_or(StoreError::Gone)?;
        work(connection).map_err(|error| Failed::from(error).at(&Place::from(self.part.as_path())))
    }

    fn identify(&mut self, identity: &Identity) -> Result<(), StoreError> {
        let Identity { server, epoch, servers } = identity;
        self.with(|connection| {
            let sql = "UPDATE meta SET value = ?2 WHERE key = ?1";
            connection.execute(sql, params!["server", server])?;
            connection.execute(sql, params!["epoch", epoch.to_string()])?;
            servers.iter().try_for_each(|servers| connection.execute(REPLACE_IDENTITY, [servers]).map(drop))
        })
    }

    fn put(&mut self, rows: &Rows) -> Result<(), StoreError> {
        self.with(|connection| {
            let transaction = connection.transaction()?;
            {
                let mut record =
                    transaction.prepare("INSERT INTO records (kind, id, json) VALUES (?1, ?2, ?3)")?;
                for (kind, id, json) in &rows.records {
                    record.execute([kind, id, json])?;
                }
                let mut entry = transaction.prepare(
                    "INSERT INTO journal (seq, time, actor, command, records) VALUES (?1, ?2, ?3, ?4, ?5)",
                )?;
                for JournalRow { seq, time, actor, command, records } in &rows.journal {
                    entry.execute(params![seq, time, actor, command, records])?;
                }
                let mut host = transaction.prepare("INSERT INTO inventory (host, json) VALUES (?1, ?2)")?;
                for (id, json) in &rows.inventory {
                    host.execute([id, json])?;
                }
            }
            transaction.commit()
        })
    }

    fn publish(mut self) -> Result<(), StoreError> {
        drop(self.connection.take());
        let synced = std::fs::File::open(&self.part).and_then(|file| file.sync_all());
        synced
            .and_then(|()| std::fs::rename(&self.part, &self.to))
            .map_err(|error| of_file(&self.to, &error))?;
        self.published = true;
        Ok(())
    }
}

impl Drop for NewBackup {
    fn drop(&mut self) {
        if !self.published {
            drop(self.connection.take());
            // What is wrong was said already; that the remains cannot be removed either adds nothing.
            [&self.part, &self.to].into_iter().for_each(|path| drop(std::fs::remove_file(path)));
        }
    }
}

/// A backup that is read. Its file is left as it is: an older one is brought to the newest version in a copy.
#[derive(Debug)]
pub(crate) struct Backup {
    connection: Connection,
    place: Place,
}

/// Opens a backup and sees whether it is sound.
pub(crate) fn sound(backup: &Path) -> Result<Connection, StoreError> {
    let place = Place::from(backup);
    let refuse = |error: rusqlite::Error| Failed::from(error).at(&place);
    std::fs::metadata(backup).map_err(|error| of_file(backup, &error))?;
    let source = Connection::open_with_flags(backup, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(refuse)?;
    let sound: String = source.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(refuse)?;
    if sound != "ok" {
        return Err(StoreError::Damaged { place, detail: sound });
    }
    Ok(source)
}

impl Backup {
    /// Opens it.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let source = sound(path)?;
        let place = Place::from(path);
        let copied = || -> Result<Connection, Failed> {
            if schema::recognise(&source, &place)? == 0 {
                return Err(StoreError::Foreign(place.clone()).into());
            }
            // Without a name: a file that is gone with the connection.
            let mut copy = Connection::open("")?;
            rusqlite::backup::Backup::new(&source, &mut copy)?.step(-1)?;
            schema::migrate(&mut copy, &place)?;
            Ok(copy)
        };
        let connection = copied().map_err(|failed| failed.at(&place))?;
        Ok(Self { connection, place })
    }

    fn ask<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        work(&self.connection).map_err(|error| Failed::from(error).at(&self.place))
    }

    /// Whose rows these are, in a later epoch than any that agents have seen.
    pub(crate) fn identity(&self) -> Result<Identity, StoreError> {
        let read = |key: &str| {
            self.ask(|connection| {
                let sql = "SELECT value FROM meta WHERE key = ?1";
                connection.query_row(sql, [key], |row| row.get::<_, String>(0)).optional()
            })
        };
        let (server, epoch) = (read("server")?, read("epoch")?.and_then(|text| text.parse::<u32>().ok()));
        let (Some(server), Some(epoch)) = (server, epoch) else {
            let detail = "it does not say whose backup it is".to_owned();
            return Err(StoreError::Damaged { place: self.place.clone(), detail });
        };
        let servers =
            self.ask(|connection| connection.query_row(IDENTITY, [], |row| row.get(0)).optional())?;
        Ok(Identity { server, epoch: epoch.saturating_add(EPOCHS_SINCE).min(LAST_EPOCH), servers })
    }

    /// Some rows of each table: those behind so many others. Empty at the end.
    pub(crate) fn rows(&self, behind: u32) -> Result<Rows, StoreError> {
        self.ask(|connection| {
            let page = params![AT_ONCE, behind];
            let records = connection
                .prepare("SELECT kind, id, json FROM records ORDER BY kind, id LIMIT ?1 OFFSET ?2")?
                .query_map(page, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
                .collect::<Result<_, _>>()?;
            let journal = connection
                .prepare(
                    "SELECT seq, time, actor, command, records FROM journal ORDER BY seq LIMIT ?1 OFFSET ?2",
                )?
                .query_map(page, entry)?
                .collect::<Result<_, _>>()?;
            let inventory = connection
                .prepare("SELECT host, json FROM inventory ORDER BY host LIMIT ?1 OFFSET ?2")?
                .query_map(page, |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<_, _>>()?;
            Ok(Rows { records, journal, inventory })
        })
    }
}

impl Rows {
    /// Whether there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.journal.is_empty() && self.inventory.is_empty()
    }
}

/// The rows of a backup, carried away on a thread of their own.
pub(crate) struct Carried(Option<Backup>, u32);

impl Carried {
    /// Opens the backup, and says whose it is.
    pub(crate) async fn open(path: &Path) -> Result<(Self, Identity), StoreError> {
        let path = path.to_owned();
        blocking(move || {
            let backup = Backup::open(&path)?;
            let identity = backup.identity()?;
            Ok((Self(Some(backup), 0), identity))
        })
        .await
    }

    /// The next rows; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Rows>, StoreError> {
        let (backup, behind) = (self.0.take().ok_or(StoreError::Gone)?, self.1);
        let (backup, rows) = blocking(move || {
            let rows = backup.rows(behind)?;
            Ok((backup, rows))
        })
        .await?;
        self.0 = Some(backup);
        self.1 += AT_ONCE;
        Ok((!rows.is_empty()).then_some(rows))
    }
}
