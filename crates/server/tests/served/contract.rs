//! What holds for the API as a whole: its document, paging, limits, probes.

use std::collections::BTreeSet;

use api::{Host, Node, ServerStatus, path};
use serde_json::Value;
use testkit::fleet::{Administrator, Method, join_all};

use crate::running::{start, start_with};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_give_each_of_250_hosts_exactly_once() {
    let ready = start().await;
    let token = ready.network("home", "10.1.0.0/16").await;
    let agents = join_all(&token, 250, 16).await.unwrap();
    let joined: BTreeSet<_> = agents.iter().map(|agent| agent.host).collect();
    assert_eq!(joined.len(), 250);
    for limit in [7, 100, 250, 1000] {
        let hosts: Vec<Host> = ready.admin.list(path::HOSTS, limit).await.unwrap();
        assert_eq!(hosts.len(), 250, "in pages of {limit}");
        assert_eq!(hosts.iter().map(|host| host.id).collect::<BTreeSet<_>>(), joined);
    }
    let nodes: Vec<Node> = ready.admin.list(&path::fill(path::NODES, &["home"]), 99).await.unwrap();
    assert_eq!(nodes.iter().map(|node| node.host).collect::<BTreeSet<_>>(), joined);
    let addresses: BTreeSet<_> = nodes.iter().map(|node| node.v4.unwrap()).collect();
    assert_eq!(addresses.len(), 250, "no address twice");
    let status: ServerStatus = ready.admin.get(path::SERVER).await.unwrap();
    assert_eq!((status.counts.hosts, status.counts.nodes), (250, 250));
    for limit in ["0", "1001", "many"] {
        let refused = ready.admin.get::<Value>(&format!("{}?limit={limit}", path::HOSTS)).await.unwrap_err();
        assert_eq!(refused.status(), 422, "{refused}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_told_with_its_field() {
    let ready = start().await;
    let post = |media_type: &'static str, body: &str| {
        let (admin, body) = (ready.admin.clone(), body.as_bytes().to_vec());
        async move { admin.send(Method::POST, path::NETWORKS, media_type, body).await.unwrap_err() }
    };
    let unknown = post("application/json", r#"{"name": "home", "colour": "red"}"#).await;
    assert_eq!((unknown.status(), unknown.code()), (422, "invalid"));
    assert!(unknown.to_string().contains("`colour`"), "{unknown}");
    let wrong = post("application/json", r#"{"name": "my home"}"#).await;
    assert!(wrong.to_string().contains("`name`"), "{wrong}");
    assert_eq!(post("application/json", "{").await.status(), 422);
    assert_eq!(post("text/plain", r#"{"name": "home"}"#).await.status(), 415);
    let large = format!(r#"{{"name": "home", "colour": "{}"}}"#, "x".repeat(api::MOST_BODY));
    assert_eq!(post("application/json", &large).await.status(), 413);
    let query = ready.admin.get::<Value>(&format!("{}?colour=red", path::HOSTS)).await.unwrap_err();
    assert!(query.to_string().contains("colour"), "{query}");

    let nowhere = ready.admin.get::<Value>("/api/v1/nowhere").await.unwrap_err();
    assert_eq!((nowhere.status(), nowhere.code()), (404, "not-found"));
    let method = ready.admin.delete(path::HOSTS).await.unwrap_err();
    assert_eq!((method.status(), method.code()), (405, "method-not-allowed"));
}

/// The constants of `api::path`, read from its source, so that a new one is not forgotten here.
fn constants() -> BTreeSet<String> {
    let source = include_str!("../../../api/src/path.rs");
    let values = source.lines().filter_map(|line| line.strip_prefix("pub const "));
    let values = values.filter_map(|line| line.split('"').nth(1)).map(str::to_owned);
    values.filter(|value| value != path::ROOT && value != path::DOCUMENT).collect()
}

#[tokio::test]
async fn the_document_the_checked_in_file_the_constants_and_the_routes_are_one() {
    let ready = start().await;
    let stranger = Administrator::stranger(&ready.running.site);
    let served = stranger.send(Method::GET, path::DOCUMENT, "text/plain", Vec::new()).await.unwrap();
    let served = String::from_utf8(served.body).unwrap();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../openapi/netloom.json");
    let kept = std::fs::read_to_string(file).unwrap();
    assert!(served == kept, "openapi/netloom.json is not what is served: run `cargo xtask codegen`");

    let document: Value = serde_json::from_str(&served).unwrap();
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.keys().cloned().collect::<BTreeSet<_>>(), constants());
    for (template, methods) in paths {
        let path = path::fill(template, &["x", "y"]);
        for method in ["get", "post", "put", "patch", "delete"] {
            let offered = methods.get(method).is_some();
            let name: Method = method.to_uppercase().parse().unwrap();
            let answer = stranger.send(name, &path, "text/plain", Vec::new()).await;
            let status = answer.as_ref().map_or_else(testkit::fleet::ApiError::status, |reply| reply.status);
            assert_eq!(status != 405, offered, "{method} {path}: {answer:?}");
            assert_ne!(status, 404, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn monitoring_sees_health_and_metrics_and_strangers_see_no_metrics() {
    let ready = start_with("trusted_proxies = [\"127.0.0.1\"]").await;
    let site = &ready.running.site;
    let health = site.send(Method::GET, "/healthz", &[], Vec::new()).await.unwrap();
    assert_eq!((health.status, health.body), (200, b"ok\n".to_vec()));
    let local = site.send(Method::GET, "/metrics", &[], Vec::new()).await.unwrap();
    assert_eq!(local.status, 200);
    let far = ("x-forwarded-for", "203.0.113.9");
    let stranger = site.send(Method::GET, "/metrics", &[far], Vec::new()).await.unwrap();
    assert_eq!(stranger.status, 401);
    let bearer = format!("Bearer {}", ready.admin.token.as_ref().unwrap());
    let known = [far, ("authorization", bearer.as_str())];
    let known = site.send(Method::GET, "/metrics", &known, Vec::new()).await.unwrap();
    assert_eq!(known.status, 200);
}
