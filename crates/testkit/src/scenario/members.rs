//! The verbs about members of a network: nodes and their duties, clients, egress ranges.
//!
//! ```text
//! node add MACHINE NETWORK [v4=] [v6=] [tags=A,B]           node connect|disconnect|approve|remove MACHINE NETWORK
//! node update MACHINE NETWORK [v4=] [v6=] [tags=A,B] [clients=yes|no] [way-out=yes|no] [relay=MACHINE] [expires=S]
//!             [internet=MACHINE] [lan=yes]
//! client create NAME NETWORK gateways=MACHINE,… [key=] [v4=] [v6=] [owner=] [tags=] [expires=S] [ranges=] [full=yes] [dns=]
//!             [mtu=] [keepalive=]
//! client update NAME NETWORK (the same, and [name=])        client enable|disable|delete NAME NETWORK
//! egress create NAME NETWORK range=RANGE routers=MACHINE:PRIORITY,… [mapped=RANGE] [nat=yes]
//! egress update NAME NETWORK [name=] [mapped=] [routers=] [nat=yes|no]      egress enable|disable|delete NAME NETWORK
//! ```
//!
//! `none` takes away what may be absent.

use std::time::Duration;

use anyhow::{Result, bail};
use control::{Actor, ClientEdit, Command, Edit, EgressEdit, NewClient, NewEgress, NodeEdit};
use model::{
    Addresses, ClientId, EgressId, HostName, InternetUse, NetworkId, NetworkName, NodeId, Router, Timestamp,
    UserId, UserName, WgPublicKey,
};
use wire::ClientSeen;

use super::act::{network_id, user_id};
use super::line::Line;
use super::stage::{Stage, bytes};

/// The node that a machine is in a network.
pub(super) fn node_id(stage: &mut Stage, machine: &str, network: NetworkId) -> NodeId {
    let host = stage.host(machine);
    match stage.intent.node_of(host, network) {
        Some(node) => node.id,
        None => {
            let network = stage.name(network);
            stage.absent(&format!("{machine}/{network}"), NodeId::from_bytes)
        }
    }
}

/// The client of this name.
pub(super) fn client_id(stage: &mut Stage, name: &HostName, network: NetworkId) -> ClientId {
    match stage.intent.client_by_name(network, name) {
        Some(client) => client.id,
        None => stage.absent(name.as_str(), ClientId::from_bytes),
    }
}

/// The egress range of this name.
pub(super) fn egress_id(stage: &mut Stage, name: &HostName, network: NetworkId) -> EgressId {
    match stage.intent.egress_by_name(network, name) {
        Some(egress) => egress.id,
        None => stage.absent(name.as_str(), EgressId::from_bytes),
    }
}

/// An option that names a machine in this network.
pub(super) fn edit_node(
    stage: &mut Stage,
    line: &mut Line,
    option: &str,
    network: NetworkId,
) -> Result<Edit<NodeId>> {
    Ok(map(line.edit(option)?, |machine: String| node_id(stage, &machine, network)))
}

fn map<T, U>(edit: Edit<T>, with: impl FnOnce(T) -> U) -> Edit<U> {
    match edit {
        Edit::Keep => Edit::Keep,
        Edit::Clear => Edit::Clear,
        Edit::Set(value) => Edit::Set(with(value)),
    }
}

fn set<T>(edit: Edit<T>) -> Option<T> {
    match edit {
        Edit::Keep | Edit::Clear => None,
        Edit::Set(value) => Some(value),
    }
}

fn expires(stage: &Stage, line: &mut Line) -> Result<Edit<Timestamp>> {
    Ok(map(line.edit("expires")?, |seconds| stage.now + Duration::from_secs(seconds)))
}

fn addresses(line: &mut Line) -> Result<Option<Addresses>> {
    let addresses = Addresses { v4: line.option("v4")?, v6: line.option("v6")? };
    Ok(Some(addresses).filter(|addresses| *addresses != Addresses::default()))
}

fn network_of(stage: &mut Stage, line: &mut Line) -> Result<NetworkId> {
    let name: NetworkName = line.value()?;
    Ok(network_id(stage, &name))
}

/// A node's verbs.
pub(super) fn node(stage: &mut Stage, line: &mut Line) -> Result<(Actor, Command)> {
    let verb = line.word()?;
    let machine = line.word()?;
    let network = network_of(stage, line)?;
    let node = node_id(stage, &machine, network);
    let edit = match verb.as_str() {
        "add" => {
            let (addresses, tags) = (addresses(line)?, line.list("tags")?.into_iter().collect());
            let host = stage.host(&machine);
            return Ok((Actor::System, Command::AddNode { host, network, addresses, tags }));
        }
        "remove" => return Ok((Actor::System, Command::RemoveNode { node })),
        "connect" | "disconnect" => NodeEdit { connected: Some(verb == "connect"), ..NodeEdit::default() },
        "approve" => NodeEdit { approve: true, ..NodeEdit::default() },
        "update" => node_edit(stage, line, network)?,
        _ => bail!("nobody knows how to `node {verb}`"),
    };
    Ok((Actor::System, Command::UpdateNode { node, edit }))
}

fn node_edit(stage: &mut Stage, line: &mut Line, network: NetworkId) -> Result<NodeEdit> {
    let lan = line.yes("lan")?.unwrap_or(false);
    let internet = edit_node(stage, line, "internet", network)?;
    Ok(NodeEdit {
        connected: None,
        approve: false,
        addresses: addresses(line)?,
        tags: line.whole_list("tags")?.map(|tags| tags.into_iter().collect()).into(),
        remote_access: line.yes("clients")?,
        internet_gateway: line.yes("way-out")?,
        relay: edit_node(stage, line, "relay", network)?,
        internet: map(internet, |gateway| InternetUse { gateway: Some(gateway), lan }),
        expires: expires(stage, line)?,
    })
}

fn client_edit(stage: &mut Stage, line: &mut Line, network: NetworkId) -> Result<ClientEdit> {
    let key: Option<String> = line.option("key")?;
    let gateways: Option<Vec<String>> = line.whole_list("gateways")?;
    let owner: Edit<UserName> = line.edit("owner")?;
    Ok(ClientEdit {
        name: line.option("name")?,
        key: key.map(|text| WgPublicKey::from_bytes(bytes(&text))),
        addresses: addresses(line)?,
        gateways: gateways.map(|names| names.iter().map(|name| node_id(stage, name, network)).collect()),
        owner: map(owner, |name| -> UserId { user_id(stage, &name) }),
        enabled: None,
        tags: line.whole_list("tags")?.map(|tags| tags.into_iter().collect()).into(),
        expires: expires(stage, line)?,
        ranges: line.whole_list("ranges")?.map(|ranges| ranges.into_iter().collect()),
        full_tunnel: line.yes("full")?,
        dns: line.whole_list("dns")?.map_or(Edit::Keep, Edit::Set),
        mtu: line.edit("mtu")?,
        keepalive: line.edit("keepalive")?,
    })
}

/// A client's verbs.
pub(super) fn client(stage: &mut Stage, line: &mut Line) -> Result<(Actor, Command)> {
    let verb = line.word()?;
    let name: HostName = line.value()?;
    let network = network_of(stage, line)?;
    let client = client_id(stage, &name, network);
    let switched = |on| ClientEdit { enabled: Some(on), ..ClientEdit::default() };
    let command = match verb.as_str() {
        "create" => {
            let edit = client_edit(stage, line, network)?;
            let key = || WgPublicKey::from_bytes(bytes(&format!("{name}.1")));
            Command::CreateClient(NewClient {
                network,
                key: edit.key.unwrap_or_else(key),
                name,
                addresses: edit.addresses,
                gateways: edit.gateways.unwrap_or_default(),
                owner: set(edit.owner),
                enabled: true,
                tags: edit.tags.all.unwrap_or_default(),
                expires: set(edit.expires),
                ranges: edit.ranges.unwrap_or_default(),
                full_tunnel: edit.full_tunnel.unwrap_or(false),
                dns: set(edit.dns),
                mtu: set(edit.mtu),
                keepalive: set(edit.keepalive),
            })
        }
        "update" => Command::UpdateClient { client, edit: client_edit(stage, line, network)? },
        "enable" => Command::UpdateClient { client, edit: switched(true) },
        "disable" => Command::UpdateClient { client, edit: switched(false) },
        "delete" => Command::DeleteClient { client },
        _ => bail!("nobody knows how to `client {verb}`"),
    };
    Ok((Actor::System, command))
}

/// The client that a gateway says it let in just now.
pub(super) fn clients_seen(stage: &mut Stage, line: &mut Line) -> Result<Vec<ClientSeen>> {
    let Some(name) = line.option("client")? else { return Ok(Vec::new()) };
    let Some(network) = line.option("network")? else { bail!("in which network? network=NAME") };
    let network = network_id(stage, &network);
    let id = client_id(stage, &name, network).into();
    Ok(vec![ClientSeen { id, endpoint: None, handshake: stage.now, heard: None }])
}

fn router(stage: &mut Stage, text: &str, network: NetworkId) -> Result<Router> {
    let Some((machine, priority)) = text.split_once(':') else {
        bail!("a router is MACHINE:PRIORITY, not `{text}`")
    };
    Ok(Router { priority: priority.parse()?, node: node_id(stage, machine, network) })
}

fn egress_edit(stage: &mut Stage, line: &mut Line, network: NetworkId) -> Result<EgressEdit> {
    let routers: Option<Vec<String>> = line.whole_list("routers")?;
    let routers = routers
        .map(|texts| texts.iter().map(|text| router(stage, text, network)).collect::<Result<_>>())
        .transpose()?;
    let (name, mapped, nat) = (line.option("name")?, line.edit("mapped")?, line.yes("nat")?);
    Ok(EgressEdit { name, mapped, routers, nat, enabled: None })
}

/// An egress range's verbs.
pub(super) fn egress(stage: &mut Stage, line: &mut Line) -> Result<(Actor, Command)> {
    let verb = line.word()?;
    let name: HostName = line.value()?;
    let network = network_of(stage, line)?;
    let egress = egress_id(stage, &name, network);
    let switched = |on| EgressEdit { enabled: Some(on), ..EgressEdit::default() };
    let command = match verb.as_str() {
        "create" => {
            let Some(range) = line.option("range")? else { bail!("which range? range=RANGE") };
            let EgressEdit { mapped, routers, nat, .. } = egress_edit(stage, line, network)?;
            let (mapped, routers) = (set(mapped), routers.unwrap_or_default());
            let nat = nat.unwrap_or(false);
            Command::CreateEgress(NewEgress { network, name, range, mapped, routers, nat, enabled: true })
        }
        "update" => Command::UpdateEgress { egress, edit: egress_edit(stage, line, network)? },
        "enable" => Command::UpdateEgress { egress, edit: switched(true) },
        "disable" => Command::UpdateEgress { egress, edit: switched(false) },
        "delete" => Command::DeleteEgress { egress },
        _ => bail!("nobody knows how to `egress {verb}`"),
    };
    Ok((Actor::System, command))
}
