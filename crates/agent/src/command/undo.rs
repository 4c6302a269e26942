//! Taking netclient off this machine: the daemon, the interface, every file. For `uninstall`, the last `leave`, and a first
//! `join` that failed half way.
//!
//! Not for telling servers. It keeps true that only what is ours goes, and that it goes wholly.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use reconcile::LinkName;
use serde::Serialize;

use super::{Context, service};
use crate::hands;
use crate::names::restore_resolver;
use crate::state::file;

/// What was taken off.
#[derive(Debug, Default, Serialize)]
pub(super) struct Removed {
    /// A service or a daemon.
    pub(super) service: bool,
    /// The interface.
    pub(super) interface: Option<LinkName>,
    /// What is still there, and why.
    pub(super) left: Vec<String>,
}

/// Removes everything that is there. What cannot be removed is told, and does not keep the rest.
pub(super) async fn everything(context: &Context) -> Removed {
    let mut removed = Removed::default();
    match service::remove(context).await {
        Ok(there) => removed.service = there,
        Err(error) => removed.left.push(format!("{error:#}")),
    }
    if let Err(error) = resolver(context).await {
        removed.left.push(format!("{error:#}"));
    }
    match interface(context).await {
        Ok(link) => removed.interface = link,
        Err(error) => removed.left.push(format!("{error:#}")),
    }
    let places = &context.places;
    let files = || -> anyhow::Result<()> {
        for log in [places.daemon_log(), places.device_log(), places.device_log().with_extension("old")] {
            file::remove(&log)?;
        }
        file::remove(&places.socket())?;
        file::remove(&places.lock())?;
        Ok(())
    };
    if let Err(error) = files() {
        removed.left.push(format!("{error:#}"));
    }
    // Without the interface's keys nothing could take it down any more.
    if removed.left.is_empty()
        && let Err(error) = context.state.wipe()
    {
        removed.left.push(format!("{error:#}"));
    }
    for folder in [&places.run, &places.wireguard] {
        remove_empty(folder, &mut removed.left);
    }
    removed
}

/// Gives the machine's resolver back what it had, where a daemon that was killed could not.
async fn resolver(context: &Context) -> anyhow::Result<()> {
    let Some(made) = context.state.interface()? else { return Ok(()) };
    restore_resolver(made.link, context.state.resolver()).await.map(|_| ())
}

/// Takes down the interface that was made.
pub(super) async fn interface(context: &Context) -> anyhow::Result<Option<LinkName>> {
    let (Some(made), Some(identity)) = (context.state.interface()?, context.state.identity()?) else {
        return Ok(None);
    };
    let machine = hands::machine(&context.places, &made.link)?;
    let gone = hands::take_down(&machine, &made.link, &identity, &mut context.state.kept()?).await?;
    Ok(gone.then_some(made.link))
}

/// A folder with something of others in it stays.
fn remove_empty(folder: &Path, left: &mut Vec<String>) {
    let fine = [ErrorKind::NotFound, ErrorKind::DirectoryNotEmpty, ErrorKind::NotADirectory];
    if let Err(error) = fs::remove_dir(folder)
        && !fine.contains(&error.kind())
    {
        left.push(format!("could not remove {}: {error}", folder.display()));
    }
}
