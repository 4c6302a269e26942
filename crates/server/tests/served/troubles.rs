//! A database that is slow, full, read-only or gone: reads go on, writes get an honest 503, and nothing is half done.

use std::time::Duration;

use api::{Network, Page, Problem, path};
use testkit::engines::disk;
use testkit::engines::postgres::Cluster;
use testkit::engines::rqlite::{StandIn, Trouble};
use testkit::fleet::{Administrator, Agent, Connected, Habits, Method};

use crate::several::{Member, until};

/// A server with an administrator, a network and a connected host.
struct Site {
    server: Member,
    admin: Administrator,
    host: Connected,
}

impl Site {
    async fn start(database: &str) -> Self {
        let server = Member::start(database, None, "").await;
        let (admin, token) = server.set_up().await;
        let agent = Agent::join(&token, "web").await.unwrap();
        let host = Connected::start(agent, Habits::default()).await.unwrap();
        Self { server, admin, host }
    }

    /// What is asked to be written.
    async fn write(&self, name: &str) -> testkit::fleet::Reply {
        let create = serde_json::json!({ "name": name });
        let bearer = format!("Bearer {}", self.admin.token.as_ref().unwrap());
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let body = serde_json::to_vec(&create).unwrap();
        self.server.site.send(Method::POST, path::NETWORKS, &headers, body).await.unwrap()
    }

    /// A write is refused as one that did not happen, and everything that is read goes on.
    async fn is_read_and_refuses_to_write(&self, what: &str) {
        let names = |networks: Page<Network>| {
            networks.items.into_iter().map(|network| network.name.to_string()).collect::<Vec<_>>()
        };
        let refused = self.write("never").await;
        assert_eq!(refused.status, 503, "{what}: {}", String::from_utf8_lossy(&refused.body));
        let problem: Problem = serde_json::from_slice(&refused.body).unwrap();
        assert_eq!(problem.status, 503);
        assert!(refused.headers.contains_key("retry-after"), "{what}: when to come again: {problem:?}");
        let listed: Page<Network> = self.admin.get(path::NETWORKS).await.unwrap();
        assert_eq!(names(listed), ["home"], "{what}: nothing of it is shown");
        let _status: api::ServerStatus = self.admin.get(path::SERVER).await.unwrap();
        assert!(self.host.agent.map().await.unwrap().networks.len() == 1, "{what}: agents get their maps");
        let report = Agent::report_of(self.host.view().generation(), &["192.168.1.7:51820".parse().unwrap()]);
        self.host.agent.report(&report).await.unwrap();
        assert_eq!(self.server.probe("/readyz").await, 200, "{what}");
    }

    /// Writes go on, and what was refused did not happen.
    async fn is_well_again(&self, what: &str) {
        let name = format!("after-{}", what.replace(' ', "-"));
        until("writes go on", || async { self.write(&name).await.status < 300 || self.has(&name).await })
            .await;
        let refused = self.has("never").await;
        assert!(!refused, "{what}: what was refused came later");
        self.admin.delete(&path::fill(path::NETWORK, &[&name])).await.unwrap();
    }

    async fn has(&self, name: &str) -> bool {
        self.admin.get::<Network>(&path::fill(path::NETWORK, &[name])).await.is_ok()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_read_only_locked_and_gone() {
    let mut cluster = Cluster::start(None).unwrap();
    let site = Site::start(&cluster.url()).await;

    cluster.read_only(true).unwrap();
    site.is_read_and_refuses_to_write("read only").await;
    cluster.read_only(false).unwrap();
    site.is_well_again("read only").await;

    let lock = cluster.hold_lock("public.journal, public.records").unwrap();
    site.is_read_and_refuses_to_write("locked").await;
    drop(lock);
    site.is_well_again("locked").await;

    cluster.kill().unwrap();
    site.is_read_and_refuses_to_write("gone").await;
    cluster.start_again().unwrap();
    site.is_well_again("gone").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rqlite_full_read_only_slow_and_gone() {
    let cluster = StandIn::start(1).unwrap();
    let site = Site::start(&format!("rqlite://{}", cluster.nodes()[0])).await;
    for (what, trouble) in
        [("full", Trouble::Full), ("read only", Trouble::ReadOnly), ("no leader", Trouble::NoLeader)]
    {
        cluster.play_on(Some(trouble));
        site.is_read_and_refuses_to_write(what).await;
        cluster.play_on(None);
        site.is_well_again(what).await;
    }
    cluster.delay(Duration::from_secs(12));
    site.is_read_and_refuses_to_write("slow").await;
    cluster.delay(Duration::ZERO);
    cluster.be_gone(true);
    site.is_read_and_refuses_to_write("gone").await;
    cluster.be_gone(false);
}

#[test]
fn a_file_on_a_full_disk() {
    if let Some(folder) = disk::folder() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(full(&folder));
        return;
    }
    disk::run_on("size=8m", "troubles::a_file_on_a_full_disk");
}

async fn full(folder: &std::path::Path) {
    let site = Site::start(&folder.join("netloom.db").display().to_string()).await;
    let filler = folder.join("filler");
    // As much as fits.
    let _full = std::fs::write(&filler, vec![0_u8; 16 << 20]);
    // The log of SQLite has some room that it took before.
    let home = path::fill(path::NETWORK, &["home"]);
    let mut writes = 0;
    let keepalive = |seconds: u32| serde_json::json!({ "keepalive": 1 + seconds % 100 });
    while site.admin.patch::<Network>(&home, &keepalive(writes)).await.is_ok() {
        writes += 1;
        assert!(writes < 5_000, "the disk is never full");
    }
    site.is_read_and_refuses_to_write("full").await;
    std::fs::remove_file(&filler).unwrap();
    site.is_well_again("full").await;
}
