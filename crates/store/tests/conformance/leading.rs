//! Laws about what servers must agree on: who holds which lease, what was written of hosts since, and who they are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::HostId;
use store::{CommitError, Existing, Held, InventoryRow, Leased, StoreError};
use tokio::task::JoinSet;

use super::history::{one, plain};
use super::several::servers;
use super::{Place, wait};

const LONG: Duration = Duration::from_secs(3_600);

pub fn host(id: u8, json: &str) -> InventoryRow {
    InventoryRow { host: HostId::from_bytes([id; 16]), json: Some(json.to_owned()) }
}

fn held(all: &[(&str, &str)]) -> Vec<Held> {
    all.iter().map(|(name, holder)| Held { name: (*name).to_owned(), holder: (*holder).to_owned() }).collect()
}

pub fn who_holds_a_lease_is_seen_by_all_until_it_ends<P: Place>() {
    let place = P::empty();
    let all = servers(&place, 2);
    let (here, there) = (&all[0], all.last().unwrap());
    wait(async {
        let json = r#"{"id":"1","url":"https://one.example'\"%_"}"#;
        for (name, holder) in [("server/1", json), ("server/2", "two"), ("servers", "x"), ("lead", json)] {
            here.lease(name, holder, LONG).await.unwrap().granted().unwrap();
        }
        assert_eq!(there.held("server/", LONG).await, Ok(held(&[("server/1", json), ("server/2", "two")])));
        assert_eq!(there.held("lead", LONG).await, Ok(held(&[("lead", json)])));
        for nothing in ["server_", "serve%", "Server", "server/1/"] {
            assert_eq!(there.held(nothing, LONG).await, Ok(Vec::new()), "{nothing}");
        }
        assert_eq!(there.held("", LONG).await.unwrap().len(), 4);

        // Given back, taken over, and ended by itself.
        here.release("server/1", json).await.unwrap();
        there.lease("server/2", "two", Duration::from_millis(100)).await.unwrap().granted().unwrap();
        let gone = tokio::time::timeout(Duration::from_secs(30), async {
            while !there.held("server/", LONG).await.unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        gone.await.expect("what is not renewed is held no more");
        let taken = here.lease("server/2", "another", LONG).await.unwrap();
        taken.granted().expect("what is not held can be taken");
        assert_eq!(there.held("server/", LONG).await, Ok(held(&[("server/2", "another")])));
    });
}

/// As after a clock was set back: what it wrote before ends long after anything that it grants now.
pub fn a_lease_from_a_clock_that_was_ahead_binds_nobody<P: Place>() {
    const SHORT: Duration = Duration::from_secs(60);
    let place = P::empty();
    let all = servers(&place, 2);
    let (here, there) = (&all[0], all.last().unwrap());
    wait(async {
        here.lease("lead", "one", LONG).await.unwrap().granted().unwrap();
        assert_eq!(
            there.held("lead", LONG).await,
            Ok(held(&[("lead", "one")])),
            "as long as such leases last"
        );
        assert_eq!(there.held("", SHORT).await, Ok(Vec::new()), "none lasts so long");
        there.lease("lead", "two", SHORT).await.unwrap().granted().expect("it counts as ended");
        assert_eq!(here.held("", SHORT).await, Ok(held(&[("lead", "two")])));
        let refused = here.lease("lead", "one", SHORT).await.unwrap();
        assert_eq!(refused, Leased::HeldBy { holder: "two".to_owned() });

        // Clocks that differ by less than a lifetime take nobody's lease away.
        here.lease("renewed", "one", LONG).await.unwrap().granted().unwrap();
        let other = there.lease("renewed", "two", LONG.mul_f64(0.6)).await.unwrap();
        assert_eq!(other, Leased::HeldBy { holder: "one".to_owned() });
        here.lease("renewed", "one", SHORT).await.unwrap().granted().expect("its holder renews it whenever");
    });
}

pub fn what_was_written_of_hosts_since_is_told<P: Place>() {
    let place = P::empty();
    let database = place.open();
    let since = |version| wait(database.inventory_since(version)).unwrap();
    let (start, rows) = since(0);
    assert_eq!(rows, []);
    wait(database.put_inventory(vec![host(1, "{}"), host(2, "{}"), host(3, "{}")])).unwrap();
    let (first, rows) = since(start);
    assert_eq!((first > start, rows.len()), (true, 3));
    assert_eq!(since(first), (first, vec![]), "nothing was written since");

    let gone = InventoryRow { json: None, ..host(1, "") };
    wait(database.put_inventory(vec![host(2, "[2]"), gone])).unwrap();
    wait(database.put_inventory(vec![host(4, "[4]")])).unwrap();
    let (second, rows) = since(first);
    assert_eq!((second > first, rows), (true, vec![host(2, "[2]"), host(4, "[4]")]));
    assert_eq!(since(0), (second, vec![host(2, "[2]"), host(3, "{}"), host(4, "[4]")]));
    drop(database);
    assert_eq!(wait(place.open().inventory_since(0)).unwrap().0, second, "it is kept");
}

/// Whoever follows by versions ends with what is there, though several write the same hosts at the same time.
pub fn following_inventory_misses_nothing_whoever_writes<P: Place>() {
    const ROUNDS: u8 = 40;
    let place = P::empty();
    let all = servers(&place, 3);
    let (followed, there) = wait(async {
        let mut writing = JoinSet::new();
        for (at, database) in (0u8..).zip(&all) {
            let database = Arc::clone(database);
            writing.spawn(async move {
                for round in 0..ROUNDS {
                    let text = format!("[{at},{round}]");
                    // Some of everybody's, in another order each, and one of its own.
                    let mut rows: Vec<_> = (0..8).map(|id| host(id, &text)).collect();
                    rows.rotate_left(usize::from(at));
                    rows.push(host(100 + 40 * at + round, &text));
                    database.put_inventory(rows).await.unwrap();
                }
            });
        }
        let (mut followed, mut version) = (BTreeMap::new(), 0);
        let reader = Arc::clone(all.last().unwrap());
        loop {
            let is_last = writing.try_join_next().is_some() && writing.is_empty();
            let (now, rows) = reader.inventory_since(version).await.unwrap();
            assert!(now >= version, "versions never go back");
            version = now;
            followed.extend(rows.into_iter().map(|row| (row.host, row.json)));
            if is_last {
                break;
            }
        }
        let there = reader.inventory().await.unwrap();
        (followed, there.into_iter().map(|row| (row.host, row.json)).collect::<BTreeMap<_, _>>())
    });
    assert_eq!(followed, there);
}

/// Whoever led before says nothing more, at whichever server and however often it tries.
pub fn what_is_said_in_an_epoch_that_is_over_changes_nothing<P: Place>() {
    let place = P::empty();
    let all = servers(&place, 2);
    let (here, there) = (&all[0], all.last().unwrap());
    let deposed = |error: &StoreError| matches!(error, StoreError::Deposed(_));
    wait(async {
        let first = Some(here.next_epoch().await.unwrap());
        here.commit_in(plain(2), first).await.unwrap();
        here.put_inventory_in(vec![host(1, "{}"), host(2, "{}")], first).await.unwrap();
        let (version, _) = there.inventory_since(0).await.unwrap();

        let second = Some(there.next_epoch().await.unwrap());
        for _ in 0..2 {
            let error = here.commit_in(one(3), first).await.unwrap_err();
            assert!(matches!(&error, CommitError::Store(error) if deposed(error)), "{error:?}");
            let gone = InventoryRow { json: None, ..host(1, "") };
            let error = here.put_inventory_in(vec![gone, host(2, "[]")], first).await.unwrap_err();
            assert!(deposed(&error), "{error:?}");
        }
        assert_eq!(here.check().await, Ok(2));
        assert_eq!(here.inventory_since(version).await, Ok((version, Vec::new())), "not even its version");
        assert_eq!(here.inventory().await.unwrap().len(), 2);

        // What needs no leader goes on, and whoever leads now is heard.
        here.commit(one(3)).await.unwrap();
        there.commit_in(one(4), second).await.unwrap();
        there.put_inventory_in(vec![host(2, "[]")], second).await.unwrap();
        assert_eq!(here.inventory_since(version).await.unwrap().1, [host(2, "[]")]);
    });
}

/// One server begins to lead while another one still speaks as the leader: what that said is there before, or not at all.
pub fn an_epoch_begins_after_all_that_is_said_in_the_one_before<P: Place>() {
    let place = P::empty();
    let all = servers(&place, 2);
    let (here, there) = (Arc::clone(&all[0]), Arc::clone(all.last().unwrap()));
    wait(async {
        let epoch = Some(here.next_epoch().await.unwrap());
        let speaking = tokio::spawn(async move {
            let mut said = 0;
            while here.commit_in(one(said + 1), epoch).await.is_ok() {
                said += 1;
            }
            said
        });
        while there.check().await.unwrap() < 10 {
            tokio::task::yield_now().await;
        }
        there.next_epoch().await.unwrap();
        let then = there.check().await.unwrap();
        assert_eq!(speaking.await.unwrap(), then);
        assert_eq!(there.check().await, Ok(then), "nothing came late");
    });
}

pub fn of_many_servers_that_say_who_they_are_one_is_believed<P: Place>() {
    let place = P::empty();
    let all = servers(&place, 4);
    let told = wait(async {
        let mut tasks = JoinSet::new();
        for at in 0..16 {
            let database = Arc::clone(&all[at % all.len()]);
            tasks.spawn(async move { database.identity(&format!("server {at}")).await.unwrap() });
        }
        tasks.join_all().await
    });
    assert!(told.iter().all(|one| *one == told[0]), "{told:?}");
    let there = all.last().unwrap();
    assert_eq!(wait(there.identity("too late")).unwrap(), told[0]);
    wait(all[0].replace_identity("new keys")).unwrap();
    assert_eq!(wait(there.identity("too late")).as_deref(), Ok("new keys"));
}

pub fn a_backup_says_who_the_servers_are_and_lets_leases_go<P: Place>() {
    let folder = tempfile::tempdir().unwrap();
    let [to, nobody] = ["backup", "nobody"].map(|name| folder.path().join(name));
    let place = P::empty();
    let database = place.open();
    wait(database.commit(plain(3))).unwrap();
    wait(database.backup(&nobody)).unwrap();
    wait(database.identity("ours")).unwrap();
    wait(database.lease("lead", "one", LONG)).unwrap().granted().unwrap();
    wait(database.put_inventory(vec![host(1, "{}")])).unwrap();
    wait(database.backup(&to)).unwrap();
    drop(database);
    drop(place);

    let restored = P::restored(&to);
    let database = restored.open();
    assert_eq!(wait(database.identity("another's")).as_deref(), Ok("ours"));
    assert_eq!(wait(database.held("", LONG)), Ok(Vec::new()));
    let (version, rows) = wait(database.inventory_since(0)).unwrap();
    assert_eq!(rows, [host(1, "{}")]);
    wait(database.put_inventory(vec![host(2, "{}")])).unwrap();
    assert_eq!(wait(database.inventory_since(version)).unwrap().1, [host(2, "{}")]);
    drop(database);

    // What is restored over it knows nothing of them.
    wait(store::restore(&nobody, &restored.address(), Existing::Replace)).unwrap();
    let database = restored.open();
    assert_eq!(wait(database.identity("another's")).as_deref(), Ok("another's"));
    assert_eq!(wait(database.inventory()), Ok(Vec::new()));
}
