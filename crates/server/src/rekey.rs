//! Other keys for the server itself, in two steps, so that no host has to join again: the next keys are made and told, each host
//! agrees a new channel and believes the next certificate, and then the next keys take the place of the old ones.
//!
//! ```text
//!   keys/next, tls/next are made ─▶ hosts agree ─▶ the database is the next keys' ─▶ tls ─▶ rendezvous keys ─▶ sealing key
//! ```
//!
//! Not for hosts' keys. It keeps true that a step that broke off is done by taking it again, wherever it broke off: the next
//! sealing key is the last to move, so that a change is under way for as long as it is in its folder. And that keys which hosts
//! still need are not replaced unless that is said.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use control::{Intent, Record};
use model::{Digest, Host, SealingPublicKey};
use store::Loaded;
use wire::{NextKeys, SealingSecret};

use crate::cluster;
use crate::front::Certificates;
use crate::identity::{self, Identity};
use crate::serve::host_of;
use crate::settings::{Settings, Tls};

/// So many hosts are named where some still need the old keys.
const MOST_NAMED: usize = 20;

/// The keys that a server is about to change to.
#[derive(Debug, Clone)]
pub struct Next {
    /// Its end of the sealed channels.
    pub sealing: SealingSecret,
    /// What hosts are told.
    pub told: NextKeys,
}

fn keys_folder(data: &Path) -> PathBuf {
    identity::folder(data).join("next")
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
        Ok(Some(Self { told: NextKeys { sealing: sealing.public(), pin }, sealing }))
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

/// Clears away what is left of a change whose keys are in force. Says whether there was anything.
pub fn settle(data: &Path) -> Result<bool> {
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
    if stage(data)? == Stage::Begun {
        bail!("a change of keys was begun already; `netloom-server rekey finish` ends it");
    }
    // Last of all the folder by which it is known that a change was begun.
    if settings.tls == Tls::SelfSigned {
        Certificates::self_signed(&tls_folder(data), &names(settings))?;
    }
    let making = identity::folder(data).join("making");
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
    let (ours, next) = (Identity::load(data)?.sealing.public().to_string(), next.told.sealing);
    let database = store::open(&settings.database).await?;
    let theirs = database.identity(&ours).await?;
    // Where it is so already, this was decided before: here, and it broke off, or at another server.
    if theirs != next.to_string() {
        ensure!(
            theirs == ours,
            "{} belongs to servers with other keys than those in {}, and not to this one",
            database.place(),
            identity::folder(data).display()
        );
        cluster::refuse_while_running(&*database).await?;
        refuse_while_behind(&hosts_alone(database.load().await?)?, &next, force)?;
        // First: a server with the old keys must not start on it any more.
        database.replace_identity(&next.to_string()).await?;
    }
    steps(data).iter().try_for_each(Step::take)
}

fn refuse_while_behind(intent: &Intent, next: &SealingPublicKey, force: bool) -> Result<()> {
    let behind: Vec<&str> = left(intent, next).map(|host| host.name.as_str()).collect();
    if behind.is_empty() || force {
        return Ok(());
    }
    let named = behind.iter().take(MOST_NAMED).copied().collect::<Vec<_>>().join(", ");
    let more = behind.len().saturating_sub(MOST_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    bail!(
        "{} hosts have not heard of the next keys yet: {named}{more}. Start the server and wait until they were there, or \
         say `--force`: then these have to join again with a token",
        behind.len()
    );
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
    let names = identity::RENDEZVOUS.into_iter().chain([identity::SEALING]);
    steps.extend(names.map(|name| Step::Move(keys_next.join(name), identity::folder(data).join(name))));
    steps.push(Step::RemoveFolder(keys_next));
    steps
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
mod tests;
