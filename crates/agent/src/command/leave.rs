//! Leaving: a network, a server, everything.
//!
//! It keeps true that leaving the last network of the last server leaves nothing of netclient on the machine.

use anyhow::{Context as _, bail};
use model::{HostName, NetworkName};
use wire::Leave;

use super::{Context, PATIENCE, undo, update};
use crate::control::Request;
use crate::engine::client_of;
use crate::hands;
use crate::state::{MachineMark, ServerRecord};
use crate::talk::{HostClient, TalkError};

/// `netclient leave NETWORK`.
pub(super) async fn network(context: &Context, network: &str, force: bool) -> anyhow::Result<()> {
    hands::check_rights("leave NETWORK")?;
    let network = update::network_name(context, network)?;
    let session = context.session()?;
    let map = context.state.map(&session.record.name)?;
    let others =
        map.iter().flat_map(|map| map.networks.values()).filter(|other| other.name != network).count();
    if map.is_some() && others == 0 {
        return last_network(context, &session.record, &session.client, &network, force).await;
    }
    session.client.leave(&Leave::Network(network.clone())).await.map_err(|error| {
        let error = anyhow::Error::from(error);
        if force {
            error.context("the server has to take this machine out of one network among several; try again when it can be reached, or leave all with `netclient uninstall`")
        } else {
            error
        }
    })?;
    update::up_to_date(context)
        .await
        .context("the server has been told, but this machine is not up to date")?;
    context
        .output
        .result(|| format!("This machine has left {network}."), &serde_json::json!({ "left": network }))
}

async fn last_network(
    context: &Context,
    record: &ServerRecord,
    client: &HostClient,
    network: &NetworkName,
    force: bool,
) -> anyhow::Result<()> {
    let untold = tell(client, &record.name, force).await?;
    let kept = forget(context, record).await?;
    context.output.result(
        || {
            let mut words =
                format!("This machine has left {network}, its last network on the server {}; ", record.name);
            words.push_str(&after(&kept));
            words + &untold.as_deref().map(|untold| format!("\n{untold}")).unwrap_or_default()
        },
        &serde_json::json!({ "left": network, "server": record.name, "told": untold.is_none(), "now": kept }),
    )
}

/// Tells the server to forget this host. Without `force`, that it cannot be told is an error; with it, a sentence.
async fn tell(client: &HostClient, server: &HostName, force: bool) -> anyhow::Result<Option<String>> {
    match client.leave(&Leave::Server).await {
        Ok(()) => Ok(None),
        Err(error) if knows_no_host(&error) => Ok(None),
        Err(error) if force => Ok(Some(format!(
            "The server {server} could not be told ({error}); an administrator can remove this host there with `netloom host delete`."
        ))),
        Err(error) => Err(anyhow::Error::from(error).context(format!(
            "the server {server} could not be told; with --force this machine is cleaned up anyway"
        ))),
    }
}

fn knows_no_host(error: &TalkError) -> bool {
    error.refusal() == Some(wire::RefusalCode::UnknownHost)
}

/// What is in use after a server was left; none when nothing is left on the machine.
async fn forget(context: &Context, record: &ServerRecord) -> anyhow::Result<Option<HostName>> {
    let in_use = context.state.active()?.is_some_and(|active| active.name == record.name);
    let mut others =
        context.state.servers()?.into_iter().filter(|other| other.name != record.name && !other.removed);
    let Some(next) = others.next() else {
        let removed = undo::everything(context).await;
        if let Some(left) = removed.left.first() {
            bail!("not everything could be removed: {left}");
        }
        return Ok(None);
    };
    context.state.remove_server(&record.name)?;
    if in_use {
        context.state.set_active(&next.name)?;
        let daemon = context.daemon();
        if daemon.runs().await {
            daemon.done(&Request::Reload, PATIENCE).await?;
        }
        update::up_to_date(context)
            .await
            .context("the server has been left; the next one in use gave no map yet")?;
    }
    Ok(context.state.active()?.map(|active| active.name))
}

fn after(kept: &Option<HostName>) -> String {
    match kept {
        Some(next) => format!("the server {next} is in use now."),
        None => "nothing of netclient is left here.".to_owned(),
    }
}

/// `netclient server leave`.
pub(super) async fn server(context: &Context, name: Option<&str>, force: bool) -> anyhow::Result<()> {
    hands::check_rights("server leave")?;
    let identity = context.session()?.identity;
    let servers = context.state.servers()?;
    let record = match name {
        Some(name) => super::serverlist::find(&servers, name)?,
        None => context.session()?.record,
    };
    let client = client_of(&record, &identity)?;
    let untold = if record.removed { None } else { tell(&client, &record.name, force).await? };
    let kept = forget(context, &record).await?;
    context.output.result(
        || {
            let words = format!("This machine has left the server {}; {}", record.name, after(&kept));
            words + &untold.as_deref().map(|untold| format!("\n{untold}")).unwrap_or_default()
        },
        &serde_json::json!({ "server": record.name, "told": untold.is_none(), "now": kept }),
    )
}

/// `netclient uninstall`.
pub(super) async fn uninstall(context: &Context) -> anyhow::Result<()> {
    hands::check_rights("uninstall")?;
    let mut untold = Vec::new();
    // A copied machine must not speak for the one it was copied from.
    let own =
        context.state.identity()?.filter(|identity| !identity.is_of_another(MachineMark::here().as_ref()));
    if let Some(identity) = own {
        for record in context.state.servers()?.into_iter().filter(|record| !record.removed) {
            let client = client_of(&record, &identity)?;
            untold.extend(tell(&client, &record.name, true).await?);
        }
    }
    let removed = undo::everything(context).await;
    if !removed.left.is_empty() {
        bail!("not everything could be removed: {}", removed.left.join("; "));
    }
    context.output.result(
        || {
            let what = match &removed.interface {
                Some(link) => format!("Removed the interface {link}, the state and the daemon; nothing of netclient is left here but this program."),
                None => "Nothing of netclient is left here but this program.".to_owned(),
            };
            std::iter::once(what).chain(untold.iter().cloned()).collect::<Vec<_>>().join("\n")
        },
        &serde_json::json!({ "removed": removed, "untold": untold }),
    )
}
