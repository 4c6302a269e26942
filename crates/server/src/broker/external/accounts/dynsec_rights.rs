//! The rights that Mosquitto's dynamic security plugin is told, by role.
//!
//! Not for telling it. It keeps true that a host's rights name its own topics exactly, and the fence denies it all others whatever
//! the broker lets everybody do.

use model::HostId;
use serde::{Deserialize, Serialize};

use super::{HEARS, SPEAKS, heard, spoken};

/// One right.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Right {
    acltype: String,
    topic: String,
    #[serde(default)]
    priority: i64,
    allow: bool,
}

fn right(acltype: &str, topic: String, allow: bool) -> Right {
    Right { acltype: acltype.to_owned(), topic, priority: 0, allow }
}

pub(super) fn sorted(mut rights: Vec<Right>) -> Vec<Right> {
    rights.sort();
    rights
}

pub(super) fn host_rights(host: HostId) -> Vec<Right> {
    let host = host.to_string();
    let speaks = SPEAKS.map(|kind| right("publishClientSend", kind.topic_of(&host), true));
    let hears = HEARS.map(|kind| kind.topic_of(&host));
    let hears = hears.into_iter().flat_map(|topic| {
        [right("subscribeLiteral", topic.clone(), true), right("publishClientReceive", topic, true)]
    });
    speaks.into_iter().chain(hears).collect()
}

pub(super) fn fence_rights() -> Vec<Right> {
    let kinds = ["publishClientSend", "publishClientReceive", "subscribePattern"];
    kinds.into_iter().map(|kind| right(kind, "#".to_owned(), false)).collect()
}

pub(super) fn server_rights() -> Vec<Right> {
    let hears = heard().into_iter().flat_map(|topic| {
        [right("subscribeLiteral", topic.clone(), true), right("publishClientReceive", topic, true)]
    });
    let speaks = spoken().map(|topic| right("publishClientSend", topic, true));
    hears.chain(speaks).collect()
}
