//! Sweeping: nodes are removed, clients let in no longer, and hosts asked for new keys, whose time has come. A host whose last
//! node goes stays.

use std::collections::BTreeSet;

use model::{Client, HostId, NodeId, Timestamp};

use super::{Decision, draft::Draft, removal, rotation};
use crate::Intent;

pub(super) fn sweep(intent: &Intent, away: &BTreeSet<HostId>, now: Timestamp) -> Decision {
    let over = |expires: Option<Timestamp>| expires.is_some_and(|at| at <= now);
    let nodes: Vec<NodeId> =
        intent.nodes(None).filter(|node| over(node.expires)).map(|node| node.id).collect();
    let mut draft = Draft::of(intent);
    nodes.into_iter().for_each(|node| removal::node(&mut draft, node));
    let clients = draft.now().clients().filter(|client| !client.is_over() && over(client.expires));
    let clients: Vec<Client> = clients.cloned().collect();
    for client in clients {
        draft.put(Client { expired: client.expires, ..client });
    }
    rotation::sweep(&mut draft, away, now);
    Ok(draft.finish())
}
