//! `netclient list`, `peers` and `version`: tables.

use reconcile::Actual;
use reconcile::PathStatus;

use super::Context;
use super::output::{ago, bytes};
use crate::hands;
use crate::options::OptionFlags;
use crate::talk::now;
use crate::view::{NetworkView, PeerView, View};

/// What is going on: as the daemon says, else as state and machine show.
pub(super) async fn view(context: &Context) -> anyhow::Result<View> {
    let daemon = context.daemon();
    if daemon.runs().await {
        return daemon.view().await;
    }
    let session = context.session()?;
    let options = context.options(&OptionFlags::default())?;
    let map = context.state.map(&session.record.name)?;
    let actual = match hands::machine(&context.places, &options.interface)?.observe().await {
        Ok(actual) => actual,
        Err(error) => {
            tracing::warn!("{error:#}");
            Actual::default()
        }
    };
    let key = session.identity.wireguard.public();
    Ok(View::without_daemon(&session.record, map.as_ref(), &actual, &options, key))
}

/// The view, unless there is nothing to see.
async fn busy_view(context: &Context) -> anyhow::Result<View> {
    let view = view(context).await?;
    match &view.idle {
        Some(idle) => anyhow::bail!("{idle}"),
        None => Ok(view),
    }
}

/// `netclient list`.
pub(super) async fn list(context: &Context) -> anyhow::Result<()> {
    let view = busy_view(context).await?;
    let row = |network: &NetworkView| {
        let addresses: Vec<String> = network.addresses.iter().map(ToString::to_string).collect();
        let state = state(network);
        let peers = match network.reachable {
            Some(reachable) => format!("{reachable} of {} reachable", network.peers),
            None => network.peers.to_string(),
        };
        [network.name.to_string(), addresses.join("\n"), state, peers]
    };
    let table = || {
        if view.networks.is_empty() {
            return "This machine is in no network yet; an administrator can add it with `netloom node add`."
                .to_owned();
        }
        context.output.table(["network", "addresses", "state", "peers"], view.networks.iter().map(row))
    };
    context.output.result(table, &view.networks)
}

/// `netclient peers`.
pub(super) async fn peers(context: &Context, network: Option<&str>) -> anyhow::Result<()> {
    let view = busy_view(context).await?;
    if let Some(network) = network
        && !view.networks.iter().any(|known| known.name.as_str() == network)
    {
        anyhow::bail!("this machine is not in a network `{network}`; `netclient list` shows those it is in");
    }
    let within = |peer: &&PeerView| {
        network.is_none_or(|name| peer.networks.iter().any(|other| other.network.as_str() == name))
    };
    let peers: Vec<&PeerView> = view.peers.iter().filter(within).collect();
    let now = now();
    let row = |peer: &&PeerView| {
        let ranges = peer.networks.iter().flat_map(|network| &network.ranges).map(ToString::to_string);
        let addresses: Vec<String> =
            peer.addresses().map(|address| address.to_string()).chain(ranges).collect();
        let traffic = format!("{} / {}", bytes(peer.received), bytes(peer.sent));
        [peer.name.to_string(), addresses.join("\n"), path(peer), ago(peer.handshake, now), traffic]
    };
    let table = || {
        if peers.is_empty() {
            return "No peers.".to_owned();
        }
        context
            .output
            .table(["peer", "addresses", "path", "handshake", "received / sent"], peers.iter().map(row))
    };
    context.output.result(table, &peers)
}

/// How it stands with a network in a few words.
fn state(network: &NetworkView) -> String {
    if network.pending {
        return "waiting for approval".to_owned();
    }
    if !network.connected {
        return "paused".to_owned();
    }
    let mut words = vec!["connected".to_owned()];
    words.extend(network.via.as_ref().map(|via| format!("through {via}")));
    words.extend(network.internet.as_ref().map(|way| match &way.gateway {
        Some(gateway) => format!("internet through {gateway}"),
        None => "no way to the internet".to_owned(),
    }));
    words.extend(network.internet_gateway.then(|| "internet gateway".to_owned()));
    words.extend(network.leads_to.iter().map(|range| format!("leads to {range}")));
    words.join("\n")
}

/// A path in a few words.
fn path(peer: &PeerView) -> String {
    if let Some(carrier) = peer.carrier() {
        let others =
            peer.networks.iter().map(|network| network.via.len()).max().unwrap_or(0).saturating_sub(1);
        let others = if others == 0 { String::new() } else { format!(" (of {})", others + 1) };
        let state = if peer.reached == Some(false) { ", which is unreachable" } else { "" };
        return format!("through {carrier}{others}{state}");
    }
    if peer.path.is_none() && peer.endpoint.is_none() {
        return match peer.reached {
            Some(true) => "came in".to_owned(),
            Some(false) => "not here".to_owned(),
            None if peer.is_range() => "behind this machine".to_owned(),
            None => "unknown".to_owned(),
        };
    }
    match (peer.path, peer.endpoint) {
        (Some(PathStatus::Unreachable(_)), _) => "unreachable (see `netclient status`)".to_owned(),
        (Some(path), _) => path.to_string(),
        (None, Some(endpoint)) => endpoint.to_string(),
        (None, None) => "unknown".to_owned(),
    }
}

/// `netclient version`.
pub(super) fn version(context: &Context) -> anyhow::Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    context.output.result(|| format!("netclient {version}"), &serde_json::json!({ "version": version }))
}
