//! Several servers and one person whose requests go to any of them: what was done at one is there at the other, and two who
//! change the same at once lose nothing.

use api::{CreateUser, Me, PatchHost, Role, path};
use testkit::fleet::{Administrator, Agent, PASSWORD};

use crate::several::{Database, Pair, until};

const ROUNDS: u8 = 30;

/// Makes something at one server and asks the other one for it, over connections that stand already.
async fn what_was_made_at_one_is_found_at_the_other(database: Database) {
    let pair = Pair::start(database).await;
    let both = [pair.one.admin(&pair.admin), pair.two.admin(&pair.admin)];
    for round in 0..ROUNDS {
        let [here, there] = if round % 2 == 0 { [&both[0], &both[1]] } else { [&both[1], &both[0]] };
        let (name, at) = (format!("n{round}"), path::fill(path::NETWORK, &[&format!("n{round}")]));
        here.network(&name, &format!("10.{}.0.0/16", 10 + round)).await.unwrap();
        there.get::<api::Network>(&at).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        there.delete(&at).await.unwrap();
        // The name is free again, and what is made refers to what is new.
        here.network(&name, &format!("10.{}.0.0/16", 100 + round)).await.unwrap();
        let (_, token) = there.key(&name, &[&name], None).await.unwrap();
        // Whichever of them leads knows the key.
        Agent::join(&token, &format!("h{round}")).await.unwrap();
        here.host(&format!("h{round}")).await.unwrap();
    }
    let missing = both[1].get::<api::Network>(&path::fill(path::NETWORK, &["nowhere"])).await.unwrap_err();
    assert_eq!(missing.status(), 404, "{missing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgresql_what_was_made_at_one_server_is_found_at_the_other() {
    what_was_made_at_one_is_found_at_the_other(Database::postgres()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_rqlite_what_was_made_at_one_server_is_found_at_the_other() {
    what_was_made_at_one_is_found_at_the_other(Database::rqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_logged_in_at_one_server_is_logged_in_at_the_other() {
    // It tells of commits late.
    let pair = Pair::start(Database::rqlite()).await;
    for (here, there) in [(&pair.one, &pair.two), (&pair.two, &pair.one)] {
        let name = format!("user-of-{}", here.leads());
        let create = CreateUser {
            name: name.parse().unwrap(),
            role: Role::Auditor,
            password: PASSWORD.parse().unwrap(),
        };
        let _user: api::User = here.admin(&pair.admin).post(path::USERS, &create).await.unwrap();
        let session = Administrator::log_in(&there.site, &name, PASSWORD).await.unwrap();
        let me: Me = here.admin(&session).get(path::ME).await.unwrap();
        assert_eq!(me.user.name.as_str(), name);
    }
    let nobody = pair.two.admin(&Administrator::stranger(&pair.two.site).with_token("nlt_nobody"));
    assert_eq!(nobody.get::<Me>(path::ME).await.unwrap_err().status(), 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_change_the_same_at_two_servers_lose_nothing() {
    let pair = Pair::start(Database::postgres()).await;
    Agent::join(&pair.token, "web").await.unwrap();
    let at = path::fill(path::HOST, &["web"]);
    let (one, two) = (pair.one.admin(&pair.admin), pair.two.admin(&pair.admin));
    for round in 0..ROUNDS {
        let (mtu, default) = (1_300 + u16::from(round), round % 2 == 0);
        let mtu = serde_json::json!({ "mtu": mtu });
        let other = PatchHost { default: Some(default), ..PatchHost::default() };
        let (first, second) =
            tokio::join!(one.patch::<api::Host>(&at, &mtu), two.patch::<api::Host>(&at, &other));
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!((serde_json::json!({ "mtu": first.mtu }), second.default), (mtu.clone(), default));
        until("both know of both", || async { pair.one.seq() == pair.two.seq() }).await;
        for admin in [&one, &two] {
            let host = admin.host("web").await.unwrap();
            assert_eq!((serde_json::json!({ "mtu": host.mtu }), host.default), (mtu.clone(), default));
        }
    }
}
