//! Other keys for the server itself, in two steps, so that no host has to join again: the next keys are made and told, each host
//! agrees a new channel and believes the next certificate, and then the next keys take the place of the old ones.
//!
//! Not for hosts' keys. It keeps true that a step that broke off is done by taking it again, and that keys which hosts still
//! need are not replaced unless that is said.

use std::fs;
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
    /// The keys that were made to be changed to; none where no change was begun.
    pub fn load(data: &Path) -> Result<Option<Self>> {
        if !keys_folder(data).exists() {
            return Ok(None);
        }
        let sealing = Identity::load_from(&keys_folder(data))?.sealing;
        let (certificate, key) = Certificates::own_files(&tls_folder(data));
        let pin = match key.exists() {
            true => Some(Digest::from_bytes(Certificates::from_files(certificate, key)?.pin())),
            false => None,
        };
        Ok(Some(Self { told: NextKeys { sealing: sealing.public(), pin }, sealing }))
    }
}

/// Makes the next keys. The servers tell hosts of them from their next start on.
pub fn begin(settings: &Settings) -> Result<()> {
    Identity::load(&settings.data).context("there are no keys to be changed")?;
    if keys_folder(&settings.data).exists() {
        bail!("a change of keys was begun already; `netloom-server rekey finish` ends it");
    }
    // Last of all the folder by which it is known that a change was begun.
    if settings.tls == Tls::SelfSigned {
        Certificates::self_signed(&tls_folder(&settings.data), &names(settings))?;
    }
    let making = identity::folder(&settings.data).join("making");
    Identity::create_in(&making)?;
    fs::rename(&making, keys_folder(&settings.data)).context("the next keys cannot be put in their place")
}

/// Hosts that have no channel with the next key.
pub fn left<'a>(intent: &'a Intent, next: &'a SealingPublicKey) -> impl Iterator<Item = &'a Host> {
    intent.hosts(None).filter(move |host| host.sealing.server.as_ref() != Some(next))
}

/// Puts the next keys in the place of the old ones. No server may run.
pub async fn finish(settings: &Settings, force: bool) -> Result<()> {
    let data = &settings.data;
    let next =
        Next::load(data)?.context("no change of keys was begun; `netloom-server rekey begin` begins one")?;
    let database = store::open(&settings.database).await?;
    refuse_while_running(&*database).await?;
    let intent = hosts_alone(database.load().await?)?;
    let behind: Vec<&str> = left(&intent, &next.told.sealing).map(|host| host.name.as_str()).collect();
    if !behind.is_empty() && !force {
        let named = behind.iter().take(MOST_NAMED).copied().collect::<Vec<_>>().join(", ");
        let more = behind.len().saturating_sub(MOST_NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        bail!(
            "{} hosts have not heard of the next keys yet: {named}{more}. Start the server and wait until they were there, or \
             say `--force`: then these have to join again with a token",
            behind.len()
        );
    }
    take_their_place(&*database, data, &next.told.sealing).await
}

/// Makes the database this server's own, for when the keys of its former servers are lost. No server may run. Says how many
/// hosts have to join again.
pub async fn adopt(settings: &Settings) -> Result<usize> {
    let own = Identity::load_or_create(&settings.data)?;
    let database = store::open(&settings.database).await?;
    refuse_while_running(&*database).await?;
    let loaded = database.load().await?;
    let ours = own.sealing.public();
    let intent = hosts_alone(loaded)?;
    let lost = left(&intent, &ours).count();
    database.replace_identity(&ours.to_string()).await?;
    Ok(lost)
}

async fn refuse_while_running(database: &dyn Database) -> Result<()> {
    let running = database.held(cluster::SERVER).await?;
    ensure!(running.is_empty(), "{} of this database's servers run; stop all of them first", running.len());
    Ok(())
}

fn hosts_alone(loaded: Loaded) -> Result<Intent> {
    Intent::from_records(loaded.seq, loaded.records.into_iter().filter(is_host))
        .context("the database does not hold together")
}

fn is_host(record: &Record) -> bool {
    matches!(record, Record::Host(_))
}

/// Each step may be done again. The database comes first: a server with the old keys must not start on it any more.
async fn take_their_place(database: &dyn Database, data: &Path, next: &SealingPublicKey) -> Result<()> {
    database.replace_identity(&next.to_string()).await?;
    let tls_next = tls_folder(data);
    if tls_next.exists() {
        let [(new_certificate, new_key), (certificate, key)] =
            [Certificates::own_files(&tls_next), Certificates::own_files(&tls(data))];
        replace(&new_key, &key)?;
        replace(&new_certificate, &certificate)?;
        fs::remove_dir(&tls_next).context("the folder of the next certificate cannot be removed")?;
    }
    let (from, to) = (keys_folder(data), identity::folder(data));
    for name in Identity::files() {
        replace(&from.join(name), &to.join(name))?;
    }
    fs::remove_dir(&from).context("the folder of the next keys cannot be removed")
}

/// Moves a file, unless it was moved already.
fn replace(from: &Path, to: &Path) -> Result<()> {
    if !from.exists() {
        return Ok(());
    }
    fs::rename(from, to).with_context(|| format!("{} cannot be moved to {}", from.display(), to.display()))
}
