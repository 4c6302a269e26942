//! Nodes and their duties, egress, names, groups, keys.

use serde_json::{Value, json};

use crate::double::{Double, NOW};
use crate::logged_in;

const NETWORK: &str = "/api/v1/networks/home";
const ID: &str = "01010101-0101-0101-0101-010101010101";
const OTHER: &str = "02020202-0202-0202-0202-020202020202";

fn node(pending: bool) -> Value {
    json!({
        "id": ID, "network": ID, "network_name": "home", "host": ID, "host_name": "web", "v4": "10.1.0.2",
        "connected": true, "pending": pending, "tags": ["old"], "online": true, "created": NOW,
    })
}

fn sent(server: &Double) -> Value {
    server.seen().pop().expect("something was sent").body
}

#[tokio::test]
async fn a_node_is_changed_as_it_was_said() {
    let (server, seat) = logged_in().await;
    let path = format!("{NETWORK}/nodes/web");
    server.answers(&format!("GET {path}"), 200, node(false));
    server.answers(&format!("PATCH {path}"), 200, node(false));
    for (line, expected) in [
        ("node update home web --tag db --untag old", json!({ "add_tags": ["db"], "remove_tags": ["old"] })),
        ("node update home web --tags none", json!({ "tags": [] })),
        ("node update home web --internet out", json!({ "internet": { "gateway": "out" } })),
        ("node update home web --lan off", json!({ "internet": { "lan": false } })),
        (
            "node update home web --internet out --lan off",
            json!({ "internet": { "gateway": "out", "lan": false } }),
        ),
        ("node update home web --internet none --relay none", json!({ "internet": null, "relay": null })),
        ("node update home web --relay gw --expires never", json!({ "relay": "gw", "expires": null })),
        (
            "node update home web --v6 fd00::7 --expires-in 2d",
            json!({ "v6": "fd00::7", "expires_in": 172_800 }),
        ),
        ("gateway enable remote-access home web", json!({ "remote_access": true })),
        ("gateway disable internet home web", json!({ "internet_gateway": false })),
    ] {
        let went = seat.run(line, "").await;
        assert_eq!((went.code, sent(&server)), (0, expected), "{line}: {went:?}");
    }
    let before = server.seen().len();
    let contrary = seat.run("node update home web --internet none --lan on", "").await;
    assert!(contrary.code == 2 && server.seen().len() == before, "{contrary:?}");
}

#[tokio::test]
async fn who_waits_is_listed_counted_and_let_in() {
    let (server, seat) = logged_in().await;
    server.lists(&format!("{NETWORK}/nodes"), json!([node(true), node(false)]));
    let list = seat.run("node list home --pending", "").await;
    assert_eq!(list.out.lines().count(), 2, "{}", list.out);
    assert!(list.out.contains("waits to be let in"), "{}", list.out);
    let network = json!({
        "id": ID, "name": "home", "v4": "10.1.0.0/16", "v6": null, "keepalive": 20, "access": "deny",
        "approval": true, "nodes": 2, "created": NOW,
    });
    server.answers(&format!("GET {NETWORK}"), 200, network);
    let shown = seat.run("network show home", "").await;
    assert!(shown.out.contains("Waiting    1 to be let in"), "{}", shown.out);
    server.answers(&format!("POST {NETWORK}/nodes/web/approve"), 200, node(false));
    assert_eq!(seat.run("node approve home web", "").await.code, 0);
}

#[tokio::test]
async fn asking_every_host_for_a_new_key_is_confirmed() {
    let (server, seat) = logged_in().await;
    let nobody = json!({ "dry_run": true, "cut_off": [], "cut_off_count": 0 });
    server.answers("POST /api/v1/hosts/rotate-keys", 200, nobody.clone());
    server.answers("POST /api/v1/hosts/web/rotate-key", 200, nobody);
    let refused = seat.run("host rotate-key --all", "").await;
    let tried = "/api/v1/hosts/rotate-keys?dry_run=true";
    assert!(refused.code == 2 && server.seen().last().unwrap().target == tried, "{refused:?}");
    let went = seat.ask("host rotate-key --all", &["yes"]).await;
    assert_eq!((went.code, went.out.as_str()), (0, "Every host is asked for a new WireGuard key.\n"));
    let one = seat.run("host rotate-key web", "").await;
    assert_eq!((one.code, one.out.as_str()), (0, "Host `web` is asked for a new WireGuard key.\n"));
}

#[tokio::test]
async fn whom_a_new_key_cuts_off_is_said_before_anybody_is() {
    let (server, seat) = logged_in().await;
    let phone = json!({ "client": "phone", "network": "home", "gateway": "gw" });
    let cut_off = json!({ "dry_run": true, "cut_off": [phone], "cut_off_count": 1 });
    server.answers("POST /api/v1/hosts/gw/rotate-key", 200, cut_off);
    let refused = seat.run("host rotate-key gw", "").await;
    assert!(refused.code == 2 && refused.err.contains("phone (home, by gw)"), "{refused:?}");
    assert!(server.seen().last().unwrap().target.ends_with("?dry_run=true"), "nobody was asked");
    let went = seat.run("host rotate-key gw --yes", "").await;
    assert!(went.code == 0 && went.err.contains("phone (home, by gw)"), "{went:?}");
    assert!(server.seen().last().unwrap().target.ends_with("/rotate-key"));
}

#[tokio::test]
async fn what_goes_with_a_host_is_said_before_it_is_confirmed() {
    let (server, seat) = logged_in().await;
    let policy = json!({ "fate": "policy_removed", "network": "home", "name": "to web" });
    let shut = json!({ "fate": "node_without_internet", "network": "home", "name": "laptop" });
    let removal = json!({ "dry_run": true, "affected": [policy, shut], "affected_count": 2 });
    server.answers("DELETE /api/v1/hosts/web", 200, removal);
    let refused = seat.run("host delete web", "").await;
    assert!(refused.code == 2 && refused.err.contains("to web (home)"), "{refused:?}");
    assert!(refused.err.contains("nothing goes out") && refused.err.contains("laptop (home)"), "{refused:?}");
    let targets = || server.seen().iter().map(|seen| seen.target.clone()).collect::<Vec<_>>();
    assert_eq!(targets().last().unwrap(), "/api/v1/hosts/web?dry_run=true");
    let went = seat.run("host delete web --yes", "").await;
    assert!(
        went.code == 0
            && went.out.starts_with("Host `web` is removed.")
            && went.out.contains("to web (home)"),
        "{went:?}"
    );
    assert_eq!(targets().last().unwrap(), "/api/v1/hosts/web");

    let nothing = json!({ "dry_run": false, "affected": [], "affected_count": 0 });
    for (line, path, done) in [
        ("node remove home web", format!("{NETWORK}/nodes/web"), "`web` is no longer in network `home`.\n"),
        (
            "egress delete home site",
            format!("{NETWORK}/egress/site"),
            "Egress `site` is deleted from network `home`.\n",
        ),
        (
            "client delete home phone",
            format!("{NETWORK}/clients/phone"),
            "Client `phone` is deleted from network `home`.\n",
        ),
        ("user delete bob", "/api/v1/users/bob".to_owned(), "User `bob` is deleted.\n"),
    ] {
        server.answers(&format!("DELETE {path}"), 200, nothing.clone());
        let went = seat.run(&format!("{line} --yes"), "").await;
        assert_eq!((went.code, went.out.as_str()), (0, done), "{line}: {went:?}");
    }
}

#[tokio::test]
async fn a_duty_that_is_no_switch_says_who_names_it() {
    let (server, seat) = logged_in().await;
    let before = server.seen().len();
    for (duty, expected) in [
        ("relay", "netloom node update home NODE --relay gw"),
        ("hub", "netloom network update home --hub gw"),
        ("egress", "netloom egress create home NAME RANGE --router gw"),
    ] {
        let refused = seat.run(&format!("gateway enable {duty} home gw"), "").await;
        assert!(refused.code == 2 && refused.err.contains(expected), "{refused:?}");
    }
    assert_eq!(server.seen().len(), before);
}

#[tokio::test]
async fn an_egress_range_names_its_routers_in_order() {
    let (server, seat) = logged_in().await;
    let egress = json!({
        "id": ID, "network": ID, "network_name": "home", "name": "office", "range": "192.168.7.0/24",
        "mapped": null, "reached_as": "192.168.7.0/24", "nat": false, "enabled": true, "created": NOW,
        "routers": [{ "node": { "id": ID, "host": ID, "host_name": "gw" }, "priority": 10, "online": true }],
    });
    server.answers(&format!("POST {NETWORK}/egress"), 201, egress);
    let went =
        seat.run("egress create home office 192.168.7.0/24 --router gw:10 --router out --nat off", "").await;
    assert!(went.code == 0 && went.out.contains("Router      gw:10 (online)"), "{went:?}");
    let expected = json!({
        "name": "office", "range": "192.168.7.0/24", "routers": [{ "node": "gw", "priority": 10 }, { "node": "out" }],
        "nat": false, "enabled": true,
    });
    assert_eq!(sent(&server), expected);
}

#[tokio::test]
async fn a_record_is_found_by_its_name_where_that_says_which() {
    let (server, seat) = logged_in().await;
    let records = format!("{NETWORK}/dns/records");
    let record = |id: &str, name: &str, data: Value| json!({ "id": id, "network": ID, "name": name, "ttl": 60, "data": data, "created": NOW });
    let v4 = record(ID, "www", json!({ "type": "a", "address": "10.0.0.7" }));
    let v6 = record(OTHER, "www", json!({ "type": "aaaa", "address": "fd00::7" }));
    server.lists(&records, json!([v4, v6]));
    server.answers(&format!("PATCH {records}/{OTHER}"), 200, v6.clone());
    server.answers(&format!("DELETE {records}/{ID}"), 204, Value::Null);

    let both = seat.run("dns record delete home www --yes", "").await;
    assert!(both.code == 2 && both.err.contains("--type"), "{both:?}");
    let none = seat.run("dns record delete home @ --yes", "").await;
    assert!(none.code == 1 && none.err.contains("no such record"), "{none:?}");
    let gone = seat.run("dns record delete home www --type A --yes", "").await;
    assert_eq!((gone.code, gone.out.as_str()), (0, "Deleted the A record `www` from network `home`.\n"));
    let wrong = seat.run("dns record update home www 10.0.0.8 --type aaaa", "").await;
    assert!(wrong.code == 2 && wrong.err.contains("takes one IPv6 address"), "{wrong:?}");
    assert_eq!(seat.run("dns record update home www fd00::8 --type aaaa", "").await.code, 0);
    assert_eq!(sent(&server), json!({ "data": { "type": "aaaa", "address": "fd00::8" } }));
}

#[tokio::test]
async fn names_are_added_and_printed_for_others() {
    let (server, seat) = logged_in().await;
    let data = json!({ "type": "srv", "priority": 0, "weight": 5, "port": 5060, "target": "sip.example" });
    let record = json!({ "id": ID, "network": ID, "name": null, "ttl": 60, "data": data, "created": NOW });
    server.answers(&format!("POST {NETWORK}/dns/records"), 201, record);
    let went = seat.run("dns record add home @ srv 0 5 5060 sip.example", "").await;
    assert!(went.code == 0 && went.out.contains("Value    0 5 5060 sip.example"), "{went:?}");
    assert_eq!(sent(&server), json!({ "data": data }));
    server.answers(&format!("GET {NETWORK}/dns/zone"), 200, "web.home. 60 IN A 10.0.0.7\n".into());
    let zone = seat.run("dns zone home --format hosts", "").await;
    assert_eq!(zone.out, "web.home. 60 IN A 10.0.0.7\n");
    assert_eq!(server.seen().pop().unwrap().target, format!("{NETWORK}/dns/zone?format=hosts"));
}

#[tokio::test]
async fn groups_tags_and_ephemeral_hosts_are_said_to_users_and_keys() {
    let (server, seat) = logged_in().await;
    let user =
        json!({ "id": ID, "name": "bob", "role": "auditor", "groups": ["night", "staff"], "created": NOW });
    server.answers("PUT /api/v1/users/bob/groups", 200, user);
    let went = seat.run("user groups bob staff,night", "").await;
    assert!(went.code == 0 && went.out.contains("Groups   night, staff"), "{went:?}");
    assert_eq!(sent(&server), json!({ "groups": ["night", "staff"] }));

    let key = json!({
        "id": ID, "title": "ci", "networks": [], "uses": null, "expires": null, "tags": ["ci", "web"],
        "ephemeral": true, "state": "usable", "created": NOW,
    });
    server.answers("POST /api/v1/keys", 201, json!({ "key": key, "token": "o2EBWCA" }));
    let went = seat.run("key create ci --tag web --tag ci --ephemeral", "").await;
    assert!(went.code == 0 && went.out.contains("Tags      ci, web"), "{went:?}");
    let body = sent(&server);
    assert_eq!((&body["tags"], &body["ephemeral"]), (&json!(["ci", "web"]), &json!(true)));
}
