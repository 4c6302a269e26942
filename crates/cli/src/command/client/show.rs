//! How clients are shown.

use crate::render::{View, addresses, details, joined, or_dash, table, yes_no};

/// A table of them.
pub(super) fn all(clients: &[api::Client], view: &View) -> String {
    table(
        view,
        ["name", "addresses", "gateways", "owner", "tags", "state", "last seen"],
        clients,
        |client| {
            [
                client.name.to_string(),
                addresses(client.v4, client.v6),
                gateways(client),
                or_dash(owner(client)),
                or_dash(joined(&client.tags)),
                state(client, view),
                view.moment_or(client.session.last_handshake, "never"),
            ]
        },
        "No clients yet. Make one: `netloom client create NETWORK NAME --output FILE`.",
    )
}

/// One that lost all of its gateways cannot come in.
fn gateways(client: &api::Client) -> String {
    if client.gateways.is_empty() {
        return "no gateway".to_owned();
    }
    joined(client.gateways.iter().map(|gateway| &gateway.host_name))
}

fn owner(client: &api::Client) -> String {
    client.owner.as_ref().map(|owner| owner.name.to_string()).unwrap_or_default()
}

fn state(client: &api::Client, view: &View) -> String {
    if client.expires.is_some_and(|expires| expires <= view.now) {
        return "expired".to_owned();
    }
    if !client.enabled {
        return "disabled".to_owned();
    }
    match (&client.session.gateway, client.session.online) {
        (Some(gateway), true) => format!("online by {}", gateway.host_name),
        (None, true) => "online".to_owned(),
        (_, false) => "offline".to_owned(),
    }
}

fn names(client: &api::Client) -> String {
    match &client.dns {
        None => "its gateway".to_owned(),
        Some(servers) if servers.is_empty() => "as it did before".to_owned(),
        Some(servers) => joined(servers),
    }
}

/// One client's properties.
pub(super) fn one(client: &api::Client, view: &View) -> String {
    let seen = &client.session;
    details(
        view,
        &[
            ("Name", client.name.to_string()),
            ("Id", client.id.to_string()),
            ("Network", client.network_name.to_string()),
            ("Addresses", addresses(client.v4, client.v6)),
            ("Public key", client.public_key.to_string()),
            ("Gateways", gateways(client)),
            ("Owner", owner(client)),
            ("Tags", joined(&client.tags)),
            ("Ranges", joined(&client.ranges)),
            ("Full tunnel", yes_no(client.full_tunnel)),
            ("Asks for names", names(client)),
            ("MTU", client.mtu.map(|mtu| mtu.to_string()).unwrap_or_default()),
            (
                "Keepalive",
                client.keepalive.map(|keepalive| format!("{keepalive} seconds")).unwrap_or_default(),
            ),
            ("State", state(client, view)),
            ("Last seen", view.moment_or(seen.last_handshake, "never")),
            ("Seen at", seen.endpoint.map(|endpoint| endpoint.to_string()).unwrap_or_default()),
            ("Expires", view.moment_or(client.expires, "never")),
            ("Created", view.moment(client.created)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use model::Timestamp;
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn client(more: serde_json::Value) -> api::Client {
        let id = "01010101-0101-0101-0101-010101010101";
        let gateway = json!({ "id": id, "host": id, "host_name": "gw" });
        let mut client = json!({
            "id": id, "network": id, "network_name": "home", "name": "phone", "v4": "10.1.0.9",
            "public_key": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=", "gateways": [gateway], "owner": null,
            "enabled": true, "tags": ["mobile"], "expires": null, "ranges": [], "full_tunnel": false, "dns": null,
            "mtu": null, "keepalive": null, "created": NOW,
            "session": { "online": true, "last_handshake": NOW, "gateway": gateway },
        });
        for (key, value) in more.as_object().unwrap() {
            client[key] = value.clone();
        }
        serde_json::from_value(client).unwrap()
    }

    #[test]
    fn a_list_of_clients_tells_who_is_in_and_how() {
        let expected = "\
NAME   ADDRESSES  GATEWAYS  OWNER  TAGS    STATE         LAST SEEN
phone  10.1.0.9   gw        -      mobile  online by gw  2027-01-15T08:00:00.000Z";
        assert_eq!(all(&[client(json!({}))], &View { now: NOW, width: None }), expected);
    }

    #[test]
    fn a_client_that_is_not_let_in_says_why() {
        let view = View { now: NOW, width: None };
        assert_eq!(state(&client(json!({ "enabled": false })), &view), "disabled");
        assert_eq!(state(&client(json!({ "enabled": false, "expires": NOW })), &view), "expired");
        let text = one(&client(json!({ "dns": [] })), &view);
        assert!(text.contains("Asks for names  as it did before") && !text.contains("MTU"), "{text}");
    }
}
