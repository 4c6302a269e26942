//! Hosts that are there: what people and they themselves change about them, and their leaving.

use model::{Endpoint, Host, HostId, HostName, Mtu};
use wire::{HostSettings, Leave};

use super::{Decision, changed, node};
use crate::{Edit, Intent, RecordChange, Rejection};

pub(super) fn find(intent: &Intent, host: HostId) -> Result<&Host, Rejection> {
    intent.host(host).ok_or(Rejection::NoSuchHost { host })
}

fn check_name(intent: &Intent, name: &HostName, own: HostId) -> Result<(), Rejection> {
    match intent.host_by_name(name) {
        Some(host) if host.id != own => Err(Rejection::HostNameTaken { name: name.clone() }),
        Some(_) | None => Ok(()),
    }
}

pub(super) fn update(
    intent: &Intent,
    host: HostId,
    name: Option<HostName>,
    mtu: Edit<Mtu>,
    static_endpoint: Edit<Endpoint>,
) -> Decision {
    let before = find(intent, host)?;
    let mut after = before.clone();
    if let Some(name) = name {
        check_name(intent, &name, host)?;
        after.name = name;
    }
    mtu.apply(&mut after.mtu);
    static_endpoint.apply(&mut after.static_endpoint);
    Ok(changed(before, after))
}

/// What settings leave open stays: an administrator may have set it.
pub(super) fn own_settings(intent: &Intent, host: HostId, settings: HostSettings) -> Decision {
    let HostSettings { name, mtu, static_endpoint } = settings;
    let or_keep = |endpoint: Option<Endpoint>| endpoint.map_or(Edit::Keep, Edit::Set);
    update(intent, host, name, mtu.map_or(Edit::Keep, Edit::Set), or_keep(static_endpoint))
}

pub(super) fn remove(intent: &Intent, host: HostId) -> Decision {
    let before = find(intent, host)?;
    let nodes = intent.nodes_of_host(host).map(|node| RecordChange::removed(node.clone()));
    Ok(nodes.chain([RecordChange::removed(before.clone())]).collect())
}

pub(super) fn own_leave(intent: &Intent, host: HostId, leave: &Leave) -> Decision {
    match leave {
        Leave::Server => remove(intent, host),
        Leave::Network(network) => {
            let node = node::own(intent, host, network)?;
            Ok(vec![RecordChange::removed(node.clone())])
        }
    }
}
