//! A whole server with a broker that is not its own, and agents that follow their maps over it.

use std::sync::Arc;
use std::time::Duration;

use agent::link::{Backoff, Link, LinkEvent, LinkHandle, LinkOptions, ServerTrust};
use model::{Endpoint, HostName};
use server::serve::Server;
use server::settings::Settings;
use server::telemetry::Telemetry;
use settings::Layers;
use tempfile::TempDir;
use testkit::brokers::mosquitto::{Accounts, Mosquitto};
use testkit::brokers::nats::Nats;
use testkit::brokers::{PASSWORD, USER};
use testkit::fleet::{Administrator, Agent, Site};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use wire::{Down, HostMap, Token};

use crate::subject::DEADLINE;

/// What is the same whichever broker it is.
struct House {
    folder: TempDir,
    lines: String,
    listen: String,
    broker_url: String,
    authority: Arc<str>,
}

impl House {
    fn new(broker: [&str; 2], authority: &std::path::Path, accounts: &str) -> Self {
        agent::link::install_crypto_provider();
        let folder = tempfile::tempdir().unwrap();
        let password = folder.path().join("broker-password");
        std::fs::write(&password, format!("{PASSWORD}\n")).unwrap();
        let [servers, hosts] = broker;
        let lines = format!(
            "broker = \"{servers}\"\nbroker_urls = [\"{hosts}\"]\nbroker_user = \"{USER}\"\n\
             broker_password_file = {password:?}\nbroker_ca_file = {authority:?}\n{accounts}\n"
        );
        let authority = std::fs::read_to_string(authority).unwrap().into();
        Self { folder, lines, listen: "127.0.0.1:0".to_owned(), broker_url: hosts.to_owned(), authority }
    }

    /// Starts the server; the second time where it was before.
    async fn start(&mut self) -> (Server, Site) {
        let file = format!(
            "data = {:?}\nlisten = \"{}\"\nrendezvous = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\ndns_listen = \"off\"\n{}",
            self.folder.path(),
            self.listen,
            self.lines
        );
        let settings = Settings::check(Layers::new("NETLOOM_", [], Some(("test.toml", &file)))).unwrap();
        let server = Server::start(settings, Telemetry::detached()).await.unwrap();
        self.listen = server.address().to_string();
        let site = Site::new(&format!("https://{}", server.address()), server.pin).unwrap();
        (server, site)
    }

    async fn machine(&self, token: &Token, name: &str) -> Machine {
        let agent = Arc::new(Agent::join(token, name).await.unwrap());
        let map = agent.map().await.unwrap();
        assert_eq!(map.server.brokers, std::slice::from_ref(&self.broker_url));
        assert_eq!(map.server.broker_ca.as_deref(), Some(&*self.authority));
        let password = agent.broker_password();
        let trust = ServerTrust::Authorities(Arc::clone(&self.authority));
        let provider = Arc::new(move || password.clone());
        let mut options = LinkOptions::new(self.broker_url.clone(), agent.host.to_string(), provider, trust);
        options.backoff = Backoff { first: Duration::from_millis(20), longest: Duration::from_millis(300) };
        let (handle, events) = Link::connect(options).unwrap();
        let handle = Arc::new(handle);
        let (tell, view) =
            watch::channel(View { map, connections: 0, deltas: 0, refused: false, removed: false });
        let task = tokio::spawn(follow(Arc::clone(&agent), Arc::clone(&handle), events, tell));
        let machine = Machine { agent, handle, view, task };
        machine.until("it is connected", |view| view.connections > 0).await;
        machine
    }
}

/// An agent that follows its map over the broker.
struct Machine {
    agent: Arc<Agent>,
    handle: Arc<LinkHandle>,
    view: watch::Receiver<View>,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct View {
    map: HostMap,
    connections: u32,
    deltas: u32,
    refused: bool,
    removed: bool,
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Machine {
    async fn until(&self, what: &str, so: impl FnMut(&View) -> bool) {
        let mut view = self.view.clone();
        let waited = timeout(DEADLINE, view.wait_for(so)).await;
        assert!(matches!(waited, Ok(Ok(_))), "{}: not so in time: {what}", self.agent.name);
    }

    async fn sees(&self, names: &[&str]) {
        let mut wanted: Vec<HostName> = names.iter().map(|name| name.parse().unwrap()).collect();
        wanted.sort();
        let seen = |view: &View| {
            let mut seen: Vec<HostName> = view.map.peers.values().map(|peer| peer.name.clone()).collect();
            seen.sort();
            seen == wanted
        };
        self.until(&format!("it sees {names:?}"), seen).await;
    }

    fn deltas(&self) -> u32 {
        self.view.borrow().deltas
    }
}

async fn follow(
    agent: Arc<Agent>,
    handle: Arc<LinkHandle>,
    mut events: mpsc::Receiver<LinkEvent>,
    tell: watch::Sender<View>,
) {
    while let Some(event) = events.recv().await {
        let ask = match event {
            LinkEvent::Connected => {
                tell.send_modify(|view| view.connections += 1);
                true
            }
            LinkEvent::Disconnected { reason, .. } => {
                let refused = reason == agent::link::LinkError::NotAuthorised;
                tell.send_modify(|view| view.refused = refused);
                false
            }
            LinkEvent::Map(sealed) => take(&agent, &handle, &tell, &sealed),
        };
        if ask {
            let held = tell.borrow().map.clone();
            // The server may be away just now: it asks again when it is told to look.
            if let Ok(map) = agent.renew(Some(&held)).await {
                tell.send_modify(|view| view.map = map);
            }
        }
    }
}

/// Whether the map has to be asked for.
fn take(agent: &Agent, handle: &LinkHandle, tell: &watch::Sender<View>, sealed: &[u8]) -> bool {
    let (_, down) = agent.open(sealed).unwrap();
    let mut ask = false;
    tell.send_modify(|view| match down {
        Down::Removed => view.removed = true,
        Down::Fetch(generation) => {
            // It may have gone again, and says so when it is back.
            let _said = handle.say_online();
            ask = generation > view.map.generation;
        }
        Down::Delta(delta) if delta.generation <= view.map.generation => {}
        Down::Delta(delta) => {
            ask = wire::patch(&mut view.map, delta).is_err();
            view.deltas += u32::from(!ask);
        }
    });
    ask
}

async fn set_up(house: &mut House) -> (Server, Administrator, [Token; 2]) {
    let (server, site) = house.start().await;
    let code = std::fs::read_to_string(house.folder.path().join("setup-code")).unwrap();
    let admin = Administrator::set_up(&site, &code).await.unwrap();
    admin.network("office", "10.1.0.0/16").await.unwrap();
    admin.network("lab", "10.2.0.0/16").await.unwrap();
    let office = admin.key("office", &["office"], None).await.unwrap().1;
    let lab = admin.key("lab", &["lab"], None).await.unwrap().1;
    (server, admin, [office, lab])
}

async fn until_online(admin: &Administrator, host: &str, online: bool) {
    let waited = timeout(DEADLINE, async {
        while admin.host(host).await.unwrap().inventory.online != online {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "{host} is still not shown as online={online}");
}

#[tokio::test]
async fn changes_reach_exactly_those_they_concern_over_mosquitto_whoever_is_killed_in_between() {
    let mut mosquitto = Mosquitto::start(Accounts::Dynsec).unwrap();
    let [servers, hosts] = [mosquitto.for_servers()[0].clone(), mosquitto.for_hosts()[0].clone()];
    let mut house = House::new([&servers, &hosts], &mosquitto.process.authority(), "");
    let (server, admin, [office, lab]) = set_up(&mut house).await;
    let [ann, ben, cat] = [
        house.machine(&office, "ann").await,
        house.machine(&office, "ben").await,
        house.machine(&lab, "cat").await,
    ];
    ann.sees(&["ben"]).await;
    until_online(&admin, "ann", true).await;
    until_online(&admin, "cat", true).await;
    let before = cat.deltas();
    let dan = house.machine(&office, "dan").await;
    ann.sees(&["ben", "dan"]).await;
    ben.sees(&["ann", "dan"]).await;
    dan.sees(&["ann", "ben"]).await;
    let _eve = house.machine(&lab, "eve").await;
    cat.sees(&["eve"]).await;
    assert_eq!(cat.deltas(), before + 1, "what concerned others was not told to it");
    assert!(ann.deltas() > 0, "changes come over the broker");

    late_and_doubled_reports_change_nothing(&admin, &ann).await;

    mosquitto.process.kill().unwrap();
    admin.delete("/api/v1/hosts/dan").await.unwrap();
    let away = Agent::join(&lab, "fay").await.unwrap();
    mosquitto.process.start_again().unwrap();
    ann.sees(&["ben"]).await;
    cat.sees(&["eve", "fay"]).await;
    drop(away);
    until_online(&admin, "ben", true).await;

    server.shutdown().await;
    let (server, _site) = house.start().await;
    until_online(&admin, "ben", true).await;
    until_online(&admin, "eve", true).await;
    let gus = house.machine(&office, "gus").await;
    ann.sees(&["ben", "gus"]).await;
    gus.sees(&["ann", "ben"]).await;

    admin.delete("/api/v1/hosts/ben").await.unwrap();
    ben.until("it is told that it was removed", |view| view.removed).await;
    ben.until("its account is gone", |view| view.refused).await;
    ann.sees(&["gus"]).await;
    server.shutdown().await;
}

/// A report that comes again after a newer one is nobody's news.
async fn late_and_doubled_reports_change_nothing(admin: &Administrator, ann: &Machine) {
    let report = |port: u16| {
        let endpoint = Endpoint::new(format!("192.0.2.1:{port}").parse().unwrap()).unwrap();
        ann.agent.seal(&Agent::report_of(ann.view.borrow().map.generation, &[endpoint]))
    };
    let [old, new, last] = [report(1001), report(1002), report(1003)];
    let shows = async |port: u16| {
        let shown = serde_json::to_string(&admin.host("ann").await.unwrap()).unwrap();
        shown.contains(&format!("192.0.2.1:{port}"))
    };
    for sealed in [&old, &new, &old, &new, &old] {
        ann.handle.publish_report(sealed.clone()).unwrap();
    }
    let newest = timeout(DEADLINE, async {
        while !shows(1002).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        ann.handle.publish_report(last).unwrap();
        while !shows(1003).await {
            assert!(!shows(1001).await, "an old report counts");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(newest.await.is_ok(), "the newest report does not show");
}

#[tokio::test]
async fn changes_come_over_nats_too_and_who_is_removed_is_put_out() {
    let nats = Nats::start().unwrap();
    let [url, _] = nats.urls();
    let accounts = format!(
        "broker_accounts = \"nats-file\"\nbroker_accounts_folder = {:?}\nbroker_reload = {:?}",
        nats.process.accounts(),
        nats.process.pid_file()
    );
    let mut house = House::new([&url, &url], &nats.process.authority(), &accounts);
    let (server, admin, [office, _]) = set_up(&mut house).await;
    let ann = house.machine(&office, "ann").await;
    until_online(&admin, "ann", true).await;
    let ben = house.machine(&office, "ben").await;
    ann.sees(&["ben"]).await;
    ben.sees(&["ann"]).await;
    assert!(ann.deltas() > 0, "changes come over the broker");
    admin.delete("/api/v1/hosts/ben").await.unwrap();
    ann.sees(&[]).await;
    ben.until("its account is gone", |view| view.refused).await;
    server.shutdown().await;
}
