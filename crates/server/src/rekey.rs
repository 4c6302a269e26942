//! Other keys for the server itself, in two steps, so that no host has to join again: the next keys are made and told, each host
//! agrees a new channel and believes the next certificate, and then the next keys take the place of the old ones.
//!
//! ```text
//!   keys/next, tls/next are made ─▶ hosts agree ─▶ the database is the next keys' ─▶ tls ─▶ rendezvous keys ─▶ sealing key
//! ```
//!
//! Until it is finished it can be abandoned (`back`).
//!
//! Not for hosts' keys. It keeps true that a step that broke off is done by taking it again, wherever it broke off: the next
//! sealing key is the last to move, so that a change is under way for as long as it is in its folder. And that keys which hosts
//! still need are not replaced unless that is said.

mod back;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use control::{Intent, Record};
use model::{Digest, Host, SealingPublicKey};
use store::{Database, Loaded};
use wire::{NextKeys, SealingSecret};

use crate::cluster;
use crate::front::Certificates;
use crate::identity::{self, Identity};
use crate::serve::host_of;
use crate::settings::{Settings, Tls};
pub use back::{Change, Course};
use back::{Verdict, holders, judge};

/// So many hosts are named where some still need the old keys.
const MOST_NAMED: usize = 20;
/// Among the next keys: the change to them was abandoned.
const ABANDONED: &str = "abandoned";

/// The keys that a server is about to change to.
#[derive(Debug, Clone)]
pub struct Next {
    /// Its end of the sealed channels.
    pub sealing: SealingSecret,
    /// The pin of its certificate, where that changes, too.
    pub pin: Option<Digest>,
    /// Whether it still is.
    pub course: Course,
}

fn keys_folder(data: &Path) -> PathBuf {
    identity::folder(data).join("next")
}

/// Where next keys are that nobody needs any more, until they are removed.
fn abandoned_folder(data: &Path) -> PathBuf {
    identity::folder(data).join("abandoned")
}

fn making_folder(data: &Path) -> PathBuf {
    identity::folder(data).join("making")
}

fn tls_folder(data: &Path) -> PathBuf {
    tls(data).join("next")
}

/// Where the server's own certificate is.
pub fn tls(data: &Path) -> PathBuf {
    data.join("tls")
}

/// The names for the server's own certificate.
pub fn names(settings: &Settings) -> Vec<String> {
    settings.urls.iter().filter_map(|url| host_of(url)).collect()
}

impl Next {
    /// The keys that were made to be changed to; none where no change is under way.
    pub fn load(data: &Path) -> Result<Option<Self>> {
        let Stage::Begun = stage(data)? else {
            return Ok(None);
        };
        // While the change is being finished, those that moved are in the server's own folder already.
        let sealing = Identity::load_from(&[keys_folder(data), identity::folder(data)])?.sealing;
        let (certificate, key) = Certificates::own_files(&tls_folder(data));
        let pin = match key.exists() {
            true => Some(Digest::from_bytes(Certificates::from_files(certificate, key)?.pin())),
            false => None,
        };
        let is_abandoned = keys_folder(data).join(ABANDONED).exists();
        let course = if is_abandoned { Course::Back } else { Course::Forward };
        Ok(Some(Self { sealing, pin, course }))
    }

    /// The change to it.
    pub fn change(&self) -> Change {
        Change { key: self.sealing.public(), course: self.course }
    }

    /// What hosts are told of it by a server with this key. On the way back that one is the next, and its certificate counts.
    pub fn told(&self, ours: SealingPublicKey) -> NextKeys {
        match self.course {
            Course::Forward => NextKeys { sealing: self.sealing.public(), pin: self.pin },
            Course::Back => NextKeys { sealing: ours, pin: None },
        }
    }
}

/// How far a change of keys is, by what is in the data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// There is none.
    None,
    /// The next keys are made and not in force.
    Begun,
    /// They are in force, and something of it was left: it broke off at its very end, or the folder of a server that has
    /// finished it was copied over this one.
    Left,
}

fn stage(data: &Path) -> Result<Stage> {
    let folder = keys_folder(data);
    let mut entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Stage::None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", folder.display())),
    };
    let Some(next) = identity::sealing(&folder)? else {
        ensure!(
            entries.next().is_none(),
            "{} holds no `{}`: it was copied in part; copy it again, whole, from the server at which the change of keys was \
             begun",
            folder.display(),
            identity::SEALING
        );
        return Ok(Stage::Left);
    };
    let is_in_force = identity::sealing(&identity::folder(data))? == Some(next);
    Ok(if is_in_force { Stage::Left } else { Stage::Begun })
}

/// Clears away what is left of a change whose keys are in force, or that was abandoned. Says whether the former was there.
pub fn settle(data: &Path) -> Result<bool> {
    Step::RemoveFolder(abandoned_folder(data)).take()?;
    let is_left = stage(data)? == Stage::Left;
    if is_left {
        steps(data).iter().try_for_each(Step::take)?;
    }
    Ok(is_left)
}

/// Makes the next keys. The servers tell hosts of them from their next start on.
pub fn begin(settings: &Settings) -> Result<()> {
    let data = &settings.data;
    settle(data)?;
    Identity::load(data).context("there are no keys to be changed")?;
    match Next::load(data)?.map(|next| next.course) {
        None => {}
        Some(Course::Forward) => {
            bail!(
                "a change of keys was begun already; `netloom-server rekey finish` ends it, or `rekey abandon`"
            )
        }
        Some(Course::Back) => {
            bail!("a change of keys is being taken back; `netloom-server rekey abandon` ends that")
        }
    }
    // Last of all the folder by which it is known that a change was begun.
    if settings.tls == Tls::SelfSigned {
        Certificates::self_signed(&tls_folder(data), &names(settings))?;
    }
    let making = making_folder(data);
    Identity::create_in(&making)?;
    Step::Move(making, keys_folder(data)).take()
}

/// Hosts that have no channel with the next key.
pub fn left<'a>(intent: &'a Intent, next: &'a SealingPublicKey) -> impl Iterator<Item = &'a Host> {
    intent.hosts(None).filter(move |host| host.sealing.server.as_ref() != Some(next))
}

/// Puts the next keys in the place of the old ones. No server of the database may run, until it has them.
pub async fn finish(settings: &Settings, force: bool) -> Result<()> {
    let data = &settings.data;
    if settle(data)? {
        return Ok(());
    }
    let next = Next::load(data)?
        .context("no change of keys is under way; `netloom-server rekey begin` begins one")?;
    let (key, course) = (next.sealing.public(), next.course);
    let database = store::open(&settings.database).await?;
    // Where it is so already, this was decided before: here, and it broke off, or at another server.
    if !is_decided(&*database, data, &key).await? {
        ensure!(
            course == Course::Forward,
            "the change is being taken back; `netloom-server rekey abandon` ends that, and `rekey begin` begins another"
        );
        cluster::refuse_while_running(&*database).await?;
        refuse_while_behind(&hosts_alone(database.load().await?)?, &key, force)?;
        // First: a server with the old keys must not start on it any more.
        database.replace_identity(&key.to_string()).await?;
    }
    steps(data).iter().try_for_each(Step::take)
}

/// Whether the database is the next keys' already. It is that of our own otherwise, or this fails.
async fn is_decided(database: &dyn Database, data: &Path, next: &SealingPublicKey) -> Result<bool> {
    let ours = Identity::load(data)?.sealing.public().to_string();
    let theirs = database.identity(&ours).await?;
    if theirs == next.to_string() {
        return Ok(true);
    }
    ensure!(
        theirs == ours,
        "{} belongs to servers with other keys than those in {}, and not to this one",
        database.place(),
        identity::folder(data).display()
    );
    Ok(false)
}

/// What came of abandoning a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abandoned {
    /// The next keys are gone.
    Removed {
        /// So many hosts spoke by them, and have to join again.
        lost: usize,
    },
    /// The servers tell hosts of it from their next start on.
    Turned {
        /// So many have to come back.
        hosts: usize,
    },
}

/// Takes back a change that was begun. No server of the database may run.
pub async fn abandon(settings: &Settings, force: bool) -> Result<Abandoned> {
    let data = &settings.data;
    ensure!(
        !settle(data)?,
        "the next keys are in force already: `netloom-server rekey begin` begins a change to others"
    );
    let Some(next) = Next::load(data)? else {
        // Nobody was told of what a `begin` that broke off has made.
        let is_there = tls_folder(data).exists() || making_folder(data).exists();
        ensure!(is_there, "no change of keys is under way: there is nothing to abandon");
        steps_back(data).iter().try_for_each(Step::take)?;
        return Ok(Abandoned::Removed { lost: 0 });
    };
    let Change { key, course } = next.change();
    let database = store::open(&settings.database).await?;
    ensure!(
        !is_decided(&*database, data, &key).await?,
        "the next keys are in force already, and this server has not taken them over: say `netloom-server rekey finish`"
    );
    cluster::refuse_while_running(&*database).await?;
    let intent = hosts_alone(database.load().await?)?;
    let hosts = holders(&intent, &key).count();
    match judge(hosts, course, force) {
        Verdict::Remove => {
            mark_abandoned(data)?;
            steps_back(data).iter().try_for_each(Step::take)?;
            Ok(Abandoned::Removed { lost: hosts })
        }
        Verdict::Turn => mark_abandoned(data).map(|()| Abandoned::Turned { hosts }),
        Verdict::Wait => bail!(
            "{hosts} hosts still speak by the next keys: {}. Start the server and wait until they were there, or say `--force`: \
             then these have to join again with a token",
            names_of(holders(&intent, &key))
        ),
    }
}

/// First: what breaks off behind this goes on going back.
fn mark_abandoned(data: &Path) -> Result<()> {
    identity::write_private(&keys_folder(data).join(ABANDONED), b"The change to these keys was abandoned.\n")
}

fn refuse_while_behind(intent: &Intent, next: &SealingPublicKey, force: bool) -> Result<()> {
    let behind = left(intent, next).count();
    ensure!(
        behind == 0 || force,
        "{behind} hosts have not heard of the next keys yet: {}. Start the server and wait until they were there, or say \
         `--force`: then these have to join again with a token",
        names_of(left(intent, next))
    );
    Ok(())
}

/// The first of them, and how many more there are.
fn names_of<'a>(hosts: impl Iterator<Item = &'a Host>) -> String {
    let names: Vec<&str> = hosts.map(|host| host.name.as_str()).collect();
    let named = names[..names.len().min(MOST_NAMED)].join(", ");
    match names.len().saturating_sub(MOST_NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// Makes the database this server's own, for when the keys of its former servers are lost. No server may run. Says how many
/// hosts have to join again.
pub async fn adopt(settings: &Settings) -> Result<usize> {
    settle(&settings.data)?;
    let own = Identity::load_or_create(&settings.data)?;
    let database = store::open(&settings.database).await?;
    cluster::refuse_while_running(&*database).await?;
    let loaded = database.load().await?;
    let ours = own.sealing.public();
    let intent = hosts_alone(loaded)?;
    let lost = left(&intent, &ours).count();
    database.replace_identity(&ours.to_string()).await?;
    Ok(lost)
}

fn hosts_alone(loaded: Loaded) -> Result<Intent> {
    Intent::from_records(loaded.seq, loaded.records.into_iter().filter(is_host))
        .context("the database does not hold together")
}

fn is_host(record: &Record) -> bool {
    matches!(record, Record::Host(_))
}

/// One of the steps by which the next keys take the place of the old ones.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Move(PathBuf, PathBuf),
    Remove(PathBuf),
    RemoveFolder(PathBuf),
}

/// What is left to do. After each of them the certificate and its key go together, or there is no certificate and one is made
/// for the key.
fn steps(data: &Path) -> Vec<Step> {
    let (tls_next, keys_next) = (tls_folder(data), keys_folder(data));
    let [(new_certificate, new_key), (certificate, key)] =
        [Certificates::own_files(&tls_next), Certificates::own_files(&tls(data))];
    let mut steps = Vec::new();
    if new_key.exists() {
        steps.extend([Step::Remove(certificate.clone()), Step::Move(new_key, key)]);
    }
    if new_certificate.exists() {
        steps.push(Step::Move(new_certificate, certificate));
    }
    steps.push(Step::RemoveFolder(tls_next));
    // Another server finished what was to be taken back here: once the keys are in force nothing but them may be in their way.
    let mark = keys_next.join(ABANDONED);
    steps.extend([mark.with_extension("new"), mark].map(Step::Remove));
    let names = identity::RENDEZVOUS.into_iter().chain([identity::SEALING]);
    steps.extend(names.map(|name| Step::Move(keys_next.join(name), identity::folder(data).join(name))));
    steps.push(Step::RemoveFolder(keys_next));
    steps
}

/// What removes next keys that nobody needs. As long as they are in their folder, they go back; out of it they are none.
fn steps_back(data: &Path) -> Vec<Step> {
    vec![
        Step::RemoveFolder(making_folder(data)),
        Step::RemoveFolder(tls_folder(data)),
        Step::Move(keys_folder(data), abandoned_folder(data)),
        Step::RemoveFolder(abandoned_folder(data)),
    ]
}

impl Step {
    /// Takes it, unless it was taken already.
    fn take(&self) -> Result<()> {
        let (taken, path) = match self {
            Self::Move(from, to) => {
                (fs::rename(from, to).and_then(|()| sync(&[from, to])), format!("move {}", from.display()))
            }
            Self::Remove(file) => {
                (fs::remove_file(file).and_then(|()| sync(&[file])), format!("remove {}", file.display()))
            }
            Self::RemoveFolder(folder) => (
                fs::remove_dir_all(folder).and_then(|()| sync(&[folder])),
                format!("remove {}", folder.display()),
            ),
        };
        match taken {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot {path}; mend that and take the step again"))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// What follows must not be on the disk before this is.
fn sync(changed: &[&Path]) -> std::io::Result<()> {
    let folders = changed.iter().filter_map(|path| path.parent());
    folders.map(fs::File::open).try_for_each(|folder| folder?.sync_all())
}

#[cfg(test)]
#[path = "rekey_tests.rs"]
pub(crate) mod tests;
