//! Several servers of which one is cut off from something: the lead goes to one that is not, and stays there.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use api::path;
use server::cluster::Role;
use testkit::brokers::mosquitto::{Accounts, Mosquitto, PASSWORD, USER};
use testkit::engines::cable::Cable;
use testkit::fleet::{Administrator, Agent, Connected, Habits};

use crate::several::{Database, Member, until};

/// Trouble counts when it has lasted for ten seconds; all that is told then, twice.
const PATIENCE: Duration = Duration::from_secs(60);

async fn in_time(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < PATIENCE, "still not: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What the list at this server says of itself.
async fn trouble(member: &Member, admin: &Administrator) -> Option<String> {
    let servers: Vec<api::Server> = member.admin(admin).get(path::SERVERS).await.unwrap();
    servers.into_iter().find(|server| server.this).unwrap().trouble
}

fn lay(database: &Database) -> (Cable, String) {
    let url = database.url();
    let to: SocketAddr = url.split(['@', '/']).find_map(|part| part.parse().ok()).unwrap();
    let cable = Cable::lay(to).unwrap();
    let through = url.replace(&to.to_string(), &cable.address().to_string());
    (cable, through)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_from_the_database_alone_hears_of_the_next_and_sends_its_agents_there() {
    let database = Database::postgres();
    let (cable, through) = lay(&database);
    let one = Member::start(&through, None, "").await;
    let two = Member::start(&database.url(), Some(&one), "").await;
    let (_, token) = one.set_up().await;
    let web = Connected::start(Agent::join(&token, "web").await.unwrap(), Habits::default()).await.unwrap();
    until("the other follows", || async { two.seq() == one.seq() && two.probe("/readyz").await == 200 })
        .await;
    let before = web.view().generation();

    cable.unplug();
    until("the other leads", || async { two.leads() }).await;
    until("the first one follows it", || async {
        matches!(&*one.server().handle.role().borrow(), Role::Follows { leader: Some(leader) } if leader.url == two.site.url())
    })
    .await;
    // What it is asked it hands on, and its broker sends agents to the next address.
    let map = web.agent.map().await.unwrap();
    assert!(map.generation.number() >> 40 > before.number() >> 40, "{} then {}", before, map.generation);
    let away = |view: &testkit::fleet::View| {
        view.trouble.as_deref().is_some_and(|why| why.contains("ServiceUnavailable"))
    };
    web.until("to be sent away", away).await.unwrap();
    // Nobody tells it any more who leads: it says that it is of no use.
    until("it is not ready", || async { one.probe("/readyz").await == 503 }).await;
    assert_eq!(*one.server().handle.role().borrow(), Role::Follows { leader: None });
    cable.plug();
    until("it follows again", || async { one.probe("/readyz").await == 200 && one.seq() == two.seq() }).await;
    assert!(two.leads() && !one.leads());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_no_other_server_reaches_leaves_the_lead_to_one_that_is_reached() {
    let database = Database::postgres();
    // Nothing listens where it says that it is.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let wrong = format!("advertise = \"https://{free}\"");
    let one = Member::start(&database.url(), None, &wrong).await;
    let two = Member::start(&database.url(), Some(&one), "").await;
    let (admin, token) = one.set_up().await;
    assert!(one.leads());

    in_time("the other leads", async || two.leads() && !one.leads()).await;
    until("the first one knows that", || async { one.probe("/readyz").await == 200 }).await;
    let why = trouble(&one, &admin).await.unwrap();
    assert!(why.contains("not reached by") && why.contains(&free.to_string()), "{why}");
    assert_eq!(trouble(&two, &admin).await, None);
    // Agents are served, whichever of the two they ask.
    Agent::join(&one.token(&token), "web").await.unwrap();
    // Long enough for it to ask again, if it did.
    let settled = Instant::now();
    while settled.elapsed() < Duration::from_secs(6) {
        assert!(two.leads() && !one.leads());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_from_the_message_broker_leaves_the_lead_to_one_that_is_not() {
    let database = Database::postgres();
    let broker = Mosquitto::start(Accounts::Dynsec).unwrap();
    let [at, _] = broker.for_servers();
    let cable = Cable::lay(at.rsplit('/').next().unwrap().parse().unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    let lines = |at: &str| {
        format!(
            "broker = \"{at}\"\nbroker_user = \"{USER}\"\nbroker_password_file = \"{}\"\nbroker_ca_file = \"{}\"",
            password.display(),
            broker.process.authority().display()
        )
    };
    let one = Member::start(&database.url(), None, &lines(&format!("mqtts://{}", cable.address()))).await;
    let two = Member::start(&database.url(), Some(&one), &lines(&at)).await;
    let (admin, _) = one.set_up().await;
    let broker_at = async |member: &Member| {
        let status: api::ServerStatus = member.admin(&admin).get(path::SERVER).await.unwrap();
        status.broker
    };
    let works = async |member: &Member| broker_at(member).await.state == api::BrokerState::Working;
    in_time("the first one is connected", async || works(&one).await).await;
    let other = broker_at(&two).await;
    assert_eq!(other.state, api::BrokerState::Elsewhere, "it follows, and nothing is wrong: {other:?}");
    assert!(other.detail.is_some_and(|detail| detail.ends_with(" leads")));

    cable.unplug();
    in_time("the other leads, and is connected", async || two.leads() && !one.leads() && works(&two).await)
        .await;
    assert_eq!(trouble(&one, &admin).await.as_deref(), Some("does not reach the message broker"));
    // Where nobody does better the lead stays.
    drop(broker);
    let settled = Instant::now();
    while settled.elapsed() < Duration::from_secs(16) {
        assert!(two.leads() && !one.leads());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
