//! Agents that follow their maps: what each is told of every change, and what it is not told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use api::{AddNode, Edit, Node, PatchHost, PatchNetwork, PatchNode, path};
use model::HostId;
use testkit::fleet::{
    Administrator, Agent, AgentError, Connected, Habits, Method, View, connect_all, join_all,
};
use wire::{HostMap, HostSettings, Leave, RefusalCode};

use crate::running::{Ready, start};

/// What each agent's map should be, asked anew.
async fn maps(fleet: &[Connected]) -> BTreeMap<HostId, HostMap> {
    let mut maps = BTreeMap::new();
    for connected in fleet {
        maps.insert(connected.agent.host, connected.agent.map().await.unwrap());
    }
    maps
}

/// Follows a fleet from change to change.
struct Watch {
    fleet: Vec<Connected>,
    before: BTreeMap<HostId, HostMap>,
    pushed: BTreeMap<HostId, u64>,
}

impl Watch {
    async fn on(fleet: Vec<Connected>) -> Self {
        let before = maps(&fleet).await;
        for connected in &fleet {
            let wanted = before[&connected.agent.host].generation;
            connected.until("the map of the start", |view| view.generation() == wanted).await.unwrap();
        }
        let pushed = fleet.iter().map(|one| (one.agent.host, one.view().pushed)).collect();
        Self { fleet, before, pushed }
    }

    /// After a change: whoever's map is another now got there by deltas, and nobody else heard anything.
    async fn check(&mut self, what: &str, affected: &[&str]) {
        let after = maps(&self.fleet).await;
        for connected in &self.fleet {
            let (host, name) = (connected.agent.host, connected.agent.name.to_string());
            let changed = self.before[&host] != after[&host];
            assert_eq!(changed, affected.contains(&name.as_str()), "after {what}: {name}");
            let wanted = after[&host].generation;
            let view = connected.until(what, |view| view.generation() == wanted).await.unwrap();
            assert_eq!(view.map.as_ref(), Some(&after[&host]), "after {what}: {name}");
            if !changed {
                assert_eq!(view.pushed, self.pushed[&host], "{what} is no business of {name}");
            }
            self.pushed.insert(host, view.pushed);
            assert_eq!(view.fetches, 1, "{name} never had to ask again");
        }
        self.before = after;
    }
}

async fn two_networks(ready: &Ready) -> Watch {
    let home = ready.network("home", "10.1.0.0/16").await;
    let work = ready.network("work", "10.2.0.0/16").await;
    let (_, both) = ready.admin.key("both", &["home", "work"], None).await.unwrap();
    let mut fleet = Vec::new();
    for (token, name) in [(&home, "h1"), (&home, "h2"), (&both, "b"), (&work, "w1"), (&work, "w2")] {
        fleet.push(ready.connected(token, name).await);
    }
    Watch::on(fleet).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_reaches_those_it_concerns_by_delta_and_nobody_else() {
    let ready = start().await;
    let mut watch = two_networks(&ready).await;
    let admin = &ready.admin;
    let host = |name: &str| path::fill(path::HOST, &[name]);
    let node = |network: &str, name: &str| path::fill(path::NODE, &[network, name]);

    let endpoint = Edit::Set("203.0.113.7:51820".parse().unwrap());
    let patch = PatchHost { static_endpoint: endpoint, ..PatchHost::default() };
    let _changed: api::Host = admin.patch(&host("h1"), &patch).await.unwrap();
    watch.check("an endpoint set by hand", &["h2", "b"]).await;

    let patch = PatchHost { mtu: Edit::Set("1300".parse().unwrap()), ..PatchHost::default() };
    let _changed: api::Host = admin.patch(&host("w1"), &patch).await.unwrap();
    watch.check("an MTU", &["w1"]).await;

    let patch = PatchNetwork { keepalive: "25".parse().ok(), ..PatchNetwork::default() };
    let _changed: api::Network = admin.patch(&path::fill(path::NETWORK, &["work"]), &patch).await.unwrap();
    watch.check("a network's keepalive", &["b", "w1", "w2"]).await;

    let _paused: Node = admin.patch(&node("home", "b"), &PatchNode::connected(false)).await.unwrap();
    watch.check("a pause", &["h1", "h2", "b"]).await;
    let _back: Node = admin.patch(&node("home", "b"), &PatchNode::connected(true)).await.unwrap();
    watch.check("its end", &["h1", "h2", "b"]).await;

    let add = AddNode::of("w1".parse().unwrap());
    let _added: Node = admin.post(&path::fill(path::NODES, &["home"]), &add).await.unwrap();
    watch.check("a host in a further network", &["h1", "h2", "b", "w1"]).await;
    admin.delete(&node("home", "w1")).await.unwrap();
    watch.check("its removal from there", &["h1", "h2", "b", "w1"]).await;

    admin.network("other", "10.3.0.0/16").await.unwrap();
    admin.key("other", &["other"], None).await.unwrap();
    watch.check("a network without anybody", &[]).await;

    let settings = HostSettings { name: "renamed".parse().ok(), ..HostSettings::default() };
    watch.fleet[1].agent.settings(&settings).await.unwrap();
    watch.check("a host's own settings", &["h1", "h2", "b"]).await;
    let home = "home".parse().unwrap();
    watch.fleet[0].agent.switch(&home, false).await.unwrap();
    watch.check("a host's own pause", &["h1", "h2", "b"]).await;
}

#[tokio::test]
async fn a_host_knows_only_the_peers_of_its_networks_and_only_there() {
    let ready = start().await;
    let watch = two_networks(&ready).await;
    let names = |map: &HostMap| map.peers.values().map(|peer| peer.name.to_string()).collect::<BTreeSet<_>>();
    let of = |name: &str| watch.fleet.iter().find(|one| one.agent.name.as_str() == name).unwrap();
    let map = &watch.before[&of("h1").agent.host];
    assert_eq!(names(map), ["b", "h2"].map(str::to_owned).into());
    assert_eq!(map.networks.len(), 1);
    let both = &map.peers[&of("b").agent.host.into()];
    assert_eq!(both.nodes.len(), 1, "what else `b` is in is not its business: {both:?}");
    let text = format!("{map:?}");
    assert!(!text.contains("(work)") && !text.contains("10.2.0."), "{text}");
    assert_eq!(names(&watch.before[&of("b").agent.host]).len(), 4);
}

#[tokio::test]
async fn whoever_leaves_is_forgotten_within_a_second() {
    let ready = start().await;
    let token = ready.network("home", "10.1.0.0/16").await;
    let stays = ready.connected(&token, "stays").await;
    for leave in [Leave::Network("home".parse().unwrap()), Leave::Server] {
        let goes = Agent::join(&token, "goes").await.unwrap();
        stays.until_map("a peer", |map| map.peers.contains_key(&goes.host.into())).await.unwrap();
        let start = Instant::now();
        goes.leave(&leave).await.unwrap();
        stays.until_map("nobody", |map| map.peers.is_empty()).await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(1), "it took {:?}", start.elapsed());
        match leave {
            Leave::Network(_) => assert!(goes.map().await.unwrap().networks.is_empty()),
            Leave::Server => assert_eq!(refusal(goes.map().await), RefusalCode::UnknownHost),
        }
    }
    assert_eq!(stays.view().fetches, 1);
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, AgentError>) -> RefusalCode {
    let error = answer.unwrap_err();
    error.refusal().unwrap_or_else(|| panic!("no refusal: {error:#}")).code
}

#[tokio::test]
async fn a_removed_host_is_told_and_its_credentials_are_worth_nothing() {
    let ready = start().await;
    let token = ready.network("home", "10.1.0.0/16").await;
    let web = ready.connected(&token, "web").await;
    let again = Agent::join(&token, "again").await.unwrap();
    ready.admin.delete(&path::fill(path::HOST, &["web"])).await.unwrap();
    web.until("word of its removal", |view| view.removed).await.unwrap();
    assert_eq!(refusal(web.agent.map().await), RefusalCode::UnknownHost);
    assert_eq!(refusal(web.agent.leave(&Leave::Server).await), RefusalCode::UnknownHost);

    ready.admin.delete(&path::fill(path::HOST, &["again"])).await.unwrap();
    let habits = Habits { come_back: None, ..Habits::default() };
    let refused = Connected::start(again, habits).await.unwrap_err().to_string();
    assert!(refused.contains("BadUserNamePassword"), "{refused}");
}

#[tokio::test]
async fn reports_by_mqtt_and_by_http_reach_the_peers() {
    let ready = start().await;
    let token = ready.network("home", "10.1.0.0/16").await;
    let (web, db) = (ready.connected(&token, "web").await, ready.connected(&token, "db").await);
    for (port, by_mqtt) in [(51820, true), (51821, false), (51822, true)] {
        let local = format!("192.168.1.20:{port}").parse().unwrap();
        let report = Agent::report_of(web.view().generation(), &[local]);
        if by_mqtt {
            web.report(&report).await.unwrap();
        } else {
            web.agent.report(&report).await.unwrap();
        }
        let host = web.agent.host;
        let so = |map: &HostMap| map.peers.get(&host.into()).is_some_and(|peer| peer.local == [local]);
        db.until_map("the local endpoint", so).await.unwrap();
    }
    let shown = ready.admin.host("web").await.unwrap().inventory;
    assert_eq!(shown.facts.unwrap().os, "linux");
    assert!(shown.applied_generation.is_some());
    assert_eq!(db.view().fetches, 1);
}

#[tokio::test]
async fn a_request_is_taken_once_and_only_as_it_was_signed() {
    let ready = start().await;
    let token = ready.network("home", "10.1.0.0/16").await;
    let (web, db) = (Agent::join(&token, "web").await.unwrap(), Agent::join(&token, "db").await.unwrap());
    let (target, wish) = (wire::path::MAP, wire::encode(&wire::MapRequest::default()));
    let signature = web.signature(&Method::POST, target, &wish);
    web.send(Method::POST, target, wish.clone(), &signature).await.unwrap();
    let replayed = web.send(Method::POST, target, wish, &signature).await;
    assert_eq!(refusal(replayed), RefusalCode::NotProved);

    let body = wire::encode(&Leave::Server);
    let for_other_target = web.signature(&Method::POST, wire::path::NODE, &body);
    let moved = web.send(Method::POST, wire::path::LEAVE, body.clone(), &for_other_target).await;
    assert_eq!(refusal(moved), RefusalCode::NotProved);
    let others = db.signature(&Method::POST, wire::path::LEAVE, &body);
    let forged = others.replace(&db.host.to_string(), &web.host.to_string());
    let forged = web.send(Method::POST, wire::path::LEAVE, body, &forged).await;
    assert_eq!(refusal(forged), RefusalCode::NotProved);
    assert!(ready.admin.host("web").await.is_ok());
    let unsigned = Administrator::stranger(&ready.running.site).get::<String>(wire::path::MAP).await;
    assert!(unsigned.is_err());
}

#[tokio::test]
async fn what_one_host_reports_is_not_taken_for_another() {
    let ready = start().await;
    let token = ready.network("home", "10.1.0.0/16").await;
    let (web, db) = (Agent::join(&token, "web").await.unwrap(), Agent::join(&token, "db").await.unwrap());
    let sealed = web.seal(&Agent::report_of(model::Generation::NONE, &[]));
    let relayed = db.ask(Method::POST, wire::path::REPORT, sealed).await;
    assert_eq!(refusal(relayed), RefusalCode::NotProved);
}

#[tokio::test]
async fn an_agent_that_is_current_is_not_sent_its_map_again() {
    let ready = start().await;
    let token = ready.network("home", "10.1.0.0/16").await;
    let web = Agent::join(&token, "web").await.unwrap();
    let db = Agent::join(&token, "db").await.unwrap();
    let map = web.map().await.unwrap();
    assert_eq!(map.peers.keys().collect::<Vec<_>>(), [&db.host]);
    let request = wire::MapRequest::of(&map);
    let reply = web.ask_map(&request).await.unwrap();
    assert_eq!(reply, (wire::MapReply::Current(map.generation), vec![]));
    let other_generation = wire::MapRequest { have: model::Generation::from_number(1), ..request };
    let (reply, parts) = web.ask_map(&other_generation).await.unwrap();
    let wire::MapReply::Parts(head) = reply else { panic!("{reply:?}") };
    assert_eq!(parts, [], "what it holds is not sent again");
    assert_eq!(wire::assemble(Some(&map), head, &parts).unwrap(), map);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_while_hosts_come_is_missed_by_none() {
    let ready = start().await;
    let token = ready.network("home", "10.1.0.0/16").await;
    let stays = Agent::join(&token, "stays").await.unwrap();
    let coming = tokio::spawn(async move {
        let agents = join_all(&token, 24, 8).await?;
        connect_all(agents, Habits::default(), 8).await
    });
    let mut port = 1024_u16;
    while !coming.is_finished() {
        port += 1;
        let local = format!("192.168.1.20:{port}").parse().unwrap();
        stays.report(&Agent::report_of(model::Generation::NONE, &[local])).await.unwrap();
    }
    // What was reported last is told a moment later; a map that was fetched before would not be the one of the end.
    let last = [format!("192.168.1.20:{port}").parse().unwrap()];
    while ready.admin.host("stays").await.unwrap().inventory.local != last {}
    for connected in coming.await.unwrap().unwrap() {
        let wanted = connected.agent.map().await.unwrap();
        let so = |view: &View| view.map.as_ref() == Some(&wanted);
        connected.wait("the map of the end", so).await.unwrap();
        assert_eq!(wanted.peers.len(), 24);
    }
}
