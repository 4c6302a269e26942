//! Bringing this machine up to date by hand: `pull`, `push`, `connect`, `disconnect`; with the daemon where one runs, else
//! once in this process.

use anyhow::{Context as _, bail};
use model::NetworkName;
use tokio::sync::mpsc;
use wire::NodeSwitch;

use super::{Context, PATIENCE};
use crate::control::Request;
use crate::engine::{Engine, Mode};
use crate::hands;
use crate::options::OptionFlags;
use crate::view::View;

/// Fetches the map and carries it out, without a daemon. The view is that of afterwards.
pub(super) async fn once(context: &Context) -> anyhow::Result<View> {
    hands::check_rights("pull")?;
    let session = context.session()?;
    let options = context.options(&OptionFlags::default())?;
    let mut engine =
        Engine::new(Mode::Once, &context.places, context.state.clone(), options, session).await?;
    // Nobody calls: the sender is kept, so that the receiver stays open.
    let (_calls, mut receiver) = mpsc::channel(1);
    let mut told = std::pin::pin!(std::future::pending());
    engine.run(&mut receiver, told.as_mut(), || ()).await;
    if let Err(reason) = engine.outcome() {
        bail!(reason);
    }
    Ok(View { daemon: false, ..engine.show().await })
}

/// Fails if something of the map could not be carried out.
pub(super) fn check(view: &View) -> anyhow::Result<()> {
    match view.failures.as_slice() {
        [] => Ok(()),
        failures => {
            let each: Vec<String> =
                failures.iter().map(|failure| format!("{}: {}", failure.op, failure.error)).collect();
            bail!("not everything could be carried out: {}", each.join("; "))
        }
    }
}

/// By the daemon if one runs, else here.
pub(super) async fn up_to_date(context: &Context) -> anyhow::Result<View> {
    let daemon = context.daemon();
    if !daemon.runs().await {
        return once(context).await;
    }
    daemon.done(&Request::Pull, PATIENCE).await?;
    daemon.view().await
}

/// `netclient pull`.
pub(super) async fn pull(context: &Context) -> anyhow::Result<()> {
    let progress = context.output.progress("asking the server");
    let view = up_to_date(context).await?;
    drop(progress);
    check(&view)?;
    let generation = view.host.as_ref().map(|host| host.generation);
    context.output.result(
        || match generation {
            Some(generation) => format!("This machine is up to date (generation {generation})."),
            None => "The server has no map for this machine yet.".to_owned(),
        },
        &serde_json::json!({ "generation": generation }),
    )
}

/// `netclient push`: what is set on this machine goes to the server, and into the interface.
pub(super) async fn push(context: &Context, flags: &OptionFlags) -> anyhow::Result<()> {
    hands::check_rights("push")?;
    let options = context.options(flags)?;
    let mut session = context.session()?;
    let settings = options.for_server();
    session.client.settings(&settings).await?;
    session.record.told = settings.clone();
    context.state.save_server(&session.record)?;
    context.state.save_options(&options.kept)?;
    let daemon = context.daemon();
    if daemon.runs().await {
        daemon.done(&Request::Reload, PATIENCE).await?;
    }
    let view = up_to_date(context).await?;
    let name = view.host.as_ref().map(|host| host.name.clone());
    context.output.result(
        || match &name {
            Some(name) => format!("The server knows what is set on this machine; it is called {name} there."),
            None => "The server knows what is set on this machine.".to_owned(),
        },
        &serde_json::json!({ "told": settings, "name": name }),
    )
}

/// The network of this name, as this host is in it.
pub(super) fn network_name(context: &Context, text: &str) -> anyhow::Result<NetworkName> {
    let name: NetworkName = text.parse()?;
    let record = context.session()?.record;
    let known = context.state.map(&record.name)?;
    let names: Vec<String> =
        known.iter().flat_map(|map| map.networks.values()).map(|network| network.name.to_string()).collect();
    // Where no map is known, the server knows.
    if known.is_some() && !names.contains(&name.to_string()) {
        let list = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        bail!("this machine is not in the network {name}; it is in: {list}");
    }
    Ok(name)
}

/// `netclient connect` and `netclient disconnect`.
pub(super) async fn switch(context: &Context, network: &str, connected: bool) -> anyhow::Result<()> {
    let verb = if connected { "connect" } else { "disconnect" };
    hands::check_rights(&format!("{verb} NETWORK"))?;
    let network = network_name(context, network)?;
    let client = context.session()?.client;
    client.switch(&NodeSwitch { network: network.clone(), connected }).await?;
    up_to_date(context).await.context("the server has been told, but this machine is not up to date")?;
    context.output.result(
        || {
            if connected {
                format!("This machine takes part in {network}.")
            } else {
                format!("This machine has paused in {network}; `netclient connect {network}` brings it back.")
            }
        },
        &serde_json::json!({ "network": network, "connected": connected }),
    )
}
