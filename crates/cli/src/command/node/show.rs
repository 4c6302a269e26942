//! How nodes are shown.

use crate::render::{View, addresses, details, joined, online, or_dash, table, yes_no};

/// A table of them.
pub(super) fn all(nodes: &[api::Node], view: &View) -> String {
    table(
        view,
        ["host", "addresses", "tags", "duties", "via", "state"],
        nodes,
        |node| {
            [
                node.host_name.to_string(),
                addresses(node.v4, node.v6),
                or_dash(joined(&node.tags)),
                or_dash(duties(node)),
                or_dash(
                    node.relayed_by.as_ref().map(|relay| relay.host_name.to_string()).unwrap_or_default(),
                ),
                state(node),
            ]
        },
        "No host is in this network, or none that you look for.",
    )
}

/// What it does for others, as far as a node says it itself.
fn duties(node: &api::Node) -> String {
    let duties = [(node.remote_access, "remote access"), (node.internet_gateway, "internet")];
    joined(duties.into_iter().filter(|(has, _)| *has).map(|(_, duty)| duty))
}

fn state(node: &api::Node) -> String {
    let aside = match (node.pending, node.connected) {
        (true, _) => ", waits to be let in",
        (false, false) => ", paused",
        (false, true) => "",
    };
    let shut = if is_shut(node) { ", without a way to the internet" } else { "" };
    format!("{}{aside}{shut}", online(node.online))
}

/// Whether its internet gateway was removed: nothing of it goes out.
fn is_shut(node: &api::Node) -> bool {
    node.internet.as_ref().is_some_and(|used| used.gateway.is_none())
}

fn via(node: &api::Node) -> String {
    match (&node.relayed_by, &node.relay) {
        (Some(by), Some(_)) => format!("{}, its relay", by.host_name),
        (Some(by), None) => format!("{}, the network's hub", by.host_name),
        (None, _) => String::new(),
    }
}

fn internet(node: &api::Node) -> String {
    let Some(used) = &node.internet else {
        return String::new();
    };
    let lan = if used.lan { "the LAN directly" } else { "the LAN not at all" };
    match &used.gateway {
        Some(gateway) => format!("by {}, {lan}", gateway.host_name),
        None => format!(
            "not at all, {lan}: its gateway was removed; choose another (`--internet HOST`), or none (`--internet none`)"
        ),
    }
}

/// One node's properties.
pub(crate) fn one(node: &api::Node, view: &View) -> String {
    details(
        view,
        &[
            ("Host", node.host_name.to_string()),
            ("Network", node.network_name.to_string()),
            ("Id", node.id.to_string()),
            ("Addresses", addresses(node.v4, node.v6)),
            ("Tags", joined(&node.tags)),
            ("Duties", duties(node)),
            ("Reached by", via(node)),
            ("Internet", internet(node)),
            ("Connected", yes_no(node.connected)),
            ("State", state(node)),
            ("Expires", node.expires.map(|moment| view.moment(moment)).unwrap_or_default()),
            ("Created", view.moment(node.created)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use model::Timestamp;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn named(name: &str) -> api::NodeRef {
        api::NodeRef {
            id: model::NodeId::from_bytes([8; 16]),
            host: model::HostId::from_bytes([9; 16]),
            host_name: name.parse().unwrap(),
        }
    }

    fn node() -> api::Node {
        api::Node {
            id: model::NodeId::from_bytes([1; 16]),
            network: model::NetworkId::from_bytes([2; 16]),
            network_name: "home".parse().unwrap(),
            host: model::HostId::from_bytes([3; 16]),
            host_name: "web".parse().unwrap(),
            v4: Some([10, 1, 0, 2].into()),
            v6: None,
            connected: true,
            pending: true,
            tags: ["db", "web"].map(|tag| tag.parse().unwrap()).into(),
            remote_access: true,
            internet_gateway: true,
            relay: None,
            relayed_by: Some(named("gw")),
            internet: Some(api::InternetUse { gateway: Some(named("out")), lan: true }),
            expires: Some(NOW),
            online: true,
            created: NOW,
        }
    }

    #[test]
    fn a_list_of_nodes_tells_tags_duties_relays_and_who_waits() {
        let expected = "\
HOST  ADDRESSES  TAGS     DUTIES                   VIA  STATE
web   10.1.0.2   db, web  remote access, internet  gw   online, waits to be let in";
        assert_eq!(all(&[node()], &View { now: NOW, width: None }), expected);
    }

    #[test]
    fn a_node_tells_its_ways_to_others() {
        let text = one(&node(), &View { now: NOW, width: None });
        for line in [
            "Reached by  gw, the network's hub",
            "Internet    by out, the LAN directly",
            "Expires     2027-01-15T08:00:00.000Z",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let shut = api::Node { internet: Some(api::InternetUse { gateway: None, lan: false }), ..node() };
        let text = one(&shut, &View { now: NOW, width: None });
        assert!(
            text.contains("Internet    not at all, the LAN not at all: its gateway was removed"),
            "{text}"
        );
        let list = all(&[shut], &View { now: NOW, width: None });
        assert!(list.contains("waits to be let in, without a way to the internet"), "{list}");
        let own = api::Node { relay: Some(named("gw")), internet: None, ..node() };
        let text = one(&own, &View { now: NOW, width: None });
        assert!(text.contains("gw, its relay") && !text.contains("Internet"), "{text}");
    }
}
