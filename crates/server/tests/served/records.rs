//! Records and name servers of a network, and its names as text.

use api::{DnsRecord, PatchUpstream, Upstream, path};
use serde_json::{Value, json};
use testkit::fleet::{Agent, Method};

use crate::running::{DEADLINE, Ready, start};

fn records() -> String {
    path::fill(path::DNS_RECORDS, &["home"])
}

#[tokio::test]
async fn a_record_of_each_type_is_made_changed_and_removed() {
    let ready = start().await;
    ready.network("home", "10.1.0.0/16").await;
    let all = [
        json!({"name": "www", "data": {"type": "a", "address": "10.9.0.1"}}),
        json!({"name": "www", "data": {"type": "aaaa", "address": "fd00::1"}}),
        json!({"name": "alias", "data": {"type": "cname", "target": "www.home.netloom.internal"}}),
        json!({"data": {"type": "txt", "text": "hello"}}),
        json!({"name": "_ldap._tcp", "ttl": 5, "data":
            {"type": "srv", "priority": 1, "weight": 2, "port": 389, "target": "www.home.netloom.internal"}}),
    ];
    for record in &all {
        let made: DnsRecord = ready.admin.post(&records(), record).await.unwrap();
        assert_eq!(serde_json::to_value(&made).unwrap()["data"], record["data"]);
    }
    let kept: Vec<DnsRecord> = ready.admin.list(&records(), 2).await.unwrap();
    assert_eq!(kept.len(), all.len());
    let ttls: Vec<u32> = kept.iter().map(|record| record.ttl).collect();
    assert_eq!(ttls, [60, 60, 60, 60, 5]);

    let at = path::fill(path::DNS_RECORD, &["home", &kept[0].id.to_string()]);
    let patch = json!({"data": {"type": "a", "address": "10.9.0.2"}});
    let changed: DnsRecord = ready.admin.patch(&at, &patch).await.unwrap();
    assert_eq!(ready.admin.get::<DnsRecord>(&at).await.unwrap(), changed);
    ready.admin.delete(&at).await.unwrap();
    assert_eq!(ready.admin.delete(&at).await.unwrap_err().status(), 404);

    let beside = json!({"name": "alias", "data": {"type": "txt", "text": "x"}});
    let refused = ready.admin.post::<Value>(&records(), &beside).await.unwrap_err();
    assert_eq!((refused.status(), refused.code()), (409, "not-beside-cname"));
    for wrong in [json!({"type": "mx", "target": "x"}), json!({"type": "a", "address": "fd00::1"})] {
        let refused = ready.admin.post::<Value>(&records(), &json!({"data": wrong})).await.unwrap_err();
        assert!(refused.status() == 422 && refused.to_string().contains("`data"), "{refused}");
    }
}

#[tokio::test]
async fn name_servers_are_named_for_a_domain() {
    let ready = start().await;
    ready.network("home", "10.1.0.0/16").await;
    let upstreams = path::fill(path::DNS_UPSTREAMS, &["home"]);
    let create = json!({"domain": "corp.example.org", "servers": ["192.168.7.1", "192.168.7.2:5353"]});
    let made: Upstream = ready.admin.post(&upstreams, &create).await.unwrap();
    assert_eq!(serde_json::to_value(&made).unwrap()["servers"], create["servers"]);
    let at = path::fill(path::DNS_UPSTREAM, &["home", "corp.example.org"]);
    let servers = vec!["[fd00::1]:53".parse().unwrap()];
    let changed: Upstream = ready.admin.patch(&at, &PatchUpstream { servers }).await.unwrap();
    assert_eq!(changed.servers[0].to_string(), "fd00::1");
    assert_eq!(ready.admin.list::<Upstream>(&upstreams, 10).await.unwrap(), [changed]);
    let twice = ready.admin.post::<Upstream>(&upstreams, &create).await.unwrap_err();
    assert_eq!((twice.status(), twice.code()), (409, "upstream-exists"));
    let wrong = json!({"domain": "x.org", "servers": ["dns.x.org"]});
    let refused = ready.admin.post::<Upstream>(&upstreams, &wrong).await.unwrap_err();
    assert!(refused.to_string().contains("is no name server"), "{refused}");
    ready.admin.delete(&at).await.unwrap();
    assert_eq!(ready.admin.get::<Upstream>(&at).await.unwrap_err().status(), 404);
}

/// The text, once it tells of this.
async fn text(ready: &Ready, format: &str, of: &str) -> String {
    let start = std::time::Instant::now();
    loop {
        let at = format!("{}?format={format}", path::fill(path::DNS_ZONE, &["home"]));
        let reply = ready.admin.send(Method::GET, &at, "text/plain", Vec::new()).await;
        let text = reply.map(|reply| String::from_utf8(reply.body).unwrap()).unwrap_or_default();
        if text.contains(of) {
            return text;
        }
        assert!(start.elapsed() < DEADLINE, "no {of} in {text}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_networks_names_are_given_as_text() {
    let ready = start().await;
    let token = ready.network("home", "10.1.0.0/16").await;
    let other = ready.network("work", "10.2.0.0/16").await;
    Agent::join(&other, "stranger").await.unwrap();
    let web = Agent::join(&token, "web").await.unwrap();
    let record = json!({"name": "note", "data": {"type": "txt", "text": "say \"hi\""}});
    let _record: DnsRecord = ready.admin.post(&records(), &record).await.unwrap();
    let address = ready.running.server.handle.intent().nodes_of_host(web.host).next().unwrap().addresses.v4;
    let line = format!("web.home.netloom.internal. 30 IN A {}", address.unwrap());
    // The record was made after the host joined.
    let zone = text(&ready, "zone", r#"TXT "say \"hi\"""#).await;
    assert!(zone.contains(" IN SOA ") && zone.contains(&line), "{zone}");
    let hosts = text(&ready, "hosts", "web.home").await;
    assert!(hosts.starts_with(&address.unwrap().to_string()) && !hosts.contains("stranger"), "{hosts}");
}
