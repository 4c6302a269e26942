//! Several servers on one database: one leads, all answer, and whoever asks does not care which it is.

use std::fs;
use std::future::Future;
use std::path::Path;
use std::time::{Duration, Instant};

use api::{PatchHost, path};
use server::cluster::Role;
use server::serve::Server;
use server::settings::Settings;
use server::telemetry::Telemetry;
use settings::Layers;
use tempfile::TempDir;
use testkit::engines::postgres::Cluster;
use testkit::engines::rqlite::StandIn;
use testkit::fleet::{Administrator, Agent, Connected, Habits, Method, Site};
use tokio::runtime::Runtime;
use wire::Token;

use crate::rendezvous::{meet, socket, until_seen};
use crate::running::DEADLINE;

/// A database for several servers. It goes when this goes.
pub(crate) enum Database {
    Postgres(Cluster),
    Rqlite(StandIn),
}

impl Database {
    pub(crate) fn postgres() -> Self {
        Self::Postgres(Cluster::start(None).unwrap())
    }

    pub(crate) fn rqlite() -> Self {
        Self::Rqlite(StandIn::start(2).unwrap())
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Postgres(cluster) => cluster.url(),
            Self::Rqlite(cluster) => format!("rqlite://{},{}", cluster.nodes()[0], cluster.nodes()[1]),
        }
    }
}

/// A server in a runtime of its own, so that it can die like a process: without a word to anybody.
pub(crate) struct Member {
    /// None once it is dead.
    runtime: Option<Runtime>,
    server: Option<Server>,
    pub(crate) site: Site,
    pub(crate) folder: TempDir,
}

impl Member {
    /// Starts one, with the keys of another where it is not the first.
    pub(crate) async fn start(database: &str, first: Option<&Self>, lines: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if let Some(first) = first {
            copy(&first.folder.path().join("keys"), &folder.path().join("keys"));
            copy(&first.folder.path().join("tls"), &folder.path().join("tls"));
        }
        Self::start_in(folder, database, lines).await.unwrap()
    }

    /// Starts one in this folder.
    pub(crate) async fn start_in(folder: TempDir, database: &str, lines: &str) -> anyhow::Result<Self> {
        let data = folder.path().display();
        let file = format!(
            "data = \"{data}\"\nlisten = \"127.0.0.1:0\"\nurl = [\"https://127.0.0.1:0\"]\ndatabase = \"{database}\"\n\
             rendezvous = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\ndns_listen = \"off\"\n{lines}\n"
        );
        let settings = Settings::check(Layers::new("NETLOOM_", [], Some(("test.toml", &file)))).unwrap();
        server::front::install_crypto_provider();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let started = runtime.spawn(Server::start(settings, Telemetry::detached())).await.unwrap();
        let server = match started {
            Ok(server) => server,
            Err(error) => {
                runtime.shutdown_background();
                return Err(error);
            }
        };
        let site = Site::new(&server.urls[0], server.pin).unwrap();
        Ok(Self { runtime: Some(runtime), server: Some(server), site, folder })
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().expect("it lives")
    }

    pub(crate) fn leads(&self) -> bool {
        self.server().handle.role().borrow().leads()
    }

    pub(crate) fn seq(&self) -> u64 {
        self.server().handle.intent().seq()
    }

    /// Dies at once.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        self.server = None;
    }

    /// Ends in good order.
    pub(crate) async fn stop(mut self) {
        let (runtime, server) = (self.runtime.take().unwrap(), self.server.take().unwrap());
        runtime.spawn(server.shutdown()).await.unwrap();
        runtime.shutdown_background();
    }

    /// Its first administrator, and a token for the network that was made.
    pub(crate) async fn set_up(&self) -> (Administrator, Token) {
        let code = fs::read_to_string(self.folder.path().join("setup-code")).unwrap();
        let admin = Administrator::set_up(&self.site, &code).await.unwrap();
        admin.network("home", "10.1.0.0/16").await.unwrap();
        let (_, token) = admin.key("home", &["home"], None).await.unwrap();
        (admin, token)
    }

    /// The same administrator at this server.
    pub(crate) fn admin(&self, of: &Administrator) -> Administrator {
        Administrator { site: self.site.clone(), token: of.token.clone() }
    }

    /// A token that names this server.
    pub(crate) fn token(&self, of: &Token) -> Token {
        Token { servers: vec![self.site.url().to_owned()], ..of.clone() }
    }

    /// What a path answers: its status.
    pub(crate) async fn probe(&self, path: &str) -> u16 {
        self.site.send(Method::GET, path, &[], Vec::new()).await.unwrap().status
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Waits until it holds, and says how long that took.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) -> Duration {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < DEADLINE, "still not: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    start.elapsed()
}

/// Two servers, of which the first leads, with an administrator, a network, and a token.
pub(crate) struct Pair {
    pub(crate) one: Member,
    pub(crate) two: Member,
    pub(crate) admin: Administrator,
    pub(crate) token: Token,
    pub(crate) database: Database,
}

impl Pair {
    pub(crate) async fn start(database: Database) -> Self {
        let one = Member::start(&database.url(), None, "").await;
        assert!(one.leads(), "alone it leads as soon as it answers");
        let two = Member::start(&database.url(), Some(&one), "").await;
        let (admin, token) = one.set_up().await;
        until("the other follows", || async { two.seq() == one.seq() }).await;
        Self { one, two, admin, token, database }
    }

    /// Makes changes at one and looks for each at the other; how long that took at worst.
    async fn measure(&self) -> (Duration, Duration) {
        let mut spans = Vec::new();
        for at in 0..20 {
            let (here, there) = if at % 2 == 0 { (&self.one, &self.two) } else { (&self.two, &self.one) };
            here.admin(&self.admin)
                .network(&format!("n{at}"), &format!("10.{}.0.0/16", at + 10))
                .await
                .unwrap();
            let seq = here.seq();
            let start = Instant::now();
            until("it is known at the other", || async { there.seq() >= seq }).await;
            spans.push(start.elapsed());
            let shown: api::Network =
                there.admin(&self.admin).get(&path::fill(path::NETWORK, &[&format!("n{at}")])).await.unwrap();
            assert_eq!(shown.name.as_str(), format!("n{at}"));
        }
        spans.sort_unstable();
        (spans[spans.len() / 2], spans[spans.len() - 1])
    }

    async fn servers(&self, at: &Member) -> Vec<api::Server> {
        at.admin(&self.admin).get(path::SERVERS).await.unwrap()
    }
}

#[expect(clippy::print_stdout, reason = "what is measured is shown")]
async fn a_change_at_one_is_known_at_the_other(database: Database) {
    let pair = Pair::start(database).await;
    let (median, worst) = pair.measure().await;
    // Measured, not judged: this machine does other things meanwhile.
    println!("a change is known at the other server after {median:?} (median), {worst:?} (worst of 20)");

    assert_eq!([pair.one.probe("/readyz").await, pair.two.probe("/readyz").await], [200, 200]);
    assert_eq!([pair.one.probe("/readyz/leader").await, pair.two.probe("/readyz/leader").await], [200, 503]);
    for (member, of) in [(&pair.one, 0), (&pair.two, 1)] {
        until("both are listed", || async { pair.servers(member).await.len() == 2 }).await;
        let listed = pair.servers(member).await;
        let status: api::ServerStatus = member.admin(&pair.admin).get(path::SERVER).await.unwrap();
        assert!(pair.database.url().starts_with(&format!("{}://", status.database.kind)), "{status:?}");
        let own = listed.iter().find(|server| server.this).unwrap();
        assert_eq!((own.address.as_str(), own.leads), (member.site.url(), of == 0));
        assert_eq!(listed.iter().filter(|server| server.leads).count(), 1, "{listed:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgresql_a_change_at_one_server_is_known_at_the_other() {
    a_change_at_one_is_known_at_the_other(Database::postgres()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_rqlite_a_change_at_one_server_is_known_at_the_other() {
    a_change_at_one_is_known_at_the_other(Database::rqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_are_served_whichever_server_they_ask() {
    let pair = Pair::start(Database::postgres()).await;
    let there = pair.two.token(&pair.token);
    // Joined at the one that follows, connected to the one that leads.
    let far = Agent::join(&there, "far").await.unwrap();
    let near = Agent::join(&pair.token, "near").await.unwrap();
    let near = Connected::start(near, Habits::default()).await.unwrap();
    near.until_map("its peer", |map| map.peers.contains_key(&far.host.into())).await.unwrap();
    let map = far.map().await.unwrap();
    assert_eq!(map.peers.keys().collect::<Vec<_>>(), [&near.agent.host]);

    let local = ["192.168.1.20:51820".parse().unwrap()];
    far.report(&Agent::report_of(map.generation, &local)).await.unwrap();
    let so = |map: &wire::HostMap| map.peers.get(&far.host.into()).is_some_and(|peer| peer.local == local);
    near.until_map("what was reported at the other server", so).await.unwrap();

    // People see at both servers what agents reported, and which maps they are to have and do have.
    let inventory = |member: &Member, host: &'static str| {
        let admin = member.admin(&pair.admin);
        async move { admin.host(host).await.unwrap().inventory }
    };
    until("the same at both", || async {
        let (here, there) = (inventory(&pair.one, "far").await, inventory(&pair.two, "far").await);
        here == there && there.wanted_generation.is_some() && there.applied_generation.is_some()
    })
    .await;
    until("who is connected", || async { inventory(&pair.two, "near").await.online }).await;
    let status: api::ServerStatus = pair.two.admin(&pair.admin).get(path::SERVER).await.unwrap();
    assert_eq!((status.counts.hosts_online, status.broker.agents), (1, 1));

    // What the leader refuses is refused there, word for word.
    let stranger = far.ask(Method::POST, wire::path::SETTINGS, b"nonsense".to_vec()).await.unwrap_err();
    assert_eq!(stranger.refusal().unwrap().code, wire::RefusalCode::Invalid);
    let body = wire::encode(&wire::Leave::Server);
    let others = far.signature(&Method::POST, wire::path::LEAVE, &body);
    let forged = others.replace(&far.host.to_string(), &near.agent.host.to_string());
    let forged = far.send(Method::POST, wire::path::LEAVE, body, &forged).await.unwrap_err();
    assert_eq!(forged.refusal().unwrap().code, wire::RefusalCode::NotProved);

    // A server that follows lets nobody in at its broker.
    let habits = Habits { come_back: None, ..Habits::default() };
    let refused = Connected::start(far, habits).await.unwrap_err().to_string();
    assert!(refused.contains("ServiceUnavailable"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_learn_where_a_host_is_seen_by_whichever_server() {
    let pair = Pair::start(Database::postgres()).await;
    let join = async |name: &str| {
        Connected::start(Agent::join(&pair.token, name).await.unwrap(), Habits::default()).await.unwrap()
    };
    let (web, db) = (join("web").await, join("db").await);
    until("the other knows the host", || async { pair.two.admin(&pair.admin).host("web").await.is_ok() })
        .await;
    let doors = web.view().map.unwrap().server.rendezvous;
    let (secret, host, at) = (&web.agent.keys.wireguard, web.agent.host, socket().await);
    for (door, port) in doors.into_iter().zip(pair.two.server().rendezvous) {
        meet(secret, &at, &wire::Rendezvous { port, ..door }).await;
    }
    until_seen(&db, host, &at, wire::NatMapping::Endpoint).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_both_servers_are_asked_at_once_is_done_once_and_nothing_is_lost() {
    let pair = Pair::start(Database::postgres()).await;
    let mut asked = tokio::task::JoinSet::new();
    for at in 0..30_u32 {
        for (own, member) in [("one", &pair.one), ("two", &pair.two)] {
            let admin = member.admin(&pair.admin);
            asked.spawn(async move {
                let shared = admin.network(&format!("shared-{at}"), &format!("10.{}.0.0/16", 100 + at)).await;
                let (host, v4) = (if own == "one" { 0 } else { 128 }, at + 1);
                admin.network(&format!("{own}-{at}"), &format!("172.16.{}.0/24", host + v4)).await.unwrap();
                match shared {
                    Ok(_) => true,
                    Err(error) => {
                        assert_eq!(error.status(), 409, "{error:?}");
                        false
                    }
                }
            });
        }
    }
    let won = asked.join_all().await.into_iter().filter(|won| *won).count();
    assert_eq!(won, 30, "each shared name once");
    until("both agree", || async { pair.one.seq() == pair.two.seq() }).await;
    let (first, second) = (pair.one.server().handle.intent(), pair.two.server().handle.intent());
    assert_eq!(first, second);
    assert_eq!(first.networks(None).count(), 91);
    assert!(first.check().is_empty(), "no range twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_at_a_server_that_follows_reaches_agents_and_its_own_readers_at_once() {
    let pair = Pair::start(Database::postgres()).await;
    let web =
        Connected::start(Agent::join(&pair.token, "web").await.unwrap(), Habits::default()).await.unwrap();
    let db =
        Connected::start(Agent::join(&pair.token, "db").await.unwrap(), Habits::default()).await.unwrap();
    web.until_map("its peer", |map| map.peers.len() == 1).await.unwrap();
    let there = pair.two.admin(&pair.admin);
    until("the host is known there", || async { there.host("db").await.is_ok() }).await;
    let patch = PatchHost { name: "renamed".parse().ok(), ..PatchHost::default() };
    let _changed: api::Host = there.patch(&path::fill(path::HOST, &["db"]), &patch).await.unwrap();
    let zone = path::fill("/api/v1/networks/{network}/dns/zone", &["home"]);
    let zone = there.send(Method::GET, &zone, "text/plain", Vec::new()).await.unwrap();
    let zone = String::from_utf8(zone.body).unwrap();
    assert!(zone.contains("renamed") && !zone.contains("db\t") && zone.contains("web"), "{zone}");
    let name = |map: &wire::HostMap| {
        map.peers.get(&db.agent.host.into()).is_some_and(|peer| peer.name.as_str() == "renamed")
    };
    web.until_map("the new name", name).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_other_keys_does_not_start_on_the_database() {
    let database = Database::postgres();
    let one = Member::start(&database.url(), None, "").await;
    let other = Member::start_in(tempfile::tempdir().unwrap(), &database.url(), "").await;
    let error = format!("{:#}", other.err().unwrap());
    assert!(error.contains("other keys") && error.contains("copy the folder"), "{error}");
    assert_eq!(*one.server().handle.role().borrow(), Role::Leads);
}
