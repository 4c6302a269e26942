//! Hosts that are there: what people and they themselves change about them, and their leaving.

use model::{Endpoint, Host, HostId, HostName, Mtu};
use wire::{HostSettings, Leave};

use super::{Decision, changed, draft::Draft, egress, names, node, removal};
use crate::{Edit, Intent, Rejection};

pub(super) fn find(intent: &Intent, host: HostId) -> Result<&Host, Rejection> {
    intent.host(host).ok_or(Rejection::NoSuchHost { host })
}

fn check_name(intent: &Intent, name: &HostName, own: HostId) -> Result<(), Rejection> {
    if intent.host_by_name(name).is_some_and(|host| host.id != own) {
        return Err(Rejection::HostNameTaken { name: name.clone() });
    }
    names::check_new(intent.host(own).map(|host| &host.name), name)?;
    let networks = intent.nodes_of_host(own).map(|node| node.network);
    for network in networks.filter_map(|network| intent.network(network)) {
        names::check(intent, network, name, Some(own.into()))?;
    }
    Ok(())
}

/// Whether a host may take the name.
pub(super) fn can_be_named(intent: &Intent, name: &HostName, host: HostId) -> bool {
    check_name(intent, name, host).is_ok()
}

/// What becomes of a host.
#[derive(Default)]
pub(super) struct Edited {
    pub(super) name: Option<HostName>,
    pub(super) mtu: Edit<Mtu>,
    pub(super) static_endpoint: Edit<Endpoint>,
    pub(super) default: Option<bool>,
    pub(super) ephemeral: Option<bool>,
}

pub(super) fn update(intent: &Intent, host: HostId, edit: Edited) -> Decision {
    let before = find(intent, host)?;
    let mut after = before.clone();
    if let Some(name) = edit.name {
        check_name(intent, &name, host)?;
        after.name = name;
    }
    edit.mtu.apply(&mut after.mtu);
    edit.static_endpoint.apply(&mut after.static_endpoint);
    if after.static_endpoint != before.static_endpoint {
        egress::check_router(intent, &after)?;
    }
    after.default = edit.default.unwrap_or(after.default);
    after.ephemeral = edit.ephemeral.unwrap_or(after.ephemeral);
    Ok(changed(before, after))
}

/// What settings leave open stays: an administrator may have set it.
pub(super) fn own_settings(intent: &Intent, host: HostId, settings: HostSettings) -> Decision {
    let HostSettings { name, mtu, static_endpoint } = settings;
    let mtu = mtu.map_or(Edit::Keep, Edit::Set);
    let static_endpoint = static_endpoint.map_or(Edit::Keep, Edit::Set);
    update(intent, host, Edited { name, mtu, static_endpoint, ..Edited::default() })
}

/// Removes a host with its nodes: it cannot be refused, for the machine may be gone.
pub(super) fn remove(intent: &Intent, host: HostId) -> Decision {
    find(intent, host)?;
    let mut draft = Draft::of(intent);
    intent.nodes_of_host(host).for_each(|node| removal::node(&mut draft, node.id));
    draft.remove(host);
    Ok(draft.finish())
}

pub(super) fn own_leave(intent: &Intent, host: HostId, leave: &Leave) -> Decision {
    match leave {
        Leave::Server => remove(intent, host),
        Leave::Network(network) => {
            let node = node::own(intent, host, network)?;
            let mut draft = Draft::of(intent);
            removal::node(&mut draft, node.id);
            Ok(draft.finish())
        }
    }
}
