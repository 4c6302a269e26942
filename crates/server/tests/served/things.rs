//! Networks, keys, hosts and nodes, from their making to their end.

use api::{
    AddNode, CreateNetwork, Edit, Host, Key, KeyState, Network, Node, PatchHost, PatchKey, PatchNetwork,
    PatchNode, path,
};
use testkit::fleet::Agent;

use crate::running::start;

#[tokio::test]
async fn a_network_lives_from_its_making_to_its_forced_end() {
    let ready = start().await;
    let admin = &ready.admin;
    let token = ready.network("home", "10.1.0.0/16").await;
    let taken = admin.network("home", "10.2.0.0/16").await.unwrap_err();
    assert_eq!((taken.status(), taken.code()), (409, "network-name-taken"));
    let overlap = admin.network("work", "10.1.4.0/24").await.unwrap_err();
    assert_eq!((overlap.status(), overlap.code()), (409, "ranges-overlap"));
    assert!(overlap.to_string().contains("10.1.0.0/16"), "{overlap}");
    let wrong = admin.network("work", "10.3.0.5/24").await.unwrap_err();
    assert_eq!(wrong.status(), 422);
    assert!(wrong.to_string().contains("`v4`"), "{wrong}");
    let any = CreateNetwork::named("any".parse().unwrap());
    let any: Network = admin.post(path::NETWORKS, &any).await.unwrap();
    assert!(any.v4.is_some(), "a free range was found: {any:?}");

    let renamed = PatchNetwork {
        name: Some("house".parse().unwrap()),
        keepalive: Some("25".parse().unwrap()),
        ..PatchNetwork::default()
    };
    let renamed: Network = admin.patch(&path::fill(path::NETWORK, &["home"]), &renamed).await.unwrap();
    assert_eq!((renamed.name.to_string(), renamed.keepalive.get()), ("house".to_owned(), 25));
    let house = path::fill(path::NETWORK, &["house"]);
    assert_eq!(admin.get::<Network>(&house).await.unwrap(), renamed);
    assert_eq!(
        admin.get::<Network>(&path::fill(path::NETWORK, &["home"])).await.unwrap_err().code(),
        "not-found"
    );

    Agent::join(&token, "web").await.unwrap();
    let in_use = admin.delete(&house).await.unwrap_err();
    assert_eq!((in_use.status(), in_use.code()), (409, "network-in-use"));
    admin.delete(&format!("{house}?force=true")).await.unwrap();
    assert!(admin.host("web").await.unwrap().networks.is_empty());
    let left: Vec<Network> = admin.list(path::NETWORKS, 100).await.unwrap();
    assert_eq!(left, [any]);
}

#[tokio::test]
async fn a_key_counts_its_uses_and_ends() {
    let ready = start().await;
    let admin = &ready.admin;
    ready.network("home", "10.1.0.0/16").await;
    let (key, token) = admin.key("two machines", &["home"], Some(2)).await.unwrap();
    assert_eq!((key.uses, key.state), (Some(2), KeyState::Usable));
    assert_eq!(key.networks[0].name.to_string(), "home");
    let at = path::fill(path::KEY, &["two machines"]);
    Agent::join(&token, "a").await.unwrap();
    assert_eq!(admin.get::<Key>(&at).await.unwrap().uses, Some(1));
    Agent::join(&token, "b").await.unwrap();
    let spent: Key = admin.get(&at).await.unwrap();
    assert_eq!((spent.uses, spent.state), (Some(0), KeyState::Spent));

    let renamed: Key = admin.patch(&at, &PatchKey { title: "old".parse().unwrap() }).await.unwrap();
    assert_eq!(renamed.id, spent.id);
    admin.delete(&path::fill(path::KEY, &["old"])).await.unwrap();
    assert_eq!(admin.get::<Key>(&at).await.unwrap_err().status(), 404);
    assert!(admin.host("a").await.is_ok(), "hosts that used it stay");

    let no_uses = admin.key("none", &["home"], Some(0)).await.unwrap_err();
    assert_eq!((no_uses.status(), no_uses.code()), (422, "no-uses"));
    let nowhere = admin.key("nowhere", &["nowhere"], None).await.unwrap_err();
    assert_eq!(nowhere.status(), 404);
    let twice = admin.key("home", &["home"], None).await.unwrap_err();
    assert_eq!((twice.status(), twice.code()), (409, "title-taken"));
}

#[tokio::test]
async fn a_host_is_changed_found_and_removed() {
    let ready = start().await;
    let admin = &ready.admin;
    let token = ready.network("home", "10.1.0.0/16").await;
    let web = Agent::join(&token, "web").await.unwrap();
    Agent::join(&token, "db").await.unwrap();
    let at = path::fill(path::HOST, &["web"]);
    let patch = PatchHost {
        name: Some("shop".parse().unwrap()),
        mtu: Edit::Set("1380".parse().unwrap()),
        static_endpoint: Edit::Set("203.0.113.7:51820".parse().unwrap()),
        ..PatchHost::default()
    };
    let changed: Host = admin.patch(&at, &patch).await.unwrap();
    assert_eq!((changed.id, changed.name.to_string()), (web.host, "shop".to_owned()));
    assert_eq!(changed.mtu.map(model::Mtu::get), Some(1380));
    let clear = PatchHost { mtu: Edit::Clear, ..PatchHost::default() };
    let cleared: Host = admin.patch(&path::fill(path::HOST, &["shop"]), &clear).await.unwrap();
    assert_eq!((cleared.mtu, cleared.static_endpoint), (None, changed.static_endpoint));
    let taken = PatchHost { name: Some("db".parse().unwrap()), ..PatchHost::default() };
    let taken = admin.patch::<Host>(&path::fill(path::HOST, &["shop"]), &taken).await.unwrap_err();
    assert_eq!((taken.status(), taken.code()), (409, "host-name-taken"));

    let found: Vec<Host> = admin.list(&format!("{}?search=sho", path::HOSTS), 10).await.unwrap();
    assert_eq!(found.iter().map(|host| host.id).collect::<Vec<_>>(), [web.host]);
    let offline: Vec<Host> =
        admin.list(&format!("{}?network=home&online=false", path::HOSTS), 10).await.unwrap();
    assert_eq!(offline.len(), 2);
    admin.delete(&path::fill(path::HOST, &[&web.host.to_string()])).await.unwrap();
    assert_eq!(admin.host("shop").await.unwrap_err().status(), 404);
}

#[tokio::test]
async fn a_node_is_added_paused_and_removed() {
    let ready = start().await;
    let admin = &ready.admin;
    let token = ready.network("home", "10.1.0.0/16").await;
    admin.network("work", "10.2.0.0/24").await.unwrap();
    let web = Agent::join(&token, "web").await.unwrap();
    let nodes = path::fill(path::NODES, &["work"]);
    let add = |v4: Option<&str>| AddNode {
        v4: v4.map(|text| text.parse().unwrap()),
        ..AddNode::of("web".parse().unwrap())
    };
    let outside = admin.post::<Node>(&nodes, &add(Some("10.9.0.1"))).await.unwrap_err();
    assert_eq!((outside.status(), outside.code()), (422, "address-outside"));
    let node: Node = admin.post(&nodes, &add(Some("10.2.0.77"))).await.unwrap();
    assert_eq!((node.host, node.v4), (web.host, "10.2.0.77".parse().ok()));
    let at = path::fill(path::NODE, &["work", "web"]);
    let paused: Node = admin.patch(&at, &PatchNode::connected(false)).await.unwrap();
    assert!(!paused.connected);
    assert_eq!(
        admin.get::<Node>(&path::fill(path::NODE, &["work", &node.id.to_string()])).await.unwrap(),
        paused
    );
    assert_eq!(admin.list::<Node>(&nodes, 10).await.unwrap(), [paused]);
    admin.delete(&at).await.unwrap();
    assert_eq!(admin.delete(&at).await.unwrap_err().status(), 404);
    assert_eq!(admin.host("web").await.unwrap().networks.len(), 1);
}
