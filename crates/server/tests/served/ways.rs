//! What nodes do for others, and the rest of their life: egress, relays, hubs, internet gateways, approval, tags, new keys.

use api::{
    CreateEgress, CreateKey, CreateNetwork, Edit, Egress, Host, KeyRotation, Network, Node, PatchEgress,
    PatchHost, PatchNetwork, PatchNode, Removal, SetGroups, SetRouter, UseInternet, User, path,
};
use testkit::fleet::{Agent, Method};

use crate::running::{Ready, start, start_with};

async fn with_nodes(names: &[&str]) -> Ready {
    joined(start().await, names).await
}

async fn joined(ready: Ready, names: &[&str]) -> Ready {
    let token = ready.network("home", "10.1.0.0/16").await;
    for name in names {
        Agent::join(&token, name).await.unwrap();
    }
    ready
}

fn node(name: &str) -> String {
    path::fill(path::NODE, &["home", name])
}

fn router(name: &str) -> SetRouter {
    SetRouter { node: name.parse().unwrap(), priority: None }
}

#[tokio::test]
async fn an_egress_range_lives_with_its_routers() {
    let ready = with_nodes(&["r1", "r2"]).await;
    let egresses = path::fill(path::EGRESSES, &["home"]);
    let create = CreateEgress {
        name: "office".parse().unwrap(),
        range: "192.168.7.0/24".parse().unwrap(),
        mapped: None,
        routers: vec![router("r2"), router("r1")],
        nat: true,
        enabled: true,
    };
    let made: Egress = ready.admin.post(&egresses, &create).await.unwrap();
    let order = |egress: &Egress| {
        let one = |router: &api::Router| (router.node.host_name.to_string(), router.priority);
        egress.routers.iter().map(one).collect::<Vec<_>>()
    };
    assert_eq!(order(&made), [("r2".to_owned(), 0), ("r1".to_owned(), 1)]);
    let own = CreateEgress { range: "10.1.4.0/24".parse().unwrap(), ..create.clone() };
    let own = CreateEgress { name: "own".parse().unwrap(), ..own };
    let refused = ready.admin.post::<Egress>(&egresses, &own).await.unwrap_err();
    assert_eq!((refused.status(), refused.code()), (409, "ranges-overlap"));
    let twice = CreateEgress { routers: vec![router("r1"), router("r1")], ..create.clone() };
    let refused = ready.admin.post::<Egress>(&egresses, &twice).await.unwrap_err();
    assert!(refused.to_string().contains("`r1` is there twice"), "{refused}");

    let mixed = vec![SetRouter { priority: Some(10), ..router("r1") }, router("r2")];
    let mixed = CreateEgress { routers: mixed, ..create.clone() };
    let refused = ready.admin.post::<Egress>(&egresses, &mixed).await.unwrap_err();
    assert!(refused.to_string().contains("each router a priority, or none"), "{refused}");

    let patch = PatchEgress {
        mapped: Edit::Set("100.64.7.0/24".parse().unwrap()),
        routers: Some(vec![SetRouter { priority: Some(5), ..router("r1") }]),
        nat: Some(false),
        ..PatchEgress::default()
    };
    let at = path::fill(path::EGRESS, &["home", "office"]);
    let changed: Egress = ready.admin.patch(&at, &patch).await.unwrap();
    assert_eq!(changed.reached_as.to_string(), "100.64.7.0/24");
    assert_eq!((order(&changed), changed.nat), (vec![("r1".to_owned(), 5)], false));
    assert_eq!(ready.admin.get::<Egress>(&at).await.unwrap(), changed);
    let cleared = PatchEgress { mapped: Edit::Clear, ..PatchEgress::default() };
    assert_eq!(ready.admin.patch::<Egress>(&at, &cleared).await.unwrap().mapped, None);
    assert_eq!(ready.admin.list::<Egress>(&egresses, 10).await.unwrap().len(), 1);
    ready.admin.delete(&at).await.unwrap();
    assert_eq!(ready.admin.get::<Egress>(&at).await.unwrap_err().status(), 404);
}

#[tokio::test]
async fn nodes_are_reached_through_relays_and_hubs_and_chains_are_refused() {
    let ready = with_nodes(&["hub", "a", "b"]).await;
    let relay = |name: &str| PatchNode { relay: Edit::Set(name.parse().unwrap()), ..PatchNode::default() };
    let a: Node = ready.admin.patch(&node("a"), &relay("b")).await.unwrap();
    assert_eq!(a.relay.unwrap().host_name.to_string(), "b");
    let chain = ready.admin.patch::<Node>(&node("b"), &relay("hub")).await.unwrap_err();
    assert_eq!(chain.status(), 409, "{chain}");
    let alone = PatchNode { relay: Edit::Clear, ..PatchNode::default() };
    let a: Node = ready.admin.patch(&node("a"), &alone).await.unwrap();
    assert_eq!((a.relay, a.relayed_by), (None, None));

    let hub = PatchNetwork { hub: Edit::Set("hub".parse().unwrap()), ..PatchNetwork::default() };
    let at = path::fill(path::NETWORK, &["home"]);
    let network: Network = ready.admin.patch(&at, &hub).await.unwrap();
    assert_eq!(network.hub.unwrap().host_name.to_string(), "hub");
    let b: Node = ready.admin.get(&node("b")).await.unwrap();
    assert_eq!((b.relay, b.relayed_by.unwrap().host_name.to_string()), (None, "hub".to_owned()));
    let mesh = PatchNetwork { hub: Edit::Clear, ..PatchNetwork::default() };
    assert_eq!(ready.admin.patch::<Network>(&at, &mesh).await.unwrap().hub, None);
}

#[tokio::test]
async fn a_node_goes_to_the_internet_through_a_gateway() {
    let ready = with_nodes(&["gw", "a"]).await;
    let internet = UseInternet { gateway: Some("gw".parse().unwrap()), lan: Some(false) };
    let through = PatchNode { internet: Edit::Set(internet), ..PatchNode::default() };
    let refused = ready.admin.patch::<Node>(&node("a"), &through).await.unwrap_err();
    assert_eq!((refused.status(), refused.code()), (409, "not-an-internet-gateway"));
    let duty = PatchNode { internet_gateway: Some(true), ..PatchNode::default() };
    assert!(ready.admin.patch::<Node>(&node("gw"), &duty).await.unwrap().internet_gateway);
    let a: Node = ready.admin.patch(&node("a"), &through).await.unwrap();
    let internet = a.internet.unwrap();
    assert_eq!((internet.gateway.unwrap().host_name.to_string(), internet.lan), ("gw".to_owned(), false));
    let with = |gateway, lan| PatchNode {
        internet: Edit::Set(UseInternet { gateway, lan }),
        ..PatchNode::default()
    };
    let a: Node = ready.admin.patch(&node("a"), &with(None, Some(true))).await.unwrap();
    let internet = a.internet.unwrap();
    assert_eq!((internet.gateway.unwrap().host_name.to_string(), internet.lan), ("gw".to_owned(), true));
    let refused = ready.admin.patch::<Node>(&node("gw"), &with(None, Some(true))).await.unwrap_err();
    assert!(refused.to_string().contains("uses no internet gateway yet"), "{refused}");
    ready.admin.delete(&path::fill(path::HOST, &["gw"])).await.unwrap();
    let shut = ready.admin.get::<Node>(&node("a")).await.unwrap().internet.unwrap();
    assert_eq!((shut.gateway, shut.lan), (None, true), "nothing goes out until somebody chooses");
    let back = PatchNode { internet: Edit::Clear, ..PatchNode::default() };
    assert_eq!(ready.admin.patch::<Node>(&node("a"), &back).await.unwrap().internet, None);
}

#[tokio::test]
async fn who_must_be_let_in_waits_and_brings_the_tags_of_its_key() {
    let ready = start().await;
    let create = CreateNetwork {
        approval: true,
        domain: Some("office.example.org".parse().unwrap()),
        ..CreateNetwork::named("home".parse().unwrap())
    };
    let network: Network = ready.admin.post(path::NETWORKS, &create).await.unwrap();
    assert!(network.approval && network.domain.is_some());
    let create = CreateKey {
        networks: vec!["home".parse().unwrap()],
        tags: ["guest".parse().unwrap()].into(),
        ephemeral: true,
        ..CreateKey::titled("guests".parse().unwrap())
    };
    let (key, token) = ready.admin.create_key(&create).await.unwrap();
    assert!(key.ephemeral && key.tags == create.tags);
    Agent::join(&token, "guest").await.unwrap();
    let waiting: Node = ready.admin.get(&node("guest")).await.unwrap();
    assert!(waiting.pending && waiting.tags == create.tags);
    let approve = path::fill(path::NODE_APPROVE, &["home", "guest"]);
    let approved = ready.admin.send(Method::POST, &approve, "text/plain", Vec::new()).await.unwrap();
    let approved: Node = serde_json::from_slice(&approved.body).unwrap();
    assert!(!approved.pending);
    assert!(ready.admin.host("guest").await.unwrap().ephemeral);

    let moved = PatchNode { v4: "10.0.0.0".parse().ok(), ..PatchNode::default() };
    let refused = ready.admin.patch::<Node>(&node("guest"), &moved).await.unwrap_err();
    assert_eq!(refused.status(), 422);
}

#[tokio::test]
async fn hosts_are_asked_for_new_keys_and_made_default() {
    let ready = with_nodes(&["web", "db"]).await;
    let post = |at: String| {
        let admin = ready.admin.clone();
        async move { admin.send(Method::POST, &at, "text/plain", Vec::new()).await.unwrap() }
    };
    let asked = post(path::fill(path::HOST_ROTATE_KEY, &["web"])).await;
    let asked: KeyRotation = serde_json::from_slice(&asked.body).unwrap();
    assert_eq!((asked.dry_run, asked.cut_off_count), (false, 0));
    assert!(ready.admin.host("web").await.unwrap().rotating);
    let tried = post(format!("{}?dry_run=true", path::ROTATE_KEYS)).await;
    assert!(tried.status == 200 && !ready.admin.host("db").await.unwrap().rotating, "nobody is asked");
    assert_eq!(post(path::ROTATE_KEYS.to_owned()).await.status, 200);
    assert!(ready.admin.host("db").await.unwrap().rotating);

    let default = PatchHost { default: Some(true), ..PatchHost::default() };
    let web: Host = ready.admin.patch(&path::fill(path::HOST, &["web"]), &default).await.unwrap();
    assert!(web.default && web.networks.len() == 1);
    ready.admin.network("work", "10.2.0.0/24").await.unwrap();
    assert_eq!(ready.admin.host("web").await.unwrap().networks.len(), 2);
    assert_eq!(ready.admin.host("db").await.unwrap().networks.len(), 1);
}

#[tokio::test]
async fn a_user_is_put_into_groups() {
    let ready = start().await;
    let groups = SetGroups { groups: ["staff".parse().unwrap(), "night".parse().unwrap()].into() };
    let at = path::fill(path::USER_GROUPS, &["root"]);
    let reply = ready.admin.json(Method::PUT, &at, &groups).await.unwrap();
    let user: User = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(user.groups, groups.groups);
    assert_eq!(ready.admin.get::<User>(&path::fill(path::USER, &["root"])).await.unwrap(), user);
}

fn range(name: &str, range: &str, routers: &[&str]) -> CreateEgress {
    CreateEgress {
        name: name.parse().unwrap(),
        range: range.parse().unwrap(),
        mapped: None,
        routers: routers.iter().map(|name| router(name)).collect(),
        nat: true,
        enabled: true,
    }
}

#[tokio::test]
async fn a_range_that_holds_the_server_is_refused() {
    let ready = joined(start_with("rendezvous_host = \"192.0.2.7\"").await, &["r1"]).await;
    let egresses = path::fill(path::EGRESSES, &["home"]);
    let lab = range("lab", "192.0.2.0/24", &["r1"]);
    let refused = ready.admin.post::<Egress>(&egresses, &lab).await.unwrap_err();
    assert_eq!((refused.status(), refused.code()), (409, "range-holds-server"));
    assert!(refused.to_string().contains("192.0.2.7"), "{refused}");
    let mapped = CreateEgress { mapped: "198.51.100.0/24".parse().ok(), ..lab };
    let _made: Egress = ready.admin.post(&egresses, &mapped).await.unwrap();
    let at = path::fill(path::EGRESS, &["home", "lab"]);
    let cleared = PatchEgress { mapped: Edit::Clear, ..PatchEgress::default() };
    let refused = ready.admin.patch::<Egress>(&at, &cleared).await.unwrap_err();
    assert_eq!(refused.code(), "range-holds-server");
}

#[tokio::test]
async fn what_goes_with_a_host_is_said_before_and_after() {
    let ready = with_nodes(&["r1", "a", "b"]).await;
    let duty = PatchNode { remote_access: Some(true), internet_gateway: Some(true), ..PatchNode::default() };
    let _node: Node = ready.admin.patch(&node("r1"), &duty).await.unwrap();
    let internet = Edit::Set(UseInternet { gateway: Some("r1".parse().unwrap()), lan: None });
    let _node: Node =
        ready.admin.patch(&node("a"), &PatchNode { internet, ..PatchNode::default() }).await.unwrap();
    let _egress: Egress = ready
        .admin
        .post(&path::fill(path::EGRESSES, &["home"]), &range("site", "192.168.7.0/24", &["r1"]))
        .await
        .unwrap();
    let phone = serde_json::json!({ "name": "phone" });
    let _client: api::CreatedClient =
        ready.admin.post(&path::fill(path::CLIENTS, &["home"]), &phone).await.unwrap();
    for (name, from) in [("to r1", vec!["node:a"]), ("from some", vec!["node:b", "node:r1"])] {
        let to = if name == "to r1" { "node:r1" } else { "node:a" };
        let policy = serde_json::json!({ "name": name, "from": from, "to": [to] });
        let _policy: api::Policy =
            ready.admin.post(&path::fill(path::POLICIES, &["home"]), &policy).await.unwrap();
    }
    let test =
        serde_json::json!({ "from": "node:a", "to": "node:r1", "service": "tcp/22", "expect": "allow" });
    let _test: api::PolicyTest =
        ready.admin.post(&path::fill(path::POLICY_TESTS, &["home"]), &test).await.unwrap();

    let at = path::fill(path::HOST, &["r1"]);
    let remove = async |at: &str| -> Removal {
        let reply = ready.admin.send(Method::DELETE, at, "text/plain", Vec::new()).await.unwrap();
        serde_json::from_slice(&reply.body).unwrap()
    };
    let tried = remove(&format!("{at}?dry_run=true")).await;
    let told = |removal: &Removal| {
        let one = |it: &api::Affected| {
            (serde_json::to_value(it.fate).unwrap().as_str().unwrap().to_owned(), it.name.clone())
        };
        removal.affected.iter().map(one).collect::<Vec<_>>()
    };
    let expected = [
        ("policy_removed", "to r1"),
        ("policy_narrowed", "from some"),
        ("policy_test_removed", "node:a to node:r1 by tcp/22"),
        ("client_without_gateway", "phone"),
        ("egress_without_router", "site"),
        ("node_without_internet", "a"),
    ];
    assert_eq!(told(&tried), expected.map(|(fate, name)| (fate.to_owned(), name.to_owned())));
    assert!(tried.dry_run && ready.admin.host("r1").await.is_ok(), "nothing is removed");
    let removed = remove(&at).await;
    assert_eq!((removed.dry_run, removed.affected_count, told(&removed)), (false, 6, told(&tried)));
    assert_eq!(ready.admin.get::<Host>(&at).await.unwrap_err().status(), 404);
}
