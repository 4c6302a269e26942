//! A server that is frozen while it leads, and goes on when another one does: what it knows is old, and nobody is hurt by it.

use std::path::Path;
use std::time::{Duration, Instant};

use api::CreateKey;
use testkit::engines::postgres::Cluster;
use testkit::fleet::{Administrator, Agent, Connected, Habits, Method, ServerProcess, command, now};
use wire::Token;

use super::{folder, program, set_up};

/// Longer than the lease of the leader lasts, and than another one needs to lead and be found.
const AWAY: Duration = Duration::from_secs(12);
const DEADLINE: Duration = Duration::from_secs(60);

fn start(database: &str, data: &Path) -> ServerProcess {
    let mut server = command(program(), data);
    server.env("NETLOOM_DATABASE", database).env("NETLOOM_URL", "https://127.0.0.1:0");
    server.env("NETLOOM_EPHEMERAL_AFTER", format!("{}s", AWAY.as_secs()));
    ServerProcess::run(server, data).unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in from.read_dir().unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < DEADLINE, "still not: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What a path answers: its status.
async fn status(server: &ServerProcess, path: &str) -> u16 {
    server.site.send(Method::GET, path, &[], Vec::new()).await.map_or(0, |reply| reply.status)
}

/// A token for hosts that go when they are away.
async fn guests(admin: &Administrator) -> Token {
    admin.network("home", "10.1.0.0/16").await.unwrap();
    let create = CreateKey {
        networks: vec!["home".parse().unwrap()],
        ephemeral: true,
        ..CreateKey::titled("guests".parse().unwrap())
    };
    admin.create_key(&create).await.unwrap().1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_thaws_removes_no_host_that_came_back_at_another_server() {
    let database = Cluster::start(None).unwrap();
    let (first, second) = (folder(), folder());
    let one = start(&database.url(), first.path());
    for keys in ["keys", "tls"] {
        copy(&first.path().join(keys), &second.path().join(keys));
    }
    let two = start(&database.url(), second.path());
    assert_eq!([status(&one, "/readyz/leader").await, status(&two, "/readyz/leader").await], [200, 503]);
    let admin = set_up(&one).await;
    let there = Administrator { site: two.site.clone(), token: admin.token.clone() };
    let mut agent = Agent::join(&guests(&admin).await, "guest").await.unwrap();
    let overdue = now() + AWAY + Duration::from_secs(1);

    one.freeze().unwrap();
    until("the other leads", || async { status(&two, "/readyz/leader").await == 200 }).await;
    agent.site = two.site.apart().unwrap();
    let agent = Connected::start(agent, Habits::default()).await.unwrap();
    until("it is there", || async { there.host("guest").await.unwrap().inventory.online }).await;
    until("the frozen one would remove it", || async { now() > overdue }).await;
    one.thaw().unwrap();
    until("it follows", || async {
        [status(&one, "/readyz").await, status(&one, "/readyz/leader").await] == [200, 503]
    })
    .await;
    // What it may have been about to do is done before that.
    admin.network("later", "10.2.0.0/16").await.unwrap();

    assert!(there.host("guest").await.unwrap().inventory.online);
    assert!(admin.host("guest").await.is_ok());
    assert!(!agent.view().removed && agent.view().map.is_some());
    let journal: Vec<api::JournalEntry> = there.list(api::path::JOURNAL, 100).await.unwrap();
    assert!(journal.iter().all(|entry| entry.actor != "system"), "{journal:?}");
}
