//! Sweeping: nodes and clients whose time has come.

use model::{Client, Timestamp};

use super::Decision;
use crate::{Intent, RecordChange};

pub(super) fn sweep(intent: &Intent, now: Timestamp) -> Decision {
    let over = |expires: Option<Timestamp>| expires.is_some_and(|at| at <= now);
    let nodes = intent.nodes(None).filter(|node| over(node.expires));
    let clients = intent.clients().filter(|client| client.enabled && over(client.expires));
    let off =
        |client: &Client| RecordChange::changed(client.clone(), Client { enabled: false, ..client.clone() });
    Ok(nodes.map(|node| RecordChange::removed(node.clone())).chain(clients.map(off)).collect())
}
