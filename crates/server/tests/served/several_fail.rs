//! Several servers of which one goes: another one leads, and nothing is done twice or lost.

use std::time::{Duration, Instant};

use api::{AddNode, path};
use server::cluster::Role;
use testkit::engines::rqlite::StandIn;
use testkit::fleet::{Agent, Connected, Habits, View};

use crate::several::{Database, Member, Pair, until};

/// The first server goes, and the second one takes over: agents are served by it in a later epoch, and told of what changes.
#[expect(clippy::print_stdout, reason = "what is measured is shown")]
async fn another_leads_when_the_leader_goes(database: Database, in_good_order: bool) {
    let pair = Pair::start(database).await;
    let Pair { mut one, two, admin, token, database: _database } = pair;
    let there = two.token(&token);
    let web = Agent::join(&there, "web").await.unwrap();
    let before = web.map().await.unwrap();
    let near = Connected::start(Agent::join(&token, "near").await.unwrap(), Habits::default()).await.unwrap();
    let follows = two.server().handle.role();
    let leader =
        |role: &Role| matches!(role, Role::Follows { leader: Some(leader) } if leader.url == one.site.url());
    assert!(leader(&follows.borrow()), "{:?}", *follows.borrow());

    until("the other knows both", || async { two.admin(&admin).host("near").await.is_ok() }).await;

    let start = Instant::now();
    if in_good_order {
        one.stop().await;
    } else {
        one.kill();
        // Until somebody leads, agents hear that they are to come again soon, and people are answered.
        let refused = web.map().await.unwrap_err();
        let refusal = refused.refusal().unwrap_or_else(|| panic!("{refused:?}"));
        assert!(refusal.code == wire::RefusalCode::Busy && refusal.elsewhere, "{refusal:?}");
        assert_eq!(two.admin(&admin).host("web").await.unwrap().name.as_str(), "web");
        two.admin(&admin).network("meanwhile", "10.77.0.0/16").await.unwrap();
    }
    until("the other leads", || async { two.leads() }).await;
    println!("another server leads after {:?} (in good order: {in_good_order})", start.elapsed());

    let after = web.map().await.unwrap();
    assert!(after.generation > before.generation, "{} then {}", before.generation, after.generation);
    assert!(after.peers.contains_key(&near.agent.host.into()), "nobody is forgotten");
    let web = Connected::start(web, Habits::default()).await.unwrap();
    let third = Agent::join(&there, "third").await.unwrap();
    web.until_map("the third", |map| map.peers.contains_key(&third.host.into())).await.unwrap();
    let shown = two.admin(&admin).host("web").await.unwrap().inventory;
    assert!(shown.online, "{shown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgresql_another_server_leads_when_the_leader_dies() {
    another_leads_when_the_leader_goes(Database::postgres(), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgresql_another_server_leads_when_the_leader_ends() {
    another_leads_when_the_leader_goes(Database::postgres(), true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_rqlite_another_server_leads_when_the_leader_dies() {
    another_leads_when_the_leader_goes(Database::rqlite(), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_starts_again_takes_its_own_lease_over_at_once() {
    let database = Database::postgres();
    let mut one = Member::start(&database.url(), None, "").await;
    let folder = std::mem::replace(&mut one.folder, tempfile::tempdir().unwrap());
    one.kill();
    let again = Member::start_in(folder, &database.url(), "").await.unwrap();
    assert!(again.leads(), "it waits for no lease of its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_database_is_gone_goes_on_and_leads_anew_when_it_is_back() {
    let cluster = StandIn::start(1).unwrap();
    let url = format!("rqlite://{}", cluster.nodes()[0]);
    let one = Member::start(&url, None, "").await;
    let (admin, token) = one.set_up().await;
    let web = Connected::start(Agent::join(&token, "web").await.unwrap(), Habits::default()).await.unwrap();
    let db = Connected::start(Agent::join(&token, "db").await.unwrap(), Habits::default()).await.unwrap();
    web.until_map("its peer", |map| map.peers.len() == 1).await.unwrap();
    let before = web.view().generation();

    cluster.be_gone(true);
    // Longer than the lease lasts.
    let gone = Instant::now();
    let mut port = 1024_u16;
    while gone.elapsed() < Duration::from_secs(6) {
        port += 1;
        let local = [format!("192.168.1.20:{port}").parse().unwrap()];
        db.report(&Agent::report_of(db.view().generation(), &local)).await.unwrap();
        let so = |map: &wire::HostMap| map.peers.values().all(|peer| peer.local == local);
        web.until_map("where its peer is, without the database", so).await.unwrap();
        assert!(one.leads());
    }
    cluster.be_gone(false);
    let later = |view: &View| view.generation().number() >> 40 > before.number() >> 40;
    web.until("a later epoch: somebody might have led", later).await.unwrap();
    let map = web.view().map.unwrap();
    assert!(
        map.peers.values().all(|peer| peer.local[0].port() == port),
        "what was reported meanwhile is kept"
    );
    admin.network("again", "10.2.0.0/16").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expires_is_swept_once_and_by_whoever_leads_then() {
    let Pair { mut one, two, admin, token, database: _database } = Pair::start(Database::postgres()).await;
    let web = Agent::join(&token, "web").await.unwrap();
    admin.network("short", "10.9.0.0/16").await.unwrap();
    let add = AddNode::of("web".parse().unwrap());
    let node: api::Node = admin.post(&path::fill(path::NODES, &["short"]), &add).await.unwrap();
    until("the other knows all that", || async { two.seq() == one.seq() }).await;
    one.kill();
    // It ends while nobody leads.
    let ends = testkit::fleet::now().as_millis() + 1_500;
    let there = two.admin(&admin);
    let patch = serde_json::json!({ "expires": model::Timestamp::from_millis(ends).to_string() });
    let at = path::fill(path::NODE, &["short", &node.id.to_string()]);
    let _node: api::Node = there.patch(&at, &patch).await.unwrap();
    until("it is gone", || async { there.get::<api::Node>(&at).await.is_err() }).await;
    assert!(two.leads());
    assert_eq!(there.host("web").await.unwrap().networks.len(), 1);
    assert!(web.map().await.is_err() || !web.networks.is_empty());
    let journal: api::Page<api::JournalEntry> =
        there.get(&format!("{}?limit=50", path::JOURNAL)).await.unwrap();
    let sweeps = journal.items.iter().filter(|entry| entry.command.to_lowercase().contains("sweep")).count();
    assert_eq!(sweeps, 1, "{:?}", journal.items);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_that_was_taken_in_vain_is_followed_by_another_and_nothing_is_forgotten() {
    let database = Database::postgres();
    let one = Member::start(&database.url(), None, "").await;
    let (admin, token) = one.set_up().await;
    let web = Connected::start(Agent::join(&token, "web").await.unwrap(), Habits::default()).await.unwrap();
    until("it is there", || async { admin.host("web").await.unwrap().inventory.online }).await;
    // As by a server that was frozen in the moment in which it might have led.
    let address = store::Address::parse(&database.url(), store::Access::default()).unwrap();
    let beside = store::open(&address).await.unwrap();
    let vain = beside.next_epoch().await.unwrap();
    let local = ["192.168.1.20:51820".parse().unwrap()];
    web.report(&Agent::report_of(web.view().generation(), &local)).await.unwrap();
    let later = |view: &View| view.generation().number() >> 40 > u64::from(vain.number());
    web.until("a later epoch", later).await.unwrap();
    assert!(one.leads() && admin.host("web").await.unwrap().inventory.online);
    until("what it knows is kept", || async {
        let rows = beside.inventory().await.unwrap();
        rows.iter().filter_map(|row| row.json.as_ref()).any(|json| json.contains("192.168.1.20"))
    })
    .await;
}
