//! Remote access clients: from their making to their end, and the private keys that are shown once and kept nowhere.

use api::{
    Client, CreateClient, CreatedClient, Edit, Host, JournalEntry, Node, PRIVATE_KEY_MISSING, PatchClient,
    PatchHost, PatchNode, path,
};
use data_encoding::BASE64;
use testkit::fleet::{Agent, Method};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::running::{Ready, Running, start};

/// A server with the network `home` and a gateway of this name that can be reached.
async fn with_gateway() -> Ready {
    let ready = start().await;
    let token = ready.network("home", "10.1.0.0/16").await;
    gateway(&ready, &token, "gw", "203.0.113.7:51820").await;
    ready
}

async fn gateway(ready: &Ready, token: &wire::Token, name: &str, endpoint: &str) -> Node {
    Agent::join(token, name).await.unwrap();
    let static_endpoint = Edit::Set(endpoint.parse().unwrap());
    let patch = PatchHost { static_endpoint, ..PatchHost::default() };
    let _host: Host = ready.admin.patch(&path::fill(path::HOST, &[name]), &patch).await.unwrap();
    let patch = PatchNode { remote_access: Some(true), ..PatchNode::default() };
    ready.admin.patch(&path::fill(path::NODE, &["home", name]), &patch).await.unwrap()
}

fn clients() -> String {
    path::fill(path::CLIENTS, &["home"])
}

fn named(name: &str) -> CreateClient {
    CreateClient::named(name.parse().unwrap())
}

fn at(template: &str) -> String {
    path::fill(template, &["home", "phone"])
}

async fn text(ready: &Ready, path: &str) -> String {
    let reply = ready.admin.send(Method::GET, path, "text/plain", Vec::new()).await.unwrap();
    String::from_utf8(reply.body).unwrap()
}

/// What stands behind a key of a configuration.
fn value<'a>(config: &'a str, key: &str) -> &'a str {
    let line = config.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
    line.unwrap_or_else(|| panic!("no {key} in {config}"))
}

#[tokio::test]
async fn a_client_is_shown_its_private_key_once_in_a_configuration_that_works() {
    let ready = with_gateway().await;
    let created: CreatedClient = ready.admin.post(&clients(), &named("phone")).await.unwrap();
    let (key, config) = (created.private_key.unwrap(), created.config.unwrap());
    let secret: [u8; 32] = BASE64.decode(key.as_bytes()).unwrap().try_into().unwrap();
    let public = PublicKey::from(&StaticSecret::from(secret));
    assert_eq!(created.client.public_key.as_bytes(), public.as_bytes());
    let gateway: Node = ready.admin.get(&path::fill(path::NODE, &["home", "gw"])).await.unwrap();
    let host: Host = ready.admin.get(&path::fill(path::HOST, &["gw"])).await.unwrap();
    let expected = format!(
        "# phone in network home, by gateway gw\n[Interface]\nPrivateKey = {key}\nAddress = {own}/32\n\
         DNS = {dns}, home.netloom.internal\n\n[Peer]\nPublicKey = {theirs}\nEndpoint = 203.0.113.7:51820\n\
         AllowedIPs = 10.1.0.0/16\nPersistentKeepalive = 20\n",
        own = created.client.v4.unwrap(),
        dns = gateway.v4.unwrap(),
        theirs = host.wireguard_key,
    );
    assert_eq!(config, expected);
    assert!(created.qr_svg.unwrap().starts_with("<?xml") && created.note.is_none());
    assert!(BASE64.decode(created.qr_png.unwrap().as_bytes()).unwrap().starts_with(b"\x89PNG"));

    let kept = text(&ready, &at(path::CLIENT_CONFIG)).await;
    assert_eq!(kept, config.replace(&format!("PrivateKey = {key}"), PRIVATE_KEY_MISSING));
    for (format, begins) in [("png", b"\x89PNG".as_slice()), ("svg", b"<?xml")] {
        let at = format!("{}?format={format}", at(path::CLIENT_CONFIG));
        let reply = ready.admin.send(Method::GET, &at, "text/plain", Vec::new()).await.unwrap();
        assert!(reply.body.starts_with(begins), "{format}");
    }

    let renewed = ready.admin.send(Method::POST, &at(path::CLIENT_NEW_KEY), "text/plain", Vec::new()).await;
    let renewed: CreatedClient = serde_json::from_slice(&renewed.unwrap().body).unwrap();
    assert_ne!(renewed.client.public_key, created.client.public_key);
    assert_eq!(value(&renewed.config.unwrap(), "PrivateKey"), renewed.private_key.unwrap());
    assert_eq!(ready.admin.get::<Client>(&at(path::CLIENT)).await.unwrap(), renewed.client);
}

#[tokio::test]
async fn a_client_with_a_key_of_its_own_puts_it_in_itself() {
    let ready = with_gateway().await;
    let public_key = Some(model::WgPublicKey::from_bytes([9; 32]));
    let create = CreateClient { public_key, ..named("phone") };
    let created: CreatedClient = ready.admin.post(&clients(), &create).await.unwrap();
    assert_eq!((created.private_key, created.qr_svg), (None, None));
    assert!(created.note.unwrap().contains("private key is the client's own"));
    assert!(created.config.unwrap().contains(PRIVATE_KEY_MISSING));
    let again = CreateClient { public_key, ..named("tablet") };
    let taken = ready.admin.post::<CreatedClient>(&clients(), &again).await.unwrap_err();
    assert_eq!((taken.status(), taken.code()), (409, "client-key-taken"));
    let taken = ready.admin.post::<CreatedClient>(&clients(), &named("gw")).await.unwrap_err();
    assert_eq!((taken.status(), taken.code()), (409, "name-in-use"), "hosts and clients share names");
}

#[tokio::test]
async fn what_a_client_wishes_is_in_its_configuration() {
    let ready = with_gateway().await;
    let (_, token) = ready.admin.key("more", &["home"], None).await.unwrap();
    let second = gateway(&ready, &token, "second", "[2001:db8::9]:51820").await;
    let create = CreateClient {
        gateways: vec!["second".parse().unwrap(), "gw".parse().unwrap()],
        dns: Some(vec!["9.9.9.9".parse().unwrap()]),
        mtu: Some("1340".parse().unwrap()),
        keepalive: Some("7".parse().unwrap()),
        v4: Some("10.1.7.7".parse().unwrap()),
        tags: ["guest".parse().unwrap()].into(),
        owner: Some("root".parse().unwrap()),
        ..named("phone")
    };
    let created: CreatedClient = ready.admin.post(&clients(), &create).await.unwrap();
    assert_eq!(created.client.gateways[0].id, second.id);
    assert_eq!(created.client.owner.unwrap().name.to_string(), "root");
    let config = created.config.unwrap();
    for (key, expected) in [
        ("Address", "10.1.7.7/32"),
        ("DNS", "9.9.9.9"),
        ("MTU", "1340"),
        ("Endpoint", "[2001:db8::9]:51820"),
        ("PersistentKeepalive", "7"),
    ] {
        assert_eq!(value(&config, key), expected);
    }
    let other = text(&ready, &format!("{}?gateway=gw", at(path::CLIENT_CONFIG))).await;
    assert_eq!(value(&other, "Endpoint"), "203.0.113.7:51820");

    let patch = PatchClient { full_tunnel: Some(true), ..PatchClient::default() };
    let refused = ready.admin.patch::<Client>(&at(path::CLIENT), &patch).await.unwrap_err();
    assert_eq!((refused.status(), refused.code()), (409, "full-tunnel-needs-internet"));
    for gateway in ["gw", "second"] {
        let patch = PatchNode { internet_gateway: Some(true), ..PatchNode::default() };
        let at = path::fill(path::NODE, &["home", gateway]);
        let _node: Node = ready.admin.patch(&at, &patch).await.unwrap();
    }
    let patch = PatchClient {
        full_tunnel: Some(true),
        dns: Edit::Set(Vec::new()),
        mtu: Edit::Clear,
        enabled: Some(false),
        ..PatchClient::default()
    };
    let changed: Client = ready.admin.patch(&at(path::CLIENT), &patch).await.unwrap();
    assert!(!changed.enabled && changed.full_tunnel);
    let config = text(&ready, &at(path::CLIENT_CONFIG)).await;
    assert_eq!(value(&config, "AllowedIPs"), "0.0.0.0/0, ::/0");
    assert!(!config.contains("DNS") && !config.contains("MTU"), "{config}");
    assert_eq!(ready.admin.list::<Client>(&clients(), 10).await.unwrap(), [changed]);
    ready.admin.delete(&at(path::CLIENT)).await.unwrap();
    assert_eq!(ready.admin.get::<Client>(&at(path::CLIENT)).await.unwrap_err().status(), 404);
}

#[tokio::test]
async fn a_client_hears_of_ranges_that_policy_lets_it_reach_and_of_no_others() {
    let ready = with_gateway().await;
    let deny = api::PatchNetwork { access: Some(api::Access::Deny), ..api::PatchNetwork::default() };
    let home = path::fill(path::NETWORK, &["home"]);
    let _network: api::Network = ready.admin.patch(&home, &deny).await.unwrap();
    for (name, range) in [("office", "192.168.7.0/24"), ("vault", "192.168.8.0/24")] {
        let create = api::CreateEgress {
            name: name.parse().unwrap(),
            range: range.parse().unwrap(),
            mapped: None,
            routers: vec![api::SetRouter { node: "gw".parse().unwrap(), priority: None }],
            nat: true,
            enabled: true,
        };
        let at = path::fill(path::EGRESSES, &["home"]);
        let _egress: api::Egress = ready.admin.post(&at, &create).await.unwrap();
    }
    let site = CreateClient { ranges: ["172.16.4.0/24".parse().unwrap()].into(), ..named("site") };
    let _site: CreatedClient = ready.admin.post(&clients(), &site).await.unwrap();
    let phone: CreatedClient = ready.admin.post(&clients(), &named("phone")).await.unwrap();
    assert_eq!(value(&phone.config.unwrap(), "AllowedIPs"), "10.1.0.0/16");
    let policy = serde_json::json!({
        "name": "phones", "from": ["client:phone"], "to": ["egress:office", "client:site"], "services": ["tcp/443"],
    });
    let at_policies = path::fill(path::POLICIES, &["home"]);
    let _policy: api::Policy = ready.admin.post(&at_policies, &policy).await.unwrap();
    let config = text(&ready, &at(path::CLIENT_CONFIG)).await;
    assert_eq!(value(&config, "AllowedIPs"), "10.1.0.0/16, 192.168.7.0/24, 172.16.4.0/24");
}

#[tokio::test]
async fn what_cannot_be_is_told_in_a_sentence() {
    let ready = start().await;
    let token = ready.network("home", "10.1.0.0/16").await;
    let refused = ready.admin.post::<CreatedClient>(&clients(), &named("phone")).await.unwrap_err();
    assert_eq!((refused.status(), refused.code()), (409, "no-gateway"));
    assert!(refused.to_string().contains("no node that lets clients in"), "{refused}");

    Agent::join(&token, "gw").await.unwrap();
    let create = CreateClient { gateways: vec!["gw".parse().unwrap()], ..named("phone") };
    let refused = ready.admin.post::<CreatedClient>(&clients(), &create).await.unwrap_err();
    assert_eq!((refused.status(), refused.code()), (409, "not-a-gateway"));
    let patch = PatchNode { remote_access: Some(true), ..PatchNode::default() };
    let _node: Node = ready.admin.patch(&path::fill(path::NODE, &["home", "gw"]), &patch).await.unwrap();

    let created: CreatedClient = ready.admin.post(&clients(), &create).await.unwrap();
    assert!(created.config.is_none() && created.private_key.is_some());
    assert!(created.note.unwrap().contains("nobody knows yet where the gateway `gw` can be reached"));
    let refused = ready.admin.get::<String>(&at(path::CLIENT_CONFIG)).await.unwrap_err();
    assert_eq!((refused.status(), refused.code()), (409, "gateway-without-endpoint"));

    Agent::join(&token, "other").await.unwrap();
    let config = format!("{}?gateway=other", at(path::CLIENT_CONFIG));
    let refused = ready.admin.get::<String>(&config).await.unwrap_err();
    assert_eq!(refused.status(), 422);
    assert!(refused.to_string().contains("`other` is no gateway of client `phone`"), "{refused}");
    let past = PatchClient { expires: Edit::Set(model::Timestamp::from_millis(1)), ..PatchClient::default() };
    let refused = ready.admin.patch::<Client>(&at(path::CLIENT), &past).await.unwrap_err();
    assert!(refused.to_string().contains("not in the future"), "{refused}");
    let refused = ready.admin.post::<CreatedClient>(&clients(), &serde_json::json!({"name": "a b"})).await;
    assert_eq!(refused.unwrap_err().status(), 422);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_told_to_its_gateway_shown_where_it_came_in_and_cut_off_when_disabled() {
    let ready = start().await;
    let token = ready.network("home", "10.1.0.0/16").await;
    let gateway = ready.connected(&token, "gw").await;
    let patch = PatchNode { remote_access: Some(true), ..PatchNode::default() };
    let _node: Node = ready.admin.patch(&path::fill(path::NODE, &["home", "gw"]), &patch).await.unwrap();
    let created: CreatedClient = ready.admin.post(&clients(), &named("phone")).await.unwrap();
    assert_eq!(created.client.session, api::ClientSession::default());
    let (id, key) = (model::MemberId::from(created.client.id), created.client.public_key);
    let lets_in = |map: &wire::HostMap| map.peers.get(&id).is_some_and(|peer| peer.key == Some(key));
    gateway.until_map("the client", lets_in).await.unwrap();

    ready.until_online("gw", true).await;
    let endpoint = "198.51.100.7:4242".parse().ok();
    let seen = wire::ClientSeen { id, endpoint, handshake: testkit::fleet::now(), heard: None };
    gateway.report(&wire::Report { clients: vec![seen], ..wire::Report::default() }).await.unwrap();
    let start = std::time::Instant::now();
    let session = loop {
        let session = ready.admin.get::<Client>(&at(path::CLIENT)).await.unwrap().session;
        if session.online {
            break session;
        }
        assert!(start.elapsed() < crate::running::DEADLINE, "{session:?}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    };
    assert_eq!(
        (session.gateway.unwrap().host_name.to_string(), session.endpoint),
        ("gw".to_owned(), endpoint)
    );

    let disable = PatchClient { enabled: Some(false), ..PatchClient::default() };
    let disabled: Client = ready.admin.patch(&at(path::CLIENT), &disable).await.unwrap();
    assert!(!disabled.session.online);
    gateway.until_map("the client's end", |map| !lets_in(map)).await.unwrap();
}

/// Everything that is logged in this thread.
#[derive(Clone, Default)]
struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_private_key_is_in_no_database_no_journal_and_no_log() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
    let subscriber = subscriber.with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let ready = with_gateway().await;
    let created: CreatedClient = ready.admin.post(&clients(), &named("phone")).await.unwrap();
    let _config = text(&ready, &at(path::CLIENT_CONFIG)).await;
    // Something that is logged, to see that the log is looked into.
    let refused = testkit::fleet::Administrator::log_in(&ready.running.site, "root", "wrong").await;
    assert_eq!(refused.unwrap_err().status(), 401);
    let entries: Vec<JournalEntry> = ready.admin.list(path::JOURNAL, 100).await.unwrap();
    let journal = serde_json::to_string(&entries).unwrap();
    let key = created.private_key.unwrap();
    let raw = BASE64.decode(key.as_bytes()).unwrap();
    let public = created.client.public_key.to_string();

    let mut kept = journal.into_bytes();
    let Running { server, folder, .. } = ready.running;
    server.shutdown().await;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            kept.extend(std::fs::read(path).unwrap());
        }
    }
    kept.extend_from_slice(&log.0.lock().unwrap());
    let holds = |needle: &[u8]| kept.windows(needle.len()).any(|window| window == needle);
    assert!(holds(public.as_bytes()), "there is something to look into");
    assert!(holds(b"log-in refused"), "and what was logged is in it");
    assert!(!holds(key.as_bytes()) && !holds(&raw));
}

#[tokio::test]
async fn a_client_stays_when_its_last_gateway_goes_and_comes_in_by_another() {
    let ready = start().await;
    let token = ready.network("home", "10.1.0.0/16").await;
    gateway(&ready, &token, "gw", "203.0.113.7:51820").await;
    let _created: CreatedClient = ready.admin.post(&clients(), &named("phone")).await.unwrap();
    ready.admin.delete(&path::fill(path::HOST, &["gw"])).await.unwrap();
    let client: Client = ready.admin.get(&at(path::CLIENT)).await.unwrap();
    assert!(client.gateways.is_empty() && client.enabled && !client.session.online);
    let refused = ready.admin.get::<String>(&at(path::CLIENT_CONFIG)).await.unwrap_err();
    assert_eq!((refused.status(), refused.code()), (409, "client-without-gateway"));
    assert!(refused.to_string().contains("client `phone` has no gateway any more"), "{refused}");

    gateway(&ready, &token, "next", "203.0.113.8:51820").await;
    let patch = PatchClient { gateways: Some(vec!["next".parse().unwrap()]), ..PatchClient::default() };
    let _client: Client = ready.admin.patch(&at(path::CLIENT), &patch).await.unwrap();
    assert_eq!(value(&text(&ready, &at(path::CLIENT_CONFIG)).await, "Endpoint"), "203.0.113.8:51820");
}

/// Makes an egress range behind `gw`.
async fn egress(ready: &Ready, name: &str, range: &str) {
    let create = api::CreateEgress {
        name: name.parse().unwrap(),
        range: range.parse().unwrap(),
        mapped: None,
        routers: vec![api::SetRouter { node: "far".parse().unwrap(), priority: None }],
        nat: true,
        enabled: true,
    };
    let _egress: api::Egress =
        ready.admin.post(&path::fill(path::EGRESSES, &["home"]), &create).await.unwrap();
}

#[tokio::test]
async fn a_configuration_does_not_send_its_own_tunnel_into_itself_and_says_so() {
    let ready = with_gateway().await;
    let (_, token) = ready.admin.key("more", &["home"], None).await.unwrap();
    Agent::join(&token, "far").await.unwrap();
    egress(&ready, "site", "203.0.113.0/29").await;
    let created: CreatedClient = ready.admin.post(&clients(), &named("phone")).await.unwrap();
    let config = created.config.unwrap();
    assert_eq!(value(&config, "Endpoint"), "203.0.113.7:51820");
    let left = "10.1.0.0/16, 203.0.113.0/30, 203.0.113.4/31, 203.0.113.6/32";
    assert_eq!(value(&config, "AllowedIPs"), left);
    let note = "203.0.113.7 lies in 203.0.113.0/29 and is where gateway gw is reached";
    assert!(created.notes[0].starts_with(note) && config.contains(note), "{:?} {config}", created.notes);
    assert!(created.note.is_none(), "nothing is missing");
}

#[tokio::test]
async fn a_client_that_names_no_gateway_gets_those_that_do_what_it_needs() {
    let ready = with_gateway().await;
    let (_, token) = ready.admin.key("more", &["home"], None).await.unwrap();
    let full = |name| CreateClient { full_tunnel: true, ..named(name) };
    let refused = ready.admin.post::<CreatedClient>(&clients(), &full("phone")).await.unwrap_err();
    assert_eq!((refused.status(), refused.code()), (409, "no-gateway"));
    assert!(refused.to_string().contains("a way to the internet"), "{refused}");
    let out = gateway(&ready, &token, "out", "203.0.113.8:51820").await;
    let at_out = path::fill(path::NODE, &["home", "out"]);
    let patch = PatchNode { internet_gateway: Some(true), ..PatchNode::default() };
    let _node: Node = ready.admin.patch(&at_out, &patch).await.unwrap();
    let phone: CreatedClient = ready.admin.post(&clients(), &full("phone")).await.unwrap();
    assert_eq!(phone.client.gateways.iter().map(|gateway| gateway.id).collect::<Vec<_>>(), [out.id]);
    for number in 0..16 {
        gateway(&ready, &token, &format!("a{number}"), "203.0.113.9:51820").await;
    }
    let pause = PatchNode { connected: Some(false), ..PatchNode::default() };
    let _node: Node = ready.admin.patch(&path::fill(path::NODE, &["home", "a0"]), &pause).await.unwrap();
    let tablet = CreateClient { enabled: false, ..named("tablet") };
    let tablet: CreatedClient = ready.admin.post(&clients(), &tablet).await.unwrap();
    let names: Vec<String> = tablet.client.gateways.iter().map(|it| it.host_name.to_string()).collect();
    assert!(names.len() == 16 && !names.contains(&"a0".to_owned()), "{names:?}");
    assert!(!tablet.client.enabled);
    let moved = PatchClient { v4: "10.1.9.9".parse().ok(), ..PatchClient::default() };
    let moved: Client =
        ready.admin.patch(&path::fill(path::CLIENT, &["home", "tablet"]), &moved).await.unwrap();
    assert_eq!(moved.v4, "10.1.9.9".parse().ok());
}
