//! Laws about several who use one database: at the same server, and at several.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use control::Kind;
use store::{Commit, CommitError, Database, Followed, Leased};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::history::{Records, change, plain, time_of};
use super::laws::records_of;
use super::{Place, wait};

/// Much more than anything here takes.
const LONG: Duration = Duration::from_secs(30);

/// Servers on one database; one where it is not for several.
pub fn servers<P: Place>(place: &P, count: usize) -> Vec<Arc<dyn Database>> {
    let count = if P::is_for_several() { count } else { 1 };
    let first = place.open();
    let others = (1..count).map(|_| place.open());
    std::iter::once(first).chain(others.collect::<Vec<_>>()).collect()
}

pub fn who_waits_is_told_of_a_commit<P: Place>() {
    let place = P::empty();
    let all = servers(&place, 2);
    let (here, there) = (Arc::clone(&all[0]), Arc::clone(all.last().unwrap()));
    wait(async {
        let waiting = tokio::spawn(async move { there.changed(1).await });
        here.commit(plain(1)).await.unwrap();
        assert_eq!(timeout(LONG, here.changed(0)).await.unwrap(), Ok(1));
        assert!(!waiting.is_finished(), "1 is not greater than 1");
        here.commit(plain(3)[1..].to_vec()).await.unwrap();
        assert_eq!(timeout(LONG, waiting).await.unwrap().unwrap(), Ok(3));
    });
}

pub fn a_lease_is_held_by_one_renewed_given_back_and_ends_by_itself<P: Place>() {
    let place = P::empty();
    let all = servers(&place, 2);
    let (here, there) = (&all[0], all.last().unwrap());
    wait(async {
        let long = Duration::from_secs(3_600);
        let lease = here.lease("expiry", "one", long).await.unwrap().granted().unwrap();
        assert!(lease.is_held());
        let holder = || "one".to_owned();
        assert_eq!(there.lease("expiry", "two", long).await, Ok(Leased::HeldBy { holder: holder() }));
        assert!(there.lease("clean-up", "two", long).await.unwrap().granted().is_some(), "another work");
        assert!(here.lease("expiry", "one", long).await.unwrap().granted().is_some(), "renewed");
        there.release("expiry", "two").await.unwrap();
        let theirs = there.lease("expiry", "two", long).await.unwrap();
        assert_eq!(theirs, Leased::HeldBy { holder: holder() }, "not theirs to give back");
        here.release("expiry", "one").await.unwrap();

        // What is not renewed ends, and whoever had it knows that no later than the others.
        let short = Duration::from_millis(150);
        let lease = there.lease("expiry", "two", short).await.unwrap().granted().unwrap();
        let waited = timeout(LONG, async {
            while here.lease("expiry", "one", long).await.unwrap().granted().is_none() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        waited.await.expect("the lease ends");
        assert!(!lease.is_held(), "two at once");
    });
}

pub fn of_many_who_want_a_lease_one_gets_it<P: Place>() {
    let place = P::empty();
    let all = servers(&place, 3);
    let taken = wait(async {
        let mut tasks = JoinSet::new();
        for at in 0..24usize {
            let database = Arc::clone(&all[at % all.len()]);
            tasks.spawn(async move {
                database.lease("expiry", &format!("holder {at}"), Duration::from_secs(3_600)).await.unwrap()
            });
        }
        tasks.join_all().await.into_iter().filter_map(Leased::granted).count()
    });
    assert_eq!(taken, 1);
}

/// Commits so many versions of a record of its own, following what others did wherever it was too slow.
async fn server(database: Arc<dyn Database>, id: u8, versions: u8) -> Vec<u64> {
    let mut records = records_of(database.load().await.unwrap());
    let mut seq = database.load().await.unwrap().seq;
    let mut numbers = Vec::new();
    for version in 1..=versions {
        loop {
            let mut after = records.clone();
            let change = change(&mut after, &[(0, id, version)]);
            let commit = Commit { seq: seq + 1, time: time_of(seq + 1), change };
            match database.commit(vec![commit]).await {
                Ok(()) => {
                    (records, seq) = (after, seq + 1);
                    numbers.push(seq);
                    break;
                }
                Err(CommitError::Conflict { given, next }) => assert!(next > given),
                Err(error) => panic!("{error}"),
            }
            follow(&*database, &mut records, &mut seq).await;
        }
    }
    numbers
}

async fn follow(database: &dyn Database, records: &mut Records, seq: &mut u64) {
    match database.follow(*seq).await.unwrap() {
        Followed::Changed { seq: now, records: changed } => {
            *seq = now;
            for current in changed {
                match current.record {
                    Some(record) => drop(records.insert(current.key, record)),
                    None => drop(records.remove(&current.key)),
                }
            }
        }
        Followed::TooFar => {
            let loaded = database.load().await.unwrap();
            *seq = loaded.seq;
            *records = records_of(loaded);
        }
    }
}

pub fn servers_that_race_for_numbers_lose_nothing_and_use_none_twice<P: Place>() {
    const VERSIONS: u8 = 12;
    let place = P::empty();
    let all = servers(&place, 4);
    let numbers: BTreeMap<u64, u8> = wait(async {
        let mut tasks = JoinSet::new();
        for (at, database) in (0..).zip(&all) {
            let database = Arc::clone(database);
            tasks.spawn(async move { (at, server(database, at, VERSIONS).await) });
        }
        let all = tasks.join_all().await;
        all.into_iter().flat_map(|(at, numbers)| numbers.into_iter().map(move |seq| (seq, at))).collect()
    });
    let total = all.len() as u64 * u64::from(VERSIONS);
    assert_eq!(numbers.keys().copied().collect::<Vec<_>>(), (1..=total).collect::<Vec<_>>());
    let loaded = wait(all[0].load()).unwrap();
    assert_eq!(loaded.seq, total);
    let expected: Records = (0..)
        .zip(&all)
        .map(|(at, _)| super::history::record(Kind::Network, at, VERSIONS))
        .map(|record| (record.key(), record))
        .collect();
    assert_eq!(records_of(loaded), expected);
}

pub fn another_server_follows_and_hears_of_every_commit<P: Place>() {
    let place = P::empty();
    let all = servers(&place, 2);
    let (here, there) = (Arc::clone(&all[0]), Arc::clone(all.last().unwrap()));
    wait(async {
        let writing = tokio::spawn(async move {
            for commit in plain(40) {
                here.commit(vec![commit]).await.unwrap();
            }
            here.load().await.unwrap()
        });
        let (mut records, mut seq) = (Records::new(), 0);
        while seq < 40 {
            let heard = timeout(LONG, there.changed(seq)).await.expect("hears of it").unwrap();
            assert!(heard > seq);
            follow(&*there, &mut records, &mut seq).await;
        }
        assert_eq!(records, records_of(writing.await.unwrap()));
    });
}

pub fn many_servers_that_start_at_once_make_the_tables_once<P: Place>() {
    let place = P::empty();
    if !P::is_for_several() {
        return;
    }
    let identities = wait(async {
        let mut tasks = JoinSet::new();
        for _ in 0..6 {
            let address = place.address();
            tasks.spawn(async move { store::open(&address).await.unwrap().load().await.unwrap().server });
        }
        tasks.join_all().await
    });
    assert!(identities.windows(2).all(|two| two[0] == two[1]), "{identities:?}");
}
