//! Remote access clients.

use model::{Client, ClientId, Timestamp};

use super::{Decision, changed, network, token};
use crate::{ClientEdit, Env, Intent, NewClient, RecordChange, Rejection, allocate};

pub(super) fn create(intent: &Intent, new: NewClient, env: &mut Env<'_>) -> Decision {
    let network = network::find(intent, new.network)?;
    token::check_expiry(new.expires, env.now)?;
    let addresses = allocate::addresses(intent, network, new.addresses.unwrap_or_default())?;
    let id = ClientId::new(env.now, env.bytes());
    Ok(vec![RecordChange::made(Client {
        id,
        network: network.id,
        name: new.name,
        key: new.key,
        addresses,
        gateways: new.gateways,
        owner: new.owner,
        enabled: true,
        tags: new.tags,
        expires: new.expires,
        ranges: new.ranges,
        full_tunnel: new.full_tunnel,
        dns: new.dns,
        mtu: new.mtu,
        keepalive: new.keepalive,
        created: env.now,
    })])
}

fn find(intent: &Intent, client: ClientId) -> Result<&Client, Rejection> {
    intent.client(client).ok_or(Rejection::NoSuchClient { client })
}

pub(super) fn update(intent: &Intent, client: ClientId, edit: ClientEdit, _now: Timestamp) -> Decision {
    let before = find(intent, client)?;
    Ok(changed(before, edited(before.clone(), edit)))
}

fn edited(mut client: Client, edit: ClientEdit) -> Client {
    client.name = edit.name.unwrap_or(client.name);
    client.key = edit.key.unwrap_or(client.key);
    client.gateways = edit.gateways.unwrap_or(client.gateways);
    edit.owner.apply(&mut client.owner);
    client.enabled = edit.enabled.unwrap_or(client.enabled);
    client.tags = edit.tags.unwrap_or(client.tags);
    edit.expires.apply(&mut client.expires);
    client.ranges = edit.ranges.unwrap_or(client.ranges);
    client.full_tunnel = edit.full_tunnel.unwrap_or(client.full_tunnel);
    edit.dns.apply(&mut client.dns);
    edit.mtu.apply(&mut client.mtu);
    edit.keepalive.apply(&mut client.keepalive);
    client
}

pub(super) fn delete(intent: &Intent, client: ClientId) -> Decision {
    Ok(vec![RecordChange::removed(find(intent, client)?.clone())])
}
